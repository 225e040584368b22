"""The formulas of the indicators, on arrays that hold one symbol after another.

Belongs here: what turns bars into the values of ``indicator_names.INDICATORS``. Does not belong
here: frames, sessions, which bars are loaded or published (``indicators``).

Recursions are TA-Lib's, started as TA-Lib starts them. Three things are not left to TA-Lib,
because rounding decides them there and bars adjusted as of two dates differ by rounding: running
sums (see ``windows``), whether a close is unchanged across a split (on-balance volume), and which
of two equal movements in opposite directions counts (directional movement: neither does).
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import talib

from quant_assets.domain.adjustment import Floats, Ints, later_products
from quant_assets.domain.indicator_names import (
    FLAT_BARS,
    INDICATOR_NAMES,
    INDICATORS,
    WARM_UP_BARS,
)
from quant_assets.domain.windows import lagged, last_against_window, wilder_mean, window_sums

Flags = npt.NDArray[np.bool_]

SESSIONS_A_YEAR = 252
MEAN_LENGTHS = (5, 20, 50, 60, 120, 200)
EQUAL = 1e-12
"""Prices this close, relative to each other across a split, are the same price."""

BLOCK_BARS = 12_500
"""Bars computed together: arrays of 100 kB stay in the cache, and calls cost little a bar."""

QUIET_BARS = 60
QUIET_MOVEMENT_PERCENT = 0.05
"""After so many equal closes, or with so little directional movement, a recursion's state is what
was left from before, not what the last bars did."""

_ROW = {name: row for row, name in enumerate(INDICATOR_NAMES)}
_MISSING = [(row, indicator.needs_bars - 1) for row, indicator in enumerate(INDICATORS)]
_RECURSIVE_ROWS = [row for row, missing in _MISSING if missing == WARM_UP_BARS - 1]
_PRICE_ROWS = [row for row, indicator in enumerate(INDICATORS) if indicator.scale == "price"]
_VOLUME_ROWS = [row for row, indicator in enumerate(INDICATORS) if indicator.scale == "volume"]


class Bars(NamedTuple):
    """As-traded bars and factors of their own events, symbol after symbol, oldest first."""

    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    price_factor: Floats
    volume_factor: Floats

    def between(self, start: int, end: int) -> "Bars":
        """Part of the bars, without copying."""
        return Bars(*(values[start:end] for values in self))


def compute_indicators(bars: Bars, starts: Ints) -> tuple[Floats, Flags]:
    """Compute all indicators on every bar of every symbol.

    ``starts`` holds the place where each symbol begins, with the number of bars at the end.
    Returns the values, one row an indicator of ``INDICATORS``, in the units of each bar's own
    session and null below the warm-up; and the bars at which so little moves that recursions
    hardly forget.
    """
    values = np.empty((len(INDICATORS), len(bars.close)))
    is_quiet = np.empty(len(bars.close), dtype=np.bool_)
    for first, last in _blocks(starts):
        start, end = starts[first], starts[last]
        is_quiet[start:end] = _fill_block(
            values[:, start:end], bars.between(start, end), starts[first : last + 1] - start
        )
    return values, is_quiet


def sma(values: Floats, length: int) -> Floats:
    """Mean of the last ``length`` values, NaN before."""
    result = window_sums(values, (length,))[0] / length
    result[: length - 1] = np.nan
    return result


def ema(values: Floats, length: int) -> Floats:
    """Exponential mean, smoothing 2/(length+1), starting from the mean of the first values."""
    return talib.EMA(values, length)


def rsi(values: Floats, length: int) -> Floats:
    """Wilder's relative strength index, starting from the mean of the first changes."""
    return talib.RSI(values, length)


def _fill_block(values: Floats, bars: Bars, starts: Ints) -> Flags:
    """Compute some symbols into ``values``; return the bars at which hardly anything moves."""
    price_scale = later_products(starts, bars.price_factor)
    volume_scale = later_products(starts, bars.volume_factor)
    high, low, close = (series * price_scale for series in bars[:3])
    growth = _growth(bars.close, bars.price_factor, starts)

    _fill_close_windows(values, close, growth)
    _fill_range_windows(values, high, low, close)
    _fill_volume_windows(values, bars.volume * volume_scale, growth)
    movement = _directional_movement(bars, price_scale, starts)
    for start, end in pairwise(starts.tolist()):
        own = values[:, start:end]
        if end - start < WARM_UP_BARS:
            own[_RECURSIVE_ROWS] = np.nan
            continue
        _fill_close_recursions(own, close[start:end])
        own[_ROW["atr_14"]] = talib.ATR(high[start:end], low[start:end], close[start:end], 14)
        _fill_directional(own, *(series[start:end] for series in movement))
    is_quiet = _settle_flat(values, bars, growth, starts)
    for start, end in pairwise(starts.tolist()):
        for row, missing in _MISSING:
            values[row, start : min(start + missing, end)] = np.nan

    np.divide(1.0, price_scale, out=price_scale)
    np.divide(1.0, volume_scale, out=volume_scale)
    for row in _PRICE_ROWS:
        values[row] *= price_scale
    for row in _VOLUME_ROWS:
        values[row] *= volume_scale
    return is_quiet


def _growth(series: Floats, price_factor: Floats, starts: Ints) -> Floats:
    """Price over the price before, adjusted for the events in between; exactly 1 if unchanged.

    Taken from as-traded bars and their own events alone, so it does not depend on the session as
    of which bars are adjusted. 1 on a symbol's first bar.
    """
    growth = np.empty_like(series)
    np.multiply(series[:-1], price_factor[1:], out=growth[1:])
    np.divide(series[1:], growth[1:], out=growth[1:])
    growth[starts[:-1][starts[:-1] < starts[1:]]] = 1.0
    growth[np.abs(growth - 1.0) <= EQUAL] = 1.0
    return growth


def _fill_close_windows(values: Floats, close: Floats, growth: Floats) -> None:
    for length, total in zip(MEAN_LENGTHS, window_sums(close, MEAN_LENGTHS), strict=True):
        np.divide(total, length, out=values[_ROW[f"sma_{length}"]])

    steps = np.zeros_like(close)
    np.subtract(close[1:], close[:-1], out=steps[1:])
    steps[growth == 1.0] = 0.0
    above_mean, variance = last_against_window(steps)
    deviation = np.sqrt(variance)
    middle = values[_ROW["sma_20"]]
    values[_ROW["bollinger_middle"]] = middle
    values[_ROW["bollinger_upper"]] = middle + 2.0 * deviation
    values[_ROW["bollinger_lower"]] = middle - 2.0 * deviation
    percent_b = values[_ROW["bollinger_percent_b"]]
    percent_b[:] = 0.5
    np.divide(above_mean, 4.0 * deviation, out=above_mean, where=deviation > 0.0)
    np.add(percent_b, above_mean, out=percent_b, where=deviation > 0.0)

    roc = values[_ROW["roc_20"]]
    np.divide(close, lagged(close, 20), out=roc)
    roc -= 1.0
    roc *= 100.0

    returns = np.log(growth)
    total, squares = (window_sums(series, (20,))[0] for series in (returns, returns * returns))
    variance = squares - total * total / 20.0
    variance *= SESSIONS_A_YEAR / 19.0
    np.sqrt(np.maximum(variance, 0.0), out=values[_ROW["realised_volatility_20"]])


def _fill_range_windows(values: Floats, high: Floats, low: Floats, close: Floats) -> None:
    fast_k = np.full_like(close, 50.0)
    if len(close) >= 14:
        top, bottom = talib.MAX(high, 14), talib.MIN(low, 14)
        width = top - bottom
        has_range = width > EQUAL * top
        np.divide(100.0 * (close - bottom), width, out=fast_k, where=has_range)
    slow_k = values[_ROW["stochastic_k"]]
    np.divide(window_sums(fast_k, (3,))[0], 3.0, out=slow_k)
    np.divide(window_sums(slow_k, (3,))[0], 3.0, out=values[_ROW["stochastic_d"]])


def _fill_volume_windows(values: Floats, volume: Floats, growth: Floats) -> None:
    """On-balance volume only ever enters as a difference, so its level is never built up."""
    flow = np.sign(growth - 1.0)
    flow *= volume
    values[_ROW["obv_change_20"]] = window_sums(flow, (20,))[0]
    above_mean, variance = last_against_window(flow)
    deviation = np.sqrt(variance)
    zscore = values[_ROW["obv_zscore_20"]]
    zscore[:] = 0.0
    np.divide(above_mean, deviation, out=zscore, where=deviation > 0.0)


def _fill_close_recursions(values: Floats, close: Floats) -> None:
    """TA-Lib's recursions of one symbol's closes."""
    macd, signal, histogram = talib.MACD(close, 12, 26, 9)
    for name, series in (
        ("ema_12", ema(close, 12)),
        ("ema_26", ema(close, 26)),
        ("macd", macd),
        ("macd_signal", signal),
        ("macd_histogram", histogram),
        ("rsi_14", rsi(close, 14)),
    ):
        values[_ROW[name]] = series


def _directional_movement(bars: Bars, scale: Floats, starts: Ints) -> tuple[Floats, Floats, Floats]:
    """Upward and downward movement and true range of each bar, 0 on a symbol's first.

    Each bar is compared with the bar before restated to its own basis, so the choice between up
    and down is made on the same bits whatever the bars are adjusted to.
    """
    high, low, factor = bars.high[1:], bars.low[1:], bars.price_factor[1:]
    earlier = bars.between(0, len(bars.close) - 1)
    up = high - earlier.high * factor
    down = earlier.low * factor - low
    previous_close = earlier.close * factor
    excess = up - down
    tie = EQUAL * high
    movement = (
        np.where(excess > tie, np.maximum(up, 0.0), 0.0),
        np.where(excess < -tie, np.maximum(down, 0.0), 0.0),
        np.maximum(high, previous_close) - np.minimum(low, previous_close),
    )
    up, down, true_range = (np.append(0.0, series) * scale for series in movement)
    first = starts[:-1][starts[:-1] < starts[1:]]
    for series in (up, down, true_range):
        series[first] = 0.0
    return up, down, true_range


def _fill_directional(values: Floats, up: Floats, down: Floats, true_range: Floats) -> None:
    """DI and ADX of one symbol, started as TA-Lib starts them."""
    mean_range = wilder_mean(true_range)[14:]
    has_range = mean_range > 0.0
    indices = []
    for movement in (up, down):
        index = np.zeros_like(mean_range)
        np.divide(100.0 * wilder_mean(movement)[14:], mean_range, out=index, where=has_range)
        indices.append(index)
    plus, minus = indices
    total = plus + minus
    spread = np.zeros_like(total)
    np.divide(100.0 * np.abs(plus - minus), total, out=spread, where=total > 0.0)
    for name, series in (
        ("plus_di_14", plus),
        ("minus_di_14", minus),
        ("adx_14", wilder_mean(spread)),
    ):
        values[_ROW[name], :14] = np.nan
        values[_ROW[name], 14:] = series


def _settle_flat(values: Floats, bars: Bars, growth: Floats, starts: Ints) -> Flags:
    """Give flat series the values of a flat series, and find the bars of quiet ones.

    Wilder's ratios never settle by themselves: gains and losses decay at one pace, so after the
    last change RSI and ADX keep the value they had for as long as numbers can be divided.
    """
    moved = values[_ROW["plus_di_14"]] + values[_ROW["minus_di_14"]]
    is_quiet: Flags = moved < QUIET_MOVEMENT_PERCENT
    is_unchanged = growth == 1.0
    if np.count_nonzero(is_unchanged) < QUIET_BARS:
        return is_quiet
    equal_closes = _run_lengths(is_unchanged)
    is_quiet |= equal_closes >= QUIET_BARS
    is_flat = equal_closes >= FLAT_BARS - 1
    if is_flat.any():
        values[_ROW["rsi_14"], is_flat] = 50.0
        for series in (bars.high, bars.low):
            unchanged = _growth(series, bars.price_factor, starts) == 1.0
            is_flat &= _run_lengths(unchanged) >= FLAT_BARS - 1
        for name in ("adx_14", "plus_di_14", "minus_di_14"):
            values[_ROW[name], is_flat] = 0.0
        values[_ROW["atr_14"], is_flat & (bars.high == bars.low)] = 0.0
    return is_quiet


def _run_lengths(flags: Flags) -> Ints:
    """Number of flags set in a row up to and including each place."""
    places = np.arange(len(flags))
    return places - np.maximum.accumulate(np.where(flags, -1, places))


def _blocks(starts: Ints) -> list[tuple[int, int]]:
    """Ranges of symbols with about ``BLOCK_BARS`` bars each, at least one symbol."""
    blocks = []
    first = 0
    for last in range(1, len(starts)):
        is_full = last + 1 == len(starts) or starts[last + 1] - starts[first] > BLOCK_BARS
        if is_full:
            blocks.append((first, last))
            first = last
    return blocks
