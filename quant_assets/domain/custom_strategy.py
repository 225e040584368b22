"""Scores by a function of the user's. What belongs here: finding it, calling it, checking it.

``"kind": "custom", "scores": "my_strategies.momentum:scores"`` names a function of a module that
can be imported where the platform runs:

    def scores(known: Known) -> pd.DataFrame:  # session_date, symbol, score
        ...

It may compute all sessions of a run at once, but the score of a session may rest on the rows of
that session alone: a run over a range and one over a session must give the same, and nothing may
come from a later one. Scores of up to ``CHECKED_SESSIONS`` sessions, drawn anew in every run, are
therefore first computed from their own rows; a function that looks ahead, or normalises over the
range, is refused. Each call gets frames of its own: what it writes into them reaches neither
another strategy nor the broker.
"""

import importlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quant_assets.domain.ledger_book import Floats, dense
from quant_assets.domain.strategy_config import Strategy
from quant_assets.errors import BadConfigurationError, BadDataError

CHECKED_SESSIONS = 60
"""All of a quarter; of a longer range, what looks ahead in a twentieth of it is found with 95 %."""
_COLUMNS = ("session_date", "symbol", "score")


@dataclass(frozen=True, slots=True)
class Known:
    """What a custom strategy is given: rows of the assets of these names, some sessions."""

    recommendations: pd.DataFrame
    indicators: pd.DataFrame
    prices: pd.DataFrame

    def copy(self) -> "Known":
        """The same rows in frames of their own."""
        return Known(self.recommendations.copy(), self.indicators.copy(), self.prices.copy())

    def of_session(self, session: pd.Timestamp) -> "Known":
        """The rows of one session."""
        frames = (self.recommendations, self.indicators, self.prices)
        return Known(
            *(one[one["session_date"] == session].reset_index(drop=True) for one in frames)
        )


def custom_scores(
    strategy: Strategy, known: Known, sessions: pd.DatetimeIndex, symbols: Sequence[str]
) -> Floats:
    """Scores of a custom strategy, sessions by symbols; NaN: no opinion.

    Raises ``BadConfigurationError`` if there is no such function, ``BadDataError`` if it fails, if
    it gives something else than scores, or if the score of a session depends on other sessions.
    """
    compute = _function(strategy)
    count = min(CHECKED_SESSIONS, len(sessions)) if len(sessions) > 1 else 0
    # Before the call that sees everything: what it may remember would answer these, too.
    own = {
        t: _called(strategy, compute, known.of_session(sessions[t]), sessions[t : t + 1], symbols)[
            0
        ]
        for t in sorted(random.sample(range(len(sessions)), count))
    }
    scores = _called(strategy, compute, known.copy(), sessions, symbols)
    for t, alone in own.items():
        is_same = np.isclose(alone, scores[t], rtol=1e-9, atol=1e-12, equal_nan=True)
        if not is_same.all():
            s = int(np.flatnonzero(~is_same)[0])
            raise BadDataError(
                f"strategy {strategy.id!r} looks beyond its session: {symbols[s]} in "
                f"{sessions[t]:%Y-%m-%d} scores {scores[t, s]:g} among {len(sessions)} sessions "
                f"and {alone[s]:g} by what was known in it; {strategy.scores} must compute a "
                "session from the rows of that session alone"
            )
    return scores


def _function(strategy: Strategy) -> Callable[[Known], pd.DataFrame]:
    module, _, name = strategy.scores.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:
        raise BadConfigurationError(
            f"strategy {strategy.id!r}: {strategy.scores} cannot be loaded "
            f"({type(error).__name__}: {error}): put the module where Python finds it (PYTHONPATH, "
            "or installed), and see that it imports"
        ) from error
    if not callable(found):
        raise BadConfigurationError(f"strategy {strategy.id!r}: {strategy.scores} is no function")
    return found  # type: ignore[no-any-return]


def _called(
    strategy: Strategy,
    compute: Callable[[Known], pd.DataFrame],
    known: Known,
    sessions: pd.DatetimeIndex,
    symbols: Sequence[str],
) -> Floats:
    try:
        rows = compute(known)
    except Exception as error:
        raise BadDataError(
            f"strategy {strategy.id!r}: {strategy.scores} failed: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(rows, pd.DataFrame) or not set(_COLUMNS) <= set(rows.columns):
        raise BadDataError(
            f"strategy {strategy.id!r}: {strategy.scores} gave {type(rows).__name__}; it gives a "
            f"DataFrame with the columns {', '.join(_COLUMNS)}"
        )
    try:
        (scores,) = dense(rows, ["score"], sessions, symbols)
    except (TypeError, ValueError, BadDataError) as error:
        raise BadDataError(f"strategy {strategy.id!r}: {strategy.scores}: {error}") from error
    if rows["score"].notna().any() and np.isnan(scores).all():
        raise BadDataError(
            f"strategy {strategy.id!r}: {strategy.scores} gave {len(rows)} row(s), none of them of "
            "a symbol and session of this run: session_date is a midnight without a timezone, "
            "symbol as in the universe"
        )
    return np.where(np.isinf(scores), np.nan, scores)
