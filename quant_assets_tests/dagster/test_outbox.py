"""What ended runs could not say themselves is said by the outbox, once the broker can be reached.

Broker, Dagster instance and stored partitions are real; a kill is a kill of a process.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from quant_assets.errors import TransientError
from quant_assets.events.envelope import derived_id
from quant_assets.events.publisher import Publisher
from quant_assets.hooks import runs as hook_runs
from quant_assets.hooks.outcomes import is_published, published_tag
from quant_assets.naming import TAG_PARTITION, TAG_RANGE_END, TAG_RANGE_START
from quant_assets.resources import ClockResource, build_resources
from quant_assets.resources import events as resource_events
from quant_assets.sandbox import locate
from quant_assets.sandbox.broker import EmbeddedBroker
from quant_assets.sandbox.faults import Fault
from quant_assets.sandbox.server import Sandbox
from quant_assets.sensors import outbox as outbox_module
from quant_assets.settings import Settings
from quant_assets_tests.dagster.event_answers import Listener, Outbox, ask, execute
from quant_assets_tests.platform import NOW, Platform, platform

DAYS = ("2026-03-16", "2026-03-17", "2026-03-18", "2026-03-19")
RETRIES: dict[str, Any] = {"run_retries": {"enabled": True, "max_retries": 1}}


@pytest.fixture(autouse=True, scope="module")
def _patient() -> Iterator[None]:
    """Hooks that give up on a busy machine would leave to the outbox what a test expects."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resource_events, "WAIT_SECONDS", 60.0)
        yield


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as started:
        yield started


@pytest.fixture(scope="module")
def heard(broker: EmbeddedBroker) -> Listener:
    return Listener(broker.bootstrap_servers)


@pytest.fixture
def p(tmp_path: Path) -> Iterator[Platform]:
    """A platform without a broker: its hooks say nothing."""
    with platform(tmp_path, us=["AAPL"]) as made:
        yield made


@pytest.fixture
def outbox(p: Platform, broker: EmbeddedBroker) -> Outbox:
    """The outbox of the platform, which has found a broker in the meantime."""
    return Outbox.of(p, KAFKA_BOOTSTRAP_SERVERS=broker.bootstrap_servers)


def started_run(p: Platform, job: str = "us_price", **tags: str) -> dg.DagsterRun:
    """A run that has begun and whose steps never ran."""
    partition = {} if TAG_RANGE_START in tags else {TAG_PARTITION: DAYS[-1]}
    run = p.instance.create_run_for_job(p.defs.resolve_job_def(job), tags={**partition, **tags})
    report(p, run, dg.DagsterEventType.RUN_START)
    return run


def report(p: Platform, run: dg.DagsterRun, kind: dg.DagsterEventType) -> None:
    event = dg.DagsterEvent(event_type_value=kind.value, job_name=run.job_name)
    p.instance.report_dagster_event(event, run.run_id)


def published(p: Platform, run_id: str) -> bool:
    run = p.instance.get_run_by_id(run_id)
    assert run is not None
    return is_published(run)


def test_runs_without_a_broker_are_answered_when_there_is_one(
    p: Platform, outbox: Outbox, heard: Listener
) -> None:
    request, tag = ask(event_type="stock.price.sync.requested", thread_ts="5")
    good = execute(p, "us_price", DAYS[-1], tags=tag).run_id
    p.sandbox.faults.add(Fault("yahoo.chart", "empty"))
    bad = execute(p, "us_price", DAYS[0]).run_id
    p.sandbox.faults.clear()
    assert "no broker" in Outbox.of(p).tick()
    assert outbox.tick() == "sent the outcome of 2 run(s)"
    said = heard.only(good, "stock.price.updated")
    assert said.key == request
    assert said.id == str(derived_id(request, "stock.price.updated", "us/prices"))
    assert said.payload["rows"] == 1
    assert said.payload["threadTs"] == "5"
    failed = heard.only(bad, "stock.price.failed").payload
    assert failed["errorType"] == "BadDataError"
    assert "QUANT_CALENDAR_OVERRIDES" in failed["message"]
    assert failed["step"] == "us__prices"
    assert heard.statuses(good) == ["completed 1/1"]
    assert heard.statuses(bad) == ["failed 0/1"]
    assert published(p, good)
    assert published(p, bad)
    assert outbox.tick() == "every outcome is sent"
    assert len(heard.of(good, "stock.price.updated")) == 1


def test_a_run_whose_process_died_has_failed(p: Platform, outbox: Outbox, heard: Listener) -> None:
    run = started_run(p)
    assert outbox.tick() == "every outcome is sent", "the run is not over"
    p.instance.report_run_failed(run, "The process of the run died.")
    outbox.tick()
    payload = heard.only(run.run_id, "stock.price.failed").payload
    assert (payload["errorType"], payload["message"]) == (
        "RunFailed",
        "The process of the run died.",
    )
    assert "step" not in payload


def test_a_canceled_run_has_failed_for_that(p: Platform, outbox: Outbox, heard: Listener) -> None:
    run = started_run(p, "us_combined_analysis")
    p.instance.report_run_canceled(run, "interrupted by the user")
    outbox.tick()
    payload = heard.only(run.run_id, "analysis.failed").payload
    assert payload["errorType"] == "Canceled"
    assert "interrupted by the user" in payload["message"]


def test_what_was_stored_before_the_run_died_is_complete(
    p: Platform, outbox: Outbox, heard: Listener
) -> None:
    """A run that died, or whose check broke, after its last asset was stored."""
    run_id = execute(p, "us_price", DAYS[-1]).run_id
    run = p.instance.get_run_by_id(run_id)
    assert run is not None
    p.instance.report_run_failed(run, "killed during the checks")
    outbox.tick()
    assert heard.only(run_id, "stock.price.updated").payload["rows"] == 1
    assert heard.of(run_id, "stock.price.failed") == []


def test_a_partition_that_cannot_be_read_does_not_stall_the_others(
    p: Platform, outbox: Outbox, heard: Listener
) -> None:
    gone, broken, good = (execute(p, "us_price", day).run_id for day in DAYS[:3])
    p.store.delete("us/prices", [DAYS[0]])
    p.store.path("us/prices", DAYS[1]).write_bytes(b"no parquet")
    assert outbox.tick() == "sent the outcome of 3 run(s)"
    for run_id, day in ((gone, DAYS[0]), (broken, DAYS[1])):
        payload = heard.only(run_id, "stock.price.failed").payload
        assert payload["errorType"] == "BadDataError"
        assert "materialize" in payload["message"]
        assert day in payload["message"]
    assert heard.only(good, "stock.price.updated").payload["rows"] == 1


@pytest.mark.parametrize(
    "span", [("2026-03-14", "2026-03-15"), ("2026-03-19", "2026-03-16")], ids=["closed", "reversed"]
)
@pytest.mark.parametrize(
    "ended", [dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_SUCCESS]
)
def test_a_run_of_partitions_that_do_not_exist_does_not_stall_the_others(
    p: Platform,
    outbox: Outbox,
    heard: Listener,
    span: tuple[str, str],
    ended: dg.DagsterEventType,
) -> None:
    run = started_run(p, **{TAG_RANGE_START: span[0], TAG_RANGE_END: span[1]})
    report(p, run, ended)
    assert outbox.tick() == "sent the outcome of 1 run(s)"
    payload = heard.only(run.run_id, "stock.price.failed").payload
    assert "partitions" not in payload
    if ended == dg.DagsterEventType.RUN_SUCCESS:
        assert payload["errorType"] == "BadDataError"
        assert repr(span[0]) in payload["message"]


def test_a_fault_of_one_answer_does_not_stall_the_others(
    p: Platform, outbox: Outbox, heard: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (execute(p, "us_price", day).run_id for day in DAYS[:2])
    universe = Settings.universe

    def breaks(self: Settings, market: str) -> Any:
        if not heard.of(first, "stock.price.failed"):
            raise RuntimeError("a defect")
        return universe(self, market)

    monkeypatch.setattr(Settings, "universe", breaks)
    outbox.tick()
    payload = heard.only(first, "stock.price.failed").payload
    assert (payload["errorType"], payload["message"]) == ("RuntimeError", "a defect")
    assert heard.only(second, "stock.price.updated").payload["rows"] == 1


def test_an_absent_broker_fails_the_tick_and_nothing_is_passed_over(
    p: Platform, outbox: Outbox, heard: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = execute(p, "us_price", DAYS[-1]).run_id
    with EmbeddedBroker() as gone:
        away = Outbox.of(p, KAFKA_BOOTSTRAP_SERVERS=gone.bootstrap_servers)
    with monkeypatch.context() as impatient:
        impatient.setattr(outbox_module, "ANSWER_SECONDS", 0.2)
        for _ in range(2):
            with pytest.raises(TransientError, match="is it up"):
                away.tick()
            assert not published(p, run_id)
    outbox.cursor = away.cursor
    assert outbox.tick() == "sent the outcome of 1 run(s)"
    assert heard.only(run_id, "stock.price.updated").payload["rows"] == 1


def test_hooks_that_lost_their_broker_leave_the_rest_to_the_outbox(
    tmp_path: Path, heard: Listener, broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker dies between two runs; what the second one could not say comes later."""
    first = EmbeddedBroker()
    with platform(tmp_path, us=["AAPL"], KAFKA_BOOTSTRAP_SERVERS=first.start()) as p:
        told = execute(p, "us_price", DAYS[0]).run_id
        assert published(p, told)
        first.stop()
        monkeypatch.setattr(resource_events, "WAIT_SECONDS", 0.2)
        untold = execute(p, "us_price", DAYS[1])
        assert untold.success
        assert not published(p, untold.run_id)
        outbox = Outbox.of(p, KAFKA_BOOTSTRAP_SERVERS=broker.bootstrap_servers)
        assert outbox.tick() == "sent the outcome of 1 run(s)"
    assert heard.only(untold.run_id, "stock.price.updated").payload["rows"] == 1
    assert heard.of(told, "stock.price.updated") == []


def test_many_runs_take_several_ticks_and_none_is_left_behind(
    p: Platform, outbox: Outbox, heard: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where more runs than a page holds stand in the window that is scanned again."""
    monkeypatch.setattr(outbox_module, "RUNS_A_TICK", 3)
    monkeypatch.setattr(hook_runs, "PAGE", 2)
    runs = []
    for number in range(8):
        run = started_run(p, **{"n": str(number)})
        report(p, run, dg.DagsterEventType.RUN_CANCELED)
        runs.append(run.run_id)
    before = datetime.now(UTC)
    said = [outbox.tick() for _ in range(4)]
    assert said == [
        "sent the outcome of 3 run(s); the others follow",
        "sent the outcome of 3 run(s); the others follow",
        "sent the outcome of 2 run(s)",
        "every outcome is sent",
    ]
    assert before <= datetime.fromisoformat(str(outbox.cursor)), "marked runs are passed"
    for run_id in runs:
        assert len(heard.of(run_id, "stock.price.failed")) == 1


def test_runs_that_ended_at_the_same_instant_are_all_found(
    p: Platform, outbox: Outbox, heard: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook_runs, "PAGE", 2)
    at = datetime.now(UTC) - timedelta(seconds=5)
    runs = []
    for _ in range(7):
        run = started_run(p)
        event = dg.DagsterEvent(
            event_type_value=dg.DagsterEventType.RUN_CANCELED.value, job_name=run.job_name
        )
        p.instance.run_storage.handle_run_event(run.run_id, event, at)
        runs.append(run.run_id)
    found = hook_runs.finished_runs(p.instance, at - timedelta(seconds=1), datetime.now(UTC))
    assert sorted(record.dagster_run.run_id for record in found) == sorted(runs)
    assert outbox.tick() == "sent the outcome of 7 run(s)"
    for run_id in runs:
        assert len(heard.of(run_id, "stock.price.failed")) == 1


def test_the_first_tick_looks_back_a_day(
    p: Platform, outbox: Outbox, heard: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started_run(p)
    event = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.RUN_CANCELED.value, job_name=run.job_name
    )
    yesterday = datetime.now(UTC) - timedelta(hours=23)
    p.instance.run_storage.handle_run_event(run.run_id, event, yesterday)
    older = started_run(p)
    p.instance.run_storage.handle_run_event(older.run_id, event, yesterday - timedelta(hours=3))
    outbox.cursor = "nonsense"
    assert outbox.tick() == "sent the outcome of 1 run(s)"
    assert heard.of(older.run_id, "stock.price.failed") == []


def test_an_end_that_becomes_visible_late_is_found(
    p: Platform, outbox: Outbox, heard: Listener
) -> None:
    """Its time lies before the cursor: another process's clock, or a slow transaction."""
    event = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.RUN_CANCELED.value, job_name="us_price"
    )
    now = datetime.now(UTC)
    for age in (timedelta(minutes=1), timedelta(minutes=4)):
        run = started_run(p)
        p.instance.run_storage.handle_run_event(run.run_id, event, now - age)
        assert outbox.tick() == "sent the outcome of 1 run(s)"
        assert len(heard.of(run.run_id, "stock.price.failed")) == 1


def test_a_run_that_dagster_repeats_is_answered_by_its_repetition(
    p: Platform, outbox: Outbox, heard: Listener
) -> None:
    """The repetition begins with the tags of the first run, also with its mark."""
    request, tag = ask(event_type="stock.price.sync.requested")
    run = started_run(p, **tag)
    p.instance.report_run_failed(run, "The process of the run died.")
    p.instance.add_run_tags(run.run_id, {"dagster/will_retry": "true"})
    assert outbox.tick() == "every outcome is sent"
    retried = p.instance.create_run_for_job(
        p.defs.resolve_job_def("us_price"),
        tags={TAG_PARTITION: DAYS[-1], **tag, **published_tag(run.run_id, datetime.now(UTC))},
        root_run_id=run.run_id,
        parent_run_id=run.run_id,
    )
    p.instance.add_run_tags(run.run_id, {"dagster/auto_retry_run_id": retried.run_id})
    report(p, retried, dg.DagsterEventType.RUN_START)
    p.instance.report_run_failed(retried, "It died again.")
    p.instance.add_run_tags(retried.run_id, {"dagster/will_retry": "false"})
    assert outbox.tick() == "sent the outcome of 1 run(s)"
    assert heard.of(run.run_id, "stock.price.failed") == []
    said = heard.only(retried.run_id, "stock.price.failed")
    assert (said.key, said.payload["message"]) == (request, "It died again.")


def test_a_failed_run_waits_until_dagster_has_said_whether_it_repeats_it(
    tmp_path: Path, broker: EmbeddedBroker, heard: Listener
) -> None:
    """The failure can be seen some milliseconds before that decision."""
    with platform(tmp_path, us=["AAPL"]) as p:
        outbox = Outbox.of(p, KAFKA_BOOTSTRAP_SERVERS=broker.bootstrap_servers)
        with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path), settings=RETRIES) as instance:
            outbox.instance = instance
            undecided, decided, late = (
                instance.create_run_for_job(
                    p.defs.resolve_job_def("us_price"), tags={TAG_PARTITION: DAYS[-1], **tags}
                )
                for tags in ({}, {"dagster/will_retry": "false"}, {})
            )
            failed = dg.DagsterEvent(
                event_type_value=dg.DagsterEventType.RUN_FAILURE.value, job_name="us_price"
            )
            now = datetime.now(UTC)
            for run, at in (
                (late, now - timedelta(minutes=3)),
                (undecided, now - timedelta(seconds=2)),
                (decided, now - timedelta(seconds=1)),
            ):
                instance.run_storage.handle_run_event(run.run_id, failed, at)
            assert outbox.tick() == "sent the outcome of 2 run(s)"
            assert heard.of(undecided.run_id, "stock.price.failed") == []
            assert datetime.fromisoformat(str(outbox.cursor)) < now - timedelta(seconds=2)
            instance.add_run_tags(undecided.run_id, {"dagster/will_retry": "false"})
            assert outbox.tick() == "sent the outcome of 1 run(s)"
            assert len(heard.of(undecided.run_id, "stock.price.failed")) == 1


def test_a_step_failure_that_dagster_may_repeat_is_left_to_the_outbox(
    tmp_path: Path, broker: EmbeddedBroker, heard: Listener
) -> None:
    servers = {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers}
    with (
        platform(tmp_path, us=["AAPL"], **servers) as p,
        dg.DagsterInstance.ephemeral(tempdir=str(tmp_path), settings=RETRIES) as instance,
    ):
        p.instance = instance
        p.sandbox.faults.add(Fault("yahoo.chart", "empty"))
        run_id = execute(p, "us_price", DAYS[-1]).run_id
        run = instance.get_run_by_id(run_id)
        assert run is not None
        assert run.tags["dagster/will_retry"] == "true"
        assert heard.of(run_id, "stock.price.failed") == []
        own = {"dagster/retry_on_asset_or_op_failure": "false"}
        final = execute(p, "us_price", DAYS[-1], tags=own).run_id
        assert len(heard.of(final, "stock.price.failed")) == 1
        assert Outbox.of(p).tick() == "every outcome is sent"
    assert heard.of(run_id, "stock.price.failed") == []


def test_a_run_of_two_outcomes_is_marked_when_both_are_sent(
    p: Platform, outbox: Outbox, heard: Listener
) -> None:
    job = next(
        job.name for job in p.defs.resolve_all_job_defs() if job.name.startswith("__ASSET_JOB")
    )
    chosen = ["us/prices", "us/technical_indicators", "us/technical_score"]
    p.sandbox.faults.add(Fault("yahoo.chart", "empty"))
    run_id = execute(p, job, DAYS[-1], assets=chosen).run_id
    assert outbox.tick() == "sent the outcome of 1 run(s)"
    for event_type in ("stock.price.failed", "analysis.failed"):
        assert heard.only(run_id, event_type).payload["step"] == "us__prices"


def test_a_run_of_which_one_outcome_is_sent_is_not_marked(
    tmp_path: Path, broker: EmbeddedBroker, heard: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = Publisher.publish

    def loses_the_second(self: Publisher, events: Any, **how: Any) -> None:
        if any(event.event_type == "analysis.technical.completed" for _, event in events):
            raise TransientError("the broker is gone")
        publish(self, events, **how)

    servers = {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers}
    with platform(tmp_path, us=["AAPL"], **servers) as p:
        job = next(
            job.name for job in p.defs.resolve_all_job_defs() if job.name.startswith("__ASSET_JOB")
        )
        chosen = ["us/prices", "us/technical_indicators", "us/technical_score"]
        with monkeypatch.context() as patch:
            patch.setattr(Publisher, "publish", loses_the_second)
            run_id = execute(p, job, DAYS[-1], assets=chosen).run_id
        assert len(heard.of(run_id, "stock.price.updated")) == 1
        assert not published(p, run_id)
        assert Outbox.of(p).tick() == "sent the outcome of 1 run(s)"
    assert len(heard.of(run_id, "analysis.technical.completed")) == 1
    assert len({said.id for said in heard.of(run_id, "stock.price.updated")}) == 1


KILLED_BEFORE_THE_MARK = """
import os, signal, sys
import dagster as dg
from quant_assets.definitions import build_defs
from quant_assets.resources import ClockResource, build_resources
from quant_assets.resources import events as resource_events
from quant_assets.settings import Settings

add = dg.DagsterInstance.add_run_tags

def die(self, run_id, tags):
    if "quant/published" in tags:
        os.kill(os.getpid(), signal.SIGKILL)
    add(self, run_id, tags)

dg.DagsterInstance.add_run_tags = die
resource_events.WAIT_SECONDS = 60.0
values = Settings()
clock = ClockResource(fixed_now=sys.argv[1])
defs = build_defs(values, resource_overrides={**build_resources(values), "clock": clock})
with dg.DagsterInstance.get() as instance:
    defs.resolve_job_def("us_price").execute_in_process(
        instance=instance, run_id=sys.argv[2], partition_key=sys.argv[3]
    )
"""


def test_a_run_killed_between_the_acknowledgement_and_the_mark_is_told_twice_with_one_id(
    tmp_path: Path, broker: EmbeddedBroker, heard: Listener
) -> None:
    variables = {
        "QUANT_HOME": str(tmp_path),
        "QUANT_US_UNIVERSE": "AAPL",
        "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
    }
    dagster_home = tmp_path / "dagster"
    dagster_home.mkdir()
    settings = Settings(**variables)
    run_id = "0c6f1b0e-0000-4000-8000-000000000001"
    with (
        Sandbox(seed=settings.sandbox_seed, data_dir=None, now=lambda: NOW) as sandbox,
        dg.DagsterInstance.local_temp(tempdir=str(dagster_home)) as instance,
    ):
        locate.record(tmp_path, sandbox)
        died = subprocess.run(
            [sys.executable, "-c", KILLED_BEFORE_THE_MARK, NOW.isoformat(), run_id, DAYS[-1]],
            env={**os.environ, **variables, "DAGSTER_HOME": str(dagster_home)},
            capture_output=True,
            text=True,
        )
        assert died.returncode == -9, died.stderr
        before = heard.only(run_id, "stock.price.updated")
        run = instance.get_run_by_id(run_id)
        assert run is not None
        assert run.status == dg.DagsterRunStatus.STARTED
        instance.report_run_failed(run, "The process of the run died.")
        made = {**build_resources(settings), "clock": ClockResource(fixed_now=NOW.isoformat())}
        outbox = Outbox(instance, settings, {k: made[k] for k in ("events", "store", "clock")})
        assert outbox.tick() == "sent the outcome of 1 run(s)"
        assert outbox.tick() == "every outcome is sent"
    told = heard.of(run_id, "stock.price.updated")
    assert len(told) == 2
    assert {said.id for said in told} == {before.id}
    assert told[0].payload == told[1].payload
    assert heard.of(run_id, "stock.price.failed") == []
