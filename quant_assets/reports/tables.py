"""Tables of a report. What belongs here: rows of an evaluation as cells of text.

Does not belong here: markup (the template), a figure that ``domain`` computes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from quant_assets.reports.figure_names import GROUPS, OF_RETURNS, FigureName, Groups
from quant_assets.reports.formats import Formats, Unit, tone
from quant_assets.reports.shown import Shown

if TYPE_CHECKING:
    from quant_assets.domain.evaluation import Evaluation

MOST_ROWS, MOST_TRIPS, MOST_VARIANTS = 50, 10, 20
_MOST_SIDE_BY_SIDE = 4
_WORDS: tuple[Unit, ...] = ("text", "date")


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: its text, ``gain`` or ``loss`` for its colour, whether it is aligned as words."""

    text: str
    tone: str = ""
    is_words: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a frame: its name, heading, unit and explanation."""

    name: str
    label: str
    unit: Unit
    meaning: str = ""

    @property
    def is_words(self) -> bool:
        """Whether it is aligned as words rather than as numbers."""
        return self.unit in _WORDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table with its words; ``instead`` stands in its place when it has no rows."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    instead: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class FigureRow:
    """One figure of all listed strategies."""

    name: FigureName
    cells: Sequence[Cell]


@dataclass(frozen=True, slots=True)
class FigureTable:
    """Figures by group, one column for each of ``heads``."""

    heads: Sequence[str]
    groups: Sequence[tuple[str, Sequence[FigureRow]]]


def _columns(*columns: tuple[str, str, Unit] | tuple[str, str, Unit, str]) -> tuple[Column, ...]:
    return tuple(Column(*column) for column in columns)


DRAWDOWNS = _columns(
    ("rank", "no.", "count"),
    ("depth", "depth", "return", "Lowest equity against the peak."),
    ("peak_date", "peak", "date"),
    ("trough_date", "trough", "date"),
    ("recovery_date", "recovery", "date", "First session back at the peak; – if not yet."),
    ("drawdown_sessions", "sessions to trough", "sessions"),
    ("recovery_sessions", "to recovery", "sessions"),
    ("underwater_sessions", "below the peak", "sessions"),
    ("underwater_days", "in days", "days", "Calendar days from the peak."),
)
LABELS = _columns(
    ("label", "label", "text"),
    ("count", "times", "count", "Recommendations whose outcome is known."),
    ("mean", "mean return", "return", "Mean of the returns that followed."),
    ("deviation", "deviation", "percent", "Their standard deviation."),
    (
        "t_statistic",
        "t, as if independent",
        "ratio",
        "Mean over its standard error. Outcomes overlap and move together: the true t is smaller.",
    ),
    ("positive_share", "positive", "percent", "Share of the returns above 0."),
)
VARIANTS = _columns(
    ("sharpe_ratio", "Sharpe ratio", "ratio"),
    ("deflated_sharpe_ratio", "deflated", "percent", "Probability that it is no chance."),
    ("total_return", "total return", "return"),
    ("annual_volatility", "volatility", "percent"),
    ("max_drawdown", "maximum drawdown", "return"),
    ("fees", "commission and tax", "money"),
    ("fills", "fills", "count"),
)
ORDERS = _columns(
    ("session_date", "session", "date"),
    ("symbol", "symbol", "text"),
    ("side", "side", "text"),
    ("order_type", "type", "text"),
    ("status", "status", "text"),
    ("shares", "shares", "shares"),
    ("price", "price", "price", "Close that the order was made at."),
    ("limit_price", "limit", "price"),
    ("reason", "reason", "text", "Why denied, made smaller or canceled."),
)
FILLS = _columns(
    ("session_date", "session", "date"),
    ("symbol", "symbol", "text"),
    ("side", "side", "text"),
    ("status", "status", "text"),
    ("shares", "shares", "shares"),
    ("price", "price", "price", "As traded, slippage included."),
    ("cash", "cash", "gain", "What the fill added to the cash."),
    ("commission", "commission", "money"),
    ("tax", "tax", "money"),
    ("realized_pnl", "realized", "gain", "Proceeds less cost basis, before costs."),
)
POSITIONS = _columns(
    ("strategy_id", "strategy", "text"),
    ("symbol", "symbol", "text"),
    ("shares", "shares", "shares"),
    ("average_price", "average price", "price", "Cost basis per share held."),
    ("mark_price", "close", "price"),
    ("value", "value", "money"),
    ("weight", "weight", "percent", "Share of the book's equity."),
    ("unrealized_pnl", "unrealized", "gain", "Value less cost basis."),
)
TRIPS = _columns(
    ("symbol", "symbol", "text"),
    ("direction", "direction", "text"),
    ("entry_date", "in", "date"),
    ("exit_date", "out", "date"),
    ("holding_sessions", "sessions", "sessions"),
    ("shares", "shares", "shares", "As of the exit."),
    ("entry_price", "price in", "price", "Restated by splits in between."),
    ("exit_price", "price out", "price"),
    ("net_profit", "profit", "gain", "After the costs of both fills."),
    ("return", "return", "return", "Profit over what the shares cost."),
)


def cells_of(frame: pd.DataFrame, columns: Sequence[Column], formats: Formats) -> list[list[Cell]]:
    """Text of the columns of each row; a column that the frame lacks is missing everywhere."""
    return [
        [_cell(column.unit, values.get(column.name), formats) for column in columns]
        for values in frame.to_dict("records")
    ]


def figure_tables(
    evaluation: "Evaluation", shown: Shown, formats: Formats, against: Mapping[Any, Any]
) -> list[FigureTable]:
    """Figures of the listed strategies; the benchmark's (``against``) beside those it has itself.

    Few columns stand in two tables side by side, many in one table.
    """
    figures: dict[str, Mapping[Any, Any]] = {
        name: evaluation.figures.loc[name].to_dict() for name in shown.listed
    }
    own, more = GROUPS[:OF_RETURNS], GROUPS[OF_RETURNS:]
    columns: dict[str, Mapping[Any, Any]] = dict(figures)
    if shown.has_benchmark:
        columns[shown.benchmark_name] = against
    parts = [(columns, own), (figures, more)]
    if len(columns) > _MOST_SIDE_BY_SIDE:
        parts = [(columns, GROUPS)]
    return [_figure_table(some, groups, formats) for some, groups in parts]


def _figure_table(
    columns: Mapping[str, Mapping[Any, Any]], groups: Groups, formats: Formats
) -> FigureTable:
    rows = [
        (
            title,
            [
                FigureRow(
                    one,
                    [_cell(one.unit, column.get(one.name), formats) for column in columns.values()],
                )
                for one in names
            ],
        )
        for title, names in groups
    ]
    return FigureTable(tuple(columns), rows)


def drawdown_table(worst: pd.DataFrame, shown: Shown, formats: Formats) -> Table:
    """The worst drawdowns of the first strategy."""
    return Table(
        title="Worst drawdowns",
        columns=DRAWDOWNS,
        rows=cells_of(worst, DRAWDOWNS, formats),
        instead=f"{shown.first} never closed below its peak.",
    )


def label_table(evaluation: "Evaluation", formats: Formats) -> Table:
    """What followed each label of the recommendations."""
    frame = evaluation.labels.rename_axis("label").reset_index()
    return Table(
        title="What followed each label",
        columns=LABELS,
        rows=cells_of(frame[frame["count"] > 0], LABELS, formats),
        instead="No recommendation of the range has an outcome yet.",
    )


def variant_table(variants: pd.DataFrame, varied: Sequence[str], formats: Formats) -> Table:
    """The best of the variants by Sharpe ratio: their parameters, and figures of each."""
    best = variants.head(MOST_VARIANTS).rename_axis("variant").reset_index()
    best = best.assign(**{name: best[name].map(str) for name in varied})
    columns = [
        Column("variant", "variant", "text"),
        *(Column(name, name.replace("_", " "), "text") for name in varied),
        *VARIANTS,
    ]
    return Table(
        title="Variants",
        columns=columns,
        rows=cells_of(best, columns, formats),
        instead="No variant was tested.",
        note=(
            f"The best {len(best):,} of {len(variants):,} by Sharpe ratio. The best of many look "
            "good by chance: the deflated Sharpe ratio is the probability that one is better than "
            "the best of as many worthless ones. All are in grid.parquet."
        ),
    )


def denied_table(evaluation: "Evaluation", shown: Shown, formats: Formats) -> Table:
    """Denied orders of the listed strategies by reason, the most frequent first."""
    counts = pd.DataFrame(
        {name: evaluation.denied.get(name, pd.Series(dtype="float64")) for name in shown.listed}
    )
    totals = counts.sum(axis=1).sort_index().sort_values(ascending=False, kind="stable")
    frame = counts.reindex(totals.index).rename_axis("_reason").reset_index()
    columns = [
        Column("_reason", "reason", "text"),
        *(Column(name, name, "count") for name in shown.listed),
    ]
    return Table(
        title="Denied orders by reason",
        columns=columns,
        rows=cells_of(frame, columns, formats),
        instead="No order was denied.",
    )


def order_table(evaluation: "Evaluation", shown: Shown, formats: Formats) -> Table:
    """The last orders of the first strategy, the latest first."""
    return _last(
        "Last orders", evaluation.orders, ORDERS, shown, formats, f"{shown.first} made no order."
    )


def fill_table(evaluation: "Evaluation", shown: Shown, formats: Formats) -> Table:
    """The last fills of the first strategy, the latest first."""
    return _last(
        "Last fills", evaluation.fills, FILLS, shown, formats, f"{shown.first} had no fill."
    )


def position_table(evaluation: "Evaluation", shown: Shown, formats: Formats) -> Table:
    """Positions of the drawn strategies in the last session, the largest of each first."""
    positions = evaluation.positions
    parts = [
        positions[positions["strategy_id"] == name].sort_values(
            ["value", "symbol"], ascending=[False, True], kind="stable"
        )
        for name in shown.drawn
    ]
    return Table(
        title="Positions at the last close",
        columns=POSITIONS,
        rows=[row for part in parts for row in cells_of(part, POSITIONS, formats)],
        instead="No strategy holds a position.",
    )


def trip_tables(evaluation: "Evaluation", shown: Shown, formats: Formats) -> tuple[Table, Table]:
    """Best and worst round trips of the first strategy by profit; none is in both."""
    trips = evaluation.trips[shown.first]
    ordered = trips.sort_values("net_profit", ascending=False, kind="stable")
    best = min(MOST_TRIPS, (len(ordered) + 1) // 2)
    worst = min(MOST_TRIPS, len(ordered) // 2)
    of_all = f"of {len(ordered)}, by profit"
    closed = f"{shown.first} has closed no trade."
    return (
        Table(
            title="Best round trips",
            columns=TRIPS,
            rows=cells_of(ordered.head(best), TRIPS, formats),
            instead=closed,
            note=f"The best {best} {of_all}." if best else "",
        ),
        Table(
            title="Worst round trips",
            columns=TRIPS,
            rows=cells_of(ordered.tail(worst)[::-1], TRIPS, formats),
            instead=closed if not best else "There is only one round trip.",
            note=f"The worst {worst} {of_all}." if worst else "",
        ),
    )


def _last(
    title: str,
    frame: pd.DataFrame,
    columns: Sequence[Column],
    shown: Shown,
    formats: Formats,
    instead: str,
) -> Table:
    own = frame[frame["strategy_id"] == shown.first].sort_values(
        ["session_date", "entry"], ascending=False, kind="stable"
    )
    note = f"The latest {min(MOST_ROWS, len(own))} of {len(own):,}." if len(own) else ""
    rows = cells_of(own.head(MOST_ROWS), columns, formats)
    return Table(title=title, columns=columns, rows=rows, instead=instead, note=note)


def _cell(unit: Unit, value: Any, formats: Formats) -> Cell:
    return Cell(formats.text(unit, value), tone(unit, value), unit in _WORDS)
