"""Which bars are kept, which are set aside, and why."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from quant_assets.domain.price_quality import impossible_events, separate_bad_bars
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
        (100.0, 1.0, "dividend not below the close before it: 100"),
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
