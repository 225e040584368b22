"""The forecast assets on a platform: a range and its parts store the same, and say what it is."""

import json
from collections.abc import Iterator
from datetime import date

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from quant_assets.cli.show import print_recommendations
from quant_assets.cli.verify_future import verdicts
from quant_assets.domain.forecast import forecast
from quant_assets.domain.forecast_config import FORECAST, SKILL
from quant_assets.io_managers.partitioned_parquet import split_by_partition
from quant_assets.markets import MARKETS
from quant_assets.naming import ANY_JOB, TAG_PARTITION
from quant_assets.schemas import dataset_of
from quant_assets_tests.platform import Platform, failure, platform
from quant_assets_tests.unit.forecast_market import MadeMarket, made_market

SYMBOLS = tuple(f"S{n:02d}" for n in range(6))
DAYS = ("2026-03-17", "2026-03-18", "2026-03-19")
OLD = "2025-10-15"
"""A session with recommendations and no forecast."""
ASSETS = ("us/return_forecast", "us/forecast_skill")
JOB = "us_paper_trading"
STRATEGIES = [
    {"id": "hold", "kind": "buy_and_hold", "is_live": True},
    {"id": "forecast", "kind": "forecast", "names": 2},
]
STORED_AS = {
    "indicators": "us/technical_indicators",
    "technical": "us/technical_score",
    "sentiment": "us/news_sentiment",
    "prices": "us/prices",
    "regime": "macro/regime",
}


@pytest.fixture(scope="module")
def market() -> MadeMarket:
    """A market in which one indicator drives the returns."""
    return made_market(5, sessions=232, symbols=len(SYMBOLS), drive=0.004, last=DAYS[-1])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, market: MadeMarket) -> Iterator[Platform]:
    """What is analysed of it, and forecasts of all sessions but the last three."""
    home = tmp_path_factory.mktemp("home")
    with platform(home, us=SYMBOLS, QUANT_STRATEGIES=json.dumps(STRATEGIES)) as p:
        for name, asset in STORED_AS.items():
            store(p, asset, complete(name, market.frames[name]))
        store(p, "us/recommendations", recommendations(market))
        judged = market.days[-3 - FORECAST.fewest_judged_sessions - FORECAST.horizon - 1 : -3]
        store(p, ASSETS[0], forecast(market.inputs(), judged, FORECAST)[0])
        yield p


@pytest.fixture(scope="module")
def whole(shared: Platform) -> dict[str, bytes]:
    """The files that one run over the three sessions makes."""
    shared.run(JOB, DAYS[0], DAYS[-1])
    return {name: content for name, content in shared.files(*ASSETS).items() if is_new(name)}


def is_new(name: str) -> bool:
    return any(day in name for day in DAYS)


def complete(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with the columns that the forecast does not look at."""
    if name != "regime":
        return frame
    # Of the others of its days a forecast knows nothing, as it says of macro data: optional.
    frame = frame[frame["release_date"] > frame["release_date"].max() - pd.Timedelta(days=120)]
    features = dict.fromkeys(
        ("term_spread", "vix", "vix_percentile", "cpi_yoy", "sahm_gap", "credit_spread"), np.nan
    )
    return frame.assign(
        **features,
        policy_rate=np.nan,
        stress_points=0.0,
        n_features=0,
        regime="NEUTRAL",
        regime_version="1",
    )


def recommendations(market: MadeMarket) -> pd.DataFrame:
    frame = market.frames["technical"][["session_date", "symbol", "technical_score"]]
    frame = frame[frame["session_date"].isin(pd.DatetimeIndex([OLD, *DAYS]))]
    decided = frame["session_date"].map(
        {pd.Timestamp(day): MARKETS["us"].decision_at(day) for day in market.days}
    )
    return frame.assign(
        sentiment_score=0.0,
        combined_score=frame["technical_score"],
        label="HOLD",
        technical_weight=0.7,
        sentiment_weight=0.3,
        technical_status="OK",
        sentiment_status="NO_NEWS",
        is_degraded=False,
        reason=None,
        decision_at=decided,
        available_at=decided,
        technical_version="1",
        sentiment_version="1",
        scoring_version="1",
    )


def store(p: Platform, asset: str, frame: pd.DataFrame) -> None:
    dataset = dataset_of(asset)
    conformed = dataset.conform(frame, asset)
    parts = list(split_by_partition(dataset, conformed))
    p.store.write_parts(dataset, asset, conformed, parts, "1")


def make(p: Platform, day: str, *assets: str) -> dg.ExecuteInProcessResult:
    """Run some assets of one session."""
    return p.defs.resolve_job_def(ANY_JOB).execute_in_process(
        instance=p.instance,
        tags={TAG_PARTITION: day},
        partition_key=day,
        asset_selection=[dg.AssetKey(asset.split("/")) for asset in assets],
        raise_on_error=False,
    )


def told(p: Platform, asset: str) -> dict[str, str]:
    event = p.instance.get_latest_materialization_event(dg.AssetKey(asset.split("/")))
    assert event is not None
    assert event.asset_materialization is not None
    return {name: str(v.value) for name, v in event.asset_materialization.metadata.items()}


def test_sessions_one_by_one_and_again_make_the_same_bytes(
    shared: Platform, whole: dict[str, bytes]
) -> None:
    for asset in ASSETS:
        shared.store.delete(asset, DAYS)
    for day in (*DAYS, DAYS[-1]):
        result = make(shared, day, *ASSETS)
        assert result.success, failure(result)
    again = shared.files(*ASSETS)
    assert {name: again[name] for name in whole} == whole
    assert len(whole) == 2 * len(DAYS)


def test_what_is_stored_is_the_forecast_and_its_judgement(
    shared: Platform, whole: object, market: MadeMarket
) -> None:
    rows = shared.read(ASSETS[0], *DAYS)
    regime = complete("regime", market.frames["regime"])
    wanted, model = forecast(market.inputs(regime=regime), market.days[-3:], FORECAST)
    np.testing.assert_array_equal(rows["expected_return"], wanted["expected_return"])
    assert set(rows["model_id"]) == {model.model_id}
    assert rows["reason"].isna().all()
    assert (rows["n_samples"] >= 120 * len(SYMBOLS)).all()
    skill = shared.read(ASSETS[1], DAYS[-1]).iloc[0]
    assert skill["verdict"] == SKILL, skill["explanation"]
    assert skill["n_sessions"] >= 60


def test_the_cards_begin_with_the_verdict(shared: Platform, whole: object) -> None:
    made, judged = (told(shared, asset) for asset in ASSETS)
    assert judged["verdict"].startswith("SKILL: ranks and probabilities were better than chance")
    assert judged["model_card"].startswith("## SKILL\n\nUnited States, 2026-03-19: ")
    assert "| month | sessions | ours | technical |" in judged["model_card"]
    assert "| fifth | predicted | realised | forecasts |" in judged["model_card"]
    assert made["verdict"] == "not judged yet" or made["verdict"].startswith("SKILL (2026-03-18)")
    card = made["model_card"].splitlines()
    table = next(n for n, line in enumerate(card) if line.startswith("| feature | meaning |"))
    assert card[table + 2].startswith("| roc | return over 20 sessions |"), "the largest first"


def test_a_strategy_goes_by_the_rank_where_there_is_a_forecast(
    shared: Platform, whole: object
) -> None:
    signals = shared.read("us/signals", DAYS[-1])
    shadow = signals[signals["strategy_id"] == "forecast"].set_index("symbol")
    ranks = shared.read(ASSETS[0], DAYS[-1]).set_index("symbol")["rank"]
    assert shadow["score"].to_dict() == ranks.to_dict()
    assert not shadow["is_live"].any()
    stored = {name: shared.files(ASSETS[0])[name] for name in shared.files(ASSETS[0])}
    try:
        shared.store.delete(ASSETS[0], [DAYS[-1]])
        result = make(shared, DAYS[-1], "us/signals")
        assert result.success, failure(result)
        without = shared.read("us/signals", DAYS[-1])
        assert without.loc[without["strategy_id"] == "forecast", "score"].isna().all()
        live = without["strategy_id"] == "hold"
        pd.testing.assert_frame_equal(
            without[live].reset_index(drop=True),
            signals[signals["strategy_id"] == "hold"].reset_index(drop=True),
        )
    finally:
        for name, content in stored.items():
            (shared.store.root / name).write_bytes(content)


def test_the_recommendations_show_the_forecast_and_what_it_is_worth(
    shared: Platform, whole: object, capsys: pytest.CaptureFixture[str]
) -> None:
    print_recommendations(shared.settings, MARKETS["us"], None, "table")
    shown = " ".join(capsys.readouterr().out.split())
    assert "combined technical sentiment forecast news" in shown
    best = shared.read(ASSETS[0], DAYS[-1]).set_index("symbol")["expected_return"]
    for symbol, value in best.items():
        assert f"{100 * value:+.2f}%" in shown, symbol
    assert "return of the next 5 sessions less the symbols' mean; SKILL: ranks" in shown
    print_recommendations(shared.settings, MARKETS["us"], date.fromisoformat(OLD), "table")
    assert "forecast" not in capsys.readouterr().out, "none is stored of that session"


def test_made_without_their_future_they_are_the_same(shared: Platform, whole: object) -> None:
    drawn = [(asset, DAYS[1]) for asset in ASSETS]
    found = list(verdicts(shared.settings, shared.store, drawn))
    assert [(one.asset, one.verdict) for one, _ in found] == [(a, "equal") for a in ASSETS]


def test_a_session_that_was_never_analysed_is_refused_by_name(
    shared: Platform, whole: object
) -> None:
    path = shared.store.path("us/technical_score", DAYS[-1])
    content = path.read_bytes()
    path.unlink()
    try:
        result = make(shared, DAYS[-1], ASSETS[0])
    finally:
        path.write_bytes(content)
    assert not result.success
    assert "us/technical_score: partition 2026-03-19 is not stored" in failure(result)
    assert "run us_combined_analysis for it first" in failure(result)


def test_a_hole_in_the_past_is_one_session_less(shared: Platform, whole: object) -> None:
    before = shared.read(ASSETS[0], DAYS[-1])["n_samples"].iloc[0]
    path = shared.store.path("us/technical_indicators", "2025-12-01")
    content = path.read_bytes()
    stored = shared.files(ASSETS[0])
    path.unlink()
    try:
        result = make(shared, DAYS[-1], ASSETS[0])
        assert result.success, failure(result)
        after = shared.read(ASSETS[0], DAYS[-1])["n_samples"].iloc[0]
        assert after == before - len(SYMBOLS)
    finally:
        path.write_bytes(content)
        for name, kept in stored.items():
            (shared.store.root / name).write_bytes(kept)
