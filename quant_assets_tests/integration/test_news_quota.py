"""News under a day's limit, and from kept raw answers: what is asked, stored, and said."""

import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from quant_assets.naming import TAG_PARTITION, TAG_REBUILD
from quant_assets.sandbox.faults import Fault
from quant_assets_tests.platform import NOW, Platform, failure, platform

ARTICLES = "news/articles"
HOUR = "2026-03-20-02"
FIRST, LAST = "2026-02-20-00", "2026-03-09-23"


def asked(p: Platform) -> list[str]:
    """Subjects of the calls to Alpha Vantage; the general feed's is empty."""
    return [entry.subject for entry in p.sandbox.requests if entry.endpoint == "alpha_vantage"]


def sources(p: Platform) -> dict[str, str]:
    event = p.instance.get_latest_materialization_event(dg.AssetKey(ARTICLES.split("/")))
    assert event is not None
    assert event.asset_materialization is not None
    table = str(event.asset_materialization.metadata["sources"].value)
    return dict(line.strip("| ").split(" | ", 1) for line in table.splitlines()[2:])


def materialized(p: Platform) -> set[str]:
    return p.instance.get_materialized_partitions(dg.AssetKey(ARTICLES.split("/")))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The range without a limit."""
    with platform(tmp_path_factory.mktemp("whole"), QUANT_ALPHA_VANTAGE_TICKERS="AAPL") as p:
        p.run("news_crawl", FIRST, LAST)
        assert Counter(asked(p))[""] > 1, "the range has several pages"
        return p.read(ARTICLES)


def test_a_backfill_that_the_day_does_not_reach_for_stores_what_is_whole(
    tmp_path: Path, whole: pd.DataFrame
) -> None:
    limited = {"QUANT_ALPHA_VANTAGE_CALLS_PER_DAY": "1", "QUANT_ALPHA_VANTAGE_TICKERS": "AAPL"}
    with platform(tmp_path, **limited) as p:
        result = p.run("news_crawl", FIRST, LAST, check=False)
        assert not result.success
        told = failure(result)
        assert asked(p) == [""]
        stored = p.store.list_partitions(ARTICLES)
        first_missing = re.search(r"Ask again from (\S+),", told)
        assert first_missing is not None
        assert "no calls left today" in told
        assert stored[0] == FIRST
        assert stored[-1] < first_missing[1] <= LAST
        assert len(stored) > 24
        assert materialized(p) == set(stored)
        end = datetime.strptime(first_missing[1], "%Y-%m-%d-%H").replace(tzinfo=UTC)
        expected = whole[whole["published_at"] < pd.Timestamp(end)]
        assert set(p.read(ARTICLES)["article_id"]) == set(expected["article_id"])
        again = p.run("news_crawl", first_missing[1], LAST, check=False)
        assert "no calls left today" in failure(again)
        assert p.store.list_partitions(ARTICLES) == stored
        assert asked(p) == [""], "a day that is used up costs no request"
    while first_missing is not None:
        with platform(tmp_path, now=NOW + timedelta(days=1), **limited) as p:
            result = p.run("news_crawl", first_missing[1], LAST, check=False)
            if result.success:
                break
            first_missing = re.search(r"Ask again from (\S+),", failure(result))
            (p.settings.home_dir / "cache" / "alpha_vantage_quota.json").unlink()
    with platform(tmp_path) as p:
        assert set(p.read(ARTICLES)["article_id"]) == set(whole["article_id"])
        assert len(p.store.list_partitions(ARTICLES)) == 18 * 24


def test_the_vendor_s_own_limit_in_the_middle_of_a_range_does_the_same(
    tmp_path: Path, whole: pd.DataFrame
) -> None:
    with platform(tmp_path, QUANT_ALPHA_VANTAGE_TICKERS="AAPL") as p:
        p.sandbox.alpha_vantage_limits[86_400] = 1
        result = p.run("news_crawl", FIRST, LAST, check=False)
        assert "25 requests per day" in failure(result)
        assert p.settings.alpha_vantage_key() not in failure(result)
        stored = p.store.list_partitions(ARTICLES)
        assert 24 < len(stored) < 18 * 24
        last = pd.Timestamp(datetime.strptime(stored[-1], "%Y-%m-%d-%H"), tz=UTC)
        expected = whole[whole["published_at"] < last + pd.Timedelta(hours=1)]
        assert set(p.read(ARTICLES)["article_id"]) == set(expected["article_id"])


def test_the_general_feed_comes_first_and_the_rest_of_the_day_goes_round(tmp_path: Path) -> None:
    """Five hours before the reset nine calls are left: four for later hours, one now, four over."""
    tickers = "MSFT,AAPL,XOM,JPM,NVDA,KO"
    start = datetime(2026, 3, 19, 23, 5, tzinfo=UTC)
    limits = {"QUANT_ALPHA_VANTAGE_CALLS_PER_DAY": "9", "QUANT_ALPHA_VANTAGE_TICKERS": tickers}
    rounds = []
    for hour in range(5):
        now = start + timedelta(hours=hour)
        with platform(tmp_path, now=now, **limits) as p:
            p.run("news_crawl", f"{now - timedelta(hours=1):%Y-%m-%d-%H}")
            rounds.append(asked(p))
            outcomes = sources(p)
        waiting = {name for name, told in outcomes.items() if "its turn comes" in told}
        assert len(waiting) == 6 - len(rounds[-1]) + 1
    assert rounds == [["", "AAPL", "JPM", "KO", "MSFT"], [""], [""], [""], [""]]
    next_day = start + timedelta(hours=5)
    limits["QUANT_ALPHA_VANTAGE_CALLS_PER_DAY"] = "26"
    with platform(tmp_path, now=next_day, **limits) as p:
        p.run("news_crawl", f"{next_day - timedelta(hours=1):%Y-%m-%d-%H}")
        assert asked(p) == ["", "NVDA", "XOM"]
    count = json.loads((tmp_path / "cache" / "alpha_vantage_quota.json").read_bytes())
    assert count == {"day": "2026-03-20", "spent": 3, "is_exhausted": False}


def test_a_broken_count_does_not_stop_the_feeds(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "alpha_vantage_quota.json"
    path.parent.mkdir()
    path.write_text("damage")
    with platform(tmp_path, QUANT_ALPHA_VANTAGE_CALLS_PER_DAY="25") as p:
        p.run("news_crawl", HOUR)
        assert asked(p) == []
        assert set(p.read(ARTICLES)["provider"]) == {"rss"}
        assert "QuotaExhaustedError" in sources(p)["alpha_vantage general feed"]


def rebuild(p: Platform, hour: str) -> dg.ExecuteInProcessResult:
    return p.defs.resolve_job_def("news_crawl").execute_in_process(
        instance=p.instance, tags={TAG_PARTITION: hour, TAG_REBUILD: "1"}, raise_on_error=False
    )


def test_a_live_hour_is_rebuilt_from_its_raw_answers(tmp_path: Path) -> None:
    """With another clock, an unchanged feed, a day that is used up, and no vendor at all."""
    with platform(tmp_path, QUANT_ARTICLE_TEXT="true") as p:
        p.sandbox.faults.add(Fault("rss", "status", code=404, feeds=["korea"]))
        p.run("news_crawl", "2026-03-20-01")
        p.run("news_crawl", HOUR)
        before = p.files(ARTICLES)
        held = p.store.list_partitions("quarantine/news/articles")
        assert (p.read(ARTICLES, HOUR)["text"] != "").any() or (
            p.read(ARTICLES, "2026-03-20-01")["text"] != ""
        ).any()
    later = {"QUANT_ALPHA_VANTAGE_CALLS_PER_DAY": "1", "QUANT_ARTICLE_TEXT": "true"}
    with platform(tmp_path, now=NOW + timedelta(days=9), **later) as p:
        p.store.delete(ARTICLES, [HOUR])
        result = rebuild(p, HOUR)
        assert result.success, failure(result)
        assert p.sandbox.requests.count() == 0
        assert p.files(ARTICLES) == before
        assert p.store.list_partitions("quarantine/news/articles") == held
        assert not (p.settings.home_dir / "cache" / "alpha_vantage_quota.json").exists()


def test_one_hour_of_a_range_is_rebuilt_from_the_range_s_answers(
    tmp_path: Path, whole: pd.DataFrame
) -> None:
    limited = {"QUANT_ALPHA_VANTAGE_CALLS_PER_DAY": "1", "QUANT_ALPHA_VANTAGE_TICKERS": "AAPL"}
    with platform(tmp_path, **limited) as p:
        p.run("news_crawl", FIRST, LAST, check=False)
        stored = p.store.list_partitions(ARTICLES)
        before = p.files(ARTICLES)
        p.sandbox.requests.clear()
        p.store.delete(ARTICLES, [stored[30]])
        result = rebuild(p, stored[30])
        assert result.success, failure(result)
        assert p.files(ARTICLES) == before
        beyond = rebuild(p, LAST)
        assert not beyond.success
        assert "has no answer to" in failure(beyond)
        assert p.sandbox.requests.count() == 0
        assert p.files(ARTICLES) == before


def test_texts_of_live_articles_are_stored_and_failures_are_counted(tmp_path: Path) -> None:
    with platform(tmp_path, QUANT_ARTICLE_TEXT="true") as p:
        p.run("news_crawl", HOUR)
        rows = p.read(ARTICLES, HOUR)
        read = rows[rows["text"] != ""]
        assert len(read) == 100
        summaries = read["summary"].str.partition(". ")[0].str.removesuffix(".")
        matches = [s in t for s, t in zip(summaries, read["text"], strict=True)]
        assert sum(matches) >= 95
        assert not read["text"].str.contains("Subscribe to the newsletter").any()
        event = p.instance.get_latest_materialization_event(dg.AssetKey(ARTICLES.split("/")))
        assert event is not None
        assert event.asset_materialization is not None
        assert event.asset_materialization.metadata["texts"].value == "100 read"
        p.sandbox.requests.clear()
        p.run("news_crawl", HOUR)
        pages = [e for e in p.sandbox.requests if e.subject.startswith("pages/")]
        assert pages == [], "an article that is stored is not read again"
