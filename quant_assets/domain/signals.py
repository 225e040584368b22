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

from quant_assets.domain.custom_strategy import Known, custom_scores
from quant_assets.domain.ledger_book import Bools, Floats, Wishes, dense
from quant_assets.domain.strategies import ACTIONS, Decisions, decide, scores_of
from quant_assets.domain.strategy_config import CUSTOM, Strategy
from quant_assets.errors import QuantAssetsError

ANCIENT = np.datetime64("0001-01-01", "us")
NO_REGIME = 1.0
"""Risk multiplier where no regime is known: macro data are an optional input."""
REGIME_DAYS = 3
"""Calendar days before a session back to which a regime's release day counts."""


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


@dataclass(frozen=True, slots=True)
class Decided:
    """Decisions of T sessions, K strategies, S symbols, with what they rest on.

    ``previous`` (T by K by S) are the weights before each session; ``is_row`` is True for what has
    a row among the signals: a score, a weight or a weight before.
    """

    scores: Floats
    multiplier: Floats
    previous: Floats
    made: Decisions
    is_row: Bools

    def wishes(self, strategies: Sequence[Strategy]) -> Wishes:
        """What the book is to do: no opinion where there is no row."""
        weight = np.where(self.is_row, self.made.weight, np.nan)
        return Wishes(weight, np.where(self.is_row, self.made.action, 0), limit_offsets(strategies))


def limit_offsets(strategies: Sequence[Strategy]) -> Floats:
    """How far from the close each strategy's LIMIT orders are, in bps; NaN for MARKET orders."""
    return np.array(
        [one.limit_offset_bps if one.order_type == "LIMIT" else np.nan for one in strategies]
    )


def decided(
    inputs: Inputs,
    strategies: Sequence[Strategy],
    symbols: Sequence[str],
    target: Floats,
    failed: dict[str, str] | None = None,
) -> Decided:
    """What ``strategies`` decide for ``symbols``, from the weights ``target`` (K by S) on.

    A shadow that cannot score is noted in ``failed``, by its id, and has no opinion: it does not
    stop the live strategy. Without ``failed``, and of the live one, its error is raised.
    """
    days = sorted(inputs.decision_times)
    sessions = pd.DatetimeIndex(days).as_unit("us")
    by_source: dict[tuple[object, ...], Floats] = {}
    for one in strategies:
        if one.source in by_source:
            continue
        try:
            by_source[one.source] = _scores(one, inputs, sessions, symbols)
        except QuantAssetsError as error:
            if failed is None or any(o.is_live and o.source == one.source for o in strategies):
                raise
            failed[one.id] = str(error)
            by_source[one.source] = np.full((len(days), len(symbols)), np.nan)
    # Variants of one strategy share their scores: a grid of them needs no room for each.
    kinds = [by_source[one.source][:, None, :] for one in strategies]
    scores = (
        np.broadcast_to(kinds[0], (len(days), len(strategies), len(symbols)))
        if len(by_source) == 1
        else np.concatenate(kinds, axis=1)
    )
    decisions = [inputs.decision_times[day] for day in days]
    oldest = sessions - pd.Timedelta(days=REGIME_DAYS)
    multiplier = risk_multipliers(inputs.regime, decisions, sessions, oldest)
    made = decide(scores, multiplier, strategies, target, is_listed(inputs.listings, days, symbols))
    previous = np.concatenate([target[None], made.weight[:-1]])
    is_row = ~np.isnan(scores) | (made.weight > 0) | (previous > 0)
    return Decided(scores, multiplier, previous, made, is_row)


def _scores(
    strategy: Strategy, inputs: Inputs, sessions: pd.DatetimeIndex, symbols: Sequence[str]
) -> Floats:
    if strategy.kind != CUSTOM:
        return scores_of(
            strategy,
            inputs.recommendations,
            inputs.indicators,
            sessions,
            symbols,
            inputs.forecasts,
        )
    known = Known(inputs.recommendations, inputs.indicators, inputs.prices)
    return custom_scores(strategy, known, sessions, symbols)


def signal_rows(
    inputs: Inputs,
    strategies: Sequence[Strategy],
    before: pd.DataFrame | None,
    failed: dict[str, str] | None = None,
) -> pd.DataFrame:
    """Rows of ``signals`` for all sessions and strategies, a row for each symbol with a score.

    ``before`` are the rows of the session before the first, None where there is none: then nothing
    is held. A symbol without a score has a row as long as it has a weight. ``failed`` is as of
    ``decided``.
    """
    days = sorted(inputs.decision_times)
    sessions = pd.DatetimeIndex(days).as_unit("us")
    names = {one.symbol for one in inputs.listings}
    if before is not None:
        names.update(before.loc[before["target_weight"] > 0, "symbol"])
    symbols = sorted(names)
    target = target_weights(before, strategies, symbols)
    found = decided(inputs, strategies, symbols, target, failed)
    t, k, s = np.nonzero(found.is_row)
    price, volume = dense(inputs.prices, ["close", "volume"], sessions, symbols)
    ids, versions = ([getattr(one, name) for one in strategies] for name in ("id", "version"))
    instants = pd.DatetimeIndex([inputs.decision_times[day] for day in days])
    actions = np.array([ACTIONS[n] for n in (-1, 0, 1)], object)
    return pd.DataFrame(
        {
            "session_date": sessions[t],
            "strategy_id": np.array(ids, object)[k],
            "symbol": np.array(symbols, object)[s],
            "action": actions[found.made.action[t, k, s] + 1],
            "target_weight": found.made.weight[t, k, s],
            "previous_weight": found.previous[t, k, s],
            "score": found.scores[t, k, s],
            "reference_price": price[t, s],
            "volume": volume[t, s],
            "risk_multiplier": found.multiplier[t],
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
