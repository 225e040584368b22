"""The paper book: what a session does to cash, positions and orders.

Belongs here: the one sequence of events that the paper book, the backtest and the grids share. Does
not belong here: what strategies want (``strategies``), the rows that are stored
(``ledger_entries``), figures of performance and risk.

A session, in this order: (1) splits and dividends move positions and open orders, symbols that have
left the exchange are paid out at their last price; (2) open orders fill at the open; (3) positions
are marked at the close; (4) the wishes of the session pass the risk checks and become orders. So
an order never fills at a price that was known when it was made, and nothing that a session stores
depends on a later one.
"""

from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import numpy.typing as npt

from quant_assets.domain.broker import PAPER, Broker, OpenOrders
from quant_assets.domain.ledger_book import (
    Bars,
    Book,
    Bools,
    Floats,
    Ints,
    RuleTable,
    SessionBars,
    Wishes,
)
from quant_assets.domain.ledger_journal import Journal, order_values
from quant_assets.domain.ledger_limits import DENIALS, HALTED, REDUCING, Asked, checked
from quant_assets.domain.ledger_sums import cumulative_by, sum_by
from quant_assets.domain.price_steps import on_step
from quant_assets.domain.trading_rules import Exchange

_WHOLE = 1e-6
"""Shares this close to a whole number are whole: a ratio of 3 for 2 is no exact binary number."""


@dataclass(frozen=True, slots=True)
class _Desk:
    """Where a session's orders are handled: what is in force in it, and who keeps the record."""

    session: date
    exchange: Exchange
    rules: RuleTable
    journal: Journal
    broker: Broker

    def money(self, amounts: Floats) -> Floats:
        """``amounts`` as multiples of the currency's unit."""
        return np.round(amounts, self.exchange.cash_decimals)

    def charge(self, k: Ints, shares: Floats, prices: Floats) -> tuple[Floats, Floats]:
        """Value and commission of fills."""
        value = self.money(shares * prices)
        rules = self.rules
        commission = np.maximum(value * rules.commission_bps[k] / 1e4, rules.minimum_commission[k])
        return value, np.where(shares > 0, self.money(commission), 0)

    def sell_tax(self, value: Floats) -> Floats:
        """Tax on the proceeds of sales, cut to the currency's unit as the Korean one is."""
        scale = 10**self.exchange.cash_decimals
        tax = value * self.exchange.tax_bps(self.session) / 1e4
        return np.asarray(np.floor(tax * scale + _WHOLE) / scale)


def run_sessions(
    book: Book,
    bars: Bars,
    wishes: Wishes,
    exchange: Exchange,
    rules: RuleTable,
    journal: Journal,
    broker: Broker = PAPER,
) -> Book:
    """The book after the sessions of ``bars``; ``journal`` is told all that happens.

    ``book``, ``wishes`` and ``rules`` are of the same K strategies and S symbols. A run over many
    sessions and runs over its parts, each with the book that the one before left, are equal.
    """
    for number, session in enumerate(bars.sessions):
        journal.begin(number)
        bar = bars.of_session(number)
        desk = _Desk(session.astype("datetime64[D]").item(), exchange, rules, journal, broker)
        book = _open_books(desk, book)
        book = _corporate_actions(desk, book, bar)
        book = _pay_out_delisted(desk, book, bar)
        book = _fill_orders(desk, book, bar)
        book, value, equity = _mark(desk, book, bar)
        state = risk_state(equity, book.peak, rules)
        book = _stop_orders(desk, book, state)
        wish = (wishes.weight[number], wishes.action[number], wishes.limit_offset_bps)
        book = _make_orders(desk, book, bar, wish, equity, state)
        journal.close(book, value, equity, state)
    return book


def risk_state(equity: Floats, peak: Floats, rules: RuleTable) -> Ints:
    """ACTIVE, REDUCING or HALTED (0, 1, 2) by the fall of ``equity`` from ``peak`` (K)."""
    drawdown = 1 - equity / peak
    return (drawdown >= rules.reduce_drawdown).astype(np.int64) + (drawdown >= rules.halt_drawdown)


def _open_books(desk: _Desk, book: Book) -> Book:
    if not book.is_new.any():
        return book
    initial = desk.money(desk.rules.initial_cash)
    desk.journal.add("DEPOSIT", np.flatnonzero(book.is_new), cash=initial[book.is_new])
    return replace(
        book,
        cash=np.where(book.is_new, initial, book.cash),
        peak=np.where(book.is_new, initial, book.peak),
        is_new=np.zeros_like(book.is_new),
    )


def _corporate_actions(desk: _Desk, book: Book, bar: SessionBars) -> Book:
    """Splits, with fractions paid out at the restated last close, then dividends on the ex-date."""
    ratio = np.where(np.isnan(bar.split_ratio), 1.0, bar.split_ratio)
    if (ratio != 1).any():
        book = _split(desk, book, ratio)
    paying = (np.nan_to_num(bar.dividend) > 0) & (book.shares > 0)
    if not paying.any():
        return book
    k, s = np.nonzero(paying)
    shares = book.shares[k, s]
    amounts = desk.money(shares * bar.dividend[s])
    desk.journal.add("DIVIDEND", k, s, shares=shares, price=bar.dividend[s], cash=amounts)
    received = sum_by(k, amounts, len(book.cash))
    return replace(
        book,
        cash=desk.money(book.cash + received),
        dividends=desk.money(book.dividends + received),
    )


def _split(desk: _Desk, book: Book, ratio: Floats) -> Book:
    exact = book.shares * ratio
    whole = np.floor(exact + _WHOLE)
    mark = book.mark / ratio
    k, s = np.nonzero((book.shares > 0) & (ratio != 1))
    fraction = (exact - whole)[k, s]
    fraction = np.where(fraction > _WHOLE, fraction, 0)
    paid = desk.money(fraction * mark[s])
    sold_basis = np.where(
        whole[k, s] == 0,
        book.basis[k, s],
        desk.money(book.basis[k, s] * fraction / exact[k, s]),
    )
    basis = book.basis.copy()
    basis[k, s] -= sold_basis
    desk.journal.add(
        "SPLIT",
        k,
        s,
        shares=(whole - book.shares)[k, s],
        price=ratio[s],
        cash=paid,
        realized_pnl=paid - sold_basis,
    )
    leaves = np.trunc(book.leaves * ratio + np.sign(book.leaves) * _WHOLE)
    _cancel(desk, book, (book.leaves != 0) & (leaves == 0), "split left no whole share")
    count = len(book.cash)
    return replace(
        book,
        cash=desk.money(book.cash + sum_by(k, paid, count)),
        realized=desk.money(book.realized + sum_by(k, paid - sold_basis, count)),
        shares=whole,
        basis=desk.money(basis),
        mark=mark,
        leaves=leaves,
        ordered=np.trunc(book.ordered * ratio + np.sign(book.ordered) * _WHOLE),
        limit=on_step(desk.exchange, desk.session, book.limit / ratio, up=book.leaves < 0),
    )


def _pay_out_delisted(desk: _Desk, book: Book, bar: SessionBars) -> Book:
    """Positions of symbols that are gone turn into cash at the last close, without costs."""
    gone = ~bar.is_listed
    if not (gone & ((book.shares > 0) | (book.leaves != 0)).any(axis=0)).any():
        return book
    book = _cancel(desk, book, gone & (book.leaves != 0), "not listed any more")
    k, s = np.nonzero(gone & (book.shares > 0))
    shares, price, basis = book.shares[k, s], book.mark[s], book.basis[k, s]
    paid = desk.money(shares * price)
    desk.journal.add(
        "DELISTED", k, s, shares=-shares, price=price, cash=paid, realized_pnl=paid - basis
    )
    count = len(book.cash)
    return replace(
        book,
        cash=desk.money(book.cash + sum_by(k, paid, count)),
        realized=desk.money(book.realized + sum_by(k, paid - basis, count)),
        shares=np.where(gone, 0.0, book.shares),
        basis=np.where(gone, 0.0, book.basis),
    )


def _fill_orders(desk: _Desk, book: Book, bar: SessionBars) -> Book:
    """Fill what can be filled: sales first, then purchases as long as the cash lasts."""
    if not book.leaves.any():
        return book
    k, s = np.nonzero(book.leaves)
    executed = desk.broker.executions(_waiting(desk, book, k, s), bar)
    prices, shares = executed.prices, executed.shares
    is_sale = book.leaves[k, s] < 0
    sold = is_sale & (np.minimum(shares, book.shares[k, s]) > 0)
    if sold.any():
        n = np.minimum(shares, book.shares[k, s])[sold]
        book = _settle(desk, book, k[sold], s[sold], -n, prices[sold])
    bought = ~is_sale & (shares > 0)
    if bought.any():
        n = shares[bought]
        if not desk.broker.tells_facts:
            n = _affordable(desk, book.cash, k[bought], n, prices[bought])
        is_paid = n > 0
        where = np.flatnonzero(bought)[is_paid]
        book = _settle(desk, book, k[where], s[where], n[is_paid], prices[where])
    return _age_orders(desk, book)


def _waiting(desk: _Desk, book: Book, k: Ints, s: Ints) -> OpenOrders:
    return OpenOrders(
        desk.session,
        desk.exchange,
        desk.rules,
        k,
        s,
        book.leaves[k, s],
        book.limit[k, s],
        book.opened[k, s],
        book.mark[s],
    )


def _affordable(desk: _Desk, cash: Floats, k: Ints, shares: Floats, prices: Floats) -> Floats:
    """``shares`` that the cash of each book pays for, one order after the other.

    The first order that is too dear gets what is left, the ones after it wait.
    """
    value, commission = desk.charge(k, shares, prices)
    spent = cumulative_by(k, value + commission)
    is_over = spent > cash[k] + 0.5 * 10.0**-desk.exchange.cash_decimals
    if not is_over.any():
        return shares
    before = spent - (value + commission)
    left = desk.money(cash[k] - before)
    unit_cost = prices * (1 + desk.rules.commission_bps[k] / 1e4)
    fewer = np.floor(np.maximum(left - desk.rules.minimum_commission[k], 0) / unit_cost)
    fewer = np.minimum(fewer, shares)
    value, commission = desk.charge(k, fewer, prices)
    # Rounding to the currency's unit may cost a share.
    fewer = np.where(value + commission > left, np.maximum(fewer - 1, 0), fewer)
    is_first = is_over & (cumulative_by(k, is_over.astype(np.float64)) == 1)
    return np.where(is_over, np.where(is_first, fewer, 0), shares)


def _settle(desk: _Desk, book: Book, k: Ints, s: Ints, shares: Floats, prices: Floats) -> Book:
    """Book fills, one a cell: ``shares`` are positive for purchases, negative for sales."""
    value, commission = desk.charge(k, np.abs(shares), prices)
    is_sale, held, held_basis = shares < 0, book.shares[k, s], book.basis[k, s]
    tax = np.where(is_sale, desk.sell_tax(value), 0)
    part = desk.money(held_basis * -shares / np.where(held > 0, held, 1))
    sold_basis = np.where(is_sale, np.where(-shares == held, held_basis, part), 0)
    realized = np.where(is_sale, value - sold_basis, 0)
    cash = np.where(is_sale, value, -value) - commission - tax
    new = {name: getattr(book, name).copy() for name in ("shares", "basis", "leaves")}
    new["shares"][k, s] += shares
    new["basis"][k, s] += np.where(is_sale, -sold_basis, value)
    new["leaves"][k, s] -= shares
    desk.journal.add(
        "FILL",
        k,
        s,
        **{**order_values(book, k, s), "leaves": np.abs(new["leaves"][k, s])},
        shares=np.abs(shares),
        price=prices,
        cash=cash,
        commission=commission,
        tax=tax,
        realized_pnl=realized,
        limit_price=book.limit[k, s],
    )
    count = len(book.cash)
    return replace(
        book,
        cash=desk.money(book.cash + sum_by(k, cash, count)),
        realized=desk.money(book.realized + sum_by(k, realized, count)),
        costs=desk.money(book.costs + sum_by(k, commission + tax, count)),
        shares=new["shares"],
        basis=desk.money(new["basis"]),
        leaves=new["leaves"],
    )


def _age_orders(desk: _Desk, book: Book) -> Book:
    """Open orders have waited one session more; those that waited long enough are canceled."""
    is_open = book.leaves != 0
    age = np.where(is_open, book.age + 1, 0)
    is_over = is_open & (age >= desk.rules.order_sessions[:, None])
    return replace(_cancel(desk, book, is_over, "expired"), age=age)


def _stop_orders(desk: _Desk, book: Book, state: Ints) -> Book:
    """A book that reduces keeps no open purchase, one that is halted no open order."""
    if not state.any():
        return book
    is_reducing, is_halted = (state[:, None] == level for level in (REDUCING, HALTED))
    book = _cancel(desk, book, is_reducing & (book.leaves > 0), "reducing")
    return _cancel(desk, book, is_halted & (book.leaves != 0), "halted")


def _cancel(desk: _Desk, book: Book, which: Bools, why: str) -> Book:
    """Cancel the open orders of the cells ``which`` (K by S)."""
    if not which.any():
        return book
    k, s = np.nonzero(which)
    desk.journal.add("CANCELED", k, s, why, **order_values(book, k, s))
    return replace(book, leaves=np.where(which, 0.0, book.leaves))


def _mark(desk: _Desk, book: Book, bar: SessionBars) -> tuple[Book, Floats, Floats]:
    """The book with the marks of the close, the value of its positions (K by S) and equity (K)."""
    mark = np.where(np.nan_to_num(bar.close) > 0, bar.close, book.mark)
    value = desk.money(book.shares * np.nan_to_num(mark))
    equity = desk.money(book.cash + value.sum(axis=1))
    return replace(book, mark=mark, peak=np.maximum(book.peak, equity)), value, equity


def _make_orders(
    desk: _Desk,
    book: Book,
    bar: SessionBars,
    wish: tuple[Floats, npt.NDArray[np.int8], Floats],
    equity: Floats,
    state: Ints,
) -> Book:
    """Turn wishes into orders: MARKET at the next open, or LIMIT from there on.

    An order has the side of the wish: a target that falls buys nothing, even where the held weight
    has fallen further. What a purchase did not get is given up until the wish changes; what is to
    be sold is asked for again, also when the symbol has no score any more: of what a strategy still
    wants there is always a wish. An open order that is larger than what is wanted now is replaced.
    """
    weight, action, offset_bps = wish
    has_wishes = ~np.isnan(weight).all(axis=1, keepdims=True)
    weight = np.where(np.isnan(weight) & (book.shares > 0) & has_wishes, 0.0, weight)
    has_none = (book.shares == 0) & (book.leaves == 0)
    is_left = (weight == 0) & (book.shares > 0) & (book.leaves == 0)
    is_asked = (action != 0) | ((weight > 0) & has_none) | is_left
    k, s = np.nonzero(is_asked & (np.nan_to_num(bar.close) > 0) & bar.is_listed & ~np.isnan(weight))
    gap = np.floor(weight[k, s] * equity[k] / bar.close[s] + _WHOLE) - book.shares[k, s]
    leaves = book.leaves[k, s]
    is_wrong = np.zeros(weight.shape, bool)
    is_wrong[k, s] = (np.sign(gap) != np.sign(leaves)) | (np.abs(gap) < np.abs(leaves))
    is_wrong &= book.leaves != 0
    book = _cancel(desk, book, is_wrong, "replaced")
    is_meant = (np.sign(gap) == action[k, s]) | (has_none | is_left | is_wrong)[k, s]
    needs = (gap != 0) & (book.leaves[k, s] == 0) & is_meant
    k, s, gap = k[needs], s[needs], gap[needs]
    if not len(k):
        return book
    price, side = bar.close[s], np.sign(gap)
    asked = Asked(k, s, gap, price, weight[k, s])
    allowed, why = checked(asked, book, equity, state, desk.rules)
    limit = on_step(
        desk.exchange, desk.session, price * (1 - side * offset_bps[k] / 1e4), up=side < 0
    )
    day = np.datetime64(desk.session, "D").astype(np.int64)
    for kind, chosen in (("DENIED", allowed == 0), ("ORDER", allowed > 0)):
        desk.journal.add(
            kind,
            k[chosen],
            s[chosen],
            DENIALS[why[chosen]],
            side=side[chosen],
            shares=np.where(allowed > 0, allowed, np.abs(gap))[chosen],
            price=price[chosen],
            limit_price=limit[chosen],
            opened=day,
        )
    made = allowed > 0
    k, s = k[made], s[made]
    new = {n: getattr(book, n).copy() for n in ("leaves", "ordered", "limit", "opened", "age")}
    new["leaves"][k, s] = new["ordered"][k, s] = (side * allowed)[made]
    new["limit"][k, s], new["opened"][k, s], new["age"][k, s] = limit[made], day, 0
    return replace(book, **new)
