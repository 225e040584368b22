"""What the books of a market did, from their first session to the last: curves, figures, trades.

Belongs here: from the ledger's rows to the tables of a report, for the paper book and for a
backtest. Does not belong here: the formulas of the figures (``performance``, ``trade_figures``,
``score_figures``), pictures and pages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quant_assets.domain.adjustment import adjust
from quant_assets.domain.ledger_entries import fills_of, orders_of, positions_of
from quant_assets.domain.performance import performance_figures
from quant_assets.domain.score_figures import (
    COEFFICIENT_FIGURES,
    coefficient_figures,
    forward_returns,
    information_coefficients,
    returns_by_label,
)
from quant_assets.domain.strategy_config import Strategy
from quant_assets.domain.trade_figures import (
    ROUND_TRIP_COLUMNS,
    denied_by_reason,
    round_trips,
    trade_figures,
    turnover_figures,
)
from quant_assets.errors import BadDataError

HORIZON = 5
"""Sessions of the forward returns that scores and labels are judged by."""
BENCHMARK = "universe, equal weights"
COUNTED = ("DEPOSIT", "SPLIT", "DELISTED", "FILL", "ORDER", "DENIED", "CANCELED", "ACCOUNT")
"""Kinds of entries that an evaluation needs of every session; of the last one it needs all."""
_TRADE_NAMES = {"net_profit": "trade_profit", "costs": "trade_costs"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """What an evaluation rests on: rows of the assets of these names.

    ``ledger`` begins with the first session of the books. ``signals``, ``recommendations`` and
    ``prices`` may begin later: scores are judged over the sessions they have. ``benchmark`` are
    simple returns by session.
    """

    market: str
    strategies: Sequence[Strategy]
    ledger: pd.DataFrame
    signals: pd.DataFrame
    recommendations: pd.DataFrame
    prices: pd.DataFrame
    benchmark: pd.Series


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What the books did.

    ``equity`` (market currency, at the close) and ``exposure`` (value of the positions by equity)
    have a row a session and a column a strategy; ``returns`` (simple) and ``benchmark`` begin with
    the second session: nothing is traded before the first close. ``figures`` has a row a strategy.
    ``labels`` is what followed each label within ``HORIZON`` sessions.
    """

    market: str
    strategies: tuple[Strategy, ...]
    equity: pd.DataFrame
    returns: pd.DataFrame
    exposure: pd.DataFrame
    benchmark: pd.Series
    figures: pd.DataFrame
    trips: Mapping[str, pd.DataFrame]
    orders: pd.DataFrame
    fills: pd.DataFrame
    positions: pd.DataFrame
    denied: Mapping[str, pd.Series]
    labels: pd.DataFrame
    prices: pd.DataFrame

    @property
    def live(self) -> str:
        """Id of the live strategy; of the first one where none is live."""
        return next((one.id for one in self.strategies if one.is_live), self.strategies[0].id)


def evaluate(records: Records) -> Evaluation:
    """Compute everything that a report shows of the books.

    A strategy counts if it has an account in the last session, from the session on in which it
    was opened last. Raises ``BadDataError`` if the ledger has no account.
    """
    ledger = records.ledger
    accounts = ledger[ledger["kind"] == "ACCOUNT"]
    if accounts.empty:
        raise BadDataError(f"{records.market}/ledger has no account: make the paper book first")
    last = accounts["session_date"].max()
    ids = set(accounts.loc[accounts["session_date"] == last, "strategy_id"])
    strategies = tuple(one for one in records.strategies if one.id in ids)
    opened = ledger[ledger["kind"] == "DEPOSIT"].groupby("strategy_id")["session_date"].max()
    equity, cash = (_curves(accounts, name, strategies, opened) for name in ("equity", "cash"))
    returns = simple_returns(equity)
    benchmark = beside(records.benchmark, returns)
    fills, trips = _trades(ledger, strategies, opened, pd.DatetimeIndex(equity.index))
    orders = orders_of(ledger)
    forward = forward_returns(_opens(records.prices), HORIZON)
    denied = {
        one.id: denied_by_reason(_since(orders, one.id, opened)[["status", "reason"]])
        for one in strategies
    }
    rows = {
        one.id: {
            **turnover_figures(fills[one.id], equity[one.id].dropna()).to_dict(),
            **trade_figures(trips[one.id]).rename(_TRADE_NAMES).to_dict(),
            "slippage": _slippage(fills[one.id], records.prices),
            "orders_denied": float(denied[one.id].sum()),
            **_power(records.signals, one.id, forward),
        }
        for one in strategies
    }
    figures = performance_figures(returns, benchmark).join(pd.DataFrame.from_dict(rows, "index"))
    return Evaluation(
        market=records.market,
        strategies=strategies,
        equity=equity,
        returns=returns,
        exposure=1.0 - cash / equity.where(equity > 0),
        benchmark=benchmark,
        figures=figures,
        trips=trips,
        orders=orders,
        fills=fills_of(ledger),
        positions=positions_of(ledger[ledger["session_date"] == last]),
        denied=denied,
        labels=returns_by_label(records.recommendations, forward),
        prices=records.prices,
    )


def simple_returns(equity: pd.DataFrame) -> pd.DataFrame:
    """Returns of curves from their second session on; 0 for a book that has lost everything.

    A book that costs have brought below zero has lost everything: -1, not less.
    """
    before, now = equity.iloc[:-1].to_numpy(), np.maximum(equity.iloc[1:].to_numpy(), 0.0)
    values = np.where(before > 0, now / np.where(before > 0, before, 1.0) - 1.0, 0.0)
    values = np.where(np.isnan(before), np.nan, values)
    return pd.DataFrame(values, index=equity.index[1:], columns=equity.columns)


def beside(benchmark: pd.Series, returns: pd.DataFrame) -> pd.Series:
    """The benchmark's returns in the sessions of ``returns``, 0 where it has none."""
    return benchmark.reindex(returns.index).fillna(0.0).rename(BENCHMARK)


def _curves(
    accounts: pd.DataFrame, name: str, strategies: Sequence[Strategy], opened: pd.Series
) -> pd.DataFrame:
    wide = accounts.pivot(index="session_date", columns="strategy_id", values=name)
    wide = wide[[one.id for one in strategies]].rename_axis(index=None, columns=None)
    since = pd.DatetimeIndex([opened.get(name, wide.index[0]) for name in wide.columns])
    wide.index = pd.DatetimeIndex(wide.index)
    return wide.where(wide.index.to_numpy()[:, None] >= since.to_numpy()[None, :])


def _since(rows: pd.DataFrame, strategy_id: str, opened: pd.Series) -> pd.DataFrame:
    own = rows[rows["strategy_id"] == strategy_id]
    return own[own["session_date"] >= opened[strategy_id]] if strategy_id in opened else own


def _trades(
    ledger: pd.DataFrame,
    strategies: Sequence[Strategy],
    opened: pd.Series,
    sessions: pd.DatetimeIndex,
) -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame]]:
    """Fills and round trips of each strategy.

    What is paid out is a sale: the shares of a delisted symbol, and the fraction of a share that a
    split leaves.
    """
    changes = ledger[ledger["kind"].isin(("FILL", "DELISTED", "SPLIT"))]
    fills, trips = {}, {}
    for one in strategies:
        own = _with_fractions(_since(changes, one.id, opened))
        splits = own[own["kind"] == "SPLIT"].rename(columns={"price": "split_ratio"})
        sold = own[(own["kind"] != "SPLIT") | (own["fraction"] > 0)]
        is_split = sold["kind"] == "SPLIT"
        fills[one.id] = sold.assign(
            side=sold["side"].where(sold["kind"] == "FILL", "SELL"),
            shares=sold["fraction"].where(is_split, sold["shares"].abs()),
            price=(sold["cash"] / sold["fraction"]).where(is_split, sold["price"]),
            costs=sold["commission"].fillna(0.0) + sold["tax"].fillna(0.0),
        )
        trips[one.id] = (
            round_trips(fills[one.id], sessions, splits)
            if len(sold)
            else pd.DataFrame(columns=list(ROUND_TRIP_COLUMNS))
        )
    return fills, trips


def _with_fractions(changes: pd.DataFrame) -> pd.DataFrame:
    """Changes of a book's shares with the ``fraction`` of a share that a split paid out in cash.

    It is what the shares before the split make, above the whole ones of after it.
    """
    filled = changes["shares"].abs() * _signs(changes["side"])
    gained = changes["shares"].where(changes["kind"] != "FILL", filled)
    after = gained.groupby(changes["symbol"]).cumsum()
    fraction = (after - gained) * changes["price"] - after
    is_paid = (changes["kind"] == "SPLIT") & (changes["cash"] > 0)
    return changes.assign(fraction=fraction.where(is_paid, 0.0))


def _slippage(fills: pd.DataFrame, prices: pd.DataFrame) -> float:
    """What fills cost beyond the open of their session: sum(side * (price - open) * shares)."""
    filled = fills[fills["kind"] == "FILL"]
    opens = prices[["session_date", "symbol", "open"]]
    beside_open = filled.merge(opens, on=["session_date", "symbol"], how="left")
    beyond = (beside_open["price"] - beside_open["open"]) * beside_open["shares"]
    return float((beyond * _signs(beside_open["side"])).sum())


def _signs(sides: pd.Series) -> "np.ndarray":
    """1 for a purchase, -1 for a sale."""
    return np.where(sides == "BUY", 1.0, -1.0)


def _opens(prices: pd.DataFrame) -> pd.DataFrame:
    """Opens adjusted for splits and dividends, sessions by symbols."""
    if prices.empty:
        return pd.DataFrame(index=pd.DatetimeIndex([]))
    adjusted = adjust(prices, None)
    wide = adjusted.pivot(index="session_date", columns="symbol", values="open")
    wide.index = pd.DatetimeIndex(wide.index)
    return wide.where(wide > 0)


def _power(signals: pd.DataFrame, strategy_id: str, forward: pd.DataFrame) -> dict[str, float]:
    """How well the scores of a strategy ranked what followed."""
    own = signals[signals["strategy_id"] == strategy_id]
    scores = own.pivot(index="session_date", columns="symbol", values="score")
    scores.index = pd.DatetimeIndex(scores.index)
    found = coefficient_figures(information_coefficients(scores, forward), HORIZON)
    return {f"ic_{name}": float(found[name]) for name in COEFFICIENT_FIGURES}
