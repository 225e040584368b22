"""Calendars, clocks and universes against exchange_calendars and against wrong user files."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import exchange_calendars
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from quant_assets import markets
from quant_assets.cli.calendars import HEADER, calendar_lines
from quant_assets.errors import BadConfigurationError
from quant_assets.markets import (
    FIRST_SESSION,
    KR,
    LAST_CALENDAR_DAY,
    MARKETS,
    OVERRIDES_VARIABLE,
    US,
    Listing,
    Market,
    load_universe,
    market,
)
from quant_assets.partitions import session_partitions
from quant_assets.reference import read_rows, reference_path, reference_rows

LAST_COMPARED = date(2027, 12, 31)
both_markets = pytest.mark.parametrize("exchange", [US, KR], ids=lambda m: m.key)
# exchange_calendars 4.13 itself takes Series.values of instants when it builds a calendar.
library_values = pytest.mark.filterwarnings(
    "ignore:Series.values returning:pandas.errors.Pandas4Warning"
)
Overriding = Callable[..., Market]


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _documented_overrides(exchange: Market) -> set[date]:
    rows = reference_rows("calendar_overrides.csv")
    return {date.fromisoformat(row["date"]) for row in rows if row["market"] == exchange.key}


@pytest.fixture
def overriding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Overriding:
    """A market that reads a user's overrides file with the given rows."""

    def make(
        exchange: Market, *rows: str, header: str = "market,date,kind,open_local,close_local"
    ) -> Market:
        path = tmp_path / "overrides.csv"
        path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        monkeypatch.setenv(OVERRIDES_VARIABLE, str(path))
        return replace(exchange)

    return make


@both_markets
@library_values
def test_shipped_calendar_is_what_the_installed_library_generates(exchange: Market) -> None:
    shipped = reference_path(f"calendar_{exchange.key}.csv").read_text(encoding="utf-8")
    assert shipped == HEADER + "".join(calendar_lines(exchange))


@both_markets
@library_values
def test_sessions_and_hours_equal_exchange_calendars(exchange: Market) -> None:
    # The library misplaces the last weekday of the year where its calendar ends with that year.
    calendar = exchange_calendars.get_calendar(
        exchange.calendar, start="2000-01-01", end="2028-12-31"
    )
    theirs = {
        day.date(): (row["open"].to_pydatetime(), row["close"].to_pydatetime())
        for day, row in calendar.schedule.loc[: LAST_COMPARED.isoformat()].iterrows()
    }
    ours = {
        day: exchange.hours_of(day) for day in exchange.sessions(date(2000, 1, 1), LAST_COMPARED)
    }
    differing = {day for day in {*theirs, *ours} if theirs.get(day) != ours.get(day)}
    assert differing <= _documented_overrides(exchange)
    assert len(ours) > 6_800


@both_markets
def test_every_session_lies_inside_the_utc_day_of_its_date(exchange: Market) -> None:
    for session in exchange.sessions(FIRST_SESSION, LAST_CALENDAR_DAY):
        opens, closes = exchange.hours_of(session)
        assert opens < closes
        assert opens.date() == closes.date() == session


@pytest.mark.parametrize(
    ("exchange", "session", "opens", "closes"),
    [
        # US Eastern Standard Time, then daylight time from 2024-03-10 to 2024-11-03.
        (US, "2024-03-08", "2024-03-08T14:30", "2024-03-08T21:00"),
        (US, "2024-03-11", "2024-03-11T13:30", "2024-03-11T20:00"),
        (US, "2024-11-01", "2024-11-01T13:30", "2024-11-01T20:00"),
        (US, "2024-11-04", "2024-11-04T14:30", "2024-11-04T21:00"),
        # NYSE holidays and early closings 2024: 13:00 on 3 July, 29 November, 24 December.
        (US, "2024-07-03", "2024-07-03T13:30", "2024-07-03T17:00"),
        (US, "2024-11-29", "2024-11-29T14:30", "2024-11-29T18:00"),
        (US, "2024-12-24", "2024-12-24T14:30", "2024-12-24T18:00"),
        # KRX closed at 15:00 until 2016-07-29 and closes at 15:30 since.
        (KR, "2016-07-29", "2016-07-29T00:00", "2016-07-29T06:00"),
        (KR, "2016-08-01", "2016-08-01T00:00", "2016-08-01T06:30"),
        # KRX opens an hour late on its first day of a year, and shifts for the college test.
        (KR, "2024-01-02", "2024-01-02T01:00", "2024-01-02T06:30"),
        (KR, "2023-11-16", "2023-11-16T01:00", "2023-11-16T07:30"),
        (KR, "2024-11-14", "2024-11-14T01:00", "2024-11-14T07:30"),
    ],
)
def test_hours(exchange: Market, session: str, opens: str, closes: str) -> None:
    assert exchange.hours_of(date.fromisoformat(session)) == (_utc(opens), _utc(closes))


@pytest.mark.parametrize(
    ("exchange", "session", "decision"),
    [
        (US, "2024-03-08", "2024-03-11T13:30"),  # over the change to daylight time
        (US, "2024-11-01", "2024-11-04T14:30"),  # and back
        (US, "2024-07-03", "2024-07-05T13:30"),  # Independence Day
        (US, "2001-09-10", "2001-09-17T13:30"),  # four days closed
        (US, "2012-10-26", "2012-10-31T13:30"),  # Hurricane Sandy
        (KR, "2024-02-08", "2024-02-13T00:00"),  # Lunar New Year, 9 and 12 February
        (KR, "2023-12-28", "2024-01-02T01:00"),  # year end, late opening
        (KR, "2024-11-13", "2024-11-14T01:00"),  # college test
        (KR, "2026-06-02", "2026-06-04T00:00"),  # local elections, from the overrides
    ],
)
def test_decision_time_is_the_open_of_the_next_session(
    exchange: Market, session: str, decision: str
) -> None:
    assert exchange.decision_at(date.fromisoformat(session)) == _utc(decision)


@pytest.mark.parametrize(
    ("exchange", "session", "before", "complete"),
    [
        (US, "2024-06-28", "2024-06-27", "2024-06-28T20:30"),
        (US, "2024-12-24", "2024-12-23", "2024-12-24T18:30"),  # half day
        (US, "2024-12-26", "2024-12-24", "2024-12-26T21:30"),
        (KR, "2024-02-13", "2024-02-08", "2024-02-13T07:30"),  # after Lunar New Year
        (KR, "2024-11-14", "2024-11-13", "2024-11-14T08:30"),  # late close
    ],
)
def test_a_session_counts_from_its_close_plus_the_vendors_delay(
    exchange: Market, session: str, before: str, complete: str
) -> None:
    moment = _utc(complete)
    assert exchange.complete_at(date.fromisoformat(session)) == moment
    assert exchange.last_complete_session(moment).isoformat() == session
    one_less = moment - timedelta(minutes=1)
    assert exchange.last_complete_session(one_less).isoformat() == before
    in_seoul = one_less.astimezone(ZoneInfo("Asia/Seoul"))
    assert exchange.last_complete_session(in_seoul).isoformat() == before


@given(
    exchange=st.sampled_from([US, KR]),
    now=st.datetimes(datetime(2001, 1, 1), datetime(2035, 6, 1), timezones=st.just(UTC)),
)
def test_last_complete_session_is_the_latest_that_is_complete(
    exchange: Market, now: datetime
) -> None:
    last = exchange.last_complete_session(now)
    assert (
        exchange.complete_at(last) <= now < exchange.complete_at(exchange.offset_session(last, 1))
    )


@given(
    exchange=st.sampled_from([US, KR]),
    day=st.dates(date(2005, 1, 1), date(2030, 1, 1)),
    count=st.integers(0, 300),
)
@hypothesis_settings(deadline=None)
def test_offset_session_counts_sessions_in_both_directions(
    exchange: Market, day: date, count: int
) -> None:
    session = exchange.sessions(day, day + timedelta(days=15))[0]
    later = exchange.offset_session(session, count)
    assert len(exchange.sessions(session, later)) == count + 1
    assert exchange.offset_session(later, -count) == session


def test_outside_the_calendar_is_refused() -> None:
    with pytest.raises(BadConfigurationError, match=r"us: -1 sessions from 2000-01-03.*2035-12-31"):
        US.offset_session(FIRST_SESSION, -1)
    with pytest.raises(BadConfigurationError, match=r"kr: 1 sessions from 2035"):
        KR.offset_session(KR.sessions(date(2035, 12, 1), LAST_CALENDAR_DAY)[-1], 1)


def test_hours_of_a_closed_day_name_the_sessions_beside_it() -> None:
    with pytest.raises(BadConfigurationError, match=r"kr: 2024-02-09 .*2024-02-08 and 2024-02-13"):
        KR.hours_of(date(2024, 2, 9))


def test_sessions_of_an_empty_range_are_none() -> None:
    assert US.sessions(date(2024, 1, 5), date(2024, 1, 4)) == []


def test_market_names_the_known_ones() -> None:
    assert market("kr") is KR
    with pytest.raises(BadConfigurationError, match=r"'jp'.*us, kr"):
        market("jp")


def test_a_users_file_closes_opens_and_shifts_days(overriding: Overriding) -> None:
    kr = overriding(
        KR,
        "# a note",
        "kr,2024-10-04,closed,,",
        "kr,2024-10-03,open,,",
        "kr,2024-10-05,open,,",
        "kr,2024-10-06,hours,10:00,14:00",
        "us,2024-10-07,closed,,",
    )
    assert kr.sessions(date(2024, 10, 2), date(2024, 10, 8)) == [
        date(2024, 10, day) for day in (2, 3, 5, 6, 7, 8)
    ]
    assert kr.weekend_sessions == (date(2024, 10, 5), date(2024, 10, 6))
    assert kr.hours_of(date(2024, 10, 5))[1] == _utc("2024-10-05T06:30")
    assert kr.hours_of(date(2024, 10, 6)) == (_utc("2024-10-06T01:00"), _utc("2024-10-06T05:00"))
    assert kr.decision_at(date(2024, 10, 3)) == _utc("2024-10-05T00:00")
    assert not KR.weekend_sessions


def test_a_users_row_comes_after_the_shipped_ones(overriding: Overriding) -> None:
    kr = overriding(KR, "kr,2026-06-03,open,,", "kr,2024-11-14,open,,")
    assert kr.is_session(date(2026, 6, 3))
    assert kr.hours_of(date(2024, 11, 14)) == (_utc("2024-11-14T00:00"), _utc("2024-11-14T06:30"))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("kr,2024-13-01,closed,,", "entry 2"),
        ("jp,2024-10-04,closed,,", "'jp'"),
        ("kr,2024-10-04,holiday,,", "'holiday'"),
        ("kr,2024-10-04,hours,10:00,", "entry 2"),
        ("kr,2024-10-04,hours,ten,15:00", "entry 2"),
        ("kr,2024-10-04", "entry 2"),
        ("kr,2024-10-04,hours,15:00,10:00", "15:00 to 10:00"),
        ("kr,2024-10-04,hours,08:00,15:30", "UTC day 2024-10-04"),
        ("us,2024-10-04,hours,09:30,20:30", "UTC day 2024-10-04"),
    ],
)
def test_a_wrong_row_is_refused_by_every_market(
    overriding: Overriding, row: str, said: str
) -> None:
    for exchange in (US, KR):
        broken = overriding(exchange, row)
        with pytest.raises(BadConfigurationError, match=OVERRIDES_VARIABLE) as caught:
            broken.is_session(date(2024, 10, 4))
        assert "overrides.csv" in str(caught.value)
        assert said in str(caught.value)


def test_a_file_without_a_column_or_in_another_encoding_is_refused(
    overriding: Overriding, tmp_path: Path
) -> None:
    broken = overriding(KR, "kr,2024-10-04", header="market,date")
    with pytest.raises(BadConfigurationError, match="kind"):
        broken.is_session(date(2024, 10, 4))
    (tmp_path / "overrides.csv").write_bytes("market,date,kind\nkr,휴장,closed".encode("cp949"))
    with pytest.raises(BadConfigurationError, match=r"overrides\.csv"):
        replace(KR).is_session(date(2024, 10, 4))


def test_a_missing_overrides_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OVERRIDES_VARIABLE, "/nonexistent/overrides.csv")
    with pytest.raises(BadConfigurationError, match=r"/nonexistent/overrides\.csv does not exist"):
        replace(US).is_session(date(2024, 10, 4))


def test_a_file_written_by_a_spreadsheet_is_read(overriding: Overriding, tmp_path: Path) -> None:
    kr = overriding(KR, "kr,2024-10-04,closed,,")
    path = tmp_path / "overrides.csv"
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8-sig", newline="\r\n")
    assert not kr.is_session(date(2024, 10, 4))


@both_markets
def test_partition_keys_are_exactly_the_sessions(exchange: Market) -> None:
    now = datetime.now(UTC)
    keys = session_partitions(exchange).get_partition_keys(current_time=now)
    sessions = exchange.sessions(FIRST_SESSION, now.date() + timedelta(days=14))
    assert keys == [day.isoformat() for day in sessions[: len(keys)]]
    assert keys[0] == exchange.sessions(FIRST_SESSION, date(2000, 2, 1))[0].isoformat()
    assert keys[-1] >= exchange.last_complete_session(now).isoformat()


@both_markets
def test_partition_keys_include_a_saturday_session(
    overriding: Overriding, exchange: Market
) -> None:
    saturday = date(2024, 10, 5)
    changed = overriding(exchange, f"{exchange.key},{saturday},open,,")
    now = _utc("2025-03-03T12:00")
    partitions = session_partitions.__wrapped__(changed)
    keys = partitions.get_partition_keys(current_time=now)
    assert saturday.isoformat() in keys
    sessions = changed.sessions(FIRST_SESSION, now.date() + timedelta(days=14))
    assert keys == [day.isoformat() for day in sessions[: len(keys)]]
    window = partitions.time_window_for_partition_key(saturday.isoformat())
    assert window.start == _utc("2024-10-05T00:00")


@both_markets
def test_shipped_universe(exchange: Market) -> None:
    listings = load_universe(exchange.key)
    rows = read_rows(reference_path(f"universe_{exchange.key}.csv"))
    assert [listing.symbol for listing in listings] == [row["symbol"] for row in rows]
    assert all(listing.name and listing.sector and listing.yahoo_symbol for listing in listings)
    if exchange is KR:
        assert all(x.yahoo_symbol.endswith((".KS", ".KQ")) for x in listings)


def test_a_list_of_symbols_keeps_what_is_known_of_them() -> None:
    apple, unknown = load_universe("us", " aapl , ZZZZ ,")
    assert apple in load_universe("us")
    assert unknown == Listing("ZZZZ", "ZZZZ", "ZZZZ", "Unknown")


def test_a_file_of_symbols(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(
        "# mine\nsymbol,yahoo_symbol,name,listed_on,delisted_on\n"
        "BRK.B,BRK-B,Berkshire,1996-05-09,\nTWTR,,트위터,2013-11-07,2022-10-27\n",
        encoding="utf-8-sig",
    )
    berkshire, twitter = load_universe("us", str(path))
    assert berkshire == Listing("BRK.B", "BRK-B", "Berkshire", "Unknown", date(1996, 5, 9), None)
    assert (twitter.yahoo_symbol, twitter.name) == ("TWTR", "트위터")
    traded = [date(2013, 11, 6), date(2013, 11, 7), date(2022, 10, 27), date(2022, 10, 28)]
    assert [twitter.trades_on(day) for day in traded] == [False, True, True, False]
    assert berkshire.trades_on(date(2030, 1, 1))
    assert twitter.trades_between(date(2000, 1, 1), date(2013, 11, 7))
    assert not twitter.trades_between(date(2000, 1, 1), date(2013, 11, 6))
    assert not twitter.trades_between(date(2022, 10, 28), date(2023, 1, 1))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"ticker\nAAPL\n", "no column 'symbol'"),
        (b"symbol\n", "empty"),
        (b"", "empty"),
        (b"symbol\nAAPL\nMSFT\nAAPL\n", "AAPL twice"),
        (b"symbol\nAA PL\n", "'AA PL'"),
        (b"symbol\n../AAPL\n", "'../AAPL'"),
        (b"name,symbol\nApple\n", "''"),
        (b"symbol,listed_on\nAAPL,01/02/2020\n", "AAPL: .*01/02/2020"),
        (b"symbol,listed_on,delisted_on\nAAPL,2020-01-02,2019-01-02\n", "AAPL: delisted"),
        ("symbol,name\nA,삼성\n".encode("cp949"), "mine.csv"),
    ],
)
def test_a_wrong_universe_file_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(content)
    with pytest.raises(BadConfigurationError, match=said):
        load_universe("us", str(path))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (",", "QUANT_US_UNIVERSE"),
        ("AAPL,aapl", "AAPL twice"),
        ("AAPL;MSFT MSFT", "unusable symbol"),
        ("/nonexistent/mine.csv", "/nonexistent/mine.csv does not exist"),
    ],
)
def test_a_wrong_universe_setting_is_refused(source: str, said: str) -> None:
    with pytest.raises(BadConfigurationError, match=said):
        load_universe("us", source)


def test_every_market_has_its_reference_files() -> None:
    assert MARKETS == {"us": US, "kr": KR}
    for key in MARKETS:
        assert reference_path(f"universe_{key}.csv").is_file()
        calendar = pd.read_csv(reference_path(f"calendar_{key}.csv"))
        assert calendar["date"].is_monotonic_increasing
        assert set(calendar["kind"]) <= {"closed", "hours", "open"}
    assert markets.FIRST_SESSION.isoformat() == "2000-01-03"
