"""The state of the house as values. What belongs here: its shape, and whether it is healthy.

No Dagster, no disk, no clock: ``status_gather`` fills a report, ``status_view`` draws it. Its JSON
Schema is the file ``status.schema.json`` beside this one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from inspect import cleandoc
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from quant_assets.domain.freshness import Unit
from quant_assets.notices.incidents import Severity

SCHEMA = Path(__file__).with_name("status.schema.json")
DAEMON_IS_GONE = timedelta(minutes=2)
"""A daemon says every half minute that it lives."""
START_IS_STUCK = timedelta(minutes=10)
QUEUE_IS_STUCK = timedelta(hours=1)

AssetStatus = Literal["fresh", "awaited", "behind", "empty", "lost", "unreadable", "unknown"]
"""Those of ``domain.freshness``; what was stored is gone; the newest file cannot be read; it could
not be told."""
INSTANCE = "instance"
"""The part of ``untold`` that stands for all that Dagster would have to tell."""
BAD: tuple[AssetStatus, ...] = ("behind", "lost", "unreadable", "unknown")
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
DaemonStatus = Literal["alive", "gone", "never"]


class _Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What every part of the report has in common."""


class AssetState(_Part, frozen=True):
    """An asset: the newest stored partition, the newest complete one and the one that is due.

    ``deadline`` is that of ``due`` where it is behind, else that of the next one. ``present`` of
    ``expected`` symbols have a row in the newest partition (recommendations: a label), of prices
    ``demanded`` must have one; ``degraded`` of its rows were made without news.
    """

    asset: str
    group: str
    status: AssetStatus
    unit: Unit | None = None
    newest: str | None = None
    complete: str | None = None
    due: str | None = None
    deadline: Moment | None = None
    behind: int = 0
    rows: int | None = None
    present: int | None = None
    expected: int | None = None
    demanded: int | None = None
    degraded: int | None = None
    last_success_at: Moment | None = None
    last_run_id: str | None = None
    problem: str = ""


class ScheduleState(_Part, frozen=True):
    """A schedule and its next tick, which may skip a closure.

    ``is_switched_off``: the code has it on, somebody switched it off.
    """

    name: str
    job: str
    cron: list[str]
    timezone: str
    is_on: bool
    is_switched_off: bool = False
    next_at: Moment | None = None
    problem: str = ""


class SensorState(_Part, frozen=True):
    """A sensor; see ``ScheduleState``."""

    name: str
    is_on: bool
    is_switched_off: bool = False
    problem: str = ""


class RunState(_Part, frozen=True):
    """A run that has not ended, or (``FAILURE``) one that failed lately and is not repeated."""

    run_id: str
    job: str
    partition: str
    status: str
    since: Moment
    problem: str = ""


class DaemonState(_Part, frozen=True):
    """Dagster's daemon: when it last said that it lives; ``errors`` of its parts."""

    status: DaemonStatus
    last_at: Moment | None = None
    errors: list[str] = []


class IncidentState(_Part, frozen=True):
    """An open incident."""

    severity: Severity
    title: str
    count: int
    opened_at: Moment
    link: str = ""


class DeadLetterState(_Part, frozen=True):
    """Open dead letters, as they were last counted."""

    open: int
    counted_at: Moment | None = None


class QuotaState(_Part, frozen=True):
    """Alpha Vantage's calls of the day."""

    left: int
    limit: int
    resets_at: Moment


class QuarantineState(_Part, frozen=True):
    """Refused rows of an asset in the newest ``partitions_looked_at`` of its partitions."""

    asset: str
    held: int
    partitions: int
    partitions_looked_at: int


class Report(_Part, frozen=True):
    """The state of the house.

    A part that could not be told is null (``runs`` and so on), and ``untold`` says why.
    """

    at: Moment
    profile: str
    home: str
    is_healthy: bool = True
    reasons: list[str] = []
    assets: list[AssetState] | None = None
    schedules: list[ScheduleState] | None = None
    sensors: list[SensorState] | None = None
    runs: list[RunState] | None = None
    failed_runs: list[RunState] | None = None
    daemon: DaemonState | None = None
    incidents: list[IncidentState] | None = None
    dead_letters: DeadLetterState | None = None
    quota: QuotaState | None = None
    quarantine: list[QuarantineState] | None = None
    untold: dict[str, str] = {}


def schema() -> dict[str, Any]:
    """The JSON Schema of a report; each field is always there, also where it has a default."""
    definitions = msgspec.json.schema(Report)["$defs"]
    for one in definitions.values():
        one |= {"required": list(one["properties"]), "additionalProperties": False}
        one["description"] = cleandoc(one["description"])
        for field in one["properties"].values():
            field.pop("default", None)
    report = definitions.pop("Report")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **report,
        "title": "quant status --json",
        "$defs": definitions,
    }


def as_json(report: Report) -> str:
    """A report as JSON, indented."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode()


def judged(report: Report) -> Report:
    """The report with its verdict."""
    reasons = [*_reasons(report)]
    return msgspec.structs.replace(report, is_healthy=not reasons, reasons=reasons)


def _reasons(report: Report) -> Iterator[str]:
    """What is overdue, failed or stuck, the gravest first."""
    if report.daemon is not None and report.daemon.status == "gone":
        yield f"no daemon since {report.daemon.last_at:%Y-%m-%d %H:%M} UTC"
    yield from _behind(report.assets or ())
    for one in report.assets or ():
        if one.present is not None and one.present < (one.demanded or 0):
            name = one.asset.removeprefix(f"{one.group}/")
            yield (
                f"{one.group}: {name} of {one.newest} are incomplete, {one.present:,} of "
                f"{one.expected:,} symbols, {one.demanded:,} are demanded"
            )
    for run in report.runs or ():
        if run.problem:
            yield f"run {run.run_id[:8]} of {run.job} {run.problem}"
    told: Sequence[ScheduleState | SensorState] = (
        *(report.schedules or ()),
        *(report.sensors or ()),
    )
    for ticking in told:
        if ticking.is_on and ticking.problem:
            kind = "schedule" if isinstance(ticking, ScheduleState) else "sensor"
            yield f"the {kind} {ticking.name} {ticking.problem}"
    for incident in report.incidents or ():
        # Of failing ticks the line before has told already.
        if incident.severity == "critical" and not incident.title.startswith(TICK_TITLES):
            yield f"open incident: {incident.title}"
    for part, why in report.untold.items():
        is_whole = part == INSTANCE
        yield f"no instance of Dagster: {why}" if is_whole else f"{part} cannot be told: {why}"


TICK_TITLES = ("The schedule ", "The sensor ")
"""How the titles of incidents of failing ticks begin."""


def _behind(assets: Sequence[AssetState]) -> Iterator[str]:
    """One reason for the assets of a group that stand alike."""
    bad = sorted((one for one in assets if one.status in BAD), key=_alike)
    for (group, said), them in groupby(bad, key=_alike):
        names = ", ".join(one.asset.removeprefix(f"{group}/") for one in them)
        yield f"{group}: {names} {said}"


def _alike(one: AssetState) -> tuple[str, str]:
    return one.group, lag(one)


def lag(one: AssetState) -> str:
    """How an asset stands, in words."""
    if one.status == "behind":
        assert one.deadline is not None
        unit = f"{one.unit}{'' if one.behind == 1 else 's'}"
        return f"{one.behind:,} {unit} behind, {one.due} was due at {one.deadline:%m-%d %H:%M} UTC"
    return f"{one.status}: {one.problem}" if one.problem else one.status


def why_stuck(status: str, since: datetime, now: datetime, longest: timedelta) -> str:
    """Why a run that has not ended counts as stuck, empty if it does not.

    ``longest``: how long it may go on.
    """
    limits = {"STARTED": longest, "QUEUED": QUEUE_IS_STUCK}
    age = now - since
    if age < limits.get(status, START_IS_STUCK):
        return ""
    words = {"STARTED": "running", "QUEUED": "waiting in the queue", "CANCELING": "stopping"}
    hours, minutes = divmod(int(age.total_seconds()) // 60, 60)
    return f"has been {words.get(status, 'starting')} for {hours} h {minutes} min"


def daemon_state(
    heartbeats: dict[str, tuple[datetime, list[str]]], needed: Sequence[str], now: datetime
) -> DaemonState:
    """The daemon by its parts' last ``heartbeats`` (when, errors); ``needed`` parts must beat.

    Parts that nothing needs may have been switched off for good.
    """
    if not heartbeats:
        return DaemonState(status="never")
    errors = [f"{part}: {text}" for part, (_, texts) in heartbeats.items() for text in texts]
    counted = [at for part, (at, _) in heartbeats.items() if part in needed]
    last = min(counted) if counted else max(at for at, _ in heartbeats.values())
    is_gone = now - last >= DAEMON_IS_GONE
    return DaemonState(status="gone" if is_gone else "alive", last_at=last, errors=errors)


if __name__ == "__main__":
    SCHEMA.write_text(json.dumps(schema(), indent=2) + "\n", encoding="utf-8")
