"""``quant explain``. What belongs here: following a recommendation back to its inputs and runs."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from quant_assets.cli.show import output
from quant_assets.errors import BadConfigurationError
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.io_managers.quarantine import Quarantine
from quant_assets.markets import Market
from quant_assets.schemas import dataset_of
from quant_assets.schemas.keys import HOUR_FORMAT
from quant_assets.settings import Settings

NEWS = (
    ("news/article_sentiment", "news/articles"),
    ("news/streamed_sentiment", "news/streamed_articles"),
)
"""Tone and articles of each source of news."""
CHAIN = ("prices", "technical_indicators", "technical_score", "news_sentiment", "recommendations")


def explain_recommendation(values: Settings, market: Market, symbol: str, session: date) -> None:
    """Print label, components, indicators, news and the materialization of each input."""
    console = output()
    store = ParquetStore(values.data_place, values.profile)
    key = session.isoformat()
    rows = {name: _row(store, f"{market.key}/{name}", key, symbol) for name in CHAIN}
    final = rows["recommendations"]
    label = "no label" if pd.isna(final["label"]) else final["label"]
    console.print(
        f"[bold]{symbol} {key}: {label}[/bold], decided {final['decision_at']:%Y-%m-%d %H:%M} UTC"
    )
    if not pd.isna(final["reason"]):
        console.print(f"reason: {final['reason']}")
    console.print(
        f"combined {_text(final['combined_score'])} = "
        f"{final['technical_weight']:g} x technical {_text(final['technical_score'])} + "
        f"{final['sentiment_weight']:g} x sentiment {_text(final['sentiment_score'])} "
        f"({final['sentiment_status']})"
    )
    for name in ("technical_score", "technical_indicators", "prices", "news_sentiment"):
        _print_row(console, f"{market.key}/{name}", rows[name])
    _print_articles(console, store, rows["news_sentiment"], symbol)
    _print_lineage(console, store, market, key)


def _row(store: ParquetStore, asset: str, key: str, symbol: str) -> pd.Series:
    frame = store.read(dataset_of(asset), asset, [key])
    found = frame[frame["symbol"] == symbol]
    if found.empty:
        known = ", ".join(frame["symbol"].head(8))
        held = Quarantine(store, asset).held([key])
        for one in held[held["item"] == symbol].itertuples():
            raise BadConfigurationError(
                f"{asset} has no row of {symbol} in {key}: it is held in quarantine ({one.rule}: "
                f"{one.reason}); see `quant quarantine show {asset} {key} {symbol}`"
            )
        raise BadConfigurationError(
            f"{asset} has no row of {symbol} in {key}; its symbols are {known}, ..."
        )
    return found.iloc[0]


def _print_row(console: Console, asset: str, row: pd.Series) -> None:
    units = {c.name: c.unit for c in dataset_of(asset).columns}
    table = Table("column", "value", "unit", title=asset, title_justify="left", box=box.SIMPLE)
    for name, value in row.drop(["session_date", "symbol"]).items():
        table.add_row(str(name), _text(value), units[str(name)])
    console.print(table)


def _print_articles(
    console: Console, store: ParquetStore, sentiment: pd.Series, symbol: str
) -> None:
    """The articles of the decision window, newest first."""
    hours = pd.date_range(
        sentiment["window_start"].floor("h"), sentiment["decision_at"], freq="h", inclusive="left"
    )
    keys = [hour.strftime(HOUR_FORMAT) for hour in hours]
    titled = pd.concat([_titled(store, *pair, keys, symbol) for pair in NEWS], ignore_index=True)
    titled = titled[titled["available_at"] < sentiment["decision_at"]]
    titled = titled.sort_values("available_at").drop_duplicates("article_id")
    if titled.empty:
        console.print("no article about it in the decision window")
        return
    table = Table(
        "published",
        "score",
        "relevance",
        "scorer",
        "title",
        "source",
        title="articles",
        title_justify="left",
        box=box.SIMPLE,
    )
    for row in titled.sort_values("published_at", ascending=False).head(15).itertuples():
        table.add_row(
            f"{row.published_at:%m-%d %H:%M}",
            f"{row.score:+.2f}",
            f"{row.relevance:.2f}",
            row.scorer,
            row.title,
            row.source,
        )
    console.print(table)


def _titled(
    store: ParquetStore, tone: str, articles: str, keys: list[str], symbol: str
) -> pd.DataFrame:
    """The scores of one source of news about ``symbol``, with the headlines."""
    scored = store.load(dataset_of(tone), tone, keys).frame
    titles = store.load(dataset_of(articles), articles, keys).frame
    about = scored[scored["symbol"] == symbol]
    return about.merge(titles[["article_id", "title", "source"]], on="article_id")


def _print_lineage(console: Console, store: ParquetStore, market: Market, key: str) -> None:
    """Version, content hash and run of the partition of each asset in the chain."""
    table = Table(title="made by", title_justify="left", box=box.SIMPLE)
    for column in ("asset", "code", "content hash", "materialized (UTC)", "run"):
        table.add_column(column, no_wrap=True)
    with dg.DagsterInstance.get() as instance:
        for name in CHAIN:
            asset = f"{market.key}/{name}"
            facts = store.info(asset, key)
            records = instance.fetch_materializations(
                dg.AssetRecordsFilter(
                    asset_key=dg.AssetKey(asset.split("/")), asset_partitions=[key]
                ),
                limit=1,
            ).records
            made = datetime.fromtimestamp(records[0].timestamp, UTC) if records else None
            table.add_row(
                asset,
                facts.code_version,
                facts.content_hash[:12],
                f"{made:%F %T}" if made else "unknown to this instance",
                records[0].run_id if records else "",
            )
    console.print(table)


def _text(value: Any) -> str:
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d %H:%M}" if value.tz is not None else f"{value:%Y-%m-%d}"
    if pd.isna(value):
        return "-"
    return f"{value:,.6g}" if isinstance(value, float) else str(value)
