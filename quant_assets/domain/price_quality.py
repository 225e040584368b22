"""Which price rows can be trusted. What belongs here: rules on rows; no I/O, no clock."""

import numpy as np
import pandas as pd

PRICE_COLUMNS = ("open", "high", "low", "close")


def separate_bad_bars(bars: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows that obey the rules of a bar, and the others with a column ``reason``.

    A bar needs four finite positive prices, low <= open, close <= high, and a volume that is not
    negative. In: symbol, session_date, open, high, low, close, volume. The index is renewed.
    """
    prices = bars[list(PRICE_COLUMNS)].to_numpy(dtype=float)
    opens, highs, lows, closes = prices.T
    rules = {
        "a price is missing or infinite": ~np.isfinite(prices).all(axis=1),
        "a price is zero or negative": (prices <= 0).any(axis=1),
        "the high is below another price": highs < np.maximum(np.maximum(opens, closes), lows),
        "the low is above another price": lows > np.minimum(opens, closes),
        "the volume is negative": bars["volume"].to_numpy() < 0,
    }
    reason = np.select(list(rules.values()), list(rules), default="")
    is_bad = reason != ""
    good = bars[~is_bad].reset_index(drop=True)
    bad = bars[is_bad].assign(reason=reason[is_bad]).reset_index(drop=True)
    return good, bad


def impossible_events(bars: pd.DataFrame, events: pd.DataFrame) -> dict[str, str]:
    """Symbols whose bars cannot be restated because an event of theirs is impossible, and why.

    A split ratio is positive and finite, a dividend is finite, not negative, and below the close
    before it. ``bars`` and ``events`` are on the vendor's one split-adjusted basis.
    """
    ratio, dividend = events["split_ratio"], events["dividend"]
    before = pd.merge_asof(
        events[["symbol", "event_date"]].reset_index().sort_values("event_date"),
        bars[["symbol", "session_date", "close"]].sort_values("session_date"),
        left_on="event_date",
        right_on="session_date",
        by="symbol",
        allow_exact_matches=False,
    ).set_index("index")["close"]
    rules = {
        "split ratio": ~(np.isfinite(ratio) & (ratio > 0)),
        "dividend": ~(np.isfinite(dividend) & (dividend >= 0)),
        "dividend not below the close before it:": dividend >= before.reindex(events.index),
    }
    found: dict[str, str] = {}
    for what, is_broken in rules.items():
        column = "split_ratio" if what == "split ratio" else "dividend"
        for event in events[is_broken].itertuples():
            reason = f"impossible {what} {getattr(event, column):g} on {event.event_date:%Y-%m-%d}"
            found.setdefault(str(event.symbol), reason)
    return found
