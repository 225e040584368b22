"""The IO manager inside real runs of tiny assets that carry real dataset keys."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from quant_assets.cli.inputs import decision_hours
from quant_assets.errors import MissingPartitionError
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.io_managers.partitioned_parquet import PartitionedParquetIOManager
from quant_assets.markets import MARKETS, US, Market
from quant_assets.partitions import (
    decision_window,
    hour_partitions,
    look_back,
    release_day_partitions,
    session_partitions,
)
from quant_assets.schemas import dataset_of
from quant_assets.schemas.loaded import HISTORY, LoadedPartitions
from quant_assets_tests.unit.dataset_frames import valid_frame

SESSIONS = ["2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05", "2024-01-08"]
HOURS = [f"2024-01-02-{hour:02d}" for hour in range(24)]
PRICES = dataset_of("us/prices")
PER_SESSION = session_partitions(US)
PER_HOUR = hour_partitions(date(2024, 1, 1))
PER_DAY = release_day_partitions()
TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


@pytest.fixture
def store(tmp_path: Path) -> ParquetStore:
    return ParquetStore(tmp_path, "sandbox")


def _run(
    store: ParquetStore, asset: dg.AssetsDefinition, first: str, last: str | None = None
) -> dg.ExecuteInProcessResult:
    """One run of ``asset`` over a range of partitions; what it reads is stored already."""
    upstreams = [
        dg.AssetSpec(["us", "prices"], partitions_def=PER_SESSION),
        dg.AssetSpec(["news", "articles"], partitions_def=PER_HOUR),
    ]
    return dg.materialize(
        [asset, *(spec for spec in upstreams if spec.key != asset.key)],
        partition_key=first if last is None else None,
        tags=None if last is None else dict(zip(TAGS, (first, last), strict=True)),
        resources={
            "io_manager": PartitionedParquetIOManager(root=str(store.root), profile="sandbox")
        },
        instance=dg.DagsterInstance.ephemeral(),
    )


def _source(
    key: str, partitions: dg.PartitionsDefinition, make: Callable[[Sequence[str]], Any]
) -> dg.AssetsDefinition:
    """An asset that stores what ``make`` returns for the run's partitions."""

    @dg.asset(
        key=key.split("/"),
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version="v3",
    )
    def source(context: dg.AssetExecutionContext) -> Any:
        return make(sorted(context.partition_keys))

    return source


def _bars(keys: Sequence[str]) -> pd.DataFrame:
    frame = valid_frame(PRICES, partitions=len(keys), rows=3, seed=4)
    dates = pd.Series(pd.to_datetime(list(keys))).astype("datetime64[us]")
    frame["session_date"] = dates.repeat(3).reset_index(drop=True)
    return frame


def _stored(store: ParquetStore, keys: Sequence[str]) -> None:
    frame = _bars(keys)
    for n, key in enumerate(keys):
        rows = frame.iloc[3 * n : 3 * n + 3].reset_index(drop=True)
        store.write(PRICES, "us/prices", key, rows, "v3")


def test_a_range_stores_each_partition_by_itself(store: ParquetStore) -> None:
    asset = _source("us/prices", PER_SESSION, lambda keys: _bars(keys).sample(frac=1))
    result = _run(store, asset, SESSIONS[0], SESSIONS[-1])
    assert store.list_partitions("us/prices") == SESSIONS
    expected = _bars(SESSIONS)
    pd.testing.assert_frame_equal(store.read(PRICES, "us/prices", SESSIONS), expected)
    for key in SESSIONS:
        assert store.info("us/prices", key).rows == 3
        assert store.info("us/prices", key).code_version == "v3"
    events = result.asset_materializations_for_node("us__prices")
    assert [event.partition for event in events] == SESSIONS
    assert events[0].metadata["profile"].value == "sandbox"
    assert events[0].metadata["rows_in_run"].value == 15


def test_one_partition_says_what_it_holds(store: ParquetStore) -> None:
    result = _run(store, _source("us/prices", PER_SESSION, _bars), SESSIONS[1])
    info = store.info("us/prices", SESSIONS[1])
    (event,) = result.asset_materializations_for_node("us__prices")
    metadata = {name: value.value for name, value in event.metadata.items()}
    assert metadata["content_hash"] == info.content_hash
    assert metadata["path"] == info.address
    assert metadata["dagster/partition_row_count"] == 3
    assert metadata["size_bytes"] == info.bytes


def test_a_run_again_writes_the_same_bytes(store: ParquetStore) -> None:
    asset = _source("us/prices", PER_SESSION, _bars)
    _run(store, asset, SESSIONS[0], SESSIONS[-1])
    first = {key: store.path("us/prices", key).read_bytes() for key in SESSIONS}
    _run(store, asset, SESSIONS[0], SESSIONS[-1])
    assert first == {key: store.path("us/prices", key).read_bytes() for key in SESSIONS}


def test_rows_of_other_partitions_are_refused_and_nothing_is_stored(store: ParquetStore) -> None:
    asset = _source("us/prices", PER_SESSION, lambda keys: _bars([*keys, "2024-02-01"]))
    with pytest.raises(dg.Failure, match=r"us/prices \[2024-01-02\].*outside.*2024-02-01"):
        _run(store, asset, SESSIONS[0])
    assert store.list_partitions("us/prices") == []


def test_partitions_without_rows_fail_after_the_others_are_stored(store: ParquetStore) -> None:
    asset = _source("us/prices", PER_SESSION, lambda keys: _bars([keys[0], keys[2]]))
    with pytest.raises(
        dg.Failure, match=r"us/prices \[2024-01-02 \.\. 2024-01-05\].*2024-01-03.*2024-01-05"
    ):
        _run(store, asset, SESSIONS[0], SESSIONS[3])
    assert store.list_partitions("us/prices") == [SESSIONS[0], SESSIONS[2]]


def test_rows_that_break_the_contract_are_refused_whole(store: ParquetStore) -> None:
    asset = _source("us/prices", PER_SESSION, lambda keys: _bars(keys).assign(close=-1.0))
    with pytest.raises(dg.Failure, match=r"us/prices \[2024-01-02 \.\. 2024-01-04\].*close"):
        _run(store, asset, SESSIONS[0], SESSIONS[2])
    assert store.list_partitions("us/prices") == []


def test_an_asset_that_returns_nothing_is_refused(store: ParquetStore) -> None:
    asset = _source("us/prices", PER_SESSION, lambda keys: None)
    with pytest.raises(dg.Failure, match=r"us/prices \[2024-01-02\].*NoneType"):
        _run(store, asset, SESSIONS[0])


def test_hours_without_news_are_stored_as_no_rows(store: ParquetStore) -> None:
    articles = dataset_of("news/articles")
    only_at_22 = valid_frame(articles, partitions=1, rows=4, seed=1)
    asset = _source("news/articles", PER_HOUR, lambda keys: only_at_22)
    _run(store, asset, HOURS[20], HOURS[23])
    assert store.list_partitions("news/articles") == HOURS[20:24]
    assert [store.info("news/articles", key).rows for key in HOURS[20:24]] == [0, 0, 4, 0]
    pd.testing.assert_frame_equal(store.read(articles, "news/articles", HOURS[20:24]), only_at_22)


def test_a_run_without_any_news_stores_every_hour(store: ParquetStore) -> None:
    articles = dataset_of("news/articles")
    asset = _source("news/articles", PER_HOUR, lambda keys: valid_frame(articles, 0, 0, 1))
    _run(store, asset, HOURS[0], HOURS[2])
    assert [store.info("news/articles", key).rows for key in HOURS[:3]] == [0, 0, 0]


def _reader(
    seen: list[Any],
    *,
    mapping: dg.PartitionMapping | None = None,
    metadata: dict[str, Any] | None = None,
    annotation: Any = Any,
    upstream: str = "us/prices",
) -> dg.AssetsDefinition:
    """An asset that notes its input and stores nothing of interest."""

    def technical_score(context: dg.AssetExecutionContext, prices: Any) -> Any:
        seen.append(prices)
        return valid_frame(dataset_of("us/technical_score"), 1, 2, 1).assign(
            session_date=pd.Timestamp(context.partition_key)
        )

    technical_score.__annotations__["prices"] = annotation
    return dg.asset(
        key=["us", "technical_score"],
        partitions_def=PER_SESSION,
        ins={
            "prices": dg.AssetIn(
                key=upstream.split("/"), partition_mapping=mapping, metadata=metadata
            )
        },
    )(technical_score)


def test_an_input_is_read_over_its_look_back(store: ParquetStore) -> None:
    _stored(store, SESSIONS)
    seen: list[Any] = []
    _run(store, _reader(seen, mapping=look_back(2)), SESSIONS[4])
    (frame,) = seen
    assert frame["session_date"].dt.strftime("%Y-%m-%d").unique().tolist() == SESSIONS[2:]


def test_a_missing_partition_is_named_with_who_needs_it(store: ParquetStore) -> None:
    _stored(store, [SESSIONS[0], SESSIONS[2]])
    with pytest.raises(
        MissingPartitionError, match=r"us/prices.*2024-01-03.*needed by us__technical_score"
    ):
        _run(store, _reader([], mapping=look_back(2)), SESSIONS[2])


def test_a_history_may_start_late_but_has_no_holes(store: ParquetStore) -> None:
    _stored(store, SESSIONS[2:])
    seen: list[Any] = []
    reader = _reader(seen, mapping=look_back(4), metadata={HISTORY: True})
    _run(store, reader, SESSIONS[4])
    assert seen[0]["session_date"].dt.strftime("%Y-%m-%d").unique().tolist() == SESSIONS[2:]
    store.delete("us/prices", [SESSIONS[3]])
    with pytest.raises(MissingPartitionError, match=SESSIONS[3]):
        _run(store, reader, SESSIONS[4])


@pytest.mark.parametrize("present", [[], SESSIONS[:4]])
def test_the_last_partition_of_a_history_is_always_needed(
    store: ParquetStore, present: list[str]
) -> None:
    _stored(store, present)
    reader = _reader([], mapping=look_back(4), metadata={HISTORY: True})
    with pytest.raises(MissingPartitionError, match=SESSIONS[4]) as caught:
        _run(store, reader, SESSIONS[4])
    assert SESSIONS[0] not in str(caught.value)


def test_loaded_partitions_say_what_is_there(store: ParquetStore) -> None:
    articles = dataset_of("news/articles")
    frame = valid_frame(articles, partitions=2, rows=2, seed=1)
    store.write(articles, "news/articles", HOURS[22], frame.iloc[:2], "1")
    store.write(articles, "news/articles", HOURS[23], frame.iloc[2:].reset_index(drop=True), "1")
    seen: list[LoadedPartitions] = []
    reader = _reader(
        seen, mapping=decision_window(), annotation=LoadedPartitions, upstream="news/articles"
    )
    _run(store, reader, SESSIONS[1])
    (loaded,) = seen
    assert loaded.present == (HOURS[22], HOURS[23])
    # From the UTC day two sessions before (before the first hour) to that of the session after.
    assert loaded.missing[0] == "2024-01-01-00"
    assert loaded.missing[-1] == "2024-01-04-23"
    assert len(loaded.missing) == 94
    pd.testing.assert_frame_equal(loaded.frame, frame)


def test_values_can_be_loaded_outside_of_a_run(store: ParquetStore) -> None:
    _stored(store, SESSIONS[:1])
    defs = dg.Definitions(
        assets=[_source("us/prices", PER_SESSION, _bars)],
        resources={
            "io_manager": PartitionedParquetIOManager(root=str(store.root), profile="sandbox")
        },
    )
    key = dg.AssetKey(["us", "prices"])
    with dg.DagsterInstance.ephemeral() as instance:
        frame = defs.load_asset_value(key, partition_key=SESSIONS[0], instance=instance)
        pd.testing.assert_frame_equal(frame, _bars(SESSIONS[:1]))
        with pytest.raises(MissingPartitionError, match=rf"us/prices.*{SESSIONS[1]}"):
            defs.load_asset_value(key, partition_key=SESSIONS[1], instance=instance)


def test_an_asset_without_a_dataset_is_refused(store: ParquetStore) -> None:
    asset = _source("us/guesses", PER_SESSION, _bars)
    with pytest.raises(Exception, match=r"us/guesses.*us/prices"):
        _run(store, asset, SESSIONS[0])


def test_release_days_are_partitions_too(store: ParquetStore) -> None:
    dataset = dataset_of("macro/observations")
    frame = valid_frame(dataset, partitions=2, rows=3, seed=1)
    asset = _source("macro/observations", PER_DAY, lambda keys: frame)
    _run(store, asset, "2024-01-02", "2024-01-05")
    found = [store.info("macro/observations", f"2024-01-0{day}").rows for day in range(2, 6)]
    assert found == [3, 3, 0, 0]


@pytest.mark.parametrize("market", MARKETS.values())
def test_every_hour_whose_news_may_become_known_in_the_window_is_loaded(market: Market) -> None:
    """Also those before it: Korea opens in the first minute of its day."""
    hours, sessions = hour_partitions(date(2026, 1, 1)), session_partitions(market)
    for session in market.sessions(date(2026, 2, 9), date(2026, 3, 20)):
        found = decision_window().get_upstream_mapped_partitions_result_for_partitions(
            sessions.subset_with_partition_keys([session.isoformat()]),
            sessions,
            hours,
            current_time=datetime(2026, 6, 1, tzinfo=UTC),
        )
        assert set(decision_hours(market, session)) <= set(
            found.partitions_subset.get_partition_keys()
        )
