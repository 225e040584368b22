"""The date at FRED. What belongs here: this one fact, for those who need no client."""

from datetime import date, datetime
from zoneinfo import ZoneInfo

_FRED_ZONE = ZoneInfo("America/Chicago")


def release_day_at(now: datetime) -> date:
    """The release day that goes on at ``now`` (aware): FRED dates by US Central time.

    It begins five or six hours after the UTC day of the same date, and FRED refuses to be asked
    about it before.
    """
    return now.astimezone(_FRED_ZONE).date()
