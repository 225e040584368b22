"""Figures of recommendations against scipy's rank correlation, by hand, and their edges."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from quant_assets.domain.score_figures import (
    COEFFICIENT_FIGURES,
    LABEL_FIGURES,
    coefficient_figures,
    forward_returns,
    information_coefficients,
    returns_by_label,
)
from quant_assets.domain.scoring_config import LABELS
from quant_assets.errors import BadConfigurationError, BadDataError
from quant_assets_tests.unit.return_tables import sessions_of

SESSIONS = sessions_of(6, "2024-01-02")


def prices_of(*rows) -> pd.DataFrame:
    names = [f"S{place}" for place in range(len(rows[0]))]
    return pd.DataFrame(rows, index=SESSIONS[: len(rows)], columns=names, dtype=float)


def test_forward_returns_begin_where_a_decision_can_trade() -> None:
    prices = prices_of([10], [11], [np.nan], [22], [33], [66])
    found = forward_returns(prices, 2)["S0"].tolist()
    assert found == pytest.approx([1, math.nan, 2, math.nan, math.nan, math.nan], nan_ok=True)
    at_once = forward_returns(prices, 1, delay=0)["S0"].tolist()
    assert at_once == pytest.approx([0.1, math.nan, math.nan, 0.5, 1, math.nan], nan_ok=True)


def test_impossible_prices_and_horizons_are_refused() -> None:
    with pytest.raises(BadDataError, match="price of S1 in 2024-01-03 is 0"):
        forward_returns(prices_of([1, 2], [1, 0]), 1)
    with pytest.raises(BadDataError, match="price of S0 in 2024-01-02 is inf"):
        forward_returns(prices_of([math.inf, 2]), 1)
    with pytest.raises(BadConfigurationError, match="horizon of 0 and a delay of 1"):
        forward_returns(prices_of([1]), 0)
    with pytest.raises(BadConfigurationError, match="delay of -1"):
        forward_returns(prices_of([1]), 1, delay=-1)


@pytest.mark.filterwarnings("ignore:An input array is constant")
@given(seed=st.integers(0, 10**6))
def test_coefficients_equal_scipy(seed) -> None:
    """Few different values, so that ties are common; holes in both."""
    random = np.random.default_rng(seed)
    sessions = sessions_of(8)
    scores, forward = (
        pd.DataFrame(random.integers(0, 9, (8, 12)) / 9, index=sessions).mask(
            random.random((8, 12)) < 0.3
        )
        for _ in range(2)
    )
    found = information_coefficients(scores, forward)
    for session in sessions:
        is_pair = scores.loc[session].notna() & forward.loc[session].notna()
        pairs = (frame.loc[session][is_pair] for frame in (scores, forward))
        expected = stats.spearmanr(*pairs).statistic if is_pair.sum() >= 3 else math.nan
        assert found[session] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_only_common_sessions_and_symbols_are_compared() -> None:
    scores = prices_of([1, 2, 3, 9], [3, 2, 1, 9], [1, 2, 3, 9])
    forward = prices_of([1, 2, 3], [1, 2, 3]).iloc[:, ::-1]
    found = information_coefficients(scores, forward)
    assert found.index.tolist() == list(SESSIONS[:2])
    assert found.tolist() == pytest.approx([1, -1])


@pytest.mark.parametrize(
    ("scores", "forward"),
    [
        ([0.1, 0.2], [0.1, 0.2]),
        ([0.1, 0.2, np.nan, 0.4], [0.1, 0.2, 0.3, np.nan]),
        ([0.1, 0.1, 0.1], [0.1, 0.2, 0.3]),
        ([0.1, 0.2, 0.3], [0.0, 0.0, 0.0]),
        ([np.nan] * 3, [0.1, 0.2, 0.3]),
    ],
)
def test_a_session_that_says_nothing_has_no_coefficient(scores, forward) -> None:
    found = information_coefficients(prices_of(scores), prices_of(forward))
    assert found.isna().tolist() == [True]


def test_nothing_has_no_coefficient() -> None:
    nothing = information_coefficients(pd.DataFrame(), pd.DataFrame())
    assert nothing.empty
    figures = coefficient_figures(nothing, 1)
    assert tuple(figures.index) == COEFFICIENT_FIGURES
    assert figures["sessions"] == 0
    assert figures.iloc[1:].isna().all()


def test_summary_of_coefficients_equals_scipy() -> None:
    values = pd.Series(np.random.default_rng(1).normal(0.03, 0.1, 250))
    found = coefficient_figures(values.mask(values.index % 10 == 0), 1)
    kept = values[values.index % 10 != 0]
    assert found["sessions"] == 225
    assert found["mean"] == pytest.approx(kept.mean())
    assert found["deviation"] == pytest.approx(kept.std())
    assert found["information_ratio"] == pytest.approx(kept.mean() / kept.std())
    statistic = stats.ttest_1samp(kept, 0.0).statistic
    assert found["t_statistic"] == pytest.approx(statistic)
    assert found["t_statistic_overlapping"] == pytest.approx(statistic * math.sqrt(225 / 224))


def test_the_overlapping_error_is_that_of_newey_and_west() -> None:
    """Their sum written out over all pairs of sessions: weight 1 - distance / horizon."""
    random = np.random.default_rng(2)
    values = np.convolve(random.normal(0.01, 0.1, 124), np.ones(5), "valid")
    centred = values - values.mean()
    distance = np.abs(np.subtract.outer(np.arange(120), np.arange(120)))
    weights = np.clip(1 - distance / 5, 0, None)
    error = math.sqrt(centred @ weights @ centred) / 120
    found = coefficient_figures(pd.Series(values), 5)
    assert found["t_statistic_overlapping"] == pytest.approx(values.mean() / error)
    assert abs(found["t_statistic_overlapping"]) < abs(found["t_statistic"])


@pytest.mark.parametrize("values", [[0.3], [0.3] * 4])
def test_without_deviation_the_ratios_are_missing(values) -> None:
    found = coefficient_figures(pd.Series(values), 3)
    assert found["mean"] == pytest.approx(0.3)
    ratios = ["information_ratio", "t_statistic", "t_statistic_overlapping"]
    assert found[ratios].isna().all()
    with pytest.raises(BadConfigurationError, match="horizon of 0"):
        coefficient_figures(pd.Series(values), 0)


def test_mean_returns_by_label() -> None:
    forward = prices_of([0.1, -0.2, 0.3], [0.2, np.nan, 0.0])
    rows = [
        (0, "S0", "BUY"),
        (0, "S1", "STRONG_SELL"),
        (0, "S2", "HOLD"),
        (1, "S0", "BUY"),
        (1, "S1", "BUY"),
        (1, "S2", "BUY"),
        (1, "GONE", "BUY"),
        (5, "S0", "BUY"),
        (0, "S2", None),
    ]
    table = pd.DataFrame(rows, columns=["session_date", "symbol", "label"])
    table["session_date"] = SESSIONS[table["session_date"]]
    found = returns_by_label(table, forward)
    assert tuple(found.index) == LABELS
    assert tuple(found.columns) == LABEL_FIGURES
    assert found["count"].tolist() == [1, 0, 1, 3, 0]
    assert found["mean"].tolist() == pytest.approx([-0.2, np.nan, 0.3, 0.1, np.nan], nan_ok=True)
    assert found.loc["BUY", "deviation"] == pytest.approx(0.1)
    assert found.loc["BUY", "t_statistic"] == pytest.approx(math.sqrt(3))
    assert found.loc["BUY", "positive_share"] == pytest.approx(2 / 3)
    assert found.loc["HOLD", ["deviation", "t_statistic"]].isna().all()
    assert returns_by_label(table.iloc[:0], forward)["count"].tolist() == [0] * 5
    assert returns_by_label(table, forward.iloc[:0])["count"].tolist() == [0] * 5
    table.loc[3, "label"] = "MAYBE"
    with pytest.raises(BadDataError, match="label of S0 in 2024-01-03 is MAYBE; known are"):
        returns_by_label(table, forward)
