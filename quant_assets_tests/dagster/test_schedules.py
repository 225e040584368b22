"""The schedules on a real instance: what a tick asks for, whatever happened before it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from quant_assets import naming
from quant_assets.definitions import build_defs
from quant_assets.hooks.runs import is_to_be_repeated, partitions_of
from quant_assets.jobs import NAMED_JOBS
from quant_assets.resources import ClockResource
from quant_assets.sandbox.faults import Fault
from quant_assets.schedules import build_schedules, schedule_of
from quant_assets.sensors.common import REPEATS
from quant_assets.sensors.dead_runs import repeat_requests
from quant_assets.sensors.follow_up import build_follow_up_sensor, following
from quant_assets.sensors.partition_state import known_partitions, unasked_run
from quant_assets.settings import Settings
from quant_assets.timetable import rules
from quant_assets_tests.platform import NOW, Platform, platform

DEFS = build_defs(Settings())
JOBS = [DEFS.resolve_job_def(name) for name in NAMED_JOBS]
RULES = rules()
Spans = list[tuple[str, str]]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(tempdir=str(tmp_path)) as made:
        yield made


def tick(
    instance: dg.DagsterInstance, name: str, at: str, defs: dg.Definitions = DEFS
) -> list[dg.RunRequest]:
    """Evaluate a schedule as the daemon does."""
    schedule = next(s for s in defs.schedules or [] if s.name == name)
    assert isinstance(schedule, dg.ScheduleDefinition)
    context = dg.build_schedule_context(
        instance=instance, scheduled_execution_time=datetime.fromisoformat(at)
    )
    return list(schedule.evaluate_tick(context).run_requests or [])


def _reload(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found


def spans(requests: list[dg.RunRequest]) -> Spans:
    """First and last partition of each request."""
    one, first, last = naming.TAG_PARTITION, naming.TAG_RANGE_START, naming.TAG_RANGE_END
    return [(r.tags.get(first) or r.tags[one], r.tags.get(last) or r.tags[one]) for r in requests]


def start(instance: dg.DagsterInstance, request: dg.RunRequest, job: str = "") -> dg.DagsterRun:
    return instance.create_run_for_job(
        DEFS.resolve_job_def(job or str(request.job_name)),
        tags=dict(request.tags),
        status=dg.DagsterRunStatus.STARTED,
    )


def end(instance: dg.DagsterInstance, run: dg.DagsterRun, *, is_failed: bool = False) -> None:
    """End a run as its process would: with its partitions, or with a failed step."""
    if is_failed:
        instance.report_run_failed(run, "Steps failed")
        instance.add_run_tags(run.run_id, {"dagster/failure_reason": "STEP_FAILURE"})
        return
    materialize(instance, run.job_name, *partitions_of(run))
    success = dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, job_name=run.job_name)
    instance.report_dagster_event(success, run.run_id)


def materialize(instance: dg.DagsterInstance, job: str, first: str, last: str) -> None:
    rule = RULES[job]
    at = datetime.fromisoformat(last[:10]).replace(tzinfo=UTC) + timedelta(days=6)
    for key in rule.due(at - timedelta(days=40), at):
        if first <= key <= last:
            for asset in rule.assets:
                instance.report_runless_asset_event(
                    dg.AssetMaterialization(asset.split("/"), partition=key)
                )


def test_a_tick_asks_for_the_session_that_ended(instance: dg.DagsterInstance) -> None:
    (request,) = tick(instance, "us_price", "2026-03-10T09:00+00:00")
    assert spans([request]) == [("2026-03-09", "2026-03-09")]
    assert request.tags[naming.TAG_TRY_UNTIL] == "2026-03-10T12:00:00+00:00"
    assert request.tags.items() >= REPEATS.items()


def test_the_time_of_seoul_counts(instance: dg.DagsterInstance) -> None:
    materialize(instance, "us_price", "2026-03-06", "2026-03-06")
    (request,) = tick(instance, "us_combined_analysis", "2026-03-09T23:45+09:00")
    assert spans([request]) == [("2026-03-06", "2026-03-06")]


def test_the_same_tick_twice_and_a_renamed_schedule_ask_once(instance: dg.DagsterInstance) -> None:
    (request,) = tick(instance, "us_price", "2026-03-10T09:00+00:00")
    run = start(instance, request)
    assert tick(instance, "us_price", "2026-03-10T09:00+00:00") == []
    end(instance, run)
    assert tick(instance, "us_price", "2026-03-10T09:00+00:00") == []
    # Nothing rests on the name of the schedule that asked.
    renamed = schedule_of(RULES["us_price"], dg.DefaultScheduleStatus.RUNNING, name="renamed")
    others = dg.Definitions(assets=DEFS.assets, jobs=DEFS.jobs, schedules=[renamed])
    assert tick(instance, "renamed", "2026-03-10T09:00+00:00", others) == []


def test_after_five_sessions_without_a_daemon_one_tick_catches_up(
    instance: dg.DagsterInstance,
) -> None:
    materialize(instance, "us_price", "2026-03-02", "2026-03-02")
    requests = tick(instance, "us_price", "2026-03-11T09:00+00:00")
    assert spans(requests) == [("2026-03-10", "2026-03-10"), ("2026-03-03", "2026-03-09")]
    runs = [start(instance, request) for request in requests]
    # Dagster may evaluate ticks that it missed one after the other.
    assert tick(instance, "us_price", "2026-03-11T09:00+00:00") == []
    for run in runs:
        end(instance, run)
    assert spans(tick(instance, "us_price", "2026-03-12T09:00+00:00")) == [
        ("2026-03-11", "2026-03-11")
    ]


def test_a_clock_that_went_back_asks_for_nothing_twice(instance: dg.DagsterInstance) -> None:
    materialize(instance, "us_price", "2026-03-02", "2026-03-09")
    assert tick(instance, "us_price", "2026-03-06T09:00+00:00") == []
    assert spans(tick(instance, "us_price", "2026-03-11T09:00+00:00")) == [
        ("2026-03-10", "2026-03-10")
    ]


def test_macro_is_asked_for_again_while_news_are_not(instance: dg.DagsterInstance) -> None:
    materialize(instance, "macro_sync", "2026-03-01", "2026-03-09")
    materialize(instance, "news_crawl", "2026-03-09-00", "2026-03-09-22")
    assert spans(tick(instance, "macro_sync", "2026-03-10T23:00+00:00")) == [
        ("2026-03-09", "2026-03-10")
    ]
    assert tick(instance, "news_crawl", "2026-03-09T23:05+00:00") == []
    assert spans(tick(instance, "news_crawl", "2026-03-10T02:05+00:00")) == [
        ("2026-03-10-01", "2026-03-10-01"),
        ("2026-03-09-23", "2026-03-10-00"),
    ]


def test_late_data_are_tried_again_until_the_deadline(instance: dg.DagsterInstance) -> None:
    """Later and later; the last try has no repeat left, so that its failure is told."""
    start_at = datetime.now(UTC)
    until = start_at + timedelta(hours=1)
    request = unasked_run(RULES["us_price"], "2026-03-09", "2026-03-09", key="x", try_until=until)
    waits: list[int] = []
    while True:
        run = start(instance, request, "us_price")
        end(instance, run, is_failed=True)
        if not is_to_be_repeated(_reload(instance, run)):
            break
        failed_at = datetime.now(UTC)
        waits.append(
            next(
                seconds
                for seconds in range(0, 7200, 20)
                if repeat_requests(instance, failed_at + timedelta(seconds=seconds))
            )
        )
        elapsed = timedelta(seconds=sum(waits))
        (request,) = repeat_requests(instance, start_at + elapsed + timedelta(seconds=5))
        assert spans([request]) == [("2026-03-09", "2026-03-09")]
        assert start_at + elapsed <= until
    assert waits == [60, 120, 240, 480, 960]
    assert repeat_requests(instance, start_at + timedelta(days=1)) == []


def test_a_failed_session_counts_as_under_way_until_it_is_given_up(
    instance: dg.DagsterInstance,
) -> None:
    materialize(instance, "us_price", "2026-03-06", "2026-03-06")
    (request,) = tick(instance, "us_price", "2026-03-10T09:00+00:00")
    run = start(instance, request)
    end(instance, run, is_failed=True)
    assert spans(tick(instance, "us_price", "2026-03-11T09:00+00:00")) == [
        ("2026-03-10", "2026-03-10")
    ]
    instance.add_run_tags(run.run_id, {naming.TAG_REPEATS_LEFT: "0"})
    assert spans(tick(instance, "us_price", "2026-03-11T09:00+00:00")) == [
        ("2026-03-10", "2026-03-10"),
        ("2026-03-09", "2026-03-09"),
    ]


def test_on_a_saturday_the_runs_of_friday_count(instance: dg.DagsterInstance) -> None:
    """Its decision is on Monday: the schedule of the analysis does not look at it yet."""
    saturday = datetime(2026, 3, 7, 9, 10, tzinfo=UTC)
    sessions = RULES["us_price"].due(saturday - timedelta(days=14), saturday)
    assert sessions[-1] == "2026-03-06"
    materialize(instance, "us_price", "2026-03-02", "2026-03-06")
    materialize(instance, "us_combined_analysis", "2026-03-02", "2026-03-04")
    rule = RULES["us_combined_analysis"]
    request = unasked_run(rule, "2026-03-05", "2026-03-06", key="x", try_until=saturday)
    asset_run = start(instance, request)
    known = known_partitions(instance, rule, saturday, sessions)
    assert following(sessions, known) == []
    instance.report_run_canceled(asset_run)
    known = known_partitions(instance, rule, saturday, sessions)
    assert following(sessions, known) == [["2026-03-05", "2026-03-06"]]


def test_schedules_run_in_the_live_profile_only() -> None:
    for profile, status in (("live", "RUNNING"), ("sandbox", "STOPPED")):
        values = Settings(QUANT_PROFILE=profile)
        made = build_schedules(values)
        assert {s.name for s in made} == {*RULES, "housekeeping"}
        assert {s.default_status.value for s in made} == {status}
        assert build_follow_up_sensor(values, JOBS).default_status.value == status


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("small"), us=("AAPL",), kr=("005930.KS",)) as made:
        yield made


def follow(on: Platform) -> list[dg.RunRequest]:
    clock = ClockResource(fixed_now=NOW.isoformat())
    context = dg.build_sensor_context(instance=on.instance, resources={"clock": clock})
    sensor = on.defs.resolve_sensor_def("analysis_follow_up")
    return list(sensor.evaluate_tick(context).run_requests or [])


def test_the_analysis_follows_the_prices(small: Platform) -> None:
    assert follow(small) == []
    small.run("us_price", "2026-03-18", "2026-03-19")
    (request,) = follow(small)
    assert request.job_name == "us_combined_analysis"
    assert spans([request]) == [("2026-03-19", "2026-03-19")]
    fetching = small.instance.create_run_for_job(
        small.defs.resolve_job_def("news_crawl"), status=dg.DagsterRunStatus.STARTED
    )
    assert follow(small) == [], "it waits for news that are being fetched"
    small.instance.report_run_canceled(fetching)
    small.run("us_combined_analysis", "2026-03-19")
    assert follow(small) == []


@pytest.mark.parametrize(
    ("job", "partition", "left"),
    [("kr_combined_analysis", "2026-03-19", "8"), ("news_crawl", "2026-03-01-00", "0")],
)
def test_only_an_error_that_will_come_again_ends_the_repeats(
    small: Platform, job: str, partition: str, left: str
) -> None:
    """Prices that are not there may come; a day's calls that are used up do not."""
    small.sandbox.faults.add(Fault("alpha_vantage", "quota"))
    until = datetime.now(UTC) + timedelta(hours=1)
    request = unasked_run(RULES[job], partition, partition, key="x", try_until=until)
    result = small.defs.resolve_job_def(job).execute_in_process(
        instance=small.instance,
        tags=dict(request.tags),
        partition_key=partition,
        raise_on_error=False,
    )
    small.sandbox.faults.clear()
    assert not result.success
    (run,) = small.instance.get_runs(dg.RunsFilter(run_ids=[result.run_id]))
    assert run.tags[naming.TAG_REPEATS_LEFT] == left
