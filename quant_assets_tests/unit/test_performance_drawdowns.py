"""Drawdowns of equity curves: hand-made ones, a slow loop over one curve, empyrical."""

import empyrical
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.domain.performance_drawdowns import (
    DRAWDOWN_FIGURES,
    EPISODE_COLUMNS,
    max_drawdowns,
    underwater,
    worst_drawdowns,
)
from quant_assets.errors import BadConfigurationError
from quant_assets_tests.unit.return_tables import begun_later, random_returns, returns_table

# Wealth 1.1, 0.88, 0.99, 1.1, 1.21, 1.089, 1.0285, 1.21, 1.331, 1.1979 on 2 to 15 January 2015.
TWO_AND_A_HALF = [0.1, -0.2, 0.125, 1 / 9, 0.1, -0.1, -1 / 18, 0.1764705882352942, 0.1, -0.1]


def slow_episodes(returns) -> list[tuple]:
    """Depth and places of peak, trough and recovery (None: not yet), one step at a time."""
    wealth, peak, at_peak, episodes, current = 1.0, 1.0, -1, [], None
    for place, value in enumerate(returns):
        wealth *= 1 + value
        depth = wealth / peak - 1
        if depth < -1e-12:
            if current is None:
                current = [depth, at_peak, place]
            elif depth < current[0]:
                current[0], current[2] = depth, place
        else:
            if current is not None:
                episodes.append((*current, place))
            current, at_peak, peak = None, place, max(peak, wealth)
    if current is not None:
        episodes.append((*current, None))
    return sorted(episodes, key=lambda episode: (episode[0], episode[1]))


def test_dates_and_spans_of_hand_made_drawdowns() -> None:
    found = worst_drawdowns(returns_table(TWO_AND_A_HALF))
    assert tuple(found.columns) == EPISODE_COLUMNS
    days = found[["peak_date", "trough_date", "recovery_date"]].map(lambda day: str(day)[5:10])
    assert days.to_numpy().tolist() == [
        ["01-02", "01-05", "01-07"],
        ["01-08", "01-12", "01-13"],
        ["01-14", "01-15", ""],
    ]
    assert found["depth"].tolist() == pytest.approx([-0.2, -0.15, -0.1])
    assert found["rank"].tolist() == [1, 2, 3]
    assert found["drawdown_sessions"].tolist() == [1, 2, 1]
    assert found["drawdown_days"].tolist() == [3, 4, 1]
    assert found["recovery_sessions"].tolist() == pytest.approx([2, 1, np.nan], nan_ok=True)
    assert found["recovery_days"].tolist() == pytest.approx([2, 1, np.nan], nan_ok=True)
    assert found["underwater_sessions"].tolist() == [3, 3, 1]
    assert found["underwater_days"].tolist() == [5, 5, 1]


def test_a_fall_from_the_start_has_its_peak_on_the_eve() -> None:
    table = begun_later(returns_table([0.0, 0.0, -0.1, 0.2], [-0.5, 0.0, 0.0, 0.0]), [2, 0])
    found = max_drawdowns(table)
    assert found["peak_date"].tolist() == list(pd.to_datetime(["2015-01-05", "2015-01-01"]))
    assert found.loc["A", "recovery_date"] == pd.Timestamp("2015-01-07")
    assert found["drawdown_sessions"].tolist() == [1, 1]
    assert found["drawdown_days"].tolist() == [1, 1]
    assert found["underwater_sessions"].tolist() == [2, 4]
    assert pd.isna(found.loc["B", "recovery_date"])


def test_a_curve_that_never_fell_and_one_that_never_began() -> None:
    table = returns_table([0.01, 0.0, 0.02], [np.nan] * 3)
    found = max_drawdowns(table)
    assert tuple(found.columns) == DRAWDOWN_FIGURES
    assert found.loc["A", ["max_drawdown", "longest_underwater_sessions"]].tolist() == [0, 0]
    assert found.loc["A"].isna().sum() == len(DRAWDOWN_FIGURES) - 2
    assert found.loc["B"].isna().all()
    assert worst_drawdowns(table).empty
    nothing = worst_drawdowns(table.iloc[:0])
    assert tuple(nothing.columns) == EPISODE_COLUMNS
    assert max_drawdowns(table.iloc[:0]).isna().all(axis=None)


def test_rounding_neither_opens_a_drawdown_nor_delays_recovery() -> None:
    # In floating point 0.9 * (1 / 0.9) and the like do not all come back to where they began.
    there_and_back = [move for step in range(1, 40) for move in (-step / 97, 97 / (97 - step) - 1)]
    found = worst_drawdowns(returns_table(there_and_back), None)
    assert len(found) == 39
    assert found["recovery_date"].notna().all()
    assert max_drawdowns(returns_table([1e-16, -1e-16] * 50))["max_drawdown"].tolist() == [0]


def test_the_longest_span_need_not_be_the_deepest() -> None:
    found = max_drawdowns(returns_table([-0.5, 1.0, -0.01, 0.001, 0.001, 0.001])).loc["A"]
    assert found["underwater_sessions"] == 2
    assert found["longest_underwater_sessions"] == 4


def test_underwater_is_empyricals_drawdown() -> None:
    table = begun_later(random_returns(2, curves=3, sessions=200), [0, 0, 50])
    found = underwater(table)
    assert found["curve_2"].isna().sum() == 50
    for name, curve in table.items():
        own = found[name].dropna()
        theirs = [empyrical.max_drawdown(curve.dropna().iloc[:n]) for n in (1, 20, 150)]
        assert [own.iloc[:n].min() for n in (1, 20, 150)] == pytest.approx(theirs, abs=1e-12)


@given(
    seed=st.integers(0, 10**6),
    starts=st.lists(st.integers(0, 60), min_size=3, max_size=3),
    count=st.sampled_from([1, 3, None]),
)
def test_many_curves_equal_a_slow_loop_over_each(seed, starts, count) -> None:
    table = begun_later(random_returns(seed, curves=3, sessions=60), starts)
    found = worst_drawdowns(table, count)
    for name, curve in table.items():
        own, begun = found[found["curve"] == name], curve.dropna()
        expected = slow_episodes(begun.to_numpy())[:count]
        assert own["rank"].tolist() == list(range(1, len(expected) + 1))
        assert own["depth"].tolist() == pytest.approx([each[0] for each in expected])
        eve = begun.index[:1] - pd.Timedelta(days=1)
        dates = eve.append(begun.index)
        for column, place in (("peak_date", 1), ("trough_date", 2)):
            assert own[column].tolist() == [dates[each[place] + 1] for each in expected]
        recovered = [dates[each[3] + 1] for each in expected if each[3] is not None]
        assert own["recovery_date"].dropna().tolist() == recovered


def test_a_count_below_one_is_refused() -> None:
    with pytest.raises(BadConfigurationError, match="0 drawdowns"):
        worst_drawdowns(returns_table([0.1]), 0)
