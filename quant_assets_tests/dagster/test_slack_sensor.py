"""The sensor that tells every run: what it finds, how far its cursor is, when it is off."""

import platform as machine
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from quant_assets import naming
from quant_assets.hooks import reporter as reporter_module
from quant_assets.naming import TAG_PARTITION
from quant_assets.resources import SlackResource, shown_settings
from quant_assets.sandbox.faults import Fault
from quant_assets.sensors.slack_threads import build_thread_sensor
from quant_assets.settings import Settings
from quant_assets_tests.dagster.event_answers import execute
from quant_assets_tests.dagster.slack_reading import in_a_hurry, thread, threads
from quant_assets_tests.platform import Platform, platform

SESSIONS = ("2026-03-17", "2026-03-18", "2026-03-19")


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_hurry(monkeypatch)


@pytest.fixture
def p(tmp_path: Path) -> Iterator[Platform]:
    with platform(tmp_path, us=["AAPL"]) as made:
        made.sandbox.slack.messages_per_second = None
        yield made


class Ticks:
    """The sensor as the daemon asks it."""

    def __init__(self, p: Platform, settings: Settings | None = None) -> None:
        self._p = p
        self._slack = SlackResource(values=shown_settings(settings or p.settings))
        self.cursor: str | None = None

    def __call__(self) -> str:
        with dg.build_sensor_context(
            instance=self._p.instance, cursor=self.cursor, resources={"slack": self._slack}
        ) as context:
            result = build_thread_sensor(tick_seconds=0.9)(context)
            self.cursor = context.cursor
        assert isinstance(result, dg.SkipReason)
        return str(result.skip_message)

    def until_told(self) -> str:
        """Ticks until one has nothing left."""
        for _ in range(40):
            said = self()
            if "not to the end" not in said:
                return said
        raise AssertionError(said)


def test_every_run_is_told_and_none_twice(p: Platform) -> None:
    runs = [p.run("us_price", session).run_id for session in SESSIONS]
    tick = Ticks(p)
    before = datetime.now(UTC)
    assert tick.until_told() == "told 3 run(s)"
    assert datetime.fromisoformat(str(tick.cursor)) >= before
    found = threads(p.sandbox)
    assert [run_id[:8] in told.line for run_id, told in zip(runs, found, strict=True)] == [True] * 3
    assert tick() == "every run is told"
    assert Ticks(p)() == "every run is told", "the cursor is lost: the tags know"
    assert threads(p.sandbox) == found


def test_a_run_is_told_while_it_goes_on(p: Platform) -> None:
    job = p.defs.resolve_job_def("us_price")
    run = p.instance.create_run_for_job(job, tags={TAG_PARTITION: SESSIONS[0]})
    tick = Ticks(p)
    assert tick() == "every run is told", "it has not begun"
    report(p, run, dg.DagsterEventType.RUN_START)
    assert tick() == "every run is told; 1 not to the end yet"
    assert "0 of 1 step" in thread(p.sandbox).line
    p.instance.report_run_failed(run, "The process of the run died.")
    assert tick.until_told() == "told 1 run(s)"
    told = thread(p.sandbox)
    assert "The process of the run died." in told.replies[-1]
    assert len(told.keys) == len(set(told.keys)) == 3


def report(p: Platform, run: dg.DagsterRun, kind: dg.DagsterEventType) -> None:
    event = dg.DagsterEvent(event_type_value=kind.value, job_name=run.job_name)
    p.instance.report_dagster_event(event, run.run_id)


def test_runs_of_commands_and_of_streamed_articles_have_no_thread(p: Platform) -> None:
    mine = {naming.TAG_HOST: machine.node(), naming.TAG_PID: "1"}
    execute(p, "us_price", SESSIONS[0], tags=mine)
    assert Ticks(p)() == "every run is told"
    assert threads(p.sandbox) == []


def test_a_slack_that_is_away_keeps_the_cursor_back(
    p: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quant_assets.notices.pace.LONGEST_BACKOFF_SECONDS", 0.01)
    p.sandbox.faults.add(Fault("slack", "status", code=503))
    ended = datetime.now(UTC)
    run_id = p.run("us_price", SESSIONS[0]).run_id
    tick = Ticks(p)
    for _ in range(3):
        assert tick() == "every run is told; 1 not to the end yet"
    cursor = datetime.fromisoformat(str(tick.cursor))
    assert ended <= cursor <= datetime.now(UTC)
    p.sandbox.faults.clear()
    assert tick.until_told() == "told 1 run(s)"
    assert run_id[:8] in thread(p.sandbox).line


def test_a_run_that_could_not_be_told_for_a_day_is_given_up(
    p: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    p.run("us_price", SESSIONS[0])
    monkeypatch.setattr(reporter_module, "GIVE_UP", timedelta(0))
    assert Ticks(p)() == "every run is told"
    assert threads(p.sandbox) == []


def test_one_thread_that_cannot_be_told_holds_up_no_other(
    p: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, good = (p.run("us_price", session).run_id for session in SESSIONS[:2])
    facts = reporter_module.run_thread

    def breaks(*args: object) -> object:
        if broken in str(args[-1]):
            raise RuntimeError("a defect")
        return facts(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(reporter_module, "run_thread", breaks)
        assert "1 not to the end yet" in Ticks(p)()
        assert good[:8] in thread(p.sandbox).line
    Ticks(p).until_told()
    assert len(threads(p.sandbox)) == 2


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"QUANT_PROFILE": "live"}, "SLACK_BOT_TOKEN is not set"),
        ({"QUANT_SANDBOX_SEED": 99}, "no Slack: `quant dev` and `quant sandbox`"),
    ],
)
def test_without_slack_a_tick_says_so_and_ends(
    p: Platform, variables: dict[str, object], reason: str
) -> None:
    settings = Settings(**{"QUANT_HOME": str(p.settings.home_dir), **variables})
    tick = Ticks(p, settings)
    assert reason in tick()
    assert tick.cursor is None
