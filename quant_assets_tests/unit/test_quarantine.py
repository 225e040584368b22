"""Quarantine partitions: what is held, corrected, released, with values and names of any kind."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from quant_assets.domain.held import Held
from quant_assets.errors import BadConfigurationError, BadDataError
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.io_managers.quarantine import Quarantine
from quant_assets.schemas.quarantine import HELD, RELEASED
from quant_assets_tests.unit.held_rows import (
    ASSET,
    BAR,
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

HOSTILE_NAMES = (
    "",
    " ",
    "../../etc/passwd",
    "/absolute",
    "two\nlines\r\n",
    "\x00\x1b[31m",
    "삼성전자",
    "🙂" * 50,
    "x" * 10_000,
    "'; DROP TABLE prices; --",
    "lone \ud800 surrogate",
    ".parquet",
)


@pytest.fixture
def store(tmp_path: Path) -> ParquetStore:
    return ParquetStore(tmp_path, "sandbox")


@pytest.fixture
def quarantine(store: ParquetStore) -> Quarantine:
    return Quarantine(store, ASSET)


def test_a_held_row_lies_beside_with_reason_and_raw_values(
    store: ParquetStore, quarantine: Quarantine
) -> None:
    quarantine.settle([DAY], [held("AAPL", close=10_050.0)], set(), NOW)
    kept = quarantine.read([DAY]).iloc[0]
    assert (kept["item"], kept["rule"], kept["state"]) == ("AAPL", "unit_error", HELD)
    assert kept["reason"] == "100 times the usual close"
    assert kept["held_at"] == pd.Timestamp(NOW)
    assert json.loads(kept["raw"]) == {**BAR, "close": 10_050.0}
    assert store.list_partitions(ASSET) == []


def test_settling_twice_changes_no_byte_and_keeps_the_first_time(
    store: ParquetStore, quarantine: Quarantine
) -> None:
    refused = [held("MSFT"), held("AAPL"), held("AAPL", NEXT_DAY, formless=True)]
    quarantine.settle([DAY, NEXT_DAY], refused, set(), NOW)
    before = [file_of(store, day).read_bytes() for day in (DAY, NEXT_DAY)]
    quarantine.settle([DAY, NEXT_DAY], refused[::-1], set(), LATER)
    assert [file_of(store, day).read_bytes() for day in (DAY, NEXT_DAY)] == before


def test_a_refusal_beside_a_good_row_of_its_item_keeps_its_first_time(
    quarantine: Quarantine, store: ParquetStore
) -> None:
    """A contradicted duplicate is held while the row that stands is stored."""
    twice = held("AAPL", formless=True)
    quarantine.settle([DAY], [twice], {(DAY, "AAPL")}, NOW)
    before = file_of(store).read_bytes()
    quarantine.settle([DAY], [twice], {(DAY, "AAPL")}, LATER)
    assert file_of(store).read_bytes() == before


def test_a_corrected_row_leaves_and_the_file_goes_with_the_last(
    store: ParquetStore, quarantine: Quarantine
) -> None:
    quarantine.settle([DAY], [held("AAPL"), held("MSFT")], set(), NOW)
    quarantine.settle([DAY], [held("MSFT")], {(DAY, "AAPL")}, LATER)
    assert states(quarantine) == {"MSFT": HELD}
    quarantine.settle([DAY], [], {(DAY, "MSFT")}, LATER)
    assert quarantine.partitions() == []
    assert not file_of(store).exists()


def test_what_a_run_says_nothing_of_stays(quarantine: Quarantine) -> None:
    quarantine.settle([DAY], [held("AAPL"), held("AAPL", NEXT_DAY)], set(), NOW)
    quarantine.settle([DAY], [held("MSFT")], {(DAY, "XOM"), (NEXT_DAY, "AAPL")}, LATER)
    assert states(quarantine) == {"AAPL": HELD, "MSFT": HELD}
    assert states(quarantine, NEXT_DAY) == {"AAPL": HELD}


def test_a_released_row_is_stored_and_stays_on_record(
    store: ParquetStore, quarantine: Quarantine
) -> None:
    write_good(store, "MSFT", "XOM")
    refused = held("AAPL", close=10_050.125, high=10_060.0)
    quarantine.settle([DAY], [refused, held("JPM")], {(DAY, "MSFT"), (DAY, "XOM")}, NOW)
    frame = quarantine.release(DAY, ["AAPL"], "2")
    assert frame["symbol"].tolist() == ["AAPL"]
    stored = store.read(PRICES, ASSET, [DAY])
    assert stored["symbol"].tolist() == ["AAPL", "MSFT", "XOM"]
    assert stored.iloc[0].to_dict() == refused.row
    assert states(quarantine) == {"AAPL": RELEASED, "JPM": HELD}
    assert quarantine.held([DAY])["item"].tolist() == ["JPM"]
    before = file_of(store).read_bytes()
    assert quarantine.sift([refused, held("JPM")]) == ([held("JPM")], [refused])
    quarantine.settle([DAY], [held("JPM")], {(DAY, "AAPL")}, LATER)
    assert file_of(store).read_bytes() == before


def test_a_released_row_with_other_values_is_held_again(
    store: ParquetStore, quarantine: Quarantine
) -> None:
    quarantine.settle([DAY], [held("AAPL", close=10_050.0, high=11_000.0)], set(), NOW)
    quarantine.release(DAY, ["AAPL"], "1")
    other = held("AAPL", close=10_051.0, high=11_000.0)
    assert quarantine.sift([other]) == ([other], [])
    assert quarantine.sift([held("AAPL", formless=True)])[1] == []
    quarantine.settle([DAY], [other], set(), LATER)
    again = quarantine.held([DAY])
    assert json.loads(again["row"][0])["close"] == 10_051.0
    assert store.read(PRICES, ASSET, [DAY])["close"].tolist() == [10_050.0]


def test_a_refusal_that_races_with_its_release_does_not_undo_it(quarantine: Quarantine) -> None:
    """The run has sifted before a person releases, and settles after."""
    refused = [held("AAPL")]
    quarantine.settle([DAY], refused, set(), NOW)
    still, _ = quarantine.sift(refused)
    quarantine.release(DAY, ["AAPL"], "1")
    quarantine.settle([DAY], still, set(), LATER)
    assert states(quarantine) == {"AAPL": RELEASED}


@pytest.mark.parametrize(
    ("day", "items", "message"),
    [
        (DAY, ["NOPE", "AAPL"], "NOPE not in quarantine; held are AAPL, MSFT"),
        ("2026-03-21", ["AAPL"], "AAPL not in quarantine; held are none"),
        (DAY, [], "no item to release"),
        ("../../etc", ["AAPL"], "cannot name an asset or a partition"),
    ],
)
def test_releasing_what_is_not_held_is_an_error(
    store: ParquetStore, quarantine: Quarantine, day: str, items: list[str], message: str
) -> None:
    quarantine.settle([DAY], [held("AAPL"), held("MSFT", formless=True)], set(), NOW)
    before = file_of(store).read_bytes()
    with pytest.raises(BadConfigurationError, match=message):
        quarantine.release(day, items, "1")
    assert file_of(store).read_bytes() == before
    assert store.list_partitions(ASSET) == []


def test_a_formless_row_cannot_be_released_nor_one_with_it(
    store: ParquetStore, quarantine: Quarantine
) -> None:
    quarantine.settle([DAY], [held("AAPL"), held("MSFT", formless=True)], set(), NOW)
    with pytest.raises(BadDataError, match=r"MSFT cannot be released.*correct them at the source"):
        quarantine.release(DAY, ["AAPL", "MSFT"], "1")
    assert store.list_partitions(ASSET) == []
    assert states(quarantine) == {"AAPL": HELD, "MSFT": HELD}


def test_an_asset_without_a_dataset_is_an_error(store: ParquetStore) -> None:
    with pytest.raises(BadConfigurationError, match="no dataset is stored for 'us/nothing'"):
        Quarantine(store, "us/nothing")


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"close": float("inf")}, "close has a wrong type"),
        ({"close": np.float64("-inf")}, "close has a wrong type"),
        ({"close": float("nan")}, "close breaks not_nullable"),
        ({"close": None}, "close breaks not_nullable"),
        ({"volume": pd.NA}, "volume has a wrong type"),
        ({"volume": -5}, "volume breaks greater_than_or_equal_to"),
        ({"close": Decimal("1.5")}, "close has a wrong type"),
        ({"session_date": pd.NaT}, "session_date breaks not_nullable"),
    ],
)
def test_a_row_that_the_contract_refuses_is_not_released(
    store: ParquetStore, quarantine: Quarantine, values: dict[str, Any], rule: str
) -> None:
    write_good(store, "MSFT")
    before = store.path(ASSET, DAY).read_bytes()
    quarantine.settle([DAY], [held("AAPL", **values)], set(), NOW)
    with pytest.raises(BadDataError, match=rule):
        quarantine.release(DAY, ["AAPL"], "1")
    assert store.path(ASSET, DAY).read_bytes() == before
    assert states(quarantine) == {"AAPL": HELD}


@pytest.mark.parametrize(
    "values",
    [
        {"close": np.float64(0.1 + 0.2), "volume": np.int64(2**53 + 1)},
        {"close": np.float32(1.5), "volume": np.uint32(7)},
        {"session_date": np.datetime64(DAY, "ns")},
        {"session_date": date.fromisoformat(DAY)},
        {"available_at": datetime(2026, 3, 18, 21, 0, 0, 1, tzinfo=UTC)},
        {"close": 5e-324, "open": 1.7e308},
    ],
)
def test_values_of_every_library_come_back_exactly(
    store: ParquetStore, quarantine: Quarantine, values: dict[str, Any]
) -> None:
    quarantine.settle([DAY], [held("AAPL", **values)], set(), NOW)
    quarantine.release(DAY, ["AAPL"], "1")
    stored = store.read(PRICES, ASSET, [DAY]).iloc[0]
    for name, value in values.items():
        is_time = name in ("session_date", "available_at")
        assert stored[name] == (pd.Timestamp(value) if is_time else value), name


def test_raw_values_of_any_kind_are_kept_as_valid_json(quarantine: Quarantine) -> None:
    raw = {
        "missing": [None, float("nan"), pd.NA, pd.NaT, np.datetime64("NaT")],
        "infinite": (float("inf"), np.float64("-inf")),
        "numpy": np.array([1, 2]),
        "when": pd.Timestamp("2026-03-18T01:02:03Z"),
        "deep": {1: {"x": np.bool_(True)}},
        "bytes": b"\xff",
        "decimal": Decimal("1.10"),
        "text": 'a "quote", 삼성 \ud800\n',
    }
    quarantine.settle([DAY], [Held(DAY, "x", "r", "why", "yahoo", raw)], set(), NOW)

    def refuse(name: str) -> None:
        pytest.fail(f"{name} is no JSON")

    kept = json.loads(quarantine.read([DAY])["raw"][0], parse_constant=refuse)
    assert kept == {
        "missing": [None] * 5,
        "infinite": ["inf", "-inf"],
        "numpy": [1, 2],
        "when": "2026-03-18T01:02:03+00:00",
        "deep": {"1": {"x": True}},
        "bytes": "b'\\xff'",
        "decimal": "1.10",
        "text": 'a "quote", 삼성 \ud800\n',
    }


def test_hostile_names_are_contents_and_not_paths(
    store: ParquetStore, quarantine: Quarantine, tmp_path: Path
) -> None:
    refused = [held(name) for name in HOSTILE_NAMES]
    quarantine.settle([DAY], refused, set(), NOW)
    before = file_of(store).read_bytes()
    quarantine.settle([DAY], refused, set(), LATER)
    assert file_of(store).read_bytes() == before
    items = quarantine.read([DAY])["item"].tolist()
    assert len(items) == len(HOSTILE_NAMES)
    assert set(HOSTILE_NAMES[:-2]) <= set(items)
    quarantine.release(DAY, items, "1")
    assert set(store.read(PRICES, ASSET, [DAY])["symbol"]) == set(items)
    assert quarantine.sift(refused) == ([], refused)
    written = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.*") if p.is_file()}
    assert written == {
        ".profile",
        ".locks/quarantine.us.prices",
        ".locks/us.prices",
        f"us/prices/{DAY}.parquet",
        f"quarantine/us/prices/{DAY}.parquet",
    }


@hypothesis_settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.text(max_size=8), st.floats(0, 1e12), st.integers(0, 2**62)),
        min_size=1,
        max_size=6,
        unique_by=lambda one: one[0].encode("utf-8", "backslashreplace"),
    )
)
def test_any_released_row_is_stored_as_it_was_held(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, float, int]]
) -> None:
    store = ParquetStore(tmp_path_factory.mktemp("root"), "sandbox")
    quarantine = Quarantine(store, ASSET)
    refused = [held(name, close=close, volume=volume) for name, close, volume in rows]
    quarantine.settle([DAY], refused, set(), NOW)
    items = quarantine.held([DAY])["item"].tolist()
    quarantine.release(DAY, items, "1")
    stored = store.read(PRICES, ASSET, [DAY]).set_index("symbol")
    for name, close, volume in rows:
        symbol = name.encode("utf-8", "backslashreplace").decode()
        assert stored.loc[symbol, "close"] == close
        assert stored.loc[symbol, "volume"] == volume
    assert quarantine.sift(refused) == ([], refused)
