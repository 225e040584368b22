"""The quarantine under damage: files, profiles, disks, kills and processes at once."""

import json
import multiprocessing
import os
import signal
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from quant_assets.errors import BadConfigurationError, BadDataError
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.io_managers.quarantine import DAMAGED, Quarantine
from quant_assets.schemas.quarantine import HELD, RELEASED
from quant_assets_tests.unit.held_rows import (
    ASSET,
    DAY,
    LATER,
    NEXT_DAY,
    NOW,
    PRICES,
    file_of,
    held,
    states,
    write_good,
)


@pytest.fixture
def store(tmp_path: Path) -> ParquetStore:
    return ParquetStore(tmp_path, "sandbox")


@pytest.fixture
def quarantine(store: ParquetStore) -> Quarantine:
    return Quarantine(store, ASSET)


def test_a_release_keeps_the_code_version_of_the_partition(
    store: ParquetStore, quarantine: Quarantine
) -> None:
    """One row more does not bring the rows of an older configuration up to date."""
    write_good(store, "MSFT", version="1-old")
    quarantine.settle([DAY, NEXT_DAY], [held("AAPL"), held("AAPL", NEXT_DAY)], set(), NOW)
    quarantine.release(DAY, ["AAPL"], "1-new")
    quarantine.release(NEXT_DAY, ["AAPL"], "1-new")
    assert store.info(ASSET, DAY).code_version == "1-old"
    assert store.info(ASSET, NEXT_DAY).code_version == "1-new"


def test_a_release_does_not_take_the_place_of_a_damaged_partition(
    store: ParquetStore, quarantine: Quarantine
) -> None:
    path = store.path(ASSET, DAY)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PAR1 damaged")
    quarantine.settle([DAY], [held("AAPL")], set(), NOW)
    with pytest.raises(BadDataError, match=str(path)):
        quarantine.release(DAY, ["AAPL"], "1")
    assert path.read_bytes() == b"PAR1 damaged"
    assert states(quarantine) == {"AAPL": HELD}


@pytest.mark.parametrize("content", [b"", b"PAR1", b"garbage" * 1000])
def test_a_damaged_file_is_named_moved_aside_and_stops_nothing(
    store: ParquetStore, quarantine: Quarantine, content: bytes
) -> None:
    quarantine.settle([DAY, NEXT_DAY], [held("AAPL"), held("AAPL", NEXT_DAY)], set(), NOW)
    path = file_of(store)
    path.write_bytes(content)
    seen = quarantine.held([DAY, NEXT_DAY])
    assert set(seen["rule"]) == {DAMAGED, "unit_error"}
    assert str(path) in seen.loc[seen["rule"] == DAMAGED, "reason"].item()
    with pytest.raises(BadDataError, match=str(path)):
        quarantine.release(DAY, ["AAPL"], "1")

    assert quarantine.sift([held("AAPL")]) == ([held("AAPL")], [])
    quarantine.settle([DAY], [held("AAPL")], {(DAY, "MSFT")}, LATER)
    note = quarantine.held([DAY]).set_index("rule").loc[DAMAGED]
    aside = Path(json.loads(note["raw"])["file"])
    assert aside.read_bytes() == content
    assert str(aside) in note["reason"]
    assert quarantine.partitions() == [DAY, NEXT_DAY]
    before = path.read_bytes()
    quarantine.settle([DAY], [held("AAPL")], {(DAY, "MSFT")}, LATER + timedelta(days=1))
    assert path.read_bytes() == before

    aside.unlink()
    quarantine.settle([DAY], [held("AAPL")], set(), LATER)
    assert states(quarantine) == {"AAPL": HELD}


def test_a_damaged_file_is_noted_when_nothing_is_held(
    store: ParquetStore, quarantine: Quarantine
) -> None:
    quarantine.settle([DAY], [held("AAPL")], set(), NOW)
    file_of(store).write_bytes(b"")
    quarantine.settle([DAY], [], {(DAY, "AAPL")}, LATER)
    before = file_of(store).read_bytes()
    quarantine.settle([DAY], [], {(DAY, "AAPL")}, LATER + timedelta(days=1))
    assert file_of(store).read_bytes() == before
    note = quarantine.held([DAY]).iloc[0]
    asides = [str(path) for path in file_of(store).parent.glob("*.damaged")]
    assert note["rule"] == DAMAGED
    assert [json.loads(note["raw"])["file"]] == asides


def test_another_profile_is_refused_and_nothing_is_written(
    store: ParquetStore, quarantine: Quarantine, tmp_path: Path
) -> None:
    quarantine.settle([DAY], [held("AAPL")], set(), NOW)
    before = file_of(store).read_bytes()
    live = Quarantine(ParquetStore(tmp_path, "live"), ASSET)
    attempts = (
        lambda: live.read([DAY]),
        lambda: live.sift([held("AAPL")]),
        lambda: live.settle([DAY], [], {(DAY, "AAPL")}, LATER),
        lambda: live.settle([NEXT_DAY], [held("AAPL", NEXT_DAY)], set(), LATER),
        lambda: live.release(DAY, ["AAPL"], "1"),
    )
    for attempt in attempts:
        with pytest.raises(BadConfigurationError, match="holds data of the profile 'sandbox'"):
            attempt()
    assert file_of(store).read_bytes() == before
    assert quarantine.partitions() == [DAY]
    assert store.list_partitions(ASSET) == []


def test_a_root_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.write_text("a file where the directory should be")
    with pytest.raises(BadDataError, match=r"quarantine of us/prices in .* free space"):
        Quarantine(ParquetStore(root, "sandbox"), ASSET).settle([DAY], [held("A")], set(), NOW)


def _release_and_die(root: str) -> None:
    """Release, and be killed when the row is stored and the mark is to be written."""
    quarantine = Quarantine(ParquetStore(root, "sandbox"), ASSET)
    quarantine._write = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign,assignment]
    quarantine.release(DAY, ["AAPL"], "1")


def _settle_and_release(root: str, number: int, rounds: int) -> None:
    """Hold one row after the other, and release every second one."""
    quarantine = Quarantine(ParquetStore(root, "sandbox"), ASSET)
    for n in range(rounds):
        name = f"S{number}-{n:02d}"
        quarantine.settle([DAY], [held(name)], set(), NOW)
        if n % 2:
            quarantine.release(DAY, [name], "1")


@pytest.fixture
def processes() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "pyarrow.parquet", "pandas", "polars"])
    return context


def _ended(process: BaseProcess) -> int | None:
    process.join(60)
    if process.is_alive():
        process.kill()
    return process.exitcode


def test_a_kill_between_storing_and_marking_is_mended_by_releasing_again(
    store: ParquetStore, quarantine: Quarantine, tmp_path: Path, processes: Any
) -> None:
    write_good(store, "MSFT")
    quarantine.settle([DAY], [held("AAPL")], {(DAY, "MSFT")}, NOW)
    process = processes.Process(target=_release_and_die, args=(str(tmp_path),))
    process.start()
    assert _ended(process) == -signal.SIGKILL
    assert store.read(PRICES, ASSET, [DAY])["symbol"].tolist() == ["AAPL", "MSFT"]
    assert states(quarantine) == {"AAPL": HELD}
    before = store.path(ASSET, DAY).read_bytes()
    quarantine.release(DAY, ["AAPL"], "1")
    assert store.path(ASSET, DAY).read_bytes() == before
    assert states(quarantine) == {"AAPL": RELEASED}


def test_processes_that_settle_and_release_at_once_lose_nothing(
    store: ParquetStore, quarantine: Quarantine, tmp_path: Path, processes: Any
) -> None:
    rounds = 12
    write_good(store, "MSFT")
    workers = [
        processes.Process(target=_settle_and_release, args=(str(tmp_path), number, rounds))
        for number in range(3)
    ]
    for worker in workers:
        worker.start()
    assert [_ended(worker) for worker in workers] == [0, 0, 0]
    names = [f"S{number}-{n:02d}" for number in range(3) for n in range(rounds)]
    released = {name for name in names if int(name[-2:]) % 2}
    assert states(quarantine) == {n: RELEASED if n in released else HELD for n in names}
    assert set(store.read(PRICES, ASSET, [DAY])["symbol"]) == released | {"MSFT"}
