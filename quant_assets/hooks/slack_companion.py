"""A process that tells one run. What belongs here: starting it beside a run, and what it does.

Where each step has a process of its own (the multiprocess executor), the run waits for each of
these to end: none of them may stay to tell something. The first of them starts this companion,
which nobody waits for and which ends with the run.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import dagster as dg

from quant_assets.hooks.slack import LOOK_SECONDS, follow, has_daemon, run_log


def companion_name(run_id: str) -> str:
    """What the companion of a run holds among the locks, so that there is one."""
    return f"companion {run_id}"


def start(run_id: str, instance: Any, values: Mapping[str, Any]) -> None:
    """Start the companion of a run; ``values`` are the settings of the resource."""
    told = {
        "run": run_id,
        "instance": dg.serialize_value(instance),
        "values": dict(values),
        "parent": os.getppid(),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
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


def main() -> None:
    """Tell the run that standard input names until it is told, or over for a while."""
    from quant_assets.hooks.reporter import Reporter
    from quant_assets.resources.slack import SlackResource, thread_locks

    told = json.load(sys.stdin)
    run_id, parent = told["run"], told["parent"]
    settings = SlackResource(values=told["values"]).settings()
    connection = settings.slack()
    reference: Any = dg.deserialize_value(told["instance"])
    with (
        dg.DagsterInstance.from_ref(reference) as instance,
        thread_locks(settings.home_dir).hold(companion_name(run_id)) as is_only,
    ):
        run = instance.get_run_by_id(run_id)
        if connection is None or run is None or not is_only or has_daemon(instance):
            return
        reporter = Reporter(instance, settings, connection, run_log(instance, run))
        follow(
            reporter,
            run_id,
            lambda: time.sleep(LOOK_SECONDS),
            lambda: reporter.has_ended(run_id) or not _lives(parent),
        )


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if __name__ == "__main__":
    main()
