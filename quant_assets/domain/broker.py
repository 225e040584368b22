"""Who fills the book's orders. What belongs here: the port, and the paper broker behind it.

The book (``ledger``) makes orders at the close and asks its broker in the next session what filled.
A live broker is another class with ``executions``: it answers with what was executed for the orders
told as ``trading.order.created``, from its own records, and says that these are facts.
"""

from dataclasses import dataclass
from datetime import date
from typing import Protocol

import numpy as np

from quant_assets.domain.ledger_book import Floats, Ints, RuleTable, SessionBars
from quant_assets.domain.price_steps import on_step
from quant_assets.domain.trading_rules import Exchange


@dataclass(frozen=True, slots=True)
class OpenOrders:
    """The orders that wait in a session, an element an order.

    ``book`` and ``symbol`` are numbers (K strategies, S symbols); ``leaves`` the shares left,
    positive to buy, negative to sell; ``limit`` the price limit (NaN: MARKET); ``opened`` the
    session whose close made the order (days since the epoch); ``mark`` the last close, restated by
    splits (NaN: none).
    """

    session: date
    exchange: Exchange
    rules: RuleTable
    book: Ints
    symbol: Ints
    leaves: Floats
    limit: Floats
    opened: Ints
    mark: Floats

    @property
    def is_purchase(self) -> "np.ndarray":
        """Which of them buy."""
        return self.leaves > 0


@dataclass(frozen=True, slots=True)
class Executions:
    """What filled of each order: ``shares`` (0: nothing, never negative) at ``prices``."""

    shares: Floats
    prices: Floats


class Broker(Protocol):
    """Fills orders, or tells how they were filled."""

    @property
    def tells_facts(self) -> bool:
        """Whether its executions have happened.

        Facts are booked as they are. Others are offers: the book takes what its cash pays for.
        """

    def executions(self, orders: OpenOrders, bar: SessionBars) -> Executions:
        """What filled of ``orders`` in the session of ``bar``."""


class PaperBroker:
    """Fills at the open, by the rules of the book and of the exchange.

    A MARKET order pays the open and the slippage, a LIMIT order never worse than its limit, which
    the session's range has to reach. Nothing fills without volume, beyond a share of it, nor on the
    wrong side of a price limit.
    """

    tells_facts = False

    def executions(self, orders: OpenOrders, bar: SessionBars) -> Executions:
        """What the bar allows of each order."""
        s = orders.symbol
        prices = self._prices(orders, bar)
        most = np.floor(orders.rules.max_volume_share[orders.book] * np.nan_to_num(bar.volume[s]))
        shares = np.where(np.isnan(prices), 0, np.minimum(np.abs(orders.leaves), most))
        return Executions(shares, prices)

    def _prices(self, orders: OpenOrders, bar: SessionBars) -> Floats:
        """Price at which each order would fill, NaN where it does not."""
        s, is_purchase, exchange = orders.symbol, orders.is_purchase, orders.exchange
        start = np.where(bar.open[s] > 0, bar.open[s], np.nan)
        slip = np.where(is_purchase, 1.0, -1.0) * orders.rules.slippage_bps[orders.book] / 1e4
        prices = on_step(exchange, orders.session, start * (1 + slip), up=is_purchase)
        limit = orders.limit
        is_reached = np.where(is_purchase, bar.low[s] <= limit, bar.high[s] >= limit)
        bounded = np.where(is_purchase, np.minimum(prices, limit), np.maximum(prices, limit))
        prices = np.where(np.isnan(limit), prices, np.where(is_reached, bounded, np.nan))
        if (widest := exchange.widest_move(orders.session)) is not None:
            before = orders.mark
            highest = on_step(exchange, orders.session, before * (1 + widest), up=False)
            lowest = on_step(exchange, orders.session, before * (1 - widest), up=True)
            is_locked = np.where(is_purchase, start >= highest, start <= lowest)
            within = np.minimum(np.maximum(prices, lowest), highest)
            prices = np.where(is_locked, np.nan, np.where(np.isnan(before), prices, within))
        return np.where(np.nan_to_num(bar.volume[s]) > 0, prices, np.nan)


PAPER = PaperBroker()
