"""A whole installation as processes, and a campaign of kills against it. What belongs here: both.

Daemon, code server, the workers it starts, sandbox and broker are processes of their own, as in
production. Assertions belong to the tests.
"""

import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import psutil

from quant_assets.events.connection import KafkaConnection
from quant_assets.events.dead_letters import DeadLetter, header_texts
from quant_assets.events.publisher import Outgoing, Publisher
from quant_assets.events.reading import Record, read_topic
from quant_assets.events.topics import Role, TopicNames, event_types
from quant_assets.naming import TAG_REQUEST_PREFIX
from quant_assets.settings import Settings, read_settings

CHECKOUT = Path(__file__).resolve().parents[2]
NAMES = TopicNames()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(
    is_true: Callable[[], bool],
    seconds: float,
    what: str,
    logs: Callable[[], str] = lambda: "",
) -> None:
    """Poll until ``is_true``; fail with ``what`` and the ``logs`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}\n{logs()}")
        time.sleep(0.25)


class Process:
    """A process of the installation that can be killed and started again."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path
    ) -> None:
        self.name = name
        self._command = list(command)
        self._environment = dict(environment)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.log = folder / f"{name}.log"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self, seconds: float = 20.0) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def text(self) -> str:
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.text().splitlines()[-lines:])


@dataclass
class Installation:
    """Code server, daemon, sandbox; and what is asked of them."""

    home: Path
    settings: Settings
    environment: dict[str, str]
    connection: KafkaConnection
    instance: dg.DagsterInstance
    binaries: Path
    sandbox: Process
    server: Process
    daemon: Process
    workers: set[psutil.Process] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.publisher = Publisher(self.connection, NAMES)

    def start(self) -> None:
        """Start server and daemon, and wait until the server serves."""
        self.server.start()
        self.daemon.start()

    def stop(self) -> None:
        """End every process, also orphaned workers.

        By killing: a daemon that is asked to end first waits half a minute for its sensors.
        """
        self.note_workers()
        self.daemon.kill()
        self.server.kill()
        self.sandbox.stop()
        for worker in self.workers:
            _kill(worker)

    def note_workers(self) -> list[psutil.Process]:
        """The live workers; they are remembered, since they may outlive their server."""
        with suppress(psutil.NoSuchProcess):
            self.workers |= set(psutil.Process(self.server.pid).children(recursive=True))
        return [worker for worker in self.workers if worker.is_running()]

    def request(
        self, event_type: str, payload: Mapping[str, Any], *, event_id: str | None = None
    ) -> str:
        """Send a request; its id."""
        identity = event_id or str(uuid.uuid4())
        self.send(NAMES.topic(event_type), envelope(event_type, payload, identity))
        return identity

    def send(self, topic: str, value: bytes | None, key: bytes | None = None) -> None:
        """Send bytes, again and again while the broker is away."""
        self.publisher.send([Outgoing(topic, value, key)], timeout_seconds=90)

    def runs_of(self, event_id: str) -> list[dg.DagsterRun]:
        """Every run that serves a request."""
        key = f"{TAG_REQUEST_PREFIX}{event_id}"
        values = [v for _, found in self.instance.get_run_tags(tag_keys=[key]) for v in found]
        return [run for v in values for run in self.instance.get_runs(dg.RunsFilter(tags={key: v}))]

    def outcomes(self) -> list[Record]:
        """Every completion and failure event."""
        topics = [NAMES.topic(event_type.name) for event_type in event_types(Role.OUTCOME)]
        return [record for topic in topics for record in read_topic(self.connection, topic)]

    def letters(self) -> list[DeadLetter]:
        """Every dead letter."""
        records = read_topic(self.connection, NAMES.dead_letter)
        found = [(header_texts(record.headers), record) for record in records]
        return [DeadLetter.read(texts, r.value, r.key) for texts, r in found if "code" in texts]

    def logs(self) -> str:
        """The ends of the processes' logs, for a failing test."""
        return "\n\n".join(f"== {p.name}\n{p.tail()}" for p in (self.daemon, self.server))


def envelope(event_type: str, payload: Mapping[str, Any], event_id: str) -> bytes:
    """An event as bytes."""
    content = {
        "eventId": event_id,
        "eventType": event_type,
        "timestamp": datetime.now(UTC).isoformat(),
        "source": "campaign",
        "payload": payload,
    }
    return json.dumps(content).encode()


@contextmanager
def installation(
    home: Path,
    *,
    instance_yaml: str | None = None,
    definitions: str = "quant_assets.definitions",
    **variables: str,
) -> Iterator[Installation]:
    """An installation below ``home``; its server and daemon are not started yet.

    ``instance_yaml`` replaces the checkout's ``dagster.yaml``; ``definitions`` is the module of the
    code location. Without KAFKA_BOOTSTRAP_SERVERS the
    sandbox's broker is used.
    """
    home.mkdir(parents=True, exist_ok=True)
    given = {"QUANT_HOME": str(home), "DAGSTER_HOME": str(home), **variables}
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("QUANT_", "KAFKA_"))},
        "DAGSTER_GRPC_MAX_WORKERS": "16",
        "PYTHONPATH": str(CHECKOUT),
        **given,
    }
    yaml = home / "dagster.yaml"
    yaml.write_text(instance_yaml or (CHECKOUT / "dagster.yaml").read_text("utf-8"), "utf-8")
    port = free_port()
    (home / "workspace.yaml").write_text(
        "load_from:\n  - grpc_server:\n      host: 127.0.0.1\n"
        f"      port: {port}\n      location_name: quant_assets\n",
        "utf-8",
    )
    binaries = Path(sys.executable).parent

    def process(name: str, *command: str) -> Process:
        return Process(name, command, environment, home)

    settings = read_settings(**{k: v for k, v in given.items() if k != "DAGSTER_HOME"})
    sandbox = process("sandbox", str(binaries / "quant"), "sandbox")
    sandbox.start()
    try:
        wait_until(
            lambda: settings.kafka() is not None and (home / "sandbox.json").exists(),
            600,
            f"sandbox and broker\n{sandbox.tail()}",
        )
        connection = settings.kafka()
        assert connection is not None
        serve = ["api", "grpc", "-m", definitions, "-h", "127.0.0.1"]
        serve += ["-p", str(port), "--location-name", "quant_assets"]
        watch = ["run", "-w", str(home / "workspace.yaml")]
        with dg.DagsterInstance.from_config(str(home)) as instance:
            made = Installation(
                home,
                settings,
                environment,
                connection,
                instance,
                binaries,
                sandbox,
                process("server", str(binaries / "dagster"), *serve),
                process("daemon", str(binaries / "dagster-daemon"), *watch),
            )
            try:
                yield made
            finally:
                made.stop()
    finally:
        sandbox.stop()


class Killer(threading.Thread):
    """Kills one process after the other at random and starts again what a supervisor would."""

    def __init__(
        self,
        target: Installation,
        seed: int,
        pause_seconds: tuple[float, float],
        also: Sequence[tuple[str, Callable[[], None]]] = (),
    ) -> None:
        super().__init__(daemon=True)
        self._target = target
        self._random = random.Random(seed)
        self._pause = pause_seconds
        self._also = list(also)
        self._ended = threading.Event()
        self.kills: list[str] = []

    def run(self) -> None:
        deeds: list[tuple[str, Callable[[], None]]] = [
            ("daemon", self._kill_daemon),
            ("server", self._kill_server),
            ("worker", self._kill_worker),
            ("worker", self._kill_worker),
            ("server and workers", self._kill_all_workers),
            *self._also,
        ]
        while not self._ended.wait(self._random.uniform(*self._pause)):
            name, deed = self._random.choice(deeds)
            deed()
            self.kills.append(name)

    def end(self) -> None:
        """Stop killing; everything is up when this returns."""
        self._ended.set()
        self.join()

    def _kill_daemon(self) -> None:
        self._target.daemon.kill()
        self._target.daemon.start()

    def _kill_server(self) -> None:
        self._target.note_workers()
        self._target.server.kill()
        self._target.server.start()

    def _kill_worker(self) -> None:
        workers = self._target.note_workers()
        if workers:
            _kill(self._random.choice(workers))

    def _kill_all_workers(self) -> None:
        workers = self._target.note_workers()
        self._target.server.kill()
        for worker in workers:
            _kill(worker)
        self._target.server.start()


def _kill(process: psutil.Process) -> None:
    """Kill a process of ours, and no other that has its number since."""
    with suppress(psutil.NoSuchProcess):
        process.kill()
