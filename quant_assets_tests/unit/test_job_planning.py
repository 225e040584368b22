"""What a job's dry run says of the vendors: how many calls, what is left, what cannot be had."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from quant_assets.cli.job_calls import calls_of, quota_of
from quant_assets.cli.job_report import Calls
from quant_assets.cli.job_wanted import Wanted
from quant_assets.cli.job_worker import _Planning
from quant_assets.cli.tasks import Task
from quant_assets.settings import Settings
from quant_assets.vendors.daily_quota import quota_path
from quant_assets.vendors.yahoo_timezones import Timezones

NOW = datetime(2026, 3, 20, 3, 30, tzinfo=UTC)
NEWS = ("news/articles", "news/article_sentiment")


def live(home: Path, **variables: str) -> Settings:
    given = {
        "QUANT_PROFILE": "live",
        "QUANT_HOME": str(home),
        "QUANT_US_UNIVERSE": "AAPL,MSFT,NVDA",
        "FRED_API_KEY": "f" * 32,
        "ALPHA_VANTAGE_API_KEY": "a" * 16,
        "QUANT_ALPHA_VANTAGE_TICKERS": "AAPL,MSFT",
        "QUANT_RSS_FEEDS": "https://one.example/rss,https://two.example/rss",
    }
    return Settings(**{**given, **variables})  # type: ignore[arg-type]


def news(first: str, last: str, hours: int) -> Task:
    return Task("news_crawl", NEWS, first, last, hours)


def counts(calls: list[Calls]) -> list[tuple[str, int, int | None]]:
    return [(one.vendor, one.least, one.most) for one in calls]


def test_a_known_time_zone_halves_the_calls_to_yahoo(tmp_path: Path) -> None:
    values = live(tmp_path)
    task = Task("us_price", ("us/prices",), "2026-03-19", "2026-03-19", 1)
    assert [counts(calls) for calls in calls_of([task], values, NOW)] == [[("yahoo", 8, 8)]]
    zones = Timezones(values.yahoo_cache_dir / "timezones.json")
    zones.put("AAPL", "America/New_York")
    zones.save()
    ((calls,),) = calls_of([task], values, NOW)
    assert counts([calls]) == [("yahoo", 7, 7)]
    assert calls.note == "3 symbols, about 2 s at the pace that is set"


@pytest.mark.parametrize(
    ("days", "expected"), [(2, (14, 42)), (31, (14, 42)), (1899, (14, 14)), (1900, (28, 28))]
)
def test_fred_is_asked_by_series(tmp_path: Path, days: int, expected: tuple[int, int]) -> None:
    values = live(tmp_path)
    assert len(values.series()) == 14
    assert all(one.publication_lag_days is None for one in values.series())
    both = ("macro/observations", "macro/regime")
    task = Task("macro_sync", both, "2020-01-01", "2026-03-19", days)
    regime = Task("macro_sync", both[1:], "2026-03-19", "2026-03-19", 1)
    asked, computed = calls_of([task, regime], values, NOW)
    assert counts(asked) == [("fred", *expected)]
    assert computed == []


def test_the_calls_of_the_day_are_told_and_shared_out_without_touching_the_count(
    tmp_path: Path,
) -> None:
    """25 a day, and one is kept for the general feed of each hour before midnight New York."""
    values = live(tmp_path)
    path = quota_path(values.home_dir)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"day": "2026-03-19", "spent": 21, "is_exhausted": False}))
    before = sorted(tmp_path.rglob("*"))
    quota = quota_of(values, NOW)
    assert quota is not None
    assert (quota.left, quota.limit, quota.resets_at) == (
        4,
        25,
        datetime(2026, 3, 20, 4, tzinfo=UTC),
    )
    tasks = [news("2026-03-20-02", "2026-03-20-02", 1), news("2026-03-19-20", "2026-03-19-21", 2)]
    first, second = calls_of(tasks, values, NOW)
    assert counts(first) == [("alpha_vantage", 3, None), ("rss", 2, 2)]
    assert counts(second) == [("alpha_vantage", 1, None), ("rss", 2, 2)]
    assert "2 tickers wait for their turn" in second[0].note
    (past,) = calls_of([news("2026-03-10-00", "2026-03-10-23", 24)], values, NOW)
    assert [calls.vendor for calls in past] == ["alpha_vantage"]
    assert sorted(tmp_path.rglob("*")) == before
    path.write_text("damaged")
    damaged = quota_of(values, NOW)
    assert damaged is not None
    assert damaged.left == 0
    assert path.read_text() == "damaged"


def test_without_a_key_or_a_count_there_is_no_quota(tmp_path: Path) -> None:
    assert quota_of(live(tmp_path, ALPHA_VANTAGE_API_KEY=""), NOW) is None
    assert quota_of(Settings(QUANT_HOME=str(tmp_path)), NOW) is None  # type: ignore[arg-type]


def test_hours_that_rss_does_not_show_any_more_are_left_out_and_said(tmp_path: Path) -> None:
    values = live(tmp_path, ALPHA_VANTAGE_API_KEY="")
    wanted = Wanted(job="combined", sessions={"us": [date(2026, 3, 19)]}, has_analysis=True)
    planning = _Planning(values, wanted, is_dry_run=True)
    planning._now = NOW
    keys = [f"2026-03-19-{hour:02d}" for hour in range(24)]
    assert planning._obtainable(keys) == keys[4:]
    assert "4 hour(s) of news, 2026-03-19-00 .. 2026-03-19-03, cannot be had" in planning._notes[0]
    with_key = _Planning(live(tmp_path), wanted, is_dry_run=True)
    assert with_key._obtainable(keys) == keys
