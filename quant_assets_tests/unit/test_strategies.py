"""Strategies: their configuration, hysteresis, selection and weights."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.domain.signals import risk_multipliers
from quant_assets.domain.strategies import decide, scores_of
from quant_assets.domain.strategy_config import DEFAULT_STRATEGIES, Strategy, strategies_of
from quant_assets.errors import BadConfigurationError

DAYS = pd.date_range("2026-03-02", periods=3, freq="D").as_unit("us")
LIVE = {"id": "a", "kind": "combined", "is_live": True}


def one(**fields: Any) -> Strategy:
    return Strategy.from_mapping({"id": "a", "kind": "combined", **fields})


def weights(strategy: Strategy, scores: list[list[float]], multiplier: float = 1.0) -> np.ndarray:
    """Target weights of a strategy by its scores, sessions by symbols."""
    dense = np.array(scores, float)[:, None, :]
    listed = np.ones(dense.shape[::2], bool)
    none = np.zeros((1, dense.shape[2]))
    return decide(dense, np.full(len(dense), multiplier), [strategy], none, listed).weight[:, 0]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"kind": "magic"}, "kind is 'magic'; allowed are combined, moving_average, buy_and_hold"),
        ({"id": "A b"}, "an id is up to 40"),
        ({"enter": 0.1, "exit": 0.2}, "exit (0.2) is above enter (0.1)"),
        ({"gross": -0.5}, "gross is -0.5"),
        ({"gross": 1.5}, "nothing bought on credit"),
        ({"gross": float("nan")}, "gross is not between -1,000,000 and"),
        ({"names": 2.5}, "names is 2.5: give a whole number"),
        ({"names": -1}, "names is -1"),
        ({"band": -0.1}, "band (-0.1)"),
        ({"enter": "0.1"}, "enter is '0.1': give a number"),
        ({"use_regime": 1}, "use_regime is true or false"),
        ({"order_type": "STOP"}, "order_type is 'STOP'; allowed are MARKET, LIMIT"),
        ({"kind": ["combined"]}, "kind is ['combined']; allowed are"),
        ({"names": 10**400}, "names is not between"),
        ({"fast": 50.0}, "there are averages of"),
        ({"fast": 30}, "there are averages of 5, 20, 50, 60, 120, 200 sessions"),
        ({"fast": 200, "slow": 50}, "fast (200) is not below slow"),
        ({"weights": 1}, "weights is not a field; allowed are id, kind"),
    ],
)
def test_what_cannot_be_traded_is_refused_by_name(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(BadConfigurationError) as refused:
        one(**fields)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([], "no strategy is given"),
        ([{"id": "a"}], "kind is missing"),
        ([LIVE, {**LIVE, "is_live": False}], "'a' stands there twice"),
        ([LIVE, {**LIVE, "id": "b"}], "2 strategies are live (a, b): exactly one must be"),
        ([{**LIVE, "is_live": False}], "0 strategies are live (none)"),
    ],
)
def test_a_list_of_strategies_has_one_live_one(values: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(BadConfigurationError) as refused:
        strategies_of(values)
    assert told in str(refused.value)


def test_the_version_follows_what_is_computed_with() -> None:
    assert one().version == one(id="b", is_live=True).version == one(enter=0.15).version
    assert one().version != one(enter=0.2).version
    assert len({strategy.version for strategy in DEFAULT_STRATEGIES}) == 3


def test_hysteresis_holds_between_exit_and_entry() -> None:
    strategy = one(enter=0.3, exit=0.1, names=4, gross=0.8)
    made = weights(strategy, [[0.2], [0.3], [0.2], [0.1], [0.09], [0.2], [np.nan]])
    assert made[:, 0].tolist() == [0.0, 0.2, 0.2, 0.2, 0.0, 0.0, 0.0]


def test_a_symbol_without_a_score_keeps_its_weight() -> None:
    assert weights(one(names=2, gross=1.0), [[0.5], [np.nan], [0.5]])[:, 0].tolist() == [0.5] * 3


def test_the_room_goes_to_held_symbols_then_to_high_scores_then_by_symbol() -> None:
    strategy = one(enter=0.1, exit=0.0, names=2, gross=1.0)
    made = weights(strategy, [[0.2, 0.2, 0.2], [0.05, 0.9, 0.8], [-0.1, 0.9, 0.95]])
    assert (made > 0).tolist() == [[True, True, False], [True, True, False], [False, True, True]]


def test_small_changes_of_a_weight_are_not_traded() -> None:
    scores = np.full((3, 1, 1), 0.5)
    multiplier = np.array([1.0, 0.96, 0.5])
    made = decide(
        scores,
        multiplier,
        [one(names=1, gross=1.0, band=0.05)],
        np.zeros((1, 1)),
        np.ones((3, 1), bool),
    )
    assert made.weight[:, 0, 0].tolist() == [1.0, 1.0, 0.5]
    assert made.action[:, 0, 0].tolist() == [1, 0, -1]


def test_a_symbol_that_left_is_sold_and_takes_no_room() -> None:
    listed = np.array([[True, True], [False, True]])
    scores = np.array([[0.9, 0.2], [np.nan, 0.2]])[:, None, :]
    strategy = one(names=1, gross=1.0)
    made = decide(scores, np.ones(2), [strategy], np.zeros((1, 2)), listed)
    assert made.weight[:, 0].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert made.action[1, 0].tolist() == [-1, 1]


@given(seed=st.integers(0, 10**6), cut=st.integers(1, 19))
def test_sessions_one_by_one_equal_a_range_and_the_future_changes_nothing(
    seed: int, cut: int
) -> None:
    random = np.random.default_rng(seed)
    strategies = [one(enter=0.3, exit=-0.1, names=3), one(id="b", names=0, use_regime=False)]
    scores = random.normal(0, 0.5, (20, 2, 6))
    scores[random.random(scores.shape) < 0.1] = np.nan
    multiplier = random.choice([0.5, 1.0], 20)
    listed = random.random((20, 6)) < 0.95
    none = np.zeros((2, 6))
    whole = decide(scores, multiplier, strategies, none, listed)
    first = decide(scores[:cut], multiplier[:cut], strategies, none, listed[:cut])
    rest = decide(scores[cut:], multiplier[cut:], strategies, first.target, listed[cut:])
    assert np.array_equal(whole.weight, np.concatenate([first.weight, rest.weight]))
    assert np.array_equal(whole.action, np.concatenate([first.action, rest.action]))
    assert (whole.weight[:, 0].sum(axis=1) <= 0.98 + 1e-9).all()
    assert (whole.weight >= 0).all()


def test_each_kind_has_its_score() -> None:
    rows = pd.DataFrame({"session_date": DAYS, "symbol": "A", "combined_score": [0.1, np.nan, 0.3]})
    indicators = pd.DataFrame(
        {
            "session_date": DAYS,
            "symbol": "A",
            "close": 10.0,
            "sma_50": [11, 9, np.nan],
            "sma_200": 10.0,
        }
    ).assign(sma_200=10.0)

    def scores(kind: str) -> list[float]:
        made = scores_of(one(kind=kind), rows, indicators, DAYS, ["A", "B"])
        assert np.isnan(made[:, 1]).all()
        return np.round(made[:, 0], 9).tolist()

    np.testing.assert_equal(scores("combined"), [0.1, np.nan, 0.3])
    np.testing.assert_equal(scores("moving_average"), [0.1, -0.1, np.nan])
    np.testing.assert_equal(scores("buy_and_hold"), [1.0, 1.0, 1.0])


def test_a_forecast_is_followed_by_its_rank_where_there_is_one() -> None:
    strategy = one(kind="forecast", names=1, gross=1.0)
    assert (strategy.enter, strategy.exit) == (0.8, 0.5)
    nothing = pd.DataFrame({"session_date": DAYS[:0], "symbol": pd.Series([], dtype="str")})
    rows = pd.DataFrame({"session_date": DAYS, "symbol": "A", "rank": [1.0, np.nan, 0.4]})
    scores = scores_of(strategy, nothing, nothing, DAYS, ["A", "B"], rows)
    np.testing.assert_equal(scores, [[1.0, np.nan], [np.nan, np.nan], [0.4, np.nan]])
    assert weights(strategy, scores.tolist())[:, 0].tolist() == [1.0, 1.0, 0.0]
    for forecasts in (None, rows.iloc[:0]):
        assert np.isnan(scores_of(strategy, nothing, nothing, DAYS, ["A"], forecasts)).all()


def test_the_regime_known_before_the_decision_counts() -> None:
    days = pd.DatetimeIndex(["2026-03-02", "2026-03-03"]).as_unit("us")
    at = (days + pd.Timedelta(hours=6)).tz_localize("UTC")
    regime = pd.DataFrame({"release_date": days, "available_at": at, "risk_multiplier": [0.7, 0.3]})
    decisions = [moment.to_pydatetime() for moment in [at[0], at[1], at[1] + pd.Timedelta("1s")]]
    sessions = pd.DatetimeIndex(["2026-03-03"] * 3)
    assert risk_multipliers(regime, decisions, sessions).tolist() == [1.0, 0.7, 0.3]
    assert risk_multipliers(regime.iloc[:0], decisions, sessions).tolist() == [1.0, 1.0, 1.0]
    since = pd.DatetimeIndex(["2026-03-02", "2026-03-03", "2026-03-04"])
    assert risk_multipliers(regime, decisions, sessions, since).tolist() == [1.0, 1.0, 1.0]
    assert risk_multipliers(regime, decisions, sessions, since[:1].repeat(3)).tolist() == [
        1.0, 0.7, 0.3,
    ]  # fmt: skip


def test_a_regime_of_a_later_day_counts_for_no_session_before_it() -> None:
    """Over a weekend it is known in time, but only a range that reaches further loads it."""
    days = pd.date_range("2026-03-06", "2026-03-08").as_unit("us")
    at = (days + pd.Timedelta(hours=30)).tz_localize("UTC")
    regime = pd.DataFrame(
        {"release_date": days, "available_at": at, "risk_multiplier": [0.7, 0.3, 0.2]}
    )
    monday = [pd.Timestamp("2026-03-09 13:30", tz="UTC").to_pydatetime()]
    assert risk_multipliers(regime, monday, days[:1]).tolist() == [0.7]
    assert risk_multipliers(regime.iloc[:1], monday, days[:1]).tolist() == [0.7]
