"""How long the paper book takes over years. What belongs here: synthetic bars, clocks, yardsticks.

Bars and scores of a market are made from a seed; strategies decide every session, and the book
fills, marks, checks and orders. Measured are one strategy with every entry recorded, and a grid of
many without, against two yardsticks in the same run: the grid's strategies one after the other,
and a straightforward loop over days and symbols in Python which does less (market orders, a
commission and slippage; no limits, no partial fills, no splits, nothing recorded). With
``--vectorbt PYTHON`` the part that vectorbt can do is measured beside it; its licence (Apache 2.0
with the Commons Clause) keeps it out of the locked environment.
"""

import argparse
import subprocess
import tempfile
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.report import Measurement, print_measurements
from quant_assets.domain.backtest import CHUNK_SESSIONS
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


def backtest(
    bars: Bars, scores: np.ndarray, some: list[Strategy], *, detailed: bool
) -> list[Journal]:
    """Decisions and book of ``some`` strategies, as ``Backtest.run_grid`` goes about it."""
    shape = (len(some), len(bars.symbols))
    book, target = new_book(*shape), np.zeros(shape)
    rules = RuleTable.of([RULES] * len(some))
    step = len(scores) if detailed else CHUNK_SESSIONS
    journals = []
    for start in range(0, len(scores), step):
        part = part_of(bars, start, start + step)
        now = scores[start : start + step]
        stacked = np.broadcast_to(now[:, None, :], (len(now), *shape))
        made = decide(stacked, np.ones(len(now)), some, target, part.is_listed)
        wishes = Wishes(made.weight, made.action, np.full(len(some), np.nan))
        journal = Journal(len(now), len(some), is_detailed=detailed)
        book = run_sessions(book, part, wishes, US_EXCHANGE, rules, journal)
        target = made.target
        journals.append(journal)
    return journals


def part_of(bars: Bars, start: int, end: int) -> Bars:
    """Some sessions of the bars."""
    arrays = {f.name: getattr(bars, f.name)[start:end] for f in fields(bars) if f.name != "symbols"}
    return Bars(symbols=bars.symbols, **arrays)


def weights(scores: np.ndarray, some: list[Strategy], is_listed: np.ndarray) -> np.ndarray:
    """Target weights of ``some`` strategies where they change, T by K by S."""
    shape = (len(some), scores.shape[1])
    stacked = np.broadcast_to(scores[:, None, :], (len(scores), *shape))
    made = decide(stacked, np.ones(len(scores)), some, np.zeros(shape), is_listed)
    return np.where(made.action != 0, made.weight, np.nan)


def vectorbt_seconds(python: str, bars: Bars, wanted: np.ndarray) -> tuple[float, float]:
    """Seconds that vectorbt takes for these targets, and the equity of the first at the end.

    It runs in an environment of its own, and is told targets: what decides is not its part.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "market.npz"
        np.savez(path, open=bars.open, close=bars.close, weight=wanted)
        script = Path(__file__).with_name("vectorbt_peer.py")
        words = [python, str(script), str(path), str(RULES.initial_cash)]
        told = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    return float(told[0]), float(told[1])


def book_seconds(bars: Bars, wanted: np.ndarray) -> tuple[float, float]:
    """The same for the paper book: targets in, equity out."""
    shape = wanted.shape[1:]
    plain = replace(bars, dividend=np.zeros_like(bars.close), split_ratio=np.ones_like(bars.close))
    actions = np.where(np.isnan(wanted), 0, np.where(wanted > 0, 1, -1)).astype(np.int8)
    wishes = Wishes(wanted, actions, np.full(shape[0], np.nan))
    journal = Journal(len(wanted), shape[0], is_detailed=False)
    rules = RuleTable.of([RULES] * shape[0])
    took = timed(lambda: run_sessions(new_book(*shape), plain, wishes, US_EXCHANGE, rules, journal))
    return took, float(journal.equity[-1, 0])


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
    parser.add_argument(
        "--vectorbt",
        metavar="PYTHON",
        help="interpreter that has vectorbt (pip install vectorbt): also measure it",
    )
    parser.add_argument("--peer-grid", type=int, default=10, help="parameter sets for vectorbt")
    options = parser.parse_args()
    if options.quick:
        options.symbols, options.sessions, options.grid = 50, 500, 10
    bars, scores = market(options.sessions, options.symbols)
    grid = strategies(options.grid)
    backtest(bars, scores, grid[:1], detailed=False)
    (recorded,) = backtest(bars, scores, grid[:1], detailed=True)
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
    if options.vectorbt:
        print_peer(options.vectorbt, bars, scores, grid[: options.peer_grid])


def print_peer(python: str, bars: Bars, scores: np.ndarray, some: list[Strategy]) -> None:
    """The part that vectorbt can do as well: targets to orders at the next open, cash, equity."""
    lines = []
    for chosen in (some[:1], some):
        wanted = weights(scores, chosen, bars.is_listed)
        ours, equity = book_seconds(bars, wanted)
        theirs, its = vectorbt_seconds(python, bars, wanted)
        name = f"{len(chosen)} parameter set{'' if len(chosen) == 1 else 's'}"
        lines += [
            Measurement(f"ours, {name}", f"{ours:.2f} s", ours / theirs, "vectorbt"),
            Measurement(f"vectorbt, {name}", f"{theirs:.2f} s, equity {its / equity:.4f} of ours"),
        ]
    print_measurements("targets given, no splits or dividends, orders at the next open", lines)


if __name__ == "__main__":
    main()
