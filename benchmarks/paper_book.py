"""How long the paper book takes over years. What belongs here: synthetic bars, clocks, yardsticks.

Bars and scores of a market are made from a seed; strategies decide every session, and the book
fills, marks, checks and orders. Measured are one strategy with every entry recorded, and a grid of
many without, against two yardsticks in the same run: the grid's strategies one after the other,
and a straightforward loop over days and symbols in Python which does less (market orders, a
commission and slippage; no limits, no partial fills, no splits, nothing recorded).
"""

import argparse
import time

import numpy as np
import pandas as pd

from benchmarks.report import Measurement, print_measurements
from quant_assets.domain.ledger import run_sessions
from quant_assets.domain.ledger_book import Bars, RuleTable, Wishes, new_book
from quant_assets.domain.ledger_journal import Journal
from quant_assets.domain.strategies import decide
from quant_assets.domain.strategy_config import Strategy
from quant_assets.domain.trading_rules import US_EXCHANGE, TradingRules

RULES = TradingRules(initial_cash=100_000_000.0)


def market(sessions: int, symbols: int) -> tuple[Bars, np.ndarray]:
    """Bars of random walks, and scores that waver as the combined score does."""
    random = np.random.default_rng(1)
    close = 100 * np.exp(np.cumsum(random.normal(0.0003, 0.015, (sessions, symbols)), axis=0))
    close = np.round(close, 2)
    opens = np.round(np.vstack([close[:1], close[:-1]]) * random.normal(1, 0.003, close.shape), 2)
    split = np.where(random.random(close.shape) < 1e-4, 2.0, 1.0)
    dividend = np.where(random.random(close.shape) < 4 / 252, 0.3, 0.0)
    days = pd.bdate_range("2016-01-04", periods=sessions).as_unit("us").to_numpy()
    bars = Bars(
        days,
        tuple(f"S{n:04d}" for n in range(symbols)),
        opens,
        np.maximum(opens, close),
        np.minimum(opens, close),
        close,
        random.integers(10**5, 10**7, close.shape).astype(np.float64),
        dividend,
        split,
        np.ones(close.shape, bool),
    )
    scores = np.zeros(close.shape)
    noise = random.normal(0, 0.07, close.shape)
    for t in range(1, sessions):
        scores[t] = 0.96 * scores[t - 1] + noise[t]
    return bars, np.clip(scores, -1, 1)


def strategies(count: int) -> list[Strategy]:
    """Parameter sets of one kind of strategy."""
    return [
        Strategy.from_mapping(
            {
                "id": f"set-{n}",
                "kind": "combined",
                "enter": 0.15 + 0.02 * (n % 10),
                "exit": -0.1 + 0.02 * (n // 10),
            }
        )
        for n in range(count)
    ]


def backtest(bars: Bars, scores: np.ndarray, some: list[Strategy], *, detailed: bool) -> Journal:
    """Decisions and book of ``some`` strategies over all sessions."""
    shape = (len(some), len(bars.symbols))
    stacked = np.broadcast_to(scores[:, None, :], (len(scores), *shape))
    multiplier = np.ones(len(scores))
    made = decide(stacked, multiplier, some, np.zeros(shape), bars.is_listed)
    wishes = Wishes(made.weight, made.action, np.full(len(some), np.nan))
    journal = Journal(len(scores), len(some), is_detailed=detailed)
    rules = RuleTable.of([RULES] * len(some))
    run_sessions(new_book(*shape), bars, wishes, US_EXCHANGE, rules, journal)
    return journal


def loop(bars: Bars, scores: np.ndarray, one: Strategy) -> float:
    """The equity at the end by a loop over days and symbols."""
    cash = RULES.initial_cash
    held: dict[int, int] = {}
    wanted: dict[int, float] = {}
    for t in range(len(scores)):
        for s in [s for s in held if s not in wanted]:
            cash += held.pop(s) * bars.open[t, s] * (1 - 0.0006)
        for s, weight in wanted.items():
            if s not in held:
                shares = int(weight * RULES.initial_cash / bars.open[t, s])
                held[s] = shares
                cash -= shares * bars.open[t, s] * (1 + 0.0006)
        names = {
            s: score
            for s, score in enumerate(scores[t])
            if score >= one.enter or (s in wanted and score >= one.exit)
        }
        best = sorted(names, key=lambda s: (s not in wanted, -names[s]))[: one.names]
        wanted = dict.fromkeys(best, one.gross / one.names)
    return float(cash + sum(n * bars.close[-1, s] for s, n in held.items()))


def timed(what: object) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    what()  # type: ignore[operator]
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper_book", description=__doc__)
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--sessions", type=int, default=2520)
    parser.add_argument("--grid", type=int, default=100)
    parser.add_argument("--quick", action="store_true", help="50 symbols, 500 sessions, 10 sets")
    options = parser.parse_args()
    if options.quick:
        options.symbols, options.sessions, options.grid = 50, 500, 10
    bars, scores = market(options.sessions, options.symbols)
    grid = strategies(options.grid)
    backtest(bars, scores, grid[:1], detailed=False)
    recorded = backtest(bars, scores, grid[:1], detailed=True)
    entries = len(recorded.frame())
    one = timed(lambda: backtest(bars, scores, grid[:1], detailed=True))
    bare = timed(lambda: backtest(bars, scores, grid[:1], detailed=False))
    many = timed(lambda: backtest(bars, scores, grid, detailed=False))
    python = timed(lambda: loop(bars, scores, grid[0]))
    print_measurements(
        f"{options.symbols} symbols x {options.sessions} sessions, decisions every session",
        [
            Measurement("one strategy, every entry recorded", f"{one:.2f} s"),
            Measurement("one strategy, equity only", f"{bare:.2f} s"),
            Measurement(
                "loop over days and symbols", f"{python:.2f} s", python / bare, "equity only"
            ),
            Measurement(
                f"grid of {len(grid)}",
                f"{many:.2f} s",
                many / (bare * len(grid)),
                "one by one",
                1.0,
            ),
        ],
        [f"{entries:,} entries of the one strategy, {int(recorded.fills[0]):,} fills"],
    )


if __name__ == "__main__":
    main()
