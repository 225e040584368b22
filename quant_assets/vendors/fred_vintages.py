"""Tables of vintages. What belongs here: pure rules on ALFRED's rows; no request, no key.

A row says that an observation had a value from ``realtime_start`` to ``realtime_end``, cut to the
real-time period that was asked for.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

OBSERVATION_COLUMNS = ("series_id", "observation_date", "value", "realtime_start", "realtime_end")
RELEASE_COLUMNS = ("release_date", "series_id", "observation_date", "value", "realtime_start")


MISSING = "."


class Releases(NamedTuple):
    """What was new or revised in a period (``RELEASE_COLUMNS``), and what was known in it.

    ``known`` has ``OBSERVATION_COLUMNS``: the values that were valid on the day before the period
    or in it, at least those of the news and of the observations before them. It is empty if
    nothing was released.
    """

    news: pd.DataFrame
    known: pd.DataFrame


def observation_table(series_id: str, records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The typed table of ``OBSERVATION_COLUMNS`` from FRED's rows; ``.`` becomes NaN.

    Raises ``KeyError``, ``TypeError`` or ``ValueError`` for a row that is none.
    """
    texts = [row["value"] for row in records]
    values = [np.nan if text == MISSING else float(text) for text in texts]
    return pd.DataFrame(
        {
            "series_id": pd.Series([series_id] * len(records), dtype="str"),
            "observation_date": days_of([row["date"] for row in records]),
            "value": np.array(values, dtype="float64"),
            "realtime_start": days_of([row["realtime_start"] for row in records]),
            "realtime_end": days_of([row["realtime_end"] for row in records]),
        }
    )


def releases_of(known: pd.DataFrame, first: date) -> Releases:
    """Part from ``known`` (of the day before ``first`` and later) what appeared since ``first``."""
    news = known[known["realtime_start"] >= np.datetime64(first)]
    news = news.assign(release_date=news["realtime_start"])
    news = news.sort_values(["release_date", "observation_date"], ignore_index=True)
    return Releases(news[list(RELEASE_COLUMNS)], known)


def holds_all_news(table: pd.DataFrame, before: date, count: int, measure: int) -> bool:
    """Whether the ``count`` rows that began after ``before`` are all in ``table``.

    ``table`` holds the rows of the newest observations. There must be at least ``measure`` older
    observations than each new row has.
    """
    news = table[table["realtime_start"] > np.datetime64(before)]
    news = news.drop_duplicates(["observation_date", "realtime_start"])
    if len(news) != count or news.empty:
        return False
    dates = table["observation_date"]
    return bool(dates[dates < news["observation_date"].min()].nunique() >= measure)


def invisible_vintages(table: pd.DataFrame, vintages: Iterable[date]) -> list[date]:
    """Those of ``vintages`` on which nothing in ``table`` begins and nothing ended the day before.

    ``table`` covers the day before the first of them. A vintage that only removes an observation
    shows itself by an end alone.
    """
    begun = set(table["realtime_start"].dt.date)
    ended = set(table["realtime_end"].dt.date)
    return [day for day in vintages if day not in begun and day - timedelta(days=1) not in ended]


def split_period(first: date, last: date, chunk_days: int) -> Iterator[tuple[date, date]]:
    """Yield adjoining periods of at most ``chunk_days`` days that cover ``[first, last]``."""
    start = first
    while start <= last:
        end = min(start + timedelta(days=chunk_days - 1), last)
        yield start, end
        start = end + timedelta(days=1)


def merge_equal_neighbours(frame: pd.DataFrame) -> pd.DataFrame:
    """Join rows of one observation whose periods adjoin and whose values are equal.

    FRED cuts realtime_start and realtime_end to the period asked for, so a value that outlives a
    chunk comes once a chunk.
    """
    if frame.empty:
        return frame[list(OBSERVATION_COLUMNS)]
    frame = frame.sort_values(["observation_date", "realtime_start"], ignore_index=True)
    previous = frame.shift(1)
    same_value = (frame["value"] == previous["value"]) | (
        frame["value"].isna() & previous["value"].isna()
    )
    adjoins = frame["realtime_start"] <= previous["realtime_end"] + np.timedelta64(1, "D")
    same_date = frame["observation_date"] == previous["observation_date"]
    run = (~(same_date & same_value & adjoins)).cumsum()
    grouped = frame.groupby(run, sort=True)
    merged = grouped.first()
    merged["value"] = frame["value"][~run.duplicated()].to_numpy()
    merged["realtime_end"] = grouped["realtime_end"].max()
    return merged.reset_index(drop=True)[list(OBSERVATION_COLUMNS)]


def days_of(texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.datetime64]]:
    """Dates of ISO 8601 texts. Raises ``ValueError`` for another text."""
    return np.array(texts, dtype="datetime64[D]").astype("datetime64[us]")
