"""Tables of returns that the tests of the performance figures share."""

import numpy as np
import pandas as pd


def sessions_of(count, first="2015-01-02") -> pd.DatetimeIndex:
    return pd.bdate_range(first, periods=count).as_unit("us")


def returns_table(*curves, first="2015-01-02") -> pd.DataFrame:
    """Curves A, B, ... of the given returns, on weekdays."""
    names = [chr(ord("A") + place) for place in range(len(curves))]
    table = dict(zip(names, np.array(curves, dtype=float), strict=True))
    return pd.DataFrame(table, index=sessions_of(len(curves[0]), first))


def random_returns(seed, *, curves=4, sessions=600) -> pd.DataFrame:
    """Fat-tailed daily returns, none of them zero."""
    random = np.random.default_rng(seed)
    values = 0.0004 + 0.012 * random.standard_t(4, (sessions, curves))
    names = [f"curve_{place}" for place in range(curves)]
    return pd.DataFrame(np.clip(values, -0.9, 0.9), index=sessions_of(sessions), columns=names)


def random_benchmark(seed, *, sessions=600) -> pd.Series:
    return random_returns(seed + 1_000_000, curves=1, sessions=sessions)["curve_0"].rename("index")


def begun_later(table, starts) -> pd.DataFrame:
    """The table with the first values of each curve missing."""
    return table.mask(np.arange(len(table))[:, np.newaxis] < np.asarray(starts))
