"""What the doctor says of calendars, lists, versions, timezone data and the clock."""

import re
import time
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from quant_assets.cli.doctor import reference_checks as reference
from quant_assets.cli.doctor import version_checks as versions
from quant_assets.errors import BadConfigurationError, TransientError
from quant_assets.markets import LAST_CALENDAR_DAY, MARKETS
from quant_assets.settings import Settings
from quant_assets_tests.mailbox import free_port
from quant_assets_tests.unit.scripted_server import Reply, ScriptedServer

CHECKOUT = Path(__file__).parents[2]
NOW = datetime(2026, 3, 20, 3, 30, tzinfo=UTC)


def settings(**variables: str) -> Settings:
    return Settings(**variables)  # type: ignore[arg-type]


def test_the_shipped_calendars_and_lists_are_in_order() -> None:
    finding = reference.calendars(NOW.date())
    assert finding.status == "ok"
    assert re.search(r"us 25\d sessions, kr 24\d sessions", finding.what)
    assert reference.overrides("").status == "ok"
    assert reference.macro_series(settings()).status == "ok"
    assert {reference.universe(settings(), key).status for key in MARKETS} == {"ok"}
    assert reference.sentiment_model(settings()).status == "ok"
    assert reference.recorded(settings()).status == "skip"


def test_calendars_that_end() -> None:
    assert reference.calendars(LAST_CALENDAR_DAY - timedelta(days=365)).status == "ok"
    finding = reference.calendars(LAST_CALENDAR_DAY - timedelta(days=364))
    assert (finding.status, str(LAST_CALENDAR_DAY) in finding.what) == ("fail", True)


HEADER = "market,date,kind,open_local,close_local\n"


@pytest.mark.parametrize(
    "content",
    [
        f"{HEADER}jp,2026-05-01,closed,,\n",
        f"{HEADER}kr,2026-13-01,closed,,\n",
        f"{HEADER}kr,2026-05-01,hours,15:00,09:00\n",
        f"{HEADER}kr,2026-05-01\n",
        b"\xff\xfe\x00",
    ],
)
def test_overrides_that_cannot_be_used(tmp_path: Path, content: str | bytes) -> None:
    file = tmp_path / "overrides.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadConfigurationError, match="QUANT_CALENDAR_OVERRIDES"):
        reference.overrides(str(file))


def test_overrides_that_can(tmp_path: Path) -> None:
    file = tmp_path / "overrides.csv"
    file.write_text(f"{HEADER}kr,2026-05-01,closed,,\n")
    assert reference.overrides(str(file)).what == f"1 in {file}"
    file.write_text("no header\n")
    assert reference.overrides(str(file)).status == "warn"
    with pytest.raises(BadConfigurationError, match="does not exist"):
        reference.overrides(str(tmp_path / "gone.csv"))


def test_lists_and_models_that_cannot_be_used(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.csv")
    with pytest.raises(BadConfigurationError, match=r"gone\.csv does not exist"):
        reference.universe(settings(QUANT_US_UNIVERSE=gone), "us")
    with pytest.raises(BadConfigurationError, match="QUANT_MACRO_SERIES"):
        reference.macro_series(settings(QUANT_MACRO_SERIES=gone))
    with pytest.raises(BadConfigurationError, match=r"model\.onnx"):
        reference.sentiment_model(settings(QUANT_SENTIMENT_MODEL=str(tmp_path)))


def test_recorded_files_that_are_missing(tmp_path: Path) -> None:
    replay = settings(QUANT_PROFILE="replay", QUANT_SANDBOX_DATA=str(tmp_path))
    (tmp_path / "bars.parquet").write_bytes(b"")
    finding = reference.recorded(replay)
    assert finding.status == "fail"
    assert "lacks macro.parquet, news.parquet" in finding.what


@pytest.fixture
def zone_files(tmp_path: Path) -> Iterator[Path]:
    """A directory in which all timezones of this process are looked for."""
    paths = zoneinfo.TZPATH
    zoneinfo.reset_tzpath([str(tmp_path)])
    zoneinfo.ZoneInfo.clear_cache()
    yield tmp_path
    zoneinfo.reset_tzpath(paths)
    zoneinfo.ZoneInfo.clear_cache()


def test_timezone_data_that_are_right() -> None:
    assert reference.zones().status == "ok"
    assert reference.local_zone().status == "ok"


def test_timezone_data_that_are_wrong(zone_files: Path) -> None:
    for name, content in {
        "America/New_York": b"TZif2" + bytes(39) + b"TZif2" + bytes(39) + b"\nUTC0\n",
        "Asia/Seoul": b"no timezone",
    }.items():
        file = zone_files / name
        file.parent.mkdir()
        file.write_bytes(content)
    finding = reference.zones()
    assert finding.status == "fail"
    assert "New_York" in finding.what
    assert "Asia/Seoul" in finding.what
    assert "tzdata" in finding.remedy


@pytest.mark.parametrize(
    ("zone", "said"), [("Asia/Seoul", "KST (UTC+0900)"), ("UTC", "UTC"), ("", "")]
)
def test_the_timezone_of_the_machine_is_only_told(
    monkeypatch: pytest.MonkeyPatch, zone: str, said: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        finding = reference.local_zone()
    finally:
        monkeypatch.undo()
        time.tzset()
    assert finding.status == "ok"
    assert finding.what.startswith(said)


def dated(moment: datetime, **headers: str) -> Reply:
    """An answer whose date is not the server's own."""
    return Reply(headers={"Date": format_datetime(moment, usegmt=True), **headers})


@pytest.mark.parametrize(
    ("reply", "off", "status"),
    [
        (dated(NOW), 20, "ok"),
        (dated(NOW), 3600, "fail"),
        (dated(NOW), -3600, "fail"),
        (dated(NOW, Age="3600"), 3600, "ok"),
        (dated(NOW, Age="9" * 400), 0, "ok"),
        (Reply(status=404, headers={"Date": format_datetime(NOW, usegmt=True)}), 0, "ok"),
        (Reply(headers={"Date": "yesterday"}), 0, "skip"),
        (Reply(headers={"Date": "Fri, 99 Mar 2026 03:30:00 GMT"}), 0, "skip"),
    ],
)
def test_the_clock_against_an_answer(reply: Reply, off: int, status: str) -> None:
    with ScriptedServer([reply]) as server:
        finding = reference.clock([server.url], 10, lambda: NOW + timedelta(seconds=off))
    assert finding.status == status
    if status == "fail":
        assert re.search(r"3\d{3} s (ahead of|behind) 127\.0\.0\.1", finding.what)
        assert "timedatectl" in finding.remedy


def test_the_clock_where_some_do_not_answer() -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    with ScriptedServer([dated(NOW)]) as server:
        assert reference.clock([dead, server.url], 10, lambda: NOW).status == "ok"
    with pytest.raises(TransientError, match="none of 1"):
        reference.clock([dead], 10, lambda: NOW)
    assert reference.clock([], 10).status == "skip"


INSTALLED = {
    "dagster": "1.13.27",
    **dict.fromkeys(versions.WITH_DAGSTER, "1.13.27"),
    **dict.fromkeys(versions.BESIDE_DAGSTER, "0.29.27"),
}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"dagster-webserver": "1.13.26"}, "dagster-webserver is 1.13.26, not 1.13.27"),
        ({"dagster-postgres": "0.29.20"}, "dagster-postgres is 0.29.20, not 0.29.27"),
        ({"dagster-aws": None}, "dagster-aws is not installed"),
        ({"dagster": None}, "is not installed"),
    ],
)
def test_dagsters_libraries_that_do_not_match(changed: dict[str, str | None], said: str) -> None:
    finding = versions.dagster({**INSTALLED, **changed})
    assert finding.status == "fail"
    assert said in finding.what
    assert "requirements.lock" in finding.remedy


def test_what_is_installed_here_is_in_order() -> None:
    for finding in (
        versions.python(),
        versions.dagster(INSTALLED),
        versions.dagster(versions.dagsters_installed()),
        versions.demands(),
    ):
        assert finding.status == "ok", finding


def test_demands_that_are_not_met() -> None:
    finding = versions.demands(
        [
            "sqlalchemy<1",
            "no-such-library>=2",
            "click>=8",
            "onnx<0; extra == 'model'",
            "pywin32; sys_platform == 'win32'",
        ]
    )
    assert finding.status == "fail"
    assert re.fullmatch(
        r"sqlalchemy is \S+, not <1; no-such-library is not installed", finding.what
    )


def test_the_lock_file(tmp_path: Path) -> None:
    file = tmp_path / "requirements.lock"
    assert versions.lock(file).status == "skip"
    pinned = f"click=={versions.installed_version('click')} \\\n    --hash=sha256:00\n"
    windows = "pywin32==1 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n"
    file.write_text(pinned + windows)
    assert versions.lock(file).what == "all 1 packages are as pinned"
    file.write_text(pinned + "msgspec==0.0.1 \\\nno-such-library==2 ; python_version > '3'\n")
    finding = versions.lock(file)
    assert finding.status == "warn"
    assert finding.what.startswith("2 of 3 differ: msgspec ")
    assert "no-such-library not installed (pinned 2)" in finding.what


def test_the_shipped_lock_file_is_read_whole() -> None:
    text = (CHECKOUT / "requirements.lock").read_text("utf-8")
    pinned = {line.partition("==")[0] for line in text.splitlines() if "==" in line[:60]}
    everywhere = {name for name in pinned if name and not name.startswith(" ")}
    assert set(versions.read_pins(text)) <= everywhere
    assert len(versions.read_pins(text)) > 100
