"""Runs in Dagster's storage. What belongs here: finding them, and whether their end is final."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta

import dagster as dg

from quant_assets import naming

PAGE = 200
FINISHED = (
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
)
ENDS = (
    dg.DagsterEventType.RUN_SUCCESS,
    dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterEventType.RUN_CANCELED,
)
"""The events that a run ends with."""
WILL_RETRY, RETRIED_BY = "dagster/will_retry", "dagster/auto_retry_run_id"
TAG_FAILURE_REASON, STEP_FAILURE = "dagster/failure_reason", "STEP_FAILURE"
CHAIN_LIMIT = 50
MOST_REPEATS = 8
REPEATS_LEFT = tuple(str(left) for left in range(1, MOST_REPEATS + 1))
"""The values of ``TAG_REPEATS_LEFT`` with which a run is repeated."""


def finished_runs(
    instance: dg.DagsterInstance, since: datetime, until: datetime
) -> Iterator[dg.RunRecord]:
    """Finished runs that changed between ``since`` and ``until``, by the time of that change."""
    seen: set[str] = set()
    limit = PAGE
    while True:
        page = instance.get_run_records(
            filters=dg.RunsFilter(
                statuses=list(FINISHED), updated_after=since, updated_before=until
            ),
            order_by="update_timestamp",
            ascending=True,
            limit=limit,
        )
        fresh = [record for record in page if record.dagster_run.run_id not in seen]
        yield from fresh
        seen.update(record.dagster_run.run_id for record in fresh)
        if len(page) < limit:
            return
        # Runs of the same instant as the last one may stand on the next page.
        since = page[-1].update_timestamp - timedelta(microseconds=1)
        limit = PAGE if fresh else 2 * limit


def is_to_be_repeated(run: dg.DagsterRun) -> bool:
    """Whether ``run_reconciler`` repeats or has repeated the run: its end is no outcome.

    Its process died, or (where its tag says so) a step failed, and it has repeats left.
    """
    if run.status != dg.DagsterRunStatus.FAILURE or repeats_left(run) <= 0:
        return False
    is_crash = run.tags.get(TAG_FAILURE_REASON) != STEP_FAILURE
    return is_crash or naming.TAG_REPEAT_FAILURES in run.tags


def is_repeated(run: dg.DagsterRun) -> bool:
    """Whether the run is repeated, by the reconciler or by Dagster: then the repetition answers."""
    if is_to_be_repeated(run):
        return True
    is_failed = run.status == dg.DagsterRunStatus.FAILURE
    return is_failed and (run.tags.get(WILL_RETRY, "").lower() == "true" or RETRIED_BY in run.tags)


def awaits_reconciler(run: dg.DagsterRun) -> bool:
    """Whether ``run_reconciler`` has yet to repeat the run or to give it up."""
    return is_to_be_repeated(run) and not has_repeat(run)


def awaits_repeat(run: dg.DagsterRun) -> bool:
    """Whether the run that repeats this one has yet to come."""
    return is_repeated(run) and not has_repeat(run) and RETRIED_BY not in run.tags


def repeats_left(run: dg.DagsterRun) -> int:
    """How often ``run_reconciler`` may still repeat the run; not at all for any other text."""
    left = run.tags.get(naming.TAG_REPEATS_LEFT, "")
    return int(left) if left in REPEATS_LEFT else 0


def repeated_tag(run_id: str, repeat_id: str) -> dict[str, str]:
    """The tag of a run that ``repeat_id`` repeats.

    It names the run as well: one that a person executes again gets a copy of its tags.
    """
    return {naming.TAG_REPEATED_BY: f"{repeat_id} repeats {run_id}"}


def has_repeat(run: dg.DagsterRun) -> bool:
    """Whether ``run_reconciler`` knows of the run that repeats this one."""
    return run.tags.get(naming.TAG_REPEATED_BY, "").endswith(f" repeats {run.run_id}")


def whole_seconds(text: str | None) -> int | None:
    """The seconds that a tag states; None for a text that no platform code has written."""
    return int(text) if text and re.fullmatch("[0-9]{1,9}", text) else None


def partitions_of(run: dg.DagsterRun) -> tuple[str, str]:
    """First and last partition that the run's tags name, empty without one."""
    one = run.tags.get(naming.TAG_PARTITION, "")
    first, last = (run.tags.get(t, one) for t in (naming.TAG_RANGE_START, naming.TAG_RANGE_END))
    return first, last


def predecessors(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[dg.DagsterRun]:
    """The runs that ``run`` repeats, the latest first; by hand, by Dagster or by the reconciler."""
    chain: list[dg.DagsterRun] = []
    seen = {run.run_id}
    while len(chain) < CHAIN_LIMIT:
        before = run.parent_run_id or run.tags.get(naming.TAG_REPEAT_OF)
        found = instance.get_run_by_id(before) if before and before not in seen else None
        if found is None:
            break
        seen.add(found.run_id)
        chain.append(found)
        run = found
    return chain
