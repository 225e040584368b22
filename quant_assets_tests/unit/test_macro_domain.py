"""Macro state by hand on small tables, and that it knows nothing of the future."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from quant_assets.domain.macro import FEATURE_MEMORY_DAYS, RegimeConfig, as_known, macro_regime
from quant_assets.partitions import REGIME_LOOK_BACK_DAYS
from quant_assets.schemas import dataset_of

CONFIG = RegimeConfig()
Row = tuple[str, date, float | None, date]
SERIES = ("T10Y2Y", "VIXCLS", "CPIAUCSL", "UNRATE", "BAA10Y", "FEDFUNDS")
TODAY = date(2024, 6, 28)


def _table(rows: Sequence[Row]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["series_id", "observation_date", "value", "realtime_start"])
    for name in ("observation_date", "realtime_start"):
        frame[name] = pd.to_datetime(frame[name]).astype("datetime64[us]")
    return frame.astype({"series_id": "str", "value": "float64"})


def _months(last: date, count: int) -> list[date]:
    """Firsts of ``count`` months up to that of ``last``, ascending."""
    ordinals = range(last.year * 12 + last.month - count, last.year * 12 + last.month)
    return [date(n // 12, n % 12 + 1, 1) for n in ordinals]


def _monthly(
    series: str, values: Sequence[float | None], last: date = date(2024, 5, 1)
) -> list[Row]:
    """A value a month, each published 35 days after its month began."""
    months = _months(last, len(values))
    return [(series, m, v, m + timedelta(days=35)) for m, v in zip(months, values, strict=True)]


def _daily(series: str, values: Sequence[float | None], last: date = TODAY) -> list[Row]:
    """A value a calendar day, published the day after; the last one on ``last``."""
    days = [last - timedelta(days=len(values) - n) for n in range(len(values))]
    return [(series, d, v, d + timedelta(days=1)) for d, v in zip(days, values, strict=True)]


def _on(rows: Sequence[Row], *days: date, config: RegimeConfig = CONFIG) -> Any:
    """The state on one day, or the frame over several."""
    frame = macro_regime(_table(rows), list(days) or [TODAY], config)
    return frame.iloc[0] if len(days) < 2 else frame


CALM = [
    *_daily("T10Y2Y", [0.5]), *_daily("VIXCLS", [14.0]), *_daily("BAA10Y", [1.8]),
    *_monthly("FEDFUNDS", [5.33]),
]  # fmt: skip


def test_as_known_takes_the_last_vintage_of_each_observation() -> None:
    may, june = date(2024, 5, 1), date(2024, 6, 1)
    rows = [
        ("GDP", may, 1.0, date(2024, 6, 5)),
        ("GDP", may, 1.5, date(2024, 6, 20)),
        ("GDP", june, 2.0, date(2024, 7, 5)),
        ("CPI", may, 7.0, date(2024, 6, 10)),
        ("GDP", date(2024, 4, 1), 0.5, date(2024, 5, 5)),
        ("GDP", date(2024, 4, 1), None, date(2024, 6, 19)),
    ]
    observations = _table(rows).sample(frac=1, random_state=3)
    before = observations.copy()

    def known(day: date) -> list[tuple[str, str, float]]:
        found = as_known(observations, day)
        return [
            (s, d.date().isoformat(), v)
            for s, d, v in found[["series_id", "observation_date", "value"]].to_numpy()
        ]

    assert known(date(2024, 5, 4)) == []
    assert known(date(2024, 6, 18)) == [
        ("CPI", "2024-05-01", 7.0), ("GDP", "2024-04-01", 0.5), ("GDP", "2024-05-01", 1.0),
    ]  # fmt: skip
    later = known(date(2024, 6, 20))
    assert later[2] == ("GDP", "2024-05-01", 1.5)
    assert later[1][1] == "2024-04-01"
    assert np.isnan(later[1][2])
    pd.testing.assert_frame_equal(observations, before)


def test_the_last_known_value_of_a_daily_series() -> None:
    rows = _daily("T10Y2Y", [0.1, 0.2, None])
    state = _on(rows)
    assert state["term_spread"] == 0.2
    assert _on(rows, TODAY - timedelta(days=2))["term_spread"] == 0.1
    assert np.isnan(_on(rows, TODAY - timedelta(days=3))["term_spread"])
    assert state["n_features"] == 1


def test_vix_percentile_is_the_share_not_above_the_last() -> None:
    assert np.isnan(_on(_daily("VIXCLS", list(range(1, 60))))["vix_percentile"])
    assert _on(_daily("VIXCLS", list(range(1, 61))))["vix_percentile"] == 1.0
    assert _on(_daily("VIXCLS", list(range(60, 0, -1))))["vix_percentile"] == 1 / 60
    assert _on(_daily("VIXCLS", [20.0] * 60))["vix_percentile"] == 1.0
    with_gaps = [v for n in range(1, 61) for v in (float(n), None)]
    assert _on(_daily("VIXCLS", with_gaps))["vix_percentile"] == 1.0
    # Only the last 252 count: of 48 high, 126 low, 125 high values and a last one between them,
    # the low ones and the last are not above it.
    values = [90.0] * 48 + [10.0] * 126 + [90.0] * 125 + [50.0]
    assert _on(_daily("VIXCLS", values))["vix_percentile"] == pytest.approx(127 / 252)


def test_inflation_is_against_the_same_month_a_year_before() -> None:
    values = [300.0 + n for n in range(14)]
    assert _on(_monthly("CPIAUCSL", values))["cpi_yoy"] == pytest.approx((313 / 301 - 1) * 100)
    assert np.isnan(_on(_monthly("CPIAUCSL", values[:12]))["cpi_yoy"])
    # A month that was never published: no base for the same month a year later.
    gap: list[float | None] = [*values]
    gap[1] = None
    assert np.isnan(_on(_monthly("CPIAUCSL", gap))["cpi_yoy"])
    gap = [*values]
    gap[-1] = None
    assert _on(_monthly("CPIAUCSL", gap))["cpi_yoy"] == pytest.approx((312 / 300 - 1) * 100)


@pytest.mark.parametrize(
    ("rates", "gap"),
    [
        # Fifteen months: means of three, the last less the lowest of the twelve before it.
        ([4.0] * 15, 0.0),
        ([3.4] * 12 + [3.5, 3.6, 3.7], 0.2),
        ([5.0] * 3 + [4.0] * 12, 0.0),
        ([4.0] * 14 + [3.7], -0.1),
        # A mean thirteen months back counts no longer: of three 3.0 only two are left.
        ([3.0] * 3 + [4.0] * 13, 2 / 3),
        ([3.0] * 3 + [4.0] * 15, 0.0),
    ],
)
def test_sahm_gap_by_hand(rates: list[float], gap: float) -> None:
    assert _on(_monthly("UNRATE", rates))["sahm_gap"] == pytest.approx(gap, abs=1e-6)


def test_sahm_gap_needs_fifteen_months() -> None:
    assert np.isnan(_on(_monthly("UNRATE", [4.0] * 14))["sahm_gap"])


@pytest.mark.parametrize("tenths", range(30, 80))
def test_a_rise_of_exactly_half_a_point_is_the_signal(tenths: int) -> None:
    low, high = tenths / 10, (tenths + 5) / 10
    state = _on(_monthly("UNRATE", [low] * 12 + [high] * 3))
    assert state["sahm_gap"] == 0.5
    assert state["stress_points"] == 2.0
    almost = _on(_monthly("UNRATE", [low] * 12 + [high, high, high - 0.1]))
    assert almost["stress_points"] == 0.0


def test_a_revision_counts_from_its_day_on() -> None:
    april = date(2024, 4, 1)
    revised_on = date(2024, 6, 14)
    rows = [*_monthly("UNRATE", [3.5] * 12 + [3.6, 3.6, 3.6]), ("UNRATE", april, 4.2, revised_on)]
    days = [revised_on - timedelta(days=1), revised_on, revised_on + timedelta(days=1)]
    gaps = _on(rows, *days)["sahm_gap"].to_list()
    assert gaps == pytest.approx([0.1, 0.3, 0.3], abs=1e-6)


def test_a_value_that_is_withdrawn_is_no_longer_used() -> None:
    rows = [*_daily("VIXCLS", [15.0, 16.0])]
    withdrawn = ("VIXCLS", rows[-1][1], None, TODAY + timedelta(days=3))
    before, after = TODAY + timedelta(days=2), TODAY + timedelta(days=3)
    frame = _on([*rows, withdrawn], before, after)
    assert frame["vix"].to_list() == [16.0, 15.0]


def test_old_observations_are_forgotten() -> None:
    rows = [("FEDFUNDS", TODAY - timedelta(days=FEATURE_MEMORY_DAYS - 1), 5.0, TODAY)]
    frame = _on(rows, TODAY, TODAY + timedelta(days=1))
    assert frame["policy_rate"].to_list()[0] == 5.0
    assert np.isnan(frame["policy_rate"].to_list()[1])


@pytest.mark.parametrize(
    ("series", "value", "points"),
    [
        ("T10Y2Y", 0.0, 0.0),
        ("T10Y2Y", -0.01, 1.0),
        ("VIXCLS", 29.99, 0.0),
        ("VIXCLS", 30.0, 1.0),
        ("BAA10Y", 2.99, 0.0),
        ("BAA10Y", 3.0, 1.0),
    ],
)
def test_points_at_their_thresholds(series: str, value: float, points: float) -> None:
    rows = [row for row in CALM if row[0] != series] + _daily(series, [value])
    state = _on(rows)
    assert state["stress_points"] == points
    assert state["n_features"] == 4


def test_points_of_inflation_and_of_a_high_percentile() -> None:
    inflation = [100.0] * 13
    assert _on([*CALM, *_monthly("CPIAUCSL", [*inflation[:-1], 105.0])])["stress_points"] == 0.5
    assert _on([*CALM, *_monthly("CPIAUCSL", [*inflation[:-1], 104.9])])["stress_points"] == 0.0
    without_vix = [row for row in CALM if row[0] != "VIXCLS"]
    exactly = [10.0] * 79 + [20.0] * 20 + [15.0]
    assert _on([*without_vix, *_daily("VIXCLS", exactly)])["stress_points"] == 0.5
    below = [10.0] * 78 + [20.0] * 21 + [15.0]
    assert _on([*without_vix, *_daily("VIXCLS", below)])["stress_points"] == 0.0


@pytest.mark.parametrize(
    ("spread", "vix", "credit", "inflation", "rates", "expected"),
    [
        (0.5, 14.0, 1.8, 100.0, 4.0, (0.0, "RISK_ON", 1.0)),
        (0.5, 14.0, 1.8, 106.0, 4.0, (0.5, "NEUTRAL", 0.85)),
        (-0.5, 14.0, 1.8, 100.0, 4.0, (1.0, "NEUTRAL", 0.85)),
        (-0.5, 14.0, 1.8, 106.0, 4.0, (1.5, "CAUTION", 0.6)),
        (-0.5, 35.0, 1.8, 100.0, 4.0, (2.0, "CAUTION", 0.6)),
        (0.5, 14.0, 1.8, 100.0, 4.5, (2.0, "CAUTION", 0.6)),
        (0.5, 14.0, 1.8, 106.0, 4.5, (2.5, "RISK_OFF", 0.3)),
        (-0.5, 35.0, 3.5, 106.0, 4.5, (5.5, "RISK_OFF", 0.3)),
    ],
)
def test_states_and_multipliers(
    spread: float, vix: float, credit: float, inflation: float, rates: float, expected: Any
) -> None:
    state = _on(
        [
            *_daily("T10Y2Y", [spread]),
            *_daily("VIXCLS", [vix]),
            *_daily("BAA10Y", [credit]),
            *_monthly("CPIAUCSL", [100.0] * 12 + [inflation]),
            *_monthly("UNRATE", [4.0] * 12 + [rates] * 3),
        ]
    )
    assert (state["stress_points"], state["regime"], state["risk_multiplier"]) == expected


def test_ignorance_is_neutral() -> None:
    nothing = _on([])
    assert (nothing["n_features"], nothing["regime"], nothing["risk_multiplier"]) == (
        0, "NEUTRAL", 0.85,
    )  # fmt: skip
    two = _on([*_daily("T10Y2Y", [-1.0]), *_daily("BAA10Y", [9.0])])
    assert (two["n_features"], two["stress_points"], two["regime"]) == (2, 2.0, "NEUTRAL")
    enough = _on([*_daily("T10Y2Y", [-1.0]), *_daily("BAA10Y", [9.0]), *_daily("VIXCLS", [40.0])])
    assert enough["regime"] == "RISK_OFF"


def test_thresholds_are_configurable_and_part_of_the_version() -> None:
    strict = RegimeConfig(crisis_vix=10.0)
    assert _on(CALM)["regime"] == "RISK_ON"
    state = _on(CALM, config=strict)
    assert state["stress_points"] == 1.0
    assert state["regime_version"] == strict.version != CONFIG.version
    assert RegimeConfig().version == CONFIG.version


def test_the_frame_obeys_the_contract_of_macro_regime() -> None:
    days = [TODAY - timedelta(days=n) for n in range(5)]
    frame = _on(CALM, *days).assign(available_at=pd.Timestamp("2024-07-01", tz="UTC"))
    found = dataset_of("macro/regime").conform(frame, "macro/regime")
    assert found["release_date"].is_monotonic_increasing
    assert len(found) == 5


values = st.one_of(st.none(), st.floats(-5, 50).map(lambda v: round(v, 1)))


@st.composite
def vintages(draw: st.DrawFn) -> pd.DataFrame:
    """Observations of all series with gaps, late publications and revisions."""
    rows: list[Row] = []
    for series in SERIES:
        is_monthly = series in ("CPIAUCSL", "UNRATE", "FEDFUNDS")
        step = 30 if is_monthly else draw(st.integers(3, 20))
        last = TODAY - timedelta(days=draw(st.integers(0, 700)))
        for n in range(draw(st.integers(0, 40))):
            observed = last - timedelta(days=step * n)
            observed = observed.replace(day=1) if is_monthly else observed
            released = observed + timedelta(days=draw(st.integers(1, 45)))
            rows.append((series, observed, draw(values), released))
            if draw(st.integers(0, 5)) == 0:
                revised = released + timedelta(days=draw(st.integers(1, 200)))
                rows.append((series, observed, draw(values), revised))
    frame = _table(rows)
    return frame.drop_duplicates(["series_id", "observation_date", "realtime_start"])


def _days(count: int, step: int) -> list[date]:
    return [TODAY - timedelta(days=step * n) for n in range(count)][::-1]


@hypothesis_settings(deadline=None, max_examples=40)
@given(observations=vintages(), step=st.integers(1, 60), cut=st.integers(1, 7))
def test_a_range_equals_its_days_and_its_chunks(
    observations: pd.DataFrame, step: int, cut: int
) -> None:
    days = _days(8, step)
    whole = macro_regime(observations, days, CONFIG)
    chunks = [macro_regime(observations, part, CONFIG) for part in (days[:cut], days[cut:])]
    pd.testing.assert_frame_equal(pd.concat(chunks, ignore_index=True), whole, check_exact=True)
    single = []
    for day in days:
        look_back = pd.Timestamp(day - timedelta(days=REGIME_LOOK_BACK_DAYS))
        loaded = observations[
            (observations["realtime_start"] >= look_back)
            & (observations["realtime_start"] <= pd.Timestamp(day))
        ]
        single.append(macro_regime(loaded, [day], CONFIG))
    pd.testing.assert_frame_equal(pd.concat(single, ignore_index=True), whole, check_exact=True)


@hypothesis_settings(deadline=None, max_examples=40)
@given(observations=vintages(), day=st.dates(date(2022, 1, 1), TODAY), seed=st.integers(0, 99))
def test_without_the_future_nothing_changes(
    observations: pd.DataFrame, day: date, seed: int
) -> None:
    days = [day - timedelta(days=n) for n in (40, 9, 1, 0)]
    expected = macro_regime(observations, days, CONFIG)
    past = observations[observations["realtime_start"] <= pd.Timestamp(day)]
    past = past.sample(frac=1, random_state=seed)
    pd.testing.assert_frame_equal(macro_regime(past, days, CONFIG), expected, check_exact=True)
    pd.testing.assert_frame_equal(as_known(past, day), as_known(observations, day))


def test_a_discontinued_series_is_the_same_in_a_day_and_in_a_range() -> None:
    """The year-old base of a stale value lies outside a single day's look-back."""
    rows = _monthly("CPIAUCSL", [100.0 + n for n in range(30)], last=date(2023, 1, 1))
    day = date(2024, 8, 1)
    whole = _on(rows, *[day - timedelta(days=n) for n in range(60)])
    released = pd.Timestamp(day - timedelta(days=REGIME_LOOK_BACK_DAYS))
    table = _table(rows)
    loaded = table[table["realtime_start"] >= released]
    alone = macro_regime(loaded, [day], CONFIG)
    assert np.array_equal(whole["cpi_yoy"].iloc[-1:], alone["cpi_yoy"], equal_nan=True)
