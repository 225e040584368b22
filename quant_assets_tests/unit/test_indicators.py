"""Indicators against outside references, against TA-Lib, and where TA-Lib alone would be wrong.

References: DaveSkender/Stock.Indicators spreadsheets (502 SPY bars; exponential mean started from
the simple mean, Wilder's averages from the mean of the first changes: TA-Lib's conventions, so
they agree to 1e-9 from the first value on) and pyalgotrade's tables published by StockCharts
("sc", rounded) and NinjaTrader ("nt", rounded).
"""

import subprocess
import sys

import numpy as np
import openpyxl
import pandas as pd
import pytest
import talib

from quant_assets.domain.indicator_names import COLUMNS, INDICATORS, WARM_UP_BARS
from quant_assets.domain.indicator_values import ema, rsi, sma
from quant_assets.domain.indicators import technical_indicators
from quant_assets.domain.windows import last_against_window, wilder_mean, window_sums
from quant_assets.errors import BadDataError

FLAT_SPLITS = [(30.15, 10.05, 3.0), (70.07, 10.01, 7.0), (100.3, 10.03, 10.0)]
RATIO_UNITS = [indicator.name for indicator in INDICATORS if indicator.scale == "none"]


def make_prices(close, *, symbol="ABC", high=None, low=None, volume=None) -> pd.DataFrame:
    close = np.asarray(close, dtype=float)
    dates = pd.bdate_range("2015-01-01", periods=len(close)).as_unit("us")
    return pd.DataFrame(
        {
            "session_date": dates,
            "symbol": pd.Series([symbol] * len(close), dtype="str"),
            "open": close,
            "high": close if high is None else high,
            "low": close if low is None else low,
            "close": close,
            "volume": np.full(len(close), 1000.0) if volume is None else volume,
            "dividend": 0.0,
            "split_ratio": 1.0,
            "available_at": (dates + pd.Timedelta("21h")).tz_localize("UTC"),
        }
    )


def random_prices(count, seed=0, symbol="ABC") -> pd.DataFrame:
    random = np.random.default_rng(seed)
    close = 50 * np.exp(np.cumsum(random.normal(0, 0.02, count)))
    high = close * (1 + np.abs(random.normal(0, 0.01, count)))
    low = close * (1 - np.abs(random.normal(0, 0.01, count)))
    volume = random.integers(1, 10**7, count).astype(float)
    return make_prices(close, symbol=symbol, high=high, low=low, volume=volume)


def compute(prices, last=None) -> pd.DataFrame:
    """Indicators of every session, or of the last few."""
    sessions = pd.DatetimeIndex(prices["session_date"].drop_duplicates().sort_values())
    return technical_indicators(prices, sessions if last is None else sessions[-last:])


def spreadsheet(recorded_data, name, sheet, value) -> tuple[np.ndarray, np.ndarray]:
    """Closes of a reference spreadsheet and its column of expected values, NaN where empty."""
    path = recorded_data / "reference" / "skender" / "excel_calcs" / f"{name}.Calc.xlsx"
    rows = openpyxl.load_workbook(path, data_only=True)[sheet].iter_rows(values_only=True)
    frame = pd.DataFrame(list(rows))
    header = frame.iloc[0].tolist()
    table = frame.iloc[1:503]
    columns = (table[header.index("close")], table[header.index(value)])
    return tuple(column.to_numpy(dtype=float, na_value=np.nan) for column in columns)


@pytest.mark.parametrize(
    ("name", "sheet", "value", "function", "length", "first"),
    [
        ("Sma", "SMA - Close", "SMA", sma, 20, 19),
        ("Ema", "EMA", "ema", ema, 20, 19),
        ("Rsi", "RSI", "RSI(14)", rsi, 14, 14),
    ],
)
def test_reference_spreadsheets(recorded_data, name, sheet, value, function, length, first):
    close, expected = spreadsheet(recorded_data, name, sheet, value)
    actual = function(close, length)
    assert len(close) == 502
    assert np.isnan(actual[:first]).all()
    assert not np.isnan(actual[first:]).any()
    assert np.isnan(expected).sum() == first
    np.testing.assert_allclose(actual[first:], expected[first:], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("file", "function", "length", "decimals"),
    [("sc-sma-10", sma, 10, 2), ("sc-ema-10", ema, 10, 5), ("nt-sma-15", sma, 15, 10)],
)
def test_published_tables_to_their_last_digit(recorded_data, file, function, length, decimals):
    table = pd.read_csv(recorded_data / "reference" / "pyalgotrade" / f"{file}.csv")
    actual = function(table["Input"].to_numpy(float), length)
    expected = table["Expected"].to_numpy(float)
    assert (np.isnan(actual) == np.isnan(expected)).all()
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=0.5 * 10**-decimals + 1e-9, equal_nan=True
    )


@pytest.mark.parametrize("count", [WARM_UP_BARS, 251, 900])
def test_every_value_is_that_of_talib(count):
    """Random prices have no two equal movements, where the definition and TA-Lib part."""
    prices = random_prices(count, seed=count)
    table = compute(prices)
    high, low, close, volume = (prices[c].to_numpy() for c in ("high", "low", "close", "volume"))
    upper, middle, lower = talib.BBANDS(close, 20, 2, 2)
    macd, signal, histogram = talib.MACD(close, 12, 26, 9)
    slow_k, slow_d = talib.STOCH(high, low, close, 14, 3, 0, 3, 0)
    obv = talib.OBV(close, volume)
    returns = pd.Series(np.log(close)).diff()
    expected = {
        **{f"sma_{n}": talib.SMA(close, n) for n in (5, 20, 50, 60, 120, 200)},
        "ema_12": talib.EMA(close, 12),
        "ema_26": talib.EMA(close, 26),
        "macd": macd,
        "macd_signal": signal,
        "macd_histogram": histogram,
        "rsi_14": talib.RSI(close, 14),
        "bollinger_upper": upper,
        "bollinger_middle": middle,
        "bollinger_lower": lower,
        "bollinger_percent_b": (close - lower) / (upper - lower),
        "atr_14": talib.ATR(high, low, close, 14),
        "adx_14": talib.ADX(high, low, close, 14),
        "plus_di_14": talib.PLUS_DI(high, low, close, 14),
        "minus_di_14": talib.MINUS_DI(high, low, close, 14),
        "stochastic_k": slow_k,
        "stochastic_d": slow_d,
        "obv_change_20": talib.MOM(obv, 20),
        "obv_zscore_20": (obv - talib.SMA(obv, 20)) / talib.STDDEV(obv, 20),
        "roc_20": talib.ROC(close, 20),
        "realised_volatility_20": returns.rolling(20).std(ddof=1).to_numpy() * np.sqrt(252),
    }
    assert set(expected) == {indicator.name for indicator in INDICATORS}
    for name, values in expected.items():
        published = table[name].notna().to_numpy() & ~np.isnan(values)
        assert published[-1]
        np.testing.assert_allclose(table[name][published], values[published], rtol=1e-9, atol=1e-9)


def test_columns_types_and_order():
    prices = pd.concat(
        [random_prices(300, 1, "ZZ"), random_prices(260, 2, "AA")], ignore_index=True
    )
    table = compute(prices)
    assert tuple(table.columns) == COLUMNS
    assert len(table) == 560
    assert table[["session_date", "symbol"]].equals(
        prices[["session_date", "symbol"]].sort_values(
            ["session_date", "symbol"], ignore_index=True
        )
    )
    types = {name: str(dtype) for name, dtype in table.dtypes.items()}
    assert types.pop("session_date") == "datetime64[us]"
    assert types.pop("available_at") == "datetime64[us, UTC]"
    assert types.pop("symbol") == types.pop("reason") == "str"
    assert types.pop("history_bars") == "int64"
    assert set(types.values()) == {"float64"}
    last = table[table["symbol"] == "AA"].iloc[-1]
    assert last["close"] == prices["close"].iloc[-1]
    assert last["available_at"] == prices["available_at"].iloc[-1]


@pytest.mark.parametrize("indicator", INDICATORS, ids=lambda indicator: indicator.name)
def test_null_until_the_warm_up_is_over(indicator):
    table = compute(random_prices(260))
    is_missing = table[indicator.name].isna().to_numpy()
    assert is_missing[: indicator.needs_bars - 1].all()
    assert not is_missing[indicator.needs_bars - 1 :].any()


def test_history_and_reason():
    table = compute(random_prices(620))
    assert table["history_bars"].tolist() == [*range(1, 501), *[500] * 120]
    assert table["reason"][122] == "INSUFFICIENT_HISTORY: 123 of 250 bars"
    assert table["reason"][248] == "INSUFFICIENT_HISTORY: 249 of 250 bars"
    assert table["reason"][249:].isna().all()


def test_history_counts_bars_within_the_last_500_sessions():
    """A halt of 300 sessions leaves 200 bars in the look-back, however old the listing."""
    prices = pd.concat([random_prices(900, 1, "ALL"), random_prices(900, 2, "GAP")])
    dates = prices["session_date"].unique()
    is_halted = prices["session_date"].isin(dates[500:800]) & (prices["symbol"] == "GAP")
    table = compute(prices[~is_halted], last=1).set_index("symbol")
    assert table["history_bars"].to_dict() == {"ALL": 500, "GAP": 200}
    assert table["reason"]["GAP"] == "INSUFFICIENT_HISTORY: 200 of 250 bars"
    assert pd.isna(table["rsi_14"]["GAP"])
    assert not pd.isna(table["sma_200"]["GAP"])


@pytest.mark.parametrize("moving_bars", [0, 40, 300])
@pytest.mark.parametrize("price", [0.0123, 12.34, 1_234_567.0])
def test_a_flat_series_has_neutral_values_whatever_came_before(price, moving_bars):
    moving = random_prices(moving_bars, seed=5) if moving_bars else make_prices([])
    ratio = price / moving["close"].iloc[-1] if moving_bars else 1.0
    columns = {c: np.append(moving[c] * ratio, [price] * 270) for c in ("close", "high", "low")}
    prices = make_prices(**columns)
    row = compute(prices, last=1).iloc[0]
    neutral = {
        "rsi_14": 50.0,
        "stochastic_k": 50.0,
        "stochastic_d": 50.0,
        "bollinger_percent_b": 0.5,
        "obv_zscore_20": 0.0,
        "obv_change_20": 0.0,
        "adx_14": 0.0,
        "plus_di_14": 0.0,
        "minus_di_14": 0.0,
        "atr_14": 0.0,
        "roc_20": 0.0,
        "realised_volatility_20": 0.0,
    }
    assert {name: row[name] for name in neutral} == neutral
    assert row["sma_20"] == pytest.approx(price, rel=1e-12)
    assert row["macd_histogram"] == pytest.approx(0.0, abs=1e-6 * price)


@pytest.mark.parametrize(("old", "new", "ratio"), FLAT_SPLITS)
def test_a_flat_series_stays_flat_across_a_split_that_does_not_divide(old, new, ratio):
    """A third or a seventh is not a binary number: the adjusted closes differ in the last bit."""
    assert old * (1 / ratio) != new
    prices = make_prices([old] * 400 + [new] * 100)
    prices.loc[400, "split_ratio"] = ratio
    rows = compute(prices)
    assert (rows["rsi_14"][249:] == 50.0).all()
    assert (rows["obv_zscore_20"][19:] == 0.0).all()
    assert (rows["bollinger_percent_b"][19:] == 0.5).all()
    assert (rows["stochastic_k"][15:] == 50.0).all()
    assert (rows["adx_14"][249:] == 0.0).all()
    assert (rows["realised_volatility_20"][20:] == 0.0).all()


def test_249_unchanged_closes_are_not_yet_flat():
    moving = random_prices(100, seed=6)
    for flat_bars, is_flat in ((248, False), (249, True)):
        columns = {
            c: np.append(moving[c], [moving["close"].iloc[-1]] * flat_bars)
            for c in ("close", "high", "low")
        }
        value = compute(make_prices(**columns), last=1)["rsi_14"].item()
        assert (value == 50.0) == is_flat


@pytest.mark.parametrize("missing", [np.nan, 0.0])
def test_an_incomplete_bar_counts_as_no_bar(missing):
    """TA-Lib alone would give RSI 0 and a wrong on-balance volume from the first NaN on."""
    prices = random_prices(400)
    broken = prices.copy()
    broken.loc[300, ["open", "high", "low"]] = missing
    broken.loc[310, "close"] = np.nan
    broken.loc[320, "volume"] = np.nan
    table = compute(broken)
    pd.testing.assert_frame_equal(
        table.drop(columns="history_bars"),
        compute(prices.drop(index=[300, 310, 320])).drop(columns="history_bars"),
    )
    assert len(table) == 397


def test_the_split_of_an_incomplete_bar_is_not_lost():
    prices = random_prices(400)
    later = prices.index >= 350
    split = prices.copy()
    split.loc[later, ["open", "high", "low", "close"]] /= 4
    split.loc[later, "volume"] *= 4
    split.loc[350, "split_ratio"] = 4.0
    split.loc[350, ["open", "high", "low", "close"]] = np.nan
    expected = compute(prices.drop(index=350), last=1)
    actual = compute(split, last=1)
    for name in RATIO_UNITS:
        assert actual[name].item() == pytest.approx(expected[name].item(), rel=1e-9), name
    assert actual["sma_50"].item() * 4 == pytest.approx(expected["sma_50"].item(), rel=1e-12)


def test_values_are_in_the_units_of_their_own_session():
    """A split after the session changes nothing that was published for it."""
    prices = random_prices(420)
    split = prices.copy()
    later = split.index >= 400
    split.loc[later, ["open", "high", "low", "close"]] /= 3
    split.loc[later, "volume"] *= 3
    split.loc[400, "split_ratio"] = 3.0
    before, after = compute(prices), compute(split)
    for indicator in INDICATORS:
        name = indicator.name
        np.testing.assert_allclose(after[name][:400], before[name][:400], rtol=1e-9, atol=1e-9)
        scale = {"price": 1 / 3, "volume": 3.0, "none": 1.0}[indicator.scale]
        np.testing.assert_allclose(
            after[name][400:], before[name][400:] * scale, rtol=1e-9, atol=1e-9
        )


def test_on_balance_volume_by_hand():
    """Up 1, down 1 and unchanged days in turn, over the last 20 changes."""
    steps = np.resize([0.5, -0.5, 0.0], 60)
    volume = np.arange(1.0, 61.0)
    prices = make_prices(100 + np.cumsum(steps), volume=volume)
    row = compute(prices, last=1).iloc[0]
    balance = np.cumsum(np.sign(steps) * volume)
    assert row["obv_change_20"] == balance[-1] - balance[-21]
    expected = (balance[-1] - balance[-20:].mean()) / balance[-20:].std()
    assert row["obv_zscore_20"] == pytest.approx(expected, rel=1e-12)


def test_an_unchanged_close_across_a_dividend_adds_no_volume():
    """100 and then 99 after a dividend of 1 is no change, and no fall by the day's volume."""
    prices = make_prices(np.append(np.linspace(90, 100, 50), 99.0))
    prices.loc[50, "dividend"] = 1.0
    without = compute(prices.iloc[:50], last=1)["obv_change_20"].item()
    assert compute(prices, last=1)["obv_change_20"].item() == without - 1000.0


def test_equal_movements_both_ways_count_neither_way():
    """Range 5 cents wider on both sides every other day, narrower again on the next.

    In binary the two movements differ in the last bit, and TA-Lib takes the larger one: ADX 100.
    """
    middle = np.full(400, 10.01)
    half = np.where(np.arange(400) % 2, 0.12, 0.07)
    prices = make_prices(middle, high=np.round(middle + half, 2), low=np.round(middle - half, 2))
    high, low, close = (prices[c].to_numpy() for c in ("high", "low", "close"))
    assert talib.ADX(high, low, close, 14)[-1] > 99
    rows = compute(prices)
    for name in ("adx_14", "plus_di_14", "minus_di_14"):
        assert (rows[name][249:] == 0.0).all()


@pytest.mark.parametrize("power", [-50, 50])
def test_ratios_do_not_depend_on_the_scale_of_prices(power):
    prices = random_prices(400)
    scaled = prices.copy()
    scaled[["open", "high", "low", "close"]] *= 2.0**power
    expected, actual = compute(prices), compute(scaled)
    for name in RATIO_UNITS:
        np.testing.assert_allclose(actual[name], expected[name], rtol=1e-12)


@pytest.mark.parametrize("moving", [[], ["open", "close"]])
def test_a_look_back_that_begins_inside_a_quiet_stretch(moving):
    """The range knows what came before the stretch, a single session does not."""
    prices = random_prices(760, seed=3)
    before = prices["close"][40]
    quiet = [column for column in ("open", "high", "low", "close") if column not in moving]
    prices.loc[40:300, quiet] = before
    if moving:
        prices.loc[40:300, "high"], prices.loc[40:300, "low"] = 1.1 * before, 0.9 * before
        for column in moving:
            prices.loc[40:300, column] = before * (1 + 0.05 * np.sin(np.arange(261.0)))
    whole = compute(prices)
    for number in (545, 600, 700):
        look_back = prices.iloc[number - 499 : number + 1].reset_index(drop=True)
        single = compute(look_back, last=1)
        for indicator in INDICATORS:
            assert single[indicator.name].item() == pytest.approx(
                whole[indicator.name][number], rel=1e-9, abs=1e-9
            ), indicator.name


def test_repeated_bars_are_refused_by_name():
    prices = random_prices(10)
    with pytest.raises(BadDataError, match="two rows for ABC on 2015-01-14"):
        compute(pd.concat([prices, prices.tail(1)]))


def test_no_bars_and_no_sessions_give_an_empty_table():
    prices = random_prices(10)
    for table in (compute(prices.iloc[:0]), technical_indicators(prices, pd.DatetimeIndex([]))):
        assert tuple(table.columns) == COLUMNS
        assert len(table) == 0


def test_windows_forget_completely():
    """Sums kept running would leave the rounding of 1e12 in every later window."""
    values = np.array([1e12, -1e12, 3.0, 1e9] + [0.1] * 30)
    above_mean, variance = last_against_window(np.diff(values, prepend=values[0]))
    assert (variance[23:] == 0.0).all()
    assert (above_mean[23:] == 0.0).all()
    (total,) = window_sums(values, (20,))
    assert total[-1] == total[23] == pytest.approx(2.0, rel=1e-15)


@pytest.mark.parametrize("level", [0.0, 1e6, 1e12])
def test_deviation_is_exact_on_any_level(level):
    steps = np.random.default_rng(2).integers(-8, 9, 500) / 8.0
    values = np.cumsum(steps)
    windows = np.lib.stride_tricks.sliding_window_view(values, 20)
    above_mean, variance = last_against_window(np.diff(values + level, prepend=level))
    np.testing.assert_allclose(variance[19:], windows.var(axis=1), rtol=1e-12)
    np.testing.assert_allclose(above_mean[19:], values[19:] - windows.mean(axis=1), atol=1e-12)


@pytest.mark.parametrize("count", [27, 28, 3000])
def test_wilders_mean_by_its_definition(count):
    values = np.random.default_rng(3).random(count)
    expected = [values[:14].mean()]
    for value in values[14:]:
        expected.append((expected[-1] * 13 + value) / 14)
    mean = wilder_mean(values)
    assert np.isnan(mean[:13]).all()
    np.testing.assert_allclose(mean[13:], expected, rtol=1e-12)


def test_the_names_are_known_without_pandas_or_talib():
    code = (
        "import sys, quant_assets.domain.indicator_names\n"
        "sys.exit(bool({'pandas', 'numpy', 'talib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
