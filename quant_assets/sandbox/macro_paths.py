"""Simulated macroeconomic paths by calendar day. What belongs here: true values, no releases.

All of them follow the business cycle: volatility and claims jump in a crisis, rates are cut after
one begins, and the curve inverts in the months before a downturn.
"""

import math
from functools import cached_property

import numpy as np
import pandas as pd

from quant_assets.sandbox.cycle import (
    CRISIS,
    GRID_DAYS,
    GRID_START,
    BusinessCycle,
    FloatArray,
    autoregressive,
    smoothed,
)
from quant_assets.sandbox.randomness import generator

LEAD_DAYS = 300
"""How long before a downturn the curve begins to flatten."""


class MacroPaths:
    """True daily values of everything that the simulated statistics measure."""

    def __init__(self, cycle: BusinessCycle) -> None:
        self._cycle = cycle

    def _noise(self, name: str, span: float) -> FloatArray:
        return autoregressive(generator(self._cycle.seed, "macro", name), span)

    @cached_property
    def slack(self) -> FloatArray:
        """Distance of the economy from good times, slow to build and slow to heal, about 0 to 2."""
        return smoothed(self._cycle.slump, 160.0)

    @cached_property
    def downturn_ahead(self) -> FloatArray:
        """Share of the next ``LEAD_DAYS`` that are not calm."""
        is_slump = (self._cycle.slump > 0).astype(np.float64)
        total = np.concatenate(([0.0], np.cumsum(is_slump)))
        days = np.arange(GRID_DAYS)
        end = np.minimum(days + LEAD_DAYS, GRID_DAYS)
        return smoothed((total[end] - total[days]) / LEAD_DAYS, 30.0)

    @cached_property
    def inflation(self) -> FloatArray:
        """Yearly inflation, percent."""
        return 2.6 + 1.1 * self._noise("inflation", 500.0) - 0.8 * smoothed(self.slack, 300.0)

    @cached_property
    def funds_rate(self) -> FloatArray:
        """Policy rate, percent."""
        wanted = 1.2 + 1.0 * self.inflation - 3.4 * self.slack
        return np.maximum(smoothed(np.maximum(wanted, 0.08), 220.0), 0.08)

    @cached_property
    def bill_rate(self) -> FloatArray:
        """Three-month yield, percent."""
        return np.maximum(self.funds_rate - 0.05 + 0.06 * self._noise("bill", 25.0), 0.02)

    @cached_property
    def two_year(self) -> FloatArray:
        """Two-year yield, percent."""
        premium = 0.35 - 0.5 * self.downturn_ahead
        return np.maximum(self.funds_rate + premium + 0.22 * self._noise("two year", 90.0), 0.10)

    @cached_property
    def ten_year(self) -> FloatArray:
        """Ten-year yield, percent."""
        spread = 1.35 - 2.6 * self.downturn_ahead + 1.1 * self.slack
        return np.maximum(self.two_year + spread + 0.16 * self._noise("ten year", 60.0), 0.30)

    @cached_property
    def volatility_index(self) -> FloatArray:
        """Implied volatility of US shares, percent a year."""
        level = smoothed(np.log(np.array([14.0, 23.0, 42.0]))[self._cycle.regime], 9.0)
        surprise = smoothed(np.abs(self._cycle.shock("us")) - 0.78, 9.0)
        return np.exp(level + 0.16 * self._noise("vix", 25.0) + 0.16 * surprise)

    @cached_property
    def credit_spread(self) -> FloatArray:
        """Yield of Baa bonds over the ten-year Treasury, percent."""
        crisis = smoothed((self._cycle.regime == CRISIS).astype(np.float64), 40.0)
        level = 1.75 + 0.55 * self.slack + 1.7 * crisis
        return level + 0.10 * self._noise("credit", 60.0)

    @cached_property
    def won_per_dollar(self) -> FloatArray:
        """Won for one US dollar."""
        level = math.log(1130.0) + 0.10 * smoothed(self._cycle.slump, 60.0)
        return np.exp(level + 0.06 * self._noise("won", 400.0))

    @cached_property
    def initial_claims(self) -> FloatArray:
        """New claims for unemployment insurance in a week, persons."""
        level = math.log(225e3) + 0.42 * smoothed(self._cycle.slump, 70.0)
        return np.exp(level + 0.035 * self._noise("claims", 8.0))

    @cached_property
    def unemployment(self) -> FloatArray:
        """Unemployed share of the labour force, percent."""
        lagged = smoothed(self.slack, 240.0)
        return 4.1 + 3.2 * lagged + 0.12 * self._noise("unemployment", 60.0)

    @cached_property
    def employment(self) -> FloatArray:
        """Jobs outside farming, thousands."""
        growth = 0.020 - 0.034 * self.slack + 0.004 * self._noise("jobs", 45.0)
        jobs: FloatArray = 109_200.0 * np.exp(np.cumsum(growth) / 365.25)
        return jobs

    @cached_property
    def industrial_production(self) -> FloatArray:
        """Output of industry, index."""
        growth = 0.026 - 0.075 * self.slack + 0.05 * self._noise("industry", 30.0)
        index: FloatArray = 62.0 * np.exp(np.cumsum(growth) / 365.25)
        return index

    @cached_property
    def consumer_prices(self) -> FloatArray:
        """Consumer price index, 1982-84 = 100."""
        growth = (self.inflation + 1.2 * self._noise("prices", 30.0)) / 100.0
        return 127.4 * np.exp(np.cumsum(growth) / 365.25)

    @cached_property
    def sentiment(self) -> FloatArray:
        """Consumer sentiment, index."""
        return (
            94.0
            - 14.0 * self.slack
            - 2.0 * (self.inflation - 2.5)
            + 3.0 * self._noise("consumers", 60.0)
        )

    @cached_property
    def real_output(self) -> FloatArray:
        """Output in constant dollars, billions a year."""
        growth = 0.030 - 0.055 * self.slack + 0.006 * self._noise("output", 120.0)
        return 9_980.0 * np.exp(np.cumsum(growth) / 365.25)

    @cached_property
    def output(self) -> FloatArray:
        """Output in current dollars, billions a year."""
        deflator = np.exp(np.cumsum(self.inflation / 100.0) / 365.25)
        return self.real_output * 0.60 * deflator

    @cached_property
    def korean_yield(self) -> FloatArray:
        """Ten-year yield in Korea, percent."""
        return np.maximum(0.75 * self.ten_year + 0.9 + 0.25 * self._noise("korea", 120.0), 0.5)


def period_means(path: FloatArray, frequency: str) -> pd.Series:
    """Mean of a daily ``path`` by period (``MS``, ``QS``), indexed by the period's first day."""
    index = pd.date_range(GRID_START, periods=GRID_DAYS, freq="D")
    return pd.Series(path, index=index).resample(frequency).mean()
