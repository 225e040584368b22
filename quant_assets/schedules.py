"""The schedules. What belongs here: a thin wrapper of each rule of the timetable, nothing else."""

from datetime import UTC

import dagster as dg

from quant_assets.housekeeping.job import NAME as HOUSEKEEPING
from quant_assets.sensors.partition_state import known_partitions, unasked_run
from quant_assets.settings import Settings
from quant_assets.timetable import Rule, decide, rules


def build_schedules(values: Settings) -> list[dg.ScheduleDefinition]:
    """A schedule for each job that runs by itself, with the job's name.

    They run by default where the vendors are real; in the sandbox whoever wants them starts them.
    """
    made = rules(has_alpha_vantage=values.has_alpha_vantage, news_start=values.news_start)
    status = (
        dg.DefaultScheduleStatus.STOPPED if values.is_sandbox else dg.DefaultScheduleStatus.RUNNING
    )
    return [*(schedule_of(rule, status) for rule in made.values()), _housekeeping(status)]


def schedule_of(
    rule: Rule, status: dg.DefaultScheduleStatus, name: str | None = None
) -> dg.ScheduleDefinition:
    """The schedule that follows ``rule``; it has the name of its job, or ``name``."""

    @dg.schedule(
        name=name or rule.job,
        cron_schedule=rule.ticks.cron,
        execution_timezone=rule.ticks.zone,
        job_name=rule.job,
        default_status=status,
        description=rule.description,
    )
    def due_partitions(
        context: dg.ScheduleEvaluationContext,
    ) -> list[dg.RunRequest] | dg.SkipReason:
        tick = context.scheduled_execution_time.astimezone(UTC)
        decision = decide(rule, tick, known_partitions(context.instance, rule, tick))
        if not decision.runs:
            return dg.SkipReason(decision.reason)
        until = tick + rule.patience
        key = f"{tick:%Y-%m-%dT%H:%M}"
        return [
            unasked_run(rule, first, last, key=key, try_until=until)
            for first, last in decision.runs
        ]

    return due_partitions


def _housekeeping(status: dg.DefaultScheduleStatus) -> dg.ScheduleDefinition:
    """Every day once, when neither market is open nor has just closed."""
    return dg.ScheduleDefinition(
        name=HOUSEKEEPING,
        job_name=HOUSEKEEPING,
        cron_schedule="20 10 * * *",
        execution_timezone="UTC",
        default_status=status,
        description="Old runs, logs and leftovers are removed.",
    )
