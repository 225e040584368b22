"""What the doctor says of an instance: broken files, old tables, dead runs, silent daemons."""

import platform
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from quant_assets.cli.doctor import instance_checks as checks
from quant_assets.cli.doctor.findings import Check, Finding, run_checks
from quant_assets.cli.instance import prepare
from quant_assets.cli.status_house import said
from quant_assets.definitions import build_defs
from quant_assets.naming import TAG_HOST, TAG_PID
from quant_assets.settings import Settings

RUNS = "history/runs.db"


def settings(home: Path) -> Settings:
    return Settings(QUANT_HOME=str(home))  # type: ignore[call-arg,arg-type]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An instance on SQLite, as `quant setup` and a first run leave it."""
    home = tmp_path_factory.mktemp("made")
    prepare(settings(home))
    with dg.DagsterInstance.from_config(str(home)):
        pass
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    """A copy of that instance to be broken."""
    shutil.copytree(made, tmp_path, symlinks=True, dirs_exist_ok=True)
    return tmp_path


def broken(home: Path) -> list[Finding]:
    return checks.databases(settings(home))


def test_a_new_instance_is_in_order(home: Path) -> None:
    opened = checks.OpenInstance(home)
    assert [f.status for f in broken(home)] == ["ok"]
    assert checks.schema(opened).status == "ok"
    assert checks.dead(opened).status == "ok"
    assert checks.daemon(opened).status == "skip"


@pytest.mark.parametrize("is_prepared", [True, False])
def test_an_instance_without_databases_is_left_alone(tmp_path: Path, is_prepared: bool) -> None:
    if is_prepared:
        prepare(settings(tmp_path))
    opened = checks.OpenInstance(tmp_path)
    assert [f.status for f in broken(tmp_path)] == ["skip"]
    for look in (checks.schema, checks.dead, checks.daemon):
        assert look(opened).status == "skip"
    assert not (tmp_path / "history").exists()


def test_storage_on_a_server_counts_as_begun(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("# storage:\ntelemetry:\n  enabled: false\n")
    assert not checks.OpenInstance(tmp_path).is_begun()
    (tmp_path / "dagster.yaml").write_text("storage:\n  postgres: {}\n")
    assert checks.OpenInstance(tmp_path).is_begun()


def test_a_wrong_configuration_is_named_without_its_values(tmp_path: Path) -> None:
    """A password of digits without quotes is a number, which Dagster quotes."""
    (tmp_path / "dagster.yaml").write_text(
        "storage:\n  postgres:\n    postgres_db: {username: u, password: 12345678, "
        "hostname: h, db_name: d, port: 'a\" of type hidden'}\n"
    )
    opened = checks.OpenInstance(tmp_path)
    looks = [Check(checks.INSTANCE, "schema", lambda: checks.schema(opened), "mend it")]
    (found,), _ = run_checks(looks)
    assert found.status == "fail"
    assert "at path root:storage:postgres:postgres_db:password. Value [redacted]" in found.what
    assert "12345678" not in found.what
    assert "hidden" not in found.what
    assert "port. Value [redacted] of type" in found.what
    made = settings(tmp_path)
    with pytest.raises(dg.DagsterInvalidConfigError) as raised:
        dg.DagsterInstance.from_config(str(tmp_path))
    assert "12345678" in str(raised.value)
    assert "12345678" not in said(raised.value, made)


@pytest.mark.parametrize("content", [b"no database " * 400, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database(home: Path, content: bytes) -> None:
    (home / RUNS).write_bytes(content)
    (finding,) = broken(home)
    assert (finding.name, finding.status) == ("runs.db", "fail")
    assert str(home / RUNS) in finding.what
    assert f"move {home / RUNS} away" in finding.remedy
    assert (home / RUNS).read_bytes() == content


def test_a_database_that_was_cut(home: Path) -> None:
    whole = (home / RUNS).read_bytes()
    (home / RUNS).write_bytes(whole[: len(whole) // 2 // 4096 * 4096])
    assert broken(home)[0].status == "fail"


def test_a_database_that_somebody_holds(home: Path) -> None:
    with closing(sqlite3.connect(home / RUNS)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        (finding,) = broken(home)
    assert (finding.status, "locked" in finding.what) == ("warn", True)


def test_tables_of_another_dagster(home: Path) -> None:
    with closing(sqlite3.connect(home / RUNS)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'old'")
        connection.commit()
    finding = checks.schema(checks.OpenInstance(home))
    assert finding.status == "fail"
    assert "runs old, not " in finding.what
    assert f"DAGSTER_HOME={home} dagster instance migrate" in finding.remedy


def test_runs_whose_process_has_died(home: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    job = build_defs(settings(home)).resolve_job_def("us_price")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        run = instance.create_run_for_job(
            job,
            tags={TAG_HOST: platform.node(), TAG_PID: str(ended.pid)},
            status=dg.DagsterRunStatus.STARTED,
        )
        finding = checks.dead(checks.OpenInstance(home))
        still = instance.get_run_by_id(run.run_id)
    assert finding.status == "warn"
    assert run.run_id in finding.what
    assert still is not None
    assert still.status == dg.DagsterRunStatus.STARTED


def daemon(healthy: bool, age: float, *errors: str) -> SimpleNamespace:
    told = [SimpleNamespace(message=error) for error in errors]
    beat = SimpleNamespace(timestamp=time.time() - age, errors=told)
    return SimpleNamespace(healthy=healthy, last_heartbeat=beat)


UNSEEN = SimpleNamespace(healthy=False, last_heartbeat=None)


@pytest.mark.parametrize(
    ("statuses", "status", "said"),
    [
        ({"SENSOR": UNSEEN}, "skip", "none has run"),
        ({"SENSOR": daemon(True, 5)}, "ok", "alive: SENSOR"),
        ({"SENSOR": daemon(True, 5), "BACKFILL": daemon(False, 900)}, "warn", "BACKFILL"),
        ({"SENSOR": daemon(False, 90_000)}, "warn", "not heard since"),
        ({"SENSOR": daemon(False, 5, "the code server is gone")}, "fail", "code server is gone"),
    ],
)
def test_what_daemons_last_said(
    statuses: dict[str, SimpleNamespace], status: str, said: str
) -> None:
    finding = checks.judge_daemon(statuses)
    assert finding.status == status
    assert said in finding.what
    assert bool(finding.remedy) == (status != "ok")


def test_the_code_location(home: Path) -> None:
    assert checks.code_location(settings(home)).status == "ok"
