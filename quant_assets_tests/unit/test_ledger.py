"""The paper book: accounting, chunks, restarts, limits and costs."""

from dataclasses import fields
from datetime import date
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.domain.ledger import run_sessions
from quant_assets.domain.ledger_book import Bars, Book, RuleTable, Wishes, bars_of, new_book
from quant_assets.domain.ledger_entries import Labels, book_of, ledger_rows, open_order_ids
from quant_assets.domain.ledger_journal import Journal
from quant_assets.domain.strategies import decide
from quant_assets.domain.strategy_config import Strategy
from quant_assets.domain.trading_rules import EXCHANGES, TradingRules
from quant_assets.errors import BadConfigurationError
from quant_assets.schemas.trading import LEDGER
from quant_assets_tests.unit.random_market import random_bars

BOOKS = (
    Strategy(id="a", kind="combined", enter=0.3, exit=-0.2, names=3, band=0.05),
    Strategy(id="b", kind="combined", enter=0.0, exit=0.0, names=0, order_type="LIMIT"),
    Strategy(id="c", kind="combined", enter=0.6, exit=0.1, names=5, use_regime=False),
)
RULES = (
    TradingRules(initial_cash=100_000, order_sessions=3, max_position_weight=0.5),
    TradingRules(initial_cash=50_000, minimum_commission=1, max_positions=4, max_turnover=0.4),
    TradingRules(initial_cash=1_000_000, reduce_drawdown=0.05, halt_drawdown=0.12),
)


def slice_bars(bars: Bars, start: int, end: int) -> Bars:
    arrays = {f.name: getattr(bars, f.name)[start:end] for f in fields(bars) if f.name != "symbols"}
    return Bars(symbols=bars.symbols, **arrays)


def run(
    bars: Bars, wishes: Wishes, market: str, cuts: list[int], books: range
) -> tuple[pd.DataFrame, Book]:
    """Rows and last book of a run in chunks, each restarted from the rows of the one before."""
    strategies = [BOOKS[n] for n in books]
    rules = RuleTable.of([RULES[n] for n in books])
    book, ids, parts = new_book(len(strategies), len(bars.symbols)), {}, []
    edges = [0, *cuts, len(bars.sessions)]
    for start, end in pairwise(edges):
        chunk = slice_bars(bars, start, end)
        journal = Journal(end - start, len(strategies))
        part = Wishes(
            wishes.weight[start:end][:, books],
            wishes.action[start:end][:, books],
            wishes.limit_offset_bps[list(books)],
        )
        run_sessions(book, chunk, part, EXCHANGES[market], rules, journal)
        labels = Labels(
            market, pd.DatetimeIndex(chunk.sessions), strategies, bars.symbols, "r", ids
        )
        rows = ledger_rows(journal, labels).assign(
            opening_hash=None, available_at=pd.Timestamp("2026-01-01", tz="UTC")
        )
        rows = LEDGER.conform(rows, "the test's ledger")
        parts.append(rows)
        last = rows[rows["session_date"] == rows["session_date"].max()]
        book, ids = book_of(last, strategies, bars.symbols), open_order_ids(last)
    return pd.concat(parts, ignore_index=True), book


def wishes_of(bars: Bars, seed: int) -> Wishes:
    random = np.random.default_rng(seed)
    shape = (len(bars.sessions), len(BOOKS), len(bars.symbols))
    scores = random.normal(0, 0.5, shape)
    scores[random.random(shape) < 0.1] = np.nan
    multiplier = random.choice([1.0, 0.7, 0.3], len(bars.sessions))
    target = np.zeros(shape[1:])
    decisions = decide(scores, multiplier, BOOKS, target, bars.is_listed)
    offsets = np.array([np.nan, 40.0, np.nan])
    return Wishes(decisions.weight, decisions.action, offsets)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    market=st.sampled_from(["us", "kr"]),
    cuts=st.lists(st.integers(1, 39), unique=True, max_size=6).map(sorted),
)
def test_chunks_and_restarts_change_nothing(seed: int, market: str, cuts: list[int]) -> None:
    bars = random_bars(seed, 40, 7)
    wishes = wishes_of(bars, seed)
    whole, _ = run(bars, wishes, market, [], range(3))
    parts, _ = run(bars, wishes, market, cuts, range(3))
    pd.testing.assert_frame_equal(whole, parts)
    alone, _ = run(bars, wishes, market, [], range(1, 2))
    of_grid = whole[whole["strategy_id"] == "b"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, of_grid)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), market=st.sampled_from(["us", "kr"]))
def test_every_cent_is_accounted_for(seed: int, market: str) -> None:
    bars = random_bars(seed, 40, 7)
    rows, _ = run(bars, wishes_of(bars, seed), market, [], range(3))
    unit = 10.0 ** -EXCHANGES[market].cash_decimals
    for _, entries in rows.groupby("strategy_id"):
        flows = entries[~entries["kind"].isin(("ACCOUNT", "POSITION", "OPEN_ORDER"))]
        by_day = flows.groupby("session_date")[["cash", "realized_pnl", "commission", "tax"]].sum()
        accounts = entries[entries["kind"] == "ACCOUNT"].set_index("session_date")
        held = entries[entries["kind"] == "POSITION"].groupby("session_date")[["value", "basis"]]
        value = held.sum().reindex(accounts.index, fill_value=0.0)
        running = by_day.reindex(accounts.index, fill_value=0.0).cumsum()
        deposit = flows.loc[flows["kind"] == "DEPOSIT", "cash"].item()
        np.testing.assert_allclose(accounts["cash"], running["cash"], atol=unit / 100)
        np.testing.assert_allclose(
            accounts["equity"] - deposit,
            running["realized_pnl"]
            + value["value"]
            - value["basis"]
            + accounts["dividends_total"]
            - running["commission"]
            - running["tax"],
            atol=unit / 100,
        )
        assert (accounts["cash"] >= 0).all()
        scaled = accounts["equity"] / unit
        np.testing.assert_allclose(scaled, scaled.round(), atol=1e-4)


CLOSES = (100.0, 110.0, 121.0, 60.5, 66.0)


def flat_market(**changes: dict[int, float]) -> Bars:
    """One symbol whose open is the close before; columns may be changed on some sessions."""
    days = pd.bdate_range("2026-03-02", periods=len(CLOSES)).as_unit("us")
    opens = [CLOSES[0], *CLOSES[:-1]]
    frame = pd.DataFrame(
        {
            "session_date": days,
            "symbol": "A",
            "open": opens,
            "high": [max(o, c) for o, c in zip(opens, CLOSES, strict=True)],
            "low": [min(o, c) for o, c in zip(opens, CLOSES, strict=True)],
            "close": CLOSES,
            "volume": 1e9,
            "dividend": 0.0,
            "split_ratio": 1.0,
        }
    )
    for column, values in changes.items():
        for row, value in values.items():
            frame.loc[row, column] = value
    return bars_of(frame, days, ["A"])


def hold(
    bars: Bars,
    market: str = "us",
    weight: float = 1.0,
    later: dict[int, float] | None = None,
    limit_offset_bps: float = np.nan,
    **rules: float,
) -> pd.DataFrame:
    """Rows of a book that buys in the first session and holds, without costs unless given.

    ``later`` are sessions that want another weight, and want it from then on.
    """
    free = {
        "initial_cash": 10_000,
        "commission_bps": 0,
        "slippage_bps": 0,
        "max_position_weight": 1.0,
        "reduce_drawdown": 1.0,
        "halt_drawdown": 1.0,
    }
    shape = (len(bars.sessions), 1, 1)
    weights, action = np.full(shape, weight), np.zeros(shape, np.int8)
    action[0] = 1
    for session, wanted in (later or {}).items():
        action[session] = np.sign(wanted - weights[session])
        weights[session:] = wanted
    wishes = Wishes(weights, action, np.array([limit_offset_bps]))
    journal = Journal(len(bars.sessions), 1)
    table = RuleTable.of([TradingRules(**{**free, **rules})])
    run_sessions(new_book(1, 1), bars, wishes, EXCHANGES[market], table, journal)
    labels = Labels(market, pd.DatetimeIndex(bars.sessions), BOOKS[:1], ["A"], "r", {})
    return ledger_rows(journal, labels)


def equity(rows: pd.DataFrame) -> list[float]:
    return rows.loc[rows["kind"] == "ACCOUNT", "equity"].tolist()


def kinds(rows: pd.DataFrame, kind: str) -> pd.DataFrame:
    return rows[rows["kind"] == kind]


def test_buy_and_hold_without_costs_is_the_price() -> None:
    assert equity(hold(flat_market())) == [10_000, 11_000, 12_100, 6_050, 6_600]


def test_doing_nothing_keeps_the_cash() -> None:
    rows = hold(flat_market(), weight=0.0)
    assert equity(rows) == [10_000] * 5
    assert set(rows["kind"]) == {"DEPOSIT", "ACCOUNT"}


def test_always_denied_keeps_the_cash_and_says_why() -> None:
    rows = hold(flat_market(), max_turnover=0.001)
    assert equity(rows) == [10_000] * 5
    denied = kinds(rows, "DENIED")
    assert len(denied) == 5
    assert set(denied["reason"]) == {"turnover"}
    assert kinds(rows, "FILL").empty


def test_costs_are_what_the_rules_say() -> None:
    rows = hold(flat_market(), weight=0.5, commission_bps=10, slippage_bps=50)
    fill = kinds(rows, "FILL").iloc[0]
    assert (fill["shares"], fill["price"]) == (50, 100.5)
    assert fill["commission"] == round(50 * 100.5 * 0.001, 2)
    assert fill["cash"] == -(50 * 100.5) - fill["commission"]


def test_cash_bounds_a_purchase_whose_price_rose() -> None:
    rows = hold(flat_market(open={1: 104.0}), commission_bps=10)
    fill = kinds(rows, "FILL").iloc[0]
    assert fill["shares"] == 96
    assert fill["status"] == "PARTIALLY_FILLED"
    assert kinds(rows, "ACCOUNT")["cash"].min() >= 0


def test_a_share_of_the_volume_fills_and_the_rest_waits_until_it_expires() -> None:
    volume = {1: 200.0, 2: 0.0, 3: 400.0, 4: 1e6}
    rows = hold(flat_market(volume=volume), order_sessions=3, max_volume_share=0.1)
    fills = kinds(rows, "FILL")
    assert fills["shares"].tolist() == [20, 40]
    assert set(fills["order_id"]) == set(kinds(rows, "ORDER")["order_id"])
    assert fills["fill_id"].is_unique
    canceled = kinds(rows, "CANCELED").iloc[0]
    assert (canceled["reason"], canceled["leaves"]) == ("expired", 40)


def test_a_split_changes_shares_and_price_but_no_money() -> None:
    bars = flat_market(split_ratio={3: 2.0})
    rows = hold(bars, weight=0.99)
    split = kinds(rows, "SPLIT").iloc[0]
    assert (split["shares"], split["cash"]) == (99, 0)
    held = kinds(rows, "POSITION").set_index("session_date")
    assert held["shares"].tolist() == [99, 99, 198, 198]
    assert held["basis"].nunique() == 1


def test_a_fraction_of_a_reverse_split_is_paid_out() -> None:
    rows = hold(flat_market(split_ratio={3: 0.3}), weight=0.5)
    split = kinds(rows, "SPLIT").iloc[0]
    assert split["shares"] == 15 - 50
    unchanged = hold(flat_market(split_ratio={3: 0.2}), weight=0.5)
    assert kinds(unchanged, "SPLIT").iloc[0]["cash"] == 0


def test_a_dividend_is_paid_on_what_was_held_before_its_day() -> None:
    rows = hold(flat_market(dividend={1: 5.0, 2: 2.0}))
    paid = kinds(rows, "DIVIDEND")
    assert paid["cash"].tolist() == [200.0]
    assert equity(rows)[2] == 12_100 + 200


def test_korea_fills_nothing_at_its_price_limit() -> None:
    rows = hold(flat_market(open={1: 130.0}, high={1: 130.0}, close={1: 130.0}), "kr")
    assert kinds(rows, "FILL")["session_date"].min() == pd.Timestamp("2026-03-04")


def test_korea_taxes_sales_and_trades_in_its_price_steps() -> None:
    bars = flat_market()
    rows = hold(bars, "kr", weight=0.5, later={2: 0.0}, initial_cash=1_000_000)
    sale = kinds(rows, "FILL").iloc[1]
    assert (sale["side"], sale["shares"], sale["price"]) == ("SELL", 5_000, 121.0)
    assert sale["tax"] == int(5_000 * 121 * 0.002)
    late = kinds(hold(bars, "kr", weight=0.0, later={3: 0.5}), "FILL").iloc[0]
    assert late["price"] == 61.0, "60.5 is no price of the exchange"


def test_a_sale_realizes_proceeds_less_basis() -> None:
    rows = hold(flat_market(), weight=0.5, later={2: 0.25, 3: 0.0})
    sales = kinds(rows, "FILL").iloc[1:]
    assert sales["shares"].tolist() == [28, 22]
    assert sales["realized_pnl"].tolist() == [28 * 21.0, 22 * (60.5 - 100)]
    assert equity(rows)[-1] == 10_000 + sales["realized_pnl"].sum()


@pytest.mark.parametrize(
    ("limits", "state", "reason"),
    [
        ({"reduce_drawdown": 0.1, "halt_drawdown": 0.9}, "REDUCING", "reducing"),
        ({"reduce_drawdown": 0.1, "halt_drawdown": 0.2}, "HALTED", "halted"),
    ],
)
def test_a_fall_stops_purchases_and_a_deeper_one_everything(
    limits: dict[str, float], state: str, reason: str
) -> None:
    bars = flat_market()
    more = hold(bars, weight=0.5, later={3: 0.9}, **limits)
    assert kinds(more, "ACCOUNT")["risk_state"].iloc[3] == state
    assert kinds(more, "DENIED")["reason"].iloc[0] == reason
    out = hold(bars, weight=0.5, later={3: 0.0}, **limits)
    assert len(kinds(out, "FILL")) == (2 if state == "REDUCING" else 1)


def test_what_is_to_be_sold_is_asked_for_until_nothing_is_left() -> None:
    bars = flat_market(volume={2: 0.0, 3: 0.0})
    rows = hold(bars, weight=0.5, later={1: 0.0}, order_sessions=2)
    assert kinds(rows, "CANCELED")["reason"].tolist() == ["expired"]
    assert kinds(rows, "ORDER")["side"].tolist() == ["BUY", "SELL", "SELL"]
    assert kinds(rows, "FILL")["session_date"].max() == pd.Timestamp("2026-03-06")


def test_what_is_to_be_sold_is_asked_for_where_there_is_no_wish_any_more() -> None:
    """Of another symbol there is one: the strategy has spoken, and of this one it wants nothing."""
    days = pd.bdate_range("2026-03-02", periods=8).as_unit("us")
    frame = pd.DataFrame(
        [
            (day, symbol, 100.0, 100.0, 100.0, 100.0, 1e6 if n < 3 else 40.0, 0.0, 1.0)
            for n, day in enumerate(days)
            for symbol in ("A", "B")
        ],
        columns=["session_date", "symbol", "open", "high", "low", "close", "volume", "dividend",
                 "split_ratio"],
    )  # fmt: skip
    weights, action = np.zeros((8, 1, 2)), np.zeros((8, 1, 2), np.int8)
    weights[:2, 0, 0], action[0, 0, 0], action[2, 0, 0] = 0.1, 1, -1
    weights[3:, 0, 0] = np.nan

    def book(weights: np.ndarray) -> list[float]:
        journal = Journal(8, 1)
        rules = RuleTable.of(
            [TradingRules(initial_cash=10_000, max_volume_share=0.05, order_sessions=1)]
        )
        bars, wishes = bars_of(frame, days, ["A", "B"]), Wishes(weights, action, np.array([np.nan]))
        run_sessions(new_book(1, 2), bars, wishes, EXCHANGES["us"], rules, journal)
        labels = Labels("us", pd.DatetimeIndex(days), BOOKS[:1], ["A", "B"], "r", {})
        fills = kinds(ledger_rows(journal, labels), "FILL")
        return (fills["shares"] * np.where(fills["side"] == "BUY", 1, -1)).tolist()

    assert book(weights) == [10, -2, -2, -2, -2, -2]
    silent = weights.copy()
    silent[3:] = np.nan
    assert book(silent) == [10, -2], "a strategy that says nothing at all sells nothing"


def test_an_order_larger_than_what_is_wanted_now_is_replaced() -> None:
    bars = flat_market(volume={1: 0.0})
    rows = hold(bars, weight=0.9, later={1: 0.3})
    assert kinds(rows, "CANCELED")["reason"].tolist() == ["replaced"]
    orders = kinds(rows, "ORDER")
    assert orders["order_id"].is_unique
    assert kinds(rows, "FILL")["shares"].tolist() == [int(0.3 * 10_000 / 110)]


def test_a_target_that_falls_buys_nothing() -> None:
    """The held weight has fallen below the lower target by itself."""
    rows = hold(flat_market(close={3: 30.0}, low={3: 30.0}), weight=0.5, later={3: 0.35})
    assert kinds(rows, "ORDER")["side"].tolist() == ["BUY"]


def test_a_large_book_in_won_buys_nothing_on_credit() -> None:
    bars = flat_market(open={1: 100.0})
    rows = hold(bars, "kr", initial_cash=1e9, commission_bps=0, minimum_commission=1)
    assert kinds(rows, "ACCOUNT")["cash"].min() >= 0


def test_the_price_limit_of_the_time_binds_the_fill_too() -> None:
    assert [EXCHANGES["kr"].widest_move(date(year, 6, 15)) for year in (2014, 2015)] == [0.15, 0.3]
    assert EXCHANGES["us"].widest_move(date(2015, 6, 15)) is None
    bars = flat_market(open={1: 129.0}, high={1: 130.0})
    fill = kinds(hold(bars, "kr", weight=0.5, slippage_bps=200), "FILL").iloc[0]
    assert fill["price"] == 130.0, "131.58 would be beyond the limit"


def test_a_limit_stays_on_the_price_steps_through_a_split() -> None:
    bars = flat_market(
        volume={1: 0.0},
        split_ratio={2: 3.0},
        low={2: 30.0},
        open={2: 40.0},
    )
    rows = hold(bars, weight=0.5, limit_offset_bps=0.0)
    assert kinds(rows, "FILL").iloc[0]["price"] == 33.33


def test_a_limit_order_never_pays_more_than_its_limit() -> None:
    bars = flat_market(low={1: 99.0, 2: 98.0})
    rows = hold(bars, weight=0.5, limit_offset_bps=150.0)
    fill = kinds(rows, "FILL").iloc[0]
    assert (fill["session_date"], fill["price"]) == (pd.Timestamp("2026-03-04"), 98.5)
    assert fill["order_type"] == "LIMIT"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"initial_cash": -1}, "trading.initial_cash is not between 0 and"),
        ({"initial_cash": 0}, "trading.initial_cash is 0: give more"),
        ({"initial_cash": 0.004}, "give at least one unit of currency"),
        ({"initial_cash": 1e308}, "trading.initial_cash is not between 0 and"),
        ({"initial_cash": 10**400}, "trading.initial_cash is not between 0 and"),
        ({"max_volume_share": 1.5}, "give a share above 0, at most 1"),
        ({"order_sessions": 1.5}, "trading.order_sessions is no whole number"),
        ({"slippage_bps": 10_000}, "100 % or more"),
        ({"reduce_drawdown": 0.5, "halt_drawdown": 0.4}, "a book reduces before it halts"),
        ({"commission": 3}, "trading.commission is not a field; allowed are initial_cash"),
        ({"commission_bps": float("nan")}, "commission_bps is not between 0 and"),
        ({"commission_bps": True}, "give a number"),
    ],
)
def test_rules_that_cannot_be_kept_are_refused(fields: dict[str, float], told: str) -> None:
    with pytest.raises(BadConfigurationError) as refused:
        TradingRules.from_mapping(fields)
    assert told in str(refused.value)
