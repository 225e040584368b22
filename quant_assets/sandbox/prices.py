"""Prices as Yahoo would hold them at a moment. What belongs here: the vendor's adjustments.

Yahoo shows every bar in today's shares: a split divides all earlier prices and multiplies all
earlier volumes, a dividend lowers all earlier adjusted closes. Both the simulated and the replayed
market are brought into this one form; what is asked of it is HTTP and stays in ``yahoo``.
"""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple, Protocol
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quant_assets.markets import Market
from quant_assets.sandbox.cycle import FloatArray
from quant_assets.sandbox.market import SimulatedMarket, TradedBars, tick_rounded


class Dividend(NamedTuple):
    """Cash per share of today, paid to holders before ``position``."""

    position: int
    amount: float


class Split(NamedTuple):
    """``numerator`` new shares for ``denominator`` old ones from ``position`` on."""

    position: int
    numerator: int
    denominator: int


@dataclass(frozen=True)
class Security:
    """What a chart says about the symbol itself."""

    symbol: str
    name: str
    market: Market
    exchange: str
    full_exchange: str
    instrument_type: str


@dataclass(frozen=True)
class VendorBars:
    """All bars of a symbol that Yahoo shows at one moment, in the shares of that moment."""

    security: Security
    days: NDArray[np.datetime64]
    timestamps: NDArray[np.int64]
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    adjusted_close: FloatArray
    volume: NDArray[np.int64]
    dividends: tuple[Dividend, ...]
    splits: tuple[Split, ...]


class PriceSource(Protocol):
    """Where charts come from."""

    def bars(self, symbol: str, now: datetime) -> VendorBars | None:
        """Every bar of ``symbol`` known at ``now``; ``None`` for an unknown symbol."""
        ...


EXCHANGES = {"KS": ("KSC", "KSE"), "KQ": ("KOE", "KOSDAQ")}
US_EXCHANGE = ("NMS", "NasdaqGS")


def exchange_of(symbol: str, market: Market) -> tuple[str, str]:
    """Yahoo's short and long name of the exchange of ``symbol``."""
    if market.key == "us":
        return US_EXCHANGE
    return EXCHANGES.get(symbol.rpartition(".")[2], EXCHANGES["KS"])


def opening_timestamps(market: Market, days: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """Regular open of each session as a Unix time: how Yahoo dates a daily bar, late opens too."""
    opens = market.regular_hours(date.max)[0]
    local = pd.DatetimeIndex(days.astype("datetime64[s]")) + pd.Timedelta(
        hours=opens.hour, minutes=opens.minute
    )
    utc = local.tz_localize(market.timezone).tz_convert("UTC").tz_localize(None)
    return utc.to_numpy().astype("datetime64[s]").astype(np.int64)


def single_precision(values: FloatArray) -> FloatArray:
    """``values`` with the error of Yahoo's storage, about 6e-8 of their size."""
    return values.astype(np.float32).astype(np.float64)


def dividend_factors(close: FloatArray, dividends: tuple[Dividend, ...], count: int) -> FloatArray:
    """Close to adjusted close: the product of 1 - dividend / previous close over later ex-dates."""
    steps = np.ones(count)
    for position, amount in dividends:
        if position > 0:
            steps[position - 1] *= 1.0 - amount / close[position - 1]
    factors: FloatArray = np.cumprod(steps[::-1], dtype=np.float64)[::-1]
    return factors


class SimulatedPrices:
    """The simulated market as Yahoo would show it."""

    def __init__(self, market: SimulatedMarket) -> None:
        self.market = market
        self._complete = lru_cache(maxsize=2048)(self._up_to)

    def bars(self, symbol: str, now: datetime) -> VendorBars | None:
        """Every bar known at ``now``; the last one is partial while its session is open."""
        traded = self.market.traded(symbol)
        if traded is None:
            return None
        count = _visible(traded, now)
        if count == 0:
            return None
        bars = self._complete(symbol, count)
        market = traded.company.market
        opens, closes = market.hours_of(traded.days[count - 1].astype(object))
        if opens <= now < closes:
            return _partial(bars, (now - opens) / (closes - opens))
        return bars

    def _up_to(self, symbol: str, count: int) -> VendorBars:
        traded = self.market.traded(symbol)
        if traded is None:
            raise KeyError(symbol)
        ratio = traded.ratio[:count]
        later = np.cumprod(ratio[::-1])[::-1] / ratio
        close = traded.close[:count] / later
        dividends = tuple(
            Dividend(int(p), round(float(traded.dividend[p] / later[p]), 6))
            for p in np.flatnonzero(traded.dividend[:count])
        )
        splits = tuple(split_of(int(p), float(ratio[p])) for p in np.flatnonzero(ratio != 1.0))
        return VendorBars(
            security=_security(traded),
            days=traded.days[:count],
            timestamps=opening_timestamps(traded.company.market, traded.days[:count]),
            open=single_precision(traded.open[:count] / later),
            high=single_precision(traded.high[:count] / later),
            low=single_precision(traded.low[:count] / later),
            close=single_precision(close),
            adjusted_close=single_precision(close * dividend_factors(close, dividends, count)),
            volume=np.round(traded.volume[:count] * later).astype(np.int64),
            dividends=dividends,
            splits=splits,
        )


def _security(traded: TradedBars) -> Security:
    known = traded.company
    short, long = exchange_of(known.symbol, known.market)
    return Security(known.symbol, known.name, known.market, short, long, known.instrument_type)


def split_of(position: int, ratio: float) -> Split:
    """Split by new shares per old one, in whole numbers (1.5 is 3 for 2)."""
    exact = Fraction(ratio).limit_denominator(10**6)
    return Split(position, exact.numerator, exact.denominator)


def _visible(traded: TradedBars, now: datetime) -> int:
    """Number of sessions that have opened by ``now``."""
    market = traded.company.market
    today = np.datetime64(now.astimezone(ZoneInfo(market.timezone)).date())
    count = int(np.searchsorted(traded.days, today, side="right"))
    if count and market.hours_of(traded.days[count - 1].astype(object))[0] > now.astimezone(UTC):
        count -= 1
    return count


def _partial(bars: VendorBars, elapsed: float) -> VendorBars:
    """``bars`` whose last session has run for the share ``elapsed`` of its hours."""
    opening, closing = bars.open[-1], bars.close[-1]
    last = tick_rounded(
        np.array([opening + elapsed * (closing - opening)]), bars.security.market.key
    )[0]
    top, bottom = max(opening, closing), min(opening, closing)
    high = max(opening, last) + elapsed * (bars.high[-1] - top)
    low = min(opening, last) - elapsed * (bottom - bars.low[-1])
    return replace(
        bars,
        high=_with_last(bars.high, high),
        low=_with_last(bars.low, low),
        close=_with_last(bars.close, last),
        adjusted_close=_with_last(bars.adjusted_close, last),
        volume=np.append(bars.volume[:-1], np.int64(elapsed * bars.volume[-1])),
    )


def _with_last(values: FloatArray, last: float) -> FloatArray:
    return np.append(values[:-1], single_precision(np.array([last])))


def session_hours(market: Market, now: datetime) -> tuple[datetime, datetime]:
    """Hours of the session that is open at ``now`` or, if none is, of the next one."""
    day = now.astimezone(ZoneInfo(market.timezone)).date()
    while not (market.is_session(day) and market.hours_of(day)[1] > now):
        day += timedelta(days=1)
    return market.hours_of(day)
