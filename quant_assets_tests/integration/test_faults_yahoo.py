"""Every way in which Yahoo fails: what is asked, what is stored, what is held, and what is said.

Five symbols, one after the other, so that the number of requests is exact: a time zone and a chart
a symbol make ten; the client asks a failing chart three times, a failing symbol is asked for in
two more rounds, and the step is tried three times. A symbol that lacks a row is noted.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from quant_assets.assets import prices
from quant_assets.io_managers.quarantine import Quarantine
from quant_assets.policies import VENDOR_RETRY
from quant_assets.sandbox.faults import Fault
from quant_assets_tests.platform import US_SYMBOLS, Platform, failure, platform

SESSION = "2026-03-19"
QUICK = {
    "QUANT_VENDOR_TIMEOUT_SECONDS": 60,
    "QUANT_VENDOR_BACKOFF_SECONDS": 0.01,
    "QUANT_YAHOO_WORKERS": 1,
}
ALL = frozenset(US_SYMBOLS)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "VENDOR_RETRY", VENDOR_RETRY._replace(delay=0.05))


def chart(kind: str, **options: Any) -> Fault:
    return Fault("yahoo.chart", kind, history_only=True, **options)


@dataclass(frozen=True)
class Expected:
    """What a run under a fault ends with; ``said`` is part of the error or of the outcomes."""

    requests: int
    stored: frozenset[str]
    said: str
    succeeds: bool = True
    held: str = ""
    held_symbols: frozenset[str] = frozenset()
    notes: bool = True


NOBODY: frozenset[str] = frozenset()
WITHOUT_AAPL = ALL - {"AAPL"}
SECOND_ONES = frozenset({"MSFT", "JPM"})
CASES = {
    "429": (
        chart("status", code=429),
        Expected(17, NOBODY, "AAPL: HTTP 429: lower the calls per second", succeeds=False),
    ),
    "429 three times": (
        chart("status", code=429, times=3),
        Expected(12, WITHOUT_AAPL, "AAPL: rate_limited"),
    ),
    "429 with Retry-After": (
        chart("status", code=429, retry_after=1, times=1),
        Expected(11, ALL, "5 ok"),
    ),
    "401": (
        chart("status", code=401, symbols=["AAPL"]),
        Expected(27, WITHOUT_AAPL, "AAPL: failed"),
    ),
    "404": (
        chart("status", code=404, body="html", symbols=["AAPL"]),
        Expected(18, WITHOUT_AAPL, "AAPL: failed"),
    ),
    "500 HTML": (
        chart("status", code=500, body="html"),
        Expected(50, NOBODY, "the server failed (HTTP 500)", succeeds=False),
    ),
    "500 HTML twice": (
        chart("status", code=500, body="html", times=2),
        Expected(12, ALL, "5 ok"),
    ),
    "truncated": (
        chart("truncated"),
        Expected(50, NOBODY, "IncompleteRead", succeeds=False),
    ),
    "truncated once": (chart("truncated", times=1), Expected(11, ALL, "5 ok")),
    "empty": (
        chart("empty"),
        Expected(10, NOBODY, "no symbol has a bar in 2026-03-19", succeeds=False),
    ),
    "empty body": (
        chart("empty", body=True),
        Expected(50, NOBODY, "JSONDecodeError", succeeds=False),
    ),
    "not JSON": (
        chart("malformed", symbols=["MSFT"]),
        Expected(18, ALL - {"MSFT"}, "MSFT: failed"),
    ),
    "wrong types": (
        chart("malformed", wrong_types=True, symbols=["MSFT"]),
        Expected(18, ALL - {"MSFT"}, "MSFT: failed"),
    ),
    "duplicate": (chart("duplicate"), Expected(10, ALL, "5 ok")),
    "half the symbols empty": (
        chart("half"),
        Expected(
            20, ALL - SECOND_ONES, "3 row(s) that came are stored", succeeds=False, notes=False
        ),
    ),
    "half the symbols 500": (
        chart("half", code=500),
        Expected(68, ALL - SECOND_ONES, "3 row(s) that came are stored", succeeds=False),
    ),
    "late": (
        chart("late"),
        Expected(20, NOBODY, "either the vendor is late or the calendar", succeeds=False),
    ),
    "late at first": (chart("late", symbols=["AAPL"], times=1), Expected(11, ALL, "5 ok")),
    "late for one": (
        chart("late", symbols=["AAPL"]),
        Expected(12, WITHOUT_AAPL, "5 ok"),
    ),
    "row of nulls": (chart("null_row", symbols=["XOM"]), Expected(12, ALL - {"XOM"}, "5 ok")),
    "row of zeros": (
        chart("zero_rows", symbols=["XOM"]),
        Expected(10, ALL - {"XOM"}, "5 ok", held="zero_price", held_symbols=frozenset({"XOM"})),
    ),
    "last price in other units": (
        chart("wrong_units", rows=1, symbols=["NVDA"]),
        Expected(10, ALL - {"NVDA"}, "5 ok", held="unit_error", held_symbols=frozenset({"NVDA"})),
    ),
    "every last price in other units": (
        chart("wrong_units", rows=1),
        Expected(
            10,
            NOBODY,
            "every row of 2026-03-19 .. 2026-03-19 is in quarantine",
            succeeds=False,
            held="unit_error",
            held_symbols=ALL,
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_fault(tmp_path: Path, name: str) -> None:
    fault, expected = CASES[name]
    with platform(tmp_path, **QUICK) as p:
        p.sandbox.faults.add(fault)
        result = p.run("us_price", SESSION, check=False)
        assert result.success == expected.succeeds, failure(result)
        assert p.sandbox.requests.count(endpoint="yahoo.chart") == expected.requests
        stored = set() if p.store.missing("us/prices", [SESSION]) else set(symbols(p, SESSION))
        assert stored == expected.stored
        noted = Quarantine(p.store, "us/prices").held([SESSION])
        held = noted[noted["rule"] != "no_answer"]
        assert set(held["item"]) == expected.held_symbols
        assert set(held["rule"]) == ({expected.held} if expected.held else set())
        lacking = set(noted["item"]) - set(held["item"])
        is_noted = stored and expected.notes
        assert lacking == (ALL - stored - expected.held_symbols if is_noted else set())
        told = facts(p)["outcomes"] if expected.succeeds else failure(result)
        assert expected.said in told
        if expected.succeeds:
            assert check(result, "coverage").passed == (expected.stored == ALL)
            assert check(result, "quality").passed == noted.empty


@pytest.mark.parametrize(("times", "hits", "stored"), [(1, 1, ALL), (None, 9, WITHOUT_AAPL)])
def test_timeout(tmp_path: Path, times: int | None, hits: int, stored: frozenset[str]) -> None:
    """The sandbox logs a delayed request late, so the fault's own count is taken."""
    with platform(tmp_path, **QUICK | {"QUANT_VENDOR_TIMEOUT_SECONDS": 0.7}) as p:
        fault = p.sandbox.faults.add(chart("delay", seconds=2, symbols=["AAPL"], times=times))
        result = p.run("us_price", SESSION)
        assert fault.hits == hits
        assert set(symbols(p, SESSION)) == stored
        assert check(result, "coverage").passed == (stored == ALL)


def test_a_connection_reset_once_costs_nothing(tmp_path: Path) -> None:
    """libcurl may itself repeat a request on a reused connection, so requests are not counted."""
    with platform(tmp_path, **QUICK) as p:
        p.sandbox.faults.add(chart("reset", times=1))
        p.run("us_price", SESSION)
        assert set(symbols(p, SESSION)) == ALL


def test_connections_reset_for_ever_are_a_named_failure(tmp_path: Path) -> None:
    with platform(tmp_path, **QUICK) as p:
        p.sandbox.faults.add(chart("reset"))
        result = p.run("us_price", SESSION, check=False)
        assert not result.success
        assert "Yahoo answered for 0% of 5 symbols" in failure(result)
        assert p.files("us/prices") == {}


def test_revised_volumes_are_stored_and_said(tmp_path: Path) -> None:
    with platform(tmp_path, **QUICK) as p:
        p.run("us_price", SESSION)
        before = p.read("us/prices", SESSION)
        p.sandbox.faults.add(chart("revised", symbols=["AAPL"]))
        p.run("us_price", SESSION)
        after = p.read("us/prices", SESSION)
        changed = after["symbol"][after["volume"] != before["volume"]]
        assert changed.tolist() == ["AAPL"]
        assert facts(p)["revised_bars"] == "1"
        assert "AAPL" in facts(p)["revised"]


def test_a_history_in_other_units_does_not_replace_the_stored_one(tmp_path: Path) -> None:
    """Nothing in the answer itself is strange; what is stored gives it away."""
    with platform(tmp_path, **QUICK) as p:
        p.run("us_price", "2026-03-10", SESSION)
        before = p.files("us/prices")
        p.sandbox.faults.add(chart("wrong_units", symbols=["AAPL"]))
        p.run("us_price", "2026-03-12", SESSION)
        assert p.files("us/prices") == before
        quarantine = Quarantine(p.store, "us/prices")
        held = quarantine.held(quarantine.partitions())
        assert set(held["item"]) == {"AAPL"}
        assert len(held) == 6
        assert held["reason"].str.contains("100 times the").all()


def test_a_new_session_in_other_units_is_held_by_what_is_stored_before(tmp_path: Path) -> None:
    with platform(tmp_path, **QUICK) as p:
        p.run("us_price", "2026-03-10", "2026-03-18")
        p.sandbox.faults.add(chart("wrong_units", symbols=["AAPL"]))
        p.run("us_price", SESSION)
        assert set(symbols(p, SESSION)) == WITHOUT_AAPL
        held = Quarantine(p.store, "us/prices").held([SESSION])
        assert held["reason"].tolist() == ["the closes before are 100 times the stored ones"]


def test_a_corrected_row_leaves_the_quarantine(tmp_path: Path) -> None:
    with platform(tmp_path, **QUICK) as p:
        p.sandbox.faults.add(chart("wrong_units", rows=1, symbols=["NVDA"]))
        p.run("us_price", SESSION)
        p.sandbox.faults.clear()
        result = p.run("us_price", SESSION)
        assert set(symbols(p, SESSION)) == ALL
        assert Quarantine(p.store, "us/prices").partitions() == []
        assert check(result, "quality").passed


def test_a_bar_on_a_closure_is_held_under_its_own_day(tmp_path: Path) -> None:
    """The sandbox adds the bar on the last closure before the last session it shows."""
    with platform(tmp_path, **QUICK) as p:
        p.sandbox.faults.add(chart("holiday_row", symbols=["AAPL"]))
        result = p.run("us_price", "2026-03-12", SESSION)
        quarantine = Quarantine(p.store, "us/prices")
        assert quarantine.partitions() == ["2026-03-15"]
        held = quarantine.held(["2026-03-15"])
        assert held[["item", "rule"]].to_numpy().tolist() == [["AAPL", "holiday_row"]]
        quality = check(result, "quality")
        assert not quality.passed
        assert quality.severity == dg.AssetCheckSeverity.WARN


def test_a_closure_on_which_everybody_traded_puts_the_calendar_in_doubt(tmp_path: Path) -> None:
    with platform(tmp_path, **QUICK) as p:
        p.sandbox.faults.add(chart("holiday_row"))
        result = p.run("us_price", "2026-03-12", SESSION)
        quality = check(result, "quality")
        assert not quality.passed
        assert quality.severity == dg.AssetCheckSeverity.ERROR
        table = str(quality.metadata["first"].value)
        assert "calendar | 2026-03-15" in table
        assert "5 of 5 symbols have a bar on a closure" in table


def test_prices_in_another_currency_are_held(tmp_path: Path) -> None:
    """A Korean symbol in the US universe: its bars are in won."""
    with platform(tmp_path, us=["AAPL", "005930.KS"], **QUICK) as p:
        p.run("us_price", SESSION)
        held = Quarantine(p.store, "us/prices").held([SESSION])
        assert held[["item", "rule"]].to_numpy().tolist() == [["005930.KS", "currency"]]
        assert "in KRW, not in USD" in held["reason"].iloc[0]
        assert symbols(p, SESSION) == ["AAPL"]


def symbols(p: Platform, session: str) -> list[str]:
    return [str(symbol) for symbol in p.read("us/prices", session)["symbol"]]


def facts(p: Platform) -> dict[str, str]:
    event = p.instance.get_latest_materialization_event(dg.AssetKey(["us", "prices"]))
    assert event is not None
    assert event.asset_materialization is not None
    return {name: str(value.value) for name, value in event.asset_materialization.metadata.items()}


def check(result: dg.ExecuteInProcessResult, name: str) -> dg.AssetCheckEvaluation:
    return next(e for e in result.get_asset_check_evaluations() if e.check_name == name)
