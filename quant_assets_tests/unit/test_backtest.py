"""Backtests and evaluations on random markets: one book, whatever computes it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from quant_assets.domain.backtest import Backtest, benchmark_of, variants
from quant_assets.domain.evaluation import Evaluation, Records, evaluate
from quant_assets.domain.paper_book import PaperBook
from quant_assets.domain.signals import Inputs, signal_rows
from quant_assets.domain.strategy_config import DEFAULT_STRATEGIES, Strategy, strategies_of
from quant_assets.domain.trading_rules import TradingRules
from quant_assets.errors import BadConfigurationError, BadDataError
from quant_assets.schemas.contract import Dataset
from quant_assets.schemas.trading import LEDGER, SIGNALS
from quant_assets_tests.unit.random_market import random_prices

RULES = TradingRules(initial_cash=200_000, order_sessions=3, max_position_weight=0.5)
STRATEGIES = (
    Strategy(id="best", kind="combined", enter=0.3, exit=-0.2, names=3, band=0.05, is_live=True),
    Strategy(id="hold", kind="buy_and_hold", enter=0.5, exit=-1.0, names=0, band=1.0),
    Strategy(id="limit", kind="combined", enter=0.0, exit=0.0, order_type="LIMIT"),
)


@dataclass(frozen=True)
class Name:
    """A symbol of the universe, listed until a session."""

    symbol: str
    until: date = date(2100, 1, 1)

    def trades_on(self, session: date) -> bool:
        return session < self.until


def market(seed: int, sessions: int = 40, symbols: int = 6) -> Inputs:
    """Bars with splits, dividends and holes; scores that waver; a symbol that leaves."""
    random = np.random.default_rng(seed)
    prices = random_prices(seed, sessions, symbols)
    days = sorted(prices["session_date"].unique())
    at = {day: (day + timedelta(days=1)).tz_localize("UTC") for day in days}
    names = [f"S{n:02d}" for n in range(symbols)]
    rows = pd.MultiIndex.from_product([days, names], names=["session_date", "symbol"]).to_frame(
        index=False
    )
    rows["available_at"] = rows["session_date"].map(at)
    scores = random.normal(0, 0.5, len(rows))
    labels = np.where(scores > 0.15, "BUY", np.where(scores < -0.15, "SELL", "HOLD"))
    close = prices.set_index(["session_date", "symbol"])["close"]
    found = close.reindex(pd.MultiIndex.from_frame(rows[["session_date", "symbol"]])).to_numpy()
    regime = pd.DataFrame(
        {
            "release_date": pd.DatetimeIndex(days[::7]),
            "available_at": [at[day] - timedelta(hours=2) for day in days[::7]],
            "risk_multiplier": random.choice([1.0, 0.7, 0.3], len(days[::7])),
        }
    )
    averages = {f"sma_{n}": found * random.uniform(0.9, 1.1) for n in (50, 200)}
    return Inputs(
        recommendations=rows.assign(combined_score=scores, label=labels),
        indicators=rows.assign(close=found, **averages),
        prices=prices.assign(available_at=prices["session_date"].map(at) - timedelta(hours=3)),
        regime=regime,
        decision_times={day.date(): at[day].to_pydatetime() for day in days},
        listings=[Name(name) for name in names[:-1]]
        + [Name(names[-1], days[2 * sessions // 3].date())],
    )


def evaluated(inputs: Inputs, strategies: Sequence[Strategy] = STRATEGIES) -> Evaluation:
    signals, ledger = Backtest("us", strategies, RULES).run(inputs)
    return evaluate(records(inputs, strategies, signals, ledger))


def records(
    inputs: Inputs, strategies: Sequence[Strategy], signals: pd.DataFrame, ledger: pd.DataFrame
) -> Records:
    return Records(
        market="us",
        strategies=strategies,
        ledger=ledger,
        signals=signals,
        recommendations=inputs.recommendations,
        prices=inputs.prices,
        benchmark=benchmark_of(inputs),
    )


def of_days(inputs: Inputs, days: Sequence[date]) -> Inputs:
    """What a run of the paper book over ``days`` has: their rows alone."""
    chosen = pd.DatetimeIndex(days)

    def part(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[frame["session_date"].isin(chosen)]

    return replace(
        inputs,
        recommendations=part(inputs.recommendations),
        indicators=part(inputs.indicators),
        prices=part(inputs.prices),
        decision_times={day: inputs.decision_times[day] for day in days},
    )


@pytest.mark.parametrize(("seed", "cut"), [(1, 1), (2, 7), (3, 20), (4, 33), (5, 39)])
def test_the_backtest_is_the_paper_book(seed: int, cut: int) -> None:
    """The paper book in two runs, each from what is stored of the session before."""
    inputs = market(seed)
    signals, ledger = Backtest("us", STRATEGIES, RULES).run(inputs)
    days = sorted(inputs.decision_times)
    parts: list[tuple[pd.DataFrame, pd.DataFrame]] = []
    for some in (days[:cut], days[cut:]):
        own = of_days(inputs, some)
        before = [None, None] if not parts else [_last(frame) for frame in parts[-1]]
        made = signal_rows(own, STRATEGIES, before[0])
        book = PaperBook("us", STRATEGIES, RULES, inputs.listings)
        parts.append((made, book.run(some, own.prices, made, before[1])))
    for dataset, whole, number in ((SIGNALS, signals, 0), (LEDGER, ledger, 1)):
        joined = pd.concat([part[number] for part in parts], ignore_index=True)
        pd.testing.assert_frame_equal(stored(dataset, whole), stored(dataset, joined))


def stored(dataset: Dataset, frame: pd.DataFrame) -> pd.DataFrame:
    """Rows as they are stored, but for what the asset adds."""
    added = {"opening_hash": None, "available_at": pd.Timestamp("2026-01-01", tz="UTC")}
    return dataset.conform(frame.assign(**added), "the test's rows")


def _last(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["session_date"] == frame["session_date"].max()]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_grid_is_its_variants_one_by_one(seed: int) -> None:
    """More sessions than a grid takes at once."""
    inputs = market(seed, sessions=70, symbols=4)
    some = variants(STRATEGIES[0], {"enter": [0.1, 0.4], "names": [2, 4]})
    grid = Backtest("us", some, RULES).run_grid(inputs)
    assert list(grid.equity.columns) == [f"best-{n:03d}" for n in range(1, 5)]
    for number, one in enumerate(some):
        _, ledger = Backtest("us", [one], RULES).run(inputs)
        accounts = ledger[ledger["kind"] == "ACCOUNT"]
        assert grid.equity[one.id].tolist() == accounts["equity"].tolist()
        fills = ledger[ledger["kind"] == "FILL"]
        assert grid.fills[number] == len(fills)
        assert grid.denials[number] == (ledger["kind"] == "DENIED").sum()
        worth = (fills["shares"] * fills["price"]).sum()
        assert grid.traded[one.id].sum() == pytest.approx(worth)
    figures = grid.figures(benchmark_of(inputs), ["enter", "names"])
    assert figures["sharpe_ratio"].is_monotonic_decreasing
    assert set(zip(figures["enter"], figures["names"], strict=True)) == {
        (0.1, 2),
        (0.1, 4),
        (0.4, 2),
        (0.4, 4),
    }


def test_what_was_not_known_at_the_decision_is_refused() -> None:
    inputs = market(1)
    day = sorted(inputs.decision_times)[5]
    for name in ("recommendations", "indicators", "prices"):
        rows = getattr(inputs, name).copy()
        place = rows.index[rows["session_date"] == pd.Timestamp(day)][2]
        symbol = rows.loc[place, "symbol"]
        rows.loc[place, "available_at"] = inputs.decision_times[day] + timedelta(seconds=1)
        for run in (
            Backtest("us", STRATEGIES, RULES).run,
            Backtest("us", STRATEGIES, RULES).run_grid,
        ):
            with pytest.raises(BadDataError, match=f"{name} of {day}, {symbol}: it was available"):
                run(replace(inputs, **{name: rows}))
    late = inputs.recommendations.assign(
        available_at=inputs.recommendations["available_at"] + timedelta(days=1)
    )
    with pytest.raises(BadDataError, match="240 of 240 rows"):
        Backtest("us", STRATEGIES, RULES).run(replace(inputs, recommendations=late))
    foreign = of_days(inputs, sorted(inputs.decision_times)[:-1])
    with pytest.raises(BadDataError, match="its session is none of those that are decided"):
        Backtest("us", STRATEGIES, RULES).run(
            replace(inputs, decision_times=foreign.decision_times)
        )


def test_removing_the_future_changes_nothing() -> None:
    inputs = market(3)
    days = sorted(inputs.decision_times)
    _, whole = Backtest("us", STRATEGIES, RULES).run(inputs)
    for count in (2, 11, 29):
        _, early = Backtest("us", STRATEGIES, RULES).run(of_days(inputs, days[:count]))
        same = whole[whole["session_date"] <= pd.Timestamp(days[count - 1])]
        pd.testing.assert_frame_equal(stored(LEDGER, same), stored(LEDGER, early))


def test_variants_that_cannot_be_are_refused() -> None:
    live = DEFAULT_STRATEGIES[0]
    for grid, word in (
        ({"entry": [1]}, "'entry' to vary; there are band, enter"),
        ({"id": ["a"]}, "'id' to vary"),
        ({"enter": []}, "grid.enter is \\[\\]: give a list"),
        ({"enter": "0.1"}, "grid.enter is '0.1': give a list"),
        ({"enter": [-9]}, "exit .* is above enter"),
        ({"enter": [0.1] * 50, "names": list(range(1, 50))}, "2,450 variants, at most 2,000"),
    ):
        with pytest.raises(BadConfigurationError, match=word):
            variants(live, grid)
    assert len({one.version for one in variants(live, {"names": [1, 2, 3]})}) == 3


def test_the_best_of_many_worthless_variants_is_deflated() -> None:
    """Scores without any skill: the best Sharpe ratio of many is high, its deflated one is not."""
    inputs = market(5, sessions=250, symbols=6)
    some = variants(
        replace(STRATEGIES[0], exit=-9.0), {"enter": np.linspace(-1, 1, 30).round(3).tolist()}
    )
    figures = Backtest("us", some, RULES).run_grid(inputs).figures(benchmark_of(inputs), ["enter"])
    best = figures.iloc[0]
    assert best["probabilistic_sharpe_ratio"] > best["deflated_sharpe_ratio"]
    alone = Backtest("us", some[:1], RULES).run_grid(inputs)
    assert alone.figures(benchmark_of(inputs), [])["deflated_sharpe_ratio"].isna().all()


# Evaluations.


def test_an_evaluation_says_what_the_ledger_says() -> None:
    inputs = market(7)
    signals, ledger = Backtest("us", STRATEGIES, RULES).run(inputs)
    found = evaluate(records(inputs, STRATEGIES, signals, ledger))
    accounts = ledger[ledger["kind"] == "ACCOUNT"]
    assert found.live == "best"
    for one in STRATEGIES:
        own = accounts[accounts["strategy_id"] == one.id]
        assert found.equity[one.id].tolist() == own["equity"].tolist()
        growth = float(np.prod(1 + found.returns[one.id]))
        assert growth == pytest.approx(own["equity"].iloc[-1] / RULES.initial_cash)
        held = ledger[(ledger["strategy_id"] == one.id) & (ledger["kind"] == "POSITION")]
        worth = held.groupby("session_date")["value"].sum().reindex(found.equity.index).fillna(0)
        np.testing.assert_allclose(found.exposure[one.id], worth / found.equity[one.id], atol=1e-9)
        fills = ledger[(ledger["strategy_id"] == one.id) & (ledger["kind"] == "FILL")]
        costs = (fills["commission"] + fills["tax"]).sum()
        assert found.figures.loc[one.id, "fees"] == pytest.approx(costs)
        assert found.figures.loc[one.id, "round_trips"] == len(found.trips[one.id])
    assert len(found.returns) == len(found.equity) - 1 == len(found.benchmark)
    assert found.figures.loc["best", "orders_denied"] == found.denied["best"].sum()
    assert len(found.labels) == 5
    assert found.positions["session_date"].nunique() == 1
    assert {
        "beta",
        "sharpe_ratio",
        "annual_turnover",
        "win_rate",
        "trade_profit",
        "ic_mean",
    } <= set(found.figures.columns)


def booked(
    closes: list[float], targets: list[float], splits: dict[int, float], **rules: float
) -> tuple[pd.DataFrame, Evaluation]:
    """A book of one symbol by its targets, whose open is its close; and how it is evaluated."""
    days = pd.bdate_range("2026-03-02", periods=len(closes)).as_unit("us")
    prices = pd.DataFrame({"session_date": days, "symbol": "A", "volume": 1e9, "dividend": 0.0})
    prices = prices.assign(**dict.fromkeys(("open", "high", "low", "close"), closes))
    prices["split_ratio"] = [splits.get(n, 1.0) for n in range(len(days))]
    (one,) = strategies_of([{"id": "a", "kind": "combined", "is_live": True}])
    change = np.sign(np.diff([0.0, *targets]))
    signals = pd.DataFrame(
        {
            "session_date": days,
            "strategy_id": "a",
            "symbol": "A",
            "action": [{-1: "SELL", 0: "HOLD", 1: "BUY"}[int(n)] for n in change],
            "target_weight": targets,
            "strategy_version": one.version,
            "score": 0.5,
        }
    )
    free = {"commission_bps": 0, "slippage_bps": 0, "max_position_weight": 1, "max_volume_share": 1}
    all_of_it = {"reduce_drawdown": 1, "halt_drawdown": 1}
    book = PaperBook("us", [one], TradingRules(**{**free, **all_of_it, **rules}), [Name("A")])
    ledger = book.run([day.date() for day in days], prices, signals, None)
    labels = pd.DataFrame({"session_date": days, "symbol": "A", "label": None})
    flat = pd.Series(0.0, index=days)
    return ledger, evaluate(
        Records(
            market="us",
            strategies=(one,),
            ledger=ledger,
            signals=signals,
            recommendations=labels,
            prices=prices,
            benchmark=flat,
        )
    )


def test_a_book_that_costs_have_brought_below_zero_has_lost_everything() -> None:
    ledger, found = booked(
        [10.0] * 6, [1, 1, 0, 0, 0, 0], {}, initial_cash=100, minimum_commission=60
    )
    assert ledger.loc[ledger["kind"] == "ACCOUNT", "equity"].min() < 0
    assert found.figures.loc["a", "total_return"] == -1
    assert found.returns["a"].min() == -1


def test_the_fraction_that_a_split_pays_out_is_sold() -> None:
    """105 shares become 10 and a half; the half is paid, and later trades are for themselves."""
    closes = [10.0, 10, 10, 100, 100, 100, 100, 100]
    ledger, found = booked(
        closes, [0.105, 0.105, 0.105, 0, 0, 0.1, 0, 0], {3: 0.1}, initial_cash=10_000
    )
    assert (ledger["kind"] == "SPLIT").sum() == 1
    trips = found.trips["a"]
    assert trips["shares"].tolist() == pytest.approx([0.5, 10, trips["shares"].iloc[2]])
    assert trips["entry_price"].tolist() == pytest.approx([100, 100, 100])
    assert trips["net_profit"].abs().max() < 1e-6


def test_a_split_that_leaves_less_than_a_share_ends_the_trade() -> None:
    _, found = booked([10.0, 10, 10, 100, 100], [0.007] * 5, {3: 0.1}, initial_cash=10_000)
    assert found.trips["a"]["shares"].tolist() == pytest.approx([0.7])


def test_a_ratio_that_is_rounded_leaves_whole_shares() -> None:
    _, found = booked(
        [10.0, 10, 10, 30, 30, 30],
        [0.003, 0.003, 0.003, 0, 0, 0],
        {3: 0.333333},
        initial_cash=10_000,
    )
    assert found.trips["a"]["shares"].tolist() == pytest.approx([1.0], abs=1e-5)


def test_slippage_is_what_fills_cost_beyond_the_open() -> None:
    ledger, found = booked(
        [10.0] * 5, [0.5, 0.5, 0, 0, 0], {}, initial_cash=10_000, slippage_bps=100
    )
    fills = ledger[ledger["kind"] == "FILL"]
    expected = ((fills["price"] - 10.0).abs() * fills["shares"].abs()).sum()
    assert found.figures.loc["a", "slippage"] == pytest.approx(expected)
    assert expected > 50


def test_a_strategy_counts_since_it_was_opened_last() -> None:
    """One begins later; one was taken out, and came back with a new deposit."""
    inputs = market(11)
    days = sorted(inputs.decision_times)
    signals, ledger = Backtest("us", STRATEGIES, RULES).run(inputs)
    late = of_days(inputs, days[10:])
    _, second = Backtest("us", STRATEGIES[1:2], RULES).run(late)
    first_of_hold = ledger[
        (ledger["strategy_id"] == "hold") & (ledger["session_date"] <= pd.Timestamp(days[4]))
    ]
    others = ledger[ledger["strategy_id"] != "hold"]
    joined = pd.concat([first_of_hold, others, second]).sort_values(
        ["session_date", "strategy_id", "entry"], ignore_index=True
    )
    found = evaluate(records(inputs, STRATEGIES, signals, joined))
    assert found.equity["hold"].first_valid_index() == pd.Timestamp(days[10])
    assert found.returns["hold"].first_valid_index() == pd.Timestamp(days[11])
    assert found.figures.loc["hold", "sessions"] == len(days) - 11
    gone = ledger[
        (ledger["strategy_id"] != "hold") | (ledger["session_date"] <= pd.Timestamp(days[4]))
    ]
    left = evaluate(records(inputs, STRATEGIES, signals, gone))
    assert [one.id for one in left.strategies] == ["best", "limit"]


def test_short_and_empty_books_are_evaluated() -> None:
    inputs = market(13)
    days = sorted(inputs.decision_times)
    one = evaluated(of_days(inputs, days[:1]))
    assert one.returns.empty
    assert one.figures["sharpe_ratio"].isna().all()
    idle = (replace(STRATEGIES[0], enter=99.0),)
    nothing = evaluated(inputs, idle)
    assert nothing.figures.loc["best", "total_return"] == 0
    assert nothing.figures.loc["best", "round_trips"] == 0
    assert (nothing.exposure["best"] == 0).all()
    _, ledger = Backtest("us", idle, RULES).run(inputs)
    with pytest.raises(BadDataError, match="us/ledger has no account"):
        evaluate(records(inputs, idle, pd.DataFrame(), ledger.iloc[:0]))


def test_a_score_that_knows_the_market_has_power() -> None:
    """The scores of a planted strategy are the returns to come: its coefficient is 1."""
    inputs = market(17, sessions=60)
    signals, ledger = Backtest("us", STRATEGIES, RULES).run(inputs)
    found = evaluate(records(inputs, STRATEGIES, signals, ledger))
    assert abs(found.figures.loc["best", "ic_mean"]) < 0.5
    from quant_assets.domain.evaluation import HORIZON, _opens
    from quant_assets.domain.score_figures import forward_returns

    ahead = forward_returns(_opens(inputs.prices), HORIZON).stack()
    knows = signals[signals["strategy_id"] == "best"].copy()
    places = pd.MultiIndex.from_frame(knows[["session_date", "symbol"]])
    knows["score"] = ahead.reindex(places).to_numpy()
    planted = evaluate(records(inputs, STRATEGIES, knows, ledger))
    assert planted.figures.loc["best", "ic_mean"] == pytest.approx(1.0)
