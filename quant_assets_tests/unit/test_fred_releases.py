"""What was released in a few days: few requests, few bytes, and the same as by the long way."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant_assets.errors import BadDataError, TransientError
from quant_assets.sandbox.faults import Fault
from quant_assets.sandbox.server import Sandbox
from quant_assets.settings import load_macro_series
from quant_assets.vendors import fred
from quant_assets.vendors.archive import Answer
from quant_assets.vendors.fred import SHORT_PERIOD_DAYS, FredClient
from quant_assets.vendors.fred_requests import NoVintagesError
from quant_assets.vendors.fred_vintages import releases_of
from quant_assets.vendors.http import Pacer, build_session
from quant_assets_tests.unit.scripted_server import Reply, ScriptedServer

KEY = "0123456789abcdefghijklmnopqrstuv"
NOW = datetime(2026, 3, 20, 3, 30, tzinfo=UTC)
TODAY = date(2026, 3, 19)
SERIES = [item.series_id for item in load_macro_series("")]


class Scale:
    """A tape that weighs the answers."""

    is_closed = False

    def __init__(self) -> None:
        self.requests = self.bytes = 0

    def find(self, request: str) -> Answer | None:
        return None

    def note(self, request: str, answer: Answer) -> None:
        self.requests += 1
        self.bytes += len(answer.body)


def client(root_url: str, tape: Scale | None = None) -> FredClient:
    session = build_session(
        retries=0, backoff_seconds=0, timeout_seconds=10, user_agent="test", tape=tape
    )
    pacer = Pacer(max_per_second=10_000)
    return FredClient(KEY, root_url, session, today=lambda: TODAY, pacer=pacer)


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with Sandbox(now=lambda: NOW) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.faults.clear()
    running.requests.clear()
    return running


def long_way(made: FredClient, series_id: str, first: date, last: date) -> pd.DataFrame:
    """The whole history of the period and the day before it, compared."""
    return releases_of(made.observations(series_id, first - timedelta(days=1), last), first).news


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    series_id=st.sampled_from(SERIES),
    start=st.integers(0, (TODAY - date(1990, 2, 1)).days),
    length=st.integers(1, SHORT_PERIOD_DAYS),
)
def test_the_short_way_finds_what_the_long_one_does(
    sandbox: Sandbox, series_id: str, start: int, length: int
) -> None:
    first = date(1990, 2, 1) + timedelta(days=start)
    last = min(first + timedelta(days=length - 1), TODAY)
    made = client(f"{sandbox.url}/fred")
    news = made.new_or_revised(series_id, first, last)
    pd.testing.assert_frame_equal(news, long_way(made, series_id, first, last))


@pytest.mark.parametrize("series_id", ["CPIAUCSL", "PAYEMS", "INDPRO", "GDPC1"])
def test_yearly_revisions_that_reach_far_back_are_found(sandbox: Sandbox, series_id: str) -> None:
    """A year of single days, of which some revise more than the newest observations."""
    made = client(f"{sandbox.url}/fred")
    year = made.new_or_revised(series_id, date(2024, 1, 1), date(2024, 12, 31))
    days = sorted(set(year["release_date"].dt.date))
    parts = [made.new_or_revised(series_id, day, day) for day in days]
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), year)
    assert year.groupby("release_date").size().max() >= 3


@pytest.mark.parametrize("series_id", ["CPIAUCSL", "PAYEMS", "INDPRO", "GDPC1"])
def test_a_revision_beyond_the_newest_rows_is_asked_for_whole(
    sandbox: Sandbox, series_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for 20 rows, 15 of them for the measure, the yearly revisions do not fit."""
    monkeypatch.setattr(fred, "NEWEST_ROWS", 20)
    made = client(f"{sandbox.url}/fred")
    year = made.new_or_revised(series_id, date(2024, 1, 1), date(2024, 12, 31))
    days = sorted(set(year["release_date"].dt.date))
    sandbox.requests.clear()
    parts = [made.releases(series_id, day, day) for day in days]
    asked_whole = sandbox.requests.count(limit="100000")
    pd.testing.assert_frame_equal(pd.concat([p.news for p in parts], ignore_index=True), year)
    assert 0 < asked_whole <= len(days)
    for part in parts:
        dates = part.known["observation_date"]
        assert dates[dates < part.news["observation_date"].min()].nunique() >= fred.MEASURE


def test_a_day_without_releases_costs_one_small_request_a_series(sandbox: Sandbox) -> None:
    """2026-03-07 is a Saturday. The long way takes 14 requests and 5.9 MB on any day."""
    tape = Scale()
    made = client(f"{sandbox.url}/fred", tape)
    for series_id in SERIES:
        assert made.new_or_revised(series_id, date(2026, 3, 7), date(2026, 3, 7)).empty
    assert tape.requests == len(SERIES)
    assert tape.bytes < 300 * len(SERIES)
    assert {entry.path for entry in sandbox.requests} == {"/fred/series/vintagedates"}


def test_a_working_day_costs_a_thirtieth_of_the_histories(sandbox: Sandbox) -> None:
    day = date(2026, 3, 6)
    before, after = Scale(), Scale()
    long, short = client(f"{sandbox.url}/fred", before), client(f"{sandbox.url}/fred", after)
    for series_id in SERIES:
        news = short.new_or_revised(series_id, day, day)
        pd.testing.assert_frame_equal(news, long_way(long, series_id, day, day))
    assert before.requests == 14
    assert after.requests == 14 + 2 * 8
    assert before.bytes > 25 * after.bytes


def test_today_can_be_asked_again_later_in_the_day() -> None:
    """The jobs report comes at 7:31 in St. Louis; a run before sees nothing, one after all."""
    day = date(2026, 3, 6)
    now = [datetime(2026, 3, 6, 12, 0, tzinfo=UTC)]
    with Sandbox(now=lambda: now[0]) as sandbox:
        made = client(f"{sandbox.url}/fred")
        made._today = lambda: day
        assert made.new_or_revised("UNRATE", day, day).empty
        now[0] = datetime(2026, 3, 6, 14, 0, tzinfo=UTC)
        later = made.new_or_revised("UNRATE", day, day)
    assert later["observation_date"].tolist() == [pd.Timestamp(2026, 2, 1)]


@pytest.mark.parametrize("times", [1, None])
def test_an_empty_list_of_vintages_is_not_taken_for_nothing(
    sandbox: Sandbox, times: int | None
) -> None:
    sandbox.faults.add(Fault("fred", "empty", series=["UNRATE"], times=times))
    with pytest.raises(TransientError, match="vintages"):
        client(f"{sandbox.url}/fred").new_or_revised("UNRATE", date(2026, 3, 7), date(2026, 3, 7))


def test_days_before_the_first_vintage_are_empty(sandbox: Sandbox) -> None:
    made = client(f"{sandbox.url}/fred")
    assert made.new_or_revised("GDP", date(1985, 1, 1), date(1985, 1, 5)).empty
    first = made.vintages("GDP", date(1980, 1, 1), date(1995, 1, 1))[0]
    assert len(made.new_or_revised("GDP", first, first)) >= 1


def vintage_list(*days: str, **more: Any) -> Reply:
    return Reply(json.dumps({"count": len(days), "vintage_dates": list(days), **more}))


NO_ROWS = Reply(json.dumps({"count": 0, "observations": []}))


@pytest.mark.parametrize(
    ("replies", "error", "words"),
    [
        ([vintage_list("2026-03-06", "2026-02-06"), NO_ROWS], TransientError, "2026-03-06 is"),
        ([vintage_list("2026-03-06", count=5)], TransientError, "1 of 2 vintage dates"),
        ([vintage_list("2026-02-06", "2026-03-06")], BadDataError, "not sorted"),
        ([vintage_list("n/a")], BadDataError, "malformed"),
        ([Reply('{"vintage_dates": [20260306]}')], BadDataError, "malformed"),
        ([Reply('{"count": "many", "vintage_dates": []}')], BadDataError, "malformed"),
        ([Reply('{"count": 0}')], BadDataError, "no list 'vintage_dates'"),
        (
            [Reply(json.dumps({"error_code": 400, "error_message": "not exist in ALFRED"}), 400)],
            NoVintagesError,
            "publication lag",
        ),
    ],
)  # fmt: skip
def test_answers_that_cannot_be_used_are_typed(
    replies: list[Reply], error: type[Exception], words: str
) -> None:
    with ScriptedServer(replies) as server, pytest.raises(error, match=words):
        client(server.url).new_or_revised("UNRATE", date(2026, 3, 6), date(2026, 3, 6))


def row(day: str, value: str, start: str, end: str = "2026-03-06") -> dict[str, str]:
    return {"date": day, "value": value, "realtime_start": start, "realtime_end": end}


def test_an_observation_that_is_only_removed_is_no_fault() -> None:
    """The vintage of 6 March drops January: nothing begins, January ends on the 5th."""
    old = [row(f"2025-{month:02}-01", "4.0", "2026-03-05") for month in range(1, 13)]
    rows = [*old, row("2026-01-01", "4.1", "2026-03-05", "2026-03-05")]
    with ScriptedServer(
        [
            vintage_list("2026-03-06", "2026-02-06"),
            Reply(json.dumps({"count": 13, "observations": rows[::-1]})),
            Reply(json.dumps({"count": 13, "observations": rows[:1]})),
            Reply(json.dumps({"count": 13, "observations": rows})),
        ]
    ) as server:
        news = client(server.url).new_or_revised("UNRATE", date(2026, 3, 6), date(2026, 3, 6))
    assert news.empty


def test_a_single_revision_far_back_is_told_by_the_count() -> None:
    """The newest rows show one new value; FRED counts two, because one of 1995 is revised too."""
    months = [f"{1995 + n // 12}-{n % 12 + 1:02}-01" for n in range(300)]
    old = [row(day, "4.0", "2026-03-05") for day in months]
    revised = [row(months[0], "4.0", "2026-03-05", "2026-03-05")]
    revised += [row(months[0], "4.4", "2026-03-06"), *old[1:]]
    revised += [row("2026-02-01", "4.1", "2026-03-06")]
    with ScriptedServer(
        [
            vintage_list("2026-03-06", "2026-02-06"),
            Reply(json.dumps({"count": 302, "observations": revised[:-251:-1]})),
            Reply(json.dumps({"count": 300, "observations": old[:1]})),
            Reply(json.dumps({"count": 302, "observations": revised})),
        ]
    ) as server:
        news = client(server.url).new_or_revised("UNRATE", date(2026, 3, 6), date(2026, 3, 6))
        assert len(server.requests) == 4
    assert news["observation_date"].tolist() == [
        pd.Timestamp(1995, 1, 1),
        pd.Timestamp(2026, 2, 1),
    ]
    assert news["value"].tolist() == [4.4, 4.1]


def test_an_answer_without_a_count_is_asked_for_whole() -> None:
    rows = [row("2026-01-01", "4.1", "2026-03-05"), row("2026-02-01", "4.2", "2026-03-06")]
    body = Reply(json.dumps({"observations": rows}))
    with ScriptedServer([vintage_list("2026-03-06", "2026-02-06"), body, body, body]) as server:
        news = client(server.url).new_or_revised("UNRATE", date(2026, 3, 6), date(2026, 3, 6))
        assert len(server.requests) == 4
    assert news["value"].tolist() == [4.2]


LAGGED = "IRLTLT01KRM156N"


def test_a_series_without_vintages_is_asked_for_its_last_years_only(sandbox: Sandbox) -> None:
    tape = Scale()
    made = client(f"{sandbox.url}/fred", tape)
    day = date(2026, 3, 12)
    news = made.new_or_revised(LAGGED, day, day, publication_lag_days=70)
    assert news["observation_date"].tolist() == [pd.Timestamp(2026, 1, 1)]
    assert tape.requests == 1
    assert tape.bytes < 5_000
    year = made.new_or_revised(
        LAGGED, date(2025, 3, 13), date(2026, 3, 12), publication_lag_days=70
    )
    assert len(year) == 12
    pd.testing.assert_frame_equal(year.tail(1).reset_index(drop=True), news)


def test_an_empty_answer_for_a_series_without_vintages_is_a_failure(sandbox: Sandbox) -> None:
    made = client(f"{sandbox.url}/fred")
    day = date(2026, 3, 12)
    before = date(1980, 1, 1)
    assert made.new_or_revised(LAGGED, before, before, publication_lag_days=70).empty
    sandbox.faults.add(Fault("fred", "empty", series=[LAGGED]))
    with pytest.raises(TransientError, match="although it has some from"):
        made.new_or_revised(LAGGED, day, day, publication_lag_days=70)
    with ScriptedServer([NO_ROWS, Reply('{"seriess": []}')]) as server:
        unreadable = client(server.url)
        with pytest.raises(BadDataError, match="description is malformed"):
            unreadable.new_or_revised(LAGGED, day, day, publication_lag_days=70)


def test_a_doubled_row_of_a_series_without_vintages_counts_once(sandbox: Sandbox) -> None:
    made = client(f"{sandbox.url}/fred")
    period = (date(2026, 2, 12), date(2026, 3, 12))
    clean = made.new_or_revised(LAGGED, *period, publication_lag_days=70)
    sandbox.faults.add(Fault("fred", "duplicate", series=[LAGGED]))
    doubled = made.new_or_revised(LAGGED, *period, publication_lag_days=70)
    pd.testing.assert_frame_equal(doubled, clean)
    assert len(clean) == 1
