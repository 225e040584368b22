"""Runs whose process has died: which are closed, which are repeated, and which are let be."""

import json
import os
import platform
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from quant_assets import naming
from quant_assets.definitions import build_defs
from quant_assets.hooks.processes import is_alive
from quant_assets.hooks.runs import has_repeat, is_to_be_repeated
from quant_assets.naming import TAG_HOST, TAG_MAX_RUNTIME, TAG_PID
from quant_assets.sensors.common import REPEATS
from quant_assets.sensors.dead_runs import (
    TAG_LAUNCHED,
    close_dead_runs,
    repeat_requests,
)
from quant_assets.settings import Settings

DEFS = build_defs(Settings())
REQUEST = {f"{naming.TAG_REQUEST_PREFIX}1": "{}", naming.TAG_PARTITION: "2026-03-19", **REPEATS}


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(tempdir=str(tmp_path)) as made:
        yield made


def run(
    instance: dg.DagsterInstance, tags: dict[str, str] = REQUEST, job: str = "us_price"
) -> dg.DagsterRun:
    config = {"ops": {"news__streamed_articles": {"config": {"ranges": {}}}}}
    return instance.create_run_for_job(
        DEFS.resolve_job_def(job),
        tags=tags,
        status=dg.DagsterRunStatus.STARTED,
        run_config=config if job == "news_stream" else None,
    )


def reload(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found


def fail_step(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """End a run as Dagster does after a step's failure."""
    instance.report_run_failed(run, "Steps failed")
    instance.add_run_tags(run.run_id, {"dagster/failure_reason": "STEP_FAILURE"})


def succeed_step(instance: dg.DagsterInstance, run: dg.DagsterRun, step: str) -> None:
    """Note a step's success, which only Dagster's own class can say."""
    from dagster._core.execution.plan.objects import StepSuccessData

    event = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.STEP_SUCCESS.value,
        job_name=run.job_name,
        step_key=step,
        event_specific_data=StepSuccessData(duration_ms=1.0),
    )
    instance.report_dagster_event(event, run.run_id)


def asked(instance: dg.DagsterInstance, later: timedelta = timedelta()) -> list[dg.RunRequest]:
    return repeat_requests(instance, datetime.now(UTC) + later)


def test_a_run_whose_process_died_is_repeated_once(instance: dg.DagsterInstance) -> None:
    dead = run(instance)
    instance.report_run_failed(dead, "killed")
    (again,) = asked(instance)
    assert again.run_key == f"repeat:{dead.run_id}"
    assert again.job_name == "us_price"
    assert again.tags[naming.TAG_PARTITION] == "2026-03-19"
    assert again.tags[naming.TAG_REPEATS_LEFT] == "7"
    assert again.tags[f"{naming.TAG_REQUEST_PREFIX}1"] == "{}"
    assert naming.TAG_ANSWERED not in again.tags
    repeat = run(instance, dict(again.tags))
    assert asked(instance) == []
    assert has_repeat(reload(instance, dead))
    assert is_to_be_repeated(reload(instance, dead))  # the repeat answers, not this one
    instance.delete_run(repeat.run_id)
    assert asked(instance) == []  # somebody did not want it


def test_it_is_repeated_also_after_a_long_week_end(instance: dg.DagsterInstance) -> None:
    instance.report_run_failed(run(instance), "killed")
    assert len(asked(instance, timedelta(days=4))) == 1


def test_a_step_that_failed_is_an_outcome(instance: dg.DagsterInstance) -> None:
    fail_step(instance, run(instance))
    assert asked(instance, timedelta(days=1)) == []


def test_articles_are_read_again_after_a_failed_step_later_and_later(
    instance: dg.DagsterInstance,
) -> None:
    tags = {**REPEATS, naming.TAG_REPEAT_FAILURES: "true", naming.TAG_PARTITION: "2026-03-19-01"}
    fail_step(instance, run(instance, tags, "news_stream"))
    assert asked(instance) == []
    (again,) = asked(instance, timedelta(seconds=90))
    assert again.job_name == "news_stream"
    assert again.run_config["ops"]["news__streamed_articles"]["config"] == {"ranges": {}}
    second = run(instance, dict(again.tags), "news_stream")
    assert asked(instance) == []
    fail_step(instance, second)
    assert asked(instance, timedelta(seconds=90)) == []
    assert len(asked(instance, timedelta(seconds=150))) == 1


def test_a_run_that_had_reached_its_outcome_is_repeated_in_silence(
    instance: dg.DagsterInstance,
) -> None:
    dead = run(instance)
    succeed_step(instance, dead, "us__prices")
    instance.report_run_failed(dead, "killed")
    (again,) = asked(instance)
    assert again.tags[naming.TAG_ANSWERED] == dead.run_id


def test_repeats_come_to_an_end(instance: dg.DagsterInstance) -> None:
    last = run(instance, {**REQUEST, naming.TAG_REPEATS_LEFT: "0"})
    instance.report_run_failed(last, "killed")
    assert asked(instance) == []
    assert not is_to_be_repeated(reload(instance, last))


def test_a_run_that_took_too_long_is_given_up(instance: dg.DagsterInstance) -> None:
    slow = run(instance, {**REQUEST, TAG_MAX_RUNTIME: "0"})
    started = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.RUN_START.value, job_name=slow.job_name
    )
    instance.report_dagster_event(started, slow.run_id)
    instance.report_run_failed(slow, "Exceeded maximum runtime")
    assert asked(instance) == []
    assert not is_to_be_repeated(reload(instance, slow))


@pytest.mark.parametrize("left", ["x", "", "-1", "9999999999"])
def test_foreign_tags_repeat_nothing(instance: dg.DagsterInstance, left: str) -> None:
    strange = run(instance, {**REQUEST, naming.TAG_REPEATS_LEFT: left})
    instance.report_run_failed(strange, "killed")
    assert asked(instance) == []


def test_a_run_canceled_by_a_person_stays_canceled(instance: dg.DagsterInstance) -> None:
    instance.report_run_canceled(run(instance), "by a person")
    assert asked(instance) == []


def test_a_launched_run_is_closed_when_its_process_is_gone(instance: dg.DagsterInstance) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        launched = run(instance, {**REQUEST, TAG_LAUNCHED: "{}"})
        instance.report_engine_event("Started process for run", launched, _in_process(process.pid))
        assert close_dead_runs(instance) == []
        process.kill()
        process.wait()
        assert close_dead_runs(instance) == [launched.run_id]
    closed = reload(instance, launched)
    assert closed.status is dg.DagsterRunStatus.FAILURE
    assert is_to_be_repeated(closed)


def _in_process(pid: int) -> object:
    """What a run's process writes into its log."""
    from dagster._core.events import EngineEventData

    return EngineEventData.in_process(pid)


@pytest.mark.parametrize(
    ("told", "is_here"),
    [
        ('{"host": "localhost", "port": 1}', True),
        ('{"socket": "/tmp/x"}', True),
        (json.dumps({"host": platform.node()}), True),
        ('{"host": "code", "port": 4000}', False),
        ("no json", False),
    ],
)
def test_a_run_of_a_code_server_elsewhere_is_not_judged_here(
    instance: dg.DagsterInstance, told: str, is_here: bool
) -> None:
    """Its process is not among ours; that another has its number, or none, says nothing."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    launched = run(instance, {**REQUEST, TAG_LAUNCHED: told})
    instance.report_engine_event("Started process for run", launched, _in_process(process.pid))
    assert close_dead_runs(instance) == ([launched.run_id] if is_here else [])


def test_a_launched_run_without_a_process_yet_is_let_be(instance: dg.DagsterInstance) -> None:
    run(instance, {**REQUEST, TAG_LAUNCHED: "{}"})
    assert close_dead_runs(instance) == []


def test_a_command_that_died_leaves_a_canceled_run(instance: dg.DagsterInstance) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    mine = {TAG_HOST: platform.node(), TAG_PID: str(process.pid)}
    dead = run(instance, mine)
    alive = run(instance, {**mine, TAG_PID: str(os.getpid())})
    elsewhere = run(instance, {**mine, TAG_HOST: "another-machine"})
    again = dg.DagsterRun(
        "job",
        tags=mine,
        status=dg.DagsterRunStatus.STARTED,
        parent_run_id=dead.run_id,
        root_run_id=dead.run_id,
    )
    instance.add_run(again)
    assert close_dead_runs(instance) == [dead.run_id]
    assert reload(instance, dead).status is dg.DagsterRunStatus.CANCELED
    for other in (alive, elsewhere, again):
        assert not reload(instance, other).is_finished


def test_a_job_that_died_on_another_machine_is_known_by_its_time(
    instance: dg.DagsterInstance,
) -> None:
    """A container that was killed leaves nobody who could look for its process."""
    there = {TAG_HOST: "pod-1", TAG_PID: "1", TAG_MAX_RUNTIME: "1800"}
    job = run(instance, {**there, naming.TAG_COMMAND: "quant job us-price"})
    other = run(instance, there)
    now = datetime.now(UTC)
    assert close_dead_runs(instance, now + timedelta(seconds=1800)) == []
    assert close_dead_runs(instance, now + timedelta(seconds=3600)) == [job.run_id]
    assert reload(instance, job).status is dg.DagsterRunStatus.CANCELED
    assert not reload(instance, other).is_finished


def test_a_process_is_alive_if_it_is_as_old_as_it_must_be() -> None:
    assert is_alive(os.getpid())
    assert is_alive(os.getpid(), time.time())
    if Path("/proc").exists():
        assert not is_alive(os.getpid(), time.time() - 1e6)


def test_a_run_that_a_person_executes_again_is_repeated_like_any_other(
    instance: dg.DagsterInstance,
) -> None:
    """The copy of the tags names the run that repeated the first one."""
    dead = run(instance)
    instance.report_run_failed(dead, "killed")
    run(instance, dict(asked(instance)[0].tags))
    asked(instance)
    again = run(instance, dict(reload(instance, dead).tags))
    instance.report_run_failed(again, "killed")
    assert not has_repeat(reload(instance, again))
    assert [request.run_key for request in asked(instance)] == [f"repeat:{again.run_id}"]


@pytest.mark.parametrize(
    "tags",
    [
        {naming.TAG_TRY_UNTIL: "9999-12-31T23:59:59-01:00"},
        {naming.TAG_TRY_UNTIL: "tomorrow"},
        {naming.TAG_MAX_RUNTIME: "9" * 5000},
        {naming.TAG_REPEATS_LEFT: "9"},
        {naming.TAG_REPEATS_LEFT: "08"},
        {TAG_HOST: platform.node(), TAG_PID: "abc"},
        {TAG_HOST: platform.node(), TAG_PID: "1" + 12 * "0"},
    ],
)
def test_no_text_of_a_tag_stops_the_others(
    instance: dg.DagsterInstance, tags: dict[str, str]
) -> None:
    odd = run(instance, {**REQUEST, naming.TAG_REPEAT_FAILURES: "true", **tags})
    assert odd.run_id not in close_dead_runs(instance)
    fail_step(instance, odd)
    dead = run(instance)
    instance.report_run_failed(dead, "killed")
    keys = [request.run_key for request in asked(instance, timedelta(hours=1))]
    assert f"repeat:{dead.run_id}" in keys
    is_awaited = is_to_be_repeated(reload(instance, odd))
    assert is_awaited == (f"repeat:{odd.run_id}" in keys), "who waits for a repeat gets one"


def test_a_run_of_no_job_of_ours_is_given_up(instance: dg.DagsterInstance) -> None:
    @dg.op
    def fail() -> None: ...

    @dg.job
    def foreign() -> None:
        fail()

    made = instance.create_run_for_job(foreign, tags=REPEATS, status=dg.DagsterRunStatus.STARTED)
    instance.report_run_failed(made, "killed")
    assert asked(instance) == []
    assert not is_to_be_repeated(reload(instance, made))


def test_a_number_that_another_process_has_since_is_not_the_command(
    instance: dg.DagsterInstance,
) -> None:
    """After a restart of a container with a fixed name."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as later:
        old = run(instance, {TAG_HOST: platform.node(), TAG_PID: str(later.pid)})
        assert close_dead_runs(instance) == []
        moved = datetime.now(UTC) - timedelta(days=1)
        with sqlite3.connect(Path(instance.root_directory) / "history" / "runs.db") as database:
            database.execute(
                "UPDATE runs SET create_timestamp = ?", (f"{moved:%Y-%m-%d %H:%M:%S}",)
            )
        assert close_dead_runs(instance) == [old.run_id]
        later.communicate(b"")


def test_a_command_that_died_before_its_run_began_leaves_none_open(
    instance: dg.DagsterInstance,
) -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as gone:
        gone.wait()
    made = instance.create_run_for_job(
        DEFS.resolve_job_def("us_price"),
        tags={TAG_HOST: platform.node(), TAG_PID: str(gone.pid)},
        status=dg.DagsterRunStatus.NOT_STARTED,
    )
    assert close_dead_runs(instance) == [made.run_id]
    assert reload(instance, made).status == dg.DagsterRunStatus.CANCELED
