"""Figures of trades: fills matched into round trips, what those won and lost, turnover and fees.

Belongs here: everything computed from fills and orders. Does not belong here: the equity curve
(performance), positions and cash (the ledger).

Fills are a table with the columns session_date, symbol, side (BUY or SELL), shares (as-traded,
positive), price (as-traded, of one share), costs (commission, taxes and fees of the fill, in the
same currency, 0 or more), in the order in which they happened within a session. Splits are a table
with session_date, symbol, split_ratio (new per old share, effective before the open of the
session): fills of that session are in new shares already.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quant_assets.domain.performance_curves import SESSIONS_PER_YEAR, Floats
from quant_assets.errors import BadDataError

SIDES = {"BUY": 1.0, "SELL": -1.0}
FILL_COLUMNS = ("session_date", "symbol", "side", "shares", "price", "costs")
ROUND_TRIP_COLUMNS = (
    "symbol",
    "direction",
    "entry_date",
    "exit_date",
    "shares",
    "entry_price",
    "exit_price",
    "gross_profit",
    "costs",
    "net_profit",
    "return",
    "holding_sessions",
)
TRADE_FIGURES = (
    "round_trips",
    "net_profit",
    "costs",
    "win_rate",
    "profit_factor",
    "expectancy",
    "payoff_ratio",
    "average_win",
    "average_loss",
    "holding_sessions",
)
TURNOVER_FIGURES = ("traded_value", "annual_turnover", "fees", "fees_bps")
_LEFT_OVER = 1e-9
"""Share of a fill below which what is left of it is rounding: 1/3 has no last digit."""
_ROUNDED = 1e-5
"""Shares below which a difference is a split's: the book takes what is within a millionth of a
share of a whole one for that, at each split."""


def round_trips(
    fills: pd.DataFrame,
    sessions: pd.DatetimeIndex,
    splits: pd.DataFrame | None = None,
    *,
    is_short_allowed: bool = False,
) -> pd.DataFrame:
    """Match fills first in, first out: each pair of an opening and a closing fill is a round trip.

    A fill that closes two openings makes two round trips, and an opening that is closed in parts
    makes one for each part. A fill beyond the open position closes it and opens the opposite one,
    if ``is_short_allowed``. What is still open at the end is in no round trip. ``sessions`` are
    the sessions of the market, from the first fill to the last.

    Returns ``ROUND_TRIP_COLUMNS``, ordered by exit: direction LONG or SHORT; shares and both prices
    as of the exit, so an entry before a 4:1 split has four times its shares at a quarter of its
    price; gross_profit = +-(exit_price - entry_price) * shares; costs: of both fills, by shares;
    net_profit = gross_profit - costs; return = net_profit / (entry_price * shares);
    holding_sessions: sessions from entry to exit, 0 within one.

    Raises BadDataError, with symbol and session, for an unknown side, shares or a price that are
    not positive, costs below 0, a session that is not in ``sessions``, a ratio that is not
    positive, a sale of more than is held where that is not allowed.
    """
    ordered = _checked_fills(fills, sessions)
    factor = _later_ratios(ordered, splits)
    rows: list[tuple[object, ...]] = []
    for symbol, own in ordered.groupby("symbol", sort=True):
        rows += _matched(str(symbol), own, factor[own["row"].to_numpy()], is_short_allowed)
    result = pd.DataFrame(rows, columns=pd.Index(_MATCH_COLUMNS))
    return _described(result, sessions)


def trade_figures(trips: pd.DataFrame) -> pd.Series:
    """Compute what round trips won and lost, after costs; p is the ``net_profit`` of each.

    - round_trips: their number; net_profit = sum(p); costs: their sum.
    - win_rate: share of the round trips with p > 0; those with p = 0 are no wins.
    - profit_factor = sum(p > 0) / -sum(p < 0); missing without a loss.
    - expectancy = mean(p), currency a round trip.
    - payoff_ratio = average_win / -average_loss, the means over p > 0 and over p < 0; each is
      missing without such a round trip.
    - holding_sessions: mean holding time.

    (Terms as in Tharp 1998 and Kaufman 2013.) ``trips`` has ``ROUND_TRIP_COLUMNS``. Returns
    ``TRADE_FIGURES``; without round trips the sums are 0 and the rest is missing.
    """
    profit = trips["net_profit"].to_numpy(np.float64)
    wins, losses = profit[profit > 0.0], profit[profit < 0.0]
    average_win, average_loss = _mean(wins), _mean(losses)
    figures = {
        "round_trips": float(len(profit)),
        "net_profit": profit.sum(),
        "costs": trips["costs"].sum(),
        "win_rate": _mean(profit > 0.0),
        "profit_factor": wins.sum() / -losses.sum() if losses.size else np.nan,
        "expectancy": _mean(profit),
        "payoff_ratio": average_win / -average_loss,
        "average_win": average_win,
        "average_loss": average_loss,
        "holding_sessions": _mean(trips["holding_sessions"].to_numpy(np.float64)),
    }
    return pd.Series(figures, index=pd.Index(TRADE_FIGURES), dtype=np.float64)


def turnover_figures(
    fills: pd.DataFrame, equity: pd.Series, sessions_per_year: int = SESSIONS_PER_YEAR
) -> pd.Series:
    """Compute how much of the book was traded, and what that cost.

    ``equity``: value of the book at each session's close, in the currency of the fills, one for
    every session of the range, those without fills too.

    - traded_value = sum(shares * price) of all fills; fees = sum(costs).
    - annual_turnover = min(bought value, sold value) / mean(equity) * sessions_per_year / sessions
      (the definition of the SEC's Form N-1A, item 13); missing without sessions or with a mean
      equity that is not positive.
    - fees_bps = 10,000 * fees / traded_value; missing when nothing was traded.

    Returns ``TURNOVER_FIGURES``. Raises BadDataError as ``round_trips`` and for a value missing in
    ``equity``.
    """
    checked = _checked_fills(fills, pd.DatetimeIndex(equity.index))
    if equity.isna().any():
        session = equity.index[equity.isna()][0]
        raise BadDataError(f"the book has no value in {session:%Y-%m-%d}: mark it at every close")
    value = checked["shares"] * checked["price"]
    is_bought = checked["side"] == "BUY"
    traded, fees = float(value.sum()), float(checked["costs"].sum())
    average = float(equity.mean()) if len(equity) else np.nan
    lesser = min(float(value[is_bought].sum()), float(value[~is_bought].sum()))
    is_defined = average > 0.0
    figures = {
        "traded_value": traded,
        "annual_turnover": (
            lesser / average * sessions_per_year / len(equity) if is_defined else np.nan
        ),
        "fees": fees,
        "fees_bps": 10_000.0 * fees / traded if traded > 0.0 else np.nan,
    }
    return pd.Series(figures, index=pd.Index(TURNOVER_FIGURES), dtype=np.float64)


def denied_by_reason(orders: pd.DataFrame) -> pd.Series:
    """Count the denied orders by reason, the most frequent first, equals by name.

    ``orders`` has the columns status and reason. Returns counts indexed by reason, empty when no
    order was denied. Raises BadDataError for a denied order without a reason.
    """
    denied = orders.loc[orders["status"] == "DENIED", "reason"]
    if denied.isna().any():
        raise BadDataError(
            f"{int(denied.isna().sum())} denied orders have no reason: every denial names its rule"
        )
    counts = denied.astype("str").value_counts()
    return counts.rename("orders").sort_index().sort_values(ascending=False, kind="stable")


_MATCH_COLUMNS = (
    "symbol",
    "sign",
    "entry_date",
    "exit_date",
    "exit_row",
    "shares",
    "entry_price",
    "exit_price",
    "costs",
)


@dataclass(slots=True)
class _Lot:
    """What is left of an opening fill, in shares of the end of the table."""

    shares: float
    signed: float
    price: float
    cost_per_share: float
    session: pd.Timestamp


def _matched(
    symbol: str, fills: pd.DataFrame, factor: Floats, is_short_allowed: bool
) -> list[tuple[object, ...]]:
    """Round trips of one symbol; shares and prices as of the exit."""
    lots: deque[_Lot] = deque()
    trips: list[tuple[object, ...]] = []
    columns = (fills[name] for name in ("session_date", "side", "shares", "price", "costs", "row"))
    for session, side, shares, price, costs, row, later in zip(*columns, factor, strict=True):
        signed, left = SIDES[side], shares * later
        fill = _Lot(left, signed, price / later, costs / left, session)
        smallest = max(left * _LEFT_OVER, _ROUNDED * later)
        while lots and lots[0].signed != signed and left > smallest:
            lot = lots[0]
            closed = min(left, lot.shares)
            cost = closed * (lot.cost_per_share + fill.cost_per_share)
            entry = lot.price * later
            now = closed / later
            trips.append((symbol, lot.signed, lot.session, session, row, now, entry, price, cost))
            left -= closed
            lot.shares -= closed
            if lot.shares <= smallest:
                lots.popleft()
        if left <= smallest:
            continue
        if signed < 0.0 and not is_short_allowed:
            raise BadDataError(
                f"{symbol} in {session:%Y-%m-%d}: {left / later:g} shares are sold beyond those "
                "held; a fill or a split before is missing, or short sales are to be allowed"
            )
        fill.shares = left
        lots.append(fill)
    return trips


def _described(matches: pd.DataFrame, sessions: pd.DatetimeIndex) -> pd.DataFrame:
    trips = matches.sort_values("exit_row", kind="stable", ignore_index=True)
    numbers = ["sign", "shares", "entry_price", "exit_price", "costs"]
    trips[numbers] = trips[numbers].astype(np.float64)
    for name in ("entry_date", "exit_date"):
        trips[name] = trips[name].astype(sessions.dtype)
    trips["symbol"] = trips["symbol"].astype("str")
    trips["direction"] = pd.Series(np.where(trips["sign"] > 0.0, "LONG", "SHORT"), dtype="str")
    change = trips["exit_price"] - trips["entry_price"]
    trips["gross_profit"] = trips["sign"] * change * trips["shares"]
    trips["net_profit"] = trips["gross_profit"] - trips["costs"]
    trips["return"] = trips["net_profit"] / (trips["entry_price"] * trips["shares"])
    entry, exited = (
        sessions.get_indexer(pd.DatetimeIndex(trips[name])) for name in ("entry_date", "exit_date")
    )
    trips["holding_sessions"] = exited - entry
    return trips[list(ROUND_TRIP_COLUMNS)]


def _checked_fills(fills: pd.DataFrame, sessions: pd.DatetimeIndex) -> pd.DataFrame:
    """Fills by session, in their order within one; ``row`` is the place of each."""
    rules: Mapping[str, tuple[pd.Series, str]] = {
        "side": (fills["side"].isin(list(SIDES)), "BUY or SELL"),
        "shares": ((fills["shares"] > 0.0) & np.isfinite(fills["shares"]), "a positive number"),
        "price": ((fills["price"] > 0.0) & np.isfinite(fills["price"]), "a positive number"),
        "costs": ((fills["costs"] >= 0.0) & np.isfinite(fills["costs"]), "0 or more"),
        "session_date": (
            fills["session_date"].isin(sessions),
            "one of the sessions given: give all from the first fill to the last",
        ),
    }
    for name, (is_right, wanted) in rules.items():
        if not is_right.all():
            row = fills.loc[~is_right].iloc[0]
            raise BadDataError(
                f"fill of {row['symbol']} in {row['session_date']:%Y-%m-%d}: {name} is "
                f"{row[name]}, not {wanted}"
            )
    ordered = fills[list(FILL_COLUMNS)].sort_values("session_date", kind="stable")
    return ordered.assign(row=np.arange(len(ordered))).reset_index(drop=True)


def _later_ratios(fills: pd.DataFrame, splits: pd.DataFrame | None) -> Floats:
    """Shares at the end of the table for each share of a fill: product of the later ratios."""
    factor = np.ones(len(fills))
    if splits is None:
        return factor
    symbols = fills["symbol"].to_numpy()
    dates = fills["session_date"]
    for session, symbol, split in zip(
        splits["session_date"], splits["symbol"], splits["split_ratio"], strict=True
    ):
        if not 0.0 < split < np.inf:
            raise BadDataError(
                f"split of {symbol} in {session:%Y-%m-%d}: the ratio is {split}, not a positive "
                "number of new shares for an old one"
            )
        factor[(symbols == symbol) & (dates < session).to_numpy()] *= split
    return factor


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else np.nan
