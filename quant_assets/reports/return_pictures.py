"""Pictures of returns by period and by size: months, years, distribution. No curve over time."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from quant_assets.domain.performance_periods import month_table, yearly_returns
from quant_assets.reports.canvas import (
    BENCHMARK,
    GAIN,
    INK,
    LOSS,
    MUTED,
    SERIES,
    Key,
    Picture,
    axis_percent,
    canvas,
    svg_of,
    value_axis,
)
from quant_assets.reports.formats import is_missing, percent, tone
from quant_assets.reports.shown import Shown

if TYPE_CHECKING:
    from quant_assets.domain.evaluation import Evaluation

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MOST_BARS = 3
"""Strategies beside the benchmark in a year: more bars are too thin."""
_FEW_YEARS = 3
"""Fewer years do not fill the width: their bars would be slabs."""
_MOST_BINS = 60
_FULL_COLOUR = 0.9
"""Quantile of the sizes of the months from which on a cell has its full colour."""


@dataclass(frozen=True, slots=True)
class HeatCell:
    """One month: its text, colour (gain, loss or none) and depth of colour, 0 to 1."""

    text: str
    tone: str
    depth: float
    told: str


@dataclass(frozen=True, slots=True)
class HeatRow:
    """One year of months, and the year as a whole."""

    year: str
    cells: tuple[HeatCell, ...]
    total: HeatCell


def heat_map(evaluation: "Evaluation", shown: Shown) -> tuple[HeatRow, ...]:
    """Months of the first strategy, one row a year, the newest first."""
    returns = evaluation.returns[shown.first].dropna()
    if returns.empty:
        return ()
    table = month_table(returns)
    sizes = table[list(range(1, 13))].abs().to_numpy(np.float64)
    full = float(np.nanquantile(sizes, _FULL_COLOUR)) if np.isfinite(sizes).any() else 0.0

    def cell(value: float, when: str) -> HeatCell:
        if is_missing(value):
            return HeatCell("", "", 0.0, "")
        depth = min(1.0, abs(value) / full) if full > 0.0 else 0.0
        told = f"{when}: {percent(value, signed=True)}"
        return HeatCell(percent(value, 1)[:-1], tone("return", value), round(depth, 2), told)

    return tuple(
        HeatRow(
            str(year),
            tuple(cell(row[n], f"{MONTHS[n - 1]} {year}") for n in range(1, 13)),
            cell(row["year"], str(year)),
        )
        for year, row in table[::-1].iterrows()
    )


def yearly_picture(evaluation: "Evaluation", shown: Shown) -> Picture:
    """Years of the strategies beside those of the benchmark."""
    title = "Years"
    names = shown.drawn[:_MOST_BARS]
    bars = [(name, SERIES[place]) for place, name in enumerate(names)]
    years = yearly_returns(evaluation.returns[list(names)])
    if years.empty:
        return Picture(title=title, instead="There are too few sessions for a return.")
    if shown.has_benchmark:
        bars.append((shown.benchmark_name, BENCHMARK))
        against = yearly_returns(shown.benchmark.to_frame()).iloc[:, 0].reindex(years.index)
        columns = [*(years[name] for name in names), against]
    else:
        columns = [years[name] for name in names]
    figure, axes = canvas()
    thickness = 0.8 / len(bars)
    for place, (values, (_, colour)) in enumerate(zip(columns, bars, strict=True)):
        at = np.arange(len(years)) + (place - (len(bars) - 1) / 2) * thickness
        axes.bar(at, values.fillna(0.0).to_numpy(np.float64), thickness * 0.9, color=colour)
    axes.axhline(0.0, color=MUTED, linewidth=0.8)
    step = -(-len(years) // 12)
    places = np.arange(0, len(years), step)
    axes.set_xticks(places, [str(year) for year in pd.PeriodIndex(years.index).year[places]])
    room = max(0.0, (_FEW_YEARS - len(years)) / 2)
    axes.set_xlim(-0.7 - room, len(years) - 0.3 + room)
    value_axis(axes, axis_percent)
    return Picture(
        title=title,
        note="Compounded return; the first and the last year as far as the range reaches.",
        svg=svg_of(figure, "years", "Returns by year of the strategies and the benchmark"),
        keys=tuple(Key(name, colour, "area") for name, colour in bars),
    )


def distribution_picture(evaluation: "Evaluation", shown: Shown) -> Picture:
    """Histogram of the returns of the first strategy with its values at risk."""
    title = "Distribution of returns"
    returns = evaluation.returns[shown.first].dropna().to_numpy(np.float64)
    if len(returns) < 2:
        return Picture(title=title, instead="It takes two returns to have a distribution.")
    if np.ptp(returns) == 0.0:
        instead = f"All {len(returns)} returns are {percent(returns[0], signed=True)}."
        return Picture(title=title, instead=instead)
    bins = int(min(_MOST_BINS, max(8, 2 * len(returns) ** 0.5)))
    counts, edges = np.histogram(returns, bins)
    figure, axes = canvas()
    middles = (edges[1:] + edges[:-1]) / 2
    colours = np.where(edges[1:] <= 0.0, LOSS, np.where(edges[:-1] >= 0.0, GAIN, MUTED)).tolist()
    axes.bar(middles, counts, np.diff(edges) * 0.88, color=colours, alpha=0.75)
    axes.margins(y=0.2)
    # Room for the words at the left of the lines.
    axes.set_xlim(left=edges[0] - 0.16 * np.ptp(edges))
    figures: Any = evaluation.figures.loc[shown.first].to_dict()
    for level, height in ((95, 0.97), (99, 0.86)):
        risk = figures.get(f"value_at_risk_{level}")
        if is_missing(risk):
            continue
        dashes = (0, (3.0, 2.0))
        axes.axvline(-risk, ymax=height, color=INK, linewidth=1.0, linestyle=dashes)
        axes.annotate(
            f"VaR {level}%",
            (-risk, height),
            xycoords=("data", "axes fraction"),
            xytext=(-5, 0),
            textcoords="offset points",
            ha="right",
            va="top",
            color=INK,
            fontsize=11,
        )
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(lambda value, _: axis_percent(value))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    return Picture(
        title=title,
        note="Sessions by return. A value at risk is the loss that 5% or 1% of them exceed.",
        svg=svg_of(figure, "distribution", "Histogram of the returns of the first strategy"),
    )
