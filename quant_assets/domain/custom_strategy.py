"""Scores by a function of the user's. What belongs here: finding it, calling it, checking it.

``"kind": "custom", "scores": "my_strategies.momentum:scores"`` names a function of a module that
can be imported where the platform runs:

    def scores(known: Known) -> pd.DataFrame:  # session_date, symbol, score
        ...

It may compute all sessions of a run at once, but the score of a session may rest on the rows of
that session alone: a run over a range and one over a session must give the same, and nothing may
come from a later one. Scores of some sessions are therefore computed again from their own rows,
in every run; a function that looks ahead, or normalises over the range, is refused.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quant_assets.domain.ledger_book import Floats, dense
from quant_assets.domain.strategy_config import Strategy
from quant_assets.errors import BadConfigurationError, BadDataError

CHECKED_SESSIONS = 5
_COLUMNS = ("session_date", "symbol", "score")


@dataclass(frozen=True, slots=True)
class Known:
    """What a custom strategy is given: rows of the assets of these names, some sessions."""

    recommendations: pd.DataFrame
    indicators: pd.DataFrame
    prices: pd.DataFrame

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
    scores = _called(strategy, compute, known, sessions, symbols)
    places = np.unique(np.linspace(0, len(sessions) - 1, CHECKED_SESSIONS).astype(int))
    for t in places if len(sessions) > 1 else []:
        own = known.of_session(sessions[t])
        alone = _called(strategy, compute, own, sessions[t : t + 1], symbols)[0]
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
    except (ImportError, AttributeError) as error:
        raise BadConfigurationError(
            f"strategy {strategy.id!r}: {strategy.scores} cannot be loaded ({error}): put the "
            "module where Python finds it (PYTHONPATH, or installed)"
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
    return np.where(np.isinf(scores), np.nan, scores)
