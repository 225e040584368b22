"""Housekeeping on a real instance: what goes, what stays, and that a kill in the middle is fine."""

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from quant_assets.cli.backfill_plan import DueFinder, stages
from quant_assets.errors import TransientError
from quant_assets.hooks.outcomes import published_tag
from quant_assets.hooks.runs import repeated_tag
from quant_assets.housekeeping import databases
from quant_assets.housekeeping.report import Report
from quant_assets.housekeeping.tidy import tidy
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.naming import TAG_REPEATS_LEFT
from quant_assets.sensors import alert_memory, outbox
from quant_assets.settings import Settings
from quant_assets.versions import code_versions
from quant_assets_tests.filled_home import (
    SESSIONS,
    STORED,
    copied,
    filled,
    quant,
    settings_of,
)
from quant_assets_tests.platform import Platform

LATER = datetime.now(UTC) + timedelta(days=40)
"""By then the runs of this test are old."""
RUNS = 5


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with filled(tmp_path_factory.mktemp("full") / "home") as p:
        yield p


def materialized(instance: dg.DagsterInstance) -> dict[str, dict[str, tuple[float, str]]]:
    """Time and run of the latest materialization of each partition, by asset."""
    found: dict[str, dict[str, tuple[float, str]]] = {}
    for asset in STORED:
        key = dg.AssetKey(asset.split("/"))
        found[asset] = {}
        for partition in sorted(instance.get_materialized_partitions(key)):
            wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition])
            one = instance.fetch_materializations(wanted, limit=1).records[0]
            found[asset][partition] = one.timestamp, one.run_id
    return found


def checks(instance: dg.DagsterInstance) -> dict[str, bool]:
    """Whether each check of prices passed last."""
    found = {}
    for name in ("schema", "coverage", "quality"):
        key = dg.AssetCheckKey(dg.AssetKey(["us", "prices"]), name)
        record = instance.get_latest_asset_check_evaluation_record(key)
        assert record is not None
        event = record.event.dagster_event if record.event else None
        assert event is not None
        found[name] = event.asset_check_evaluation_data.passed
    return found


def due(values: Settings, instance: dg.DagsterInstance) -> list[object]:
    """What a backfill of everything that is stored would do."""
    store = ParquetStore(values.data_dir, values.profile)
    finder = DueFinder(store, instance, datetime.now(UTC), code_versions(values))
    return list(stages(finder, STORED))


def dump(home: Path) -> dict[str, str]:
    """Every file by its content, and of databases what is in them."""
    found = {}
    for path in sorted(path for path in home.rglob("*") if path.is_file()):
        name = str(path.relative_to(home))
        if path.suffix == ".db":
            with closing(sqlite3.connect(path)) as database:
                content = "\n".join(database.iterdump()).encode()
        elif path.name.endswith((".db-wal", ".db-shm")):
            continue
        else:
            content = path.read_bytes()
        found[name] = hashlib.sha256(content).hexdigest()
    return found


def counts(report: Report) -> dict[str, int]:
    return {one.what: one.count for one in report.removed}


def test_old_runs_go_and_every_partition_stays_materialized(full: Platform, tmp_path: Path) -> None:
    values, instance = copied(full, tmp_path / "home")
    with instance:
        before, passed = materialized(instance), checks(instance)
        assert {asset: list(keys) for asset, keys in before.items()} == STORED
        assert due(values, instance) == []
        young = tidy(instance, values, datetime.now(UTC))
        assert "runs" not in counts(young)
        assert instance.get_runs_count() == RUNS
        report = tidy(instance, values, LATER)
        assert counts(report)["runs"] == RUNS
        assert "raw answers" not in counts(report)
        assert instance.get_runs_count() == 0
        assert materialized(instance) == before
        assert checks(instance) == passed
        assert due(values, instance) == []
        twice = dg.AssetRecordsFilter(dg.AssetKey(["us", "prices"]), asset_partitions=SESSIONS[-1:])
        assert len(instance.fetch_materializations(twice, limit=9).records) == 1
        shards = {path.name for path in (tmp_path / "home/history/runs").glob("*.db")}
        assert shards <= {"index.db", ".db"}
        assert not list((tmp_path / "home/storage").glob("*/compute_logs"))
        with closing(sqlite3.connect(tmp_path / "home/history/runs.db")) as database:
            assert database.execute("SELECT COUNT(*) FROM run_tags").fetchone() == (0,)
        with closing(sqlite3.connect(tmp_path / "home/history/runs/index.db")) as database:
            kinds = database.execute("SELECT DISTINCT dagster_event_type FROM event_logs")
            assert kinds.fetchall() == [("ASSET_MATERIALIZATION",)]
        assert tidy(instance, values, LATER).removed == ()


def test_the_events_of_a_run_that_is_gone_go_once_they_are_replaced(
    full: Platform, tmp_path: Path
) -> None:
    values, instance = copied(full, tmp_path / "home")
    with instance:
        tidy(instance, values, LATER)
        for _ in range(2):
            event = dg.AssetMaterialization(["us", "prices"], partition=SESSIONS[0])
            instance.report_runless_asset_event(event)
        assert counts(tidy(instance, values, LATER)) == {"events": 2, "copies of events": 2}
        assert due(values, instance) == []


def test_a_dry_run_says_the_same_and_changes_nothing(full: Platform, tmp_path: Path) -> None:
    home = tmp_path / "home"
    values, instance = copied(full, home)
    with instance:
        before = dump(home)
        told = tidy(instance, values, LATER, dry_run=True)
        assert dump(home) == before
        done = tidy(instance, values, LATER)
        assert counts(told)["runs"] == counts(done)["runs"] == RUNS
        runs = [[one for one in each.removed if one.what == "runs"] for each in (told, done)]
        assert runs[0] == runs[1]
        assert runs[0][0].bytes > 100_000


KILLED = """
import os, signal, sys
from datetime import datetime
import dagster as dg
from quant_assets.housekeeping import event_log, tidy
from quant_assets_tests.filled_home import settings_of
from pathlib import Path
home, now, step, left = sys.argv[1], datetime.fromisoformat(sys.argv[2]), sys.argv[3], 2
real = getattr(event_log, step)
def dying(*args, **options):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **options)
setattr(event_log, step, dying)
with dg.DagsterInstance.from_config(home) as instance:
    tidy.tidy(instance, settings_of(Path(home)), now)
"""


def test_a_kill_in_the_middle_leaves_the_rest_for_the_next_one(
    full: Platform, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    values, instance = copied(full, home)
    before = materialized(instance)
    instance.dispose()
    words = [sys.executable, "-c", KILLED, str(home), LATER.isoformat(), "forget_run"]
    killed = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with dg.DagsterInstance.from_config(str(home)) as again:
        assert again.get_runs_count() == RUNS - 1
        assert materialized(again) == before
        assert counts(tidy(again, values, LATER))["runs"] == RUNS - 1
        assert again.get_runs_count() == 0
        assert materialized(again) == before
        assert due(values, again) == []


def add_run(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus, **tags: str
) -> dg.DagsterRun:
    return instance.add_run(dg.DagsterRun(job_name="us_price", status=status, tags=tags))


def test_what_is_not_settled_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    values = settings_of(home, QUANT_RUN_RETENTION_DAYS=1)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        done, failed = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE
        unfinished = add_run(instance, dg.DagsterRunStatus.STARTED)
        due_again = add_run(instance, failed, **{TAG_REPEATS_LEFT: "3"})
        retried = add_run(instance, failed, **{"dagster/will_retry": "true"})
        repeated = add_run(instance, failed, **{TAG_REPEATS_LEFT: "3"})
        instance.add_run_tags(repeated.run_id, repeated_tag(repeated.run_id, "another"))
        reported = add_run(instance, failed)
        parent = add_run(instance, failed)
        child = instance.add_run(
            dg.DagsterRun(
                job_name="us_price",
                status=dg.DagsterRunStatus.NOT_STARTED,
                parent_run_id=parent.run_id,
                root_run_id=parent.run_id,
            )
        )
        requested = add_run(instance, done, **{"quant.request/r1": "{}"})
        untold = add_run(instance, done)
        told = add_run(instance, done)
        instance.add_run_tags(told.run_id, published_tag(told.run_id, datetime.now(UTC)))
        record = json.dumps({"runs": {"jobs": {"x": {"parts": [{"run_id": reported.run_id}]}}}})
        instance.daemon_cursor_storage.set_cursor_values({alert_memory.KEY: record})
        cursor = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        state = SimpleNamespace(
            instigator_name=outbox.NAME, instigator_data=SimpleNamespace(cursor=cursor)
        )
        monkeypatch.setattr(instance, "all_instigator_state", lambda: [state])
        report = tidy(instance, values, datetime.now(UTC) + timedelta(days=2))
        left = {run.run_id for run in instance.get_runs()}
        stay = (unfinished, due_again, retried, reported, parent, child, requested, untold)
        assert left == {run.run_id for run in stay}
        assert repeated.run_id not in left
        assert {kept.why: kept.count for kept in report.kept} == {
            "an open incident refers to it": 1,
            "an unfinished run repeats it": 1,
            "it is still to be repeated": 2,
            "its outcome is not published yet": 1,
            "its request may be delivered again": 1,
        }
        # No broker is configured: nobody waits for what is not published.
        live = settings_of(home, QUANT_RUN_RETENTION_DAYS=1, QUANT_PROFILE="live")
        tidy(instance, live, datetime.now(UTC) + timedelta(days=2))
        assert not instance.has_run(untold.run_id)


def add_asset_run(instance: dg.DagsterInstance, *keys: str) -> str:
    chosen = frozenset(dg.AssetKey(key.split("/")) for key in keys)
    run = dg.DagsterRun("__ASSET_JOB", asset_selection=chosen, status=dg.DagsterRunStatus.SUCCESS)
    return instance.add_run(run).run_id


def add_plan(home: Path, asset: str) -> None:
    with closing(sqlite3.connect(home / "history/runs/index.db")) as database, database:
        database.execute(
            "INSERT INTO asset_check_executions (asset_key, check_name, partition, run_id, "
            "execution_status) VALUES (?, 'c', 'p', 'gone', 'PLANNED')",
            [dg.AssetKey(asset.split("/")).to_string()],
        )


def test_what_other_code_locations_keep_on_the_instance_stays(tmp_path: Path) -> None:
    home, ours, theirs = tmp_path / "home", "us/prices", "their/table"
    home.mkdir()
    values = settings_of(home, QUANT_RUN_RETENTION_DAYS=1)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        done = dg.DagsterRunStatus.SUCCESS
        stay = {
            instance.add_run(dg.DagsterRun(job_name="their_job", status=done)).run_id,
            add_asset_run(instance, theirs),
            add_asset_run(instance, ours, theirs),
            add_asset_run(instance),
        }
        add_run(instance, done)
        add_asset_run(instance, ours)
        for asset in (ours, theirs) * 2:
            key = dg.AssetKey(asset.split("/"))
            instance.report_runless_asset_event(dg.AssetMaterialization(key, partition="p"))
            told = dg.AssetCheckEvaluation(asset_key=key, check_name="c", passed=True)
            instance.report_runless_asset_event(told)
        for asset in (ours, theirs):
            add_plan(home, asset)
        report = tidy(instance, values, LATER)
        # A materialization and an evaluation were replaced; its event goes with the row's.
        assert counts(report) == {
            "runs": 2,
            "events": 4,
            "copies of events": 8,
            "plans of checks": 1,
        }
        assert {run.run_id for run in instance.get_runs()} == stay
        left = {}
        for asset in (ours, theirs):
            wanted = dg.AssetRecordsFilter(dg.AssetKey(asset.split("/")))
            left[asset] = len(instance.fetch_materializations(wanted, limit=9).records)
        assert left == {ours: 1, theirs: 2}
        with closing(sqlite3.connect(home / "history/runs/index.db")) as database:
            rows = "SELECT COUNT(*) FROM asset_check_executions WHERE asset_key LIKE '%table%'"
            assert database.execute(rows).fetchone() == (3,)
        assert home / "history/runs/.db" in databases.databases(home)


def test_a_database_that_somebody_holds_is_a_sentence(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    values = settings_of(home)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        run = add_run(instance, dg.DagsterRunStatus.SUCCESS)
        with closing(sqlite3.connect(home / "history/runs.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(TransientError, match=r"is locked; .* do it again once"):
                tidy(instance, values, LATER)
        assert instance.has_run(run.run_id)
        assert counts(tidy(instance, values, LATER))["runs"] == 1


def test_what_dead_writers_left_goes_and_nothing_else(tmp_path: Path) -> None:
    home = tmp_path / "home"
    values = settings_of(home)
    now = datetime.now(UTC)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    old, own = (now - timedelta(hours=2)).timestamp(), os.getpid()

    def write(name: str, when: float) -> Path:
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
        os.utime(path, (when, when))
        return path

    gone = [
        write(f"{folder}/.2026-03-18.parquet.{dead.pid}.0a1b2c3d.tmp", old)
        for folder in ("data/us/prices", "data/quarantine/us/prices", "cache/feeds")
    ]
    gone.append(write(f"raw/manifests/us.prices/.x.json.{dead.pid}.0a1b2c3d.tmp", old))
    gone.append(write(f"scratch/verify.{dead.pid}.0a1b2c3d/data/x.parquet", old))
    os.utime(gone[-1].parent.parent, (old, old))
    gone.append(write("pictures/us_recommendations_2026-01-05.png", old - 31 * 86400))
    # A process that is younger than the file is not its writer.
    gone.append(write(f"data/us/prices/.b.parquet.{own}.0a1b2c3d.tmp", old - 400 * 86400))
    kept = [
        write(f"data/us/prices/.a.parquet.{dead.pid}.0a1b2c3d.tmp", now.timestamp()),
        write("data/us/prices/2026-03-18.parquet", old),
        write("data/quarantine/us/prices/2026-03-18.20260318T000000000000.damaged", old),
        write("data/us/prices/.hidden.tmp", old),
        write("pictures/us_recommendations_2026-03-05.png", old),
        write("pictures/mine.png", old - 90 * 86400),
    ]
    with dg.DagsterInstance.from_config(str(home)) as instance:
        told = tidy(instance, values, now, dry_run=True)
        report = tidy(instance, values, now)
    assert counts(told) == counts(report), "the data lie below the home: found once all the same"
    assert not [path for path in gone if path.exists()]
    assert all(path.exists() for path in kept)
    assert counts(report) == {"temporary files": 6, "pictures": 1}
    assert {one.bytes for one in report.removed} == {30, 5}


def test_a_second_one_at_a_time_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    values = settings_of(home)
    with dg.DagsterInstance.from_config(str(home)) as instance:

        def meanwhile(path: Path) -> tuple[int, str]:
            with pytest.raises(TransientError, match="is under way: it does the same"):
                tidy(instance, values, LATER)
            return 0, ""

        monkeypatch.setattr("quant_assets.housekeeping.tidy.reclaim", meanwhile)
        tidy(instance, values, LATER)
        tidy(instance, values, LATER)


def test_freed_space_is_given_back_beside_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, runs = (tmp_path / name for name in (databases.EVENTS[0], databases.OTHERS[0]))
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("CREATE TABLE t (x)")
        row = ("x" * 1_000_000,)
        with other:
            other.executemany("INSERT INTO t VALUES (?)", [row] * 30)
        with other:
            other.execute("DELETE FROM t WHERE rowid > 1")
        reader = other.execute("SELECT COUNT(*) FROM t").fetchone()
        # Dagster waits less long for the database of runs.
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        shutil.copy(path, runs)
        monkeypatch.setattr(databases, "LARGEST_OTHER_BYTES", 500_000)
        assert databases.reclaim(runs) == (
            0,
            f"{runs} holds 1 MB: stop the daemon and VACUUM it to make it smaller",
        )
        size, note = databases.reclaim(path)
        assert reader == (1,)
        assert (size > 25_000_000, note) == (True, "")
        assert path.stat().st_size < 2_000_000
        assert databases.reclaim(path) == (0, "")
        assert other.execute("SELECT COUNT(*) FROM t").fetchone() == (1,)


def test_the_job_and_the_command(
    full: Platform, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    values, instance = copied(full, home)
    with instance:
        result = full.defs.resolve_job_def("housekeeping").execute_in_process(instance=instance)
        assert result.success
        with closing(sqlite3.connect(home / "history/runs.db")) as database, database:
            database.execute("UPDATE runs SET update_timestamp = '2026-01-01 00:00:00'")
    out, _ = quant(home, capsys, "housekeeping", "--dry-run")
    assert f"would remove {RUNS + 1} runs, " in out
    assert "finished more than 30 days ago (QUANT_RUN_RETENTION_DAYS)" in out
    told = json.loads(quant(home, capsys, "housekeeping", "--json")[0])
    assert told["is_dry_run"] is False
    assert {one["what"]: one["count"] for one in told["removed"]}["runs"] == RUNS + 1
    assert quant(home, capsys, "housekeeping")[0] == "nothing is old enough to go\n"
    assert "No such option" in quant(home, capsys, "housekeeping", "--nonsense", status=2)[1]
    assert values.run_retention_days == 30
