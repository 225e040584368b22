"""The paper book's rows: from a journal to the stored ledger, from there to a book and to tables.

Belongs here: ids, the columns of ``ledger``, ``orders``, ``fills`` and ``positions``, and reading a
book back. Does not belong here: what happens in a session (``ledger``).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quant_assets.domain.ledger_book import Book, new_book
from quant_assets.domain.ledger_journal import VALUES, Journal
from quant_assets.domain.ledger_kinds import KINDS, SIDES
from quant_assets.domain.strategy_config import Strategy
from quant_assets.domain.trading_rules import RISK_STATES
from quant_assets.errors import BadDataError

_OF_ORDERS = ("CANCELED", "FILL", "ORDER", "DENIED", "OPEN_ORDER")
_NAMED = ("side", "opened", "risk_state")
"""Numbers of the journal that the ledger keeps as words or dates."""
_ACCOUNT = {
    "cash": "cash",
    "peak": "peak_equity",
    "realized": "realized_total",
    "dividends": "dividends_total",
    "costs": "costs_total",
}
"""The column of an account that holds each amount of a book."""


@dataclass(frozen=True, slots=True)
class Labels:
    """What the numbers of a journal stand for: K strategies, S symbols, T sessions.

    ``rules_version`` is that of costs and limits; ``earlier_ids`` are the ids of orders that were
    open before the first session, by (strategy id, symbol).
    """

    market: str
    sessions: pd.DatetimeIndex
    strategies: Sequence[Strategy]
    symbols: Sequence[str]
    rules_version: str
    earlier_ids: Mapping[tuple[str, str], str]


def order_id(strategy: Strategy, market: str, session: pd.Timestamp, symbol: str, side: str) -> str:
    """Id of an order: it is the same however often the session is run."""
    what = (strategy.id, strategy.version, market, f"{session:%Y-%m-%d}", symbol, side)
    return hashed(*what)


def hashed(*parts: str) -> str:
    """First 24 hexadecimal digits of the SHA-256 of ``parts``."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:24]


def ledger_rows(journal: Journal, labels: Labels) -> pd.DataFrame:
    """Rows of ``ledger`` without ``opening_hash`` and ``available_at``."""
    frame = journal.frame()
    t, k, s = (frame[name].to_numpy() for name in ("t", "k", "s"))
    names = np.array([*labels.symbols, None], object)
    rows = pd.DataFrame(
        {
            "session_date": labels.sessions[t],
            "strategy_id": np.array([one.id for one in labels.strategies], object)[k],
            "entry": frame.groupby(["t", "k"], sort=False).cumcount() + 1,
            "kind": np.array(KINDS, object)[frame["kind"]],
            "symbol": names[s],
            "reason": frame["reason"],
            "is_live": np.array([one.is_live for one in labels.strategies])[k],
            "strategy_version": np.array([one.version for one in labels.strategies], object)[k],
            "rules_version": labels.rules_version,
            **{
                name: frame[name] for name in VALUES if name not in ("side", "opened", "risk_state")
            },
        }
    )
    rows["side"] = _chosen(frame["side"].map({1.0: "BUY", -1.0: "SELL"}))
    rows["risk_state"] = _chosen(frame["risk_state"].map(dict(enumerate(RISK_STATES))))
    rows["opened_on"] = pd.to_datetime(frame["opened"], unit="D").astype("datetime64[us]")
    rows["order_type"] = _chosen(
        pd.Series(np.where(rows["limit_price"].isna(), "MARKET", "LIMIT"), dtype=object).where(
            rows["kind"].isin(_OF_ORDERS)
        )
    )
    rows["status"] = _statuses(rows)
    rows["order_id"] = _order_ids(rows, k, labels)
    is_fill = rows["kind"].eq("FILL")
    rows["fill_id"] = None
    rows.loc[is_fill, "fill_id"] = [
        hashed(order, f"{day:%Y-%m-%d}")
        for order, day in zip(
            rows.loc[is_fill, "order_id"], rows.loc[is_fill, "session_date"], strict=True
        )
    ]
    return rows


def _chosen(values: pd.Series) -> pd.Series:
    return values.astype(object).where(values.notna(), None)


def _statuses(rows: pd.DataFrame) -> pd.Series:
    is_whole = rows["leaves"].eq(0)
    is_part = rows["leaves"] < rows["ordered"]
    kind = rows["kind"]
    status = np.select(
        [
            kind.eq("ORDER"),
            kind.eq("DENIED"),
            kind.eq("CANCELED"),
            kind.eq("FILL") & is_whole,
            kind.eq("FILL") | (kind.eq("OPEN_ORDER") & is_part),
            kind.eq("OPEN_ORDER"),
        ],
        ["NEW", "DENIED", "CANCELED", "FILLED", "PARTIALLY_FILLED", "NEW"],
        default="",
    )
    return pd.Series(status, dtype=object).where(status != "", None)


def _order_ids(rows: pd.DataFrame, k: "np.ndarray", labels: Labels) -> list[str | None]:
    """Id of each entry's order: hashed for one made in these sessions, remembered for others."""
    first = labels.sessions[0]
    known: dict[tuple[int, str, pd.Timestamp, str], str] = {}
    ids: list[str | None] = []
    columns = zip(rows["kind"], k, rows["symbol"], rows["opened_on"], rows["side"], strict=True)
    for kind, book, symbol, opened, side in columns:
        if kind not in _OF_ORDERS:
            ids.append(None)
            continue
        what = (int(book), symbol, opened, side)
        if what not in known:
            strategy = labels.strategies[int(book)]
            known[what] = (
                labels.earlier_ids[strategy.id, symbol]
                if opened < first
                else order_id(strategy, labels.market, opened, symbol, side)
            )
        ids.append(known[what])
    return ids


def open_order_ids(rows: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Ids of the orders that a session's ledger leaves open, by (strategy id, symbol)."""
    left = rows[rows["kind"] == "OPEN_ORDER"]
    keys = zip(left["strategy_id"], left["symbol"], strict=True)
    return dict(zip(keys, left["order_id"], strict=True))


def book_of(rows: pd.DataFrame, strategies: Sequence[Strategy], symbols: Sequence[str]) -> Book:
    """The book that the ledger rows of one session leave.

    A strategy without an account there begins anew. Raises ``BadDataError`` for a position or an
    order in a symbol that is not among ``symbols``: it would be lost without a word.
    """
    book = new_book(len(strategies), len(symbols))
    places = {strategy.id: number for number, strategy in enumerate(strategies)}
    rows = rows[rows["strategy_id"].isin(places)]
    k = rows["strategy_id"].map(places).to_numpy(np.int64)
    s = pd.Index(symbols).get_indexer(pd.Index(rows["symbol"]))
    kind = rows["kind"].to_numpy()
    is_account, is_held, is_open = (kind == name for name in ("ACCOUNT", "POSITION", "OPEN_ORDER"))
    if (lost := (is_held | is_open) & (s < 0)).any():
        raise BadDataError(
            f"the book holds {rows.loc[lost, 'symbol'].iloc[0]}, which is not among its symbols"
        )
    values = {name: rows[name].to_numpy(np.float64) for name in VALUES if name not in _NAMED}
    at = k[is_account]
    for name, column in _ACCOUNT.items():
        getattr(book, name)[at] = values[column][is_account]
    book.is_new[at] = False
    for which in (is_held, is_open):
        book.mark[s[which]] = values["price"][which]
    cells = k[is_held], s[is_held]
    book.shares[cells], book.basis[cells] = values["shares"][is_held], values["basis"][is_held]
    _open_orders(book, rows[is_open], (k[is_open], s[is_open]))
    return book


def _open_orders(book: Book, rows: pd.DataFrame, cells: "tuple[np.ndarray, np.ndarray]") -> None:
    """Put the open orders ``rows`` into the ``cells`` (strategy, symbol) of a book."""
    side = np.where(rows["side"] == SIDES[0], 1.0, -1.0)
    book.leaves[cells] = side * rows["leaves"].to_numpy(np.float64)
    book.ordered[cells] = side * rows["ordered"].to_numpy(np.float64)
    book.limit[cells] = rows["limit_price"].to_numpy(np.float64)
    book.age[cells] = rows["age"].to_numpy(np.float64).astype(np.int64)
    book.opened[cells] = rows["opened_on"].to_numpy().astype("datetime64[D]").astype(np.int64)


def orders_of(ledger: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``orders``: what was ordered, denied or canceled."""
    return ledger[ledger["kind"].isin(("ORDER", "DENIED", "CANCELED"))]


def fills_of(ledger: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``fills``."""
    return ledger[ledger["kind"] == "FILL"]


def positions_of(ledger: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``positions``, with average price, unrealized gain and weight."""
    accounts = ledger.loc[
        ledger["kind"] == "ACCOUNT", ["session_date", "strategy_id", "equity"]
    ].rename(columns={"equity": "book_equity"})
    held = ledger[ledger["kind"] == "POSITION"].merge(accounts, on=["session_date", "strategy_id"])
    return held.assign(
        average_price=held["basis"] / held["shares"],
        mark_price=held["price"],
        unrealized_pnl=held["value"] - held["basis"],
        weight=held["value"] / held["book_equity"],
    )
