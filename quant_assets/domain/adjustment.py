"""Splits and dividends: from a vendor's bars to as-traded bars, and from those to adjusted ones.

Belongs here: the one definition of an adjustment factor, and the functions that undo or apply it.
Does not belong here: fetching events, deciding whether an event is plausible, indicators.

Conventions. A row's ``split_ratio`` s (new per old share) is effective before its open; its
``dividend`` d is cash per as-traded share on the ex-date, hence per *new* share when both fall on
one day. With P the as-traded close of the symbol's bar before, in old shares, every earlier price
is multiplied by ``(1 - d*s/P) / s`` and every earlier volume by ``s``: the multiplier 1 - D/P of
CRSP's total-return adjustment and of Yahoo's "Adj Close", restated for a split on the same day.
An event on a row without a positive close belongs to the symbol's next row that has one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_assets.errors import BadDataError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PRICE_COLUMNS = ("open", "high", "low", "close")
DIVIDEND_DECIMALS = 6
SINGLE_PRECISION_ERROR = 6e-8
"""Of a vendor's price, relative: half the last bit of the single precision it is kept in."""
SIXTH_DECIMAL_ERROR = 5.01e-7
"""Of a vendor's price or dividend per share of today: it keeps six decimals."""


@dataclass(frozen=True, slots=True)
class SymbolMajor:
    """The rows of a frame ordered by (symbol, date) without moving the frame.

    ``order`` holds the frame's row numbers in that order; ``starts`` the place where each symbol
    begins, with the number of rows at the end; ``symbols`` the sorted names; ``days`` the dates in
    that order, as microseconds since the epoch.
    """

    order: npt.NDArray[np.intp]
    starts: Ints
    symbols: npt.NDArray[np.object_]
    days: Ints

    def codes(self) -> Ints:
        """Number of the symbol of every ordered row."""
        return np.repeat(np.arange(len(self.symbols)), np.diff(self.starts))

    def row_name(self, position: int) -> str:
        """``symbol on date`` of one ordered row, for messages."""
        symbol = self.symbols[np.searchsorted(self.starts, position, side="right") - 1]
        return f"{symbol} on {self.days[position].astype('datetime64[us]').astype('datetime64[D]')}"


def symbol_major(symbols: pd.Series, dates: pd.Series) -> SymbolMajor:
    """Order rows by (symbol, date).

    Integers are sorted, never strings. Raises BadDataError for a row without symbol or date and
    for two rows of one symbol and date.
    """
    codes, uniques = pd.factorize(symbols.astype("str"), sort=True)
    days = _microseconds(dates)
    if (codes < 0).any() or dates.isna().any():
        raise BadDataError(
            "a row has no symbol or no date; every price row names both: drop or repair it"
        )
    narrow = codes.astype(np.uint16 if len(uniques) < 2**16 else np.uint32)
    if (days[1:] >= days[:-1]).all():
        order = np.argsort(narrow, kind="stable")
    else:
        order = np.lexsort((days, narrow))
    starts = np.concatenate(([0], np.cumsum(np.bincount(codes, minlength=len(uniques)))))
    ordered = SymbolMajor(order, starts, np.asarray(uniques, dtype=object), days[order])
    repeated = np.flatnonzero(ordered.days[1:] == ordered.days[:-1]) + 1
    repeated = repeated[~np.isin(repeated, starts)]
    if repeated.size:
        raise BadDataError(
            f"two rows for {ordered.row_name(int(repeated[0]))} ({repeated.size} such rows): "
            "keep one row a symbol and date"
        )
    return ordered


def as_traded(bars: pd.DataFrame, events: pd.DataFrame, *, price_decimals: int) -> pd.DataFrame:
    """Undo the split adjustment of a vendor's daily bars.

    ``bars`` (symbol, session_date, open, high, low, close, volume, ...) and ``events`` (symbol,
    event_date, dividend, split_ratio) are split-adjusted as of the last event given, so ``events``
    must reach to the day of the fetch, beyond the last bar too. Prices are multiplied by the
    product of the ratios effective after the bar, volume is divided by it and rounded to int64,
    dividends are restated per as-traded share. Prices get the fewest decimals, at most
    ``price_decimals``, that differ from the product by no more than the vendor's own rounding, and
    dividends likewise at most 6: else a price of 3346.83 or a dividend of 2.65 would come back
    with other last digits after every later split. An event on a day without a bar belongs to the
    first bar after it, one before the symbol's first bar to none: ask the vendor for a few
    sessions before the first one wanted.

    Returns the rows of ``bars`` in their order with ``dividend`` and ``split_ratio`` of each row.
    Raises BadDataError, with symbol and date, for an impossible event or a bar without a volume.
    """
    _check_events(events)
    rows = symbol_major(bars["symbol"], bars["session_date"])
    dividend, split, after_last = _events_by_row(rows, events)
    later = later_products(rows.starts, split) * np.repeat(after_last, np.diff(rows.starts))

    result = bars.copy()
    position = np.empty(len(bars), dtype=np.intp)
    position[rows.order] = np.arange(len(bars))
    factor = later[position]
    for column in PRICE_COLUMNS:
        price = bars[column].to_numpy(np.float64) * factor
        error = SINGLE_PRECISION_ERROR * np.abs(price) + SIXTH_DECIMAL_ERROR * factor
        result[column] = _fewest_decimals(price, error, price_decimals)
    volume = bars["volume"].to_numpy(np.float64)
    if not np.isfinite(volume).all():
        first = int(np.flatnonzero(~np.isfinite(volume))[0])
        raise BadDataError(
            f"the bar of {rows.row_name(int(position[first]))} has no volume: drop the incomplete "
            "bar before restating it"
        )
    result["volume"] = np.rint(volume / factor).astype(np.int64)
    result["dividend"] = _fewest_decimals(
        (dividend * later)[position], SIXTH_DECIMAL_ERROR * factor, DIVIDEND_DECIMALS
    )
    result["split_ratio"] = split[position]
    return result


def adjustment_factors(prices: pd.DataFrame) -> pd.DataFrame:
    """Factors of each row's own events, to be applied to the symbol's earlier rows.

    ``prices`` is as-traded (symbol, session_date, close, dividend, split_ratio). Returns symbol,
    session_date, price_factor and volume_factor, 1.0 without event, in the order and with the
    index of ``prices``. The dividend of a symbol's first row has no close before it and no row to
    apply to: it counts as none. Raises BadDataError, with symbol and date, for a ratio that is not
    positive and for a dividend that is negative or not below the close before it.
    """
    rows, price_factor, volume_factor = _own_factors_of(prices)
    return _in_frame_order(prices, rows, price_factor, volume_factor)


def adjust(prices: pd.DataFrame, as_of: date | None) -> pd.DataFrame:
    """Adjust as-traded OHLC and volume for the events with ex-date up to ``as_of``.

    Rows after ``as_of`` are dropped; ``None`` means the last row. Columns, order and index stay as
    they are; volume becomes float. Raises as ``adjustment_factors`` does.
    """
    kept = prices
    if as_of is not None:
        kept = prices.loc[prices["session_date"] <= pd.Timestamp(as_of)]
    rows, price_factor, volume_factor = _own_factors_of(kept)
    factors = _in_frame_order(
        kept,
        rows,
        later_products(rows.starts, price_factor),
        later_products(rows.starts, volume_factor),
    )
    result = kept.copy()
    for column in PRICE_COLUMNS:
        result[column] = kept[column] * factors["price_factor"]
    result["volume"] = kept["volume"] * factors["volume_factor"]
    return result


def rescaling(prices: pd.DataFrame) -> pd.DataFrame:
    """What turns values on bars adjusted as of the last row into values as of each row.

    Returns symbol, session_date, price_factor and volume_factor in the order and with the index of
    ``prices``: multiply a value in price (volume) units by it. Raises as ``adjustment_factors``.
    """
    rows, price_factor, volume_factor = _own_factors_of(prices)
    return _in_frame_order(
        prices,
        rows,
        1.0 / later_products(rows.starts, price_factor),
        1.0 / later_products(rows.starts, volume_factor),
    )


def own_factors(
    starts: Ints,
    close: Floats,
    dividend: Floats,
    split: Floats,
    row_name: Callable[[int], str],
) -> tuple[Floats, Floats]:
    """Price and volume factor of each ordered row's own event, with the module's formula.

    Arrays are in (symbol, date) order, every close present; ``starts`` as in ``SymbolMajor``.
    ``row_name`` names a row in the BadDataError for an impossible event.
    """
    price_factor = np.ones(len(close))
    rows = np.flatnonzero((dividend != 0.0) | (split != 1.0))
    for what, values, is_possible in (
        ("split ratio", split, (split[rows] > 0.0) & np.isfinite(split[rows])),
        ("dividend", dividend, (dividend[rows] >= 0.0) & np.isfinite(dividend[rows])),
    ):
        if not is_possible.all():
            wrong = int(rows[~is_possible][0])
            raise BadDataError(
                f"{what} {values[wrong]} of {row_name(wrong)} is impossible: quarantine the event"
            )
    has_earlier = ~np.isin(rows, starts)
    previous_close = np.where(has_earlier, close[rows - 1], np.inf)
    paid = dividend[rows] * split[rows] / previous_close
    if not (paid < 1.0).all():
        worst = int(np.flatnonzero(~(paid < 1.0))[0])
        raise BadDataError(
            f"dividend {dividend[rows[worst]]} of {row_name(int(rows[worst]))} is not below the "
            f"previous close {previous_close[worst]}: quarantine the event"
        )
    price_factor[rows] = (1.0 - paid) / split[rows]
    return price_factor, split


def later_products(starts: Ints, factors: Floats) -> Floats:
    """Product of the factors of the symbol's later rows, for every ordered row.

    Factors differ from 1 on few rows, so the products are built on those and repeated in between.
    """
    rows = np.flatnonzero(factors != 1.0)
    ends = starts[1:]
    owner = np.searchsorted(ends, rows, side="right").tolist()
    products = factors[rows].tolist()
    for event in range(len(products) - 2, -1, -1):
        if owner[event] == owner[event + 1]:
            products[event] *= products[event + 1]
    # A symbol may end where the next one's first event is: its end must come first.
    bounds = np.concatenate((ends, rows))
    values = np.concatenate((np.ones(len(ends)), products))
    by_place = np.argsort(bounds, kind="stable")
    return np.repeat(values[by_place], np.diff(bounds[by_place], prepend=0))


def carry_events(
    starts: Ints, has_bar: npt.NDArray[np.bool_], dividend: Floats, split: Floats
) -> tuple[Floats, Floats]:
    """Move the events of rows without a bar to the symbol's next row with one.

    A dividend carried over a later split is restated per new share. What follows the last bar of
    a symbol has nowhere to go and is dropped.
    """
    lost = np.flatnonzero(~has_bar & ((dividend != 0.0) | (split != 1.0)))
    if not lost.size:
        return dividend, split
    dividend, split = dividend.copy(), split.copy()
    bars = np.flatnonzero(has_bar)
    targets = np.append(bars, len(has_bar))[np.searchsorted(bars, lost)]
    ends = starts[1:][np.searchsorted(starts[1:], lost, side="right")]
    for row, target, end in zip(lost[::-1], targets[::-1], ends[::-1], strict=True):
        if target < end:
            dividend[target] += dividend[row] / split[target]
            split[target] *= split[row]
        dividend[row], split[row] = 0.0, 1.0
    return dividend, split


def _own_factors_of(prices: pd.DataFrame) -> tuple[SymbolMajor, Floats, Floats]:
    rows = symbol_major(prices["symbol"], prices["session_date"])
    close, dividend, split = (
        prices[column].to_numpy(np.float64)[rows.order]
        for column in ("close", "dividend", "split_ratio")
    )
    has_close = np.isfinite(close) & (close > 0.0)
    dividend, split = carry_events(rows.starts, has_close, dividend, split)
    kept = np.flatnonzero(has_close)
    starts = np.searchsorted(kept, rows.starts)
    price_factor, volume_factor = np.ones(len(close)), np.ones(len(close))
    price_factor[kept], volume_factor[kept] = own_factors(
        starts,
        close[kept],
        dividend[kept],
        split[kept],
        lambda position: rows.row_name(int(kept[position])),
    )
    return rows, price_factor, volume_factor


def _in_frame_order(
    frame: pd.DataFrame, rows: SymbolMajor, price_factor: Floats, volume_factor: Floats
) -> pd.DataFrame:
    result = frame[["symbol", "session_date"]].copy()
    for column, ordered in (("price_factor", price_factor), ("volume_factor", volume_factor)):
        values = np.empty(len(frame))
        values[rows.order] = ordered
        result[column] = values
    return result


def _check_events(events: pd.DataFrame) -> None:
    for column, is_wrong in (
        ("split_ratio", ~(events["split_ratio"] > 0) | np.isinf(events["split_ratio"])),
        ("dividend", ~(events["dividend"] >= 0) | np.isinf(events["dividend"])),
    ):
        if is_wrong.any():
            event = events.loc[is_wrong].iloc[0]
            raise BadDataError(
                f"{column} {event[column]} of {event['symbol']} on "
                f"{event['event_date']:%Y-%m-%d} is impossible: quarantine the event"
            )


def _events_by_row(rows: SymbolMajor, events: pd.DataFrame) -> tuple[Floats, Floats, Floats]:
    """Give each event to its bar: dividend and ratio by row, and ratio after each last bar."""
    count = len(rows.order)
    dividend, split, after_last = np.zeros(count), np.ones(count), np.ones(len(rows.symbols))
    owner = pd.Index(rows.symbols, dtype=object).get_indexer(
        pd.Index(events["symbol"], dtype=object)
    )
    known = owner >= 0
    owner = owner[known]
    event_day = _microseconds(events["event_date"])[known]
    ratio = events["split_ratio"].to_numpy(np.float64)[known]
    cash = events["dividend"].to_numpy(np.float64)[known]

    place = _first_at_or_after(rows, owner, event_day)
    is_after_last = place == rows.starts[owner + 1]
    np.multiply.at(after_last, owner[is_after_last], ratio[is_after_last])
    has_bar = ~is_after_last
    has_bar[has_bar] &= (place > rows.starts[owner])[has_bar] | (
        event_day[has_bar] == rows.days[place[has_bar]]
    )
    np.multiply.at(split, place[has_bar], ratio[has_bar])
    np.add.at(dividend, place[has_bar], cash[has_bar])
    return dividend, split, after_last


def _first_at_or_after(rows: SymbolMajor, owner: Ints, day: Ints) -> Ints:
    """Place of the first row of symbol ``owner`` on or after ``day``, else the symbol's end."""
    dates = np.unique(np.concatenate((rows.days, day)))
    keys = rows.codes() * len(dates) + np.searchsorted(dates, rows.days)
    return np.searchsorted(keys, owner * len(dates) + np.searchsorted(dates, day))


def _fewest_decimals(values: Floats, error: Floats, most: int) -> Floats:
    """Round to the fewest decimals within ``error`` of a value, never to zero, else to ``most``."""
    result = np.round(values, most)
    for decimals in range(most - 1, -1, -1):
        rounded = np.round(values, decimals)
        is_within = (np.abs(rounded - values) <= error) & (rounded != 0.0)
        result = np.where(is_within, rounded, result)
    return result


def _microseconds(dates: pd.Series) -> Ints:
    return dates.to_numpy().astype("datetime64[us]").astype(np.int64)
