"""The contract type: what it puts right, what it refuses, and that its two judges agree."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pandera.errors
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from quant_assets.errors import BadConfigurationError, BadDataError
from quant_assets.markets import MARKETS
from quant_assets.schemas import DATASETS, dataset_of
from quant_assets.schemas.casting import PANDAS_DTYPES
from quant_assets.schemas.contract import Dataset, arrow_schema, pandera_schema
from quant_assets_tests.unit.dataset_frames import valid_frame

PRICES = dataset_of("us/prices")
ARTICLES = dataset_of("news/articles")
WHERE = "us/prices [2024-01-02]"
UNIQUE = {dataset.name: (asset, dataset) for asset, dataset in DATASETS.items()}
every_dataset = pytest.mark.parametrize(
    ("asset", "dataset"), UNIQUE.values(), ids=[name.replace("/", "-") for name in UNIQUE]
)
Change = Callable[[Any], Any]


def _bars(**changes: Any) -> pd.DataFrame:
    """Three bars of one session; ``changes`` replace a column."""
    frame = pd.DataFrame(
        {
            "session_date": pd.Series(["2024-01-02"] * 3, dtype="datetime64[us]"),
            "symbol": ["005930.KS", "AAPL", "MSFT"],
            "open": [79800.0, 187.15, 373.86],
            "high": [80000.0, 188.44, 375.9],
            "low": [79000.0, 183.89, 366.77],
            "close": [79600.0, 185.64, 370.87],
            "volume": [17_142_847, 82_488_700, 25_258_600],
            "dividend": [0.0, 0.0, 0.75],
            "split_ratio": [1.0, 1.0, 1.0],
            "available_at": pd.Series(["2024-01-02T21:30Z"] * 3, dtype="datetime64[us, UTC]"),
        }
    )
    return frame.assign(**changes)


@every_dataset
def test_a_dataset_describes_itself(asset: str, dataset: Dataset) -> None:
    names = dataset.column_names
    assert len(set(names)) == len(names)
    assert dataset.description.strip().endswith(".")
    assert dataset.version >= 1
    assert dataset.partition_column in dataset.key
    columns = {column.name: column for column in dataset.columns}
    assert not any(columns[name].nullable for name in dataset.key)
    assert columns[dataset.partition_column].type in ("date", "timestamp")
    assert columns["available_at"].type == "timestamp"
    for column in dataset.columns:
        assert column.description.strip(), f"{asset}.{column.name}"
        assert (column.type == "timestamp") <= (column.unit in ("UTC", "")), column.name
        assert column.allowed is None or column.type == "string"
        assert column.minimum is None or column.maximum is None or column.minimum <= column.maximum


def test_each_market_has_the_same_datasets() -> None:
    own = {
        market: {a.split("/")[1] for a in DATASETS if a.startswith(market)} for market in MARKETS
    }
    assert own["us"] == own["kr"]
    assert own["us"] >= {"prices", "technical_indicators", "recommendations"}
    with pytest.raises(BadConfigurationError, match=r"us/pricez.*us/prices"):
        dataset_of("us/pricez")


@every_dataset
def test_stored_and_pandas_types_are_those_of_the_contract(asset: str, dataset: Dataset) -> None:
    schema = arrow_schema(dataset)
    assert schema.names == dataset.column_names
    assert [f.nullable for f in schema] == [c.nullable for c in dataset.columns]
    assert list(pandera_schema(dataset).columns) == dataset.column_names


@every_dataset
def test_conform_orders_sorts_and_casts(asset: str, dataset: Dataset) -> None:
    valid = valid_frame(dataset, partitions=3, rows=4, seed=1)
    shuffled = valid.sample(frac=1, random_state=2)[dataset.column_names[::-1]]
    shuffled = shuffled.assign(not_in_the_contract=1).astype(object)
    before = shuffled.copy(deep=True)
    found = dataset.conform(shuffled, asset)
    pd.testing.assert_frame_equal(found, valid)
    assert {n: str(d) for n, d in found.dtypes.items()} == {
        c.name: PANDAS_DTYPES[c.type] for c in dataset.columns
    }
    pd.testing.assert_frame_equal(shuffled, before)
    pd.testing.assert_frame_equal(dataset.conform(found, asset), valid)


@every_dataset
def test_no_rows_conform(asset: str, dataset: Dataset) -> None:
    empty = pd.DataFrame({name: [] for name in dataset.column_names})
    found = dataset.conform(empty, asset)
    assert len(found) == 0
    assert [str(d) for d in found.dtypes] == [PANDAS_DTYPES[c.type] for c in dataset.columns]


def test_an_index_of_any_kind_is_no_obstacle() -> None:
    twice_the_same = _bars().set_index(pd.Index([7, 7, 7]))
    shuffled = twice_the_same.iloc[::-1].assign(volume=lambda f: f["volume"].astype(float))
    pd.testing.assert_frame_equal(PRICES.conform(shuffled, WHERE), _bars())


@pytest.mark.parametrize(
    "dtypes",
    [
        {"volume": "Int64", "open": "Float64", "symbol": "string"},
        {"volume": "float64", "open": "float32", "symbol": "category"},
        {"volume": "uint64", "session_date": "datetime64[ns]", "symbol": object},
        {"volume": "int32", "available_at": "datetime64[s, Asia/Seoul]"},
        {"open": "double[pyarrow]", "symbol": "string[pyarrow]", "volume": "int64[pyarrow]"},
    ],
)
def test_other_dtypes_with_the_same_values_are_cast(dtypes: dict[str, Any]) -> None:
    found = PRICES.conform(_bars().astype(dtypes), WHERE)
    assert [str(d) for d in found.dtypes] == [PANDAS_DTYPES[c.type] for c in PRICES.columns]
    np.testing.assert_allclose(found["open"], _bars()["open"], rtol=1e-6)
    exact = [name for name in PRICES.column_names if name != "open"]
    pd.testing.assert_frame_equal(found[exact], _bars()[exact])


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("close", [1.0, None, 3.0], "close breaks not_nullable in 1 row"),
        ("close", [1.0, np.inf, 3.0], "close breaks finite in 1 row"),
        ("close", [1.0, -np.inf, 3.0], "finite"),
        ("close", [1.0, -0.01, 3.0], "close breaks greater_than_or_equal_to(0"),
        ("close", ["1", "two", "3"], "close has a wrong type: 3 row(s) hold no float"),
        ("close", [1.0, "2.0", 3.0], "close has a wrong type: 1 row(s) hold no float"),
        ("volume", [1, -2, 3], "volume breaks greater_than_or_equal_to(0"),
        ("volume", [1.0, 2.5, 3.0], "volume has a wrong type: 1 row(s) hold no int"),
        ("volume", [1.0, None, 3.0], "volume has a wrong type: 1 row(s) hold no int"),
        ("volume", [1.0, 2.0**70, 3.0], "volume has a wrong type: 1 row(s) hold no int"),
        ("volume", [1, 2**70, 3], "volume has a wrong type: 1 row(s) hold no int"),
        ("split_ratio", [1.0, 0.0, 1.0], "split_ratio breaks greater_than_or_equal_to(1e-06"),
        ("symbol", ["005930.KS", None, "MSFT"], "symbol breaks not_nullable in 1 row"),
        ("symbol", ["005930.KS", 5, "MSFT"], "symbol has a wrong type: 1 row(s) hold no string"),
        (
            "session_date",
            pd.to_datetime(["2024-01-02T00:00", "2024-01-02T09:30", "2024-01-02T00:00"]),
            "session_date breaks a whole day in 1 row",
        ),
        ("session_date", ["2024-01-02", "2024-01-02", "x"], "session_date has a wrong type"),
        ("session_date", [20240102, 20240102, 20240102], "session_date has a wrong type"),
        (
            "available_at",
            pd.to_datetime(["2024-01-02", "2024-01-02", "2024-01-02"]),
            "available_at has a wrong type: 3 row(s) hold no timestamp",
        ),
    ],
)
def test_a_bad_value_is_named_with_its_row(column: str, values: Any, said: str) -> None:
    frame = _bars(**{column: values})
    with pytest.raises(BadDataError) as caught:
        PRICES.conform(frame, WHERE)
    message = str(caught.value)
    assert message.startswith(f"{WHERE}: prices")
    assert said in message
    if column != "symbol" and "3 row" not in said and not isinstance(values[0], str | int):
        assert "AAPL" in message
        assert "MSFT" not in message


def test_a_missing_column_is_named() -> None:
    with pytest.raises(BadDataError, match=r"us/prices \[2024-01-02\].*close, volume missing"):
        PRICES.conform(_bars().drop(columns=["volume", "close"]), WHERE)


def test_a_column_that_occurs_twice_is_named() -> None:
    twice = pd.concat([_bars(), _bars()[["close"]]], axis=1)
    with pytest.raises(BadDataError, match=r"close occur twice"):
        PRICES.conform(twice, WHERE)


def test_nothing_is_no_frame() -> None:
    with pytest.raises(BadDataError, match=r"us/prices \[2024-01-02\].*NoneType"):
        PRICES.conform(None, WHERE)  # type: ignore[arg-type]


def test_rows_that_share_a_key_are_named() -> None:
    frame = pd.concat([_bars(), _bars().iloc[[1]].assign(close=1.0)])
    with pytest.raises(BadDataError, match="2 rows that share a key") as caught:
        PRICES.conform(frame, WHERE)
    assert "AAPL" in str(caught.value)
    assert "MSFT" not in str(caught.value)


def test_an_unknown_label_is_named() -> None:
    regime = dataset_of("macro/regime")
    frame = valid_frame(regime, partitions=3, rows=1, seed=1)
    frame.loc[1, "regime"] = "PANIC"
    with pytest.raises(BadDataError, match=r"regime breaks isin.*2024-01-03.*PANIC"):
        regime.conform(frame, "macro/regime")


def test_an_hour_that_does_not_start_on_the_hour_is_named() -> None:
    frame = valid_frame(ARTICLES, partitions=2, rows=2, seed=1)
    frame["hour"] += pd.Timedelta(minutes=30)
    with pytest.raises(BadDataError, match="hour breaks a whole hour in 4 row"):
        ARTICLES.conform(frame, "news/articles")


@pytest.mark.parametrize("values", [["True"] * 2, [1, 0], [1.0, np.nan], [True, None]])
def test_a_flag_is_true_or_false_and_nothing_like_it(values: list[Any]) -> None:
    frame = valid_frame(ARTICLES, partitions=1, rows=2, seed=1)
    frame["is_backfilled"] = values
    with pytest.raises(BadDataError, match="is_backfilled"):
        ARTICLES.conform(frame, "news/articles")


def test_every_broken_rule_is_in_one_message() -> None:
    frame = _bars(close=[1.0, -1.0, 3.0], dividend=[0.0, None, np.inf])
    with pytest.raises(BadDataError) as caught:
        PRICES.conform(frame, WHERE)
    for rule in ("close breaks greater", "dividend breaks not_nullable", "dividend breaks finite"):
        assert rule in str(caught.value)


MUTATIONS: dict[str, Change] = {
    "nothing": lambda f: f,
    "null": lambda f: f.where(np.arange(len(f)) != len(f) // 2),
    "infinite": lambda f: f.where(np.arange(len(f)) != len(f) // 2, np.inf),
    "minus infinite": lambda f: f.where(np.arange(len(f)) != 0, -np.inf),
    "low": lambda f: f.where(np.arange(len(f)) != len(f) - 1, -2),
    "zero": lambda f: f * 0,
    "high": lambda f: f.where(np.arange(len(f)) != 0, 2_000_001),
    "all null": lambda f: f.where(np.zeros(len(f), dtype=bool)),
    "later": lambda f: f + pd.Timedelta(microseconds=1),
    "other label": lambda f: f.where(np.arange(len(f)) != 0, "삼성"),
}
BY_TYPE = {
    "float": ["null", "infinite", "minus infinite", "low", "zero", "high", "all null"],
    "int": ["low", "zero", "high"],
    "string": ["null", "other label", "all null"],
    "date": ["null", "later"],
    "timestamp": ["null", "later"],
    "bool": [],
}


def _verdict(judge: Callable[[], object], refusal: type[Exception]) -> bool:
    try:
        judge()
    except refusal:
        return False
    return True


@hypothesis_settings(deadline=None, max_examples=250)
@given(
    data=st.data(),
    name=st.sampled_from(sorted(UNIQUE)),
    seed=st.integers(0, 2**16),
    rows=st.integers(0, 5),
)
def test_numpy_and_pandera_come_to_the_same_verdict(
    data: st.DataObject, name: str, seed: int, rows: int
) -> None:
    _, dataset = UNIQUE[name]
    frame = valid_frame(dataset, partitions=2, rows=rows, seed=seed)
    candidates = [c for c in dataset.columns if c.name not in dataset.key] or dataset.columns
    for column in data.draw(st.lists(st.sampled_from(candidates), max_size=2)):
        change = MUTATIONS[data.draw(st.sampled_from(["nothing", *BY_TYPE[column.type]]))]
        frame[column.name] = change(frame[column.name]).astype(PANDAS_DTYPES[column.type])
    ours = _verdict(lambda: dataset.conform(frame, "asset [partition]"), BadDataError)
    schema = pandera_schema(dataset)
    theirs = _verdict(lambda: schema.validate(frame, lazy=True), pandera.errors.SchemaErrors)
    assert ours == theirs


@hypothesis_settings(deadline=None, max_examples=80)
@given(name=st.sampled_from(sorted(UNIQUE)), seed=st.integers(0, 2**16), rows=st.integers(0, 6))
def test_what_conforms_conforms_again_unchanged(name: str, seed: int, rows: int) -> None:
    _, dataset = UNIQUE[name]
    frame = valid_frame(dataset, partitions=3, rows=rows, seed=seed)
    shuffled = frame.sample(frac=1, random_state=seed)
    pd.testing.assert_frame_equal(dataset.conform(shuffled, "asset"), frame)
