"""Runs whose process has died. What belongs here: telling them, closing them, and the sensor.

Dagster's default launcher starts a process and keeps no eye on it: if that process is killed
together with the code server, its run stays unfinished for ever, and so does its place in a
vendor's pool, for which later runs would wait.
"""

import json
import platform
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from quant_assets import naming
from quant_assets.hooks.outcomes import is_published, outcomes_of_run, step_key
from quant_assets.hooks.processes import is_alive
from quant_assets.hooks.runs import (
    MOST_REPEATS,
    REPEATS_LEFT,
    STEP_FAILURE,
    TAG_FAILURE_REASON,
    awaits_reconciler,
    repeated_tag,
    repeats_left,
    whole_seconds,
)
from quant_assets.jobs import NAMED_JOBS, NEWS_STREAM

NAME = "run_reconciler"
INTERVAL_SECONDS = 15
LOOK_BACK_DAYS = 30
JOBS = frozenset({*NAMED_JOBS, NEWS_STREAM.name})
"""The jobs whose runs the sensor may ask for."""
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 60, 1800
OVERDUE = timedelta(minutes=15)
"""So long after its limit a command must have ended its run; clocks differ."""
TAG_LAUNCHED = ".dagster/grpc_info"
"""Tag that Dagster's default launcher puts on a run; its process is a child of the code server,
which it names (JSON)."""
LOCAL = (None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0")


def build_reconciler_sensor(jobs: Sequence[Any]) -> dg.SensorDefinition:
    """Closes the runs whose process is gone, and repeats those that must not stay undone."""

    @dg.sensor(
        name=NAME,
        jobs=jobs,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Runs whose process has died are closed; those of requests are repeated.",
    )
    def run_reconciler(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        closed = close_dead_runs(context.instance)
        repeats = repeat_requests(context.instance, datetime.now(UTC))
        if repeats:
            return dg.SensorResult(run_requests=repeats)
        return dg.SkipReason(
            f"closed {len(closed)}: {', '.join(closed)}" if closed else "every run has its process"
        )

    return run_reconciler


def repeat_requests(
    instance: dg.DagsterInstance, now: datetime, jobs: Collection[str] = JOBS
) -> list[dg.RunRequest]:
    """The runs that repeat those that ended without an outcome, each once.

    A run that Dagster ended for its length is given up: it would be as long again. So is one of
    no job among ``jobs``, the names of those that the sensor may run.
    """
    records = instance.get_run_records(
        dg.RunsFilter(
            statuses=[dg.DagsterRunStatus.FAILURE],
            tags={naming.TAG_REPEATS_LEFT: list(REPEATS_LEFT)},
            updated_after=now - timedelta(days=LOOK_BACK_DAYS),
        )
    )
    wanted = []
    for record in records:
        run = record.dagster_run
        if not awaits_reconciler(run):
            continue
        repeat = instance.get_runs(dg.RunsFilter(tags={naming.TAG_REPEAT_OF: run.run_id}), limit=1)
        if repeat:
            instance.add_run_tags(run.run_id, repeated_tag(run.run_id, repeat[0].run_id))
        elif _took_too_long(record) or run.job_name not in jobs:
            instance.add_run_tags(run.run_id, {naming.TAG_REPEATS_LEFT: "0"})
        elif now >= _due(record):
            wanted.append(_repeat(run, now, is_told=_has_outcome(run, instance)))
    return wanted


def _took_too_long(record: dg.RunRecord) -> bool:
    """Whether the run was going on for as long as a run may."""
    if record.start_time is None or record.end_time is None:
        return False
    limit = whole_seconds(record.dagster_run.tags.get(naming.TAG_MAX_RUNTIME))
    return limit is not None and record.end_time - record.start_time >= limit


def _due(record: dg.RunRecord) -> datetime:
    """When a run is repeated: at once after a crash, later and later where a step failed."""
    run = record.dagster_run
    if run.tags.get(TAG_FAILURE_REASON) != STEP_FAILURE or record.end_time is None:
        return datetime.fromtimestamp(0, UTC)
    return datetime.fromtimestamp(record.end_time, UTC) + _wait(repeats_left(run))


def _wait(left: int) -> timedelta:
    """The pause before a repeat that is one of ``left``: twice as long each time, 1 to 30 min."""
    seconds = FIRST_WAIT_SECONDS * 2 ** (MOST_REPEATS - left)
    return timedelta(seconds=min(seconds, LONGEST_WAIT_SECONDS))


def _left(run: dg.DagsterRun, now: datetime) -> int:
    """Repeats that are left to the one that is asked for at ``now``.

    None if another would begin after the time up to which it is tried: then the end of this one
    is the outcome, and whoever watches is told of it.
    """
    left = repeats_left(run) - 1
    until = _try_until(run)
    return 0 if until is not None and now + _wait(left) > until else left


def _try_until(run: dg.DagsterRun) -> datetime | None:
    """When the last repeat may begin; None without such a tag, or with one that is no time."""
    try:
        return datetime.fromisoformat(run.tags.get(naming.TAG_TRY_UNTIL, "")).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _has_outcome(run: dg.DagsterRun, instance: dg.DagsterInstance) -> bool:
    """Whether the assets that the run was for are stored: then its outcome is told without it."""
    if is_published(run):
        return True
    outcomes = outcomes_of_run(run)
    records = instance.get_records_for_run(
        run.run_id, of_type=dg.DagsterEventType.STEP_SUCCESS
    ).records
    made = {record.event_log_entry.step_key for record in records}
    return bool(outcomes) and all(step_key(outcome.asset) in made for outcome in outcomes)


def _repeat(run: dg.DagsterRun, now: datetime, *, is_told: bool) -> dg.RunRequest:
    """The same run once more, with one repeat less to go; silent if its outcome ``is_told``."""
    foreign = ("dagster/", ".dagster/", naming.TAG_PUBLISHED)
    own = {k: v for k, v in run.tags.items() if not k.startswith(foreign)}
    kept = ("dagster/partition", "dagster/asset_partition_range", "dagster/max_r")
    dagsters = {k: v for k, v in run.tags.items() if k.startswith(kept)}
    tags = {
        **own,
        **dagsters,
        naming.TAG_REPEATS_LEFT: str(_left(run, now)),
        naming.TAG_REPEAT_OF: run.run_id,
        **({naming.TAG_ANSWERED: run.run_id} if is_told else {}),
    }
    return dg.RunRequest(
        run_key=f"repeat:{run.run_id}",
        job_name=run.job_name,
        run_config=dict(run.run_config),
        tags=tags,
    )


def close_dead_runs(instance: dg.DagsterInstance, now: datetime | None = None) -> list[str]:
    """Close the runs whose process has died; gives their ids.

    A run that was launched fails, so that Dagster repeats it; one that a command executed is
    canceled, since the command does what is missing when it is called again. On another machine,
    such as a container that was killed, it is taken for dead once the time is long over at which
    its command would have ended it. Runs of other launchers, and of a code server elsewhere, are
    left to run monitoring and to that machine.
    """
    closed = []
    for run in dead_runs(instance, now):
        if is_of_command(run) or TAG_LAUNCHED not in run.tags:
            close_run(run, instance, "the command that ran it died")
        else:
            _close_launched(run, instance)
        closed.append(run.run_id)
    return closed


def dead_runs(instance: dg.DagsterInstance, now: datetime | None = None) -> Iterator[dg.DagsterRun]:
    """The unfinished runs whose process has died; see ``close_dead_runs``."""
    unfinished = [
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    ]
    for record in instance.get_run_records(dg.RunsFilter(statuses=unfinished)):
        run = record.dagster_run
        if is_of_command(run):
            pid = whole_seconds(run.tags.get(naming.TAG_PID))
            made_at = record.create_timestamp.replace(tzinfo=UTC).timestamp()
            is_dead = pid is not None and not is_alive(pid, made_at)
        elif TAG_LAUNCHED in run.tags:
            if not is_of_this_machine(run):
                continue
            is_dead = _has_died(run, instance)
        else:
            is_dead = _is_overdue(record, now or datetime.now(UTC))
        if is_dead:
            yield run


def is_of_this_machine(run: dg.DagsterRun) -> bool:
    """Whether the code server that launched a run is here: of others the processes are not seen."""
    try:
        told = json.loads(run.tags.get(TAG_LAUNCHED, "{}"))
    except ValueError:
        return False
    host = told.get("host") if isinstance(told, dict) else None
    return host in LOCAL or host == platform.node()


def is_of_command(run: dg.DagsterRun) -> bool:
    """Whether a command on this machine executes the run itself.

    A re-execution, and a run that was launched with copied tags, has those of another's process.
    """
    is_own = run.parent_run_id is None and TAG_LAUNCHED not in run.tags
    return is_own and run.tags.get(naming.TAG_HOST) == platform.node()


def _is_overdue(record: dg.RunRecord, now: datetime) -> bool:
    """Whether the command of a run would have ended it long ago; not all commands do."""
    tags = record.dagster_run.tags
    limit = whole_seconds(tags.get(naming.TAG_MAX_RUNTIME))
    if naming.TAG_COMMAND not in tags or limit is None:
        return False
    return now - record.create_timestamp > timedelta(seconds=limit) + OVERDUE


def close_run(
    run: dg.DagsterRun, instance: dg.DagsterInstance, reason: str, *, is_failure: bool = False
) -> None:
    """Cancel an unfinished run, or let it fail, and free its places in the pools."""
    if not run.is_finished:
        end = instance.report_run_failed if is_failure else instance.report_run_canceled
        end(run, reason)
    instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def _has_died(run: dg.DagsterRun, instance: dg.DagsterInstance) -> bool:
    """Whether the process that wrote its number into the run's log is gone.

    A run that has none yet is starting: run monitoring closes it if it stays so.
    """
    process = _process(run, instance)
    return process is not None and not is_alive(*process)


def _process(run: dg.DagsterRun, instance: dg.DagsterInstance) -> tuple[int, float] | None:
    """Number of the run's process and when it said so."""
    for entry in reversed(instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)):
        event: Any = entry.dagster_event
        pid = event.event_specific_data.metadata.get("pid")
        if pid is not None:
            return int(pid.value), entry.timestamp
    return None


def _close_launched(run: dg.DagsterRun, instance: dg.DagsterInstance) -> None:
    current = instance.get_run_by_id(run.run_id)
    if current is None or current.is_finished:
        return
    reason = "The process of the run died together with its code server."
    if current.status == dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(current, reason)
    else:
        instance.report_run_failed(current, reason)
    instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
