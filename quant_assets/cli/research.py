"""Backtests and reports from the command line. What belongs here: running, finding, printing."""

from __future__ import annotations

import json
import webbrowser
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.table import Table

from quant_assets.assets.performance import SHOWN_FIGURES
from quant_assets.assets.research import LAST, Asked, BacktestConfig
from quant_assets.cli.show import output
from quant_assets.errors import MissingPartitionError
from quant_assets.io_managers.results import FACTS, PAGE, results_in
from quant_assets.jobs import BACKTEST
from quant_assets.markets import MARKETS
from quant_assets.settings import Settings

STEP = "research__backtest"
SHOWN_VARIANTS = 10
PERCENT = ("total_return", "cagr", "annual_volatility", "max_drawdown", "win_rate")


def run_backtest_job(values: Settings, asked: dict[str, Any], last: date | None) -> Path | None:
    """Run the job on the profile's instance; the folder of its results, None if it failed.

    Raises ``BadConfigurationError`` for what cannot be tested, before anything is run.
    """
    import dagster as dg

    from quant_assets.cli.execute import QUIET, failure_reason
    from quant_assets.definitions import defs

    day = last or MARKETS[asked["market"]].last_complete_session(datetime.now(UTC))
    config = {**asked, "last": day.isoformat()}
    # Before a run is begun for what cannot be: it is refused at once, and without a failed run.
    Asked.of(BacktestConfig(**config), values)
    with dg.DagsterInstance.get() as instance:
        result = defs.resolve_job_def(BACKTEST).execute_in_process(
            instance=instance,
            run_config={**QUIET, "ops": {STEP: {"config": config}}},
            raise_on_error=False,
        )
    if not result.success:
        reason, trace = failure_reason(result)
        click.echo(trace or reason.removeprefix(f"{STEP}: "), err=True)
        return None
    (made,) = result.asset_materializations_for_node(STEP)
    market, name = str(asked["market"]), str(made.metadata["name"].value)
    folder: Path = values.results_dir / market / "backtests" / name
    return folder


def find_results(folder: Path, session: str | None, name: str | None) -> Path:
    """The results that are asked for. Raises ``MissingPartitionError`` that says how to make them.

    ``folder`` is that of the market.
    """
    place = folder / ("backtests" if name else "book")
    there = results_in(place)
    wanted = session or (name if name != LAST else None)
    if wanted:
        chosen = [path for path in there if path.name == Path(wanted).name]
    elif name:
        chosen = sorted(there, key=lambda path: (path / FACTS).stat().st_mtime)
    else:
        chosen = there
    if chosen:
        return chosen[-1]
    how = f"`quant run --market {folder.name}` makes that of the last session"
    if name:
        how = f"make one with `quant backtest --market {folder.name} --from ...`"
    raise MissingPartitionError(
        f"there is no report {wanted or ''} in {place}"
        + (f" (there are {', '.join(path.name for path in there[-5:])})" if there else "")
        + f": {how}"
    )


def print_results(folder: Path, *, as_json: bool, is_opened: bool) -> None:
    """Print the figures of every strategy and of the best variants, and where the report is."""
    import pandas as pd

    figures = pd.read_parquet(folder / "figures.parquet")
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    grid_path = folder / "grid.parquet"
    grid = pd.read_parquet(grid_path) if grid_path.is_file() else None
    page = folder / PAGE
    if as_json:
        content = {
            **facts,
            "report": str(page),
            "figures": json.loads(figures.to_json(orient="index", date_format="iso")),
        }
        if grid is not None:
            content["grid"] = json.loads(grid.to_json(orient="index", date_format="iso"))
        click.echo(json.dumps(content, indent=2))
    else:
        title = f"{facts['market']}, {facts['first']} to {facts['last']}, {facts['profile']} data"
        output().print(_table(figures, title))
        if grid is not None:
            columns = [*facts["grid"], *SHOWN_FIGURES[:5], "deflated_sharpe_ratio"]
            best = grid.head(SHOWN_VARIANTS)
            title = f"the best {len(best)} of {len(grid)} variants"
            output().print(_table(best, title, columns))
        for name, traded in figures["traded_value"].items():
            if not traded:
                click.echo(
                    f"{name} traded nothing: it had no opinion that its thresholds let through, or "
                    "its inputs are missing (`quant explain`, status and reason of its scores)"
                )
        click.echo(f"report: {page if page.is_file() else 'not drawn (QUANT_REPORTS)'}; {folder}")
    if is_opened and page.is_file() and not webbrowser.open(page.as_uri()):
        click.echo("no browser could be opened: open the file yourself", err=True)


def _table(frame: Any, title: str, columns: list[str] | None = None) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False)
    shown = [name for name in columns or SHOWN_FIGURES if name in frame.columns]
    table.add_column("strategy", no_wrap=True)
    for name in shown:
        table.add_column(name.replace("_", " "), justify="right")
    for row in frame[shown].itertuples():
        cells = (_cell(name, value) for name, value in zip(shown, row[1:], strict=True))
        table.add_row(str(row[0]), *cells)
    return table


def _cell(name: str, value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    if value != value:
        return "-"
    return f"{value:.1%}" if name in PERCENT else f"{value:.3g}"
