"""How many decimals a restored price and dividend get. What belongs here: single made bars."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.domain.adjustment import as_traded
from quant_assets.markets import US

PRICES = ("open", "high", "low", "close")


def one_bar(price: float, dividend: float, later: float) -> tuple[float, float]:
    """Close and dividend of an as-traded bar after Yahoo has shown it in shares ``later``."""
    shown = float(np.float32(price / later))
    bars = pd.DataFrame(
        {
            "symbol": pd.Series(["ABC"], dtype="str"),
            "session_date": np.array(["2019-01-02"], dtype="datetime64[us]"),
            **dict.fromkeys(PRICES, shown),
            "volume": 100,
        }
    )
    events = pd.DataFrame(
        {
            "symbol": pd.Series(["ABC", "ABC"], dtype="str"),
            "event_date": np.array(["2019-01-02", "2020-06-01"], dtype="datetime64[us]"),
            "dividend": [round(dividend / later, 6), 0.0],
            "split_ratio": [1.0, later],
        }
    )
    row = as_traded(bars, events, price_decimals=US.price_decimals).iloc[0]
    return float(row["close"]), float(row["dividend"])


@pytest.mark.parametrize("later", [1.0, 4.0, 7.0, 20.0, 28.0, 224.0, 1 / 8])
@pytest.mark.parametrize(
    ("price", "dividend"),
    [(3346.83, 2.65), (2046.666, 0.12), (75.0875, 0.3125), (0.0123, 0.0001), (41_999.97, 0.0)],
)
def test_last_digits_do_not_depend_on_later_splits(
    price: float, dividend: float, later: float
) -> None:
    """Amazon at 3346.83 is 167.3415 after its 20:1, kept as 167.34149170: still 3346.83."""
    if dividend * 2e6 < later:
        dividend = 0.0
    assert one_bar(price, dividend, later) == (price, dividend)


@given(
    cents=st.integers(1, 5_000_000), later=st.sampled_from([1.0, 1.5, 2.0, 3.0, 7.0, 20.0, 96.0])
)
def test_whole_cents_come_back_whatever_the_price(cents: int, later: float) -> None:
    assert one_bar(cents / 100, 0.0, later)[0] == cents / 100
