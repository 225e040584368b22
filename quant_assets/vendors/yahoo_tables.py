"""Yahoo's charts as tables. What belongs here: reading one answer; no requests.

Bars come from yfinance's frame, events from the chart itself.
"""

import math
from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from quant_assets.errors import BadDataError

PRICES = ("open", "high", "low", "close")
MOST_OF_A_DAY = 20 * 3600
"""Bars at least so many seconds apart are of different days."""


def chart_bars(
    symbol: str, frame: pd.DataFrame, start: date, end: date
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the complete bars of yfinance's ``frame`` in the range, the last one of a date.

    Beside them the earlier rows of a date that differ from its last one.
    """
    if frame.empty:
        return no_bars(), no_bars()
    days = pd.DatetimeIndex(frame.index).tz_localize(None).to_numpy().astype("datetime64[D]")
    prices = frame[[name.capitalize() for name in PRICES]].to_numpy(dtype="float64")
    is_wanted = (days >= np.datetime64(start)) & (days <= np.datetime64(end))
    kept = np.flatnonzero(is_wanted & ~np.isnan(prices).any(axis=1))
    kept = kept[np.argsort(days[kept], kind="stable")]
    bars = pd.DataFrame(
        {
            "symbol": pd.array([symbol] * len(kept), dtype="str"),
            "session_date": days[kept].astype("datetime64[us]"),
            **{name: prices[kept, n] for n, name in enumerate(PRICES)},
            "volume": frame["Volume"].to_numpy(dtype="int64")[kept],
        }
    )
    if (days[kept][1:] > days[kept][:-1]).all():
        return bars, no_bars()
    bars = bars.drop_duplicates(ignore_index=True)
    is_repeated = bars.duplicated("session_date", keep="last")
    return bars[~is_repeated].reset_index(drop=True), bars[is_repeated].reset_index(drop=True)


def chart_events(symbol: str, chart: dict[str, Any], start: date, end: date) -> pd.DataFrame:
    """Return the events of a chart by exchange-local date.

    They are read from Yahoo's answer: yfinance moves an event on a date without a bar to the bar
    before, and drops it when there are no bars at all.
    """
    told = chart.get("events") or {}
    zone = chart["meta"]["exchangeTimezoneName"]
    dividends: dict[pd.Timestamp, float] = {}
    splits: dict[pd.Timestamp, float] = {}
    for entry in (told.get("dividends") or {}).values():
        day = _local_date(symbol, entry["date"], zone)
        dividends[day] = dividends.get(day, 0.0) + float(entry["amount"])
    for entry in (told.get("splits") or {}).values():
        day = _local_date(symbol, entry["date"], zone)
        ratio = _positive(symbol, "split numerator", entry["numerator"]) / _positive(
            symbol, "split denominator", entry["denominator"]
        )
        splits[day] = splits.get(day, 1.0) * ratio
    days = sorted(
        day
        for day in dividends.keys() | splits.keys()
        if pd.Timestamp(start) <= day <= pd.Timestamp(end)
    )
    return pd.DataFrame(
        {
            "symbol": pd.Series([symbol] * len(days), dtype="str"),
            "event_date": np.array(days, dtype="datetime64[us]"),
            "dividend": np.array([dividends.get(day, 0.0) for day in days], dtype="float64"),
            "split_ratio": np.array([splits.get(day, 1.0) for day in days], dtype="float64"),
        }
    )


def _local_date(symbol: str, timestamp: Any, zone: str) -> pd.Timestamp:
    if not isinstance(timestamp, int):
        raise BadDataError(f"Yahoo {symbol}: the date of an event is {timestamp!r}")
    return pd.Timestamp(timestamp, unit="s", tz=zone).tz_localize(None).normalize()


def _positive(symbol: str, name: str, value: Any) -> float:
    number = float(value)
    if not (math.isfinite(number) and number > 0.0):
        raise BadDataError(f"Yahoo {symbol}: a {name} is {value!r}")
    return number


def warts(chart: dict[str, Any]) -> str:
    """Say what had to be left out of a chart: doubled rows, rows without a price."""
    stamps = chart.get("timestamp") or []
    if not stamps:
        return "no bars in the answer"
    quote = chart["indicators"]["quote"][0]
    doubled = holes = 0
    if np.diff(stamps, append=stamps[-1] + MOST_OF_A_DAY).min() < MOST_OF_A_DAY:
        days = pd.to_datetime(stamps, unit="s", utc=True).tz_convert(
            chart["meta"]["exchangeTimezoneName"]
        )
        doubled = len(stamps) - days.normalize().nunique()
    if any(None in quote[name] for name in PRICES):
        holes = sum(None in row for row in zip(*(quote[name] for name in PRICES), strict=True))
    notes = []
    if doubled:
        notes.append(f"{doubled} doubled rows dropped")
    if holes:
        notes.append(f"{holes} rows without a price dropped")
    return "; ".join(notes)


def no_bars() -> pd.DataFrame:
    """Return an empty table of bars."""
    return pd.DataFrame(
        {
            "symbol": pd.Series([], dtype="str"),
            "session_date": pd.Series([], dtype="datetime64[us]"),
            **{name: pd.Series([], dtype="float64") for name in PRICES},
            "volume": pd.Series([], dtype="int64"),
        }
    )


def no_events() -> pd.DataFrame:
    """Return an empty table of events."""
    return pd.DataFrame(
        {
            "symbol": pd.Series([], dtype="str"),
            "event_date": pd.Series([], dtype="datetime64[us]"),
            "dividend": pd.Series([], dtype="float64"),
            "split_ratio": pd.Series([], dtype="float64"),
        }
    )


def stack(frames: Sequence[pd.DataFrame], empty: pd.DataFrame) -> pd.DataFrame:
    """Join the frames of all symbols, sorted by symbol and date."""
    filled = [frame for frame in frames if not frame.empty]
    if not filled:
        return empty
    return pd.concat(filled, ignore_index=True).sort_values(
        list(empty.columns[:2]), ignore_index=True
    )
