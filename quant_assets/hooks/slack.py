"""Telling a run where no daemon does it. What belongs here: when a run needs that, and its start.

Normally the sensor ``slack_threads`` tells every run. A run that a shell starts without a daemon
(``dagster job launch``) gets a companion: a process beside it that follows what the run tells
Dagster. The run itself does nothing for it: a thread in its own process made a run of 3 s longer by
14 to 30 %, a hook a step would cost two events in Dagster's log each, 20 ms on SQLite.
"""

import logging
import os
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import dagster as dg
from pydantic import PrivateAttr

from quant_assets.hooks.reporter import is_told_of
from quant_assets.hooks.slack_companion import DRAIN_SECONDS, companion_name, start
from quant_assets.resources.slack import SlackResource, thread_locks, why_off

FIRST_SECONDS = 5.0
"""So long a run is left alone: the companion's start takes the machine 1.5 s of computing, which a
short run would feel on two cores."""
POLL_SECONDS = 0.2
DAEMON = "SENSOR"
DAEMON_IS_ALIVE = timedelta(seconds=60)
LOG = logging.getLogger(__name__)
_mutex = threading.Lock()
_begun: set[str] = set()


class RunSlackResource(SlackResource):
    """Slack for the runs of the code location."""

    _is_over: threading.Event = PrivateAttr(default_factory=threading.Event)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Start the companion of a run that nobody else tells; each process of a run comes here.

        Not where the instance is in memory: no other process could read it.
        """
        run, instance = context.run, context.instance
        if run is None or instance is None or not instance.is_persistent or not is_told_of(run):
            return
        settings = self.settings()
        if not settings.may_have_slack:
            _say_off(why_off(settings))
        elif not has_daemon(instance):
            self._start_companion(instance, run)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Start the companion of a short run."""
        self._is_over.set()

    def _start_companion(self, instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
        reference = instance.get_ref()
        with _mutex:
            # A process may set up the resources of a run more than once.
            if run.run_id in _begun:
                return
            _begun.add(run.run_id)
        if not is_step_worker(instance, run.run_id):
            told = (run.run_id, reference, self.values, self._is_over)
            threading.Thread(target=_see_to_it, args=told, name="slack-companion").start()
            return
        with thread_locks(self.settings().home_dir).hold(companion_name(run.run_id)) as is_missing:
            pass
        if is_missing:
            _started(run.run_id, reference, self.values, os.getppid())


def _see_to_it(
    run_id: str, reference: Any, values: Mapping[str, Any], is_over: threading.Event
) -> None:
    """Start the companion of a run, and hold the process at its end until all is told.

    For a limited time: in a container the companion ends with the process that the container was
    made for.
    """
    main = threading.main_thread()
    begin = time.monotonic() + FIRST_SECONDS
    while main.is_alive() and time.monotonic() < begin and not is_over.wait(POLL_SECONDS):
        pass
    companion = _started(run_id, reference, values, os.getpid())
    if companion is None:
        return
    while main.is_alive() and companion.poll() is None:
        time.sleep(POLL_SECONDS)
    with suppress(subprocess.TimeoutExpired):
        companion.wait(DRAIN_SECONDS)


def _started(
    run_id: str, reference: Any, values: Mapping[str, Any], watched: int
) -> "subprocess.Popen[str] | None":
    """The companion, None where the machine has no room for it: the run goes on."""
    try:
        return start(run_id, reference, values, watched)
    except OSError as error:
        LOG.warning("run %s: is not told in Slack: %s", run_id, error)
        return None


def has_daemon(instance: dg.DagsterInstance) -> bool:
    """Whether a daemon evaluates sensors: then the sensor tells the runs."""
    heartbeat = instance.get_daemon_heartbeats().get(DAEMON)
    if heartbeat is None:
        return False
    seen = datetime.fromtimestamp(heartbeat.timestamp, UTC)
    return datetime.now(UTC) - seen < DAEMON_IS_ALIVE


def is_step_worker(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether this process was made for one step of the run.

    The run waits for the end of each of these: none may stay for anything else.
    """
    started = instance.get_records_for_run(
        run_id, of_type=dg.DagsterEventType.STEP_WORKER_STARTED
    ).records
    pids = [_pid(record.event_log_entry.dagster_event) for record in started]
    return str(os.getpid()) in pids


def _pid(event: Any) -> str:
    return str(getattr(event.engine_event_data.metadata.get("pid"), "value", ""))


@lru_cache(maxsize=8)
def _say_off(reason: str) -> None:
    """Say once in a process that nothing is told."""
    LOG.info(reason)
