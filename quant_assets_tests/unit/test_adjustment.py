"""Splits and dividends against hand-computed cases and recorded bars.

Recorded values: Quandl WIKI (as-traded and adjusted columns) and QuantConnect Lean (factor file),
see the README of the recorded data.
"""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from quant_assets.domain.adjustment import adjust, adjustment_factors, as_traded, rescaling
from quant_assets.errors import BadDataError

PRICES = ["open", "high", "low", "close"]
NO_EVENTS = pd.DataFrame(
    {
        "symbol": pd.Series(dtype="str"),
        "event_date": pd.Series(dtype="datetime64[us]"),
        "dividend": pd.Series(dtype="float64"),
        "split_ratio": pd.Series(dtype="float64"),
    }
)


def bars(rows, symbol="ABC") -> pd.DataFrame:
    """Rows of (date, close, volume, dividend, split_ratio) as a frame of as-traded bars."""
    frame = pd.DataFrame(
        rows, columns=["session_date", "close", "volume", "dividend", "split_ratio"]
    )
    frame["session_date"] = pd.to_datetime(frame["session_date"]).astype("datetime64[us]")
    frame.insert(0, "symbol", pd.Series([symbol] * len(frame), dtype="str"))
    for column in ("open", "high", "low"):
        frame[column] = frame["close"]
    return frame


def events(rows) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["symbol", "event_date", "dividend", "split_ratio"])
    frame["event_date"] = pd.to_datetime(frame["event_date"]).astype("datetime64[us]")
    return frame


def quandl(recorded_data, symbol) -> tuple[pd.DataFrame, pd.DataFrame]:
    """As-traded bars of a recorded symbol, and the adjusted columns beside them."""
    path = recorded_data / "prices" / "us_quandl_wiki" / f"{symbol}.csv.gz"
    raw = pd.read_csv(path, parse_dates=["Date"]).sort_values("Date", ignore_index=True)
    names = {
        "Date": "session_date",
        "Ex-Dividend": "dividend",
        "Split Ratio": "split_ratio",
        **{column.capitalize(): column for column in (*PRICES, "volume")},
    }
    frame = raw[list(names)].rename(columns=names)
    frame["session_date"] = frame["session_date"].astype("datetime64[us]")
    frame.insert(0, "symbol", pd.Series([symbol] * len(frame), dtype="str"))
    return frame, raw.filter(like="Adj.")


@pytest.mark.parametrize("symbol", ["DELL", "EBAY"])
def test_recorded_adjusted_bars_of_symbols_that_only_split(recorded_data, symbol):
    prices, recorded = quandl(recorded_data, symbol)
    assert (prices["split_ratio"] != 1).sum() >= 4
    assert (prices["dividend"] == 0).all()
    adjusted = adjust(prices, None)
    for column in (*PRICES, "volume"):
        np.testing.assert_allclose(
            adjusted[column], recorded[f"Adj. {column.capitalize()}"], rtol=1e-9
        )


@pytest.mark.parametrize("symbol", ["AAPL", "GE"])
def test_recorded_adjusted_returns_of_symbols_that_pay(recorded_data, symbol):
    """Quandl multiplies by C/(C+d) with C the close of the ex-date, not by 1-d/P.

    Its adjusted return of an ex-date is therefore (C+d)/P where ours is C/(P-d); every other
    return is the same in both, splits included.
    """
    prices, recorded = quandl(recorded_data, symbol)
    ours = adjust(prices, None)["close"].pct_change()[1:]
    theirs = recorded["Adj. Close"].pct_change()[1:]
    pays = prices["dividend"][1:] > 0
    assert pays.sum() > 40
    np.testing.assert_allclose(ours[~pays], theirs[~pays], atol=1e-9)
    close, dividend = prices["close"][1:], prices["dividend"][1:]
    before = prices["close"].shift()[1:] / prices["split_ratio"][1:]
    np.testing.assert_allclose(theirs[pays], ((close + dividend) / before - 1)[pays], atol=1e-9)
    np.testing.assert_allclose(ours[pays], (close / (before - dividend) - 1)[pays], atol=1e-9)


def test_dividend_factors_of_apple_are_those_of_lean(recorded_data):
    """Lean's factor file, seven digits, on the sessions before the ex-dates of 2012 and 2013."""
    prices, _ = quandl(recorded_data, "AAPL")
    factors = adjustment_factors(prices)
    path = recorded_data / "prices" / "us_lean_raw_plus_factors" / "factor_files" / "aapl.csv"
    lean = pd.read_csv(path, names=["last", "price", "split", "reference"], dtype={"last": "str"})
    lean["last"] = pd.to_datetime(lean["last"], format="%Y%m%d")
    expected = lean["price"] / lean["price"].shift(-1)
    checked = 0
    for last, factor in zip(lean["last"], expected, strict=True):
        if date(2012, 8, 1) <= last.date() <= date(2013, 12, 1):
            ex_date = factors["session_date"][factors["session_date"] > last].iloc[0]
            ours = factors.loc[factors["session_date"] == ex_date, "price_factor"].item()
            assert ours == pytest.approx(factor, abs=2e-6)
            checked += 1
    assert checked == 6


@pytest.mark.parametrize("symbol", ["AAPL", "GE", "EBAY"])
def test_as_traded_undoes_a_vendors_split_adjustment(recorded_data, symbol):
    prices, _ = quandl(recorded_data, symbol)
    prices = prices[prices["session_date"] >= "1984-01-01"].reset_index(drop=True)
    later = prices["split_ratio"][::-1].cumprod()[::-1].shift(-1, fill_value=1.0)
    vendor = prices.drop(columns=["dividend", "split_ratio"])
    vendor[PRICES] = vendor[PRICES].div(later, axis=0)
    vendor["volume"] = vendor["volume"] * later
    is_event = (prices["dividend"] != 0) | (prices["split_ratio"] != 1)
    given = prices.assign(dividend=prices["dividend"] / later)[is_event].rename(
        columns={"session_date": "event_date"}
    )[NO_EVENTS.columns]
    restored = as_traded(vendor, given, price_decimals=4)
    expected = prices.assign(volume=prices["volume"].astype("int64"))
    expected["dividend"] = expected["dividend"].round(6)
    pd.testing.assert_frame_equal(restored[expected.columns], expected)


def test_a_later_split_does_not_change_what_was_stored():
    stored = as_traded(
        bars([("2024-01-02", 90.0, 300, 0, 1), ("2024-01-03", 93.0, 600, 0, 1)]),
        events([("ABC", "2024-01-03", 0.6, 1.0)]),
        price_decimals=2,
    )
    fetched_after_split = as_traded(
        bars([("2024-01-02", 30.0000004, 900, 0, 1), ("2024-01-03", 30.9999997, 1800, 0, 1)]),
        events([("ABC", "2024-01-03", 0.2, 1.0), ("ABC", "2024-06-10", 0.0, 3.0)]),
        price_decimals=2,
    )
    pd.testing.assert_frame_equal(fetched_after_split, stored)
    assert stored["dividend"].tolist() == [0.0, 0.6]
    assert stored["volume"].tolist() == [300, 600]


def test_events_belong_to_the_first_bar_on_or_after_them():
    vendor = bars([("2024-01-05", 10.0, 100, 0, 1), ("2024-01-09", 10.0, 100, 0, 1)])
    other = bars([("2024-01-05", 7.0, 10, 0, 1)], symbol="XYZ")
    given = events(
        [
            ("ABC", "2024-01-04", 9.0, 5.0),  # before the first bar: no bar's event
            ("ABC", "2024-01-07", 0.5, 1.0),  # no bars on 7 and 8 January
            ("ABC", "2024-01-08", 0.0, 2.0),
            ("NONE", "2024-01-08", 1.0, 4.0),
        ]
    )
    result = as_traded(pd.concat([other, vendor], ignore_index=True), given, price_decimals=2)
    assert result["symbol"].tolist() == ["XYZ", "ABC", "ABC"]
    assert result["close"].tolist() == [7.0, 20.0, 10.0]
    assert result["volume"].tolist() == [10, 50, 100]
    assert result["dividend"].tolist() == [0.0, 0.0, 0.5]
    assert result["split_ratio"].tolist() == [1.0, 1.0, 2.0]


def test_without_events_bars_are_only_rounded():
    result = as_traded(bars([("2024-01-05", 10.004999, 7, 0, 1)]), NO_EVENTS, price_decimals=2)
    assert result["close"].tolist() == [10.0]
    assert result["dividend"].tolist() == [0.0]
    assert result["split_ratio"].tolist() == [1.0]


def test_factor_of_a_split_and_a_dividend_on_one_day():
    """2:1 and 1.00 per new share on a previous close of 100: 98 old dollars are 49 new ones."""
    prices = bars([("2024-01-02", 100.0, 10, 0, 1), ("2024-01-03", 50.0, 10, 1.0, 2.0)])
    factors = adjustment_factors(prices)
    assert factors["price_factor"].tolist() == [1.0, pytest.approx(0.49)]
    assert factors["volume_factor"].tolist() == [1.0, 2.0]
    adjusted = adjust(prices, None)
    assert adjusted["close"].tolist() == [pytest.approx(49.0), 50.0]
    assert adjusted["volume"].tolist() == [20.0, 10.0]


def test_adjust_applies_events_up_to_the_date_and_drops_later_rows():
    prices = bars(
        [
            ("2024-01-02", 100.0, 10, 0, 1),
            ("2024-01-03", 50.0, 20, 0, 2),
            ("2024-01-04", 25.0, 40, 0, 2),
        ]
    )
    assert adjust(prices, date(2024, 1, 2))["close"].tolist() == [100.0]
    assert adjust(prices, date(2024, 1, 3))["close"].tolist() == [50.0, 50.0]
    assert adjust(prices, None)["close"].tolist() == [25.0, 25.0, 25.0]
    assert adjust(prices, None).columns.tolist() == prices.columns.tolist()


def test_rescaling_turns_values_as_of_the_last_row_into_values_as_of_each(recorded_data):
    prices, _ = quandl(recorded_data, "AAPL")
    prices = prices[prices["session_date"] >= "2004-01-01"].reset_index(drop=True)
    factors = rescaling(prices)
    last = adjust(prices, None)
    for row in (300, 600, 2200, len(prices) - 1):
        as_of = adjust(prices, prices["session_date"][row].date())
        scaled = last["close"][: row + 1] * factors["price_factor"][row]
        np.testing.assert_allclose(scaled, as_of["close"], rtol=1e-12)
        scaled = last["volume"][: row + 1] * factors["volume_factor"][row]
        np.testing.assert_allclose(scaled, as_of["volume"], rtol=1e-12)


def test_symbols_and_row_order_do_not_mix():
    one = bars([("2024-01-02", 10.0, 1, 0, 1), ("2024-01-03", 5.0, 1, 0, 2)], symbol="AAA")
    two = bars([("2024-01-02", 8.0, 1, 0, 5.0), ("2024-01-03", 8.0, 1, 4.0, 1)], symbol="BBB")
    both = pd.concat([one, two]).sample(frac=1, random_state=4)
    adjusted = adjust(both, None)
    assert adjusted.index.tolist() == both.index.tolist()
    by_row = adjusted.set_index(["symbol", "session_date"])["close"]
    assert by_row["AAA"].sort_index().tolist() == [5.0, 5.0]
    assert by_row["BBB"].sort_index().tolist() == [4.0, 8.0]


def test_events_on_a_row_without_a_close_belong_to_the_next_row_with_one():
    """A dividend of 1.00 before a 2:1 split is 0.50 per new share: 10 old are (10-1)/2 new."""
    prices = bars(
        [
            ("2024-01-02", 10.0, 1, 0, 1),
            ("2024-01-03", np.nan, 0, 1.0, 1),
            ("2024-01-04", 5.0, 1, 0, 2.0),
        ]
    )
    assert adjust(prices, None)["close"].tolist()[::2] == [pytest.approx(4.5), 5.0]


@pytest.mark.parametrize(
    ("dividend", "ratio", "said"),
    [
        (10.0, 1.0, "dividend 10.0 of ABC on 2024-01-03 is not below the previous close 10.0"),
        (-0.5, 1.0, "dividend -0.5 of ABC on 2024-01-03 is impossible"),
        (0.0, 0.0, "split ratio 0.0 of ABC on 2024-01-03 is impossible"),
        (0.0, -2.0, "split ratio -2.0 of ABC on 2024-01-03"),
        (0.0, np.nan, "split ratio nan of ABC on 2024-01-03"),
        (np.inf, 1.0, "dividend inf of ABC on 2024-01-03"),
    ],
)
def test_impossible_events_are_refused_by_name(dividend, ratio, said):
    prices = bars([("2024-01-02", 10.0, 1, 0, 1), ("2024-01-03", 5.0, 1, dividend, ratio)])
    with pytest.raises(BadDataError, match=said):
        adjust(prices, None)


def test_as_traded_refuses_impossible_events_and_bars_without_volume():
    vendor = bars([("2024-01-02", 10.0, 1.0, 0, 1), ("2024-01-03", 10.0, np.nan, 0, 1)])
    with pytest.raises(BadDataError, match=r"split_ratio -1\.0 of ABC on 2024-01-05 is impossible"):
        as_traded(vendor, events([("ABC", "2024-01-05", 0.0, -1.0)]), price_decimals=2)
    with pytest.raises(BadDataError, match="the bar of ABC on 2024-01-03 has no volume"):
        as_traded(vendor, NO_EVENTS, price_decimals=2)


def test_repeated_rows_are_refused_by_name():
    once = bars([("2024-01-02", 10.0, 1, 0, 1)])
    with pytest.raises(BadDataError, match="two rows for ABC on 2024-01-02"):
        adjust(pd.concat([once, once]), None)
