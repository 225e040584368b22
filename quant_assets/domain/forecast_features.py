"""What the forecast learns from and what it learns: features of a decision, and its target.

Belongs here: both, session by session. Does not belong here: which sessions a model may see, the
models (``forecast``), how good they were (``forecast_skill``).

A feature says where a symbol stands among the symbols of its own session, so that it is worth the
same whatever sessions are loaded beside it: there is no normalisation over time that could know
what came later.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_assets.domain.adjustment import adjust
from quant_assets.domain.forecast_config import (
    FEATURES,
    NEWS_FEATURES,
    STRESS_FEATURES,
    TECHNICAL_FEATURES,
    ForecastConfig,
)
from quant_assets.domain.ledger_book import Bools, Floats, dense
from quant_assets.domain.score_figures import forward_returns

KEYS = ["session_date", "symbol"]
IMPOSSIBLE = 1e9
"""A raw feature beyond it is no measurement; its square would spoil its session's deviation."""
ROUNDING = 1e-12
"""A deviation below this share of the largest value is rounding: all are equal."""
DECIMALS = 10
"""Returns less their mean are rounded, so that the split of one year later moves no sign."""


def features_of(
    indicators: pd.DataFrame,
    technical: pd.DataFrame,
    sentiment: pd.DataFrame,
    multipliers: pd.Series,
    config: ForecastConfig,
) -> pd.DataFrame:
    """Features of each row of ``indicators``, ordered by session and symbol.

    ``indicators``, ``technical`` and ``sentiment`` are rows of ``technical_indicators``,
    ``technical_score`` and ``news_sentiment``; ``multipliers`` the risk multiplier known at the
    decision of each session. Returns session_date, symbol and ``FEATURES``: deviations from the
    session's mean in its standard deviations, clipped, 0 where all symbols are equal. A technical
    one is missing where it is unknown or infinite.
    """
    rows = indicators.merge(
        technical[[*KEYS, "trend", "momentum", "reversal"]],
        on=KEYS,
        how="left",
        validate="one_to_one",
    ).merge(
        sentiment[[*KEYS, "sentiment_score", "n_articles"]],
        on=KEYS,
        how="left",
        validate="one_to_one",
    )
    rows = rows.sort_values(KEYS, kind="stable", ignore_index=True)
    raw = np.column_stack([values.to_numpy(np.float64) for values in _raw(rows).values()])
    names = [*TECHNICAL_FEATURES, *NEWS_FEATURES]
    found = dict(zip(names, _standardised(raw, rows["session_date"], config).T, strict=True))
    for name in NEWS_FEATURES:
        found[name] = np.nan_to_num(found[name])
    stress = 1.0 - rows["session_date"].map(multipliers).to_numpy(np.float64)
    for name, base in STRESS_FEATURES.items():
        found[name] = found[base] * stress
    return rows[KEYS].assign(**{name: found[name] for name in FEATURES})


def _raw(rows: pd.DataFrame) -> dict[str, pd.Series]:
    """The features before they are compared with those of the session's other symbols."""
    close, atr = rows["close"], rows["atr_14"]

    def in_ranges(distance: pd.Series) -> pd.Series:
        return (distance / atr.where(atr > 0.0)).mask(atr == 0.0, 0.0)

    direction = np.sign(rows["plus_di_14"] - rows["minus_di_14"])
    return {
        "rsi": rows["rsi_14"],
        "percent_b": rows["bollinger_percent_b"],
        "stochastic": rows["stochastic_d"],
        "macd": in_ranges(rows["macd_histogram"]),
        "above_20": in_ranges(close - rows["sma_20"]),
        "above_200": in_ranges(close - rows["sma_200"]),
        "mean_20_over_50": in_ranges(rows["sma_20"] - rows["sma_50"]),
        "mean_50_over_200": in_ranges(rows["sma_50"] - rows["sma_200"]),
        "roc": rows["roc_20"],
        "volatility": rows["realised_volatility_20"],
        "range": atr / close.where(close > 0.0),
        "adx": rows["adx_14"],
        "directed_adx": rows["adx_14"] * direction,
        "obv": rows["obv_zscore_20"],
        "trend": rows["trend"],
        "momentum": rows["momentum"],
        "reversal": rows["reversal"],
        "sentiment": rows["sentiment_score"],
        "articles": rows["n_articles"].astype("float64").clip(lower=0.0).map(np.log1p),
    }


def _standardised(raw: Floats, sessions: pd.Series, config: ForecastConfig) -> Floats:
    """Each column less its session's mean, in its session's deviations; rows by session.

    Sums run over the rows of one session alone, so that other sessions do not move a bit of them.
    """
    if not len(raw):
        return raw
    with np.errstate(invalid="ignore"):
        values = np.where(np.abs(raw) < IMPOSSIBLE, raw, np.nan)
    days = sessions.to_numpy()
    starts = np.flatnonzero(np.r_[True, days[1:] != days[:-1]])
    sizes = np.diff(np.r_[starts, len(days)])
    is_known = ~np.isnan(values)
    count = np.maximum(np.add.reduceat(is_known, starts, axis=0, dtype=np.float64), 1.0)

    def mean_of(part: Floats) -> Floats:
        filled = np.where(is_known, part, 0.0)
        return np.asarray(np.add.reduceat(filled, starts, axis=0) / count)

    centred = values - np.repeat(mean_of(values), sizes, axis=0)
    deviation = np.sqrt(mean_of(centred**2))
    largest = np.maximum.reduceat(np.where(is_known, np.abs(values), 0.0), starts, axis=0)
    is_flat = deviation <= ROUNDING * largest
    scaled = centred / np.repeat(np.where(is_flat, np.inf, deviation), sizes, axis=0)
    return np.asarray(np.clip(scaled, -config.clip_deviations, config.clip_deviations))


def excess_returns(
    prices: pd.DataFrame, sessions: pd.DatetimeIndex, config: ForecastConfig
) -> pd.DataFrame:
    """The target of each session, sessions by symbols: see ``ForecastConfig``.

    ``prices`` are rows of ``prices`` within ``sessions``, all sessions of the calendar between two
    of them. Opens are adjusted for the splits and dividends in between. Missing where a price
    lacks or lies beyond the last session, where the prices of a session in between were never
    stored (it may have held a split), and with fewer than ``config.fewest_symbols`` symbols.
    Rounded to ``DECIMALS``.
    """
    symbols = sorted(prices["symbol"].unique())
    (opens,) = dense(adjust(prices, None), ["open"], sessions, symbols)
    is_price = (opens > 0.0) & np.isfinite(opens)
    table = pd.DataFrame(np.where(is_price, opens, np.nan), index=sessions, columns=symbols)
    returns = forward_returns(table, config.horizon)
    enough = returns.count(axis=1).to_numpy() >= config.fewest_symbols
    returns[~(enough & _is_whole(prices, sessions, config))] = np.nan
    return returns.sub(returns.mean(axis=1), axis=0).round(DECIMALS)


def _is_whole(prices: pd.DataFrame, sessions: pd.DatetimeIndex, config: ForecastConfig) -> Bools:
    """Whether all sessions are stored from the one after each to the end of its target."""
    has_bars = np.isin(sessions.to_numpy(), prices["session_date"].unique())
    stored = np.r_[0, np.cumsum(has_bars)]
    first = np.minimum(np.arange(len(sessions)) + 1, len(sessions))
    last = np.minimum(first + config.horizon + 1, len(sessions))
    whole: npt.NDArray[np.bool_] = stored[last] - stored[first] == config.horizon + 1
    return whole


def complete(features: pd.DataFrame) -> Bools:
    """Whether all features of a row are known."""
    return np.asarray(features[list(FEATURES)].notna().all(axis=1).to_numpy(bool))


def missing_names(features: pd.DataFrame) -> Sequence[str]:
    """Of each row the technical features that are unknown, joined by commas."""
    is_missing = features[list(TECHNICAL_FEATURES)].isna().to_numpy()
    names = list(TECHNICAL_FEATURES)
    return [
        ", ".join(name for name, lacks in zip(names, row, strict=True) if lacks)
        for row in is_missing
    ]
