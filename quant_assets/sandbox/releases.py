"""When statistics are published. What belongs here: calendars of releases, no values."""

from datetime import date, timedelta
from functools import cache

import numpy as np
from numpy.typing import NDArray

from quant_assets.sandbox.cycle import GRID_END, GRID_START

Days = NDArray[np.datetime64]


@cache
def business_calendar() -> np.busdaycalendar:
    """Weekdays on which US federal offices work."""
    holidays = [day for year in range(GRID_START.year, GRID_END.year + 2) for day in _federal(year)]
    return np.busdaycalendar(holidays=np.array(holidays, dtype="datetime64[D]"))


def business_day(days: Days, offset: int = 0) -> Days:
    """The business day ``offset`` after the first one on or after each of ``days``."""
    return np.busday_offset(days, offset, roll="forward", busdaycal=business_calendar())


def next_business_day(days: Days) -> Days:
    """The first business day after each of ``days``."""
    return business_day(days + np.timedelta64(1, "D"))


def day_of_later_month(periods: Days, months: int, day: int) -> Days:
    """The business day on or after ``day`` of the month ``months`` after each period's first."""
    return business_day(_first_days(periods, months) + np.timedelta64(day - 1, "D"))


def first_friday_of_next_month(periods: Days) -> Days:
    """First Friday of the next month that is not a holiday."""
    first = _first_days(periods, 1)
    friday = np.busday_offset(first, 0, roll="forward", weekmask="Fri")
    is_open = np.is_busday(friday, busdaycal=business_calendar())
    return np.where(is_open, friday, friday + np.timedelta64(7, "D"))


def thursday_after(periods: Days) -> Days:
    """The Thursday after each week's Saturday; the day before, if that is a holiday."""
    thursday = periods + np.timedelta64(5, "D")
    return np.busday_offset(thursday, 0, roll="backward", busdaycal=business_calendar())


def annual_revision(first_release: Days, month: int, day: int) -> Days:
    """The first yearly revision day at least 40 days after each first release."""
    earliest = first_release + np.timedelta64(40, "D")
    january = earliest.astype("datetime64[Y]").astype("datetime64[D]")
    this_year = day_of_later_month(january, month - 1, day)
    next_year = day_of_later_month(january, month + 11, day)
    return np.where(this_year >= earliest, this_year, next_year)


def _first_days(periods: Days, months: int) -> Days:
    """First day of the month ``months`` after the month of each period."""
    number = periods.astype("datetime64[M]").astype(np.int64) + months
    first: Days = number.astype("datetime64[M]").astype("datetime64[D]")
    return first


def _federal(year: int) -> list[date]:
    fixed = [(1, 1), (7, 4), (11, 11), (12, 25)] + ([(6, 19)] if year >= 2021 else [])
    nth = [(1, 0, 3), (2, 0, 3), (9, 0, 1), (10, 0, 2), (11, 3, 4)]
    last_may = date(year, 5, 31)
    floating = [_nth_weekday(year, *rule) for rule in nth]
    floating.append(last_may - timedelta(days=last_may.weekday()))
    return [_observed(date(year, month, day)) for month, day in fixed] + floating


def _nth_weekday(year: int, month: int, weekday: int, count: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (count - 1))


def _observed(day: date) -> date:
    if day.weekday() == 5:
        return day - timedelta(days=1)
    return day + timedelta(days=1) if day.weekday() == 6 else day
