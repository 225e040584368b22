"""Strategies that are functions of the user's: what they may do, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quant_assets.domain.backtest import Backtest
from quant_assets.domain.custom_strategy import Known
from quant_assets.domain.signals import signal_rows
from quant_assets.domain.strategy_config import Strategy, strategies_of
from quant_assets.domain.trading_rules import TradingRules
from quant_assets.errors import BadConfigurationError, BadDataError
from quant_assets_tests.unit.test_backtest import market

HERE = __name__
COLUMNS = ["session_date", "symbol", "score"]


def honest(known: Known) -> pd.DataFrame:
    """Twice the combined score."""
    rows = known.recommendations
    return rows.assign(score=2 * rows["combined_score"])[COLUMNS]


def of_tomorrow(known: Known) -> pd.DataFrame:
    """Planted: the close of the next session over this one's."""
    prices = known.prices.sort_values(["symbol", "session_date"])
    ahead = prices.groupby("symbol")["close"].shift(-1)
    return prices.assign(score=ahead / prices["close"] - 1)[COLUMNS]


def normalised(known: Known) -> pd.DataFrame:
    """Planted: scores less their mean over all sessions of the run."""
    rows = known.recommendations
    mean = rows.groupby("symbol")["combined_score"].transform("mean")
    return rows.assign(score=rows["combined_score"] - mean)[COLUMNS]


def broken(known: Known) -> pd.DataFrame:
    return known.recommendations["no_such_column"].to_frame()


def wrong(known: Known) -> list[int]:
    return [len(known.prices)]


def texts(known: Known) -> pd.DataFrame:
    return known.recommendations.assign(score="high")[COLUMNS]


def twice(known: Known) -> pd.DataFrame:
    rows = honest(known)
    return pd.concat([rows, rows])


def of_tomorrow_in_midweek(known: Known) -> pd.DataFrame:
    """Planted: it looks ahead on three days of the week only."""
    rows = of_tomorrow(known)
    is_midweek = pd.DatetimeIndex(rows["session_date"]).day_of_week.isin([1, 2, 3])
    return rows.assign(score=rows["score"].where(is_midweek, 0.0))


MEMORY: dict[str, pd.DataFrame] = {}


def remembering(known: Known) -> pd.DataFrame:
    """Planted: every call answers from what the first one saw."""
    return MEMORY.setdefault("scores", of_tomorrow(known))


def writing(known: Known) -> pd.DataFrame:
    """What it is given is its own: prices at half, scores turned round, and its own notes."""
    rows = honest(known)
    known.prices["open"] = known.prices["low"] * 0.5
    known.recommendations["combined_score"] *= -1
    known.indicators["close"] = 0.0
    return rows


def elsewhere(known: Known) -> pd.DataFrame:
    """Instants in place of dates: no row is of a session."""
    rows = honest(known)
    return rows.assign(session_date=rows["session_date"] + pd.Timedelta(hours=16))


def custom(name: str, **values: object) -> tuple[Strategy, ...]:
    given = {"id": "mine", "kind": "custom", "scores": f"{HERE}:{name}", "is_live": True}
    return strategies_of([{**given, **values}])


def test_a_function_of_the_user_is_a_strategy() -> None:
    inputs = market(2)
    rules = TradingRules()
    signals, ledger = Backtest("us", custom("honest", enter=0.6, exit=-0.4), rules).run(inputs)
    same = replace(custom("honest")[0], kind="combined", scores="", enter=0.3, exit=-0.2)
    own, _ = Backtest("us", (same,), rules).run(inputs)
    assert signals["target_weight"].tolist() == own["target_weight"].tolist()
    np.testing.assert_allclose(signals["score"], 2 * own["score"])
    assert (ledger["kind"] == "FILL").any()


@pytest.mark.parametrize("planted", ["of_tomorrow", "normalised", "of_tomorrow_in_midweek"])
def test_one_that_looks_ahead_is_refused(planted: str) -> None:
    inputs = market(2)
    with pytest.raises(BadDataError, match="strategy 'mine' looks beyond its session: S0"):
        Backtest("us", custom(planted), TradingRules()).run(inputs)
    with pytest.raises(BadDataError, match="from the rows of that session alone"):
        Backtest("us", custom(planted), TradingRules()).run_grid(inputs)


def test_one_that_remembers_the_whole_range_is_not_given_it_first() -> None:
    MEMORY.clear()
    signals, _ = Backtest("us", custom("remembering"), TradingRules()).run(market(2))
    assert signals["score"].isna().all(), "all that it remembers is one session, without a future"


def test_what_one_writes_reaches_nobody_else() -> None:
    shadow = Strategy.from_mapping({"id": "other", "kind": "combined"})
    inputs = market(2)
    honestly = Backtest("us", (*custom("honest"), shadow), TradingRules()).run(inputs)
    written = Backtest("us", (*custom("writing"), shadow), TradingRules()).run(inputs)
    columns = ["session_date", "strategy_id", "symbol", "target_weight", "score"]
    pd.testing.assert_frame_equal(honestly[0][columns], written[0][columns])
    cash = ["session_date", "strategy_id", "kind", "symbol", "shares", "price", "cash", "equity"]
    pd.testing.assert_frame_equal(honestly[1][cash], written[1][cash])


def test_a_shadow_that_fails_has_no_opinion_and_stops_nobody() -> None:
    live = Strategy.from_mapping({"id": "live", "kind": "combined", "is_live": True})
    (mine,) = custom("broken")
    inputs = market(2)
    failed: dict[str, str] = {}
    rows = signal_rows(inputs, (live, replace(mine, is_live=False)), None, failed)
    alone = signal_rows(inputs, (live,), None)
    pd.testing.assert_frame_equal(rows, alone)
    assert list(failed) == ["mine"]
    assert "no_such_column" in failed["mine"]
    with pytest.raises(BadDataError, match="no_such_column"):
        signal_rows(inputs, (mine, replace(live, is_live=False)), None, {})


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("broken", BadDataError, "failed: KeyError: 'no_such_column'"),
        ("wrong", BadDataError, "gave list; it gives a DataFrame with the columns session_date"),
        ("elsewhere", BadDataError, "none of them of a symbol and session of this run"),
        ("texts", BadDataError, "could not convert string"),
        ("twice", BadDataError, "two rows in one session"),
        ("absent", BadConfigurationError, "cannot be loaded .* put the module where Python finds"),
        ("HERE", BadConfigurationError, "is no function"),
    ],
)
def test_one_that_fails_is_named(name: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Backtest("us", custom(name), TradingRules()).run(market(2))


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "custom", "scores": ""},
        {"kind": "custom", "scores": "no function"},
        {"kind": "custom", "scores": "os.system('x'):y"},
        {"kind": "custom", "scores": 3},
        {"kind": "combined", "scores": "a:b"},
    ],
)
def test_only_a_function_can_be_named(values: dict[str, object]) -> None:
    with pytest.raises(BadConfigurationError, match=r"names a function, package\.module:name"):
        strategies_of([{"id": "mine", "is_live": True, **values}])


@pytest.mark.parametrize("text", ["def scores(:", "raise RuntimeError('no licence')"])
def test_a_module_that_does_not_import_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "unfinished_strategy.py").write_text(text)
    given = {"id": "mine", "kind": "custom", "scores": "unfinished_strategy:scores"}
    with pytest.raises(BadConfigurationError, match="cannot be loaded"):
        Backtest("us", strategies_of([{**given, "is_live": True}]), TradingRules()).run(market(2))


def test_a_changed_function_is_another_strategy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "own_strategy.py"
    module.write_text("def scores(known):\n    return None\n")
    strategy = Strategy(id="a", kind="custom", enter=0, exit=0, scores="own_strategy:scores")
    first = strategy.version
    assert strategy.version == first
    module.write_text("def scores(known):\n    return 1\n")
    assert strategy.version != first
    known = {one.version for one in (strategy, replace(strategy, scores="missing:scores"))}
    assert len(known) == 2
