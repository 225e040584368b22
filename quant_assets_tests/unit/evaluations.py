"""Evaluations for tests of the reports: real paper books on made prices. Holds no tests."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from quant_assets.domain.evaluation import Evaluation, Records, evaluate
from quant_assets.domain.paper_book import PaperBook
from quant_assets.domain.scoring_config import LABELS
from quant_assets.domain.strategies import ACTIONS, decide
from quant_assets.domain.strategy_config import Strategy
from quant_assets.domain.trading_rules import TradingRules
from quant_assets.markets import Listing

STRATEGIES = (
    Strategy(id="alpha-70-30", kind="combined", enter=0.6, exit=-0.2, names=5, is_live=True),
    Strategy(id="beta-limit", kind="combined", enter=0.4, exit=-0.3, names=6, order_type="LIMIT"),
    Strategy(id="hold", kind="buy_and_hold", enter=-9.0, exit=-9.0, names=0, band=1.0),
)
RULES = TradingRules(
    max_position_weight=0.3, max_turnover=0.4, reduce_drawdown=0.9, halt_drawdown=0.95
)


def made_prices(seed: int, days: pd.DatetimeIndex, symbols: Sequence[str]) -> pd.DataFrame:
    """Rows as of ``prices``: a common factor, quarterly dividends, a 4:1 split of each third."""
    random = np.random.default_rng(seed)
    shape = (len(days), len(symbols))
    common = random.normal(0.0004, 0.008, len(days))[:, None]
    gaps, moves = random.normal(0, 0.004, shape), common + random.normal(0, 0.011, shape)
    split = np.ones(shape)
    split[len(days) // 2, ::3] = 4.0
    start = random.uniform(150, 500, len(symbols))
    close = start * np.exp((gaps + moves).cumsum(axis=0)) / split.cumprod(axis=0)
    before = np.vstack([start, close[:-1]]) / split
    opens = before * np.exp(gaps)
    dividend = np.where((np.arange(len(days)) % 63 == 40)[:, None], opens * 0.004, 0.0)
    frame = pd.DataFrame(
        {
            "session_date": np.repeat(days.as_unit("us"), len(symbols)),
            "symbol": np.tile(np.array(symbols, object), len(days)),
            "open": opens.round(2).ravel(),
            "close": close.round(2).ravel(),
            "volume": random.integers(200_000, 9_000_000, shape).ravel(),
            "dividend": dividend.round(4).ravel(),
            "split_ratio": split.ravel(),
        }
    )
    ends = frame[["open", "close"]]
    return frame.assign(high=ends.max(axis=1) + 0.02, low=ends.min(axis=1) - 0.02)


def made_signals(
    seed: int, days: pd.DatetimeIndex, symbols: Sequence[str], strategies: Sequence[Strategy]
) -> pd.DataFrame:
    """Rows as of ``signals`` by scores that wander."""
    random = np.random.default_rng(seed + 1)
    steps = random.normal(0, 0.25, (len(days), len(strategies), len(symbols)))
    scores = np.zeros_like(steps)
    for t in range(1, len(days)):
        scores[t] = 0.9 * scores[t - 1] + steps[t]
    nothing, listed = np.zeros(scores.shape[1:]), np.ones(scores.shape[::2], bool)
    made = decide(scores, np.ones(len(days)), strategies, nothing, listed)
    t, k, s = (cells.ravel() for cells in np.indices(scores.shape))
    return pd.DataFrame(
        {
            "session_date": days.as_unit("us")[t],
            "strategy_id": np.array([one.id for one in strategies], object)[k],
            "strategy_version": np.array([one.version for one in strategies], object)[k],
            "symbol": np.array(symbols, object)[s],
            "action": [ACTIONS[action] for action in made.action.ravel()],
            "target_weight": made.weight.ravel(),
            "score": scores.ravel(),
        }
    )


def made_evaluation(
    *,
    seed: int = 1,
    sessions: int = 300,
    symbols: Sequence[str] = ("AAA", "BBB", "CCC", "DDD", "EEE", "FFF", "GGG", "HHH"),
    strategies: Sequence[Strategy] = STRATEGIES,
    market: str = "us",
    first: str = "2024-06-03",
) -> Evaluation:
    """The evaluation of books that traded on ``made_prices``."""
    days = pd.bdate_range(first, periods=sessions).as_unit("us")
    prices = made_prices(seed, days, symbols)
    if market == "kr":
        for name in ("open", "high", "low", "close"):
            prices[name] = (prices[name] * 100).round() * 10
    signals = made_signals(seed, days, symbols, strategies)
    listings = [Listing(name, name, name, "Technology") for name in symbols]
    scale = 1_000.0 if market == "kr" else 1.0
    rules = replace(RULES, initial_cash=RULES.initial_cash * scale)
    book = PaperBook(market, strategies, rules, listings)
    return evaluate(
        Records(
            market=market,
            strategies=strategies,
            ledger=book.run([day.date() for day in days], prices, signals, None),
            signals=signals,
            recommendations=made_recommendations(seed, days, symbols),
            prices=prices,
            benchmark=made_benchmark(prices),
        )
    )


def made_benchmark(prices: pd.DataFrame) -> pd.Series:
    """Mean return of all symbols by session, splits and dividends included."""
    closes = prices.pivot(index="session_date", columns="symbol", values="close")
    splits = prices.pivot(index="session_date", columns="symbol", values="split_ratio")
    paid = prices.pivot(index="session_date", columns="symbol", values="dividend")
    returns = (closes + paid) * splits / closes.shift() - 1.0
    return returns.mean(axis=1).fillna(0.0).rename("universe, equal weights")


def made_recommendations(seed: int, days: pd.DatetimeIndex, symbols: Sequence[str]) -> pd.DataFrame:
    """Rows as of ``recommendations``: labels by chance, none of them SELL."""
    labels = [label for label in LABELS if label != "SELL"]
    random = np.random.default_rng(seed + 2)
    return pd.DataFrame(
        {
            "session_date": np.repeat(days.as_unit("us"), len(symbols)),
            "symbol": np.tile(np.array(symbols, object), len(days)),
            "label": random.choice(np.array(labels, object), len(days) * len(symbols)),
        }
    )
