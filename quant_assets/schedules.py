"""The schedules. What belongs here: a thin wrapper of each rule of the timetable, nothing else."""

from collections.abc import Sequence
from datetime import UTC
from typing import Any

import dagster as dg

from quant_assets.sensors.partition_state import known_partitions, unasked_run
from quant_assets.settings import Settings
from quant_assets.timetable import Rule, decide, rules


def build_schedules(values: Settings, jobs: Sequence[Any]) -> list[dg.ScheduleDefinition]:
    """A schedule for each job that runs by itself, with the job's name.

    They run by default where the vendors are real; in the sandbox whoever wants them starts them.
    """
    by_name = {job.name: job for job in jobs}
    made = rules(has_alpha_vantage=values.has_alpha_vantage, news_start=values.news_start)
    status = (
        dg.DefaultScheduleStatus.STOPPED if values.is_sandbox else dg.DefaultScheduleStatus.RUNNING
    )
    return [_schedule(rule, by_name[rule.job], status) for rule in made.values()]


def _schedule(rule: Rule, job: Any, status: dg.DefaultScheduleStatus) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=rule.job,
        cron_schedule=rule.ticks.cron,
        execution_timezone=rule.ticks.zone,
        job=job,
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
