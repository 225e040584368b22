"""The simulated Alpha Vantage and RSS feeds, asked by requests and feedparser."""

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import feedparser
import pytest
import requests

from quant_assets.sandbox.faults import Fault
from quant_assets.sandbox.server import Sandbox

NOW = datetime(2026, 6, 16, 22, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with Sandbox(now=lambda: NOW) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.faults.clear()
    running.requests.clear()
    return running


def ask(sandbox: Sandbox, **query: Any) -> dict[str, Any]:
    asked = {"function": "NEWS_SENTIMENT", "apikey": "demo"} | query
    answer = requests.get(f"{sandbox.url}/query", params=asked, timeout=10)
    assert answer.status_code == 200
    content: dict[str, Any] = answer.json()
    return content


def rss(sandbox: Sandbox, feed: str, **headers: str) -> requests.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.get(f"{sandbox.url}/rss/{feed}.xml", headers=named, timeout=10)


def test_items_have_the_recorded_fields_and_types(sandbox: Sandbox, recorded_data: Path) -> None:
    with gzip.open(recorded_data / "news/alphavantage/news_sentiment_NEM.json.gz") as file:
        recorded = json.load(file)
    answer = ask(sandbox, tickers="AAPL", limit=20)
    assert set(answer) == set(recorded)
    assert answer["items"] == str(len(answer["feed"]))
    ours, theirs = answer["feed"][0], recorded["feed"][0]
    assert set(ours) == set(theirs)
    same = set(theirs) - {"banner_image"}
    assert {k: type(ours[k]) for k in same} == {k: type(theirs[k]) for k in same}
    mention, recorded_mention = ours["ticker_sentiment"][0], theirs["ticker_sentiment"][0]
    assert {k: type(v) for k, v in mention.items()} == {
        k: type(v) for k, v in recorded_mention.items()
    }
    assert {k: type(v) for k, v in ours["topics"][0].items()} == {
        k: type(v) for k, v in theirs["topics"][0].items()
    }


def test_one_ticker_or_everything(sandbox: Sandbox) -> None:
    window = {"time_from": "20260601T0000", "time_to": "20260607T2359", "limit": 1000}
    own = ask(sandbox, tickers="MSFT", **window)["feed"]
    assert all("MSFT" in [m["ticker"] for m in item["ticker_sentiment"]] for item in own)
    everything = ask(sandbox, **window)["feed"]
    urls = {item["url"] for item in everything}
    assert {item["url"] for item in own} <= urls
    assert any("Samsung" in item["title"] for item in everything)


def test_pages_cover_a_window_without_gap_or_repeat(sandbox: Sandbox) -> None:
    pages, start = [], "20260501T0000"
    while True:
        feed = ask(sandbox, time_from=start, time_to="20260614T0000", sort="EARLIEST", limit=1000)
        pages.append(feed["feed"])
        if len(feed["feed"]) < 1000:
            break
        start = feed["feed"][-1]["time_published"][:13]
    assert len(pages) > 2
    times = [item["time_published"] for page in pages for item in page]
    assert times == sorted(times)
    found = {item["url"] for page in pages for item in page}
    days = [
        ask(
            sandbox,
            time_from=f"202605{day:02d}T0000",
            time_to=f"202605{day:02d}T2359",
            limit=1000,
        )["feed"]
        for day in range(1, 32)
    ]
    assert {item["url"] for feed in days for item in feed} <= found


def test_order_and_limits(sandbox: Sandbox) -> None:
    latest = [item["time_published"] for item in ask(sandbox)["feed"]]
    assert len(latest) == 50
    assert latest == sorted(latest, reverse=True)
    assert len(ask(sandbox, limit=2000)["feed"]) == 1000
    ranked = ask(sandbox, tickers="AAPL", sort="RELEVANCE", limit=30)["feed"]
    relevance = [
        max(float(m["relevance_score"]) for m in item["ticker_sentiment"] if m["ticker"] == "AAPL")
        for item in ranked
    ]
    assert relevance == sorted(relevance, reverse=True)


def test_an_item_is_served_ten_minutes_after_its_publication(sandbox: Sandbox) -> None:
    newest = ask(sandbox, limit=1)["feed"][0]["time_published"]
    published = datetime.strptime(newest, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    with Sandbox(now=lambda: published + timedelta(seconds=599)) as early:
        assert ask(early, limit=1)["feed"][0]["time_published"] < newest
    with Sandbox(now=lambda: published + timedelta(seconds=600)) as due:
        assert ask(due, limit=1)["feed"][0]["time_published"] == newest


@pytest.mark.parametrize(
    ("query", "field", "text"),
    [
        ({"apikey": ""}, "Error Message", "apikey is invalid or missing"),
        ({"tickers": "005930.KS"}, "Information", "Invalid inputs"),
        ({"tickers": "AAPL,MSFT"}, "Information", "Invalid inputs"),
        ({"time_from": "2026-06-01"}, "Information", "Invalid inputs"),
        ({"sort": "BEST"}, "Information", "Invalid inputs"),
        ({"time_from": "20260701T0000"}, "Information", "No articles found"),
        ({"function": "NOTHING"}, "Error Message", "does not exist"),
    ],
)
def test_errors_come_with_status_200(
    sandbox: Sandbox, query: dict[str, str], field: str, text: str
) -> None:
    answer = ask(sandbox, **query)
    assert list(answer) == [field]
    assert text in answer[field]


def test_limits_of_calls(sandbox: Sandbox) -> None:
    with Sandbox(now=lambda: NOW) as limited:
        limited.alpha_vantage_limits[86_400] = 3
        answers = [ask(limited, limit=1) for _ in range(5)]
    assert ["feed" in answer for answer in answers] == [True, True, True, False, False]
    assert "25 requests per day" in answers[-1]["Information"]
    assert "demo" in answers[-1]["Information"]
    sandbox.faults.add(Fault("alpha_vantage", "rate", times=1))
    assert "1 request per second" in ask(sandbox, limit=1)["Information"]
    sandbox.faults.add(Fault("alpha_vantage", "quota", times=1))
    assert "standard API rate limit" in ask(sandbox, limit=1)["Information"]
    assert "feed" in ask(sandbox, limit=1)


def test_faults_of_the_content(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("alpha_vantage", "duplicate", symbols=["KO"], times=1))
    urls = [item["url"] for item in ask(sandbox, tickers="KO", limit=10)["feed"]]
    assert urls[0::2] == urls[1::2]
    sandbox.faults.add(Fault("alpha_vantage", "empty", times=1))
    assert "No articles found" in ask(sandbox)["Information"]
    sandbox.faults.add(Fault("alpha_vantage", "late", times=1, hours=24))
    assert ask(sandbox, limit=1)["feed"][0]["time_published"] < "20260615T2200"
    sandbox.faults.add(Fault("alpha_vantage", "malformed", times=1, wrong_types=True))
    assert ask(sandbox)["feed"][0]["time_published"] == "yesterday"


@pytest.mark.parametrize("feed", ["markets", "companies", "korea"])
def test_feedparser_reads_the_latest_sixty_items(sandbox: Sandbox, feed: str) -> None:
    parsed = feedparser.parse(rss(sandbox, feed).content)
    assert not parsed.bozo
    assert len(parsed.entries) == 60
    assert all(entry.link.startswith("https://") and entry.title for entry in parsed.entries)
    dated = [e.published_parsed[:6] for e in parsed.entries if "published" in e]
    assert len(dated) > 50
    on_time = [day for day in dated if datetime(*day, tzinfo=UTC) <= NOW]
    assert on_time == sorted(on_time, reverse=True)


def test_an_unchanged_feed_is_not_sent_again(sandbox: Sandbox) -> None:
    first = rss(sandbox, "markets")
    again = rss(sandbox, "markets", If_None_Match=first.headers["ETag"])
    assert (again.status_code, again.content) == (304, b"")
    since = rss(sandbox, "markets", If_Modified_Since=first.headers["Last-Modified"])
    assert since.status_code == 304
    assert rss(sandbox, "markets", If_None_Match='"other"').status_code == 200
    with Sandbox(now=lambda: NOW + timedelta(hours=12)) as later:
        changed = rss(later, "markets", If_None_Match=first.headers["ETag"])
    assert changed.status_code == 200


def test_faults_of_feeds(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("rss", "empty", feeds=["korea"], times=1))
    assert feedparser.parse(rss(sandbox, "korea").content).entries == []
    sandbox.faults.add(Fault("rss", "duplicate", times=1))
    assert len(feedparser.parse(rss(sandbox, "korea").content).entries) == 120
    assert rss(sandbox, "nothing").status_code == 404
