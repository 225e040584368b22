"""The store: round trips, hashes, what is there and what is not, and safe names."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from quant_assets.errors import BadConfigurationError, MissingPartitionError
from quant_assets.io_managers.parquet_store import ParquetStore, content_hash, empty_frame
from quant_assets.io_managers.partitioned_parquet import split_by_partition
from quant_assets.schemas import DATASETS, dataset_of
from quant_assets.schemas.contract import Dataset
from quant_assets_tests.unit.dataset_frames import partition_keys, valid_frame

ASSET = "us/prices"
PRICES = dataset_of(ASSET)
ARTICLES = dataset_of("news/articles")
DAYS = partition_keys(PRICES, 5)


@pytest.fixture
def store(tmp_path: Path) -> ParquetStore:
    return ParquetStore(tmp_path / "data", "sandbox")


def _write_days(store: ParquetStore, seed: int = 1) -> pd.DataFrame:
    frame = valid_frame(PRICES, partitions=len(DAYS), rows=6, seed=seed)
    store.write_parts(PRICES, ASSET, frame, split_by_partition(PRICES, frame), "1")
    return frame


@pytest.mark.parametrize("asset", sorted(DATASETS))
@pytest.mark.parametrize("rows", [0, 1, 25])
def test_round_trip_of_every_dataset(store: ParquetStore, asset: str, rows: int) -> None:
    dataset = dataset_of(asset)
    frame = valid_frame(dataset, partitions=1, rows=rows, seed=rows + 3)
    (key,) = partition_keys(dataset, 1)
    written = store.write(dataset, asset, key, frame, "v7")
    pd.testing.assert_frame_equal(store.read(dataset, asset, [key]), frame)
    assert written == store.info(asset, key)
    assert (written.rows, written.code_version, written.profile) == (len(frame), "v7", "sandbox")
    assert written.content_hash == content_hash(dataset, frame)
    assert written.schema_version == dataset.version
    assert written.bytes == Path(written.address).stat().st_size


@hypothesis_settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    texts=st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=12), min_size=1, max_size=6
    ),
    numbers=st.lists(st.floats(min_value=0, allow_infinity=False), min_size=6, max_size=6),
    volumes=st.lists(st.integers(0, 2**63 - 1), min_size=6, max_size=6),
)
def test_any_text_and_number_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[str],
    numbers: list[float],
    volumes: list[int],
) -> None:
    store = ParquetStore(tmp_path_factory.mktemp("data"), "sandbox")
    frame = valid_frame(PRICES, partitions=1, rows=len(texts), seed=1)
    frame["open"], frame["volume"] = numbers[: len(texts)], volumes[: len(texts)]
    frame["symbol"] = pd.Series([f"{n}{text}" for n, text in enumerate(texts)], dtype="str")
    store.write(PRICES, ASSET, DAYS[0], frame, "1")
    pd.testing.assert_frame_equal(store.read(PRICES, ASSET, [DAYS[0]]), frame, check_exact=True)


def test_the_same_rows_make_the_same_bytes(store: ParquetStore) -> None:
    _write_days(store)
    first = {key: store.path(ASSET, key).read_bytes() for key in DAYS}
    _write_days(store)
    assert {key: store.path(ASSET, key).read_bytes() for key in DAYS} == first
    alone = valid_frame(PRICES, partitions=len(DAYS), rows=6, seed=1)
    part = alone[alone["session_date"] == DAYS[2]].reset_index(drop=True)
    store.write(PRICES, ASSET, DAYS[2], part, "1")
    assert store.path(ASSET, DAYS[2]).read_bytes() == first[DAYS[2]]


def test_a_range_is_its_partitions_one_after_the_other(store: ParquetStore) -> None:
    frame = _write_days(store)
    single = [store.read(PRICES, ASSET, [key]) for key in DAYS]
    ranged = store.read(PRICES, ASSET, DAYS)
    pd.testing.assert_frame_equal(ranged, pd.concat(single, ignore_index=True))
    pd.testing.assert_frame_equal(ranged, frame)
    pd.testing.assert_frame_equal(store.read(PRICES, ASSET, DAYS[::-1]), frame)
    pd.testing.assert_frame_equal(store.read(PRICES, ASSET, []), empty_frame(PRICES))


def test_a_partition_of_a_range_says_the_same_of_itself_as_one_alone(store: ParquetStore) -> None:
    frame = _write_days(store)
    for key in DAYS:
        rows = frame[frame["session_date"] == key]
        assert store.info(ASSET, key).content_hash == content_hash(PRICES, rows)
        assert store.info(ASSET, key).rows == 6


def test_the_footer_says_what_the_file_is(store: ParquetStore) -> None:
    _write_days(store)
    footer = pq.read_metadata(store.path(ASSET, DAYS[0]))
    facts = {k.decode(): v.decode() for k, v in footer.metadata.items() if k.startswith(b"quant.")}
    assert facts == {
        "quant.dataset": "prices",
        "quant.schema_version": "1",
        "quant.code_version": "1",
        "quant.content_hash": store.info(ASSET, DAYS[0]).content_hash,
        "quant.asset": ASSET,
        "quant.partition": DAYS[0],
        "quant.profile": "sandbox",
    }
    assert footer.row_group(0).column(0).compression == "ZSTD"


@pytest.mark.parametrize("name", sorted({dataset.name for dataset in DATASETS.values()}))
def test_the_hash_changes_with_any_value(name: str) -> None:
    dataset = next(d for d in DATASETS.values() if d.name == name)
    frame = valid_frame(dataset, partitions=3, rows=3, seed=5)
    changes = {
        "float": lambda v: v + 1e-9 + abs(v) * 1e-9,
        "int": lambda v: v + 1,
        "bool": lambda v: not v,
        "string": lambda v: v + " ",
        "date": lambda v: v + pd.Timedelta(days=1),
        "timestamp": lambda v: v + pd.Timedelta(microseconds=1),
    }
    hashes = {content_hash(dataset, frame)}
    expected = 1
    for column in dataset.columns:
        place = frame.columns.get_loc(column.name)
        for row in range(len(frame)):
            if pd.isna(frame.iloc[row, place]):
                continue
            changed = frame.copy()
            changed.iloc[row, place] = changes[column.type](frame.iloc[row, place])
            hashes.add(content_hash(dataset, changed))
            expected += 1
    assert len(hashes) == expected > len(frame)


def test_the_hash_tells_texts_apart_that_run_into_each_other() -> None:
    frame = valid_frame(ARTICLES, partitions=1, rows=2, seed=1)
    variants = [
        ("a", "b"), ("ab", ""), ("", "ab"), ("a\x1fb", ""), ("a", "\x1fb"), ("\x00", "x"),
        ("x", "\x00"),
    ]  # fmt: skip
    hashes = {content_hash(ARTICLES, frame.assign(title=list(pair))) for pair in variants}
    assert len(hashes) == len(variants)
    assert content_hash(ARTICLES, frame) != content_hash(ARTICLES, frame.iloc[:1])
    scores = dataset_of("us/technical_score")
    rows = valid_frame(scores, partitions=1, rows=1, seed=1)
    missing = content_hash(scores, rows.assign(reason=pd.Series([None], dtype="str")))
    assert missing != content_hash(scores, rows.assign(reason="\x00"))
    assert missing != content_hash(scores, rows.assign(reason=""))


@pytest.mark.parametrize(
    "dtypes",
    [
        {"symbol": pd.StringDtype("python", na_value=np.nan)},
        {"symbol": object, "volume": "Int64", "open": "Float64"},
        {"symbol": "string[pyarrow]", "volume": "int64[pyarrow]", "close": "double[pyarrow]"},
        {"session_date": "datetime64[ns]", "available_at": "datetime64[ns, Asia/Seoul]"},
    ],
)
def test_the_hash_is_of_the_values_and_not_of_their_dtypes(dtypes: dict[str, Any]) -> None:
    frame = valid_frame(PRICES, partitions=1, rows=5, seed=2)
    assert content_hash(PRICES, frame.astype(dtypes)) == content_hash(PRICES, frame)


def test_the_hash_knows_one_zero_one_nan_and_no_index() -> None:
    scores = dataset_of("us/technical_score")
    frame = valid_frame(scores, partitions=1, rows=2, seed=2).assign(trend=[0.0, np.nan])
    other_nan = np.array([-0.0, np.uint64(0xFFF8000000000001).view(np.float64)])
    same = frame.assign(trend=other_nan).set_index(pd.Index([9, 9]))
    assert content_hash(scores, same) == content_hash(scores, frame)


def test_missing_partitions_are_named(store: ParquetStore) -> None:
    _write_days(store)
    assert store.missing(ASSET, ["2024-02-01", *DAYS]) == ["2024-02-01"]
    with pytest.raises(MissingPartitionError, match=r"us/prices.*2024-02-01.*materialize") as one:
        store.read(PRICES, ASSET, [DAYS[0], "2024-02-01"])
    assert DAYS[0] not in str(one.value)
    many = [f"2024-03-{day:02d}" for day in range(1, 31)]
    with pytest.raises(MissingPartitionError, match=r"2024-03-01.*2024-03-30 \(30 in all\)"):
        store.read(PRICES, ASSET, many)
    with pytest.raises(MissingPartitionError, match="2024-02-01"):
        store.info(ASSET, "2024-02-01")


def test_load_gives_what_is_there_and_says_what_is_not(store: ParquetStore) -> None:
    frame = _write_days(store)
    loaded = store.load(PRICES, ASSET, ["2023-12-29", *DAYS[:2], "2024-02-01"])
    assert loaded.present == tuple(DAYS[:2])
    assert loaded.missing == ("2023-12-29", "2024-02-01")
    pd.testing.assert_frame_equal(loaded.frame, frame.iloc[:12])
    nothing = store.load(PRICES, "kr/prices", DAYS)
    assert (len(nothing.frame), nothing.present) == (0, ())


def test_list_and_delete(store: ParquetStore) -> None:
    assert store.list_partitions(ASSET) == []
    _write_days(store)
    (store.path(ASSET, DAYS[0]).parent / ".2024-02-01.parquet.1.abc.tmp").write_bytes(b"half")
    assert store.list_partitions(ASSET) == DAYS
    assert store.delete(ASSET, [DAYS[1], "2024-02-01"]) == 1
    assert store.list_partitions(ASSET) == [DAYS[0], *DAYS[2:]]
    assert store.missing(ASSET, DAYS) == [DAYS[1]]


@pytest.mark.parametrize(
    ("asset", "partition"),
    [
        ("../prices", "2024-01-02"),
        ("us/../../prices", "2024-01-02"),
        ("/etc", "2024-01-02"),
        ("us//prices", "2024-01-02"),
        ("us/prices", "../2024-01-02"),
        ("us/prices", ".hidden"),
        ("us/prices", "2024/01/02"),
        ("us/prices", "a\n"),
        ("us/prices", ""),
        ("us/prices", "x\x00"),
    ],
)
def test_no_name_leads_out_of_the_store(
    store: ParquetStore, tmp_path: Path, asset: str, partition: str
) -> None:
    frame = valid_frame(PRICES, partitions=1, rows=1, seed=1)
    calls = [
        lambda: store.path(asset, partition),
        lambda: store.write(PRICES, asset, partition, frame, "1"),
        lambda: store.info(asset, partition),
        lambda: store.delete(asset, [partition]),
    ]
    if asset != ASSET:
        calls += [lambda: store.list_partitions(asset), lambda: store.missing(asset, [partition])]
    for call in calls:
        with pytest.raises(BadConfigurationError, match="cannot name"):
            call()
    assert list(tmp_path.rglob("*")) == []


def _dataset_with_version(version: int) -> Dataset:
    return replace(PRICES, version=version)


def test_the_schema_version_is_in_footer_and_hash(store: ParquetStore) -> None:
    frame = valid_frame(PRICES, partitions=1, rows=2, seed=1)
    first = store.write(PRICES, ASSET, DAYS[0], frame, "1")
    second = store.write(_dataset_with_version(2), ASSET, DAYS[0], frame, "1")
    assert (first.schema_version, second.schema_version) == (1, 2)
    assert store.info(ASSET, DAYS[0]).schema_version == 2
    assert first.content_hash != second.content_hash
