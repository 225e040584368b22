"""Risk of the books: exact tails on known returns, and the same figures however runs are cut."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from quant_assets.domain.ledger_book import bars_of
from quant_assets.domain.risk import risk_rows, tail_risk, total_returns
from quant_assets.domain.trading_rules import RISK_SESSIONS
from quant_assets_tests.unit.random_market import random_prices


def ledger_row(session: pd.Timestamp, kind: str, **fields: Any) -> dict[str, Any]:
    return {
        "session_date": session,
        "strategy_id": "a",
        "kind": kind,
        "symbol": None,
        "value": np.nan,
        "is_live": True,
        "strategy_version": "v",
        "risk_state": None,
        "available_at": pd.Timestamp("2026-01-01", tz="UTC"),
        **fields,
    }


def test_tails_are_those_of_the_outcomes() -> None:
    outcomes = np.arange(-100, 100) / 1000
    figures = tail_risk(outcomes, outcomes * 2)
    assert figures["value_at_risk_95"] == pytest.approx(-np.quantile(outcomes, 0.05))
    assert figures["expected_shortfall_95"] == pytest.approx(-outcomes[:10].mean())
    assert figures["value_at_risk_99"] > figures["value_at_risk_95"]
    assert figures["beta"] == pytest.approx(0.5)


def test_few_outcomes_state_no_tail_and_gains_no_loss() -> None:
    assert all(np.isnan(value) for value in tail_risk(np.zeros(59), np.zeros(59)).values())
    assert tail_risk(np.full(60, 0.01), np.zeros(60))["value_at_risk_99"] == 0.0


def test_total_returns_know_splits_dividends_and_days_without_a_bar() -> None:
    days = pd.bdate_range("2026-03-02", periods=4).as_unit("us")
    rows = [(days[0], 100.0, 0.0, 1.0), (days[1], 49.0, 1.0, 2.0), (days[3], 53.9, 0.0, 1.0)]
    frame = pd.DataFrame(rows, columns=["session_date", "close", "dividend", "split_ratio"])
    frame = frame.assign(symbol="A", open=1.0, high=1.0, low=1.0, volume=1.0)
    returns = total_returns(bars_of(frame, days, ["A"]))[:, 0]
    np.testing.assert_allclose(returns, [np.nan, 0.0, 0.0, 0.1], atol=1e-12)


def test_a_session_alone_and_in_a_range_have_the_same_figures() -> None:
    """A symbol without a bar where the window begins, and one that left long ago, among them."""
    prices = random_prices(5, RISK_SESSIONS + 40, 4)
    days = pd.DatetimeIndex(sorted(prices["session_date"].unique()))
    edge = days[-1 - RISK_SESSIONS]
    is_gap = (prices["symbol"] == "S01") & (prices["session_date"] == edge)
    is_gone = (prices["symbol"] == "S03") & (prices["session_date"] > days[20])
    prices = prices[~is_gap & ~is_gone]
    symbols = ["S00", "S01", "S02", "S03"]
    rows = []
    for day in days[-15:]:
        account = {"equity": 1000.0, "cash": 100.0, "peak_equity": 1100.0, "risk_state": "ACTIVE"}
        rows.append(ledger_row(day, "ACCOUNT", **account))
        rows += [ledger_row(day, "POSITION", symbol=s, value=450.0) for s in symbols[:2]]
    ledger = pd.DataFrame(rows)
    whole = risk_rows(ledger, bars_of(prices, days, symbols))
    window = days[-1 - RISK_SESSIONS :]
    last = ledger[ledger["session_date"] == days[-1]]
    alone = risk_rows(last, bars_of(prices, window, symbols))
    pd.testing.assert_frame_equal(whole.tail(1).reset_index(drop=True), alone)
    assert alone.loc[0, "observations"] == RISK_SESSIONS
    assert alone.loc[0, "exposure"] == pytest.approx(0.9)
    assert alone.loc[0, "drawdown"] == pytest.approx(1 - 1000 / 1100)
