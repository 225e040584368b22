"""Vendor's bars → rows to store and rows to hold; above all, where a split or dividend ends up."""

from collections.abc import Sequence
from datetime import date

import pandas as pd
import pytest

from quant_assets.domain.held import Held
from quant_assets.domain.price_bars import JudgedBars, VendorBars, judge_bars
from quant_assets.markets import US

DAYS = US.sessions(date(2024, 1, 2), date(2024, 2, 15))
SPLIT_DAY, NEXT_DAY = DAYS[20], DAYS[21]
COLUMNS = ["session_date", "symbol", "close", "volume", "dividend", "split_ratio"]


def vendor(
    *, until: date = DAYS[-1], without: Sequence[date] = (), wrong: Sequence[date] = ()
) -> VendorBars:
    """Answer for a symbol at 25 after a 4:1 split, which traded at 100 before it."""
    days = [day for day in DAYS if day <= until and day not in without]
    prices = [2500.0 if day in wrong else 25.0 for day in days]
    bars = pd.DataFrame(
        {
            "symbol": pd.array(["AAPL"] * len(days), dtype="str"),
            "session_date": pd.to_datetime(days).as_unit("us"),
            **dict.fromkeys(("open", "high", "low", "close"), prices),
            "volume": 4000,
        }
    )
    events = pd.DataFrame(
        {
            "symbol": pd.array(["AAPL"], dtype="str"),
            "event_date": pd.to_datetime([SPLIT_DAY]).as_unit("us"),
            "dividend": [0.5],
            "split_ratio": [4.0],
        }
    )
    return VendorBars(bars, events, bars.iloc[:0], {"AAPL": "USD"})


def judged(
    first: date, last: date, given: VendorBars, stored: pd.DataFrame | None = None
) -> JudgedBars:
    known = pd.DataFrame(columns=COLUMNS) if stored is None else stored[COLUMNS]
    if known.empty:
        known = judge_bars(US, DAYS[:1], vendor(), _none(), _hold_all).frame.iloc[:0][COLUMNS]
    return judge_bars(US, US.sessions(first, last), given, known, _hold_all)


def _none() -> pd.DataFrame:
    bars = vendor().bars.iloc[:0]
    return bars.assign(dividend=1.0, split_ratio=1.0)[COLUMNS]


def _hold_all(held: Sequence[Held]) -> tuple[list[Held], list[Held]]:
    return list(held), []


def events_of(frame: pd.DataFrame) -> dict[str, tuple[float, float]]:
    rows = frame[(frame["split_ratio"] != 1) | (frame["dividend"] != 0)]
    return {
        f"{row.session_date:%Y-%m-%d}": (row.dividend, row.split_ratio) for row in rows.itertuples()
    }


EVENT = {f"{SPLIT_DAY}": (0.5, 4.0)}


def test_an_event_stands_on_its_own_day() -> None:
    result = judged(DAYS[15], DAYS[25], vendor())
    assert events_of(result.frame) == EVENT
    assert result.held == []
    assert result.frame["close"].tolist() == [100.0] * 5 + [25.0] * 6


def test_the_event_of_a_held_row_goes_to_the_next_row() -> None:
    result = judged(DAYS[15], DAYS[25], vendor(wrong=[SPLIT_DAY]))
    assert events_of(result.frame) == {f"{NEXT_DAY}": (0.5, 4.0)}
    assert [(one.partition, one.rule) for one in result.held] == [(f"{SPLIT_DAY}", "unit_error")]


@pytest.mark.parametrize(
    "later", [vendor(without=[SPLIT_DAY]), vendor(wrong=[SPLIT_DAY])], ids=["absent", "wrong"]
)
def test_a_stored_event_is_not_stored_again_on_the_next_day(later: VendorBars) -> None:
    stored = judged(DAYS[15], SPLIT_DAY, vendor()).frame
    result = judged(NEXT_DAY, NEXT_DAY, later, stored)
    assert events_of(result.frame) == {}
    assert result.frame["close"].tolist() == [25.0]
    both = judged(SPLIT_DAY, NEXT_DAY, later, stored)
    assert events_of(both.frame) == {}, "the stored row keeps it"


def test_a_row_whose_event_is_stored_on_the_next_day_waits_for_it() -> None:
    """Held at first, so that the next row bore the split; corrected later."""
    stored = judged(DAYS[15], NEXT_DAY, vendor(wrong=[SPLIT_DAY])).frame
    alone = judged(SPLIT_DAY, SPLIT_DAY, vendor(), stored)
    assert alone.frame.empty
    assert [(one.rule, one.row) for one in alone.held] == [("event_moved", None)]
    assert "materialize both as a range" in alone.held[0].reason
    both = judged(SPLIT_DAY, NEXT_DAY, vendor(), stored)
    assert events_of(both.frame) == EVENT
    assert both.held == []


def test_what_comes_later_changes_nothing() -> None:
    for day in (DAYS[19], SPLIT_DAY, NEXT_DAY):
        soon, late = judged(day, day, vendor(until=day)), judged(day, day, vendor())
        if day < SPLIT_DAY:
            soon_bars = vendor(until=day).bars
            price = ["open", "high", "low", "close"]
            soon_bars[price] *= 4.0
            soon_bars["volume"] //= 4
            events = vendor().events.iloc[:0]
            soon = judged(day, day, VendorBars(soon_bars, events, soon_bars.iloc[:0], {}))
        pd.testing.assert_frame_equal(soon.frame, late.frame)
