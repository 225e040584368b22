"""Round trips by hand, against a slow share-by-share matching, across splits; figures of trades."""

import math
from itertools import chain

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.domain.trade_figures import (
    ROUND_TRIP_COLUMNS,
    TRADE_FIGURES,
    TURNOVER_FIGURES,
    denied_by_reason,
    round_trips,
    trade_figures,
    turnover_figures,
)
from quant_assets.errors import BadDataError
from quant_assets_tests.unit.return_tables import sessions_of

SESSIONS = sessions_of(10, "2024-01-02")


def fills_of(*rows) -> pd.DataFrame:
    """Fills from (place of the session, side, shares, price, costs, symbol ABC)."""
    columns = ["session_date", "side", "shares", "price", "costs", "symbol"]
    padded = [(*row, "ABC") if len(row) == 5 else row for row in rows]
    fills = pd.DataFrame(padded, columns=columns)
    fills["session_date"] = SESSIONS[fills["session_date"].astype(int)]
    return fills.astype({"shares": float, "price": float, "costs": float})


def splits_of(*rows) -> pd.DataFrame:
    splits = pd.DataFrame(rows, columns=["session_date", "symbol", "split_ratio"])
    splits["session_date"] = SESSIONS[splits["session_date"].astype(int)]
    return splits


def trips_of(*profits) -> pd.DataFrame:
    frame = pd.DataFrame({"net_profit": profits}, dtype=float)
    return frame.assign(costs=1.0, holding_sessions=range(len(profits)))


def test_a_partial_close_and_a_close_over_two_openings() -> None:
    fills = fills_of(
        (0, "BUY", 100, 10.0, 10.0),
        (1, "BUY", 50, 12.0, 5.0),
        (3, "SELL", 40, 11.0, 4.0),
        (5, "SELL", 90, 13.0, 9.0),
    )
    found = round_trips(fills, SESSIONS)
    assert tuple(found.columns) == ROUND_TRIP_COLUMNS
    assert found["direction"].tolist() == ["LONG"] * 3
    assert found["shares"].tolist() == [40, 60, 30]
    assert found["entry_price"].tolist() == [10, 10, 12]
    assert found["exit_price"].tolist() == [11, 13, 13]
    assert found["gross_profit"].tolist() == [40, 180, 30]
    # A tenth of a unit a share at either end.
    assert found["costs"].tolist() == pytest.approx([8, 12, 6])
    assert found["net_profit"].tolist() == pytest.approx([32, 168, 24])
    assert found["return"].tolist() == pytest.approx([32 / 400, 168 / 600, 24 / 360])
    assert found["holding_sessions"].tolist() == [3, 5, 4]
    assert found["exit_date"].tolist() == [SESSIONS[3], SESSIONS[5], SESSIONS[5]]


def test_a_short_sale_and_a_turn_from_long_to_short() -> None:
    fills = fills_of(
        (0, "BUY", 10, 10.0, 1.0),
        (1, "SELL", 25, 12.0, 5.0),
        (4, "BUY", 15, 14.0, 3.0),
    )
    found = round_trips(fills, SESSIONS, is_short_allowed=True)
    assert found["direction"].tolist() == ["LONG", "SHORT"]
    assert found["shares"].tolist() == [10, 15]
    assert found["gross_profit"].tolist() == [20, -30]
    assert found["costs"].tolist() == pytest.approx([1 + 2, 3 + 3])
    assert found["return"].tolist() == pytest.approx([17 / 100, -36 / 180])
    assert found["holding_sessions"].tolist() == [1, 3]
    with pytest.raises(BadDataError, match="ABC in 2024-01-03: 15 shares are sold beyond"):
        round_trips(fills, SESSIONS)


def test_a_split_between_opening_and_close() -> None:
    """100 at 40 become 400 at 10; the fill in the session of the split is in new shares."""
    fills = fills_of(
        (0, "BUY", 100, 40.0, 8.0),
        (2, "BUY", 40, 10.0, 4.0),
        (4, "SELL", 420, 12.0, 42.0),
        (6, "SELL", 10, 26.0, 0.0),
    )
    splits = splits_of((2, "ABC", 4.0), (5, "ABC", 0.5), (3, "XYZ", 7.0))
    found = round_trips(fills, SESSIONS, splits)
    assert found["shares"].tolist() == [400, 20, 10]
    assert found["entry_price"].tolist() == [10, 10, 20]
    assert found["exit_price"].tolist() == [12, 12, 26]
    assert found["gross_profit"].tolist() == [800, 40, 60]
    assert found["costs"].tolist() == pytest.approx([8 + 40, 2 + 2, 2])
    # Without the table more would be sold than was bought.
    with pytest.raises(BadDataError, match="280 shares are sold beyond"):
        round_trips(fills, SESSIONS)


def test_a_split_with_no_last_digit_closes_the_position() -> None:
    fills = fills_of((0, "BUY", 100, 9.0, 0.0), (1, "SELL", 100 / 3, 27.0, 0.0))
    bought_again = fills_of((2, "BUY", 3, 1.0, 0.0), (3, "SELL", 3, 2.0, 0.0))
    both = pd.concat([fills, bought_again])
    found = round_trips(both, SESSIONS, splits_of((1, "ABC", 1 / 3)))
    assert found["gross_profit"].tolist() == pytest.approx([0, 3])
    assert found["entry_date"].tolist() == [SESSIONS[0], SESSIONS[2]]


@pytest.mark.parametrize("is_short_allowed", [False, True])
def test_shares_that_do_not_add_up_in_floating_point_leave_nothing(is_short_allowed) -> None:
    """0.1 + 0.2 is more than 0.3 by the last digit."""
    fills = fills_of(
        (0, "BUY", 0.3, 1.0, 0.0),
        (1, "SELL", 0.1, 2.0, 0.0),
        (1, "SELL", 0.2, 2.0, 0.0),
        (2, "BUY", 0.1, 1.0, 0.0),
        (2, "BUY", 0.2, 1.0, 0.0),
        (3, "SELL", 0.3, 2.0, 0.0),
        (4, "BUY", 1.0, 1.0, 0.0),
        (5, "SELL", 1.0, 2.0, 0.0),
    )
    found = round_trips(fills, SESSIONS, is_short_allowed=is_short_allowed)
    assert found["direction"].tolist() == ["LONG"] * 5
    assert found["shares"].tolist() == pytest.approx([0.1, 0.2, 0.1, 0.2, 1.0])
    assert found["holding_sessions"].tolist() == [1] * 5


def test_symbols_are_matched_apart_and_a_session_keeps_the_order_of_its_fills() -> None:
    fills = fills_of(
        (3, "SELL", 5, 9.0, 0.0, "A"),
        (1, "BUY", 5, 10.0, 0.0, "B"),
        (1, "BUY", 5, 8.0, 0.0, "A"),
        (1, "SELL", 5, 11.0, 0.0, "B"),
    )
    found = round_trips(fills, SESSIONS)
    assert found["symbol"].tolist() == ["B", "A"]
    assert found["holding_sessions"].tolist() == [0, 2]
    assert found["gross_profit"].tolist() == [5, 5]


def share_by_share(fills, later) -> list[tuple]:
    """Profit and holding of every share, each its own lot, in shares of the end."""
    held, closed = [], []
    for row in fills.itertuples():
        sign = 1 if row.side == "BUY" else -1
        for _ in range(round(row.shares * later[row.Index])):
            if held and held[0][0] != sign:
                side, price, session = held.pop(0)
                profit = side * (row.price / later[row.Index] - price)
                closed.append((profit, (SESSIONS.get_loc(row.session_date) - session)))
            else:
                price = row.price / later[row.Index]
                held.append((sign, price, SESSIONS.get_loc(row.session_date)))
    return closed


@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 9),
            st.sampled_from(["BUY", "SELL"]),
            st.integers(1, 6),
            st.integers(1, 9),
        ),
        max_size=12,
    ),
    split=st.tuples(st.integers(0, 9), st.sampled_from([2.0, 3.0])),
)
def test_matching_equals_one_share_at_a_time(rows, split) -> None:
    fills = fills_of(*((*row, 0.0) for row in sorted(rows, key=lambda row: row[0])))
    is_before = (fills["session_date"] < SESSIONS[split[0]]).to_numpy()
    later = np.where(is_before, split[1], 1.0)
    splits = splits_of((split[0], "ABC", split[1]))
    found = round_trips(fills, SESSIONS, splits, is_short_allowed=True)
    expected = share_by_share(fills, later)
    assert found["gross_profit"].sum() == pytest.approx(sum(each[0] for each in expected))
    exit_ratio = np.where(found["exit_date"] < SESSIONS[split[0]], split[1], 1.0)
    shares = (found["shares"] * exit_ratio).round().astype(int)
    holding = chain.from_iterable(
        [days] * count for days, count in zip(found["holding_sessions"], shares, strict=True)
    )
    assert list(holding) == [each[1] for each in expected]


def test_no_fills_and_nothing_closed() -> None:
    for fills in (fills_of(), fills_of((0, "BUY", 1, 1.0, 0.0))):
        found = round_trips(fills, SESSIONS)
        assert tuple(found.columns) == ROUND_TRIP_COLUMNS
        assert found.empty
        figures = trade_figures(found)
        assert figures[["round_trips", "net_profit", "costs"]].tolist() == [0, 0, 0]
        assert figures.isna().sum() == len(TRADE_FIGURES) - 3


@pytest.mark.parametrize(
    ("column", "value", "complaint"),
    [
        ("side", "HOLD", "side is HOLD, not BUY or SELL"),
        ("shares", 0.0, "shares is 0.0, not a positive number"),
        ("shares", math.inf, "shares is inf, not a positive number"),
        ("price", math.nan, "price is nan, not a positive number"),
        ("price", -3.0, "price is -3.0, not a positive number"),
        ("costs", -0.01, "costs is -0.01, not 0 or more"),
        ("costs", math.nan, "costs is nan, not 0 or more"),
        ("session_date", pd.Timestamp("2024-01-06"), "not one of the sessions given"),
    ],
)
def test_impossible_fills_are_named(column, value, complaint) -> None:
    fills = fills_of((0, "BUY", 1, 1.0, 0.0), (1, "SELL", 1, 1.0, 0.0))
    fills.loc[1, column] = value
    with pytest.raises(BadDataError, match=f"fill of ABC in 2024-01-0[36]: .*{complaint}"):
        round_trips(fills, SESSIONS)
    with pytest.raises(BadDataError, match=complaint):
        turnover_figures(fills, pd.Series(1.0, index=SESSIONS))


@pytest.mark.parametrize("ratio", [0.0, -2.0, math.nan, math.inf])
def test_an_impossible_split_is_named(ratio) -> None:
    fills = fills_of((0, "BUY", 1, 1.0, 0.0))
    with pytest.raises(BadDataError, match="split of ABC in 2024-01-04: the ratio is"):
        round_trips(fills, SESSIONS, splits_of((2, "ABC", ratio)))


def test_figures_of_hand_made_round_trips() -> None:
    found = trade_figures(trips_of(100, -40, 0, 60, -20))
    assert tuple(found.index) == TRADE_FIGURES
    assert found.to_dict() == pytest.approx(
        {
            "round_trips": 5,
            "net_profit": 100,
            "costs": 5,
            "win_rate": 0.4,
            "profit_factor": 160 / 60,
            "expectancy": 20,
            "payoff_ratio": 80 / 30,
            "average_win": 80,
            "average_loss": -30,
            "holding_sessions": 2,
        }
    )


def test_only_wins_or_only_losses_leave_their_ratios_undefined() -> None:
    wins, losses = trade_figures(trips_of(1, 2)), trade_figures(trips_of(-1, -2))
    assert wins[["profit_factor", "payoff_ratio", "average_loss"]].isna().all()
    assert wins["win_rate"] == 1
    assert losses["profit_factor"] == 0
    assert losses[["payoff_ratio", "average_win"]].isna().all()


def test_turnover_takes_the_lesser_side_and_the_mean_book() -> None:
    fills = fills_of((0, "BUY", 100, 10.0, 1.5), (4, "SELL", 50, 12.0, 0.5))
    equity = pd.Series(np.linspace(1000, 3000, 10), index=SESSIONS)
    found = turnover_figures(fills, equity)
    assert tuple(found.index) == TURNOVER_FIGURES
    assert found["traded_value"] == 1600
    assert found["annual_turnover"] == pytest.approx(600 / 2000 * 252 / 10)
    assert found["fees"] == 2
    assert found["fees_bps"] == pytest.approx(12.5)


def test_turnover_without_trades_or_without_a_book() -> None:
    idle = turnover_figures(fills_of(), pd.Series(5.0, index=SESSIONS))
    assert idle.to_dict() == pytest.approx(
        {"traded_value": 0, "annual_turnover": 0, "fees": 0, "fees_bps": math.nan}, nan_ok=True
    )
    ruined = turnover_figures(fills_of(), pd.Series(0.0, index=SESSIONS))
    none = turnover_figures(fills_of(), pd.Series(dtype=float, index=SESSIONS[:0]))
    assert math.isnan(ruined["annual_turnover"])
    assert math.isnan(none["annual_turnover"])
    unmarked = pd.Series(5.0, index=SESSIONS).mask(SESSIONS[3] == SESSIONS)
    with pytest.raises(BadDataError, match="no value in 2024-01-05"):
        turnover_figures(fills_of(), unmarked)


def test_denied_orders_are_counted_by_reason() -> None:
    orders = pd.DataFrame(
        {
            "status": ["DENIED", "FILLED", "DENIED", "DENIED", "DENIED", "NEW"],
            "reason": ["turnover", None, "halted", "drawdown", "halted", None],
        }
    )
    found = denied_by_reason(orders)
    assert list(found.items()) == [("halted", 2), ("drawdown", 1), ("turnover", 1)]
    assert denied_by_reason(orders[orders["status"] == "FILLED"]).empty
    orders.loc[0, "reason"] = None
    with pytest.raises(BadDataError, match="1 denied orders have no reason"):
        denied_by_reason(orders)
