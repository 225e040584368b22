"""A process that tells one run. What belongs here: starting it beside a run, and what it does."""

import json
import logging
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import dagster as dg

from quant_assets.hooks.processes import is_alive
from quant_assets.settings import Settings
from quant_assets.vendors.slack import SlackConnection

LOOK_SECONDS = 1.0
SOON_SECONDS = 0.2
FIND_SECONDS = 4.0
DRAIN_SECONDS = 10.0
"""So long may the telling of a run outlast it."""
COMMAND = """
import os
os.nice(10)
from quant_assets.hooks.slack_companion import main
main()
"""


def companion_name(run_id: str) -> str:
    """What the companion of a run holds among the locks, so that there is one."""
    return f"companion {run_id}"


def start(
    run_id: str, instance: Any, values: Mapping[str, Any], watched: int
) -> "subprocess.Popen[str]":
    """Start the companion of a run; it ends when the process ``watched`` does, or soon after.

    ``values`` are the settings of the resource.
    """
    told = {
        "run": run_id,
        "instance": dg.serialize_value(instance),
        "values": dict(values),
        "watched": watched,
    }
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )
    # Not in its arguments: an instance may name a database's password.
    assert process.stdin is not None
    with process.stdin as pipe:
        pipe.write(json.dumps(told))
    return process


def main() -> None:
    """Tell the run that standard input names until it is told, or over for a while."""
    from quant_assets.hooks.reporter import Reporter
    from quant_assets.resources.slack import SlackResource, thread_locks

    told = json.load(sys.stdin)
    run_id, watched = told["run"], told["watched"]
    settings = SlackResource(values=told["values"]).settings()
    connection = _connection(settings)
    reference: Any = dg.deserialize_value(told["instance"])
    with (
        dg.DagsterInstance.from_ref(reference) as instance,
        thread_locks(settings.home_dir).hold(companion_name(run_id)) as is_only,
    ):
        run = instance.get_run_by_id(run_id)
        if connection is None or run is None or not is_only:
            return
        reporter = Reporter(instance, settings, connection, _run_log(instance, run))
        began = time.time()
        deadline: float | None = None
        while not reporter.step([run_id]):
            if not reporter.has_ended(run_id) and is_alive(watched, began):
                time.sleep(LOOK_SECONDS)
                continue
            deadline = deadline or time.monotonic() + DRAIN_SECONDS
            if time.monotonic() > deadline or reporter.is_refused:
                return
            time.sleep(SOON_SECONDS)


def _connection(settings: Settings) -> SlackConnection | None:
    """The way to Slack; on a busy machine a sandbox may not answer the first time."""
    deadline = time.monotonic() + FIND_SECONDS
    while (found := settings.slack()) is None and time.monotonic() < deadline:
        time.sleep(SOON_SECONDS)
    return found


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


def _run_log(instance: dg.DagsterInstance, run: dg.DagsterRun) -> logging.Logger:
    """A logger whose warnings stand in the run's own log."""
    log = logging.Logger(f"slack.{run.run_id}")
    log.addHandler(_RunLog(instance, run))
    return log
