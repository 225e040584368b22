"""The forecast: nothing a model may not know reaches it, whatever is loaded; what it then says."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from quant_assets.domain.forecast import Inputs, forecast
from quant_assets.domain.forecast_config import FEATURES, FORECAST, STRESS_FEATURES, ForecastConfig
from quant_assets.domain.forecast_features import excess_returns, features_of
from quant_assets.errors import BadConfigurationError
from quant_assets_tests.unit.forecast_market import SMALL, US, MadeMarket, made_market

GAP, EMBARGO, WINDOW = SMALL.gap, SMALL.embargo, SMALL.training_sessions
LAST = 159
"""Place of the last session; the one that its month's model is fitted for is ``REFIT``."""
INDICATORS = ("roc_20", "rsi_14", "sma_20")


@pytest.fixture(scope="module")
def market() -> MadeMarket:
    return made_market(1)


@pytest.fixture(scope="module")
def refit(market: MadeMarket) -> int:
    return next(n for n, day in enumerate(market.days) if day.month == market.days[LAST].month)


@pytest.fixture(scope="module")
def told(market: MadeMarket) -> pd.DataFrame:
    return said(market.inputs(), [LAST], market)


def said(inputs: Inputs, places: Sequence[int], market: MadeMarket) -> pd.DataFrame:
    return forecast(inputs, [market.days[n] for n in places], SMALL)[0]


def same(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    return one.reset_index(drop=True).equals(other.reset_index(drop=True))


def test_the_look_back_is_the_window_the_gap_and_the_longest_month() -> None:
    assert FORECAST.look_back == 500 + 5 + 5 + 23
    assert FORECAST.gap == 12
    assert FORECAST.judged_look_back == 252 + 5


def test_a_forecast_says_what_it_rests_on(
    market: MadeMarket, told: pd.DataFrame, refit: int
) -> None:
    first, last = market.days[refit - GAP - WINDOW + 1], market.days[refit - GAP]
    assert (told["trained_from"] == pd.Timestamp(first)).all()
    assert (told["trained_to"] == pd.Timestamp(last)).all()
    assert (told["refit_on"] == pd.Timestamp(market.days[refit])).all()
    assert (told["n_samples"] == WINDOW * 10).all()
    assert told["reason"].isna().all()
    assert sorted(told["rank"]) == pytest.approx(np.linspace(0, 1, 10))
    assert told["probability_up"].between(0.2, 0.8).all()
    assert (told["available_at"] == US.decision_at(market.days[LAST])).all()
    # What ends before M: the target of the last sample ends one horizon and a session after it.
    end = US.offset_session(last, 1 + SMALL.horizon)
    assert US.offset_session(end, EMBARGO) < market.days[refit]
    assert US.offset_session(end, EMBARGO + 1) == market.days[refit]


def test_no_price_after_the_last_target_matters(
    market: MadeMarket, told: pd.DataFrame, refit: int
) -> None:
    """Not those of the embargo, nor of the month, nor of the future: the cut is exact."""
    for column in ("open", "close"):
        later = market.altered("prices", refit - EMBARGO, LAST, column)
        assert same(said(market.inputs(prices=later), [LAST], market), told), column
    last = market.altered("prices", refit - EMBARGO - 1, refit - EMBARGO - 1, "open")
    changed = said(market.inputs(prices=last), [LAST], market)
    assert (changed["model_id"] != told["model_id"]).all()
    assert (changed["trained_to"] == told["trained_to"]).all()


def test_no_split_after_the_last_target_matters(
    market: MadeMarket, told: pd.DataFrame, refit: int
) -> None:
    prices = market.frames["prices"].copy()
    is_later = prices["session_date"] >= pd.Timestamp(market.days[refit - EMBARGO])
    prices.loc[is_later, "split_ratio"] = 7.0
    assert same(said(market.inputs(prices=prices), [LAST], market), told)


@pytest.mark.parametrize("name", ["indicators", "technical", "sentiment"])
def test_no_feature_between_the_last_sample_and_the_session_matters(
    market: MadeMarket, told: pd.DataFrame, refit: int, name: str
) -> None:
    column = {"indicators": "rsi_14", "technical": "trend", "sentiment": "sentiment_score"}[name]
    between = market.altered(name, refit - GAP + 1, LAST - 1, column)
    assert same(said(market.inputs(**{name: between}), [LAST], market), told)
    of_sample = market.altered(name, refit - GAP, refit - GAP, column)
    changed = said(market.inputs(**{name: of_sample}), [LAST], market)
    assert (changed["model_id"] != told["model_id"]).all()
    own = said(market.inputs(**{name: market.altered(name, LAST, LAST, column)}), [LAST], market)
    assert (own["model_id"] == told["model_id"]).all()
    assert not same(own, told)


def test_nothing_before_the_window_matters(
    market: MadeMarket, told: pd.DataFrame, refit: int
) -> None:
    first = refit - GAP - WINDOW + 1
    for name, column in (("indicators", "rsi_14"), ("prices", "open"), ("technical", "trend")):
        before = market.altered(name, 0, first - 1, column)
        assert same(said(market.inputs(**{name: before}), [LAST], market), told), name
    within = market.altered("indicators", first, first, "rsi_14")
    changed = said(market.inputs(indicators=within), [LAST], market)
    assert (changed["model_id"] != told["model_id"]).all()


def test_removing_the_future_changes_nothing(market: MadeMarket) -> None:
    whole = said(market.inputs(), range(100, 160), market)
    for end in (100, 101, 126, 140):
        cut = market.between(0, end)
        early = said(cut.inputs(), range(100, end + 1), market)
        assert same(early, whole.iloc[: len(early)])


def test_a_range_equals_its_sessions_one_by_one_and_any_chunks(market: MadeMarket) -> None:
    """With just what an asset loads for each: the look-back of its first session."""
    reach = SMALL.look_back + 3
    whole = said(market.inputs(), range(130, 160), market)
    for chunks in ([*range(130, 160)], [130, 137, 149], [130, 141]):
        parts = []
        for first, after in zip(chunks, [*chunks[1:], 160], strict=True):
            loaded = market.between(max(first - reach, 0), after - 1)
            parts.append(said(loaded.inputs(), range(first, after), market))
        assert same(pd.concat(parts), whole)


def test_it_is_the_same_every_time(market: MadeMarket, told: pd.DataFrame) -> None:
    assert same(said(market.inputs(), [LAST], market), told)
    shuffled = {
        name: frame.sample(frac=1.0, random_state=3) for name, frame in market.frames.items()
    }
    assert same(said(market.inputs(**shuffled), [LAST], market), told)


def test_too_little_history_is_a_reason(market: MadeMarket) -> None:
    rows = said(market.inputs(), [30, LAST], market)
    early = rows[rows["session_date"] == pd.Timestamp(market.days[30])]
    assert early["expected_return"].isna().all()
    assert early["model_id"].isna().all()
    assert early["reason"].str.startswith("INSUFFICIENT_HISTORY: ").all()
    assert early["reason"].str.contains("30 are needed").all()
    assert rows[rows["session_date"] > pd.Timestamp(market.days[30])]["reason"].isna().all()


def test_a_missing_feature_is_named_and_the_others_are_forecast(
    market: MadeMarket, told: pd.DataFrame
) -> None:
    indicators = market.frames["indicators"].copy()
    is_last = indicators["session_date"] == pd.Timestamp(market.days[LAST])
    hit = is_last & (indicators["symbol"] == "S03")
    indicators.loc[hit, "rsi_14"] = np.nan
    indicators.loc[hit, "macd_histogram"] = np.inf
    rows = said(market.inputs(indicators=indicators), [LAST], market).set_index("symbol")
    assert rows.loc["S03", "reason"] == "MISSING_FEATURES: rsi, macd"
    assert rows["expected_return"].notna().sum() == 9
    assert sorted(rows["rank"].dropna()) == pytest.approx(np.linspace(0, 1, 9))


def test_unknown_news_stop_no_forecast(market: MadeMarket) -> None:
    nothing = market.frames["sentiment"].iloc[:0]
    assert said(market.inputs(sentiment=nothing), [LAST], market)["expected_return"].notna().all()


def test_an_old_regime_counts_for_nothing(market: MadeMarket) -> None:
    """However many are loaded: a session computed alone knows the last three sessions' only."""
    regime = market.frames["regime"]
    cut = regime[regime["release_date"] < pd.Timestamp(market.days[LAST - 4])]
    alone = market.between(LAST - SMALL.look_back - 3, LAST)
    cut_alone = alone.frames["regime"].merge(cut)
    assert same(
        said(market.inputs(regime=cut), [LAST], market),
        said(alone.inputs(regime=cut_alone), [LAST], market),
    )
    rows = features(market.inputs(regime=cut), market)
    last = rows[rows["session_date"] == pd.Timestamp(market.days[LAST])]
    assert (last[list(STRESS_FEATURES)] == 0.0).all().all()


def features(inputs: Inputs, market: MadeMarket) -> pd.DataFrame:
    from quant_assets.domain.forecast import _multipliers

    return features_of(
        inputs.indicators, inputs.technical, inputs.sentiment, _multipliers(inputs), SMALL
    )


def test_features_compare_the_symbols_of_a_session(market: MadeMarket) -> None:
    rows = features(market.inputs(), market)
    by_session = rows.groupby("session_date")
    for name in ("roc", "volatility", "sentiment"):
        raw = {"roc": "roc_20", "volatility": "realised_volatility_20"}.get(name)
        if raw:
            given = market.frames["indicators"].groupby("session_date")[raw]
            wanted = (market.frames["indicators"][raw] - given.transform("mean")) / (
                given.transform("std", ddof=0)
            )
            np.testing.assert_allclose(rows[name], wanted.clip(-3, 3), atol=1e-12)
        assert by_session[name].mean().abs().max() < 0.5


HOSTILE = {
    "nan": np.nan,
    "infinite": np.inf,
    "constant": 5.0,
    "huge": 1e308,
    "zero": 0.0,
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_hostile_columns_break_nothing(market: MadeMarket, value: float) -> None:
    for column in ("rsi_14", "atr_14", "close", "roc_20"):
        indicators = market.frames["indicators"].assign(**{column: value})
        rows = said(market.inputs(indicators=indicators), [LAST], market)
        assert len(rows) == 10
        assert (rows["expected_return"].isna() == rows["reason"].notna()).all()
        assert not np.isinf(rows["expected_return"]).any()


@pytest.mark.filterwarnings("error")
def test_one_symbol_has_nothing_to_be_compared_with(market: MadeMarket) -> None:
    alone = {
        name: frame if name == "regime" else frame[frame["symbol"] == "S00"]
        for name, frame in market.frames.items()
    }
    (row,) = said(market.inputs(**alone), [LAST], market).to_dict("records")
    assert row["reason"].startswith("INSUFFICIENT_HISTORY: 0 sessions")
    indicators = market.frames["indicators"]
    is_last = indicators["session_date"] == pd.Timestamp(market.days[LAST])
    few = indicators[~is_last | indicators["symbol"].isin(["S00", "S01"])]
    rows = said(market.inputs(indicators=few), [LAST], market)
    assert rows["reason"].str.startswith("TOO_FEW_SYMBOLS").all()


@pytest.mark.filterwarnings("error")
def test_equal_returns_teach_nothing(market: MadeMarket) -> None:
    flat = market.frames["prices"].assign(open=10.0, close=10.0, dividend=0.0, split_ratio=1.0)
    rows = said(market.inputs(prices=flat), [LAST], market)
    assert rows["reason"].str.startswith("NO_DIFFERENCES").all()


@pytest.mark.filterwarnings("error")
def test_sessions_that_are_missing_are_no_samples(
    market: MadeMarket, told: pd.DataFrame, refit: int
) -> None:
    gone = pd.Timestamp(market.days[refit - 40])
    without = {
        name: frame[frame["session_date"] != gone]
        for name, frame in market.frames.items()
        if name != "regime"
    }
    only_features = {name: without[name] for name in ("indicators", "technical", "sentiment")}
    rows = said(market.inputs(**only_features), [LAST], market)
    assert (rows["n_samples"] == 10 * (WINDOW - 1)).all()
    # Without its prices no target that spans it is known: a split of that day would be missed.
    rows = said(market.inputs(prices=without["prices"]), [LAST], market)
    assert (rows["n_samples"] == 10 * (WINDOW - SMALL.horizon - 1)).all()
    nothing = {name: frame.iloc[:0] for name, frame in without.items() if name != "indicators"}
    rows = said(market.inputs(**nothing), [LAST], market)
    assert rows["reason"].str.startswith("INSUFFICIENT_HISTORY").all()


def test_the_target_is_adjusted_and_less_the_mean(market: MadeMarket) -> None:
    """Against the definition, on a market with a split and a dividend inside the window."""
    days = pd.DatetimeIndex(market.days[:8]).as_unit("us")
    opens = {"A": [10, 10, 11, 11, 6, 6, 6, 6.6], "B": [20.0] * 8, "C": [30.0] * 8}
    frame = (
        pd.DataFrame(opens, index=days)
        .rename_axis("session_date")
        .melt(var_name="symbol", value_name="open", ignore_index=False)
        .reset_index()
    )
    frame = frame.assign(close=frame["open"], high=0.0, low=0.0, volume=1, dividend=0.0)
    frame["split_ratio"] = 1.0
    is_a = frame["symbol"] == "A"
    frame.loc[is_a & (frame["session_date"] == days[4]), "split_ratio"] = 2.0
    frame.loc[is_a & (frame["session_date"] == days[5]), "dividend"] = 0.6
    found = excess_returns(frame, days, SMALL)
    gained = 6.0 / (10.0 / 2.0 * (1 - 0.6 / 6.0)) - 1.0
    wanted = [gained - gained / 3, -gained / 3, -gained / 3]
    assert found.iloc[0].tolist() == pytest.approx(wanted)
    later = 6.6 / (11.0 / 2.0 * (1 - 0.6 / 6.0)) - 1.0
    assert found.iloc[1].tolist() == pytest.approx([later - later / 3, -later / 3, -later / 3])
    assert found.iloc[2:].isna().all().all()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"horizon": 0}, "forecast.horizon is 0"),
        ({"penalty": float("nan")}, "forecast.penalty is nan"),
        ({"fewest_training_sessions": 501}, "forecast.fewest_training_sessions is 501: give at"),
        ({"weak_t": 2.5}, "forecast.weak_t is 2.5: give at most forecast.skill_t, which is 2.0"),
    ],
)
def test_what_cannot_be_learned_is_refused_by_name(fields: dict[str, float], told: str) -> None:
    with pytest.raises(BadConfigurationError) as refused:
        ForecastConfig(**fields)  # type: ignore[arg-type]
    assert told in str(refused.value)


def test_the_version_follows_every_value() -> None:
    assert ForecastConfig().version == FORECAST.version
    assert ForecastConfig(embargo=4).version != FORECAST.version
    assert len(FEATURES) == len(set(FEATURES)) == 22
