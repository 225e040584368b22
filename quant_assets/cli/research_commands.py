"""``quant backtest`` and ``quant report``. What belongs here: their arguments."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from quant_assets.cli.options import DATE, MARKET, PROFILE
from quant_assets.errors import BadConfigurationError

OPEN = click.option("--open", "is_opened", is_flag=True, help="Open the report in the browser.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print for programs.")


@click.command()
@PROFILE
@click.option("--market", "market_key", type=MARKET, default="us", show_default=True)
@click.option("--from", "first", type=DATE, required=True, help="First session.")
@click.option("--to", "last", type=DATE, help="Last session; default the last complete one.")
@click.option("--symbols", help="Symbols of the universe, with commas; default all.")
@click.option(
    "--strategies", help="As QUANT_STRATEGIES, or @FILE with such JSON; default the settings'."
)
@click.option("--rule", "rules", multiple=True, metavar="NAME=VALUE", help="Cost or limit.")
@click.option(
    "--grid",
    multiple=True,
    metavar="FIELD=V1,V2",
    help="Vary the live strategy, e.g. enter=0.1,0.2; several make a grid.",
)
@click.option("--name", default="", help="Name of the results; default sessions and a hash.")
@OPEN
@JSON
def backtest(
    profile: str | None,
    market_key: str,
    first: datetime,
    last: datetime | None,
    symbols: str | None,
    strategies: str | None,
    rules: tuple[str, ...],
    grid: tuple[str, ...],
    name: str,
    *,
    is_opened: bool,
    as_json: bool,
) -> None:
    """What strategies would have done over stored sessions, with the paper book's own functions.

    The run is one of the job `backtest`: the UI has its figures and picture. Tables and report are
    kept in results/MARKET/backtests/NAME of the profile's directory.
    """
    asked: dict[str, Any] = {
        "market": market_key,
        "first": first.date().isoformat(),
        "symbols": [one.strip() for one in (symbols or "").split(",") if one.strip()],
        "strategies": _json_list(strategies),
        "rules": {key: _value(text) for key, text in _pairs("--rule", rules)},
        "grid": {
            key: [_value(one) for one in text.split(",")] for key, text in _pairs("--grid", grid)
        },
        "name": name,
    }
    from quant_assets.cli.instance import open_profile

    values = open_profile(profile)
    from quant_assets.cli.research import print_results, run_backtest_job

    folder = run_backtest_job(values, asked, last.date() if last else None)
    if folder is None:
        sys.exit(1)
    print_results(folder, as_json=as_json, is_opened=is_opened)


@click.command()
@PROFILE
@click.option("--market", "market_key", type=MARKET, default="us", show_default=True)
@click.option("--session", type=DATE, help="Of the paper book; default the last one.")
@click.option("--backtest", "name", help="Of the backtest of this name, or `last`.")
@OPEN
@JSON
def report(
    profile: str | None,
    market_key: str,
    session: datetime | None,
    name: str | None,
    *,
    is_opened: bool,
    as_json: bool,
) -> None:
    """Show figures and place of a report: of the paper book, or of a backtest.

    Every run of paper trading makes one of the whole book.
    """
    if session and name:
        raise click.UsageError("--session is of the paper book, --backtest of a backtest: one only")
    from quant_assets.cli.instance import open_profile

    values = open_profile(profile)
    from quant_assets.cli.research import find_results, print_results

    key = f"{session:%Y-%m-%d}" if session else None
    folder = find_results(values.results_dir / market_key, key, name)
    print_results(folder, as_json=as_json, is_opened=is_opened)


def _pairs(option: str, texts: tuple[str, ...]) -> list[tuple[str, str]]:
    pairs = [_pair(text) for text in texts]
    for key, _ in pairs:
        if [name for name, _ in pairs].count(key) > 1:
            raise click.UsageError(f"{option} {key} is given twice: one with all its values")
    return pairs


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name.strip() or not value.strip():
        raise click.UsageError(f"{text!r}: give NAME=VALUE")
    return name.strip(), value.strip()


def _value(text: str) -> object:
    """A number or a truth value where it is one, else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text.strip()


def _json_list(text: str | None) -> list[dict[str, Any]]:
    if not text:
        return []
    try:
        content = Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text
        found = json.loads(content)
    except OSError as error:
        raise BadConfigurationError(f"--strategies: {error}") from None
    except ValueError as error:
        raise BadConfigurationError(f"--strategies is not JSON ({error})") from None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise BadConfigurationError('--strategies: give a JSON list, [{"id": ..., "kind": ...}]')
    return found
