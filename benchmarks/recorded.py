"""How long the platform takes over the recorded real data, through ``quant run``.

Belongs here: starting the command, its clock, and what it left in the store. Does not belong
here: a judgement of the recommendations.

The folder is that of ``QUANT_TEST_DATA`` or ``../shared/data``; its ``recorded`` part is replayed
by the sandbox, so that every run asks the real vendor clients.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.report import CHECKOUT, child_environment, print_table
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.schemas import DATASETS, dataset_of

if TYPE_CHECKING:
    import pandas as pd

DATA_VARIABLE = "QUANT_TEST_DATA"
NEWS_MARGIN = timedelta(days=7)
"""News begin before the first session: its decision window opens the session before."""


@dataclass(frozen=True)
class Range:
    """Sessions of one market."""

    market: str
    first: date
    last: date


@dataclass(frozen=True)
class Result:
    """What one ``quant run`` did."""

    asked: Range
    exit_status: int
    seconds: float
    partitions: int
    recommendations: int
    labelled: float
    with_news: float


FULL = (
    Range("us", date(2014, 1, 2), date(2015, 12, 31)),
    Range("kr", date(2024, 1, 2), date(2024, 12, 30)),
)
QUICK = (Range("us", date(2014, 12, 1), date(2014, 12, 31)),)


def main(argv: list[str]) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="one month of the US market")
    parser.add_argument("--verbose", action="store_true", help="show what `quant run` says")
    options = parser.parse_args(argv)
    data = recorded_folder()
    ranges = QUICK if options.quick else FULL
    print_results([replayed(asked, data, options.verbose) for asked in ranges])


def recorded_folder() -> Path:
    """The folder to replay; leaves with a sentence where it is absent."""
    root = Path(os.environ.get(DATA_VARIABLE) or CHECKOUT.parent / "shared" / "data")
    if not (root / "recorded" / "bars.parquet").is_file():
        sys.exit(f"{root} holds no recorded/bars.parquet: set {DATA_VARIABLE} to the recorded data")
    return root.absolute() / "recorded"


def replayed(asked: Range, data: Path, verbose: bool) -> Result:
    """Run the range from nothing and look at what is stored then."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        command = [
            str(Path(sys.executable).with_name("quant")),
            *("run", "--data", str(data), "--market", asked.market),
            *("--from", asked.first.isoformat(), "--to", asked.last.isoformat()),
        ]
        environment = child_environment(
            QUANT_HOME=str(home), QUANT_NEWS_START=(asked.first - NEWS_MARGIN).isoformat()
        )
        began = time.perf_counter()
        child = subprocess.run(
            command, cwd=folder, env=environment, check=False, capture_output=True, text=True
        )
        seconds = time.perf_counter() - began
        if verbose or child.returncode:
            print(child.stderr, child.stdout if verbose else "", sep="\n", file=sys.stderr)
        return _result(asked, child.returncode, seconds, ParquetStore(home / "data", "replay"))


def _result(asked: Range, exit_status: int, seconds: float, store: ParquetStore) -> Result:
    partitions = sum(len(store.list_partitions(asset)) for asset in DATASETS)
    recommended = _stored(store, f"{asked.market}/recommendations")
    tones = _stored(store, f"{asked.market}/news_sentiment")
    return Result(
        asked,
        exit_status,
        seconds,
        partitions,
        len(recommended),
        float(recommended["label"].notna().mean()),
        float((tones["status"] == "OK").mean()),
    )


def _stored(store: ParquetStore, asset: str) -> "pd.DataFrame":
    return store.read(dataset_of(asset), asset, store.list_partitions(asset))


def print_results(results: Sequence[Result]) -> None:
    """Print a line a range."""
    rows = [
        [
            f"{r.asked.market} {r.asked.first} .. {r.asked.last}",
            f"{r.seconds:.1f}",
            f"{r.partitions:,}",
            f"{r.partitions / r.seconds:.0f}",
            f"{r.recommendations:,}",
            f"{r.labelled:.1%}",
            f"{r.with_news:.1%}",
            "complete" if r.exit_status == 0 else f"exit status {r.exit_status}",
        ]
        for r in results
    ]
    columns = [
        "replayed", "seconds", "partitions", "a second", "recommendations", "labelled",
        "sentiment OK", "",
    ]  # fmt: skip
    notes = (
        "partitions: all stored files, with the 499 sessions before the range, news hours, macro",
        "labelled, sentiment OK: shares of the rows of recommendations and news_sentiment",
    )
    print_table("`quant run` over recorded data, from nothing, two workers", columns, rows, notes)


if __name__ == "__main__":
    main(sys.argv[1:])
