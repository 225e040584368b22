"""The paper book's state and what it is fed. What belongs here: arrays and their making.

A book holds K strategies times S symbols, so that the paper book (few strategies, one session), a
backtest (one, many sessions) and a grid (many, many) are the same computation. Does not belong
here: what happens in a session (``ledger``), the rows that are stored (``ledger_entries``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_assets.domain.trading_rules import TradingRules
from quant_assets.errors import BadDataError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

BAR_FIELDS = ("open", "high", "low", "close", "volume", "dividend", "split_ratio")


@dataclass(frozen=True, slots=True)
class Bars:
    """As-traded bars of T sessions and S symbols; NaN where a symbol has none.

    Prices and dividends are in the market's currency, volumes in shares, ``split_ratio`` new per
    old share effective before the open. ``is_listed`` is False from the day on which a symbol has
    left the exchange or the universe.
    """

    sessions: npt.NDArray[np.datetime64]
    symbols: tuple[str, ...]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    dividend: Floats
    split_ratio: Floats
    is_listed: Bools

    def of_session(self, number: int) -> "SessionBars":
        """The bars of one session, with fast access."""
        return SessionBars(*(getattr(self, name)[number] for name in (*BAR_FIELDS, "is_listed")))


@dataclass(frozen=True, slots=True)
class SessionBars:
    """The bars of one session: a value a symbol."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    dividend: Floats
    split_ratio: Floats
    is_listed: Bools


def bars_of(
    prices: pd.DataFrame,
    sessions: pd.DatetimeIndex,
    symbols: Sequence[str],
    is_listed: Bools | None = None,
) -> Bars:
    """Rows of ``us/prices`` as dense arrays of ``sessions`` (T) by ``symbols`` (S, ascending).

    Rows of other sessions and symbols are left out; ``is_listed`` (T by S) is all True by default.
    Raises ``BadDataError`` for a bar that stands twice.
    """
    arrays = dict(zip(BAR_FIELDS, dense(prices, BAR_FIELDS, sessions, symbols), strict=True))
    listed = np.ones((len(sessions), len(symbols)), bool) if is_listed is None else is_listed
    return Bars(sessions.as_unit("us").to_numpy(), tuple(symbols), is_listed=listed, **arrays)


def dense(
    frame: pd.DataFrame,
    columns: Sequence[str],
    sessions: pd.DatetimeIndex,
    symbols: Sequence[str],
) -> list[Floats]:
    """``columns`` of rows (session_date, symbol), each as sessions by symbols, NaN without a row.

    Rows of other sessions and symbols are left out. Raises ``BadDataError`` for a symbol that
    stands twice in a session.
    """
    days = pd.DatetimeIndex(frame["session_date"]).as_unit("us")
    rows = sessions.as_unit("us").get_indexer(days)
    places = pd.Index(symbols).get_indexer(pd.Index(frame["symbol"]))
    is_wanted = (rows >= 0) & (places >= 0)
    cells = rows[is_wanted] * len(symbols) + places[is_wanted]
    if len(np.unique(cells)) != len(cells):
        raise BadDataError("a symbol has two rows in one session: keep one row a symbol and date")
    arrays = []
    for name in columns:
        values = np.full(len(sessions) * len(symbols), np.nan)
        values[cells] = frame[name].to_numpy(np.float64, na_value=np.nan)[is_wanted]
        arrays.append(values.reshape(len(sessions), len(symbols)))
    return arrays


@dataclass(frozen=True, slots=True)
class Wishes:
    """What K strategies want at the close of T sessions, T by K by S.

    ``weight`` is the share of the equity that a symbol should have (0 is none, NaN no opinion),
    ``action`` 1 to buy, -1 to sell, 0 to hold. ``limit_offset_bps`` (K) makes LIMIT orders that
    far on the better side of the close; NaN makes MARKET orders.
    """

    weight: Floats
    action: npt.NDArray[np.int8]
    limit_offset_bps: Floats


@dataclass(frozen=True, slots=True)
class RuleTable:
    """The rules of K books, each field an array of K."""

    initial_cash: Floats
    commission_bps: Floats
    minimum_commission: Floats
    slippage_bps: Floats
    max_volume_share: Floats
    order_sessions: Floats
    max_position_weight: Floats
    max_gross_exposure: Floats
    max_positions: Floats
    max_turnover: Floats
    reduce_drawdown: Floats
    halt_drawdown: Floats

    @classmethod
    def of(cls, rules: Sequence[TradingRules]) -> "RuleTable":
        """The table of ``rules``, one for each strategy."""
        return cls(
            *(np.array([float(getattr(one, field.name)) for one in rules]) for field in fields(cls))
        )


@dataclass(frozen=True, slots=True)
class Book:
    """The state at the close of a session of K strategies over S symbols.

    ``cash``, ``peak`` (highest equity), ``realized``, ``dividends`` and ``costs`` (K) are in the
    market's currency and multiples of its unit; ``realized`` is proceeds less cost basis,
    ``costs`` commissions and taxes. ``shares`` and ``basis`` (what the held shares cost, without
    commission) are K by S, ``mark`` (S) the last close, restated by splits. An open order has
    ``leaves`` shares left (positive to buy, negative to sell), ``limit`` its price (NaN: MARKET),
    was made at the close of ``opened`` (days since the epoch) for ``ordered`` shares and has
    waited ``age`` sessions. ``is_new`` marks books that have not been opened yet.

    What always holds, to the unit: ``cash + value - initial cash == realized + (value - basis) +
    dividends - costs`` with ``value`` the rounded ``shares * mark``.
    """

    cash: Floats
    peak: Floats
    realized: Floats
    dividends: Floats
    costs: Floats
    shares: Floats
    basis: Floats
    mark: Floats
    leaves: Floats
    ordered: Floats
    limit: Floats
    opened: Ints
    age: Ints
    is_new: Bools


def new_book(strategies: int, symbols: int) -> Book:
    """Books that their first session will open with the initial cash of their rules."""
    wide = (strategies, symbols)
    return Book(
        cash=np.zeros(strategies),
        peak=np.zeros(strategies),
        realized=np.zeros(strategies),
        dividends=np.zeros(strategies),
        costs=np.zeros(strategies),
        shares=np.zeros(wide),
        basis=np.zeros(wide),
        mark=np.full(symbols, np.nan),
        leaves=np.zeros(wide),
        ordered=np.zeros(wide),
        limit=np.full(wide, np.nan),
        opened=np.zeros(wide, np.int64),
        age=np.zeros(wide, np.int64),
        is_new=np.ones(strategies, bool),
    )
