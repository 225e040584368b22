"""The first fill from 1990 to today in one run, at the pace that FRED allows."""

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest

from quant_assets.assets.macro_fetch import fetch_releases
from quant_assets.domain.macro_series import FIRST_RELEASE_DAY
from quant_assets.errors import TransientError
from quant_assets.sandbox.server import Sandbox
from quant_assets.settings import load_macro_series, read_settings
from quant_assets.vendors.fred import FredClient
from quant_assets.vendors.http import Pacer, build_session

KEY = "0123456789abcdefghijklmnopqrstuv"
START = datetime(2026, 3, 20, 15, 0, tzinfo=UTC)
LAST = date(2026, 3, 19)
FRED_LIMIT = {60: 120}


class FakeClock:
    """Time that passes with sleeping, and by 50 ms a request."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def vendor_now(self) -> datetime:
        self.seconds += 0.05
        return START + timedelta(seconds=self.seconds)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def sandbox(clock: FakeClock) -> Iterator[Sandbox]:
    with Sandbox(now=clock.vendor_now) as running:
        running.fred_limits.update(FRED_LIMIT)
        yield running


def client(sandbox: Sandbox, pacer: Pacer) -> FredClient:
    session = build_session(retries=0, backoff_seconds=0, timeout_seconds=30, user_agent="test")
    return FredClient(KEY, f"{sandbox.url}/fred", session, pacer=pacer, today=START.date)


def live_pacer(clock: FakeClock) -> Pacer:
    """The pace of the live profile, on the fake clock."""
    pace = read_settings(QUANT_PROFILE="live", FRED_API_KEY=KEY).fred_pace_per_minute
    return Pacer(max_per_minute=pace, monotonic=clock.monotonic, sleep=clock.sleep)


def busiest_minute(sandbox: Sandbox) -> int:
    """Most requests in any 60 seconds."""
    times = [entry.time for entry in sandbox.requests]
    return max(
        bisect_right(times, start + timedelta(seconds=60)) - n for n, start in enumerate(times)
    )


def test_the_shipped_series_are_filled_within_one_minute_s_allowance(
    sandbox: Sandbox, clock: FakeClock
) -> None:
    """14 series in 7 chunks of 1,900 days: 98 requests, so nothing has to wait."""
    fetched = fetch_releases(
        client(sandbox, live_pacer(clock)), load_macro_series(""), FIRST_RELEASE_DAY, LAST
    )
    assert fetched.failed == {}
    assert set(fetched.news["series_id"]) == {s.series_id for s in load_macro_series("")}
    assert sandbox.requests.count() == 98
    assert sandbox.requests.count(status=429) == 0
    assert clock.seconds < 60
    assert not any(fetched.news["unit_error"]), "no false alarm in 36 years of 14 series"
    assert len(fetched.news) > 60_000


def test_a_longer_list_never_exceeds_the_allowance(sandbox: Sandbox, clock: FakeClock) -> None:
    """Smaller chunks stand for more series: five times as many requests take four minutes."""
    series = load_macro_series("")[-5:]
    fetched = fetch_releases(
        client(sandbox, live_pacer(clock)), series, FIRST_RELEASE_DAY, LAST, chunk_days=140
    )
    assert fetched.failed == {}
    asked = sandbox.requests.count()
    assert asked == 5 * 95
    assert sandbox.requests.count(status=429) == 0
    assert busiest_minute(sandbox) <= FRED_LIMIT[60]
    assert (asked // 110 - 1) * 60 <= clock.seconds <= (asked // 110 + 1) * 60


def test_without_the_pace_the_allowance_is_exceeded(sandbox: Sandbox) -> None:
    """So the sandbox does count, and what it refuses is not taken for an answer."""
    hasty = client(sandbox, Pacer(max_per_second=10_000))
    with pytest.raises(TransientError, match="rate limited"):
        fetch_releases(
            hasty,
            load_macro_series("")[-5:],
            FIRST_RELEASE_DAY,
            LAST,
            is_last_attempt=False,
            chunk_days=140,
        )
    assert sandbox.requests.count(status=200) == FRED_LIMIT[60]
    assert sandbox.requests.count(status=429) == 1


def test_days_of_a_fill_are_those_of_daily_runs(sandbox: Sandbox, clock: FakeClock) -> None:
    """Two weeks of the fill with every kind of release, asked day by day."""
    series = load_macro_series("")
    sandbox.fred_limits.clear()
    made = client(sandbox, live_pacer(clock))
    first, last = date(2020, 3, 1), date(2020, 3, 14)
    whole = fetch_releases(made, series, date(2019, 1, 1), date(2020, 12, 31)).news
    columns = ["release_date", "series_id", "observation_date", "value"]
    for day in pd.date_range(first, last):
        news = fetch_releases(made, series, day.date(), day.date()).news
        expected = whole[whole["release_date"] == day]
        pd.testing.assert_frame_equal(
            news[columns].sort_values(columns, ignore_index=True),
            expected[columns].sort_values(columns, ignore_index=True),
        )
