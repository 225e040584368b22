"""Figures of equity curves against outside references, empyrical, and where they are undefined.

References: the monthly returns of a portfolio and a benchmark of Bacon, "Practical Portfolio
Performance Measurement and Attribution" (2008), and the figures that PerformanceAnalytics' tests
hold against his printed ones; the example of Bailey and Lopez de Prado (2012).
"""

import math

import empyrical
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from quant_assets.domain.performance import (
    RETURN_FIGURES,
    performance_figures,
    probabilistic_sharpe_ratio,
    return_figures,
    tail_figures,
)
from quant_assets.domain.performance_benchmark import BENCHMARK_FIGURES, benchmark_figures
from quant_assets.domain.performance_curves import BLOCK_CURVES, Conventions
from quant_assets.errors import BadConfigurationError, BadDataError
from quant_assets_tests.unit.return_tables import (
    begun_later,
    random_benchmark,
    random_returns,
    returns_table,
    sessions_of,
)

MONTHLY = Conventions(sessions_per_year=12)
HALF_PERCENT = Conventions(sessions_per_year=12, required_return=1.005**12 - 1)
WHOLE_HUNDREDS = 700
"""Sessions of which 5 % and 1 % are whole numbers: then both expected shortfalls are one."""


@pytest.fixture(scope="module")
def bacon(recorded_data) -> pd.DataFrame:
    path = recorded_data / "reference" / "metrics" / "portfolio_bacon.csv"
    table = pd.read_csv(path, index_col=0, parse_dates=True)
    return table.set_axis(["portfolio", "index"], axis=1)


@pytest.fixture(scope="module")
def expected(recorded_data) -> pd.Series:
    table = pd.read_csv(recorded_data / "reference" / "metrics" / "bacon_expected.csv")
    table = table[table["arguments"].str.startswith("portfolio_bacon")]
    return table.drop_duplicates("function").set_index("function")["expected"]


def printed(value, digits):
    """Equal to a figure printed with so many digits after the point."""
    return pytest.approx(value, abs=0.5 * 10**-digits * 1.0001)


def test_figures_of_bacon(bacon, expected) -> None:
    at_zero, at_half = (
        performance_figures(bacon, bacon["index"], conventions).loc["portfolio"]
        for conventions in (MONTHLY, HALF_PERCENT)
    )
    downside = at_half["downside_deviation"] / math.sqrt(12)
    kappa = at_half["sortino_ratio"] / math.sqrt(12)
    assert downside == printed(expected["DownsideDeviation"], 4)
    assert kappa == printed(expected["Kappa"], 3)
    assert at_zero["omega_ratio"] == printed(expected["BernardoLedoitRatio"], 2)


def test_figures_that_bacon_makes_from_ours(bacon, expected) -> None:
    """His formulas over our parts; he annualises by the 12th root, our cagr by calendar days."""
    both = performance_figures(bacon, bacon["index"], HALF_PERCENT)
    ours, index = both.loc["portfolio"], both.loc["index"]
    growth, index_growth = (1 + both["total_return"]) ** (12 / both["sessions"]) - 1
    sharpe = growth / ours["annual_volatility"]
    moments = ours["skewness"] / 6 * sharpe - ours["excess_kurtosis"] / 24 * sharpe**2
    assert sharpe * (1 + moments) == printed(expected["AdjustedSharpeRatio"], 7)
    wider = index["annual_volatility"] - ours["annual_volatility"]
    assert growth + sharpe * wider == printed(expected["MSquared"], 5)
    volatilities = ours["annual_volatility"] / index["annual_volatility"]
    assert volatilities == printed(expected["FamaBeta"], 2)
    assert growth - ours["beta"] * index_growth == printed(expected["SFM.jensenAlpha"], 3)
    deeper = index["downside_deviation"] - ours["downside_deviation"]
    sortino = ours["sortino_ratio"] / math.sqrt(12)
    assert growth + sortino * deeper == printed(expected["M2Sortino"], 4)


def test_probability_of_bailey_and_lopez_de_prado() -> None:
    """Their fund: 24 months, Sharpe ratio 1.585 a year, skewness -2.448, kurtosis 10.164."""
    sharpe = np.array([1.585, 1.585]) / math.sqrt(12)
    found = probabilistic_sharpe_ratio(sharpe, 24, np.array([-2.448, 0.0]), np.array([10.164, 3.0]))
    assert found[0] == printed(0.913, 3)
    assert found[1] == printed(0.982, 3)


def test_probability_is_that_of_the_curve_against_the_benchmark_sharpe() -> None:
    returns = random_returns(3, curves=1)
    values = returns["curve_0"].to_numpy()
    sharpe = values.mean() / values.std(ddof=1)
    kurtosis = stats.kurtosis(values, fisher=False)
    error = 1 - stats.skew(values) * sharpe + (kurtosis - 1) / 4 * sharpe**2
    score = (sharpe - 0.5 / math.sqrt(252)) * math.sqrt((len(values) - 1) / error)
    found = return_figures(returns, Conventions(benchmark_sharpe=0.5))
    probability = found.loc["curve_0", "probabilistic_sharpe_ratio"]
    assert probability == pytest.approx(stats.norm.cdf(score), rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_returns_equal_empyrical(seed) -> None:
    """Differences of convention: empyrical's rates are those of a session (ours of a year)."""
    returns = random_returns(seed, sessions=WHOLE_HUNDREDS)
    conventions = Conventions(risk_free_rate=0.03, required_return=0.05)
    free, required = conventions.risk_free_session, conventions.required_session
    figures = performance_figures(returns, conventions=conventions)
    for name, curve in returns.items():
        ours = figures.loc[name]
        theirs = {
            "total_return": empyrical.cum_returns_final(curve),
            "annual_volatility": empyrical.annual_volatility(curve),
            "downside_deviation": empyrical.downside_risk(curve, required),
            "sharpe_ratio": empyrical.sharpe_ratio(curve, free),
            "sortino_ratio": empyrical.sortino_ratio(curve, required),
            "omega_ratio": empyrical.omega_ratio(curve, required_return=0.05),
            "skewness": stats.skew(curve),
            "excess_kurtosis": stats.kurtosis(curve),
            "max_drawdown": empyrical.max_drawdown(curve),
            "tail_ratio": empyrical.tail_ratio(curve),
            # Our losses are positive.
            "value_at_risk_95": -empyrical.value_at_risk(curve, 0.05),
            "value_at_risk_99": -empyrical.value_at_risk(curve, 0.01),
            # Theirs is the mean of floor(0.05 * (n - 1)) + 1 returns, ours of 0.05 * n.
            "expected_shortfall_95": -empyrical.conditional_value_at_risk(curve, 0.05),
            "expected_shortfall_99": -empyrical.conditional_value_at_risk(curve, 0.01),
        }
        for figure, value in theirs.items():
            assert ours[figure] == pytest.approx(value, rel=1e-9), figure
        # Theirs are years of 252 sessions, ours of 365.25 days.
        years = ((curve.index[-1] - curve.index[0]).days + 1) / 365.25
        annual = (1 + empyrical.annual_return(curve)) ** (len(curve) / 252 / years) - 1
        assert ours["cagr"] == pytest.approx(annual, rel=1e-9)
        calmar = empyrical.calmar_ratio(curve) * annual / empyrical.annual_return(curve)
        assert ours["calmar_ratio"] == pytest.approx(calmar, rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_benchmark_figures_equal_empyrical(seed) -> None:
    returns, benchmark = random_returns(seed), random_benchmark(seed)
    returns = returns.add(0.6 * benchmark, axis=0)
    conventions = Conventions(risk_free_rate=0.03)
    free = conventions.risk_free_session
    figures = benchmark_figures(returns, benchmark, conventions)
    for name, curve in returns.items():
        ours = figures.loc[name]
        # Theirs compounds the mean of a session, ours takes it 252 times.
        alpha = 252 * ((1 + empyrical.alpha(curve, benchmark, free)) ** (1 / 252) - 1)
        # Theirs is of a session.
        information = math.sqrt(252) * empyrical.excess_sharpe(curve, benchmark)
        # A "year" of one session: theirs annualises both means before it divides them.
        up = empyrical.up_capture(curve, benchmark, period="yearly")
        down = empyrical.down_capture(curve, benchmark, period="yearly")
        theirs = {
            "alpha": alpha,
            "beta": empyrical.beta(curve, benchmark, free),
            "tracking_error": empyrical.annual_volatility(curve - benchmark),
            "information_ratio": information,
            "up_capture": up,
            "down_capture": down,
        }
        for figure, value in theirs.items():
            assert ours[figure] == pytest.approx(value, rel=1e-8), figure


def test_a_return_of_zero_is_no_gain_and_no_session_of_the_benchmark() -> None:
    returns = returns_table([0.0, 0.02, -0.01, 0.04], [0.02, 0.01, -0.02, 0.0])
    found = performance_figures(returns, returns["B"]).loc["A"]
    assert found["positive_share"] == 0.5
    assert found["up_capture"] == pytest.approx((1.02**0.5 - 1) / ((1.02 * 1.01) ** 0.5 - 1))
    assert found["down_capture"] == pytest.approx(0.5)


def test_the_expected_shortfall_counts_a_session_in_part() -> None:
    returns = returns_table([-0.06, -0.04, -0.02, *np.linspace(0.01, 0.02, 27)])
    # 5 % of 30 sessions are one and a half.
    found = tail_figures(returns).loc["A"]
    assert found["expected_shortfall_95"] == pytest.approx((0.06 + 0.5 * 0.04) / 1.5)
    assert found["expected_shortfall_99"] == pytest.approx(0.06)


def test_cagr_counts_calendar_days_from_the_eve() -> None:
    returns = returns_table([0.0, 0.21])
    returns.index = pd.DatetimeIndex(["2020-01-02", "2022-01-01"])
    found = return_figures(returns).loc["A", "cagr"]
    assert found == pytest.approx(1.21 ** (365.25 / 731) - 1)


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), starts=st.lists(st.integers(0, 90), min_size=4, max_size=4))
def test_many_curves_at_once_equal_one_by_one(seed, starts) -> None:
    benchmark = random_benchmark(seed, sessions=90)
    returns = begun_later(random_returns(seed, sessions=90), starts)
    at_once = performance_figures(returns, benchmark)
    alone = [performance_figures(returns[[name]].dropna(), benchmark) for name in returns]
    expected = pd.concat(alone)
    pd.testing.assert_frame_equal(at_once, expected, rtol=1e-11, atol=1e-13, check_dtype=False)


def test_more_curves_than_are_computed_at_once_equal_one_by_one() -> None:
    count = 2 * BLOCK_CURVES + 5
    returns = random_returns(6, curves=count, sessions=60)
    returns = begun_later(returns, np.resize([0, 7, 0, 0, 30], count))
    at_once = return_figures(returns)
    expected = pd.concat([return_figures(returns[[name]].dropna()) for name in returns])
    pd.testing.assert_frame_equal(at_once, expected, rtol=1e-12)


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), factor=st.floats(0.01, 5.0))
def test_scaling_returns_scales_risk_and_leaves_ratios(seed, factor) -> None:
    returns, benchmark = random_returns(seed, sessions=80) / 10, random_benchmark(seed, sessions=80)
    before = performance_figures(returns, benchmark / 10)
    after = performance_figures(returns * factor, benchmark / 10)
    scaled = [
        "annual_volatility",
        "downside_deviation",
        "best_session",
        "worst_session",
        "value_at_risk_95",
        "value_at_risk_99",
        "expected_shortfall_95",
        "expected_shortfall_99",
        "alpha",
        "beta",
    ]
    kept = [
        "sharpe_ratio",
        "probabilistic_sharpe_ratio",
        "sortino_ratio",
        "omega_ratio",
        "skewness",
        "excess_kurtosis",
        "positive_share",
        "tail_ratio",
    ]
    for name in scaled:
        np.testing.assert_allclose(after[name], factor * before[name], rtol=1e-9, atol=1e-12)
    for name in kept:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-8, atol=1e-11)


def test_nothing_and_one_session() -> None:
    nothing = performance_figures(pd.DataFrame(columns=["A"], dtype=float), pd.Series(dtype=float))
    assert nothing.index.tolist() == ["A"]
    assert nothing.isna().all(axis=None)
    assert performance_figures(pd.DataFrame(index=sessions_of(3))).empty
    one = performance_figures(returns_table([0.02]), returns_table([0.01])["A"]).loc["A"]
    assert one["total_return"] == pytest.approx(0.02)
    assert one[["sessions", "positive_share", "benchmark_sessions"]].tolist() == [1, 1, 1]
    assert one["max_drawdown"] == 0
    ratios = [
        "cagr",
        "annual_volatility",
        "downside_deviation",
        "sharpe_ratio",
        "probabilistic_sharpe_ratio",
        "sortino_ratio",
        "omega_ratio",
        "skewness",
        "excess_kurtosis",
        "calmar_ratio",
        "alpha",
        "beta",
        "tracking_error",
        "information_ratio",
    ]
    assert one[ratios].isna().all()


@pytest.mark.parametrize("value", [0.0, 0.0007, 0.1, -0.003])
def test_constant_returns_have_no_volatility_and_no_ratio(value) -> None:
    returns = returns_table([value] * 63)
    found = performance_figures(returns, returns["A"], Conventions(risk_free_rate=0.01)).loc["A"]
    assert found["annual_volatility"] == 0.0
    assert found["tracking_error"] == 0.0
    undefined = "sharpe_ratio probabilistic_sharpe_ratio skewness excess_kurtosis beta alpha"
    assert found[undefined.split()].isna().all()
    assert math.isnan(found["information_ratio"])


def test_a_constant_lead_over_the_benchmark_is_no_tracking_error() -> None:
    benchmark = random_benchmark(1, sessions=300)
    ahead = (benchmark + 0.0001).to_frame("ahead")
    found = benchmark_figures(ahead, benchmark).loc["ahead"]
    assert found["tracking_error"] == 0.0
    assert math.isnan(found["information_ratio"])
    assert found["beta"] == pytest.approx(1.0)
    assert found["alpha"] == pytest.approx(0.0252)


def test_a_total_loss_stays_one() -> None:
    returns = returns_table([0.1, -1.0, 0.5, 0.0, 3.0])
    found = performance_figures(returns, returns["A"].rename("index")).loc["A"]
    assert found[["total_return", "cagr", "max_drawdown", "calmar_ratio"]].tolist() == [-1] * 4
    assert math.isfinite(found["sharpe_ratio"])
    assert found["down_capture"] == pytest.approx(1.0)


def test_figures_beyond_floating_point_are_missing_not_infinite() -> None:
    found = performance_figures(returns_table([50.0, 50.0, 1e300, 1e300], [1e-200] * 3 + [2e-200]))
    numbers = found.select_dtypes("number").to_numpy(float)
    assert not np.isinf(numbers).any()
    assert found.loc["A", ["total_return", "cagr", "sharpe_ratio", "max_drawdown"]].isna().all()


def test_a_curve_that_never_begins_is_missing_beside_one_that_does() -> None:
    returns = begun_later(random_returns(1, curves=2, sessions=20), [20, 3])
    found = performance_figures(returns, random_benchmark(1, sessions=20))
    assert found.loc["curve_0"].isna().all()
    assert found.loc["curve_1", "sessions"] == 17
    assert found.loc["curve_1", list(RETURN_FIGURES)].notna().all()


def test_a_shorter_benchmark_is_joined_on_the_common_sessions() -> None:
    returns, benchmark = random_returns(5, sessions=50), random_benchmark(5, sessions=50)
    holes = benchmark.drop(benchmark.index[[7, 8, 30]]).iloc[5:45]
    begins_later = holes.copy()
    begins_later.iloc[:4] = np.nan
    common = begins_later.dropna().index
    found = benchmark_figures(returns, begins_later)
    pd.testing.assert_frame_equal(found, benchmark_figures(returns.loc[common], benchmark[common]))
    assert (found["benchmark_sessions"] == len(common)).all()
    late = begun_later(returns, [0, 3, 20, 40])
    counts = benchmark_figures(late, begins_later)["benchmark_sessions"]
    assert counts.tolist() == late.loc[common].count().tolist()
    apart = benchmark_figures(returns, benchmark.set_axis(sessions_of(50, "2001-01-02")))
    assert apart[list(BENCHMARK_FIGURES)].isna().all(axis=None)


@pytest.mark.parametrize(
    ("place", "value", "complaint"),
    [
        (5, np.nan, "the return of B in 2015-01-09 is missing"),
        (9, np.nan, "the return of B in 2015-01-15 is missing"),
        (5, np.inf, "the return of B in 2015-01-09 is infinite"),
        (0, -1.01, "the return of B in 2015-01-02 is below -1"),
    ],
)
def test_bad_returns_are_named(place, value, complaint) -> None:
    returns = returns_table([0.01] * 10, [0.02] * 10)
    returns.iloc[place, 1] = value
    with pytest.raises(BadDataError, match=complaint):
        performance_figures(returns)
    with pytest.raises(BadDataError, match=complaint):
        benchmark_figures(returns[["A"]], returns["B"])


def test_tables_that_are_no_tables_of_returns_are_refused() -> None:
    returns = random_returns(1, sessions=5)
    with pytest.raises(BadDataError, match="2015-01-02 of the returns is repeated or out of order"):
        return_figures(returns.iloc[[1, 0, 2]])
    with pytest.raises(BadDataError, match="indexed by the dates"):
        return_figures(returns.reset_index(drop=True))
    with pytest.raises(BadDataError, match="two curves are called X"):
        return_figures(returns.set_axis(["X", "Y", "X", "Z"], axis=1))


def test_conventions_that_make_no_sense_are_refused() -> None:
    with pytest.raises(BadConfigurationError, match="sessions_per_year is 0"):
        Conventions(sessions_per_year=0)
    with pytest.raises(BadConfigurationError, match="risk_free_rate is -1"):
        Conventions(risk_free_rate=-1.0)
    with pytest.raises(BadConfigurationError, match="required_return is nan"):
        Conventions(required_return=math.nan)
