"""What runs say on a real broker while they go on and when they end: the hooks of every asset."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from quant_assets.assets import prices
from quant_assets.definitions import build_defs
from quant_assets.events.envelope import derived_id
from quant_assets.events.payloads import MAX_SYMBOLS
from quant_assets.events.publisher import Publisher
from quant_assets.hooks.answers import Source, outcome_events
from quant_assets.hooks.outcomes import Problem, is_published, outcomes_of
from quant_assets.markets import US
from quant_assets.naming import FORECAST, TAG_PUBLISHED, TAG_RANGE_END, TAG_RANGE_START, TRADING
from quant_assets.partitions import session_partitions
from quant_assets.policies import VENDOR_RETRY
from quant_assets.resources import events as resource_events
from quant_assets.sandbox.broker import EmbeddedBroker
from quant_assets.sandbox.faults import Fault
from quant_assets.settings import Settings
from quant_assets_tests.dagster.event_answers import (
    NAMES,
    Listener,
    ask,
    execute,
    send_request,
)
from quant_assets_tests.platform import Platform, failure, platform

SESSION = "2026-03-19"
SYMBOLS = ("AAPL", "JPM")
HISTORY_FROM = "2025-02-20"
WAIT_SECONDS = resource_events.WAIT_SECONDS


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


@pytest.fixture(scope="module")
def p(tmp_path_factory: pytest.TempPathFactory, broker: EmbeddedBroker) -> Iterator[Platform]:
    """A platform with prices and news for the analysis of the last session of the US."""
    home = tmp_path_factory.mktemp("completion")
    servers = {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers}
    with platform(home, us=SYMBOLS, kr=["005930.KS"], **servers) as made:
        made.run("us_price", HISTORY_FROM, SESSION)
        made.run("news_crawl", "2026-03-18-13", "2026-03-20-02")
        yield made


def marked(p: Platform, run_id: str) -> bool:
    run = p.instance.get_run_by_id(run_id)
    assert run is not None
    return is_published(run)


def run_of(p: Platform, job: str) -> str:
    (run, *_) = p.instance.get_runs(dg.RunsFilter(job_name=job))
    return run.run_id


def test_a_range_of_prices_is_one_event_with_its_coverage(p: Platform, heard: Listener) -> None:
    run_id = run_of(p, "us_price")
    said = heard.only(run_id, "stock.price.updated")
    keys = session_partitions(US).get_partition_keys_in_range(
        dg.PartitionKeyRange(HISTORY_FROM, SESSION)
    )
    assert said.key == run_id
    assert said.id == str(derived_id(run_id, "stock.price.updated", "us/prices"))
    assert said.payload == {
        "runId": run_id,
        "job": "us_price",
        "market": "us",
        "partitions": {"first": HISTORY_FROM, "last": SESSION, "count": len(keys)},
        "rows": 2 * len(keys),
        "coverage": {"present": 2 * len(keys), "expected": 2 * len(keys)},
    }
    assert heard.statuses(run_id) == ["started 0/0", "progress 1/1", "completed 1/1"]
    assert marked(p, run_id)


def test_news_and_macro_tell_their_rows(p: Platform, heard: Listener) -> None:
    crawl = heard.only(run_of(p, "news_crawl"), "news.crawl.completed").payload
    assert crawl["partitions"] == {"first": "2026-03-18-13", "last": "2026-03-20-02", "count": 38}
    assert crawl["rows"] == len(p.read("news/article_sentiment")) > 0
    assert "market" not in crawl
    macro = p.run("macro_sync", "2026-03-17", "2026-03-18").run_id
    payload = heard.only(macro, "economic.data.updated").payload
    assert payload["rows"] == len(p.read("macro/regime", "2026-03-17", "2026-03-18"))
    assert heard.statuses(macro) == [
        "started 0/0",
        "progress 1/2",
        "progress 2/2",
        "completed 2/2",
    ]


def test_a_combined_analysis_tells_its_results(p: Platform, heard: Listener) -> None:
    run_id = p.run("us_combined_analysis", SESSION).run_id
    payload = heard.only(run_id, "analysis.completed").payload
    stored = p.read("us/recommendations", SESSION).set_index("symbol")
    assert payload["session"] == SESSION
    assert payload["dataVersion"] == p.store.info("us/recommendations", SESSION).content_hash
    assert [r["symbol"] for r in payload["results"]] == list(stored.index)
    for result in payload["results"]:
        row = stored.loc[result["symbol"]]
        assert (result["status"], result["label"]) == ("OK", row["label"])
        assert result["score"] == row["combined_score"]
        assert result["parts"] == {
            "technical": row["technical_score"],
            "sentiment": row["sentiment_score"],
        }
    # The scores on the way are not told: they are part of the recommendation.
    assert heard.of(run_id, "analysis.technical.completed") == []
    assert heard.statuses(run_id) == [
        "started 0/0",
        *(f"progress {n}/4" for n in range(1, 5)),
        "completed 4/4",
    ]


def test_paper_trading_tells_the_signals_of_the_live_strategy(p: Platform, heard: Listener) -> None:
    """A book that begins with the last session buys in it; made again it says the same again."""
    name = "trading.signal.detected"
    p.run("us_combined_analysis", SESSION)
    assert heard.all(name) == [], "a recommendation is no signal yet"
    p.run("us_paper_trading", SESSION)
    first = heard.all(name)
    rows = p.read("us/signals", SESSION)
    wanted = rows[rows["is_live"] & (rows["action"] != "HOLD")].set_index("symbol")
    assert {said.key for said in first} == set(wanted.index) != set()
    for said in first:
        row = wanted.loc[said.key]
        assert said.payload["signalType"] == row["action"]
        assert said.payload["price"] == row["reference_price"]
        assert said.payload["targetWeight"] == row["target_weight"]
        assert said.payload["strategyId"] == f"combined-70-30:{row['strategy_version']}"
    p.run("us_paper_trading", SESSION)
    again = heard.all(name)[len(first) :]
    assert {said.id for said in again} == {said.id for said in first}
    for table in (*FORECAST, *TRADING):
        p.store.delete(f"us/{table}", [SESSION])


def test_paper_trading_tells_the_live_orders_fills_and_positions(
    p: Platform, heard: Listener
) -> None:
    """A session decided before, so that its orders fill in the one that is told last."""
    kinds = ("trading.order.created", "trading.order.filled", "trading.position.updated")
    p.run("us_combined_analysis", "2026-03-18", SESSION)
    told = len(heard.all("trading.signal.detected"))
    before = {kind: len(heard.all(kind)) for kind in kinds}
    runs = [p.run("us_paper_trading", "2026-03-18").run_id]
    assert len(heard.all("trading.signal.detected")) == told, "an older session gives no signal"
    runs.append(p.run("us_paper_trading", SESSION).run_id)
    assert heard.statuses(runs[1])[-1] == "completed 9/9"
    ledger = p.read("us/ledger")
    live = ledger[ledger["is_live"]]
    said = {kind: heard.all(kind)[before[kind] :] for kind in kinds}
    orders = live[live["kind"] == "ORDER"]
    assert {x.payload["orderId"] for x in said[kinds[0]]} == set(orders["order_id"])
    fills = live[live["kind"] == "FILL"]
    assert {x.payload["orderId"] for x in said[kinds[1]]} == set(fills["order_id"]) != set()
    held = live[(live["kind"] == "POSITION") & (live["session_date"] == SESSION)]
    held = held.set_index("symbol")
    for position in said[kinds[2]]:
        row = held.loc[position.payload["symbol"]]
        assert position.payload["quantity"] == row["shares"]
        assert position.payload["status"] == "OPEN"
    ids = [x.id for kind in kinds for x in said[kind]]
    assert len(set(ids)) == len(ids)
    p.run("us_paper_trading", SESSION)
    again = {x.id for kind in kinds for x in heard.all(kind)[before[kind] :]}
    assert again == set(ids), "a session computed again says the same again"


@pytest.mark.parametrize(
    ("job", "event_type", "asset", "score"),
    [
        (
            "us_technical_analysis",
            "analysis.technical.completed",
            "us/technical_score",
            "technical_score",
        ),
        (
            "us_sentiment_analysis",
            "analysis.sentiment.completed",
            "us/news_sentiment",
            "sentiment_score",
        ),
    ],
)
def test_a_single_analysis_tells_its_scores(
    p: Platform, heard: Listener, job: str, event_type: str, asset: str, score: str
) -> None:
    run_id = p.run(job, "2026-03-18", SESSION).run_id
    payload = heard.only(run_id, event_type).payload
    stored = p.read(asset, SESSION).set_index("symbol")
    assert payload["partitions"] == {"first": "2026-03-18", "last": SESSION, "count": 2}
    assert {r["symbol"]: r["score"] for r in payload["results"]} == dict(stored[score])
    parts = payload["results"][0]["parts"]
    assert set(parts) <= {"trend", "momentum", "reversal", "articles"} != set()


def test_requests_that_share_a_run_each_get_their_answer(p: Platform, heard: Listener) -> None:
    first, first_tag = ask("JPM", thread_ts="171.1", channel="C1")
    second, second_tag = ask("AAPL", "ZZZZ", "AAPL", thread_ts="171.2")
    third, third_tag = ask()
    tags = {**first_tag, **second_tag, **third_tag}
    run_id = execute(p, "us_combined_analysis", SESSION, tags=tags).run_id
    answers = {said.key: said for said in heard.of(run_id, "analysis.completed")}
    assert set(answers) == {first, second, third}
    results = {key: said.payload["results"] for key, said in answers.items()}
    assert [r["symbol"] for r in results[first]] == ["JPM"]
    assert [r["symbol"] for r in results[second]] == ["AAPL", "ZZZZ"]
    assert [r["symbol"] for r in results[third]] == list(SYMBOLS)
    unknown = results[second][1]
    assert unknown["status"] == "UNKNOWN_SYMBOL"
    assert "QUANT_US_UNIVERSE" in unknown["reason"]
    assert answers[first].payload["requestId"] == first
    assert (answers[first].payload["threadTs"], answers[first].payload["channel"]) == (
        "171.1",
        "C1",
    )
    assert answers[second].payload["threadTs"] == "171.2"
    assert "threadTs" not in answers[third].payload
    statuses = [s for s in heard.of(run_id, "status.updated") if s.key == second]
    assert [s.payload["status"] for s in statuses] == ["started", *["progress"] * 4, "completed"]
    assert {s.payload["threadTs"] for s in statuses} == {"171.2"}


def test_symbols_too_many_for_a_tag_are_read_from_the_message(p: Platform, heard: Listener) -> None:
    asked = ["JPM", *(f"Z{n:022d}" for n in range(MAX_SYMBOLS - 1))]
    payload = {"market": "us", "symbols": asked}
    plain = send_request(heard, "analysis.sentiment.request", payload)
    command = send_request(
        heard,
        "command.requested",
        {"taskType": "us_sentiment_analysis", "params": {"symbols": ["AAPL", "NOPE"]}},
    )
    tags: dict[str, str] = {}
    for request_id, origin in (plain, command):
        where = {"origin": origin, "symbols_at_origin": True, "request_id": request_id}
        tags |= ask(event_type="analysis.sentiment.request", **where)[1]
    gone, gone_tag = ask(origin="quantiq.analysis.sentiment.request/0/999", symbols_at_origin=True)
    other, other_tag = ask(origin=plain[1], symbols_at_origin=True)
    tags |= {**gone_tag, **other_tag}
    run_id = execute(p, "us_sentiment_analysis", SESSION, tags=tags).run_id
    said = {s.key: s.payload["results"] for s in heard.of(run_id, "analysis.sentiment.completed")}
    assert [r["symbol"] for r in said[plain[0]]] == asked
    assert [r["symbol"] for r in said[command[0]]] == ["AAPL", "NOPE"]
    assert [r["symbol"] for r in said[gone]] == list(SYMBOLS), "gone: all symbols"
    assert [r["symbol"] for r in said[other]] == list(SYMBOLS), "another message is there"


def test_a_symbol_of_the_universe_without_a_bar_has_no_data(
    p: Platform, heard: Listener, tmp_path: Path, broker: EmbeddedBroker
) -> None:
    servers = {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers}
    with platform(tmp_path, us=["AAPL", "ZZGONE"], **servers) as other:
        price = other.run("us_price", "2026-03-18", SESSION).run_id
        _, tag = ask("AAPL", "ZZGONE", event_type="analysis.technical.request")
        run_id = execute(other, "us_technical_analysis", SESSION, tags=tag).run_id
    assert heard.only(price, "stock.price.updated").payload["coverage"] == {
        "present": 2,
        "expected": 4,
    }
    short, absent = heard.only(run_id, "analysis.technical.completed").payload["results"]
    assert short["status"] == "INSUFFICIENT_HISTORY"
    assert "score" not in short
    assert absent["status"] == "NO_DATA"


NOT_FOUND = {"kind": "status", "code": 404}


@pytest.mark.parametrize(
    ("job", "day", "faults", "error_type", "words"),
    [
        (
            "us_price",
            SESSION,
            [Fault("yahoo.chart", "empty")],
            "BadDataError",
            "QUANT_CALENDAR_OVERRIDES",
        ),
        ("us_price", "2026-03-20", [], "PermanentError", "counts from 2026-03-20 20:30 UTC"),
        ("macro_sync", "2026-03-16", [Fault("fred", **NOT_FOUND)], "PermanentError", "FRED"),
        (
            "news_crawl",
            "2026-03-19-20",
            [Fault("alpha_vantage", **NOT_FOUND), Fault("rss", **NOT_FOUND)],
            "PermanentError",
            "404",
        ),
        ("kr_technical_analysis", SESSION, [], "MissingPartitionError", "materialize"),
        ("kr_combined_analysis", SESSION, [], "MissingPartitionError", "materialize"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_failure_is_told_with_its_error_and_remedy(
    p: Platform,
    heard: Listener,
    job: str,
    day: str,
    faults: list[Fault],
    error_type: str,
    words: str,
) -> None:
    (outcome,) = outcomes_of(job, None)
    request, tag = ask(thread_ts="9")
    for fault in faults:
        p.sandbox.faults.add(fault)
    try:
        result = execute(p, job, day, tags=tag)
    finally:
        p.sandbox.faults.clear()
    assert not result.success
    said = heard.only(result.run_id, outcome.failed)
    assert said.key == request
    assert said.id == str(derived_id(request, outcome.failed, outcome.asset))
    assert said.payload["errorType"] == error_type
    assert words in said.payload["message"]
    assert said.payload["message"] in failure(result)
    assert said.payload["step"] in failure(result)
    assert said.payload["partitions"] == {"first": day, "last": day, "count": 1}
    assert said.payload["threadTs"] == "9"
    assert heard.of(result.run_id, outcome.completed) == []
    assert sum("failed" in status for status in heard.statuses(result.run_id)) == 1
    assert not any("completed" in status for status in heard.statuses(result.run_id))
    assert marked(p, result.run_id)


def test_a_step_that_is_retried_fails_once(
    tmp_path: Path, broker: EmbeddedBroker, heard: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prices, "VENDOR_RETRY", VENDOR_RETRY._replace(delay=0.1))
    servers = {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers}
    with platform(tmp_path, us=["AAPL"], **servers) as other:
        other.sandbox.faults.add(Fault("yahoo.chart", "status", code=429))
        run_id = other.run("us_price", SESSION, check=False).run_id
        retries = other.instance.get_records_for_run(
            run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY
        ).records
    assert len(retries) == VENDOR_RETRY.max_retries
    assert heard.only(run_id, "stock.price.failed").payload["errorType"] == "TransientError"
    assert heard.statuses(run_id) == ["started 0/0", "failed 0/1"]


def test_two_steps_that_fail_are_one_failure_of_the_run(p: Platform, heard: Listener) -> None:
    hour = p.store.path("news/article_sentiment", "2026-03-19-10")
    whole = hour.read_bytes()
    hour.write_bytes(b"no parquet")
    try:
        result = p.run("kr_combined_analysis", SESSION, check=False)
    finally:
        hour.write_bytes(whole)
    failed = {e.step_key for e in result.all_events if e.is_step_failure}
    assert failed == {"kr__news_sentiment", "kr__technical_indicators"}
    assert heard.only(result.run_id, "analysis.failed").payload["step"] in failed


def test_a_partition_that_does_not_exist_is_told_without_partitions(
    p: Platform, heard: Listener
) -> None:
    tags = {TAG_RANGE_START: "2026-03-14", TAG_RANGE_END: SESSION}
    job = p.defs.resolve_job_def("us_price")
    result = job.execute_in_process(instance=p.instance, tags=tags, raise_on_error=False)
    payload = heard.only(result.run_id, "stock.price.failed").payload
    assert "no partition '2026-03-14'" in payload["message"]
    assert payload["errorType"] == "BadConfigurationError"
    assert "partitions" not in payload


def test_secrets_do_not_leave_in_a_message(p: Platform) -> None:
    key = p.settings.fred_key()
    run = p.instance.get_runs(limit=1)[0]
    (outcome,) = outcomes_of("macro_sync", None)
    problem = Problem("PermanentError", f"https://fred/?series_id=X&api_key={key} said no to {key}")
    source = Source(p.store, p.settings, Publisher(Listener("127.0.0.1:1").connection, NAMES))
    ((_, event),) = outcome_events(run, outcome, problem, source)
    assert key not in event.payload.message
    assert "said no to [redacted]" in event.payload.message


def test_assets_chosen_in_the_ui_are_told_by_what_they_are_for(
    p: Platform, heard: Listener
) -> None:
    job = next(
        job.name for job in p.defs.resolve_all_job_defs() if job.name.startswith("__ASSET_JOB")
    )
    chosen = ["us/prices", "us/technical_indicators", "us/technical_score"]
    run_id = execute(p, job, SESSION, assets=chosen).run_id
    assert heard.only(run_id, "stock.price.updated").payload["rows"] == 2
    payload = heard.only(run_id, "analysis.technical.completed").payload
    assert "job" not in payload
    assert heard.statuses(run_id)[-1] == "completed 3/3"
    assert marked(p, run_id)
    part = execute(p, "macro_sync", "2026-03-18", assets=["macro/observations"]).run_id
    assert heard.only(part, "economic.data.updated").payload["job"] == "macro_sync"
    assert heard.statuses(part)[-1] == "completed 1/1"


def price_job() -> dg.JobDefinition:
    return build_defs(Settings()).resolve_job_def("us_price")


def test_a_run_that_repeats_another_gives_the_same_ids(
    p: Platform, heard: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins with the tags of the first one, also with the mark that all is sent."""
    for name, value in p.settings.model_dump(
        mode="json", exclude_unset=True, by_alias=True
    ).items():
        monkeypatch.setenv(name, str(value))
    request, tag = ask(event_type="stock.price.sync.requested")
    first = execute(p, "us_price", SESSION, tags=tag).run_id
    nobody = execute(p, "us_price", SESSION).run_id
    for parent, key in ((first, request), (nobody, nobody)):
        before = p.instance.get_run_by_id(parent)
        assert before is not None
        again = dg.execute_job(
            dg.reconstructable(price_job),
            instance=p.instance,
            tags=before.tags,
            reexecution_options=dg.ReexecutionOptions(parent_run_id=parent),
        )
        assert again.success
        said = heard.only(again.run_id, "stock.price.updated")
        assert said.key == key
        assert said.id == heard.only(parent, "stock.price.updated").id
        assert marked(p, again.run_id)


def test_with_publishing_off_nothing_is_said(tmp_path: Path) -> None:
    with platform(tmp_path, us=["AAPL"]) as off:
        run_id = off.run("us_price", SESSION).run_id
        run = off.instance.get_run_by_id(run_id)
        assert run is not None
        assert TAG_PUBLISHED not in run.tags
        hooks = off.instance.get_records_for_run(
            run_id, of_type=dg.DagsterEventType.HOOK_ERRORED
        ).records
        assert hooks == []


@pytest.mark.parametrize(("silent_seconds", "least", "most"), [(60.0, 1, 1), (0.0, 3, 9)])
def test_an_absent_broker_is_waited_for_once_a_minute_and_fails_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    silent_seconds: float,
    least: int,
    most: int,
) -> None:
    waits: list[float | None] = []
    publish = Publisher.publish

    def counted(self: Publisher, events: Any, *, timeout_seconds: float | None = None) -> None:
        waits.append(timeout_seconds)
        publish(self, events, timeout_seconds=0.2)

    monkeypatch.setattr(Publisher, "publish", counted)
    monkeypatch.setattr(resource_events, "WAIT_SECONDS", WAIT_SECONDS)
    monkeypatch.setattr(resource_events, "SILENT_SECONDS", silent_seconds)
    with EmbeddedBroker() as gone:
        servers = {"KAFKA_BOOTSTRAP_SERVERS": gone.bootstrap_servers}
    with platform(tmp_path, us=["AAPL"], **servers) as alone:
        prices_run = alone.run("us_price", SESSION).run_id
        analysis = alone.run("us_technical_analysis", SESSION).run_id
        assert set(waits) == {5.0}
        assert least <= len(waits) <= most
        log = [
            e.user_message for run in (prices_run, analysis) for e in alone.instance.all_logs(run)
        ]
        assert sum("has not acknowledged" in line for line in log) == len(waits)
        assert not marked(alone, prices_run)
        assert not marked(alone, analysis)
