"""The HTML report: well-formed, self-contained, safe, the same bytes, sentences for edge cases."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from lxml import etree, html

from quant_assets.domain.adjustment import adjust
from quant_assets.domain.evaluation import Evaluation
from quant_assets.domain.performance import RETURN_FIGURES, TAIL_FIGURES, performance_figures
from quant_assets.domain.performance_benchmark import BENCHMARK_FIGURES
from quant_assets.domain.performance_drawdowns import DRAWDOWN_FIGURES
from quant_assets.domain.score_figures import COEFFICIENT_FIGURES
from quant_assets.domain.strategy_config import Strategy
from quant_assets.domain.trade_figures import TRADE_FIGURES, TURNOVER_FIGURES
from quant_assets.errors import BadConfigurationError, BadDataError
from quant_assets.reports.canvas import MOST_POINTS, thinned
from quant_assets.reports.crises import CRISES
from quant_assets.reports.figure_names import GROUPS
from quant_assets.reports.formats import Formats
from quant_assets.reports.page import Variants, render_report
from quant_assets.reports.shown import shown_of
from quant_assets.reports.trade_pictures import adjusted_fills, trade_pictures
from quant_assets_tests.unit.evaluations import made_evaluation

MADE_AT = datetime(2026, 3, 2, 21, 5, tzinfo=UTC)
SECTIONS = [
    "summary",
    "performance",
    "figures",
    "periods",
    "rolling",
    "crises",
    "trades",
    "forecasts",
    "positions",
    "orders",
]
HOSTILE = "<script>alert('x')</script>&\"$a_b$"


def rendered(evaluation: Evaluation, **more: int) -> str:
    return render_report(evaluation, title="Paper book", subtitle="test", made_at=MADE_AT, **more)


def parsed(page: str) -> html.HtmlElement:
    return html.document_fromstring(page)


def words(page: str) -> str:
    return text_of(parsed(page))


def text_of(element: html.HtmlElement) -> str:
    return " ".join(" ".join(element.itertext()).split())


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return made_evaluation()


@pytest.fixture(scope="module")
def page(evaluation: Evaluation) -> str:
    return rendered(evaluation)


def short(evaluation: Evaluation, sessions: int) -> Evaluation:
    """The first sessions of an evaluation."""
    equity = evaluation.equity.head(sessions)
    returns = evaluation.returns.head(max(sessions - 1, 0))
    benchmark = evaluation.benchmark.head(len(returns))
    figures = evaluation.figures.copy()
    computed = performance_figures(returns, benchmark)
    figures[computed.columns] = computed
    return replace(
        evaluation,
        equity=equity,
        returns=returns,
        exposure=evaluation.exposure.head(sessions),
        benchmark=benchmark,
        figures=figures,
    )


def without_trades(evaluation: Evaluation) -> Evaluation:
    """An evaluation whose books held nothing."""
    returns = evaluation.returns * 0.0
    return replace(
        evaluation,
        equity=evaluation.equity * 0.0 + 1e6,
        returns=returns,
        exposure=evaluation.exposure * 0.0,
        figures=performance_figures(returns, evaluation.benchmark),
        trips={name: trips.head(0) for name, trips in evaluation.trips.items()},
        orders=evaluation.orders.head(0),
        fills=evaluation.fills.head(0),
        positions=evaluation.positions.head(0),
        denied={name: pd.Series(dtype="int64") for name in evaluation.denied},
        labels=evaluation.labels.assign(count=0),
    )


def test_the_page_is_well_formed_and_complete(page: str) -> None:
    document = parsed(page)
    assert page.startswith("<!doctype html>")
    ids = document.xpath("//@id")
    assert len(ids) == len(set(ids))
    assert [one for one in ids if one in SECTIONS] == SECTIONS
    assert {link[1:] for link in document.xpath("//nav//a/@href")} <= set(ids)
    body = page[page.index("<main>") : page.index("</main>") + len("</main>")]
    # Strict: the body is XML too but for the void elements and HTML's own entities.
    etree.fromstring(body.replace("<br>", "<br/>").replace("&nbsp;", " "))
    charts = document.xpath("//figure//*[local-name()='svg']")
    assert len(charts) == 2 + 2 + 4 + 4
    assert all(chart.get("aria-label") for chart in charts)
    assert "instead" not in document.xpath("//p/@class")


def test_nothing_comes_from_outside(page: str) -> None:
    assert not re.search(r"https?:|//[a-z]|\bsrc\s*=|@import|<script|<link|<iframe", page)
    assert set(re.findall(r"url\((.)", page)) <= {"#"}
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', page))
    assert used <= set(parsed(page).xpath("//@id"))
    defined = set(re.findall(r"(--[a-z0-9-]+):", page[: page.index("@media")]))
    assert set(re.findall(r"var\((--[a-z0-9-]+)\)", page)) <= defined | {"--depth"}
    charts = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    assert re.findall(r"#[0-9a-f]{6}\b", charts) == []


def test_equal_arguments_give_equal_bytes(evaluation: Evaluation, page: str) -> None:
    assert rendered(evaluation) == page
    later = render_report(
        evaluation, title="Paper book", subtitle="test", made_at=MADE_AT.replace(hour=22)
    )
    assert later == page.replace("2026-03-02 21:05 UTC", "2026-03-02 22:05 UTC")


def test_every_figure_has_a_line_with_its_explanation(page: str) -> None:
    names = {one.name for _, group in GROUPS for one in group}
    renamed = {"costs": "trade_costs", "net_profit": "trade_profit"}
    trades = {renamed.get(name, name) for name in TRADE_FIGURES}
    wanted = {*RETURN_FIGURES, "calmar_ratio", *TAIL_FIGURES, *DRAWDOWN_FIGURES}
    wanted |= {*BENCHMARK_FIGURES, *TURNOVER_FIGURES, *trades, "orders_denied", "slippage"}
    assert names == wanted | {f"ic_{name}" for name in COEFFICIENT_FIGURES}
    rows = parsed(page).xpath("//table[@class='figures']//th[@scope='row']")
    assert len(rows) == len(names)
    assert all(row.get("title") for row in rows)


def test_figures_are_those_of_the_evaluation(evaluation: Evaluation, page: str) -> None:
    table, more = parsed(page).xpath("//table[@class='figures']")
    heads = [" ".join(head.text_content().split()) for head in table.xpath("./thead//th")]
    assert heads[1] == "alpha-70-30 live"
    assert heads[-1] == "universe, equal weights"
    assert more.xpath("./thead//th")[-1].text in heads[2:-1]
    own = evaluation.figures.loc["alpha-70-30"]
    cells = {
        row.xpath("./th")[0].text: row.xpath("./td")[0].text
        for part in (table, more)
        for row in part.xpath(".//tr[th/@scope='row']")
    }
    assert cells["Sharpe"] == f"{own['sharpe_ratio']:.2f}".replace("-", "−")
    assert cells["Maximum drawdown"] == f"−{-own['max_drawdown']:.2%}"
    assert cells["Its peak"] == f"{own['peak_date']:%Y-%m-%d}"
    assert cells["Traded value"] == f"${own['traded_value']:,.0f}"
    assert cells["Mean IC"] == f"{own['ic_mean']:.3f}".replace("-", "−")
    ends = evaluation.equity["alpha-70-30"].iloc[-1]
    assert f"${ends:,.2f}" in words(page)


def test_money_of_korea_has_no_cents() -> None:
    korean = words(rendered(made_evaluation(market="kr", sessions=80)))
    assert "Korea, KRW" in korean
    assert re.findall(r"₩[\d,]+\.\d\d\b", korean) == []
    assert re.search(r"₩\d{1,3},\d{3},\d{3},\d{3}", korean)


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        ("money", 1234.5, "$1,234.50"),
        ("money", -0.001, "$0.00"),
        ("gain", -1234.5, "−$1,234.50"),
        ("gain", 3.0, "+$3.00"),
        ("return", -0.0312, "−3.12%"),
        ("return", -0.00001, "0.00%"),
        ("percent", 0.25, "25.00%"),
        ("days", 41.0, "41\N{NO-BREAK SPACE}d"),
        ("price", 0.1234, "$0.1234"),
        ("price", 12.5, "$12.50"),
        ("shares", 1200.0, "1,200"),
        ("date", pd.Timestamp("2026-03-02"), "2026-03-02"),
        ("date", pd.NaT, "–"),
        ("ratio", np.nan, "–"),
        ("ratio", np.inf, "–"),
        ("text", None, "–"),
    ],
)
def test_numbers_are_written_in_their_unit(unit: str, value: object, text: str) -> None:
    assert Formats.of("us").text(unit, value) == text


def test_fills_lie_on_adjusted_prices_across_a_split(evaluation: Evaluation) -> None:
    prices = evaluation.prices[evaluation.prices["symbol"] == "AAA"]
    split = prices.loc[prices["split_ratio"] != 1.0, "session_date"].item()
    fills = evaluation.fills.query("symbol == 'AAA' and order_type == 'MARKET'")
    assert (fills["session_date"] < split).any()
    assert (fills["session_date"] >= split).any()
    bars = adjust(prices, None).set_index("session_date").loc[fills["session_date"]]
    adjusted = adjusted_fills(fills, prices)["adjusted"].to_numpy()
    # A fill is the open with five basis points of slippage and a tick.
    np.testing.assert_allclose(adjusted, bars["open"].to_numpy(), rtol=2e-3)


def test_fills_before_the_prices_are_left_out_and_told(evaluation: Evaluation) -> None:
    fills = evaluation.fills[evaluation.fills["strategy_id"] == "alpha-70-30"]
    begin = fills["session_date"].iloc[len(fills) // 2]
    late = evaluation.prices[evaluation.prices["session_date"] >= begin]
    pictures = trade_pictures(
        replace(evaluation, prices=late), shown_of(evaluation, 8), Formats.of("us")
    )
    kept = fills[fills["session_date"] >= begin]
    value = (kept["shares"] * kept["price"]).groupby(kept["symbol"]).sum()
    assert [one.title for one in pictures] == list(value.nlargest(4).index)
    for one in pictures:
        assert f"${value[one.title]:,.2f} traded since {begin:%Y-%m-%d}" in one.note
        marks = (kept["symbol"] == one.title).sum()
        assert len(re.findall(r"<use[^>]*var\(--(?:gain|loss)\)", one.svg)) == marks
    nothing = replace(evaluation, prices=evaluation.prices.head(0))
    (told,) = trade_pictures(
        replace(evaluation, prices=evaluation.prices.tail(1), fills=fills.head(3)),
        shown_of(evaluation, 8),
        Formats.of("us"),
    )
    assert told.instead.startswith("alpha-70-30 had no fill since ")
    assert trade_pictures(nothing, shown_of(evaluation, 8), Formats.of("us"))[0].instead


def test_names_from_data_inject_nothing(evaluation: Evaluation) -> None:
    def hostile(frame: pd.DataFrame) -> pd.DataFrame:
        changes = {
            name: HOSTILE for name in ("symbol", "reason", "side", "status") if name in frame
        }
        changes = {**changes, "side": frame["side"]} if "side" in frame else changes
        return frame.assign(**changes)

    cut = evaluation.prices[evaluation.prices["symbol"] == "AAA"]
    name = evaluation.strategies[0].id
    bad = replace(
        evaluation,
        strategies=tuple(renamed(one, HOSTILE + one.id) for one in evaluation.strategies),
        **{
            field: getattr(evaluation, field).rename(columns=lambda one: HOSTILE + one)
            for field in ("equity", "returns", "exposure")
        },
        **{
            field: hostile(frame.assign(strategy_id=HOSTILE + frame["strategy_id"]))
            for field in ("orders", "fills", "positions")
            for frame in [getattr(evaluation, field)]
        },
        figures=evaluation.figures.rename(index=lambda one: HOSTILE + one),
        trips={HOSTILE + one: hostile(trips) for one, trips in evaluation.trips.items()},
        denied={HOSTILE + name: pd.Series([3], index=[HOSTILE])},
        labels=evaluation.labels.rename(index={"BUY": HOSTILE}),
        benchmark=evaluation.benchmark.rename(HOSTILE),
        prices=hostile(cut),
    )
    page = render_report(bad, title=HOSTILE, subtitle=HOSTILE, made_at=MADE_AT)
    document = parsed(page)
    assert document.xpath("//script") == []
    assert "<script" not in page
    assert document.xpath("//h1")[0].text == HOSTILE
    assert document.xpath("//section[@id='trades']//h3")[0].text == HOSTILE
    assert HOSTILE + name in document.xpath("//table[@class='figures']//th")[1].text_content()
    assert len(document.xpath("//figure//*[local-name()='svg']")) == 2 + 2 + 4 + 1


def renamed(strategy: Strategy, name: str) -> Strategy:
    """The strategy under a name that a configuration would refuse."""
    copy = replace(strategy)
    object.__setattr__(copy, "id", name)
    return copy


def test_one_session_is_told_in_sentences(evaluation: Evaluation) -> None:
    text = words(rendered(short(evaluation, 1)))
    assert "There are too few sessions for a curve." in text
    assert "There are too few sessions for a return." in text
    assert "A moving window takes six returns; the range has 0." in text
    assert "It takes two returns to have a distribution." in text
    assert "alpha-70-30 has no return in the range." in text


@pytest.mark.parametrize("sessions", [2, 3, 7])
def test_short_ranges_have_their_pictures(evaluation: Evaluation, sessions: int) -> None:
    text = words(rendered(short(evaluation, sessions), drawn_strategies=1))
    assert ("too few sessions for a curve" in text) == (sessions == 2)
    assert ("A moving window takes six returns" in text) == (sessions < 7)
    assert ("Window of 2 sessions" in text) == (sessions == 7)


def test_a_book_without_trades_is_told_in_sentences(evaluation: Evaluation) -> None:
    text = words(rendered(without_trades(evaluation)))
    for sentence in (
        "Nothing was traded in the range by alpha-70-30",
        "alpha-70-30 never closed below its peak.",
        "All 299 returns are 0.00%.",
        "No strategy held a position at any close.",
        "The returns of no window have a deviation.",
        "alpha-70-30 had no fill.",
        "alpha-70-30 made no order.",
        "alpha-70-30 has closed no trade.",
        "No order was denied.",
        "No strategy holds a position.",
        "No recommendation of the range has an outcome yet.",
    ):
        assert sentence in text


def test_what_a_reader_must_know_stands_at_the_top(evaluation: Evaluation) -> None:
    page = rendered(evaluation, notes=["Simulated data: <b>made up</b>."])
    assert [note.text_content() for note in parsed(page).xpath("//p[@class='caution']")] == [
        "Simulated data: <b>made up</b>.",
    ]
    assert "<b>made up" not in page
    last = evaluation.returns.index[-10:]
    short = replace(evaluation, returns=evaluation.returns.loc[last])
    assert "10 sessions are less than a year" in words(rendered(short))


def test_the_variants_of_a_grid_are_in_the_page(evaluation: Evaluation) -> None:
    names = [f"a-{n:03d}" for n in range(30)]
    figures = pd.DataFrame(
        {"names": range(30), "sharpe_ratio": np.linspace(2, -1, 30), "total_return": 0.1},
        index=names,
    )
    text = words(rendered(evaluation, variants=Variants(figures, ["names"])))
    assert "The best 20 of 30 by Sharpe ratio." in text
    assert "a-019" in text
    assert "a-020" not in text


def test_a_lost_book_a_later_one_and_no_benchmark(evaluation: Evaluation) -> None:
    returns, equity = evaluation.returns.copy(), evaluation.equity.copy()
    returns.iloc[100, 0], equity.iloc[100:, 0] = -1.0, 0.0
    returns.iloc[101:, 0] = 0.0
    returns.iloc[:200, 1] = equity.iloc[:200, 1] = np.nan
    nothing = evaluation.benchmark * np.nan
    figures = evaluation.figures.copy()
    computed = performance_figures(returns, evaluation.benchmark)
    figures[computed.columns] = computed
    bad = replace(evaluation, returns=returns, equity=equity, figures=figures, benchmark=nothing)
    page = rendered(bad)
    assert "−100.00%" in page
    assert "There is no benchmark to compare with." in words(page)
    assert len(parsed(page).xpath("//figure//*[local-name()='svg']")) == 2 + 2 + 3 + 4


def test_of_many_strategies_the_best_are_shown(evaluation: Evaluation) -> None:
    names = [f"grid-{number:03d}" for number in range(200)]
    random = np.random.default_rng(5)
    returns = pd.DataFrame(
        random.normal(0, 0.01, (len(evaluation.returns), 200)) + np.arange(200) * 1e-5,
        index=evaluation.returns.index,
        columns=names,
    )
    live = "grid-007"
    equity = 1e6 * (1 + returns).cumprod()
    many = replace(
        without_trades(evaluation),
        strategies=tuple(
            Strategy(id=name, kind="combined", enter=0.1, exit=0.0, is_live=name == live)
            for name in names
        ),
        returns=returns,
        equity=equity,
        exposure=returns * 0.0 + 0.5,
        figures=performance_figures(returns, evaluation.benchmark),
        trips={name: evaluation.trips["hold"].head(0) for name in names},
        denied={},
    )
    page = rendered(many, drawn_strategies=4)
    heads = parsed(page).xpath("//table[@class='figures']/thead//th")
    shown = [head.text_content().split()[0] for head in heads[1:-1]]
    best = many.figures["sharpe_ratio"].drop(live).nlargest(11).index
    assert shown == [live, *best]
    assert "188 more strategies are left out" in words(page)
    keys = parsed(page).xpath("//section[@id='rolling']/ul[@class='keys']/li")
    assert [key.text_content() for key in keys][:-1] == shown[:4]


def test_crises_inside_the_range_are_shown() -> None:
    wide = made_evaluation(sessions=60, first="2020-03-02")
    cards = parsed(rendered(wide)).xpath("//div[@class='crisis']")
    assert len(cards) == 1
    text = text_of(cards[0])
    assert text.startswith("Covid-19 2020-03-03 to 2020-03-23 15 sessions, part of 2020-02-19")
    growth = (1 + wide.returns["alpha-70-30"].loc[:"2020-03-23"]).prod() - 1
    assert f"{growth:+.1%}".replace("-", "−") in text


def test_crises_are_in_order_and_apart() -> None:
    assert all(crisis.peak < crisis.low for crisis in CRISES)
    assert all(one.low < other.peak for one, other in pairwise(CRISES))
    assert len({crisis.name for crisis in CRISES}) == len(CRISES)


def test_what_cannot_be_shown_is_refused(evaluation: Evaluation) -> None:
    with pytest.raises(BadConfigurationError, match="give 1 to 8"):
        rendered(evaluation, drawn_strategies=9)
    with pytest.raises(BadDataError, match="has no session"):
        rendered(short(evaluation, 0))


def test_thinning_keeps_ends_extremes_and_gaps() -> None:
    random = np.random.default_rng(3)
    days = pd.bdate_range("2000-01-03", periods=6_000)
    values = pd.Series(random.normal(size=6_000).cumsum(), index=days)
    values.iloc[3_000:3_020] = np.nan
    kept = thinned(values)
    assert len(kept) <= MOST_POINTS
    assert kept.index.is_monotonic_increasing
    assert kept.isna().any()
    for found in (values.idxmin(), values.idxmax(), days[0], days[-1]):
        assert found in kept.index
    pd.testing.assert_series_equal(kept, values.loc[kept.index])
