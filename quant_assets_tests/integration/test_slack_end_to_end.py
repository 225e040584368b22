"""One thread a run in a whole installation: started by an event, by a schedule and by hand."""

import subprocess
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest
from slack_sdk import WebClient
from slack_sdk.http_retry.builtin_handlers import RateLimitErrorRetryHandler

from quant_assets.markets import MARKETS
from quant_assets.naming import TAG_PARTITION
from quant_assets_tests.integration.campaign import Installation, installation, wait_until

JOB = "us_combined_analysis"
UNIVERSE = {"QUANT_US_UNIVERSE": "AAPL,MSFT", "QUANT_KR_UNIVERSE": "005930.KS"}
SECONDS = 600.0
SESSION = MARKETS["us"].last_complete_session(datetime.now(UTC))
STEPS = ("technical_indicators", "technical_score", "recommendations")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    home = tmp_path_factory.mktemp("home")
    module = "quant_assets_tests.integration.scheduled"
    with installation(home, definitions=module, **UNIVERSE) as made:
        made.start()
        yield made


def slack(target: Installation) -> WebClient:
    connection = target.settings.slack()
    assert connection is not None
    patient = RateLimitErrorRetryHandler(max_retry_count=50)
    return WebClient(connection.token, connection.base_url, retry_handlers=[patient])


def threads(client: WebClient, channel: str = "quant-runs") -> list[list[dict[str, Any]]]:
    """Every thread of a channel, the oldest first."""
    listed = client.conversations_list()["channels"]
    number = next(found["id"] for found in listed if found["name"] == channel)
    roots = client.conversations_history(channel=number)["messages"]
    return [
        client.conversations_replies(channel=number, ts=root["ts"])["messages"]
        for root in reversed(roots)
    ]


def words(messages: Iterable[dict[str, Any]]) -> str:
    """All that is shown of some messages."""
    return "\n".join(str(message.get("blocks") or message["text"]) for message in messages)


def thread_of(target: Installation, run_id: str) -> list[dict[str, Any]]:
    """The thread that tells of a run, once it has told its end with the table and the picture."""
    client = slack(target)
    found: list[list[dict[str, Any]]] = []

    def is_whole() -> bool:
        found[:] = [
            thread
            for thread in threads(client)
            if run_id in words(thread) and any(message.get("files") for message in thread)
        ]
        return bool(found)

    wait_until(is_whole, SECONDS, f"the whole thread of {run_id}", target.logs)
    (thread,) = found
    return thread


def demand_well_formed(line: dict[str, Any], replies: Sequence[dict[str, Any]]) -> None:
    """The line says that all is done; the steps are told in their order, one picture ends it."""
    assert "4 of 4" in words([line])
    text = words(replies)
    places = [text.index(f"`us/{step}`") for step in STEPS]
    assert places == sorted(places), text
    assert text.index("`us/news_sentiment`") < places[-1]
    assert [bool(reply.get("files")) for reply in replies[-2:]].count(True) == 1
    assert sum(len(reply.get("files", [])) for reply in replies) == 1
    table = words(reply for reply in replies if "```" in words([reply]))
    assert "AAPL" in table


def finished(target: Installation, filters: dg.RunsFilter) -> dg.DagsterRun:
    """The one run that ``filters`` find, once it has succeeded."""

    def is_there() -> bool:
        return any(run.is_success for run in target.instance.get_runs(filters))

    wait_until(is_there, SECONDS, f"a run by {filters}", target.logs)
    (run,) = target.instance.get_runs(filters)
    return run


def test_a_run_by_event_by_schedule_and_by_hand_each_have_one_thread(
    target: Installation,
) -> None:
    first = MARKETS["us"].offset_session(SESSION, -260).isoformat()
    target.request("stock.price.sync.requested", {"market": "us", "from": first})
    finished(target, dg.RunsFilter(job_name="us_price"))

    root = slack(target).chat_postMessage(channel="#trading", text="What about AAPL today?")
    asked = target.request(
        "analysis.combined.request",
        {"symbols": ["AAPL"], "threadTs": root["ts"], "channel": root["channel"]},
    )
    by_schedule = finished(target, dg.RunsFilter(tags={"dagster/schedule_name": "after_close"}))
    tags = f'{{"{TAG_PARTITION}": "{SESSION}", "by": "hand"}}'
    launch = ["job", "launch", "-w", "workspace.yaml", "-j", JOB, "--tags", tags]
    subprocess.run(
        [str(target.binaries / "dagster"), *launch],
        cwd=target.home,
        env=target.environment,
        check=True,
        capture_output=True,
    )
    by_hand = finished(target, dg.RunsFilter(tags={"by": "hand"}))
    for run in (by_schedule, by_hand):
        line, *replies = thread_of(target, run.run_id)
        demand_well_formed(line, replies)

    def is_answered() -> bool:
        return any(
            "us/recommendations" in words(thread[1:]) and any(m.get("files") for m in thread)
            for thread in threads(slack(target), "trading")
        )

    wait_until(is_answered, SECONDS, f"an answer in the thread of {asked}", target.logs)
    ((question, line, *replies),) = threads(slack(target), "trading")
    assert question["text"] == "What about AAPL today?"
    demand_well_formed(line, replies)
    assert "MSFT" not in words(replies)
