"""Articles as data: identity, scores by symbol, aggregates by session.

What belongs here: tables of URLs and titles, hand-computed means, what must always hold.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.domain.article_identity import article_id, canonical_url, near_titles, title_key
from quant_assets.domain.articles import aggregate_sentiment, score_articles
from quant_assets.domain.tickers import TickerRecognizer, packaged_aliases
from quant_assets.errors import BadDataError

NOON = datetime(2024, 6, 28, 12, tzinfo=UTC)
UNIVERSE = pd.DataFrame(
    {
        "symbol": ["AAPL", "MSFT", "GOOGL"],
        "yahoo_symbol": ["AAPL", "MSFT", "GOOGL"],
        "name": ["Apple", "Microsoft", "Alphabet"],
    }
)
RECOGNIZER = TickerRecognizer.from_universe(UNIVERSE, packaged_aliases())


class CountedLetters:
    """Scores a text by its plus and minus signs, so that expectations can be seen in the text."""

    name = "signs"
    version = "7"

    def score(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([(text.count("+") - text.count("-")) / 10 for text in texts], np.float64)


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("https://Example.COM/A/b", "https://example.com/A/b"),
        ("HTTPS://example.com", "https://example.com/"),
        ("https://example.com:443/a", "https://example.com/a"),
        ("http://example.com:80/a", "http://example.com/a"),
        ("http://example.com:8080/a", "http://example.com:8080/a"),
        ("https://example.com/a#comments", "https://example.com/a"),
        ("https://example.com/a?utm_source=x&utm_medium=y", "https://example.com/a"),
        ("https://example.com/a?b=2&a=1", "https://example.com/a?a=1&b=2"),
        ("https://example.com/a?id=5&fbclid=zz&gclid=q", "https://example.com/a?id=5"),
        ("https://example.com/a?siteid=yhoof2&yptr=yahoo", "https://example.com/a"),
        ("https://example.com/a?.tsrc=rss&empty=", "https://example.com/a?empty="),
        ("https://user:pw@example.com/a", "https://example.com/a"),
        ("  https://example.com/a  ", "https://example.com/a"),
        ("https://example.com/%ED%95%9C?q=한", "https://example.com/%ED%95%9C?q=%ED%95%9C"),
        ("https://[2001:DB8::1]:443/a", "https://[2001:db8::1]/a"),
        ("https://www.google.com/url?q=https://a.com/b%3Fid%3D1&sa=U", "https://a.com/b?id=1"),
        ("https://www.google.co.kr/url?url=http://a.com/b", "http://a.com/b"),
        ("https://www.google.com/url?q=nothing", "https://www.google.com/url?q=nothing"),
        ("https://www.google.com/amp/s/www.cnbc.com/amp/2024/a", "https://www.cnbc.com/amp/2024/a"),
        ("https://www-a-com.cdn.ampproject.org/c/s/www.a.com/b", "https://www.a.com/b"),
        ("https://www-a-com.cdn.ampproject.org/v/www.a.com/b?amp_js_v=1", "http://www.a.com/b"),
        (
            "https://news.google.com/rss/articles/CBMiFGh0dHBzOi8vYS5jb20vYj9pZD0x0gEA?oc=5",
            "https://a.com/b?id=1",
        ),
        (
            "https://news.google.com/rss/articles/CBMinAFBVV95cUxOTm?oc=5",
            "https://news.google.com/rss/articles/CBMinAFBVV95cUxOTm?oc=5",
        ),
        (
            "https://r.search.yahoo.com/_ylt=A/RV=2/RE=1/RO=10/RU=https%3a%2f%2fa.com%2fb/RK=2/RS=x-",
            "https://a.com/b",
        ),
    ],
)
def test_canonical_url(url: str, canonical: str) -> None:
    assert canonical_url(url) == canonical
    assert canonical_url(canonical) == canonical
    assert article_id(url) == article_id(canonical)


@pytest.mark.parametrize(
    "other",
    [
        "http://example.com/news/a",
        "https://www.example.com/news/a",
        "https://m.example.com/news/a/",
        "https://mobile.example.com/news/a?utm_medium=social",
        "https://amp.example.com/news/a",
        "https://www.example.com/news/a/amp",
        "https://www.example.com/news/a/amp/",
        "https://www.example.com/amp/news/a",
        "https://example.com/news/a?amp=1",
        "https://example.com/news/a?outputType=amp",
        "https://www.google.com/amp/s/amp.example.com/news/a",
    ],
)
def test_editions_of_an_article_are_one_article(other: str) -> None:
    assert article_id(other) == article_id("https://example.com/news/a")


def test_an_amp_page_is_the_page() -> None:
    assert article_id("http://a.com/b.amp.html") == article_id("https://www.a.com/b.html")


@pytest.mark.parametrize(
    "other",
    [
        "https://example.com/news/A",
        "https://example.com/news/a?id=2",
        "https://example.com:8080/news/a",
        "https://m.com/news/a",
        "https://money.example.com/news/a",
        "https://example.com/news/swamp",
    ],
)
def test_other_addresses_are_other_articles(other: str) -> None:
    assert article_id(other) != article_id("https://example.com/news/a")
    assert article_id(other) != article_id("https://com/news/a")


@pytest.mark.parametrize(
    "url",
    ["", "example.com/a", "/a/b", "ftp://example.com/a", "https://", "https://example.com:x/"],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(BadDataError, match="quarantine"):
        canonical_url(url)


def test_article_id_is_sixteen_digits_of_sha256() -> None:
    # printf 'https://example.com/a' | sha256sum
    assert article_id("https://example.com/a?utm_source=x") == "2dce0a4c50441bfc"
    assert article_id("https://example.com/b") != article_id("https://example.com/a")


@pytest.mark.parametrize(
    ("title", "other"),
    [
        ("Apple Beats Estimates - Reuters", "Apple beats estimates"),
        ("Apple beats estimates | CNBC", "APPLE BEATS ESTIMATES!"),
        ("Apple\u2019s profit rises", "Apple profit rises"),
        ("UPDATE 1-Apple profit rises", "Apple profit rises"),
        ("The profit of Apple", "Profit, Apple"),
        ("Apple up 5% \u2014 finance.yahoo.com", "Apple up 5%"),
        ("rt @trader: Apple up 5% https://t.co/abc", "Apple up 5%"),
        ("삼성전자 급등 - 연합뉴스", "삼성전자 급등"),
    ],
)
def test_near_identical_titles_share_a_key(title: str, other: str) -> None:
    assert title_key(title) == title_key(other) != ""


@pytest.mark.parametrize(
    ("title", "other"),
    [
        ("Apple up 5%", "Apple up 6%"),
        ("Apple up 1.5%", "Apple up 15%"),
        ("Apple up", "Apple down"),
        ("Apple beats", "Apple not beats"),
        ("Apple results - revenue beats", "Apple results - revenue misses"),
        ("삼성전자 급등", "삼성전자 급락"),
    ],
)
def test_different_news_has_different_keys(title: str, other: str) -> None:
    assert title_key(title) != title_key(other)


@pytest.mark.parametrize(
    ("title", "other", "is_near"),
    [
        (
            "Apple profit beats estimates on iPhone sales",
            "iPhone sales: Apple profit beats estimates",
            True,
        ),
        (
            "Apple profit beats estimates strongly",
            "Apple quarterly profit beats estimates strongly",
            True,
        ),
        ("Apple profit beats estimates strongly", "Apple profit misses estimates strongly", False),
        ("Apple to buy chip maker Arm", "Apple not to buy chip maker Arm", False),
        ("Apple to buy chip maker Arm", "Apple denies to buy chip maker Arm", False),
        (
            "Apple shares up 5% after strong results",
            "Apple shares up 6% after strong results",
            False,
        ),
        ("Apple profit beats estimates", "Apple quarterly profit beats estimates", False),
        (
            "Apple profit beats estimates strongly",
            "Apple quarterly net profit beats estimates strongly",
            False,
        ),
        (
            "삼성전자 3분기 영업이익 시장 기대 상회",
            "삼성전자 3분기 영업이익 시장 기대 크게 상회",
            True,
        ),
        ("삼성전자 3분기 합병 계약 체결 발표", "삼성전자 3분기 합병 계약 체결 철회 발표", False),
    ],
)
def test_nearly_the_same_words_are_the_same_news(title: str, other: str, is_near: bool) -> None:
    keys = [title_key("something else entirely in other words"), title_key(title), title_key(other)]
    assert [tuple(sorted(pair)) for pair in near_titles(keys)] == ([(1, 2)] if is_near else [])
    assert not list(near_titles([keys[1], keys[1]])), "equal keys are found by equality"


def articles(*rows: dict[str, Any]) -> pd.DataFrame:
    blank = {
        "hour": NOON,
        "title": "",
        "summary": "",
        "published_at": NOON,
        "available_at": NOON,
        "tickers": "[]",
        "provider_sentiment": "[]",
    }
    columns = ["hour", "article_id", *list(blank)[1:]]
    return pd.DataFrame([blank | row for row in rows], columns=columns)


def test_an_article_has_a_row_for_every_symbol_that_it_concerns() -> None:
    provider = [
        {"symbol": "MSFT", "relevance": "0.9", "score": 0.25},
        {"symbol": "GOOG", "relevance": None, "score": None},
        {"symbol": "CRYPTO:BTC", "relevance": 1.0, "score": 1.0},
    ]
    frame = articles(
        {
            "article_id": "b",
            "title": "Apple shares ++",
            "summary": "And $MSFT ----",
            "provider_sentiment": json.dumps(provider),
        },
        {"article_id": "a", "title": "Nothing to see", "tickers": '["aapl", "ZZZ"]'},
        {"article_id": "c", "title": "Nobody is meant +++"},
    )
    scored = score_articles(frame, RECOGNIZER, CountedLetters())
    expected = pd.DataFrame(
        {
            "hour": NOON,
            "article_id": ["a", "b", "b", "b"],
            "symbol": ["AAPL", "AAPL", "GOOGL", "MSFT"],
            "relevance": [0.5, 1.0, 0.5, 0.9],
            # b: title +0.2, summary -0.4, their mean -0.1; the provider's own for MSFT
            "score": [0.0, -0.1, -0.1, 0.25],
            "scorer": ["signs", "signs", "signs", "provider"],
            "scorer_version": ["7", "7", "7", "as-received"],
            "published_at": NOON,
            "available_at": NOON,
            "title_key": ["nothing see", *["apple shares"] * 3],
        }
    )
    pd.testing.assert_frame_equal(scored, expected)


@pytest.mark.parametrize(
    ("title", "summary", "listed", "relevance"),
    [
        ("Apple shares rise", "", [], 1.0),
        ("Shares rise", "Apple stock is up", [], 0.5),
        ("Shares rise", "", ["AAPL"], 0.5),
        ("Apple shares rise", "Apple stock is up", ["AAPL"], 1.0),
    ],
)
def test_relevance_without_a_providers_figure(
    title: str, summary: str, listed: list[str], relevance: float
) -> None:
    row = {"article_id": "a", "title": title, "summary": summary, "tickers": json.dumps(listed)}
    scored = score_articles(articles(row), RECOGNIZER, CountedLetters())
    assert scored["relevance"].tolist() == [relevance]


def test_figures_out_of_range_are_clipped_and_the_more_relevant_share_class_counts() -> None:
    provider = [
        {"symbol": "GOOG", "relevance": 0.2, "score": 0.1},
        {"symbol": "GOOGL", "relevance": 1.4, "score": -3},
    ]
    row = {"article_id": "a", "provider_sentiment": json.dumps(provider)}
    scored = score_articles(articles(row), RECOGNIZER, CountedLetters())
    assert scored[["symbol", "relevance", "score"]].to_numpy().tolist() == [["GOOGL", 1.0, -1.0]]


@pytest.mark.parametrize("absent", [None, "", "null", "[]"])
def test_absent_provider_data_means_none(absent: str | None) -> None:
    row = {"article_id": "a", "title": "$AAPL +", "tickers": absent, "provider_sentiment": absent}
    scored = score_articles(articles(row), RECOGNIZER, CountedLetters())
    assert scored["score"].tolist() == [0.1]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("tickers", "AAPL"),
        ("tickers", '{"a": 1}'),
        ("provider_sentiment", "[1]"),
        ("provider_sentiment", '[{"relevance": 1}]'),
        ("provider_sentiment", '[{"symbol": "AAPL", "relevance": "high", "score": 1}]'),
    ],
)
def test_unreadable_provider_data_names_the_article(column: str, value: str) -> None:
    with pytest.raises(BadDataError, match="cafe0001"):
        score_articles(
            articles({"article_id": "cafe0001", column: value}), RECOGNIZER, CountedLetters()
        )


def test_no_articles_give_an_empty_table_of_the_same_shape() -> None:
    full = score_articles(
        articles({"article_id": "a", "title": "$AAPL"}), RECOGNIZER, CountedLetters()
    )
    empty = score_articles(articles(), RECOGNIZER, CountedLetters())
    assert empty.empty
    assert list(empty.columns) == list(full.columns)
    assert empty["score"].dtype == full["score"].dtype == np.float64


def scores(*rows: dict[str, Any]) -> pd.DataFrame:
    blank = {
        "hour": NOON,
        "symbol": "AAPL",
        "relevance": 1.0,
        "score": 0.0,
        "scorer": "signs",
        "scorer_version": "7",
        "title_key": "",
    }
    frame = pd.DataFrame([{"published_at": row["available_at"]} | blank | row for row in rows])
    if frame.empty:
        return score_articles(articles(), RECOGNIZER, CountedLetters())
    times = dict.fromkeys(("published_at", "available_at"), "datetime64[us, UTC]")
    return frame.astype(times)


def windows(count: int = 1, *, expected: int = 48, missing: int = 0) -> pd.DataFrame:
    """Return sessions a day apart that open at noon: window of the day before, decision after."""
    opens = [NOON + timedelta(days=day) for day in range(count)]
    return pd.DataFrame(
        {
            "session_date": [pd.Timestamp(o.date()) for o in opens],
            "window_start": [o - timedelta(days=1) for o in opens],
            "session_open": opens,
            "decision_at": [o + timedelta(days=1) for o in opens],
            "hours_expected": expected,
            "hours_missing": missing,
        }
    )


def hours(count: float) -> datetime:
    return NOON + timedelta(hours=count)


def test_the_mean_is_weighted_by_relevance_and_age() -> None:
    frame = scores(
        # age 24 h at the decision: 1.0 x 0.5^(24/48) = 0.7071068
        {"article_id": "a", "available_at": hours(0), "score": 0.8},
        # age 0 h: 0.5
        {"article_id": "b", "available_at": hours(23.999999), "published_at": hours(24),
         "score": -0.4, "relevance": 0.5},
        # published two days before it was available, age 48 h + 12 h: 0.2 x 0.5^1.25 = 0.0840896
        {"article_id": "c", "available_at": hours(12), "published_at": hours(-36), "score": 0.1,
         "relevance": 0.2},
    )  # fmt: skip
    (row,) = aggregate_sentiment(frame, windows(), ["AAPL"]).to_dict("records")
    # (0.7071068 x 0.8 - 0.5 x 0.4 + 0.0840896 x 0.1) / (0.7071068 + 0.5 + 0.0840896)
    assert row["sentiment_score"] == pytest.approx(0.289727, abs=5e-7)
    assert (row["n_articles"], row["status"]) == (3, "OK")


def test_half_life_can_be_chosen() -> None:
    frame = scores(
        {"article_id": "a", "available_at": hours(0), "score": 1.0},
        {"article_id": "b", "available_at": hours(12), "score": -1.0},
    )
    # weights 0.5^2 and 0.5^1: (0.25 - 0.5) / 0.75
    sessions = aggregate_sentiment(frame, windows(), ["AAPL"], half_life_hours=12.0)
    assert sessions["sentiment_score"].tolist() == [-0.333333]


@pytest.mark.parametrize(
    ("available", "counts"),
    [(-24.01, False), (-24, True), (0, True), (23.99, True), (24, False), (30, False)],
)
def test_the_window_is_closed_at_its_start_and_open_at_the_decision(
    available: float, counts: bool
) -> None:
    frame = scores(
        {"article_id": "a", "available_at": hours(available), "published_at": hours(-30)}
    )
    sessions = aggregate_sentiment(frame, windows(), ["AAPL"])
    assert sessions["n_articles"].tolist() == [int(counts)]


@pytest.mark.parametrize(
    ("available", "expected", "missing", "status", "score"),
    [
        (None, 48, 0, "NO_NEWS", 0.0),
        (None, 48, 24, "NO_NEWS", 0.0),
        (None, 48, 25, "UNAVAILABLE", None),
        (1, 48, 25, "UNAVAILABLE", None),
        (1, 0, 0, "UNAVAILABLE", None),
        (1, 48, 24, "OK", 0.5),
        (0, 48, 0, "OK", 0.5),
        (-0.01, 48, 0, "STALE", 0.5),
    ],
)
def test_status(
    available: float | None, expected: int, missing: int, status: str, score: float | None
) -> None:
    rows = [] if available is None else [
        {"article_id": "a", "available_at": hours(available), "score": 0.5}
    ]  # fmt: skip
    sessions = aggregate_sentiment(
        scores(*rows), windows(expected=expected, missing=missing), ["AAPL"]
    )
    assert sessions["status"].tolist() == [status]
    assert sessions["sentiment_score"].isna().tolist() == [score is None]
    if score is not None:
        assert sessions["sentiment_score"].tolist() == [score]


def test_the_first_available_of_duplicates_counts() -> None:
    first = {"article_id": "a", "title_key": "apple rises", "available_at": hours(1), "score": 0.6}
    frame = scores(
        {**first, "article_id": "same title", "available_at": hours(3), "score": -1.0},
        {**first, "title_key": "apple rises sharply", "available_at": hours(2), "score": -1.0},
        first,
        {**first, "symbol": "MSFT", "available_at": hours(4), "score": -0.2},
    )
    sessions = aggregate_sentiment(frame, windows(), ["MSFT", "AAPL"])
    assert sessions["symbol"].tolist() == ["AAPL", "MSFT"]
    assert sessions["sentiment_score"].tolist() == [0.6, -0.2]
    assert sessions["n_articles"].tolist() == [1, 1]


def test_nearly_equal_titles_count_once_within_two_days() -> None:
    first = {"article_id": "a", "title_key": "apple profit beats estimates strongly"}
    near = {"article_id": "b", "title_key": "apple quarterly profit beats estimates strongly"}
    published = {"available_at": hours(1), "published_at": hours(1), "score": 0.6}
    again = {"available_at": hours(2), "published_at": hours(2), "score": -1.0}
    one = aggregate_sentiment(
        scores({**first, **published}, {**near, **again}), windows(), ["AAPL"]
    )
    assert (one["n_articles"].tolist(), one["sentiment_score"].tolist()) == ([1], [0.6])
    old = {**published, "published_at": hours(2 - 48.01)}
    two = aggregate_sentiment(scores({**first, **old}, {**near, **again}), windows(), ["AAPL"])
    assert two["n_articles"].tolist() == [2]
    other = {**near, **again, "symbol": "MSFT"}
    both = aggregate_sentiment(scores({**first, **published}, other), windows(), ["AAPL", "MSFT"])
    assert both["n_articles"].tolist() == [1, 1]


def test_articles_without_a_title_are_not_duplicates_of_each_other() -> None:
    frame = scores(
        {"article_id": "a", "available_at": hours(1)}, {"article_id": "b", "available_at": hours(2)}
    )
    assert aggregate_sentiment(frame, windows(), ["AAPL"])["n_articles"].tolist() == [2]


def test_a_title_seen_in_an_earlier_window_still_counts_in_its_own() -> None:
    frame = scores(
        {"article_id": "a", "title_key": "t", "available_at": hours(-20), "score": 1.0},
        {"article_id": "b", "title_key": "t", "available_at": hours(30), "score": -1.0},
    )
    sessions = aggregate_sentiment(frame, windows(2), ["AAPL"])
    assert sessions["sentiment_score"].tolist() == [1.0, -1.0]


def test_a_row_with_nulls_is_refused_by_name() -> None:
    frame = scores({"article_id": "cafe0002", "available_at": hours(1), "score": np.nan})
    with pytest.raises(BadDataError, match="cafe0002"):
        aggregate_sentiment(frame, windows(), ["AAPL"])


SYMBOLS = ["AAPL", "GOOGL", "MSFT"]
SESSIONS = windows(6)
random_rows = st.lists(
    st.fixed_dictionaries(
        {
            "article_id": st.sampled_from("abcdefgh"),
            "title_key": st.sampled_from(
                ["", "one", "a b c d e", "e d c b a", "a b c d e f", "b c d e f", "a b c d e f g"]
            ),
            "symbol": st.sampled_from([*SYMBOLS, "OTHER"]),
            "available_at": st.integers(-40, 180).map(hours),
            "published_at": st.integers(-90, 180).map(hours),
            "relevance": st.floats(0, 1),
            "score": st.floats(-1, 1),
        }
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=60)
@given(random_rows, st.lists(st.integers(1, 5), max_size=3, unique=True))
def test_a_range_equals_its_sessions_and_its_chunks(
    rows: list[dict[str, Any]], cuts: list[int]
) -> None:
    frame = scores(*rows)
    whole = aggregate_sentiment(frame, SESSIONS, SYMBOLS)
    one_by_one = [aggregate_sentiment(frame, SESSIONS.iloc[[i]], SYMBOLS) for i in range(6)]
    chunks = [
        aggregate_sentiment(frame, SESSIONS.iloc[start:stop], SYMBOLS)
        for start, stop in pairwise([0, *sorted(cuts), 6])
    ]
    pd.testing.assert_frame_equal(pd.concat(one_by_one, ignore_index=True), whole, check_exact=True)
    pd.testing.assert_frame_equal(pd.concat(chunks, ignore_index=True), whole, check_exact=True)
    assert whole["sentiment_score"].between(-1, 1).all()


@settings(deadline=None, max_examples=60)
@given(random_rows, st.integers(0, 5))
def test_what_becomes_available_at_the_decision_or_later_changes_nothing(
    rows: list[dict[str, Any]], last: int
) -> None:
    frame = scores(*rows)
    known = frame[frame["available_at"] < SESSIONS["decision_at"].iloc[last]]
    until = SESSIONS.iloc[: last + 1]
    pd.testing.assert_frame_equal(
        aggregate_sentiment(known, until, SYMBOLS),
        aggregate_sentiment(frame, SESSIONS, SYMBOLS).iloc[: len(until) * len(SYMBOLS)],
        check_exact=True,
    )


@settings(deadline=None, max_examples=60)
@given(random_rows, st.randoms(use_true_random=False))
def test_order_and_repetition_of_rows_change_nothing(
    rows: list[dict[str, Any]], generator: Any
) -> None:
    repeated = [*rows, *rows]
    generator.shuffle(repeated)
    pd.testing.assert_frame_equal(
        aggregate_sentiment(scores(*repeated), SESSIONS, SYMBOLS),
        aggregate_sentiment(scores(*rows), SESSIONS, SYMBOLS),
        check_exact=True,
    )
