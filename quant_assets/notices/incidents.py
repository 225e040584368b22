"""Incidents: what is wrong, since when, and whom it was told. What belongs here: pure functions.

Whoever watches says at each look what is wrong *now* (findings); an incident is the memory of it
from the first look that saw it to the first that no longer does. How it is told: ``reports``.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, get_args

import msgspec

from quant_assets.notices.message import plain
from quant_assets.notices.thread import ThreadState

Severity = Literal["critical", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
REOPEN_WITHIN = timedelta(hours=1)
"""What comes back within it is the same incident: one thread, not two."""
REPLY_EVERY = timedelta(minutes=10)
"""New details of a lasting incident wait so long for each other."""
FIRST_HOLD, LONGEST_HOLD = timedelta(minutes=5), timedelta(hours=1)
"""So long must an incident that came back stay away to be over; twice as long each time."""
KEEP_UNTOLD = timedelta(days=7)
MAX_ITEMS_TOLD = 50
LINES_A_REPLY = 10
MAX_NOTES = 20
MAX_OPEN = 100
TEXT_LIMIT = 3000


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong now.

    ``key`` begins with the name of its source and a colon. ``items`` are its occurrences by key,
    each a line of text. ``count`` says how often it happened since it began. ``closing``: why it
    is no longer watched; it is then over. Texts come from anywhere; they are made plain and cut.
    """

    key: str
    severity: Severity
    title: str
    text: str
    seen_at: datetime
    items: Mapping[str, str] = field(default_factory=dict)
    link: str = ""
    count: int = 1
    closing: str = ""

    def __post_init__(self) -> None:
        for name in ("title", "text", "closing"):
            object.__setattr__(self, name, clean(getattr(self, name)))
        items = {clean(key): clean(line) for key, line in self.items.items()}
        object.__setattr__(self, "items", items)


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """A reply that is to be told; ``lines`` are plain text."""

    key: str
    title: str
    lines: tuple[str, ...] = ()
    left_out: int = 0


class Incident(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known and what was told of one incident.

    ``filed_as`` decides the channel for ever, ``severity`` is that of now. ``told`` are the items
    that are in a note, ``waiting`` those for the next one, ``latest`` the newest lines.
    ``gone_at``: since when nothing is seen of it. ``cycles`` counts how often it was opened,
    ``base`` what it had counted before it was opened again. ``mailed`` are the mails that are
    handed in, ``mailing`` the one that was about to be.
    """

    key: str
    severity: Severity
    filed_as: Severity
    title: str
    text: str
    opened_at: datetime
    last_at: datetime
    count: int = 1
    link: str = ""
    base: int = 0
    told: tuple[str, ...] = ()
    waiting: tuple[tuple[str, str], ...] = ()
    latest: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    replies: int = 0
    reply_at: datetime | None = None
    gone_at: datetime | None = None
    resolved_at: datetime | None = None
    closing: str = ""
    cycles: int = 1
    thread: ThreadState = ThreadState()
    mailed: tuple[str, ...] = ()
    mailing: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it lasts."""
        return self.resolved_at is None

    @property
    def thread_key(self) -> str:
        """Name of its thread in Slack."""
        return f"{self.key}@{self.opened_at:%Y%m%dT%H%M%S}"


def clean(text: str, limit: int = TEXT_LIMIT) -> str:
    """A text from anywhere as it can be kept: plain and of bounded length."""
    kept = plain(text)
    return kept if len(kept) <= limit else f"{kept[: limit - 1]}…"


def reconcile(
    incidents: Iterable[Incident],
    findings: Iterable[Finding],
    now: datetime,
    *,
    unknown: Collection[str] = (),
) -> tuple[Incident, ...]:
    """The incidents after a look that saw ``findings``.

    Opens, updates and ends them. Those of the sources in ``unknown``, which could not look, stay
    as they are. Where more is wrong than is told at a time, the gravest comes first.
    """
    seen = {finding.key: finding for finding in findings}
    current = {
        incident.key: incident
        for incident in sorted(incidents, key=lambda i: i.opened_at)
        if incident.is_open or now - (incident.resolved_at or now) < REOPEN_WITHIN
    }
    after = []
    for incident in incidents:
        is_current = current.get(incident.key) is incident
        finding = seen.pop(incident.key, None) if is_current else None
        if finding is not None:
            incident = _seen(incident, finding, now)
        elif is_current and incident.key.partition(":")[0] not in unknown:
            incident = _unseen(incident, now)
        after.append(_with_reply(incident, now))
    room = max(0, MAX_OPEN - sum(incident.is_open for incident in after))
    fresh = sorted(
        (finding for finding in seen.values() if not finding.closing),
        key=lambda finding: SEVERITIES.index(finding.severity),
    )
    return (*after, *(_with_reply(_opened(finding, now), now) for finding in fresh[:room]))


def is_over(incident: Incident, now: datetime, *, is_told: bool) -> bool:
    """Whether nothing of the incident has to be remembered."""
    if incident.resolved_at is None:
        return False
    age = now - incident.resolved_at
    return age >= (REOPEN_WITHIN if is_told else KEEP_UNTOLD)


def delivered(incident: Incident, thread: ThreadState) -> Incident:
    """The incident once its thread is told as far as ``thread``."""
    left = tuple(note for note in incident.notes if note.key not in thread.posted)
    return msgspec.structs.replace(incident, thread=thread, notes=left)


def duration(length: timedelta) -> str:
    """A length of time in words: 40 s, 20 min, 2 h 5 min, 3 days 4 h."""
    seconds = max(0, int(length.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    hours, days = minutes // 60, minutes // 1440
    if not hours:
        return f"{minutes} min"
    if not days:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    rest = f" {hours % 24} h" if hours % 24 else ""
    return f"{days} day{'s' if days > 1 else ''}{rest}"


def _opened(finding: Finding, now: datetime) -> Incident:
    is_in_items = any(finding.text in line for line in finding.items.values())
    details = () if is_in_items else (Note("d1", "", tuple(finding.text.splitlines())),)
    incident = Incident(
        key=finding.key,
        severity=finding.severity,
        filed_as=finding.severity,
        title=finding.title,
        text=finding.text,
        link=finding.link,
        opened_at=now,
        last_at=finding.seen_at,
        count=max(1, finding.count),
        notes=details,
    )
    return _with_items(incident, finding)


def _seen(incident: Incident, finding: Finding, now: datetime) -> Incident:
    """The incident is still there, or there again."""
    if finding.closing:
        return _resolved(incident, now, finding.closing) if incident.is_open else incident
    if not incident.is_open:
        incident = _reopened(incident, now)
    count = max(incident.base + max(1, finding.count), incident.count)
    has_happened = count > incident.count or not finding.items.keys() <= _known(incident)
    incident = msgspec.structs.replace(
        incident,
        severity=finding.severity,
        title=finding.title,
        text=finding.text,
        link=finding.link,
        gone_at=None,
        count=count,
        last_at=max(finding.seen_at, incident.last_at) if has_happened else incident.last_at,
    )
    return _with_items(incident, finding)


def _reopened(incident: Incident, now: datetime) -> Incident:
    away = duration(now - (incident.resolved_at or now))
    cycles = incident.cycles + 1
    return msgspec.structs.replace(
        incident,
        resolved_at=None,
        closing="",
        cycles=cycles,
        base=incident.count,
        notes=_noted(incident, Note(f"a{cycles}", f"Again after {away}")),
        thread=msgspec.structs.replace(incident.thread, is_done=False),
    )


def _unseen(incident: Incident, now: datetime) -> Incident:
    """Nothing is seen of the incident; one that tends to come back is given some time."""
    if not incident.is_open:
        return incident
    gone_at = incident.gone_at or now
    if now - gone_at >= _hold(incident.cycles):
        return _resolved(incident, now)
    return msgspec.structs.replace(incident, gone_at=gone_at)


def _hold(cycles: int) -> timedelta:
    if cycles < 2:
        return timedelta(0)
    return min(FIRST_HOLD * (1 << min(cycles - 2, 8)), LONGEST_HOLD)


def _resolved(incident: Incident, now: datetime, closing: str = "") -> Incident:
    end = incident.gone_at or now
    lasted = duration(end - incident.opened_at)
    said = f"Closed after {lasted}: {closing}" if closing else f"Resolved after {lasted}"
    incident = _with_reply(msgspec.structs.replace(incident, resolved_at=now, closing=closing), now)
    note = Note(f"r{incident.cycles}", said)
    return msgspec.structs.replace(incident, notes=_noted(incident, note), gone_at=end)


def _with_items(incident: Incident, finding: Finding) -> Incident:
    """The items that were not there before wait for the next reply."""
    known = _known(incident)
    fresh = [(key, line) for key, line in finding.items.items() if key not in known]
    if not fresh:
        return incident
    room = max(0, MAX_ITEMS_TOLD - len(known))
    return msgspec.structs.replace(
        incident,
        waiting=(*incident.waiting, *fresh[:room]),
        latest=(*incident.latest, *(line for _, line in fresh))[-LINES_A_REPLY:],
    )


def _known(incident: Incident) -> set[str]:
    """The items that are told or about to be."""
    return {*incident.told, *(key for key, _ in incident.waiting)}


def _with_reply(incident: Incident, now: datetime) -> Incident:
    """What waits becomes a note, if none was made a moment ago or the incident is over."""
    age = None if incident.reply_at is None else now - incident.reply_at
    is_early = age is not None and timedelta(0) <= age < REPLY_EVERY
    if not incident.waiting or (is_early and incident.is_open):
        return incident
    lines = tuple(line for _, line in incident.waiting)
    number = incident.replies + 1
    note = Note(f"i{number}", "", lines[:LINES_A_REPLY], max(0, len(lines) - LINES_A_REPLY))
    return msgspec.structs.replace(
        incident,
        told=(*incident.told, *(key for key, _ in incident.waiting)),
        waiting=(),
        notes=_noted(incident, note),
        replies=number,
        reply_at=now,
    )


def _noted(incident: Incident, note: Note) -> tuple[Note, ...]:
    return (*incident.notes, note)[-MAX_NOTES:]
