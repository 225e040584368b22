"""Dagster's instance on a real PostgreSQL: what ran is there, and nothing is kept beside it."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psycopg2
import pytest
import yaml

from quant_assets.cli.doctor import instance_checks
from quant_assets.settings import Settings
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
