"""The broker of `quant sandbox` and `quant dev`, found and used by other processes."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from quant_assets.cli import dev
from quant_assets.sandbox import locate
from quant_assets_tests.integration.test_commands import BIN, Commands

DEADLINE_SECONDS = 600.0
SEED = 7
MARK = "QUANT_TEST_MARK"
"""Variable by which a test finds whatever its command has started, orphans too."""

ROUND_TRIP = """
import sys, time
from pathlib import Path
from confluent_kafka import Consumer, Producer, TopicPartition
from quant_assets.sandbox import locate

servers = locate.kafka_servers(Path(sys.argv[1]), seed=7, data_dir=None)
producer = Producer({"bootstrap.servers": servers, "acks": "all", "enable.idempotence": True})
producer.produce("quantiq.command.requested", sys.argv[2].encode(), partition=0)
assert producer.flush(60) == 0
consumer = Consumer({"bootstrap.servers": servers, "group.id": "t", "fetch.wait.max.ms": 10})
consumer.assign([TopicPartition("quantiq.command.requested", 0, 0)])
found, deadline = [], time.monotonic() + 600
while sys.argv[2] not in found and time.monotonic() < deadline:
    message = consumer.poll(0.1)
    if message is not None and message.error() is None:
        found.append(message.value().decode())
consumer.close()
print(servers, *found)
"""
SHARING = """
import sys
from pathlib import Path
from quant_assets.sandbox import locate

print("ready", flush=True)
sys.stdin.readline()
with locate.Keeper(Path(sys.argv[1]), seed=7, data_dir=None, broker=True) as keeper:
    print(keeper.address, keeper.kafka_servers, flush=True)
    sys.stdin.readline()
"""
STUBBORN = """
import os, signal, time
signal.pthread_sigmask(signal.SIG_SETMASK, [])
signal.signal(signal.SIGTERM, signal.SIG_DFL)
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("ready", flush=True)
    time.sleep(600)
time.sleep(600)
"""


def poll(what: str, is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_true():
        assert time.monotonic() < deadline, f"not seen: {what}"
        time.sleep(0.05)


def servers_of(home: Path) -> str | None:
    return locate.kafka_servers(home, seed=SEED, data_dir=None)


@pytest.fixture
def checkout(tmp_path: Path) -> Commands:
    commands = Commands(tmp_path)
    commands.environment.pop("KAFKA_BOOTSTRAP_SERVERS", None)
    commands.environment[MARK] = tmp_path.name
    return commands


@contextmanager
def running(
    checkout: Commands, *words: str, **variables: str
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A command in the background and the file of what it prints; nothing of it stays."""
    log = checkout.folder / "printed.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(BIN / "quant"), *words],
            cwd=checkout.folder,
            env={**checkout.environment, **variables},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process, log
    finally:
        for pid in marked(checkout):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(DEADLINE_SECONDS)


def marked(checkout: Commands) -> list[int]:
    """Processes that the commands of ``checkout`` have started and that still run."""
    mark = f"{MARK}={checkout.folder.name}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def environment_of(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_any_process_finds_the_broker_of_quant_sandbox(checkout: Commands) -> None:
    home = checkout.folder / ".quant" / "sandbox"
    with running(checkout, "sandbox") as (process, log):
        poll("a record of the broker", lambda: servers_of(home) is not None)
        servers = servers_of(home)
        for value in ("first", "second"):
            answer = subprocess.run(
                [sys.executable, "-c", ROUND_TRIP, str(home), value],
                env=checkout.environment,
                capture_output=True,
                text=True,
                timeout=DEADLINE_SECONDS,
            )
            assert answer.returncode == 0, answer.stderr
            assert answer.stdout.split()[0] == servers
            assert answer.stdout.split()[-1] == value
        poll("the welcome", lambda: "stop with Ctrl-C" in log.read_text())
        assert f"  Kafka (in memory)   {servers}\n" in log.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_SECONDS) == 0
        assert "MOCK" not in log.read_text()
    assert not list(home.glob("*.json"))


def test_the_record_of_a_killed_sandbox_is_replaced_by_the_next(checkout: Commands) -> None:
    home = checkout.folder / ".quant" / "sandbox"
    record = home / locate.BROKER_RECORD_NAME
    with running(checkout, "sandbox") as (process, _):
        poll("a record of the broker", lambda: servers_of(home) is not None)
        process.kill()
        process.wait(DEADLINE_SECONDS)
        left = json.loads(record.read_text())
        assert left["pid"] == process.pid
        assert servers_of(home) is None
    with running(checkout, "sandbox") as (process, _):
        poll("a record of the second broker", lambda: servers_of(home) is not None)
        assert json.loads(record.read_text())["pid"] == process.pid
        assert json.loads((home / locate.RECORD_NAME).read_text())["pid"] == process.pid
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_SECONDS) == 0
    assert not record.exists()


def test_no_broker_is_started_beside_a_real_one(checkout: Commands) -> None:
    home = checkout.folder / ".quant" / "sandbox"
    real = f"127.0.0.1:{free_port()}"
    with running(checkout, "sandbox", KAFKA_BOOTSTRAP_SERVERS=real) as (process, log):
        poll("the welcome", lambda: "stop with Ctrl-C" in log.read_text())
        assert (home / locate.RECORD_NAME).exists()
        assert not (home / locate.BROKER_RECORD_NAME).exists()
        assert "in memory" not in log.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_SECONDS) == 0


def test_processes_that_start_at_once_share_one(tmp_path: Path) -> None:
    """The one that started it ends first of all; the next to look starts another."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", SHARING, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()
        found = {child.stdout.readline() for child in children if child.stdout is not None}
        assert len(found) == 1, found
        assert found.pop().split()[1] == servers_of(tmp_path)
        for child in children:
            child.communicate("\n", timeout=DEADLINE_SECONDS)
            assert child.returncode == 0
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_dev_keeps_a_sandbox_and_a_broker_until_it_is_stopped(
    checkout: Commands, number: signal.Signals
) -> None:
    home = checkout.folder / ".quant" / "sandbox"
    port = free_port()
    with running(checkout, "dev", "--port", str(port)) as (process, log):
        poll("a record of the broker", lambda: servers_of(home) is not None)
        servers = servers_of(home)
        poll("the UI", lambda: accepts(port))
        assert json.loads((home / locate.RECORD_NAME).read_text())["pid"] == process.pid
        assert json.loads((home / locate.BROKER_RECORD_NAME).read_text())["pid"] == process.pid
        children = [pid for pid in marked(checkout) if pid != process.pid]
        assert len(children) >= 4
        assert all(b"DAGSTER_GRPC_MAX_WORKERS=16" in environment_of(pid) for pid in children)
        assert f"  Kafka (in memory)   {servers}\n" in log.read_text()
        assert "quant events send analysis.combined.request --payload '{" in log.read_text()
        process.send_signal(number)
        assert process.wait(DEADLINE_SECONDS) == 0
        assert marked(checkout) == []
    assert not list(home.glob("*.json"))


def test_dev_interrupted_while_it_starts_leaves_nothing(checkout: Commands) -> None:
    home = checkout.folder / ".quant" / "sandbox"
    variables = {"DAGSTER_GRPC_MAX_WORKERS": "5"}
    with running(checkout, "dev", "--port", str(free_port()), **variables) as (process, _):
        poll("two generations of processes", lambda: len(marked(checkout)) >= 3)
        children = [pid for pid in marked(checkout) if pid != process.pid]
        assert all(b"DAGSTER_GRPC_MAX_WORKERS=5" in environment_of(pid) for pid in children)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(DEADLINE_SECONDS) == 0
        assert marked(checkout) == []
    assert not list(home.glob("*.json"))


def test_dev_uses_the_sandbox_that_runs(checkout: Commands) -> None:
    home = checkout.folder / ".quant" / "sandbox"
    with locate.Keeper(home, seed=SEED, data_dir=None, broker=True) as keeper:
        with running(checkout, "dev", "--port", str(free_port())) as (process, log):
            poll("the notice", lambda: f"{keeper.kafka_servers}\n" in log.read_text())
            assert locate.ensure(home, seed=SEED, data_dir=None) == keeper.address
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE_SECONDS) == 0
            assert marked(checkout) == []
        assert servers_of(home) == keeper.kafka_servers


def test_dev_in_the_live_profile_runs_neither(checkout: Commands) -> None:
    home = checkout.folder / ".quant" / "live"
    port = free_port()
    with running(checkout, "dev", "--profile", "live", "--port", str(port)) as (process, log):
        poll("the UI", lambda: accepts(port))
        assert not list(home.glob("*.json"))
        assert "in memory" not in log.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_SECONDS) == 0
        assert marked(checkout) == []


@contextmanager
def stubborn() -> Iterator[subprocess.Popen[bytes]]:
    """A server with a process that neither ends with it nor minds SIGTERM, as a run's does."""
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, process_group=0
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"ready\n"
        yield process
        assert process.stdout.read() == b""


def test_dev_waits_for_a_run_in_progress_and_then_ends_its_process() -> None:
    answers = iter([True, True, True, False])
    with stubborn() as process:
        assert dev.end(process, lambda _: False, lambda: next(answers)) == -signal.SIGTERM
    assert next(answers, None) is None


def test_a_second_interrupt_ends_a_run_in_progress() -> None:
    with stubborn() as process:

        def interrupted(_: float) -> bool:
            return process.poll() is not None

        assert dev.end(process, interrupted, lambda: True) == -signal.SIGTERM
