"""A market for tests of the paper book, made from a seed. What belongs here: no tests."""

import numpy as np
import pandas as pd

from quant_assets.domain.ledger_book import BAR_FIELDS, Bars, bars_of


def random_prices(seed: int, sessions: int, symbols: int) -> pd.DataFrame:
    """Rows as of ``us/prices``: splits up and down, dividends, days without a bar or a volume."""
    random = np.random.default_rng(seed)
    days = pd.bdate_range("2024-01-02", periods=sessions).astype("datetime64[us]")
    rows = []
    for number in range(symbols):
        close = random.uniform(5, 400)
        for day in days:
            if random.random() < 0.03:
                continue
            split = random.choice([1.0, 2.0, 1.5, 0.1, 4 / 3], p=[0.96, 0.01, 0.01, 0.01, 0.01])
            opens = round(close / split * np.exp(random.normal(0, 0.02)), 2) + 0.01
            close = round(opens * np.exp(random.normal(0, 0.02)), 2) + 0.01
            dividend = round(opens * 0.01, 4) if random.random() < 0.02 else 0.0
            high, low = max(opens, close) + 0.05, min(opens, close) - 0.005
            volume = int(random.choice([0, 300, 40_000, 9_000_000]))
            values = (opens, high, low, close, volume, dividend, split)
            rows.append((day, f"S{number:02d}", *values))
    names = ["session_date", "symbol", *BAR_FIELDS]
    return pd.DataFrame(rows, columns=names)


def random_bars(seed: int, sessions: int, symbols: int) -> Bars:
    """Bars of ``random_prices``; the last symbol leaves after two thirds of the sessions."""
    prices = random_prices(seed, sessions, symbols)
    days = pd.DatetimeIndex(sorted(prices["session_date"].unique()))
    listed = np.ones((len(days), symbols), bool)
    listed[2 * len(days) // 3 :, -1] = False
    return bars_of(prices, days, sorted(prices["symbol"].unique()), listed)
