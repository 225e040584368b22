"""Pictures and tables for the UI. What belongs here: DataFrames → Markdown metadata, nothing else.

matplotlib's object interface on a canvas without a window; no global state, no pyplot. Each
picture is a PNG inside the Markdown, about 20 kB, so that it needs no file server.
"""

import base64
import io
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from quant_assets.assets.common import markdown_table

BLUE, GREEN, RED, AMBER, GREY = "#2f6fb2", "#2a9d63", "#c8473a", "#d99a2b", "#9aa3ad"
LABEL_COLOURS = {
    "STRONG_SELL": "#9c2a20",
    "SELL": "#dd7a6f",
    "HOLD": GREY,
    "BUY": "#79c29d",
    "STRONG_BUY": "#1f7a4c",
}
PICTURE_PREFIX = "![picture](data:image/png;base64,"


def recommendation_table(frame: pd.DataFrame) -> dg.MarkdownMetadataValue:
    """The recommendations of one session, best first."""
    columns = [
        "symbol",
        "label",
        "combined_score",
        "technical_score",
        "sentiment_score",
        "sentiment_status",
        "reason",
    ]
    ordered = frame.sort_values("combined_score", ascending=False, kind="stable")[columns]
    return markdown_table(columns, ordered.fillna({"label": "", "reason": ""}).to_numpy().tolist())


def recommendation_picture(market: str, frame: pd.DataFrame) -> dg.MarkdownMetadataValue:
    """Combined score of every symbol of one session as bars, coloured by label."""
    scored = frame.dropna(subset=["combined_score"]).sort_values("combined_score", kind="stable")
    if scored.empty:
        return _words("No symbol has a combined score in this session.")
    scored = scored.iloc[_both_ends(len(scored), 40)]
    figure, axes = _figure(height=0.8 + 0.2 * len(scored))
    colours = [LABEL_COLOURS[label] for label in scored["label"]]
    axes.barh(scored["symbol"], scored["combined_score"], color=colours)
    for cut in (-0.35, -0.15, 0.15, 0.35):
        axes.axvline(cut, color=GREY, linewidth=0.6, linestyle=":")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("combined score")
    axes.set_title(f"{market}, {_day(scored['session_date'].iloc[-1])}", loc="left")
    return _render(figure)


def block_picture(frame: pd.DataFrame) -> dg.MarkdownMetadataValue:
    """Trend, momentum and reversal of the symbols of the last session."""
    last = _last_session(frame).dropna(subset=["technical_score"])
    if last.empty:
        return _words("No symbol has a technical score in the last session of this run.")
    last = last.sort_values("technical_score", kind="stable").iloc[_both_ends(len(last), 40)]
    figure, axes = _figure(height=0.8 + 0.2 * len(last))
    for name, colour, marker in (
        ("trend", BLUE, "o"),
        ("momentum", AMBER, "s"),
        ("reversal", GREY, "^"),
    ):
        axes.scatter(last[name], last["symbol"], color=colour, marker=marker, s=16, label=name)
    axes.barh(last["symbol"], last["technical_score"], color=BLUE, alpha=0.25, label="score")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_title(f"Technical score, {_day(last['session_date'].iloc[-1])}", loc="left")
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    return _render(figure)


def indicator_picture(prices: pd.DataFrame, frame: pd.DataFrame) -> dg.MarkdownMetadataValue:
    """Adjusted close of the most traded symbol with its 20- and 200-session means."""
    from quant_assets.domain.adjustment import adjust

    value = (prices["close"] * prices["volume"]).groupby(prices["symbol"]).sum()
    symbol = str(value.idxmax())
    bars = adjust(prices[prices["symbol"] == symbol].reset_index(drop=True), None)
    shown = bars.tail(250).index
    dates = bars.loc[shown, "session_date"]
    figure, axes = _figure(height=3.2)
    axes.plot(dates, bars.loc[shown, "close"], color="black", linewidth=1, label="close")
    for length, colour in ((20, AMBER), (200, BLUE)):
        mean = bars["close"].rolling(length).mean()[shown]
        axes.plot(dates, mean, color=colour, linewidth=1, label=f"mean {length}")
    _date_axis(axes)
    rsi = frame.loc[frame["symbol"] == symbol, "rsi_14"].iloc[-1:]
    strength = f", RSI {rsi.iloc[0]:.0f}" if rsi.notna().any() else ""
    axes.set_title(f"{symbol}, adjusted{strength}", loc="left")
    axes.legend(loc="best", fontsize=8, frameon=False)
    return _render(figure)


def sentiment_picture(frame: pd.DataFrame) -> dg.MarkdownMetadataValue:
    """Sentiment of the symbols of the last session; the width of a bar's mark is its articles."""
    last = _last_session(frame).dropna(subset=["sentiment_score"])
    last = last[last["n_articles"] > 0].sort_values("sentiment_score", kind="stable")
    if last.empty:
        return _words("No symbol had news in the decision window of the last session.")
    last = last.iloc[_both_ends(len(last), 40)]
    figure, axes = _figure(height=0.8 + 0.2 * len(last))
    colours = np.where(last["sentiment_score"] >= 0, GREEN, RED)
    axes.barh(last["symbol"], last["sentiment_score"], color=colours)
    for y, (score, count) in enumerate(
        zip(last["sentiment_score"], last["n_articles"], strict=True)
    ):
        side = "left" if score >= 0 else "right"
        axes.text(score, y, f" {count} ", va="center", ha=side, fontsize=7)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.margins(x=0.12)
    day = _day(last["session_date"].iloc[-1])
    axes.set_title(f"News sentiment and number of articles, {day}", loc="left")
    return _render(figure)


def tone_picture(frame: pd.DataFrame) -> dg.MarkdownMetadataValue:
    """How the tone of the scored articles is distributed."""
    if frame.empty:
        return _words("No article of this run is about a symbol of the universes.")
    figure, axes = _figure(height=2.8)
    axes.hist(frame["score"], bins=np.linspace(-1, 1, 41).tolist(), color=BLUE)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("tone")
    axes.set_ylabel("articles x symbols")
    axes.set_title(f"Tone of {frame['article_id'].nunique():,} articles", loc="left")
    return _render(figure)


def regime_picture(frame: pd.DataFrame) -> dg.MarkdownMetadataValue:
    """Risk multiplier over the run's days with the VIX; the features as a table for one day."""
    if len(frame) < 20:
        last = frame.iloc[-1].drop("available_at")
        return markdown_table(["feature", "value"], [[name, v] for name, v in last.items()])
    figure, axes = _figure(height=3.2)
    axes.fill_between(
        frame["release_date"], frame["risk_multiplier"], step="post", color=BLUE, alpha=0.3
    )
    axes.set_ylim(0, 1.05)
    axes.set_ylabel("risk multiplier")
    second = axes.twinx()
    second.plot(frame["release_date"], frame["vix"], color=RED, linewidth=0.9)
    second.set_ylabel("VIX", color=RED)
    second.spines["top"].set_visible(False)
    _date_axis(axes)
    axes.set_title(f"Regime: {frame['regime'].iloc[-1]}", loc="left")
    return _render(figure)


def equity_picture(equity: pd.DataFrame, benchmark: pd.Series) -> dg.MarkdownMetadataValue:
    """Equity of the books beside the benchmark, and how far each is below its peak.

    ``equity``: value at the close, sessions by strategies, the one that matters most first.
    ``benchmark``: simple returns by session; it begins with the equity of that strategy.
    """
    curves = equity.dropna(how="all")
    if len(curves) < 2:
        return _words("The paper book has a picture from its second session on.")
    figure = _blank(height=4.2)
    upper, lower = (_styled(axes) for axes in figure.subplots(2, 1, height_ratios=[3, 1]))
    begun = curves.iloc[:, 0].dropna()
    later = benchmark[benchmark.index > begun.index[0]] if len(begun) else benchmark.head(0)
    if later.notna().any():
        against = begun.iloc[0] * (1.0 + later.fillna(0.0)).cumprod()
        label = "benchmark" if benchmark.name is None else str(benchmark.name)
        upper.plot(against.index, against, color=GREY, linewidth=1, linestyle="--", label=label)
    colours = (BLUE, AMBER, GREEN, RED)
    for place, (name, values) in enumerate(curves.iloc[:, : len(colours)].items()):
        line: Any = {"color": colours[place], "linewidth": 0.9 if place else 1.6}
        upper.plot(curves.index, values, label=str(name), **line)
        lower.plot(curves.index, 100 * (values / values.cummax() - 1.0), **line)
    for axes in (upper, lower):
        axes.set_xlim(curves.index[0], curves.index[-1])
        _date_axis(axes)
    upper.tick_params(labelbottom=False)
    upper.set_title(f"Equity, {_day(curves.index[-1])}", loc="left")
    upper.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    # Below the curves: at the top or the bottom of either picture it would cover them.
    marks, words = upper.get_legend_handles_labels()
    style = {"ncols": 3, "fontsize": 8, "frameon": False}
    figure.legend(marks, words, loc="outside lower left", **style)
    lower.set_ylabel("drawdown, %", fontsize=8)
    return _render(figure)


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = _blank(height)
    return figure, _styled(figure.add_subplot())


def _blank(height: float) -> Figure:
    figure = Figure(figsize=(7.5, height), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _styled(axes: Axes) -> Axes:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return axes


def _date_axis(axes: Axes) -> None:
    # matplotlib.dates carries no annotations, unlike the rest of matplotlib.
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(
        ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
    )


def _render(figure: Figure) -> dg.MarkdownMetadataValue:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return dg.MetadataValue.md(PICTURE_PREFIX + base64.b64encode(buffer.getvalue()).decode() + ")")


def _words(text: str) -> dg.MarkdownMetadataValue:
    return dg.MetadataValue.md(text)


def _last_session(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["session_date"] == frame["session_date"].max()]


def _both_ends(count: int, limit: int) -> list[int]:
    """Positions of the first and last ``limit`` of ``count`` rows, all if they are few."""
    if count <= limit:
        return list(range(count))
    half = limit // 2
    return [*range(half), *range(count - half, count)]


def _day(value: Any) -> str:
    return f"{pd.Timestamp(value):%Y-%m-%d}"
