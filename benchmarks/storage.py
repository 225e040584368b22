"""How long partitions take to write and read, against a plain file with the same rows.

Belongs here: made prices, the clock, the yardsticks. Does not belong here: Dagster.

Writing is checking the contract, hashing, and storing a day as a whole or not at all; its
yardstick is ``DataFrame.to_parquet`` of the same day, which does none of that. Reading is a range
of day files in one call with the contract checked; its yardstick is the same rows, the same reader
and the same check on one file.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

import pandas as pd

from benchmarks.indicators import synthetic_prices
from benchmarks.report import Measurement, print_measurements
from quant_assets.io_managers.parquet_store import ParquetStore, content_hash
from quant_assets.io_managers.partitioned_parquet import split_by_partition
from quant_assets.schemas import dataset_of

ASSET = "us/prices"
DATASET = dataset_of(ASSET)
WRITE_TARGET = 1.2
READ_TARGET = 3.5


def main(argv: list[str]) -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--sessions", type=int, default=300)
    parser.add_argument("--repeat", type=int, default=31)
    parser.add_argument("--quick", action="store_true", help="seven repetitions")
    options = parser.parse_args(argv)
    repeat = 7 if options.quick else options.repeat

    frame = synthetic_prices(options.symbols, options.sessions, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        measure_writing(frame, Path(folder), 4 * repeat)
        measure_reading(frame, Path(folder), repeat)


def measure_writing(frame: pd.DataFrame, folder: Path, repeat: int) -> None:
    """Print what a day costs to write, and the parts of it."""
    store = ParquetStore(folder / "write", "sandbox")
    first = frame["session_date"].min()
    day = frame[frame["session_date"] == first].reset_index(drop=True)
    key = f"{first:%Y-%m-%d}"
    days = DATASET.conform(frame, ASSET)
    parts = list(split_by_partition(DATASET, days))
    plain = folder / "plain.parquet"
    contenders: dict[str, Callable[[], object]] = {
        "plain": lambda: day.to_parquet(plain, compression="zstd", index=False),
        "durable": lambda: write_durably(day, plain),
        "ours": lambda: _write_anew(store, day, key),
        "conform": lambda: DATASET.conform(day, ASSET),
        "hash": lambda: content_hash(DATASET, day),
        "fsync": lambda: write_synced(folder / "bytes", plain.read_bytes()),
    }
    seconds = medians(contenders, repeat)
    names = [part.key for part in parts]

    def write_range() -> None:
        store.delete(ASSET, names)
        store.write_parts(DATASET, ASSET, days, parts, "1")

    ranged = {"range": write_range}
    each = medians(ranged, 3)["range"] / len(parts)
    ours, yardstick = seconds["ours"], "to_parquet, zstd"
    size = store.path(ASSET, key).stat().st_size
    lines = [
        Measurement("conform and write", _ms(ours), ours / seconds["plain"], yardstick,
                    WRITE_TARGET),
        Measurement("the same", _ms(ours), ours / seconds["durable"],
                    "to_parquet, fsync, rename"),
        Measurement(f"a day of {len(parts)} written at once", _ms(each), each / seconds["plain"],
                    yardstick),
        Measurement(yardstick, _ms(seconds["plain"])),
        Measurement("to_parquet, fsync, rename", _ms(seconds["durable"])),
        Measurement("of ours: conform", _ms(seconds["conform"])),
        Measurement("of ours: content hash", _ms(seconds["hash"])),
        Measurement("of ours: writing the bytes with fsync", _ms(seconds["fsync"])),
        Measurement("size of the file", f"{size / 1e3:.1f} kB", size / plain.stat().st_size,
                    yardstick),
    ]  # fmt: skip
    notes = (f"medians of {repeat} repetitions in turn",)
    print_measurements(f"Writing a day of {len(day)} symbols of {ASSET}", lines, notes)


def measure_reading(frame: pd.DataFrame, folder: Path, repeat: int) -> None:
    """Print what a range of days costs to read."""
    days, whole = ParquetStore(folder / "days", "sandbox"), ParquetStore(folder / "one", "sandbox")
    frame = DATASET.conform(frame, ASSET)
    parts = list(split_by_partition(DATASET, frame))
    keys = [part.key for part in parts]
    days.write_parts(DATASET, ASSET, frame, parts, "1")
    whole.write(DATASET, ASSET, "all", frame, "1")
    paths = [days.path(ASSET, key) for key in keys]
    pd.testing.assert_frame_equal(
        days.read(DATASET, ASSET, keys), whole.read(DATASET, ASSET, ["all"])
    )
    seconds = medians(
        {
            "ours": lambda: days.read(DATASET, ASSET, keys),
            "one": lambda: whole.read(DATASET, ASSET, ["all"]),
            "conform": lambda: DATASET.conform(frame, ASSET),
        },
        repeat,
    )
    loop = medians({"loop": lambda: pandas_loop(paths)}, max(3, repeat // 5))["loop"]
    ours = seconds["ours"]
    lines = [
        Measurement(f"{len(keys)} day files, one call", _ms(ours), ours / seconds["one"],
                    "one file, the same reader", READ_TARGET),
        Measurement("one file, the same reader", _ms(seconds["one"])),
        Measurement("loop of pandas.read_parquet", _ms(loop), loop / ours, "ours"),
        Measurement("of each of ours: conform", _ms(seconds["conform"])),
    ]  # fmt: skip
    title = f"Reading {len(keys)} sessions of {len(frame) // len(keys)} symbols of {ASSET}"
    print_measurements(
        title, lines, (f"medians of {repeat} repetitions in turn, files in the page cache",)
    )


def _write_anew(store: ParquetStore, day: pd.DataFrame, key: str) -> None:
    """Check and write a partition that is not there yet, as every run but a repeated one does."""
    store.delete(ASSET, [key])
    store.write(DATASET, ASSET, key, DATASET.conform(day, ASSET), "1")


def write_durably(day: pd.DataFrame, path: Path) -> None:
    """Write with pandas, but whole or not at all, as the store does."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        day.to_parquet(file, compression="zstd", index=False)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_synced(path: Path, content: bytes) -> None:
    """Write bytes and wait for the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def pandas_loop(paths: Sequence[Path]) -> pd.DataFrame:
    """Read files the obvious way."""
    return pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)


def medians(contenders: Mapping[str, Callable[[], object]], repeat: int) -> dict[str, float]:
    """Median seconds of each contender; they take turns, one round is not counted."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(repeat + 1):
        for name, run in contenders.items():
            began = time.perf_counter()
            run()
            if number:
                times[name].append(time.perf_counter() - began)
    return {name: median(values) for name, values in times.items()}


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"


if __name__ == "__main__":
    main(sys.argv[1:])
