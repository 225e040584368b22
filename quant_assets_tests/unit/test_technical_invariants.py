"""What must hold for indicators and scores on any market, however awkward.

Belongs here: the range against single sessions and chunks, the future removed, the same twice.
Markets are random, but built from what breaks indicators: splits and dividends inside flat
stretches, long halts, incomplete bars, late listings, volumes that collapse.
"""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from quant_assets.domain.indicator_names import INDICATORS, LOOK_BACK_SESSIONS
from quant_assets.domain.indicators import technical_indicators
from quant_assets.domain.scoring import COMPONENTS, technical_score
from quant_assets.domain.scoring_config import ScoringConfig

SESSIONS = 760
RATIOS = (2.0, 3.0, 1.5, 7.0, 0.1, 1 / 3)
EXACT = ["session_date", "symbol", "close", "history_bars", "reason", "available_at"]

CASES = settings(
    max_examples=20,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.data_too_large],
)


@st.composite
def symbol_plans(draw):
    """Draw what happens to one symbol."""

    def place():
        return draw(st.integers(0, SESSIONS - 1))

    def stretches(count):
        return [(place(), draw(st.integers(1, 420))) for _ in range(draw(st.integers(0, count)))]

    return {
        "seed": draw(st.integers(0, 2**31)),
        "price": draw(st.sampled_from([0.8, 40.0, 900_000.0])),
        "volatility": draw(st.sampled_from([0.003, 0.02, 0.06])),
        "flat": stretches(2),
        "narrow": stretches(1),
        "halted": stretches(1),
        "incomplete": [place() for _ in range(draw(st.integers(0, 3)))],
        "splits": [
            (place(), draw(st.sampled_from(RATIOS))) for _ in range(draw(st.integers(0, 3)))
        ],
        "dividends": [place() for _ in range(draw(st.integers(0, 6)))],
        "listed": draw(st.sampled_from([0, 0, 0, 300, 600])),
        "volume_collapse": draw(st.booleans()),
    }


def market(plans) -> pd.DataFrame:
    dates = pd.bdate_range("2019-01-02", periods=SESSIONS).as_unit("us")
    symbols = [symbol_bars(f"S{number}", plan, dates) for number, plan in enumerate(plans)]
    prices = pd.concat(symbols, ignore_index=True)
    prices["symbol"] = prices["symbol"].astype("str")
    prices["available_at"] = (prices["session_date"] + pd.Timedelta("21h")).dt.tz_localize("UTC")
    return prices.sort_values(["session_date", "symbol"], ignore_index=True)


def symbol_bars(symbol, plan, dates) -> pd.DataFrame:
    random = np.random.default_rng(plan["seed"])
    moves = random.normal(0, plan["volatility"], SESSIONS)
    spread = np.abs(random.normal(0, plan["volatility"], (2, SESSIONS)))
    for start, length in plan["flat"]:
        moves[start : start + length] = 0.0
        spread[:, start : start + length] = 0.0
    for start, length in plan["narrow"]:
        moves[start : start + length] *= 1e-3
        spread[:, start : start + length] = 0.01
    split, dividend = np.ones(SESSIONS), np.zeros(SESSIONS)
    for place, ratio in plan["splits"]:
        split[place] = ratio
    adjusted = plan["price"] * np.exp(np.cumsum(moves.clip(-0.3, 0.3)))
    close = np.round(adjusted, 2) / np.cumprod(split)
    for place in plan["dividends"]:
        dividend[place] = close[place] * 0.01
    volume = random.integers(0, 10**9, SESSIONS)
    if plan["volume_collapse"]:
        volume[400:] //= 10**6
    bars = pd.DataFrame(
        {
            "session_date": dates,
            "symbol": symbol,
            "open": close,
            "high": close * (1 + spread[0]),
            "low": close * (1 - spread[1].clip(max=0.5)),
            "close": close,
            "volume": volume.astype(float),
            "dividend": dividend,
            "split_ratio": split,
        }
    )
    bars.loc[plan["incomplete"], ["open", "high", "low", "close"]] = np.nan
    is_traded = np.arange(SESSIONS) >= plan["listed"]
    for start, length in plan["halted"]:
        is_traded[start : start + length] = False
    return bars[is_traded]


def look_back(prices: pd.DataFrame, dates: pd.DatetimeIndex, first: int, last: int):
    """Rows that a run over the sessions ``first..last`` loads."""
    start = dates[max(0, first - LOOK_BACK_SESSIONS + 1)]
    return prices[prices["session_date"].between(start, dates[last])].reset_index(drop=True)


def assert_same(actual: pd.DataFrame, expected: pd.DataFrame, prices: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(actual[EXACT], expected[EXACT])
    sizes = {"price": expected["close"], "none": 1.0, "volume": prices["volume"].max()}
    for indicator in INDICATORS:
        left, right = actual[indicator.name], expected[indicator.name]
        assert (left.isna() == right.isna()).all(), indicator.name
        allowed = 1e-9 * np.maximum(right.abs(), sizes[indicator.scale])
        worst = ((left - right).abs() / allowed).max()
        assert not worst > 1, f"{indicator.name} differs by {worst:.3g} x 1e-9"


@pytest.fixture(scope="module")
def config() -> ScoringConfig:
    return ScoringConfig()


@CASES
@given(st.lists(symbol_plans(), min_size=1, max_size=3), st.data())
def test_range_equals_single_sessions_and_chunks(plans, data):
    prices = market(plans)
    dates = pd.DatetimeIndex(prices["session_date"].unique())
    assume(len(dates) > 20)
    first = max(0, len(dates) - 240)
    whole = technical_indicators(look_back(prices, dates, first, len(dates) - 1), dates[first:])
    cuts = sorted(data.draw(st.sets(st.integers(first + 1, len(dates) - 1), max_size=3)))
    chunks = [
        technical_indicators(look_back(prices, dates, start, end - 1), dates[start:end])
        for start, end in zip([first, *cuts], [*cuts, len(dates)], strict=True)
    ]
    assert_same(pd.concat(chunks, ignore_index=True), whole, prices)
    for number in data.draw(st.sets(st.integers(first, len(dates) - 1), min_size=12, max_size=16)):
        single = technical_indicators(look_back(prices, dates, number, number), dates[[number]])
        expected = whole[whole["session_date"] == dates[number]].reset_index(drop=True)
        assert_same(single, expected, prices)


@CASES
@given(st.lists(symbol_plans(), min_size=1, max_size=3), st.integers(250, SESSIONS - 2))
def test_the_future_changes_nothing(plans, last):
    prices = market(plans)
    dates = pd.DatetimeIndex(prices["session_date"].unique())
    last = min(last, len(dates) - 2)
    known = prices[prices["session_date"] <= dates[last]]
    sessions = dates[max(0, last - 30) : last + 1]
    with_future = technical_indicators(prices, sessions)
    pd.testing.assert_frame_equal(with_future, technical_indicators(known, sessions))
    later = technical_indicators(prices, dates)
    is_kept = later["session_date"].isin(sessions)
    assert_same(with_future, later[is_kept].reset_index(drop=True), prices)


@CASES
@given(st.lists(symbol_plans(), min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_twice_and_in_any_order_of_rows_is_the_same(plans, random):
    prices = market(plans)
    before = prices.copy()
    dates = pd.DatetimeIndex(prices["session_date"].unique())[-40:]
    once = technical_indicators(prices, dates)
    pd.testing.assert_frame_equal(prices, before)
    pd.testing.assert_frame_equal(technical_indicators(prices, dates), once)
    order = list(range(len(prices)))
    random.shuffle(order)
    pd.testing.assert_frame_equal(technical_indicators(prices.iloc[order], dates), once)


@CASES
@given(st.lists(symbol_plans(), min_size=1, max_size=3))
def test_values_are_null_or_within_their_bounds(config, plans):
    prices = market(plans)
    dates = pd.DatetimeIndex(prices["session_date"].unique())
    table = technical_indicators(prices, dates)
    for indicator in INDICATORS:
        values = table[indicator.name]
        is_short = table["history_bars"] < indicator.needs_bars
        assert (values.isna() == is_short).all(), indicator.name
        assert np.isfinite(values.dropna()).all(), indicator.name
        slack = 1e-9 * table["close"].max()
        if indicator.minimum is not None:
            assert values.min() >= indicator.minimum - slack or is_short.all(), indicator.name
        if indicator.maximum is not None:
            assert values.max() <= indicator.maximum + 1e-9 or is_short.all(), indicator.name
    scores = technical_score(table, config)
    parts = scores[["technical_score", *COMPONENTS]]
    assert not (parts.abs() > 1 + 1e-12).any(axis=None)
    assert ((scores["status"] == "OK") == (table["history_bars"] >= 250)).all()


def test_recorded_bars_give_the_same_for_range_and_single_sessions(recorded_data, config):
    bars = pd.read_parquet(recorded_data / "recorded" / "bars.parquet")
    symbols = bars["symbol"].isin(sorted(bars.loc[bars["market"] == "us", "symbol"].unique())[:12])
    prices = bars[symbols].rename(columns={"session": "session_date"})
    prices = prices.sort_values(["session_date", "symbol"], ignore_index=True)
    prices["available_at"] = (prices["session_date"] + pd.Timedelta("21h")).dt.tz_localize("UTC")
    dates = pd.DatetimeIndex(prices["session_date"].unique())
    whole = technical_indicators(prices, dates)
    assert len(whole) == len(prices.dropna(subset=["open", "high", "low", "close", "volume"]))
    for number in (520, 777, len(dates) - 1):
        single = technical_indicators(look_back(prices, dates, number, number), dates[[number]])
        expected = whole[whole["session_date"] == dates[number]].reset_index(drop=True)
        assert_same(single, expected, prices)
        left, right = technical_score(single, config), technical_score(expected, config)
        np.testing.assert_allclose(left["technical_score"], right["technical_score"], atol=1e-9)
