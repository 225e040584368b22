"""Rolling figures and calendar returns against empyrical and pandas, and without the future."""

import math

import empyrical
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.domain.performance_curves import BLOCK_CURVES, Conventions
from quant_assets.domain.performance_periods import (
    month_table,
    monthly_returns,
    rolling_beta,
    rolling_sharpe,
    rolling_volatility,
    yearly_returns,
)
from quant_assets.errors import BadConfigurationError, BadDataError
from quant_assets_tests.unit.return_tables import (
    begun_later,
    random_benchmark,
    random_returns,
    returns_table,
    sessions_of,
)

BENCHMARK = random_benchmark(0, sessions=120)
ROLLING = {
    "volatility": lambda table, window: rolling_volatility(table, window),
    "sharpe": lambda table, window: rolling_sharpe(table, window, Conventions(risk_free_rate=0.02)),
    "beta": lambda table, window: rolling_beta(table, BENCHMARK, window),
}


@pytest.mark.parametrize("window", [2, 21, 63, 120])
def test_rolling_figures_equal_empyrical(window) -> None:
    """Theirs leaves the sessions before the first whole window out; its rates are of a session."""
    table = random_returns(4, sessions=120).add(0.4 * BENCHMARK, axis=0)
    free = Conventions(risk_free_rate=0.02).risk_free_session
    found = {name: compute(table, window) for name, compute in ROLLING.items()}
    for name, curve in table.items():
        theirs = {
            "volatility": empyrical.roll_annual_volatility(curve, window),
            "sharpe": empyrical.roll_sharpe_ratio(curve, window, risk_free=free),
            "beta": empyrical.roll_beta(curve, BENCHMARK, window),
        }
        for figure, values in theirs.items():
            ours = found[figure][name]
            assert ours.iloc[: window - 1].isna().all()
            np.testing.assert_allclose(ours.iloc[window - 1 :], values, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("figure", ROLLING)
def test_more_curves_than_are_computed_at_once_equal_one_by_one(figure) -> None:
    table = random_returns(6, curves=2 * BLOCK_CURVES + 5, sessions=120)
    at_once = ROLLING[figure](table, 30)
    for name in table:
        alone = ROLLING[figure](table[[name]], 30)
        pd.testing.assert_frame_equal(at_once[[name]], alone, check_exact=True)


@pytest.mark.parametrize("figure", ROLLING)
@given(
    seed=st.integers(0, 10**6),
    window=st.integers(2, 70),
    kept=st.integers(0, 120),
    starts=st.lists(st.integers(0, 120), min_size=3, max_size=3),
)
def test_removing_the_future_or_the_past_changes_no_window(
    figure, seed, window, kept, starts
) -> None:
    table = begun_later(random_returns(seed, curves=3, sessions=120), starts)
    table.iloc[:40] *= 1e6 if seed % 2 else 1.0
    table = table.clip(lower=-1.0)
    whole = ROLLING[figure](table, window)
    before, later = (ROLLING[figure](part, window) for part in (table[:kept], table[kept:]))
    pd.testing.assert_frame_equal(before, whole[:kept], check_exact=True, check_freq=False)
    shared = whole[kept:][window - 1 :]
    pd.testing.assert_frame_equal(later[window - 1 :], shared, check_exact=True, check_freq=False)


@pytest.mark.parametrize("window", [5, 7, 63])
def test_a_calm_window_after_a_storm_has_no_volatility_and_no_ratio(window) -> None:
    table = returns_table([0.5, -0.9, 3.0] * 5 + [0.001] * 90)
    assert rolling_volatility(table, window)["A"].iloc[-1] == 0.0
    assert math.isnan(rolling_sharpe(table, window)["A"].iloc[-1])
    beta = rolling_beta(random_returns(1, sessions=105), table["A"], window)
    assert beta.iloc[-1].isna().all()


def test_windows_beyond_floating_point_are_missing() -> None:
    table = returns_table([1e300, 0.1, 0.1, 0.2, 0.1])
    for found in (rolling_volatility(table, 3), rolling_sharpe(table, 3)):
        assert found["A"].notna().tolist() == [False, False, False, True, True]


def test_a_window_longer_than_the_curve_is_missing() -> None:
    table = random_returns(1, sessions=5)
    for found in (
        rolling_volatility(table, 6),
        rolling_sharpe(table, 6),
        rolling_beta(table, BENCHMARK, 6),
        rolling_volatility(table.iloc[:0], 2),
    ):
        assert found.columns.tolist() == table.columns.tolist()
        assert found.isna().all(axis=None)


def test_rolling_beta_is_over_the_common_sessions() -> None:
    table = random_returns(3, sessions=120)
    gone = BENCHMARK.index[[3, 50]]
    found = rolling_beta(table, BENCHMARK.drop(gone), 20)
    joined = rolling_beta(table.drop(gone), BENCHMARK.drop(gone), 20)
    pd.testing.assert_frame_equal(found, joined, check_exact=True)
    assert len(found) == 118


def test_a_window_of_one_session_is_refused() -> None:
    table = random_returns(1, sessions=5)
    for call in (
        lambda: rolling_volatility(table, 1),
        lambda: rolling_sharpe(table, 0),
        lambda: rolling_beta(table, BENCHMARK, 1),
    ):
        with pytest.raises(BadConfigurationError, match=r"window of \d sessions"):
            call()


def test_calendar_returns_equal_empyrical() -> None:
    table = random_returns(8, curves=2, sessions=600)
    months, years = monthly_returns(table), yearly_returns(table)
    assert [str(month) for month in months.index[:2]] == ["2015-01", "2015-02"]
    assert [str(year) for year in years.index] == ["2015", "2016", "2017"]
    for name, curve in table.items():
        for ours, how in ((months, "monthly"), (years, "yearly")):
            theirs = empyrical.aggregate_returns(curve, how)
            np.testing.assert_allclose(ours[name], theirs, rtol=1e-11)


def test_a_curve_that_begins_within_a_month_has_its_part_of_it() -> None:
    table = begun_later(random_returns(8, curves=2, sessions=60), [30, 60])
    found = monthly_returns(table)
    begun = table["curve_0"].iloc[30:]
    month = begun[begun.index.month == begun.index[0].month]
    assert found["curve_0"].notna().tolist() == [False, True, True]
    assert found["curve_0"].iloc[1] == pytest.approx((1 + month).prod() - 1)
    assert found["curve_1"].isna().all()


def test_months_without_a_session_are_no_rows() -> None:
    table = returns_table([0.1, 0.2, 0.3])
    table.index = pd.DatetimeIndex(["2019-12-31", "2020-03-02", "2020-03-31"])
    found = monthly_returns(table)
    assert [str(month) for month in found.index] == ["2019-12", "2020-03"]
    assert found["A"].tolist() == pytest.approx([0.1, 0.56])
    assert monthly_returns(table.iloc[:0]).shape == (0, 1)


def test_the_table_of_months() -> None:
    table = returns_table([0.1, 0.2, 0.3, -0.5])
    table.index = pd.DatetimeIndex(["2019-12-31", "2020-03-02", "2020-03-31", "2020-12-01"])
    found = month_table(table["A"])
    assert found.index.tolist() == [2019, 2020]
    assert found.columns.tolist() == [*range(1, 13), "year"]
    assert found.loc[2020].dropna().to_dict() == pytest.approx({3: 0.56, 12: -0.5, "year": -0.22})
    assert found.loc[2019].dropna().to_dict() == pytest.approx({12: 0.1, "year": 0.1})
    assert month_table(table["A"].iloc[:0]).shape == (0, 13)


def test_missing_returns_are_named() -> None:
    table = random_returns(1, sessions=9)
    table.iloc[4, 2] = np.nan
    assert sessions_of(9)[4] == table.index[4]
    for compute in (monthly_returns, yearly_returns, lambda frame: rolling_sharpe(frame, 3)):
        with pytest.raises(BadDataError, match="return of curve_2 in 2015-01-08 is missing"):
            compute(table)
