"""Recommendations for people and programs. What belongs here: loading, ordering, printing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from quant_assets.domain.forecast_config import FORECAST
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
    store = ParquetStore(values.data_place, values.profile)
    asset = f"{market.key}/recommendations"
    key = session.isoformat() if session else _last_key(store, asset)
    frame = store.read(dataset_of(asset), asset, [key])
    frame = frame.sort_values("combined_score", ascending=False, kind="stable", ignore_index=True)
    if form != "table":
        print_frame(frame, form)
        return
    names = {listing.symbol: listing.name for listing in values.universe(market.key)}
    output().print(_table(frame, market, key, names, store))


def _table(
    frame: pd.DataFrame, market: Market, key: str, names: Mapping[str, str], store: ParquetStore
) -> Table:
    """The recommendations of a session; where forecasts are stored, beside them."""
    import pandas as pd

    forecasts = _forecasts(store, market, key)
    decision_at = frame["decision_at"].iloc[0]
    table = Table(
        title=f"{market.name} {key}, decision at the open of {decision_at:%F %R} UTC",
        title_justify="left",
        box=box.SIMPLE,
        pad_edge=False,
        caption=_caption(store, market, key) if forecasts else None,
        caption_justify="left",
    )
    table.add_column("symbol", no_wrap=True)
    table.add_column("name", no_wrap=True, max_width=22)
    table.add_column("label", no_wrap=True)
    for column in ("combined", "technical", "sentiment"):
        table.add_column(column, justify="right", no_wrap=True)
    if forecasts:
        table.add_column("forecast", justify="right", no_wrap=True)
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
            *([forecasts.get(str(row.symbol), "")] if forecasts else []),
            row.sentiment_status if not pd.isna(row.label) else str(row.reason),
        )
    return table


def _forecasts(store: ParquetStore, market: Market, key: str) -> dict[str, str]:
    """The expected excess return of each symbol in percent, where a forecast is stored."""
    rows = _stored(store, f"{market.key}/return_forecast", key)
    return {
        str(symbol): f"{100 * value:+.2f}%"
        for symbol, value in zip(rows["symbol"], rows["expected_return"], strict=True)
        if not math.isnan(value)
    }


def _caption(store: ParquetStore, market: Market, key: str) -> str:
    """What the column of forecasts means and what they are worth."""
    told = f"forecast: return of the next {FORECAST.horizon} sessions less the symbols' mean"
    rows = _stored(store, f"{market.key}/forecast_skill", key)
    if rows.empty:
        return told
    return f"{told}; {rows['verdict'].iloc[-1]}: {rows['explanation'].iloc[-1]}"


def _stored(store: ParquetStore, asset: str, key: str) -> pd.DataFrame:
    """The rows of a partition, none if it is not stored."""
    return store.load(dataset_of(asset), asset, [key]).frame


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
