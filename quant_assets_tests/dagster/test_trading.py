"""The trading assets on a platform: the paper book goes on from itself, whatever the runs."""

from collections.abc import Iterator

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from quant_assets.checks.trading import accounting_faults, chain_breaks
from quant_assets.domain.paper_book import PaperBook
from quant_assets.errors import BadDataError
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
