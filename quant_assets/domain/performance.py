"""Figures of equity curves: return, risk, their ratios, tails; many curves at once.

Belongs here: figures that need nothing but the returns, and the summary of all figures. Does not
belong here: drawdowns (performance_drawdowns), a benchmark (performance_benchmark), windows and
calendar tables (performance_periods), trades and scores (trade_figures, score_figures).

Every function takes a table of returns as performance_curves defines it: simple returns, one row
a session, one column a curve; and returns one row a curve. A figure that is not defined for a
curve is NaN, never infinite and never an error: the docstring says when. Fewer than two returns
leave every deviation and ratio undefined, no return leaves everything so.
"""

import math

import numpy as np
import pandas as pd

from quant_assets.domain.performance_benchmark import benchmark_figures
from quant_assets.domain.performance_curves import (
    DEFAULT,
    Block,
    Conventions,
    Curves,
    Floats,
    deviation,
    ratio,
)
from quant_assets.domain.performance_drawdowns import max_drawdowns

RETURN_FIGURES = (
    "sessions",
    "total_return",
    "cagr",
    "annual_volatility",
    "downside_deviation",
    "sharpe_ratio",
    "probabilistic_sharpe_ratio",
    "sortino_ratio",
    "omega_ratio",
    "skewness",
    "excess_kurtosis",
    "best_session",
    "worst_session",
    "positive_share",
)
TAIL_LEVELS = (0.95, 0.99)
TAIL_FIGURES = (
    "value_at_risk_95",
    "value_at_risk_99",
    "expected_shortfall_95",
    "expected_shortfall_99",
    "tail_ratio",
)


def performance_figures(
    returns: pd.DataFrame,
    benchmark: pd.Series | None = None,
    conventions: Conventions = DEFAULT,
) -> pd.DataFrame:
    """Compute all figures of all curves.

    Columns: those of ``return_figures``, ``tail_figures`` and ``max_drawdowns``, ``calmar_ratio``,
    and with a ``benchmark`` (simple returns by session) those of ``benchmark_figures``.

    calmar_ratio = cagr / -max_drawdown (Young 1991, over the whole curve instead of his last 36
    months); NaN without a drawdown.

    Returns one row a curve. Raises BadDataError as ``Curves.of``.
    """
    curves = Curves.of(returns)
    parts = [
        curves.figures(RETURN_FIGURES, lambda block: _return_figures(block, conventions)),
        curves.figures(TAIL_FIGURES, _tail_figures),
        max_drawdowns(curves),
    ]
    if benchmark is not None:
        parts.append(benchmark_figures(curves, benchmark, conventions))
    result = pd.concat(parts, axis=1)
    depth = result["max_drawdown"].to_numpy(np.float64)
    calmar = ratio(result["cagr"].to_numpy(np.float64), -depth)
    result.insert(len(RETURN_FIGURES), "calmar_ratio", calmar)
    return result


def return_figures(
    returns: pd.DataFrame | Curves, conventions: Conventions = DEFAULT
) -> pd.DataFrame:
    """Compute what the returns themselves say; N sessions a year, r the returns, n their number.

    - sessions: n.
    - total_return = prod(1 + r) - 1. A return of -1 is a total loss: -1 whatever follows.
    - cagr = (1 + total_return) ** (365.25 / days) - 1, over the calendar days from the eve of the
      first session to the last session; NaN with fewer than two returns or beyond floating point.
      A curve shorter than a year is extrapolated, which GIPS forbids to advertise.
    - annual_volatility = sd(r, ddof 1) * sqrt(N); exactly 0 for constant returns.
    - downside_deviation = sqrt(mean(min(r - q, 0)^2)) * sqrt(N), q the required return, the mean
      over all n (Sortino and Price 1994).
    - sharpe_ratio = mean(r - f) / sd(r, ddof 1) * sqrt(N), f the risk-free return (Sharpe 1994);
      NaN when the volatility is 0.
    - probabilistic_sharpe_ratio: see ``probabilistic_sharpe_ratio``, against
      ``conventions.benchmark_sharpe``.
    - sortino_ratio = (mean(r) - q) * N / downside_deviation; NaN when that is 0.
    - omega_ratio = sum(max(r - q, 0)) / sum(max(q - r, 0)) (Keating and Shadwick 2002); NaN when
      nothing falls short.
    - skewness = m3 / m2^1.5 and excess_kurtosis = m4 / m2^2 - 3 with the central moments of the
      population (g1 and g2 of Joanes and Gill 1998, no correction of bias); NaN when the
      volatility is 0.
    - best_session, worst_session: the largest and the smallest return.
    - positive_share: share of the returns that are above 0, of all n.

    Returns one row a curve with ``RETURN_FIGURES``. Raises BadDataError as ``Curves.of``.
    """
    curves = returns if isinstance(returns, Curves) else Curves.of(returns)
    return curves.figures(RETURN_FIGURES, lambda block: _return_figures(block, conventions))


def tail_figures(returns: pd.DataFrame | Curves) -> pd.DataFrame:
    """Compute the historical tails, of one session, losses positive.

    - value_at_risk_95, _99 = -quantile(r, 1 - level), interpolated linearly (type 7 of Hyndman
      and Fan 1996).
    - expected_shortfall_95, _99: mean loss of the worst 1 - level of the sessions, the last of
      them counted in part (Acerbi and Tasche 2002): with k = n * (1 - level), minus the sum of
      the floor(k) smallest returns and of k - floor(k) times the next, over k.
    - tail_ratio = |quantile(r, 0.95)| / |quantile(r, 0.05)|; NaN when the latter is 0.

    All are defined from one return on. Returns one row a curve with ``TAIL_FIGURES``. Raises
    BadDataError as ``Curves.of``.
    """
    curves = returns if isinstance(returns, Curves) else Curves.of(returns)
    return curves.figures(TAIL_FIGURES, _tail_figures)


def probabilistic_sharpe_ratio(
    sharpe: Floats, count: int, skewness: Floats, kurtosis: Floats, threshold: float = 0.0
) -> Floats:
    """Compute the probability that the true Sharpe ratio exceeds ``threshold``.

    Phi((SR - threshold) * sqrt(n - 1) / sqrt(1 - g3 * SR + (g4 - 1) / 4 * SR^2)), Bailey and Lopez
    de Prado (2012), "The Sharpe Ratio Efficient Frontier", equation 11. ``sharpe`` and
    ``threshold`` are those of one session, not annualised; ``kurtosis`` is not the excess (3 for a
    normal distribution); all arrays have one shape. NaN with fewer than two returns, without a
    Sharpe ratio, or where the estimate's variance is not positive.
    """
    variance = 1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2
    is_defined = (variance > 0.0) & (count > 1)
    error = np.sqrt(np.where(is_defined, variance, np.nan) / max(count - 1, 1))
    return _normal_probability((sharpe - threshold) / error)


def _return_figures(block: Block, conventions: Conventions) -> dict[str, Floats | float]:
    returns, count = block.values, block.values.shape[1]
    year = conventions.sessions_per_year
    mean = returns.mean(axis=1)
    is_constant = returns.max(axis=1) == returns.min(axis=1)
    centred = returns - mean[:, np.newaxis]
    squares = centred * centred
    sum_of_squares = np.where(is_constant, 0.0, squares.sum(axis=1))
    spread = deviation(sum_of_squares, count, np.abs(returns).max(axis=1))
    sharpe = ratio(mean - conventions.risk_free_session, spread)
    variance = np.where(spread > 0.0, sum_of_squares / count, 0.0)
    skewness = ratio(np.vecdot(squares, centred) / count, variance**1.5)
    kurtosis = ratio(np.vecdot(squares, squares) / count, variance**2)
    growth = np.multiply.reduce(1.0 + returns, axis=1)
    threshold = conventions.benchmark_sharpe / math.sqrt(year)
    return {
        "sessions": float(count),
        "total_return": growth - 1.0,
        "cagr": _annual_growth(growth, block),
        "annual_volatility": spread * math.sqrt(year),
        "sharpe_ratio": sharpe * math.sqrt(year),
        "probabilistic_sharpe_ratio": probabilistic_sharpe_ratio(
            sharpe, count, skewness, kurtosis, threshold
        ),
        **_against_required(returns, mean, conventions),
        "skewness": skewness,
        "excess_kurtosis": kurtosis - 3.0,
        "best_session": returns.max(axis=1),
        "worst_session": returns.min(axis=1),
        "positive_share": (returns > 0.0).mean(axis=1),
    }


def _annual_growth(growth: Floats, block: Block) -> Floats:
    if block.values.shape[1] < 2:
        return np.full_like(growth, np.nan)
    return growth ** (1.0 / block.years) - 1.0


def _against_required(
    returns: Floats, mean: Floats, conventions: Conventions
) -> dict[str, Floats | float]:
    year, required = conventions.sessions_per_year, conventions.required_session
    beyond = returns - required
    short = np.minimum(beyond, 0.0)
    lost = -short.sum(axis=1)
    downside = np.sqrt(np.vecdot(short, short) / returns.shape[1] * year)
    gained = beyond.sum(axis=1) + lost
    is_ratio = returns.shape[1] > 1
    return {
        "downside_deviation": downside if is_ratio else np.nan,
        "sortino_ratio": ratio((mean - required) * year, downside) if is_ratio else np.nan,
        "omega_ratio": ratio(gained, lost) if is_ratio else np.nan,
    }


def _tail_figures(block: Block) -> dict[str, Floats | float]:
    ordered = np.sort(block.values, axis=1)
    result: dict[str, Floats | float] = {}
    for level in TAIL_LEVELS:
        percent = round(100 * level)
        result[f"value_at_risk_{percent}"] = -_quantile(ordered, 1.0 - level)
        result[f"expected_shortfall_{percent}"] = _shortfall(ordered, 1.0 - level)
    low, high = _quantile(ordered, 0.05), _quantile(ordered, 0.95)
    result["tail_ratio"] = ratio(np.abs(high), np.abs(low))
    return result


def _quantile(ordered: Floats, share: float) -> Floats:
    place = share * (ordered.shape[1] - 1)
    below = math.floor(place)
    above = min(below + 1, ordered.shape[1] - 1)
    step = ordered[:, above] - ordered[:, below]
    return np.asarray(ordered[:, below] + (place - below) * step)


def _shortfall(ordered: Floats, share: float) -> Floats:
    worst = share * ordered.shape[1]
    whole = math.floor(worst)
    last = min(whole, ordered.shape[1] - 1)
    total = ordered[:, :whole].sum(axis=1) + (worst - whole) * ordered[:, last]
    return np.asarray(-total / worst)


def _normal_probability(values: Floats) -> Floats:
    probabilities = [0.5 * math.erfc(-value / math.sqrt(2.0)) for value in values.ravel()]
    return np.array(probabilities, dtype=np.float64).reshape(values.shape)
