"""Simulated statistics with their releases and revisions. What belongs here: ALFRED's rows.

A series is a table of (observation date, first day of validity, value). A first release carries
errors; each revision removes one of them, on the day on which that statistic is really revised.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import time
from functools import lru_cache
from typing import Literal, NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quant_assets.sandbox import releases
from quant_assets.sandbox.cycle import GRID_END, GRID_START, FloatArray, business_cycle
from quant_assets.sandbox.macro_paths import MacroPaths, period_means
from quant_assets.sandbox.randomness import generator
from quant_assets.sandbox.releases import Days

Frequency = Literal["Daily", "Weekly", "Monthly", "Quarterly"]
MISSING = "."


@dataclass(frozen=True)
class VintageSeries:
    """All rows of a series, by observation date, then by vintage; ``visible_at`` is Unix time."""

    series_id: str
    title: str
    units: str
    frequency: Frequency
    dates: Days
    realtime_start: Days
    visible_at: NDArray[np.int64]
    values: tuple[str, ...]


class MacroSource(Protocol):
    """Where statistics come from."""

    def series(self, series_id: str) -> VintageSeries | None:
        """The series with every row, past and future; ``None`` for an unknown series."""
        ...

    def series_ids(self) -> tuple[str, ...]:
        """Every known series."""
        ...


class Revision(NamedTuple):
    """An error of the given relative size, in the values until the day ``when`` gives."""

    size: float
    when: Callable[[Days, Days], Days]


class Statistic(NamedTuple):
    """How a simulated series is measured and published."""

    title: str
    units: str
    path: Callable[[MacroPaths], FloatArray]
    decimals: int
    frequency: Frequency
    released: Callable[[Days], Days]
    hour: time
    revisions: tuple[Revision, ...] = ()
    unit: float = 1.0


def _later_release(count: int) -> Callable[[Days, Days], Days]:
    """The error lasts until the ``count``-th release after the first."""

    def when(_: Days, first: Days) -> Days:
        last = np.repeat(first[-1:], count)
        return np.concatenate((first[count:], last)) if count < len(first) else last

    return when


def _yearly(month: int, day: int) -> Callable[[Days, Days], Days]:
    def when(_: Days, first: Days) -> Days:
        return releases.annual_revision(first, month, day)

    return when


def _month(months: int, day: int) -> Callable[[Days], Days]:
    def released(periods: Days) -> Days:
        return releases.day_of_later_month(periods, months, day)

    return released


def _quarter_estimate(months: int) -> Callable[[Days, Days], Days]:
    def when(periods: Days, _: Days) -> Days:
        return releases.day_of_later_month(periods, months, 26)

    return when


_H15, _MORNING, _NINE = time(15, 16), time(7, 31), time(9, 0)
_NEXT = releases.next_business_day
_PERCENT = "Percent"
_GDP = (
    Revision(0.0035, _quarter_estimate(4)),
    Revision(0.0015, _quarter_estimate(5)),
    Revision(0.0060, _yearly(9, 26)),
)
STATISTICS: dict[str, Statistic] = {
    "DGS10": Statistic(
        "Market Yield on U.S. Treasury Securities at 10-Year Constant Maturity",
        _PERCENT, lambda p: p.ten_year, 2, "Daily", _NEXT, _H15,
    ),
    "DGS2": Statistic(
        "Market Yield on U.S. Treasury Securities at 2-Year Constant Maturity",
        _PERCENT, lambda p: p.two_year, 2, "Daily", _NEXT, _H15,
    ),
    "DGS3MO": Statistic(
        "Market Yield on U.S. Treasury Securities at 3-Month Constant Maturity",
        _PERCENT, lambda p: p.bill_rate, 2, "Daily", _NEXT, _H15,
    ),
    "T10Y2Y": Statistic(
        "10-Year Treasury Constant Maturity Minus 2-Year Treasury Constant Maturity",
        _PERCENT, lambda p: np.round(p.ten_year, 2) - np.round(p.two_year, 2), 2, "Daily",
        _NEXT, _H15,
    ),
    "VIXCLS": Statistic(
        "CBOE Volatility Index: VIX", "Index", lambda p: p.volatility_index, 2, "Daily",
        _NEXT, time(8, 36),
    ),
    "BAA10Y": Statistic(
        "Moody's Seasoned Baa Corporate Bond Yield Relative to 10-Year Treasury",
        _PERCENT, lambda p: p.credit_spread, 2, "Daily", _NEXT, _H15,
    ),
    "DEXKOUS": Statistic(
        "South Korean Won to U.S. Dollar Spot Exchange Rate",
        "South Korean Won to One U.S. Dollar", lambda p: p.won_per_dollar, 2, "Daily", _NEXT, _H15,
    ),
    "ICSA": Statistic(
        "Initial Claims", "Number", lambda p: p.initial_claims, 0, "Weekly",
        releases.thursday_after, _MORNING, (Revision(0.008, _later_release(1)),), 1000.0,
    ),
    "CPIAUCSL": Statistic(
        "Consumer Price Index for All Urban Consumers: All Items in U.S. City Average",
        "Index 1982-1984=100", lambda p: p.consumer_prices, 3, "Monthly", _month(1, 12),
        _MORNING, (Revision(0.0003, _yearly(2, 12)),),
    ),
    "UNRATE": Statistic(
        "Unemployment Rate", _PERCENT, lambda p: p.unemployment, 1, "Monthly",
        releases.first_friday_of_next_month, _MORNING,
    ),
    "PAYEMS": Statistic(
        "All Employees, Total Nonfarm", "Thousands of Persons", lambda p: p.employment, 0,
        "Monthly", releases.first_friday_of_next_month, _MORNING,
        (
            Revision(0.00025, _later_release(1)),
            Revision(0.00012, _later_release(2)),
            Revision(0.0006, _yearly(2, 2)),
        ),
    ),
    "INDPRO": Statistic(
        "Industrial Production: Total Index", "Index 2017=100",
        lambda p: p.industrial_production, 4, "Monthly", _month(1, 16), time(8, 18),
        (
            Revision(0.0020, _later_release(1)),
            Revision(0.0012, _later_release(2)),
            Revision(0.0008, _later_release(3)),
            Revision(0.0050, _yearly(6, 18)),
        ),
    ),
    "FEDFUNDS": Statistic(
        "Federal Funds Effective Rate", _PERCENT, lambda p: p.funds_rate, 2, "Monthly",
        _month(1, 1), _H15,
    ),
    "UMCSENT": Statistic(
        "University of Michigan: Consumer Sentiment", "Index 1966:Q1=100",
        lambda p: p.sentiment, 1, "Monthly", _month(1, 10), _NINE,
    ),
    "GDP": Statistic(
        "Gross Domestic Product", "Billions of Dollars", lambda p: p.output, 3, "Quarterly",
        _month(3, 28), _MORNING, _GDP,
    ),
    "GDPC1": Statistic(
        "Real Gross Domestic Product", "Billions of Chained 2017 Dollars",
        lambda p: p.real_output, 3, "Quarterly", _month(3, 28), _MORNING, _GDP,
    ),
    "IRLTLT01KRM156N": Statistic(
        "Interest Rates: Long-Term Government Bond Yields: 10-Year for Republic of Korea",
        _PERCENT, lambda p: p.korean_yield, 2, "Monthly", _month(1, 15), _NINE,
    ),
}  # fmt: skip


class SimulatedMacro:
    """The simulated statistics of one seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._paths = MacroPaths(business_cycle(seed))
        self.series = lru_cache(maxsize=None)(self._series)

    def series_ids(self) -> tuple[str, ...]:
        """Every simulated series."""
        return tuple(STATISTICS)

    def _series(self, series_id: str) -> VintageSeries | None:
        statistic = STATISTICS.get(series_id)
        if statistic is None:
            return None
        dates, true = _observations(statistic, self._paths)
        first = statistic.released(dates)
        ends, errors = self._errors(series_id, statistic, dates, first)
        starts = np.sort(np.stack([first, *ends], axis=1), axis=1)
        columns = []
        for column in starts.T:
            left = np.zeros(len(dates))
            for end, error in zip(ends, errors, strict=True):
                left += np.where(end > column, error, 0.0)
            columns.append(_texts(true * (1.0 + left), statistic))
        return _without_repeats(series_id, statistic, dates, starts, columns)

    def _errors(
        self, series_id: str, statistic: Statistic, dates: Days, first: Days
    ) -> tuple[list[Days], list[FloatArray]]:
        """For each revision, the day that removes its error and the relative error, by period."""
        ends, errors = [], []
        for number, revision in enumerate(statistic.revisions):
            rng = generator(self._seed, "revision", series_id, number)
            ends.append(np.maximum(revision.when(dates, first), first))
            errors.append(revision.size * rng.standard_normal(len(dates)))
        return ends, errors


def _observations(statistic: Statistic, paths: MacroPaths) -> tuple[Days, FloatArray]:
    """Observation dates and true values; NaN on a federal holiday of a daily series."""
    path = statistic.path(paths)
    grid = np.arange(np.datetime64(GRID_START), np.datetime64(GRID_END) + 1)
    if statistic.frequency == "Daily":
        is_weekday = np.is_busday(grid)
        is_open = np.is_busday(grid, busdaycal=releases.business_calendar())
        return grid[is_weekday], np.where(is_open, path, np.nan)[is_weekday]
    if statistic.frequency == "Weekly":
        total = np.concatenate(([0.0], np.cumsum(path)))
        saturday = np.flatnonzero(np.is_busday(grid, weekmask="Sat"))
        saturday = saturday[saturday >= 6]
        return grid[saturday], (total[saturday + 1] - total[saturday - 6]) / 7.0
    means = period_means(path, "MS" if statistic.frequency == "Monthly" else "QS")
    return means.index.to_numpy().astype("datetime64[D]"), means.to_numpy(dtype=np.float64)


def _texts(values: FloatArray, statistic: Statistic) -> list[str]:
    rounded = np.round(values / statistic.unit) * statistic.unit if statistic.unit != 1 else values
    places = statistic.decimals
    return [MISSING if np.isnan(value) else f"{value:.{places}f}" for value in rounded]


def _without_repeats(
    series_id: str,
    statistic: Statistic,
    dates: Days,
    starts: NDArray[np.datetime64],
    columns: list[list[str]],
) -> VintageSeries:
    """Rows of a series, without revisions that change nothing."""
    kept_dates, kept_starts, kept_values = [], [], []
    for row, day in enumerate(dates):
        previous = None
        for start, texts in zip(starts[row], columns, strict=True):
            if texts[row] != previous:
                kept_dates.append(day)
                kept_starts.append(start)
                kept_values.append(texts[row])
                previous = texts[row]
    realtime_start = np.array(kept_starts, dtype="datetime64[D]")
    return VintageSeries(
        series_id=series_id,
        title=statistic.title,
        units=statistic.units,
        frequency=statistic.frequency,
        dates=np.array(kept_dates, dtype="datetime64[D]"),
        realtime_start=realtime_start,
        visible_at=visible_at(realtime_start, statistic.hour),
        values=tuple(kept_values),
    )


def visible_at(days: Days, hour: time) -> NDArray[np.int64]:
    """Unix time of ``hour`` in St. Louis on each of ``days``."""
    local = pd.DatetimeIndex(days.astype("datetime64[s]")) + pd.Timedelta(
        hours=hour.hour, minutes=hour.minute
    )
    utc = local.tz_localize("America/Chicago").tz_convert("UTC").tz_localize(None)
    return utc.to_numpy().astype("datetime64[s]").astype(np.int64)
