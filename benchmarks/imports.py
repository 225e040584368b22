"""How long the code location takes to import, against importing Dagster alone.

Belongs here: fresh interpreters and the clock in them. Does not belong here: running anything.

Every run starts by importing the code location, so that a library imported at its top costs
its seconds again and again. Both imports are measured inside interpreters of their own, in
turn, and their medians are compared.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.report import Measurement, child_environment, print_measurements

YARDSTICK = "dagster"
CODE_LOCATION = "quant_assets.definitions"
HEAVY = (
    "pandas", "numpy", "pyarrow", "polars", "talib", "matplotlib", "yfinance", "pandera",
)  # fmt: skip
TARGET = 1.2

_PROBE = """
import json, sys, time
wall, cpu = time.perf_counter(), time.process_time()
__import__(sys.argv[1])
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
print(json.dumps({"wall": wall, "cpu": cpu, "modules": sorted(sys.modules)}))
"""


@dataclass(frozen=True)
class Import:
    """One import in a fresh interpreter: seconds by the clock and of the processor, modules."""

    wall: float
    cpu: float
    modules: frozenset[str]


def main(argv: list[str]) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeat", type=int, default=15, help="imports of each, in turn")
    parser.add_argument("--quick", action="store_true", help="seven of each")
    options = parser.parse_args(argv)
    repeat = 7 if options.quick else options.repeat

    with tempfile.TemporaryDirectory() as folder:
        for module in (YARDSTICK, CODE_LOCATION):
            imported(module, Path(folder))
        pairs = [
            (imported(YARDSTICK, Path(folder)), imported(CODE_LOCATION, Path(folder)))
            for _ in range(repeat)
        ]
    loaded = pairs[0][1].modules
    heavy = [name for name in HEAVY if name in loaded]
    lines = []
    for what, seconds in (
        ("wall time", [(dagster.wall, ours.wall) for dagster, ours in pairs]),
        ("processor time", [(dagster.cpu, ours.cpu) for dagster, ours in pairs]),
    ):
        base, ours = (median(column) for column in zip(*seconds, strict=True))
        lines += [
            Measurement(f"import {YARDSTICK}, {what}", f"{base * 1e3:.0f} ms"),
            Measurement(
                f"import {CODE_LOCATION}, {what}",
                f"{ours * 1e3:.0f} ms",
                ours / base,
                f"import {YARDSTICK}",
                TARGET,
            ),
        ]
    lines.append(
        Measurement(
            "heavy libraries it loads", str(len(heavy)), of=", ".join(heavy), target=0,
            value=float(len(heavy)),
        )
    )  # fmt: skip
    notes = (f"medians of {repeat} fresh interpreters each, in turn, bytecode and files cached",)
    print_measurements("Importing the code location", lines, notes)


def imported(module: str, folder: Path) -> Import:
    """Import ``module`` in a fresh interpreter that works and keeps its bytecode in ``folder``.

    Without a place of its own the checkout's bytecode would be stale after every edit, or be
    compiled anew each time where Python may not write it.
    """
    environment = child_environment(PYTHONPYCACHEPREFIX=str(folder))
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    child = subprocess.run(
        [sys.executable, "-c", _PROBE, module],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    answer = json.loads(child.stdout)
    return Import(answer["wall"], answer["cpu"], frozenset(answer["modules"]))


if __name__ == "__main__":
    main(sys.argv[1:])
