"""Pictures over time: equity, drawdown, rolling figures, exposure. No picture of single returns.

Each function takes an evaluation and what of it is shown, and returns ``Picture``s; where there is
nothing to draw they say why.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from quant_assets.domain.performance_drawdowns import underwater
from quant_assets.domain.performance_periods import (
    rolling_beta,
    rolling_sharpe,
    rolling_volatility,
)
from quant_assets.reports.canvas import (
    BENCHMARK,
    INK,
    LOSS,
    MUTED,
    SERIES,
    WIDE,
    Key,
    Picture,
    axis_percent,
    axis_ratio,
    canvas,
    date_axis,
    draw_curves,
    draw_line,
    is_long,
    svg_of,
    thinned,
    value_axis,
)
from quant_assets.reports.formats import Formats
from quant_assets.reports.shown import Shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from quant_assets.domain.evaluation import Evaluation

ROLLING_SESSIONS = 126
TOO_FEW = "There are too few sessions for a curve."


def curve_keys(shown: Shown) -> tuple[Key, ...]:
    """The legend of all pictures that draw every drawn strategy and the benchmark."""
    keys = [Key(name, SERIES[place]) for place, name in enumerate(shown.drawn)]
    if shown.has_benchmark:
        keys.append(Key(shown.benchmark_name, BENCHMARK, "dash"))
    return tuple(keys)


def equity_picture(evaluation: "Evaluation", shown: Shown, formats: Formats) -> Picture:
    """Equity of the drawn strategies; the benchmark begins with the capital of the first one."""
    title = "Equity"
    curves = evaluation.equity[list(shown.drawn)]
    sessions = pd.DatetimeIndex(curves.index)
    if len(sessions) < 2:
        return Picture(title=title, instead=TOO_FEW, is_wide=True)
    benchmark = _benchmark_equity(evaluation, shown)
    is_log = is_long(sessions)
    if is_log:
        curves = curves.where(curves > 0.0)
        benchmark = None if benchmark is None else benchmark.where(benchmark > 0.0)
    figure, axes = canvas(height=270, width=WIDE)
    draw_curves(axes, curves, shown.drawn, benchmark)
    is_drawn = bool(curves.notna().any(axis=None))
    if not is_drawn:
        return Picture(title=title, instead="The equity is 0 in every session.", is_wide=True)
    date_axis(axes, sessions)
    value_axis(axes, formats.axis, is_log=is_log)
    scale = "logarithmic scale" if is_log else "linear scale"
    return Picture(
        title=title,
        note=f"At the close of each session, {scale}. The benchmark begins with the same capital.",
        svg=svg_of(figure, "equity", "Equity of the strategies and the benchmark over time"),
        keys=curve_keys(shown),
        is_wide=True,
    )


def drawdown_picture(evaluation: "Evaluation", shown: Shown, worst: pd.DataFrame) -> Picture:
    """How far the first strategy is below its peak; ``worst``: its rows of ``worst_drawdowns``."""
    title = "Drawdown"
    returns = evaluation.returns[[shown.first]]
    sessions = pd.DatetimeIndex(returns.index)
    if len(sessions) < 2:
        return Picture(title=title, instead=TOO_FEW, is_wide=True)
    if worst.empty:
        instead = f"{shown.first} never closed below its peak."
        return Picture(title=title, instead=instead, is_wide=True)
    depth = underwater(returns)[shown.first]
    figure, axes = canvas(height=190, width=WIDE)
    _mark_worst(axes, worst, sessions)
    kept = thinned(depth)
    days = pd.DatetimeIndex(kept.index).to_numpy()
    axes.fill_between(days, kept.to_numpy(np.float64), color=LOSS, alpha=0.22, linewidth=0)
    axes.plot(days, kept.to_numpy(np.float64), color=LOSS, linewidth=1.2)
    keys = [Key(shown.first, LOSS)]
    if shown.has_benchmark:
        against = underwater(shown.benchmark.to_frame())[shown.benchmark_name]
        draw_line(axes, against, BENCHMARK, width=1.1, is_dashed=True)
        keys.append(Key(shown.benchmark_name, BENCHMARK, "dash"))
    axes.set_ylim(top=0.0, bottom=1.12 * axes.get_ylim()[0])
    date_axis(axes, sessions)
    value_axis(axes, axis_percent)
    return Picture(
        title=title,
        note="Fall from the highest equity so far. The shaded spans are the worst, by number.",
        svg=svg_of(figure, "drawdown", "Drawdown of the first strategy over time"),
        keys=tuple(keys),
        is_wide=True,
    )


def rolling_pictures(evaluation: "Evaluation", shown: Shown) -> list[Picture]:
    """Sharpe ratio, volatility and beta over a moving window."""
    returns = evaluation.returns[list(shown.drawn)]
    window = min(ROLLING_SESSIONS, len(returns) // 3)
    titles = ("Rolling Sharpe ratio", "Rolling volatility", "Rolling beta")
    if window < 2:
        instead = f"A moving window takes six returns; the range has {len(returns)}."
        return [Picture(title=title, instead=instead) for title in titles]
    market = shown.benchmark.to_frame()
    sharpe = rolling_sharpe(returns, window), rolling_sharpe(market, window)
    spread = rolling_volatility(returns, window), rolling_volatility(market, window)
    beta = rolling_beta(returns, shown.benchmark, window) if shown.has_benchmark else None
    note = f"Window of {window} sessions."
    flat = "The returns of no window have a deviation."
    return [
        _rolling(titles[0], sharpe[0], shown, _only(sharpe[1]), flat, note, level=0.0),
        _rolling(titles[1], spread[0], shown, _only(spread[1]), flat, note),
        Picture(title=titles[2], instead="There is no benchmark to compare with.")
        if beta is None
        else _rolling(
            titles[2],
            beta,
            shown,
            None,
            f"No window of {window} sessions has a beta: the benchmark is too short or flat.",
            f"{note[:-1]}, against {shown.benchmark_name}.",
            level=1.0,
        ),
    ]


def exposure_picture(evaluation: "Evaluation", shown: Shown) -> Picture:
    """Value of the positions by equity."""
    title = "Exposure"
    exposure = evaluation.exposure[list(shown.drawn)]
    sessions = pd.DatetimeIndex(exposure.index)
    if len(sessions) < 2:
        return Picture(title=title, instead=TOO_FEW)
    if not (exposure > 0.0).any(axis=None):
        return Picture(title=title, instead="No strategy held a position at any close.")
    figure, axes = canvas()
    draw_curves(axes, exposure, shown.drawn, None, first_width=1.2)
    axes.set_ylim(bottom=0.0, top=max(1.05, 1.05 * float(np.nanmax(exposure.to_numpy()))))
    date_axis(axes, sessions)
    value_axis(axes, axis_percent)
    return Picture(
        title=title,
        note="Value of the positions as a share of the equity, at the close.",
        svg=svg_of(figure, "exposure", "Exposure of the strategies over time"),
    )


def _benchmark_equity(evaluation: "Evaluation", shown: Shown) -> pd.Series | None:
    """The benchmark as an investment of the capital with which the first strategy began."""
    if not shown.has_benchmark:
        return None
    returns = evaluation.returns[shown.first]
    equity = evaluation.equity[shown.first].reindex(returns.index)
    begun = equity.notna() & returns.notna() & (returns > -1.0)
    if not begun.any():
        return None
    first: Any = begun.idxmax()
    capital = float(equity[first] / (1.0 + returns[first]))
    if not capital > 0.0:
        return None
    later = shown.benchmark[shown.benchmark.index >= first]
    grown: pd.Series = capital * (1.0 + later).cumprod()
    return grown


def _mark_worst(axes: "Axes", worst: pd.DataFrame, sessions: pd.DatetimeIndex) -> None:
    episodes: Any = worst.itertuples()
    for episode in episodes:
        recovered = episode.recovery_date
        until = sessions[-1] if pd.isna(recovered) else pd.Timestamp(recovered)
        begin = max(pd.Timestamp(episode.peak_date), sessions[0])
        span: Any = (begin.to_datetime64(), until.to_datetime64())
        trough: Any = (pd.Timestamp(episode.trough_date).to_datetime64(), episode.depth)
        axes.axvspan(*span, color=MUTED, alpha=0.09, linewidth=0)
        axes.annotate(
            str(episode.rank),
            trough,
            xytext=(0, -12),
            textcoords="offset points",
            ha="center",
            color=INK,
            fontsize=11,
        )


def _rolling(
    title: str,
    values: pd.DataFrame,
    shown: Shown,
    benchmark: pd.Series | None,
    instead: str,
    note: str,
    *,
    level: float | None = None,
) -> Picture:
    if not values.notna().any(axis=None):
        return Picture(title=title, instead=instead)
    figure, axes = canvas()
    if level is not None:
        axes.axhline(level, color=MUTED, linewidth=0.8)
    draw_curves(axes, values, shown.drawn, benchmark)
    date_axis(axes, pd.DatetimeIndex(values.index))
    value_axis(axes, axis_percent if "volatility" in title else axis_ratio)
    name = title.lower().replace(" ", "-")
    return Picture(title=title, note=note, svg=svg_of(figure, name, f"{title} over time"))


def _only(values: pd.DataFrame) -> pd.Series | None:
    """The one column of a frame, None without a value."""
    column = values.iloc[:, 0]
    return column if column.notna().any() else None
