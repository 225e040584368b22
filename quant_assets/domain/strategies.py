"""What strategies want: from scores to target weights and BUY, SELL or HOLD.

Belongs here: the scores of each kind of strategy, hysteresis, selection, weights. Does not belong
here: orders, cash and limits (``ledger``).

A session's decision needs its own scores and the target weights of the session before, nothing
else: so a range equals its sessions one by one, and no later session changes an earlier one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_assets.domain.ledger_book import Bools, Floats, dense
from quant_assets.domain.strategy_config import COMBINED, FORECAST, MOVING_AVERAGE, Strategy

Actions = npt.NDArray[np.int8]
ACTIONS = {1: "BUY", -1: "SELL", 0: "HOLD"}


@dataclass(frozen=True, slots=True)
class Decisions:
    """Target weights and actions (1 buy, -1 sell, 0 hold) of T sessions, K strategies, S symbols.

    ``target`` (K by S) are the weights after the last session: what the next one begins with.
    """

    weight: Floats
    action: Actions
    target: Floats


def scores_of(
    strategy: Strategy,
    recommendations: pd.DataFrame,
    indicators: pd.DataFrame,
    sessions: pd.DatetimeIndex,
    symbols: Sequence[str],
    forecasts: pd.DataFrame | None = None,
) -> Floats:
    """Scores of a strategy, sessions by symbols; NaN: no opinion.

    ``recommendations`` (session_date, symbol, combined_score), ``indicators`` (session_date,
    symbol, close, sma_*) and ``forecasts`` (session_date, symbol, rank; None where none are
    stored) are rows of the assets of those names. An average is compared in prices adjusted as of
    the session itself, so that no later split or dividend matters.
    """
    if strategy.kind == FORECAST:
        if forecasts is None:
            return np.full((len(sessions), len(symbols)), np.nan)
        (ranks,) = dense(forecasts, ["rank"], sessions, symbols)
        return ranks
    if strategy.kind == COMBINED:
        (scores,) = dense(recommendations, ["combined_score"], sessions, symbols)
        return scores
    if strategy.kind == MOVING_AVERAGE:
        lengths = [f"sma_{length}" for length in (strategy.fast, strategy.slow)]
        fast, slow = dense(indicators, lengths, sessions, symbols)
        return np.asarray(fast / slow - 1)
    (closes,) = dense(indicators, ["close"], sessions, symbols)
    return np.where(np.isnan(closes), np.nan, 1.0)


def decide(
    scores: Floats,
    multiplier: Floats,
    strategies: Sequence[Strategy],
    target: Floats,
    is_listed: Bools,
) -> Decisions:
    """Targets and actions of T sessions.

    ``scores`` (T by K by S), ``multiplier`` (T) the risk multiplier known at each decision,
    ``target`` (K by S) the weights of the session before the first, ``is_listed`` (T by S) False
    for symbols that have left. A symbol without a score keeps its weight, also where the others'
    share grows: it is the book that bounds the exposure.
    """
    table = {
        name: np.array([float(getattr(one, name)) for one in strategies])[:, None]
        for name in ("enter", "exit", "names", "gross", "band")
    }
    uses_regime = np.array([one.use_regime for one in strategies])[:, None]
    weight, action = np.empty_like(scores), np.empty(scores.shape, np.int8)
    for t, score in enumerate(scores):
        is_known = ~np.isnan(score) & is_listed[t]
        is_in = (target > 0) & is_listed[t]
        wanted = np.where(is_known, score >= np.where(is_in, table["exit"], table["enter"]), is_in)
        wanted &= _best(wanted, is_in, score, table["names"])
        count = np.where(table["names"] > 0, table["names"], is_known.sum(axis=1, keepdims=True))
        share = table["gross"] / np.maximum(count, 1)
        share = share * np.where(uses_regime, multiplier[t], 1.0)
        new = np.where(wanted, share, 0.0)
        is_small = wanted & is_in & (np.abs(new - target) <= table["band"])
        is_kept = is_small | (wanted & is_in & ~is_known)
        weight[t] = np.where(is_kept, target, new)
        action[t] = np.sign(weight[t] - target)
        target = weight[t]
    return Decisions(weight, action, target)


def _best(wanted: Bools, is_in: Bools, score: Floats, names: Floats) -> Bools:
    """Of each strategy (row) the symbols it has room for: held ones, then the highest scores.

    Equal scores go by symbol. ``names`` (K by 1) of 0 is room for all.
    """
    order = np.lexsort((-np.nan_to_num(score, nan=np.inf), ~is_in, ~wanted), axis=1)
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(score.shape[1])[None, :], axis=1)
    return np.asarray((rank < names) | (names == 0))
