"""The graph from vendors to recommendations, through real clients, storage and Dagster.

The invariants of a point-in-time platform, stated on stored files: a range equals its partitions
and its chunks, running twice changes nothing, and the future changes nothing.
"""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from quant_assets.markets import KR, US
from quant_assets.partitions import session_partitions
from quant_assets_tests.platform import KR_SYMBOLS, NOW, US_SYMBOLS, Platform, platform

US_DAYS = [
    d.isoformat() for d in US.sessions(datetime(2026, 3, 5).date(), datetime(2026, 3, 19).date())
]
KR_DAYS = [
    d.isoformat() for d in KR.sessions(datetime(2026, 3, 5).date(), datetime(2026, 3, 19).date())
]
PRICES_FROM = {"us": "2024-03-04", "kr": "2025-02-20"}
"""More than the look-back before the sessions of the US, and enough for labels in Korea."""
LATELY = "2026-01-02"
"""Prices from here on are fetched again where the older ones would prove the same once more."""
HOURS = ("2026-03-04-00", "2026-03-20-02")
ANALYSIS = ("technical_indicators", "technical_score", "news_sentiment", "recommendations")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform with years of prices, two weeks of news and the analysis of both markets."""
    with platform(tmp_path_factory.mktemp("ready")) as p:
        p.history("us", PRICES_FROM["us"], US_DAYS[-1])
        p.history("kr", PRICES_FROM["kr"], KR_DAYS[-1])
        p.run("news_crawl", *HOURS)
        p.run("us_combined_analysis", US_DAYS[0], US_DAYS[-1])
        p.run("kr_combined_analysis", KR_DAYS[0], KR_DAYS[-1])
        yield p


def analysed(market: str) -> list[str]:
    return [f"{market}/{name}" for name in ANALYSIS]


@pytest.fixture
def copy(ready: Platform, tmp_path: Path) -> Iterator[Platform]:
    """The fetched data in another place, without the analysis."""
    shutil.copytree(ready.store.root, tmp_path / "data")
    for market in ("us", "kr"):
        for asset in analysed(market):
            shutil.rmtree(tmp_path / "data" / asset)
    with platform(tmp_path) as p:
        yield p


def test_every_symbol_gets_a_recommendation(ready: Platform) -> None:
    for market, days, symbols in (("us", US_DAYS, US_SYMBOLS), ("kr", KR_DAYS, KR_SYMBOLS)):
        frame = ready.read(f"{market}/recommendations")
        assert len(frame) == len(days) * len(symbols)
        assert set(frame["symbol"]) == set(symbols)
        assert frame["label"].notna().all()
        expected = (0.7 * frame["technical_score"] + 0.3 * frame["sentiment_score"]).round(6)
        assert (frame["combined_score"] - expected).abs().max() <= 1e-6
        assert (frame["available_at"] == frame["decision_at"]).all()


def test_no_article_after_the_decision_counts(ready: Platform) -> None:
    sentiment = ready.read("us/news_sentiment", US_DAYS[5])
    scored = ready.read("news/article_sentiment")
    row = sentiment[sentiment["n_articles"] > 0].iloc[0]
    mine = scored[scored["symbol"] == row["symbol"]]
    inside = mine[
        (mine["available_at"] >= row["window_start"]) & (mine["available_at"] < row["decision_at"])
    ]
    assert 0 < row["n_articles"] <= inside["article_id"].nunique()
    assert (mine["available_at"] >= row["decision_at"]).any(), "the table reaches beyond the window"


def test_range_equals_partitions_and_chunks(ready: Platform, copy: Platform) -> None:
    """The whole range was one run in ``ready``; here single sessions and chunks of it."""
    days = US_DAYS
    for first, last in ((0, 0), (1, 3), (4, 4), (5, len(days) - 1)):
        copy.run("us_combined_analysis", days[first], days[last])
    for asset in analysed("us"):
        assert_frame_equal(copy.read(asset), ready.read(asset), rtol=0, atol=1e-9, obj=asset)


def test_prices_of_a_range_equal_prices_session_by_session(ready: Platform, tmp_path: Path) -> None:
    with platform(tmp_path) as p:
        for day in US_DAYS[-3:]:
            p.run("us_price", day)
        singles = p.files("us/prices")
    assert len(singles) == 3
    whole = ready.files("us/prices")
    assert {name: whole[name] for name in singles} == singles


def test_news_of_a_range_equal_news_hour_by_hour(ready: Platform, tmp_path: Path) -> None:
    hours = [f"2026-03-10-{hour:02d}" for hour in (13, 14, 15)]
    with platform(tmp_path) as p:
        for hour in hours:
            p.run("news_crawl", hour)
        singles = p.files("news/articles", "news/article_sentiment")
    whole = ready.files("news/articles", "news/article_sentiment")
    assert len(singles) == 2 * len(hours)
    assert {name: whole[name] for name in singles} == singles


def test_running_twice_changes_no_byte(copy: Platform, ready: Platform) -> None:
    """Once more: ten weeks of prices, a week of news and the analysis."""
    copy.run("us_price", LATELY, US_DAYS[-1])
    copy.run("kr_price", LATELY, KR_DAYS[-1])
    copy.run("news_crawl", "2026-03-13-03", HOURS[1])
    copy.run("us_combined_analysis", US_DAYS[0], US_DAYS[-1])
    assets = ["us/prices", "kr/prices", "news/articles", "news/article_sentiment", *analysed("us")]
    before = ready.files(*assets)
    assert len(before) > 1000
    assert copy.files(*assets) == before


def test_removing_the_future_changes_nothing(ready: Platform, tmp_path: Path) -> None:
    """Everything fetched and computed a week earlier equals what was stored for those sessions.

    What is older than ``LATELY`` is not fetched again. The vendors' clock stands a week earlier
    too, so that Yahoo has not applied the later splits and dividends, and the news of the last
    week do not exist.
    """
    earlier = datetime(2026, 3, 13, 3, 30, tzinfo=UTC)
    days = [day for day in US_DAYS if day < "2026-03-12"]
    older = tmp_path / "data" / "us" / "prices"
    older.mkdir(parents=True)
    for path in (ready.store.root / "us" / "prices").glob("*.parquet"):
        if path.stem < LATELY:
            shutil.copy(path, older)
    with platform(tmp_path, now=earlier) as p:
        p.run("us_price", LATELY, days[-1])
        p.run("news_crawl", HOURS[0], "2026-03-13-00")
        p.run("us_combined_analysis", days[0], days[-1])
        files = p.files("us/prices")
        assert {name: ready.files("us/prices")[name] for name in files} == files
        for asset in analysed("us"):
            then, now = p.read(asset), ready.read(asset, *days)
            assert_frame_equal(then, now, rtol=0, atol=1e-9, obj=asset)


def test_a_split_after_the_session_does_not_change_its_stored_bar(tmp_path: Path) -> None:
    """The vendor restates every bar when a share splits; the stored partition stays."""
    from quant_assets.sandbox.market import SimulatedMarket

    market = SimulatedMarket(7)
    symbol, split_day = next(
        (symbol, row.session_date)
        for symbol in ("AAPL", "MSFT", "NVDA", "AMZN", "GOOGL", "META", "TSLA", "JPM", "V", "MA")
        for row in market.as_traded(symbol).query("split_ratio != 1").itertuples()
        if pd.Timestamp("2022-01-01") < row.session_date < pd.Timestamp("2025-12-31")
    )
    session = US.offset_session(split_day.date(), -3).isoformat()
    before = datetime.combine(
        US.offset_session(split_day.date(), -1), datetime.min.time(), UTC
    ).replace(hour=3)
    stored = []
    for n, now in enumerate((before, NOW)):
        with platform(tmp_path / str(n), now=now, us=[symbol]) as p:
            p.run("us_price", session)
            stored.append(p.files("us/prices"))
            bar = p.read("us/prices").iloc[0]
    assert stored[0] == stored[1]
    truth = market.as_traded(symbol).set_index("session_date").loc[session]
    assert bar["close"] == pytest.approx(truth["close"], abs=1e-9)
    assert bar["volume"] == truth["volume"]


def test_macro_is_stored_by_release_day(tmp_path: Path) -> None:
    with platform(tmp_path) as p:
        p.run("macro_sync", "2025-01-02", "2026-03-18")
        observations = p.read("macro/observations")
        assert (observations["release_date"] == observations["realtime_start"]).all()
        assert observations["series_id"].nunique() >= 12
        revised = observations.groupby(["series_id", "observation_date"]).size()
        assert (revised > 1).any(), "some values were revised"
        range_run = p.files("macro/regime")
        for day in ("2026-03-16", "2026-03-17"):
            p.run("macro_sync", day)
        assert p.files("macro/regime") == range_run
        regime = p.read("macro/regime", "2026-03-18").iloc[0]
        assert regime["n_features"] == 7
        assert 0 < regime["risk_multiplier"] <= 1


def test_materialization_metadata(ready: Platform) -> None:
    import dagster as dg

    for asset in ("us/prices", "news/articles", "us/recommendations", "us/technical_indicators"):
        event = ready.instance.get_latest_materialization_event(dg.AssetKey(asset.split("/")))
        assert event is not None
        assert event.asset_materialization is not None
        metadata = event.asset_materialization.metadata
        assert metadata["profile"].value == "sandbox"
        assert any(isinstance(v, dg.MarkdownMetadataValue) for v in metadata.values()), asset
    records = ready.instance.fetch_materializations(
        dg.AssetRecordsFilter(
            asset_key=dg.AssetKey(["us", "recommendations"]), asset_partitions=[US_DAYS[0]]
        ),
        limit=1,
    ).records
    first = records[0].asset_materialization
    assert first is not None
    assert first.metadata["dagster/partition_row_count"].value == len(US_SYMBOLS)
    assert "picture" not in first.metadata, "the picture shows the last session of the run"


def test_session_partitions_of_both_markets_lie_in_one_graph() -> None:
    assert session_partitions(US).timezone == session_partitions(KR).timezone == "UTC"
