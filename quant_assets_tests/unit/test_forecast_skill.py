"""How forecasts are judged: noise has no skill, a planted signal has, and the future stays out."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import brier_score_loss

from quant_assets.domain.forecast import forecast
from quant_assets.domain.forecast_config import NO_HISTORY, NO_SKILL, SKILL, VERDICTS, WEAK
from quant_assets.domain.forecast_features import excess_returns
from quant_assets.domain.forecast_skill import (
    Outcomes,
    by_month,
    outcomes_of,
    skill_rows,
    verdict_of,
    window_of,
)
from quant_assets_tests.unit.forecast_market import SMALL, US, MadeMarket, made_market

FIRST, LAST = 75, 159
"""Places of the sessions that are forecast."""
SEEDS = (1, 2, 3, 4, 5, 6)


@cache
def forecast_market(seed: int, drive: float) -> tuple[MadeMarket, pd.DataFrame]:
    market = made_market(seed, drive=drive)
    return market, forecast(market.inputs(), market.days[FIRST : LAST + 1], SMALL)[0]


def judged(
    market: MadeMarket, forecasts: pd.DataFrame, first: int = LAST, last: int = LAST
) -> tuple[pd.DataFrame, Outcomes]:
    sessions = pd.DatetimeIndex(market.days).as_unit("us")
    outcomes = outcomes_of(
        forecasts, market.frames["technical"], market.frames["prices"], sessions, SMALL
    )
    times = {day: US.decision_at(day) for day in market.days[first : last + 1]}
    return skill_rows(outcomes, times, SMALL), outcomes


@pytest.mark.parametrize("seed", SEEDS)
def test_noise_has_no_skill(seed: int) -> None:
    market, rows = forecast_market(seed, 0.0)
    (found,) = judged(market, rows)[0].to_dict("records")
    assert found["verdict"] == NO_SKILL, found["explanation"]
    assert found["explanation"].startswith("no skill is to be seen: information coefficient ")
    assert found["n_sessions"] == SMALL.judged_sessions


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_planted_signal_has_skill_and_the_right_sign(sign: float) -> None:
    market, rows = forecast_market(1, 0.004 * sign)
    (found,) = judged(market, rows)[0].to_dict("records")
    assert found["verdict"] == SKILL, found["explanation"]
    assert found["ic_mean"] > 0.2
    assert found["realised_5"] > found["base_rate"] > found["realised_1"]
    assert abs(found["technical_ic_mean"]) < 0.1
    driver = market.frames["indicators"].pivot(
        index="session_date", columns="symbol", values="roc_20"
    )
    told = rows.pivot(index="session_date", columns="symbol", values="expected_return")
    both = driver.loc[told.index].corrwith(told, axis=1)
    assert (sign * both > 0.5).all()


def test_figures_equal_those_of_others() -> None:
    """Rank correlations of scipy, the Brier score of scikit-learn."""
    market, rows = forecast_market(2, 0.002)
    (found,) = judged(market, rows)[0].to_dict("records")
    sessions = pd.DatetimeIndex(market.days).as_unit("us")
    target = excess_returns(market.frames["prices"], sessions, SMALL)
    end = LAST - SMALL.horizon
    places = range(end - SMALL.judged_sessions, end)
    assert found["first_session"] == sessions[places[0]]
    assert found["last_session"] == sessions[places[-1]]
    of_session = {day: part.set_index("symbol") for day, part in rows.groupby("session_date")}
    coefficients, chance, rose = [], [], []
    for place in places:
        day = sessions[place]
        came = target.loc[day].dropna()
        told = of_session[day].loc[came.index]
        coefficients.append(stats.spearmanr(told["expected_return"], came).statistic)
        chance += told["probability_up"].tolist()
        rose += (came > 0).tolist()
    assert found["ic_mean"] == pytest.approx(np.mean(coefficients), abs=1e-7)
    assert found["ic_deviation"] == pytest.approx(np.std(coefficients, ddof=1), abs=1e-7)
    assert found["brier"] == pytest.approx(brier_score_loss(rose, chance), abs=1e-7)
    base = np.full(len(rose), np.mean(rose))
    assert found["brier_base"] == pytest.approx(brier_score_loss(rose, base), abs=1e-7)
    assert found["hit_rate"] == pytest.approx(
        np.mean((np.array(chance) > 0.5) == np.array(rose)), abs=1e-7
    )
    assert found["n_forecasts"] == len(rose)
    fifths = np.array_split(np.argsort(chance, kind="stable"), 5)
    for n, fifth in enumerate(fifths, start=1):
        assert found[f"count_{n}"] == len(fifth)
        assert found[f"predicted_{n}"] == pytest.approx(np.array(chance)[fifth].mean(), abs=1e-7)
        assert found[f"realised_{n}"] == pytest.approx(np.array(rose)[fifth].mean(), abs=1e-7)


def test_what_came_later_is_not_judged_yet() -> None:
    """The judgement of a session is the same without all that came after it."""
    market, rows = forecast_market(2, 0.002)
    whole, _ = judged(market, rows, 140, LAST)
    cut = market.between(0, 145)
    known = rows[rows["session_date"] <= pd.Timestamp(market.days[145])]
    early, _ = judged(cut, known, 140, 145)
    pd.testing.assert_frame_equal(early, whole.iloc[:6], check_exact=True)
    # The last price that counts is the open of the session itself, and it does.
    changed = market.altered("prices", 145, 145, "open")
    other = MadeMarket(market.days, {**market.frames, "prices": changed})
    moved, _ = judged(other, rows, 144, 145)
    assert moved["brier"].iloc[0] == whole["brier"].iloc[4]
    assert moved["brier"].iloc[1] != whole["brier"].iloc[5]


def test_a_session_alone_is_judged_as_in_a_range() -> None:
    market, rows = forecast_market(2, 0.002)
    whole, _ = judged(market, rows, 150, LAST)
    for place in (150, 155, LAST):
        loaded = market.between(place - SMALL.judged_look_back, place)
        known = rows[rows["session_date"].isin(pd.DatetimeIndex(loaded.days))]
        last = len(loaded.days) - 1
        alone, _ = judged(loaded, known, last, last)
        pd.testing.assert_frame_equal(
            alone.reset_index(drop=True),
            whole.iloc[[place - 150]].reset_index(drop=True),
            check_exact=True,
        )


def test_a_leak_looks_like_skill_and_only_removing_the_future_shows_it() -> None:
    """A feature that holds the target: judged out of sample it shines, cut off it changes."""
    market, _ = forecast_market(1, 0.0)

    def leaky(known: MadeMarket) -> pd.DataFrame:
        sessions = pd.DatetimeIndex(known.days).as_unit("us")
        target = excess_returns(known.frames["prices"], sessions, SMALL).stack()
        keys = pd.MultiIndex.from_frame(known.frames["indicators"][["session_date", "symbol"]])
        peeked = target.reindex(keys).fillna(0.0).to_numpy()
        indicators = known.frames["indicators"].assign(roc_20=peeked)
        days = list(known.days[FIRST:])
        return forecast(known.inputs(indicators=indicators), days, SMALL)[0]

    whole = leaky(market)
    assert judged(market, whole)[0]["verdict"].iloc[0] == SKILL
    early = leaky(market.between(0, 120))
    assert not early.equals(whole.iloc[: len(early)])


def test_without_forecasts_there_is_no_history() -> None:
    market, rows = forecast_market(1, 0.0)
    few = rows[rows["session_date"] > pd.Timestamp(market.days[LAST - 20])]
    for forecasts in (rows.iloc[:0], rows.assign(expected_return=np.nan, probability_up=np.nan)):
        (found,) = judged(market, forecasts)[0].to_dict("records")
        assert found["verdict"] == NO_HISTORY
        assert found["n_forecasts"] == found["n_sessions"] == 0
        assert found["explanation"] == "0 sessions of forecasts can be judged, 30 are needed"
        assert np.isnan(found["ic_mean"])
    found = judged(market, few)[0].iloc[0]
    assert (found["verdict"], found["n_sessions"]) == (NO_HISTORY, 20 - SMALL.horizon - 1)
    nothing = market.frames["prices"].iloc[:0]
    bare = MadeMarket(market.days, {**market.frames, "prices": nothing})
    assert judged(bare, rows)[0]["verdict"].iloc[0] == NO_HISTORY


@pytest.mark.parametrize(
    ("figures", "verdict"),
    [
        ((29, 0.5, 9.0, 0.1, 0.2), NO_HISTORY),
        ((30, 0.01, 2.0, 0.249, 0.25), SKILL),
        ((30, 0.01, 2.0, 0.25, 0.25), WEAK),
        ((30, 0.01, 1.99, 0.249, 0.25), WEAK),
        ((30, 0.01, 1.5, 0.26, 0.25), WEAK),
        ((30, 0.01, 1.49, 0.24, 0.25), NO_SKILL),
        ((30, -0.01, 3.0, 0.24, 0.25), NO_SKILL),
        ((30, -0.1, -3.0, 0.24, 0.25), NO_SKILL),
        ((30, np.nan, np.nan, 0.25, 0.25), NO_SKILL),
    ],
)
def test_the_rule_of_the_verdict(
    figures: tuple[int, float, float, float, float], verdict: str
) -> None:
    assert verdict_of(*figures, SMALL) == verdict
    assert verdict in VERDICTS


def test_months_are_told_as_they_were() -> None:
    market, rows = forecast_market(2, 0.002)
    _, outcomes = judged(market, rows)
    window = window_of(outcomes, market.days[LAST], SMALL)
    months = by_month(outcomes, window)
    assert months["sessions"].sum() == SMALL.judged_sessions
    assert months["month"].is_monotonic_increasing
    whole = (months["sessions"] * months["ours"]).sum() / months["sessions"].sum()
    assert whole == pytest.approx(outcomes.coefficients.iloc[window].mean())
