"""The outbox. What belongs here: runs that ended and whose outcome Kafka does not have yet.

Dagster's own run-status sensors take five runs a tick and pass over what happened before their
first one. This one scans the finished runs by the time of their last change, from its cursor, and
marks each run once Kafka has acknowledged its events.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import dagster as dg

from quant_assets.errors import TransientError
from quant_assets.hooks.answers import Source
from quant_assets.hooks.completion import ended_events
from quant_assets.hooks.outcomes import (
    CANCELED_RUN,
    FAILED_RUN,
    OutcomeSpec,
    Problem,
    assets_of_run,
    is_published,
    outcomes_of_run,
    problem_of_step,
    published_tag,
    step_key,
)
from quant_assets.hooks.runs import WILL_RETRY, finished_runs, is_repeated
from quant_assets.resources import ClockResource, EventsResource, StoreResource
from quant_assets.resources.events import Keyed, status_events
from quant_assets.settings import Settings

NAME = "event_outbox"
INTERVAL_SECONDS = 15
FIRST_LOOK = timedelta(hours=24)
OVERLAP = timedelta(minutes=5)
"""Scanned again each time: a change may become visible after a later one, and clocks differ."""
RETRY_DECISION = timedelta(seconds=60)
"""Dagster says within it whether it repeats a failed run, in a change after the failure."""
RUNS_A_TICK = 200
TICK_SECONDS = 20.0
"""With the waits for Kafka well below the 60 s after which Dagster gives up on a sensor."""
ANSWER_SECONDS = 10.0
TELLING = {
    dg.DagsterEventType.STEP_SUCCESS,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterEventType.RUN_CANCELED,
}


def build_outbox_sensor(values: Settings) -> dg.SensorDefinition:
    """Sends the outcome of each run that ended and could not send it itself."""

    @dg.sensor(
        name=NAME,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Outcomes of runs that Kafka does not have yet are sent.",
    )
    def event_outbox(
        context: dg.SensorEvaluationContext,
        events: EventsResource,
        store: StoreResource,
        clock: ClockResource,
    ) -> dg.SkipReason:
        publisher = events.publisher()
        if publisher is None:
            return dg.SkipReason("no broker: outcomes are sent once there is one")
        source = Source(store.open(), values, publisher)
        tick = _Tick(context, source, clock.now())
        context.update_cursor(tick.run(sent_until(context.cursor)).isoformat())
        return dg.SkipReason(tick.summary())

    return event_outbox


def sent_until(cursor: str | None) -> datetime:
    """The time up to which everything is sent; an unreadable cursor counts as none."""
    try:
        return datetime.fromisoformat(cursor or "").astimezone(UTC)
    except ValueError:
        return datetime.now(UTC) - FIRST_LOOK


class Ended(NamedTuple):
    """What a finished run owes: its outcomes, each with its problem if it failed."""

    outcomes: list[tuple[OutcomeSpec, Problem | None]]
    is_open: bool = False
    """Whether more may follow: Dagster has not said yet whether it repeats the run."""


class _Tick:
    """One evaluation of the sensor."""

    def __init__(self, context: dg.SensorEvaluationContext, source: Source, now: datetime) -> None:
        self._context = context
        self._instance = context.instance
        self._source = source
        self._now = now
        self._sent = 0
        self._left = False

    def run(self, since: datetime) -> datetime:
        """Send what is unsent since ``since``; gives the time up to which all is sent.

        Raises ``TransientError`` where the broker does not take it: the tick is repeated.
        """
        deadline = time.monotonic() + TICK_SECONDS
        settled = since
        is_whole = True
        for record in finished_runs(self._instance, since - OVERLAP, datetime.now(UTC)):
            if self._sent >= RUNS_A_TICK or time.monotonic() > deadline:
                self._left = True
                break
            is_whole = self._try_to_settle(record) and is_whole
            if is_whole:
                settled = max(settled, record.update_timestamp)
        return settled

    def summary(self) -> str:
        """What was done, for the tick's page."""
        said = f"sent the outcome of {self._sent} run(s)" if self._sent else "every outcome is sent"
        return f"{said}; the others follow" if self._left else said

    def _try_to_settle(self, record: dg.RunRecord) -> bool:
        """Settle a run; one that cannot be told is tried again and holds up no other.

        Raises ``TransientError``: the broker is away, for all of them.
        """
        try:
            return self._settle(record)
        except TransientError:
            raise
        except Exception:
            self._context.log.exception("run %s: not told", record.dagster_run.run_id)
            return False

    def _settle(self, record: dg.RunRecord) -> bool:
        """Send what a run owes; whether nothing more can follow."""
        run = record.dagster_run
        if is_published(run) or not outcomes_of_run(run):
            return True
        ended = ended_as(run, self._instance, datetime.now(UTC) - record.update_timestamp)
        if ended.outcomes and not ended.is_open:
            events = self._events(run, ended)
            self._source.publisher.publish(events, timeout_seconds=ANSWER_SECONDS)
            mark = published_tag(run.run_id, datetime.now(UTC))
            self._instance.add_run_tags(run.run_id, mark)
            self._sent += 1
        return not ended.is_open

    def _events(self, run: dg.DagsterRun, ended: Ended) -> list[Keyed]:
        events: list[Keyed] = []
        for outcome, problem in ended.outcomes:
            try:
                told, fault = ended_events(run, outcome, problem, self._source, self._now)
            except TransientError:
                raise
            except Exception as error:
                self._context.log.exception("run %s: no answer could be made", run.run_id)
                broken = Problem(type(error).__name__, str(error) or type(error).__name__)
                told, fault = ended_events(run, outcome, broken, self._source, self._now)
            events += told
            if fault:
                self._context.log.error("run %s, %s: %s", run.run_id, outcome.asset, fault)
        problems = [problem for _, problem in ended.outcomes if problem is not None]
        total = len(assets_of_run(run))
        if problems:
            return events + status_events(run, "failed", step=problems[0].step, total=total)
        return events + status_events(run, "completed", done=total, total=total)


def ended_as(run: dg.DagsterRun, instance: dg.DagsterInstance, age: timedelta) -> Ended:
    """How the outcomes of a run ended that finished ``age`` ago.

    An outcome is complete once its last asset is stored, whatever the run did after that.
    """
    outcomes = outcomes_of_run(run)
    if run.status == dg.DagsterRunStatus.SUCCESS:
        return Ended([(outcome, None) for outcome in outcomes])
    found = instance.get_records_for_run(run.run_id, of_type=TELLING).records
    events = [e for record in found if (e := record.event_log_entry.dagster_event) is not None]
    made = {e.step_key for e in events if e.event_type == dg.DagsterEventType.STEP_SUCCESS}
    ended: list[tuple[OutcomeSpec, Problem | None]] = []
    for outcome in outcomes:
        if step_key(outcome.asset) in made:
            ended.append((outcome, None))
        elif not is_repeated(run):
            ended.append((outcome, _problem(run, outcome, events)))
    is_open = (
        run.status == dg.DagsterRunStatus.FAILURE
        and instance.run_retries_enabled
        and WILL_RETRY not in run.tags
        and age < RETRY_DECISION
    )
    return Ended(ended, is_open)


def _problem(run: dg.DagsterRun, outcome: OutcomeSpec, events: list[dg.DagsterEvent]) -> Problem:
    """Why an outcome of a run was not reached."""
    of_type = {event.event_type: event for event in reversed(events)}
    if run.status == dg.DagsterRunStatus.CANCELED:
        event = of_type.get(dg.DagsterEventType.RUN_CANCELED)
        said = f": {event.message}" if event is not None and event.message else ""
        return Problem(CANCELED_RUN, f"the run was canceled{said}; start it again to have it done")
    mine = {step_key(asset) for asset in outcome.assets}
    failures = [e for e in events if e.event_type == dg.DagsterEventType.STEP_FAILURE]
    failures.sort(key=lambda e: e.step_key not in mine)
    if failures:
        return problem_of_step(failures[0])
    event = of_type.get(dg.DagsterEventType.RUN_FAILURE)
    return Problem(
        FAILED_RUN,
        (event.message if event is not None else None)
        or "the run failed outside of its steps: see its log in the UI",
    )
