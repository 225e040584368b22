"""The hooks of every asset. What belongs here: Dagster's calls to the events of a run.

A hook sends right after its step. It never fails a run: what it could not send is sent by the
sensor ``event_outbox``, as is the outcome of a run whose process died before its hooks ran.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg

from quant_assets.errors import BadDataError, TransientError
from quant_assets.hooks.answers import Source, outcome_events
from quant_assets.hooks.outcomes import (
    OutcomeSpec,
    Problem,
    assets_of_run,
    is_final,
    outcomes_of_run,
    problem_of,
    published_tag,
    step_key,
)
from quant_assets.hooks.runs import repeats_left
from quant_assets.hooks.signals import run_signals
from quant_assets.hooks.trades import run_trades
from quant_assets.naming import (
    TAG_ANSWERED,
    TAG_REPEAT_FAILURES,
    TAG_REPEATS_LEFT,
    UNLESS_FINAL,
)
from quant_assets.resources.events import Keyed, Outlet, status_events

RESOURCES = {"events", "store", "platform", "clock", "slack"}
"""``slack`` is here to be set up for each run: it tells the run by itself."""
RETRY_STEP_FAILURES = "dagster/retry_on_asset_or_op_failure"


def build_completion_hooks() -> frozenset[dg.HookDefinition]:
    """The hooks that tell how a run goes on and ends, for every asset."""

    @dg.success_hook(name="tell_success", required_resource_keys=RESOURCES)
    def tell_success(context: dg.HookContext) -> None:
        if (outlet := context.resources.events.outlet) is not None and not outlet.is_silent:
            _Step(context, outlet).succeeded()

    @dg.failure_hook(name="tell_failure", required_resource_keys=RESOURCES)
    def tell_failure(context: dg.HookContext) -> None:
        problem = _problem(context)
        if _is_tried_again(context, problem):
            return
        if (outlet := context.resources.events.outlet) is not None and not outlet.is_silent:
            _Step(context, outlet).failed(problem)

    return frozenset({tell_success, tell_failure})


def ended_events(
    run: dg.DagsterRun,
    outcome: OutcomeSpec,
    problem: Problem | None,
    source: Source,
    now: datetime,
) -> tuple[list[Keyed], str]:
    """The outcome, its signals and trades at ``now``, and why there are none if that is a fault."""
    events = outcome_events(run, outcome, problem, source)
    if problem is not None:
        return events, ""
    try:
        told = run_signals(run, outcome, source, now) + run_trades(run, outcome, source, now)
    except BadDataError as error:
        return events, f"no signals and trades are sent: {error}"
    return events + told, ""


class _Step:
    """A step that has ended, and what is sent because of it."""

    def __init__(self, context: dg.HookContext, outlet: Outlet) -> None:
        run = context.instance.get_run_by_id(context.run_id)
        assert run is not None
        self._context = context
        self._outlet = outlet
        self._run = run
        self._outcomes = [] if TAG_ANSWERED in run.tags else outcomes_of_run(run)

    def succeeded(self) -> None:
        """Tell the progress, and the outcome whose last asset this step has made."""
        total = len(assets_of_run(self._run))
        if not total:
            return
        done = self._done()
        if not self._send(self._status("progress", done, total)):
            return
        ended = [o for o in self._outcomes if step_key(o.asset) == self._context.step_key]
        last = self._status("completed", done, total) if done == total else []
        if ended or last:
            self._tell(ended, None, last)

    def failed(self, problem: Problem) -> None:
        """Tell the outcomes that this step leads to, unless Dagster repeats the run."""
        if _is_repeated(self._context.instance, self._run):
            return
        step = self._context.step_key
        ended = [
            outcome
            for outcome in self._outcomes
            if outcome.asset not in self._outlet.answered
            and any(step_key(asset) == step for asset in outcome.assets)
        ]
        last = self._status("failed", self._done(), len(assets_of_run(self._run)))
        self._tell(ended, problem, last)

    def _tell(
        self, ended: Sequence[OutcomeSpec], problem: Problem | None, last: list[Keyed]
    ) -> None:
        """Send outcomes, and ``last`` behind them; mark the run once Kafka has all of them."""
        try:
            events = self._events(ended, problem)
        except TransientError as error:
            self._outlet.give_up(error, self._context.log)
            return
        if not self._send(events + last):
            return
        self._outlet.answered.update(outcome.asset for outcome in ended)
        if ended and self._outlet.answered.issuperset(o.asset for o in self._outcomes):
            mark = published_tag(self._run.run_id, datetime.now(UTC))
            self._context.instance.add_run_tags(self._run.run_id, mark)

    def _events(self, ended: Sequence[OutcomeSpec], problem: Problem | None) -> list[Keyed]:
        source = Source(
            self._context.resources.store.open(),
            self._context.resources.platform.settings(),
            self._outlet.publisher,
        )
        now = self._context.resources.clock.now()
        events: list[Keyed] = []
        for outcome in ended:
            told, fault = ended_events(self._run, outcome, problem, source, now)
            events += told
            if fault:
                self._context.log.error("%s: %s", outcome.asset, fault)
        return events

    def _send(self, events: list[Keyed]) -> bool:
        return self._outlet.offer(events, self._context.log)

    def _status(self, status: str, done: int, total: int) -> list[Keyed]:
        step = self._context.step_key
        return status_events(self._run, status, step=step, done=done, total=total)

    def _done(self) -> int:
        """How many of the run's assets are made, also by its other processes."""
        mine = {step_key(asset) for asset in assets_of_run(self._run)}
        found = self._context.instance.get_records_for_run(
            self._run.run_id, of_type=dg.DagsterEventType.STEP_SUCCESS
        ).records
        return len(mine & {str(record.event_log_entry.step_key) for record in found})


def _problem(context: dg.HookContext) -> Problem:
    step, error = context.step_key, context.op_exception
    if error is None:
        return Problem("Failure", "the step failed: see its log", step)
    return problem_of(error, step)


def _is_tried_again(context: dg.HookContext, problem: Problem) -> bool:
    """Whether the sensor ``run_reconciler`` repeats the run: then this is not its outcome.

    An error that will come again ends the repeats of a run that is repeated ``UNLESS_FINAL``.
    """
    run = context.instance.get_run_by_id(context.run_id)
    repeats = None if run is None else run.tags.get(TAG_REPEAT_FAILURES)
    if run is None or repeats is None:
        return False
    if repeats == UNLESS_FINAL and is_final(problem):
        context.instance.add_run_tags(run.run_id, {TAG_REPEATS_LEFT: "0"})
        return False
    return repeats_left(run) > 0


def _is_repeated(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether Dagster may repeat the run because a step failed (``run_retries``).

    Whether it does is known only when the run has ended: the sensor decides then.
    """
    if not instance.run_retries_enabled:
        return False
    own = run.tags.get(RETRY_STEP_FAILURES)
    if own is not None:
        return own.lower() == "true"
    return bool(instance.run_retries_retry_on_asset_or_op_failure)
