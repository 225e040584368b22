"""How incidents are told. What belongs here: an incident as a thread and as a mail, no sending."""

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Literal

from quant_assets.notices.incidents import Incident, Note, Severity, duration
from quant_assets.notices.message import Message, bold, context, escape, link, message, section
from quant_assets.notices.thread import Post, ThreadView

SIGNS: dict[Severity, str] = {
    "critical": ":rotating_light:",
    "warning": ":warning:",
    "info": ":information_source:",
}
RESOLVED_SIGN = ":white_check_mark:"

MailKind = Literal["opened", "resolved"]


@dataclass(frozen=True)
class IncidentMail:
    """A mail of an incident; ``name`` is the same whenever the same mail is made."""

    name: str
    subject: str
    text: str
    in_reply_to: str = ""


def incident_thread(incident: Incident, channel: str) -> ThreadView:
    """What the thread of an incident in ``channel`` should say now.

    ``posts`` are those that are not told yet.
    """
    return ThreadView(
        key=incident.thread_key,
        channel=channel,
        line=_line(incident),
        posts=tuple(
            Post(note.key, _post(note))
            for note in incident.notes
            if note.key not in incident.thread.posted
        ),
        is_ended=not incident.is_open,
    )


def due_mail(incident: Incident) -> MailKind | None:
    """The mail that is to be handed in now.

    What was over before it could be mailed is one mail.
    """
    kind: MailKind = "opened" if incident.is_open else "resolved"
    return None if mail_name(incident, kind) in incident.mailed else kind


def mail_name(incident: Incident, kind: MailKind) -> str:
    """Name of a mail, for ``Message-ID``: one an incident, kind and time that it was opened."""
    cycle = f"-{incident.cycles}" if incident.cycles > 1 else ""
    return f"{sha256(incident.thread_key.encode()).hexdigest()[:24]}.{kind}{cycle}"


def incident_mail(incident: Incident, kind: MailKind) -> IncidentMail:
    """The mail of an incident that began or is over."""
    began = mail_name(incident, "opened")
    head = incident.severity if kind == "opened" else "resolved"
    parts = [_facts(incident), incident.text]
    if incident.latest:
        parts.append("\n".join(f"- {line}" for line in incident.latest))
    if incident.link:
        parts.append(incident.link)
    is_reply = kind == "resolved" and began in incident.mailed
    return IncidentMail(
        name=mail_name(incident, kind),
        subject=f"[quant {head}] {incident.title}",
        text="\n\n".join(part for part in parts if part),
        in_reply_to=began if is_reply else "",
    )


def _line(incident: Incident) -> Message:
    sign = SIGNS[incident.severity] if incident.is_open else RESOLVED_SIGN
    facts = escape(_facts(incident))
    shown = f"{sign} {bold(incident.title)}"
    where = [link(incident.link, "Open in Dagster")] if incident.link else []
    return message(section(shown), context(facts, *where), text=f"{shown} ({facts})")


def _facts(incident: Incident) -> str:
    """Severity, how often, from when to when."""
    words: list[str] = [incident.severity]
    if incident.count > 1:
        words.append(f"{incident.count} ×")
    words.append(f"since {_time(incident.opened_at)}")
    if incident.resolved_at is None:
        if incident.last_at > incident.opened_at:
            words.append(f"last {_time(incident.last_at)}")
        return " · ".join(words)
    end = incident.gone_at or incident.resolved_at
    lasted = duration(end - incident.opened_at)
    words.append(f"closed: {incident.closing}" if incident.closing else f"resolved {_time(end)}")
    return " · ".join([*words, f"lasted {lasted}"])


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _post(note: Note) -> Message:
    lines = [bold(note.title)] if note.title else []
    lines += [escape(line) for line in note.lines]
    if note.left_out:
        lines.append(f"… and {note.left_out} more")
    body = "\n".join(lines)
    return message(section(body), text=body)
