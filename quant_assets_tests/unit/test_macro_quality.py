"""Rules on macro values by hand: what is held, what is told, and what must not be."""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.domain.macro_quality import (
    HISTORY_DAYS,
    NEAR_ZERO,
    Finding,
    doubtful,
    unit_errors,
    weekdays_between,
)
from quant_assets.domain.macro_series import FREQUENCIES, MacroSeries, parse_series

Row = tuple[date, float | None, date]


def table(rows: Sequence[Row], series_id: str = "X") -> pd.DataFrame:
    """Rows of observation date, value, release day."""
    frame = pd.DataFrame(rows, columns=["observation_date", "value", "realtime_start"])
    for name in ("observation_date", "realtime_start"):
        frame[name] = pd.to_datetime(frame[name]).astype("datetime64[us]")
    frame = frame.assign(release_date=frame["realtime_start"], series_id=series_id)
    return frame.astype({"series_id": "str", "value": "float64"})


def months(first: date, count: int) -> list[date]:
    number = first.year * 12 + first.month - 1
    return [date(n // 12, n % 12 + 1, 1) for n in range(number, number + count)]


def monthly(values: Sequence[float | None], first: date = date(2023, 1, 1)) -> list[Row]:
    """A value a month, published 35 days after its month began."""
    days = months(first, len(values))
    return [(day, v, day + timedelta(days=35)) for day, v in zip(days, values, strict=True)]


def verdict(before: Sequence[float | None], value: float) -> bool:
    """Whether ``value`` after the monthly values ``before`` is in another unit."""
    rows = monthly([*before, value])
    return bool(unit_errors(table(rows[-1:]), table(rows))[0])


RATES = [4.1, 4.0, 3.9, 3.9, 4.2]


@pytest.mark.parametrize(
    ("before", "value", "is_error"),
    [
        (RATES, 410.0, True),
        (RATES, 0.041, True),
        (RATES, 4_100.0, True),
        (RATES, 41.0, False),
        (RATES, 9.9, False),
        (RATES, -410.0, False),
        (RATES, 0.0, False),
        (RATES, float("nan"), False),
        ([-v for v in RATES], -410.0, True),
        ([-v for v in RATES], -0.041, True),
        ([-v for v in RATES], 410.0, False),
        # Near zero and across it nothing can be said.
        ([0.08, 0.07, 0.06, 0.09], 5.0, False),
        ([0.3, 0.1, -0.1, 0.2], 20.0, False),
        ([0.5, 0.0, 0.5, 0.5], 50.0, False),
        # Treasury bills in 2008 (TB3MS), federal funds in 2020: real ways to zero.
        ([2.75, 2.12, 1.26, 1.29, 1.73, 1.86, 1.63, 1.72, 1.13, 0.67, 0.19], 0.03, False),
        ([2.42, 2.39, 2.4, 2.13, 2.04, 1.83, 1.55, 1.55, 1.55, 1.58, 0.65], 0.05, False),
        # Initial claims in March 2020.
        ([211_000.0, 217_000.0, 211_000.0, 282_000.0], 3_307_000.0, False),
        ([211_000.0, 217_000.0, 211_000.0, 282_000.0], 211.0, True),
        ([4.0, 4.1], 400.0, False),
    ],
)
def test_a_value_in_another_unit(before: list[float | None], value: float, is_error: bool) -> None:
    assert verdict(before, value) is is_error


def test_an_error_that_stays_is_no_measure_for_the_next_values() -> None:
    """The vendor leaves a wrong value in its history: the right one passes, a wrong one not."""
    assert not verdict([*RATES, 410.0], 4.1)
    assert verdict([*RATES, 410.0, 420.0], 430.0)
    assert not verdict([*RATES, 410.0, 420.0], 4.1)


def test_the_reason_names_the_values() -> None:
    rows = monthly([*RATES, 410.0])
    reason = unit_errors(table(rows[-1:]), table(rows))[0]
    assert reason == "410 is 102.5 times the usual size 4 of the 5 values before"


def test_a_revision_is_measured_by_what_was_known_on_its_day() -> None:
    """January is revised to a hundred times its value and back."""
    rows = monthly([4.0, 4.1, 4.0, 4.2, 4.1])
    wrong, right = (rows[4][0], 410.0, date(2023, 7, 20)), (rows[4][0], 4.1, date(2023, 7, 25))
    assert unit_errors(table([wrong, right]), table([*rows, wrong, right]))[0]
    assert unit_errors(table([wrong, right]), table([*rows, wrong, right]))[1] == ""


def test_a_series_that_changes_its_unit_with_its_history_is_a_new_measure() -> None:
    """From thousands to persons: every observation is revised on one day, then new ones come."""
    old = monthly([150_000.0 + n for n in range(14)])
    day = date(2024, 4, 20)
    rebased = [(when, value * 1_000, day) for when, value, _ in old if value is not None]
    after = (date(2024, 3, 1), 150_015_000.0, date(2024, 5, 5))
    history = table([*old, *rebased, after])
    assert sum(map(bool, unit_errors(table(rebased), history))) == 0, "its neighbours agree"
    assert unit_errors(table([after]), history) == [""]


def test_what_comes_later_changes_no_verdict() -> None:
    rows = monthly([*RATES, 410.0, 4.0, 4.1])
    alone = unit_errors(table(rows[5:6]), table(rows[:6]))
    together = unit_errors(table(rows), table(rows))
    assert alone[0]
    assert together == [""] * 5 + alone + [""] * 2


@given(
    values=st.lists(st.floats(0.3, 3.0), min_size=4, max_size=30),
    scale=st.sampled_from([1.0, 1_000.0, 1e6]),
)
def test_ordinary_values_are_never_held(values: list[float], scale: float) -> None:
    rows = monthly([value * scale for value in values])
    assert not any(unit_errors(table(rows), table(rows)))


@given(
    values=st.lists(st.floats(1.0, 3.0), min_size=4, max_size=30),
    factor=st.sampled_from([100.0, 1_000.0, 0.01, 0.001]),
    sign=st.sampled_from([1.0, -1.0]),
)
def test_a_wrong_unit_is_always_held(values: list[float], factor: float, sign: float) -> None:
    assert min(values) > NEAR_ZERO
    rows = monthly([sign * value for value in [*values, 2.0 * factor]])
    found = unit_errors(table(rows), table(rows))
    assert found[-1]
    assert not any(found[:-1])


def test_recorded_values_of_49_series(recorded_data: Path) -> None:
    """146,755 values from 1980 to 2025: only an overnight facility that is switched on and off."""
    macro = pd.read_parquet(recorded_data / "recorded" / "macro.parquet")
    macro["observation_date"] = pd.to_datetime(macro["observation_date"]).astype("datetime64[us]")
    macro = macro.assign(realtime_start=macro["observation_date"] + pd.Timedelta(days=1))
    found = np.array(unit_errors(macro, macro)) != ""
    assert len(macro) == 146_755
    assert set(macro.loc[found, "series_id"]) == {"RRPONTSYD"}
    assert found.sum() == 11


def series(frequency: str = "monthly", name: str = "X") -> MacroSeries:
    return MacroSeries(name, name, "percent", frequency, None)


def found(
    rows: Sequence[Row], last: date, frequency: str = "monthly", first: date = date(2023, 1, 1)
) -> list[Finding]:
    return doubtful(table(rows), [series(frequency)], first, last)


def daily(first: date, last: date, without: Sequence[date] = ()) -> list[Row]:
    """A value a weekday, published the next weekday."""
    days = [day.date() for day in pd.bdate_range(first, last) if day.date() not in without]
    return [(day, 4.0, (day + pd.offsets.BDay(1)).date()) for day in days]


def test_weekdays_between() -> None:
    assert weekdays_between(date(2024, 6, 7), date(2024, 6, 7)) == 0
    assert weekdays_between(date(2024, 6, 7), date(2024, 6, 10)) == 1
    assert weekdays_between(date(2024, 6, 7), date(2024, 6, 21)) == 10


def test_an_overdue_series_is_named_with_its_days_and_the_limit() -> None:
    rows = monthly([4.0, 4.1])
    assert found(rows, date(2023, 5, 10)) == []
    (finding,) = found(rows, date(2023, 5, 12))
    assert (finding.rule, finding.series_id) == ("overdue", "X")
    assert finding.detail == (
        "last release 2023-03-08, 47 weekdays before; a monthly series may be silent for 45"
    )


def test_christmas_and_ordinary_shutdowns_raise_no_alarm() -> None:
    """Real dates: H.15 over Christmas 2023; the Employment Situation of October 2013 and CPI of
    2018/19 late by a shutdown; the one of autumn 2025 was longer than the limit."""
    rows = daily(date(2023, 11, 1), date(2023, 12, 21))
    assert found(rows, date(2024, 1, 2), "daily") == []
    jobs = [(date(2013, 8, 1), 7.3, date(2013, 9, 6))]
    assert found(jobs, date(2013, 10, 21), first=date(2013, 1, 1)) == []
    jobs = [(date(2025, 8, 1), 4.3, date(2025, 9, 5))]
    assert found(jobs, date(2025, 11, 7), first=date(2025, 1, 1)) == []
    assert [f.rule for f in found(jobs, date(2025, 11, 19), first=date(2025, 1, 1))] == ["overdue"]


@pytest.mark.parametrize("frequency", list(FREQUENCIES))
def test_every_frequency_has_its_own_limit(frequency: str) -> None:
    limit = FREQUENCIES[frequency].overdue_weekdays
    released = date(2023, 3, 6)
    rows: list[Row] = [(date(2023, 2, 1), 1.0, released)]
    in_time = (pd.Timestamp(released) + pd.offsets.BDay(limit)).date()
    assert found(rows, in_time, frequency) == []
    late = (pd.Timestamp(released) + pd.offsets.BDay(limit + 1)).date()
    assert [f.rule for f in found(rows, late, frequency)] == ["overdue"]


def test_a_series_never_released_is_told_once_the_history_is_long_enough() -> None:
    empty = table([])
    assert doubtful(empty, [series()], date(2023, 1, 2), date(2023, 2, 1)) == []
    (finding,) = doubtful(empty, [series()], date(2023, 1, 2), date(2023, 4, 3))
    assert "no release since 2023-01-02" in finding.detail


def test_a_left_out_month_is_a_hole() -> None:
    """UNRATE and CPI have no October 2025."""
    rows = monthly([4.3, 4.3, 4.4, 4.4], date(2025, 8, 1))
    del rows[2]
    (finding,) = found(rows, date(2026, 1, 5), first=date(2025, 7, 1))
    assert finding.rule == "hole"
    assert finding.detail == "no observation between 2025-09-01 and 2025-11-01"


def test_old_observations_that_are_revised_are_no_hole() -> None:
    """In a short history only some old months appear, because only some are revised."""
    rows = [
        *monthly([1.0, 1.0], date(2023, 3, 1)),
        (date(2020, 1, 1), 2.0, date(2023, 4, 20)),
        (date(2020, 6, 1), 2.0, date(2023, 4, 20)),
    ]
    assert found(rows, date(2023, 5, 10), first=date(2023, 2, 20)) == []


@pytest.mark.parametrize(
    ("frequency", "step_days", "is_hole"),
    [
        ("daily", 4, False),
        ("daily", 9, True),
        ("weekly", 7, False),
        ("weekly", 14, True),
        ("quarterly", 92, False),
        ("quarterly", 184, True),
        ("annual", 366, False),
    ],
)
def test_holes_by_frequency(frequency: str, step_days: int, is_hole: bool) -> None:
    first = date(2024, 1, 1)
    second = first + timedelta(days=step_days)
    rows: list[Row] = [(first, 1.0, second), (second, 1.0, second)]
    findings = found(rows, second, frequency, first)
    assert [f.rule for f in findings] == (["hole"] if is_hole else [])


def test_missing_values_in_a_row() -> None:
    rows = daily(date(2023, 5, 1), date(2023, 6, 30))
    four = [(d, None if 10 <= n < 14 else v, r) for n, (d, v, r) in enumerate(rows)]
    five = [(d, None if 10 <= n < 15 else v, r) for n, (d, v, r) in enumerate(rows)]
    assert found(four, date(2023, 7, 3), "daily") == []
    (finding,) = found(five, date(2023, 7, 3), "daily")
    assert finding.detail == "5 published as missing: 2023-05-15 .. 2023-05-19"
    (finding,) = found(monthly([1.0, None, 1.0]), date(2023, 4, 10))
    assert finding.detail == "1 published as missing: 2023-02-01"


def test_a_missing_value_published_later_is_no_finding() -> None:
    rows = [*monthly([1.0, None, 1.0]), (date(2023, 2, 1), 1.1, date(2023, 4, 7))]
    assert found(rows, date(2023, 4, 10)) == []


def test_nothing_is_known_of_later_days() -> None:
    rows = monthly([1.0, 1.0, None, 1.0])
    assert found(rows, date(2023, 4, 4)) == []


def test_the_history_is_long_enough_for_every_frequency() -> None:
    longest = max(rhythm.overdue_weekdays for rhythm in FREQUENCIES.values())
    assert longest * 7 / 5 < HISTORY_DAYS


HEADER = ("series_id", "name", "units", "frequency", "publication_lag_days")


def parsed(*cells: str) -> tuple[MacroSeries, ...]:
    return parse_series([dict(zip(HEADER, cells, strict=True))])


def test_a_series_is_read_with_its_rhythm() -> None:
    (item,) = parsed(" DGS10 ", "Ten years", "percent", "Daily", "")
    assert item == MacroSeries("DGS10", "Ten years", "percent", "daily", None)
    assert item.rhythm is FREQUENCIES["daily"]
    assert parsed("KR", "n", "u", "annual", "40")[0].publication_lag_days == 40


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (("DGS10", "n", "percent", "dayly", ""), "'dayly', which is none of daily, weekly"),
        (("DGS10", "n", "", "daily", ""), "DGS10 has no units"),
        (("DGS10", "", "percent", "daily", ""), "DGS10 has no name"),
        (("", "n", "percent", "daily", ""), "row 1: series_id ''"),
        (("DGS 10", "n", "percent", "daily", ""), "no FRED id"),
        (("DGS10", "n", "percent", "daily", "2.5"), "publication_lag_days '2.5'"),
        (("DGS10", "n", "percent", "daily", "-1"), "negative publication lag"),
        (("DGS10", "n", "percent", "daily", "40000"), "at most 1000"),
    ],
)
def test_a_wrong_series_is_named(cells: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parsed(*cells)
    assert said in str(caught.value)


def test_a_series_named_twice_is_refused() -> None:
    row = dict(zip(HEADER, ("A", "n", "u", "daily", ""), strict=True))
    with pytest.raises(ValueError, match="A named twice"):
        parse_series([row, row])
