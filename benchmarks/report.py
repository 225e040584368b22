"""What the benchmarks share: printed tables, the machine's facts, clocks, children's environment.

Does not belong here: what is measured and against which yardstick; each benchmark has its own.
"""

import functools
import os
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
_SHOWN_PACKAGES = ("dagster", "pandas", "numpy", "polars", "pyarrow")


@dataclass(frozen=True)
class Measurement:
    """One line of a table: a figure and, where there is one, its ratio to a yardstick.

    ``measured`` carries its unit. ``ratio`` is the figure over that of ``of``. ``target`` is the
    most that ``ratio`` may be, or the most that ``value`` may be where there is no ratio.
    """

    what: str
    measured: str
    ratio: float | None = None
    of: str = ""
    target: float | None = None
    value: float | None = None

    @property
    def verdict(self) -> str:
        """``met`` or ``MISSED``; empty without a target."""
        judged = self.value if self.ratio is None else self.ratio
        if self.target is None or judged is None:
            return ""
        return "met" if judged <= self.target else "MISSED"

    def cells(self) -> list[str]:
        """The texts of the line, in the order of the table's columns."""
        return [
            self.what,
            self.measured,
            "" if self.ratio is None else f"{self.ratio:.2f}",
            self.of,
            "" if self.target is None else f"<= {self.target:g}",
            self.verdict,
        ]


def print_measurements(title: str, lines: Sequence[Measurement], notes: Sequence[str] = ()) -> None:
    """Print a title, the table of ``lines`` and the notes that qualify them."""
    columns = ["what", "measured", "ratio", "of what", "target", ""]
    print_table(title, columns, [line.cells() for line in lines], notes)


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()
) -> None:
    """Print ``rows`` under ``columns``: the first column to the left, figures to the right."""
    widths = [max(len(row[n]) for row in [columns, *rows]) for n in range(len(columns))]
    is_figure = [all(_is_figure(row[n]) for row in rows) for n in range(len(columns))]
    print(f"\n{title}")
    for cells in [columns, ["-" * width for width in widths], *rows]:
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, is_figure, strict=True)
        ]
        print("  ".join(padded).rstrip())
    for note in notes:
        print(f"  {note}")
    sys.stdout.flush()


def _is_figure(cell: str) -> bool:
    return not cell or cell[0].isdigit() or cell[0] in "-<"


def print_machine() -> None:
    """Print what the figures depend on: processor, memory, load, versions."""
    load = os.getloadavg()[0]
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    packages = ", ".join(f"{name} {version(name)}" for name in _SHOWN_PACKAGES)
    print(f"{_processor()}, {os.cpu_count()} cores, {memory_gb:.0f} GB, {platform.system()}")
    print(f"Python {platform.python_version()}, {packages}")
    print(f"load average before the first measurement: {load:.1f}")
    sys.stdout.flush()


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    if not facts.exists():
        return platform.processor() or platform.machine()
    names = [line for line in facts.read_text("utf-8").splitlines() if "model name" in line]
    return names[0].partition(":")[2].strip() if names else platform.machine()


def child_environment(**variables: str) -> dict[str, str]:
    """Environment of a child process: this checkout, none of the user's own settings.

    Start the child in a directory without an ``.env`` file, else its lines count again.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("QUANT_", "DAGSTER_"))}
    return {**kept, "PYTHONPATH": str(CHECKOUT), "DAGSTER_DISABLE_TELEMETRY": "yes", **variables}


class Clocks:
    """Adds up the seconds spent inside functions of the product, by part."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._open: list[str] = []

    def around(self, owner: Any, name: str, part: str | Callable[..., str]) -> None:
        """Clock ``owner.name``; inside a clocked part it counts as ``outer.part``.

        Where ``part`` is a function, it names the part from the arguments of the call.
        """
        function = getattr(owner, name)

        @functools.wraps(function)
        def clocked(*args: Any, **kwargs: Any) -> Any:
            inner = part if isinstance(part, str) else part(*args)
            label = f"{self._open[-1]}.{inner}" if self._open else inner
            self._open.append(inner)
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[label] += time.perf_counter() - began
                self._open.pop()

        setattr(owner, name, clocked)
