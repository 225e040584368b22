"""What a run says in Slack: in which thread, in which order, each thing once.

Sandbox, stored partitions and Dagster's events are real; runs are told after they have ended.
"""

import logging
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from slack_sdk import WebClient

from quant_assets import naming
from quant_assets.assets import prices
from quant_assets.hooks.outcomes import Problem
from quant_assets.hooks.reporter import is_told_of
from quant_assets.hooks.thread import Target, run_thread, targets_of
from quant_assets.hooks.thread_facts import CheckFailed, Failed, RunFacts
from quant_assets.hooks.thread_tables import label_counts, recommendation_blocks
from quant_assets.naming import TAG_PARTITION
from quant_assets.policies import VENDOR_RETRY
from quant_assets.sandbox.faults import Fault
from quant_assets.settings import Settings
from quant_assets_tests.dagster.event_answers import ask, execute
from quant_assets_tests.dagster.slack_reading import (
    contains_in_order,
    in_a_hurry,
    reporter_of,
    run_of,
    tell,
    thread,
    threads,
)
from quant_assets_tests.platform import Platform, platform

SESSION = "2026-03-19"
HISTORY = "2025-03-03"


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_hurry(monkeypatch)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform with a year of bars."""
    with platform(tmp_path_factory.mktemp("home")) as made:
        made.history("us", HISTORY, SESSION)
        yield made


@pytest.fixture
def p(shared: Platform) -> Iterator[Platform]:
    """The platform with an empty Slack."""
    shared.sandbox.slack.restore([])
    shared.sandbox.slack.messages_per_second = None
    yield shared
    shared.sandbox.faults.clear()


def somebodys_thread(p: Platform, channel: str = "#quant") -> tuple[str, str]:
    """Channel and ts of a message that a person has posted."""
    connection = p.settings.slack()
    assert connection is not None
    client = WebClient(token=connection.token, base_url=connection.base_url)
    answer = client.chat_postMessage(channel=channel, text="please analyse this")
    return str(answer["channel"]), str(answer["ts"])


def test_a_combined_run_is_one_thread_with_its_steps_in_order(p: Platform) -> None:
    run_id = p.run("us_combined_analysis", SESSION).run_id
    tell(p, run_id)
    told = thread(p.sandbox)
    assert told.line.startswith(":white_check_mark: *US combined analysis 2026-03-19*")
    assert "4 of 4 steps" in told.line
    assert re.search(r"\d (STRONG_)?(BUY|SELL)|\d HOLD", told.line)
    assert f"<http://127.0.0.1:3000/runs/{run_id}|run {run_id[:8]}>" in told.line
    assert told.replies[0].startswith("Started by hand")
    page = (
        "http://127.0.0.1:3000/assets/us/recommendations?view=partitions&amp;partition=2026-03-19"
    )
    assert page in told.replies[0]
    steps = [re.findall(r"`(us/\w+)`  ·  5 rows", reply) for reply in told.replies[1:5]]
    names = [name for found in steps for name in found]
    assert sorted(names[:3]) == [
        "us/news_sentiment",
        "us/technical_indicators",
        "us/technical_score",
    ]
    assert names[3] == "us/recommendations"
    assert told.replies[-2].startswith(":white_check_mark: *US combined analysis 2026-03-19*")
    assert told.replies[-1].startswith("*United States 2026-03-19*\n```\nsymbol")
    assert "Apple" in told.replies[-1]
    assert len(told.files) == 1
    assert told.files[0].endswith(".png")
    assert len(told.keys) == len(set(told.keys)) == 7


def test_a_run_that_goes_on_shows_how_far_it_is(p: Platform) -> None:
    job = p.defs.resolve_job_def("us_combined_analysis")
    run = p.instance.create_run_for_job(job, tags={TAG_PARTITION: SESSION})
    report(p, run, dg.DagsterEventType.RUN_START)
    report(p, run, dg.DagsterEventType.STEP_START, "us__technical_indicators")
    reporter = reporter_of(p)
    assert not reporter.step([run.run_id])
    told = thread(p.sandbox)
    assert told.line.startswith(":hourglass_flowing_sand: *US combined analysis 2026-03-19*")
    assert "0 of 4 steps  ·  now us/technical_indicators" in told.line
    assert len(told.replies) == 1
    p.instance.report_run_canceled(run, "interrupted by the user")
    tell(p, run.run_id, reporter=reporter)
    told = thread(p.sandbox)
    assert told.line.startswith(":x: *US combined analysis 2026-03-19*")
    assert "canceled after" in told.line
    assert "interrupted by the user" in told.replies[-1]
    assert "Not made: us/" in told.replies[-1]


def report(p: Platform, run: dg.DagsterRun, kind: dg.DagsterEventType, step: str = "") -> None:
    event = dg.DagsterEvent(
        event_type_value=kind.value, job_name=run.job_name, step_key=step or None
    )
    p.instance.report_dagster_event(event, run.run_id)


def test_requests_are_answered_in_the_threads_that_they_name(p: Platform) -> None:
    (first, first_ts), (other, other_ts) = (somebodys_thread(p, c) for c in ("#quant", "#general"))
    request, tag = ask("AAPL", "ZZZZ", channel=first, thread_ts=first_ts)
    _, second = ask("MSFT", channel=other, thread_ts=other_ts)
    _, nowhere = ask("NVDA")
    asked = {**second, **nowhere, **tag, naming.TAG_THREAD: first_ts}
    run_id = execute(p, "us_combined_analysis", SESSION, tags=asked).run_id
    tell(p, run_id)
    assert threads(p.sandbox) == []
    (whole,), (part,) = (threads(p.sandbox, channel) for channel in ("quant", "general"))
    assert whole.line == part.line == "please analyse this"
    contains_in_order(whole.replies, "4 of 4 steps", "Started by event", "us/recommendations`")
    assert "4 of 4 steps" in part.replies[0]
    assert len(part.replies) == 3, "the line, the end and the table"
    assert f"`{request}`" in whole.replies[1]
    table, absent = whole.replies[-2:]
    assert "AAPL" in table
    assert "MSFT" not in table
    assert absent == "No result: ZZZZ"
    assert "MSFT" in part.replies[-1]
    assert "NVDA" not in part.replies[-1]


def test_a_step_that_is_tried_again_and_fails_says_why(
    p: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prices, "VENDOR_RETRY", VENDOR_RETRY._replace(delay=0.1))
    with platform(Path(p.settings.home_dir) / "other") as mine:
        mine.sandbox.slack.messages_per_second = None
        mine.sandbox.faults.add(Fault("yahoo.chart", "status", code=429))
        run_id = mine.run("us_price", SESSION, check=False).run_id
        tell(mine, run_id)
        told = thread(mine.sandbox)
    assert told.line.startswith(":x: *US price 2026-03-19*  ·  0 of 1 step  ·  failed after")
    contains_in_order(
        told.replies,
        "Started by hand",
        ":warning: `us/prices` failed, attempt 1; tried again in 0",
        ":warning: `us/prices` failed, attempt 2; tried again in 0",
        ":x: `us/prices` failed after",
        "Not made: us/prices",
    )
    assert "*TransientError*: Yahoo answered for 0% of 5 symbols" in " ".join(told.replies)
    assert "re-execute it from its failure" in told.replies[-1]


def test_a_repetition_continues_the_thread(p: Platform) -> None:
    """By the reconciler, by Dagster or by hand: the same line, its own replies."""
    job = p.defs.resolve_job_def("us_price")
    first = p.instance.create_run_for_job(job, tags={TAG_PARTITION: SESSION})
    report(p, first, dg.DagsterEventType.RUN_START)
    p.instance.report_run_failed(first, "The process of the run died.")
    tell(p, first.run_id)
    tags = run_of(p, first.run_id).tags
    ours = {k: v for k, v in tags.items() if not k.startswith(("dagster/", "."))}
    second = execute(
        p, "us_price", SESSION, tags={**ours, naming.TAG_REPEAT_OF: first.run_id}
    ).run_id
    third = execute(p, "us_price", SESSION, tags={naming.TAG_REPEAT_OF: second}).run_id
    tell(p, third)
    told = thread(p.sandbox)
    assert told.line.startswith(":white_check_mark: *US price 2026-03-19*  ·  1 of 1 step")
    assert f"|run {third[:8]}>" in told.line
    contains_in_order(
        told.replies,
        f"|run {first.run_id[:8]}>",
        "The process of the run died.",
        f"as a repetition of <http://127.0.0.1:3000/runs/{first.run_id}|run {first.run_id[:8]}>",
        "`us/prices`",
        f"as a repetition of <http://127.0.0.1:3000/runs/{second}|run {second[:8]}>",
        "`us/prices`",
        "*US price 2026-03-19*",
    )
    assert len(told.keys) == len(set(told.keys))


def test_reporters_at_the_same_time_say_everything_once(tmp_path: Path) -> None:
    with platform(tmp_path, us=["AAPL"]) as mine, dg.DagsterInstance.local_temp() as instance:
        mine = replace(mine, instance=instance)
        mine.sandbox.slack.messages_per_second = None
        runs = [mine.run("us_price", f"2026-03-{day}").run_id for day in (17, 18, 19)]
        assert threads(mine.sandbox) == []
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda _: tell(mine, *runs), range(3)))
        found = threads(mine.sandbox)
    assert len(found) == 3
    for told in found:
        assert len(told.keys) == len(set(told.keys)) == 4, told


@pytest.mark.parametrize(
    "fault",
    [
        Fault("slack", "status", code=500, times=6),
        Fault("slack", "status", code=429, retry_after=0.1, times=6),
        Fault("slack", "lost", times=4),
        Fault("slack", "reset", times=6),
        Fault("slack", "malformed", times=4),
        Fault("slack", "error", error="ratelimited", times=4),
    ],
    ids=["500", "429", "lost", "reset", "malformed", "ratelimited"],
)
def test_a_slack_that_misbehaves_hears_everything_once(
    p: Platform, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quant_assets.notices.pace.LONGEST_BACKOFF_SECONDS", 0.05)
    p.sandbox.faults.add(fault)
    run_id = p.run("us_price", SESSION).run_id
    tell(p, run_id)
    told = thread(p.sandbox)
    assert len(told.keys) == len(set(told.keys)) == 4, told
    contains_in_order(told.replies, "Started by hand", "`us/prices`", "*US price 2026-03-19*")


def test_telling_a_run_leaves_its_tags_alone(p: Platform) -> None:
    """Dagster rewrites a run whole to add a tag: those of other processes could be lost."""
    run_id = p.run("us_price", SESSION).run_id
    before = run_of(p, run_id).tags
    tell(p, run_id)
    assert len(thread(p.sandbox).keys) == 4
    assert run_of(p, run_id).tags == before


def test_a_hiccup_of_the_database_invents_nothing(
    p: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = p.run("us_price", SESSION).run_id
    reporter = reporter_of(p)

    def breaks(*_: object) -> None:
        raise RuntimeError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr("quant_assets.hooks.reporter.made_by", breaks)
        assert not reporter.step([run_id])
    tell(p, run_id, reporter=reporter)
    told = thread(p.sandbox)
    contains_in_order(told.replies, "Started by hand", "5 rows", "*US price 2026-03-19*")
    assert len(told.keys) == 4


def test_a_refused_token_is_said_once_and_costs_the_run_nothing(
    p: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    p.sandbox.faults.add(Fault("slack", "error", error="invalid_auth"))
    run_id = p.run("us_price", SESSION).run_id
    log = logging.getLogger("quant_assets.test")
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            assert not reporter_of(p, log).step([run_id])
    assert len([r for r in caplog.records if "SLACK_BOT_TOKEN" in r.getMessage()]) == 1
    assert threads(p.sandbox) == []
    assert run_of(p, run_id).status == dg.DagsterRunStatus.SUCCESS


HOSTILE = "<!channel> <@U1> `x` ```y``` & <https://evil.example|here> \u202e\x00"
SECRET = f"{HOSTILE} s3cret-token-0001"


def test_what_comes_from_outside_is_harmless(p: Platform) -> None:
    settings = Settings(
        QUANT_PROFILE="live",
        QUANT_HOME=str(p.settings.home_dir),
        SLACK_BOT_TOKEN="s3cret-token-0001",
    )
    job = p.defs.resolve_job_def("us_price")
    run = p.instance.create_run_for_job(job, tags={TAG_PARTITION: SESSION})
    run = run.with_tags({TAG_PARTITION: HOSTILE, "dagster/schedule_name": HOSTILE})
    facts = RunFacts(run, started_at=1.0, ended_at=2.0, end_message=SECRET * 200)
    facts.happenings += [
        Failed("us__prices", 1.0, Problem(HOSTILE, SECRET * 500)),
        CheckFailed("us/prices", HOSTILE, True, SECRET * 500, 3),
    ]
    view = run_thread(facts, Target("#quant-runs"), settings, run.run_id)
    for message in (view.line, *(post.message for post in view.posts)):
        for text in (message.text, *(b["text"]["text"] for b in message.blocks)):
            assert len(text) <= 3000
            assert "<!" not in text
            assert "<@" not in text
            assert "```" not in text
            assert "<https://evil" not in text
            assert "\u202e" not in text
            assert "s3cret" not in text


def test_which_runs_have_a_thread(p: Platform) -> None:
    def run(job: str, **tags: str) -> dg.DagsterRun:
        return dg.DagsterRun(job, tags=tags)

    assert is_told_of(run("us_price"))
    assert is_told_of(run("news_crawl"))
    assert not is_told_of(run("news_stream"))
    assert not is_told_of(run("a_job_without_assets"))
    of_command = {naming.TAG_PID: "1"}
    assert not is_told_of(run("us_price", **of_command))
    assert is_told_of(run("us_price", **of_command, **{naming.TAG_COMMAND: "quant job us-price"}))
    again = dg.DagsterRun("us_price", tags=of_command, parent_run_id="1", root_run_id="1")
    assert is_told_of(again), "it has the tags of the command's run, and is none"


def test_a_run_started_by_hand_may_name_its_thread(p: Platform) -> None:
    tags = {naming.TAG_THREAD: "5.5", naming.TAG_CHANNEL: "C1", TAG_PARTITION: SESSION}
    run = p.instance.create_run_for_job(p.defs.resolve_job_def("us_price"), tags=tags)
    assert targets_of(run, p.settings) == [Target("C1", "5.5")]


def row(symbol: str, score: float | None, label: str | None) -> dict[str, object]:
    scores = dict.fromkeys(("combined_score", "technical_score", "sentiment_score"), score)
    return {"symbol": symbol, "label": label, **scores}


def test_the_table_shows_the_best_and_the_worst() -> None:
    rows = [row(f"S{n:02d}", n / 20, "BUY" if n > 9 else "SELL") for n in range(20)]
    rows.append(row("NONE", None, None))
    assert label_counts(rows) == "10 BUY, 10 SELL"
    (table,) = recommendation_blocks("US", rows, {"S19": "<Nineteen>"})
    lines = table["text"]["text"].splitlines()
    assert lines[0] == "*US: best 5 and worst 3 of 21*"
    assert [line.split()[0] for line in lines[3:-1]] == [
        *("S19", "S18", "S17", "S16", "S15"),
        *("S02", "S01", "S00"),
    ]
    assert "&lt;Nineteen&gt;" in lines[3]
    assert lines[3].split()[-3:] == ["+0.950"] * 3
