"""Running checks side by side, and what is told of their findings."""

import json
import threading
from collections.abc import Iterator

import msgspec
import pytest

from quant_assets.cli.doctor.findings import Check, Finding, Group, run_checks
from quant_assets.cli.doctor.report import (
    SCHEMA_PATH,
    WIDTH,
    Report,
    as_json,
    lines,
    report,
    schema_text,
)
from quant_assets.errors import BadConfigurationError

GROUP = Group("things")


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """Something that does not happen while the test runs."""
    event = threading.Event()
    yield event
    event.set()


def check(name: str, look: object, limit_seconds: float = 60.0) -> Check:
    return Check(GROUP, name, look, "turn it round", limit_seconds)  # type: ignore[arg-type]


def raising(error: Exception) -> object:
    def look() -> Finding:
        raise error

    return look


def test_a_check_that_hangs_holds_up_no_other(never: threading.Event) -> None:
    def hang() -> Finding:
        never.wait()
        return GROUP.ok("hanging", "")

    findings, is_hanging = run_checks(
        [check("hanging", hang, 0.05), check("quick", lambda: GROUP.ok("quick", "done"))]
    )
    assert is_hanging
    assert findings == [
        Finding("hanging", "things", "fail", "no answer within 0.05 s", "turn it round"),
        Finding("quick", "things", "ok", "done"),
    ]


def test_all_checks_run_at_once() -> None:
    meeting = threading.Barrier(8, timeout=60)

    def meet() -> Finding:
        meeting.wait()
        return GROUP.ok("met", "")

    findings, is_hanging = run_checks([check("met", meet)] * 8)
    assert not is_hanging
    assert {finding.status for finding in findings} == {"ok"}


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (BadConfigurationError("the list is empty"), "the list is empty"),
        (ValueError("odd"), "ValueError: odd"),
        (RecursionError("deep"), "RecursionError: deep"),
    ],
)
def test_a_check_that_raises_is_a_failure(error: Exception, what: str) -> None:
    findings, _ = run_checks([check("raising", raising(error))])
    assert findings == [Finding("raising", "things", "fail", what, "turn it round")]


def test_secrets_and_control_characters_are_not_told() -> None:
    told = "refused:\n key sesame-1234 at https://me:pw@host/?token=abc\x1b[2J"
    findings, _ = run_checks([check("it", lambda: GROUP.fail("it", told, told))], ["sesame-1234"])
    for text in (findings[0].what, findings[0].remedy):
        assert "sesame" not in text
        assert "pw@" not in text
        assert "abc" not in text
        assert text.startswith("refused: key [redacted] at ")
        assert text.isprintable()


FINDINGS = [
    GROUP.ok("short", "fine"),
    GROUP.warn("A_NAME_THAT_IS_LONGER_THAN_ALL_OTHERS", "word " * 40, "mend " * 30),
    Group("others").skip("left", "why not", "do it"),
]


def test_lines_fit_a_narrow_terminal_and_keep_groups_together() -> None:
    told = list(lines(report("sandbox", "/home", FINDINGS), is_coloured=False))
    assert max(len(line) for line in told) <= WIDTH
    assert not any("\x1b" in line for line in told)
    assert told.index("things") < told.index("others")
    assert "  ok   short               fine" in told
    assert any(line.strip() == "> do it" for line in told)
    assert told[-1] == "1 to look at, 1 in order, 1 not looked at"


def test_colours_are_for_terminals() -> None:
    assert "\x1b[32m" in "".join(lines(report("live", "/", FINDINGS), is_coloured=True))


@pytest.mark.parametrize(
    ("findings", "status"),
    [
        ([GROUP.ok("a", ""), GROUP.skip("b", "")], "ok"),
        ([GROUP.ok("a", ""), GROUP.warn("b", "", "")], "warn"),
        ([GROUP.fail("a", "", ""), GROUP.warn("b", "", "")], "fail"),
        ([], "ok"),
    ],
)
def test_the_worst_finding_counts(findings: list[Finding], status: str) -> None:
    assert report("sandbox", "/", findings).status == status


def test_json_is_what_its_schema_says() -> None:
    text = as_json(report("sandbox", "/home", FINDINGS))
    assert msgspec.json.decode(text, type=Report).findings == FINDINGS
    told, described = json.loads(text), json.loads(SCHEMA_PATH.read_text("utf-8"))["$defs"]
    assert set(told) == set(described["Report"]["properties"])
    assert set(told["findings"][0]) == set(described["Finding"]["properties"])
    assert told["counts"] == {"fail": 0, "warn": 1, "ok": 1, "skip": 1}


def test_the_shipped_schema_is_current() -> None:
    """Else: python -m quant_assets.cli.doctor.report."""
    assert SCHEMA_PATH.read_text("utf-8") == schema_text()
