"""What is to be done and why. What belongs here: tasks as data; no Dagster, no storage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Reason(StrEnum):
    """Why a partition is made; see ``TOLD`` for the words."""

    MISSING = "missing"
    UNKNOWN = "unknown_to_dagster"
    CONFIGURATION = "other_configuration"
    OLDER = "older_than_inputs"
    HELD = "held_back"
    NO_ANSWER = "no_answer"
    NOT_OVER = "day_was_not_over"
    FORCED = "forced"
    ALONG = "along"


TOLD: Mapping[Reason, str] = {
    Reason.MISSING: "not stored",
    Reason.UNKNOWN: "stored, but Dagster does not know of it",
    Reason.CONFIGURATION: "made under another configuration",
    Reason.OLDER: "older than what it rests on",
    Reason.HELD: "rows were held back: the vendor may have corrected them",
    Reason.NO_ANSWER: "a source did not answer",
    Reason.NOT_OVER: "stored before the day was over",
    Reason.FORCED: "asked for again",
    Reason.ALONG: "made in the same run",
}


class Cause(NamedTuple):
    """Why a partition lacks; ``detail`` names what is newer, where something is."""

    reason: Reason
    detail: str = ""


class Write(NamedTuple):
    """One partition that a task writes."""

    asset: str
    partition: str
    reason: Reason
    detail: str = ""


Causes = Mapping[tuple[str, str], Cause]
"""Causes by asset and partition."""


@dataclass(frozen=True)
class Task:
    """One run: a job, the assets of it, and the range of partitions (both ends included)."""

    job: str
    assets: tuple[str, ...]
    first: str
    last: str
    partitions: int
    writes: tuple[Write, ...] = field(default=(), compare=False, repr=False)

    @property
    def title(self) -> str:
        """For people: job and range."""
        span = self.first if self.first == self.last else f"{self.first} .. {self.last}"
        return f"{self.job} {span}"

    @property
    def is_again(self) -> bool:
        """Whether something is made that was there before."""
        return any(write.reason not in (Reason.MISSING, Reason.ALONG) for write in self.writes)

    @property
    def why(self) -> str:
        """For people: the reasons, each with the number of its partitions, the rarest last."""
        partitions: dict[Reason, set[str]] = {}
        for write in self.writes:
            partitions.setdefault(write.reason, set()).add(write.partition)
        told: list[Reason] = [reason for reason in partitions if reason != Reason.ALONG]
        told = told or list(partitions)
        ordered = sorted(told, key=lambda reason: (-len(partitions[reason]), reason))
        if self.partitions == 1:
            return "; ".join(TOLD[reason] for reason in ordered)
        return "; ".join(f"{len(partitions[reason]):,} {TOLD[reason]}" for reason in ordered)


def written_by(tasks: Iterable[Task]) -> set[tuple[str, str]]:
    """Asset and partition of everything that ``tasks`` write."""
    return {(write.asset, write.partition) for task in tasks for write in task.writes}
