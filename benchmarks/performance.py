"""How long the figures of many equity curves take, against empyrical and quantstats.

Belongs here: made curves, fills and scores, the clock, the yardsticks. Does not belong here: what
a figure means.

empyrical-reloaded and quantstats take one curve at a time, so theirs is a loop over the curves, of
the 21 figures that each has among ours. Each is handed what it is fastest with (numpy arrays where
empyrical takes them). The figures that mean the same in all three are compared before anything is
timed. Run it as ``python -m benchmarks.performance --curves 500``.
"""

import argparse
import importlib
import sys
import warnings
from collections.abc import Callable
from typing import Any

import empyrical
import numpy as np
import pandas as pd

from benchmarks.indicators import best_of
from benchmarks.report import Measurement, print_measurements
from quant_assets.domain.performance import performance_figures
from quant_assets.domain.performance_drawdowns import worst_drawdowns
from quant_assets.domain.performance_periods import monthly_returns, rolling_beta, rolling_sharpe
from quant_assets.domain.score_figures import forward_returns, information_coefficients
from quant_assets.domain.trade_figures import round_trips

EMPYRICAL_TARGET = 1 / 5
QUANTSTATS_TARGET = 1 / 50
SAMPLE = 10
"""Curves that a loop is timed on and scaled up from, where all would take minutes."""

WINDOW = 63


def main(argv: list[str]) -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--curves", type=int, default=500)
    parser.add_argument("--sessions", type=int, default=2520)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="100 curves, one repetition")
    options = parser.parse_args(argv)
    curves = 100 if options.quick else options.curves
    repeat = 1 if options.quick else options.repeat

    returns, index = synthetic_curves(curves, options.sessions, seed=1)
    compare_with_yardsticks(returns.iloc[:, :3], index)
    measure_figures(returns, index, repeat)
    measure_windows_and_periods(returns, index, repeat)
    measure_trades_and_scores(curves, options.sessions, repeat)


def measure_figures(returns: pd.DataFrame, index: pd.Series, repeat: int) -> None:
    """Print what all figures of all curves cost, and the same with the yardsticks."""
    sample = returns.iloc[:, :SAMPLE]
    scale = returns.shape[1] / sample.shape[1]
    ours = best_of(repeat, lambda: performance_figures(returns, index))
    theirs = best_of(repeat, lambda: looped(empyrical_figures, returns, index))
    slow = scale * best_of(repeat, lambda: looped(quantstats_figures, sample, index))
    count = performance_figures(sample, index).shape[1]
    late = begun_one_after_the_other(returns)
    apart = best_of(repeat, lambda: performance_figures(late, index))
    apart_theirs = best_of(repeat, lambda: looped(empyrical_figures, late, index))
    print_measurements(
        f"Figures of {returns.shape[1]} curves x {returns.shape[0]} sessions, one thread",
        [
            Measurement(f"all {count}, with a benchmark", _ms(ours)),
            Measurement("  over empyrical", _ms(theirs), ours / theirs, "theirs", EMPYRICAL_TARGET),
            Measurement("  over quantstats", _ms(slow), ours / slow, "theirs", QUANTSTATS_TARGET),
            Measurement("each curve begins in its own session", _ms(apart)),
            Measurement(
                "  over empyrical",
                _ms(apart_theirs),
                apart / apart_theirs,
                "theirs",
                EMPYRICAL_TARGET,
            ),
        ],
        [
            f"{theirs / ours:.0f} times faster than empyrical, {slow / ours:.0f} times faster than "
            f"quantstats ({sample.shape[1]} curves scaled), best of {repeat}",
        ],
    )


def measure_windows_and_periods(returns: pd.DataFrame, index: pd.Series, repeat: int) -> None:
    """Print what windows, months and tables of drawdowns cost."""
    sample = returns.iloc[:, :SAMPLE]
    scale = returns.shape[1] / sample.shape[1]

    def rolled_by_empyrical() -> None:
        for name in sample:
            empyrical.roll_sharpe_ratio(sample[name], WINDOW)

    theirs = scale * best_of(repeat, rolled_by_empyrical)
    rolled = best_of(repeat, lambda: rolling_sharpe(returns, WINDOW))
    beta = best_of(repeat, lambda: rolling_beta(returns, index, WINDOW))
    months = best_of(repeat, lambda: monthly_returns(returns))
    worst = best_of(repeat, lambda: worst_drawdowns(returns, 5))
    print_measurements(
        "Windows, months, drawdowns of the same curves",
        [
            Measurement(f"rolling Sharpe ratio of {WINDOW} sessions", _ms(rolled)),
            Measurement(
                "  over empyrical", _ms(theirs), rolled / theirs, "theirs", EMPYRICAL_TARGET
            ),
            Measurement(f"rolling beta of {WINDOW} sessions", _ms(beta)),
            Measurement("monthly returns", _ms(months)),
            Measurement("five worst drawdowns of each", _ms(worst)),
        ],
    )


def measure_trades_and_scores(symbols: int, sessions: int, repeat: int) -> None:
    """Print what round trips and information coefficients cost."""
    fills, dates, splits = synthetic_fills(symbols, sessions, seed=2)
    random = np.random.default_rng(3)
    shape = (sessions, symbols)
    prices = pd.DataFrame(np.exp(np.cumsum(random.normal(0, 0.01, shape), axis=0)), index=dates)
    scores = pd.DataFrame(random.uniform(-1, 1, shape), index=dates)
    forward = forward_returns(prices, 5)
    trips = best_of(repeat, lambda: round_trips(fills, dates, splits))
    coefficients = best_of(repeat, lambda: information_coefficients(scores, forward))
    print_measurements(
        f"{len(fills):,} fills with {len(splits)} splits; {symbols} symbols x {sessions} sessions",
        [
            Measurement("round trips, first in, first out", _ms(trips)),
            Measurement("  a fill", f"{trips / len(fills) * 1e6:.1f} us"),
            Measurement("information coefficient of every session", _ms(coefficients)),
        ],
    )


def looped(
    figures: Callable[[pd.Series, pd.Series], dict[str, float]],
    returns: pd.DataFrame,
    index: pd.Series,
) -> pd.DataFrame:
    """Figures of one curve after the other, as a table with one row a curve."""
    rows = {}
    for name in returns:
        curve = returns[name].dropna()
        rows[name] = figures(curve, index[curve.index])
    return pd.DataFrame.from_dict(rows, orient="index")


def empyrical_figures(curve: pd.Series, index: pd.Series) -> dict[str, float]:
    """Compute the figures that empyrical shares with ours."""
    values, against = curve.to_numpy(), index.to_numpy()
    alpha, beta = empyrical.alpha_beta_aligned(values, against)
    return {
        "total_return": empyrical.cum_returns_final(values),
        "cagr": empyrical.annual_return(values),
        "annual_volatility": empyrical.annual_volatility(values),
        "downside_deviation": empyrical.downside_risk(values),
        "sharpe_ratio": empyrical.sharpe_ratio(values),
        "sortino_ratio": empyrical.sortino_ratio(values),
        "omega_ratio": empyrical.omega_ratio(values),
        "calmar_ratio": empyrical.calmar_ratio(values),
        "best_session": values.max(),
        "worst_session": values.min(),
        "value_at_risk_95": empyrical.value_at_risk(values, 0.05),
        "value_at_risk_99": empyrical.value_at_risk(values, 0.01),
        "expected_shortfall_95": empyrical.conditional_value_at_risk(values, 0.05),
        "expected_shortfall_99": empyrical.conditional_value_at_risk(values, 0.01),
        "tail_ratio": empyrical.tail_ratio(values),
        "max_drawdown": empyrical.max_drawdown(values),
        "alpha": alpha,
        "beta": beta,
        "information_ratio": empyrical.excess_sharpe(values, against),
        "up_capture": empyrical.up_capture(curve, index),
        "down_capture": empyrical.down_capture(curve, index),
    }


def quantstats_figures(curve: pd.Series, index: pd.Series) -> dict[str, float]:
    """Compute the figures that quantstats shares with ours."""
    stats: Any = importlib.import_module("quantstats.stats")
    greeks = stats.greeks(curve, index)
    deepest = stats.drawdown_details(stats.to_drawdown_series(curve))["days"].max()
    return {
        "total_return": stats.comp(curve),
        "cagr": stats.cagr(curve),
        "annual_volatility": stats.volatility(curve),
        "sharpe_ratio": stats.sharpe(curve),
        "probabilistic_sharpe_ratio": stats.probabilistic_sharpe_ratio(curve),
        "sortino_ratio": stats.sortino(curve),
        "omega_ratio": stats.omega(curve),
        "calmar_ratio": stats.calmar(curve),
        "skewness": stats.skew(curve),
        "excess_kurtosis": stats.kurtosis(curve),
        "best_session": stats.best(curve),
        "worst_session": stats.worst(curve),
        "positive_share": stats.win_rate(curve),
        "value_at_risk_95": stats.var(curve),
        "expected_shortfall_95": stats.cvar(curve),
        "tail_ratio": stats.tail_ratio(curve),
        "max_drawdown": stats.max_drawdown(curve),
        "longest_underwater": deepest,
        "alpha": greeks["alpha"],
        "beta": greeks["beta"],
        "information_ratio": stats.information_ratio(curve, index),
    }


def compare_with_yardsticks(returns: pd.DataFrame, index: pd.Series) -> None:
    """Stop unless the figures that mean the same in all three are equal."""
    ours = performance_figures(returns, index)
    same = ("total_return", "annual_volatility", "sharpe_ratio", "sortino_ratio", "omega_ratio")
    for figures in (empyrical_figures, quantstats_figures):
        theirs = looped(figures, returns, index)
        for name in (*same, "tail_ratio", "max_drawdown", "beta"):
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-6, err_msg=name)


def synthetic_curves(curves: int, sessions: int, seed: int) -> tuple[pd.DataFrame, pd.Series]:
    """Fat-tailed daily returns that share half of their index's, and the index."""
    random = np.random.default_rng(seed)
    dates = pd.bdate_range("2010-01-04", periods=sessions).as_unit("us")
    index = pd.Series(0.0003 + 0.008 * random.standard_t(5, sessions), index=dates, name="index")
    own = 0.0002 + 0.006 * random.standard_t(5, (sessions, curves))
    names = [f"curve_{number:04d}" for number in range(curves)]
    values = own + 0.5 * index.to_numpy()[:, np.newaxis]
    return pd.DataFrame(values, index=dates, columns=names), index


def begun_one_after_the_other(returns: pd.DataFrame) -> pd.DataFrame:
    """The curves with the first values missing, each to another number, at most half of all."""
    starts = np.arange(returns.shape[1]) * (len(returns) // 2) // returns.shape[1]
    return returns.mask(np.arange(len(returns))[:, np.newaxis] < starts)


def synthetic_fills(
    symbols: int, sessions: int, seed: int
) -> tuple[pd.DataFrame, pd.DatetimeIndex, pd.DataFrame]:
    """Every symbol bought and half sold in turn every few sessions; a split for each tenth."""
    random = np.random.default_rng(seed)
    dates = pd.bdate_range("2010-01-04", periods=sessions).as_unit("us")
    places = np.arange(0, sessions, 12)
    count = len(places)
    fills = pd.DataFrame(
        {
            "session_date": np.repeat(dates[places], symbols),
            "symbol": np.tile([f"S{number:04d}" for number in range(symbols)], count),
            "side": np.repeat(np.where(np.arange(count) % 2 == 0, "BUY", "SELL"), symbols),
            "shares": np.repeat(np.where(np.arange(count) % 2 == 0, 100.0, 50.0), symbols),
            "price": random.uniform(10, 500, symbols * count),
            "costs": 1.0,
        }
    )
    chosen = np.arange(0, symbols, 10)
    splits = pd.DataFrame(
        {
            "session_date": dates[random.integers(0, sessions, len(chosen))],
            "symbol": [f"S{number:04d}" for number in chosen],
            "split_ratio": 2.0,
        }
    )
    return fills, dates, splits


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.0f} ms"


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)
    main(sys.argv[1:])
