"""A writer that is killed at any moment leaves whole partitions, the old ones or the new ones."""

import multiprocessing
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from quant_assets.io_managers.parquet_store import ParquetStore, content_hash
from quant_assets.schemas import dataset_of
from quant_assets_tests.unit.dataset_frames import valid_frame

KILLS = 60
HALF_WRITTEN = 5
MOST_KILLS = 500
VARIANTS = 4
ROWS = 600
ASSET = "us/technical_score"
KEY = "2024-01-02"
TECHNICAL_SCORE = dataset_of(ASSET)
SECONDS_TO_FIRST_WRITE = 300
MOST_SECONDS_OF_WRITING = 0.12


def _write_until_killed(root: str, number: int, ready: Any) -> None:
    """Write ``KEY`` with changing content, and with each round a partition of its own."""
    store = ParquetStore(root, "sandbox")
    frames = [
        valid_frame(TECHNICAL_SCORE, partitions=1, rows=ROWS, seed=seed) for seed in range(VARIANTS)
    ]
    ready.set()
    for round_number in range(10**6):
        variant = round_number % VARIANTS
        new_key = f"new-{number:03d}-{round_number:05d}"
        for key in (KEY, new_key):
            store.write(TECHNICAL_SCORE, ASSET, key, frames[variant], f"variant-{variant}")


@contextmanager
def _writer(context: Any, root: Path, number: int) -> Iterator[BaseProcess]:
    """A process that writes; forked by a server that has imported everything already."""
    ready = context.Event()
    process = context.Process(target=_write_until_killed, args=(str(root), number, ready))
    process.start()
    try:
        assert ready.wait(SECONDS_TO_FIRST_WRITE), "the writer did not start"
        yield process
    finally:
        if process.is_alive():
            process.kill()
        process.join(SECONDS_TO_FIRST_WRITE)


def _wait_for(folder: Path, pattern: str) -> None:
    deadline = time.monotonic() + SECONDS_TO_FIRST_WRITE
    while not any(folder.glob(pattern)):
        assert time.monotonic() < deadline, f"the writer has not written {pattern}"


@pytest.fixture
def forkserver() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "pyarrow.parquet", "pandas", "numpy"])
    return context


def test_no_kill_leaves_half_a_partition(tmp_path: Path, forkserver: Any) -> None:
    store = ParquetStore(tmp_path, "sandbox")
    contents = [
        valid_frame(TECHNICAL_SCORE, partitions=1, rows=ROWS, seed=n) for n in range(VARIANTS)
    ]
    hashes = {
        f"variant-{n}": content_hash(TECHNICAL_SCORE, frame) for n, frame in enumerate(contents)
    }
    store.write(TECHNICAL_SCORE, ASSET, KEY, contents[0], "variant-0")
    moments = random.Random(7)
    half_written = checked = number = 0
    folder = store.path(ASSET, KEY).parent
    while number < KILLS or (half_written < HALF_WRITTEN and number < MOST_KILLS):
        with _writer(forkserver, tmp_path, number) as process:
            process.join(moments.uniform(0, MOST_SECONDS_OF_WRITING))
            match number % 3:
                case 1:
                    _wait_for(folder, ".*.tmp")
                case 2:
                    _wait_for(folder, f"new-{number:03d}-*.parquet")
            process.kill()
            process.join(SECONDS_TO_FIRST_WRITE)
            assert process.exitcode == -signal.SIGKILL
        leftovers = list(folder.glob(".*.tmp"))
        half_written += len(leftovers)
        assert not any(name.name.endswith(".parquet") for name in leftovers)
        for leftover in leftovers:
            leftover.unlink()
        present = [key for key in store.list_partitions(ASSET) if key >= f"new-{number:03d}"]
        for key in [*present, KEY]:
            frame = store.read(TECHNICAL_SCORE, ASSET, [key])
            facts = store.info(ASSET, key)
            assert (
                facts.content_hash
                == content_hash(TECHNICAL_SCORE, frame)
                == hashes[facts.code_version]
            )
            checked += 1
        number += 1
    assert half_written >= HALF_WRITTEN, "too few kills struck while a file was being written"
    assert checked > KILLS, "no killed writer had finished a partition of its own"


def test_a_partition_is_written_again_after_a_kill(tmp_path: Path, forkserver: Any) -> None:
    store = ParquetStore(tmp_path, "sandbox")
    with _writer(forkserver, tmp_path, 0) as process:
        deadline = time.monotonic() + SECONDS_TO_FIRST_WRITE
        while store.missing(ASSET, [KEY]) and time.monotonic() < deadline:
            process.join(0.005)
        process.kill()
    frame = valid_frame(TECHNICAL_SCORE, partitions=1, rows=ROWS, seed=99)
    written = store.write(TECHNICAL_SCORE, ASSET, KEY, frame, "after")
    assert store.info(ASSET, KEY) == written
    assert store.read(TECHNICAL_SCORE, ASSET, [KEY]).equals(frame)
