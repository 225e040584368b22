"""Patterns of event types, and the keys that keep events in order."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.errors import BadConfigurationError
from quant_assets.events import payloads as p
from quant_assets.events.bus import entity_key, matching
from quant_assets.events.envelope import event
from quant_assets.events.topics import EVENT_TYPES
from quant_assets_tests.unit.buses import article, order


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("status.updated", {"status.updated"}),
        ("stock.price.*", {"stock.price.updated", "stock.price.failed"}),
        (
            "stock.**",
            {"stock.price.updated", "stock.price.failed", "stock.price.sync.requested"},
        ),
        ("*.failed", {"analysis.failed", "command.failed"}),
        (
            "**.failed",
            {name for name in EVENT_TYPES if name.endswith(".failed")},
        ),
        ("**.status.**.updated.**", {"status.updated"}),
        ("**", set(EVENT_TYPES)),
        (".".join(["**"] * 400), set(EVENT_TYPES)),
        ("*.*", {name for name in EVENT_TYPES if name.count(".") == 1}),
        (
            "analysis.*.**.completed",
            {"analysis.technical.completed", "analysis.sentiment.completed"},
        ),
        ("analysis.**.completed", {n for n in EVENT_TYPES if re.match(r"analysis.*completed$", n)}),
    ],
)
def test_a_pattern_finds_its_types(pattern: str, expected: set[str]) -> None:
    assert matching(pattern) == expected


@pytest.mark.parametrize(
    "pattern",
    [
        *["", "*", "stock", "stock.pri*", "***", "Status.updated", "status.updated ", "."],
        *["status..*", ".".join(["*"] * 5_000), "quantiq.status.updated"],
    ],
)
def test_a_pattern_that_fits_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(BadConfigurationError, match=r"the types are economic\.data"):
        matching(pattern)


LEVELS = sorted({level for name in EVENT_TYPES for level in name.split(".")})


@given(st.lists(st.sampled_from(["*", "**", *LEVELS]), min_size=1, max_size=6))
def test_patterns_agree_with_regular_expressions(levels: list[str]) -> None:
    parts = {"*": r"[^.]+\.", "**": r"(?:[^.]+\.)*"}
    expression = "".join(parts.get(level, re.escape(f"{level}.")) for level in levels)
    expected = {name for name in EVENT_TYPES if re.fullmatch(expression, f"{name}.")}
    try:
        assert matching(".".join(levels)) == expected
    except BadConfigurationError:
        assert not expected


@pytest.mark.parametrize(
    ("payload", "key"),
    [
        (p.AnalysisRequested(market="kr", symbols=("005930.KS",)), "kr"),
        (p.AnalysisRequested(symbols=("AAPL", "MSFT")), "AAPL,MSFT"),
        (p.AnalysisRequested(symbols=("A" * 24,) * 500), ("A" * 24 + ",") * 8),
        (p.EconomicDataSyncRequested(series_ids=("DGS10",)), "DGS10"),
        (
            p.NewsCrawlRequested(hour=datetime(2026, 3, 1, 5, tzinfo=UTC)),
            "2026-03-01T05:00:00+00:00",
        ),
        (p.CommandRequested(task_type="macro"), "macro"),
        (p.StatusUpdated(status="x", request_id="r", run_id="n", market="us"), "r"),
        (p.StatusUpdated(status="x", run_id="n", market="us"), "n"),
        (article("t").payload, "https://example.com/a"),
        (order(1).payload, "AAPL"),
        (p.NewsCrawlRequested(), "the type"),
    ],
)
def test_the_key_is_what_keeps_events_in_order(payload: p.Payload, key: str) -> None:
    assert entity_key(event("the type", payload)) == key
