"""Threads of runs in Slack. What belongs here: the sensor that follows runs, nothing of wording."""

import time
from datetime import UTC, datetime, timedelta

import dagster as dg

from quant_assets.hooks.reporter import GIVE_UP, Reporter
from quant_assets.resources.slack import SlackResource, why_off

NAME = "slack_threads"
INTERVAL_SECONDS = 20
"""Counted from the start of a tick, so that ticks that look follow each other at once."""
TICK_SECONDS = 25.0
"""With the calls that a step may wait for below the 60 s after which Dagster gives a sensor up."""
LOOK_SECONDS = 1.0
FIRST_LOOK = timedelta(hours=1)


def build_thread_sensor(*, tick_seconds: float = TICK_SECONDS) -> dg.SensorDefinition:
    """Tells each run in its thread; tests make the ticks shorter."""

    @dg.sensor(
        name=NAME,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Each run is told in a thread in Slack, step by step.",
    )
    def slack_threads(context: dg.SensorEvaluationContext, slack: SlackResource) -> dg.SkipReason:
        settings = slack.settings()
        connection = settings.slack()
        if connection is None:
            return dg.SkipReason(why_off(settings))
        reporter = Reporter(context.instance, settings, connection, context.log)
        since = _since(context.cursor)
        deadline = time.monotonic() + tick_seconds
        while True:
            looked = time.monotonic()
            reporter.find(since)
            reporter.step(until=deadline)
            since = reporter.told_until
            if time.monotonic() + LOOK_SECONDS > deadline:
                break
            time.sleep(max(0.0, looked + LOOK_SECONDS - time.monotonic()))
        context.update_cursor(since.isoformat())
        return dg.SkipReason(reporter.summary())

    return slack_threads


def _since(cursor: str | None) -> datetime:
    """The time up to which everything is told; an unreadable cursor counts as none."""
    now = datetime.now(UTC)
    try:
        return max(datetime.fromisoformat(cursor or "").astimezone(UTC), now - GIVE_UP)
    except (ValueError, OverflowError):
        return now - FIRST_LOOK
