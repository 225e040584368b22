"""Sessions that are asked for. What belongs here: calendar and universe; no Dagster, no storage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from quant_assets.domain.indicator_names import LOOK_BACK_SESSIONS
from quant_assets.errors import BadConfigurationError
from quant_assets.markets import FIRST_SESSION, Listing, Market


@dataclass(frozen=True)
class Span:
    """Sessions of one market that are asked for.

    ``listed_since`` is the first day on which a symbol of the universe was listed, if all of them
    say when: before it there is nothing to fetch.
    """

    market: Market
    sessions: tuple[date, ...]
    listed_since: date | None = None


def with_history(span: Span) -> list[date]:
    """The span's sessions and the look-back that its first one needs, as far as there is one."""
    first = span.sessions[0]
    reach = first - timedelta(days=int(LOOK_BACK_SESSIONS * 1.5))
    earliest = max(FIRST_SESSION, reach, span.listed_since or FIRST_SESSION)
    before = span.market.sessions(earliest, first - timedelta(days=1))
    return [*before[-(LOOK_BACK_SESSIONS - 1) :], *span.sessions]


def span_of(
    market: Market,
    first: date | None,
    last: date | None,
    now: datetime,
    listings: Sequence[Listing] = (),
    default_days: int = 365,
) -> Span:
    """Sessions of ``market`` from ``first`` to ``last``; by default the year up to the last one.

    Sessions that are not complete are left out, and those outside the time in which any of
    ``listings`` was listed, if all of them say when. Raises ``BadConfigurationError`` if none is
    left.
    """
    since, until = listed_between(listings)
    newest = min(market.last_complete_session(now), until or date.max)
    end = last or newest
    start = first or end - timedelta(days=default_days - 1)
    if start < FIRST_SESSION:
        raise BadConfigurationError(f"the first session of the platform is {FIRST_SESSION}")
    sessions = tuple(s for s in market.sessions(max(start, since or start), end) if s <= newest)
    if not sessions:
        raise BadConfigurationError(
            f"{market.key}: no complete session from {start} to {end}; the last one is {newest}"
            + (f", the universe is listed from {since}" if since else "")
        )
    return Span(market, sessions, since)


def listed_between(listings: Sequence[Listing]) -> tuple[date | None, date | None]:
    """First and last day on which any symbol is listed; None where one of them does not say."""
    first = [listing.listed_on for listing in listings]
    last = [listing.delisted_on for listing in listings]
    return (
        min((d for d in first if d), default=None) if None not in first else None,
        max((d for d in last if d), default=None) if None not in last else None,
    )
