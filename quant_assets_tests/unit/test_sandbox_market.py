"""The simulated market as traded: determinism, plausibility, special symbols, corporate actions."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from quant_assets.markets import KR, US
from quant_assets.sandbox.companies import company, known_companies
from quant_assets.sandbox.cycle import GRID_START, BusinessCycle
from quant_assets.sandbox.market import SimulatedMarket, tick_rounded

SYMBOLS = ("AAPL", "MSFT", "JNJ", "SPY", "QQQX", "005930.KS", "247540.KQ", "123450.KS")


@pytest.fixture(scope="module")
def market() -> SimulatedMarket:
    return SimulatedMarket(7)


def until(bars: pd.DataFrame, day: str) -> pd.DataFrame:
    return bars[bars["session_date"] <= day]


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_bars_depend_on_seed_and_symbol_alone(market: SimulatedMarket, symbol: str) -> None:
    other = SimulatedMarket(7)
    other.as_traded("XOM")
    pd.testing.assert_frame_equal(market.as_traded(symbol), other.as_traded(symbol))
    assert not market.as_traded(symbol)["close"].equals(
        SimulatedMarket(8).as_traded(symbol)["close"]
    )


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_bars_are_possible(market: SimulatedMarket, symbol: str) -> None:
    bars = market.as_traded(symbol)
    assert (bars["high"] >= bars[["open", "close"]].max(axis=1)).all()
    assert (bars["low"] <= bars[["open", "close"]].min(axis=1)).all()
    assert (bars[["open", "high", "low", "close", "volume"]] > 0).all().all()
    assert bars["session_date"].is_monotonic_increasing
    assert bars["session_date"].dtype == "datetime64[us]"


@pytest.mark.parametrize(("symbol", "market_of"), [("AAPL", US), ("005930.KS", KR)])
def test_sessions_are_those_of_the_exchange(
    market: SimulatedMarket, symbol: str, market_of: object
) -> None:
    sessions = (KR if market_of is KR else US).sessions(date(2023, 1, 1), date(2025, 12, 31))
    bars = market.as_traded(symbol)
    found = bars["session_date"].dt.date
    assert list(found[(found >= sessions[0]) & (found <= sessions[-1])]) == sessions


def test_us_prices_are_in_cents_and_korean_prices_on_the_tick(market: SimulatedMarket) -> None:
    us = market.as_traded("MSFT")[["open", "high", "low", "close"]].to_numpy()
    assert np.allclose(us, np.round(us, 2), atol=1e-9)
    kr = market.as_traded("005930.KS")[["open", "high", "low", "close"]].to_numpy()
    # Ticks of the Korea Exchange since 2023: 100 won from 50,000, 500 from 200,000, 1,000 above.
    assert (kr[(kr >= 50_000) & (kr < 200_000)] % 100 == 0).all()
    assert (kr[(kr >= 200_000) & (kr < 500_000)] % 500 == 0).all()
    assert (kr[kr >= 500_000] % 1000 == 0).all()


@pytest.mark.parametrize(
    ("price", "rounded"),
    [
        (1_234.4, 1_234),
        (4_003.0, 4_005),
        (12_344.0, 12_340),
        (49_980.0, 50_000),
        (321_700, 321_500),
    ],
)
def test_korean_tick_of_each_band(price: float, rounded: float) -> None:
    assert tick_rounded(np.array([float(price)]), "kr")[0] == rounded


def test_korean_moves_stay_within_the_daily_limit(market: SimulatedMarket) -> None:
    for symbol in ("005930.KS", "196170.KQ", "000660.KS"):
        bars = market.as_traded(symbol)
        base = bars["close"].shift() / bars["split_ratio"]
        assert ((bars["high"] / base - 1).dropna() < 0.305).all()
        assert ((bars["low"] / base - 1).dropna() > -0.305).all()


def test_prices_stay_in_a_sane_band(market: SimulatedMarket) -> None:
    for known in known_companies("us"):
        close = until(market.as_traded(known.symbol), "2026-12-31")["close"]
        assert close.min() > 1
        assert close.max() < 2_000
    for known in known_companies("kr"):
        close = until(market.as_traded(known.symbol), "2026-12-31")["close"]
        assert close.min() > 1_000
        assert close.max() < 2_500_000


def test_splits_and_dividends_happen(market: SimulatedMarket) -> None:
    bars = [until(market.as_traded(known.symbol), "2026-12-31") for known in known_companies("us")]
    ratios = np.concatenate([table["split_ratio"][table["split_ratio"] != 1.0] for table in bars])
    assert len(ratios) > 10
    assert set(ratios) <= {2.0, 3.0, 4.0, 10.0, 0.1}
    payers = [table for table in bars if (table["dividend"] > 0).any()]
    assert 8 <= len(payers) <= 22
    yearly = payers[0][payers[0]["dividend"] > 0].groupby(payers[0]["session_date"].dt.year)[
        "dividend"
    ]
    assert (yearly.count().loc[2001:2025] == 4).all()
    korean = market.as_traded("000270.KS")
    korean_payers = [
        market.as_traded(known.symbol).query("dividend > 0") for known in known_companies("kr")
    ]
    assert any(len(payer) for payer in korean_payers)
    assert all((payer["session_date"].dt.month == 12).all() for payer in korean_payers)
    assert len(korean) > 6000


def test_a_split_moves_price_and_volume_by_its_ratio(market: SimulatedMarket) -> None:
    growth: list[float] = []
    for known in known_companies("us"):
        bars = market.as_traded(known.symbol)
        for position in np.flatnonzero(bars["split_ratio"] != 1.0):
            ratio = bars["split_ratio"].iloc[position]
            move = bars["close"].iloc[position] * ratio / bars["close"].iloc[position - 1]
            assert 0.6 < move < 1.6
            volumes = bars["volume"].iloc[position - 20 : position + 20].to_numpy()
            growth.append(np.median(volumes[20:]) / np.median(volumes[:20]) / ratio)
    assert np.exp(np.mean(np.log(growth))) == pytest.approx(1.0, rel=0.15)


def test_special_symbols(market: SimulatedMarket) -> None:
    for new, old, gone in (("ZZNEW", "ZZOLD", "ZZGONE"), ("900001.KS", "900002.KS", "900009.KS")):
        assert market.as_traded(new)["session_date"].iloc[0] == pd.Timestamp("2024-03-04")
        assert market.as_traded(old)["session_date"].iloc[-1] == pd.Timestamp("2025-06-30")
        with pytest.raises(KeyError, match=gone):
            market.as_traded(gone)


def test_halts_exist_only_for_the_halting_symbols(market: SimulatedMarket) -> None:
    sessions = US.sessions(date(2022, 1, 3), date(2024, 12, 31))
    halted = market.as_traded("ZZHALT")["session_date"].dt.date
    missing = set(sessions) - set(halted)
    assert 5 <= len(missing) <= 40
    assert set(sessions) <= set(market.as_traded("AAPL")["session_date"].dt.date)
    korean = market.as_traded("900003.KS")
    flat = korean[korean["volume"] == 0]
    assert 50 <= len(flat) <= 300
    assert (flat["high"] == flat["low"]).all()
    before = korean["close"].shift().loc[flat.index]
    assert (flat["close"] == before).all()
    assert (market.as_traded("005930.KS")["volume"] > 0).all()


@pytest.mark.parametrize("symbol", ["AB/CD", "aapl", "", "12345.KS", "A" * 20, "FOREX:USD"])
def test_malformed_symbols_are_unknown(symbol: str) -> None:
    assert company(symbol) is None


def test_markets_move_together_but_not_in_step(market: SimulatedMarket) -> None:
    def returns(symbol: str) -> pd.Series:
        bars = until(market.as_traded(symbol), "2026-06-30").set_index("session_date")
        return np.log(bars["close"] * bars["split_ratio"] / bars["close"].shift()).dropna()

    apple, microsoft, samsung = (returns(s) for s in ("AAPL", "MSFT", "005930.KS"))
    assert 0.1 < apple.corr(microsoft) < 0.9
    lagged = pd.concat([returns("SPY").shift(), samsung], axis=1, sort=True).dropna()
    assert 0.1 < lagged.corr().iloc[0, 1] < 0.7
    assert apple.kurt() > 1.0


def test_crises_are_more_volatile_than_calm_times() -> None:
    cycle = BusinessCycle(7)
    moves = np.abs(cycle.market_return("us"))
    assert moves[cycle.regime == 2].mean() > 2 * moves[cycle.regime == 0].mean()
    assert 0.5 < (cycle.regime == 0).mean() < 0.95


def test_tone_of_the_news_leads_the_next_session_slightly(market: SimulatedMarket) -> None:
    correlations = []
    for known in known_companies("us"):
        bars = market.as_traded(known.symbol)
        days = (bars["session_date"] - pd.Timestamp(GRID_START)).dt.days.to_numpy()
        tone = market.tone(known.symbol)[days]
        moves = np.log(bars["close"] * bars["split_ratio"] / bars["close"].shift()).to_numpy()
        correlations.append(np.corrcoef(tone[1:-1], moves[2:])[0, 1])
    assert 0.03 < np.mean(correlations) < 0.12
