"""Recorded files as vendors. What belongs here: reading and checking them, no HTTP.

``bars.parquet``, ``macro.parquet`` and ``news.parquet`` of one directory, checked at the start.
Bars are split-adjusted already; statistics have their latest value only, published a lag after
the period; stories have a title and a symbol, and no score.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime, time
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet

from quant_assets.errors import BadConfigurationError
from quant_assets.markets import MARKETS, Listing, Market, load_universe
from quant_assets.sandbox import releases
from quant_assets.sandbox.cycle import GRID_END, GRID_START
from quant_assets.sandbox.macro import MISSING, Frequency, VintageSeries, visible_at
from quant_assets.sandbox.news import Feed, Mention, Story
from quant_assets.sandbox.prices import (
    Dividend,
    Security,
    VendorBars,
    exchange_of,
    opening_timestamps,
    split_of,
)
from quant_assets.sandbox.randomness import stable_hash
from quant_assets.sandbox.releases import Days

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "bars.parquet": (
        "market", "symbol", "session", "open", "high", "low", "close", "adj_close", "volume",
        "dividend", "split_ratio",
    ),
    "macro.parquet": ("series_id", "observation_date", "value"),
    "news.parquet": ("published_at", "symbol", "title"),
}  # fmt: skip
MONTHLY_LAG_DAYS, QUARTERLY_LAG_DAYS, WEEKLY_LAG_DAYS = 15, 30, 5
UNSTATED_RELEVANCE = 0.5


def read_recording(data_dir: Path, name: str) -> pd.DataFrame:
    """Recorded file ``name``; a missing file or column is a ``BadConfigurationError``."""
    path = data_dir / name
    if not path.is_file():
        raise BadConfigurationError(
            f"{path} is missing: the directory to replay needs {', '.join(COLUMNS)}"
        )
    try:
        present = parquet.read_schema(path).names
    except (OSError, ValueError) as error:
        raise BadConfigurationError(f"{path} is not a Parquet file: {error}") from error
    if absent := [column for column in COLUMNS[name] if column not in present]:
        raise BadConfigurationError(
            f"{path} has no column {', '.join(absent)}; it needs {', '.join(COLUMNS[name])}"
        )
    return pd.read_parquet(path, columns=list(COLUMNS[name]))


@lru_cache(maxsize=8)
def recorded_listings(data_dir: Path, market_key: str) -> tuple[Listing, ...]:
    """Every recorded symbol of a market, listed from its first to its last bar.

    Names and sectors are those of the shipped universe; a symbol outside it has its own name.
    """
    table = read_recording(data_dir, "bars.parquet")
    spans = table[table["market"] == market_key].groupby("symbol")["session"].agg(["min", "max"])
    if spans.empty:
        raise BadConfigurationError(
            f"{data_dir / 'bars.parquet'} has no bar of market {market_key!r}; leave the market "
            "out, or name its symbols in the universe setting"
        )
    known = {listing.yahoo_symbol: listing for listing in load_universe(market_key)}
    return tuple(
        replace(
            known.get(symbol, Listing(symbol, symbol, symbol, "Unknown")),
            listed_on=first.date(),
            delisted_on=last.date(),
        )
        for symbol, first, last in spans.itertuples()
    )


def first_news_day(data_dir: Path) -> date:
    """The UTC day of the earliest recorded article."""
    return date.fromisoformat(read_recording(data_dir, "news.parquet")["published_at"].min()[:10])


class ReplayPrices:
    """Recorded bars as Yahoo would show them."""

    def __init__(self, data_dir: Path) -> None:
        table = read_recording(data_dir, "bars.parquet")
        if unknown := set(table["market"].unique()) - set(MARKETS):
            raise BadConfigurationError(
                f"{data_dir / 'bars.parquet'}, column market: {', '.join(sorted(unknown))} is "
                f"none of {', '.join(MARKETS)}"
            )
        table = table.sort_values(["symbol", "session"], kind="stable")
        self._groups = {str(key): rows for key, rows in table.groupby("symbol", sort=False)}
        self._all = lru_cache(maxsize=None)(self._whole)

    def symbols(self) -> tuple[str, ...]:
        """Every recorded symbol."""
        return tuple(self._groups)

    def bars(self, symbol: str, now: datetime) -> VendorBars | None:
        """Recorded bars of sessions that have opened by ``now``."""
        if symbol not in self._groups:
            return None
        whole = self._all(symbol)
        count = int(np.searchsorted(whole.timestamps, now.timestamp(), side="right"))
        return None if count == 0 else _first(whole, count)

    def _whole(self, symbol: str) -> VendorBars:
        rows = self._groups[symbol]
        market = MARKETS[str(rows["market"].iloc[0])]
        days = rows["session"].to_numpy().astype("datetime64[D]")
        dividend = rows["dividend"].to_numpy(dtype=np.float64)
        ratio = rows["split_ratio"].to_numpy(dtype=np.float64)
        return VendorBars(
            security=_security(symbol, market),
            days=days,
            timestamps=opening_timestamps(market, days),
            open=rows["open"].to_numpy(dtype=np.float64),
            high=rows["high"].to_numpy(dtype=np.float64),
            low=rows["low"].to_numpy(dtype=np.float64),
            close=rows["close"].to_numpy(dtype=np.float64),
            adjusted_close=rows["adj_close"].to_numpy(dtype=np.float64),
            volume=rows["volume"].to_numpy(dtype=np.int64),
            dividends=tuple(
                Dividend(int(p), float(dividend[p])) for p in np.flatnonzero(dividend > 0)
            ),
            splits=tuple(split_of(int(p), float(ratio[p])) for p in np.flatnonzero(ratio != 1.0)),
        )


def _security(symbol: str, market: Market) -> Security:
    short, long = exchange_of(symbol, market)
    return Security(symbol, symbol, market, short, long, "EQUITY")


def _first(whole: VendorBars, count: int) -> VendorBars:
    return VendorBars(
        security=whole.security,
        days=whole.days[:count],
        timestamps=whole.timestamps[:count],
        open=whole.open[:count],
        high=whole.high[:count],
        low=whole.low[:count],
        close=whole.close[:count],
        adjusted_close=whole.adjusted_close[:count],
        volume=whole.volume[:count],
        dividends=tuple(d for d in whole.dividends if d.position < count),
        splits=tuple(s for s in whole.splits if s.position < count),
    )


class ReplayMacro:
    """Recorded statistics, each value valid from its publication on."""

    def __init__(self, data_dir: Path) -> None:
        table = read_recording(data_dir, "macro.parquet")
        table["observation_date"] = pd.to_datetime(table["observation_date"])
        table = table.sort_values(["series_id", "observation_date"], kind="stable")
        self._groups = {str(key): rows for key, rows in table.groupby("series_id", sort=False)}
        self.series = lru_cache(maxsize=None)(self._series)

    def series_ids(self) -> tuple[str, ...]:
        """Every recorded series."""
        return tuple(self._groups)

    def _series(self, series_id: str) -> VintageSeries | None:
        if series_id not in self._groups:
            return None
        rows = self._groups[series_id]
        dates = rows["observation_date"].to_numpy().astype("datetime64[D]")
        inside = (dates >= np.datetime64(GRID_START)) & (dates <= np.datetime64(GRID_END))
        rows, dates = rows[inside], dates[inside]
        frequency = frequency_of(dates)
        published = publication_days(dates, frequency)
        return VintageSeries(
            series_id=series_id,
            title=series_id,
            units="as recorded",
            frequency=frequency,
            dates=dates,
            realtime_start=published,
            visible_at=visible_at(published, time(7, 31)),
            values=tuple(
                MISSING if np.isnan(value) else repr(float(value)) for value in rows["value"]
            ),
        )


def frequency_of(dates: Days) -> Frequency:
    """Frequency that the usual distance between observations shows."""
    if len(dates) < 2:
        return "Monthly"
    days = float(np.median(np.diff(dates).astype(np.int64)))
    if days < 5:
        return "Daily"
    if days < 20:
        return "Weekly"
    return "Monthly" if days < 60 else "Quarterly"


def publication_days(dates: Days, frequency: Frequency) -> Days:
    """Day of publication: the next business day, or a lag after the end of the period."""
    if frequency == "Daily":
        return releases.next_business_day(dates)
    if frequency == "Weekly":
        return releases.business_day(dates + np.timedelta64(WEEKLY_LAG_DAYS, "D"))
    if frequency == "Monthly":
        return releases.day_of_later_month(dates, 1, MONTHLY_LAG_DAYS)
    return releases.day_of_later_month(dates, 3, QUARTERLY_LAG_DAYS)


class ReplayNews:
    """Recorded headlines as Alpha Vantage and RSS would show them."""

    def __init__(self, data_dir: Path) -> None:
        table = read_recording(data_dir, "news.parquet")
        published = pd.to_datetime(table["published_at"], utc=True)
        table["published_at"] = published.dt.tz_localize(None)
        table = table.sort_values(["published_at", "symbol", "title"], kind="stable")
        self._published = table["published_at"].to_numpy().astype("datetime64[s]").astype(np.int64)
        self._symbols = table["symbol"].to_numpy(dtype=object)
        self._titles = table["title"].to_numpy(dtype=object)
        self._of_symbol = {
            str(symbol): np.flatnonzero(self._symbols == symbol)
            for symbol in table["symbol"].unique()
        }
        self._everything = np.arange(len(table))

    def covers(self, symbol: str) -> bool:
        """Whether a recorded story is about ``symbol``."""
        return symbol in self._of_symbol

    def stories(
        self, first: int, last: int, symbol: str | None, newest_first: bool
    ) -> Iterator[Story]:
        """Stories published from ``first`` to ``last`` inclusive, in order of time, lazily."""
        rows = self._everything if symbol is None else self._of_symbol.get(symbol, np.empty(0, int))
        published = self._published[rows]
        low = int(np.searchsorted(published, first, side="left"))
        high = int(np.searchsorted(published, last, side="right"))
        chosen = rows[low:high]
        for row in chosen[::-1] if newest_first else chosen:
            yield self._story(int(row))

    def _story(self, row: int) -> Story:
        published, symbol = int(self._published[row]), str(self._symbols[row])
        title = str(self._titles[row])
        digest = stable_hash(published, symbol, title)
        feed: Feed = "korea" if symbol.endswith((".KS", ".KQ")) else "companies"
        if row % 4 == 0 and feed == "companies":
            feed = "markets"
        return Story(
            published=published,
            title=title,
            url=f"https://www.recorded.example/{published}/{digest:016x}",
            summary="",
            source="Recorded",
            domain="recorded.example",
            category="n/a",
            author="",
            topics=(),
            score=None,
            mentions=(Mention(symbol, UNSTATED_RELEVANCE, None),),
            feed=feed,
        )
