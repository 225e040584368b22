"""How long the commands of ``quant`` take to start, against Python and what each of them needs.

Belongs here: commands as processes and the clock around them. Does not belong here: runs.

Each command is a process on a prepared, empty instance; bytecode and files are cached by one run
that is not counted. The best of several counts, by the clock and of the processor: others use the
machine too. The yardsticks are measured in turn with the commands. A command that needs no Dagster
is to take no more than 0.3 s by the clock, on a machine at rest.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.report import Measurement, child_environment, print_measurements

PYTHON = [sys.executable, "-c"]
BARE, SETTINGS = "python -c pass", "import click, pydantic_settings"
YARDSTICKS = {BARE: [*PYTHON, "pass"], SETTINGS: [*PYTHON, SETTINGS]}
QUANT = str(Path(sys.executable).with_name("quant"))
HELP = ("--help", "run --help", "data list --help", "dead-letters list --help", "doctor --help")
LIGHT = (
    "data list",
    "data list us/prices",
    "quarantine list",
    "raw list",
    "raw prune --dry-run",
    "events topics",
    "setup",
)
WITH_ROWS = ("data show us/prices 2026-01-05", "show recommendations --market us")
WITH_DAGSTER = ("notify incidents", "doctor --offline")
LIMIT_SECONDS = 0.3


class Took(NamedTuple):
    """Seconds of a process: by the clock, and of the processor."""

    wall: float
    cpu: float


def main(argv: list[str]) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeat", type=int, default=10, help="starts of each; the best counts")
    options = parser.parse_args(argv)
    commands = {**YARDSTICKS} | {
        f"quant {words}": [QUANT, *words.split()]
        for words in (*HELP, *LIGHT, *WITH_ROWS, *WITH_DAGSTER)
    }
    with tempfile.TemporaryDirectory() as folder:
        best = measure(commands, Path(folder), options.repeat)
    print_measurements(
        "Starting commands",
        [_line(name, took, best) for name, took in best.items()],
        (
            f"best of {options.repeat} processes each, in turn, bytecode cached",
            f"multiples are of processor time; the libraries are `{SETTINGS}`",
            "the instance holds no partition: what reads rows ends with a sentence",
        ),
    )


def _line(name: str, took: Took, best: dict[str, Took]) -> Measurement:
    words = name.removeprefix("quant ")
    bare, libraries = took.cpu / best[BARE].cpu, took.cpu / best[SETTINGS].cpu
    return Measurement(
        name,
        f"{took.wall * 1e3:.0f} ms, processor {took.cpu * 1e3:.0f} ms, {bare:.1f} x bare, "
        f"{libraries:.1f} x its libraries",
        took.wall / LIMIT_SECONDS,
        f"{LIMIT_SECONDS} s",
        1.0 if words in (*HELP, *LIGHT, *WITH_ROWS) else None,
    )


def measure(commands: dict[str, list[str]], folder: Path, repeat: int) -> dict[str, Took]:
    """Best of ``repeat`` starts of each command, in turn, after one that is not counted."""
    environment = child_environment(PYTHONPYCACHEPREFIX=str(folder / "bytecode"))
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    started: dict[str, list[Took]] = {name: [] for name in commands}
    once(commands["quant setup"], folder, environment)
    for turn in range(repeat + 1):
        for name, command in commands.items():
            took = once(command, folder, environment)
            if turn:
                started[name].append(took)
    return {
        name: Took(min(t.wall for t in them), min(t.cpu for t in them))
        for name, them in started.items()
    }


def once(command: list[str], folder: Path, environment: dict[str, str]) -> Took:
    """Run a command to its end, whatever its exit status says."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Took(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


if __name__ == "__main__":
    main(sys.argv[1:])
