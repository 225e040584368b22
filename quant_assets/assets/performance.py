"""How the paper book has done. What belongs here: the performance asset of a market.

It rests on all sessions of the book, so it has no partitions: each run evaluates the whole book,
live strategy and shadows, and puts figures, tables and report of the last session into the results.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from quant_assets import naming
from quant_assets.assets.common import markdown_table
from quant_assets.errors import BadDataError, MissingPartitionError
from quant_assets.markets import Market
from quant_assets.partitions import session_of
from quant_assets.policies import typed_failures
from quant_assets.resources import ClockResource, SettingsResource, StoreResource
from quant_assets.schemas import dataset_of

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from quant_assets.domain.evaluation import Evaluation, Records
    from quant_assets.io_managers.parquet_store import ParquetStore
    from quant_assets.reports.page import Variants
    from quant_assets.settings import Settings

SCORED_SESSIONS = 260
"""Last sessions whose scores and labels are judged: a year and the horizon of what followed."""
SHOWN_FIGURES = (
    "total_return",
    "cagr",
    "annual_volatility",
    "sharpe_ratio",
    "max_drawdown",
    "beta",
    "annual_turnover",
    "win_rate",
    "ic_mean",
)


NOT_REAL = {
    "sandbox": "Simulated data: prices and news of the profile sandbox are made up.",
    "replay": "Recorded data: the profile replay shows the market of a recording.",
}
"""What a report of a profile must say: whoever is sent it does not know where it was made."""


def build_performance(market: Market) -> dg.AssetsDefinition:
    """The performance asset of ``market``."""

    @dg.asset(
        key=[market.key, "performance"],
        deps=[[market.key, name] for name in naming.PERFORMANCE_INPUTS],
        group_name=naming.GROUP_TRADING,
        description=(
            "How the books have done since they began: figures, trades and a report, of the live "
            "strategy and of the shadows."
        ),
        kinds={"python", "html"},
        owners=[naming.OWNER],
        code_version="1",
    )
    def performance(platform: SettingsResource, store: StoreResource, clock: ClockResource) -> Any:
        from quant_assets.domain.evaluation import evaluate

        with typed_failures():
            settings = platform.settings()
            found = evaluate(book_records(market, store.open(), settings))
            last = found.equity.index[-1].date()
            folder = settings.results_dir / market.key / "book" / last.isoformat()
            title = f"{market.name}, paper book"
            drawn = title if settings.reports else None
            profile = settings.profile
            keep_results(folder, found, drawn, clock.now(), profile, facts={"kind": "book"})
            return dg.MaterializeResult(metadata=performance_facts(found, folder))

    return performance


def book_records(market: Market, store: "ParquetStore", settings: "Settings") -> "Records":
    """What is stored of the market's book: entries of all its sessions, scores of the last ones.

    Raises ``MissingPartitionError`` if there is no book, ``BadDataError`` naming the first session
    that is missing in it.
    """
    import pandas as pd

    from quant_assets.domain.evaluation import COUNTED, Records

    asset = f"{market.key}/ledger"
    keys = store.list_partitions(asset)
    if not keys:
        raise MissingPartitionError(
            f"{asset} is not stored: make the book first, `quant run --market {market.key}`"
        )
    all_keys = [d.isoformat() for d in market.sessions(session_of(keys[0]), session_of(keys[-1]))]
    if holes := store.missing(asset, all_keys):
        raise BadDataError(
            f"{asset}: {holes[0]} is missing between {keys[0]} and {keys[-1]}: make it and the "
            f"sessions after it, `quant run --market {market.key} --from {holes[0]}`"
        )
    dataset = dataset_of(asset)
    entries = store.read(dataset, asset, all_keys[:-1], only={"kind": COUNTED})
    ledger = pd.concat([entries, store.read(dataset, asset, all_keys[-1:])], ignore_index=True)
    recent = all_keys[-SCORED_SESSIONS:]

    def rows(name: str, of: list[str]) -> "pd.DataFrame":
        return store.load(dataset_of(f"{market.key}/{name}"), f"{market.key}/{name}", of).frame

    risk = rows("risk", all_keys).drop_duplicates("session_date")
    return Records(
        market=market.key,
        strategies=settings.strategies(),
        ledger=ledger,
        signals=rows("signals", recent),
        recommendations=rows("recommendations", recent),
        prices=rows("prices", recent),
        benchmark=risk.set_index("session_date")["benchmark_return"],
    )


def keep_results(
    folder: "Path",
    found: "Evaluation",
    title: str | None,
    now: datetime,
    profile: str,
    facts: dict[str, Any],
    variants: "Variants | None" = None,
    more: "dict[str, pd.DataFrame] | None" = None,
) -> None:
    """Write the tables of an evaluation and, with a ``title``, its report.

    ``profile`` says whether the data are real; ``more`` are further tables by name.
    """
    import pandas as pd

    from quant_assets.io_managers.results import write_results
    from quant_assets.reports.page import render_report

    first, last = (f"{day:%Y-%m-%d}" for day in (found.equity.index[0], found.equity.index[-1]))
    trips = [table.assign(strategy_id=name) for name, table in found.trips.items()]
    tables = {
        "figures": found.figures.rename_axis("strategy_id"),
        "equity": found.equity.rename_axis("session_date"),
        "returns": found.returns.join(found.benchmark.rename("benchmark")),
        "orders": found.orders,
        "fills": found.fills,
        "positions": found.positions,
        "round_trips": pd.concat(trips, ignore_index=True),
        **(more or {}),
    }
    subtitle = f"{first} to {last}, {len(found.equity)} sessions"
    page = None
    if title:
        notes = [NOT_REAL[profile]] if profile in NOT_REAL else []
        page = render_report(
            found, title=title, subtitle=subtitle, made_at=now, notes=notes, variants=variants
        )
    strategies = {one.id: one.version for one in found.strategies}
    about = {
        "profile": profile,
        "market": found.market,
        "first": first,
        "last": last,
        "strategies": strategies,
    }
    write_results(folder, tables, page, {**about, **facts, "made_at": now.isoformat()})


def performance_facts(found: "Evaluation", folder: "Path") -> dict[str, Any]:
    """What the UI shows of an evaluation: figures side by side, curves, where the report is."""
    from quant_assets.assets.pictures import equity_picture
    from quant_assets.io_managers.results import PAGE

    shown = found.figures[list(SHOWN_FIGURES)]
    others = found.equity.columns.drop(found.live)
    rows = [
        [name + (" (live)" if name == found.live else ""), *values]
        for name, values in zip(shown.index, shown.to_numpy().tolist(), strict=True)
    ]
    live = shown.loc[[found.live]].iloc[0].to_dict()
    numbers = {f"live_{name}": float(value) for name, value in live.items() if value == value}
    return {
        "figures": markdown_table(["strategy", *SHOWN_FIGURES], rows),
        "picture": equity_picture(found.equity[[found.live, *others]], found.benchmark),
        "results": dg.MetadataValue.path(
            str(folder / PAGE if (folder / PAGE).exists() else folder)
        ),
        "sessions": len(found.equity),
        **numbers,
    }
