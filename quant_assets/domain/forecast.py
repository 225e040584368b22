"""The forecast of returns: walk-forward models, one a month, and what they say of each session.

Belongs here: which sessions a model may learn from, fitting it, the rows of ``return_forecast``.
Does not belong here: features and target (``forecast_features``), judging (``forecast_skill``).

The model of a session depends on its month alone and is fitted on a cut of the data that ends
``embargo`` sessions before the month and begins with the training window. What lies outside the
cut never reaches it: neither the future, nor what else happens to be loaded.
"""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby

import numpy as np
import pandas as pd

from quant_assets.domain.forecast_config import FEATURES, ForecastConfig
from quant_assets.domain.forecast_features import (
    KEYS,
    complete,
    excess_returns,
    features_of,
    missing_names,
)
from quant_assets.domain.ledger_book import Bools, Floats
from quant_assets.domain.score_figures import values_at
from quant_assets.domain.signals import risk_multipliers

DECIMALS = 8
"""Of what is stored, and of the coefficients that forecasts are made with: the last bits of a fit
depend on the processor."""
SOLVER = "newton-cholesky"
"""Exact and the same every time: there are many samples and few features."""
CURVATURE = 0.25
"""Second derivative of the logistic loss at even odds; that of half the squared error is 1."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is known of a market.

    ``sessions`` are all trading days from ``config.look_back`` sessions before the first forecast
    (or the beginning of time) to the last one; those before may be there. ``decision_times`` has
    the decision of each; a regime counts from ``regime_sessions`` sessions before it on. The frames
    are rows of the assets of those names, in which sessions may be missing.
    """

    market: str
    sessions: pd.DatetimeIndex
    decision_times: Mapping[date, datetime]
    indicators: pd.DataFrame
    technical: pd.DataFrame
    sentiment: pd.DataFrame
    prices: pd.DataFrame
    regime: pd.DataFrame
    regime_sessions: int


@dataclass(frozen=True, slots=True)
class Model:
    """What a month is forecast with; where ``reason`` is set there was too little to learn from.

    ``coefficients`` are those of the expected return (per deviation of a feature), ``odds`` those
    of the log odds, the constant last. ``trained_from`` and ``trained_to`` are the first and the
    last session that were learned from.
    """

    refit_on: pd.Timestamp
    n_samples: int
    n_sessions: int
    reason: str | None = None
    model_id: str | None = None
    trained_from: pd.Timestamp | None = None
    trained_to: pd.Timestamp | None = None
    coefficients: Floats | None = None
    odds: Floats | None = None


def forecast(
    inputs: Inputs, days: Sequence[date], config: ForecastConfig
) -> tuple[pd.DataFrame, Model]:
    """Rows of ``return_forecast`` of the sessions ``days``, and the model of the last one.

    A row for each row of ``indicators`` of those sessions. A symbol has no forecast, with the
    reason, where its month has no model, a technical feature is unknown, or fewer than
    ``config.fewest_symbols`` symbols can be compared.
    """
    multipliers = _multipliers(inputs)
    features = features_of(
        inputs.indicators, inputs.technical, inputs.sentiment, multipliers, config
    )
    parts = []
    ordered = sorted(days)
    for _, month in groupby(ordered, key=lambda day: (day.year, day.month)):
        wanted = pd.DatetimeIndex(list(month)).as_unit("us")
        model = fit(inputs, features, wanted[0], config)
        parts.append(_rows(features[features["session_date"].isin(wanted)], model, config))
    rows = pd.concat(parts, ignore_index=True)
    times = {pd.Timestamp(day): inputs.decision_times[day] for day in ordered}
    available = rows["session_date"].map(times).astype("datetime64[us, UTC]")
    return rows.assign(available_at=available), model


def refit_session(sessions: pd.DatetimeIndex, session: pd.Timestamp) -> int:
    """The place of the first session of the month of ``session`` among ``sessions``."""
    return int(sessions.searchsorted(session.replace(day=1)))


def fit(
    inputs: Inputs, features: pd.DataFrame, session: pd.Timestamp, config: ForecastConfig
) -> Model:
    """The model of ``session``; ``features`` are those of all sessions that are loaded."""
    place = refit_session(inputs.sessions, session)
    refit_on = inputs.sessions[place]
    end = place - config.gap + 1
    window = inputs.sessions[max(end - config.training_sessions, 0) : max(end, 0)]
    known = inputs.sessions[max(end - config.training_sessions, 0) : max(place - config.embargo, 0)]
    rows = features[features["session_date"].isin(window)]
    prices = inputs.prices[inputs.prices["session_date"].isin(known)].reset_index(drop=True)
    target = values_at(excess_returns(prices, known, config), rows)
    return _fitted(rows, target, refit_on, inputs.market, config)


def _fitted(
    rows: pd.DataFrame,
    target: Floats,
    refit_on: pd.Timestamp,
    market: str,
    config: ForecastConfig,
) -> Model:
    """Learn from the rows whose features and target are known."""
    is_sample = complete(rows) & ~np.isnan(target)
    sessions = rows.loc[is_sample, "session_date"]
    n_samples, n_sessions = int(is_sample.sum()), int(sessions.nunique())
    if n_sessions < config.fewest_training_sessions:
        reason = (
            f"INSUFFICIENT_HISTORY: {n_sessions} sessions to learn from before {refit_on:%Y-%m-%d},"
            f" {config.fewest_training_sessions} are needed"
        )
        return Model(refit_on, n_samples, n_sessions, reason)
    x, y = rows.loc[is_sample, list(FEATURES)].to_numpy(np.float64), target[is_sample]
    if (y > 0.0).all() or not (y > 0.0).any():
        reason = f"NO_DIFFERENCES: all symbols returned the same before {refit_on:%Y-%m-%d}"
        return Model(refit_on, n_samples, n_sessions, reason)
    coefficients, odds = _solved(x, y, config)
    identity = f"{config.version}:{market}:{refit_on:%Y-%m-%d}:{n_samples}:".encode()
    digest = hashlib.sha256(identity + coefficients.tobytes() + odds.tobytes()).hexdigest()[:16]
    return Model(
        refit_on,
        n_samples,
        n_sessions,
        None,
        digest,
        sessions.min(),
        sessions.max(),
        coefficients,
        odds,
    )


def _solved(x: Floats, y: Floats, config: ForecastConfig) -> tuple[Floats, Floats]:
    """Coefficients of the expected return and of the log odds, rounded; on one thread.

    Both are centred within each session, so that the return needs no constant.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, Ridge
    from threadpoolctl import threadpool_limits

    weight = config.penalty * len(y)
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        returns = Ridge(alpha=weight, fit_intercept=False, solver="cholesky").fit(x, y)
        chances = LogisticRegression(C=1.0 / (weight * CURVATURE), solver=SOLVER, tol=1e-8)
        chances.fit(x, y > 0.0)
    odds = np.r_[chances.coef_.ravel(), chances.intercept_]
    return _rounded(returns.coef_), _rounded(odds)


def _rounded(values: Floats) -> Floats:
    """Rounded to ``DECIMALS``, without a negative zero."""
    return np.asarray(np.round(np.asarray(values, np.float64), DECIMALS) + 0.0)


def _rows(features: pd.DataFrame, model: Model, config: ForecastConfig) -> pd.DataFrame:
    """What ``model`` says of the rows of some sessions."""
    is_whole = complete(features)
    of_session = pd.Series(is_whole, index=features.index).groupby(features["session_date"])
    enough = (of_session.transform("sum") >= config.fewest_symbols).to_numpy()
    can = is_whole & enough & (model.reason is None)
    expected, chance = np.full(len(features), np.nan), np.full(len(features), np.nan)
    if model.coefficients is not None and model.odds is not None:
        x = features.loc[can, list(FEATURES)].to_numpy(np.float64)
        expected[can] = _rounded(_weighted(x, model.coefficients))
        log_odds = _weighted(x, model.odds[:-1]) + model.odds[-1]
        chance[can] = _rounded(1.0 / (1.0 + np.exp(-log_odds)))
    rows = features[KEYS].assign(expected_return=expected, probability_up=chance)
    rows["rank"] = _ranks(rows)
    for name in ("model_id", "refit_on", "trained_from", "trained_to", "n_samples"):
        rows[name] = getattr(model, name)
    rows["reason"] = _reasons(features, model, is_whole, enough, config)
    rows["forecast_version"] = config.version
    return rows.astype(dict.fromkeys(("trained_from", "trained_to"), "datetime64[us]"))


def _weighted(x: Floats, weights: Floats) -> Floats:
    """Each row's sum, feature by feature: a matrix product's bits depend on the rows beside it."""
    total = np.zeros(len(x))
    for values, weight in zip(x.T, weights, strict=True):
        total += values * weight
    return total


def _ranks(rows: pd.DataFrame) -> pd.Series:
    """Place among the session's forecasts, 0 the lowest and 1 the highest; equal ones share it."""
    ordered = rows.groupby("session_date")["expected_return"]
    count = ordered.transform("count")
    return ((ordered.rank(method="average") - 1.0) / (count - 1.0).where(count > 1)).round(DECIMALS)


def _reasons(
    features: pd.DataFrame, model: Model, is_whole: Bools, enough: Bools, config: ForecastConfig
) -> list[str | None]:
    """Why a row has no forecast; None where it has one."""
    few = (
        f"TOO_FEW_SYMBOLS: fewer than {config.fewest_symbols} symbols of the session can be "
        "compared"
    )
    return [
        model.reason or (None if whole and many else few if whole else f"MISSING_FEATURES: {names}")
        for whole, many, names in zip(is_whole, enough, missing_names(features), strict=True)
    ]


def _multipliers(inputs: Inputs) -> pd.Series:
    """Risk multiplier known at the decision of each session, of a regime of its last days.

    Regimes are looked for from ``regime_sessions`` sessions before it, however many are loaded.
    """
    decisions = [inputs.decision_times[session.date()] for session in inputs.sessions]
    places = np.maximum(np.arange(len(decisions)) - inputs.regime_sessions, 0)
    values = risk_multipliers(
        inputs.regime, decisions, inputs.sessions, since=inputs.sessions[places]
    )
    return pd.Series(values, index=inputs.sessions)
