"""Which outcomes a run has, how it failed, which recommendations are signals: pure functions."""

from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import msgspec
import pytest

from quant_assets.errors import BadDataError, TransientError
from quant_assets.events.envelope import derived_id, encode
from quant_assets.events.payloads import AnalysisCompleted, DataUpdated, Failed
from quant_assets.events.requests import RequestTag
from quant_assets.events.topics import EVENT_TYPES, Role
from quant_assets.hooks.answers import partition_keys, result_of
from quant_assets.hooks.outcomes import (
    ANSWERS,
    Problem,
    assets_of_run,
    is_published,
    outcomes_of,
    outcomes_of_run,
    problem_of,
    published_tag,
)
from quant_assets.hooks.signals import signal_events, signals_of
from quant_assets.jobs import NAMED_JOBS
from quant_assets.markets import KR, US
from quant_assets.naming import TAG_PARTITION, TAG_RANGE_END, TAG_RANGE_START
from quant_assets.resources.events import askers_of, status_events
from quant_assets.settings import Settings

JOBS = {
    "us_price": ("us/prices", "stock.price.updated", "stock.price.failed"),
    "macro_sync": ("macro/regime", "economic.data.updated", "economic.data.sync.failed"),
    "news_crawl": ("news/article_sentiment", "news.crawl.completed", "news.crawl.failed"),
    "kr_technical_analysis": (
        "kr/technical_score",
        "analysis.technical.completed",
        "analysis.failed",
    ),
    "us_sentiment_analysis": (
        "us/news_sentiment",
        "analysis.sentiment.completed",
        "analysis.failed",
    ),
    "kr_combined_analysis": ("kr/recommendations", "analysis.completed", "analysis.failed"),
}
NOW = datetime(2026, 3, 20, 3, 30, tzinfo=UTC)


def keys(*assets: str) -> frozenset[dg.AssetKey]:
    return frozenset(dg.AssetKey(asset.split("/")) for asset in assets)


def told(job: str, *assets: str) -> list[str]:
    return sorted(outcome.asset for outcome in outcomes_of(job, keys(*assets)))


@pytest.mark.parametrize("job", JOBS)
def test_a_named_job_has_one_outcome(job: str) -> None:
    (outcome,) = outcomes_of(job, None)
    assert (outcome.asset, outcome.completed, outcome.failed) == JOBS[job]
    assert outcome.assets == set(NAMED_JOBS[job].assets)
    assert outcome.market == (job[:2] if job[:2] in ("us", "kr") else None)


def test_every_named_job_ends_with_an_asset_that_is_told() -> None:
    for job in NAMED_JOBS.values():
        assert [outcome.asset for outcome in outcomes_of(job.name, None)] == [job.assets[-1]]


def test_a_selection_of_all_assets_of_a_job_is_told_as_the_job() -> None:
    for job in NAMED_JOBS.values():
        assert outcomes_of("__ASSET_JOB", keys(*job.assets)) == outcomes_of(job.name, None)


@pytest.mark.parametrize(
    ("assets", "expected"),
    [
        (["macro/observations"], ["macro/observations"]),
        (["news/articles"], ["news/articles"]),
        (["us/technical_indicators"], []),
        (["us/technical_score", "us/news_sentiment"], ["us/news_sentiment", "us/technical_score"]),
        (["us/technical_score", "us/recommendations"], ["us/recommendations"]),
        (["us/recommendations"], ["us/recommendations"]),
        (
            ["us/prices", "us/technical_score", "us/news_sentiment", "us/recommendations"],
            ["us/prices", "us/recommendations"],
        ),
        (
            ["us/recommendations", "kr/technical_score", "kr/prices", "macro/regime"],
            ["kr/prices", "kr/technical_score", "macro/regime", "us/recommendations"],
        ),
    ],
)
def test_a_selection_in_the_ui_is_told_by_what_it_is_for(
    assets: list[str], expected: list[str]
) -> None:
    assert told("__ASSET_JOB", *assets) == expected


def test_a_part_of_a_named_job_is_told_by_what_it_makes() -> None:
    assert told("macro_sync", "macro/observations") == ["macro/observations"]


def test_a_job_that_nobody_asks_for_has_progress_and_no_outcome() -> None:
    assert outcomes_of("news_stream", None) == []
    made = assets_of_run(run(job_name="news_stream"))
    assert made == ("news/streamed_articles", "news/streamed_sentiment")


def test_an_unknown_job_has_no_outcome() -> None:
    assert outcomes_of("something_else", None) == []


def test_the_table_names_outcomes_and_failures_of_the_topics() -> None:
    for asset, types in ANSWERS.items():
        if asset.endswith("/risk"):
            assert types == (None, None), "paper trading is told by its orders, fills and positions"
            continue
        completed, failed = EVENT_TYPES[types.completed], EVENT_TYPES[types.failed]
        assert completed.role is failed.role is Role.OUTCOME
        assert completed.payload in (DataUpdated, AnalysisCompleted)
        assert failed.payload is Failed


def run(**fields: Any) -> dg.DagsterRun:
    given = {"job_name": "us_combined_analysis", "run_id": "11111111-0000-0000-0000-000000000000"}
    return dg.DagsterRun(**{**given, **fields})


def test_a_repeated_run_answers_only_for_what_it_makes_again() -> None:
    rest = run(step_keys_to_execute=["us__technical_score", "us__recommendations"])
    assert assets_of_run(rest) == ("us/technical_score", "us/recommendations")
    assert [o.asset for o in outcomes_of_run(rest)] == ["us/recommendations"]
    checks = run(step_keys_to_execute=["us__recommendations_labelled"])
    assert outcomes_of_run(checks) == []


def test_the_mark_of_another_run_does_not_count() -> None:
    """Dagster gives a run that repeats another the tags of the other."""
    first = run(tags=published_tag(run().run_id, NOW))
    assert is_published(first)
    again = run(run_id="22222222-0000-0000-0000-000000000000", tags=first.tags)
    assert not is_published(again)
    assert not is_published(run())


def test_the_partitions_of_a_run_are_those_of_its_tags() -> None:
    def made(asset: str, first: str, last: str = "") -> list[str]:
        tags = {TAG_RANGE_START: first, TAG_RANGE_END: last} if last else {TAG_PARTITION: first}
        return partition_keys(run(tags=tags), asset, Settings())

    assert made("us/prices", "2026-03-19") == ["2026-03-19"]
    days = made("kr/prices", "2026-02-13", "2026-02-19")
    assert days == ["2026-02-13", "2026-02-19"], "the Lunar New Year lies in between"
    assert len(made("macro/regime", "2026-02-13", "2026-02-19")) == 7
    assert len(made("news/articles", "2026-02-13-00", "2026-02-14-23")) == 48
    for first, last in (
        ("nonsense", ""),
        ("1980-01-02", "2026-03-19"),
        ("2026-03-14", "2026-03-16"),
        ("2026-03-19", "2026-03-16"),
        ("2026-03-19-00", "2026-03-19-05"),
    ):
        with pytest.raises(BadDataError, match="has no partitions"):
            made("us/prices", first, last)
    with pytest.raises(BadDataError, match="has no partitions"):
        partition_keys(run(), "us/prices", Settings())


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            raised(
                dg.Failure("no bars: ask later", metadata={"error_type": "BadDataError"}),
                BadDataError("no bars: ask later"),
            ),
            ("BadDataError", "no bars: ask later"),
        ),
        (dg.Failure("on purpose"), ("Failure", "on purpose")),
        (
            raised(RuntimeError("step"), raised(TransientError("Yahoo is away"), OSError("reset"))),
            ("TransientError", "Yahoo is away"),
        ),
        (raised(RuntimeError("step"), KeyError("x")), ("KeyError", "'x'")),
        (ValueError(), ("ValueError", "ValueError")),
    ],
)
def test_the_telling_error_of_a_chain_is_told(
    error: BaseException, expected: tuple[str, str]
) -> None:
    assert problem_of(error, "us__prices") == Problem(*expected, "us__prices")


def test_each_request_of_a_run_hears_of_its_progress() -> None:
    tag = RequestTag(
        event_type="analysis.combined.request", origin="t/0/1", attempt=1, digest="", thread_ts="1"
    )
    served = run(tags={"quant.request/aa": tag.text(), "quant.request/bb": "{not JSON"})
    assert [asker.request_id for asker in askers_of(served)] == ["aa", "bb"]
    first, second = status_events(served, "progress", step="us__prices", done=1, total=4)
    assert (first[0], second[0]) == ("aa", "bb")
    assert first[1].payload.thread_ts == "1"
    assert first[1].payload.market == "us"
    assert first[1].event_id != second[1].event_id
    again = status_events(served, "progress", step="us__prices", done=1, total=4)
    assert [event.event_id for _, event in again] == [first[1].event_id, second[1].event_id]


NULL = float("nan")


def test_nulls_are_absent_and_no_nan_reaches_json() -> None:
    rows = {
        "us/technical_score": {
            "technical_score": NULL,
            "trend": NULL,
            "momentum": -0.25,
            "reversal": NULL,
            "status": "INSUFFICIENT_HISTORY",
            "reason": "INSUFFICIENT_HISTORY: 12 bars",
        },
        "us/news_sentiment": {"sentiment_score": NULL, "n_articles": 0, "status": "UNAVAILABLE"},
        "us/recommendations": {
            "technical_score": 0.5,
            "sentiment_score": NULL,
            "combined_score": 0.35,
            "label": "BUY",
            "technical_status": "OK",
            "is_degraded": True,
            "reason": "SENTIMENT_UNAVAILABLE: counted as 0",
        },
    }
    results = [result_of(asset, {"symbol": "AAPL", **row}) for asset, row in rows.items()]
    told = [msgspec.json.decode(msgspec.json.encode(result)) for result in results]
    assert told[0] == {
        "symbol": "AAPL",
        "status": "INSUFFICIENT_HISTORY",
        "parts": {"momentum": -0.25},
        "reason": "INSUFFICIENT_HISTORY: 12 bars",
    }
    assert told[1]["parts"] == {"articles": 0}
    assert told[1]["reason"].startswith("UNAVAILABLE")
    assert told[2]["status"] == "SENTIMENT_UNAVAILABLE"
    assert told[2]["parts"] == {"technical": 0.5}


def signal(symbol: str, action: str, weight: float = 0.05, **others: Any) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "action": action,
        "target_weight": weight,
        "score": 0.3,
        "reference_price": 100.0,
        "volume": 1000.0,
        "strategy_id": "combined-70-30",
        "strategy_version": "abc",
        "is_live": True,
        **others,
    }


SIGNALS = [
    signal("AAPL", "BUY"),
    signal("MSFT", "BUY", 0.1, reference_price=101.0, volume=1001.0),
    signal("NVDA", "HOLD"),
    signal("JPM", "SELL", 0.0, score=NULL),
    signal("V", "BUY", strategy_id="average-50-200", is_live=False),
    signal("MA", "SELL", 0.0, reference_price=NULL, volume=NULL),
]


def test_what_the_live_strategy_buys_and_sells_is_told() -> None:
    signals = signals_of(US, "2026-03-19", NOW, SIGNALS)
    assert [(s.symbol, s.signal_type, s.price, s.volume, s.target_weight) for s in signals] == [
        ("AAPL", "BUY", 100.0, 1000, 0.05),
        ("MSFT", "BUY", 101.0, 1001, 0.1),
        ("JPM", "SELL", 100.0, 1000, 0.0),
    ], "NVDA is held, V a shadow's, and MA has no bar in the session to be traded at"
    assert {s.strategy_id for s in signals} == {"combined-70-30:abc"}
    assert {(s.market, s.session) for s in signals} == {("us", date(2026, 3, 19))}
    assert signals[-1].score is None, "a symbol that has no score any more is sold"


def test_only_the_last_complete_session_gives_signals() -> None:
    assert signals_of(US, "2026-03-18", NOW, SIGNALS) == []
    before_the_close = datetime(2026, 3, 19, 20, 15, tzinfo=UTC)
    assert signals_of(US, "2026-03-19", before_the_close, SIGNALS) == []
    assert signals_of(US, "2026-03-18", before_the_close, SIGNALS) != []
    assert signals_of(KR, "2026-03-19", NOW, SIGNALS) != []


def test_a_signal_has_the_same_id_until_what_it_says_changes() -> None:
    def ids(rows: list[dict[str, Any]]) -> dict[str, Any]:
        signals = signals_of(US, "2026-03-19", NOW, rows)
        return {key: event.event_id for key, event in signal_events(signals)}

    first = ids(SIGNALS)
    changed = ids([signal("AAPL", "SELL", 0.0), *SIGNALS[1:]])
    assert ids(SIGNALS) == first
    assert changed["AAPL"] != first["AAPL"]
    assert changed["MSFT"] == first["MSFT"]
    name = "trading.signal.detected"
    parts = ("combined-70-30:abc", name, "us", "2026-03-19", "MSFT", "BUY:0.1")
    assert first["MSFT"] == derived_id(*parts)


def test_a_signal_can_be_encoded() -> None:
    events = signal_events(signals_of(US, "2026-03-19", NOW, SIGNALS))
    content = msgspec.json.decode(encode(events[0][1]))
    assert content["payload"]["signalType"] == "BUY"
    assert content["payload"]["targetWeight"] == 0.05
