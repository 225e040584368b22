"""What a backfill of many sessions costs a partition, and how much of that is the platform's.

Belongs here: the stages in processes of their own, the clocks around their parts, the tables.
Does not belong here: another way of running than that of ``quant run``: a stage is one run of a
job of the code location over the range, on SQLite in a temporary directory.

An asset without rows, inputs and storage and with the same partitions runs before each stage and
after the last one. What it takes is Dagster's own cost; the rest of a stage is ours.
"""

import argparse
import contextlib
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.report import CHECKOUT, Clocks, child_environment, print_table
from quant_assets.markets import US

EMPTY = "empty"
ARTICLES = "news/article_sentiment"
TARGET_MS = 5.0
PARTS = {
    "load": "rows in by the IO manager",
    "compute": "the domain function",
    "store": "rows out by the IO manager: contract, split, hash, files",
    "metadata": "pictures and what is recorded with a materialization",
    "events": "Dagster's event log on SQLite, without the next",
    "planned checks": "Dagster's event log: a row for each check and partition of the run",
}
_STORAGE = {
    "io_managers.partitioned_parquet:PartitionedParquetIOManager.load_input": "load",
    "io_managers.partitioned_parquet:PartitionedParquetIOManager.handle_output": "store",
    "io_managers.parquet_store:ParquetStore.read": "read",
    "io_managers.parquet_store:ParquetStore.write_parts": "files",
    "assets.analysis:record": "metadata",
}
CLOCKED = {
    "prices": {
        "vendors.yahoo:YahooClient.daily_bars": "vendor",
        "assets.prices:bars_of_sessions": "compute",
        "assets.prices:record": "metadata",
    },
    "technical_indicators": {
        "domain.indicators:technical_indicators": "compute",
        "assets.pictures:indicator_picture": "metadata",
    },
    "technical_score": {
        "domain.scoring:technical_score": "compute",
        "assets.pictures:block_picture": "metadata",
    },
    "news_sentiment": {
        "assets.analysis:decision_windows": "compute",
        "domain.articles:aggregate_sentiment": "compute",
        "assets.pictures:sentiment_picture": "metadata",
    },
    "recommendations": {
        "domain.scoring:combine": "compute",
        "assets.pictures:recommendation_picture": "metadata",
        "assets.pictures:recommendation_table": "metadata",
    },
}
"""The stages in order; the product's functions clocked in each and the part that they are."""
NOTES = (
    "Dagster's own: the empty asset before and after the stage, mean; it has no metadata",
    "+-: half the difference of those two; the target is unclear where it lies within",
    "ours but events: ours without the difference between the two assets' events",
    "wall: the run by the clock without the vendor's part; CPU: of the run's process alone",
    *(f"{name}: {meaning}" for name, meaning in PARTS.items()),
    "empty's: events of the empty asset, before and after the stage, mean",
    "checks: steps of the asset checks; rest: everything else, Dagster's and ours",
    "peak: largest resident memory of the run's process",
    "total: the run without starting Python; libraries that the clocks need are loaded before",
    "simulated prices come by HTTP from the sandbox (another process) through the Yahoo client",
)


@dataclass
class Stage:
    """One run: seconds in all and by part, of the clock and of the processor, and its memory."""

    name: str
    partitions: int
    reason: str
    seconds: float
    cpu_seconds: float
    peak_mb: float
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def totals_ms(self) -> tuple[float, float, float]:
        """Milliseconds a partition: wall without the vendor's, processor, event log."""
        wall = self.seconds - self.parts.get("vendor", 0.0)
        events = self.milliseconds("events")
        return 1e3 * wall / self.partitions, 1e3 * self.cpu_seconds / self.partitions, events

    def milliseconds(self, part: str) -> float:
        """Milliseconds a partition of one part."""
        return 1e3 * self.parts.get(part, 0.0) / self.partitions


def main(argv: list[str]) -> None:
    """Measure and print the tables; with ``--stage`` do one stage in this process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--years", type=float, default=10)
    parser.add_argument("--articles", type=int, default=500, help="scored articles a day")
    parser.add_argument("--quick", action="store_true", help="50 symbols, 2 years")
    parser.add_argument("--stage", help="internal: the stage of this process")
    parser.add_argument("--range", nargs=2, metavar=("FIRST", "LAST"), help="internal")
    parser.add_argument("--result", type=Path, help="internal: where to write what was measured")
    options = parser.parse_args(argv)
    if options.stage == ARTICLES:
        store_articles(options.symbols, options.articles, *options.range)
    elif options.stage:
        stage = run_stage(options.stage, *options.range)
        options.result.write_text(json.dumps(asdict(stage)), encoding="utf-8")
    else:
        if options.quick:
            options.symbols, options.years, options.articles = 50, 2, 50
        measure(options.symbols, options.years, options.articles)


def measure(symbols: int, years: float, articles: int) -> None:
    """Run every stage in a process of its own and print what they took."""
    from quant_assets.cli.spans import Span, with_history
    from quant_assets.sandbox import locate

    last = US.last_complete_session(datetime.now(UTC))
    sessions = US.sessions(last - timedelta(days=round(365.25 * years)), last)
    priced = with_history(Span(US, tuple(sessions)))
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        home = Path(folder) / "home"
        prepare_home(home, symbols)
        environment = child_environment(
            QUANT_HOME=str(home),
            DAGSTER_HOME=str(home),
            QUANT_US_UNIVERSE=str(home / "universe.csv"),
            QUANT_NEWS_START=US.offset_session(sessions[0], -1).isoformat(),
        )

        def child(stage: str, days: Sequence[object]) -> Stage:
            return run_child(
                stage, str(days[0]), str(days[-1]), environment,
                ("--symbols", str(symbols), "--articles", str(articles)),
            )  # fmt: skip

        with locate.shared(home, seed=7, data_dir=None):
            runs = [child(EMPTY, sessions), child("prices", priced)]
        began = time.perf_counter()
        child(ARTICLES, sessions)
        written = time.perf_counter() - began
        for name in list(CLOCKED)[1:]:
            runs += [child(EMPTY, sessions), child(name, sessions)]
        runs.append(child(EMPTY, sessions))
    print_stages(runs, symbols, years)
    print(
        f"  before the analysis, {articles} made scored articles a day were written straight "
        f"into {ARTICLES}, an hour a file, in {written:.0f} s (not counted)"
    )


def prepare_home(home: Path, symbols: int) -> None:
    """Make the instance's directory with the checkout's configuration, and the universe."""
    home.mkdir(parents=True)
    (home / "dagster.yaml").symlink_to(CHECKOUT / "dagster.yaml")
    lines = ["symbol", *made_symbols(symbols)]
    (home / "universe.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def made_symbols(count: int) -> list[str]:
    """Symbols that the sandbox takes for American companies."""
    return [f"S{number:04d}" for number in range(count)]


def run_child(
    stage: str, first: str, last: str, environment: dict[str, str], sizes: Sequence[str]
) -> Stage:
    """Run one stage in a process of its own; its error output appears if it fails."""
    result = Path(environment["QUANT_HOME"]) / "result.json"
    command = [
        *(sys.executable, "-m", "benchmarks.backfill", "--stage", stage),
        *("--range", first, last, "--result", str(result), *sizes),
    ]
    child = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if child.returncode:
        sys.exit(f"stage {stage} failed:\n{child.stderr}")
    if stage == ARTICLES:
        return Stage(stage, 0, "", 0.0, 0.0, 0.0)
    measured = Stage(**json.loads(result.read_text(encoding="utf-8")))
    if measured.reason:
        sys.exit(f"stage {stage} failed: {measured.reason}")
    print(f"  {stage}: {measured.seconds:.0f} s", file=sys.stderr, flush=True)
    return measured


def run_stage(name: str, first: str, last: str) -> Stage:
    """One run over the range in this process, with clocks around its parts."""
    import dagster as dg

    from quant_assets import definitions
    from quant_assets.cli import execute
    from quant_assets.cli.tasks import Task
    from quant_assets.naming import market_job

    keys = US.sessions(datetime.fromisoformat(first).date(), datetime.fromisoformat(last).date())
    if name == EMPTY:
        definitions.defs = empty_definitions()
    job = {EMPTY: EMPTY, "prices": market_job("us", "price")}.get(
        name, market_job("us", "combined_analysis")
    )
    clocks = clocked_product(name)
    run_id = str(uuid.uuid4())
    with dg.DagsterInstance.get() as instance:
        execute._prepare_worker()
        wall, cpu = time.perf_counter(), time.process_time()
        outcome = execute.execute(Task(job, (f"us/{name}",), first, last, len(keys)), run_id)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        steps = instance.get_run_step_stats(run_id)
    clocks.seconds["checks"] = sum(
        (step.end_time or 0.0) - (step.start_time or 0.0)
        for step in steps
        if step.step_key != f"us__{name}"
    )
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Stage(name, len(keys), outcome.reason, wall, cpu, peak_mb, dict(clocks.seconds))


def clocked_product(stage: str) -> Clocks:
    """Clocks around what loads, computes, stores and describes, and around the event log.

    Only what the stage itself uses is imported, so that its memory is that of its run.
    """
    import dagster as dg

    clocks = Clocks()
    clocks.around(dg.DagsterInstance, "handle_new_event", part_of_event)
    for place, part in ({} if stage == EMPTY else _STORAGE | CLOCKED[stage]).items():
        module, _, rest = place.partition(":")
        owner, _, name = rest.rpartition(".")
        holder = importlib.import_module(f"quant_assets.{module}")
        clocks.around(getattr(holder, owner) if owner else holder, name, part)
    return clocks


def part_of_event(_: object, event: Any) -> str:
    """The part that storing an event of the log belongs to."""
    import dagster as dg

    planned = dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED
    return "planned checks" if event.dagster_event_type == planned else "events"


def empty_definitions() -> Any:
    """A code location with one asset that has the market's partitions and nothing else."""
    import dagster as dg

    from quant_assets.partitions import session_partitions
    from quant_assets.policies import SINGLE_RUN

    class Nowhere(dg.IOManager):
        def handle_output(self, context: dg.OutputContext, obj: object) -> None:
            """Store nothing."""

        def load_input(self, context: dg.InputContext) -> None:
            """Load nothing."""

    @dg.asset(
        key=["us", EMPTY],
        partitions_def=session_partitions(US),
        backfill_policy=SINGLE_RUN,
        io_manager_key="nowhere",
    )
    def empty() -> int:
        return 0

    return dg.Definitions(
        assets=[empty],
        jobs=[dg.define_asset_job(EMPTY, dg.AssetSelection.assets(empty))],
        resources={"nowhere": Nowhere()},
        executor=dg.in_process_executor,
    )


def store_articles(symbols: int, articles: int, first: str, last: str) -> None:
    """Write made article tones for every hour from the session before ``first``.

    Each is about one symbol; their hours are drawn at random. The disk is not waited for.
    """
    from quant_assets.io_managers.parquet_store import ParquetStore, Part
    from quant_assets.schemas import dataset_of
    from quant_assets.schemas.keys import HOUR_FORMAT
    from quant_assets.settings import settings

    dataset = dataset_of(ARTICLES)
    start = US.offset_session(datetime.fromisoformat(first).date(), -1)
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0, tzinfo=None)
    store = ParquetStore(settings().data_dir, settings().profile)
    # The preparation need not survive a power cut, and waiting for the disk triples its time.
    setattr(os, "fsync", lambda file: None)  # noqa: B010
    for hours, frame in made_articles(symbols, articles, start, end):
        frame = dataset.conform(frame, ARTICLES)
        stored = frame["hour"].dt.tz_localize(None)
        starts, ends = (stored.searchsorted(hours, side) for side in ("left", "right"))
        bounds = zip(hours.strftime(HOUR_FORMAT), starts.tolist(), ends.tolist(), strict=True)
        parts = [Part(*bound) for bound in bounds]
        store.write_parts(dataset, ARTICLES, frame, parts, "1")


def made_articles(symbols: int, articles: int, start: date, end: datetime) -> Iterator[Any]:
    """Hours and rows of about ninety days at a time."""
    import numpy as np
    import pandas as pd

    random = np.random.default_rng(3)
    names = np.array(made_symbols(symbols))
    hours = pd.date_range(start, end, freq="h", unit="us", inclusive="left")
    for begin in range(0, len(hours), 90 * 24):
        some = hours[begin : begin + 90 * 24]
        count = round(articles * len(some) / 24)
        hour = some[np.sort(random.integers(0, len(some), count))].tz_localize("UTC")
        published = hour + pd.to_timedelta(random.integers(0, 3600, count), unit="s")
        identity = [f"{n:016x}" for n in random.integers(0, 2**62, count)]
        frame = pd.DataFrame({"hour": hour, "article_id": identity})
        frame = frame.assign(
            symbol=names[random.integers(0, symbols, count)],
            relevance=random.uniform(0.1, 1.0, count).round(4),
            score=random.normal(0, 0.35, count).clip(-1, 1).round(4),
            scorer="provider",
            scorer_version="as-received",
            published_at=published,
            available_at=published + pd.Timedelta(minutes=15),
            title_key=[f"made headline {text}" for text in identity],
        )
        yield some, frame


def verdict(ours: float, noise: float) -> str:
    """``unclear`` where the empty asset's own times differ so much that the target is in reach."""
    if abs(ours - TARGET_MS) <= noise:
        return "unclear"
    return "met" if ours <= TARGET_MS else "MISSED"


def print_stages(runs: Sequence[Stage], symbols: int, years: float) -> None:
    """Print what each asset took, and what of it is Dagster's and ours."""
    summary, split = [], []
    for before, stage, after in zip(runs[:-2:2], runs[1::2], runs[2::2], strict=True):
        own, own_cpu, own_events = (
            (mine + other) / 2
            for mine, other in zip(before.totals_ms, after.totals_ms, strict=True)
        )
        wall, cpu, events = stage.totals_ms
        ours, noise = wall - own, abs(before.totals_ms[0] - after.totals_ms[0]) / 2
        parts = {name: stage.milliseconds(name) for name in (*PARTS, "checks")}
        rest = wall - sum(parts.values())
        summary.append(
            [
                f"us/{stage.name}", f"{stage.partitions:,}", f"{stage.seconds:.1f}",
                f"{stage.parts.get('vendor', 0.0):.1f}",
                *(f"{figure:.1f}" for figure in (wall, own, ours)),
                f"{noise:.1f}", f"<= {TARGET_MS:g}", verdict(ours, noise),
                *(f"{figure:.1f}" for figure in (ours - events + own_events, cpu, own_cpu)),
                f"{stage.peak_mb:.0f}",
            ]
        )  # fmt: skip
        read, files = stage.milliseconds("load.read"), stage.milliseconds("store.files")
        figures = [
            parts["load"], read, parts["compute"], parts["store"], files, parts["metadata"],
            events, own_events, parts["planned checks"], parts["checks"], rest,
        ]  # fmt: skip
        split.append([f"us/{stage.name}", *(f"{figure:.2f}" for figure in figures)])
    columns = [
        "asset", "partitions", "total s", "vendor s", "wall ms", "Dagster's own", "ours ms",
        "+-", "target", "", "ours but events", "CPU ms", "Dagster's CPU", "peak MB",
    ]  # fmt: skip
    title = f"Backfill of {years:g} years x {symbols} symbols, one run an asset, ms a partition"
    print_table(title, columns, summary)
    columns = [
        "asset", "load", "of it read", "compute", "store", "of it files", "metadata", "events",
        "empty's", "planned checks", "checks", "rest",
    ]  # fmt: skip
    print_table("The same runs by part, ms a partition", columns, split, NOTES)


if __name__ == "__main__":
    main(sys.argv[1:])
