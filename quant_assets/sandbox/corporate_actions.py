"""Dividends and splits of a simulated symbol. What belongs here: when, how much, and the path.

Dividends and splits are decided from prices already known on their day, and the path of closes
carries them: it falls by the dividend on the ex-date and by the ratio on the day of a split.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quant_assets.sandbox.companies import LISTED_ON, Company
from quant_assets.sandbox.cycle import FloatArray
from quant_assets.sandbox.randomness import between, fraction, stable_hash


@dataclass(frozen=True)
class SplitHabits:
    """Above ``ceiling`` a market splits its shares, below ``floor`` it merges ten into one."""

    ceiling: tuple[float, float]
    floor: float
    target: float
    ratios: tuple[float, ...]
    start: tuple[float, float]


SPLIT_HABITS = {
    "us": SplitHabits((170.0, 480.0), 6.0, 80.0, (2.0, 3.0, 4.0, 10.0), (25.0, 140.0)),
    "kr": SplitHabits((250e3, 600e3), 4_500.0, 90e3, (2.0, 5.0, 10.0), (15e3, 250e3)),
}
INDEX_START = (900.0, 1500.0)
MERGER_RATIO = 0.1
YIELD = (0.008, 0.040)


@dataclass(frozen=True)
class CorporateActions:
    """Closing path with its actions, one entry a session; ``shares`` is the product of ratios."""

    close: FloatArray
    dividend: FloatArray
    ratio: FloatArray
    shares: FloatArray


class _Event(NamedTuple):
    position: int
    kind: Literal["a year", "b split", "c dividend"]


def corporate_actions(
    seed: int,
    known: Company,
    days: NDArray[np.datetime64],
    returns: FloatArray,
    halted: NDArray[np.bool_],
) -> CorporateActions:
    """Closes of ``known`` over ``days``, given its log ``returns`` before any action."""
    habits = SPLIT_HABITS[known.market.key]
    path = np.cumsum(returns)
    walk = _Walk(seed, known, habits, path)
    for event in _events(seed, known, days, halted):
        walk.take(event)
    log_steps = np.zeros(len(days))
    log_steps[list(walk.steps)] = list(walk.steps.values())
    dividend, ratio = np.zeros(len(days)), np.ones(len(days))
    dividend[list(walk.dividends)] = list(walk.dividends.values())
    ratio[list(walk.ratios)] = list(walk.ratios.values())
    close = walk.start * np.exp(path + np.cumsum(log_steps))
    shares: FloatArray = np.cumprod(ratio, dtype=np.float64)
    return CorporateActions(close, dividend, ratio, shares)


class _Walk:
    """Goes through the events in order and keeps what they do to the price."""

    def __init__(self, seed: int, known: Company, habits: SplitHabits, path: FloatArray) -> None:
        low, high = INDEX_START if known.instrument_type == "INDEX" else habits.start
        symbol = known.symbol
        self.start = low * (high / low) ** fraction(seed, "start", symbol)
        self.steps: dict[int, float] = {}
        self.dividends: dict[int, float] = {}
        self.ratios: dict[int, float] = {}
        self._habits, self._path, self._offset = habits, path, 0.0
        self._is_korean = known.market.key == "kr"
        self._ceiling = between(*habits.ceiling, seed, "ceiling", symbol)
        self._yield = between(*YIELD, seed, "yield", symbol) / (1 if self._is_korean else 4)
        self._amount = self._declared(self.start)

    def take(self, event: _Event) -> None:
        price = self.start * float(np.exp(self._path[event.position - 1] + self._offset))
        if event.kind == "a year":
            self._amount = self._declared(price)
        elif event.kind == "b split":
            self._split(event.position, price)
        elif self._amount > 0:
            self.dividends[event.position] = self._amount
            self._step(event.position, float(np.log1p(-self._amount / price)))

    def _split(self, position: int, price: float) -> None:
        if price > self._ceiling:
            wanted = np.log(price / self._habits.target)
            ratio = min(self._habits.ratios, key=lambda r: abs(np.log(r) - wanted))
        elif price < self._habits.floor:
            ratio = MERGER_RATIO
        else:
            return
        self.ratios[position] = ratio
        self._amount = round(self._amount / ratio, 0 if self._is_korean else 4)
        self._step(position, float(-np.log(ratio)))

    def _step(self, position: int, step: float) -> None:
        self.steps[position] = self.steps.get(position, 0.0) + step
        self._offset += step

    def _declared(self, price: float) -> float:
        amount = price * self._yield
        return round(amount, -1) if self._is_korean else round(amount, 2)


def _events(
    seed: int, known: Company, days: NDArray[np.datetime64], halted: NDArray[np.bool_]
) -> list[_Event]:
    """Year ends, days on which a split may happen and ex-dates, in the order of their sessions."""
    events = [_Event(int(p) + 1, "a year") for p in np.flatnonzero(np.diff(_years(days)))]
    if known.symbol not in LISTED_ON and not known.is_fund:
        events += [_Event(p, "b split") for p in _split_days(seed, known, days)]
    if known.instrument_type != "INDEX" and (known.is_fund or _pays(seed, known)):
        events += [_Event(p, "c dividend") for p in _ex_dates(seed, known, days)]
    return sorted(event for event in events if not halted[event.position])


def _pays(seed: int, known: Company) -> bool:
    return fraction(seed, "pays", known.symbol) < (0.8 if known.market.key == "kr" else 0.5)


def _years(days: NDArray[np.datetime64]) -> NDArray[np.int64]:
    return days.astype("datetime64[Y]").astype(np.int64)


def _positions(days: NDArray[np.datetime64], wanted: list[np.datetime64]) -> list[int]:
    """Positions of the sessions on or after the ``wanted`` days, never the first session."""
    found = np.searchsorted(days, np.array(wanted, dtype="datetime64[D]"))
    return [int(position) for position in found if 0 < position < len(days)]


def _split_days(seed: int, known: Company, days: NDArray[np.datetime64]) -> list[int]:
    """Two days a year, in different quarters, on which a split takes effect if one is due."""
    wanted = []
    for year in range(int(_years(days)[0]) + 1970, int(_years(days)[-1]) + 1971):
        for half in (2, 8):
            offset = stable_hash(seed, "split day", known.symbol, year, half) % 100
            wanted.append(np.datetime64(f"{year}-{half:02d}-01") + offset)
    return _positions(days, wanted)


def _ex_dates(seed: int, known: Company, days: NDArray[np.datetime64]) -> list[int]:
    years = _years(days)
    if known.market.key == "kr":
        last_of_year = np.flatnonzero(np.diff(years))
        return [int(position) - 1 for position in last_of_year if position > 1]
    first_month = 1 + stable_hash(seed, "ex month", known.symbol) % 3
    wanted = []
    for year in range(int(years[0]) + 1970, int(years[-1]) + 1971):
        for month in range(first_month, 13, 3):
            offset = 4 + stable_hash(seed, "ex day", known.symbol, year, month) % 20
            wanted.append(np.datetime64(f"{year}-{month:02d}-01") + offset)
    return _positions(days, wanted)
