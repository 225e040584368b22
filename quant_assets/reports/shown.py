"""What of an evaluation a page shows. What belongs here: the choice and order of strategies."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from quant_assets.errors import BadConfigurationError, BadDataError

if TYPE_CHECKING:
    from quant_assets.domain.evaluation import Evaluation

MOST_LISTED, MOST_DRAWN = 12, 8


@dataclass(frozen=True, slots=True)
class Shown:
    """Ids of strategies, the first one (the live one, if any) at the head of each tuple.

    ``listed`` have a column in the table of figures, ``drawn`` a curve; ``left_out`` is the number
    of those that have neither. ``benchmark`` has no missing value and may be empty; its name is
    text.
    """

    listed: tuple[str, ...]
    drawn: tuple[str, ...]
    left_out: int
    benchmark: pd.Series

    @property
    def first(self) -> str:
        """The strategy that the page is about."""
        return self.listed[0]

    @property
    def has_benchmark(self) -> bool:
        """Whether there is anything to compare with."""
        return not self.benchmark.empty

    @property
    def benchmark_name(self) -> str:
        """What the benchmark is called."""
        return str(self.benchmark.name)


def shown_of(evaluation: "Evaluation", drawn_strategies: int) -> Shown:
    """Choose: the live strategy, else the first, then the others by Sharpe ratio, equals by id.

    Raises ``BadConfigurationError`` unless ``drawn_strategies`` is 1 to ``MOST_DRAWN``,
    ``BadDataError`` for an evaluation without a strategy or without a session.
    """
    if not 1 <= drawn_strategies <= MOST_DRAWN:
        raise BadConfigurationError(
            f"{drawn_strategies} strategies were to be drawn: give 1 to {MOST_DRAWN}, more curves "
            "cannot be told apart"
        )
    if not evaluation.strategies or evaluation.equity.empty:
        raise BadDataError(
            f"the evaluation of {evaluation.market} has no session or no strategy: make the paper "
            "book of the range first"
        )
    ids = [one.id for one in evaluation.strategies]
    first = evaluation.live
    sharpe = evaluation.figures["sharpe_ratio"].astype("float64").reindex(ids)
    best = sharpe.sort_index().sort_values(ascending=False, kind="stable").index
    ordered = sorted(map(str, best), key=lambda one: one != first)
    benchmark = evaluation.benchmark.dropna()
    name = "benchmark" if benchmark.name is None else str(benchmark.name)
    listed = tuple(ordered[:MOST_LISTED])
    return Shown(
        listed=listed,
        drawn=listed[:drawn_strategies],
        left_out=len(ordered) - len(listed),
        benchmark=benchmark.rename(name),
    )
