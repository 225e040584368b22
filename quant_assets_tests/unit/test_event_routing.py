"""Which run serves a request, and which requests are refused."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.events.envelope import BadEventError, Event, event, payload_from
from quant_assets.events.topics import FAILED_TYPE, Role, event_types
from quant_assets.jobs import build_jobs
from quant_assets.markets import MARKETS
from quant_assets.sensors.routing import COMMANDS, RefusedRequestError, Router

NOW = datetime(2026, 3, 20, 3, 30, tzinfo=UTC)
"""Friday; the US session of the 19th is complete, the Korean one of the 20th goes on.

At FRED, in US Central time, it is still the 19th.
"""
SYMBOLS = {"us": {"AAPL", "MSFT"}, "kr": {"005930.KS"}}
ROUTER = Router(
    symbols_of=SYMBOLS.__getitem__,
    series=frozenset({"UNRATE", "GDP"}),
    news_start=date(2022, 3, 1),
    max_age=timedelta(days=7),
)


def request(event_type: str, timestamp: datetime = NOW, **fields: Any) -> Event[Any]:
    return event(event_type, payload_from(event_type, fields), timestamp=timestamp)


def command(task: str, **params: Any) -> Event[Any]:
    return request("command.requested", taskType=task, params=params)


@pytest.mark.parametrize(
    ("asked", "job", "first", "last"),
    [
        (
            request("analysis.combined.request", market="us"),
            "us_combined_analysis",
            "2026-03-19",
            "",
        ),
        (
            request("analysis.combined.request", market="kr"),
            "kr_combined_analysis",
            "2026-03-19",
            "",
        ),
        (
            request("analysis.technical.request", symbols=["AAPL"]),
            "us_technical_analysis",
            "2026-03-19",
            "",
        ),
        (
            request("analysis.sentiment.request", symbols=["005930.KS"], session="2026-03-18"),
            "kr_sentiment_analysis",
            "2026-03-18",
            "",
        ),
        (
            request("analysis.combined.request", symbols=["AAPL", "NOSUCH"]),
            "us_combined_analysis",
            "2026-03-19",
            "",
        ),
        (request("stock.price.sync.requested", market="us"), "us_price", "2026-03-19", ""),
        (
            request("stock.price.sync.requested", market="us", session="2026-03-02"),
            "us_price",
            "2026-03-02",
            "",
        ),
        (
            request(
                "stock.price.sync.requested",
                market="us",
                **{"from": "2026-02-14", "to": "2026-02-22"},
            ),
            "us_price",
            "2026-02-17",
            "2026-02-20",
        ),
        (
            request("stock.price.sync.requested", market="us", **{"from": "2026-03-16"}),
            "us_price",
            "2026-03-16",
            "2026-03-19",
        ),
        (
            request("stock.price.sync.requested", market="us", to="2026-03-16"),
            "us_price",
            "2026-03-16",
            "",
        ),
        (request("economic.data.sync.requested"), "macro_sync", "2026-03-18", "2026-03-19"),
        (
            request(
                "economic.data.sync.requested",
                seriesIds=["GDP"],
                **{"from": "2026-03-01", "to": "2026-03-02"},
            ),
            "macro_sync",
            "2026-03-01",
            "2026-03-02",
        ),
        (
            request("economic.data.sync.requested", to="2026-03-02"),
            "macro_sync",
            "2026-03-01",
            "2026-03-02",
        ),
        (request("news.crawl.requested"), "news_crawl", "2026-03-20-02", ""),
        (
            request("news.crawl.requested", hour="2026-03-19T14:45:00+09:00"),
            "news_crawl",
            "2026-03-19-05",
            "",
        ),
        (command("crawl_news"), "news_crawl", "2026-03-20-02", ""),
        (command("us_price", session="2026-03-18"), "us_price", "2026-03-18", ""),
        (command("kr_price"), "kr_price", "2026-03-19", ""),
        (command("macro"), "macro_sync", "2026-03-18", "2026-03-19"),
        (command("combined_analysis", market="kr"), "kr_combined_analysis", "2026-03-19", ""),
        (command("us_technical_analysis"), "us_technical_analysis", "2026-03-19", ""),
    ],
)
def test_a_request_is_served_by(asked: Event[Any], job: str, first: str, last: str) -> None:
    plan = ROUTER.at(NOW).plan(asked)
    assert (plan.job, plan.first, plan.last) == (job, first, last or first)
    assert plan.job in {job.name for job in build_jobs(has_serving=False)}


@pytest.mark.parametrize(
    ("asked", "code", "said"),
    [
        (request("analysis.combined.request"), "market_missing", "one of us, kr"),
        (
            request("analysis.combined.request", market="../etc"),
            "unknown_market",
            "the markets are us, kr",
        ),
        (
            request("analysis.combined.request", symbols=["X; rm -rf"]),
            "unknown_symbol",
            "$.payload.symbols",
        ),
        (
            request("analysis.combined.request", symbols=["AAPL", "005930.KS"]),
            "market_missing",
            "name the market",
        ),
        (
            request("analysis.combined.request", market="us", symbols=["NOSUCH"]),
            "unknown_symbol",
            "QUANT_US_UNIVERSE",
        ),
        (
            request("analysis.combined.request", market="us", session="2026-03-20"),
            "no_partition",
            "2026-03-19",
        ),
        (
            request("analysis.combined.request", market="us", session="2026-03-15"),
            "no_session",
            "2026-03-13",
        ),
        (
            request("analysis.combined.request", market="us", session="1990-03-15"),
            "no_partition",
            "2000-01-03",
        ),
        (
            request(
                "stock.price.sync.requested",
                market="us",
                **{"from": "2026-03-18", "to": "2026-03-16"},
            ),
            "invalid_field",
            "is after",
        ),
        (
            request(
                "stock.price.sync.requested", market="us", session="2026-03-16", to="2026-03-16"
            ),
            "invalid_field",
            "not both",
        ),
        (
            request(
                "stock.price.sync.requested",
                market="us",
                **{"from": "2026-03-14", "to": "2026-03-15"},
            ),
            "no_session",
            "no session",
        ),
        (
            request("stock.price.sync.requested", market="us", **{"from": "1999-01-01"}),
            "no_partition",
            "2000-01-03",
        ),
        (
            request("stock.price.sync.requested", market="us", to="2026-04-01"),
            "no_partition",
            "2026-03-19",
        ),
        (
            request("economic.data.sync.requested", seriesIds=["NOSUCH"]),
            "unknown_series",
            "GDP, UNRATE",
        ),
        (request("economic.data.sync.requested", to="2026-03-20"), "no_partition", "2026-03-19"),
        (
            request("economic.data.sync.requested", **{"from": "1980-01-01"}),
            "no_partition",
            "1990-01-01",
        ),
        (
            request("news.crawl.requested", hour="2026-03-20T03:00:00Z"),
            "no_partition",
            "2026-03-20T02",
        ),
        (
            request("news.crawl.requested", hour="9999-12-31T23:30:00-14:00"),
            "no_partition",
            "UTC",
        ),
        (
            request("news.crawl.requested", hour="0001-01-01T00:00:00+14:00"),
            "no_partition",
            "UTC",
        ),
        (request("economic.data.sync.requested", to="0001-01-01"), "invalid_field", "is after"),
        (
            request("news.crawl.requested", hour="2020-03-20T03:00:00Z"),
            "no_partition",
            "2022-03-01",
        ),
        (command("rm -rf"), "unknown_task", "crawl_news"),
        (command("us_price", session=5), "invalid_field", "$.payload.params.session"),
        (command("us_price", market="kr"), "invalid_field", "$.payload.params.market"),
        (
            request("analysis.combined.request", market="us", threadTs="a\x00b"),
            "invalid_field",
            "$.payload.threadTs",
        ),
        (request("news.crawl.requested", timestamp=NOW + timedelta(minutes=11)), "future", "clock"),
        (request("news.crawl.requested", timestamp=NOW - timedelta(days=8)), "too_old", "replay"),
        (
            request("news.crawl.requested", timestamp=datetime(1970, 1, 1, tzinfo=UTC)),
            "too_old",
            "replay",
        ),
    ],
)
def test_a_request_is_refused_with_its_reason(asked: Event[Any], code: str, said: str) -> None:
    with pytest.raises(RefusedRequestError) as refused:
        ROUTER.at(NOW).plan(asked)
    assert refused.value.code == code
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("now", "today"),
    [
        ("2026-03-20T04:59:59Z", "2026-03-19"),
        ("2026-03-20T05:00:00Z", "2026-03-20"),
        ("2026-01-20T05:59:59Z", "2026-01-19"),
        ("2026-01-20T06:00:00Z", "2026-01-20"),
    ],
)
def test_macro_is_asked_for_days_that_have_begun_at_fred(now: str, today: str) -> None:
    moment = datetime.fromisoformat(now)
    plan = ROUTER.at(moment).plan(request("economic.data.sync.requested", moment))
    assert plan.last == today


def test_a_replay_is_served_however_old_it_is() -> None:
    old = request("news.crawl.requested", timestamp=NOW - timedelta(days=90))
    assert ROUTER.at(NOW).plan(old, attempt=2).job == "news_crawl"


def test_every_request_type_has_a_route_and_a_way_to_be_refused() -> None:
    names = {event_type.name for event_type in event_types(Role.REQUEST)}
    assert set(FAILED_TYPE) == names
    assert {event_type for event_type, _ in COMMANDS.values()} == names - {"command.requested"}


@given(
    market=st.sampled_from([*MARKETS, "xx"]) | st.text(max_size=8),
    symbols=st.lists(st.text(min_size=1, max_size=24), max_size=4),
    session=st.none() | st.dates().map(str),
    event_type=st.sampled_from(["analysis.combined.request", "stock.price.sync.requested"]),
)
def test_whatever_is_asked_ends_as_a_known_job_and_session_or_a_refusal(
    market: str, symbols: list[str], session: str | None, event_type: str
) -> None:
    try:
        fields = {"market": market, "symbols": symbols, "session": session}
        plan = ROUTER.at(NOW).plan(request(event_type, **fields))
    except (RefusedRequestError, BadEventError):
        return
    assert plan.job in {job.name for job in build_jobs(has_serving=False)}
    assert MARKETS[market].is_session(date.fromisoformat(plan.first))
    assert plan.first == plan.last
