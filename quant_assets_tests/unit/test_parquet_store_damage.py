"""The store among broken files, full disks and other writers."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quant_assets.errors import BadDataError, MissingPartitionError
from quant_assets.io_managers.parquet_store import ParquetStore, StoredPartition, content_hash
from quant_assets.io_managers.partitioned_parquet import split_by_partition
from quant_assets.schemas import dataset_of
from quant_assets_tests.unit.dataset_frames import partition_keys, valid_frame

ASSET = "us/prices"
PRICES = dataset_of(ASSET)
DAYS = partition_keys(PRICES, 5)


@pytest.fixture
def store(tmp_path: Path) -> ParquetStore:
    return ParquetStore(tmp_path / "data", "sandbox")


def _write_days(store: ParquetStore) -> None:
    frame = valid_frame(PRICES, partitions=len(DAYS), rows=6, seed=1)
    store.write_parts(PRICES, ASSET, frame, split_by_partition(PRICES, frame), "1")


def _read_first(store: ParquetStore) -> pd.DataFrame:
    return store.read(PRICES, ASSET, DAYS[:1])


def _first_facts(store: ParquetStore) -> StoredPartition:
    return store.info(ASSET, DAYS[0])


BREAKAGES = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "without its last byte": lambda content: content[:-1],
    "garbage": lambda content: b"not parquet at all" * 40,
    "garbage between magic numbers": lambda content: b"PAR1" + os.urandom(400) + b"PAR1",
    "zeroed footer": lambda content: content[:-200] + bytes(192) + content[-8:],
    "zeroed data": lambda content: content[:4] + bytes(300) + content[304:],
}


@pytest.mark.parametrize("breakage", sorted(BREAKAGES))
def test_a_corrupt_file_is_named_among_whole_ones(store: ParquetStore, breakage: str) -> None:
    _write_days(store)
    path = store.path(ASSET, DAYS[2])
    path.write_bytes(BREAKAGES[breakage](path.read_bytes()))
    with pytest.raises(BadDataError, match=f"us/prices.*{DAYS[2]}") as caught:
        store.read(PRICES, ASSET, DAYS)
    assert str(path) in str(caught.value)
    assert "again" in str(caught.value)
    assert not isinstance(caught.value, MissingPartitionError)
    _write_days(store)
    assert len(store.read(PRICES, ASSET, DAYS)) == 30


@pytest.mark.parametrize("breakage", ["empty", "truncated", "garbage", "zeroed footer"])
def test_the_facts_of_a_corrupt_file_are_refused(store: ParquetStore, breakage: str) -> None:
    _write_days(store)
    path = store.path(ASSET, DAYS[2])
    path.write_bytes(BREAKAGES[breakage](path.read_bytes()))
    with pytest.raises(BadDataError, match=f"us/prices.*{DAYS[2]}.*again"):
        store.info(ASSET, DAYS[2])


def test_a_file_with_changed_bytes_is_refused_or_conforms(store: ParquetStore) -> None:
    """Among the ways to fail: names that are no UTF-8, and panics of the reader."""
    _write_days(store)
    path = store.path(ASSET, DAYS[0])
    whole = path.read_bytes()
    random = np.random.default_rng(11)
    messages = []
    for _ in range(300):
        broken = bytearray(whole)
        for place in random.integers(len(whole), size=3):
            broken[place] = int(random.integers(256))
        path.write_bytes(bytes(broken))
        for call in (_read_first, _first_facts):
            try:
                call(store)
            except BadDataError as error:
                messages.append(str(error))
    assert len(messages) > 300
    assert all(ASSET in message and DAYS[0] in message for message in messages)


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.drop_columns(["volume"]),
        lambda table: table.append_column("adj_close", table["close"]),
        lambda table: table.rename_columns({"close": "last"}),
        lambda table: table.set_column(6, "volume", table["volume"].cast(pa.float64())),
        lambda table: table.set_column(0, "session_date", table["session_date"].cast(pa.string())),
    ],
)
def test_a_file_with_other_columns_is_named(store: ParquetStore, change: Any) -> None:
    _write_days(store)
    path = store.path(ASSET, DAYS[3])
    pq.write_table(change(pq.read_table(path)), path)
    with pytest.raises(BadDataError, match=f"us/prices.*{DAYS[3]}") as caught:
        store.read(PRICES, ASSET, DAYS)
    assert "prices version 1" in str(caught.value)


def test_a_file_whose_values_break_the_contract_is_named(store: ParquetStore) -> None:
    _write_days(store)
    path = store.path(ASSET, DAYS[3])
    table = pq.read_table(path)
    negative = pa.array([-1.0] * len(table))
    pq.write_table(table.set_column(5, table.schema.field("close"), negative), path)
    with pytest.raises(BadDataError, match=rf"us/prices.*close breaks.*{DAYS[3]}"):
        store.read(PRICES, ASSET, DAYS)


def test_a_file_in_place_of_a_directory_is_named(store: ParquetStore, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "us").write_text("in the way")
    frame = valid_frame(PRICES, partitions=1, rows=1, seed=1)
    with pytest.raises(BadDataError, match=rf"us/prices partition {DAYS[0]} .*data/us/prices/"):
        store.write(PRICES, ASSET, DAYS[0], frame, "1")
    assert store.missing(ASSET, DAYS) == DAYS


def test_a_directory_in_place_of_the_file_leaves_no_temporary(store: ParquetStore) -> None:
    store.path(ASSET, DAYS[0]).mkdir(parents=True)
    frame = valid_frame(PRICES, partitions=1, rows=1, seed=1)
    with pytest.raises(BadDataError, match=DAYS[0]):
        store.write(PRICES, ASSET, DAYS[0], frame, "1")
    assert [p.name for p in store.path(ASSET, DAYS[0]).parent.iterdir()] == [f"{DAYS[0]}.parquet"]


FULL_DISK = """
import resource, sys
from quant_assets.errors import BadDataError
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.schemas import dataset_of
from quant_assets_tests.unit.dataset_frames import valid_frame
dataset = dataset_of("us/prices")
frame = valid_frame(dataset, partitions=1, rows=3000, seed=2)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    ParquetStore(sys.argv[1], "sandbox").write(dataset, "us/prices", "2024-01-02", frame, "1")
except BadDataError as error:
    print(error)
"""


def test_a_full_disk_is_named_and_the_old_partition_stays(store: ParquetStore) -> None:
    frame = valid_frame(PRICES, partitions=1, rows=3, seed=1)
    written = store.write(PRICES, ASSET, DAYS[0], frame, "1")
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(store.root)],
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    assert f"us/prices partition {DAYS[0]} could not be written" in done.stdout
    assert "File too large" in done.stdout
    assert store.info(ASSET, DAYS[0]) == written
    pd.testing.assert_frame_equal(store.read(PRICES, ASSET, [DAYS[0]]), frame)
    assert [p.name for p in Path(written.address).parent.iterdir()] == [f"{DAYS[0]}.parquet"]


def _write_again_and_again(root: str, seed: int, start: Any) -> None:
    store = ParquetStore(root, "sandbox")
    frame = valid_frame(PRICES, partitions=1, rows=400, seed=seed)
    start.wait(30)
    for _ in range(15):
        store.write(PRICES, ASSET, DAYS[0], frame, str(seed))


def test_two_writers_at_once_leave_one_whole_file(store: ParquetStore) -> None:
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(2)
    writers = [
        spawn.Process(target=_write_again_and_again, args=(str(store.root), seed, start))
        for seed in (1, 2)
    ]
    frames = {str(s): valid_frame(PRICES, partitions=1, rows=400, seed=s) for s in (1, 2)}
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if not store.missing(ASSET, [DAYS[0]]):
            found = store.read(PRICES, ASSET, [DAYS[0]])
            assert any(found.equals(frame) for frame in frames.values())
        writers[0].join(0.01)
    for writer in writers:
        writer.join(30)
    assert [writer.exitcode for writer in writers] == [0, 0]
    last = store.info(ASSET, DAYS[0])
    pd.testing.assert_frame_equal(store.read(PRICES, ASSET, [DAYS[0]]), frames[last.code_version])
    assert last.content_hash == content_hash(PRICES, frames[last.code_version])
    assert [p.name for p in Path(last.address).parent.iterdir()] == [f"{DAYS[0]}.parquet"]
