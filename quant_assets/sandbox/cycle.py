"""The simulated business cycle. What belongs here: regimes and common factors, no symbol.

Everything lives on one grid of calendar days, so that markets, macro series and headlines see the
same booms and crises, and so that a change of an exchange's calendar moves no random number.
"""

import math
from datetime import date
from functools import cache, cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quant_assets.sandbox.randomness import generator, small_random

GRID_START = date(1990, 1, 1)
GRID_END = date(2045, 12, 31)
GRID_DAYS = (GRID_END - GRID_START).days + 1

FloatArray = NDArray[np.float64]

CALM, BEAR, CRISIS = 0, 1, 2
_MEAN_DAYS = {CALM: (150, 600), BEAR: (60, 170), CRISIS: (20, 60)}
_NEXT = {CALM: ((BEAR, 0.6), (CRISIS, 1.0)), BEAR: ((CALM, 0.85), (CRISIS, 1.0))}
_AFTER_CRISIS = ((CALM, 0.55), (BEAR, 1.0))

DRIFT: FloatArray = np.array([0.00055, -0.00055, -0.00300])
VOLATILITY: FloatArray = np.array([0.0085, 0.0130, 0.0260])
VOLATILITY_FACTOR: FloatArray = np.array([1.0, 1.25, 1.9])

KOREA_FOLLOWS = 0.5
"""Correlation of Korea's factor with the US session that ended before it."""


def grid_index(day: date) -> int:
    """Position of ``day`` on the grid."""
    return (day - GRID_START).days


def smoothed(values: FloatArray, span: float) -> FloatArray:
    """Exponential moving average of ``values`` that looks back only."""
    series = pd.Series(values).ewm(span=span, adjust=False).mean()
    return series.to_numpy(dtype=np.float64)


def autoregressive(rng: np.random.Generator, span: float) -> FloatArray:
    """Stationary first-order process over the grid with unit variance and memory ``span`` days."""
    alpha = 2.0 / (span + 1.0)
    scale = np.sqrt((2.0 - alpha) / alpha)
    return smoothed(rng.standard_normal(GRID_DAYS), span) * float(scale)


def fat_tailed(rng: np.random.Generator, degrees: float = 4.5) -> FloatArray:
    """Student-t shocks over the grid, scaled to unit variance."""
    shocks: FloatArray = rng.standard_t(degrees, GRID_DAYS)
    return shocks * math.sqrt((degrees - 2.0) / degrees)


class BusinessCycle:
    """Regimes, market factors and sector factors of one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    @cached_property
    def regime(self) -> NDArray[np.int8]:
        """Regime of each day: spells of random length that follow one another."""
        rng = small_random(self.seed, "regimes")
        path = np.zeros(GRID_DAYS, dtype=np.int8)
        position, state = 0, CALM
        while position < GRID_DAYS:
            shortest, mean = _MEAN_DAYS[state]
            length = shortest + int(rng.expovariate(1.0 / mean))
            path[position : position + length] = state
            position += length
            draw = rng.random()
            options = _NEXT.get(state, _AFTER_CRISIS)
            state = next(following for following, limit in options if draw < limit)
        return path

    @cached_property
    def _us_shock(self) -> FloatArray:
        return fat_tailed(generator(self.seed, "factor", "us"), 6.0)

    @cached_property
    def _kr_shock(self) -> FloatArray:
        own = fat_tailed(generator(self.seed, "factor", "kr"), 6.0)
        before = np.concatenate(([0.0], self._us_shock[:-1]))
        return KOREA_FOLLOWS * before + math.sqrt(1.0 - KOREA_FOLLOWS**2) * own

    def shock(self, market: str) -> FloatArray:
        """Standardised surprise of the market factor on each day."""
        return self._kr_shock if market == "kr" else self._us_shock

    def market_return(self, market: str) -> FloatArray:
        """Log return of the market factor, were each day a session."""
        scale = 1.15 if market == "kr" else 1.0
        shock = self.shock(market)
        returns: FloatArray = DRIFT[self.regime] + scale * VOLATILITY[self.regime] * shock
        return returns

    def sector_return(self, market: str, sector: str) -> FloatArray:
        """Log return of a sector in excess of its market, were each day a session."""
        return _sector_return(self, market, sector)

    @cached_property
    def volatility_factor(self) -> FloatArray:
        """How much larger than in calm times the moves of single stocks are."""
        return smoothed(VOLATILITY_FACTOR[self.regime], 8.0)

    @cached_property
    def slump(self) -> FloatArray:
        """Depth of the downturn: 0 when calm, 1 in a bear market, 2 in a crisis."""
        return self.regime.astype(np.float64)


@cache
def _sector_return(cycle: BusinessCycle, market: str, sector: str) -> FloatArray:
    rng = generator(cycle.seed, "sector", market, sector)
    return 0.0050 * cycle.volatility_factor * fat_tailed(rng, 6.0)


@cache
def business_cycle(seed: int) -> BusinessCycle:
    """The cycle of ``seed``, shared by everything in the process that simulates."""
    return BusinessCycle(seed)
