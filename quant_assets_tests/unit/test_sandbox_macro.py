"""Simulated statistics: releases, revisions, missing values and their tie to the cycle."""

import numpy as np
import pytest

from quant_assets.sandbox.cycle import GRID_START, business_cycle
from quant_assets.sandbox.macro import STATISTICS, SimulatedMacro, VintageSeries
from quant_assets.sandbox.releases import (
    business_day,
    first_friday_of_next_month,
    next_business_day,
    thursday_after,
)

REVISED = ("ICSA", "CPIAUCSL", "PAYEMS", "INDPRO", "GDP", "GDPC1")


@pytest.fixture(scope="module")
def macro() -> SimulatedMacro:
    return SimulatedMacro(7)


def rows(series: VintageSeries, day: str) -> list[tuple[str, str]]:
    chosen = series.dates == np.datetime64(day)
    return [
        (str(start), series.values[place])
        for place, start in zip(np.flatnonzero(chosen), series.realtime_start[chosen], strict=True)
    ]


def known(macro: SimulatedMacro, series_id: str) -> VintageSeries:
    series = macro.series(series_id)
    assert series is not None
    return series


@pytest.mark.parametrize("series_id", list(STATISTICS))
def test_every_series_is_published_after_its_date(macro: SimulatedMacro, series_id: str) -> None:
    series = known(macro, series_id)
    assert (series.realtime_start > series.dates).all()
    same = series.dates[1:] == series.dates[:-1]
    assert (series.realtime_start[1:][same] > series.realtime_start[:-1][same]).all()
    assert (series.dates[1:] >= series.dates[:-1]).all()
    assert np.is_busday(series.realtime_start).all()
    assert series.values == known(SimulatedMacro(7), series_id).values
    assert series.values != known(SimulatedMacro(8), series_id).values


@pytest.mark.parametrize("series_id", list(STATISTICS))
def test_only_the_revised_series_have_revisions(macro: SimulatedMacro, series_id: str) -> None:
    series = known(macro, series_id)
    is_revised = len(np.unique(series.dates)) < len(series.dates)
    assert is_revised == (series_id in REVISED)


def test_gross_domestic_product_has_three_estimates_and_a_yearly_revision(
    macro: SimulatedMacro,
) -> None:
    found = rows(known(macro, "GDPC1"), "2024-01-01")
    assert [day[:7] for day, _ in found] == ["2024-04", "2024-05", "2024-06", "2024-09"]
    values = [float(value) for _, value in found]
    assert len(set(values)) == 4
    assert max(values) / min(values) < 1.05


def test_payrolls_are_revised_twice_and_benchmarked(macro: SimulatedMacro) -> None:
    found = rows(known(macro, "PAYEMS"), "2024-06-01")
    assert [day for day, _ in found] == ["2024-07-05", "2024-08-02", "2024-09-06", "2025-02-03"]


def test_daily_series_have_dots_on_federal_holidays(macro: SimulatedMacro) -> None:
    series = known(macro, "DGS10")
    assert rows(series, "2024-07-04") == [("2024-07-05", ".")]
    assert rows(series, "2024-07-03")[0][1] != "."
    assert rows(series, "2024-07-06") == []


def test_the_spread_is_the_difference_of_its_yields(macro: SimulatedMacro) -> None:
    ten, two, spread = (known(macro, name) for name in ("DGS10", "DGS2", "T10Y2Y"))
    for place in range(5000, 5050):
        if ten.values[place] != ".":
            difference = float(ten.values[place]) - float(two.values[place])
            assert float(spread.values[place]) == pytest.approx(difference, abs=0.005)


def test_statistics_follow_the_cycle(macro: SimulatedMacro) -> None:
    regime = business_cycle(7).regime
    series = known(macro, "VIXCLS")
    days = (series.dates - np.datetime64(GRID_START)).astype(int)
    values = np.array([np.nan if v == "." else float(v) for v in series.values])
    calm, crisis = (np.nanmean(values[regime[days] == state]) for state in (0, 2))
    assert crisis > 1.7 * calm
    spread = known(macro, "T10Y2Y")
    levels = np.array([np.nan if v == "." else float(v) for v in spread.values])
    onset = np.flatnonzero((regime[1:] > 0) & (regime[:-1] == 0)) + 1
    at_onset = np.nanmean([levels[np.searchsorted(days, day)] for day in onset])
    assert at_onset < np.nanmean(levels) - 0.3


def test_release_calendars() -> None:
    def day(text: str) -> np.ndarray:
        return np.array([text], dtype="datetime64[D]")

    # Dates of the real calendar: Employment Situation 2024-07-05, claims before Thanksgiving 2024.
    assert first_friday_of_next_month(day("2024-06-01"))[0] == np.datetime64("2024-07-05")
    assert thursday_after(day("2024-11-23"))[0] == np.datetime64("2024-11-27")
    assert next_business_day(day("2024-07-03"))[0] == np.datetime64("2024-07-05")
    assert business_day(day("2023-01-01"))[0] == np.datetime64("2023-01-03")
