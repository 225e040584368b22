"""What happens in the books, as it happens. What belongs here: collecting it, and equity curves.

Does not belong here: the ids and the contract of the stored rows (``ledger_entries``).
"""

from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_assets.domain.ledger_book import Book, Floats, Ints
from quant_assets.domain.ledger_kinds import KINDS

VALUES = (
    "side",
    "shares",
    "price",
    "cash",
    "commission",
    "tax",
    "realized_pnl",
    "limit_price",
    "leaves",
    "ordered",
    "opened",
    "age",
    "basis",
    "value",
    "equity",
    "peak_equity",
    "realized_total",
    "dividends_total",
    "costs_total",
    "risk_state",
)
"""The numbers that entries carry; NaN where an entry has none."""


class Journal:
    """Entries of many sessions, column by column, and the equity of each book at each close.

    With ``is_detailed`` False only the equity is kept and fills and denials are counted: a grid of
    a hundred books over ten years has more entries than anybody reads.
    """

    def __init__(self, sessions: int, strategies: int, *, is_detailed: bool = True) -> None:
        self.equity: Floats = np.full((sessions, strategies), np.nan)
        self.traded: Floats = np.zeros((sessions, strategies))
        self.costs: Floats = np.zeros((sessions, strategies))
        self.fills: Ints = np.zeros(strategies, np.int64)
        self.denials: Ints = np.zeros(strategies, np.int64)
        self._is_detailed = is_detailed
        self._session = 0
        self._count = strategies
        self._columns: dict[str, list[npt.NDArray[Any]]] = defaultdict(list)

    def begin(self, session: int) -> None:
        """What follows happens in the session of that number."""
        self._session = session

    def add(
        self, kind: str, k: Ints, s: Ints | None = None, why: object = None, **values: npt.ArrayLike
    ) -> None:
        """Entries of one kind: of the books ``k`` and, if given, the symbols ``s`` (both numbers).

        ``values`` are one of ``VALUES`` each; ``why`` is a text, or one for each entry.
        """
        if not len(k):
            return
        if kind == "FILL":
            self._count_fills(k, values)
        elif kind == "DENIED":
            self.denials += np.bincount(k, minlength=self._count)
        if not self._is_detailed:
            return
        size = len(k)
        columns = self._columns
        columns["t"].append(np.full(size, self._session))
        columns["k"].append(k)
        columns["s"].append(np.full(size, -1) if s is None else s)
        columns["kind"].append(np.full(size, KINDS.index(kind), np.int8))
        columns["reason"].append(_texts(why, size))
        for name in VALUES:
            given = values.pop(name, None)
            columns[name].append(
                np.full(size, np.nan)
                if given is None
                else np.broadcast_to(np.asarray(given, np.float64), size)
            )
        if values:
            raise ValueError(f"an entry has no {', '.join(values)}")

    def _count_fills(self, k: Ints, values: dict[str, Any]) -> None:
        self.fills += np.bincount(k, minlength=self._count)
        worth = np.asarray(values["shares"]) * np.asarray(values["price"])
        self.traded[self._session] += np.bincount(k, weights=worth, minlength=self._count)
        paid = np.asarray(values["commission"]) + np.asarray(values["tax"])
        self.costs[self._session] += np.bincount(k, weights=paid, minlength=self._count)

    def close(self, book: Book, value: Floats, equity: Floats, state: Ints) -> None:
        """The closing state of a session; ``value`` is that of each position (K by S)."""
        self.equity[self._session] = equity
        if not self._is_detailed:
            return
        k, s = np.nonzero(book.shares)
        self.add(
            "POSITION",
            k,
            s,
            shares=book.shares[k, s],
            price=book.mark[s],
            basis=book.basis[k, s],
            value=value[k, s],
        )
        k, s = np.nonzero(book.leaves)
        self.add(
            "OPEN_ORDER",
            k,
            s,
            price=book.mark[s],
            limit_price=book.limit[k, s],
            age=book.age[k, s],
            **order_values(book, k, s),
        )
        self.add(
            "ACCOUNT",
            np.arange(self._count),
            cash=book.cash,
            equity=equity,
            peak_equity=book.peak,
            realized_total=book.realized,
            dividends_total=book.dividends,
            costs_total=book.costs,
            risk_state=state,
        )

    def frame(self) -> pd.DataFrame:
        """All entries, ordered by session (``t``), book (``k``) and as they happened.

        Columns: ``t k s kind reason`` and ``VALUES``; ``s`` is -1 for entries without a symbol.
        """
        columns = {name: np.concatenate(parts) for name, parts in self._columns.items()}
        frame = pd.DataFrame(columns, columns=["t", "k", "s", "kind", "reason", *VALUES])
        return frame.sort_values(["t", "k"], kind="stable", ignore_index=True)


def order_values(book: Book, k: Ints, s: Ints) -> dict[str, Floats]:
    """What identifies open orders and how far they are."""
    return {
        "side": np.sign(book.leaves[k, s]),
        "leaves": np.abs(book.leaves[k, s]),
        "ordered": np.abs(book.ordered[k, s]),
        "opened": book.opened[k, s].astype(np.float64),
    }


def _texts(why: object, size: int) -> npt.NDArray[Any]:
    if isinstance(why, np.ndarray):
        return why
    texts = np.empty(size, dtype=object)
    texts[:] = why
    return texts
