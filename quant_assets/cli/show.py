"""Recommendations for people and programs. What belongs here: loading, ordering, printing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import date
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from quant_assets.errors import MissingPartitionError
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.markets import Market
from quant_assets.schemas import dataset_of
from quant_assets.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

NARROWEST = 140
LABEL_STYLES = {
    "STRONG_BUY": "bold green",
    "BUY": "green",
    "HOLD": "",
    "SELL": "red",
    "STRONG_SELL": "bold red",
}


def print_recommendations(
    values: Settings, market: Market, session: date | None, form: str
) -> None:
    """Print the recommendations of ``session`` (default: the last stored) as table, JSON or CSV."""
    import pandas as pd

    store = ParquetStore(values.data_dir, values.profile)
    asset = f"{market.key}/recommendations"
    key = session.isoformat() if session else _last_key(store, asset)
    frame = store.read(dataset_of(asset), asset, [key])
    frame = frame.sort_values("combined_score", ascending=False, kind="stable", ignore_index=True)
    if form != "table":
        print_frame(frame, form)
        return
    names = {listing.symbol: listing.name for listing in values.universe(market.key)}
    decision_at = frame["decision_at"].iloc[0]
    table = Table(
        title=f"{market.name} {key}, decision at the open of {decision_at:%F %R} UTC",
        title_justify="left",
        box=box.SIMPLE,
        pad_edge=False,
    )
    table.add_column("symbol", no_wrap=True)
    table.add_column("name", no_wrap=True, max_width=22)
    table.add_column("label", no_wrap=True)
    for column in ("combined", "technical", "sentiment"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("news")
    rows: Iterable[Any] = frame.itertuples()
    for row in rows:
        label = "" if pd.isna(row.label) else str(row.label)
        style = LABEL_STYLES.get(label, "dim")
        table.add_row(
            row.symbol,
            names.get(row.symbol, ""),
            f"[{style}]{label}[/]" if style else label,
            *(number(v) for v in (row.combined_score, row.technical_score, row.sentiment_score)),
            row.sentiment_status if not pd.isna(row.label) else str(row.reason),
        )
    output().print(table)


def output() -> Console:
    """Standard output; piped text is as wide as its tables need, not cut at 80 columns."""
    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, NARROWEST))


def print_frame(frame: pd.DataFrame, form: str) -> None:
    """Print a frame as JSON records or CSV; dates and instants in ISO 8601."""
    if form == "json":
        print(frame.to_json(orient="records", date_format="iso", indent=2))
    else:
        print(frame.to_csv(index=False), end="")


def number(value: float) -> str:
    """A signed score with three decimals, empty if unknown."""
    return "" if math.isnan(value) else f"{value:+.3f}"


def _last_key(store: ParquetStore, asset: str) -> str:
    keys = store.list_partitions(asset)
    if not keys:
        raise MissingPartitionError(f"{asset}: nothing is stored yet; `quant run` makes it")
    return keys[-1]
