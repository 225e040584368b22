"""How long many symbols take through our Yahoo client, against ``yf.download``.

Belongs here: both ways of asking, each in a process of its own, the sandbox in another, the clock,
and what the server counts. Does not belong here: whether the bars are right.

The pace limit is off. ``yf.download`` has a browser-like session that is redirected to the sandbox
as ours is, and nothing else of ours. Its first run of each kind knows no time zones and no cookie,
as ours; a warm one finds those of a run before.
"""

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.backfill import made_symbols
from benchmarks.report import child_environment, print_table
from quant_assets.markets import US

OURS, THEIRS = "YahooClient", "yf.download"
FAILING_SHARE = 0.05
UNPACED = 1_000_000
"""Requests a second that no run reaches."""
NOTES = (
    "cold: no time zones and no cookie known; warm: those of the run before",
    "requests and connections are counted by the server; ours makes two requests a symbol when "
    "cold and one when warm",
    "threads: most at once in the process, without those of the measurement; memory: peak less "
    "what it held after importing",
    "yf.download starts a thread a symbol, each with a connection of its own, and lets as many ask "
    "at once as the machine has cores",
    "gave bars / said no: symbols with bars, and symbols for which the call says that they failed",
    "5 % failing: the chart of every twentieth symbol answers HTTP 500 every time; ours asks three "
    "times, with a second and then two in between",
)


@dataclass(frozen=True)
class Result:
    """What one way of asking took and gave; ``told`` is what the caller learns of failures."""

    seconds: float
    cpu_seconds: float
    threads: int
    grown_mb: float
    with_bars: int
    failed: int
    told: str


@dataclass(frozen=True)
class Case:
    """One run: who asks, of which server, with what known before."""

    who: str
    delay_seconds: float = 0.0
    is_warm: bool = False
    is_failing: bool = False
    workers: int = 6

    @property
    def label(self) -> str:
        """The line's name."""
        state = "5 % failing" if self.is_failing else ("warm" if self.is_warm else "cold")
        who = f"{self.who}, {self.workers} workers" if self.who == OURS else self.who
        return f"{who}, {state}"


def cases(is_quick: bool) -> list[Case]:
    """The runs in order; a warm one follows the cold one whose cache it finds."""
    found = [
        Case(who, delay, is_warm)
        for delay in (0.0, 0.2)
        for who in (OURS, THEIRS)
        for is_warm in (False, True)
        if not (is_quick and is_warm and delay == 0.0)
    ]
    if not is_quick:
        found.append(Case(OURS, 0.2, is_warm=True, workers=16))
    return [*found, *(Case(who, is_warm=True, is_failing=True) for who in (OURS, THEIRS))]


def main(argv: list[str]) -> None:
    """Measure and print; with ``--serve`` or ``--who`` be one of the other processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--years", type=float, default=5)
    parser.add_argument("--quick", action="store_true", help="50 symbols, 1 year")
    parser.add_argument("--serve", action="store_true", help="internal: the sandbox")
    parser.add_argument("--who", choices=[OURS, THEIRS], help="internal: one way of asking")
    parser.add_argument("--url", help="internal")
    parser.add_argument("--workers", type=int, default=6, help="threads of our client")
    options = parser.parse_args(argv)
    if options.quick:
        options.symbols, options.years = 50, 1
    if options.serve:
        serve()
        return
    last = US.last_complete_session(datetime.now(UTC))
    first = last - timedelta(days=round(365.25 * options.years))
    symbols = made_symbols(options.symbols)
    if options.who:
        asking = ask_ours if options.who == OURS else ask_download
        result = measured(asking, options.url, symbols, first, last, options.workers)
        print(json.dumps(asdict(result)))
    else:
        measure(symbols, first, last, options)


def measure(symbols: Sequence[str], first: date, last: date, options: argparse.Namespace) -> None:
    """Run every case against one server and print the table."""
    sizes = ("--symbols", str(options.symbols), "--years", str(options.years))
    rows = []
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as server:
        # The sandbox simulates a symbol when it is first asked: not what is measured here.
        run_case(Case(OURS), server, Path(folder) / "first", sizes)
        for number, case in enumerate(cases(options.quick)):
            server.command(
                delay=case.delay_seconds, failing=failing(symbols) if case.is_failing else []
            )
            cache = Path(folder) / case.who if case.is_warm else Path(folder) / str(number)
            result = run_case(case, server, cache, sizes)
            if not case.is_warm:
                keep_cache(cache, Path(folder) / case.who)
            rows.append(cells(case, result, server.command(count=True)))
    columns = [
        "asking", "latency", "seconds", "CPU s", "server CPU s", "requests", "connections",
        "threads", "memory MB", "gave bars", "said no", "as",
    ]  # fmt: skip
    title = f"{len(symbols)} symbols, {first} .. {last}, daily bars from the sandbox"
    print_table(title, columns, rows, NOTES)


def cells(case: Case, result: Result, counted: dict[str, Any]) -> list[str]:
    """The texts of one line."""
    return [
        case.label,
        f"{case.delay_seconds * 1e3:.0f} ms",
        f"{result.seconds:.1f}",
        f"{result.cpu_seconds:.1f}",
        f"{counted['cpu_seconds']:.1f}",
        f"{counted['requests']:,}",
        f"{counted['connections']:,}",
        str(result.threads),
        f"{result.grown_mb:.0f}",
        str(result.with_bars),
        str(result.failed),
        result.told,
    ]


def failing(symbols: Sequence[str]) -> list[str]:
    """Every twentieth symbol."""
    return list(symbols[:: round(1 / FAILING_SHARE)])


def keep_cache(made: Path, place: Path) -> None:
    """Let the next warm run find what a cold run has stored."""
    if place.is_symlink():
        place.unlink()
    place.symlink_to(made)


class Server:
    """The sandbox in a process of its own, told by lines what to do."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.url = str(self._answer()["url"])

    def command(self, **wanted: Any) -> dict[str, Any]:
        """Give a command; its answer. Every command but ``count`` sets the counts to zero."""
        if self._process.stdin is None:
            raise RuntimeError("the server was started without an input")
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        if self._process.stdout is None:
            raise RuntimeError("the server was started without an output")
        line = self._process.stdout.readline()
        if not line:
            sys.exit("the sandbox of the benchmark ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Server]:
    """A server while the context lasts; it ends with its input."""
    command = [sys.executable, "-m", "benchmarks.yahoo", "--serve"]
    with subprocess.Popen(
        command, cwd=folder, env=child_environment(), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        yield Server(process)
        if process.stdin is not None:
            process.stdin.close()
        process.wait(timeout=30)


def serve() -> None:
    """Be the sandbox: commands come as lines of JSON and are answered by lines of JSON."""
    from quant_assets.sandbox import server as sandbox_server
    from quant_assets.sandbox.faults import Fault
    from quant_assets.sandbox.http_server import LoopbackServer

    counted = {"requests": 0, "connections": 0, "cpu_seconds": 0.0}
    began = time.process_time()
    lock = threading.Lock()

    class CountingServer(LoopbackServer):
        def opened(self, connection: Any) -> None:
            with lock:
                counted["connections"] += 1
            super().opened(connection)

    setattr(sandbox_server, "LoopbackServer", CountingServer)  # noqa: B010
    with sandbox_server.Sandbox() as sandbox:
        print(json.dumps({"url": sandbox.url}), flush=True)
        for line in sys.stdin:
            wanted = json.loads(line)
            if not wanted.get("count"):
                sandbox.faults.clear()
                if wanted["delay"]:
                    for endpoint in ("yahoo.chart", "yahoo.crumb", "yahoo.cookie"):
                        sandbox.faults.add(Fault(endpoint, "delay", seconds=wanted["delay"]))
                if wanted["failing"]:
                    sandbox.faults.add(Fault("yahoo.chart", "status", symbols=wanted["failing"]))
                sandbox.requests.clear()
                counted["connections"] = 0
                began = time.process_time()
            counted["requests"] = len(sandbox.requests)
            counted["cpu_seconds"] = time.process_time() - began
            print(json.dumps(counted), flush=True)


def run_case(case: Case, server: Server, cache: Path, sizes: Sequence[str]) -> Result:
    """One way of asking in a process of its own; its error output appears if it fails."""
    cache.mkdir(exist_ok=True)
    command = [
        *(sys.executable, "-m", "benchmarks.yahoo", "--who", case.who, "--url", server.url),
        *("--workers", str(case.workers), *sizes),
    ]
    # Nothing may leave the machine, whatever a library does with its session.
    environment = child_environment(
        HTTPS_PROXY="http://127.0.0.1:9", NO_PROXY="127.0.0.1,localhost"
    )
    child = subprocess.run(
        command, cwd=cache, env=environment, check=False, capture_output=True, text=True
    )
    if child.returncode:
        sys.exit(f"{case.label} failed:\n{child.stderr}")
    print(f"  {case.label}: done", file=sys.stderr, flush=True)
    return Result(**json.loads(child.stdout.splitlines()[-1]))


class Watch:
    """Samples the number of threads of this process until it is stopped."""

    def __init__(self) -> None:
        self.most = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(0.005):
            self.most = max(self.most, threading.active_count() - 1)


def measured(
    asking: Any, url: str, symbols: list[str], first: date, last: date, workers: int
) -> Result:
    """Import what is needed, then clock one call."""
    call = asking(url, symbols, first, last, workers)
    before_mb = resident_mb()
    with Watch() as watch:
        wall, cpu = time.perf_counter(), time.process_time()
        with_bars, failed, told = call()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Result(wall, cpu, watch.most, peak_mb - before_mb, with_bars, failed, told)


def resident_mb() -> float:
    """Resident memory now; where the system does not tell, the most so far."""
    facts = Path("/proc/self/statm")
    if facts.exists():
        return int(facts.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ask_ours(url: str, symbols: list[str], first: date, last: date, workers: int) -> Any:
    """A call of our client; its cache is in the working directory."""
    from quant_assets.vendors.yahoo import YahooClient

    client = YahooClient(
        proxy_url=url, cache_dir=Path.cwd(), max_per_second=UNPACED, workers=workers,
        timeout_seconds=60,
    )  # fmt: skip

    def call() -> tuple[int, int, str]:
        answer = client.daily_bars(symbols, first, last)
        failed = [one for one in answer.outcomes if not one.is_answered]
        told = f"{failed[0].status}: {failed[0].detail}" if failed else ""
        return answer.bars["symbol"].nunique(), len(failed), told[:60]

    return call


def ask_download(url: str, symbols: list[str], first: date, last: date, _: int) -> Any:
    """A call of ``yf.download``; its cache is in the working directory."""
    import yfinance
    from curl_cffi.requests import Session

    class Redirected(Session):  # type: ignore[type-arg]
        def request(self, method: Any, url: str, *args: Any, **kwargs: Any) -> Any:
            return super().request(
                method, "http://" + url.removeprefix("https://"), *args, **kwargs
            )

    yfinance.set_tz_cache_location(str(Path.cwd()))
    session = Redirected(impersonate="chrome", proxies={"http": url})

    def call() -> tuple[int, int, str]:
        frame = yfinance.download(
            symbols, start=first, end=last + timedelta(days=1), auto_adjust=False, actions=True,
            threads=True, progress=False, timeout=60, session=session,
        )  # fmt: skip
        closes = frame["Close"]
        empty = int(closes.isna().all().sum())
        # The call returns one frame and raises nothing: a failure is a column without a value.
        return closes.shape[1] - empty, 0, f"{empty} columns of NaN" if empty else ""

    return call


if __name__ == "__main__":
    main(sys.argv[1:])
