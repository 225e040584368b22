"""``quant dev``. What belongs here: Dagster's own development server, and what runs beside it."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import click

from quant_assets.cli.instance import checkout
from quant_assets.errors import BadConfigurationError
from quant_assets.sandbox import locate
from quant_assets.sandbox.broker import notice
from quant_assets.sandbox.interruptions import interruptions
from quant_assets.sandbox.slack_export import publish
from quant_assets.settings import Settings

GRPC_WORKERS = "DAGSTER_GRPC_MAX_WORKERS"
UI_URL = "QUANT_UI_URL"
# A sensor that waits for events holds one of the code server's workers while it waits.
WORKERS_FOR_WAITING_SENSORS = "16"
EXAMPLE = (
    ".venv/bin/quant events send analysis.combined.request "
    """--payload '{"market": "us", "symbols": ["AAPL"]}' --wait"""
)
POLL_SECONDS = 0.1
# Dagster waits half a minute for a sensor that waits for events; killing it loses nothing.
SERVER_SECONDS = 4.0
RUN_SECONDS = 30.0


def serve_ui(values: Settings, port: int) -> int:
    """Run ``dagster dev`` on 127.0.0.1 until interrupted; its exit status.

    Except in the profile ``live`` a sandbox and, unless the settings name one, a broker are kept
    meanwhile, so that all runs started in the UI meet there.
    """
    with ExitStack() as stack:
        stack.enter_context(_only_one(values.home_dir))
        _demand_free(port)
        keeper = None
        if values.is_sandbox:
            keeper = stack.enter_context(
                locate.Keeper(
                    values.home_dir,
                    seed=values.sandbox_seed,
                    data_dir=values.replayed_data,
                    broker=not values.kafka_bootstrap_servers,
                )
            )
            servers = keeper.kafka_servers
            click.echo(
                f"  Kafka               {values.kafka_bootstrap_servers}"
                if servers is None
                else notice(servers)
            )
            click.echo(f"  send an event       {EXAMPLE}")
            click.echo(f"  vendors, faults     {keeper.address}")
            click.echo(f"  Slack channels      {keeper.address}/slack")
            stack.callback(publish, values.home_dir)
        return _run_dagster(values, port, keeper)


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """Hold the profile: two daemons on one instance would each start the runs of a request."""
    with (home / ".dev.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadConfigurationError(
                f"`quant dev` runs already on {home}: end that one first, or use another profile"
            ) from None
        yield


def _demand_free(port: int) -> None:
    """Raise ``BadConfigurationError`` if somebody listens on ``port``."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise BadConfigurationError(
                f"port {port} is taken ({error.strerror}): name another with --port"
            ) from error


def _run_dagster(values: Settings, port: int, keeper: locate.Keeper | None) -> int:
    """Run it in a process group of its own: Ctrl-C then reaches it once, through this process.

    Interrupted a second time while it stops, ``dagster dev`` leaves its own processes behind.
    """
    numbers = [signal.SIGINT, signal.SIGTERM]
    # A process started with nohup goes on when its terminal closes.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    with interruptions(*numbers) as interrupted:
        process = subprocess.Popen(
            _command(port), cwd=values.home_dir, env=_environment(port), process_group=0
        )
        is_wanted = False
        try:
            renewed = time.monotonic()
            while process.poll() is None and not (is_wanted := bool(interrupted(POLL_SECONDS))):
                if keeper is not None and time.monotonic() - renewed > locate.RENEW_SECONDS:
                    if (moved := keeper.renew()) is not None:
                        click.echo(notice(moved))
                    renewed = time.monotonic()
        finally:
            status = end(process, interrupted, _has_runs)
        return 0 if is_wanted else status


def end(
    process: subprocess.Popen[bytes],
    interrupted: Callable[[float], int],
    has_runs: Callable[[], bool],
) -> int:
    """End the server and whatever it has started; the server's exit status.

    It is asked first and runs in progress may finish, up to a time or another interrupt; what is
    left of its group is killed. The next server's reconciler closes the runs of what was killed.
    """
    try:
        process.terminate()
        is_patient = _wait_until(lambda: process.poll() is not None, SERVER_SECONDS, interrupted)
        if is_patient and _others(process.pid) and has_runs():
            click.echo(
                f"waiting up to {RUN_SECONDS:.0f} s for runs in progress; Ctrl-C ends them now"
            )
            _wait_until(lambda: not (_others(process.pid) and has_runs()), RUN_SECONDS, interrupted)
    finally:
        _kill_group(process)
    return process.wait()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the others first: then the server need not wait for them, and tidies up."""
    for pid in _others(process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(SERVER_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _wait_until(
    is_true: Callable[[], bool], seconds: float, interrupted: Callable[[float], int]
) -> bool:
    """Wait until it is true or the time is over; False if an interrupt came first."""
    deadline = time.monotonic() + seconds
    while not is_true() and time.monotonic() < deadline:
        if interrupted(POLL_SECONDS):
            return False
    return True


def _others(group: int) -> list[int]:
    """Members of a process group that live, but its leader.

    The dead ones that nobody has asked after, as in a container without an init, are left out.
    Where there is no /proc none are found, and nothing but the server gets time to end.
    """
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, member_of = path.read_text("ascii", "replace").rpartition(")")[2].split()[:3]
            if int(member_of) == group and state not in "ZX" and path.parent.name != str(group):
                found.append(int(path.parent.name))
    return found


def _has_runs() -> bool:
    """Whether a run that the server launched is in progress; one whose process died is not."""
    import dagster as dg

    from quant_assets.sensors.dead_runs import TAG_LAUNCHED, close_dead_runs

    in_progress = dg.RunsFilter(
        statuses=[
            dg.DagsterRunStatus.STARTING,
            dg.DagsterRunStatus.STARTED,
            dg.DagsterRunStatus.CANCELING,
        ]
    )
    with dg.DagsterInstance.get() as instance:
        close_dead_runs(instance)
        return any(TAG_LAUNCHED in run.tags for run in instance.get_runs(in_progress))


def _command(port: int) -> list[str]:
    return [
        sys.executable,
        "-m",
        "dagster",
        "dev",
        "--workspace",
        str(checkout() / "workspace.yaml"),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]


def _environment(port: int) -> dict[str, str]:
    """The environment of this process, which has put the user's ``.env`` into it already.

    The server works in the profile's directory, so that a ``.env`` written for another profile
    does not take its place. Links in notices lead to this server unless the settings say where.
    """
    return {
        GRPC_WORKERS: WORKERS_FOR_WAITING_SENSORS,
        UI_URL: f"http://127.0.0.1:{port}",
        **os.environ,
        "PYTHONPATH": str(checkout()),
    }
