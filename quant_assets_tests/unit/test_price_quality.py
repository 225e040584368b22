"""Which bars are kept, which are set aside, and why."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from quant_assets.domain.price_quality import (
    absent,
    doubtful,
    impossible_events,
    separate_bad_bars,
    separate_implausible,
)
from quant_assets.markets import US
from quant_assets.schemas import dataset_of

GOOD = {"open": 10.0, "high": 11.0, "low": 9.0, "close": 10.5, "volume": 1000}
MISSING = "a price is missing or infinite"
ZERO = "a price is zero or negative"
HIGH = "the high is below another price"
LOW = "the low is above another price"
VOLUME = "the volume is negative"


def _bars(*rows: dict[str, Any]) -> pd.DataFrame:
    frame = pd.DataFrame([{**GOOD, **row} for row in rows])
    frame["symbol"] = [f"S{n}" for n in range(len(frame))]
    frame["session_date"] = pd.Timestamp("2024-01-02")
    return frame


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"open": np.nan}, MISSING),
        ({"close": np.nan}, MISSING),
        ({"high": np.inf}, MISSING),
        ({"low": -np.inf}, MISSING),
        ({"low": 0.0}, ZERO),
        ({"open": 0.0, "high": 0.0, "low": 0.0, "close": 0.0, "volume": 0}, ZERO),
        ({"low": -9.0}, ZERO),
        ({"high": 10.4}, HIGH),
        ({"open": 11.01}, HIGH),
        ({"high": 8.0, "open": 8.0, "close": 8.0}, HIGH),
        ({"low": 10.01}, LOW),
        ({"close": 8.99}, LOW),
        ({"volume": -1}, VOLUME),
        # 100 times off in one price only.
        ({"close": 1050.0}, HIGH),
        ({"close": 0.105}, LOW),
        ({"open": np.nan, "volume": -1}, MISSING),
    ],
)
def test_a_bad_bar_is_set_aside_with_its_reason(change: dict[str, Any], reason: str) -> None:
    bars = _bars({}, change, {}).set_index(pd.Index([5, 5, 7]))
    good, bad = separate_bad_bars(bars)
    assert good["symbol"].tolist() == ["S0", "S2"]
    assert bad[["symbol", "reason"]].to_numpy().tolist() == [["S1", reason]]
    assert good.index.tolist() == [0, 1]
    assert bad.index.tolist() == [0]
    assert "reason" not in good


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"volume": 0},
        {"open": 10.0, "high": 10.0, "low": 10.0, "close": 10.0},
        {"open": 9.0, "close": 11.0},
        {"open": 11.0, "close": 9.0},
        {"open": 0.0001, "high": 0.0001, "low": 0.0001, "close": 0.0001},
    ],
)
def test_an_unusual_bar_is_a_bar(change: dict[str, Any]) -> None:
    good, bad = separate_bad_bars(_bars(change))
    assert (len(good), len(bad)) == (1, 0)


def test_no_bars() -> None:
    good, bad = separate_bad_bars(_bars({}).iloc[:0])
    assert (len(good), len(bad)) == (0, 0)
    assert list(bad.columns) == [*good.columns, "rule", "reason", "position"]


prices = st.floats(allow_nan=True, allow_infinity=True, width=32)


@hypothesis_settings(deadline=None)
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                **dict.fromkeys(("open", "high", "low", "close"), prices),
                "volume": st.integers(-5, 5),
            }
        ),
        max_size=8,
    )
)
def test_every_bar_is_in_one_of_the_two_and_the_good_ones_conform(
    rows: list[dict[str, Any]],
) -> None:
    bars = _bars(*rows) if rows else _bars({}).iloc[:0]
    before = bars.copy()
    good, bad = separate_bad_bars(bars)
    assert sorted([*good["symbol"], *bad["symbol"]]) == bars["symbol"].tolist()
    assert (bad["reason"] != "").all()
    again, none = separate_bad_bars(good)
    pd.testing.assert_frame_equal(again, good)
    assert none.empty
    pd.testing.assert_frame_equal(bars, before)
    available = pd.Timestamp("2024-01-02 21:30", tz="UTC")
    stored = good.assign(dividend=0.0, split_ratio=1.0, available_at=available)
    assert len(dataset_of("us/prices").conform(stored, "us/prices")) == len(good)


def test_recorded_bars(recorded_data: Path) -> None:
    """Of 197,439 recorded bars 190 are refused: zero rows of halted days and impossible highs."""
    bars = pd.read_parquet(recorded_data / "recorded" / "bars.parquet")
    good, bad = separate_bad_bars(bars.rename(columns={"session": "session_date"}))
    assert len(good) + len(bad) == len(bars)
    assert bad["reason"].value_counts().to_dict() == {ZERO: 179, HIGH: 11}
    assert (good["low"] <= good[["open", "close"]].min(axis=1)).all()
    assert (good["high"] >= good[["open", "close"]].max(axis=1)).all()


@pytest.mark.parametrize(
    ("dividend", "ratio", "reason"),
    [
        (0.0, 0.0, "impossible split ratio 0 on 2026-03-11"),
        (0.0, -2.0, "impossible split ratio -2"),
        (0.0, float("inf"), "impossible split ratio inf"),
        (float("nan"), 1.0, "impossible dividend nan"),
        (-0.5, 1.0, "impossible dividend -0.5"),
        (100.0, 1.0, "dividend not below the closes beside it: 100"),
    ],
)
def test_an_impossible_event_names_its_symbol_alone(
    dividend: float, ratio: float, reason: str
) -> None:
    days = pd.to_datetime(["2026-03-10", "2026-03-11"]).astype("datetime64[us]")
    bars = pd.DataFrame(
        {"symbol": ["A", "A", "B", "B"], "session_date": [*days, *days], "close": [100.0] * 4}
    )
    events = pd.DataFrame(
        {
            "symbol": ["A", "B"],
            "event_date": [days[1], days[1]],
            "dividend": [dividend, 1.0],
            "split_ratio": [ratio, 2.0],
        }
    )
    found = impossible_events(bars, events)
    assert list(found) == ["A"]
    assert reason in found["A"]


SESSIONS = US.sessions(date(2024, 1, 2), date(2024, 4, 30))


def _previous(days: pd.Series) -> pd.Series:
    known = np.array([date(2023, 12, 29), *SESSIONS], dtype="datetime64[us]")
    return pd.Series(known[np.searchsorted(known, days.to_numpy()) - 1], index=days.index)


def _history(closes: Sequence[float], symbol: str = "AAPL", volume: int = 1000) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "symbol": symbol,
            "session_date": pd.to_datetime(SESSIONS[: len(closes)]).as_unit("us"),
            "close": closes,
            "volume": volume,
            "split_ratio": 1.0,
        }
    )


def _judge(
    bars: pd.DataFrame, stored: pd.DataFrame | None = None, limit: float | None = None
) -> dict[str, str]:
    verdict = separate_implausible(
        bars,
        _history([]) if stored is None else stored,
        price_limit=limit,
        previous_session=_previous,
    )
    assert len(verdict.good) + len(verdict.bad) == len(bars)
    days = verdict.bad["session_date"].dt.strftime("%m-%d")
    return dict(zip(days, verdict.bad["rule"] + ": " + verdict.bad["reason"], strict=True))


@pytest.mark.parametrize(
    ("factor", "is_held"), [(100, True), (0.01, True), (10, True), (0.1, True), (9.5, False)]
)
def test_a_close_far_from_the_usual_is_held(factor: float, is_held: bool) -> None:
    found = _judge(_history([*[20.0] * 10, 20.0 * factor, 20.0]))
    assert found == ({"01-17": f"unit_error: {factor:g} times the usual close"} if is_held else {})


def test_a_split_is_no_unit_error() -> None:
    bars = _history([200.0] * 8 + [10.0] * 8)
    bars.loc[8, "split_ratio"] = 20.0
    assert _judge(bars) == {}


def test_a_missing_split_is_held_until_the_new_level_is_the_usual_one() -> None:
    found = _judge(_history([200.0] * 20 + [10.0] * 20))
    assert len(found) == 12, "half of the memory"
    assert found["01-31"] == "unit_error: 0.05 times the usual close"


def test_two_bars_are_no_memory() -> None:
    assert _judge(_history([20.0, 20.0, 2000.0])) == {}


def test_the_stored_close_of_the_session_counts() -> None:
    found = _judge(_history([2000.0]), stored=_history([20.0]))
    assert found == {"01-02": "unit_error: 100 times the stored close"}


def test_the_stored_history_counts_where_the_session_is_new() -> None:
    found = _judge(_history([2000.0] * 5), stored=_history([20.0] * 4))
    assert found["01-08"] == "unit_error: the closes before are 100 times the stored ones"


@pytest.mark.parametrize(("close", "is_held"), [(130.0, False), (130.4, False), (131.0, True)])
def test_a_move_beyond_the_exchanges_limit_is_held(close: float, is_held: bool) -> None:
    found = _judge(_history([100.0, 100.0, close]), limit=0.30)
    assert bool(found) == is_held
    assert _judge(_history([100.0, 100.0, close])) == {}, "no limit in the United States"


def test_the_limit_does_not_bind_after_a_halt() -> None:
    bars = _history([100.0, 100.0, 150.0])
    assert _judge(bars.drop(index=1), limit=0.30) == {}
    bars.loc[1, "volume"] = 0
    assert _judge(bars, limit=0.30) == {}


@given(
    closes=st.lists(st.floats(1, 1e6), min_size=1, max_size=60),
    first=st.integers(0, 59),
    limit=st.sampled_from([None, 0.3]),
)
@hypothesis_settings(max_examples=60, deadline=None)
def test_a_session_alone_and_in_a_range_get_one_verdict(
    closes: list[float], first: int, limit: float | None
) -> None:
    """Alone, the vendor's answer begins 45 days before; what comes later is not there yet."""
    bars = _history(closes)
    n = min(first, len(closes) - 1)
    day = bars["session_date"].iloc[n]
    alone = bars[bars["session_date"].between(day - pd.Timedelta(days=45), day)]
    name = f"{day:%m-%d}"
    assert _judge(bars, limit=limit).get(name) == _judge(
        alone.reset_index(drop=True), limit=limit
    ).get(name)


def test_doubtful_rows_are_named_with_their_values() -> None:
    others = [_history([50.0] * 12, symbol=f"S{n}") for n in range(5)]
    for other in others:
        other["close"] += np.arange(12) * 0.01
    jump = _history([50.0] * 10 + [80.0, 81.0])
    jump["close"] += np.arange(12) * 0.01
    stale = _history([50.0 + n * 0.01 for n in range(6)] + [7.0] * 6, symbol="STALE")
    busy = _history([50.0 + n * 0.01 for n in range(12)], symbol="BUSY")
    busy.loc[11, "volume"] = 60_000
    prices = pd.concat([jump, stale, busy, *others], ignore_index=True)
    found = doubtful(prices, pd.Timestamp(SESSIONS[10]))
    rows = [tuple(row) for row in found.drop(columns="session_date").itertuples(index=False)]
    assert ("price_jump", "AAPL", "close 80.1, +59.9%, market +0.0%") in rows
    assert ("stale_close", "STALE", "close 7 for 5 sessions, volume 1,000") in rows
    assert ("volume_step", "BUSY", "volume 60,000, 60 times the median") in rows
    assert {row[1] for row in rows} == {"AAPL", "STALE", "BUSY"}
    assert (found["session_date"] >= pd.Timestamp(SESSIONS[10])).all()


def test_a_market_that_falls_together_is_no_jump() -> None:
    prices = pd.concat(
        [_history([50.0, 50.5, 30.0], symbol=f"S{n}") for n in range(6)], ignore_index=True
    )
    assert doubtful(prices, pd.Timestamp(SESSIONS[2])).empty


def test_a_vanished_symbol_is_named_with_the_remedy() -> None:
    prices = pd.concat([_history([50.0] * 12), _history([50.0] * 2, symbol="FB")])
    found = absent(prices, ["AAPL", "FB", "NEW"])
    assert [symbol for symbol, _ in found] == ["FB", "NEW"]
    assert "yahoo_symbol" in found[0][1]
    assert absent(prices[prices["session_date"] < pd.Timestamp(SESSIONS[5])], ["FB"]) == []


def test_a_close_that_is_wrong_by_itself_does_not_make_a_dividend_impossible() -> None:
    bars = _history([50.0, 0.5, 50.0])
    events = pd.DataFrame(
        {
            "symbol": ["AAPL"],
            "event_date": [bars["session_date"].iloc[2]],
            "dividend": [0.6],
            "split_ratio": [1.0],
        }
    )
    assert impossible_events(bars, events) == {}


def test_a_good_close_after_a_bad_one_is_no_breach_of_the_limit() -> None:
    found = _judge(_history([100.0, 101.0, 160.0, 100.0, 99.0]), limit=0.30)
    assert list(found) == ["01-04"]
    found = _judge(_history([100.0, 101.0, 100.0, 10_000.0, 100.0]), limit=0.30)
    assert list(found) == ["01-05"]


def test_a_wrong_stored_close_does_not_hold_the_right_one() -> None:
    """Released by mistake: the vendor and the store agree on the days before."""
    stored = _history([75.0, 75.0, 75.0, 75.0, 7500.0])
    assert _judge(_history([75.0] * 5), stored=stored) == {}
