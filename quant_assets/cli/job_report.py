"""What ``quant job`` tells: the report as data and its JSON Schema. What belongs here: no Dagster.

The report of a dry run and that of a run have one form, so that they can be compared.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

DONE, FAILED, REFUSED, DEGRADED, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 130, 143
"""Exit statuses."""
Status = Literal["planned", "nothing_to_do", "done", "degraded", "failed", "refused", "interrupted"]
State = Literal["planned", "done", "failed", "timed_out", "not_run", "interrupted"]


class Calls(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Requests of a task to one vendor, without what is repeated after a failure.

    ``most`` is null where the answers decide how many there are.
    """

    vendor: Literal["yahoo", "fred", "alpha_vantage", "rss"]
    least: int
    most: int | None
    note: str = ""


class Quota(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A vendor's calls of the day: how many are left before the job."""

    vendor: Literal["alpha_vantage"]
    limit: int
    left: int
    resets_at: datetime


class PlannedWrite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A partition that a task writes, and why: one of the reasons of ``tasks.Reason``."""

    asset: str
    partition: str
    reason: str
    detail: str = ""


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A step of a run that has ended: an asset or one of its checks."""

    name: str
    state: Literal["done", "failed", "retried"]
    seconds: float | None = None


class TaskReport(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One task: a run of a job over neighbouring partitions, both ends included.

    The result is degraded and not failed where an ``is_optional`` task did not succeed.
    """

    job: str
    assets: list[str]
    first: str
    last: str
    partitions: int
    is_optional: bool
    limit_seconds: int
    writes: list[PlannedWrite]
    calls: list[Calls]
    why: str
    state: State = "planned"
    run_id: str | None = None
    seconds: float | None = None
    steps: list[Step] = []
    failed_checks: list[str] = []
    error: str = ""

    @property
    def title(self) -> str:
        """For people: job and range."""
        span = self.first if self.first == self.last else f"{self.first} .. {self.last}"
        return f"{self.job} {span}"

    @property
    def has_failed(self) -> bool:
        """Whether it did not succeed."""
        return self.state not in ("planned", "done")


class Recommendations(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is stored of a session after the job: symbols with a label, and degraded ones."""

    market: str
    session: str
    symbols: int
    labelled: int
    degraded: int


class Report(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Everything that a ``quant job`` has to tell."""

    version: Literal[1] = 1
    job: str
    profile: str = ""
    is_dry_run: bool = False
    status: Status = "planned"
    exit_status: int = DONE
    message: str = ""
    started_at: datetime
    seconds: float = 0.0
    notes: list[str] = []
    quotas: list[Quota] = []
    tasks: list[TaskReport] = []
    recommendations: list[Recommendations] = []


def schema() -> dict[str, Any]:
    """JSON Schema of the report."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Report of `quant job`",
        **msgspec.json.schema(Report),
    }


def as_json(report: Report) -> bytes:
    """The report as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2)
