"""Telling a run where no daemon does it. What belongs here: the desk of a run's own process.

Normally the sensor ``slack_threads`` tells every run. A run that a shell starts without a daemon
(``dagster job launch``) tells itself, in a thread beside it that looks once a second at what the
run has told Dagster; the run waits for nothing. Where each step has a process of its own, one
process beside them does it. A hook would wake the thread earlier, but each hook of a step costs two
events in Dagster's log, 20 ms on SQLite.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import dagster as dg
from pydantic import PrivateAttr

from quant_assets.hooks.reporter import Reporter, is_told_of
from quant_assets.resources.slack import SlackResource, thread_locks, why_off

DRAIN_SECONDS = 10.0
"""So long may the telling of a run outlast it."""
FIRST_LOOK_SECONDS = 2.0
LOOK_SECONDS = 1.0
SOON_SECONDS = 0.2
DAEMON = "SENSOR"
DAEMON_IS_ALIVE = timedelta(seconds=60)
LOG = logging.getLogger(__name__)


class RunSlackResource(SlackResource):
    """Slack for the runs of the code location."""

    _desk: "Desk | None" = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Open a desk for the run; each process of a run has one.

        Not where the instance is in memory: nobody could follow its links, and SQLite's databases
        in memory bear no second thread.
        """
        run, instance = context.run, context.instance
        if run is None or instance is None or not instance.is_persistent:
            return
        if is_told_of(run):
            self._desk = Desk(instance.get_ref(), run, self)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Let the desk finish and close."""
        if self._desk is not None:
            self._desk.close()


def has_daemon(instance: dg.DagsterInstance) -> bool:
    """Whether a daemon evaluates sensors: then the sensor tells the runs."""
    heartbeat = instance.get_daemon_heartbeats().get(DAEMON)
    if heartbeat is None:
        return False
    seen = datetime.fromtimestamp(heartbeat.timestamp, UTC)
    return datetime.now(UTC) - seen < DAEMON_IS_ALIVE


def follow(
    reporter: Reporter, run_id: str, wait: Callable[[], object], is_over: Callable[[], bool]
) -> None:
    """Tell a run until all of it is told, or ``DRAIN_SECONDS`` after nothing more can come.

    ``wait`` waits for the next look; ``is_over`` is whether the run's process has come to its end.
    """
    deadline: float | None = None
    while not reporter.step([run_id]):
        if is_over():
            deadline = deadline or time.monotonic() + DRAIN_SECONDS
            if time.monotonic() > deadline or reporter.is_refused:
                return
            time.sleep(SOON_SECONDS)
        else:
            wait()


class Desk:
    """Tells one run from its own process.

    The work is done by a daemon thread, which the end of the process cuts off wherever it is; what
    it had begun is found out by whoever tells the run next. A second thread, which the process
    waits for, gives it the time to finish.
    """

    def __init__(self, instance: Any, run: dg.DagsterRun, slack: SlackResource) -> None:
        self._run = run
        self._slack = slack
        self._instance = instance
        self._closed = threading.Event()
        self._worker = threading.Thread(target=self._work, name="slack-desk", daemon=True)
        self._worker.start()
        threading.Thread(target=self._wait, name="slack-desk-end").start()

    def close(self) -> None:
        """Nothing more happens in this process: finish."""
        self._closed.set()

    def _wait(self) -> None:
        """Hold the process while there is something to finish, for a limited time."""
        main = threading.main_thread()
        while self._worker.is_alive() and main.is_alive() and not self._closed.is_set():
            self._worker.join(SOON_SECONDS)
        self.close()
        self._worker.join(DRAIN_SECONDS)

    def _work(self) -> None:
        # The first look costs 0.1 s of the interpreter: a run that is over by then loses nothing.
        self._closed.wait(FIRST_LOOK_SECONDS)
        try:
            settings = self._slack.settings()
            connection = settings.slack()
            if connection is None:
                _say_off(why_off(settings))
                return
            with dg.DagsterInstance.from_ref(self._instance) as instance:
                if has_daemon(instance):
                    return
                if is_step_worker(instance, self._run.run_id):
                    self._send_companion()
                    return
                log = run_log(instance, self._run)
                reporter = Reporter(instance, settings, connection, log)
                follow(reporter, self._run.run_id, self._look_later, self._closed.is_set)
        except Exception:
            LOG.exception("run %s: is not told in Slack", self._run.run_id)

    def _look_later(self) -> None:
        self._closed.wait(LOOK_SECONDS)

    def _send_companion(self) -> None:
        from quant_assets.hooks.slack_companion import companion_name, start

        locks = thread_locks(self._slack.settings().home_dir)
        with locks.hold(companion_name(self._run.run_id)) as is_missing:
            pass
        if is_missing:
            start(self._run.run_id, self._instance, self._slack.values)


def is_step_worker(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether this process was made for one step of the run."""
    started = instance.get_records_for_run(
        run_id, of_type=dg.DagsterEventType.STEP_WORKER_STARTED
    ).records
    pids = [_pid(record.event_log_entry.dagster_event) for record in started]
    return str(os.getpid()) in pids


def _pid(event: Any) -> str:
    return str(getattr(event.engine_event_data.metadata.get("pid"), "value", ""))


class _RunLog(logging.Handler):
    """Writes into the log of a run, which the UI shows."""

    def __init__(self, instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
        super().__init__(logging.WARNING)
        self._instance = instance
        self._run = run

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._instance.report_engine_event(self.format(record), self._run)
        except Exception:  # noqa: BLE001  what every handler does with its own faults
            self.handleError(record)


def run_log(instance: dg.DagsterInstance, run: dg.DagsterRun) -> logging.Logger:
    """A logger whose warnings stand in the run's own log."""
    log = logging.Logger(f"slack.{run.run_id}")
    log.addHandler(_RunLog(instance, run))
    return log


@lru_cache(maxsize=8)
def _say_off(reason: str) -> None:
    """Say once in a process that nothing is told."""
    LOG.info(reason)
