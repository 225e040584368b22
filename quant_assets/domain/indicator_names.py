"""What each technical indicator is called, measured in, null below and bounded by.

Belongs here: the columns of ``technical_indicators`` as plain data, and the two lengths that the
computation and its callers share. Does not belong here: any computation, any import of pandas or
TA-Lib. Contracts, documentation and checks read this list without paying for either.
"""

from dataclasses import dataclass
from typing import Literal

LOOK_BACK_SESSIONS = 500
"""Sessions, the published one included, that a value may depend on.

The slowest recursion (ADX 14, smoothed twice) still carries 1e-6 of its starting value after 300
bars and less than 1e-10 after 500, so a single session and a ten-year range agree to 1e-9.
"""

WARM_UP_BARS = 250
"""Bars a symbol needs within the look-back before recursive values are published."""

FLAT_BARS = 250
"""Consecutive bars without a change that make a series flat, whatever happened before them."""

Scale = Literal["price", "volume", "none"]


@dataclass(frozen=True, slots=True)
class Indicator:
    """One published column.

    ``scale`` says how the value moves when bars are adjusted as of another session: with price,
    with volume, or not at all. ``needs_bars`` is the number of bars below which it is null.
    """

    name: str
    unit: str
    description: str
    needs_bars: int
    scale: Scale = "none"
    minimum: float | None = None
    maximum: float | None = None


def _price(name: str, description: str, needs_bars: int, minimum: float | None = 0.0) -> Indicator:
    return Indicator(name, "market currency", description, needs_bars, "price", minimum)


def _percent(name: str, description: str, needs_bars: int) -> Indicator:
    return Indicator(name, "percent", description, needs_bars, "none", 0.0, 100.0)


INDICATORS: tuple[Indicator, ...] = (
    _price("sma_5", "Mean of the last 5 closes", 5),
    _price("sma_20", "Mean of the last 20 closes", 20),
    _price("sma_50", "Mean of the last 50 closes", 50),
    _price("sma_60", "Mean of the last 60 closes", 60),
    _price("sma_120", "Mean of the last 120 closes", 120),
    _price("sma_200", "Mean of the last 200 closes", 200),
    _price("ema_12", "Exponential mean of closes, smoothing 2/13", WARM_UP_BARS),
    _price("ema_26", "Exponential mean of closes, smoothing 2/27", WARM_UP_BARS),
    _price("macd", "Exponential mean 12 less exponential mean 26", WARM_UP_BARS, None),
    _price("macd_signal", "Exponential mean of macd, smoothing 2/10", WARM_UP_BARS, None),
    _price("macd_histogram", "macd less macd_signal", WARM_UP_BARS, None),
    _percent("rsi_14", "Wilder's relative strength index over 14 changes", WARM_UP_BARS),
    _price("bollinger_upper", "20-bar mean plus 2 population standard deviations", 20),
    _price("bollinger_middle", "20-bar mean of closes", 20),
    _price("bollinger_lower", "20-bar mean less 2 population standard deviations", 20, None),
    Indicator(
        "bollinger_percent_b",
        "ratio",
        "Place of the close between the lower (0) and the upper (1) band",
        20,
    ),
    _price("atr_14", "Wilder's average true range over 14 bars", WARM_UP_BARS),
    _percent("adx_14", "Wilder's average directional index over 14 bars", WARM_UP_BARS),
    _percent("plus_di_14", "Upward directional movement in percent of true range", WARM_UP_BARS),
    _percent("minus_di_14", "Downward directional movement in percent of true range", WARM_UP_BARS),
    _percent("stochastic_k", "Place of the close in the 14-bar range, mean of 3", 16),
    _percent("stochastic_d", "Mean of the last 3 stochastic_k", 18),
    Indicator(
        "obv_change_20",
        "shares",
        "Change of on-balance volume over 20 bars, in as-traded shares of the session",
        21,
        "volume",
    ),
    Indicator(
        "obv_zscore_20",
        "standard deviations",
        "On-balance volume less its 20-bar mean, over its 20-bar population deviation",
        20,
    ),
    Indicator("roc_20", "percent", "Return over 20 bars", 21, "none", -100.0),
    Indicator(
        "realised_volatility_20",
        "per year",
        "Sample deviation of the last 20 log returns times the square root of 252",
        21,
        "none",
        0.0,
    ),
)

INDICATOR_NAMES: tuple[str, ...] = tuple(indicator.name for indicator in INDICATORS)

COLUMNS: tuple[str, ...] = (
    "session_date",
    "symbol",
    "close",
    "history_bars",
    *INDICATOR_NAMES,
    "reason",
    "available_at",
)
"""Every column of ``technical_indicators``, in order."""
