"""The trading assets on a platform: the paper book goes on from itself, whatever the runs."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from quant_assets.assets.performance import book_records
from quant_assets.checks.trading import accounting_faults, chain_breaks
from quant_assets.domain.paper_book import PaperBook
from quant_assets.errors import BadDataError, MissingPartitionError
from quant_assets.io_managers.parquet_store import content_hash
from quant_assets.markets import MARKETS
from quant_assets.naming import TRADING
from quant_assets.schemas import dataset_of
from quant_assets_tests.platform import Platform, failure, platform

US = ("AAPL", "MSFT", "JPM")
HISTORY, FIRST, LAST = "2025-02-03", "2026-03-05", "2026-03-19"
JOB = "us_paper_trading"
TABLES = tuple(f"us/{name}" for name in TRADING)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Analyses of eleven sessions, and nothing traded yet."""
    with platform(tmp_path_factory.mktemp("home"), us=US) as p:
        p.run("us_price", HISTORY, LAST)
        p.run("us_combined_analysis", FIRST, LAST)
        yield p


@pytest.fixture(scope="module")
def whole(shared: Platform) -> dict[str, bytes]:
    """The files that one run over the range makes."""
    shared.run(JOB, FIRST, LAST)
    return shared.files(*TABLES)


@pytest.fixture
def p(shared: Platform, whole: dict[str, bytes]) -> Iterator[Platform]:
    """The platform without its trading partitions; they come back afterwards."""
    for table in TABLES:
        shared.store.delete(table, shared.store.list_partitions(table))
    yield shared
    for name, content in whole.items():
        (shared.store.root / name).write_bytes(content)


def test_a_range_in_parts_makes_the_same_bytes_as_in_one(
    p: Platform, whole: dict[str, bytes]
) -> None:
    for first, last in (
        (FIRST, FIRST),
        ("2026-03-06", "2026-03-11"),
        ("2026-03-12", "2026-03-12"),
        ("2026-03-13", LAST),
    ):
        p.run(JOB, first, last)
    assert p.files(*TABLES) == whole


def test_running_a_session_again_changes_nothing(shared: Platform, whole: dict[str, bytes]) -> None:
    shared.run(JOB, "2026-03-11", "2026-03-12")
    assert shared.files(*TABLES) == whole


def test_the_future_changes_nothing(p: Platform, whole: dict[str, bytes]) -> None:
    """Up to a session the book is the same, whether later sessions are there or not."""
    p.run(JOB, FIRST, "2026-03-12")
    early = p.files(*TABLES)
    assert early == {name: whole[name] for name in early}
    assert len(early) == 6 * len(TABLES)


def test_a_hole_in_the_book_is_refused_by_name(p: Platform) -> None:
    p.run(JOB, FIRST, "2026-03-06")
    result = p.run(JOB, "2026-03-10", LAST, check=False)
    assert not result.success
    assert "us/signals goes on from its session before, 2026-03-09" in failure(result)
    assert "the last one is 2026-03-06" in failure(result)
    assert "`quant run --market us --from 2026-03-09`" in failure(result)
    assert p.store.list_partitions("us/ledger") == ["2026-03-05", "2026-03-06"]


def test_signals_of_another_configuration_are_refused(shared: Platform, whole: object) -> None:
    other = shared.settings.model_copy(
        update={"strategy_list": [{"id": "hold", "kind": "buy_and_hold", "is_live": True}]}
    )

    book = PaperBook("us", other.strategies(), other.trading_rules("us"), other.universe("us"))
    with pytest.raises(BadDataError, match="make the signals again"):
        book.run(
            [pd.Timestamp(LAST)], shared.read("us/prices", LAST), shared.read("us/signals"), None
        )


def test_the_ledger_is_a_chain(shared: Platform, whole: object) -> None:
    ledger, dataset = shared.read("us/ledger"), dataset_of("us/ledger")
    before = None
    for _, rows in ledger.groupby("session_date"):
        openings = rows["opening_hash"].unique()
        assert len(openings) == 1
        assert openings[0] == before if before else pd.isna(openings[0])
        before = content_hash(dataset, rows.reset_index(drop=True))


def book_check(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    return next(e for e in result.get_asset_check_evaluations() if e.check_name == "book")


def test_what_goes_on_from_another_session_than_is_stored_breaks_the_chain(
    p: Platform,
) -> None:
    p.run(JOB, FIRST, "2026-03-10")
    assert book_check(p.run(JOB, "2026-03-10")).passed
    ledger, dataset = p.read("us/ledger", "2026-03-09"), dataset_of("us/ledger")
    changed = ledger.assign(rules_version="others")
    p.store.write(dataset, "us/ledger", "2026-03-09", changed, "1")
    assert book_check(p.run(JOB, "2026-03-10")).passed, "it goes on from what is stored"
    p.store.write(dataset, "us/ledger", "2026-03-09", ledger, "1")
    result = p.run(JOB, "2026-03-11")
    assert book_check(result).passed
    stale = p.read("us/ledger", "2026-03-10")
    faults = chain_breaks(MARKETS["us"], p.store, stale)
    assert [(rule, key, item) for rule, key, item, _ in faults] == [
        ("chain", "2026-03-10", "2026-03-09")
    ]
    assert "make it and all later sessions again" in faults[0][3]


def test_accounts_that_do_not_add_up_are_named(shared: Platform, whole: object) -> None:
    ledger = shared.read("us/ledger", LAST)
    assert accounting_faults(ledger, 0.01) == []
    is_live = (ledger["kind"] == "ACCOUNT") & ledger["is_live"]
    ledger.loc[is_live, "equity"] += 0.01
    (fault,) = accounting_faults(ledger, 0.01)
    assert fault[:3] == ("accounts", LAST, "combined-70-30")


def test_the_tables_say_what_the_ledger_says(shared: Platform, whole: object) -> None:
    ledger, positions, risk = (shared.read(f"us/{t}") for t in ("ledger", "positions", "risk"))
    fills, orders = shared.read("us/fills"), shared.read("us/orders")
    assert set(ledger["strategy_id"]) == {"average-50-200", "buy-and-hold", "combined-70-30"}
    assert ledger.groupby("is_live")["strategy_id"].nunique().to_dict() == {False: 2, True: 1}
    accounts = ledger[ledger["kind"] == "ACCOUNT"]
    value = positions.groupby(["session_date", "strategy_id"])["value"].sum()
    stated = accounts.set_index(["session_date", "strategy_id"])
    worth = stated["cash"] + value.reindex(stated.index, fill_value=0.0)
    np.testing.assert_allclose(stated["equity"], worth, atol=0.005)
    assert set(fills["order_id"]) <= set(orders["order_id"])
    assert (fills["session_date"] > fills["opened_on"]).all(), "no order fills when it is made"
    held = positions.groupby(["session_date", "strategy_id"])["weight"].sum()
    exposure = risk.set_index(["session_date", "strategy_id"])["exposure"]
    np.testing.assert_allclose(exposure[held.index], held)
    known = risk.dropna(subset=["value_at_risk_95"])
    assert (known["value_at_risk_99"] >= known["value_at_risk_95"]).all()
    assert (known["expected_shortfall_95"] >= known["value_at_risk_95"]).all()


def test_the_book_is_shown_with_the_shadows_beside_the_live_one(
    shared: Platform, whole: object
) -> None:
    event = shared.instance.get_latest_materialization_event(dg.AssetKey(["us", "ledger"]))
    assert event is not None
    assert event.asset_materialization is not None
    table = str(event.asset_materialization.metadata["books"].value).splitlines()
    assert table[0].startswith("| strategy | equity USD | cash | drawdown | state |")
    assert table[2].startswith("| combined-70-30 (live) |")
    assert len(table) == 5


# Evaluations: the paper book's own, and backtests on the same partitions.


def backtest(p: Platform, *, check: bool = True, **config: object) -> dg.ExecuteInProcessResult:
    asked = {"first": FIRST, "last": LAST, **config}
    result = p.defs.resolve_job_def("backtest").execute_in_process(
        instance=p.instance,
        run_config={"ops": {"research__backtest": {"config": asked}}},
        raise_on_error=False,
    )
    assert result.success or not check, failure(result)
    return result


def results_of(p: Platform, result: dg.ExecuteInProcessResult) -> Path:
    (made,) = result.asset_materializations_for_node("research__backtest")
    return p.settings.results_dir / "us" / "backtests" / str(made.metadata["name"].value)


def test_each_run_evaluates_the_whole_book(shared: Platform, whole: object) -> None:
    shared.run(JOB, LAST)
    folder = shared.settings.results_dir / "us" / "book" / LAST
    equity = pd.read_parquet(folder / "equity.parquet")
    accounts = shared.read("us/ledger").query("kind == 'ACCOUNT'")
    stored = accounts.pivot(index="session_date", columns="strategy_id", values="equity")
    pd.testing.assert_frame_equal(
        equity[stored.columns], stored, check_names=False, check_index_type=False
    )
    assert not (folder / "report.html").exists(), "QUANT_REPORTS is false here"
    event = shared.instance.get_latest_materialization_event(dg.AssetKey(["us", "performance"]))
    assert event is not None
    assert event.asset_materialization is not None
    facts = event.asset_materialization.metadata
    assert facts["sessions"].value == len(equity) == 11
    assert str(facts["figures"].value).splitlines()[2].startswith("| combined-70-30 (live) |")
    assert str(facts["results"].value) == str(folder)
    assert str(facts["picture"].value).startswith("![picture](data:image/png;base64,")


def test_a_backtest_is_the_paper_book_to_the_cent(shared: Platform, whole: object) -> None:
    folder = results_of(shared, backtest(shared))
    made = pd.read_parquet(folder / "ledger.parquet")
    stored = shared.read("us/ledger")
    columns = [name for name in stored.columns if name != "opening_hash"]
    dataset = dataset_of("us/ledger")
    made = dataset.conform(made.assign(opening_hash=None), "the backtest's ledger")
    pd.testing.assert_frame_equal(made[columns], stored[columns])
    signals = dataset_of("us/signals").conform(pd.read_parquet(folder / "signals.parquet"), "its")
    pd.testing.assert_frame_equal(signals, shared.read("us/signals"))
    kept = pd.read_parquet(shared.settings.results_dir / "us/book" / LAST / "figures.parquet")
    figures = pd.read_parquet(folder / "figures.parquet")
    same = [name for name in figures.columns if not name.startswith("ic_")]
    pd.testing.assert_frame_equal(figures[same], kept[same])
    assert results_of(shared, backtest(shared)) == folder, "the same question has the same name"
    page = (folder / "report.html").read_text()
    assert "combined-70-30" in page
    assert f"United States, backtest {folder.name}" in page


def test_a_backtest_of_part_of_the_universe_with_other_costs(
    shared: Platform, whole: object
) -> None:
    hold = {"id": "mine", "kind": "buy_and_hold", "is_live": True}
    dear = backtest(
        shared, symbols=["JPM"], strategies=[hold], rules={"commission_bps": 100.0}, name="dear"
    )
    folder = results_of(shared, dear)
    assert folder.name == "dear"
    fills = pd.read_parquet(folder / "fills.parquet")
    assert fills["symbol"].unique().tolist() == ["JPM"]
    worth = fills["shares"] * fills["price"]
    np.testing.assert_allclose(fills["commission"], worth * 0.01, atol=0.006)
    assert pd.read_parquet(folder / "figures.parquet").index.tolist() == ["mine"]


def test_a_grid_is_ranked_with_its_deflated_ratio(shared: Platform, whole: object) -> None:
    result = backtest(shared, grid={"enter": [0.0, 0.1, 0.2], "names": [1, 2]}, name="grid")
    grid = pd.read_parquet(results_of(shared, result) / "grid.parquet")
    assert len(grid) == 6
    assert grid["sharpe_ratio"].dropna().is_monotonic_decreasing
    (made,) = result.asset_materializations_for_node("research__backtest")
    assert "deflated_sharpe_ratio" in str(made.metadata["grid"].value).splitlines()[0]


def test_a_grid_of_kinds_has_the_inputs_of_each(shared: Platform, whole: object) -> None:
    """Also of those that the strategy which is varied does not need itself."""
    kinds = ["combined", "buy_and_hold"]
    result = backtest(shared, grid={"kind": kinds, "enter": [0.0]}, name="kinds")
    grid = pd.read_parquet(results_of(shared, result) / "grid.parquet").set_index("kind")
    assert (grid["fills"] > 0).all()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"name": "last"}, "name is 'last', which stands for the last backtest"),
        ({"market": "de"}, "market is 'de'; the markets are us, kr"),
        ({"first": "2026-3-5"}, "first is '2026-3-5': give a date"),
        ({"first": LAST}, "1 session(s): a backtest needs two at least"),
        ({"first": "2026-03-02"}, "not stored under"),
        ({"symbols": ["ZZZ"]}, "ZZZ is not in the universe"),
        ({"strategies": [{"id": "x", "kind": "magic"}]}, "kind is 'magic'"),
        ({"rules": {"tax": 3}}, "tax"),
        ({"rules": {"slippage_bps": "much"}}, "trading.slippage_bps is 'much': give a number"),
        ({"grid": {"magic": [1]}}, "a strategy has no 'magic' to vary"),
        ({"name": "../../etc"}, "name is '../../etc': it becomes a folder's name"),
    ],
)
def test_a_backtest_that_cannot_be_says_why(
    shared: Platform, whole: object, config: dict[str, object], words: str
) -> None:
    before = sorted((shared.settings.results_dir).rglob("*"))
    result = backtest(shared, check=False, **config)
    assert not result.success
    assert words in failure(result)
    assert sorted((shared.settings.results_dir).rglob("*")) == before


def test_a_book_with_a_hole_is_not_evaluated(p: Platform) -> None:
    p.run(JOB, FIRST, "2026-03-10")
    p.store.delete("us/ledger", ["2026-03-06"])
    with pytest.raises(BadDataError, match="2026-03-06 is missing between 2026-03-05 and"):
        book_records(MARKETS["us"], p.store, p.settings)
    p.store.delete("us/ledger", p.store.list_partitions("us/ledger"))
    with pytest.raises(MissingPartitionError, match="make the book first"):
        book_records(MARKETS["us"], p.store, p.settings)
