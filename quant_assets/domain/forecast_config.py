"""What the forecast learns, from how much, and when it counts as skilled, as one versioned object.

Belongs here: the configuration, its validation, the names of the features, the verdicts. Does not
belong here: any computation, any import of pandas: partition mappings and settings are made from
it whenever a process starts.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from quant_assets.domain.versioned import version_of
from quant_assets.errors import BadConfigurationError

NO_HISTORY, NO_SKILL, WEAK, SKILL = "NO_HISTORY", "NO_SKILL", "WEAK", "SKILL"
VERDICTS = (NO_HISTORY, NO_SKILL, WEAK, SKILL)

TECHNICAL_FEATURES: Mapping[str, str] = {
    "rsi": "RSI 14",
    "percent_b": "place of the close in the Bollinger bands",
    "stochastic": "%D",
    "macd": "MACD histogram, in ATR",
    "above_20": "close above its 20-session mean, in ATR",
    "above_200": "close above its 200-session mean, in ATR",
    "mean_20_over_50": "20-session mean above the 50-session one, in ATR",
    "mean_50_over_200": "50-session mean above the 200-session one, in ATR",
    "roc": "return over 20 sessions",
    "volatility": "realised volatility of 20 sessions",
    "range": "ATR by close",
    "adx": "ADX 14",
    "directed_adx": "ADX 14 with the sign of +DI less -DI",
    "obv": "on-balance volume above its 20-session mean, in deviations",
    "trend": "trend block of the technical score",
    "momentum": "momentum block of the technical score",
    "reversal": "reversal block of the technical score",
}
"""Without one of them a symbol has no forecast."""
NEWS_FEATURES: Mapping[str, str] = {
    "sentiment": "news sentiment of the decision window",
    "articles": "logarithm of 1 + articles in the window",
}
"""Unknown ones count as the session's mean: hours that were never crawled stop no forecast."""
STRESS_FEATURES: Mapping[str, str] = {
    "trend_in_stress": "trend",
    "reversal_in_stress": "reversal",
    "volatility_in_stress": "volatility",
}
"""Each a feature (standardised) times 1 less the regime's risk multiplier.

The regime is the same for all symbols, so that by itself it tells none from another.
"""
FEATURES = (*TECHNICAL_FEATURES, *NEWS_FEATURES, *STRESS_FEATURES)

CALIBRATION_BINS = 5
"""Parts of the forecasts, by their probability, whose realised share is compared with it."""
LONGEST_MONTH = 23
"""Most sessions of a calendar month."""


@dataclass(frozen=True, slots=True)
class ForecastConfig:
    """How returns are forecast, and how forecasts are judged.

    The target of session s is the return from the open of s + 1 to that of s + 1 + ``horizon``
    less the mean of the session's symbols. The model of session D was fitted for the first session
    M of D's month, on ``training_sessions`` sessions at most and ``fewest_training_sessions`` at
    least, the last of which is M - ``gap``: its target ended ``embargo`` sessions before M - 1 at
    the latest. ``penalty`` is the weight of the squared coefficients against the squared (ridge)
    or logistic loss of one sample, in units of a feature with deviation 1; features are clipped
    at ``clip_deviations``. A session counts with ``fewest_symbols`` symbols.

    Forecasts are judged over the last ``judged_sessions`` sessions, ``fewest_judged_sessions`` at
    least. ``weak_t`` and ``skill_t`` are values of t for the mean information coefficient, its
    error as of overlapping returns. Raises ``BadConfigurationError`` naming the field.
    """

    horizon: int = 5
    training_sessions: int = 500
    fewest_training_sessions: int = 120
    embargo: int = 5
    penalty: float = 0.1
    clip_deviations: float = 3.0
    fewest_symbols: int = 3
    judged_sessions: int = 252
    fewest_judged_sessions: int = 60
    weak_t: float = 1.5
    skill_t: float = 2.0
    features_version: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be fitted or judged."""
        for name, value in asdict(self).items():
            if not math.isfinite(value) or value < (0 if name == "embargo" else 1e-9):
                raise BadConfigurationError(f"forecast.{name} is {value}: give a number above 0")
        for fewest, most in (
            ("fewest_training_sessions", "training_sessions"),
            ("fewest_judged_sessions", "judged_sessions"),
            ("weak_t", "skill_t"),
        ):
            if getattr(self, fewest) > getattr(self, most):
                raise BadConfigurationError(
                    f"forecast.{fewest} is {getattr(self, fewest)}: give at most forecast.{most}, "
                    f"which is {getattr(self, most)}"
                )

    @property
    def gap(self) -> int:
        """Sessions from the last one a model learns from to the one that it is fitted for."""
        return 1 + self.horizon + self.embargo + 1

    @property
    def look_back(self) -> int:
        """Sessions before one that its forecast may rest on."""
        return LONGEST_MONTH - 1 + self.gap + self.training_sessions - 1

    @property
    def judged_look_back(self) -> int:
        """Sessions before one whose forecasts may enter its judgement."""
        return self.horizon + 1 + self.judged_sessions - 1

    @property
    def version(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of all values and of the features' names."""
        return version_of({**asdict(self), "features": list(FEATURES)})


FORECAST = ForecastConfig()
"""The configuration of the platform."""
