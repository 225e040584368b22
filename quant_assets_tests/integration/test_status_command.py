"""``quant status`` on a house of real files and a real instance; what is damaged hides nothing."""

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import msgspec
import pytest

from quant_assets.checks.freshness import timetables, watched_assets
from quant_assets.cli import status_gather
from quant_assets.cli.instance import prepare
from quant_assets.cli.status_gather import next_tick, report_of
from quant_assets.cli.status_house import House, instance_of
from quant_assets.cli.status_report import SCHEMA, Report
from quant_assets.errors import BadDataError
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.naming import TAG_HOST, TAG_PARTITION, TAG_PID
from quant_assets.schemas import dataset_of
from quant_assets.sensors.alert_memory import KEY
from quant_assets.settings import Settings
from quant_assets_tests.integration import quant_processes
from quant_assets_tests.json_schema import complaints
from quant_assets_tests.kafka_broker import poll
from quant_assets_tests.unit.dataset_frames import valid_frame

SYMBOLS = ("AAPL", "MSFT", "NVDA")
VARIABLES = {"QUANT_US_UNIVERSE": ",".join(SYMBOLS), "QUANT_KR_UNIVERSE": "005930.KS"}
NOW = datetime(2026, 11, 30, 22, 0, tzinfo=UTC)
"""Monday; the session is complete and not due."""


@dataclass
class Place:
    """A house: its settings, its instance, its files."""

    values: Settings
    instance: dg.DagsterInstance
    now: datetime = NOW

    @property
    def store(self) -> ParquetStore:
        return ParquetStore(self.values.data_dir, self.values.profile)

    def fill(self, *assets: str) -> None:
        """Store everything that is complete, and tell Dagster."""
        for asset in assets or watched_assets():
            dataset = dataset_of(asset)
            key = timetables(self.values)[asset].newest_complete(self.now)
            frame = valid_frame(dataset, partitions=1, rows=len(SYMBOLS), seed=1)
            if "symbol" in frame and len(frame) == len(SYMBOLS):
                frame["symbol"] = sorted(SYMBOLS)
            if "label" in frame:
                frame = frame.assign(label=["BUY", "SELL", None], is_degraded=[True, False, False])
            if "symbol" in frame and asset.startswith("kr/"):
                listed = [x.symbol for x in self.values.universe("kr")]
                frame = frame.head(len(listed)).assign(symbol=listed)
            self.store.write(dataset, asset, key, frame, "1")
            made = dg.AssetMaterialization(asset_key=asset.split("/"), partition=key)
            self.instance.report_runless_asset_event(made)

    def path(self, asset: str) -> Path:
        newest = self.store.list_partitions(asset)[-1]
        return self.store.path(asset, newest)

    def look(self, market: str | None = None) -> Report:
        return report_of(House(self.values, self.now, lambda: self.instance, market))


def state_of(report: Report, asset: str) -> Any:
    return next(one for one in report.assets or () if one.asset == asset)


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(temp_dir=str(tmp_path_factory.mktemp("instance"))) as made:
        yield made


@pytest.fixture
def place(tmp_path: Path, instance: dg.DagsterInstance) -> Place:
    made = Place(Settings(QUANT_HOME=str(tmp_path), **VARIABLES), instance)
    made.fill()
    return made


def test_a_house_in_order(place: Place) -> None:
    found = place.look()
    assert found.reasons == []
    assert found.untold == {}
    assert [one.asset for one in found.assets or ()] == watched_assets()
    assert {one.status for one in found.assets or ()} == {"fresh"}
    told = state_of(found, "us/prices")
    assert (told.newest, told.due, told.present, told.expected) == (
        "2026-11-30",
        "2026-11-27",
        3,
        3,
    )
    assert told.deadline == datetime(2026, 12, 2, 12, tzinfo=UTC), "that of the 1st"
    assert told.last_success_at is not None
    advice = state_of(found, "us/recommendations")
    assert (advice.present, advice.expected, advice.degraded) == (2, 3, 1)
    assert state_of(found, "news/articles").rows == 3
    assert "freshness" in [one.name for one in found.sensors or () if one.is_on]
    assert not any(one.is_switched_off for one in found.sensors or ())
    assert found.daemon is not None
    assert found.daemon.status == "never"


def test_prices_of_too_few_symbols_are_incomplete(place: Place) -> None:
    dataset, asset = dataset_of("us/prices"), "us/prices"
    key = place.store.list_partitions(asset)[-1]
    rows = place.store.read(dataset, asset, [key])
    # The ratio demands all three, but one of several may lack.
    place.store.delete(asset, [key])
    place.store.write(dataset, asset, key, rows.head(2), "1")
    assert place.look().reasons == []
    place.store.delete(asset, [key])
    place.store.write(dataset, asset, key, rows.head(1), "1")
    assert place.look().reasons == [
        f"us: prices of {key} are incomplete, 1 of 3 symbols, 2 are demanded"
    ]


def test_one_market_alone(place: Place) -> None:
    place.path("us/prices").unlink()
    assert place.look("kr").is_healthy
    names = [one.asset for one in place.look("kr").assets or ()]
    assert {name.partition("/")[0] for name in names} == {"kr", "news", "macro"}


@pytest.mark.parametrize(
    ("damage", "status", "told"),
    [
        (lambda path: path.write_bytes(b"PAR1 no more"), "unreadable", "is not readable"),
        (lambda path: path.write_bytes(b""), "unreadable", "is not readable"),
        (lambda path: path.unlink(), "lost", "all of it is gone"),
        (lambda path: path.rename(path.with_stem("2026-11-24")), "behind", "2 sessions behind"),
        (lambda path: path.rename(path.with_stem("2026-11-27")), "awaited", ""),
    ],
)
def test_a_damaged_asset_hides_no_other(
    place: Place, damage: Callable[[Path], Any], status: str, told: str
) -> None:
    damage(place.path("us/prices"))
    found = place.look()
    assert state_of(found, "us/prices").status == status
    assert {one.status for one in found.assets or () if one.asset != "us/prices"} == {"fresh"}
    assert found.is_healthy == (not told)
    assert told in " ".join(found.reasons)


def test_a_damaged_quarantine_and_count_are_told(place: Place) -> None:
    folder = place.store.path("quarantine/us/prices", "2026-11-27")
    folder.parent.mkdir(parents=True)
    folder.write_bytes(b"damaged")
    place.values = Settings(
        QUANT_HOME=str(place.values.home_dir), QUANT_ALPHA_VANTAGE_CALLS_PER_DAY=5, **VARIABLES
    )
    assert place.look().quota is not None
    assert place.look().quota.left == 5
    count = place.values.home_dir / "cache" / "alpha_vantage_quota.json"
    assert not count.parent.exists(), "looking writes nothing"
    count.parent.mkdir()
    count.write_text("{damaged")
    found = place.look()
    assert [(one.asset, one.held) for one in found.quarantine or ()] == [("us/prices", 1)]
    assert found.quota is None
    assert "cannot be read" in found.untold["quota"]
    assert count.read_text() == "{damaged"


def test_what_dagster_cannot_tell_hides_nothing_else(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        status_gather, "dead_runs", lambda instance: 1 / 0 and [instance]
    )  # fmt: skip
    cursors = place.instance.daemon_cursor_storage
    cursors.set_cursor_values({KEY: "{damaged"})
    try:
        found = place.look()
    finally:
        cursors.set_cursor_values({KEY: ""})
    assert set(found.untold) == {"runs", "incidents"}
    assert found.untold["runs"] == "ZeroDivisionError: division by zero"
    assert "not readable" in found.untold["incidents"]
    assert (found.runs, found.incidents) == (None, None)
    assert found.failed_runs == []
    assert state_of(found, "us/prices").status == "fresh"
    assert not found.is_healthy


def test_without_an_instance_the_data_are_told(tmp_path: Path) -> None:
    values = Settings(QUANT_HOME=str(tmp_path), **VARIABLES)
    with instance_of(values) as instance:
        found = report_of(House(values, NOW, instance))
    assert list(found.untold) == ["instance"]
    assert {one.status for one in found.assets or ()} == {"empty"}
    assert found.schedules is not None
    assert list(tmp_path.iterdir()) == [], "looking makes no instance"


def test_a_secret_in_an_error_is_masked(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "quant-smtp-password"
    place.values = Settings(
        QUANT_HOME=str(place.values.home_dir),
        QUANT_SMTP_HOST="h",
        QUANT_MAIL_FROM="a@b.example",
        QUANT_MAIL_TO="a@b.example",
        QUANT_SMTP_PASSWORD=secret,
        **VARIABLES,
    )

    def fail(house: House) -> None:
        raise BadDataError(f"no\n{secret}\x1b[2J")

    monkeypatch.setattr(status_gather, "incidents", fail)
    assert secret not in str(place.look().untold)
    assert place.look().untold["incidents"].startswith("no ")
    assert "\x1b" not in place.look().untold["incidents"]


def test_runs_that_are_dead_or_stuck_are_told(tmp_path: Path) -> None:
    import platform

    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        place = Place(Settings(QUANT_HOME=str(tmp_path), **VARIABLES), instance, datetime.now(UTC))
        place.fill()
        made = [
            instance.create_run_for_job(
                dg.job(name=name)(lambda: None),
                status=dg.DagsterRunStatus.STARTED,
                tags={TAG_HOST: platform.node(), TAG_PID: pid, TAG_PARTITION: "2026-11-27"},
            )
            for name, pid in (("us_price", str(2**22 + 1)), ("kr_price", str(os.getpid())))
        ]
        found = place.look()
        told = {run.run_id: run.problem for run in found.runs or ()}
        assert told == {made[0].run_id: "has lost its process", made[1].run_id: ""}
        assert found.reasons == [f"run {made[0].run_id[:8]} of us_price has lost its process"]
        assert instance.get_run_by_id(made[0].run_id).status == dg.DagsterRunStatus.STARTED
        instance.report_run_failed(made[0], "no bars")
        place.now = datetime.now(UTC) + timedelta(hours=2)
        late = place.look()
        assert [run.job for run in late.failed_runs or ()] == ["us_price"]
        assert "run " + made[1].run_id[:8] + " of kr_price has been running for" in str(
            late.reasons
        )


@pytest.mark.parametrize(
    ("cron", "timezone", "moment", "at"),
    [
        ("35 16 * * 1-5", "America/New_York", "2026-03-06 21:35", "2026-03-09 20:35"),
        ("35 16 * * 1-5", "America/New_York", "2026-10-30 20:35", "2026-11-02 21:35"),
        ("30 2 * * *", "America/New_York", "2026-03-08 06:00", "2026-03-08 07:00"),
        ("0 16 * * *", "Asia/Seoul", "2026-11-30 06:59", "2026-11-30 07:00"),
        ("0 16 * * *", "Asia/Seoul", "2026-11-30 07:00", "2026-12-01 07:00"),
        ("0 3 * * 2-6", "Asia/Seoul", "2026-11-30 15:10", "2026-11-30 18:00"),
        ("5 * * * *", "UTC", "2026-11-30 23:05", "2026-12-01 00:05"),
    ],
)
def test_the_next_tick_is_daggers_own(cron: str, timezone: str, moment: str, at: str) -> None:
    told = [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (moment, at)]
    assert next_tick(cron, timezone, told[0]) == told[1]


def test_schedules_are_told_whatever_they_are(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = dg.define_asset_job("us_price", [dg.AssetKey(["us", "prices"])])

    @dg.asset(key=["us", "prices"])
    def prices() -> None: ...

    running = dg.DefaultScheduleStatus.RUNNING
    defs = dg.Definitions(
        assets=[prices],
        jobs=[job],
        schedules=[
            dg.ScheduleDefinition(
                name="us_price",
                job=job,
                cron_schedule=["30 22 * * *", "0 23 * * *"],
                default_status=running,
            ),
            dg.ScheduleDefinition(name="kr_price", job=job, cron_schedule="@daily"),
        ],
    )
    monkeypatch.setattr("quant_assets.definitions.defs", defs)
    on, off = sorted(place.look().schedules or (), key=lambda one: one.name, reverse=True)
    assert (on.name, on.is_on, on.job) == ("us_price", True, "us_price")
    assert on.next_at == NOW + timedelta(minutes=30)
    assert (off.name, off.is_on, off.next_at) == ("kr_price", False, None)
    assert [one.name for one in place.look("us").schedules or ()] == ["us_price"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> quant_processes.Home:
    """A home of the present, filled, as the processes of a user find it."""
    made = quant_processes.Home(tmp_path_factory.mktemp("status"), dict(VARIABLES))
    values = Settings(QUANT_HOME=str(made.path), **VARIABLES)
    prepare(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(made.path))
        with dg.DagsterInstance.get() as instance:
            Place(values, instance, datetime.now(UTC)).fill()
    return made


def files_of(home: quant_processes.Home) -> dict[str, bytes]:
    """Every file but the databases' own, whose pages SQLite may move."""
    return {
        str(path.relative_to(home.path)): path.read_bytes()
        for path in sorted(home.path.rglob("*"))
        if path.is_file() and not re.search(r"\.db(-\w+)?$", path.name)
    }


def test_the_probe_tells_health_by_its_status(home: quant_processes.Home) -> None:
    before = files_of(home)
    assert home("status", "--exit-code").out == "healthy\n"
    asset = home.path / "data" / "us" / "recommendations"
    (newest,) = asset.glob("*.parquet")
    newest.rename(newest.with_stem("2026-01-05"))
    told = home("status", "--json", "--exit-code", status=1)
    newest.with_stem("2026-01-05").rename(newest)
    assert files_of(home) == before
    report = json.loads(told.out)
    assert complaints(report, json.loads(SCHEMA.read_text(encoding="utf-8"))) == []
    decoded = msgspec.json.decode(told.out, type=Report)
    assert len(decoded.reasons) == 1
    assert re.match(r"us: recommendations [\d,]+ sessions behind, ", decoded.reasons[0])
    assert not (home.path / "sandbox.json").exists(), "no sandbox was started"


def test_watching_ends_with_ctrl_c(home: quant_processes.Home) -> None:
    process = home.start("status", "--watch", "--market", "us")
    assert process.stdout is not None
    lines: list[str] = []

    def is_drawn() -> bool:
        lines.append(process.stdout.readline())
        return "incidents" in lines[-1] or process.poll() is not None

    poll("a drawn state", quant_processes.SECONDS, is_drawn)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=quant_processes.SECONDS)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    text = "".join(lines)
    assert "United States" in text
    assert "Korea" not in text
