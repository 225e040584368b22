"""A backtest: any strategies over any sessions, by the functions of the paper book.

Belongs here: variants of a strategy, one run of strategies with every entry, one of many variants
with their equity alone. Does not belong here: loading inputs (``assets.research``), the figures of
curves (``performance``).
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import date
from statistics import NormalDist

import numpy as np
import pandas as pd

from quant_assets.domain.evaluation import BENCHMARK, beside, simple_returns
from quant_assets.domain.ledger import run_sessions
from quant_assets.domain.ledger_book import Bars, Floats, RuleTable, bars_of, new_book
from quant_assets.domain.ledger_journal import Journal
from quant_assets.domain.lookahead import demand_known
from quant_assets.domain.paper_book import PaperBook
from quant_assets.domain.performance import performance_figures, probabilistic_sharpe_ratio
from quant_assets.domain.performance_curves import SESSIONS_PER_YEAR
from quant_assets.domain.risk import universe_returns
from quant_assets.domain.signals import Inputs, decided, is_listed, signal_rows
from quant_assets.domain.strategy_config import Strategy
from quant_assets.domain.trading_rules import EXCHANGES, TradingRules
from quant_assets.errors import BadConfigurationError

MOST_VARIANTS = 2_000
CHUNK_SESSIONS = 60
"""Sessions that the variants of a grid decide at once: 100 of them over 500 symbols take 24 MB."""
_EULER = 0.5772156649015329


@dataclass(frozen=True, slots=True)
class Backtest:
    """What is tested: strategies of a market under one set of rules."""

    market: str
    strategies: Sequence[Strategy]
    rules: TradingRules

    def run(self, inputs: Inputs) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Rows of ``signals`` and of ``ledger`` (but ``opening_hash``), as the paper book's own.

        Raises ``BadDataError`` for an input that was not known at the decision of its session.
        """
        demand_inputs_known(inputs)
        signals = signal_rows(inputs, self.strategies, None)
        book = PaperBook(self.market, self.strategies, self.rules, inputs.listings)
        days = sorted(inputs.decision_times)
        ledger = book.run(days, inputs.prices, signals, None)
        times = {pd.Timestamp(day): inputs.decision_times[day] for day in days}
        return signals, ledger.assign(available_at=ledger["session_date"].map(times))

    def run_grid(self, inputs: Inputs) -> "GridResult":
        """Equity, turnover and costs of all strategies, without their entries.

        Equal to what ``run`` computes, in memory that does not grow with the sessions. Raises
        ``BadDataError`` as ``run``.
        """
        demand_inputs_known(inputs)
        days = sorted(inputs.decision_times)
        symbols = sorted(one.symbol for one in inputs.listings)
        count = len(self.strategies)
        book, target = new_book(count, len(symbols)), np.zeros((count, len(symbols)))
        rules = RuleTable.of([self.rules] * count)
        parts = []
        for start in range(0, len(days), CHUNK_SESSIONS):
            part = days[start : start + CHUNK_SESSIONS]
            own = _of_sessions(inputs, part)
            found = decided(own, self.strategies, symbols, target)
            bars = _bars(own, part, symbols)
            journal = Journal(len(part), count, is_detailed=False)
            wishes = found.wishes(self.strategies)
            book = run_sessions(book, bars, wishes, EXCHANGES[self.market], rules, journal)
            target = found.made.target
            parts.append(journal)
        index = pd.DatetimeIndex(days).as_unit("us")
        names = [one.id for one in self.strategies]

        def table(name: str) -> pd.DataFrame:
            values = np.concatenate([getattr(part, name) for part in parts])
            return pd.DataFrame(values, index=index, columns=names)

        return GridResult(
            strategies=tuple(self.strategies),
            equity=table("equity"),
            traded=table("traded"),
            costs=table("costs"),
            fills=sum((part.fills for part in parts), np.zeros(count, np.int64)),
            denials=sum((part.denials for part in parts), np.zeros(count, np.int64)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GridResult:
    """Curves of the variants: sessions by strategy ids; fills and denied orders of each."""

    strategies: tuple[Strategy, ...]
    equity: pd.DataFrame
    traded: pd.DataFrame
    costs: pd.DataFrame
    fills: "np.ndarray"
    denials: "np.ndarray"

    def figures(self, benchmark: pd.Series, varied: Sequence[str]) -> pd.DataFrame:
        """A row a variant, the best Sharpe ratio first: its parameters ``varied``, its figures.

        ``deflated_sharpe_ratio`` is the probability that the true Sharpe ratio is above what the
        best of as many worthless variants would show (Bailey and Lopez de Prado 2014, "The
        Deflated Sharpe Ratio", equation 2 with the variance over the variants); NaN for one.
        """
        returns = simple_returns(self.equity)
        found = performance_figures(returns, beside(benchmark, returns))
        session = found["sharpe_ratio"].to_numpy(np.float64) / math.sqrt(SESSIONS_PER_YEAR)
        table = pd.DataFrame(
            {name: [getattr(one, name) for one in self.strategies] for name in varied},
            index=found.index,
        )
        found.insert(0, "deflated_sharpe_ratio", _deflated(session, len(returns), found))
        found["traded_value"] = self.traded.sum()
        found["fees"] = self.costs.sum()
        found["fills"], found["orders_denied"] = self.fills, self.denials
        return table.join(found).sort_values("sharpe_ratio", ascending=False, kind="stable")


def variants(base: Strategy, grid: Mapping[str, Sequence[object]]) -> tuple[Strategy, ...]:
    """``base`` with each combination of the values in ``grid``, ids ``<id>-001`` and so on.

    Raises ``BadConfigurationError`` for a field that a strategy does not have, for a combination
    that cannot be traded and for more than ``MOST_VARIANTS``.
    """
    allowed = {one.name for one in fields(Strategy)} - {"id", "is_live"}
    for name, values in grid.items():
        if name not in allowed:
            raise BadConfigurationError(
                f"grid: a strategy has no {name!r} to vary; there are {', '.join(sorted(allowed))}"
            )
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise BadConfigurationError(f"grid.{name} is {values!r}: give a list of values")
    count = math.prod(len(values) for values in grid.values())
    if count > MOST_VARIANTS:
        raise BadConfigurationError(
            f"the grid has {count:,} variants, at most {MOST_VARIANTS:,} are tested at once"
        )
    width = max(3, len(str(count)))
    given = asdict(base)
    return tuple(
        Strategy.from_mapping(
            {
                **given,
                **dict(zip(grid, values, strict=True)),
                "id": f"{base.id[: 39 - width]}-{number:0{width}d}",
                "is_live": False,
            }
        )
        for number, values in enumerate(itertools.product(*grid.values()), start=1)
    )


def benchmark_of(inputs: Inputs) -> pd.Series:
    """Returns of the universe with equal weights, by session."""
    days = sorted(inputs.decision_times)
    symbols = sorted(one.symbol for one in inputs.listings)
    bars = _bars(inputs, days, symbols)
    return pd.Series(universe_returns(bars), index=pd.DatetimeIndex(bars.sessions), name=BENCHMARK)


def demand_inputs_known(inputs: Inputs) -> None:
    """Raise ``BadDataError`` for a row that was not known at the decision of its session."""
    for name in ("recommendations", "indicators", "prices", "forecasts"):
        if (rows := getattr(inputs, name)) is not None:
            demand_known(name, rows, inputs.decision_times)


def _bars(inputs: Inputs, days: Sequence[date], symbols: Sequence[str]) -> Bars:
    sessions = pd.DatetimeIndex(list(days)).as_unit("us")
    return bars_of(inputs.prices, sessions, symbols, is_listed(inputs.listings, days, symbols))


def _of_sessions(inputs: Inputs, days: Sequence[date]) -> Inputs:
    """The inputs of neighbouring sessions."""
    first, last = pd.Timestamp(days[0]), pd.Timestamp(days[-1])

    def part(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[frame["session_date"].between(first, last)]

    return replace(
        inputs,
        recommendations=part(inputs.recommendations),
        indicators=part(inputs.indicators),
        prices=part(inputs.prices),
        forecasts=None if inputs.forecasts is None else part(inputs.forecasts),
        decision_times={day: inputs.decision_times[day] for day in days},
    )


def _deflated(sharpe: Floats, count: int, figures: pd.DataFrame) -> Floats:
    """Deflated Sharpe ratios; ``sharpe`` are those of one session over ``count`` returns."""
    known = sharpe[~np.isnan(sharpe)]
    if len(known) < 2:
        return np.full(len(sharpe), np.nan)
    normal, trials = NormalDist(), len(known)
    highest = (1 - _EULER) * normal.inv_cdf(1 - 1 / trials) + _EULER * normal.inv_cdf(
        1 - 1 / (trials * math.e)
    )
    threshold = float(known.std(ddof=1)) * highest
    skewness, excess = (
        figures[name].to_numpy(np.float64) for name in ("skewness", "excess_kurtosis")
    )
    return probabilistic_sharpe_ratio(sharpe, count, skewness, excess + 3.0, threshold)
