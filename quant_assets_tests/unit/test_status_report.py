"""The verdict on the state of the house, its JSON, and how it is drawn: plain values only."""

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from rich.console import Console

from quant_assets.cli.status import verdict_line
from quant_assets.cli.status_report import (
    DAEMON_IS_GONE,
    SCHEMA,
    AssetState,
    DaemonState,
    DeadLetterState,
    IncidentState,
    QuarantineState,
    QuotaState,
    Report,
    RunState,
    ScheduleState,
    SensorState,
    as_json,
    daemon_state,
    judged,
    schema,
    why_stuck,
)
from quant_assets.cli.status_view import drawn
from quant_assets_tests.json_schema import complaints

NOW = datetime(2026, 11, 30, 22, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
FRESH = AssetState(
    asset="us/prices",
    group="us",
    status="fresh",
    unit="session",
    newest="2026-11-30",
    complete="2026-11-30",
    due="2026-11-27",
    deadline=NOW + 2 * HOUR,
    rows=4,
    present=4,
    expected=4,
    last_success_at=NOW - HOUR,
    last_run_id="3f2a91bc-0000",
)
BEHIND = msgspec.structs.replace(
    FRESH, status="behind", newest="2026-11-24", behind=2, deadline=NOW - 73 * HOUR
)


def report(**parts: Any) -> Report:
    return judged(Report(at=NOW, profile="live", home="/srv/quant/.quant/live", **parts))


def asset(name: str, like: AssetState = BEHIND, **changes: Any) -> AssetState:
    group = name.partition("/")[0]
    return msgspec.structs.replace(like, asset=name, group=group, **changes)


def run(problem: str = "", **changes: Any) -> RunState:
    one = RunState(
        run_id="3f2a91bc-77", job="us_price", partition="2026-11-30", status="STARTED", since=NOW
    )
    return msgspec.structs.replace(one, problem=problem, **changes)


def schedule(**changes: Any) -> ScheduleState:
    one = ScheduleState(
        name="us_price",
        job="us_price",
        cron=["35 16 * * 1-5"],
        timezone="America/New_York",
        is_on=True,
        next_at=NOW + HOUR,
    )
    return msgspec.structs.replace(one, **changes)


GONE = DaemonState(status="gone", last_at=NOW - HOUR)
INCIDENT = IncidentState(severity="critical", title="us_price fails", count=3, opened_at=NOW - HOUR)
FULL = report(
    assets=[
        FRESH,
        asset("us/technical_score", degraded=3, present=3),
        asset("us/recommendations", FRESH, degraded=3, present=3),
        asset("kr/prices", FRESH, status="awaited", present=3),
        asset("news/articles", FRESH, unit="hour", newest="2026-11-30-20", expected=None),
        asset("macro/observations", FRESH, status="unreadable", problem="not a Parquet file"),
        asset("macro/regime", FRESH, status="empty", newest=None, expected=None, rows=None),
    ],
    schedules=[
        schedule(),
        schedule(name="kr_price", is_on=False, next_at=None),
        schedule(name="news_crawl", is_on=False, is_switched_off=True, next_at=None),
    ],
    sensors=[SensorState(name="alerts", is_on=True, problem="failed 3 times in a row: [red]x")],
    runs=[run("has lost its process"), run()],
    failed_runs=[run(status="FAILURE")],
    daemon=GONE,
    incidents=[INCIDENT, msgspec.structs.replace(INCIDENT, severity="warning", title="[b]odd")],
    dead_letters=DeadLetterState(open=2, counted_at=NOW),
    quota=QuotaState(left=0, limit=25, resets_at=NOW + 7 * HOUR),
    quarantine=[
        QuarantineState(asset="us/prices", held=2, partitions=400, partitions_looked_at=100)
    ],
    untold={"incidents": "the record is not readable"},
)


@pytest.mark.parametrize(
    ("parts", "reasons"),
    [
        ({}, []),
        ({"assets": [FRESH]}, []),
        ({"assets": [asset("us/prices", FRESH, status="awaited")]}, []),
        ({"assets": [asset("us/prices", status="empty")]}, []),
        ({"assets": [asset("us/prices", FRESH, present=3, demanded=3)]}, []),
        (
            {"assets": [asset("us/prices", FRESH, present=2, demanded=3)]},
            ["us: prices of 2026-11-30 are incomplete, 2 of 4 symbols, 3 are demanded"],
        ),
        (
            {"assets": [BEHIND, asset("us/recommendations"), asset("kr/prices", FRESH)]},
            [
                "us: prices, recommendations 2 sessions behind, "
                "2026-11-27 was due at 11-27 21:00 UTC"
            ],
        ),
        (
            {"assets": [BEHIND, asset("us/recommendations", status="lost", problem="is gone")]},
            [
                "us: prices 2 sessions behind, 2026-11-27 was due at 11-27 21:00 UTC",
                "us: recommendations lost: is gone",
            ],
        ),
        ({"daemon": GONE}, ["no daemon since 2026-11-30 21:00 UTC"]),
        ({"daemon": DaemonState(status="never")}, []),
        ({"daemon": DaemonState(status="alive", last_at=NOW, errors=["SENSOR: x"])}, []),
        ({"runs": [run()]}, []),
        ({"runs": [run("has lost its process")]},
         ["run 3f2a91bc of us_price has lost its process"]),
        ({"failed_runs": [run(status="FAILURE")]}, []),
        ({"schedules": [schedule(problem="failed 2 times in a row: no")]},
         ["the schedule us_price failed 2 times in a row: no"]),
        ({"schedules": [schedule(is_on=False, problem="failed 2 times in a row: no")]}, []),
        ({"sensors": [SensorState(name="alerts", is_on=False)]}, []),
        ({"incidents": [INCIDENT]}, ["open incident: us_price fails"]),
        ({"incidents": [msgspec.structs.replace(INCIDENT, severity="warning")]}, []),
        ({"incidents": [msgspec.structs.replace(INCIDENT, title="The sensor alerts fails")]}, []),
        ({"dead_letters": DeadLetterState(open=3)}, []),
        ({"quota": QuotaState(left=0, limit=25, resets_at=NOW)}, []),
        ({"untold": {"runs": "OperationalError: no server"}},
         ["runs cannot be told: OperationalError: no server"]),
        ({"untold": {"instance": "none was used"}}, ["no instance of Dagster: none was used"]),
    ],
)  # fmt: skip
def test_what_is_wrong_and_what_is_not(parts: dict[str, Any], reasons: list[str]) -> None:
    found = report(**parts)
    assert found.reasons == reasons
    assert found.is_healthy == (not reasons)
    line = verdict_line(found)
    assert line == ("healthy" if not reasons else f"unhealthy: {'; '.join(reasons)}")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("status", "age", "longest", "said"),
    [
        ("STARTED", timedelta(minutes=119), timedelta(hours=2), ""),
        ("STARTED", timedelta(hours=2), timedelta(hours=2), "has been running for 2 h 0 min"),
        ("STARTED", timedelta(hours=3), timedelta(hours=4), ""),
        ("STARTING", timedelta(minutes=9), timedelta(hours=2), ""),
        ("STARTING", timedelta(minutes=11), timedelta(0), "has been starting for 0 h 11 min"),
        ("NOT_STARTED", timedelta(days=2), timedelta(0), "has been starting for 48 h 0 min"),
        ("CANCELING", timedelta(hours=1), timedelta(0), "has been stopping for 1 h 0 min"),
        ("QUEUED", timedelta(minutes=59), timedelta(hours=2), ""),
        ("QUEUED", timedelta(hours=1), timedelta(0), "has been waiting in the queue for 1 h 0 min"),
        ("STARTED", timedelta(hours=-1), timedelta(hours=2), ""),
    ],
)  # fmt: skip
def test_a_run_that_takes_too_long_is_stuck(
    status: str, age: timedelta, longest: timedelta, said: str
) -> None:
    assert why_stuck(status, NOW - age, NOW, longest) == said


@pytest.mark.parametrize(
    ("beats", "needed", "status"),
    [
        ({}, ["SENSOR"], "never"),
        ({"SENSOR": timedelta(0), "SCHEDULER": timedelta(0)}, ["SENSOR", "SCHEDULER"], "alive"),
        ({"SENSOR": DAEMON_IS_GONE, "SCHEDULER": timedelta(0)}, ["SENSOR"], "gone"),
        ({"SENSOR": timedelta(0), "SCHEDULER": timedelta(days=1)}, ["SENSOR", "SCHEDULER"], "gone"),
        ({"SENSOR": timedelta(0), "BACKFILL": timedelta(days=1)}, ["SENSOR"], "alive"),
        ({"SENSOR": timedelta(0), "BACKFILL": timedelta(days=1)}, [], "alive"),
        ({"BACKFILL": timedelta(days=1)}, ["SENSOR"], "gone"),
    ],
)
def test_the_daemon_is_gone_when_a_needed_part_is_silent(
    beats: dict[str, timedelta], needed: list[str], status: str
) -> None:
    heartbeats = {part: (NOW - age, ["boom"]) for part, age in beats.items()}
    found = daemon_state(heartbeats, needed, NOW)
    assert found.status == status
    assert len(found.errors) == len(beats)


def test_the_shipped_schema_is_that_of_the_report() -> None:
    """Regenerate with ``python -m quant_assets.cli.status_report`` and review."""
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == schema()


@pytest.mark.parametrize("one", [FULL, report()], ids=["full", "empty"])
def test_json_obeys_the_schema(one: Report) -> None:
    told = json.loads(as_json(one))
    assert complaints(told, schema()) == []
    assert msgspec.json.decode(as_json(one), type=Report) == one


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("isHealthy",), "yes"),
        (("assets", 0, "status"), "rotten"),
        (("assets", 0, "behind"), 1.5),
        (("runs", 0, "since"), 1),
        (("untold", "runs"), None),
        (("surprise",), 1),
        (("at",), "2026-11-30T22:00:00"),
    ],
)
def test_the_schema_refuses_what_is_none(path: tuple[Any, ...], value: Any) -> None:
    told = json.loads(as_json(FULL))
    place = told
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert complaints(told, schema()) != []


def draw(one: Report, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(drawn(one, width), highlight=False)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_the_screen_and_shows_every_bad_thing(width: int) -> None:
    text = draw(FULL, width)
    assert max(len(line) for line in text.splitlines()) <= width
    flat = " ".join(text.split())
    for reason in FULL.reasons:
        assert " ".join(reason.split()) in flat
    for told in (
        "2 sessions behind",
        "3 degraded",
        "3/4",
        "2 open",
        "0 of 25 calls left",
        "2 of us/prices in the newest 100 of 400 partitions",
        "[red]x",
        "[b]odd",
    ):
        assert told in flat, told


def test_it_is_quiet_where_all_is_well() -> None:
    text = draw(report(assets=[FRESH], schedules=[], runs=[], incidents=[], quarantine=[]), 80)
    assert "healthy" in text
    assert "✗" not in text
    assert "!" not in text
