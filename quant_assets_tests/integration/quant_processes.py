"""``quant`` as processes of their own. What belongs here: their directory, start and end."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from quant_assets_tests.kafka_broker import poll

CHECKOUT = Path(__file__).parents[2]
QUANT = Path(sys.executable).parent / "quant"
SECONDS = 600.0
"""A bound for what hangs, on a machine however slow: nothing here is judged by its speed."""


@dataclass
class Done:
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str


@dataclass
class Home:
    """A directory to work in and the variables of its commands."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.folder / "home"

    def environment(self) -> dict[str, str]:
        ours = ("QUANT_", "DAGSTER_", "KAFKA_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        own = {"PYTHONPATH": str(CHECKOUT), "QUANT_HOME": str(self.path), "TZ": "Asia/Seoul"}
        return {**kept, **own, **self.variables}

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(QUANT), *words],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *words: str, status: int = 0, given: str = "") -> Done:
        process = self.start(*words)
        out, err = process.communicate(given, timeout=SECONDS)
        done = Done(process.returncode, out, err)
        assert done.status == status, done
        assert "Traceback" not in err
        return done


@contextmanager
def sandbox_of(home: Home) -> Iterator[subprocess.Popen[str]]:
    """A ``quant sandbox`` that runs meanwhile."""
    process = home.start("sandbox")
    try:
        poll("the sandbox's broker", SECONDS, lambda: (home.path / "broker.json").exists())
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=SECONDS)
