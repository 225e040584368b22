"""FRED: point-in-time tables on recorded ALFRED data, fredapi's methods, typed failures."""

import csv
import gzip
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant_assets.errors import (
    BadConfigurationError,
    BadDataError,
    PermanentError,
    TransientError,
)
from quant_assets.sandbox.faults import Fault
from quant_assets.sandbox.server import Sandbox
from quant_assets.vendors.fred import FredClient, fred_today
from quant_assets.vendors.fred_requests import KeyRefusedError, NoVintagesError
from quant_assets.vendors.http import Pacer, build_session
from quant_assets_tests.unit.scripted_server import Reply, Request, ScriptedServer

KEY = "0123456789abcdefghijklmnopqrstuv"
NOW = datetime(2025, 6, 30, 22, 0, tzinfo=UTC)
TODAY = date(2025, 6, 30)
Row = Mapping[str, str]


def client(root_url: str, *, timeout_seconds: float = 10.0, **options: Any) -> FredClient:
    session = build_session(
        retries=2, backoff_seconds=0.001, timeout_seconds=timeout_seconds, user_agent="test"
    )
    options = {"today": lambda: TODAY, "pacer": Pacer(max_per_second=10_000), **options}
    return FredClient(KEY, root_url, session, **options)


@pytest.fixture(autouse=True)
def _no_key_leaks(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG):
        yield
    assert KEY not in caplog.text


@pytest.fixture(scope="module")
def gdp(recorded_data: Path) -> list[Row]:
    """Every release of GDP to 2019 as ALFRED lists them; some were ``.`` for a while."""
    path = recorded_data / "macro" / "alfred_gdp" / "GDP_all_releases_to_2019.csv"
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def alfred(rows: list[Row], *, max_vintages: int = 2000) -> Callable[[Request], Reply]:
    """Serve ``rows`` by ALFRED's rules: overlap, clipping, paging, a cap on vintages."""
    changes = {row["realtime_start"] for row in rows} | {
        f"{date.fromisoformat(row['realtime_end']) + timedelta(days=1)}"
        for row in rows
        if row["realtime_end"] != "9999-12-31"
    }

    def vintage_dates(query: Mapping[str, str]) -> Reply:
        last = query.get("realtime_end", "9999-12-31")
        is_descending = query.get("sort_order") == "desc"
        found = sorted((day for day in changes if day <= last), reverse=is_descending)
        shown = found[: int(query["limit"])]
        return Reply(json.dumps({"count": len(found), "vintage_dates": shown}))

    def answer(request: Request) -> Reply:
        query = request.query
        if request.path.endswith("vintagedates"):
            return vintage_dates(query)
        start, end = query["realtime_start"], query["realtime_end"]
        vintages = {row["realtime_start"] for row in rows if start <= row["realtime_start"] <= end}
        if len(vintages) > max_vintages:
            message = "Bad Request.  This exceeds the maximum number of vintage dates allowed."
            return Reply(json.dumps({"error_code": 400, "error_message": message}), 400)
        shown = [
            {
                **row,
                "realtime_start": max(row["realtime_start"], start),
                "realtime_end": min(row["realtime_end"], end),
            }
            for row in rows
            if row["realtime_start"] <= end
            and row["realtime_end"] >= start
            and row["date"] >= query.get("observation_start", "")
        ]
        shown.sort(key=lambda row: row["date"], reverse=query.get("sort_order") == "desc")
        offset, limit = int(query["offset"]), int(query["limit"])
        page = shown[offset : offset + limit]
        return Reply(json.dumps({"count": len(shown), "observations": page}))

    return answer


def as_table(rows: list[Row]) -> pd.DataFrame:
    """Rows of ALFRED as the client should return them."""

    def days(name: str) -> Any:
        return np.array([row[name] for row in rows], dtype="datetime64[us]")

    values = [np.nan if row["value"] == "." else float(row["value"]) for row in rows]
    return pd.DataFrame(
        {
            "series_id": pd.Series(["GDP"] * len(rows), dtype="str"),
            "observation_date": days("date"),
            "value": values,
            "realtime_start": days("realtime_start"),
            "realtime_end": days("realtime_end"),
        }
    )


FIRST, LAST = date(1991, 12, 1), date(2019, 12, 31)


def test_all_releases_of_gdp_come_back_as_recorded(gdp: list[Row]) -> None:
    with ScriptedServer(alfred(gdp)) as server:
        table = client(server.url).observations("GDP", FIRST, LAST)
    expected = as_table(
        [{**row, "realtime_end": min(row["realtime_end"], LAST.isoformat())} for row in gdp]
    )
    pd.testing.assert_frame_equal(table, expected)
    assert table["value"].isna().any(), "the recording has missing values"


@pytest.mark.parametrize("chunk_days", [89, 365, 1_000, 1_900, 5_000])
@pytest.mark.parametrize("page_size", [700, 100_000])
def test_neither_chunks_nor_pages_change_the_table(
    gdp: list[Row], chunk_days: int, page_size: int
) -> None:
    with ScriptedServer(alfred(gdp)) as server:
        whole = client(server.url).observations("GDP", FIRST, LAST, chunk_days=100_000)
        parts = client(server.url, page_size=page_size)
        table = parts.observations("GDP", FIRST, LAST, chunk_days=chunk_days)
    pd.testing.assert_frame_equal(table, whole)


VALUES = st.sampled_from(["1.0", "2.0", "."])


@st.composite
def vintage_histories(draw: st.DrawFn) -> list[Row]:
    """Two observations, each revised on random days of two months, with returns and gaps."""
    rows: list[Row] = []
    for month in ("2020-01-01", "2020-02-01"):
        days = sorted(draw(st.sets(st.integers(0, 59), min_size=1, max_size=12)))
        for day, following in zip(days, [*days[1:], None], strict=True):
            start = date(2020, 3, 1) + timedelta(days=day)
            end = "9999-12-31"
            if following is not None:
                end = (date(2020, 3, 1) + timedelta(days=following - 1)).isoformat()
            value = draw(VALUES)
            rows.append(
                {
                    "date": month,
                    "value": value,
                    "realtime_start": start.isoformat(),
                    "realtime_end": end,
                }
            )
    return rows


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(history=vintage_histories(), chunk_days=st.integers(1, 70), start=st.integers(-3, 40))
def test_chunk_size_changes_nothing_on_random_histories(
    history: list[Row], chunk_days: int, start: int
) -> None:
    first = date(2020, 3, 1) + timedelta(days=start)
    last = date(2020, 5, 1)
    with ScriptedServer(alfred(history)) as server:
        made = client(server.url)
        whole = made.observations("GDP", first, last, chunk_days=10_000)
        table = made.observations("GDP", first, last, chunk_days=chunk_days)
        news = made.new_or_revised("GDP", first, last, chunk_days=chunk_days)
    pd.testing.assert_frame_equal(table, whole)
    assert_changes(news, history, first, last)


def assert_changes(news: pd.DataFrame, history: list[Row], first: date, last: date) -> None:
    """``news`` must be the days on which the value seen differs from the day before."""
    seen = []
    for day in pd.date_range(first, last):
        for observation in sorted({row["date"] for row in history}):
            before = valid_on(history, observation, day - timedelta(days=1))
            now = valid_on(history, observation, day)
            if now != before:
                seen.append((day, observation, now))
    found = [
        (day, f"{observation:%Y-%m-%d}", "." if np.isnan(value) else f"{value:.1f}")
        for day, observation, value in zip(
            news["release_date"], news["observation_date"], news["value"], strict=True
        )
    ]
    assert found == seen


def valid_on(history: list[Row], observation: str, day: pd.Timestamp) -> str | None:
    text = f"{day:%Y-%m-%d}"
    for row in history:
        is_valid = row["realtime_start"] <= text <= row["realtime_end"]
        if row["date"] == observation and is_valid:
            return row["value"]
    return None


def test_news_of_a_day_leaves_out_what_was_known(gdp: list[Row]) -> None:
    """2014-05-29: the second estimate of the first quarter of 2014, and nothing else."""
    with ScriptedServer(alfred(gdp)) as server:
        made = client(server.url)
        news = made.new_or_revised("GDP", date(2014, 5, 29), date(2014, 5, 29))
        nothing = made.new_or_revised("GDP", date(2014, 5, 30), date(2014, 6, 1))
    recorded = [row for row in gdp if row["realtime_start"] == "2014-05-29"]
    assert list(news.columns) == [
        "release_date",
        "series_id",
        "observation_date",
        "value",
        "realtime_start",
    ]
    assert news["value"].tolist() == [float(row["value"]) for row in recorded]
    assert news["observation_date"].tolist() == [pd.Timestamp(row["date"]) for row in recorded]
    assert (news["release_date"] == pd.Timestamp(2014, 5, 29)).all()
    assert nothing.empty
    assert nothing.dtypes.equals(news.dtypes)


def test_days_one_by_one_equal_the_range(gdp: list[Row]) -> None:
    first, last = date(2014, 1, 1), date(2014, 8, 31)
    with ScriptedServer(alfred(gdp)) as server:
        made = client(server.url)
        whole = made.new_or_revised("GDP", first, last)
        days = pd.date_range(first, last)
        parts = [made.new_or_revised("GDP", day.date(), day.date()) for day in days]
    assert len(whole) > 50, "the annual revision of July 2014 is in the range"
    filled = [part for part in parts if not part.empty]
    pd.testing.assert_frame_equal(pd.concat(filled, ignore_index=True), whole)


def test_the_default_chunk_stays_below_the_vintage_cap() -> None:
    """A daily series has a vintage on almost every day; 2,000 is FRED's limit."""
    start = date(2010, 1, 1)
    days = [start + timedelta(days=n) for n in range(4_000)]
    rows: list[Row] = [
        {"date": f"{d}", "value": "1", "realtime_start": f"{d}", "realtime_end": "9999-12-31"}
        for d in days
    ]
    with ScriptedServer(alfred(rows)) as server:
        made = client(server.url)
        table = made.observations("DGS10", days[0], days[-1])
        assert len(table) == 4_000
        assert len(server.requests) == 3
        with pytest.raises(PermanentError, match="maximum number of vintage dates"):
            made.observations("DGS10", days[0], days[-1], chunk_days=4_000)


def test_a_series_without_vintages_appears_after_its_lag() -> None:
    rows = [{"date": f"2024-0{m}-01", "value": f"{m}"} for m in range(1, 7)]
    body = [{**r, "realtime_start": "2025-06-30", "realtime_end": "2025-06-30"} for r in rows]
    with ScriptedServer([Reply(json.dumps({"count": 6, "observations": body}))]) as server:
        made = client(server.url)
        first, last = date(2024, 3, 1), date(2024, 5, 5)
        news = made.new_or_revised("KR10Y", first, last, publication_lag_days=40)
        known = made.observations("KR10Y", first, last, publication_lag_days=40)
        assert "realtime_start" not in server.requests[0].query
        assert server.requests[0].query["observation_end"] == "2024-03-26"
    # 40 days after the first of January, February, March, April: 10 Feb, 12 Mar, 10 Apr, 11 May.
    assert news["release_date"].tolist() == [pd.Timestamp(2024, 3, 12), pd.Timestamp(2024, 4, 10)]
    assert news["value"].tolist() == [2.0, 3.0]
    assert known["value"].tolist() == [1.0, 2.0, 3.0]
    assert known["realtime_start"].iloc[0] == pd.Timestamp(first)


def error_400(message: str) -> Reply:
    return Reply(json.dumps({"error_code": 400, "error_message": message}), 400)


HTML = Reply("<html>Service unavailable</html>", 500)


@pytest.mark.parametrize(
    ("reply", "error", "words", "asked"),
    [
        (error_400("Bad Request.  The series does not exist."), PermanentError, "exist", 1),
        (
            error_400("Bad Request.  The value for variable api_key is not registered."),
            KeyRefusedError,
            "check FRED_API_KEY",
            1,
        ),
        (
            error_400("Bad Request.  The series does not exist in ALFRED but may exist in FRED."),
            NoVintagesError,
            "publication lag",
            2,
        ),
        (Reply("<html>denied</html>", 401), KeyRefusedError, "check FRED_API_KEY", 1),
        (Reply("denied", 403), KeyRefusedError, "check FRED_API_KEY", 1),
        (Reply("gone", 404), PermanentError, "not found", 1),
        (Reply('{"error_code": 429}', 429), TransientError, "rate limited", 3),
        (HTML, TransientError, "HTTP 500", 3),
        (Reply("<html>maintenance</html>"), TransientError, "HTML page", 1),
        (Reply("", fault="reset"), TransientError, "connection failed", 3),
        (Reply("", fault="hang"), TransientError, "no answer in time", 3),
        (Reply('{"observations": []}' * 9, fault="cut"), TransientError, "broke off", 1),
        (Reply('{"observations": '), TransientError, "not valid JSON", 1),
        (Reply("[]"), BadDataError, "is a list", 1),
        (Reply('{"count": 0}'), BadDataError, "no list 'observations'", 1),
        (Reply('{"observations": [{"value": "1"}]}'), BadDataError, "malformed", 1),
        (
            Reply(
                '{"observations": [{"value": "n/a", "date": "2020-01-01",'
                '"realtime_start": "2020-01-01", "realtime_end": "2020-01-01"}]}'
            ),
            BadDataError,
            "malformed",
            1,
        ),
    ],
)
def test_failures_are_typed(reply: Reply, error: type[Exception], words: str, asked: int) -> None:
    timeout_seconds = 0.2 if reply.fault == "hang" else 10.0
    with ScriptedServer([reply]) as server:
        made = client(server.url, timeout_seconds=timeout_seconds)
        with pytest.raises(error, match=words) as caught:
            made.observations("GDP", date(2020, 1, 1), date(2020, 2, 1))
        assert len(server.requests) == asked
    assert KEY not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"


def test_the_key_is_masked_when_fred_repeats_it() -> None:
    message = f"Bad Request.  The value {KEY} for variable api_key is wrong."
    replies = [error_400(message), Reply(f'<error code="400" message="{message}"/>', 400)]
    with ScriptedServer(replies) as server:
        with pytest.raises(PermanentError, match="redacted") as caught:
            client(server.url).observations("GDP", date(2020, 1, 1), date(2020, 2, 1))
        with pytest.raises(ValueError, match="redacted") as from_xml:
            client(server.url).get_series("GDP")
    assert KEY not in str(caught.value) + str(from_xml.value)


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [
        (date(2020, 2, 1), date(2020, 1, 1), "is empty"),
        (date(2025, 7, 1), date(2025, 7, 1), "has not begun at FRED"),
    ],
)
def test_a_period_that_makes_no_sense_is_refused_before_asking(
    first: date, last: date, words: str
) -> None:
    with ScriptedServer([Reply("{}")]) as server:
        for method in (client(server.url).observations, client(server.url).new_or_revised):
            with pytest.raises(BadConfigurationError, match=words):
                method("GDP", first, last)
        assert server.requests == []


def test_a_missing_key_is_named() -> None:
    with pytest.raises(BadConfigurationError, match="FRED_API_KEY"):
        FredClient("")


def test_today_is_fred_s_day() -> None:
    assert abs((fred_today() - datetime.now(UTC).date()).days) <= 1


@pytest.mark.parametrize("name", ["test_get_series_all_releases_0.json.gz"])
def test_a_recorded_answer_of_fred_is_read(recorded_data: Path, name: str) -> None:
    body = gzip.decompress((recorded_data / "wire" / "fred" / name).read_bytes())
    with ScriptedServer([Reply(body)]) as server:
        table = client(server.url).observations(
            "GDP", date(1991, 12, 4), TODAY, chunk_days=1_000_000
        )
    assert len(table) == 3_199
    last = table.iloc[-1]
    assert (last["observation_date"], last["value"]) == (pd.Timestamp(2024, 7, 1), 29349.924)
    assert last["realtime_end"] == pd.Timestamp(9999, 12, 31)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(now=lambda: NOW) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_faults(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "sandbox" in request.fixturenames:
        request.getfixturevalue("sandbox").faults.clear()


def test_fredapi_methods_work_over_the_session(sandbox: Sandbox) -> None:
    made = client(f"{sandbox.url}/fred")
    series = made.get_series("UNRATE", observation_start="2020-01-01")
    assert series.index[0] == pd.Timestamp(2020, 1, 1)
    assert series.between(0, 30).all()
    assert made.get_series_info("UNRATE")["id"] == "UNRATE"
    releases = made.get_series_all_releases("CPIAUCSL", "2020-01-01", "2021-01-01")
    assert {"date", "realtime_start", "value"} <= set(releases.columns)
    vintages = made.get_series_vintage_dates("CPIAUCSL")
    assert vintages == sorted(vintages)
    first = made.get_series_first_release("CPIAUCSL")
    assert first.index.is_unique
    as_of = made.get_series_as_of_date("CPIAUCSL", "2015-03-01")
    assert (as_of["realtime_start"] <= pd.Timestamp(2015, 3, 1)).all()
    found = made.search("unemployment")
    assert "UNRATE" in found.index
    with pytest.raises(ValueError, match="does not exist"):
        made.get_series("NOSUCH")


def test_fredapi_failures_are_typed(sandbox: Sandbox) -> None:
    made = client(f"{sandbox.url}/fred")
    sandbox.faults.add(Fault("fred", "status", code=500, body="html"))
    with pytest.raises(TransientError, match="HTTP 500"):
        made.get_series("UNRATE")
    sandbox.faults.clear()
    sandbox.faults.add(Fault("fred", "malformed"))
    with pytest.raises(TransientError):
        made.get_series("UNRATE")


@pytest.mark.parametrize("series_id", ["DGS10", "ICSA", "CPIAUCSL", "GDP"])
def test_the_simulated_releases_agree_with_what_was_known_each_day(
    sandbox: Sandbox, series_id: str
) -> None:
    """Rebuild the state of a day from the releases up to it; FRED's own view must be equal."""
    made = client(f"{sandbox.url}/fred")
    first, last = date(2023, 1, 1), date(2024, 3, 31)
    base = made.observations(series_id, first, first, observation_start=date(2022, 1, 1))
    news = made.new_or_revised(series_id, first + timedelta(days=1), last, chunk_days=97)
    changes = news[news["observation_date"] >= pd.Timestamp(2022, 1, 1)]
    state = pd.concat([base, changes])[["observation_date", "value"]]
    state = state.drop_duplicates("observation_date", keep="last").sort_values(
        "observation_date", ignore_index=True
    )
    seen = made.observations(series_id, last, last, observation_start=date(2022, 1, 1))
    pd.testing.assert_frame_equal(state, seen[["observation_date", "value"]])


def test_an_empty_answer_for_a_published_series_is_a_failure(sandbox: Sandbox) -> None:
    made = client(f"{sandbox.url}/fred")
    before = made.new_or_revised("CPIAUCSL", date(1980, 1, 1), date(1980, 2, 1))
    assert before.empty, "the simulated history begins in 1990"
    sandbox.faults.add(Fault("fred", "empty", times=1))
    with pytest.raises(TransientError, match="although they begin"):
        made.new_or_revised("CPIAUCSL", date(2024, 1, 1), date(2024, 2, 1))


def test_an_empty_part_of_an_answer_is_a_failure() -> None:
    row = {"date": "2020-01-01", "value": "1", "realtime_start": "2020-01-01"}
    filled = {"count": 1, "observations": [{**row, "realtime_end": "2020-01-31"}]}
    nothing = {"count": 0, "observations": []}
    first, last = date(2020, 1, 1), date(2020, 2, 29)
    with (
        ScriptedServer([Reply(json.dumps(filled)), Reply(json.dumps(nothing))]) as server,
        pytest.raises(TransientError, match="nothing for the vintages 2020-01-31"),
    ):
        client(server.url).observations("GDP", first, last, chunk_days=30)
    broken = [Reply(json.dumps(filled | {"count": 3})), Reply(json.dumps(nothing | {"count": 3}))]
    with (
        ScriptedServer(broken) as server,
        pytest.raises(TransientError, match="1 of 3 observations came"),
    ):
        client(server.url).observations("GDP", first, last)


def test_chunks_before_the_first_vintage_do_not_hide_the_later_ones(sandbox: Sandbox) -> None:
    made = client(f"{sandbox.url}/fred")
    vintages = made.get_series_vintage_dates("GDP")
    first = vintages[0].date() - timedelta(days=900)
    table = made.observations("GDP", first, TODAY, chunk_days=365)
    assert table["realtime_start"].min() == pd.Timestamp(vintages[0])
    assert sandbox.requests.count(endpoint="fred", realtime_start=first.isoformat()) == 1


def test_a_doubled_row_is_read_once(sandbox: Sandbox) -> None:
    made = client(f"{sandbox.url}/fred")
    clean = made.observations("GDP", date(2020, 1, 1), date(2021, 1, 1))
    sandbox.faults.add(Fault("fred", "duplicate"))
    doubled = made.observations("GDP", date(2020, 1, 1), date(2021, 1, 1))
    pd.testing.assert_frame_equal(doubled, clean)
