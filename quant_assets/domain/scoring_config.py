"""Weights, cut points and constants of the scores as one versioned object.

Belongs here: the configuration and its validation. Does not belong here: any computation, any
import of pandas, because the settings check it whenever a process starts.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, Self

from quant_assets.domain.versioned import demand_fields, version_of
from quant_assets.errors import BadConfigurationError

LABELS = ("STRONG_SELL", "SELL", "HOLD", "BUY", "STRONG_BUY")
SENTIMENT_STATUSES = ("OK", "NO_NEWS", "STALE", "UNAVAILABLE")

_WEIGHT_SETS = (
    ("trend_weight", "momentum_weight", "reversal_weight"),
    ("technical_weight", "sentiment_weight"),
)
_CUTS = ("strong_sell_cut", "sell_cut", "buy_cut", "strong_buy_cut")
_DIVISORS = (
    "trend_price_atr",
    "trend_medium_atr",
    "trend_long_atr",
    "momentum_macd_atr",
    "momentum_adx_span",
    "momentum_obv_deviations",
    "reversal_rsi_span",
    "reversal_stochastic_span",
    "reversal_bollinger_span",
)


@dataclass(frozen=True, slots=True)
class ScoringConfig:
    """Weights, constants and cut points of the scores.

    ``*_atr`` are the true ranges, ``*_deviations`` the standard deviations at which a component
    reaches 1. A reversal component starts at its low or high level and reaches 1 ``*_span``
    further. A combined score up to ``strong_sell_cut`` and ``sell_cut`` is a STRONG_SELL and a
    SELL, from ``buy_cut`` and ``strong_buy_cut`` a BUY and a STRONG_BUY. Raises
    BadConfigurationError naming the field that is wrong.
    """

    trend_weight: float = 0.5
    momentum_weight: float = 0.3
    reversal_weight: float = 0.2
    technical_weight: float = 0.7
    sentiment_weight: float = 0.3
    trend_price_atr: float = 2.0
    trend_medium_atr: float = 3.0
    trend_long_atr: float = 8.0
    momentum_macd_atr: float = 0.5
    momentum_adx_floor: float = 20.0
    momentum_adx_span: float = 20.0
    momentum_obv_deviations: float = 2.0
    reversal_rsi_low: float = 30.0
    reversal_rsi_high: float = 70.0
    reversal_rsi_span: float = 10.0
    reversal_stochastic_low: float = 20.0
    reversal_stochastic_high: float = 80.0
    reversal_stochastic_span: float = 20.0
    reversal_bollinger_low: float = 0.0
    reversal_bollinger_high: float = 1.0
    reversal_bollinger_span: float = 0.25
    minimum_components: int = 2
    score_decimals: int = 6
    strong_sell_cut: float = -0.35
    sell_cut: float = -0.15
    buy_cut: float = 0.15
    strong_buy_cut: float = 0.35

    def __post_init__(self) -> None:
        """Refuse values that are no numbers, weights that do not add up, levels out of order."""
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise BadConfigurationError(f"scoring.{name} is {value!r}: give a number")
            if not math.isfinite(value):
                raise BadConfigurationError(f"scoring.{name} is {value}: give a finite number")
        self._check_weights()
        self._check_constants()

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Build from run configuration; fields not named keep their defaults."""
        return cls(**demand_fields(cls, values, "scoring"))

    @property
    def version(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of all values."""
        values = {
            field.name: (int if field.type is int else float)(getattr(self, field.name))
            for field in fields(self)
        }
        return version_of(values)

    def _check_weights(self) -> None:
        for names in _WEIGHT_SETS:
            for name in names:
                if not 0.0 <= getattr(self, name) <= 1.0:
                    raise BadConfigurationError(
                        f"scoring.{name} is {getattr(self, name)}: give a weight from 0 to 1"
                    )
            total = sum(getattr(self, name) for name in names)
            if abs(total - 1.0) > 1e-9:
                raise BadConfigurationError(
                    f"scoring.{' + scoring.'.join(names)} is {total}: the weights must sum to 1"
                )

    def _check_constants(self) -> None:
        for name in _DIVISORS:
            if getattr(self, name) <= 0.0:
                raise BadConfigurationError(
                    f"scoring.{name} is {getattr(self, name)}: give a number above 0"
                )
        levels = ("reversal_rsi", "reversal_stochastic", "reversal_bollinger")
        ascending = [(f"{name}_low", f"{name}_high") for name in levels]
        ascending += list(pairwise(_CUTS))
        for lower, upper in ascending:
            if getattr(self, lower) >= getattr(self, upper):
                raise BadConfigurationError(
                    f"scoring.{upper} is {getattr(self, upper)}: give more than scoring.{lower}, "
                    f"which is {getattr(self, lower)}"
                )
        for name, least, most in (("minimum_components", 1, 3), ("score_decimals", 1, 12)):
            value = getattr(self, name)
            if not isinstance(value, int) or not least <= value <= most:
                raise BadConfigurationError(
                    f"scoring.{name} is {value}: give a whole number from {least} to {most}"
                )
