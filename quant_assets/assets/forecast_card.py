"""Model cards of the forecast for the UI. What belongs here: words and tables, no computation."""

from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from quant_assets.assets.common import markdown_table
from quant_assets.domain.forecast import Model
from quant_assets.domain.forecast_config import (
    CALIBRATION_BINS,
    FEATURES,
    NEWS_FEATURES,
    STRESS_FEATURES,
    TECHNICAL_FEATURES,
    ForecastConfig,
)
from quant_assets.domain.forecast_skill import Outcomes, by_month
from quant_assets.markets import Market

LIMITS = """- It ranks the symbols of a session and says nothing of where the market goes.
- Costs are not in it: a book that follows it pays them whenever ranks change.
- Symbols without a price at the end of a target (delisted, halted) are left out of what it learns.
- The universe is today's: symbols that were taken out of it are missing in the past.
- It is linear: what matters only together, but for the regime, it cannot see."""


def model_card(market: Market, model: Model, config: ForecastConfig) -> dg.MarkdownMetadataValue:
    """What the model of the last session predicts, from what, and with which coefficients."""
    parts = [
        f"## Forecast of returns, {market.name}",
        f"**Predicts** the return of each symbol from the open after the session to that "
        f"{config.horizon} sessions later, adjusted for splits and dividends, less the mean of the "
        f"session's symbols (ridge regression), and the probability that it is above 0 (logistic "
        f"regression).",
        _data(model, config),
        f"**Purge and embargo.** The last session that could be learned from is {config.gap} "
        f"sessions before {model.refit_on:%Y-%m-%d}: its target ended {config.embargo} sessions "
        "before the eve of that day. Features are compared within their session, so that no mean "
        "over time knows the future.",
    ]
    if model.coefficients is not None and model.odds is not None:
        parts += ["**Coefficients**, per deviation of a feature, by size:", _coefficients(model)]
    else:
        parts.append(f"**No model**: {model.reason}.")
    parts += [
        f"**Limits**\n\n{LIMITS}",
        f"**Whether it is any good** is said by `{market.key}/forecast_skill`.",
    ]
    return dg.MetadataValue.md("\n\n".join(parts))


def _data(model: Model, config: ForecastConfig) -> str:
    if model.trained_from is None or model.trained_to is None:
        learned = f"{model.n_samples:,} samples of {model.n_sessions} sessions"
    else:
        learned = (
            f"{model.n_samples:,} samples of {model.n_sessions} sessions, "
            f"{model.trained_from:%Y-%m-%d} to {model.trained_to:%Y-%m-%d}"
        )
    return (
        f"**Data.** {learned} (the last {config.training_sessions} are looked at, "
        f"{config.fewest_training_sessions} are needed): indicators, blocks of the technical "
        f"score, news sentiment and the macro regime as of each decision. Fitted for "
        f"{model.refit_on:%Y-%m-%d}, the first session of its month."
    )


def _coefficients(model: Model) -> str:
    assert model.coefficients is not None
    assert model.odds is not None
    meanings = {
        **TECHNICAL_FEATURES,
        **NEWS_FEATURES,
        **{name: f"{base}, times the regime's stress" for name, base in STRESS_FEATURES.items()},
    }
    order = np.argsort(-np.abs(model.coefficients), kind="stable")
    rows = [
        [
            FEATURES[n],
            meanings[FEATURES[n]],
            float(1e4 * model.coefficients[n]),
            float(model.odds[n]),
        ]
        for n in order
    ]
    columns = ["feature", "meaning", "return (bps)", "log odds"]
    return str(markdown_table(columns, rows).value)


def skill_card(
    market: Market,
    row: "pd.Series[Any]",
    outcomes: Outcomes,
    window: slice,
    config: ForecastConfig,
) -> dg.MarkdownMetadataValue:
    """The verdict on the forecasts of the last sessions, with what it rests on."""
    months = by_month(outcomes, window)
    parts = [
        f"## {row['verdict']}",
        f"{market.name}, {row['session_date']:%Y-%m-%d}: {row['explanation']}.",
        f"**Out of sample, by month.** Mean rank correlation of what was forecast with what came "
        f"in the {config.horizon} sessions after it; beside it that of the technical score.",
        _table(months.columns, months.to_numpy().tolist()) if len(months) else "None yet.",
        f"Over all: {_number(row['ic_mean'])} (t {_number(row['t_statistic_overlapping'])}), the "
        f"technical score {_number(row['technical_ic_mean'])} "
        f"(t {_number(row['technical_t_statistic_overlapping'])}). The error of the mean is that "
        "of Newey and West, as returns of several sessions overlap.",
        f"**Calibration**, in fifths of the forecasts by their probability. Brier score "
        f"{_number(row['brier'])}, of always saying {_number(row['base_rate'])} "
        f"{_number(row['brier_base'])}; on the right side of one half "
        f"{_number(row['hit_rate'])}.",
        _table(
            ["fifth", "predicted", "realised", "forecasts"],
            [
                [n, *(row[f"{name}_{n}"] for name in ("predicted", "realised", "count"))]
                for n in range(1, CALIBRATION_BINS + 1)
            ],
        ),
        f"**Rule.** NO_HISTORY below {config.fewest_judged_sessions} sessions; SKILL from t "
        f"{config.skill_t:g} on with a Brier score below that of the base rate; WEAK from t "
        f"{config.weak_t:g} on; else NO_SKILL. Of forecasts without any skill about one in thirty "
        "reaches that t by chance; the Brier score holds most of them back.",
    ]
    return dg.MetadataValue.md("\n\n".join(parts))


def _table(columns: Any, rows: Any) -> str:
    return str(markdown_table(list(columns), rows).value)


def _number(value: float) -> str:
    return "unknown" if pd.isna(value) else f"{value:.4f}"
