"""The limits an order meets before it is made. What belongs here: which pass, and how much."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant_assets.domain.ledger_book import Book, Floats, Ints, RuleTable
from quant_assets.domain.ledger_sums import cumulative_by, sum_by

ACTIVE, REDUCING, HALTED = range(3)
"""Places in ``trading_rules.RISK_STATES``."""
ROOM = 1e-9
"""Limits are shares of the equity: what exceeds one by rounding alone does not."""
DENIALS: npt.NDArray[np.object_] = np.array(
    [None, "halted", "reducing", "position weight", "positions", "exposure", "turnover"], object
)
"""Why an order was denied or made smaller, by its number; the first is neither."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Orders that strategies ask for: book, symbol (numbers), signed shares, close, weight."""

    k: Ints
    s: Ints
    gap: Floats
    price: Floats
    weight: Floats


def checked(
    asked: Asked, book: Book, equity: Floats, state: Ints, rules: RuleTable
) -> tuple[Floats, Ints]:
    """Shares that the risk limits allow of each order, and why not more (place in ``DENIALS``).

    Exits pass unless the book is HALTED. Of the purchases the heaviest come first, equal ones by
    symbol; the one that meets a limit gets the room that is left, those after it nothing.
    """
    k, is_purchase = asked.k, asked.gap > 0
    why = np.zeros(len(k), np.int64)
    why[is_purchase & (state[k] == REDUCING)] = 2
    why[state[k] == HALTED] = 1
    allowed = np.where(why == 0, np.abs(asked.gap), 0)
    heaviest = np.floor(rules.max_position_weight[k] * equity[k] / asked.price + ROOM)
    heaviest = np.maximum(heaviest - book.shares[k, asked.s], 0)
    is_heavy = is_purchase & (allowed > heaviest)
    why[is_heavy], allowed[is_heavy] = 3, heaviest[is_heavy]
    order = np.lexsort((asked.s, -asked.weight, k))
    rank = order[(is_purchase & (allowed > 0))[order]]
    is_name = (book.shares > 0) | (book.leaves > 0)
    is_further = ~is_name[k[rank], asked.s[rank]]
    names = is_name.sum(axis=1)[k[rank]] + cumulative_by(k[rank], is_further.astype(np.float64))
    is_many = is_further & (names > rules.max_positions[k[rank]])
    why[rank[is_many]], allowed[rank[is_many]] = 4, 0
    rank = rank[~is_many]
    for number, room in _rooms(asked, book, equity, state, rules):
        worth = allowed[rank] * asked.price[rank]
        left = room[k[rank]] - (cumulative_by(k[rank], worth) - worth)
        fits = np.floor(np.maximum(left, 0) / asked.price[rank] + ROOM)
        is_short = fits < allowed[rank]
        why[rank[is_short]] = number
        allowed[rank] = np.minimum(allowed[rank], fits)
    return allowed, why


def _rooms(
    asked: Asked, book: Book, equity: Floats, state: Ints, rules: RuleTable
) -> list[tuple[int, Floats]]:
    """What each book may still buy, by exposure and by turnover (numbers of ``DENIALS``)."""
    mark = np.nan_to_num(book.mark)
    sales = np.where(asked.gap < 0, -asked.gap * asked.price, 0)
    sold = sum_by(asked.k, sales, len(equity)) * (state != HALTED)
    used = ((book.shares + book.leaves) * mark).sum(axis=1) - sold
    exposure = rules.max_gross_exposure * equity * (1 + ROOM) - used
    turnover = rules.max_turnover * equity * (1 + ROOM) - sold
    return [(5, exposure), (6, turnover)]
