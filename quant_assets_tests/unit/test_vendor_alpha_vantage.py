"""Alpha Vantage: paging, the order in which answers are classified, items that cannot be read."""

import gzip
import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from quant_assets.errors import (
    BadConfigurationError,
    BadDataError,
    PermanentError,
    QuotaExhaustedError,
    TransientError,
)
from quant_assets.sandbox.faults import Fault
from quant_assets.sandbox.server import Sandbox
from quant_assets.vendors.alpha_vantage import (
    AlphaVantageClient,
    NewsItem,
    NewsPage,
    TickerSentiment,
    classify_body,
    parse_item,
)
from quant_assets.vendors.http import Pacer, build_session
from quant_assets_tests.unit.scripted_server import Reply, Request, ScriptedServer

KEY = "DEMOKEY0123456789"
NOW = datetime(2025, 6, 30, 22, 0, tzinfo=UTC)
DAY = (datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 3, 2, tzinfo=UTC))


class Waits(list[float]):
    """Takes the place of ``time.sleep`` and keeps what was slept."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def client(
    base_url: str, *, waits: Waits | None = None, timeout_seconds: float = 10.0, **options: Any
) -> AlphaVantageClient:
    session = build_session(
        retries=0, backoff_seconds=0.001, timeout_seconds=timeout_seconds, user_agent="test"
    )
    pacer = Pacer(max_per_second=10_000)
    return AlphaVantageClient(
        KEY, base_url, session, pacer=pacer, sleep=Waits() if waits is None else waits, **options
    )


@pytest.fixture(autouse=True)
def _no_key_leaks(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG):
        yield
    assert KEY not in caplog.text


def raw_item(published: datetime, name: str = "", **changes: Any) -> dict[str, Any]:
    item = {
        "title": f"Title {name}",
        "url": f"https://news.example/{published:%Y%m%dT%H%M%S}{name}",
        "time_published": f"{published:%Y%m%dT%H%M%S}",
        "summary": "Text.",
        "source": "Example",
        "overall_sentiment_score": 0.25,
        "ticker_sentiment": [
            {"ticker": "AAPL", "relevance_score": "0.5", "ticker_sentiment_score": "-0.1"}
        ],
    }
    return item | changes


def feed(*items: Any) -> Reply:
    return Reply(json.dumps({"items": str(len(items)), "feed": list(items)}))


def archive(items: list[dict[str, Any]]) -> Callable[[Request], Reply]:
    """Serve items as the vendor does: both bounds inclusive to the minute, oldest first."""

    def answer(request: Request) -> Reply:
        query = request.query
        assert query["sort"] == "EARLIEST"
        shown = [
            item
            for item in sorted(items, key=lambda item: str(item["time_published"]))
            if query["time_from"] <= item["time_published"][:13] <= query["time_to"]
        ]
        if not shown:
            return Reply(json.dumps({"Information": "No articles found. Adjust the range."}))
        return feed(*shown[: int(query["limit"])])

    return answer


def test_pages_are_joined_and_doubles_removed() -> None:
    start, end = DAY
    items = [raw_item(start + timedelta(seconds=37 * n)) for n in range(2_300)]
    with ScriptedServer(archive(items)) as server:
        result = client(server.url, page_limit=100).news("AAPL", start, end)
        assert {request.query["tickers"] for request in server.requests} == {"AAPL"}
        assert result.calls == len(server.requests)
    inside = [item for item in items if item["time_published"] < "20240302T000000"]
    assert [item.url for item in result.items] == [item["url"] for item in inside]
    assert result.rejected == ()
    assert 23 <= result.calls <= 25


def test_pages_before_a_failure_are_kept_and_say_how_far_they_reach() -> None:
    start, end = DAY
    items = [raw_item(start + timedelta(minutes=5 * n)) for n in range(288)]
    served = archive(items)
    calls = []

    def answer(request: Request) -> Reply:
        calls.append(request)
        return served(request) if len(calls) <= 2 else PER_DAY

    pages: list[NewsPage] = []

    def take(url: str) -> None:
        for page in client(url, page_limit=100).pages(None, start, end):
            pages.append(page)
            read = {item.published_at for one in pages for item in one.items}
            published = {start + timedelta(minutes=5 * n) for n in range(288)}
            assert {moment for moment in published if moment < page.reached} <= read

    with ScriptedServer(answer) as server, pytest.raises(QuotaExhaustedError):
        take(server.url)
    assert [len(page.items) for page in pages] == [100, 99]
    assert pages[0].reached == start + timedelta(minutes=5 * 99)
    assert pages[1].reached == start + timedelta(minutes=5 * 198)


def test_the_last_page_reaches_the_end() -> None:
    with ScriptedServer(archive([raw_item(DAY[0])])) as server:
        (page,) = client(server.url).pages("AAPL", *DAY)
    assert page.reached == DAY[1]
    with ScriptedServer(archive([])) as server:
        (page,) = client(server.url).pages("AAPL", *DAY)
    assert (page.items, page.reached) == ((), DAY[1])


def test_the_end_is_exclusive_and_the_start_inclusive_to_the_second() -> None:
    start = datetime(2024, 3, 1, 9, 30, 30, tzinfo=UTC)
    end = datetime(2024, 3, 1, 10, 0, 0, tzinfo=UTC)
    seconds = (-1, 0, 1, 1768, 1769, 1770, 1771)
    items = [raw_item(start + timedelta(seconds=n), f"-{n}") for n in seconds]
    with ScriptedServer(archive(items)) as server:
        result = client(server.url).news(None, start, end)
        assert "tickers" not in server.requests[0].query
        assert server.requests[0].query["time_from"] == "20240301T0930"
    found = [(item.published_at - start).total_seconds() for item in result.items]
    assert found == [0, 1, 1768, 1769]


def test_neighbouring_ranges_give_each_article_once() -> None:
    start, end = DAY
    items = [raw_item(start + timedelta(minutes=7 * n)) for n in range(206)]
    with ScriptedServer(archive(items)) as server:
        made = client(server.url)
        whole = made.news("AAPL", start, end)
        hours = [start + timedelta(hours=n) for n in range(25)]
        parts = [made.news("AAPL", a, b) for a, b in pairwise(hours)]
    assert [item for part in parts for item in part.items] == list(whole.items)


def test_a_minute_with_more_articles_than_a_page_is_reported() -> None:
    start, end = DAY
    minute = start + timedelta(hours=1)
    items = [raw_item(minute, f"-{n:03}") for n in range(30)]
    items.append(raw_item(minute + timedelta(minutes=5)))
    with ScriptedServer(archive(items)) as server:
        result = client(server.url, page_limit=20).news("AAPL", start, end)
    assert len(result.items) == 21
    assert [rejected.reason[:36] for rejected in result.rejected] == [
        "20 articles in the minute 2024-03-01"
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"Information": "No articles found. Please adjust the time range."}, "empty"),
        (
            {
                "Information": "Please consider spreading out your free API requests more "
                "sparingly (1 request per second). You may subscribe to any of the premium plans "
                "to lift the free key rate limit (25 requests per day)."
            },
            "second",
        ),
        (
            {"Information": "Our standard API rate limit is 25 requests per day. Premium..."},
            "quota",
        ),
        ({"Information": "Thank you! This is a premium endpoint."}, "plan"),
        ({"Information": "Invalid inputs. Please refer to the API documentation."}, "refused"),
        ({"Error Message": "the parameter apikey is invalid or missing."}, "refused"),
        ({"Information": "The **demo** API key is for demo purposes only."}, "refused"),
        ({"Note": "You have reached the 25 requests/day limit for free keys (premium)."}, "quota"),
        ({"Note": "The limit is 75 requests/minute and 25 requests/day."}, "minute"),
        ({}, "unknown"),
        ({"Information": "Something new."}, "unknown"),
        ([], "unknown"),
    ],
)
def test_answers_without_a_feed_are_classified(body: Any, expected: str) -> None:
    assert classify_body(body) == expected


def test_transcribed_messages_are_classified(recorded_data: Path) -> None:
    path = recorded_data / "wire" / "alphavantage" / "error_bodies_transcribed.json"
    bodies = json.loads(path.read_text(encoding="utf-8"))["bodies"]
    assert [classify_body(body) for body in bodies] == ["minute", "quota"]


PER_SECOND = Reply('{"Information": "Please stay below 1 request per second."}')
PER_MINUTE = Reply('{"Note": "Our limit is 5 calls per minute and 500 calls per day."}')
PER_DAY = Reply(json.dumps({"Information": f"Your key {KEY}: limit is 25 requests per day."}))


def test_a_rate_limit_is_waited_out() -> None:
    waits = Waits()
    replies = [PER_SECOND, PER_MINUTE, feed(raw_item(DAY[0]))]
    with ScriptedServer(replies) as server:
        result = client(server.url, waits=waits).news("AAPL", *DAY)
    assert len(result.items) == 1
    assert result.calls == 3
    assert len(waits) == 2
    assert 1.0 <= waits[0] < 10.0
    assert waits[1] >= 60.0


def test_a_lasting_rate_limit_is_transient_with_a_wait() -> None:
    with ScriptedServer([PER_MINUTE]) as server:
        with pytest.raises(TransientError, match="calls per minute") as caught:
            client(server.url).news("AAPL", *DAY)
        assert len(server.requests) == 3
    assert caught.value.retry_after_seconds == pytest.approx(61.0)


class Budget:
    """A day's allowance in memory."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.is_exhausted = False

    def spend(self) -> None:
        if self.left == 0:
            raise QuotaExhaustedError("no calls left today")
        self.left -= 1

    def exhaust(self) -> None:
        self.is_exhausted = True


def test_the_day_s_budget_is_asked_before_each_call() -> None:
    budget = Budget(2)
    with ScriptedServer([PER_SECOND]) as server:
        with pytest.raises(QuotaExhaustedError, match="no calls left"):
            client(server.url, daily_budget=budget).news("AAPL", *DAY)
        assert len(server.requests) == 2


def test_the_vendor_s_daily_limit_ends_the_budget_and_hides_the_key() -> None:
    budget = Budget(10)
    with ScriptedServer([PER_DAY]) as server:
        with pytest.raises(QuotaExhaustedError, match="used up") as caught:
            client(server.url, daily_budget=budget).news("AAPL", *DAY)
        assert len(server.requests) == 1
    assert budget.is_exhausted
    assert KEY not in str(caught.value)
    assert "redacted" in str(caught.value)


@pytest.mark.parametrize(
    ("reply", "error", "words", "asked"),
    [
        (Reply('{"Information": "a premium endpoint"}'), PermanentError, "plan", 1),
        (Reply('{"Error Message": "bad"}'), PermanentError, "ALPHA_VANTAGE_API_KEY", 1),
        (Reply("{}"), BadDataError, "without a feed", 1),
        (Reply("[1]"), BadDataError, "without a feed", 1),
        (Reply('{"feed": {"a": 1}}'), BadDataError, "not a list", 1),
        (Reply('{"feed": ['), TransientError, "not valid JSON", 4),
        (Reply("<html>busy</html>"), TransientError, "HTML page", 4),
        (Reply("<html>busy</html>", 502), TransientError, "HTTP 502", 4),
        (Reply("", 429), TransientError, "rate limited", 4),
        (Reply("no", 401), PermanentError, "ALPHA_VANTAGE_API_KEY", 1),
        (Reply("no", 404), PermanentError, "not found", 1),
        (Reply("", fault="reset"), TransientError, "connection failed", 4),
        (Reply("", fault="hang"), TransientError, "no answer in time", 4),
        (Reply('{"feed": []}' * 50, fault="cut"), TransientError, "broke off", 4),
    ],
)
def test_failures_are_typed(reply: Reply, error: type[Exception], words: str, asked: int) -> None:
    timeout_seconds = 0.2 if reply.fault == "hang" else 10.0
    with ScriptedServer([reply]) as server:
        with pytest.raises(error, match=words) as caught:
            client(server.url, timeout_seconds=timeout_seconds).news("AAPL", *DAY)
        assert len(server.requests) == asked
    assert KEY not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": ""}, "'url' is missing"),
        ({"url": "javascript:alert(1)"}, "not a web address"),
        ({"title": None}, "'title' is missing"),
        ({"time_published": "yesterday"}, "'time_published'"),
        ({"time_published": "20241301T000000"}, "'time_published'"),
        ({"overall_sentiment_score": "bullish"}, "'overall_sentiment_score'"),
        ({"overall_sentiment_score": 3}, "'overall_sentiment_score'"),
        ({"overall_sentiment_score": float("nan")}, "'overall_sentiment_score'"),
        ({"ticker_sentiment": "AAPL"}, "not a list"),
        ({"ticker_sentiment": ["AAPL"]}, "not an object"),
        ({"ticker_sentiment": [{"ticker": "A", "relevance_score": "2"}]}, "'relevance_score'"),
    ],
)
def test_a_malformed_item_is_kept_apart_from_the_others(
    changes: dict[str, Any], words: str
) -> None:
    good = raw_item(DAY[0], "good")
    bad = raw_item(DAY[0], "bad", **changes)
    with ScriptedServer([feed(bad, good, "not even an object")]) as server:
        result = client(server.url).news("AAPL", *DAY)
    assert [item.title for item in result.items] == ["Title good"]
    assert words in result.rejected[0].reason
    assert result.rejected[0].raw["summary"] == "Text."
    assert result.rejected[1].raw == "not even an object"


def test_absent_scores_are_none() -> None:
    entry = {"ticker": "AAPL", "relevance_score": "0.5"}
    item = parse_item(
        raw_item(DAY[0], overall_sentiment_score=None, ticker_sentiment=[entry], summary=None)
    )
    assert item.overall_score is None
    assert item.summary == ""
    assert item.ticker_sentiment == (TickerSentiment("AAPL", 0.5, None),)


@pytest.mark.parametrize(
    ("time_from", "time_to"),
    [(DAY[1], DAY[0]), (DAY[0], DAY[0]), (datetime(2024, 3, 1), DAY[1])],
)
def test_a_range_that_makes_no_sense_is_refused(time_from: datetime, time_to: datetime) -> None:
    with ScriptedServer([Reply("{}")]) as server:
        with pytest.raises(BadConfigurationError, match=r"range|timezone"):
            client(server.url).news("AAPL", time_from, time_to)
        assert server.requests == []


def test_a_missing_key_is_named() -> None:
    with pytest.raises(BadConfigurationError, match="ALPHA_VANTAGE_API_KEY"):
        AlphaVantageClient("")


@pytest.mark.parametrize(("ticker", "count", "distinct"), [("FNV", 429, 428), ("NEM", 670, 667)])
def test_recorded_answers_are_read_whole(
    recorded_data: Path, ticker: str, count: int, distinct: int
) -> None:
    path = recorded_data / "news" / "alphavantage" / f"news_sentiment_{ticker}.json.gz"
    body = gzip.decompress(path.read_bytes())
    raw = json.loads(body)["feed"]
    assert len(raw) == count
    with ScriptedServer([Reply(body)]) as server:
        start, end = datetime(2022, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
        result = client(server.url).news(ticker, start, end)
    assert result.rejected == ()
    assert len(result.items) == distinct
    by_url: dict[str, NewsItem] = {item.url: item for item in result.items}
    first = raw[0]
    item = by_url[first["url"]]
    assert f"{item.published_at:%Y%m%dT%H%M%S}" == first["time_published"]
    assert item.overall_score == first["overall_sentiment_score"]
    assert item.ticker_sentiment[0] == TickerSentiment(
        first["ticker_sentiment"][0]["ticker"],
        float(first["ticker_sentiment"][0]["relevance_score"]),
        float(first["ticker_sentiment"][0]["ticker_sentiment_score"]),
    )
    assert all(any(t.ticker == ticker for t in item.ticker_sentiment) for item in result.items)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(now=lambda: NOW) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_faults(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "sandbox" in request.fixturenames:
        request.getfixturevalue("sandbox").faults.clear()


def test_the_sandbox_s_news_come_page_by_page_as_whole(sandbox: Sandbox) -> None:
    start, end = datetime(2025, 5, 1, tzinfo=UTC), datetime(2025, 6, 1, tzinfo=UTC)
    whole = client(sandbox.url).news("AAPL", start, end)
    paged = client(sandbox.url, page_limit=7).news("AAPL", start, end)
    assert whole.calls == 1
    assert paged.calls > 2
    assert paged.items == whole.items
    assert len(whole.items) > 10
    assert all(start <= item.published_at < end for item in whole.items)
    assert all("AAPL" in {t.ticker for t in item.ticker_sentiment} for item in whole.items)


def test_what_has_not_happened_yet_is_not_reported(sandbox: Sandbox) -> None:
    result = client(sandbox.url).news(None, NOW, NOW + timedelta(days=3))
    assert result.items == ()
    assert result.rejected == ()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("alpha_vantage", "quota"), QuotaExhaustedError),
        (Fault("alpha_vantage", "rate"), TransientError),
        (Fault("alpha_vantage", "status", code=500, body="html"), TransientError),
        (Fault("alpha_vantage", "reset"), TransientError),
        (Fault("alpha_vantage", "truncated"), TransientError),
        (Fault("alpha_vantage", "malformed"), TransientError),
    ],
)
def test_the_sandbox_s_faults_are_typed(
    sandbox: Sandbox, fault: Fault, error: type[Exception]
) -> None:
    sandbox.faults.add(fault)
    start = datetime(2025, 5, 1, tzinfo=UTC)
    with pytest.raises(error):
        client(sandbox.url).news("AAPL", start, start + timedelta(days=1))


def test_doubled_articles_are_read_once(sandbox: Sandbox) -> None:
    start, end = datetime(2025, 5, 1, tzinfo=UTC), datetime(2025, 6, 1, tzinfo=UTC)
    clean = client(sandbox.url).news("AAPL", start, end)
    sandbox.faults.add(Fault("alpha_vantage", "duplicate"))
    doubled = client(sandbox.url).news("AAPL", start, end)
    assert doubled.items == clean.items
