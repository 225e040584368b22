"""What the command line makes of held rows: it explains them, and it asks the vendor again."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from quant_assets.cli.explain import _row
from quant_assets.cli.plan import Planner
from quant_assets.cli.spans import Span
from quant_assets.domain.held import Held
from quant_assets.errors import BadConfigurationError
from quant_assets.io_managers.parquet_store import ParquetStore, empty_frame
from quant_assets.io_managers.quarantine import Quarantine
from quant_assets.markets import US
from quant_assets.schemas import dataset_of
from quant_assets_tests.unit.held_rows import ASSET, DAY, NEXT_DAY, NOW, held, write_good

SPAN = Span(US, (date(2026, 3, 18), date(2026, 3, 19)), date(2026, 3, 16))
PRICE_DAYS = ("2026-03-16", "2026-03-17", "2026-03-18", "2026-03-19")


@pytest.fixture
def store(tmp_path: Path) -> ParquetStore:
    return ParquetStore(tmp_path, "sandbox")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as one:
        yield one


def planned(
    store: ParquetStore, instance: dg.DagsterInstance, job: str, now: datetime = NOW
) -> list[tuple[str, str]]:
    tasks = Planner(store, instance, now).fetching([SPAN], date(2026, 3, 20))
    return [(task.first, task.last) for task in tasks if task.job == job]


def done(
    store: ParquetStore, instance: dg.DagsterInstance, asset: str, keys: tuple[str, ...]
) -> None:
    """Store partitions and let Dagster know of them."""
    for key in keys:
        if asset == ASSET:
            write_good(store, "MSFT", day=key)
        else:
            store.write(dataset_of(asset), asset, key, empty_frame(dataset_of(asset)), "1")
        event = dg.AssetMaterialization(asset_key=asset.split("/"), partition=key)
        instance.report_runless_asset_event(event)


def test_a_held_symbol_is_explained(store: ParquetStore) -> None:
    write_good(store, "MSFT")
    Quarantine(store, ASSET).settle([DAY], [held("AAPL")], set(), NOW)
    with pytest.raises(BadConfigurationError, match=r"AAPL .* is held in quarantine \(unit_error"):
        _row(store, ASSET, DAY, "AAPL")
    with pytest.raises(BadConfigurationError, match=r"no row of FOO .* its symbols are MSFT"):
        _row(store, ASSET, DAY, "FOO")


def test_a_session_with_held_rows_is_asked_again_for_a_week(
    store: ParquetStore, instance: dg.DagsterInstance
) -> None:
    """With the session after it, which bears the split of a held row."""
    done(store, instance, ASSET, PRICE_DAYS)
    assert planned(store, instance, "us_price") == []
    Quarantine(store, ASSET).settle([DAY], [held("AAPL")], set(), NOW)
    assert planned(store, instance, "us_price") == [(DAY, NEXT_DAY)]
    later = datetime(2026, 4, 20, tzinfo=UTC)
    assert planned(store, instance, "us_price", later) == []


@pytest.mark.parametrize(("ask_again", "expected"), [(True, [PRICE_DAYS[1:3]]), (False, [])])
def test_a_symbol_without_an_answer_is_asked_for_as_long_as_it_takes(
    store: ParquetStore,
    instance: dg.DagsterInstance,
    ask_again: bool,
    expected: list[tuple[str, str]],
) -> None:
    """But not for a bar that did not come within a week: the symbol was halted."""
    done(store, instance, ASSET, PRICE_DAYS)
    raw = {"first": "2026-03-17", "last": DAY, "ask_again": ask_again}
    note = Held(DAY, "AAPL", "no_answer", "failed: HTTP 500", "yahoo", raw)
    Quarantine(store, ASSET).settle([DAY], [note], set(), NOW)
    later = datetime(2026, 4, 20, tzinfo=UTC)
    assert planned(store, instance, "us_price", later) == expected


def test_release_days_with_a_failed_series_are_asked_again_unless_it_was_refused(
    store: ParquetStore, instance: dg.DagsterInstance
) -> None:
    first, last = "2024-01-08", "2026-03-18"
    days = tuple(d.strftime("%Y-%m-%d") for d in pd.date_range(first, last))
    done(store, instance, "macro/observations", days)
    late = datetime(2026, 3, 20, 12, tzinfo=UTC)
    before = planned(store, instance, "macro_sync", late)
    quarantine = Quarantine(store, "macro/observations")
    for item, ask_again in (("DGS10", True), ("NOSUCH", False)):
        gap = {"first": "2026-03-10", "last": "2026-03-12", "ask_again": ask_again}
        note = Held("2026-03-12", item, "series_failed", "HTTP 500", "fred", gap)
        quarantine.settle(["2026-03-12"], [note], set(), NOW)
        if ask_again:
            assert ("2026-03-10", "2026-03-12") in planned(store, instance, "macro_sync", late)
            quarantine.settle(["2026-03-12"], [], {("2026-03-12", item)}, NOW)
        assert planned(store, instance, "macro_sync", late) == before
