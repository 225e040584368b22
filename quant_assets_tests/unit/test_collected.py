"""Which hour an article goes to, when it counts as known, what is refused, and running twice."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from quant_assets.domain.article_identity import article_id
from quant_assets.domain.collected import (
    CLOCK_TOLERANCE,
    PROVIDER_LAG,
    CollectedItem,
    Refused,
    address_day,
    collect_articles,
)
from quant_assets.domain.news_timing import LIVE_FOR
from quant_assets.io_managers.parquet_store import empty_frame
from quant_assets.schemas import dataset_of

ARTICLES = dataset_of("news/articles")
TEN = datetime(2024, 6, 28, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
JUST_AFTER = TEN + timedelta(minutes=65)


def _item(
    minutes: float = 30, url: str = "https://news.example/a", **changes: Any
) -> CollectedItem:
    """An item published ``minutes`` after ten o'clock."""
    item = CollectedItem(
        provider="rss",
        url=url,
        title="Apple beats expectations",
        summary="A summary.",
        source="Example",
        published_at=TEN + timedelta(minutes=minutes),
    )
    return replace(item, **changes)


def _collect(
    items: Sequence[CollectedItem],
    hours: Sequence[datetime] = (TEN,),
    now: datetime = JUST_AFTER,
    stored: pd.DataFrame | None = None,
    known_elsewhere: frozenset[str] = frozenset(),
) -> pd.DataFrame:
    stored = empty_frame(ARTICLES) if stored is None else stored
    frame, _ = collect_articles(
        items, hours, now=now, stored=stored, known_elsewhere=known_elsewhere
    )
    return ARTICLES.conform(frame, "news/articles")


def _one(items: Sequence[CollectedItem], **how: Any) -> Any:
    (row,) = _collect(items, **how).itertuples(index=False)
    return row


def test_a_live_article_is_known_when_it_is_first_seen() -> None:
    row = _one([_item(30)])
    assert row.hour == TEN
    assert row.published_at == TEN + timedelta(minutes=30)
    assert row.first_seen_at == row.available_at == JUST_AFTER
    assert not row.is_backfilled
    assert row.article_id == article_id("https://news.example/a")


def test_a_clock_that_runs_ahead_does_not_make_an_article_known_early() -> None:
    row = _one([_item(70)], hours=[TEN + HOUR], now=TEN + timedelta(minutes=62))
    assert row.published_at == row.available_at == TEN + timedelta(minutes=70)


@pytest.mark.parametrize("provider", sorted(PROVIDER_LAG))
def test_history_counts_as_known_after_the_providers_usual_lag(provider: str) -> None:
    fetched = TEN + timedelta(days=30)
    row = _one([_item(30, provider=provider)], now=fetched)
    assert row.is_backfilled
    assert row.available_at == TEN + timedelta(minutes=30) + PROVIDER_LAG[provider]
    assert row.first_seen_at == fetched


def test_an_hour_is_history_two_hours_after_its_end() -> None:
    limit = TEN + HOUR + LIVE_FOR
    assert not _one([_item()], now=limit).is_backfilled
    assert _one([_item()], now=limit + timedelta(microseconds=1)).is_backfilled
    rows = _collect(
        [_item(30), _item(150, url="https://news.example/b")],
        hours=[TEN, TEN + HOUR, TEN + 2 * HOUR],
        now=TEN + timedelta(hours=3, minutes=5),
    )
    assert rows["is_backfilled"].tolist() == [True, False]


@pytest.mark.parametrize(
    ("minutes", "hour"), [(0, TEN), (59.99, TEN), (60, TEN + HOUR), (119.99, TEN + HOUR)]
)
def test_an_article_belongs_to_the_hour_of_its_publication(minutes: float, hour: datetime) -> None:
    row = _one([_item(minutes)], hours=[TEN, TEN + HOUR], now=TEN + timedelta(minutes=125))
    assert row.hour == hour


@pytest.mark.parametrize("offset_hours", [9, -4, 5.5])
def test_the_hour_is_one_of_utc_whatever_the_publishers_clock(offset_hours: float) -> None:
    zone = timezone(timedelta(hours=offset_hours))
    local = (TEN + timedelta(minutes=45)).astimezone(zone)
    rows = _collect([_item(published_at=local), _item(5, url="https://news.example/b")])
    assert set(rows["hour"]) == {pd.Timestamp(TEN)}
    assert TEN + timedelta(minutes=45) in rows["published_at"].tolist()


def test_a_live_crawl_takes_what_an_earlier_one_was_not_shown() -> None:
    late = _item(-90)
    row = _one([late])
    assert (row.hour, row.is_backfilled, row.available_at) == (TEN, False, JUST_AFTER)
    assert row.published_at == TEN - timedelta(minutes=90)
    assert _collect([late], known_elsewhere=frozenset({article_id(late.url)})).empty
    of_two = _one([late], hours=[TEN, TEN + HOUR], now=TEN + timedelta(minutes=125))
    assert of_two.hour == TEN + HOUR


def test_a_past_hour_takes_nothing_from_before_it() -> None:
    assert _collect([_item(-1)], now=TEN + timedelta(days=2)).empty


def test_an_article_older_than_a_day_is_not_taken_as_late() -> None:
    """A feed that shows the same article for days would make it fresh news each day."""
    assert _collect([_item(-25 * 60)]).empty


def test_a_late_article_counts_from_when_it_was_seen() -> None:
    seen = TEN + timedelta(hours=5)
    late = _collect([_item(-1)], now=seen)
    assert late["available_at"].tolist() == [pd.Timestamp(seen)]
    assert not late["is_backfilled"].any()


def test_what_comes_after_the_hours_is_left_for_later() -> None:
    assert _collect([_item(61)]).empty


def _refused(
    items: Sequence[CollectedItem],
    now: datetime = JUST_AFTER,
    known_elsewhere: frozenset[str] = frozenset(),
) -> list[Refused]:
    stored = empty_frame(ARTICLES)
    return collect_articles(items, [TEN], now=now, stored=stored, known_elsewhere=known_elsewhere)[
        1
    ]


@pytest.mark.parametrize(
    ("change", "rule", "reason", "has_row"),
    [
        ({"published_at": None, "raw_date": "soon"}, "undated", "publication date: 'soon'", True),
        (
            {"published_at": JUST_AFTER + CLOCK_TOLERANCE + timedelta(seconds=1)},
            "future",
            "in the future",
            True,
        ),
        ({"published_at": datetime(1989, 12, 31, tzinfo=UTC)}, "too_old", "1989-12-31", True),
        ({"title": "  "}, "no_title", "no title", False),
        ({"url": "javascript:alert(1)"}, "no_address", "no web address", False),
        ({"url": ""}, "no_address", "no web address", False),
        ({"url": "https://news.example:x/"}, "no_address", "no web address", False),
        ({"fault": "'relevance_score' is 2"}, "unreadable", "'relevance_score' is 2", True),
        ({"url": "", "title": "", "fault": "a list"}, "unreadable", "a list", False),
    ],
)
def test_what_cannot_be_stored_is_refused_with_its_rule_and_reason(
    change: dict[str, Any], rule: str, reason: str, has_row: bool
) -> None:
    items = [_item(url="https://news.example/b"), replace(_item(), **change)]
    frame, refused = collect_articles(
        items, [TEN], now=JUST_AFTER, stored=empty_frame(ARTICLES), known_elsewhere=frozenset()
    )
    assert len(frame) == 1
    (one,) = refused
    assert (one.rule, one.hour, one.item) == (rule, TEN, items[1])
    assert reason in one.reason
    assert one.name
    assert (one.row is not None) == has_row


def test_a_refused_article_can_be_let_in_as_known_when_it_was_seen() -> None:
    (one,) = _refused([_item(published_at=None, sentiment=(("AAPL", 0.9, 0.5),))])
    assert one.row is not None
    frame = ARTICLES.conform(pd.DataFrame([one.row]), "released")
    row = frame.iloc[0]
    assert row["published_at"] == row["first_seen_at"] == row["available_at"] == JUST_AFTER
    assert row["is_date_estimated"]
    assert row["hour"] == TEN


def test_an_article_with_a_doubtful_figure_can_be_let_in_with_its_date_and_without_figures() -> (
    None
):
    days_later = TEN + timedelta(days=3)
    item = _item(20, provider="alpha_vantage", fault="bad", sentiment=(("AAPL", 2.0, 0.5),))
    (one,) = _refused([item], now=days_later)
    assert one.row is not None
    row = ARTICLES.conform(pd.DataFrame([one.row]), "released").iloc[0]
    assert row["published_at"] == TEN + timedelta(minutes=20)
    assert row["available_at"] == TEN + timedelta(minutes=35)
    assert row["is_backfilled"]
    assert not row["is_date_estimated"]
    assert row["provider_sentiment"] == "[]"


def test_a_refused_item_that_is_known_well_is_not_held() -> None:
    undated = _item(published_at=None)
    assert _refused([undated, _item(10)]) == []
    assert _refused([_item(10, url="http://www.news.example/a/"), undated]) == []
    assert _refused([undated], known_elsewhere=frozenset({article_id(undated.url)})) == []
    assert len(_refused([undated, replace(undated, url="https://news.example/a?utm_id=3")])) == 1


DATED_URL = "https://news.example/2024/06/28/apple-rises"


@pytest.mark.parametrize(
    ("url", "day"),
    [
        (DATED_URL, date(2024, 6, 28)),
        ("https://news.example/2024-06-28/a", date(2024, 6, 28)),
        ("https://news.example/view/20240628-apple", date(2024, 6, 28)),
        ("https://news.example/2024/06/28", date(2024, 6, 28)),
        ("https://news.example/2024/02/30/a", None),
        ("https://news.example/2024/06/a", None),
        ("https://news.example/id/2024062812345", None),
        ("https://news.example/1999/06/28/a", None),
    ],
)
def test_the_day_that_an_address_names(url: str, day: date | None) -> None:
    assert address_day(url) == day


def test_an_undated_article_of_the_day_counts_from_the_end_of_its_hour() -> None:
    row = _one([_item(url=DATED_URL, published_at=None)])
    assert row.hour == TEN
    assert row.published_at == TEN + HOUR - timedelta(microseconds=1)
    assert row.first_seen_at == row.available_at == JUST_AFTER
    assert row.is_date_estimated
    assert not row.is_backfilled
    assert not _one([_item(5)]).is_date_estimated


def test_a_date_beats_an_address_and_an_old_address_repairs_nothing() -> None:
    undated = _item(url=DATED_URL, published_at=None)
    row = _one([undated, _item(20, url=DATED_URL)])
    assert row.published_at == TEN + timedelta(minutes=20)
    yesterday = replace(undated, url="https://news.example/2024/06/27/apple-rises")
    assert [one.rule for one in _refused([yesterday])] == ["undated"]
    history = TEN + HOUR + LIVE_FOR + timedelta(minutes=1)
    assert [one.rule for one in _refused([undated], now=history)] == ["undated"]


def test_the_edges_of_what_is_accepted() -> None:
    ahead = _item(published_at=JUST_AFTER + CLOCK_TOLERANCE)
    _, refused = collect_articles(
        [ahead, _item(published_at=datetime(1990, 1, 1, tzinfo=UTC))],
        [TEN],
        now=JUST_AFTER,
        stored=empty_frame(ARTICLES),
        known_elsewhere=frozenset(),
    )
    assert refused == []


def test_one_address_is_one_article() -> None:
    rows = _collect(
        [
            _item(20, url="https://news.example/a?utm_source=rss"),
            _item(10, url="https://NEWS.example/a#top", title="Second"),
            _item(15, url="https://news.example/b"),
        ]
    )
    assert len(rows) == 2
    first = rows[rows["article_id"] == article_id("https://news.example/a")].iloc[0]
    assert (first["title"], first["url"]) == ("Apple beats expectations", "https://news.example/a")


def test_the_providers_figures_are_kept_as_json() -> None:
    row = _one([_item(sentiment=(("AAPL", 0.9, 0.25), ("005930.KS", None, None)), title=" T ")])
    assert row.title == "T"
    assert json.loads(row.tickers) == ["AAPL", "005930.KS"]
    assert json.loads(row.provider_sentiment) == [
        {"symbol": "AAPL", "relevance": 0.9, "score": 0.25},
        {"symbol": "005930.KS", "relevance": None, "score": None},
    ]


def test_nothing_collected_is_an_empty_frame_of_the_contract() -> None:
    assert _collect([]).empty
    assert list(_collect([]).columns) == ARTICLES.column_names


def test_what_is_stored_stays_as_it_is() -> None:
    stored = _collect([_item(30)])
    later = JUST_AFTER + timedelta(minutes=30)
    again = _collect(
        [_item(30, title="Changed"), _item(40, url="https://news.example/b")],
        now=later,
        stored=stored,
    )
    assert len(again) == 2
    kept = again[again["article_id"].isin(stored["article_id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, stored)


urls = st.integers(0, 12).map(lambda n: f"https://news.example/{n}")
items = st.builds(
    _item,
    minutes=st.integers(-600, 300),
    url=urls,
    provider=st.sampled_from(sorted(PROVIDER_LAG)),
    title=st.sampled_from(["삼성전자 급등", "Apple", ""]),
)


@hypothesis_settings(deadline=None, max_examples=150)
@given(
    collected=st.lists(items, max_size=12),
    n_hours=st.integers(1, 4),
    delay=st.integers(0, 2000),
    later=st.integers(0, 5000),
    known=st.frozensets(urls.map(article_id), max_size=4),
)
def test_twice_is_once_and_nothing_is_known_elsewhere_it_was_published(
    collected: list[CollectedItem], n_hours: int, delay: int, later: int, known: frozenset[str]
) -> None:
    hours = [TEN + n * HOUR for n in range(n_hours)]
    now = hours[-1] + HOUR + timedelta(minutes=delay)
    once = _collect(collected, hours, now, known_elsewhere=known)
    again = _collect(collected, hours, now + timedelta(minutes=later), once, known)
    fresh = set(again["article_id"]) - set(once["article_id"])
    pd.testing.assert_frame_equal(
        again[~again["article_id"].isin(fresh)].reset_index(drop=True), once
    )
    assert fresh <= {
        article_id(i.url)
        for i in collected
        if i.published_at is not None and i.published_at > now + CLOCK_TOLERANCE
    }
    assert once["article_id"].is_unique
    assert not set(once["article_id"]) & known
    assert once["hour"].isin(pd.to_datetime(hours)).all()
    assert (once["available_at"] >= once["published_at"]).all()
    in_time = once[~once["is_backfilled"]]
    assert (in_time["available_at"] >= now).all()


@hypothesis_settings(deadline=None, max_examples=60)
@given(collected=st.lists(items, max_size=10, unique_by=lambda i: i.url), seed=st.randoms())
def test_the_order_in_which_articles_arrive_does_not_matter(
    collected: list[CollectedItem], seed: Any
) -> None:
    shuffled = list(collected)
    seed.shuffle(shuffled)
    hours = [TEN, TEN + HOUR]
    pd.testing.assert_frame_equal(_collect(shuffled, hours), _collect(collected, hours))
