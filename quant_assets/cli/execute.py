"""Running tasks on both cores with progress. What belongs here: processes, polling, outcomes."""

from __future__ import annotations

import multiprocessing
import os
import platform
import signal
import sqlite3
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from quant_assets.cli.tasks import Task
from quant_assets.errors import QuantAssetsError
from quant_assets.naming import CHECK_FRESHNESS, TAG_HOST, TAG_PID
from quant_assets.sandbox.interruptions import interruptions
from quant_assets.sensors.dead_runs import close_run

if TYPE_CHECKING:
    import dagster as dg

POLL_SECONDS = 0.5
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""Run config of a run whose log stands in the UI, not in the terminal."""


@dataclass(frozen=True)
class Outcome:
    """How a task ended; ``reason`` is empty if it succeeded."""

    task: Task
    run_id: str
    seconds: float
    reason: str
    failed_checks: tuple[str, ...] = ()
    trace: str = ""
    """Traceback of an error that the platform did not raise on purpose."""


@dataclass
class _Running:
    task: Task
    run_id: str
    future: Future[Outcome]
    done: int = 0
    cursor: str | None = None


def run_tasks(
    tasks: Sequence[Task],
    instance: dg.DagsterInstance,
    *,
    workers: int,
    on_progress: Callable[[Task, int], None],
    on_end: Callable[[Outcome], None],
) -> list[Outcome]:
    """Execute every task, ``workers`` at a time, in processes of their own.

    Ctrl-C or SIGTERM ends them and raises ``KeyboardInterrupt``.

    ``on_progress`` is called with a task and the partitions it has newly materialized. A task
    that fails does not stop the others. A worker that dies is an outcome like any other.
    """
    outcomes: list[Outcome] = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare_worker) as pool:
        running = []
        for task in tasks:
            run_id = str(uuid.uuid4())
            running.append(_Running(task, run_id, pool.submit(execute, task, run_id)))
        with interruptions(signal.SIGINT, signal.SIGTERM) as interrupted:
            while running:
                if interrupted(POLL_SECONDS):
                    _interrupt(pool, running, instance)
                    raise KeyboardInterrupt
                for item in list(running):
                    _count(item, instance, on_progress)
                    if item.future.done():
                        running.remove(item)
                        outcome = _outcome_of(item)
                        outcomes.append(outcome)
                        on_end(outcome)
            if interrupted(0.0):
                raise KeyboardInterrupt
    return outcomes


def _interrupt(
    pool: ProcessPoolExecutor, running: Sequence[_Running], instance: dg.DagsterInstance
) -> None:
    """End the workers at once and close their runs, so that none stays unfinished.

    Killing is safe, since a partition is stored whole or not at all; an interrupt is not enough,
    since Dagster defers it until the next step, a minute later in a long range.
    """
    for worker in multiprocessing.active_children():
        worker.kill()
    pool.shutdown(wait=True, cancel_futures=True)
    for item in running:
        run = instance.get_run_by_id(item.run_id)
        if run is not None:
            close_run(run, instance, "interrupted by the user")


def execute(
    task: Task,
    run_id: str,
    tags: Mapping[str, str] | None = None,
    on_event: Callable[[dg.EventLogEntry], None] | None = None,
) -> Outcome:
    """Run one task in this process, as ``dagster job execute`` would with its range tags.

    ``on_event`` is called with each event of the run when it is stored.
    """
    started = time.monotonic()
    result = _execute(task, run_id, tags or {}, on_event)
    failed_checks = tuple(
        f"{check.asset_key.to_user_string()} {check.check_name}"
        for check in result.get_asset_check_evaluations()
        if not check.passed and check.check_name != CHECK_FRESHNESS
    )
    reason, trace = ("", "") if result.success else failure_reason(result)
    return Outcome(task, run_id, time.monotonic() - started, reason, failed_checks, trace)


def _execute(
    task: Task,
    run_id: str,
    own_tags: Mapping[str, str],
    on_event: Callable[[dg.EventLogEntry], None] | None,
) -> dg.ExecuteInProcessResult:
    import dagster as dg

    from quant_assets.definitions import defs
    from quant_assets.jobs import NAMED_JOBS, served_tables
    from quant_assets.sensors.common import partition_tags

    process = {TAG_HOST: platform.node(), TAG_PID: str(os.getpid())}
    with dg.DagsterInstance.get() as instance:
        if on_event is not None:
            instance.add_event_listener(run_id, on_event)
        job = defs.resolve_job_def(task.job)
        named = NAMED_JOBS.get(task.job)
        made = named.made if named and {*task.assets} == {*named.assets} else task.assets
        chosen = job.asset_layer.selected_asset_keys
        keys = {dg.AssetKey(asset.split("/")) for asset in made}
        keys |= chosen & {dg.AssetKey(table.split("/")) for table in served_tables(made)}
        # A selection would bring the checks of freshness, which are no part of the jobs.
        is_whole = keys == set(chosen)
        return job.execute_in_process(
            instance=instance,
            run_id=run_id,
            tags={**own_tags, **partition_tags(task.first, task.last), **process},
            asset_selection=None if is_whole else list(keys),
            partition_key=task.first if task.first == task.last else None,
            run_config=QUIET,
            raise_on_error=False,
        )


def failure_reason(result: dg.ExecuteInProcessResult) -> tuple[str, str]:
    """The first failed step and what its error says: the platform's own word, else the innermost.

    The cause of an error of ours is a library's, which knows no remedy; of an error that is not
    ours the traceback comes with it.
    """
    ours = {cls.__name__ for cls in _subclasses(QuantAssetsError)}
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data.user_failure_data
            if failure is not None:
                return f"{event.step_key}: {failure.description}", ""
            outermost = error = event.step_failure_data.error
            while error is not None and error.cause is not None and error.cls_name not in ours:
                error = error.cause
            if error is None:
                return f"{event.step_key}: no message", ""
            trace = ""
            if outermost is not None and error.cls_name not in ours:
                trace = outermost.to_string()
            return f"{event.step_key}: {error.message.strip()}", trace
    return "the run failed outside its steps: see its log in the UI", ""


def _subclasses(cls: type[Exception]) -> Iterator[type[Exception]]:
    yield cls
    children: list[type[Exception]] = cls.__subclasses__()
    for child in children:
        yield from _subclasses(child)


def _outcome_of(item: _Running) -> Outcome:
    try:
        return item.future.result()
    except BrokenProcessPool:
        return Outcome(item.task, item.run_id, 0.0, "the worker process died (out of memory?)")
    except Exception as error:  # noqa: BLE001  whatever a worker raises is that task's outcome
        detail = "".join(traceback.format_exception_only(error)).strip()
        return Outcome(item.task, item.run_id, 0.0, detail)


def _count(
    item: _Running, instance: dg.DagsterInstance, on_progress: Callable[[Task, int], None]
) -> None:
    """Report the partitions that a run has materialized since the last call."""
    import dagster as dg

    if not instance.has_run(item.run_id):
        return
    connection = instance.get_records_for_run(
        item.run_id, cursor=item.cursor, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
    )
    item.cursor = connection.cursor
    if connection.records:
        item.done += len(connection.records)
        on_progress(item.task, len(connection.records))


def _prepare_worker() -> None:
    """Leave the terminal's Ctrl-C to the parent, end with it, and keep the event index open.

    A worker whose parent was killed would wait for its next task for ever. Dagster opens and
    closes a connection for each event, and the last one to close a database checkpoints it, which
    costs 4 of the 15 ms of a partition's two events.
    """
    os.setsid()
    end_with(os.getppid())
    index = Path(os.environ["DAGSTER_HOME"]) / "history" / "runs" / "index.db"
    if index.exists():
        global _index_connection
        _index_connection = sqlite3.connect(index, check_same_thread=False)
        _index_connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def end_with(parent: int) -> None:
    """End this process once ``parent`` is not its parent any more."""
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


_index_connection: sqlite3.Connection | None = None
