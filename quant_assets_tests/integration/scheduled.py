"""The platform's definitions and a schedule of a combined analysis that is due every minute."""

from datetime import UTC, datetime

import dagster as dg

from quant_assets import definitions
from quant_assets.markets import MARKETS
from quant_assets.naming import TAG_PARTITION


@dg.schedule(
    name="after_close",
    cron_schedule="* * * * *",
    job_name="us_combined_analysis",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def after_close(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """The last session once, as soon as its prices are stored."""
    stored = dg.RunsFilter(job_name="us_price", statuses=[dg.DagsterRunStatus.SUCCESS])
    mine = dg.RunsFilter(tags={"dagster/schedule_name": "after_close"})
    if not context.instance.get_runs_count(stored) or context.instance.get_runs_count(mine):
        return dg.SkipReason("no prices yet, or done")
    session = MARKETS["us"].last_complete_session(datetime.now(UTC)).isoformat()
    return dg.RunRequest(tags={TAG_PARTITION: session})


defs = dg.Definitions.merge(definitions.defs, dg.Definitions(schedules=[after_close]))
