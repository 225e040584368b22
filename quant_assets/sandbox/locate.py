"""Finding the sandbox. What belongs here: the record of a running one, and starting one's own."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from quant_assets.sandbox.server import SERVICE, Sandbox

RECORD_NAME = "sandbox.json"
HEALTH_TIMEOUT_SECONDS = 2.0

_lock = threading.Lock()
# The process is part of the key: a forked child has this table but none of the threads behind it.
_started: dict[tuple[int, Path, int, Path | None], Sandbox] = {}


def ensure(home: Path, *, seed: int, data_dir: Path | None) -> str:
    """Base address of a sandbox with this seed and data.

    The one recorded in ``home`` if it answers and is what was asked for; otherwise one inside
    this process, started once for each (home, seed, data_dir) and gone with the process.
    """
    data_dir = None if data_dir is None else data_dir.absolute()
    key = (os.getpid(), home.absolute(), seed, data_dir)
    with _lock:
        if key in _started:
            return _started[key].url
        if (address := _recorded(home, seed, data_dir)) is not None:
            return address
        sandbox = Sandbox(seed=seed, data_dir=data_dir)
        address = sandbox.start()
        _started[key] = sandbox
        return address


@contextmanager
def shared(home: Path, *, seed: int, data_dir: Path | None) -> Iterator[str]:
    """A sandbox that child processes find as well; started and recorded if none answers."""
    address = _recorded(home, seed, data_dir)
    if address is not None:
        yield address
        return
    with Sandbox(seed=seed, data_dir=data_dir) as sandbox:
        record(home, sandbox)
        try:
            yield sandbox.url
        finally:
            forget(home)


def record(home: Path, sandbox: Sandbox) -> None:
    """Note in ``home`` that ``sandbox`` runs, for the other processes of the same home."""
    home.mkdir(parents=True, exist_ok=True)
    content = {"address": sandbox.url, "pid": os.getpid(), **sandbox.identity}
    temporary = home / f".{RECORD_NAME}.{os.getpid()}"
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    temporary.replace(home / RECORD_NAME)


def forget(home: Path) -> None:
    """Remove the record of this process's sandbox; another's record stays."""
    found = _read(home)
    if found is not None and found.get("pid") == os.getpid():
        (home / RECORD_NAME).unlink(missing_ok=True)


def _recorded(home: Path, seed: int, data_dir: Path | None) -> str | None:
    """Address in the record, if a sandbox with this seed and data answers there."""
    found = _read(home)
    address = None if found is None else found.get("address")
    if not isinstance(address, str) or not address.startswith("http://127.0.0.1:"):
        return None
    wanted = {
        "service": SERVICE,
        "seed": seed,
        "data_dir": None if data_dir is None else str(data_dir.absolute()),
    }
    return address if _identity(address) == wanted else None


def _identity(address: str) -> object:
    with requests.Session() as session:
        session.trust_env = False
        try:
            answer = session.get(f"{address}/_sandbox/health", timeout=HEALTH_TIMEOUT_SECONDS)
            return answer.json()
        except (requests.RequestException, ValueError):
            return None


def _read(home: Path) -> dict[str, object] | None:
    try:
        content = json.loads((home / RECORD_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
