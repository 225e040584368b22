"""Trades on price: where the first strategy bought and sold what it traded most.

Prices are adjusted as of the last session, and the prices of the fills by the same factors, so that
neither a split nor a dividend shows as a fall.
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from quant_assets.domain.adjustment import adjust
from quant_assets.reports.canvas import (
    GAIN,
    LOSS,
    MUTED,
    PAPER,
    Key,
    Picture,
    canvas,
    date_axis,
    draw_line,
    is_long,
    svg_of,
    value_axis,
)
from quant_assets.reports.formats import Formats, day, number
from quant_assets.reports.shown import Shown

if TYPE_CHECKING:
    from quant_assets.domain.evaluation import Evaluation

MOST_SYMBOLS, MOST_MARKS = 4, 300
TRADE_KEYS = (
    Key("close, adjusted", MUTED),
    Key("buy", GAIN, "up"),
    Key("sale", LOSS, "down"),
)


def trade_pictures(evaluation: "Evaluation", shown: Shown, formats: Formats) -> list[Picture]:
    """One picture for each of the symbols with the largest traded value, the largest first.

    Where the prices begin after the first fill, value and pictures are of the time since then.
    """
    fills = evaluation.fills[evaluation.fills["strategy_id"] == shown.first]
    if fills.empty:
        return [Picture(title="Trades", instead=f"{shown.first} had no fill.")]
    begin = evaluation.prices["session_date"].min()
    since = f" since {day(begin)}" if begin > fills["session_date"].min() else ""
    fills = fills[~(fills["session_date"] < begin)]
    if fills.empty:
        return [Picture(title="Trades", instead=f"{shown.first} had no fill{since}.")]
    value = (fills["shares"] * fills["price"]).groupby(fills["symbol"]).sum().sort_index()
    largest = value.sort_values(ascending=False, kind="stable").head(MOST_SYMBOLS)
    return [
        _trades(evaluation, str(symbol), fills[fills["symbol"] == symbol], formats, place, since)
        for place, symbol in enumerate(largest.index)
    ]


def adjusted_fills(fills: pd.DataFrame, prices: pd.DataFrame) -> pd.DataFrame:
    """Fills of one symbol with ``adjusted``, their price by the factor of their session's bar.

    ``prices`` are the as-traded rows of that symbol. A fill in a session without a bar has no
    adjusted price.
    """
    factor = adjust(prices, None)["close"] / prices["close"]
    by_session = pd.Series(factor.to_numpy(np.float64), index=prices["session_date"])
    return fills.assign(adjusted=fills["price"] * fills["session_date"].map(by_session))


def _trades(
    evaluation: "Evaluation",
    symbol: str,
    fills: pd.DataFrame,
    formats: Formats,
    place: int,
    since: str,
) -> Picture:
    prices = evaluation.prices
    raw = prices[prices["symbol"] == symbol].sort_values("session_date", ignore_index=True)
    if len(raw) < 2:
        return Picture(title=symbol, instead="Its prices are not among those given.")
    bars = adjust(raw, None).set_index("session_date")
    marks = adjusted_fills(fills, raw).assign(value=fills["shares"] * fills["price"])
    traded = float(marks["value"].sum())
    counts = marks["side"].value_counts()
    note = (
        f"{number(counts.get('BUY', 0), 0)} buys, {number(counts.get('SELL', 0), 0)} sales, "
        f"{formats.money(traded)} traded{since}"
    )
    marks = marks.dropna(subset=["adjusted"]).sort_values("value", ascending=False, kind="stable")
    if len(marks) > MOST_MARKS:
        note += f"; the {MOST_MARKS} largest fills are marked"
        marks = marks.head(MOST_MARKS)
    figure, axes = canvas()
    draw_line(axes, bars["close"], MUTED, width=1.1)
    for side, marker, colour in (("BUY", "^", GAIN), ("SELL", "v", LOSS)):
        own = marks[marks["side"] == side]
        axes.plot(
            own["session_date"].to_numpy(),
            own["adjusted"].to_numpy(np.float64),
            marker,
            color=colour,
            markersize=9,
            markeredgecolor=PAPER,
            markeredgewidth=0.6,
        )
    sessions = pd.DatetimeIndex(bars.index)
    date_axis(axes, sessions)
    value_axis(axes, formats.axis, is_log=is_long(sessions))
    return Picture(
        title=symbol,
        note=note + ".",
        svg=svg_of(figure, f"trades-{place}", "Price with the buys and sales on it"),
    )
