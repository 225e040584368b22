"""A vendor's bars → rows of ``us/prices``. What belongs here: putting the rules in order; no I/O.

Which row is restated how is ``adjustment``, which rule a row breaks is ``price_quality``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd

from quant_assets.domain.adjustment import as_traded
from quant_assets.domain.held import Held
from quant_assets.domain.price_quality import (
    impossible_events,
    separate_bad_bars,
    separate_implausible,
)
from quant_assets.markets import Market

SOURCE = "yahoo"
LONGEST_CLOSURE_DAYS = 15
"""Longer than any closure of either market."""
_BAR = ("open", "high", "low", "close", "volume")
Sift = Callable[[Sequence[Held]], tuple[list[Held], list[Held]]]


@dataclass(frozen=True)
class VendorBars:
    """What a vendor gave, under the platform's symbols.

    ``bars``: symbol, session_date, open, high, low, close, volume, split-adjusted as of the fetch,
    with ``MEMORY_DAYS`` before the first session wanted; ``events``: symbol, event_date, dividend,
    split_ratio, up to the day of the fetch; ``repeated``: rows that a later row of the same symbol
    and date contradicts; ``currencies``: what the vendor says the prices are in.
    """

    bars: pd.DataFrame
    events: pd.DataFrame
    repeated: pd.DataFrame
    currencies: Mapping[str, str]


@dataclass(frozen=True)
class JudgedBars:
    """Rows to store, rows to hold, and stored rows that the vendor now gives otherwise.

    ``frame`` has the columns of ``us/prices``; ``revised`` session_date, symbol, and close and
    volume as stored and as given now.
    """

    frame: pd.DataFrame
    held: list[Held]
    revised: pd.DataFrame


def judge_bars(
    market: Market,
    sessions: Sequence[date],
    given: VendorBars,
    stored: pd.DataFrame,
    sift: Sift,
) -> JudgedBars:
    """As-traded rows of ``sessions`` (ascending), without those that a rule holds back.

    ``stored`` (symbol, session_date, close, volume) is what is stored of the sessions and of the
    ``MEMORY_DAYS`` before; ``sift`` parts held rows from those that somebody has released. An
    event of a held row goes to the symbol's next row, so that no split is lost with it.
    """
    judge = _Judge(market, sessions, sift)
    bars = judge.without_closures(given.bars)
    judge.hold_all(given.repeated, "duplicate_row", "a later row of the same date contradicts it")
    wrong = {s: c for s, c in given.currencies.items() if c != market.currency}
    reasons = {s: f"the prices are in {c}, not in {market.currency}" for s, c in wrong.items()}
    bars = judge.without_symbols(bars, "currency", reasons)
    good, bad = separate_bad_bars(bars)
    is_storable = (bad["rule"] == "ohlc_order").to_numpy()
    judge.hold_each(bad[~is_storable])
    # A dividend after the last session restates no row of the sessions.
    later = given.events["event_date"] > pd.Timestamp(sessions[-1])
    given_events = given.events.assign(dividend=given.events["dividend"].mask(later, 0.0))
    refused = impossible_events(good, given_events)
    good = judge.without_symbols(good, "impossible_event", refused)
    bad = bad[is_storable & ~bad["symbol"].isin(list(refused)).to_numpy()]
    events = given_events[~given_events["symbol"].isin([*refused, *wrong])]
    frame = judge.storable(good, bad, events, stored)
    return JudgedBars(frame, judge.held, _revised(frame, stored))


class _Judge:
    """Collects what is held while the rows pass rule after rule."""

    def __init__(self, market: Market, sessions: Sequence[date], sift: Sift) -> None:
        self.held: list[Held] = []
        self._market = market
        self._wanted = pd.DatetimeIndex(pd.to_datetime(list(sessions))).as_unit("us")
        self._since = pd.Timestamp(
            _sessions_around(market, sessions[0], sessions[0] - timedelta(days=1))[-1]
        )
        self._sift = sift

    def without_closures(self, bars: pd.DataFrame) -> pd.DataFrame:
        """Rows on sessions; those on closures since the session before the first are held."""
        days = pd.Series(bars["session_date"].unique())
        closures = days[~days.dt.date.map(self._market.is_session).to_numpy(dtype=bool)]
        is_closure = bars["session_date"].isin(closures)
        shown = bars["session_date"].between(self._since, self._wanted[-1])
        reason = f"{self._market.calendar} lists no session on that day"
        self._add(bars[is_closure & shown], lambda _: ("holiday_row", reason))
        return bars[~is_closure].reset_index(drop=True)

    def without_symbols(
        self, bars: pd.DataFrame, rule: str, reasons: Mapping[str, str]
    ) -> pd.DataFrame:
        """Rows of the symbols that have no reason against them; the others' are held."""
        if not reasons:
            return bars
        is_refused = bars["symbol"].isin(list(reasons))
        refused = bars[is_refused & bars["session_date"].isin(self._wanted)]
        self._add(refused, lambda row: (rule, reasons[row["symbol"]]))
        return bars[~is_refused].reset_index(drop=True)

    def hold_all(self, rows: pd.DataFrame, rule: str, reason: str) -> None:
        """Hold the rows of the sessions for one reason."""
        self._add(rows[rows["session_date"].isin(self._wanted)], lambda _: (rule, reason))

    def hold_each(self, rows: pd.DataFrame) -> None:
        """Hold the rows of the sessions, each for its own ``rule`` and ``reason``."""
        wanted = rows[rows["session_date"].isin(self._wanted)]
        self._add(wanted, lambda row: (row["rule"], row["reason"]))

    def storable(
        self, good: pd.DataFrame, bad: pd.DataFrame, events: pd.DataFrame, stored: pd.DataFrame
    ) -> pd.DataFrame:
        """As-traded rows of the sessions without the impossible ones, unless they are released."""
        bars = pd.concat([good, bad[good.columns]], ignore_index=True) if len(bad) else good
        if bars.empty:
            return self._as_traded(bars, events)
        traded = self._as_traded(_with_bearers(bars, stored), events)
        traded = _only_of(traded, bars)
        suspects = separate_implausible(
            traded,
            stored,
            price_limit=self._market.price_limit,
            previous_session=self._session_before,
        ).bad
        suspects = pd.concat([suspects, bad], ignore_index=True)
        suspects = suspects[suspects["session_date"] <= self._wanted[-1]]
        if not suspects.empty:
            held = self._hold_suspects(suspects, bars, traded)
            keys = pd.MultiIndex.from_frame(bars[["symbol", "session_date"]])
            left = bars[~keys.isin(held)].reset_index(drop=True)
            traded = _only_of(self._as_traded(_with_bearers(left, stored), events), left)
        wanted = traded[traded["session_date"].isin(self._wanted)].reset_index(drop=True)
        return self._without_moved(wanted, events, stored)

    def _without_moved(
        self, frame: pd.DataFrame, events: pd.DataFrame, stored: pd.DataFrame
    ) -> pd.DataFrame:
        """Hold last rows whose event was stored on the next session while they were held."""
        by = ["symbol", "dividend", "split_ratio"]
        after = stored[stored["session_date"] > self._wanted[-1]]
        after = after[(after["dividend"] != 0) | (after["split_ratio"] != 1)]
        own = pd.MultiIndex.from_frame(events[["symbol", "event_date"]])
        keys = pd.MultiIndex.from_frame(after[["symbol", "session_date"]])
        moved = pd.MultiIndex.from_frame(after.loc[~keys.isin(own), by])
        is_last = (frame["session_date"] == self._wanted[-1]).to_numpy()
        is_moved = is_last & pd.MultiIndex.from_frame(frame[by]).isin(moved)
        reason = "its split or dividend is stored on the next session: materialize both as a range"
        self._add(frame[is_moved], lambda _: ("event_moved", reason))
        return frame[~is_moved].reset_index(drop=True)

    def _hold_suspects(
        self, suspects: pd.DataFrame, bars: pd.DataFrame, traded: pd.DataFrame
    ) -> list[tuple[str, pd.Timestamp]]:
        """Hold the suspects that nobody released; their (symbol, date) pairs."""
        suspects = suspects.drop_duplicates(["symbol", "session_date"], keep="last")
        by = ["symbol", "session_date"]
        rows = suspects[by].merge(traded, on=by).to_dict("records")
        raws = suspects[by].merge(bars, on=by).to_dict("records")
        candidates = [
            self._one(raw, rule, reason, row)
            for rule, reason, raw, row in zip(
                suspects["rule"], suspects["reason"], raws, rows, strict=True
            )
        ]
        held, _ = self._sift(candidates)
        first = f"{self._wanted[0]:%Y-%m-%d}"
        self.held += [one for one in held if one.partition >= first]
        return [(one.item, pd.Timestamp(one.partition)) for one in held]

    def _as_traded(self, bars: pd.DataFrame, events: pd.DataFrame) -> pd.DataFrame:
        traded = as_traded(bars, events, price_decimals=self._market.price_decimals)
        days = traded["session_date"].unique()
        complete = {day: pd.Timestamp(self._market.complete_at(day.date())) for day in days}
        return traded.assign(available_at=traded["session_date"].map(complete))

    def _session_before(self, days: pd.Series) -> pd.Series:
        sessions = _sessions_around(self._market, days.min().date(), days.max().date())
        known = np.array(sessions, dtype="datetime64[us]")
        place = np.searchsorted(known, days.to_numpy().astype("datetime64[us]"), side="left")
        return pd.Series(known[np.maximum(place - 1, 0)], index=days.index)

    def _add(self, rows: pd.DataFrame, why: Callable[[Mapping[str, Any]], tuple[str, str]]) -> None:
        for row in rows.to_dict("records"):
            named = {str(name): value for name, value in row.items()}
            self.held.append(self._one(named, *why(named), None))

    def _one(
        self,
        bar: Mapping[Any, Any],
        rule: str,
        reason: str,
        row: Mapping[Any, Any] | None,
    ) -> Held:
        raw = {name: bar[name] for name in _BAR}
        return Held(
            partition=f"{bar['session_date']:%Y-%m-%d}",
            item=str(bar["symbol"]),
            rule=rule,
            reason=reason,
            source=SOURCE,
            raw=raw,
            row=None if row is None else {str(name): value for name, value in row.items()},
        )


def _with_bearers(bars: pd.DataFrame, stored: pd.DataFrame) -> pd.DataFrame:
    """``bars``, and a stand-in for each stored row with an event that is not among them.

    Its event is stored: it must not go to the next row as well.
    """
    bearers = stored[(stored["dividend"] != 0) | (stored["split_ratio"] != 1)]
    by = ["symbol", "session_date"]
    keys = pd.MultiIndex.from_frame(bars[by])
    gone = bearers[~pd.MultiIndex.from_frame(bearers[by]).isin(keys)]
    if gone.empty:
        return bars
    close = gone["close"]
    gone = gone.assign(open=close, high=close, low=close)
    return pd.concat([bars, gone[bars.columns]], ignore_index=True)


def _only_of(traded: pd.DataFrame, bars: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``traded`` that are in ``bars``, without the stand-ins."""
    return traded.iloc[: len(bars)]


def _sessions_around(market: Market, first: date, last: date) -> list[date]:
    """Sessions up to ``last``, from at least one before ``first`` on."""
    return market.sessions(first - timedelta(days=LONGEST_CLOSURE_DAYS), last)


def _revised(frame: pd.DataFrame, stored: pd.DataFrame) -> pd.DataFrame:
    by = ["session_date", "symbol"]
    both = stored[[*by, "close", "volume"]].merge(
        frame[[*by, "close", "volume"]], on=by, suffixes=("_stored", "_now")
    )
    is_same = (both["close_stored"] == both["close_now"]) & (
        both["volume_stored"] == both["volume_now"]
    )
    return both[~is_same].reset_index(drop=True)


def renamed(frame: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """``frame`` with the vendor's symbols replaced by the platform's."""
    return frame.assign(symbol=frame["symbol"].map(names).astype("str"))


def stored_pairs(frame: pd.DataFrame) -> Iterable[tuple[str, str]]:
    """(partition, item) of each row, as the quarantine names rows."""
    return zip(frame["session_date"].dt.strftime("%Y-%m-%d"), frame["symbol"], strict=True)
