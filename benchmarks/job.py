"""What ``quant job us-price`` of many symbols takes where a container is small.

Belongs here: the command as users start it, its limits, the memory and processor time of all its
processes. Does not belong here: the vendor, which is the sandbox in a process outside the limits.

The limits are those of control groups (version 1) where this process is in the root group, as in a
container: any other group belongs to whoever runs this process. Else they are those of a systemd
scope. Where neither can be had the command runs without, and its memory is measured all the same.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.backfill import made_symbols
from benchmarks.report import CHECKOUT, Measurement, child_environment, print_measurements
from quant_assets.markets import US

LIMIT_MB = 512
SHARE = 0.25
"""Of a core: the smallest task of ECS, 0.25 vCPU and 512 MB."""
PERIOD_MICROSECONDS = 100_000
LEAVING_SECONDS = 120.0
"""So long what the command has left behind may stay: who tells its run in Slack."""
GROUPS = Path("/sys/fs/cgroup")
QUANT = Path(sys.executable).parent / "quant"


@dataclass(frozen=True)
class Result:
    """What one command took; memory is the most that all its processes held at one time."""

    seconds: float
    cpu_seconds: float
    resident_mb: float
    proportional_mb: float
    parts: str
    limits: str


def main(argv: list[str]) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--quick", action="store_true", help="50 symbols")
    parser.add_argument("--unlimited", action="store_true", help="without the limits")
    options = parser.parse_args(argv)
    symbols = made_symbols(50 if options.quick else options.symbols)
    session = US.last_complete_session(datetime.now(UTC)).isoformat()
    with tempfile.TemporaryDirectory() as folder, _sandbox(Path(folder), symbols):
        first = run(Path(folder), session, is_limited=not options.unlimited)
        again = run(Path(folder), session, is_limited=not options.unlimited)
    lines = [
        Measurement("resident memory, all processes", f"{first.resident_mb:.0f} MB",
                    target=LIMIT_MB, value=first.resident_mb),
        Measurement("of it not counted twice (PSS)", f"{first.proportional_mb:.0f} MB"),
        Measurement("wall time", f"{first.seconds:.1f} s"),
        Measurement("processor time", f"{first.cpu_seconds:.1f} s"),
        Measurement("wall time where nothing is to do", f"{again.seconds:.1f} s"),
        Measurement("processor time where nothing is to do", f"{again.cpu_seconds:.1f} s"),
    ]  # fmt: skip
    notes = (
        f"limits: {first.limits}",
        f"resident at the peak: {first.parts}",
        "no time zones and no cookie known, as on a new disk; Yahoo's pace is off",
        "the target is the memory of the smallest task of ECS",
    )
    print_measurements(f"quant job us-price, {len(symbols)} symbols", lines, notes)


@contextlib.contextmanager
def _sandbox(folder: Path, symbols: Sequence[str]) -> Iterator[None]:
    """A ``quant sandbox`` that the command finds; the simulation of its symbols is made before."""
    for name in ("dagster.yaml", "workspace.yaml"):
        (folder / name).write_bytes((CHECKOUT / name).read_bytes())
    (folder / "universe.csv").write_text("\n".join(["symbol", *symbols]) + "\n", encoding="utf-8")
    process = subprocess.Popen(
        [QUANT, "sandbox"], cwd=folder, env=_environment(), stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "stop with" in line:
                break
        before = US.offset_session(US.last_complete_session(datetime.now(UTC)), -1).isoformat()
        words = [str(QUANT), "job", "us-price", "--date", before]
        subprocess.run(words, cwd=folder, env=_environment(), check=True, capture_output=True)
        (folder / ".quant" / "sandbox" / "cache" / "yahoo" / "timezones.json").unlink()
        yield
    finally:
        process.terminate()
        process.communicate()


def _environment() -> dict[str, str]:
    return child_environment(
        QUANT_US_UNIVERSE="universe.csv",
        QUANT_YAHOO_CALLS_PER_SECOND="1000",
        HTTPS_PROXY="http://127.0.0.1:9",
        NO_PROXY="127.0.0.1,localhost",
    )


def run(folder: Path, session: str, *, is_limited: bool) -> Result:
    """One command under the limits."""
    words = [str(QUANT), "job", "us-price", "--date", session]
    before = os.times()
    began = time.monotonic()
    with _limited(is_limited) as group:
        process = subprocess.Popen(
            [*group.prefix, *words],
            cwd=folder,
            env=_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=group.enter,
        )
        watch = _Watch(process.pid)
        out, err = process.communicate()
        watch.stop()
    seconds, after = time.monotonic() - began, os.times()
    if process.returncode:
        sys.exit(f"quant job us-price ended with {process.returncode}:\n{out}{err}")
    cpu = after.children_user + after.children_system
    cpu -= before.children_user + before.children_system
    return Result(seconds, cpu, watch.resident_mb, watch.proportional_mb, watch.parts, group.told)


class _Watch:
    """Samples the memory of a process and all that descend from it."""

    def __init__(self, pid: int) -> None:
        self.resident_mb = self.proportional_mb = 0.0
        self.parts = ""
        self._pid = pid
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the sampling."""
        self._stopped.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stopped.wait(0.1):
            held = {pid: _held(pid, "Rss") for pid in _descendants(self._pid)}
            proportional = sum(_held(pid, "Pss") for pid in held)
            self.proportional_mb = max(self.proportional_mb, proportional)
            if sum(held.values()) > self.resident_mb:
                self.resident_mb = sum(held.values())
                self.parts = ", ".join(f"{_name(pid)} {mb:.0f} MB" for pid, mb in held.items())


def _name(pid: int) -> str:
    """What a process is, by a word of its command line."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")
    except OSError:
        return "gone"
    words = ("job_worker", "slack_companion", "poll_compute_logs", "quant job", "tail")
    return next((word for word in words if word in line), line[:30])


def _descendants(pid: int) -> list[int]:
    found, rest = [], [pid]
    while rest:
        found.append(rest.pop())
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{found[-1]}/task").iterdir():
                rest += [int(child) for child in (task / "children").read_text().split()]
    return found


def _held(pid: int, name: str) -> float:
    """Memory of a process in MB, 0 if it has gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


@dataclass(frozen=True)
class _Group:
    """Limits of a command: directories of control groups, or words before it."""

    told: str = "none"
    folders: tuple[Path, ...] = ()
    prefix: tuple[str, ...] = ()

    def enter(self) -> None:
        """Put this process into the groups."""
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(os.getpid()), "ascii")


@contextlib.contextmanager
def _limited(is_limited: bool) -> Iterator[_Group]:
    """The limits that this system allows."""
    made = _make_groups() if is_limited else {}
    try:
        if made:
            told = ", ".join(made)
            yield _Group(f"{told} (control groups)", tuple(made.values()))
        elif is_limited and _has_systemd():
            options = ("-p", f"MemoryMax={LIMIT_MB}M", "-p", f"CPUQuota={SHARE:.0%}")
            prefix = ("systemd-run", "--user", "--scope", "--quiet", *options)
            yield _Group(f"{LIMIT_MB} MB, {SHARE} of a core (systemd scope)", prefix=prefix)
        else:
            yield _Group()
    finally:
        deadline = time.monotonic() + LEAVING_SECONDS
        for folder in made.values():
            while (folder / "cgroup.procs").read_text("ascii") and time.monotonic() < deadline:
                time.sleep(0.1)
            folder.rmdir()


def _make_groups() -> dict[str, Path]:
    """Groups for what can be limited here, by what they allow."""
    own: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text("ascii").splitlines():
        _, names, path = line.split(":", 2)
        own |= dict.fromkeys(filter(None, names.split(",")), path)
    quota = int(SHARE * PERIOD_MICROSECONDS)
    wanted = {
        "memory": (f"{LIMIT_MB} MB", {"memory.limit_in_bytes": LIMIT_MB * 2**20}),
        "cpu": (
            f"{SHARE} of a core",
            {"cpu.cfs_period_us": PERIOD_MICROSECONDS, "cpu.cfs_quota_us": quota},
        ),
    }
    made = {}
    for controller, (told, values) in wanted.items():
        if own.get(controller) != "/":
            continue
        folder = GROUPS / controller / f"quant-job-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        made[told] = folder
        for file, value in values.items():
            (folder / file).write_text(str(value), "ascii")
    return made


def _has_systemd() -> bool:
    """Whether a scope can be made."""
    try:
        words = ["systemd-run", "--user", "--scope", "--quiet", "true"]
        return subprocess.run(words, check=False, capture_output=True).returncode == 0
    except OSError:
        return False


if __name__ == "__main__":
    main(sys.argv[1:])
