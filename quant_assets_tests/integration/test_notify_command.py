"""``quant notify``: each way of telling is tried as it is set, and incidents are listed."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import msgspec
import pytest

from quant_assets.notices.incidents import Finding, reconcile
from quant_assets.sandbox import locate
from quant_assets.sandbox.server import Sandbox
from quant_assets.sensors.alert_memory import Memory, MemoryFile
from quant_assets_tests.integration.quant_processes import Home
from quant_assets_tests.mailbox import Inbox, serving

PASSWORD = "quant-smtp-password"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path)
    made.path.mkdir()
    return made


@pytest.fixture
def sandbox(home: Home) -> Iterator[Sandbox]:
    with Sandbox(seed=7) as running:
        locate.record(home.path, running)
        yield running


def mails_to(home: Home, port: int) -> None:
    home.variables |= {
        "QUANT_SMTP_HOST": "127.0.0.1",
        "QUANT_SMTP_PORT": str(port),
        "QUANT_SMTP_SECURITY": "none",
        "QUANT_SMTP_PASSWORD": PASSWORD,
        "QUANT_MAIL_FROM": "quant@desk.example",
        "QUANT_MAIL_TO": "ops@desk.example",
    }


def written(sandbox: Sandbox) -> list[str]:
    """The channels that were written to, in order."""
    channels = [sandbox.slack.channel(m.channel) for m in sandbox.slack.messages()]
    return [channel.name for channel in channels if channel is not None]


def test_each_channel_and_the_mail_are_tried_once(home: Home, sandbox: Sandbox) -> None:
    inbox = Inbox()
    with serving(inbox) as port:
        mails_to(home, port)
        out = home("notify", "test").out.splitlines()
    assert [line.split(", ")[0] for line in out] == [
        "Slack #quant-runs: ok",
        "Slack #quant-alerts: ok",
        "Mail: ok",
    ]
    assert "critical alerts, warning alerts, info alerts" in out[1]
    assert "ops@desk.example" in out[2]
    assert written(sandbox) == ["quant-runs", "quant-alerts"]
    (mail,) = inbox.mails
    assert mail["Subject"].startswith("[quant test]")


def test_one_severity_is_one_channel(home: Home, sandbox: Sandbox) -> None:
    sandbox.slack.add_channel("oncall")
    home.variables["QUANT_SLACK_ALERT_CHANNELS"] = '{"critical": "#oncall"}'
    home("notify", "test", "--severity", "critical")
    home("notify", "test", "--severity", "run")
    assert written(sandbox) == ["oncall", "quant-runs"]


def test_what_does_not_arrive_says_why_and_the_others_are_tried(
    home: Home, sandbox: Sandbox
) -> None:
    home.variables["QUANT_SLACK_CHANNEL"] = "#no-such-channel"
    inbox = Inbox(mail="550 5.7.1 not from you")
    with serving(inbox) as port:
        mails_to(home, port)
        out = home("notify", "test", status=1).out
    runs, alerts, mail = out.splitlines()
    assert "channel_not_found" in runs
    assert "QUANT_SLACK_CHANNEL" in runs
    assert alerts.startswith("Slack #quant-alerts: ok")
    assert "QUANT_MAIL_FROM" in mail
    assert PASSWORD not in out


def test_without_a_sandbox_only_the_mail_is_tried(home: Home) -> None:
    inbox = Inbox()
    with serving(inbox) as port:
        mails_to(home, port)
        done = home("notify", "test")
    assert "quant dev" in done.err
    assert done.out.startswith("Mail: ok")
    assert not (home.path / locate.RECORD_NAME).exists(), "none is started for it"


def test_where_nothing_is_set_the_settings_are_named(home: Home) -> None:
    done = home("notify", "test", "--profile", "live", status=2)
    assert "SLACK_BOT_TOKEN" in done.err
    assert "QUANT_SMTP_HOST" in done.err
    assert done.out == ""


KEEP = """
import sys, dagster as dg
from quant_assets.sensors.alert_memory import KEY
with dg.DagsterInstance.get() as instance:
    instance.daemon_cursor_storage.set_cursor_values({KEY: sys.stdin.read()})
"""


def remember(home: Home, memory: Memory) -> None:
    """Put a record into the instance of ``home``."""
    with dg.DagsterInstance.ephemeral() as scratch:
        MemoryFile(scratch).keep(memory)
        from quant_assets.sensors.alert_memory import KEY

        text = scratch.daemon_cursor_storage.get_cursor_values({KEY})[KEY]
        assert MemoryFile(scratch).load(logging.getLogger()) == memory
    subprocess.run(
        [sys.executable, "-c", KEEP],
        input=text,
        text=True,
        check=True,
        cwd=home.folder,
        env={**home.environment(), "DAGSTER_HOME": str(home.path)},
    )


def test_open_incidents_are_listed_with_their_texts_harmless(home: Home) -> None:
    assert home("notify", "incidents").out == "no open incidents\n"
    at = datetime(2026, 3, 20, 3, 30, tzinfo=UTC)
    found = [
        Finding("run:us_price", "critical", "us_price fails", "no bars", at, count=3),
        Finding("stale:kr", "warning", "Korea: nothing new", "late", at),
    ]
    incidents = reconcile((), found, at)
    failing, over = reconcile(incidents, found[:1], at)
    hostile = msgspec.structs.replace(failing, title="us_price fails \x1b[2J[red]")
    remember(home, Memory(incidents=(hostile, over)))
    out = home("notify", "incidents").out
    assert "us_price fails \\x1b[2J[red]" in out
    assert "Korea" not in out
    (row,) = json.loads(home("notify", "incidents", "--format", "json").out)
    assert (row["key"], row["severity"], row["count"]) == ("run:us_price", "critical", 3)
    assert row["openedAt"] == "2026-03-20T03:30:00+00:00"
