"""The simulated market as it was traded. What belongs here: the truth, before any vendor's view.

A symbol's bars depend on the seed and the symbol alone; asking later only shows more of them. The
prices are those of the tape: no later split or dividend is applied to them.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quant_assets.markets import FIRST_SESSION, LAST_CALENDAR_DAY, MARKETS
from quant_assets.sandbox.companies import (
    DELISTED_AFTER,
    HALTING_SYMBOLS,
    LISTED_ON,
    Company,
    company,
)
from quant_assets.sandbox.corporate_actions import CorporateActions, corporate_actions
from quant_assets.sandbox.cycle import (
    GRID_START,
    FloatArray,
    autoregressive,
    business_cycle,
    fat_tailed,
)
from quant_assets.sandbox.randomness import between, fraction, generator

LIMIT_OF_MOVE = {"us": 0.35, "kr": 0.26}
"""Largest log move of a session; Korea's ±30% daily limit lies beyond it."""
LEAD_WEIGHT = 0.10
"""Share of a session's own shock that the tone of the news before it foretold."""
HALT_RATE = 1 / 40
_KOREAN_TICKS = (
    np.array([2_000, 5_000, 20_000, 50_000, 200_000, 500_000]),
    np.array([1.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1_000.0]),
)


@dataclass(frozen=True)
class TradedBars:
    """One symbol as traded, one entry a session, ascending; ``ratio`` is new shares per old one."""

    company: Company
    days: NDArray[np.datetime64]
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: NDArray[np.int64]
    dividend: FloatArray
    ratio: FloatArray


@dataclass(frozen=True)
class _Returns:
    """Log returns of a symbol by session: whole, and the part that earlier news foretold."""

    whole: FloatArray
    foretold: FloatArray
    volatility: FloatArray


@lru_cache(maxsize=4)
def session_days(market_key: str) -> NDArray[np.datetime64]:
    """Every session of a market that its shipped calendar knows, past and future."""
    sessions = MARKETS[market_key].sessions(FIRST_SESSION, LAST_CALENDAR_DAY)
    return np.array(sessions, dtype="datetime64[D]")


def tick_rounded(prices: FloatArray, market_key: str) -> FloatArray:
    """``prices`` on the exchange's grid: cents, or Korea's tick of the price's band in won."""
    if market_key == "us":
        cents: FloatArray = np.maximum(np.round(prices, 2), 0.01)
        return cents
    bounds, ticks = _KOREAN_TICKS
    tick = ticks[np.searchsorted(bounds, prices, side="right")]
    won: FloatArray = np.maximum(np.round(prices / tick) * tick, 1.0)
    return won


class SimulatedMarket:
    """Bars, dividends and splits of any symbol, made from ``seed``."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._cycle = business_cycle(seed)
        self.traded = lru_cache(maxsize=4096)(self._traded)

    def as_traded(self, symbol: str) -> pd.DataFrame:
        """Bars of ``symbol`` as traded, past and future.

        Columns: session_date, open, high, low, close (market currency), volume (shares), dividend
        (cash per as-traded share, on its ex-date), split_ratio (new per old share, 1.0 = none).
        Raises ``KeyError`` for a symbol that does not exist.
        """
        bars = self.traded(symbol)
        if bars is None:
            raise KeyError(symbol)
        return pd.DataFrame(
            {
                "session_date": bars.days.astype("datetime64[us]"),
                "open": bars.open,
                "high": bars.high,
                "low": bars.low,
                "close": bars.close,
                "volume": bars.volume,
                "dividend": bars.dividend,
                "split_ratio": bars.ratio,
            }
        )

    def tone(self, symbol: str) -> FloatArray:
        """Mood of the news on ``symbol`` for each day of the grid, mean 0, variance 1."""
        return generator(self.seed, "tone", symbol).standard_normal(len(self._cycle.regime))

    def _traded(self, symbol: str) -> TradedBars | None:
        known = company(symbol)
        if known is None:
            return None
        days = _listed_days(known)
        index = (days - np.datetime64(GRID_START)).astype(np.int64)
        halted = self._halted(symbol, days)
        returns = self._returns(known, index)
        returns.whole[halted] = 0.0
        actions = corporate_actions(self.seed, known, days, returns.whole, halted)
        bars = self._bars(known, days, index, returns, actions)
        return _with_halts(bars, halted)

    def _halted(self, symbol: str, days: NDArray[np.datetime64]) -> NDArray[np.bool_]:
        if symbol not in HALTING_SYMBOLS:
            return np.zeros(len(days), dtype=bool)
        drawn = [fraction(self.seed, "halt", symbol, day) < HALT_RATE for day in days]
        drawn[0] = False
        return np.array(drawn)

    def _returns(self, known: Company, index: NDArray[np.int64]) -> _Returns:
        seed, market, symbol = self.seed, known.market.key, known.symbol
        common = self._cycle.market_return(market)[index]
        if known.is_fund:
            own = 0.0004 * generator(seed, "fund", symbol).standard_normal(len(self._cycle.regime))
            volatility = np.full(len(index), 0.008) * self._cycle.volatility_factor[index]
            return _Returns(common + own[index], np.zeros(len(index)), volatility)
        beta = between(0.55, 1.45, seed, "beta", symbol)
        load = between(0.5, 1.3, seed, "load", symbol)
        level = between(0.007, 0.017, seed, "volatility", symbol)
        drift = between(-0.0002, 0.0003, seed, "drift", symbol)
        cluster = np.exp(0.35 * autoregressive(generator(seed, "cluster", symbol), 40.0))[index]
        volatility = level * cluster * self._cycle.volatility_factor[index]
        shock = fat_tailed(generator(seed, "shock", symbol))[index]
        foretold = LEAD_WEIGHT * volatility * self._tone_before(symbol, index)
        own = np.sqrt(1.0 - LEAD_WEIGHT**2) * volatility * shock + foretold
        sector = self._cycle.sector_return(market, known.sector)[index]
        limit = LIMIT_OF_MOVE[market]
        whole = np.clip(drift + beta * common + load * sector + own, -limit, limit)
        return _Returns(whole, foretold, volatility)

    def _tone_before(self, symbol: str, index: NDArray[np.int64]) -> FloatArray:
        """Mean mood from the previous session's day to the day before each session, variance 1."""
        total = np.concatenate(([0.0], np.cumsum(self.tone(symbol))))
        before = np.concatenate(([index[0] - 1], index[:-1]))
        return (total[index] - total[before]) / np.sqrt(np.maximum(index - before, 1))

    def _bars(
        self,
        known: Company,
        days: NDArray[np.datetime64],
        index: NDArray[np.int64],
        returns: _Returns,
        actions: CorporateActions,
    ) -> TradedBars:
        seed, symbol, market = self.seed, known.symbol, known.market.key
        size = len(self._cycle.regime)
        draws = generator(seed, "bars", symbol).standard_normal((size, 4))[index]
        close = actions.close
        previous = close * np.exp(-returns.whole)
        gap = 0.35 * (returns.whole - returns.foretold) + 0.25 * returns.volatility * draws[:, 0]
        limit = LIMIT_OF_MOVE[market]
        opening = previous * np.exp(np.clip(gap, -limit, limit))
        reach = 0.45 * returns.volatility
        high = np.maximum(opening, close) * np.exp(reach * np.abs(draws[:, 1]))
        low = np.minimum(opening, close) * np.exp(-reach * np.abs(draws[:, 2]))
        if market == "kr":
            high = np.maximum(np.minimum(high, previous * 1.295), np.maximum(opening, close))
            low = np.minimum(np.maximum(low, previous * 0.705), np.minimum(opening, close))
        surprise = np.minimum(np.abs(returns.whole) / returns.volatility, 5.0)
        habit = autoregressive(generator(seed, "habit", symbol), 30.0)[index]
        log_volume = 0.30 * habit + 0.22 * draws[:, 3] + 0.30 * (surprise - 0.8)
        shares = self._usual_volume(known) * actions.shares * np.exp(log_volume)
        return TradedBars(
            company=known,
            days=days,
            open=tick_rounded(opening, market),
            high=tick_rounded(high, market),
            low=tick_rounded(low, market),
            close=tick_rounded(close, market),
            volume=np.maximum(np.round(shares / 100.0) * 100, 100).astype(np.int64),
            dividend=actions.dividend,
            ratio=actions.ratio,
        )

    def _usual_volume(self, known: Company) -> float:
        """Shares a session before any split, larger for the companies at the head of a universe."""
        low, high = (4.5, 6.0) if known.market.key == "kr" else (5.0, 6.4)
        place = 0.0 if known.rank is None else 0.6 - 0.02 * known.rank
        return 10 ** (between(low, high, self.seed, "volume", known.symbol) + place)


def _listed_days(known: Company) -> NDArray[np.datetime64]:
    days = session_days(known.market.key)
    first = LISTED_ON.get(known.symbol, FIRST_SESSION)
    last = DELISTED_AFTER.get(known.symbol, LAST_CALENDAR_DAY)
    return days[(days >= np.datetime64(first)) & (days <= np.datetime64(last))]


def _with_halts(bars: TradedBars, halted: NDArray[np.bool_]) -> TradedBars:
    """US: a halted session has no bar. Korea: a flat bar at the last close without volume."""
    if not halted.any():
        return bars
    fields = {name: getattr(bars, name) for name in TradedBars.__annotations__ if name != "company"}
    if bars.company.market.key == "us":
        return TradedBars(company=bars.company, **{k: v[~halted] for k, v in fields.items()})
    for name in ("open", "high", "low"):
        fields[name] = np.where(halted, bars.close, fields[name])
    fields["volume"] = np.where(halted, 0, bars.volume)
    return TradedBars(company=bars.company, **fields)
