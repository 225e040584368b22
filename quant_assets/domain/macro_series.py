"""The list of macro series. What belongs here: what a series is and how often it should speak.

Reading the file is the settings' business, the values are the vendor's.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

FIRST_RELEASE_DAY = date(1990, 1, 1)
"""First day whose releases can be stored."""
LONGEST_LAG_DAYS = 1_000
_SERIES_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z")
_COLUMNS = ("series_id", "name", "units", "frequency", "publication_lag_days")


class Rhythm(NamedTuple):
    """What is normal for a frequency.

    ``months`` is the length of a period, 0 for daily and weekly ones, where ``step_days`` is the
    longest distance in days between two observations (weekdays for daily ones). After more than
    ``overdue_weekdays`` without a release a series is overdue. ``missing_in_a_row`` observations
    published as missing are worth a look.
    """

    months: int
    step_days: int
    overdue_weekdays: int
    missing_in_a_row: int


FREQUENCIES: Mapping[str, Rhythm] = {
    "daily": Rhythm(0, 5, 10, 5),
    "weekly": Rhythm(0, 10, 15, 2),
    "biweekly": Rhythm(0, 17, 20, 2),
    "monthly": Rhythm(1, 31, 45, 1),
    "quarterly": Rhythm(3, 92, 95, 1),
    "semiannual": Rhythm(6, 184, 160, 1),
    "annual": Rhythm(12, 366, 320, 1),
}
"""Rhythms by frequency.

A daily series may be published once a week (H.10 exchange rates) and a holiday may move that by a
day: ten weekdays. Ordinary monthly releases are at most 25 weekdays apart; the shutdowns of the US
government of 2013 and 2018/19 made it 32 and 44, only the one of 2025 (54) was longer than the 45
allowed. Quarterly ones may come a month late, the longer ones two.
"""


@dataclass(frozen=True)
class MacroSeries:
    """One FRED series; ``publication_lag_days`` is set where ALFRED keeps no vintages."""

    series_id: str
    name: str
    units: str
    frequency: str
    publication_lag_days: int | None

    @property
    def rhythm(self) -> Rhythm:
        """What is normal for its frequency."""
        return FREQUENCIES[self.frequency]


def parse_series(rows: Sequence[Mapping[str, str | None]]) -> tuple[MacroSeries, ...]:
    """Series of a table with the columns series_id, name, units, frequency, publication_lag_days.

    Frequencies are read in any case. Raises ``ValueError`` that names the series, the column, what
    stands there and what may.
    """
    if not rows:
        raise ValueError("the file names no series")
    if absent := [name for name in _COLUMNS if name not in rows[0]]:
        raise ValueError(f"there is no column {', '.join(absent)}")
    series = tuple(_parse(row, line) for line, row in enumerate(rows, start=1))
    names = [item.series_id for item in series]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{', '.join(twice)} named twice")
    return series


def _parse(row: Mapping[str, str | None], line: int) -> MacroSeries:
    text = {name: (row[name] or "").strip() for name in _COLUMNS}
    series_id = text["series_id"]
    if not _SERIES_ID.match(series_id):
        raise ValueError(
            f"row {line}: series_id {series_id!r} is no FRED id (letters, digits and _ . : -)"
        )
    for name in ("name", "units"):
        if not text[name]:
            raise ValueError(f"{series_id} has no {name}")
    frequency = text["frequency"].lower()
    if frequency not in FREQUENCIES:
        raise ValueError(
            f"{series_id} has the frequency {text['frequency']!r}, which is none of "
            f"{', '.join(FREQUENCIES)}"
        )
    lag = _lag(series_id, text["publication_lag_days"])
    return MacroSeries(series_id, text["name"], text["units"], frequency, lag)


def _lag(series_id: str, text: str) -> int | None:
    """Days, or None without any. A negative one would make a value known before its day."""
    if not text:
        return None
    try:
        days = int(text)
    except ValueError:
        raise ValueError(
            f"{series_id} has the publication_lag_days {text!r}, which is no number of days "
            "(empty: the vintages of ALFRED are used)"
        ) from None
    if days < 0:
        raise ValueError(f"{series_id} has a negative publication lag ({days} days)")
    if days > LONGEST_LAG_DAYS:
        raise ValueError(
            f"{series_id} has a publication lag of {days} days; at most {LONGEST_LAG_DAYS}"
        )
    return days
