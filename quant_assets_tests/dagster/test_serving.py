"""The serving tables in whole runs, and the commands that compare and mend them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from quant_assets.assets import serving as serving_assets
from quant_assets.cli import serving as commands
from quant_assets.cli.doctor import serving_checks
from quant_assets.errors import BadConfigurationError
from quant_assets.io_managers.serving import serving_database
from quant_assets.io_managers.serving_tables import SERVED
from quant_assets.policies import VENDOR_RETRY
from quant_assets.settings import Settings
from quant_assets_tests.integration.quant_processes import Home
from quant_assets_tests.platform import Platform, failure, platform
from quant_assets_tests.serving import run

FIRST, LAST = "2026-03-17", "2026-03-19"
SQLITE = "sqlite:///serving.db"
TRADED = [f"us/{name}" for name in ("signals", "orders", "fills", "positions")]


@contextmanager
def serving_platform(home: Path, url: str, *symbols: str) -> Iterator[Platform]:
    """A platform with tables; runs take the address, which may hold a password, from outside."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUANT_SERVING_URL", url)
        with platform(home, us=symbols) as p:
            yield p


@pytest.fixture(scope="module")
def traded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Three sessions of recommendations and of the paper book, served to SQLite."""
    with serving_platform(tmp_path_factory.mktemp("served"), SQLITE, "AAPL", "MSFT") as p:
        p.history("us", "2025-11-03", LAST)
        p.run("us_combined_analysis", FIRST, LAST)
        p.run("us_paper_trading", FIRST, LAST)
        yield p


def stored_and_served(p: Platform, source: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    served = SERVED[source]
    keys = p.store.list_partitions(source)
    return p.read(source), serving_database(p.settings).read(served, keys)


@pytest.mark.parametrize("source", ["us/recommendations", *TRADED])
def test_a_run_serves_what_it_stores(traded: Platform, source: str) -> None:
    stored, served = stored_and_served(traded, source)
    assert not stored.empty
    pd.testing.assert_frame_equal(served, stored)


def test_a_run_says_what_it_served(traded: Platform) -> None:
    result = traded.run("us_combined_analysis", LAST)
    (event,) = [
        event
        for event in result.get_asset_materialization_events()
        if event.asset_key is not None
        and event.asset_key.to_user_string() == "us/recommendations_table"
    ]
    facts = event.step_materialization_data.materialization.metadata
    assert facts["table"].value == "recommendations"
    assert facts["rows_in_run"].value == 2
    assert facts["rows_written"].value == 0, "the same rows again are no change"
    assert str(facts["database"].value).startswith("sqlite:///")


def test_the_tables_are_up_to_date_and_say_so(
    traded: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.show_status(traded.settings, "table")
    assert "us/recommendations" in capsys.readouterr().out
    assert commands.show_status(traded.settings, "json")
    told = {row["asset"]: row for row in json.loads(capsys.readouterr().out)["tables"]}
    assert told["us/fills"] | {"table": ""} == {
        "table": "", "asset": "us/fills", "stored": 3, "last": LAST, "to_serve": 0, "to_remove": 0,
    }  # fmt: skip


def test_sync_mends_a_table_that_lost_rows_and_one_that_never_had_them(
    traded: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    address = traded.settings.serving_address
    run(
        address,
        "DELETE FROM fills",
        "DELETE FROM served_partitions WHERE table_name = 'fills'",
        "INSERT INTO served_partitions SELECT table_name, scope, '2026-01-02', content_hash, "
        "row_count, served_at FROM served_partitions WHERE table_name = 'orders' "
        "AND partition_key = '2026-03-19'",
    )
    assert not commands.show_status(traded.settings, "table")
    assert "`quant serving sync` brings them up to date" in capsys.readouterr().out
    commands.synchronise(traded.settings, None, None, is_dry=True)
    said = capsys.readouterr().out
    assert "us/fills -> fills: 3 partition(s) to serve, 0 to remove" in said
    assert "us/orders -> orders: 0 partition(s) to serve, 1 to remove" in said
    assert not commands.show_status(traded.settings, "table")
    commands.synchronise(traded.settings, None, None, is_dry=False)
    assert commands.show_status(traded.settings, "table")
    stored, served = stored_and_served(traded, "us/fills")
    pd.testing.assert_frame_equal(served, stored)


def test_sync_removes_nothing_where_the_data_are_not_mounted(
    traded: Platform, tmp_path: Path
) -> None:
    elsewhere = traded.settings.model_copy(update={"data_root": tmp_path / "elsewhere"})
    with pytest.raises(BadConfigurationError, match=r"nothing is stored in .*mounted"):
        commands.synchronise(elsewhere, None, None, is_dry=False)
    assert commands.show_status(traded.settings, "table")


def test_a_database_that_is_down_costs_the_table_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_assets, "VENDOR_RETRY", VENDOR_RETRY._replace(delay=0.01))
    url = "postgresql://quant:s3cret@127.0.0.1:1/quant"
    with serving_platform(tmp_path, url, "AAPL") as p:
        p.history("us", "2025-11-03", LAST)
        result = p.run("us_combined_analysis", LAST, check=False)
        assert not result.success
        assert "us__recommendations_table" in failure(result)
        assert "s3cret" not in failure(result)
        assert p.read("us/recommendations", LAST)["symbol"].tolist() == ["AAPL"]
        retries = [e for e in result.all_events if e.event_type_value == "STEP_UP_FOR_RETRY"]
        assert len(retries) == VENDOR_RETRY.max_retries


def test_the_doctor_looks_and_changes_nothing(traded: Platform, tmp_path: Path) -> None:
    good = serving_checks.tables(traded.settings)
    assert (good.status, good.what.rpartition(": ")[2]) == ("ok", "schema 0001")
    unset = Settings(QUANT_HOME=str(tmp_path), QUANT_SERVING_URL="")
    assert serving_checks.tables(unset).status == "skip"
    fresh = Settings(QUANT_HOME=str(tmp_path), QUANT_SERVING_URL=SQLITE)
    assert "the first run makes them" in serving_checks.tables(fresh).what
    assert list(tmp_path.iterdir()) == []
    url = "postgresql://quant:s3cret@127.0.0.1:1/quant"
    down = serving_checks.tables(Settings(QUANT_HOME=str(tmp_path), QUANT_SERVING_URL=url))
    assert down.status == "fail"
    assert "s3cret" not in down.what


def test_the_assets_of_the_tables_are_partitioned_as_what_they_hold(traded: Platform) -> None:
    graph = traded.defs.resolve_asset_graph()
    for served in SERVED.values():
        node = graph.get(dg.AssetKey(served.asset.split("/")))
        source = graph.get(dg.AssetKey(served.source.split("/")))
        assert node.partitions_def == source.partitions_def
        assert node.group_name == "serving"
        shown = node.metadata["dagster/column_schema"].columns
        assert [column.name for column in shown] == [c.name for c in served.table.columns]
        assert {key.to_user_string() for key in node.parent_keys} == {served.source}


def test_the_commands_of_the_readme(tmp_path: Path) -> None:
    quant = Home(tmp_path, {"QUANT_SERVING_URL": SQLITE})
    assert "schema 0001" in quant("serving", "setup").out
    assert "0 partition(s) served, 0 removed" in quant("serving", "sync").out
    assert "us/recommendations" in quant("serving", "status").out


def test_without_a_database_the_commands_say_what_to_set(tmp_path: Path) -> None:
    unset = Settings(QUANT_HOME=str(tmp_path), QUANT_SERVING_URL="")
    with pytest.raises(BadConfigurationError, match="QUANT_SERVING_URL names no database"):
        commands.show_status(unset, "table")
