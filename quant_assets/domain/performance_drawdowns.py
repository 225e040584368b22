"""Drawdowns of equity curves: how deep, from when to when, recovered or not.

Belongs here: the episodes below the running maximum, the worst of them, the maximum drawdown.
Does not belong here: ratios made from them.

The wealth of a curve is cumprod(1 + r), begun with 1 on the eve of its first session (the calendar
day before), and the start is a peak like any other. An episode goes from the last session at the
running maximum (peak) over the session of the lowest wealth (trough, the first one of equals) to
the first session at or above the peak again (recovery). Depths are negative: -0.2 is 20 % below
the peak. A difference of less than 1e-12 of the peak is rounding and neither opens an episode nor
delays its recovery. A curve whose wealth is beyond floating point has no maximum drawdown.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from quant_assets.domain.performance_curves import (
    ROUNDING,
    Curves,
    Floats,
    Ints,
    beyond_floating_point,
)
from quant_assets.errors import BadConfigurationError

_SPANS = (
    "drawdown_sessions",
    "drawdown_days",
    "recovery_sessions",
    "recovery_days",
    "underwater_sessions",
    "underwater_days",
)
_DATES = ("peak_date", "trough_date", "recovery_date")
EPISODE_COLUMNS = ("curve", "rank", "depth", *_DATES, *_SPANS)
DRAWDOWN_FIGURES = ("max_drawdown", *_DATES, *_SPANS, "longest_underwater_sessions")


def underwater(returns: pd.DataFrame | Curves) -> pd.DataFrame:
    """Compute how far each curve is below its running maximum: wealth / maximum so far - 1.

    Returns a frame of the shape of ``returns``, values from -1 to 0, missing before a curve's
    first return. Raises BadDataError as ``Curves.of``.
    """
    curves = returns if isinstance(returns, Curves) else Curves.of(returns)
    values = np.where(np.isnan(curves.values), np.nan, _depths(curves))
    return pd.DataFrame(values.T, index=curves.sessions, columns=curves.names)


def worst_drawdowns(returns: pd.DataFrame | Curves, count: int | None = 5) -> pd.DataFrame:
    """List the ``count`` deepest drawdowns of each curve, all of them with ``None``.

    Returns ``EPISODE_COLUMNS``, in the order of the curves and from the deepest, the earlier of
    equals first; a curve without a drawdown has no row. Sessions and days (calendar) are counted

    - drawdown: from the peak to the trough,
    - recovery: from the trough to the recovery; missing when there is none yet,
    - underwater: from the peak to the recovery, or to the last session.

    Raises BadDataError as ``Curves.of``, BadConfigurationError for a count below 1.
    """
    curves = returns if isinstance(returns, Curves) else Curves.of(returns)
    if count is not None and count < 1:
        raise BadConfigurationError(f"{count} drawdowns a curve were asked for: give 1 or more")
    depths = _depths(curves)
    episodes = _deepest(_episodes(depths), count)
    result = _dated(episodes, depths, curves)
    result.insert(0, "curve", curves.names[episodes.row])
    return result


def max_drawdowns(returns: pd.DataFrame | Curves) -> pd.DataFrame:
    """Compute the maximum drawdown of each curve, min(wealth / maximum so far - 1), and its dates.

    Dates and spans are those of the deepest episode as in ``worst_drawdowns``;
    ``longest_underwater_sessions`` is the longest span of any. A curve that never fell has a
    ``max_drawdown`` of 0, a longest span of 0 and no dates; one without returns has nothing. After
    a total loss the drawdown is -1 and never recovers.

    Returns one row a curve with ``DRAWDOWN_FIGURES``. Raises BadDataError as ``Curves.of``.
    """
    curves = returns if isinstance(returns, Curves) else Curves.of(returns)
    depths = _depths(curves)
    episodes = _episodes(depths)
    longest = np.zeros(len(curves.names))
    np.maximum.at(longest, episodes.row, _until(episodes, curves) - episodes.first + 1)
    deepest = _deepest(episodes, 1)
    dated = _dated(deepest, depths, curves).drop(columns=["rank", "depth"])
    dated.index = curves.names[deepest.row]
    result = dated.reindex(curves.names)
    is_begun = curves.starts < len(curves.sessions)
    depth = depths.min(axis=1, initial=0.0)
    result.insert(0, "max_drawdown", np.where(is_begun, depth, np.nan))
    result["longest_underwater_sessions"] = np.where(is_begun, longest, np.nan)
    return result


@dataclass(frozen=True, slots=True)
class _Episodes:
    """Stretches below the peak, by row and time; they begin at ``first`` and end before ``end``."""

    row: Ints
    first: Ints
    end: Ints
    depth: Floats

    def pick(self, which: Ints) -> "_Episodes":
        return _Episodes(self.row[which], self.first[which], self.end[which], self.depth[which])


def _depths(curves: Curves) -> Floats:
    """Depth of every curve in every session, 0 before it begins: its wealth is 1 until then."""
    wealth = 1.0 + curves.values
    wealth[np.isnan(wealth)] = 1.0
    with beyond_floating_point():
        np.multiply.accumulate(wealth, axis=1, out=wealth)
        peak = np.maximum.accumulate(wealth, axis=1)
        np.maximum(peak, 1.0, out=peak)
        depths = np.divide(wealth, peak, out=wealth)
    depths -= 1.0
    depths[depths > -ROUNDING] = 0.0
    return depths


def _episodes(depths: Floats) -> _Episodes:
    count = depths.shape[1]
    # One place more a row, never below the peak, keeps the episodes of two rows apart; where the
    # rows, end to end, change is a beginning and an end in turn.
    is_below = np.zeros((len(depths), count + 1), dtype=np.bool_)
    np.less(depths, 0.0, out=is_below[:, :count])
    in_turn = np.flatnonzero(np.diff(is_below.ravel(), prepend=False))
    row, first = np.divmod(in_turn[::2], count + 1)
    end = in_turn[1::2] - row * (count + 1)
    deepest = np.zeros(0)
    if row.size:
        # Up to the next episode the depth is 0, so that each minimum is of its own episode.
        deepest = np.minimum.reduceat(depths.ravel(), row * count + first)
    return _Episodes(row, first, end, deepest)


def _deepest(episodes: _Episodes, count: int | None) -> _Episodes:
    order = np.lexsort((episodes.first, episodes.depth, episodes.row))
    ordered = episodes.pick(order)
    return ordered if count is None else ordered.pick(np.flatnonzero(_ranks(ordered) <= count))


def _ranks(ordered: _Episodes) -> Ints:
    """Place of each episode in its curve, from 1."""
    return np.asarray(
        np.arange(len(ordered.row)) - np.searchsorted(ordered.row, ordered.row) + 1, dtype=np.int64
    )


def _troughs(episodes: _Episodes, depths: Floats) -> Ints:
    """Place of the first value of each episode that is its lowest."""
    lengths = episodes.end - episodes.first
    before = np.cumsum(lengths) - lengths
    places = np.arange(lengths.sum()) + np.repeat(episodes.first - before, lengths)
    number = np.repeat(np.arange(len(lengths)), lengths)
    is_lowest = depths[episodes.row[number], places] == episodes.depth[number]
    found = np.unique(number[is_lowest], return_index=True)[1]
    return np.asarray(places[is_lowest][found], dtype=np.int64)


def _until(episodes: _Episodes, curves: Curves) -> Ints:
    """Place of the recovery, or of the last session."""
    return np.minimum(episodes.end, len(curves.sessions) - 1)


def _dated(episodes: _Episodes, depths: Floats, curves: Curves) -> pd.DataFrame:
    """Episodes, ordered by curve and rank, with their dates and spans."""
    peak, trough, until = episodes.first - 1, _troughs(episodes, depths), _until(episodes, curves)
    is_recovered = episodes.end == until
    start = curves.starts[episodes.row]
    eve = curves.sessions[start] - pd.Timedelta(days=1)
    peak_date = curves.sessions[np.maximum(peak, start)].where(peak >= start, eve)
    trough_date, until_date = curves.sessions[trough], curves.sessions[until]
    return pd.DataFrame(
        {
            "rank": _ranks(episodes),
            "depth": episodes.depth,
            "peak_date": peak_date,
            "trough_date": trough_date,
            "recovery_date": until_date.where(is_recovered),
            "drawdown_sessions": trough - peak,
            "drawdown_days": (trough_date - peak_date).days,
            "recovery_sessions": np.where(is_recovered, until - trough, np.nan),
            "recovery_days": np.where(is_recovered, (until_date - trough_date).days, np.nan),
            "underwater_sessions": until - peak,
            "underwater_days": (until_date - peak_date).days,
        }
    )
