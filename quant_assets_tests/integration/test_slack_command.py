"""``quant run`` in Slack: one thread for the command, with the failures and the recommendations."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from quant_assets.cli import command_thread as commands
from quant_assets.cli.command_thread import CommandThread, command_thread
from quant_assets.cli.execute import Outcome
from quant_assets.cli.spans import Span
from quant_assets.cli.tasks import Task
from quant_assets.markets import KR, US
from quant_assets.sandbox import locate
from quant_assets.sandbox.faults import Fault
from quant_assets.sandbox.server import Sandbox
from quant_assets.settings import Settings
from quant_assets_tests.dagster.slack_reading import (
    contains_in_order,
    in_a_hurry,
    thread,
    threads,
)
from quant_assets_tests.integration.quant_processes import Home
from quant_assets_tests.integration.test_commands import few_series, young_universe

US_LAST = US.last_complete_session(datetime.now(UTC))
KR_LAST = KR.last_complete_session(datetime.now(UTC))
SPANS = (Span(US, (US_LAST,)), Span(KR, (KR_LAST,)))
DEADLINE_SECONDS = 600.0
PRICES = Task("us_price", ("us/prices",), "2026-03-18", "2026-03-19", 2)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(QUANT_HOME=str(tmp_path))


def poll(is_there: Callable[[], object]) -> None:
    until = time.monotonic() + DEADLINE_SECONDS
    while not is_there():
        assert time.monotonic() < until
        time.sleep(0.05)


def ends_not_taken(caplog: pytest.LogCaptureFixture) -> list[str]:
    said = [record.getMessage() for record in caplog.records if record.name == commands.__name__]
    return [text for text in said if "did not take the end" in text]


def with_slack(settings: Settings) -> Sandbox:
    sandbox = Sandbox(seed=settings.sandbox_seed)
    sandbox.slack.messages_per_second = None
    return sandbox


def test_a_command_is_one_thread(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_hurry(monkeypatch)
    with with_slack(settings) as sandbox:
        locate.record(settings.home_dir, sandbox)
        with command_thread(settings, SPANS) as told:
            told.planned(2)
            told.ended(Outcome(PRICES, "a" * 36, 3.2, "", ("us/prices coverage",)))
            hostile = "us__prices: <!channel> said no"
            told.ended(Outcome(PRICES, "b" * 36, 61.0, hostile))
        found = thread(sandbox)
    assert found.line.startswith(":x: *quant run: US, KR ")
    assert "2 of 2 tasks  ·  1 failed  ·  done in" in found.line
    contains_in_order(
        found.replies,
        ":warning: *US price 2026-03-18 .. 2026-03-19*  ·  2 partitions  ·  3.2 s",
        ":x: *US price 2026-03-18 .. 2026-03-19*  ·  2 partitions  ·  61 s",
    )
    assert "check `us/prices coverage` not passed" in found.replies[0]
    assert "&lt;!channel&gt; said no" in found.replies[1]
    assert f"/runs/{'b' * 36}|" in found.replies[1]


def interrupted(settings: Settings) -> None:
    with command_thread(settings, SPANS) as told:
        told.planned(3)
        raise KeyboardInterrupt


def test_a_command_that_is_stopped_says_so(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_hurry(monkeypatch)
    with with_slack(settings) as sandbox:
        locate.record(settings.home_dir, sandbox)
        with pytest.raises(KeyboardInterrupt):
            interrupted(settings)
        assert "0 of 3 tasks  ·  stopped after" in thread(sandbox).line


@pytest.mark.parametrize("is_refused_before", [False, True])
def test_a_refused_token_does_not_hold_the_command_up(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    is_refused_before: bool,
) -> None:
    in_a_hurry(monkeypatch)
    monkeypatch.setattr(commands, "LAST_WAIT_SECONDS", DEADLINE_SECONDS)
    with with_slack(settings) as sandbox:
        locate.record(settings.home_dir, sandbox)
        told = CommandThread(settings, SPANS)
        fault = Fault("slack", "error", error="invalid_auth")
        if is_refused_before:
            sandbox.faults.add(fault)
        told.planned(1)
        poll(lambda: fault.hits if is_refused_before else threads(sandbox))
        if not is_refused_before:
            sandbox.faults.add(fault)
        told.close()
        assert told._worker is not None
        assert not told._worker.is_alive()
    assert len(ends_not_taken(caplog)) == 1


def test_an_end_that_slack_does_not_take_is_said_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    in_a_hurry(monkeypatch)
    monkeypatch.setattr(commands, "LAST_WAIT_SECONDS", 0.1)
    with with_slack(settings) as sandbox:
        locate.record(settings.home_dir, sandbox)
        sandbox.faults.add(Fault("slack", "status", code=500))
        with command_thread(settings, SPANS) as told:
            told.planned(1)
        assert len(ends_not_taken(caplog)) == 1
        sandbox.faults.clear()
        poll(lambda: "done in" in next((found.line for found in threads(sandbox)), ""))


def test_an_end_that_slack_takes_is_not_talked_about(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    in_a_hurry(monkeypatch)
    with with_slack(settings) as sandbox:
        locate.record(settings.home_dir, sandbox)
        with command_thread(settings, SPANS) as told:
            told.planned(1)
    assert ends_not_taken(caplog) == []


def test_a_command_with_nothing_to_do_is_not_told(settings: Settings) -> None:
    with with_slack(settings) as sandbox:
        locate.record(settings.home_dir, sandbox)
        with command_thread(settings, SPANS) as told:
            told.planned(0)
        assert threads(sandbox) == []


def test_a_command_without_slack_says_nothing(settings: Settings) -> None:
    told = CommandThread(settings, SPANS)
    told.planned(2)
    told.ended(Outcome(PRICES, "a" * 36, 3.2, ""))
    told.close()
    assert told.view().is_ended


def test_quant_run_tells_its_tasks_and_the_recommendations(tmp_path: Path) -> None:
    (tmp_path / "us.csv").write_text(young_universe(US, ("AAPL", "MSFT")), encoding="utf-8")
    (tmp_path / "series.csv").write_text(few_series(), encoding="utf-8")
    variables = {
        "QUANT_MACRO_SERIES": str(tmp_path / "series.csv"),
        "QUANT_US_UNIVERSE": str(tmp_path / "us.csv"),
        "QUANT_KR_UNIVERSE": "005930.KS",
    }
    quant = Home(tmp_path, variables)
    words = ("run", "--market", "us", "--from", US_LAST.isoformat(), "--to", US_LAST.isoformat())
    with Sandbox(seed=7) as sandbox:
        locate.record(quant.path, sandbox)
        quant("setup")
        quant(*words)
        told = thread(sandbox)
        line = rf":white_check_mark: \*quant run: US {US_LAST}\*: (\d) of \1 tasks"
        assert re.match(line, told.line), told.line
        contains_in_order(
            told.replies,
            f":white_check_mark: *US combined analysis {US_LAST}*",
            f":white_check_mark: *US paper trading {US_LAST}*",
            f"*United States {US_LAST}*",
            "symbol",
        )
        assert "Apple" in told.replies[-1]
        assert len(told.files) == 1
        assert len(told.keys) == len(set(told.keys))
        # A second command has nothing to do, unless an hour of news ended meanwhile.
        for _ in range(2):
            before = threads(sandbox)
            quant(*words)
        assert threads(sandbox) == before
