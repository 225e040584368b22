"""Prices on an exchange's steps. What belongs here: rounding to them, nothing of orders."""

from datetime import date

import numpy as np
import numpy.typing as npt

from quant_assets.domain.ledger_book import Floats
from quant_assets.domain.trading_rules import Exchange


def on_step(exchange: Exchange, session: date, prices: Floats, *, up: npt.ArrayLike) -> Floats:
    """``prices`` on the steps in force in ``session``, rounded ``up`` or down, at least one step.

    NaN stays NaN.
    """
    table = np.array(exchange.tick_table(session))
    steps = table[np.searchsorted(table[:, 0], prices, side="right").clip(1) - 1, 1]
    exact = np.round(prices / steps, 6)
    whole = np.maximum(np.where(up, np.ceil(exact), np.floor(exact)), 1)
    return np.asarray(np.round(whole * steps, 6))
