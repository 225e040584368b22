"""Which macro values can be trusted. What belongs here: rules on vintages; no I/O, no clock.

What cannot be true (a value a hundred times off) keeps a row out of the dataset: ``unit_errors``.
What is only strange (an overdue series, a hole, missing values) is stored and reported:
``doubtful``. Every rule sees what was known on the day it judges, and nothing later.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd

from quant_assets.domain.macro import as_known
from quant_assets.domain.macro_series import MacroSeries

HISTORY_DAYS = 500
"""Release days behind the last one that ``doubtful`` looks at: a yearly release and its delay."""
UNIT_FACTOR = 50.0
"""A value this far above or below all that came before is in another unit.

Units are off by 100 or 1,000. The widest real step of the shipped series is that of the initial
claims of March 2020, 12 times the week before. Of 146,755 recorded values of 49 series 11 are
taken for errors, all of one overnight facility that the Federal Reserve switched on and off.
"""
MEMORY_OBSERVATIONS = 12
MEMORY_DAYS = 800
"""Observations behind a value that are its measure, and how old they may be."""
LEAST_MEMORY = 3
NEAR_ZERO = 0.25
"""No measure: rates near zero multiply within weeks (Treasury bills went from 1.7 to 0.03 in 2008).
"""
SPREAD = 10.0
"""Values this many times away from the median of a memory are not part of the measure."""


class Finding(NamedTuple):
    """Something strange about a series on a day."""

    rule: str
    day: date
    series_id: str
    detail: str


def unit_errors(news: pd.DataFrame, history: pd.DataFrame) -> list[str]:
    """Why each row of ``news`` is in another unit than the history; empty where it is not.

    In: series_id, observation_date, value, realtime_start (the day of its release); ``history``
    has the same columns and may contain the rows themselves. A value is measured by up to
    ``MEMORY_OBSERVATIONS`` observations before it and by its own earlier vintage, as known on its
    day. It must be ``UNIT_FACTOR`` times away from all of them that are not outliers themselves.
    Not judged are zeros, missing values, and values whose memory is short, changes its sign or
    comes near zero. Out: one text a row.
    """
    reasons = [""] * len(news)
    known = history[history["value"].notna()]
    memories = {str(key): _Memory(rows) for key, rows in known.groupby("series_id")}
    for key, places in news.groupby("series_id").indices.items():
        memory = memories.get(str(key))
        if memory is not None:
            for place, reason in _unit_errors(news.iloc[places], memory):
                reasons[places[place]] = reason
    return reasons


def _unit_errors(rows: pd.DataFrame, memory: "_Memory") -> Iterator[tuple[int, str]]:
    values = rows["value"].to_numpy(dtype=float)
    dates = rows["observation_date"].to_numpy().astype("datetime64[D]")
    released = rows["realtime_start"].to_numpy().astype("datetime64[D]")
    for place in memory.candidates(dates, values):
        measure = memory.measure(dates[place], released[place])
        if reason := _misfit(float(values[place]), measure):
            yield int(place), reason


def _misfit(value: float, measure: np.ndarray) -> str:
    """Why ``value`` is in another unit than the values of ``measure``, or nothing."""
    signs = np.unique(np.sign(measure))
    if len(measure) < LEAST_MEMORY or len(signs) > 1 or np.sign(value) != signs[0]:
        return ""
    sizes = np.abs(measure)
    usual = float(np.median(sizes))
    sizes = sizes[(sizes < usual * SPREAD) & (sizes > usual / SPREAD)]
    if len(sizes) < LEAST_MEMORY or sizes.min() < NEAR_ZERO:
        return ""
    size = abs(value)
    if sizes.min() / UNIT_FACTOR < size < sizes.max() * UNIT_FACTOR:
        return ""
    return (
        f"{value:,.6g} is {size / usual:.4g} times the usual size {usual:,.6g} of the "
        f"{len(sizes)} values before"
    )


class _Memory:
    """The values of one series that are not missing, by observation date, then by vintage."""

    def __init__(self, rows: pd.DataFrame) -> None:
        rows = rows.sort_values(["observation_date", "realtime_start"])
        self._values = rows["value"].to_numpy(dtype=float)
        self._starts = rows["realtime_start"].to_numpy().astype("datetime64[D]")
        dates = rows["observation_date"].to_numpy().astype("datetime64[D]")
        self._dates, self._first = np.unique(dates, return_index=True)
        self._last = np.append(self._first[1:], len(rows))
        sizes = np.abs(self._values)
        self._low = _rolling(np.minimum.reduceat(sizes, self._first), "min")
        self._high = _rolling(np.maximum.reduceat(sizes, self._first), "max")

    def candidates(self, dates: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Places of values that are far from some value around them: few of a long history."""
        place = np.searchsorted(self._dates, dates, side="right") - 1
        sizes = np.abs(values)
        with np.errstate(invalid="ignore"):
            is_far = (sizes >= UNIT_FACTOR * self._low[place]) | (
                sizes <= self._high[place] / UNIT_FACTOR
            )
        return np.flatnonzero(is_far & (place >= 0) & (sizes > 0))

    def measure(self, day: np.datetime64, released: np.datetime64) -> np.ndarray:
        """Last value known at a release of each observation before ``day``, and its own before."""
        end = int(np.searchsorted(self._dates, day, side="right"))
        found = []
        for place in range(max(0, end - MEMORY_OBSERVATIONS - 1), end):
            is_own = self._dates[place] == day
            if not is_own and day - self._dates[place] > np.timedelta64(MEMORY_DAYS, "D"):
                continue
            starts = self._starts[self._first[place] : self._last[place]]
            count = int(np.searchsorted(starts, released, side="left" if is_own else "right"))
            if count:
                found.append(self._values[self._first[place] + count - 1])
        return np.array(found)


def _rolling(values: np.ndarray, statistic: str) -> np.ndarray:
    window = pd.Series(values).rolling(MEMORY_OBSERVATIONS + 1, min_periods=1)
    result: np.ndarray = getattr(window, statistic)().to_numpy()
    return result


def doubtful(
    observations: pd.DataFrame, series: Iterable[MacroSeries], first: date, last: date
) -> list[Finding]:
    """What is strange about the series as known at the end of ``last``.

    ``observations`` (series_id, observation_date, value, realtime_start) are all releases from
    ``first`` to ``last``. Rules: ``overdue`` (no release for longer than the frequency allows),
    ``hole`` (an observation left out between two) and ``missing`` (published as missing, for
    daily and weekly series several in a row). Holes and missing values count from ``first`` on,
    because of older observations only the revised ones are among the releases.
    """
    known = as_known(observations, last)
    released = observations.groupby("series_id")["realtime_start"].max()
    found: list[Finding] = []
    for item in series:
        newest = released.get(item.series_id)
        since = first if newest is None else newest.date()
        found += _overdue(item, since, last, has_release=newest is not None)
        rows = known[
            (known["series_id"] == item.series_id)
            & (known["observation_date"] >= pd.Timestamp(first))
        ]
        found += _holes(item, rows)
        found += _missing(item, rows)
    return found


def _overdue(
    series: MacroSeries, since: date, last: date, *, has_release: bool
) -> Iterator[Finding]:
    limit = series.rhythm.overdue_weekdays
    days = weekdays_between(since, last)
    if days <= limit:
        return
    what = f"last release {since}" if has_release else f"no release since {since}"
    yield Finding(
        "overdue",
        last,
        series.series_id,
        f"{what}, {days} weekdays before; a {series.frequency} series may be silent for {limit}",
    )


def _holes(series: MacroSeries, rows: pd.DataFrame) -> Iterator[Finding]:
    rhythm = series.rhythm
    dates: list[date] = rows["observation_date"].dt.date.tolist()
    for before, after in pairwise(dates):
        if rhythm.months:
            months = (after.year - before.year) * 12 + after.month - before.month
            is_hole = months > rhythm.months
        elif series.frequency == "daily":
            is_hole = weekdays_between(before, after) > rhythm.step_days
        else:
            is_hole = (after - before).days > rhythm.step_days
        if is_hole:
            yield Finding(
                "hole", after, series.series_id, f"no observation between {before} and {after}"
            )


def _missing(series: MacroSeries, rows: pd.DataFrame) -> Iterator[Finding]:
    limit = series.rhythm.missing_in_a_row
    is_missing = rows["value"].isna().to_numpy()
    dates: Sequence[date] = rows["observation_date"].dt.date.tolist()
    start = 0
    for place in range(1, len(dates) + 1):
        if place < len(dates) and is_missing[place] == is_missing[start]:
            continue
        if is_missing[start] and place - start >= limit:
            count = place - start
            span = f"{dates[start]}" if count == 1 else f"{dates[start]} .. {dates[place - 1]}"
            yield Finding(
                "missing",
                dates[place - 1],
                series.series_id,
                f"{count} published as missing: {span}",
            )
        start = place


def weekdays_between(first: date, last: date) -> int:
    """Mondays to Fridays after ``first`` up to ``last``."""
    day = timedelta(days=1)
    return int(np.busday_count(first + day, last + day))
