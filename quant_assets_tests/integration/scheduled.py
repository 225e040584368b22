"""The platform's definitions and a schedule of a combined analysis that is due every minute."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import dagster as dg

from quant_assets import definitions
from quant_assets.markets import MARKETS
from quant_assets.schedules import schedule_of
from quant_assets.timetable import rules

JOB = "us_combined_analysis"


@dataclass(frozen=True)
class EveryMinute:
    """Ticks that a test need not wait for."""

    cron = "* * * * *"
    zone = "UTC"

    def before(self, tick: datetime) -> datetime:
        """The tick before ``tick``."""
        return tick - timedelta(minutes=1)


def session_before_last(_: datetime, end: datetime) -> list[str]:
    """The last session but one, at every tick: events and people ask for the last one."""
    us = MARKETS["us"]
    return [us.offset_session(us.last_complete_session(end), -1).isoformat()]


after_close = schedule_of(
    # Done and under way count, so that the analysis is made once, when the prices are stored.
    replace(rules()[JOB], ticks=EveryMinute(), due=session_before_last, asks_again=False),
    dg.DefaultScheduleStatus.RUNNING,
    name="after_close",
)
defs = dg.Definitions.merge(definitions.defs, dg.Definitions(schedules=[after_close]))
