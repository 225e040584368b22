"""Runs whose process has died. What belongs here: telling them, closing them, and the sensor.

Dagster's default launcher starts a process and keeps no eye on it: if that process is killed
together with the code server, its run stays unfinished for ever, and so does its place in a
vendor's pool, for which later runs would wait.
"""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from quant_assets import naming

NAME = "run_reconciler"
INTERVAL_SECONDS = 15
TAG_HOST, TAG_PID = "quant/host", "quant/pid"
"""Tags of a run that a command executes itself: where, and in which process."""
TAG_FAILURE_REASON, STEP_FAILURE = "dagster/failure_reason", "STEP_FAILURE"
LOOK_BACK_HOURS = 24
TAG_LAUNCHED = ".dagster/grpc_info"
"""Tag that Dagster's default launcher puts on a run; its process is a child of the code server."""
CLOCK_SLACK_SECONDS = 2.0


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


def is_to_be_repeated(run: dg.DagsterRun) -> bool:
    """Whether the run's process died and ``run_reconciler`` repeats it: it has no outcome yet."""
    return (
        run.status == dg.DagsterRunStatus.FAILURE
        and run.tags.get(TAG_FAILURE_REASON) != STEP_FAILURE
        and int(run.tags.get(naming.TAG_REPEATS_LEFT, 0)) > 0
    )


def repeat_requests(instance: dg.DagsterInstance, now: datetime) -> list[dg.RunRequest]:
    """The runs that repeat those whose process died within the last day, each once."""
    lately = now - timedelta(hours=LOOK_BACK_HOURS)
    failed = instance.get_runs(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=lately)
    )
    return [
        _repeat(run)
        for run in failed
        if is_to_be_repeated(run)
        and not instance.get_runs(dg.RunsFilter(tags={naming.TAG_REPEAT_OF: run.run_id}), limit=1)
    ]


def _repeat(run: dg.DagsterRun) -> dg.RunRequest:
    """The same run once more, with one repeat less to go."""
    foreign = ("dagster/", ".dagster/", naming.TAG_PUBLISHED)
    own = {k: v for k, v in run.tags.items() if not k.startswith(foreign)}
    kept = ("dagster/partition", "dagster/asset_partition_range", "dagster/max_r")
    dagsters = {k: v for k, v in run.tags.items() if k.startswith(kept)}
    left = int(run.tags[naming.TAG_REPEATS_LEFT]) - 1
    tags = {
        **own,
        **dagsters,
        naming.TAG_REPEATS_LEFT: str(left),
        naming.TAG_REPEAT_OF: run.run_id,
    }
    return dg.RunRequest(
        run_key=f"repeat:{run.run_id}",
        job_name=run.job_name,
        run_config=dict(run.run_config),
        tags=tags,
    )


def close_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Close the runs of this machine whose process has died; gives their ids.

    A run that was launched fails, so that Dagster repeats it; one that a command executed is
    canceled, since the command does what is missing when it is called again. Runs of other
    launchers and other machines are left to run monitoring.
    """
    closed = []
    unfinished = [
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    ]
    for run in instance.get_runs(dg.RunsFilter(statuses=unfinished)):
        if run.tags.get(TAG_HOST) == platform.node():
            if not is_alive(int(run.tags[TAG_PID])):
                close_run(run, instance, "the command that ran it died")
                closed.append(run.run_id)
        elif TAG_LAUNCHED in run.tags and _has_died(run, instance):
            _close_launched(run, instance)
            closed.append(run.run_id)
    return closed


def close_run(run: dg.DagsterRun, instance: dg.DagsterInstance, reason: str) -> None:
    """Cancel an unfinished run and free its places in the pools."""
    if not run.is_finished:
        instance.report_run_canceled(run, reason)
    instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def is_alive(pid: int, since: float | None = None) -> bool:
    """Whether the process ``pid`` lives and, where the system tells, is as old as ``since``.

    ``since`` (seconds since the epoch) is a time at which the process already ran: a younger one
    has the number of one that is gone.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    found = _state_and_start(pid)
    if found is None:
        return True
    state, started = found
    return state != "Z" and (since is None or started <= since + CLOCK_SLACK_SECONDS)


def _state_and_start(pid: int) -> tuple[str, float] | None:
    """State letter and start time of a process, None where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        boot = next(
            line for line in Path("/proc/stat").read_text("ascii").splitlines() if "btime" in line
        )
    except (OSError, StopIteration):
        return None
    ticks_per_second = os.sysconf("SC_CLK_TCK")
    return fields[0], float(boot.split()[1]) + int(fields[19]) / ticks_per_second


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
