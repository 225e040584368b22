"""How good the forecasts were, out of sample, and the verdict. What belongs here: judging only.

What a session's forecasts said is compared with what followed, as soon as it is known: for session
D those of the sessions s with s + 1 + horizon up to D. Nothing here enters a forecast.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd

from quant_assets.domain.forecast_config import (
    CALIBRATION_BINS,
    NO_HISTORY,
    NO_SKILL,
    SKILL,
    WEAK,
    ForecastConfig,
)
from quant_assets.domain.forecast_features import excess_returns
from quant_assets.domain.ledger_book import Floats, dense
from quant_assets.domain.score_figures import (
    coefficient_figures,
    information_coefficients,
)

DECIMALS = 8
COEFFICIENT_DECIMALS = 10
"""Of a session's coefficient: what else is loaded may move its last bits."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Forecasts of T sessions and S symbols beside what followed, NaN where either is unknown.

    ``coefficients`` and ``yardstick`` are the information coefficients (T) of the expected return
    and of the technical score; ``chance`` is the forecast probability and ``rose`` 1 or 0.
    """

    sessions: pd.DatetimeIndex
    coefficients: pd.Series
    yardstick: pd.Series
    chance: Floats
    rose: Floats


def outcomes_of(
    forecasts: pd.DataFrame,
    technical: pd.DataFrame,
    prices: pd.DataFrame,
    sessions: pd.DatetimeIndex,
    config: ForecastConfig,
) -> Outcomes:
    """Put forecasts beside what followed, session by session.

    ``forecasts``, ``technical`` and ``prices`` are rows of ``return_forecast``,
    ``technical_score`` and ``prices`` of the trading days ``sessions``; sessions may be missing.
    """
    excess = excess_returns(prices, sessions, config)
    symbols = list(excess.columns)
    expected, chance = dense(forecasts, ["expected_return", "probability_up"], sessions, symbols)
    (scores,) = dense(technical, ["technical_score"], sessions, symbols)
    target = excess.to_numpy(np.float64)
    is_pair = ~np.isnan(chance) & ~np.isnan(target)

    def coefficients(values: Floats) -> pd.Series:
        table = pd.DataFrame(values, index=sessions, columns=excess.columns)
        # Where there is no forecast the yardstick is not judged either: both see the same.
        judged = excess.where(is_pair)
        return information_coefficients(table, judged).round(COEFFICIENT_DECIMALS)

    return Outcomes(
        sessions,
        coefficients(expected),
        coefficients(scores),
        np.where(is_pair, chance, np.nan),
        np.where(is_pair, target > 0.0, np.nan),
    )


def window_of(outcomes: Outcomes, session: date, config: ForecastConfig) -> slice:
    """The places of the sessions that are judged at the close of ``session``."""
    place = int(outcomes.sessions.get_indexer(pd.DatetimeIndex([session]))[0])
    end = max(place - config.horizon, 0)
    return slice(max(end - config.judged_sessions, 0), end)


def skill_rows(
    outcomes: Outcomes,
    decision_times: Mapping[date, datetime],
    config: ForecastConfig,
) -> pd.DataFrame:
    """Rows of ``forecast_skill``, one for each session of ``decision_times``."""
    rows = [
        {
            "session_date": pd.Timestamp(session),
            **_figures(outcomes, window_of(outcomes, session, config), config),
            "forecast_version": config.version,
            "available_at": pd.Timestamp(decision_times[session]),
        }
        for session in sorted(decision_times)
    ]
    return pd.DataFrame(rows)


def _figures(outcomes: Outcomes, window: slice, config: ForecastConfig) -> dict[str, Any]:
    """Every figure of a window, the verdict and why."""
    judged = outcomes.coefficients.iloc[window].dropna()
    ours = coefficient_figures(judged, config.horizon)
    theirs = coefficient_figures(outcomes.yardstick.iloc[window], config.horizon)
    chance, rose = outcomes.chance[window].ravel(), outcomes.rose[window].ravel()
    is_pair = ~np.isnan(chance)
    chance, rose = chance[is_pair], rose[is_pair]
    base = float(rose.mean()) if len(rose) else np.nan
    figures = {
        "ic_mean": ours["mean"],
        "ic_deviation": ours["deviation"],
        "t_statistic_overlapping": ours["t_statistic_overlapping"],
        "brier": _mean((chance - rose) ** 2),
        "brier_base": base * (1.0 - base),
        "base_rate": base,
        "hit_rate": _mean((chance > 0.5) == (rose > 0.5)),
        "technical_ic_mean": theirs["mean"],
        "technical_t_statistic_overlapping": theirs["t_statistic_overlapping"],
        **_calibration(chance, rose),
    }
    rounded = {name: float(np.round(value, DECIMALS)) for name, value in figures.items()}
    verdict = verdict_of(
        len(judged),
        rounded["ic_mean"],
        rounded["t_statistic_overlapping"],
        rounded["brier"],
        rounded["brier_base"],
        config,
    )
    return {
        "verdict": verdict,
        "explanation": _explained(verdict, len(judged), rounded, config),
        "n_sessions": len(judged),
        "n_forecasts": len(chance),
        "first_session": judged.index[0] if len(judged) else pd.NaT,
        "last_session": judged.index[-1] if len(judged) else pd.NaT,
        **rounded,
    }


def verdict_of(
    sessions: int, mean: float, t: float, brier: float, brier_base: float, config: ForecastConfig
) -> str:
    """SKILL only if ranks and probabilities were both better than chance; see ``VERDICTS``."""
    if sessions < config.fewest_judged_sessions:
        return NO_HISTORY
    if not (mean > 0.0 and t >= config.weak_t):
        return NO_SKILL
    return SKILL if t >= config.skill_t and brier < brier_base else WEAK


def _explained(
    verdict: str, sessions: int, figures: Mapping[str, float], config: ForecastConfig
) -> str:
    """The verdict in a sentence, with the figures that it rests on."""
    if verdict == NO_HISTORY:
        return (
            f"{sessions} sessions of forecasts can be judged, "
            f"{config.fewest_judged_sessions} are needed"
        )
    words = {
        NO_SKILL: "no skill is to be seen",
        WEAK: "a hint of skill that may be chance",
        SKILL: "ranks and probabilities were better than chance",
    }
    return (
        f"{words[verdict]}: information coefficient {figures['ic_mean']:+.4f} over {sessions} "
        f"sessions, t {figures['t_statistic_overlapping']:.2f} ({config.skill_t:g} is skill); "
        f"Brier score {figures['brier']:.4f}, that of the base rate {figures['brier_base']:.4f}"
    )


def _calibration(chance: Floats, rose: Floats) -> dict[str, float]:
    """Fifths of the forecasts by their probability: mean predicted, share that rose, count."""
    order = np.argsort(chance, kind="stable")
    found: dict[str, float] = {}
    for number, places in enumerate(np.array_split(order, CALIBRATION_BINS), start=1):
        found[f"predicted_{number}"] = _mean(chance[places])
        found[f"realised_{number}"] = _mean(rose[places])
        found[f"count_{number}"] = len(places)
    return found


def by_month(outcomes: Outcomes, window: slice) -> pd.DataFrame:
    """Mean information coefficients of each month of a window: month, sessions, ours, yardstick."""
    table = pd.DataFrame(
        {
            "sessions": outcomes.coefficients.iloc[window].notna(),
            "ours": outcomes.coefficients.iloc[window],
            "technical": outcomes.yardstick.iloc[window],
        }
    )
    months = table.groupby(outcomes.sessions[window].strftime("%Y-%m"))
    found = months.agg({"sessions": "sum", "ours": "mean", "technical": "mean"})
    return found[found["sessions"] > 0].rename_axis("month").reset_index()


def _mean(values: Sequence[float] | Floats) -> float:
    return float(np.mean(values)) if len(values) else np.nan
