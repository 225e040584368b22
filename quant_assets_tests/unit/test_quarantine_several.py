"""Several refusals of one item in a partition, and a release beside a later refusal."""

import json
from pathlib import Path

import pytest

from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.io_managers.quarantine import Quarantine
from quant_assets.schemas.quarantine import HELD, RELEASED
from quant_assets_tests.unit.held_rows import ASSET, DAY, LATER, NOW, file_of, held


@pytest.fixture
def store(tmp_path: Path) -> ParquetStore:
    return ParquetStore(tmp_path, "sandbox")


@pytest.fixture
def quarantine(store: ParquetStore) -> Quarantine:
    return Quarantine(store, ASSET)


def test_each_of_several_refusals_of_an_item_is_kept(
    store: ParquetStore, quarantine: Quarantine
) -> None:
    """A bar that comes three times, contradicting itself."""
    refused = [
        held("AAPL", close=1.0, formless=True),
        held("AAPL", close=2.0, formless=True),
        held("AAPL", close=300.0, high=400.0),
    ]
    quarantine.settle([DAY], refused, set(), NOW)
    frame = quarantine.read([DAY])
    assert sorted(json.loads(raw)["close"] for raw in frame["raw"]) == [1.0, 2.0, 300.0]
    before = file_of(store).read_bytes()
    quarantine.settle([DAY], refused[::-1], set(), LATER)
    assert file_of(store).read_bytes() == before
    quarantine.release(DAY, ["AAPL"], "1")
    still, accepted = quarantine.sift(refused)
    assert (still, accepted) == (refused[:2], refused[2:])
    quarantine.settle([DAY], still, {(DAY, "AAPL")}, LATER)
    assert quarantine.sift(refused) == (still, accepted)


def test_a_release_stays_on_record_when_the_vendor_gives_other_bad_values(
    quarantine: Quarantine,
) -> None:
    first, second = (held("AAPL", close=close, high=9_999.0) for close in (5_000.0, 6_000.0))
    quarantine.settle([DAY], [first], set(), NOW)
    quarantine.release(DAY, ["AAPL"], "1")
    quarantine.settle([DAY], [second], set(), LATER)
    states = {
        json.loads(row)["close"]: state
        for row, state in quarantine.read([DAY])[["row", "state"]].itertuples(index=False)
    }
    assert states == {5_000.0: RELEASED, 6_000.0: HELD}
    assert quarantine.sift([first, second]) == ([second], [first])
