"""Requests of every kind through real processes, and a broker that is away meanwhile."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from quant_assets.markets import MARKETS
from quant_assets_tests.integration.campaign import Installation, installation, wait_until
from quant_assets_tests.kafka_broker import KafkaBroker

UNIVERSE = {"QUANT_US_UNIVERSE": "AAPL,MSFT", "QUANT_KR_UNIVERSE": "005930.KS"}
MINUTES = 300
SESSION = MARKETS["us"].last_complete_session(datetime.now(UTC))


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("home"), **UNIVERSE) as made:
        made.start()
        yield made


def answer(target: Installation, event_id: str) -> dict[str, Any]:
    """The event that answers a request, once it is there."""
    found: list[dict[str, Any]] = []

    def is_there() -> bool:
        found.extend(
            event
            for record in target.outcomes()
            if (event := json.loads(record.value or b""))["payload"].get("requestId") == event_id
        )
        return bool(found)

    wait_until(is_there, MINUTES, f"an answer to {event_id}", target.logs)
    return found[0]


def test_prices_are_fetched_and_analysed_on_request(target: Installation) -> None:
    first = MARKETS["us"].offset_session(SESSION, -260)
    bars = target.request("stock.price.sync.requested", {"market": "us", "from": first.isoformat()})
    told = answer(target, bars)
    assert told["eventType"] == "stock.price.updated"
    assert told["payload"]["partitions"]["count"] == 261
    assert told["payload"]["coverage"] == {"present": 522, "expected": 522}

    technical = target.request("analysis.technical.request", {"symbols": ["AAPL"]})
    told = answer(target, technical)
    assert told["eventType"] == "analysis.technical.completed"
    (result,) = told["payload"]["results"]
    assert (result["symbol"], result["status"]) == ("AAPL", "OK")
    assert {"trend", "momentum", "reversal"} <= set(result["parts"])


def test_news_macro_and_commands_are_served(target: Installation) -> None:
    hour = (datetime.now(UTC) - timedelta(hours=3)).isoformat()
    crawl = target.request("news.crawl.requested", {"hour": hour})
    command = target.request("command.requested", {"taskType": "crawl_news", "params": {}})
    macro = target.request("economic.data.sync.requested", {"threadTs": "17.5", "channel": "C1"})
    for event_id in (crawl, command):
        assert answer(target, event_id)["eventType"] == "news.crawl.completed"
    told = answer(target, macro)
    assert told["eventType"] == "economic.data.updated"
    assert (told["payload"]["threadTs"], told["payload"]["channel"]) == ("17.5", "C1")


def test_a_combined_request_is_answered_with_score_label_and_parts(target: Installation) -> None:
    asked = target.request(
        "analysis.combined.request",
        {"market": "us", "symbols": ["AAPL", "NOSUCH"], "threadTs": "1.1"},
    )
    told = answer(target, asked)
    assert told["eventType"] == "analysis.completed"
    payload = told["payload"]
    assert (payload["session"], payload["threadTs"]) == (SESSION.isoformat(), "1.1")
    results = {result["symbol"]: result for result in payload["results"]}
    assert set(results) == {"AAPL", "NOSUCH"}
    assert -1 <= results["AAPL"]["score"] <= 1
    assert results["AAPL"]["label"]
    assert "technical" in results["AAPL"]["parts"]
    assert results["NOSUCH"]["status"] == "UNKNOWN_SYMBOL"
    (run,) = target.runs_of(asked)
    assert run.run_id == payload["runId"]


def test_a_failed_run_is_answered_with_the_type_of_its_error(target: Installation) -> None:
    asked = target.request("analysis.combined.request", {"market": "kr"})
    told = answer(target, asked)
    assert told["eventType"] == "analysis.failed"
    assert told["payload"]["errorType"] == "MissingPartitionError"
    assert "kr/prices" in told["payload"]["message"]


@pytest.mark.kafka
def test_a_broker_that_is_away_for_a_minute_costs_nothing(tmp_path: Path) -> None:
    with (
        KafkaBroker(tmp_path / "kafka", auto_create_topics=True) as broker,
        installation(
            tmp_path / "home", KAFKA_BOOTSTRAP_SERVERS=broker.bootstrap_servers, **UNIVERSE
        ) as target,
    ):
        target.start()
        session = SESSION.isoformat()
        payload = {"market": "us", "session": session}
        before = target.request("stock.price.sync.requested", payload)
        wait_until(lambda: bool(target.runs_of(before)), MINUTES, "a run", target.logs)
        broker.kill()
        ended = time.monotonic() + 60
        wait_until(lambda: time.monotonic() > ended, 90, "a minute without a broker")
        broker.restart()
        after = target.request("stock.price.sync.requested", {"market": "kr"})
        target.request("stock.price.sync.requested", payload, event_id=before)
        for event_id in (before, after):
            assert answer(target, event_id)["eventType"] == "stock.price.updated"
            (run,) = target.runs_of(event_id)
            assert run.status is dg.DagsterRunStatus.SUCCESS
        ids = {
            event["eventId"]
            for record in target.outcomes()
            if (event := json.loads(record.value or b""))["payload"].get("requestId") == before
        }
        assert len(ids) == 1
