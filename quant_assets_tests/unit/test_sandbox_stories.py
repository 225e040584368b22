"""Simulated headlines: determinism, variety, order, tickers and tone."""

from collections import Counter
from datetime import UTC, datetime
from itertools import islice

import pytest

from quant_assets.sandbox.companies import known_companies
from quant_assets.sandbox.market import SimulatedMarket
from quant_assets.sandbox.news import SimulatedNews, Story, latest_stories
from quant_assets.sandbox.rss import stated_date

FIRST = int(datetime(2026, 5, 1, tzinfo=UTC).timestamp())
LAST = int(datetime(2026, 5, 31, 23, 59, 59, tzinfo=UTC).timestamp())


@pytest.fixture(scope="module")
def news() -> SimulatedNews:
    return SimulatedNews(SimulatedMarket(7))


@pytest.fixture(scope="module")
def month(news: SimulatedNews) -> list[Story]:
    return list(news.stories(FIRST, LAST, None, False))


def test_stories_depend_on_seed_and_day_alone(month: list[Story]) -> None:
    other = SimulatedNews(SimulatedMarket(7))
    list(other.stories(LAST, LAST + 86_400, "AAPL", False))
    assert list(other.stories(FIRST, LAST, None, False)) == month
    different = SimulatedNews(SimulatedMarket(8))
    assert list(different.stories(FIRST, LAST, None, False)) != month


def test_stories_come_in_order_and_in_the_window(news: SimulatedNews, month: list[Story]) -> None:
    times = [story.published for story in month]
    assert times == sorted(times)
    assert times[0] >= FIRST
    assert times[-1] <= LAST
    assert list(news.stories(FIRST, LAST, None, True)) == month[::-1]
    part = list(news.stories(times[10], times[20], None, False))
    assert part == [s for s in month if times[10] <= s.published <= times[20]]


def test_a_large_company_has_one_to_three_stories_a_day(news: SimulatedNews) -> None:
    own = list(news.stories(FIRST, LAST, "AAPL", False))
    assert 31 <= len(own) <= 93
    assert all(any(m.symbol == "AAPL" for m in story.mentions) for story in own)


def test_stories_on_a_symbol_are_those_of_the_whole_that_mention_it(
    news: SimulatedNews, month: list[Story]
) -> None:
    for symbol in ("AAPL", "XOM", "GE"):
        mentioned = [s for s in month if any(m.symbol == symbol for m in s.mentions)]
        assert list(news.stories(FIRST, LAST, symbol, False)) == mentioned


def test_addresses_are_unique_and_titles_varied(month: list[Story]) -> None:
    assert len({story.url for story in month}) == len(month)
    titles = {story.title for story in month}
    assert len(titles) > 0.75 * len(month)
    assert Counter(story.source for story in month).most_common(1)[0][1] < 0.3 * len(month)


def test_some_stories_are_printed_again_elsewhere(month: list[Story]) -> None:
    again = [s for s in month if s.title.startswith(("UPDATE: ", "Correction: "))]
    bare = {s.title for s in month}
    assert len(again) > 10
    originals = [s.title.partition(": ")[2] in bare for s in again]
    assert sum(originals) > 0.9 * len(again)


def test_korean_companies_appear_by_their_english_names(month: list[Story]) -> None:
    korean = [story for story in month if story.feed == "korea"]
    names = [known.name for known in known_companies("kr")]
    assert sum(any(name in story.title for name in names) for story in korean) > 100
    assert all(story.mentions == () for story in korean)


def test_scores_agree_with_the_wording(month: list[Story]) -> None:
    bad = [s for s in month if "misses" in s.title or "tumble" in s.title or "plunges" in s.title]
    good = [s for s in month if "beats" in s.title or "jump" in s.title or "upgrades" in s.title]
    assert len(bad) > 10
    assert len(good) > 10
    assert all(s.score is not None and s.score < -0.15 for s in bad if s.mentions)
    assert all(s.score is not None and s.score > 0.15 for s in good if s.mentions)
    assert all(s.score is not None and -1 <= s.score <= 1 for s in month)


def test_tickers_covered(news: SimulatedNews) -> None:
    assert news.covers("AAPL")
    assert news.covers("QQQX")
    assert not news.covers("005930.KS")
    assert not news.covers("ZZGONE")
    assert not news.covers("CRYPTO:BTC")


def test_latest_stories_of_a_feed(news: SimulatedNews) -> None:
    for feed in ("markets", "companies", "korea"):
        found = latest_stories(news, feed, LAST, 60)
        assert len(found) == 60
        assert {story.feed for story in found} == {feed}
        assert [s.published for s in found] == sorted((s.published for s in found), reverse=True)


def test_few_stories_are_undated_or_dated_ahead(news: SimulatedNews) -> None:
    stories = list(islice(news.stories(0, LAST, None, True), 4000))
    undated = sum(stated_date(story) is None for story in stories)
    ahead = sum((stated_date(story) or 0) > story.published for story in stories)
    assert 10 < undated < 120
    assert 10 < ahead < 120
