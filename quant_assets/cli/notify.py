"""``quant notify``. What belongs here: sending a try to each way of telling, printing incidents.

Texts of Slack, of the mail server and of incidents come from elsewhere: each passes ``printable``.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import uuid4

import click

from quant_assets.cli.text import printable
from quant_assets.errors import QuantAssetsError
from quant_assets.notices import mail
from quant_assets.notices.incidents import SEVERITIES, Incident
from quant_assets.notices.mail import MailServer
from quant_assets.notices.message import context, escape, message, section
from quant_assets.settings import Settings
from quant_assets.vendors.redaction import redact
from quant_assets.vendors.slack import SlackConnection

RUNS = "run"
ARRIVED, NOT_ARRIVED, NOTHING_SET = 0, 1, 2
"""Exit statuses of ``quant notify test``."""


class Target(NamedTuple):
    """A way of telling: what it is called, and a try of it that says where the try arrived."""

    name: str
    send: Callable[[], str]


def send_tests(values: Settings, only: str | None) -> int:
    """Try each way of telling (``only``: those of one severity, or of runs); the exit status."""
    slack, server = values.slack(), values.mail_server()
    targets = [] if slack is None else list(_channels(slack, values, only))
    if server is not None and only != RUNS:
        targets.append(_mail(server, values))
    if slack is None:
        click.echo(f"Slack: {_why_no_slack(values)}", err=True)
    if not targets:
        click.echo(
            "nothing to try: set SLACK_BOT_TOKEN, or QUANT_SMTP_HOST, QUANT_MAIL_FROM and "
            "QUANT_MAIL_TO",
            err=True,
        )
        return NOTHING_SET
    results = [_try(target, values) for target in targets]
    return ARRIVED if all(results) else NOT_ARRIVED


def _try(target: Target, values: Settings) -> bool:
    try:
        where = target.send()
    except QuantAssetsError as error:
        click.echo(f"{target.name}: {printable(redact(str(error), values.secrets))}")
        return False
    click.echo(f"{target.name}: ok, {printable(where)}")
    return True


def _why_no_slack(values: Settings) -> str:
    if values.is_sandbox:
        return "no sandbox runs; `quant dev` and `quant sandbox` each run one with its own Slack"
    return "SLACK_BOT_TOKEN is not set"


def _channels(slack: SlackConnection, values: Settings, only: str | None) -> Iterator[Target]:
    """One target a channel, named by what is told there."""
    uses: dict[str, list[str]] = {}
    if only in (None, RUNS):
        uses.setdefault(values.slack_channel, []).append("runs")
    for severity in SEVERITIES:
        if only in (None, severity):
            uses.setdefault(values.alert_channel(severity), []).append(f"{severity} alerts")
    for channel, kinds in uses.items():
        yield Target(f"Slack {channel}", _post(slack, channel, ", ".join(kinds)))


def _post(slack: SlackConnection, channel: str, kinds: str) -> Callable[[], str]:
    def send() -> str:
        from quant_assets.vendors.slack import SlackClient

        sent = message(
            section(f":wave: Test of `quant notify`: {escape(kinds)} are told here."),
            context(escape(_origin())),
            text=f"Test of quant notify: {escape(kinds)} are told here.",
        )
        client = SlackClient(slack)
        found, ts = client.post(
            channel, sent.text, sent.blocks, thread=f"test:{uuid4()}", keys=["line"]
        )
        return f"{kinds} are told there (message {ts} in {found}, {client.identity()})"

    return send


def _mail(server: MailServer, values: Settings) -> Target:
    def send() -> str:
        mail.send(
            server,
            subject="[quant test] Mails of alerts arrive",
            text=f"This is a test of `quant notify`.\n\n{_origin()}\n{values.ui_url}",
            message_id=f"{uuid4().hex}.test",
        )
        return f"taken by {server.address} for {', '.join(server.recipients)}"

    return Target("Mail", send)


def _origin() -> str:
    return f"Sent from {platform.node()} at {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"


def list_incidents(form: str) -> None:
    """Print the open incidents."""
    still_open = [incident for incident in _incidents() if incident.is_open]
    still_open.sort(key=lambda incident: incident.opened_at)
    if form == "json":
        click.echo(json.dumps([_fields(i) for i in still_open], indent=2, ensure_ascii=False))
        return
    if not still_open:
        click.echo("no open incidents")
        return
    from rich import box
    from rich.markup import escape as plain
    from rich.table import Table

    from quant_assets.cli.show import output

    table = Table("severity", "what", "count", "since (UTC)", "last", "link", box=box.SIMPLE)
    for incident in still_open:
        table.add_row(
            incident.severity,
            plain(printable(incident.title)),
            str(incident.count),
            f"{incident.opened_at:%Y-%m-%d %H:%M}",
            f"{incident.last_at:%Y-%m-%d %H:%M}",
            plain(incident.link),
        )
    output().print(table)


def _incidents() -> tuple[Incident, ...]:
    import logging

    import dagster as dg

    from quant_assets.sensors.alert_memory import MemoryFile

    with dg.DagsterInstance.get() as instance:
        return MemoryFile(instance).load(logging.getLogger(__name__)).incidents


def _fields(incident: Incident) -> dict[str, object]:
    return {
        "key": incident.key,
        "severity": incident.severity,
        "title": incident.title,
        "text": incident.text,
        "count": incident.count,
        "openedAt": incident.opened_at.isoformat(),
        "lastAt": incident.last_at.isoformat(),
        "link": incident.link,
        "latest": list(incident.latest),
        "slack": {"channel": incident.thread.channel, "threadTs": incident.thread.thread_ts},
    }
