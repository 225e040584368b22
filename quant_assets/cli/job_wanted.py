"""What a ``quant job`` is asked for. What belongs here: arguments to dates; no Dagster, no storage.

Whatever cannot be had is refused here, in one sentence, before anything heavy is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import msgspec

from quant_assets.cli.spans import listed_between
from quant_assets.domain.macro_series import FIRST_RELEASE_DAY
from quant_assets.errors import BadConfigurationError
from quant_assets.markets import FIRST_SESSION, LAST_CALENDAR_DAY, MARKETS, Listing, Market, market
from quant_assets.vendors.fred_clock import release_day_at

Universe = Callable[[str], Sequence[Listing]]


class Dates(NamedTuple):
    """The days that were asked for by name; both None for the newest."""

    first: date | None
    last: date | None

    @property
    def is_given(self) -> bool:
        """Whether days were named."""
        return self.first is not None


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a job is to do. ``sessions`` by market; ``days`` and ``hours`` with both ends."""

    job: str
    sessions: dict[str, list[date]] = {}
    days: tuple[date, date] | None = None
    hours: tuple[datetime, datetime] | None = None
    has_analysis: bool = False
    is_forced: bool = False
    notes: list[str] = []


def dates_of(day: date | None, first: date | None, last: date | None) -> Dates:
    """The days of ``--date`` or of ``--from`` and ``--to``; the last one None for the newest."""
    if day is not None:
        if first is not None or last is not None:
            raise BadConfigurationError("--date is one day, --from and --to are a range: give one")
        return Dates(day, day)
    if first is None and last is not None:
        raise BadConfigurationError("--to needs --from: a range has a first day")
    if first is not None and last is not None and first > last:
        raise BadConfigurationError(f"--from {first} is after --to {last}")
    return Dates(first, last)


def wanted_of(
    job: str,
    market_key: str | None,
    dates: Dates,
    now: datetime,
    *,
    news_start: date,
    universe: Universe,
    is_forced: bool = False,
) -> Wanted:
    """What ``job`` has to do at ``now`` (UTC).

    Raises ``BadConfigurationError`` for days that cannot be had: before the first or after the
    calendar, not over yet, or without a session.
    """
    if market_key is not None and job not in ("combined", "all"):
        raise BadConfigurationError(f"--market is for combined and all, not for {job}")
    if is_forced and job == "all":
        raise BadConfigurationError("--force is for one job: name it instead of all")
    if job == "macro":
        return Wanted(job=job, days=_release_days(dates, now), is_forced=is_forced)
    if job == "news":
        return Wanted(job=job, hours=_hours(dates, now, news_start), is_forced=is_forced)
    keys = [job.removesuffix("-price")] if job.endswith("-price") else list(MARKETS)
    markets = [market(key) for key in ([market_key] if market_key else keys)]
    sessions, notes = _sessions(markets, dates, now, universe)
    is_all = job == "all"
    days: tuple[date, date] | None = None
    hours: tuple[datetime, datetime] | None = None
    if is_all and dates.is_given:
        spanned = [session for found in sessions.values() for session in found]
        days = (min(spanned), max(spanned))
    elif is_all:
        days, hours = _release_days(dates, now), _hours(dates, now, news_start)
    return Wanted(
        job=job,
        sessions=sessions,
        days=days,
        hours=hours,
        has_analysis=not job.endswith("-price"),
        is_forced=is_forced,
        notes=notes,
    )


def _sessions(
    markets: Sequence[Market], dates: Dates, now: datetime, universe: Universe
) -> tuple[dict[str, list[date]], list[str]]:
    """Sessions by market, and what there is to say of those that have none.

    Of several markets one may be closed on the days asked for; one alone may not.
    """
    found: dict[str, list[date]] = {}
    notes: list[str] = []
    for one in markets:
        if not dates.is_given:
            found[one.key] = [_newest(one, now, universe(one.key))]
            today = now.astimezone(UTC).date()
            if not one.is_session(today):
                notes.append(f"{one.key}: {today} is no session of {one.calendar}")
            continue
        try:
            found[one.key] = _sessions_between(one, dates, now, universe(one.key))
        except _NoSessionError as error:
            if len(markets) == 1:
                raise
            notes.append(str(error))
    if not found:
        raise BadConfigurationError("; ".join(notes))
    return found, notes


class _NoSessionError(BadConfigurationError):
    """The market is closed on the days asked for, or nothing of it was listed."""


def _newest(one: Market, now: datetime, listings: Sequence[Listing]) -> date:
    """The last complete session, in a recorded history the last one of it."""
    newest = one.last_complete_session(now)
    _, until = listed_between(listings)
    if until is None or until >= newest:
        return newest
    return one.sessions(until - timedelta(days=30), until)[-1]


def _sessions_between(
    one: Market, dates: Dates, now: datetime, listings: Sequence[Listing]
) -> list[date]:
    first = dates.first or FIRST_SESSION
    newest = one.last_complete_session(now)
    last = dates.last or max(first, newest)
    if first < FIRST_SESSION:
        raise BadConfigurationError(
            f"{one.key}: {first} is before the first session of the platform, {FIRST_SESSION}"
        )
    if last > LAST_CALENDAR_DAY:
        raise BadConfigurationError(
            f"{one.key}: {last} is after the last day of the calendar, {LAST_CALENDAR_DAY}"
        )
    sessions = one.sessions(first, last)
    if not sessions:
        around = [one.offset_session(_session_near(one, first), step) for step in (0, 1)]
        raise _NoSessionError(
            f"{one.key}: {_told(first, last)} has no session of {one.calendar}; the sessions "
            f"around it are {around[0]} and {around[1]}"
        )
    if sessions[-1] > newest:
        early = next(session for session in sessions if session > newest)
        raise BadConfigurationError(
            f"{one.key}: the session {early} is not complete: its bar counts from "
            f"{one.complete_at(early):%Y-%m-%d %H:%M} UTC (close plus {one.vendor_delay}); the "
            f"last complete session is {newest}"
        )
    listed = [s for s in sessions if any(listing.trades_on(s) for listing in listings)]
    if not listed:
        raise _NoSessionError(
            f"{one.key}: no symbol of the universe was listed on {_told(first, last)}"
        )
    return listed


def _session_near(one: Market, day: date) -> date:
    """The last session before ``day``, or the first of the calendar."""
    before = one.sessions(max(FIRST_SESSION, day - timedelta(days=30)), day)
    return before[-1] if before else FIRST_SESSION


def _release_days(dates: Dates, now: datetime) -> tuple[date, date]:
    """Release days; by default yesterday and today as dated at FRED."""
    today = release_day_at(now)
    if dates.first is None:
        return today - timedelta(days=1), today
    last = dates.last or max(today, dates.first)
    if dates.first < FIRST_RELEASE_DAY:
        raise BadConfigurationError(
            f"macro: {dates.first} is before the first release day of the platform, "
            f"{FIRST_RELEASE_DAY}"
        )
    if last > today:
        raise BadConfigurationError(
            f"macro: {last} has not begun at FRED, where it is {today} (US Central time)"
        )
    return dates.first, last


def _hours(dates: Dates, now: datetime, news_start: date) -> tuple[datetime, datetime]:
    """First and last hour; by default the last one that is over.

    Of days the hours that are over: those of today as far as it has gone.
    """
    over = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    begin = datetime.combine(news_start, datetime.min.time(), UTC)
    if dates.first is None:
        if over < begin:
            raise BadConfigurationError(
                f"news: they begin on {news_start} (QUANT_NEWS_START), which is not over an hour"
            )
        return over, over
    last_day = dates.last or max(dates.first, over.date())
    first, last = (
        datetime.combine(dates.first, datetime.min.time(), UTC),
        datetime.combine(last_day, datetime.min.time(), UTC) + timedelta(hours=23),
    )
    if first < begin:
        raise BadConfigurationError(
            f"news: {dates.first} is before their first day, {news_start} (QUANT_NEWS_START)"
        )
    if first > over or last_day > now.astimezone(UTC).date():
        day = dates.first if first > over else last_day
        raise BadConfigurationError(
            f"news: no hour of {day} is over yet; the last one that is: {over:%Y-%m-%d %H:00} UTC"
        )
    return first, min(last, over)


def _told(first: date, last: date) -> str:
    return f"{first}" if first == last else f"{first} .. {last}"
