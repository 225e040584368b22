"""Rolling sums and deviations whose value depends on the window and on nothing before it.

Belongs here: the arithmetic under the indicators, on plain arrays: windows, and Wilder's mean of
series that TA-Lib does not take. Does not belong here: what an indicator means, frames.

Running sums, which is what TA-Lib and pandas keep, carry the rounding of everything that ever
passed through them: after a large value has left, a calm window shows a deviation where there is
none, and two computations that started at different bars disagree. Here a window is put together
from halves of equal length by doubling, always the same way, so equal windows give equal bits and
a window without changes deviates by exactly zero.

Arrays may hold several series end to end. The first ``n - 1`` results of every series then mix it
with its neighbour and are to be blanked by the caller.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import talib

Floats = npt.NDArray[np.float64]

WILDER_LENGTH = 14
_KEPT = 1.0 - 1.0 / WILDER_LENGTH
_EMA_LENGTH = 2 * WILDER_LENGTH - 1
"""Length at which an exponential mean, 2/(length+1), smooths as Wilder's does, 1/14."""

_STEPS = np.arange(WILDER_LENGTH - 1, _EMA_LENGTH)[:, np.newaxis]
_PLACES = np.arange(_EMA_LENGTH)
_FIRST_WEIGHTS = np.where(
    _PLACES <= _STEPS,
    _KEPT ** (_STEPS - np.maximum(_PLACES, WILDER_LENGTH - 1)).clip(min=0) / WILDER_LENGTH,
    0.0,
)
"""Weight of each of the first 27 values in Wilder's mean after 14, 15, ... 27 of them."""

_FADING = _KEPT ** np.arange(2000)


def lagged(values: Floats, lag: int) -> Floats:
    """Value ``lag`` places before, the first values repeated at the start."""
    result = np.empty_like(values)
    result[:lag] = values[:lag]
    result[lag:] = values[:-lag]
    return result


def window_sums(values: Floats, lengths: Sequence[int]) -> list[Floats]:
    """Sum over each of ``lengths``, put together from sums over powers of two."""
    doubled = [values]
    while 2 ** len(doubled) <= max(lengths):
        doubled.append(_plus_lagged(doubled[-1], doubled[-1], 2 ** (len(doubled) - 1)))
    sums = []
    for length in lengths:
        largest = length.bit_length() - 1
        total, covered = doubled[largest], 2**largest
        for power in reversed(range(largest)):
            if length >> power & 1:
                total = _plus_lagged(total, doubled[power], covered)
                covered += 2**power
        sums.append(total)
    return sums


def last_against_window(steps: Floats) -> tuple[Floats, Floats]:
    """Last value less the mean of the last 20, and their mean squared deviation from that mean.

    ``steps`` are the changes from one value to the next; levels never enter, so a series that has
    grown to 1e12 is as exact as one that starts at zero. Blocks are joined as Chan, Golub and
    LeVeque (1979) join the moments of two samples: no difference of large squares.
    """
    offset, spread, travel = _join_equal(np.zeros_like(steps), np.zeros_like(steps), steps, 1)
    quarter: tuple[Floats, Floats] = (offset, spread)
    for length in (2, 4, 8):
        if length == 4:
            quarter = (offset, spread)
        offset, spread, travel = _join_equal(offset, spread, travel, length)
    older_offset, older_spread = quarter
    step_back = lagged(older_offset, 16)
    step_back -= 4.0 * travel
    mean_gap = step_back / 4.0
    mean_gap -= offset / 16.0
    total = _plus_lagged(spread, older_spread, 16)
    total += mean_gap * mean_gap * (16.0 * 4.0 / 20.0)
    return -(offset + step_back) / 20.0, total / 20.0


def wilder_mean(values: Floats) -> Floats:
    """Wilder's mean of 14, started from the mean of the first 14 values; NaN for the first 13.

    TA-Lib's exponential mean does the recursion but starts from the mean of the first 27 values;
    the difference of the two starts fades by 13/14 a value and is added. Takes 27 values or more.
    """
    mean: Floats = talib.EMA(values, _EMA_LENGTH)
    first = _FIRST_WEIGHTS @ values[:_EMA_LENGTH]
    corrected = mean[_EMA_LENGTH - 1 :][: len(_FADING)]
    corrected += (first[-1] - corrected[0]) * _FADING[: len(corrected)]
    mean[WILDER_LENGTH - 1 : _EMA_LENGTH] = first
    return mean


def _join_equal(
    offset: Floats, spread: Floats, travel: Floats, length: int
) -> tuple[Floats, Floats, Floats]:
    """Join each block of ``length`` values with the block before it.

    For a block ending at a value: ``offset`` is the sum of (value - last value), ``spread`` the
    sum of squared deviations from the block's mean, ``travel`` the last value less the value
    before the block.
    """
    older = lagged(offset, length)
    older -= length * travel
    gap = older - offset
    gap *= gap
    gap *= 1.0 / (2 * length)
    gap += _plus_lagged(spread, spread, length)
    older += offset
    return older, gap, _plus_lagged(travel, travel, length)


def _plus_lagged(values: Floats, earlier: Floats, lag: int) -> Floats:
    """``values`` plus ``earlier`` as it was ``lag`` places before."""
    result = np.empty_like(values)
    result[:lag] = values[:lag]
    np.add(values[lag:], earlier[:-lag], out=result[lag:])
    return result
