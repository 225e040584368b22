"""Pictures as inline SVG. What belongs here: canvas, colours, axes, thinning, the SVG text.

Does not belong here: what is drawn. matplotlib's object interface, no pyplot. Names that come from
data never enter a picture: titles and legends are text of the page, escaped there and readable at
any width. Colours become variables of the page's style, so that one picture suits light and dark.
The same drawing gives the same bytes.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.dates import AutoDateLocator, DateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from quant_assets.reports.formats import number

INK, MUTED, LINE, PAPER = "#1d2733", "#5d6975", "#dfe4e9", "#fdfdfe"
GAIN, LOSS, BENCHMARK = "#1f8a5b", "#c8473b", "#7d8791"
SERIES = (
    "#2f6fb3",
    "#d9902b",
    "#7b5ea8",
    "#1b8a9b",
    "#a4632e",
    "#c45f9d",
    "#6b7f2b",
    "#58a55c",
)
_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    LINE: "line",
    PAPER: "paper",
    GAIN: "gain",
    LOSS: "loss",
    BENCHMARK: "benchmark",
    **{colour: f"series-{place}" for place, colour in enumerate(SERIES, start=1)},
}
WIDTH, WIDE = 560, 760
FONT = 11
MOST_POINTS = 1_500
LONG_DAYS = 3 * 365
"""Calendar days beyond which prices and equity are drawn on a logarithmic scale."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 10, 26
_FEW_SESSIONS = 6


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of a legend: ``mark`` is line, dash, area, up or down."""

    label: str
    colour: str
    mark: str = "line"

    @property
    def variable(self) -> str:
        """Name of the colour's variable in the style of the page."""
        return _VARIABLES[self.colour]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture with its words, or the sentence ``instead`` of it."""

    title: str
    note: str = ""
    svg: Markup = field(default_factory=Markup)
    instead: str = ""
    keys: tuple[Key, ...] = ()
    is_wide: bool = False


def canvas(*, height: int = 236, width: int = WIDTH) -> tuple[Figure, Axes]:
    """An empty drawing of ``width`` by ``height`` units with room for the labels of its axes."""
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    FigureCanvasSVG(figure)
    inner = width - _LEFT - _RIGHT, height - _TOP - _BOTTOM
    axes = figure.add_axes(
        (_LEFT / width, _BOTTOM / height, inner[0] / width, inner[1] / height), xmargin=0.01
    )
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.tick_params(which="both", labelsize=FONT, length=0, pad=6, labelcolor=MUTED)
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def date_axis(axes: Axes, sessions: pd.DatetimeIndex) -> None:
    """Label the time axis, with at most seven dates so that they fit a telephone too."""
    if len(sessions) <= _FEW_SESSIONS:
        axes.set_xticks(_days(sessions))
    else:
        # matplotlib.dates carries no annotations, unlike the rest of matplotlib.
        axes.xaxis.set_major_locator(
            AutoDateLocator(minticks=3, maxticks=7, interval_multiples=True)  # type: ignore[no-untyped-call]
        )
    span = (sessions[-1] - sessions[0]).days
    form = "%Y" if span > 4 * 365 else "%b %Y" if span > 150 else "%d %b"
    axes.xaxis.set_major_formatter(DateFormatter(form))  # type: ignore[no-untyped-call]


def value_axis(axes: Axes, write: "Any", *, is_log: bool = False) -> None:
    """Label the value axis with about five round values, written by ``write``."""
    if is_log:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        many = high / low > 8
        axes.yaxis.set_major_locator(
            LogLocator(subs=(1.0, 2.0, 5.0)) if many else MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
        )
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))


def axis_percent(value: float) -> str:
    """A share of 1 as a label of an axis."""
    shown = round(100 * value, 6)
    decimals = next((n for n in range(3) if shown == round(shown, n)), 3)
    return number(shown, decimals) + "%"


def axis_ratio(value: float) -> str:
    """A plain number as a label of an axis."""
    decimals = next((n for n in range(3) if round(value, 6) == round(value, n)), 3)
    return number(value, decimals)


def is_long(sessions: pd.DatetimeIndex) -> bool:
    """Whether a range is drawn on a logarithmic scale."""
    return bool((sessions[-1] - sessions[0]).days > LONG_DAYS)


def draw_line(
    axes: Axes, values: pd.Series, colour: str, *, width: float = 1.2, is_dashed: bool = False
) -> None:
    """Draw a curve over its sessions, thinned to what the eye can tell."""
    kept = thinned(values)
    style = (0, (4.0, 2.5)) if is_dashed else "solid"
    axes.plot(
        _days(kept.index), kept.to_numpy(np.float64), color=colour, linewidth=width, linestyle=style
    )


def draw_curves(
    axes: Axes,
    curves: pd.DataFrame,
    drawn: Sequence[str],
    benchmark: pd.Series | None,
    *,
    first_width: float = 2.0,
) -> None:
    """Draw strategies in their colours, the first one on top of the others, and the benchmark."""
    if benchmark is not None:
        draw_line(axes, benchmark, BENCHMARK, width=1.4, is_dashed=True)
    for place, name in reversed(list(enumerate(drawn))):
        draw_line(axes, curves[name], SERIES[place], width=1.1 if place else first_width)


def thinned(values: pd.Series, most: int = MOST_POINTS) -> pd.Series:
    """At most ``most`` points of a curve: its ends, the lowest and highest of each stretch.

    A stretch with a missing value keeps its first one, so that a gap stays a gap.
    """
    if len(values) <= most:
        return values
    numbers = values.to_numpy(np.float64)
    edges = np.linspace(0, len(values), (most - 2) // 3 + 1).astype(np.int64)
    kept = {0, len(values) - 1}
    for begin, end in pairwise(edges.tolist()):
        part = numbers[begin:end]
        is_gap = np.isnan(part)
        if is_gap.any():
            kept.add(begin + int(is_gap.argmax()))
        if not is_gap.all():
            kept |= {begin + int(np.nanargmin(part)), begin + int(np.nanargmax(part))}
    return values.iloc[sorted(kept)]


def svg_of(figure: Figure, name: str, told: str) -> Markup:
    """The drawing as an ``svg`` element; ``name`` keeps its ids apart from those of others.

    ``told`` is what a screen reader says. The parameters of matplotlib that make ids and text are
    global; they are set for the moment of writing.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    width, height = (round(size * 72) for size in figure.get_size_inches())
    body = text[text.index(">", text.index("<svg")) + 1 :]
    for pattern, replacement in _TIDY:
        body = pattern.sub(replacement, body)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', body))
    body = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", body)
    body = re.sub(r"#[0-9a-f]{6}", _variable, body)
    head = f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="'
    return Markup(head) + escape(told) + Markup('">' + body.strip())


_TIDY = tuple(
    (re.compile(pattern, re.DOTALL), replacement)
    for pattern, replacement in (
        (r"<!--.*?-->", ""),
        (r"<defs>\s*<style.*?</style>\s*</defs>", ""),
        ("xlink:href", "href"),
        (r"(\d\.\d\d)\d+", r"\1"),
        (r"font-family: [^;\"]*(; )?", ""),
        (r"\s*\n\s*", " "),
        ("> <", "><"),
    )
)


def _variable(match: "re.Match[str]") -> str:
    name = _VARIABLES.get(match[0])
    return match[0] if name is None else f"var(--{name})"


def _days(sessions: Any) -> Any:
    return pd.DatetimeIndex(sessions).to_numpy()
