"""Finding the sandbox and its Kafka broker. What belongs here: the records of running ones.

A record names an address and is believed only if what it describes answers there, so one that a
killed process left behind harms nobody. Starting one's own for others belongs here too.

The vendors themselves are imported where one is started: 90 MB that whoever only asks can spare.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from quant_assets.sandbox.broker import EmbeddedBroker, cluster_at

if TYPE_CHECKING:
    from quant_assets.sandbox.server import Sandbox

SERVICE = "quant-assets-sandbox"
"""What a sandbox calls itself in its health call."""
RECORD_NAME = "sandbox.json"
BROKER_RECORD_NAME = "broker.json"
HEALTH_TIMEOUT_SECONDS = 2.0
RENEW_SECONDS = 5.0
"""How often a command that runs for long should ``renew`` what it keeps."""

_lock = threading.Lock()
# The process is part of the key: a forked child has this table but none of the threads behind it.
_started: dict[tuple[int, Path, int, Path | None], Sandbox] = {}


def ensure(home: Path, *, seed: int, data_dir: Path | None) -> str:
    """Base address of a sandbox with this seed and data.

    The one recorded in ``home`` if it answers and is what was asked for; otherwise one inside
    this process, started once for each (home, seed, data_dir) and gone with the process.
    """
    key = _key(home, seed, data_dir)
    with _lock:
        if (address := find(home, seed=seed, data_dir=data_dir)) is not None:
            return address
        from quant_assets.sandbox.server import Sandbox

        sandbox = Sandbox(seed=seed, data_dir=data_dir)
        address = sandbox.start()
        _started[key] = sandbox
        return address


def find(home: Path, *, seed: int, data_dir: Path | None) -> str | None:
    """Base address of a sandbox with this seed and data, if one runs; starts none."""
    started = _started.get(_key(home, seed, data_dir))
    return started.url if started is not None else _recorded(home, seed, data_dir)


def _key(home: Path, seed: int, data_dir: Path | None) -> tuple[int, Path, int, Path | None]:
    return os.getpid(), home.absolute(), seed, None if data_dir is None else data_dir.absolute()


def kafka_servers(home: Path, *, seed: int, data_dir: Path | None) -> str | None:
    """Bootstrap servers of the broker recorded in ``home`` for this seed and data, if it answers.

    Starts none. Costs 2 ms, or some seconds if a stranger has the recorded port.
    """
    found = _read(home / BROKER_RECORD_NAME)
    address = None if found is None else found.get("address")
    if found is None or not isinstance(address, str) or not address.startswith("127.0.0.1:"):
        return None
    if {name: found.get(name) for name in ("seed", "data_dir")} != source(seed, data_dir):
        return None
    cluster_id = cluster_at(address)
    return address if cluster_id is not None and cluster_id == found.get("cluster_id") else None


class Keeper:
    """Keeps a sandbox, and a broker if wanted, to be found in ``home`` while it is open.

    What others run is used; what nobody runs is started here and recorded, at first or at a later
    ``renew``, since the others may end earlier.
    """

    def __init__(
        self, home: Path, *, seed: int, data_dir: Path | None, broker: bool = False
    ) -> None:
        self.address = ""
        self.kafka_servers: str | None = None
        self._home = home
        self._seed = seed
        self._data_dir = data_dir
        self._has_broker = broker
        self._own_sandbox: Sandbox | None = None
        self._own_broker: EmbeddedBroker | None = None

    def renew(self) -> str | None:
        """Start and record whatever is not found; gives the broker if it is another than before."""
        before = self.kafka_servers
        with _alone(self._home):
            found = _recorded(self._home, self._seed, self._data_dir)
            self.address = found or self._start_sandbox()
            if self._has_broker:
                servers = kafka_servers(self._home, seed=self._seed, data_dir=self._data_dir)
                self.kafka_servers = servers or self._start_broker()
        return None if self.kafka_servers == before else self.kafka_servers

    def close(self) -> None:
        """Stop what was started here and remove its records; others' records stay."""
        with _alone(self._home):
            if self._own_sandbox is not None:
                _forget(self._home / RECORD_NAME, "address", self._own_sandbox.url)
                self._own_sandbox.stop()
            if self._own_broker is not None:
                servers = self._own_broker.bootstrap_servers
                _forget(self._home / BROKER_RECORD_NAME, "address", servers)
                self._own_broker.stop()
        self._own_sandbox = self._own_broker = None

    def __enter__(self) -> Keeper:
        try:
            self.renew()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start_sandbox(self) -> str:
        if self._own_sandbox is None:
            from quant_assets.sandbox.server import Sandbox

            sandbox = Sandbox(seed=self._seed, data_dir=self._data_dir, home=self._home)
            sandbox.start()
            self._own_sandbox = sandbox
        _record_sandbox(self._home, self._own_sandbox)
        return self._own_sandbox.url

    def _start_broker(self) -> str:
        if self._own_broker is None:
            broker = EmbeddedBroker()
            broker.start()
            self._own_broker = broker
        _record_broker(self._home, self._own_broker, source(self._seed, self._data_dir))
        return self._own_broker.bootstrap_servers


@contextmanager
def shared(home: Path, *, seed: int, data_dir: Path | None, broker: bool = False) -> Iterator[str]:
    """A sandbox that child processes find as well; started and recorded if none answers.

    With ``broker`` they find a broker too, by ``kafka_servers``.
    """
    with Keeper(home, seed=seed, data_dir=data_dir, broker=broker) as keeper:
        yield keeper.address


def record(home: Path, sandbox: Sandbox) -> None:
    """Note in ``home`` that ``sandbox`` runs, for the other processes of the same home.

    Its broker, if it has one, gets a record of its own.
    """
    with _alone(home):
        _record_sandbox(home, sandbox)
        if sandbox.broker is not None:
            _record_broker(home, sandbox.broker, source(sandbox.seed, sandbox.data_dir))


def forget(home: Path) -> None:
    """Remove the records of this process's sandbox and broker; another's records stay."""
    with _alone(home):
        for name in (RECORD_NAME, BROKER_RECORD_NAME):
            _forget(home / name, "pid", os.getpid())


def source(seed: int, data_dir: Path | None) -> dict[str, object]:
    """What decides whether a sandbox is the one asked for."""
    return {"seed": seed, "data_dir": None if data_dir is None else str(data_dir.absolute())}


def _record_sandbox(home: Path, sandbox: Sandbox) -> None:
    _write(home / RECORD_NAME, {"address": sandbox.url, **sandbox.identity})


def _record_broker(home: Path, broker: EmbeddedBroker, source: dict[str, object]) -> None:
    content = {"address": broker.bootstrap_servers, "cluster_id": broker.cluster_id, **source}
    _write(home / BROKER_RECORD_NAME, content)


def _recorded(home: Path, seed: int, data_dir: Path | None) -> str | None:
    """Address in the record, if a sandbox with this seed and data answers there."""
    found = _read(home / RECORD_NAME)
    address = None if found is None else found.get("address")
    if not isinstance(address, str) or not address.startswith("http://127.0.0.1:"):
        return None
    wanted = {"service": SERVICE, **source(seed, data_dir)}
    return address if _identity(address) == wanted else None


def _identity(address: str) -> object:
    import requests

    with requests.Session() as session:
        session.trust_env = False
        try:
            answer = session.get(f"{address}/_sandbox/health", timeout=HEALTH_TIMEOUT_SECONDS)
            return answer.json()
        except (requests.RequestException, ValueError):
            return None


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Let one process at a time look and start, so that two never start one each."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / ".sandbox.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read(path: Path) -> dict[str, object] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _write(path: Path, content: dict[str, object]) -> None:
    text = json.dumps({**content, "pid": os.getpid()}, indent=1)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(path)


def _forget(path: Path, name: str, value: object) -> None:
    found = _read(path)
    if found is not None and found.get(name) == value:
        path.unlink(missing_ok=True)
