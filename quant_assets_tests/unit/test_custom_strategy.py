"""Strategies that are functions of the user's: what they may do, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quant_assets.domain.backtest import Backtest
from quant_assets.domain.custom_strategy import Known
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


@pytest.mark.parametrize("planted", ["of_tomorrow", "normalised"])
def test_one_that_looks_ahead_is_refused(planted: str) -> None:
    inputs = market(2)
    with pytest.raises(BadDataError, match="strategy 'mine' looks beyond its session: S0"):
        Backtest("us", custom(planted), TradingRules()).run(inputs)
    with pytest.raises(BadDataError, match="from the rows of that session alone"):
        Backtest("us", custom(planted), TradingRules()).run_grid(inputs)


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("broken", BadDataError, "failed: KeyError: 'no_such_column'"),
        ("wrong", BadDataError, "gave list; it gives a DataFrame with the columns session_date"),
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
