"""The paper book over sessions: from prices and signals to the rows of ``ledger``.

Belongs here: what the ledger asset and the backtest share. Does not belong here: the events of a
session (``ledger``), loading and storing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from quant_assets.domain.broker import PAPER, Broker
from quant_assets.domain.ledger import run_sessions
from quant_assets.domain.ledger_book import RuleTable, Wishes, bars_of, dense, new_book
from quant_assets.domain.ledger_entries import Labels, book_of, ledger_rows, open_order_ids
from quant_assets.domain.ledger_journal import Journal
from quant_assets.domain.signals import Listed, is_listed, limit_offsets
from quant_assets.domain.strategy_config import Strategy
from quant_assets.domain.trading_rules import EXCHANGES, TradingRules
from quant_assets.errors import BadDataError


@dataclass(frozen=True, slots=True)
class PaperBook:
    """The books of a market's strategies under one set of rules."""

    market: str
    strategies: Sequence[Strategy]
    rules: TradingRules
    listings: Sequence[Listed]
    broker: Broker = PAPER

    def run(
        self,
        days: Sequence[date],
        prices: pd.DataFrame,
        signals: pd.DataFrame,
        before: pd.DataFrame | None,
    ) -> pd.DataFrame:
        """Rows of ``ledger`` but ``opening_hash`` and ``available_at`` for the sessions ``days``.

        ``prices`` and ``signals`` are rows of the assets of those names, ``before`` the ledger of
        the session before the first, None where the books begin. Raises ``BadDataError`` for
        signals of other strategies or versions than the configured ones.
        """
        self._demand_same_strategies(signals)
        sessions = pd.DatetimeIndex(list(days)).as_unit("us")
        names = {one.symbol for one in self.listings}
        if before is not None:
            names.update(before.loc[before["kind"].isin(("POSITION", "OPEN_ORDER")), "symbol"])
        symbols = sorted(names)
        bars = bars_of(prices, sessions, symbols, is_listed(self.listings, days, symbols))
        book, ids = new_book(len(self.strategies), len(symbols)), {}
        if before is not None:
            book = book_of(before, self.strategies, symbols)
            ids = open_order_ids(before)
        journal = Journal(len(sessions), len(self.strategies))
        rules = RuleTable.of([self.rules] * len(self.strategies))
        wishes = self._wishes(signals, sessions, symbols)
        run_sessions(book, bars, wishes, EXCHANGES[self.market], rules, journal, self.broker)
        labels = Labels(self.market, sessions, self.strategies, symbols, self.rules.version, ids)
        return ledger_rows(journal, labels)

    def _wishes(
        self, signals: pd.DataFrame, sessions: pd.DatetimeIndex, symbols: Sequence[str]
    ) -> Wishes:
        action = signals["action"].map({"BUY": 1, "SELL": -1, "HOLD": 0})
        signals = signals.assign(action=action)
        weights, actions = [], []
        for one in self.strategies:
            own = signals[signals["strategy_id"] == one.id]
            weight, wanted = dense(own, ["target_weight", "action"], sessions, symbols)
            weights.append(weight)
            actions.append(np.nan_to_num(wanted))
        return Wishes(
            np.stack(weights, axis=1),
            np.stack(actions, axis=1).astype(np.int8),
            limit_offsets(self.strategies),
        )

    def _demand_same_strategies(self, signals: pd.DataFrame) -> None:
        configured = {(one.id, one.version) for one in self.strategies}
        given = set(
            signals[["strategy_id", "strategy_version"]]
            .drop_duplicates()
            .itertuples(index=False, name=None)
        )
        if strange := sorted(given - configured):
            raise BadDataError(
                f"{self.market}/signals were made by strategy {strange[0][0]} of version "
                f"{strange[0][1]}, which is not the configured one: make the signals again"
            )
