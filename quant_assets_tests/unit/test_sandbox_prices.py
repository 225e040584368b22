"""Prices as the simulated Yahoo holds them: adjustments, growth with time, the open session."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from quant_assets.sandbox.market import SimulatedMarket
from quant_assets.sandbox.prices import SimulatedPrices, VendorBars

NOW = datetime(2026, 6, 16, 22, 0, tzinfo=UTC)
FIELDS = ("open", "high", "low", "close")
SYMBOLS = ("AAPL", "MSFT", "JPM", "PG", "005930.KS", "105560.KS", "QQQX", "ZZHALT", "900003.KS")


@pytest.fixture(scope="module")
def prices() -> SimulatedPrices:
    return SimulatedPrices(SimulatedMarket(7))


def shown(prices: SimulatedPrices, symbol: str, now: datetime = NOW) -> VendorBars:
    bars = prices.bars(symbol, now)
    assert bars is not None
    return bars


def later_ratios(bars: VendorBars) -> np.ndarray:
    product = np.ones(len(bars.days))
    for position, numerator, denominator in bars.splits:
        product[:position] *= numerator / denominator
    return product


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_undoing_the_splits_gives_what_was_traded(prices: SimulatedPrices, symbol: str) -> None:
    bars = shown(prices, symbol)
    truth = prices.market.as_traded(symbol).iloc[: len(bars.days)]
    later = later_ratios(bars)
    for field in FIELDS:
        undone = getattr(bars, field) * later
        assert np.allclose(undone, truth[field], rtol=2e-7, atol=0)
    assert np.array_equal(np.round(bars.volume / later).astype(int), truth["volume"])
    paid = np.zeros(len(bars.days))
    for position, amount in bars.dividends:
        paid[position] = amount * later[position]
    assert np.allclose(paid, truth["dividend"], atol=5e-6 * later.max())


@pytest.mark.parametrize("symbol", ["MSFT", "105560.KS", "WMT"])
def test_adjusted_close_carries_the_dividends(prices: SimulatedPrices, symbol: str) -> None:
    bars = shown(prices, symbol)
    assert bars.dividends
    cash = np.zeros(len(bars.days))
    for position, amount in bars.dividends:
        cash[position] = amount
    adjusted = bars.adjusted_close[1:] / bars.adjusted_close[:-1]
    held = bars.close[1:] / (bars.close[:-1] - cash[1:])
    assert np.allclose(adjusted, held, rtol=1e-6)
    assert bars.adjusted_close[-1] == bars.close[-1]


def test_prices_have_the_error_of_single_precision(prices: SimulatedPrices) -> None:
    close = shown(prices, "AAPL").close
    assert np.array_equal(close, close.astype(np.float32).astype(float))
    error = np.abs(close - np.round(close, 2)) / close
    assert 0 < error[-100:].max() < 1e-6


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_an_earlier_clock_shows_the_same_tape(prices: SimulatedPrices, symbol: str) -> None:
    early, late = shown(prices, symbol, NOW - timedelta(days=2500)), shown(prices, symbol)
    count = len(early.days)
    assert np.array_equal(early.days, late.days[:count])
    early_tape, late_tape = early.close * later_ratios(early), late.close * later_ratios(late)
    assert np.allclose(early_tape, late_tape[:count], rtol=2e-7)


def test_a_split_restates_all_earlier_bars(prices: SimulatedPrices) -> None:
    bars = shown(prices, "JPM")
    position, numerator, _ = bars.splits[-1]
    ex_day = bars.days[position].astype(object)
    before = shown(prices, "JPM", datetime(ex_day.year, ex_day.month, ex_day.day, 6, tzinfo=UTC))
    after = shown(prices, "JPM", datetime(ex_day.year, ex_day.month, ex_day.day, 23, tzinfo=UTC))
    assert len(after.days) == len(before.days) + 1
    assert np.allclose(before.close, after.close[:-1] * numerator, rtol=2e-7)
    assert np.array_equal(before.volume * numerator, after.volume[:-1])


@pytest.mark.parametrize(
    ("symbol", "opens", "closes"),
    [
        ("AAPL", datetime(2026, 6, 16, 13, 30, tzinfo=UTC), datetime(2026, 6, 16, 20, tzinfo=UTC)),
        (
            "005930.KS",
            datetime(2026, 6, 16, 0, tzinfo=UTC),
            datetime(2026, 6, 16, 6, 30, tzinfo=UTC),
        ),
    ],
)
def test_the_open_session_has_a_partial_bar(
    prices: SimulatedPrices, symbol: str, opens: datetime, closes: datetime
) -> None:
    day = np.datetime64("2026-06-16")
    assert shown(prices, symbol, opens - timedelta(seconds=1)).days[-1] < day
    partial = shown(prices, symbol, opens + (closes - opens) / 3)
    whole = shown(prices, symbol, closes)
    assert partial.days[-1] == whole.days[-1] == day
    assert partial.open[-1] == whole.open[-1]
    assert 0 < partial.volume[-1] < whole.volume[-1]
    assert whole.low[-1] <= partial.low[-1] <= partial.close[-1]
    assert partial.close[-1] <= partial.high[-1] <= whole.high[-1]
    assert np.array_equal(partial.close[:-1], whole.close[:-1])


def test_bars_are_dated_at_the_regular_open(prices: SimulatedPrices) -> None:
    us, kr = shown(prices, "AAPL"), shown(prices, "005930.KS")
    hours = {datetime.fromtimestamp(int(t), UTC).strftime("%H:%M") for t in us.timestamps[-250:]}
    assert hours == {"13:30", "14:30"}
    assert {int(t) % 86_400 for t in kr.timestamps[-250:]} == {0}


def test_unknown_and_unlisted_symbols_have_no_chart(prices: SimulatedPrices) -> None:
    assert prices.bars("ZZGONE", NOW) is None
    assert prices.bars("ZZNEW", datetime(2024, 3, 1, tzinfo=UTC)) is None
    assert len(shown(prices, "ZZNEW", datetime(2024, 3, 5, 21, 30, tzinfo=UTC)).days) == 2
    assert shown(prices, "ZZOLD").days[-1] == np.datetime64("2025-06-30")
