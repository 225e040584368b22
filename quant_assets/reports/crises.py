"""Market stress: dated windows, and what the first strategy did in each beside the benchmark.

Belongs here: the windows and their small curves. Does not belong here: drawdowns of the strategy
itself. A window goes from the close of the index's peak to that of its low (S&P 500, or KOSPI where
it is Korea's own), so its first return is that of the session after the peak.
"""

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from markupsafe import Markup

from quant_assets.domain.performance import return_figures
from quant_assets.domain.performance_drawdowns import max_drawdowns
from quant_assets.reports.canvas import thinned
from quant_assets.reports.formats import day, percent, tone
from quant_assets.reports.shown import Shown

if TYPE_CHECKING:
    from quant_assets.domain.evaluation import Evaluation


@dataclass(frozen=True, slots=True)
class Crisis:
    """A stretch of market stress, from the peak to the low; ``market`` if it was only one's own."""

    name: str
    peak: date
    low: date
    market: str | None = None


CRISES = (
    Crisis("Dot-com bust", date(2000, 3, 24), date(2002, 10, 9)),
    Crisis("Global financial crisis", date(2007, 10, 9), date(2009, 3, 9)),
    Crisis("Greece and the flash crash", date(2010, 4, 23), date(2010, 7, 2)),
    Crisis("US downgrade, euro crisis", date(2011, 7, 22), date(2011, 10, 3)),
    Crisis("China and oil", date(2015, 7, 20), date(2016, 2, 11)),
    Crisis("Volatility spike of 2018", date(2018, 1, 26), date(2018, 2, 8)),
    Crisis("Fourth quarter of 2018", date(2018, 9, 20), date(2018, 12, 24)),
    Crisis("Covid-19", date(2020, 2, 19), date(2020, 3, 23)),
    Crisis("Inflation and rate rises", date(2022, 1, 3), date(2022, 10, 12)),
    Crisis("Higher for longer", date(2023, 7, 31), date(2023, 10, 27)),
    Crisis("Unwinding of the yen carry", date(2024, 7, 16), date(2024, 8, 5)),
    Crisis("Martial law in Korea", date(2024, 12, 3), date(2024, 12, 9), "kr"),
    Crisis("Tariffs", date(2025, 2, 19), date(2025, 4, 8)),
)
_BOX = (240, 64)
_STYLES = {"benchmark": "dash"}
_MOST_POINTS = 160
_LONGEST_WEEKEND = 4
"""Calendar days from a session to the next one, at most."""


@dataclass(frozen=True, slots=True)
class Line:
    """Return and maximum drawdown of one curve inside a window, as text."""

    label: str
    mark: str
    total: str
    tone: str
    drawdown: str


@dataclass(frozen=True, slots=True)
class CrisisCard:
    """A window as the page shows it; ``span`` are the sessions that the range has of it."""

    name: str
    span: str
    note: str
    svg: Markup
    lines: tuple[Line, ...]


def crisis_cards(evaluation: "Evaluation", shown: Shown) -> list[CrisisCard]:
    """The windows that lie wholly or partly inside the range of the first strategy."""
    own = evaluation.returns[shown.first].dropna()
    benchmark = shown.benchmark[shown.benchmark.index >= own.index.min()]
    curves = [(own, "series-1"), (benchmark, "benchmark")]
    cards = []
    for crisis in CRISES:
        if crisis.market not in (None, evaluation.market):
            continue
        parts = [(_inside(returns, crisis), mark) for returns, mark in curves]
        inside = parts[0][0]
        if inside.empty:
            continue
        cards.append(
            CrisisCard(
                name=crisis.name,
                span=f"{day(inside.index[0])} to {day(inside.index[-1])}",
                note=_note(crisis, own.index, len(inside)),
                svg=_sparkline(parts),
                lines=tuple(_line(part, mark) for part, mark in parts if not part.empty),
            )
        )
    return cards


def _inside(returns: pd.Series, crisis: Crisis) -> pd.Series:
    days = returns.index
    return returns[(days > pd.Timestamp(crisis.peak)) & (days <= pd.Timestamp(crisis.low))]


def _note(crisis: Crisis, sessions: pd.Index, count: int) -> str:
    """How many sessions of the window the range has, and whether it begins or ends inside it."""
    late = (sessions[0].date() - crisis.peak).days > _LONGEST_WEEKEND
    is_part = late or sessions[-1].date() < crisis.low
    part = f", part of {crisis.peak} to {crisis.low}" if is_part else ""
    return f"{count} session{'' if count == 1 else 's'}{part}"


def _line(returns: pd.Series, mark: str) -> Line:
    frame = returns.to_frame()
    total = float(return_figures(frame)["total_return"].iloc[0])
    depth = float(max_drawdowns(frame)["max_drawdown"].iloc[0])
    return Line(
        label=str(returns.name),
        mark=mark,
        total=percent(total, 1, signed=True),
        tone=tone("return", total),
        drawdown=percent(depth, 1),
    )


def _sparkline(parts: list[tuple[pd.Series, str]]) -> Markup:
    """Curves from 1 at the peak on one scale, as a bare ``svg``: no axis, the figures stand by."""
    curves = [
        (thinned(pd.Series(np.append(1.0, (1.0 + part).cumprod())), _MOST_POINTS), mark)
        for part, mark in parts
        if not part.empty
    ]
    low = min(float(curve.min()) for curve, _ in curves)
    high = max(float(curve.max()) for curve, _ in curves)
    last = max(int(curve.index[-1]) for curve, _ in curves)
    width, height = _BOX

    def place(value: float) -> float:
        return 3 + (height - 6) * (high - value) / ((high - low) or 1.0)

    lines = [f'<path class="spark level" d="M0 {place(1.0):.1f}H{width}"/>']
    for curve, mark in reversed(curves):
        points = " ".join(
            f"{width * int(at) / last:.1f} {place(float(value)):.1f}" for at, value in curve.items()
        )
        style = f'class="spark {_STYLES.get(mark, "")}" style="stroke:var(--{mark})"'
        lines.append(f'<path {style} d="M{points}"/>')
    head = f'<svg class="chart" viewBox="0 0 {width} {height}" aria-hidden="true">'
    return Markup(head + "".join(lines) + "</svg>")
