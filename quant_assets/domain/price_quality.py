"""Which price rows can be trusted. What belongs here: rules on rows; no I/O, no clock.

Two kinds of rules. What cannot be true (prices out of order, a price ten times off, a bar on a
closure, a move that the exchange forbids) keeps a row out of the dataset: see ``quarantine``. What
is only strange (a jump, a stale close, a volume step) is stored and reported: ``doubtful``.

Every rule looks back only and at most ``MEMORY_DAYS``, so that a session judged alone and the same
session in a range of years get one verdict, and nothing later changes it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

PRICE_COLUMNS = ("open", "high", "low", "close")
MEMORY_DAYS = 30
"""Calendar days behind a session that its rules look at: about 20 bars."""
UNIT_FACTOR = 10.0
"""A close this many times above or below the median of its memory is no price of that symbol.

Wrong currencies and units are off by 100 or 1,000. In 197,000 recorded bars of both markets the
widest move in a day was 49 %.
"""
LIMIT_TOLERANCE = 0.005
"""Beyond the daily limit by this much is a mistake: limit prices are rounded to the tick."""
JUMP = 0.30
"""A move against the market's median that is worth a look: 3 of 108,000 recorded US bars."""
STALE_SESSIONS = 5
"""So many equal closes on end are a halt or a feed that stands still."""
VOLUME_FACTOR = 50.0
"""A volume this many times above the median of its memory, 0.2 % of recorded bars."""
ABSENT_SESSIONS = 10
"""So many sessions without a bar: the symbol was probably renamed or delisted."""


class Verdict(NamedTuple):
    """Rows that may be stored, and those that may not with ``rule`` and ``reason``."""

    good: pd.DataFrame
    bad: pd.DataFrame


def separate_bad_bars(bars: pd.DataFrame) -> Verdict:
    """Part the rows that obey the rules of a bar from the others.

    A bar needs four finite positive prices, low <= open, close <= high, and a volume that is not
    negative. In: symbol, session_date, open, high, low, close, volume. The index is renewed.
    """
    prices = bars[list(PRICE_COLUMNS)].to_numpy(dtype=float)
    opens, highs, lows, closes = prices.T
    return _part(
        bars,
        {
            ("missing_price", "a price is missing or infinite"): ~np.isfinite(prices).all(axis=1),
            ("zero_price", "a price is zero or negative"): np.any(prices <= 0, axis=1),
            ("ohlc_order", "the high is below another price"): highs
            < np.maximum(np.maximum(opens, closes), lows),
            ("ohlc_order", "the low is above another price"): lows > np.minimum(opens, closes),
            ("negative_volume", "the volume is negative"): bars["volume"].to_numpy() < 0,
        },
    )


def impossible_events(bars: pd.DataFrame, events: pd.DataFrame) -> dict[str, str]:
    """Symbols whose bars cannot be restated because an event of theirs is impossible, and why.

    A split ratio is positive and finite, a dividend is finite, not negative, and below the higher
    of the closes before and from it (one of them may be wrong by itself). ``bars`` and ``events``
    are on the vendor's one split-adjusted basis.
    """
    ratio, dividend = events["split_ratio"], events["dividend"]
    around = [_close_beside(bars, events, direction) for direction in ("backward", "forward")]
    highest = np.fmax(*around)
    rules = {
        "split ratio": ~(np.isfinite(ratio) & (ratio > 0)),
        "dividend": ~(np.isfinite(dividend) & (dividend >= 0)),
        "dividend not below the closes beside it:": dividend >= highest,
    }
    found: dict[str, str] = {}
    for what, is_broken in rules.items():
        column = "split_ratio" if what == "split ratio" else "dividend"
        for event in events[is_broken].itertuples():
            reason = f"impossible {what} {getattr(event, column):g} on {event.event_date:%Y-%m-%d}"
            found.setdefault(str(event.symbol), reason)
    return found


def _close_beside(bars: pd.DataFrame, events: pd.DataFrame, direction: str) -> np.ndarray:
    """Close of each event's last bar before it, or (forward) of its first bar from it on."""
    joined = pd.merge_asof(
        events[["symbol", "event_date"]].reset_index().sort_values("event_date"),
        bars[["symbol", "session_date", "close"]].sort_values("session_date"),
        left_on="event_date",
        right_on="session_date",
        by="symbol",
        direction=direction,  # type: ignore[arg-type]
        allow_exact_matches=direction == "forward",
    )
    return joined.set_index("index")["close"].reindex(events.index).to_numpy(dtype=float)


def separate_implausible(
    bars: pd.DataFrame,
    stored: pd.DataFrame,
    *,
    price_limit: float | None,
    previous_session: Callable[[pd.Series], pd.Series],
) -> Verdict:
    """Part the as-traded rows whose close is possible from those whose close is not.

    ``bars`` is as-traded (symbol, session_date, close, volume, split_ratio) with the vendor's rows
    of at least ``MEMORY_DAYS`` before the first session to judge; ``stored`` (symbol,
    session_date, close) is what is stored of the same days. A close is impossible if it is
    ``UNIT_FACTOR`` times away from the median close of its memory, from the stored close of its
    own session (unless vendor and store agree on the memory: then the stored one is off), or if
    the vendor's memory is that far from the stored one; and beyond
    ``price_limit`` (a share of the close before), where the market has one and the symbol traded
    in the session before. ``previous_session`` gives the session before each date.
    """
    rows = bars.sort_values(["symbol", "session_date"], ignore_index=True)
    basis = rows["close"] * _split_basis(rows)
    usual = _memory(rows, basis, "median")
    against_usual = basis / usual
    known = rows[["symbol", "session_date"]].merge(
        stored[["symbol", "session_date", "close"]], how="left", on=["symbol", "session_date"]
    )["close"]
    against_stored = rows["close"] / known
    drift = _memory(rows, against_stored, "median")
    before = rows.groupby("symbol")[["session_date", "volume"]].shift()
    move = basis / basis.groupby(rows["symbol"]).shift() - 1
    is_next = (before["session_date"] == previous_session(rows["session_date"])).to_numpy()
    traded = is_next & (before["volume"] > 0).to_numpy() & (rows["split_ratio"] == 1).to_numpy()
    limit = np.inf if price_limit is None else price_limit + LIMIT_TOLERANCE
    is_off = _is_far(against_usual) | _is_far(against_stored)
    beyond = traded & (move.abs() > limit).to_numpy()
    after_bad = pd.Series(is_off | beyond).groupby(rows["symbol"]).shift(fill_value=False)
    back = basis / basis.groupby(rows["symbol"]).shift(2)
    is_back = after_bad & back.between(max(0.0, 1 - limit) ** 2, (1 + limit) ** 2)
    verdict = _part(
        rows,
        {
            ("unit_error", "{ratio:.4g} times the usual close"): _is_far(against_usual),
            ("unit_error", "{stored:.4g} times the stored close"): _is_far(against_stored)
            & ~drift.between(0.5, 2.0).to_numpy(),
            ("unit_error", "the closes before are {drift:.4g} times the stored ones"): _is_far(
                drift
            ),
            ("price_limit", "{move:+.1%} in a day, the exchange allows {limit:.0%}"): beyond
            & ~is_back.to_numpy(),
        },
    )
    values = pd.DataFrame(
        {"ratio": against_usual, "stored": against_stored, "drift": drift, "move": move}
    ).assign(limit=price_limit)
    facts = values.loc[verdict.bad["position"]].to_dict("records")
    told = [
        str(reason).format_map({str(name): value for name, value in row.items()})
        for reason, row in zip(verdict.bad["reason"], facts, strict=True)
    ]
    return Verdict(verdict.good, verdict.bad.assign(reason=pd.array(told, dtype="str")))


def doubtful(prices: pd.DataFrame, first: pd.Timestamp) -> pd.DataFrame:
    """Stored rows from ``first`` on that are possible and strange.

    ``prices`` is as stored (symbol, session_date, close, volume, split_ratio), with the sessions
    of ``MEMORY_DAYS`` before ``first``. Returns rule, session_date, symbol, detail: ``price_jump``
    (a move of more than ``JUMP`` against the market's median move, splits undone), ``stale_close``
    (``STALE_SESSIONS`` equal closes on end), ``volume_step`` (``VOLUME_FACTOR`` times the median
    volume). One row a symbol and rule for each session in which it holds.
    """
    rows = prices.sort_values(["symbol", "session_date"], ignore_index=True)
    by_symbol = rows.groupby("symbol")
    move = rows["close"] * rows["split_ratio"] / by_symbol["close"].shift() - 1
    market = move.groupby(rows["session_date"]).transform("median")
    count = move.groupby(rows["session_date"]).transform("count")
    market = market.where(count >= 5, 0.0)
    changed = (by_symbol["close"].shift() != rows["close"]).groupby(rows["symbol"]).cumsum()
    repeats = rows.groupby(["symbol", changed]).cumcount() + 1
    usual = _memory(rows, rows["volume"].astype(float), "median")
    step = rows["volume"] / usual.where(usual > 0)
    is_wanted = (rows["session_date"] >= first).to_numpy()
    rules: dict[str, tuple[pd.Series, Callable[[int], str]]] = {
        "price_jump": (
            (move - market).abs() > JUMP,
            lambda n: f"close {rows['close'][n]:,.6g}, {move[n]:+.1%}, market {market[n]:+.1%}",
        ),
        "stale_close": (
            repeats >= STALE_SESSIONS,
            lambda n: (
                f"close {rows['close'][n]:,.6g} for {repeats[n]} sessions, volume "
                f"{rows['volume'][n]:,}"
            ),
        ),
        "volume_step": (
            step > VOLUME_FACTOR,
            lambda n: f"volume {rows['volume'][n]:,}, {step[n]:,.0f} times the median",
        ),
    }
    found = [
        (rule, rows["session_date"][n], rows["symbol"][n], describe(n))
        for rule, (holds, describe) in rules.items()
        for n in np.flatnonzero(holds.fillna(False).to_numpy() & is_wanted).tolist()
    ]
    return pd.DataFrame(found, columns=["rule", "session_date", "symbol", "detail"])


def absent(prices: pd.DataFrame, listed: Sequence[str]) -> list[tuple[str, str]]:
    """Listed symbols without a bar in the last ``ABSENT_SESSIONS`` stored sessions, with a hint.

    In: session_date, symbol. None where fewer sessions are stored.
    """
    sessions = np.sort(prices["session_date"].unique())[-ABSENT_SESSIONS:]
    if len(sessions) < ABSENT_SESSIONS:
        return []
    have = set(prices.loc[prices["session_date"].isin(sessions), "symbol"])
    hint = (
        f"no bar in {ABSENT_SESSIONS} sessions: if it was renamed, give the universe file its new "
        "yahoo_symbol, if it was delisted, its delisted_on"
    )
    return [(symbol, hint) for symbol in listed if symbol not in have]


def _split_basis(rows: pd.DataFrame) -> pd.Series:
    """Factor that puts as-traded closes of each symbol on one basis: past splits multiplied in."""
    factor: pd.Series = rows.groupby("symbol")["split_ratio"].cumprod()
    return factor


def _memory(rows: pd.DataFrame, values: pd.Series, statistic: str, least: int = 3) -> pd.Series:
    """A statistic of each row's ``MEMORY_DAYS`` without the row; NaN with fewer than ``least``.

    ``rows`` is sorted by symbol and date.
    """
    if rows.empty:
        return pd.Series([], dtype=float)
    table = pd.DataFrame(
        {"symbol": rows["symbol"], "session_date": rows["session_date"], "value": values}
    )
    rolling = table.groupby("symbol", sort=True).rolling(
        f"{MEMORY_DAYS}D", on="session_date", closed="left", min_periods=least
    )["value"]
    return pd.Series(getattr(rolling, statistic)().to_numpy(), index=rows.index)


def _is_far(ratio: pd.Series) -> np.ndarray:
    values = ratio.to_numpy(dtype=float)
    with np.errstate(invalid="ignore"):
        return (values >= UNIT_FACTOR) | (values <= 1 / UNIT_FACTOR)


def _part(rows: pd.DataFrame, rules: dict[tuple[str, str], np.ndarray]) -> Verdict:
    """Split by the first rule that holds; ``position`` of a bad row is its place in ``rows``."""
    number = np.select(list(rules.values()), range(1, len(rules) + 1), default=0)
    names = [("", ""), *rules]
    is_bad = number > 0
    bad = rows[is_bad].assign(
        rule=pd.array([names[n][0] for n in number[is_bad]], dtype="str"),
        reason=pd.array([names[n][1] for n in number[is_bad]], dtype="str"),
        position=np.flatnonzero(is_bad),
    )
    return Verdict(rows[~is_bad].reset_index(drop=True), bad.reset_index(drop=True))
