"""What is due when, around everything that a calendar has; judging what is stored."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.domain.freshness import (
    LOOKS,
    NAMED,
    STATES,
    Regular,
    Sessions,
    Stored,
    Timetable,
    find_stored,
    judge,
)
from quant_assets.markets import KR, US

THREE_HOURS = timedelta(hours=3)
HOURS = Regular(
    grace=timedelta(hours=1),
    length=timedelta(hours=1),
    ends=timedelta(hours=1),
    form="%Y-%m-%d-%H",
    first="2026-01-01-00",
)
DAYS = Regular(
    grace=timedelta(hours=6), length=timedelta(days=1), ends=timedelta(hours=30), form="%Y-%m-%d"
)


def sessions(market=US, deadline: timedelta = THREE_HOURS, last: str = "") -> Sessions:
    return Sessions(grace=deadline - market.vendor_delay, market=market, last=last)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("market", "moment", "complete", "due"),
    [
        # A winter's day in New York: close 21:00 UTC, bars 21:30, deadline 00:00.
        (US, "2026-11-19 21:29", "2026-11-18", "2026-11-18"),
        (US, "2026-11-19 21:30", "2026-11-19", "2026-11-18"),
        (US, "2026-11-19 23:59", "2026-11-19", "2026-11-18"),
        (US, "2026-11-20 00:00", "2026-11-19", "2026-11-19"),
        # The clocks changed on Sunday 8 March 2026: an hour earlier from Monday on.
        (US, "2026-03-07 00:00", "2026-03-06", "2026-03-06"),
        (US, "2026-03-09 22:59", "2026-03-09", "2026-03-06"),
        (US, "2026-03-09 23:00", "2026-03-09", "2026-03-09"),
        # and back on Sunday 1 November.
        (US, "2026-10-30 23:00", "2026-10-30", "2026-10-30"),
        (US, "2026-11-02 23:00", "2026-11-02", "2026-10-30"),
        (US, "2026-11-03 00:00", "2026-11-02", "2026-11-02"),
        # Thanksgiving is closed, the day after ends at 13:00 New York.
        (US, "2026-11-27 18:29", "2026-11-25", "2026-11-25"),
        (US, "2026-11-27 18:30", "2026-11-27", "2026-11-25"),
        (US, "2026-11-27 21:00", "2026-11-27", "2026-11-27"),
        (US, "2026-11-29 12:00", "2026-11-27", "2026-11-27"),
        # Korea closes at 06:30 UTC, no summer time.
        (KR, "2026-03-20 07:29", "2026-03-19", "2026-03-19"),
        (KR, "2026-03-20 07:30", "2026-03-20", "2026-03-19"),
        (KR, "2026-03-20 09:30", "2026-03-20", "2026-03-20"),
        # Seollal: 16 to 18 February 2026.
        (KR, "2026-02-18 23:00", "2026-02-13", "2026-02-13"),
        (KR, "2026-02-19 09:30", "2026-02-19", "2026-02-19"),
        # The college entrance examination: an hour later, 19 November 2026.
        (KR, "2026-11-19 09:30", "2026-11-19", "2026-11-18"),
        (KR, "2026-11-19 10:30", "2026-11-19", "2026-11-19"),
        # The last session of a year, and New Year.
        (KR, "2026-01-01 12:00", "2025-12-30", "2025-12-30"),
    ],
)
def test_sessions_are_due_by_their_own_close(market, moment, complete, due) -> None:
    table = sessions(market)
    assert table.newest_complete(at(moment)) == complete
    assert table.due(at(moment)) == due
    assert table.deadline(due) <= at(moment)


@pytest.mark.parametrize(
    ("moment", "complete", "due"),
    [
        ("2026-03-20 03:59", "2026-03-20-02", "2026-03-20-01"),
        ("2026-03-20 04:00", "2026-03-20-03", "2026-03-20-02"),
        ("2026-03-21 00:30", "2026-03-20-23", "2026-03-20-22"),
    ],
)
def test_an_hour_is_due_an_hour_after_its_end(moment: str, complete: str, due: str) -> None:
    assert (HOURS.newest_complete(at(moment)), HOURS.due(at(moment))) == (complete, due)


@pytest.mark.parametrize(
    ("moment", "complete", "due"),
    [
        ("2026-03-20 05:59", "2026-03-18", "2026-03-18"),
        ("2026-03-20 06:00", "2026-03-19", "2026-03-18"),
        ("2026-03-20 12:00", "2026-03-19", "2026-03-19"),
    ],
)
def test_a_release_day_ends_at_six_and_is_due_at_noon(moment: str, complete: str, due: str) -> None:
    assert (DAYS.newest_complete(at(moment)), DAYS.due(at(moment))) == (complete, due)


NOW = at("2026-11-30 22:00")
"""Monday after Thanksgiving: the session is complete and not due, due is the half day."""


@pytest.mark.parametrize(
    ("stored", "state", "behind", "deadline", "missing"),
    [
        ([], "empty", 0, "2026-12-01 00:00", ()),
        (["2026-11-30"], "fresh", 0, "2026-12-02 00:00", ()),
        (["2026-11-27"], "awaited", 0, "2026-12-01 00:00", ()),
        (["2026-11-25"], "behind", 1, "2026-11-27 21:00", ("2026-11-27",)),
        (["2026-11-24"], "behind", 2, "2026-11-27 21:00", ("2026-11-25", "2026-11-27")),
        (["2026-11-25", "2026-11-30"], "behind", 1, "2026-11-27 21:00", ("2026-11-27",)),
        (["2026-11-24", "2026-11-27"], "awaited", 0, "2026-12-01 00:00", ()),
    ],
)
def test_what_is_stored_is_judged(
    stored: list[str], state: str, behind: int, deadline: str, missing: tuple[str, ...]
) -> None:
    found = look(sessions(), stored, NOW)
    assert (found.state, found.behind, found.deadline) == (state, behind, at(deadline))
    assert found.missing == missing
    assert found.newest == (stored[-1] if stored else None)
    assert (found.complete, found.due) == ("2026-11-30", "2026-11-27")


def test_how_far_behind_is_said_in_words() -> None:
    assert look(sessions(), ["2026-11-25"], NOW).lag == "1 session behind"
    assert look(HOURS, ["2026-01-01-00"], NOW).lag == "8,012 hours behind"
    assert look(DAYS, ["2026-11-20"], NOW).lag == "9 days behind"


def test_a_recording_is_not_behind_after_its_end() -> None:
    ended = sessions(last="2015-12-31")
    assert look(ended, ["2015-12-31"], NOW).state == "fresh"
    assert look(ended, ["2015-12-29"], NOW).missing == ("2015-12-30", "2015-12-31")


def test_nothing_is_due_before_the_first_partition() -> None:
    begins = Regular(
        grace=HOURS.grace,
        length=HOURS.length,
        ends=HOURS.ends,
        form=HOURS.form,
        first="2026-12-01-00",
    )
    assert look(begins, [], NOW).state == "empty"
    assert look(begins, ["2026-12-01-00"], at("2026-12-01 01:30")).state == "fresh"


def test_the_first_session_of_all_can_be_the_newest() -> None:
    assert look(sessions(), ["2000-01-03"], at("2000-01-05 12:00")).behind == 1


@pytest.mark.parametrize("table", [sessions(), sessions(KR), HOURS, DAYS], ids=lambda t: t.unit)
@settings(max_examples=40)
@given(
    moment=st.datetimes(datetime(2026, 1, 20), datetime(2027, 6, 1)),
    gap=st.integers(0, 40),
    holes=st.sets(st.integers(0, 8)),
)
def test_it_always_holds(table: Timetable, moment: datetime, gap: int, holes: set[int]) -> None:
    """Against a plain walk over the keys, and the order of what is complete and due."""
    now = moment.replace(tzinfo=UTC)
    complete, due = table.newest_complete(now), table.due(now)
    assert due <= complete
    assert table.complete_at(complete) <= now < table.complete_at(table.offset(complete, 1))
    assert table.deadline(due) <= now < table.deadline(table.offset(due, 1))
    keys = table.until(table.offset(complete, 1), 60)
    assert all(table.after(one, two) == [two] for one, two in pairwise(keys))
    kept = keys[: len(keys) - gap]
    stored = [key for n, key in enumerate(reversed(kept)) if n not in holes][::-1]
    found = look(table, stored, now)
    before = [key for key in stored if key <= due]
    lacking = [key for key in keys if key <= due and (not before or key > before[-1])]
    assert found.state in STATES
    assert found.behind == (len(lacking) if before else 0)
    assert (found.state == "behind") == (bool(before) and due not in stored)
    assert found.missing == (tuple(lacking[-NAMED:]) if before else ())
    assert (found.deadline <= now) == (found.state == "behind")


def look(table: Timetable, stored: Sequence[str], now: datetime):
    asked: list[str] = []

    def missing(keys: Sequence[str]) -> list[str]:
        asked.extend(keys)
        return [key for key in keys if key not in stored]

    found = find_stored(table, now, missing, lambda: sorted(stored))
    assert len(asked) <= sum(LOOKS)
    assert asked == [] or table.first <= min(asked)
    return judge(table, found, now)


def test_what_is_up_to_date_is_found_without_listing() -> None:
    def refuse() -> list[str]:
        raise AssertionError("the folder was listed")

    there = {"2026-11-27"}
    found = find_stored(sessions(), NOW, lambda keys: set(keys) - there, refuse)
    assert found == Stored("2026-11-27", "2026-11-27")


def test_a_stored_key_of_the_future_is_not_taken_for_the_newest() -> None:
    found = look(sessions(), ["2026-11-24", "2027-03-01"], NOW)
    assert (found.newest, found.state) == ("2026-11-24", "behind")
    assert look(sessions(), ["2027-03-01"], NOW).state == "empty"


def test_dates_of_the_table_above_are_what_they_are_said_to_be() -> None:
    assert not US.is_session(date(2026, 11, 26))
    assert US.hours_of(date(2026, 11, 27))[1] == at("2026-11-27 18:00")
    assert KR.hours_of(date(2026, 11, 19))[1] == at("2026-11-19 07:30")
