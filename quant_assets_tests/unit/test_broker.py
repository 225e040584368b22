"""Another broker behind the book: what it says has happened is booked as it is."""

from dataclasses import replace

import numpy as np
import pandas as pd

from quant_assets.domain.broker import PAPER, Executions, OpenOrders, PaperBroker
from quant_assets.domain.ledger_book import SessionBars
from quant_assets.domain.paper_book import PaperBook
from quant_assets.domain.signals import signal_rows
from quant_assets.domain.strategy_config import Strategy
from quant_assets.domain.trading_rules import TradingRules
from quant_assets_tests.unit.test_backtest import market

HOLD = (Strategy(id="hold", kind="buy_and_hold", enter=0.5, exit=-1, names=0, band=1.0),)
RULES = TradingRules(initial_cash=10_000, max_position_weight=1.0, max_turnover=5.0)


class Told:
    """A broker that executed half of each order at 9.99, whatever the market did."""

    tells_facts = True

    def __init__(self) -> None:
        self.asked: list[OpenOrders] = []

    def executions(self, orders: OpenOrders, bar: SessionBars) -> Executions:
        self.asked.append(orders)
        half = np.ceil(np.abs(orders.leaves) / 2)
        return Executions(half, np.full(len(half), 9.99))


class Dear(Told):
    """A broker whose price is far beyond what the book has."""

    def executions(self, orders: OpenOrders, bar: SessionBars) -> Executions:
        return Executions(np.abs(orders.leaves), np.full(len(orders.leaves), 5_000.0))


class Offers(Dear):
    tells_facts = False


def ledger_with(broker: object, sessions: int = 12) -> pd.DataFrame:
    inputs = market(23, sessions=sessions)
    inputs = replace(inputs, prices=inputs.prices.assign(split_ratio=1.0, dividend=0.0))
    signals = signal_rows(inputs, HOLD, None)
    book = PaperBook("us", HOLD, RULES, inputs.listings, broker)  # type: ignore[arg-type]
    return book.run(sorted(inputs.decision_times), inputs.prices, signals, None)


def test_executions_of_another_broker_are_booked_as_they_are() -> None:
    broker = Told()
    ledger = ledger_with(broker)
    fills = ledger[ledger["kind"] == "FILL"]
    assert set(fills["price"]) == {9.99}
    first = fills.groupby("order_id").first()
    ordered = ledger[ledger["kind"] == "ORDER"].set_index("order_id")["shares"]
    np.testing.assert_array_equal(first["shares"], np.ceil(ordered[first.index] / 2))
    accounts = ledger[ledger["kind"] == "ACCOUNT"]
    spent = (fills["shares"] * 9.99 + fills["commission"]).sum()
    spent -= ledger.loc[ledger["kind"] == "DELISTED", "cash"].sum()
    np.testing.assert_allclose(accounts["cash"].iloc[-1], RULES.initial_cash - spent, atol=0.02)
    asked = broker.asked[0]
    assert len(asked.book) == len(asked.symbol) == len(asked.leaves) == len(asked.mark)
    assert asked.is_purchase.all()


def test_facts_are_booked_beyond_the_cash_and_offers_are_not() -> None:
    cash = {}
    for broker in (Dear(), Offers()):
        accounts = ledger_with(broker).query("kind == 'ACCOUNT'")
        cash[type(broker)] = accounts["cash"].min()
    assert cash[Dear] < 0
    assert cash[Offers] >= 0


def test_the_paper_broker_is_the_default() -> None:
    assert isinstance(PAPER, PaperBroker)
    pd.testing.assert_frame_equal(ledger_with(PaperBroker()), ledger_with(PAPER))
