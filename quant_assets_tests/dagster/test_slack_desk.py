"""Runs that no daemon looks after tell themselves; the processes are real."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import dagster as dg
import pytest

from quant_assets.hooks.slack import has_daemon
from quant_assets.markets import US
from quant_assets.sandbox import locate
from quant_assets.sandbox.faults import Fault
from quant_assets.sandbox.server import Sandbox
from quant_assets_tests.dagster.slack_reading import Thread, contains_in_order, thread, threads
from quant_assets_tests.kafka_broker import poll

CHECKOUT = Path(__file__).parents[2]
SESSION = US.last_complete_session(datetime.now(UTC)).isoformat()
HOUR = (datetime.now(UTC) - timedelta(hours=3)).strftime("%Y-%m-%d-%H")
SECONDS = 600.0


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with Sandbox(seed=7) as made:
        locate.record(tmp_path, made)
        yield made


class Shell:
    """Runs jobs as a shell does."""

    def __init__(self, home: Path) -> None:
        ours = ("QUANT_", "DAGSTER_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        own = {"QUANT_HOME": str(home), "DAGSTER_HOME": str(home), "QUANT_US_UNIVERSE": "AAPL"}
        self.environment = {**kept, **own, "PYTHONPATH": str(CHECKOUT)}
        self.took = 0.0

    def __call__(self, *words: str, **variables: str) -> tuple[str, bool]:
        """Id of the run and whether it succeeded."""
        started = time.monotonic()
        answer = subprocess.run(
            [sys.executable, "-m", "quant_assets_tests.dagster.slack_process", *words],
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        self.took = time.monotonic() - started
        assert answer.returncode == 0, answer.stderr
        run_id, success = answer.stdout.split()
        return run_id, success == "True"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def ended_thread(sandbox: Sandbox, sign: str, end: str) -> Thread:
    """The one thread, once its line has ``sign`` and a reply has ``end``.

    A companion is given time to finish before its run's process ends; on a busy machine it may need
    more.
    """
    poll(
        f"a thread that ends with {end}",
        SECONDS,
        lambda: (
            (found := threads(sandbox))
            and found[0].line.startswith(sign)
            and any(end in text for text in found[0].replies)
        ),
    )
    return thread(sandbox)


def test_a_run_without_a_daemon_is_told_by_a_companion(sandbox: Sandbox, shell: Shell) -> None:
    run_id, success = shell("us_price", SESSION)
    assert success
    told = ended_thread(sandbox, ":white_check_mark:", f"*US price {SESSION}*")
    assert told.line.startswith(f":white_check_mark: *US price {SESSION}*  ·  1 of 1 step")
    contains_in_order(told.replies, "Started by hand", "`us/prices`", f"*US price {SESSION}*")
    assert len(told.keys) == len(set(told.keys)) == 4
    assert run_id[:8] in told.line


def test_steps_in_processes_of_their_own_are_told_by_a_companion(
    sandbox: Sandbox, shell: Shell
) -> None:
    _, success = shell("news_crawl", HOUR, QUANT_TEST_MULTIPROCESS="yes")
    assert success
    told = ended_thread(sandbox, ":", "*News crawl")
    contains_in_order(
        told.replies,
        "Started by hand",
        "`news/articles`",
        "`news/article_sentiment`",
        f"*News crawl {HOUR}*",
    )
    assert len(told.keys) == len(set(told.keys)), told


def test_a_re_execution_from_failure_continues_the_thread(sandbox: Sandbox, shell: Shell) -> None:
    sandbox.faults.add(Fault("yahoo.chart", "empty"))
    failed, success = shell("us_price", SESSION)
    assert not success
    ended_thread(sandbox, ":x:", "Not made: us/prices")
    sandbox.faults.clear()
    again, success = shell("us_price", SESSION, "again", failed)
    assert success
    told = ended_thread(sandbox, ":white_check_mark:", f":white_check_mark: *US price {SESSION}*")
    assert told.line.startswith(f":white_check_mark: *US price {SESSION}*  ·  1 of 1 step")
    assert again[:8] in told.line
    contains_in_order(
        told.replies,
        "Started by hand",
        ":x: `us/prices` failed",
        "Not made: us/prices",
        f"as a repetition of <http://127.0.0.1:3000/runs/{failed}|",
        ":white_check_mark: `us/prices`",
    )
    assert len(told.keys) == len(set(told.keys))


@pytest.mark.parametrize("fault", ["hangs", "refuses"])
def test_a_slack_that_is_away_fails_no_run_and_holds_no_process_for_long(
    sandbox: Sandbox, shell: Shell, fault: str, tmp_path: Path
) -> None:
    sandbox.faults.add(
        Fault("slack", "delay", seconds=60.0)
        if fault == "hangs"
        else Fault("slack", "error", error="invalid_auth")
    )
    run_id, success = shell("us_price", SESSION)
    assert success
    assert threads(sandbox) == []
    if fault == "refuses":
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:

            def said() -> int:
                entries = instance.all_logs(run_id)
                return sum("SLACK_BOT_TOKEN" in str(entry.message) for entry in entries)

            poll("the reason in the run's log", SECONDS, lambda: said() == 1)


def test_without_slack_nothing_is_waited_for(shell: Shell) -> None:
    _, success = shell("us_price", SESSION, QUANT_SANDBOX_SEED="8")
    assert success


@pytest.mark.parametrize(
    ("daemon", "age", "expected"),
    [("SENSOR", 5, True), ("SENSOR", 90, False), ("SCHEDULER", 5, False)],
)
def test_a_daemon_is_known_by_its_heartbeat(daemon: str, age: float, expected: bool) -> None:
    class Instance:
        def get_daemon_heartbeats(self) -> dict[str, SimpleNamespace]:
            return {daemon: SimpleNamespace(timestamp=time.time() - age)}

    assert has_daemon(cast("dg.DagsterInstance", Instance())) is expected
