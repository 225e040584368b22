"""Equity curves by window and by calendar period.

Belongs here: rolling volatility, Sharpe ratio and beta; returns by month and year. Does not
belong here: figures of whole curves.

A rolling figure stands in the last session of its window and depends on the returns inside it
and on nothing before or after: later data change no value, equal windows have equal bits (running
sums, which pandas keeps, carry the rounding of all that ever passed through them). It is missing
until the curve has a whole window of returns.
"""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import pandas as pd

from quant_assets.domain.performance_benchmark import joined_with
from quant_assets.domain.performance_curves import (
    BLOCK_CURVES,
    DEFAULT,
    Conventions,
    Curves,
    Floats,
    beyond_floating_point,
    deviation,
    ratio,
)
from quant_assets.errors import BadConfigurationError


def rolling_volatility(
    returns: pd.DataFrame, window: int, conventions: Conventions = DEFAULT
) -> pd.DataFrame:
    """Compute sd(r, ddof 1) * sqrt(N) over the last ``window`` sessions, N sessions a year.

    Exactly 0 where the returns are constant. Returns a frame of the shape of ``returns``. Raises
    BadDataError as ``Curves.of``, BadConfigurationError for a window below 2.
    """
    year = math.sqrt(conventions.sessions_per_year)
    return _rolled(Curves.of(returns), window, lambda part: _spread(part, window)[1] * year)


def rolling_sharpe(
    returns: pd.DataFrame, window: int, conventions: Conventions = DEFAULT
) -> pd.DataFrame:
    """Compute mean(r - f) / sd(r, ddof 1) * sqrt(N) over the last ``window`` sessions.

    f is the risk-free return of a session, N the sessions of a year (Sharpe 1994). Missing where
    the returns are constant. Returns a frame of the shape of ``returns``. Raises as
    ``rolling_volatility``.
    """
    year = math.sqrt(conventions.sessions_per_year)

    def sharpe(part: Floats) -> Floats:
        mean, spread = _spread(part, window)
        return ratio(mean - conventions.risk_free_session, spread) * year

    return _rolled(Curves.of(returns), window, sharpe)


def rolling_beta(returns: pd.DataFrame, benchmark: pd.Series, window: int) -> pd.DataFrame:
    """Compute cov(r, b) / var(b) over the last ``window`` common sessions (Sharpe 1964).

    ``benchmark``: simple returns by session. Missing where its returns are constant. Returns one
    row a common session, one column a curve. Raises as ``rolling_volatility``, for the benchmark
    too.
    """
    joined, against = joined_with(Curves.of(returns), benchmark)

    def beta(part: Floats) -> Floats:
        squares = _window_moments([against], window)[1]
        return ratio(_window_moments([part, against], window)[1], squares)

    return _rolled(joined, window, beta)


def monthly_returns(returns: pd.DataFrame) -> pd.DataFrame:
    """Compound the returns of each calendar month: prod(1 + r) - 1.

    The first and the last month count as far as the table reaches. Returns one row a month
    (monthly periods, those with a session), one column a curve; missing before a curve begins.
    Raises BadDataError as ``Curves.of``.
    """
    return _compounded(Curves.of(returns), "M")


def yearly_returns(returns: pd.DataFrame) -> pd.DataFrame:
    """Compound the returns of each calendar year, like ``monthly_returns``, by yearly periods."""
    return _compounded(Curves.of(returns), "Y")


def month_table(returns: pd.Series) -> pd.DataFrame:
    """Lay the months of one curve out as a report prints them.

    Returns one row a year with the columns 1 to 12 (months, missing where there is none) and
    ``year``, the compounded year. Raises BadDataError as ``Curves.of``.
    """
    curves = Curves.of(returns.to_frame("curve"))
    months, years = _compounded(curves, "M")["curve"], _compounded(curves, "Y")["curve"]
    dates = pd.PeriodIndex(months.index)
    cells = pd.Series(months.to_numpy(), index=[dates.year, dates.month])
    table = cells.unstack().reindex(columns=range(1, 13))
    table["year"] = years.to_numpy()
    table.index.name, table.columns.name = "year", None
    return table


def _compounded(curves: Curves, frequency: Literal["M", "Y"]) -> pd.DataFrame:
    periods = curves.sessions.to_period(frequency)
    kept = periods.unique()
    if not len(kept):
        return pd.DataFrame(np.zeros((0, len(curves.names))), index=kept, columns=curves.names)
    first = np.searchsorted(periods.asi8, kept.asi8)
    is_begun = np.arange(len(periods)) >= curves.starts[:, np.newaxis]
    growth = np.where(is_begun, 1.0 + curves.values, 1.0)
    with beyond_floating_point():
        growth = np.multiply.reduceat(growth, first, axis=1)
    growth[np.isinf(growth)] = np.nan
    ends = np.append(first[1:], len(periods))
    values = np.where(ends > curves.starts[:, np.newaxis], growth - 1.0, np.nan)
    return pd.DataFrame(values.T, index=kept, columns=curves.names)


def _rolled(curves: Curves, window: int, compute: Callable[[Floats], Floats]) -> pd.DataFrame:
    """Figures of all windows, which ``compute`` makes of a few curves at a time."""
    if window < 2:
        raise BadConfigurationError(f"a window of {window} sessions has no spread: give 2 or more")
    values = np.full(curves.values.shape, np.nan)
    begins = range(0, len(values), BLOCK_CURVES) if window <= len(curves.sessions) else ()
    with beyond_floating_point():
        for begin in begins:
            rows = slice(begin, begin + BLOCK_CURVES)
            values[rows, window - 1 :] = compute(curves.values[rows])
    values[np.isinf(values)] = np.nan
    return pd.DataFrame(values.T, index=curves.sessions, columns=curves.names)


def _spread(returns: Floats, window: int) -> tuple[Floats, Floats]:
    """Mean and sample deviation of every window."""
    (mean,), squares = _window_moments([returns], window)
    return mean, deviation(squares, window, mean)


Moments = tuple[list[Floats], Floats]
"""Means of one or two series, and the summed product of the first's and the last's deviations."""


def _window_moments(series: list[Floats], window: int) -> Moments:
    """Moments of one series (its squares) or of two, over every window of the last axis.

    A window is put together from halves of equal length by doubling, and blocks are joined as
    Chan, Golub and LeVeque (1979) join the moments of two samples: no difference of large squares,
    and constant values deviate by exactly zero.
    """
    nothing = np.zeros(np.broadcast_shapes(*(values.shape for values in series)))
    result: Moments = ([np.zeros_like(values) for values in series], nothing)
    block: Moments = (series, nothing)
    covered, length = 0, 1
    while length <= window:
        if window & length:
            result = _joined(result, covered, block, length)
            covered += length
        length *= 2
        if length <= window:
            block = _joined(block, length // 2, block, length // 2)
    return result


def _joined(first: Moments, first_length: int, second: Moments, second_length: int) -> Moments:
    """Moments of blocks of the first length followed by blocks of the second."""
    size = second[1].shape[-1] - first_length
    weight = second_length / (first_length + second_length)
    means = [mean[..., :size] for mean in first[0]]
    steps = [later[..., first_length:] - mean for later, mean in zip(second[0], means, strict=True)]
    product = (first_length * weight) * steps[0] * steps[-1]
    product += first[1][..., :size]
    product += second[1][..., first_length:]
    joined = [mean + weight * step for mean, step in zip(means, steps, strict=True)]
    return joined, product
