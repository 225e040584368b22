"""Equity curves as the figures of performance need them: checked, one row a curve, no gaps.

Belongs here: what a table of returns must be, the conventions that every figure shares, and the
shape in which many curves are computed at once. Does not belong here: a figure.

A table of returns is a DataFrame of simple returns (0.01 = 1 %), one row a session, one column a
curve, the index the sorted dates of the sessions. A curve may begin later than the table: its
first values are then missing. From its first value on it has one for every session.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_assets.errors import BadConfigurationError, BadDataError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SESSIONS_PER_YEAR = 252
DAYS_PER_YEAR = 365.25
BLOCK_CURVES = 32
"""Curves computed at once: ten years of them stay in the processor's second cache."""

ROUNDING = 1e-12
"""Relative size below which a deviation or a drawdown is rounding: constant returns have none."""


@dataclass(frozen=True, slots=True)
class Conventions:
    """What the figures are annualised with and held against.

    ``risk_free_rate`` and ``required_return`` are per year (0.04 = 4 %) and become rates of one
    session by the root: (1 + rate) ** (1 / sessions_per_year) - 1. ``benchmark_sharpe`` is the
    annualised Sharpe ratio that the probabilistic one is the probability of exceeding.
    """

    sessions_per_year: int = SESSIONS_PER_YEAR
    risk_free_rate: float = 0.0
    required_return: float = 0.0
    benchmark_sharpe: float = 0.0

    def __post_init__(self) -> None:
        if self.sessions_per_year < 1:
            raise BadConfigurationError(
                f"sessions_per_year is {self.sessions_per_year}: give 252 for daily returns"
            )
        for name in ("risk_free_rate", "required_return"):
            if not -1.0 < getattr(self, name) < float("inf"):
                raise BadConfigurationError(
                    f"{name} is {getattr(self, name)}: give a rate per year above -1 (0.04 = 4 %)"
                )

    @property
    def risk_free_session(self) -> float:
        """Risk-free return of one session."""
        return float((1.0 + self.risk_free_rate) ** (1.0 / self.sessions_per_year) - 1.0)

    @property
    def required_session(self) -> float:
        """Required return of one session."""
        return float((1.0 + self.required_return) ** (1.0 / self.sessions_per_year) - 1.0)


DEFAULT = Conventions()


@dataclass(frozen=True, slots=True)
class Block:
    """Curves that begin in one session.

    ``rows`` are their places among all curves; ``values`` their returns, curves by sessions,
    complete and at least one session long; ``years`` the calendar years from the eve of their
    first session to the last session.
    """

    rows: Ints
    values: Floats
    years: float


@dataclass(frozen=True, slots=True)
class Curves:
    """A checked table of returns, turned: ``values`` is curves by sessions.

    ``starts`` is the number of missing values before each curve's first one.
    """

    names: pd.Index
    sessions: pd.DatetimeIndex
    values: Floats
    starts: Ints

    @classmethod
    def of(cls, returns: pd.DataFrame) -> "Curves":
        """Check a table of returns.

        Raises BadDataError, with curve and session, for a value missing after the curve's first
        (at its end too), an infinite one, one below -1 (a loss of more than everything); and for
        sessions that are no dates, unsorted or repeated, and for two curves of one name.
        """
        sessions = _checked_sessions(returns)
        values = np.ascontiguousarray(returns.to_numpy(np.float64).T)
        is_missing = np.isnan(values)
        starts = np.logical_and.accumulate(is_missing, axis=1).sum(axis=1, dtype=np.int64)
        is_gap = is_missing & (np.arange(len(sessions)) >= starts[:, np.newaxis])
        for is_bad, what in (
            (is_gap, "is missing after the curve's first: compound it into one session or fill it"),
            (np.isinf(values), "is infinite: a price before it was zero or is absent"),
            (values < -1.0, "is below -1: give simple returns as fractions (-0.05 = -5 %)"),
        ):
            if is_bad.any():
                curve, session = np.argwhere(is_bad)[0]
                raise BadDataError(
                    f"the return of {returns.columns[curve]} in {sessions[session]:%Y-%m-%d} {what}"
                )
        return cls(returns.columns, sessions, values, starts)

    def blocks(self) -> Iterator[Block]:
        """Curves by their first session, a few at a time; one without any return is in none."""
        days = self.sessions.to_numpy().astype("datetime64[D]").astype(np.int64)
        order = np.argsort(self.starts, kind="stable")
        order = order[self.starts[order] < len(days)]
        group_ends = np.flatnonzero(np.diff(self.starts[order], append=-1)) + 1
        group_begin = 0
        for group_end in group_ends.tolist():
            start = int(self.starts[order[group_begin]])
            years = float(days[-1] - days[start] + 1) / DAYS_PER_YEAR
            for begin in range(group_begin, group_end, BLOCK_CURVES):
                rows = order[begin : min(begin + BLOCK_CURVES, group_end)]
                is_run = rows[-1] - rows[0] == len(rows) - 1
                chosen = slice(rows[0], rows[-1] + 1) if is_run else rows
                yield Block(rows, self.values[chosen, start:], years)
            group_begin = group_end

    def figures(
        self, names: Sequence[str], compute: Callable[[Block], Mapping[str, Floats | float]]
    ) -> pd.DataFrame:
        """One row a curve, one column a name; NaN where ``compute`` gives none or no number."""
        found = {name: np.full(len(self.names), np.nan) for name in names}
        with beyond_floating_point():
            for block in self.blocks():
                for name, values in compute(block).items():
                    found[name][block.rows] = values
        for values in found.values():
            values[~np.isfinite(values)] = np.nan
        return pd.DataFrame(found, index=self.names, columns=pd.Index(names))


def beyond_floating_point() -> np.errstate:
    """Let what floating point cannot hold become infinite or NaN without a warning.

    Whoever enters this turns both into missing figures.
    """
    return np.errstate(over="ignore", invalid="ignore")


def deviation(sum_of_squares: Floats, count: int, scale: Floats) -> Floats:
    """Sample standard deviation (ddof 1); exactly 0 where it is rounding beside ``scale``.

    NaN with fewer than two values and beyond floating point, where a ratio over it would be 0.
    """
    if count < 2:
        return np.full_like(sum_of_squares, np.nan)
    result = np.sqrt(sum_of_squares / (count - 1))
    result = np.where(np.isinf(result), np.nan, result)
    return np.where(result <= ROUNDING * np.abs(scale), 0.0, result)


def ratio(numerator: Floats | float, denominator: Floats) -> Floats:
    """Quotient; NaN where the denominator is zero, infinite beyond floating point."""
    is_zero = denominator == 0.0
    quotient = np.divide(numerator, np.where(is_zero, 1.0, denominator))
    return np.where(is_zero, np.nan, quotient)


def _checked_sessions(returns: pd.DataFrame) -> pd.DatetimeIndex:
    sessions = returns.index
    if len(sessions) == 0 and not isinstance(sessions, pd.DatetimeIndex):
        sessions = pd.DatetimeIndex([], dtype="datetime64[us]")
    if not isinstance(sessions, pd.DatetimeIndex) or sessions.hasnans:
        raise BadDataError("a table of returns is indexed by the dates of its sessions")
    if not (sessions.is_monotonic_increasing and sessions.is_unique):
        later = np.flatnonzero(sessions[1:] <= sessions[:-1])[0] + 1
        raise BadDataError(
            f"session {sessions[later]:%Y-%m-%d} of the returns is repeated or out of order: "
            "sort them, one row a session"
        )
    if not returns.columns.is_unique:
        repeated = returns.columns[returns.columns.duplicated()][0]
        raise BadDataError(f"two curves are called {repeated}: give each its own name")
    return sessions
