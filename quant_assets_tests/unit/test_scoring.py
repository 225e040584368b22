"""Scores and labels against values worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from quant_assets.domain.scoring import (
    COMBINED_COLUMNS,
    COMPONENTS,
    TECHNICAL_COLUMNS,
    ScoringConfig,
    combine,
    label,
    technical_score,
)
from quant_assets.errors import BadConfigurationError, BadDataError

CONFIG = ScoringConfig()
SESSION = pd.Timestamp("2024-06-28").as_unit("us")
DECISION = pd.Timestamp("2024-07-01 13:30", tz="UTC")

NEUTRAL = {
    "close": 100.0,
    "sma_20": 100.0,
    "sma_50": 100.0,
    "sma_200": 100.0,
    "macd_histogram": 0.0,
    "rsi_14": 50.0,
    "bollinger_percent_b": 0.5,
    "atr_14": 2.0,
    "adx_14": 10.0,
    "plus_di_14": 20.0,
    "minus_di_14": 20.0,
    "stochastic_d": 50.0,
    "obv_zscore_20": 0.0,
}


def indicator_rows(*changes) -> pd.DataFrame:
    rows = pd.DataFrame([{**NEUTRAL, **change} for change in changes])
    rows.insert(0, "symbol", pd.Series([f"S{n}" for n in range(len(rows))], dtype="str"))
    rows.insert(0, "session_date", SESSION)
    if "reason" not in rows:
        rows["reason"] = pd.Series([None] * len(rows), dtype="str")
    rows["reason"] = rows["reason"].astype("str")
    rows["available_at"] = pd.Timestamp("2024-06-28 20:15", tz="UTC").as_unit("us")
    return rows


def technical_rows(*scores, **columns) -> pd.DataFrame:
    """Rows as ``technical_score`` returns them, for the given scores."""
    rows = technical_score(indicator_rows(*({} for _ in scores)), CONFIG)
    rows["technical_score"] = np.array(scores, dtype=float)
    is_missing = rows["technical_score"].isna()
    rows["status"] = rows["status"].mask(is_missing, "INSUFFICIENT_HISTORY")
    rows["reason"] = rows["reason"].mask(is_missing, "INSUFFICIENT_HISTORY: 9 of 250 bars")
    return rows.assign(**columns)


def sentiment_rows(*rows) -> pd.DataFrame:
    """Rows of (symbol, score, status)."""
    frame = pd.DataFrame(rows, columns=["symbol", "sentiment_score", "status"])
    return frame.assign(
        session_date=SESSION,
        symbol=frame["symbol"].astype("str"),
        status=frame["status"].astype("str"),
        sentiment_score=frame["sentiment_score"].astype("float64"),
        n_articles=1,
        scorer_version="v1",
    )


def combined(technical, *sentiment) -> pd.DataFrame:
    times = pd.Series({SESSION: DECISION})
    return combine(technical, sentiment_rows(*sentiment), CONFIG, decision_times=times)


@pytest.mark.parametrize(
    ("component", "change", "expected"),
    [
        ("trend_price", {"close": 103.0}, 0.75),  # 3 / (2 x 2)
        ("trend_price", {"close": 96.0}, -1.0),
        ("trend_price", {"close": 150.0}, 1.0),
        ("trend_medium", {"sma_50": 97.0}, 0.5),  # 3 / (3 x 2)
        ("trend_medium", {"sma_50": 130.0}, -1.0),
        ("trend_long", {"sma_200": 104.0}, -0.25),  # -4 / (8 x 2)
        ("momentum_macd", {"macd_histogram": 0.4}, 0.4),  # 0.4 / (0.5 x 2)
        ("momentum_macd", {"macd_histogram": -5.0}, -1.0),
        ("momentum_adx", {"adx_14": 25.0, "plus_di_14": 30.0}, 0.25),
        ("momentum_adx", {"adx_14": 25.0, "minus_di_14": 30.0}, -0.25),
        ("momentum_adx", {"adx_14": 70.0, "plus_di_14": 30.0}, 1.0),
        ("momentum_adx", {"adx_14": 20.0, "plus_di_14": 30.0}, 0.0),
        ("momentum_adx", {"adx_14": 40.0}, 0.0),  # equal +DI and -DI
        ("momentum_obv", {"obv_zscore_20": -1.2}, -0.6),
        ("momentum_obv", {"obv_zscore_20": 3.0}, 1.0),
        ("reversal_rsi", {"rsi_14": 30.0}, 0.0),
        ("reversal_rsi", {"rsi_14": 26.0}, 0.4),
        ("reversal_rsi", {"rsi_14": 12.0}, 1.0),
        ("reversal_rsi", {"rsi_14": 73.0}, -0.3),
        ("reversal_stochastic", {"stochastic_d": 15.0}, 0.25),
        ("reversal_stochastic", {"stochastic_d": 0.0}, 1.0),
        ("reversal_stochastic", {"stochastic_d": 90.0}, -0.5),
        ("reversal_bollinger", {"bollinger_percent_b": -0.1}, 0.4),
        ("reversal_bollinger", {"bollinger_percent_b": 1.05}, -0.2),
        ("reversal_bollinger", {"bollinger_percent_b": 1.9}, -1.0),
    ],
)
def test_each_component_and_its_part_of_the_score(component, change, expected):
    row = technical_score(indicator_rows(change), CONFIG).iloc[0]
    assert row[component] == pytest.approx(expected, abs=1e-12)
    others = [name for name in COMPONENTS if name != component]
    touched = [name for name in others if row[name] != 0]
    assert touched in ([], ["trend_long"])  # a change of sma_50 moves its distance to sma_200 too
    if not touched:
        weight = {"trend": 0.5, "momentum": 0.3, "reversal": 0.2}[component.split("_")[0]]
        assert row["technical_score"] == pytest.approx(weight * expected / 3, abs=1e-12)


def test_a_whole_score_by_hand():
    """Trend (0.5 + 0.5 + 0.25)/3, momentum (0.2 + 0.5 + 0.4)/3, reversal (-0.5 - 1 + 0)/3."""
    row = technical_score(
        indicator_rows(
            {
                "close": 102.0,
                "sma_50": 97.0,
                "sma_200": 93.0,
                "macd_histogram": 0.2,
                "adx_14": 30.0,
                "plus_di_14": 25.0,
                "obv_zscore_20": 0.8,
                "rsi_14": 75.0,
                "stochastic_d": 100.0,
            }
        ),
        CONFIG,
    ).iloc[0]
    assert row["trend"] == pytest.approx(1.25 / 3)
    assert row["momentum"] == pytest.approx(1.1 / 3)
    assert row["reversal"] == pytest.approx(-0.5)
    expected = 0.5 * 1.25 / 3 + 0.3 * 1.1 / 3 - 0.2 * 0.5
    assert row["technical_score"] == pytest.approx(expected)
    assert row["status"] == "OK"
    assert pd.isna(row["reason"])
    assert row["scoring_version"] == CONFIG.version


def test_extremes_reach_one_and_no_further():
    up = {
        "close": 900.0,
        "sma_20": 700.0,
        "sma_50": 400.0,
        "macd_histogram": 50.0,
        "adx_14": 99.0,
        "plus_di_14": 90.0,
        "obv_zscore_20": 9.0,
        "rsi_14": 1.0,
        "stochastic_d": 0.0,
        "bollinger_percent_b": -5.0,
    }
    row = technical_score(indicator_rows(up), CONFIG).iloc[0]
    assert row["technical_score"] == pytest.approx(1.0, abs=1e-15)


def test_a_series_that_does_not_move_scores_zero():
    row = technical_score(indicator_rows({"atr_14": 0.0, "close": 100.0000001}), CONFIG).iloc[0]
    assert row["trend_price"] == row["trend"] == row["technical_score"] == 0.0


def test_a_block_is_the_mean_of_what_is_present_and_null_below_two():
    rows = technical_score(
        indicator_rows({"sma_200": np.nan, "close": 104.0}, {"sma_50": np.nan, "close": 104.0}),
        CONFIG,
    )
    assert rows["trend"][0] == pytest.approx(0.5)  # (1 + 0) / 2
    assert rows["status"].tolist() == ["OK", "INSUFFICIENT_HISTORY"]
    assert pd.isna(rows["trend"][1])
    assert pd.isna(rows["technical_score"][1])
    assert rows["momentum"][1] == 0.0
    assert rows["reason"][1].startswith("INSUFFICIENT_HISTORY: fewer than 2 components")


def test_short_history_keeps_its_reason():
    short = {name: np.nan for name in NEUTRAL if name not in ("close", "sma_20", "stochastic_d")}
    short["reason"] = "INSUFFICIENT_HISTORY: 123 of 250 bars"
    row = technical_score(indicator_rows(short), CONFIG).iloc[0]
    assert pd.isna(row["technical_score"])
    assert row["status"] == "INSUFFICIENT_HISTORY"
    assert row["reason"] == "INSUFFICIENT_HISTORY: 123 of 250 bars"


def test_columns_of_both_tables():
    technical = technical_score(indicator_rows({}, {"sma_50": np.nan}), CONFIG)
    assert tuple(technical.columns) == TECHNICAL_COLUMNS
    result = combined(technical, ("S0", 0.5, "OK"))
    assert tuple(result.columns) == COMBINED_COLUMNS
    texts = ("label", "reason", "technical_status", "sentiment_status", "sentiment_version")
    assert {str(result[name].dtype) for name in texts} == {"str"}
    assert str(result["decision_at"].dtype) == "datetime64[us, UTC]"
    assert str(result["is_degraded"].dtype) == "bool"
    assert (result["decision_at"] == DECISION).all()
    assert (result["available_at"] == DECISION).all()
    assert result["sentiment_version"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (-1.0, "STRONG_SELL"),
        (-0.35, "STRONG_SELL"),
        (-0.3499999, "STRONG_SELL"),
        (-0.349999, "SELL"),
        (-0.15, "SELL"),
        (-0.1499996, "SELL"),
        (-0.1499994, "HOLD"),
        (0.0, "HOLD"),
        (0.149999, "HOLD"),
        (0.1499994, "HOLD"),
        (0.1499996, "BUY"),
        (0.15, "BUY"),
        (0.349999, "BUY"),
        (0.3499994, "BUY"),
        (0.35, "STRONG_BUY"),
        (1.0, "STRONG_BUY"),
    ],
)
def test_labels_after_rounding_to_six_decimals(score, expected):
    """All the weight on the technical score, so that it is the combined one."""
    config = ScoringConfig.from_mapping({"technical_weight": 1.0, "sentiment_weight": 0.0})
    row = combine(
        technical_rows(score),
        sentiment_rows(("S0", 0.0, "OK")),
        config,
        decision_times={SESSION: DECISION},
    ).iloc[0]
    assert row["combined_score"] == round(score, 6)
    assert row["label"] == expected


def test_label_of_nothing_is_nothing():
    nothing = pd.Series([np.nan, 0.5])
    labels = label(nothing, CONFIG, is_capped=pd.Series([True, False]))
    assert labels.isna().tolist() == [True, False]


def test_combination_of_a_technical_score_with_every_status():
    result = combined(
        technical_rows(0.8, 0.8, 0.8, 0.8, 0.8, -0.8, np.nan),
        ("S0", 0.5, "OK"),
        ("S1", np.nan, "NO_NEWS"),
        ("S2", -0.5, "STALE"),
        ("S3", np.nan, "UNAVAILABLE"),
        ("S5", 0.9, "UNAVAILABLE"),
        ("S6", 0.5, "OK"),
    )
    assert result["combined_score"][:6].tolist() == [0.71, 0.56, 0.41, 0.56, 0.56, -0.56]
    assert result["label"][:6].tolist() == [
        "STRONG_BUY",
        "STRONG_BUY",
        "STRONG_BUY",
        "BUY",
        "BUY",
        "SELL",
    ]
    assert result["is_degraded"].tolist() == [False, False, False, True, True, True, False]
    assert result["sentiment_status"][4] == "UNAVAILABLE"
    assert result["sentiment_score"][:3].tolist() == [0.5, 0.0, -0.5]
    assert result["sentiment_score"][3:6].isna().all()
    assert (result["technical_weight"] == 0.7).all()
    assert (result["sentiment_weight"] == 0.3).all()
    assert result["reason"][:3].isna().all()
    assert result["reason"][3:6].str.startswith("SENTIMENT_UNAVAILABLE").all()
    assert pd.isna(result["combined_score"][6])
    assert pd.isna(result["label"][6])
    assert result["reason"][6] == "INSUFFICIENT_HISTORY: 9 of 250 bars"


def test_combination_ignores_sentiment_of_other_symbols_and_sessions():
    other_day = sentiment_rows(("S0", 1.0, "OK")).assign(session_date=SESSION + pd.Timedelta("1D"))
    sentiment = pd.concat([other_day, sentiment_rows(("S9", 1.0, "OK"))])
    times = {SESSION: DECISION}
    result = combine(technical_rows(0.1), sentiment, CONFIG, decision_times=times)
    assert len(result) == 1
    assert result["sentiment_status"].item() == "UNAVAILABLE"


def test_a_score_that_came_too_late_is_refused():
    late = technical_rows(0.1, available_at=DECISION)
    with pytest.raises(BadDataError, match="technical score of S0 in 2024-06-28 became available"):
        combined(late, ("S0", 0.1, "OK"))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("S0", 0.1, "FINE")], "status 'FINE' of S0 in 2024-06-28 is unknown"),
        ([("S0", 0.1, "OK"), ("S0", 0.2, "OK")], "two sentiment rows of S0 in 2024-06-28"),
        ([("S0", np.nan, "OK")], "sentiment score nan of S0 in 2024-06-28 has status OK"),
        ([("S0", 1.5, "STALE")], "sentiment score 1.5 of S0"),
    ],
)
def test_sentiment_that_breaks_its_contract_is_refused(rows, said):
    with pytest.raises(BadDataError, match=said):
        combined(technical_rows(0.1), *rows)


def test_a_session_without_decision_time_is_refused():
    with pytest.raises(BadDataError, match="session 2024-06-28 has no decision time"):
        combine(
            technical_rows(0.1),
            sentiment_rows(("S0", 0.1, "OK")),
            CONFIG,
            decision_times={SESSION + pd.Timedelta("1D"): DECISION},
        )


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"trend_weight": 0.6}, "trend_weight"),
        ({"technical_weight": 0.5}, "technical_weight"),
        ({"technical_weight": 1.2, "sentiment_weight": -0.2}, "technical_weight is 1.2"),
        ({"buy_cut": 0.4}, "strong_buy_cut is 0.35: give more than scoring.buy_cut"),
        ({"sell_cut": -0.35}, "sell_cut"),
        ({"trend_long_atr": 0}, "trend_long_atr is 0: give a number above 0"),
        ({"reversal_rsi_low": 80.0}, "reversal_rsi_high"),
        ({"minimum_components": 4}, "minimum_components"),
        ({"score_decimals": 6.0}, "score_decimals"),
        ({"buy_cut": "0.15"}, "buy_cut is '0.15': give a number"),
        ({"buy_cut": float("nan")}, "buy_cut is nan"),
        ({"buy_cutt": 0.15}, "buy_cutt is not a field; allowed are trend_weight"),
    ],
)
def test_a_wrong_configuration_names_its_field(values, field):
    with pytest.raises(BadConfigurationError, match=field):
        ScoringConfig.from_mapping(values)


def test_the_version_follows_every_value_and_nothing_else():
    assert ScoringConfig.from_mapping({}).version == CONFIG.version
    assert ScoringConfig.from_mapping({"trend_price_atr": 2}).version == CONFIG.version
    changed = [
        {"trend_price_atr": 2.5},
        {"buy_cut": 0.16},
        {"minimum_components": 1},
        {"score_decimals": 5},
        {"trend_weight": 0.4, "momentum_weight": 0.4},
    ]
    versions = {ScoringConfig.from_mapping(values).version for values in changed}
    assert len(versions | {CONFIG.version}) == len(changed) + 1
    assert len(CONFIG.version) == 12


def test_other_weights_and_constants_are_used():
    config = ScoringConfig.from_mapping(
        {"trend_weight": 1.0, "momentum_weight": 0.0, "reversal_weight": 0.0, "trend_price_atr": 3}
    )
    row = technical_score(indicator_rows({"close": 103.0}), config).iloc[0]
    assert row["trend_price"] == pytest.approx(0.5)
    assert row["technical_score"] == pytest.approx(0.5 / 3)
    assert row["scoring_version"] == config.version
