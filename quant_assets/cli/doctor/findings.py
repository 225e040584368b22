"""What a check finds, and running checks side by side. What belongs here: no check."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from quant_assets.cli.text import printable
from quant_assets.errors import QuantAssetsError
from quant_assets.vendors.redaction import redact

Status = Literal["ok", "warn", "fail", "skip"]
LOCAL_SECONDS = 120.0
"""Time limit of checks that ask nobody: a backstop, the slow ones import for seconds."""


class Finding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was found about one thing: ``what`` is the state, ``remedy`` how to mend it.

    ``remedy`` is empty where there is nothing to mend.
    """

    name: str
    group: str
    status: Status
    what: str
    remedy: str = ""


Found = Finding | Sequence[Finding]


@dataclass(frozen=True)
class Group:
    """A heading, which makes the findings below it."""

    name: str

    def ok(self, name: str, what: str) -> Finding:
        """As it should be."""
        return Finding(name, self.name, "ok", what)

    def warn(self, name: str, what: str, remedy: str) -> Finding:
        """Works, but probably not as it is meant."""
        return Finding(name, self.name, "warn", what, remedy)

    def fail(self, name: str, what: str, remedy: str) -> Finding:
        """Broken."""
        return Finding(name, self.name, "fail", what, remedy)

    def skip(self, name: str, what: str, remedy: str = "") -> Finding:
        """Not looked at, and why."""
        return Finding(name, self.name, "skip", what, remedy)


@dataclass(frozen=True)
class Check:
    """A function that looks at one thing. ``remedy`` is for errors that it does not foresee."""

    group: Group
    name: str
    look: Callable[[], Found]
    remedy: str
    limit_seconds: float = LOCAL_SECONDS


@dataclass
class _Going:
    """A check in its thread."""

    check: Check
    result: list[Finding] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        self.result = _looked(self.check)
        self.is_over.set()


def run_checks(checks: Sequence[Check], secrets: Iterable[str] = ()) -> tuple[list[Finding], bool]:
    """Findings of all checks, in their order, and whether one of them still hangs.

    All run at once, each in a thread that ends with the process: one that does not come back in
    its time is a failure, and the caller must not wait for its thread.
    """
    hidden = tuple(secrets)
    goings = [_Going(check) for check in checks]
    began = time.monotonic()
    for going in goings:
        threading.Thread(target=going.look, name=going.check.name, daemon=True).start()
    findings: list[Finding] = []
    is_hanging = False
    for going in goings:
        left = began + going.check.limit_seconds - time.monotonic()
        if going.is_over.wait(max(0.0, left)):
            findings += going.result
        else:
            is_hanging = True
            findings.append(_unanswered(going.check))
    return [_clean(finding, hidden) for finding in findings], is_hanging


def _looked(check: Check) -> list[Finding]:
    """Findings of a check; one that raises is a failure of what it looked at."""
    try:
        found = check.look()
    except QuantAssetsError as error:
        return [check.group.fail(check.name, str(error), check.remedy)]
    except Exception as error:  # noqa: BLE001 - whatever breaks is what was asked for
        what = f"{type(error).__name__}: {error}"
        return [check.group.fail(check.name, what, check.remedy)]
    return [found] if isinstance(found, Finding) else list(found)


def _unanswered(check: Check) -> Finding:
    what = f"no answer within {check.limit_seconds:g} s"
    return check.group.fail(check.name, what, check.remedy)


def _clean(finding: Finding, secrets: Sequence[str]) -> Finding:
    """A finding on one line each, without secrets and without what acts on a screen."""

    def clean(text: str) -> str:
        return printable(" ".join(redact(text, secrets).split()))

    return msgspec.structs.replace(finding, what=clean(finding.what), remedy=clean(finding.remedy))
