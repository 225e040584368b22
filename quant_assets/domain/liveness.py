"""Whether a feed is alive. What belongs here: the age of its news in working time, and the limit.

A publisher that gave up a feed often leaves it standing, with the last articles for ever.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

SILENT_AFTER = timedelta(hours=48)
"""Working time without anything new after which a feed counts as silent."""
_SATURDAY = 5


def working_time(since: datetime, until: datetime) -> timedelta:
    """Time between two moments (with a zone) without the Saturdays and Sundays of UTC."""
    moment, end = since.astimezone(UTC), until.astimezone(UTC)
    total = timedelta(0)
    if moment < end - timedelta(days=70):
        return end - moment
    while moment < end:
        midnight = (moment + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        step = min(midnight, end)
        if moment.weekday() < _SATURDAY:
            total += step - moment
        moment = step
    return total


def silence(
    published: Iterable[datetime | None], changed_at: datetime | None, now: datetime
) -> str | None:
    """Why a feed counts as silent at ``now``, ``None`` if it does not.

    ``published`` are the dates of its items, of which those in the future say nothing;
    ``changed_at`` is when it first showed what it shows.
    """
    past = [moment for moment in published if moment is not None and moment <= now]
    if past and working_time(max(past), now) > SILENT_AFTER:
        return f"its newest article is of {max(past):%Y-%m-%d %H:%M} UTC"
    if changed_at is not None and working_time(changed_at, now) > SILENT_AFTER:
        return f"it has not changed since {changed_at:%Y-%m-%d %H:%M} UTC"
    return None
