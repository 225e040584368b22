"""What goes wrong is seen, and so is that it is over: one test a source of alerts."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from quant_assets import naming
from quant_assets.resources import StoreResource
from quant_assets.sensors import alert_ends, alert_runs, alert_sources, alerts
from quant_assets_tests.dagster.alert_desk import (
    MINUTE,
    SECRET,
    Desk,
    Instigator,
    be_fast,
    ended,
    observe,
    open_desk,
    run,
    store_recommendations,
)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    be_fast(monkeypatch)
    with open_desk(tmp_path) as made:
        yield made


def test_each_failed_partition_must_be_made_up_for(desk: Desk) -> None:
    for day in ("2026-03-16", "2026-03-17"):
        run(desk, "no bars", day)
    desk.tick()
    run(desk, None, "2026-03-16")
    assert desk.tick() == "1 open: us_price fails"
    run(desk, "still none", "2026-03-17")
    desk.tick(11 * MINUTE)
    assert "3 ×" in desk.only_thread()[0]
    assert "still none" in desk.only_thread()[-1]
    run(desk, None, "2026-03-17")
    assert desk.tick() == "nothing is wrong"


def test_a_range_is_made_up_for_piece_by_piece(desk: Desk) -> None:
    span = {naming.TAG_RANGE_START: "2026-03-16", naming.TAG_RANGE_END: "2026-03-19"}
    ended(desk, dg.DagsterEventType.RUN_FAILURE, **span)
    assert desk.tick() == "1 open: us_price fails"
    for day in ("2026-03-17", "2026-03-16", "2026-03-19"):
        run(desk, None, day)
        assert desk.tick() == "1 open: us_price fails"
    run(desk, None, "2026-03-18")
    assert desk.tick() == "nothing is wrong"
    ended(desk, dg.DagsterEventType.RUN_FAILURE, **span)
    desk.tick()
    wider = {naming.TAG_RANGE_START: "2026-03-13", naming.TAG_RANGE_END: "2026-03-20"}
    ended(desk, dg.DagsterEventType.RUN_SUCCESS, **wider)
    desk.tick(6 * MINUTE)
    assert desk.tick(6 * MINUTE) == "nothing is wrong"
    assert len(desk.roots()) == 1, "it came back within the hour"


def test_a_range_is_made_up_for_asset_by_asset(desk: Desk) -> None:
    span = {naming.TAG_RANGE_START: "2026-03-16", naming.TAG_RANGE_END: "2026-03-17"}
    both = frozenset({"us/prices", "us/other"})
    part = alert_runs.Part("r1", tuple(span.values()), (tuple(span.values()),), both, "no bars")
    parts: tuple[alert_runs.Part, ...] = (part,)
    for asset in sorted(both):
        for day in span.values():
            assert parts
            parts = tuple(
                rest
                for one in parts
                for rest in alert_runs._rest(one, {asset}, (day, day), desk.settings)
            )
    assert parts == ()


def test_runs_that_are_wiped_hide_none_that_end_later(desk: Desk) -> None:
    for day in ("2026-03-16", "2026-03-17", "2026-03-18"):
        run(desk, None, day)
    assert desk.tick() == "nothing is wrong"
    for stored in desk.instance.get_runs():
        desk.instance.delete_run(stored.run_id)
    desk.instance.event_log_storage.wipe()
    run(desk, "no bars", "2026-03-16")
    for _ in range(3):
        assert desk.tick() == "1 open: us_price fails"
    assert "×" not in desk.only_thread()[0], "an end counts once"


def test_more_ends_than_a_look_takes_are_taken_by_the_next(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_ends, "RUNS_A_LOOK", 2)
    for _ in range(5):
        ended(desk, dg.DagsterEventType.RUN_SUCCESS)
    for _ in range(2):
        ended(desk, dg.DagsterEventType.RUN_FAILURE)
    for _ in range(5):
        desk.tick()
    assert desk.tick() == "1 open: us_price fails"
    assert "2 ×" in desk.only_thread()[0]


def test_a_text_that_is_no_unicode_is_told(desk: Desk) -> None:
    run(desk, "no bars \ud800 of the day", "2026-03-16")
    run(desk, "gap \udfff", "2026-03-17", dg.AssetCheckSeverity.ERROR)
    for _ in range(2):
        assert desk.tick().startswith("2 open: ")
    assert len(desk.roots()) == 2


def test_a_run_of_another_job_makes_up_for_the_assets_that_it_makes(desk: Desk) -> None:
    one = {naming.TAG_PARTITION: "2026-03-16"}
    for job in ("us_combined_analysis", "us_technical_analysis"):
        ended(desk, dg.DagsterEventType.RUN_FAILURE, job=job, **one)
    assert desk.tick().startswith("2 open")
    ended(desk, dg.DagsterEventType.RUN_SUCCESS, job="us_price", **one)
    assert desk.tick().startswith("2 open")
    ended(desk, dg.DagsterEventType.RUN_SUCCESS, job="us_technical_analysis", **one)
    assert desk.tick() == "1 open: us_combined_analysis fails"
    ended(desk, dg.DagsterEventType.RUN_SUCCESS, job="us_combined_analysis", **one)
    assert desk.tick() == "nothing is wrong"


def test_a_run_whose_process_died_is_told(desk: Desk) -> None:
    made = ended(desk, dg.DagsterEventType.RUN_START, **{naming.TAG_PARTITION: "2026-03-16"})
    assert desk.tick() == "nothing is wrong"
    run_ = desk.instance.get_run_by_id(made.run_id)
    assert run_ is not None
    desk.instance.report_run_failed(run_, "The process of the run died.")
    assert desk.tick() == "1 open: us_price fails"
    assert "The process of the run died." in "\n".join(desk.only_thread())


def test_what_is_canceled_or_repeated_is_no_incident(desk: Desk) -> None:
    one = {naming.TAG_PARTITION: "2026-03-16"}
    ended(desk, dg.DagsterEventType.RUN_CANCELED, **one)
    ended(desk, dg.DagsterEventType.RUN_FAILURE, **one, **{naming.TAG_REPEATS_LEFT: "2"})
    ended(desk, dg.DagsterEventType.RUN_FAILURE, **one, **{"dagster/will_retry": "true"})
    assert desk.tick() == "nothing is wrong"


def test_a_failure_waits_until_dagster_has_said_whether_it_repeats_it(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retries: dict[str, Any] = {"run_retries": {"enabled": True, "max_retries": 1}}
    with dg.instance_for_test(overrides=retries) as instance:
        desk.instance = instance
        made = ended(desk, dg.DagsterEventType.RUN_CANCELED)
        log = instance.event_log_storage
        entry = log.get_records_for_run(made.run_id).records[0].event_log_entry
        failure = dg.DagsterEvent(
            event_type_value=dg.DagsterEventType.RUN_FAILURE.value, job_name=made.job_name
        )
        instance.run_storage.handle_run_event(made.run_id, failure, datetime.now(UTC))
        log.store_event(entry._replace(dagster_event=failure))
        assert desk.tick() == "nothing is wrong", "nobody has decided yet"
        monkeypatch.setattr(alert_runs, "RETRY_DECISION", timedelta(0))
        assert desk.tick() == "1 open: us_price fails"


def test_a_failure_of_which_nothing_is_heard_for_a_week_is_closed(desk: Desk) -> None:
    run(desk, "no bars", "2026-03-16")
    desk.tick()
    desk.now = datetime.now(UTC) + timedelta(days=7, hours=1)
    assert desk.tick() == "nothing is wrong"
    assert "nothing new for 7 days" in desk.only_thread()[-1]
    assert desk.tick() == "nothing is wrong"


@pytest.mark.parametrize(
    ("severity", "sign"),
    [(dg.AssetCheckSeverity.ERROR, ":rotating_light:"), (dg.AssetCheckSeverity.WARN, ":warning:")],
)
def test_a_check_that_fails_is_told_until_it_passes(desk: Desk, severity: Any, sign: str) -> None:
    run(desk, "3 days without a bar", "2026-03-16", severity)
    assert desk.tick() == "1 open: Check gaps of us/prices fails"
    run(desk, "4 days without a bar", "2026-03-17", severity)
    desk.tick(11 * MINUTE)
    line, *replies = desk.only_thread()
    assert line.startswith(f"{sign} *Check gaps of us/prices fails*")
    assert "2 ×" in line
    assert "2026-03-17: 4 days without a bar" in "\n".join(replies)
    run(desk, None, "2026-03-17")
    assert desk.tick() == "nothing is wrong"


def test_recommendations_that_are_overdue_are_told_until_they_are_there(desk: Desk) -> None:
    desk.now = datetime(2026, 3, 19, 22, 58, tzinfo=UTC)
    assert desk.tick() == "nothing is wrong", "nobody ever asked for any"
    store_recommendations(desk, "2026-03-17", "2026-03-18")
    assert desk.tick() == "nothing is wrong", "those of the 19th are due at 23:00"
    title = "1 open: United States: no recommendations of 2026-03-19"
    assert desk.tick(MINUTE) == title
    (line, *_) = desk.only_thread()
    assert line.startswith(":warning:")
    assert "QUANT_RECOMMENDATIONS_DEADLINE_MINUTES" in "\n".join(desk.only_thread())
    desk.tick(timedelta(days=1))
    assert "2 ×" in desk.only_thread()[0]
    store_recommendations(desk, "2026-03-20")
    assert desk.tick() == "nothing is wrong"


def test_data_that_are_gone_end_no_incident(desk: Desk) -> None:
    store_recommendations(desk, "2026-03-17")
    title = "1 open: United States: no recommendations of 2026-03-19"
    assert desk.tick() == title
    shelf = desk.settings.data_dir / "us"
    shelf.rename(shelf.with_name("away"))
    said = desk.tick()
    assert "no recommendations of 2026-03-19" in said
    assert "Alerts of the kind stale cannot be made" in said
    posted = "\n".join(message.text for message in desk.sandbox.slack.messages())
    assert str(shelf / "recommendations") in posted
    shelf.with_name("away").rename(shelf)
    assert desk.tick() == title


def test_a_secret_at_the_cut_is_masked_before_it_is_cut() -> None:
    error = SimpleNamespace(message=f"{'x' * 230} {SECRET}", cause=None)
    line = alert_sources.first_line(error, [SECRET])
    assert SECRET[:6] not in line


def test_open_dead_letters_are_told_until_none_is(desk: Desk) -> None:
    observe(desk, 0)
    assert desk.tick() == "nothing is wrong"
    observe(desk, 3, INVALID_JSON=2, UNKNOWN_FIELD=1)
    assert desk.tick() == "1 open: Messages could not be processed"
    thread = "\n".join(desk.only_thread())
    assert "3 ×" in thread
    assert "INVALID_JSON: 2 open" in thread
    observe(desk, 0)
    assert desk.tick() == "nothing is wrong"


def test_a_used_up_quota_is_told_until_it_returns(desk: Desk) -> None:
    desk.set(QUANT_ALPHA_VANTAGE_CALLS_PER_DAY=1)
    assert desk.tick() == "nothing is wrong"
    from quant_assets.resources.base import shown_settings
    from quant_assets.resources.vendors import AlphaVantageResource

    resource = AlphaVantageResource(values=shown_settings(desk.settings))
    quota = resource.quota(lambda: desk.now)
    assert quota is not None
    quota.spend()
    assert desk.tick() == "1 open: Alpha Vantage: no calls left today"
    assert desk.only_thread()[0].startswith(":information_source:")
    assert desk.tick(timedelta(hours=24)) == "nothing is wrong"


def test_a_sensor_whose_ticks_fail_is_told_until_one_works(desk: Desk) -> None:
    requests = Instigator(desk.instance, "event_requests", "quant_assets")
    requests.tick("FAILURE", "no broker")
    assert desk.tick() == "nothing is wrong", "once may be chance"
    requests.tick("FAILURE", f"no broker <!channel> {SECRET}")
    requests.tick("STARTED")
    assert desk.tick() == "1 open: The sensor event_requests fails"
    thread = "\n".join(desk.only_thread())
    assert "ValueError: no broker &lt;!channel&gt; [redacted]" in thread
    assert "2 ×" in thread
    (root,) = desk.roots()
    assert "/locations/__repository__@quant_assets/sensors/event_requests" in str(root.blocks)
    requests.tick("FAILURE", "no broker")
    requests.tick("FAILURE", "no broker")
    desk.tick()
    assert "4 ×" in desk.only_thread()[0]
    requests.tick("SKIPPED")
    assert desk.tick() == "nothing is wrong"


def test_ticks_of_other_code_locations_are_not_ours(desk: Desk) -> None:
    other = Instigator(desk.instance, "their_sensor", "theirs")
    for _ in range(3):
        other.tick("FAILURE", "not ours")
    watch = alerts.Watch(
        desk.instance,
        StoreResource(root=str(desk.settings.data_dir), profile="sandbox").open(),
        desk.settings,
        desk.now,
        location="quant_assets",
    )
    assert alerts.tick(watch, None, logging.getLogger()) == "nothing is wrong"
    assert desk.tick() == "1 open: The sensor their_sensor fails"
