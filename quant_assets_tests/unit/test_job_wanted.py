"""What `quant job` makes of its arguments: dates, closures, and what cannot be had."""

from collections.abc import Sequence
from datetime import UTC, date, datetime

import pytest

from quant_assets.cli.job_wanted import Dates, Wanted, dates_of, wanted_of
from quant_assets.errors import BadConfigurationError
from quant_assets.markets import Listing

FRIDAY = datetime(2026, 3, 20, 3, 30, tzinfo=UTC)
"""At FRED it is still the 19th; the US session of the 19th is complete, Korea's 20th is not."""
THANKSGIVING = datetime(2026, 11, 26, 22, 5, tzinfo=UTC)
NEWEST = Dates(None, None)


def wanted(
    job: str,
    dates: Dates = NEWEST,
    now: datetime = FRIDAY,
    market: str | None = None,
    listings: Sequence[Listing] = (Listing("AAPL", "AAPL", "Apple", "Technology"),),
    is_forced: bool = False,
) -> Wanted:
    return wanted_of(
        job,
        market,
        dates,
        now,
        news_start=date(2022, 3, 1),
        universe=lambda key: listings,
        is_forced=is_forced,
    )


def day(text: str) -> Dates:
    return dates_of(date.fromisoformat(text), None, None)


def span(first: str, last: str | None) -> Dates:
    return dates_of(None, date.fromisoformat(first), date.fromisoformat(last) if last else None)


def test_prices_are_those_of_the_last_complete_session() -> None:
    assert wanted("us-price").sessions == {"us": [date(2026, 3, 19)]}
    assert wanted("kr-price").sessions == {"kr": [date(2026, 3, 19)]}
    later = datetime(2026, 3, 20, 7, 30, tzinfo=UTC)
    assert wanted("kr-price", now=later).sessions == {"kr": [date(2026, 3, 20)]}


def test_on_a_closure_the_session_before_is_meant_and_it_is_said() -> None:
    found = wanted("us-price", now=THANKSGIVING)
    assert found.sessions == {"us": [date(2026, 11, 25)]}
    assert found.notes == ["us: 2026-11-26 is no session of XNYS"]


def test_a_range_leaves_closures_out() -> None:
    found = wanted("us-price", span("2026-01-16", "2026-01-20"))
    assert found.sessions["us"] == [date(2026, 1, 16), date(2026, 1, 20)]
    assert wanted("us-price", span("2026-03-18", None)).sessions["us"][-1] == date(2026, 3, 19)


def test_macro_days_are_dated_at_fred() -> None:
    assert wanted("macro").days == (date(2026, 3, 18), date(2026, 3, 19))
    winter = datetime(2026, 1, 15, 5, 59, tzinfo=UTC)
    assert wanted("macro", now=winter).days == (date(2026, 1, 13), date(2026, 1, 14))
    winter = datetime(2026, 1, 15, 6, 0, tzinfo=UTC)
    assert wanted("macro", now=winter).days == (date(2026, 1, 14), date(2026, 1, 15))
    assert wanted("macro", span("2026-03-01", None)).days == (date(2026, 3, 1), date(2026, 3, 19))


def test_news_are_hours_that_are_over() -> None:
    def hour(text: str) -> datetime:
        return datetime.fromisoformat(f"2026-03-{text}:00+00:00")

    assert wanted("news").hours == (hour("20T02"), hour("20T02"))
    assert wanted("news", day("2026-03-19")).hours == (hour("19T00"), hour("19T23"))
    assert wanted("news", day("2026-03-20")).hours == (hour("20T00"), hour("20T02"))
    assert wanted("news", span("2026-03-18", "2026-03-19")).hours == (hour("18T00"), hour("19T23"))
    midnight = datetime(2026, 3, 20, 0, 5, tzinfo=UTC)
    assert wanted("news", now=midnight).hours == (hour("19T23"), hour("19T23"))


def test_all_is_both_markets_macro_and_news() -> None:
    found = wanted("all")
    assert set(found.sessions) == {"us", "kr"}
    assert found.has_analysis
    assert found.days == (date(2026, 3, 18), date(2026, 3, 19))
    assert found.hours is not None
    past = wanted("all", day("2026-03-18"), market="us")
    assert (past.sessions, past.days) == (
        {"us": [date(2026, 3, 18)]},
        (date(2026, 3, 18), date(2026, 3, 18)),
    )
    assert not wanted("us-price").has_analysis
    assert wanted("combined").days is None


def test_of_two_markets_one_may_be_closed() -> None:
    """19 January 2026 is Martin Luther King's day."""
    found = wanted("combined", day("2026-01-19"))
    assert set(found.sessions) == {"kr"}
    assert found.notes == [
        "us: 2026-01-19 has no session of XNYS; the sessions around it are 2026-01-16 and "
        "2026-01-20"
    ]


def test_a_recorded_history_ends_with_its_last_session() -> None:
    listing = Listing("A", "A", "A", "", date(2014, 1, 2), date(2015, 12, 31))
    assert wanted("us-price", listings=[listing]).sessions == {"us": [date(2015, 12, 31)]}


@pytest.mark.parametrize(
    ("job", "dates", "said"),
    [
        ("us-price", day("2026-03-20"), "session 2026-03-20 is not complete.*2026-03-20 20:30 UTC"),
        ("us-price", day("2026-03-21"), "no session of XNYS.*2026-03-20 and 2026-03-23"),
        ("us-price", day("1999-12-31"), "before the first session of the platform, 2000-01-03"),
        ("us-price", day("2036-01-02"), "after the last day of the calendar, 2035-12-31"),
        ("us-price", span("2026-03-18", "2026-03-23"), "session 2026-03-20 is not complete"),
        ("kr-price", day("2026-03-20"), "its bar counts from 2026-03-20 07:30 UTC"),
        ("combined", day("2026-03-21"), "us: 2026-03-21 has no.*kr: 2026-03-21 has no session"),
        ("combined", day("2026-03-20"), "us: the session 2026-03-20 is not complete"),
        ("macro", day("2026-03-20"), "has not begun at FRED, where it is 2026-03-19"),
        ("macro", day("1989-12-31"), "before the first release day.*1990-01-01"),
        ("news", day("2026-03-21"), "no hour of 2026-03-21 is over yet.*2026-03-20 02:00 UTC"),
        ("news", span("2026-03-19", "2026-03-21"), "no hour of 2026-03-21 is over"),
        ("news", day("2022-02-28"), "before their first day, 2022-03-01"),
    ],
)
def test_what_cannot_be_had_is_refused_in_a_sentence(job: str, dates: Dates, said: str) -> None:
    with pytest.raises(BadConfigurationError, match=said):
        wanted(job, dates)


def test_a_session_before_anything_was_listed_is_refused() -> None:
    listing = Listing("A", "A", "A", "", date(2026, 3, 2))
    with pytest.raises(BadConfigurationError, match="no symbol of the universe was listed on 2026"):
        wanted("us-price", day("2026-02-27"), listings=[listing])
    both = wanted("us-price", span("2026-02-26", "2026-03-03"), listings=[listing])
    assert both.sessions["us"] == [date(2026, 3, 2), date(2026, 3, 3)]


@pytest.mark.parametrize("job", ["us-price", "kr-price", "macro", "news"])
def test_a_market_is_for_what_has_two(job: str) -> None:
    with pytest.raises(BadConfigurationError, match="--market is for combined and all"):
        wanted(job, market="us")


def test_dates_that_contradict_are_refused() -> None:
    one, other = date(2026, 3, 18), date(2026, 3, 19)
    for days, said in (
        ((one, other, None), "give one"),
        ((None, None, one), "--to needs --from"),
        ((None, other, one), "is after --to"),
    ):
        with pytest.raises(BadConfigurationError, match=said):
            dates_of(*days)
    with pytest.raises(BadConfigurationError, match="name it instead of all"):
        wanted("all", is_forced=True)
