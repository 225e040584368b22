"""How long the technical indicators of a whole market take, against two yardsticks.

Belongs here: synthetic bars, the clock, and what is compared with what. Does not belong here: a
claim that is not measured in the run that prints it.

The lower yardstick is the time it takes to move the same arrays without computing anything; the
upper one is the same set written straightforwardly with pandas groupby. Run it as
``python -m benchmarks.indicators --symbols 500 --sessions 2520 --repeat 3``.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from quant_assets.domain.adjustment import adjust, own_factors
from quant_assets.domain.indicator_names import INDICATORS
from quant_assets.domain.indicator_values import Bars, compute_indicators
from quant_assets.domain.indicators import technical_indicators

INPUT_COLUMNS = ("open", "high", "low", "close", "volume", "dividend", "split_ratio")
OUTPUT_COUNT = len(INDICATORS) + 1
PANDAS_SYMBOLS = 25
TARGET = 6.0


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--sessions", type=int, default=2520)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()

    prices = synthetic_prices(options.symbols, options.sessions, seed=1)
    sessions = pd.DatetimeIndex(prices["session_date"].unique())
    subset = prices[prices["symbol"] <= f"S{PANDAS_SYMBOLS - 1:04d}"].reset_index(drop=True)
    scale = len(prices) / len(subset)

    ours = best_of(options.repeat, lambda: technical_indicators(prices, sessions))
    bars, starts = bars_by_symbol(prices, options.sessions)
    alone = best_of(options.repeat, lambda: compute_indicators(bars, starts))
    in_order = best_of(options.repeat, lambda: copy_in_frame_order(prices, options.sessions))
    straight = best_of(options.repeat, lambda: copy_straight(prices, options.sessions))
    pandas_time = scale * best_of(options.repeat, lambda: pandas_indicators(subset))

    print(f"{options.symbols} symbols x {options.sessions} sessions = {len(prices):,} bars, best")
    print(f"of {options.repeat}; {len(INPUT_COLUMNS)} float64 arrays in, {OUTPUT_COUNT} out, one")
    print("thread; every contender allocates its own output inside the measured time.\n")
    for name, seconds in (
        ("technical_indicators: frame in, frame out, sorted", ours),
        ("compute_indicators: the computation alone, arrays by symbol in and out", alone),
        ("floor A: rows of each symbol gathered, outputs copied, put in frame order", in_order),
        ("floor B: the same arrays copied symbol by symbol, no reordering", straight),
        (f"pandas groupby, {PANDAS_SYMBOLS} symbols scaled by rows", pandas_time),
    ):
        rate = len(prices) / seconds / 1e6
        print(f"{seconds * 1e3:10.0f} ms {rate:8.2f} M bars/s {seconds / ours:8.2f} x ours  {name}")
    print()
    for what, ratio in (
        ("technical_indicators / floor A", ours / in_order),
        ("compute_indicators / floor B", alone / straight),
    ):
        verdict = "within" if ratio <= TARGET else "above"
        print(f"{what} = {ratio:.1f}, {verdict} the target of {TARGET:.0f}")
    print(f"technical_indicators / floor B = {ours / straight:.1f}")
    print(f"pandas / technical_indicators = {pandas_time / ours:.1f}")


def best_of(repeat: int, run: Callable[[], object]) -> float:
    """Shortest wall time of ``repeat`` runs, in seconds, after one that is not counted."""
    run()
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return min(times)


def copy_in_frame_order(prices: pd.DataFrame, sessions: int) -> np.ndarray:
    """Move what any implementation on this frame must move: in by symbol, out by session."""
    symbols = len(prices) // sessions
    inputs = [prices[column].to_numpy(np.float64) for column in INPUT_COLUMNS]
    by_symbol = np.arange(len(prices)).reshape(sessions, symbols).T.ravel()
    by_session = np.arange(len(prices)).reshape(symbols, sessions).T.ravel()
    gathered = [series[by_symbol] for series in inputs]
    computed = np.empty((OUTPUT_COUNT, len(prices)))
    for start in range(0, len(prices), sessions):
        for column in range(OUTPUT_COUNT):
            source = gathered[column % len(gathered)]
            computed[column, start : start + sessions] = source[start : start + sessions]
    result = np.empty_like(computed)
    for column in range(OUTPUT_COUNT):
        np.take(computed[column], by_session, out=result[column], mode="clip")
    return result


def copy_straight(prices: pd.DataFrame, sessions: int) -> np.ndarray:
    """Copy inputs and as many outputs symbol by symbol, as if the frame were already in order."""
    inputs = [prices[column].to_numpy(np.float64) for column in INPUT_COLUMNS]
    copied = np.empty((len(inputs), len(prices)))
    result = np.empty((OUTPUT_COUNT, len(prices)))
    for start in range(0, len(prices), sessions):
        symbol = slice(start, start + sessions)
        for column, series in enumerate(inputs):
            copied[column, symbol] = series[symbol]
        for column in range(OUTPUT_COUNT):
            result[column, symbol] = copied[column % len(inputs), symbol]
    return result


def bars_by_symbol(prices: pd.DataFrame, sessions: int) -> tuple[Bars, np.ndarray]:
    """Arrays of the computation alone, in symbol order, with the factors of their events."""
    by_symbol = np.arange(len(prices)).reshape(sessions, -1).T.ravel()
    starts = np.arange(0, len(prices) + 1, sessions)
    high, low, close, volume, dividend, split = (
        prices[column].to_numpy(np.float64)[by_symbol]
        for column in ("high", "low", "close", "volume", "dividend", "split_ratio")
    )
    factors = own_factors(starts, close, dividend, split, str)
    return Bars(high, low, close, volume, *factors), starts


def pandas_indicators(prices: pd.DataFrame) -> pd.DataFrame:
    """Compute the same set with groupby, rolling and ewm on adjusted bars."""
    bars = adjust(prices, None)
    symbol = bars["symbol"]
    close, high, low = bars["close"], bars["high"], bars["low"]

    def by_symbol(series: pd.Series) -> Any:
        return series.groupby(symbol)

    def rolled(series: pd.Series, length: int, how: str, **options: int) -> Any:
        rolling = by_symbol(series).rolling(length)
        return getattr(rolling, how)(**options).droplevel(0)

    def smoothed(series: pd.Series, **options: float) -> Any:
        return by_symbol(series).ewm(adjust=False, **options).mean().droplevel(0)

    out = pd.DataFrame({"session_date": bars["session_date"], "symbol": symbol})
    for length in (5, 20, 50, 60, 120, 200):
        out[f"sma_{length}"] = rolled(close, length, "mean")
    out["ema_12"], out["ema_26"] = smoothed(close, span=12), smoothed(close, span=26)
    out["macd"] = out["ema_12"] - out["ema_26"]
    out["macd_signal"] = smoothed(out["macd"], span=9)
    out["macd_histogram"] = out["macd"] - out["macd_signal"]

    change = by_symbol(close).diff()
    gain = smoothed(change.clip(lower=0), alpha=1 / 14)
    loss = smoothed(-change.clip(upper=0), alpha=1 / 14)
    out["rsi_14"] = 100 * gain / (gain + loss)

    deviation = rolled(close, 20, "std", ddof=0)
    out["bollinger_upper"] = out["sma_20"] + 2 * deviation
    out["bollinger_lower"] = out["sma_20"] - 2 * deviation
    out["bollinger_percent_b"] = (close - out["bollinger_lower"]) / (4 * deviation)

    before = by_symbol(close).shift()
    ranges = [high - low, (high - before).abs(), (low - before).abs()]
    true_range = pd.concat(ranges, axis=1).max(axis=1)
    out["atr_14"] = smoothed(true_range, alpha=1 / 14)
    up, down = by_symbol(high).diff(), -by_symbol(low).diff()
    plus = smoothed(up.where((up > down) & (up > 0), 0.0), alpha=1 / 14)
    minus = smoothed(down.where((down > up) & (down > 0), 0.0), alpha=1 / 14)
    out["plus_di_14"] = 100 * plus / out["atr_14"]
    out["minus_di_14"] = 100 * minus / out["atr_14"]
    spread = 100 * (plus - minus).abs() / (plus + minus)
    out["adx_14"] = smoothed(spread, alpha=1 / 14)

    bottom, top = rolled(low, 14, "min"), rolled(high, 14, "max")
    out["stochastic_k"] = rolled(100 * (close - bottom) / (top - bottom), 3, "mean")
    out["stochastic_d"] = rolled(out["stochastic_k"], 3, "mean")
    obv = by_symbol(np.sign(change).fillna(0.0) * bars["volume"]).cumsum()
    out["obv_change_20"] = by_symbol(obv).diff(20)
    out["obv_zscore_20"] = (obv - rolled(obv, 20, "mean")) / rolled(obv, 20, "std", ddof=0)
    out["roc_20"] = 100 * by_symbol(close).pct_change(20)
    returns = by_symbol(np.log(close)).diff()
    out["realised_volatility_20"] = rolled(returns, 20, "std", ddof=1) * np.sqrt(252)
    return out


def synthetic_prices(symbols: int, sessions: int, seed: int) -> pd.DataFrame:
    """Random walks in cents with quarterly dividends and rare splits, sorted by session."""
    random = np.random.default_rng(seed)
    shape = (sessions, symbols)
    level = random.normal(4.0, 0.8, symbols) + np.cumsum(random.normal(0, 0.02, shape), axis=0)
    close = np.round(np.exp(level), 2).clip(min=0.1)
    opened = np.round(close * (1 + random.normal(0, 0.005, shape)), 2)
    widths = np.abs(random.normal(0, 0.006, (2, *shape)))
    dates = pd.bdate_range("2010-01-04", periods=sessions).as_unit("us")
    names = np.array([f"S{number:04d}" for number in range(symbols)])
    session_date = dates.repeat(symbols)
    return pd.DataFrame(
        {
            "session_date": session_date,
            "symbol": pd.Series(np.tile(names, sessions), dtype="str"),
            "open": opened.ravel(),
            "high": np.round(np.maximum(opened, close) * (1 + widths[0]), 2).ravel(),
            "low": np.round(np.minimum(opened, close) * (1 - widths[1]), 2).ravel(),
            "close": close.ravel(),
            "volume": random.integers(10_000, 10_000_000, shape).ravel(),
            "dividend": np.where(
                random.random(shape) < 1 / 63, np.round(close * 0.005, 2), 0.0
            ).ravel(),
            "split_ratio": np.where(random.random(shape) < 1 / 2500, 2.0, 1.0).ravel(),
            "available_at": session_date.tz_localize("UTC") + pd.Timedelta("21h"),
        }
    )


if __name__ == "__main__":
    main()
