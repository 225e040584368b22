"""Recorded files replayed by the same endpoints."""

import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import feedparser
import numpy as np
import pandas as pd
import pytest
import requests

from quant_assets.errors import BadConfigurationError
from quant_assets.sandbox.faults import Fault
from quant_assets.sandbox.replay import recorded_listings
from quant_assets.sandbox.server import Sandbox

NOW = datetime(2015, 6, 16, 22, 0, tzinfo=UTC)
KEY = "sandbox0" * 4


@pytest.fixture(scope="module")
def files(recorded_data: Path) -> Path:
    return recorded_data / "recorded"


@pytest.fixture(scope="module")
def sandbox(files: Path) -> Iterator[Sandbox]:
    with Sandbox(data_dir=files, now=lambda: NOW) as running:
        yield running


def get(sandbox: Sandbox, path: str, **query: Any) -> requests.Response:
    return requests.get(sandbox.url + path, params=query, timeout=10)


def chart(sandbox: Sandbox, symbol: str) -> dict[str, Any]:
    window = {"period1": 1420070400, "period2": 1893456000, "interval": "1d"}
    answer = get(sandbox, f"/v8/finance/chart/{symbol}", **window)
    found: dict[str, Any] = answer.json()["chart"]["result"][0]
    return found


def test_charts_are_the_recorded_bars_up_to_the_clock(sandbox: Sandbox, files: Path) -> None:
    bars = pd.read_parquet(files / "bars.parquet").query("symbol == 'AAPL'")
    bars = bars[(bars["session"] >= "2015-01-01") & (bars["session"] <= "2015-06-16")]
    found = chart(sandbox, "AAPL")
    days = [datetime.fromtimestamp(t, UTC).date() for t in found["timestamp"]]
    assert days == list(bars["session"].dt.date)
    quote = found["indicators"]["quote"][0]
    for field in ("open", "high", "low", "close", "volume"):
        assert quote[field] == bars[field].tolist()
    assert found["indicators"]["adjclose"][0]["adjclose"] == bars["adj_close"].tolist()
    paid = [event["amount"] for event in found["events"]["dividends"].values()]
    assert paid == bars["dividend"][bars["dividend"] > 0].tolist()


def test_korean_bars_and_absent_symbols(files: Path) -> None:
    with Sandbox(data_dir=files, now=lambda: datetime(2025, 6, 16, tzinfo=UTC)) as late:
        assert chart(late, "005930.KS")["meta"]["currency"] == "KRW"
        absent = get(late, "/v8/finance/chart/NOTHERE", range="1d")
        assert absent.status_code == 404
        assert absent.json()["chart"]["error"]["description"].startswith("No data found")
        ended = get(late, "/v8/finance/chart/AAPL", period1=1735689600, period2=1738368000)
        assert ended.status_code == 400


def test_statistics_appear_after_their_publication_lag(sandbox: Sandbox, files: Path) -> None:
    def last(series_id: str, day: str) -> str:
        answer = get(
            sandbox,
            "/fred/series/observations",
            series_id=series_id,
            api_key=KEY,
            file_type="json",
            realtime_start=day,
            realtime_end=day,
        )
        found: str = answer.json()["observations"][-1]["date"]
        return found

    assert last("CPIAUCSL", "2015-05-14") == "2015-03-01"
    assert last("CPIAUCSL", "2015-05-15") == "2015-04-01"
    assert last("DGS10", "2015-05-15") == "2015-05-14"
    assert last("GDPC1", "2015-04-29") == "2014-10-01"
    assert last("GDPC1", "2015-04-30") == "2015-01-01"
    recorded = pd.read_parquet(files / "macro.parquet")
    answer = get(
        sandbox,
        "/fred/series/observations",
        series_id="UNRATE",
        api_key=KEY,
        file_type="json",
        observation_start="2015-01-01",
    ).json()
    values = recorded[
        (recorded["series_id"] == "UNRATE") & (recorded["observation_date"] >= "2015-01-01")
    ]["value"]
    shown = [float(row["value"]) for row in answer["observations"]]
    assert shown == values.tolist()[: len(shown)]
    assert len(shown) == 5


def test_stories_have_a_title_a_ticker_and_no_score(sandbox: Sandbox, files: Path) -> None:
    answer = get(
        sandbox,
        "/query",
        function="NEWS_SENTIMENT",
        tickers="AAPL",
        apikey=KEY,
        time_from="20150601T0000",
        sort="EARLIEST",
        limit=1000,
    ).json()
    recorded = pd.read_parquet(files / "news.parquet").query(
        "symbol == 'AAPL' and '2015-06-01' <= published_at < '2015-06-16T21:50:01'"
    )
    assert len(answer["feed"]) == min(len(recorded), 1000)
    first = answer["feed"][0]
    assert first["title"] in set(recorded["title"])
    assert first["ticker_sentiment"] == [{"ticker": "AAPL", "relevance_score": "0.5"}]
    assert "overall_sentiment_score" not in first
    assert first["url"].startswith("https://")
    unknown = get(sandbox, "/query", function="NEWS_SENTIMENT", tickers="ZZZ", apikey=KEY).json()
    assert "Invalid inputs" in unknown["Information"]


def test_feeds_are_the_latest_recorded_stories(sandbox: Sandbox) -> None:
    parsed = feedparser.parse(get(sandbox, "/rss/companies.xml").content)
    assert len(parsed.entries) == 60
    newest = max(e.published_parsed[:6] for e in parsed.entries if "published" in e)
    assert datetime(*newest, tzinfo=UTC) > datetime(2015, 6, 16, tzinfo=UTC)


def test_faults_apply_to_recorded_data_too(sandbox: Sandbox) -> None:
    clean = chart(sandbox, "AAPL")["indicators"]["quote"][0]["close"]
    sandbox.faults.add(Fault("yahoo.chart", "wrong_units", times=1))
    spoiled = chart(sandbox, "AAPL")["indicators"]["quote"][0]["close"]
    assert np.allclose(spoiled, np.array(clean) * 100)


def test_recorded_symbols_are_the_universe(files: Path) -> None:
    listings = {listing.symbol: listing for listing in recorded_listings(files, "us")}
    assert len(listings) == 88
    assert listings["AAPL"].name == "Apple"
    assert listings["AAPL"].listed_on == date(2012, 9, 4)
    assert listings["AAPL"].delisted_on == date(2017, 9, 1)
    assert len(recorded_listings(files, "kr")) == 250


def test_a_missing_file_or_column_is_named(files: Path, tmp_path: Path) -> None:
    with pytest.raises(BadConfigurationError, match=r"bars\.parquet is missing"):
        Sandbox(data_dir=tmp_path)
    pd.read_parquet(files / "bars.parquet").drop(columns="adj_close").to_parquet(
        tmp_path / "bars.parquet"
    )
    with pytest.raises(BadConfigurationError, match=r"bars\.parquet has no column adj_close"):
        Sandbox(data_dir=tmp_path)
    shutil.copy(files / "bars.parquet", tmp_path / "bars.parquet")
    (tmp_path / "macro.parquet").write_text("no parquet")
    with pytest.raises(BadConfigurationError, match=r"macro\.parquet is not a Parquet file"):
        Sandbox(data_dir=tmp_path)
