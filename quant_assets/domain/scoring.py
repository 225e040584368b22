"""Scores and labels: what indicators and news are taken to mean, as one versioned object.

Belongs here: the technical score with its blocks, its combination with the sentiment score, the
labels. Does not belong here: computing indicators or sentiment, targets and orders.

Every score lies in [-1, 1]. Every weight, cut point and constant is a field of ``ScoringConfig``,
whose version is in every row, so two rows with one version were made by one rule.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from quant_assets.domain.indicator_names import WARM_UP_BARS
from quant_assets.domain.scoring_config import LABELS, SENTIMENT_STATUSES, ScoringConfig
from quant_assets.errors import BadDataError

BLOCKS: dict[str, tuple[str, ...]] = {
    "trend": ("trend_price", "trend_medium", "trend_long"),
    "momentum": ("momentum_macd", "momentum_adx", "momentum_obv"),
    "reversal": ("reversal_rsi", "reversal_stochastic", "reversal_bollinger"),
}
COMPONENTS: tuple[str, ...] = tuple(name for names in BLOCKS.values() for name in names)

TECHNICAL_COLUMNS: tuple[str, ...] = (
    "session_date",
    "symbol",
    "technical_score",
    *BLOCKS,
    *COMPONENTS,
    "status",
    "reason",
    "scoring_version",
    "available_at",
)
COMBINED_COLUMNS: tuple[str, ...] = (
    "session_date",
    "symbol",
    "technical_score",
    "sentiment_score",
    "combined_score",
    "label",
    "technical_weight",
    "sentiment_weight",
    "technical_status",
    "sentiment_status",
    "is_degraded",
    "reason",
    "decision_at",
    "available_at",
    "technical_version",
    "sentiment_version",
    "scoring_version",
)


def technical_score(indicators: pd.DataFrame, config: ScoringConfig) -> pd.DataFrame:
    """Score indicators: nine components, three blocks, their weighted sum.

    ``indicators`` has the columns of ``technical_indicators``. Each component is clipped to
    [-1, 1]; a block is the mean of those present, null with fewer than
    ``config.minimum_components``; the score is null when a block is, and then ``status`` is
    INSUFFICIENT_HISTORY with the ``reason``, else OK. A comparison with an average true range of
    zero is 0: nothing moved. Returns ``TECHNICAL_COLUMNS``, one row for each row given.
    """
    scores = indicators[["session_date", "symbol"]].copy()
    for name, values in _components(indicators, config).items():
        scores[name] = values.clip(-1.0, 1.0)
    for block, names in BLOCKS.items():
        parts = scores[list(names)]
        is_enough = parts.count(axis=1) >= config.minimum_components
        scores[block] = parts.mean(axis=1).where(is_enough)
    scores["technical_score"] = (
        config.trend_weight * scores["trend"]
        + config.momentum_weight * scores["momentum"]
        + config.reversal_weight * scores["reversal"]
    )
    is_scored = scores["technical_score"].notna()
    scores["status"] = _text(np.where(is_scored, "OK", "INSUFFICIENT_HISTORY"), scores.index)
    unexplained = (
        "INSUFFICIENT_HISTORY: fewer than "
        f"{config.minimum_components} components in a block; {WARM_UP_BARS} bars give all of them"
    )
    scores["reason"] = indicators["reason"].fillna(unexplained).mask(is_scored)
    scores["scoring_version"] = config.version
    scores["available_at"] = indicators["available_at"]
    return _typed(scores, TECHNICAL_COLUMNS)


def combine(
    technical: pd.DataFrame,
    sentiment: pd.DataFrame,
    config: ScoringConfig,
    *,
    decision_times: Mapping[pd.Timestamp, pd.Timestamp] | pd.Series,
) -> pd.DataFrame:
    """Combine both scores into one and label it.

    ``technical`` has ``TECHNICAL_COLUMNS``; ``sentiment`` has session_date, symbol,
    sentiment_score, status (one of ``SENTIMENT_STATUSES``) and scorer_version, at most one row for
    each row of ``technical``; ``decision_times`` gives the UTC decision time of each session.

    Weights never move. Without news the sentiment counts 0. A sentiment that is UNAVAILABLE, or
    has no row, counts 0 as well, is null in the result, holds the label at BUY or SELL and marks
    the row degraded. A STALE one is used. Without technical score there is no combined score and
    no label, with the reason. The combined score is rounded before it is labelled.

    Returns ``COMBINED_COLUMNS``, one row for each row of ``technical``. Raises BadDataError for an
    unknown status, repeated sentiment, a session without decision time, and a technical score that
    was not available before its decision time.
    """
    _check_sentiment(sentiment)
    keys = ["session_date", "symbol"]
    carried = sentiment[[*keys, "sentiment_score", "status", "scorer_version"]]
    carried = carried.rename(
        columns={"status": "sentiment_status", "scorer_version": "sentiment_version"}
    )
    rows = technical.rename(
        columns={"status": "technical_status", "scoring_version": "technical_version"}
    ).merge(carried, on=keys, how="left", validate="one_to_one")
    rows["sentiment_status"] = rows["sentiment_status"].fillna("UNAVAILABLE")
    rows["is_degraded"] = rows["sentiment_status"] == "UNAVAILABLE"
    has_no_news = rows["sentiment_status"] == "NO_NEWS"
    rows["sentiment_score"] = (
        rows["sentiment_score"].astype("float64").mask(has_no_news, 0.0).mask(rows["is_degraded"])
    )
    rows["technical_weight"] = config.technical_weight
    rows["sentiment_weight"] = config.sentiment_weight
    rows["combined_score"] = np.round(
        config.technical_weight * rows["technical_score"]
        + config.sentiment_weight * rows["sentiment_score"].fillna(0.0),
        config.score_decimals,
    )
    rows["label"] = label(rows["combined_score"], config, is_capped=rows["is_degraded"])
    capped = "SENTIMENT_UNAVAILABLE: counted as 0, label held at BUY or SELL"
    is_explained = rows["combined_score"].isna()
    rows["reason"] = (
        rows["reason"].where(is_explained).mask(rows["is_degraded"] & ~is_explained, capped)
    )
    rows["decision_at"] = _decision_times(rows, decision_times)
    rows["available_at"] = rows["decision_at"]
    rows["scoring_version"] = config.version
    return _typed(rows, COMBINED_COLUMNS)


def label(score: pd.Series, config: ScoringConfig, *, is_capped: pd.Series) -> pd.Series:
    """Label rounded scores; null stays null, ``is_capped`` rows are never STRONG."""
    steps = np.select(
        [
            score <= config.strong_sell_cut,
            score <= config.sell_cut,
            score < config.buy_cut,
            score < config.strong_buy_cut,
        ],
        [0, 1, 2, 3],
        4,
    )
    steps = np.where(is_capped, np.clip(steps, 1, 3), steps)
    labels = _text(np.asarray(LABELS)[steps], score.index)
    return labels.mask(score.isna())


def _components(indicators: pd.DataFrame, config: ScoringConfig) -> dict[str, pd.Series]:
    close, true_range = indicators["close"], indicators["atr_14"]
    short, medium, long = (indicators[f"sma_{length}"] for length in (20, 50, 200))

    def in_ranges(distance: pd.Series, ranges: float) -> pd.Series:
        scaled = distance / (ranges * true_range.where(true_range > 0.0))
        return scaled.mask((true_range == 0.0) & distance.notna(), 0.0)

    def reversal(values: pd.Series, name: str) -> pd.Series:
        low: float = getattr(config, f"reversal_{name}_low")
        high: float = getattr(config, f"reversal_{name}_high")
        span: float = getattr(config, f"reversal_{name}_span")
        return ((low - values) / span).clip(0.0, 1.0) - ((values - high) / span).clip(0.0, 1.0)

    direction = np.sign(indicators["plus_di_14"] - indicators["minus_di_14"])
    strength = (indicators["adx_14"] - config.momentum_adx_floor) / config.momentum_adx_span
    return {
        "trend_price": in_ranges(close - short, config.trend_price_atr),
        "trend_medium": in_ranges(short - medium, config.trend_medium_atr),
        "trend_long": in_ranges(medium - long, config.trend_long_atr),
        "momentum_macd": in_ranges(indicators["macd_histogram"], config.momentum_macd_atr),
        "momentum_adx": direction * strength.clip(0.0, 1.0),
        "momentum_obv": indicators["obv_zscore_20"] / config.momentum_obv_deviations,
        "reversal_rsi": reversal(indicators["rsi_14"], "rsi"),
        "reversal_stochastic": reversal(indicators["stochastic_d"], "stochastic"),
        "reversal_bollinger": reversal(indicators["bollinger_percent_b"], "bollinger"),
    }


def _check_sentiment(sentiment: pd.DataFrame) -> None:
    unknown = sentiment.loc[~sentiment["status"].isin(SENTIMENT_STATUSES)]
    if len(unknown):
        row = unknown.iloc[0]
        raise BadDataError(
            f"sentiment status {row['status']!r} of {row['symbol']} in "
            f"{row['session_date']:%Y-%m-%d} is unknown; known are {', '.join(SENTIMENT_STATUSES)}"
        )
    repeated = sentiment.loc[sentiment.duplicated(["session_date", "symbol"])]
    if len(repeated):
        row = repeated.iloc[0]
        raise BadDataError(
            f"two sentiment rows of {row['symbol']} in {row['session_date']:%Y-%m-%d}: "
            "keep one a symbol and session"
        )
    is_usable = sentiment["status"].isin(("OK", "STALE"))
    empty = sentiment.loc[is_usable & ~(sentiment["sentiment_score"].abs() <= 1.0)]
    if len(empty):
        row = empty.iloc[0]
        raise BadDataError(
            f"sentiment score {row['sentiment_score']} of {row['symbol']} in "
            f"{row['session_date']:%Y-%m-%d} has status {row['status']} and is not within -1..1: "
            "score it again or mark it UNAVAILABLE"
        )


def _decision_times(
    rows: pd.DataFrame, decision_times: Mapping[pd.Timestamp, pd.Timestamp] | pd.Series
) -> pd.Series:
    times = pd.Series(decision_times).astype("datetime64[us, UTC]")
    decided = rows["session_date"].map(times)
    if decided.isna().any():
        session = rows.loc[decided.isna(), "session_date"].iloc[0]
        raise BadDataError(
            f"session {session:%Y-%m-%d} has no decision time: give the open of the next session"
        )
    is_late = rows["technical_score"].notna() & ~(rows["available_at"] < decided)
    if is_late.any():
        row = rows.loc[is_late].iloc[0]
        raise BadDataError(
            f"the technical score of {row['symbol']} in {row['session_date']:%Y-%m-%d} became "
            f"available at {row['available_at']}, not before its decision time "
            f"{decided[is_late].iloc[0]}: no decision may rest on it"
        )
    return decided


def _text(values: Any, index: pd.Index) -> pd.Series:
    return pd.Series(values, index=index, dtype="str")


def _typed(rows: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    """Select the columns in order, text as text even where every value is missing."""
    result = rows[list(columns)].copy()
    for column in columns:
        if column in ("status", "reason", "label") or column.endswith(("_status", "_version")):
            result[column] = result[column].astype("str")
    return result
