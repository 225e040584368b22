"""Rows of ``signals``: what each strategy wants of each symbol, session by session.

Belongs here: putting the inputs of a market together for the strategies, and the rows. Does not
belong here: the rules of the strategies (``strategies``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

import numpy as np
import pandas as pd

from quant_assets.domain.ledger_book import dense
from quant_assets.domain.strategies import ACTIONS, decide, scores_of
from quant_assets.domain.strategy_config import Strategy

ANCIENT = np.datetime64("0001-01-01", "us")
NO_REGIME = 1.0
"""Risk multiplier where no regime is known: macro data are an optional input."""


class Listed(Protocol):
    """A symbol of a universe."""

    @property
    def symbol(self) -> str:
        """Its name."""

    def trades_on(self, session: date) -> bool:
        """Whether it is listed."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is known of a market for the sessions of ``decision_times`` (session: instant).

    ``recommendations``, ``indicators``, ``prices``, ``regime`` and ``forecasts`` are rows of the
    assets of those names; of the regimes only those count that were available before a decision.
    Without forecasts a strategy that goes by them has no opinion.
    """

    recommendations: pd.DataFrame
    indicators: pd.DataFrame
    prices: pd.DataFrame
    regime: pd.DataFrame
    decision_times: Mapping[date, datetime]
    listings: Sequence[Listed]
    forecasts: pd.DataFrame | None = None


def signal_rows(
    inputs: Inputs, strategies: Sequence[Strategy], before: pd.DataFrame | None
) -> pd.DataFrame:
    """Rows of ``signals`` for all sessions and strategies, a row for each symbol with a score.

    ``before`` are the rows of the session before the first, None where there is none: then nothing
    is held. A symbol without a score has a row as long as it has a weight.
    """
    days = sorted(inputs.decision_times)
    sessions = pd.DatetimeIndex(days).as_unit("us")
    names = {one.symbol for one in inputs.listings}
    if before is not None:
        names.update(before.loc[before["target_weight"] > 0, "symbol"])
    symbols = sorted(names)
    scores = np.stack(
        [
            scores_of(
                one,
                inputs.recommendations,
                inputs.indicators,
                sessions,
                symbols,
                inputs.forecasts,
            )
            for one in strategies
        ],
        axis=1,
    )
    decisions = [inputs.decision_times[day] for day in days]
    multiplier = risk_multipliers(inputs.regime, decisions, sessions)
    target = target_weights(before, strategies, symbols)
    listed = is_listed(inputs.listings, days, symbols)
    made = decide(scores, multiplier, strategies, target, listed)
    previous = np.concatenate([target[None], made.weight[:-1]])
    is_row = ~np.isnan(scores) | (made.weight > 0) | (previous > 0)
    t, k, s = np.nonzero(is_row)
    price, volume = dense(inputs.prices, ["close", "volume"], sessions, symbols)
    ids, versions = ([getattr(one, name) for one in strategies] for name in ("id", "version"))
    instants = pd.DatetimeIndex(decisions)
    return pd.DataFrame(
        {
            "session_date": sessions[t],
            "strategy_id": np.array(ids, object)[k],
            "symbol": np.array(symbols, object)[s],
            "action": np.array([ACTIONS[n] for n in (-1, 0, 1)], object)[made.action[t, k, s] + 1],
            "target_weight": made.weight[t, k, s],
            "previous_weight": previous[t, k, s],
            "score": scores[t, k, s],
            "reference_price": price[t, s],
            "volume": volume[t, s],
            "risk_multiplier": multiplier[t],
            "is_live": np.array([one.is_live for one in strategies])[k],
            "strategy_version": np.array(versions, object)[k],
            "decision_at": instants[t],
            "available_at": instants[t],
        }
    )


def risk_multipliers(
    regime: pd.DataFrame,
    decisions: Sequence[datetime],
    sessions: pd.DatetimeIndex,
    since: pd.DatetimeIndex | None = None,
) -> "np.ndarray":
    """Multiplier of the last regime that was available before each decision, else 1.

    ``sessions`` are what is decided for. Regimes of later days count for none of them, though over
    a weekend they are known before its decision: a session alone does not load them. ``since``:
    the day of each session before which a regime is too old. Later days are available later.
    """
    known = regime.sort_values(["release_date", "available_at"], kind="stable")
    instants, released = (_microseconds(known[name]) for name in ("available_at", "release_date"))
    before = np.searchsorted(instants, _microseconds(pd.Series(list(decisions))), side="left")
    by_its_day = np.searchsorted(released, _microseconds(sessions.to_series()), side="right")
    places = np.minimum(before, by_its_day) - 1
    if since is not None:
        is_old = np.append(released, ANCIENT)[places] < _microseconds(since.to_series())
        places = np.where(is_old, -1, places)
    values = np.append(known["risk_multiplier"].to_numpy(np.float64), NO_REGIME)
    return np.asarray(values[places])


def _microseconds(times: pd.Series) -> "np.ndarray":
    naive = pd.DatetimeIndex(times)
    if naive.tz is not None:
        naive = naive.tz_convert("UTC").tz_localize(None)
    return np.asarray(naive.as_unit("us").to_numpy())


def target_weights(
    before: pd.DataFrame | None, strategies: Sequence[Strategy], symbols: Sequence[str]
) -> "np.ndarray":
    """Target weights of strategies by symbols from a session's signals; 0 where there is none."""
    target = np.zeros((len(strategies), len(symbols)))
    if before is None:
        return target
    k = pd.Index([one.id for one in strategies]).get_indexer(pd.Index(before["strategy_id"]))
    s = pd.Index(symbols).get_indexer(pd.Index(before["symbol"]))
    known = (k >= 0) & (s >= 0)
    target[k[known], s[known]] = before["target_weight"].to_numpy(np.float64)[known]
    return target


def is_listed(
    listings: Sequence[Listed], days: Sequence[date], symbols: Sequence[str]
) -> "np.ndarray":
    """Whether each symbol is of the universe and listed, days by symbols."""
    known = {one.symbol: one for one in listings}
    return np.array(
        [[s in known and known[s].trades_on(day) for s in symbols] for day in days], dtype=bool
    ).reshape(len(days), len(symbols))
