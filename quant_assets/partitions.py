"""Every partitions definition and mapping, each with why, and what can be said of their keys.

All are in UTC: Dagster's time-window mapping refuses two timezones, and each session of either
market lies inside the UTC day of its own date (US 13:30-21:00, Korea 00:00-07:30).
"""

from collections.abc import Collection, Sequence
from datetime import date, datetime, time, timedelta
from functools import cache

import dagster as dg

from quant_assets.domain.macro_series import FIRST_RELEASE_DAY
from quant_assets.markets import FIRST_SESSION, LAST_CALENDAR_DAY, Market
from quant_assets.schemas.keys import HOUR_FORMAT, SESSION_FORMAT

REGIME_LOOK_BACK_DAYS = 800
"""Release days behind a macro state: 13 months of monthly data, publication lag, revisions."""
REGIME_SESSIONS = 3
"""Sessions for whose days a decision looks for the last macro state; they hold the days that count
(``REGIME_DAYS`` of ``domain.signals``)."""
MOST_RANGES = 12
"""With more gaps than this the whole span is done in one run: a run costs more than a partition."""


@cache
def session_partitions(market: Market) -> dg.TimeWindowPartitionsDefinition:
    """One partition per session of ``market``; the keys are exactly the exchange's sessions.

    Daily windows with the closures excluded: with a Monday-to-Friday cron Friday's window would
    end on Monday and Friday would appear late. ``end_offset=1`` so that Korea's session, over at
    06:30 UTC, can be stored the same day; an asset refuses a session that has not closed.
    """
    weekend = (0, 6)
    open_weekend_days = {(day.isoweekday() % 7) for day in market.weekend_sessions}
    crons = [f"0 0 * * {day}" for day in weekend if day not in open_weekend_days]
    closed = [*market.closures, *_closed_weekend_days(market, open_weekend_days)]
    return dg.TimeWindowPartitionsDefinition(
        start=FIRST_SESSION.isoformat(),
        fmt=SESSION_FORMAT,
        cron_schedule="0 0 * * *",
        timezone="UTC",
        end_offset=1,
        exclusions=[*crons, *(datetime.combine(day, time()) for day in closed)],
    )


def _closed_weekend_days(market: Market, weekdays: set[int]) -> list[date]:
    """Weekend days without a session, needed one by one where a weekday has an extra session."""
    if not weekdays:
        return []
    days = (
        FIRST_SESSION + timedelta(days=n) for n in range((LAST_CALENDAR_DAY - FIRST_SESSION).days)
    )
    return [d for d in days if d.isoweekday() % 7 in weekdays and not market.is_session(d)]


@cache
def hour_partitions(first_day: date) -> dg.TimeWindowPartitionsDefinition:
    """One partition per UTC hour from ``first_day`` (``QUANT_NEWS_START``), named by its start."""
    return _hours(first_day, end_offset=0)


def _hours(first_day: date, *, end_offset: int) -> dg.TimeWindowPartitionsDefinition:
    return dg.TimeWindowPartitionsDefinition(
        start=first_day.strftime(HOUR_FORMAT.replace("%H", "00")),
        fmt=HOUR_FORMAT,
        cron_schedule="0 * * * *",
        timezone="UTC",
        end_offset=end_offset,
    )


@cache
def stream_hours(first_day: date) -> dg.TimeWindowPartitionsDefinition:
    """The hours of the crawl and the one that is going on: an article is stored when it comes."""
    return _hours(first_day, end_offset=1)


@cache
def release_day_partitions() -> dg.TimeWindowPartitionsDefinition:
    """One partition per calendar day on which macro values are published or revised.

    ``end_offset=1``: FRED dates its releases in US Central time and the evening run stores the
    day that is still going on in UTC.
    """
    return dg.TimeWindowPartitionsDefinition(
        start=FIRST_RELEASE_DAY.isoformat(),
        fmt=SESSION_FORMAT,
        cron_schedule="0 0 * * *",
        timezone="UTC",
        end_offset=1,
    )


def look_back(count: int) -> dg.TimeWindowPartitionMapping:
    """A partition and the ``count`` before it; between sessions this steps over closures."""
    return dg.TimeWindowPartitionMapping(
        start_offset=-count, end_offset=0, allow_nonexistent_upstream_partitions=True
    )


def previous_partition() -> dg.TimeWindowPartitionMapping:
    """The partition before: what an asset that goes on from itself begins with."""
    return dg.TimeWindowPartitionMapping(
        start_offset=-1, end_offset=-1, allow_nonexistent_upstream_partitions=True
    )


def recent_days() -> dg.TimeWindowPartitionMapping:
    """The release days from ``REGIME_SESSIONS`` before a session to its own day.

    The last of them that was available before the decision counts; days may be missing.
    """
    return look_back(REGIME_SESSIONS)


def decision_window() -> dg.TimeWindowPartitionMapping:
    """The hours of a session's decision window, and those before it whose news came into it.

    The offsets count sessions and the hours of a closure in between are included: from the UTC
    day two sessions before to that of the session after. The window begins at the open of the
    session before, which in Korea is that day's first minute; what was published in the hours
    before it may have become known in it. ``available_at`` does the exact cut. Hours that do not
    exist yet (or lie before the first) are left out.
    """
    return dg.TimeWindowPartitionMapping(
        start_offset=-2, end_offset=1, allow_nonexistent_upstream_partitions=True
    )


def session_of(key: str) -> date:
    """The date that a session's or release day's partition key names."""
    return date.fromisoformat(key)


def hour_of(key: str) -> datetime:
    """The start of the hour (naive UTC) that an hour's partition key names."""
    return datetime.strptime(key, HOUR_FORMAT)


def key_ranges(
    keys: Sequence[str], wanted: Collection[str], most: int = MOST_RANGES
) -> list[list[str]]:
    """Neighbours among ``keys`` (ascending) that are ``wanted``, each a range for one run.

    With more than ``most`` ranges there is one, from the first to the last wanted key.
    """
    parts: list[list[str]] = []
    is_open = False
    for key in keys:
        if key not in wanted:
            is_open = False
            continue
        if not is_open:
            parts.append([])
        parts[-1].append(key)
        is_open = True
    if len(parts) <= most:
        return parts
    first, last = keys.index(parts[0][0]), keys.index(parts[-1][-1])
    return [list(keys[first : last + 1])]
