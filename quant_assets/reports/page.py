"""The report of an evaluation as one HTML page. What belongs here: which parts, in which order.

Does not belong here: how a part looks (``templates``), what is in it (``tables`` and the modules of
pictures). Everything that comes from data passes the template's escaping; only the SVG that our own
code draws, without any text from data, is put in as it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from quant_assets.domain.performance import performance_figures
from quant_assets.domain.performance_curves import SESSIONS_PER_YEAR
from quant_assets.domain.performance_drawdowns import worst_drawdowns
from quant_assets.markets import market
from quant_assets.reports import tables
from quant_assets.reports.crises import crisis_cards
from quant_assets.reports.curve_pictures import (
    curve_keys,
    drawdown_picture,
    equity_picture,
    exposure_picture,
    rolling_pictures,
)
from quant_assets.reports.figure_names import GROUPS
from quant_assets.reports.formats import Formats, Unit, day, is_missing, percent, tone
from quant_assets.reports.return_pictures import (
    MONTHS,
    distribution_picture,
    heat_map,
    yearly_picture,
)
from quant_assets.reports.shown import MOST_DRAWN, Shown, shown_of
from quant_assets.reports.trade_pictures import TRADE_KEYS, trade_pictures

if TYPE_CHECKING:
    from quant_assets.domain.evaluation import Evaluation

WORST_DRAWDOWNS = 5


@dataclass(frozen=True, slots=True)
class Variants:
    """Figures of the variants of a grid, the best first, and the parameters ``varied``."""

    figures: pd.DataFrame
    varied: Sequence[str]


@dataclass(frozen=True, slots=True)
class Card:
    """A headline figure: its words, its value and what stands below it."""

    label: str
    value: str
    note: str
    tone: str
    meaning: str


def render_report(
    evaluation: "Evaluation",
    *,
    title: str,
    subtitle: str,
    made_at: datetime,
    notes: Sequence[str] = (),
    variants: "Variants | None" = None,
    drawn_strategies: int = MOST_DRAWN,
) -> str:
    """Render the tear sheet of an evaluation.

    The page is about the live strategy, or the first one where none is live; the others follow by
    Sharpe ratio, at most ``drawn_strategies`` of all in the pictures and twelve in the figures.
    ``notes`` are sentences that a reader must not miss; ``variants`` are those of a grid, and the
    parameters that they differ in. ``made_at`` (aware) is printed; with equal arguments the page
    has equal bytes.

    Raises ``BadDataError`` for an evaluation without a session or a strategy,
    ``BadConfigurationError`` for an impossible number of strategies.
    """
    shown = shown_of(evaluation, drawn_strategies)
    formats = Formats.of(evaluation.market)
    environment = Environment(
        loader=PackageLoader("quant_assets.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    values = {
        "title": title,
        "subtitle": subtitle,
        "made_at": f"{made_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        "notes": [*notes, *_cautions(evaluation)],
        "variant_table": (
            tables.variant_table(variants.figures, variants.varied, formats) if variants else None
        ),
        **_parts(evaluation, shown, formats),
    }
    return environment.get_template("report.html.j2").render(values)


def _cautions(evaluation: "Evaluation") -> list[str]:
    """What makes the figures of a short range, or of a book without an opinion, mean little."""
    found = []
    count = len(evaluation.returns)
    if count < SESSIONS_PER_YEAR:
        found.append(
            f"{count} session{'' if count == 1 else 's'} are less than a year: figures a year, and "
            "ratios of them, are extrapolated and can be far from what a year brings."
        )
    traders = set(evaluation.fills["strategy_id"])
    idle = [one.id for one in evaluation.strategies if one.id not in traders]
    if idle:
        more = f" and {len(idle) - 5} more" if len(idle) > 5 else ""
        found.append(f"Nothing was traded in the range by {', '.join(idle[:5])}{more}.")
    return found


def _parts(evaluation: "Evaluation", shown: Shown, formats: Formats) -> dict[str, Any]:
    worst = worst_drawdowns(evaluation.returns[[shown.first]], WORST_DRAWDOWNS)
    against: dict[Any, Any] = {}
    if shown.has_benchmark:
        against = performance_figures(shown.benchmark.to_frame()).iloc[0].to_dict()
    return {
        "shown": shown,
        "facts": _facts(evaluation, shown),
        "cards": _cards(evaluation, shown, formats, against),
        "keys": curve_keys(shown),
        "equity": equity_picture(evaluation, shown, formats),
        "drawdown": drawdown_picture(evaluation, shown, worst),
        "drawdown_table": tables.drawdown_table(worst, shown, formats),
        "live": {one.id for one in evaluation.strategies if one.is_live},
        "figure_tables": tables.figure_tables(evaluation, shown, formats, against),
        "months": MONTHS,
        "heat_map": heat_map(evaluation, shown),
        "years": yearly_picture(evaluation, shown),
        "distribution": distribution_picture(evaluation, shown),
        "rolling": [*rolling_pictures(evaluation, shown), exposure_picture(evaluation, shown)],
        "crises": crisis_cards(evaluation, shown),
        "trades": trade_pictures(evaluation, shown, formats),
        "trade_keys": TRADE_KEYS,
        "trip_tables": tables.trip_tables(evaluation, shown, formats),
        "label_table": tables.label_table(evaluation, formats),
        "denied_table": tables.denied_table(evaluation, shown, formats),
        "position_table": tables.position_table(evaluation, shown, formats),
        "order_table": tables.order_table(evaluation, shown, formats),
        "fill_table": tables.fill_table(evaluation, shown, formats),
    }


def _facts(evaluation: "Evaluation", shown: Shown) -> Sequence[tuple[str, str]]:
    """What the page is about, as pairs of words."""
    sessions = evaluation.equity.index
    place = market(evaluation.market)
    return (
        ("Market", f"{place.name}, {place.currency}"),
        ("Range", f"{day(sessions[0])} to {day(sessions[-1])}"),
        ("Sessions", f"{len(sessions):,}"),
        ("Strategies", f"{len(evaluation.strategies):,}"),
        ("Benchmark", shown.benchmark_name if shown.has_benchmark else "none"),
    )


def _cards(
    evaluation: "Evaluation", shown: Shown, formats: Formats, against: Mapping[Any, Any]
) -> list[Card]:
    """Headline figures of the first strategy, the benchmark's own (``against``) below them."""
    own: Any = evaluation.figures.loc[shown.first].to_dict()
    equity = evaluation.equity[shown.first].dropna()
    last = equity.iloc[-1] if len(equity) else None
    meanings = {one.name: one.meaning for _, group in GROUPS for one in group}

    def card(name: str, label: str, unit: Unit, below: str = "") -> Card:
        value: Any = own.get(name)
        other: Any = against.get(name)
        if unit in ("return", "percent"):
            text, others = (percent(x, 1, signed=unit == "return") for x in (value, other))
        else:
            text, others = formats.text(unit, value), formats.text(unit, other)
        note = below if is_missing(other) else f"benchmark {others}"
        return Card(label, text, note, tone(unit, value), meanings[name])

    trips = len(evaluation.trips[shown.first])
    fees = formats.text("money", own.get("fees"))
    held = evaluation.positions["strategy_id"].eq(shown.first).sum()
    return [
        Card(
            "Equity",
            formats.text("money", last),
            f"{held} position{'' if held == 1 else 's'}",
            "",
            "Cash and value of the positions at the last close.",
        ),
        card("total_return", "Total return", "return"),
        card("cagr", "Annual return", "return"),
        card("annual_volatility", "Volatility", "percent"),
        card("sharpe_ratio", "Sharpe ratio", "ratio"),
        card("max_drawdown", "Maximum drawdown", "return"),
        card("alpha", "Alpha", "return", "a year, to the benchmark"),
        card("beta", "Beta", "ratio", "to the benchmark"),
        card("win_rate", "Win rate", "percent", f"{trips} round trip{'' if trips == 1 else 's'}"),
        card("annual_turnover", "Turnover a year", "percent", f"{fees} commission and tax"),
    ]
