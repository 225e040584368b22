"""Risk of the books after a session. What belongs here: exposure and the tails of what is held.

Value at risk and expected shortfall are those of *today's* positions over the returns of the last
sessions (historical simulation, Hull 2018, chapter 13), not of the equity curve: a book that has
just doubled its exposure shows it at once.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from quant_assets.domain.ledger_book import Bars, Floats
from quant_assets.domain.trading_rules import RISK_SESSIONS

FEWEST_SESSIONS = 60
"""With fewer returns no tail is stated: the worst of 20 is no 95 % quantile."""
SESSIONS_A_YEAR = 252
LEVELS = (95, 99)
_OF_ACCOUNTS = (
    "session_date",
    "strategy_id",
    "equity",
    "cash",
    "risk_state",
    "is_live",
    "strategy_version",
    "available_at",
)


def total_returns(bars: Bars) -> Floats:
    """Simple total returns of T sessions by S symbols from as-traded bars; 0 without a bar.

    ``(close + dividend) * split_ratio / last close - 1``: the dividend is per new share. The first
    session, and the first bar of a symbol, have none (NaN).
    """
    close = np.where(bars.close > 0, bars.close, np.nan)
    before = pd.DataFrame(close).ffill().shift(1).to_numpy()
    split = np.where(np.isnan(bars.split_ratio), 1.0, bars.split_ratio)
    returns = (close + np.nan_to_num(bars.dividend)) * split / before - 1
    return np.where(np.isnan(close) & ~np.isnan(before), 0.0, returns)


def risk_rows(ledger: pd.DataFrame, bars: Bars) -> pd.DataFrame:
    """Rows of ``risk`` for the sessions of ``ledger``, a row a book.

    ``bars`` hold those sessions and up to ``RISK_SESSIONS`` before the first. A symbol's
    sessions before its first bar count as 0. Tails, volatility and beta are shares of the equity,
    losses positive, null with fewer than ``FEWEST_SESSIONS`` returns; beta is to the equally
    weighted mean of the symbols that had a bar, whose return of the session is the benchmark's.
    """
    days = pd.DatetimeIndex(bars.sessions)
    symbols = pd.Index(bars.symbols)
    rows = []
    for session, entries in ledger.groupby("session_date", sort=True):
        end = int(days.get_indexer(pd.DatetimeIndex([session]))[0]) + 1
        # Nothing before the window: the figures of a session are those of its run alone.
        window, market = _window(bars, max(end - 1 - RISK_SESSIONS, 0), end)
        held = entries[entries["kind"] == "POSITION"]
        for account in entries[entries["kind"] == "ACCOUNT"].to_dict("records"):
            own = held[held["strategy_id"] == account["strategy_id"]]
            equity = float(account["equity"])
            weights = own["value"].to_numpy(np.float64) / (equity or np.nan)
            outcomes = window[:, symbols.get_indexer(pd.Index(own["symbol"]))] @ weights
            rows.append(
                {
                    **{name: account[name] for name in _OF_ACCOUNTS},
                    "exposure": float(weights.sum()),
                    "n_positions": len(own),
                    "largest_weight": float(weights.max(initial=0.0)),
                    "drawdown": max(0.0, 1 - equity / float(account["peak_equity"])),
                    "benchmark_return": float(market[-1]) if len(market) else np.nan,
                    "observations": len(outcomes),
                    **tail_risk(outcomes, market),
                }
            )
    return pd.DataFrame(rows)


def universe_returns(bars: Bars) -> Floats:
    """Mean total return of the symbols that had a bar and one before it, by session; NaN: none."""
    returns = total_returns(bars)
    known = ~np.isnan(returns) & (bars.close > 0)
    count = known.sum(axis=1)
    total = np.where(known, returns, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _window(bars: Bars, start: int, end: int) -> tuple[Floats, Floats]:
    """Returns of the symbols after session ``start`` (0 where there are none), and their mean."""
    part = replace(
        bars,
        close=bars.close[start:end],
        dividend=bars.dividend[start:end],
        split_ratio=bars.split_ratio[start:end],
    )
    return np.nan_to_num(total_returns(part)[1:]), universe_returns(part)[1:]


def tail_risk(outcomes: Floats, market: Floats) -> dict[str, float]:
    """Tails, volatility and beta of daily ``outcomes`` (shares of the equity) beside ``market``.

    Value at risk at p: minus the (1 - p) quantile, not below 0; expected shortfall: minus the mean
    of the outcomes at or below it. NaN with fewer than ``FEWEST_SESSIONS`` outcomes.
    """
    figures = {
        f"{name}_{level}": np.nan
        for name in ("value_at_risk", "expected_shortfall")
        for level in LEVELS
    }
    figures |= {"volatility": np.nan, "beta": np.nan}
    if len(outcomes) < FEWEST_SESSIONS:
        return figures
    for level in LEVELS:
        quantile = np.quantile(outcomes, 1 - level / 100)
        figures[f"value_at_risk_{level}"] = max(0.0, -float(quantile))
        worst = outcomes[outcomes <= quantile]
        figures[f"expected_shortfall_{level}"] = max(0.0, -float(worst.mean()))
    figures["volatility"] = float(outcomes.std(ddof=1)) * SESSIONS_A_YEAR**0.5
    known = ~np.isnan(market)
    if known.sum() >= FEWEST_SESSIONS and (spread := float(np.var(market[known], ddof=1))) > 0:
        figures["beta"] = float(np.cov(outcomes[known], market[known], ddof=1)[0, 1]) / spread
    return figures
