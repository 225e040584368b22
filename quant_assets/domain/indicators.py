"""Technical indicators of a market's daily bars, for one session or a range of any length.

Belongs here: from the frame of bars to the table of values, and which bars a value may depend on.
Does not belong here: the formulas (``indicator_values``), what a value is taken to mean
(``scoring``), how bars are adjusted (``adjustment``).

A published value depends on the symbol's bars of the last 500 sessions and on nothing else, on
bars adjusted as of its own session. A range is computed in one pass on bars adjusted as of its
last session and rescaled. That pass sees more than 500 sessions before a late one, which changes
nothing beyond 1e-9 as long as the recursions forget; where they would not (long halts, series
that hardly move) the row is computed again on exactly its own 500 sessions.
"""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_assets.domain.adjustment import (
    PRICE_COLUMNS,
    Floats,
    Ints,
    SymbolMajor,
    carry_events,
    own_factors,
    symbol_major,
)
from quant_assets.domain.indicator_names import (
    COLUMNS,
    INDICATOR_NAMES,
    INDICATORS,
    LOOK_BACK_SESSIONS,
    WARM_UP_BARS,
)
from quant_assets.domain.indicator_values import Bars, Flags, compute_indicators

ENOUGH_BARS = 450
"""Bars after which the slowest recursion has forgotten all but 1e-9 of where it started."""

WINDOWS_TOGETHER = 200
"""Look-backs computed in one call, about 25 MB of values."""


def technical_indicators(prices: pd.DataFrame, sessions: pd.DatetimeIndex) -> pd.DataFrame:
    """Compute every indicator of every symbol for the given sessions.

    ``prices`` is as-traded (session_date, symbol, open, high, low, close, volume, dividend,
    split_ratio, available_at) and holds every symbol's bars of the 500 sessions up to each of
    ``sessions``. Later rows are ignored. A bar with a price that is missing or not
    positive, or without a volume, counts as none.

    Returns the columns of ``indicator_names.COLUMNS``, one row for each session and symbol with a
    bar in it, sorted by (session_date, symbol). Values are null until their warm-up is over; then
    ``reason`` says so. A flat series has RSI 50, %K 50, %B 0.5, z-score, ADX, DI and ATR 0.

    Raises BadDataError, with symbol and date, for repeated rows and impossible events.
    """
    is_later = ~(prices["session_date"] <= sessions.max()).to_numpy()
    if is_later.any():
        prices = pd.DataFrame(prices.loc[~is_later])
    rows, kept, starts, bars = _complete_bars(prices)
    dates, session = _session_numbers(rows.days)
    session = session[kept]
    history, is_cut = _bars_in_look_back(session, starts)

    values, is_quiet = compute_indicators(bars, starts)
    is_wanted = np.isin(dates, sessions.to_numpy().astype("datetime64[us]").astype(np.int64))
    published = np.flatnonzero(is_wanted[session])
    short = _short_of_memory(published, history, is_cut, is_quiet)
    for some in np.array_split(short, 1 + len(short) // WINDOWS_TOGETHER):
        values[:, some] = _on_own_look_back(bars, some, history[some])

    published = published[np.argsort(session[published].astype(np.uint16), kind="stable")]
    frame_rows = rows.order[kept[published]]
    return _table(prices, frame_rows, bars.close, values, history, published)


def _short_of_memory(
    published: npt.NDArray[np.intp], history: Ints, is_cut: Flags, is_quiet: Flags
) -> npt.NDArray[np.intp]:
    """Published bars that what lies before their own look-back would still move beyond 1e-9.

    A quiet stretch anywhere in the look-back counts: what a recursion holds at its end comes from
    before the stretch, or is nothing at all if the look-back begins inside it.
    """
    is_short = history < ENOUGH_BARS
    if is_quiet.any():
        places = np.arange(len(history))
        last_quiet = np.maximum.accumulate(np.where(is_quiet, places, -ENOUGH_BARS))
        is_short |= places - last_quiet < ENOUGH_BARS
    is_short &= is_cut
    return published[is_short[published]]


def _on_own_look_back(bars: Bars, rows: npt.NDArray[np.intp], history: Ints) -> Floats:
    """Values of some bars computed on nothing but their own look-back, one column a bar."""
    if not len(rows):
        return np.empty((len(INDICATORS), 0))
    ends = np.cumsum(history)
    windows = np.arange(ends[-1]) + np.repeat(rows + 1 - ends, history)
    values, _ = compute_indicators(Bars(*(series[windows] for series in bars)), np.append(0, ends))
    return values[:, ends - 1]


def _complete_bars(
    prices: pd.DataFrame,
) -> tuple[SymbolMajor, npt.NDArray[np.intp], Ints, Bars]:
    """Order the bars by symbol, drop incomplete ones and carry their events to the next bar.

    TA-Lib turns one missing value into an RSI of 0 or a wrong on-balance volume for the rest of
    the series without a word, so no such value may reach it. A price of zero is how some vendors
    write that a suspended stock did not trade.
    """
    rows = symbol_major(prices["symbol"], prices["session_date"])
    ordered = {
        column: prices[column].to_numpy(np.float64)[rows.order]
        for column in (*PRICE_COLUMNS, "volume", "dividend", "split_ratio")
    }
    dividend, split = ordered.pop("dividend"), ordered.pop("split_ratio")
    is_complete = np.isfinite(sum(ordered.values())) & (ordered["volume"] >= 0.0)
    for column in PRICE_COLUMNS:
        is_complete &= ordered[column] > 0.0
    starts = rows.starts
    kept = np.arange(len(dividend))
    if not is_complete.all():
        dividend, split = carry_events(rows.starts, is_complete, dividend, split)
        kept = np.flatnonzero(is_complete)
        starts = np.searchsorted(kept, rows.starts)
        dividend, split = dividend[kept], split[kept]
        ordered = {column: series[kept] for column, series in ordered.items()}

    high, low, close = ordered["high"], ordered["low"], ordered["close"]
    price_factor, volume_factor = own_factors(
        starts, close, dividend, split, lambda row: rows.row_name(int(kept[row]))
    )
    bars = Bars(high, low, close, ordered["volume"], price_factor, volume_factor)
    return rows, kept, starts, bars


def _session_numbers(days: Ints) -> tuple[Ints, Ints]:
    """Distinct dates in order, and the number of each row's date among them."""
    numbers, dates = pd.factorize(days, sort=True)
    return dates, numbers


def _bars_in_look_back(session: Ints, starts: Ints) -> tuple[Ints, Flags]:
    """Count the symbol's bars among the 500 sessions up to each bar; say where it has more."""
    age = np.arange(1, len(session) + 1) - np.repeat(starts[:-1], np.diff(starts))
    history = np.minimum(age, LOOK_BACK_SESSIONS)
    for start, end in pairwise(starts.tolist()):
        if end - start > 1 and session[end - 1] - session[start] != end - start - 1:
            own = session[start:end]
            first = np.searchsorted(own, own - (LOOK_BACK_SESSIONS - 1))
            history[start:end] = age[start:end] - first
    return history, age > history


def _table(
    prices: pd.DataFrame,
    frame_rows: npt.NDArray[np.intp],
    close: Floats,
    values: Floats,
    history: Ints,
    published: npt.NDArray[np.intp],
) -> pd.DataFrame:
    """Put the published bars together, in the order in which ``published`` names them."""
    numbers = np.empty((1 + len(values), len(published)))
    for series, column in zip((close, *values), numbers, strict=True):
        np.take(series, published, out=column, mode="clip")
    table = pd.DataFrame(numbers.T, columns=["close", *INDICATOR_NAMES], copy=False)
    reasons = pd.array(
        [f"INSUFFICIENT_HISTORY: {n} of {WARM_UP_BARS} bars" for n in range(WARM_UP_BARS)],
        dtype="str",
    )
    bars = history[published]
    others = {
        "session_date": prices["session_date"].array.take(frame_rows),
        "symbol": prices["symbol"].astype("str").array.take(frame_rows),
        "history_bars": bars,
        "reason": reasons.take(np.where(bars < WARM_UP_BARS, bars, -1), allow_fill=True),
        "available_at": prices["available_at"].array.take(frame_rows),
    }
    for place, name in enumerate(COLUMNS):
        if name in others:
            table.insert(place, name, others[name])
    return table
