"""Equity curves against a benchmark: alpha, beta, tracking error, information ratio, capture.

Belongs here: figures of whole curves that need a second series. Does not belong here: the same
over windows (performance_periods).

Curves and benchmark are joined on their common sessions: a session that either lacks is not looked
at, so with a shorter benchmark these figures describe a shorter time than those of the curve
alone; ``benchmark_sessions`` says how many. An inner join of daily returns does not compound over
the sessions it leaves out.
"""

import math

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_assets.domain.performance_curves import (
    DEFAULT,
    Block,
    Conventions,
    Curves,
    Floats,
    deviation,
    ratio,
)

Booleans = npt.NDArray[np.bool_]

BENCHMARK_FIGURES = (
    "benchmark_sessions",
    "alpha",
    "beta",
    "tracking_error",
    "information_ratio",
    "up_capture",
    "down_capture",
)


def benchmark_figures(
    returns: pd.DataFrame | Curves, benchmark: pd.Series, conventions: Conventions = DEFAULT
) -> pd.DataFrame:
    """Compute what a benchmark explains of each curve, over their common sessions.

    ``benchmark``: simple returns by session, which may begin later. With r the curve's, b the
    benchmark's returns, f the risk-free return of a session and N sessions a year:

    - benchmark_sessions: number of common sessions.
    - beta = cov(r, b) / var(b) (Sharpe 1964); NaN when the benchmark's returns are constant.
    - alpha = (mean(r - f) - beta * mean(b - f)) * N, the regression's intercept times N (Jensen
      1968), not compounded.
    - tracking_error = sd(r - b, ddof 1) * sqrt(N).
    - information_ratio = mean(r - b) * N / tracking_error (Goodwin 1998); NaN when that is 0.
    - up_capture = geometric mean of r over the sessions with b > 0, less 1, over that of b; and
      down_capture the same with b < 0 (Bacon 2008, Morningstar's definition on daily returns);
      NaN without such a session.

    Returns one row a curve with ``BENCHMARK_FIGURES``. Raises BadDataError as ``Curves.of``, for
    the benchmark too.
    """
    curves = returns if isinstance(returns, Curves) else Curves.of(returns)
    joined, against = joined_with(curves, benchmark)

    def compute(block: Block) -> dict[str, Floats | float]:
        return _figures(block.values, against[-block.values.shape[1] :], conventions)

    return joined.figures(BENCHMARK_FIGURES, compute)


def joined_with(curves: Curves, benchmark: pd.Series) -> tuple[Curves, Floats]:
    """Curves and benchmark on their common sessions, in order.

    Raises BadDataError for a benchmark that is no table of returns.
    """
    name = benchmark.name if benchmark.name is not None else "the benchmark"
    checked = Curves.of(benchmark.to_frame(name))
    begun = checked.sessions[int(checked.starts[0]) :]
    common = curves.sessions.intersection(begun)
    ours = curves.sessions.get_indexer(common)
    starts = np.searchsorted(ours, curves.starts)
    joined = Curves(
        curves.names,
        common,
        np.ascontiguousarray(curves.values[:, ours]),
        starts.astype(np.int64),
    )
    return joined, checked.values[0, checked.sessions.get_indexer(common)]


def _figures(
    returns: Floats, benchmark: Floats, conventions: Conventions
) -> dict[str, Floats | float]:
    count, year = returns.shape[1], conventions.sessions_per_year
    centred = benchmark - benchmark.mean()
    is_constant = count < 2 or benchmark.max() == benchmark.min()
    squares = np.zeros(1) if is_constant else np.vecdot(centred, centred)[np.newaxis]
    beta = ratio(np.vecdot(returns, centred), squares)
    mean = returns.mean(axis=1)
    free = conventions.risk_free_session
    active = returns - benchmark
    active_mean = active.mean(axis=1)
    spread = active - active_mean[:, np.newaxis]
    scale = np.maximum(np.abs(returns).max(axis=1), np.abs(benchmark).max())
    error = deviation(np.vecdot(spread, spread), count, scale)
    return {
        "benchmark_sessions": float(count),
        "alpha": (mean - free - beta * (benchmark.mean() - free)) * year,
        "beta": beta,
        "tracking_error": error * math.sqrt(year),
        "information_ratio": ratio(active_mean, error) * math.sqrt(year),
        "up_capture": _capture(returns, benchmark, benchmark > 0.0),
        "down_capture": _capture(returns, benchmark, benchmark < 0.0),
    }


def _capture(returns: Floats, benchmark: Floats, is_chosen: Booleans) -> Floats:
    chosen = np.flatnonzero(is_chosen)
    if not chosen.size:
        return np.full(len(returns), np.nan)

    def geometric_mean(values: Floats) -> Floats:
        growth = np.multiply.reduce(1.0 + values.take(chosen, axis=-1), axis=-1)
        return np.asarray(growth ** (1.0 / chosen.size) - 1.0)

    return ratio(geometric_mean(returns), geometric_mean(benchmark))
