"""Contracts of ``us|kr/return_forecast`` and ``us|kr/forecast_skill``."""

from quant_assets.domain.forecast_config import CALIBRATION_BINS, FORECAST, VERDICTS
from quant_assets.schemas.contract import Column, Dataset
from quant_assets.schemas.prices import AVAILABLE_AT, SESSION_DATE, SYMBOL

FORECAST_VERSION = Column("forecast_version", "string", "Version of features and configuration.")


def _figure(name: str, description: str, unit: str = "") -> Column:
    return Column(name, "float", description, unit, nullable=True)


def _share(name: str, description: str) -> Column:
    return Column(name, "float", description, "0..1", True, 0, 1)


RETURN_FORECAST = Dataset(
    name="return_forecast",
    description=f"Expected return of each symbol over {FORECAST.horizon} sessions, less the mean "
    "of the session's symbols, by a model that learned from what was over before the month.",
    partition_column="session_date",
    key=("session_date", "symbol"),
    columns=(
        SESSION_DATE,
        SYMBOL,
        _figure(
            "expected_return",
            f"From the open after the session to that {FORECAST.horizon} sessions later, less the "
            "mean of the session's symbols.",
            "ratio",
        ),
        _share("probability_up", "Probability that this difference is above 0."),
        _share("rank", "Place among the forecasts of the session: 0 the lowest, 1 the highest."),
        Column("model_id", "string", "Hash of configuration, market and model.", nullable=True),
        Column("refit_on", "date", "First session of the month, for which the model was fitted."),
        Column("trained_from", "date", "First session it learned from.", nullable=True),
        Column("trained_to", "date", "Last session it learned from.", nullable=True),
        Column("n_samples", "int", "Symbols times sessions to learn from.", minimum=0),
        Column("reason", "string", "Why there is no forecast.", nullable=True),
        FORECAST_VERSION,
        AVAILABLE_AT,
    ),
)

FORECAST_SKILL = Dataset(
    name="forecast_skill",
    description=f"How good the forecasts of the last {FORECAST.judged_sessions} sessions whose "
    "returns are known were, out of sample.",
    partition_column="session_date",
    key=("session_date",),
    columns=(
        SESSION_DATE,
        Column("verdict", "string", "Whether the forecast has skill.", allowed=VERDICTS),
        Column("explanation", "string", "The verdict in a sentence."),
        Column("n_sessions", "int", "Sessions judged.", minimum=0),
        Column("n_forecasts", "int", "Forecasts judged.", minimum=0),
        Column("first_session", "date", "First session judged.", nullable=True),
        Column("last_session", "date", "Last session judged.", nullable=True),
        _figure("ic_mean", "Mean rank correlation of expected and realised returns.", "-1..1"),
        _figure("ic_deviation", "Its standard deviation over the sessions."),
        _figure("t_statistic_overlapping", "t of the mean, its error as of overlapping returns."),
        _share("brier", "Mean squared error of the probability."),
        _share("brier_base", "That of always saying the base rate."),
        _share("base_rate", "Share of returns above the session's mean."),
        _share("hit_rate", "Share of forecasts on the right side of one half."),
        _figure("technical_ic_mean", "The same correlation of the technical score.", "-1..1"),
        _figure("technical_t_statistic_overlapping", "Its t."),
        *(
            column
            for fifth in range(1, CALIBRATION_BINS + 1)
            for column in (
                _share(f"predicted_{fifth}", f"Mean probability of fifth {fifth}, lowest first."),
                _share(f"realised_{fifth}", f"Share above the mean in fifth {fifth}."),
                Column(f"count_{fifth}", "int", f"Forecasts in fifth {fifth}.", minimum=0),
            )
        ),
        FORECAST_VERSION,
        AVAILABLE_AT,
    ),
)
FORECAST_DATASETS = {dataset.name: dataset for dataset in (RETURN_FORECAST, FORECAST_SKILL)}
