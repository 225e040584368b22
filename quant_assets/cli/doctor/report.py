"""What the doctor says. What belongs here: lines for people, JSON and its schema, exit status.

``python -m quant_assets.cli.doctor.report`` writes the JSON Schema beside this module.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from quant_assets.cli.doctor.findings import Finding, Status

SCHEMA_PATH = Path(__file__).with_name("report.schema.json")
WIDTH = 80
LONGEST_NAME = 18
"""A longer name has a line of its own, so that one does not push the others to the right."""
COLOURS: dict[Status, str] = {
    "ok": "green",
    "warn": "yellow",
    "fail": "red",
    "skip": "bright_black",
}
_COUNTED: dict[Status, str] = {
    "fail": "broken",
    "warn": "to look at",
    "ok": "in order",
    "skip": "not looked at",
}


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """All findings of one look. ``status`` is that of the worst; ``skip`` does not count."""

    checked_at: datetime
    profile: str
    home: str
    status: Literal["ok", "warn", "fail"]
    counts: dict[Status, int]
    findings: list[Finding]


def report(profile: str, home: str, findings: Sequence[Finding]) -> Report:
    """The report on ``findings`` now."""
    counts: dict[Status, int] = {
        status: sum(finding.status == status for finding in findings) for status in _COUNTED
    }
    worst: Literal["ok", "warn", "fail"] = (
        "fail" if counts["fail"] else "warn" if counts["warn"] else "ok"
    )
    now = datetime.now(UTC).replace(microsecond=0)
    return Report(now, profile, home, worst, counts, list(findings))


def as_json(told: Report) -> str:
    """The report as JSON; ``report.schema.json`` describes it."""
    return msgspec.json.format(msgspec.json.encode(told), indent=2).decode()


def schema() -> dict[str, Any]:
    """JSON Schema of the report."""
    found = msgspec.json.schema(Report)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def schema_text() -> str:
    """The schema as the file that ships holds it."""
    return json.dumps(schema(), indent=2) + "\n"


def lines(told: Report, *, is_coloured: bool) -> Iterator[str]:
    """The report for people, at most 80 columns wide."""
    import click

    def paint(text: str, status: Status) -> str:
        return click.style(text, fg=COLOURS[status]) if is_coloured else text

    yield f"profile {told.profile}" if told.profile else "the profile is not known"
    names = min(LONGEST_NAME, max((len(finding.name) for finding in told.findings), default=0))
    for group in dict.fromkeys(finding.group for finding in told.findings):
        yield ""
        yield group
        for finding in told.findings:
            if finding.group == group:
                yield from _entry(finding, names, paint(f"{finding.status:<4}", finding.status))
    yield ""
    said = [f"{told.counts[s]} {words}" for s, words in _COUNTED.items() if told.counts[s]]
    yield paint(", ".join(said), told.status)


def _entry(finding: Finding, names: int, mark: str) -> Iterator[str]:
    """A finding: mark, name, state; below it the remedy."""
    margin = " " * (names + 9)
    room = WIDTH - len(margin)
    first, *others = textwrap.wrap(
        finding.what, room, break_on_hyphens=False, break_long_words=False
    ) or [""]
    if len(finding.name) > names:
        yield f"  {mark} {finding.name}"
        others.insert(0, first)
    else:
        yield f"  {mark} {finding.name:<{names}}  {first}"
    if finding.remedy and finding.status != "ok":
        others += textwrap.wrap(
            finding.remedy,
            room,
            initial_indent="> ",
            subsequent_indent="  ",
            break_on_hyphens=False,
            break_long_words=False,
        )
    for line in others:
        yield f"{margin}{line}"


def main() -> None:
    """Write the schema."""
    SCHEMA_PATH.write_text(schema_text(), encoding="utf-8")


if __name__ == "__main__":
    main()
