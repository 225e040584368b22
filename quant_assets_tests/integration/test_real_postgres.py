"""Dagster's instance on a real PostgreSQL: what ran is there, and nothing is kept beside it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import psycopg2
import pytest
import yaml

from quant_assets.cli.doctor import instance_checks
from quant_assets.housekeeping.tidy import tidy
from quant_assets.naming import ANY_JOB
from quant_assets.settings import Settings, read_settings
from quant_assets_tests.postgres import CHECKOUT, postgres, write_dagster_yaml


@pytest.fixture(scope="module")
def uri() -> Iterator[str]:
    with postgres() as address:
        yield address


@dg.asset
def prices() -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata={"rows": 3})


def test_another_process_finds_the_run_and_its_materialization(uri: str, tmp_path: Path) -> None:
    write_dagster_yaml(tmp_path, uri)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        run_id = dg.materialize([prices], instance=instance).run_id
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        run = instance.get_run_by_id(run_id)
        event = instance.get_latest_materialization_event(prices.key)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["rows"].value == 3
    with psycopg2.connect(uri) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT status FROM runs WHERE run_id = %s", (run_id,))
        assert cursor.fetchall() == [("SUCCESS",)]
    connection.close()
    assert not list(tmp_path.rglob("*.db"))


DAYS = dg.StaticPartitionsDefinition(["a", "b"])


@dg.asset(partitions_def=DAYS, key=["us", "prices"])
def daily() -> None:
    """Two partitions, of which a test makes one twice."""


def test_housekeeping_leaves_the_latest_materialization_of_each_partition(
    uri: str, tmp_path: Path
) -> None:
    """Its statements are written for SQLite and PostgreSQL alike."""
    write_dagster_yaml(tmp_path, uri)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        for key in ("a", "b", "a"):
            whole = dg.Definitions([daily]).resolve_implicit_global_asset_job_def()
            whole.execute_in_process(
                instance=instance, partition_key=key, asset_selection=[daily.key]
            )
        made = dg.AssetRecordsFilter(daily.key)
        before = instance.fetch_materializations(made, limit=9).records
        later = datetime.now(UTC) + timedelta(days=40)
        values = read_settings(QUANT_HOME=str(tmp_path))
        told = tidy(instance, values, later, dry_run=True)
        assert {one.what: one.count for one in told.removed}["runs"] == 3
        tidy(instance, values, later)
        assert not instance.get_runs(dg.RunsFilter(job_name=ANY_JOB))
        assert instance.get_materialized_partitions(daily.key) == {"a", "b"}
        after = instance.fetch_materializations(made, limit=9).records
        assert [one.storage_id for one in after] == [one.storage_id for one in before[:2]]
        assert tidy(instance, values, later).removed == ()


def test_only_the_storage_differs_from_the_checkout(tmp_path: Path) -> None:
    written = yaml.safe_load(write_dagster_yaml(tmp_path, "postgresql://here").read_text())
    assert written.pop("storage") == {"postgres": {"postgres_url": "postgresql://here"}}
    assert written == yaml.safe_load((CHECKOUT / "dagster.yaml").read_text())


def test_a_server_is_gone_after_its_test() -> None:
    with postgres() as address:
        psycopg2.connect(address).close()
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(address)


def test_the_doctor_sees_whether_the_tables_are_current(uri: str, tmp_path: Path) -> None:
    write_dagster_yaml(tmp_path, uri)
    settings = Settings(QUANT_HOME=str(tmp_path))  # type: ignore[call-arg,arg-type]
    assert [found.status for found in instance_checks.databases(settings)] == ["ok"]
    opened = instance_checks.OpenInstance(tmp_path)
    assert instance_checks.schema(opened).status == "ok"
    assert instance_checks.dead(opened).status == "ok"
    with psycopg2.connect(uri) as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE alembic_version SET version_num = 'old' RETURNING 1")
        assert cursor.fetchall()
    connection.close()
    finding = instance_checks.schema(opened)
    assert finding.status == "fail"
    assert "dagster instance migrate" in finding.remedy
