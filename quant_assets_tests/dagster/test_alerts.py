"""Alerts are told once, whatever happens to Slack, to the mail server and to us."""

import contextlib
import logging
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from quant_assets.notices import incidents, mail
from quant_assets.notices.courier import Courier
from quant_assets.sandbox.faults import Fault
from quant_assets.sandbox.server import Sandbox
from quant_assets.sensors import alert_delivery, alerts
from quant_assets.sensors.alert_memory import KEY, MailTrouble, Memory, MemoryFile
from quant_assets.settings import Settings
from quant_assets_tests.dagster.alert_desk import (
    MINUTE,
    SECRET,
    Desk,
    be_fast,
    observe,
    open_desk,
    run,
)
from quant_assets_tests.mailbox import Inbox


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    be_fast(monkeypatch)
    with open_desk(tmp_path) as made:
        yield made


def test_without_slack_and_mail_nobody_looks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    live = Settings(QUANT_HOME=str(tmp_path), QUANT_PROFILE="live")
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        desk = Desk(instance, live, Sandbox(), Inbox())
        for _ in range(3):
            assert "SLACK_BOT_TOKEN" in desk.tick()
        assert instance.daemon_cursor_storage.get_cursor_values({KEY}) == {}
    assert sum("SLACK_BOT_TOKEN" in record.getMessage() for record in caplog.records) == 1


def test_nothing_wrong_is_nothing_said(desk: Desk) -> None:
    assert desk.tick() == "nothing is wrong"
    run(desk, None, "2026-03-16")
    assert desk.tick() == "nothing is wrong"
    assert desk.roots() == []
    assert desk.inbox.mails == []


def test_a_failure_that_lasts_fifty_ticks_is_one_thread_and_one_mail(desk: Desk) -> None:
    run_id = run(desk, f"no bars: check {SECRET}", "2026-03-16")
    for _ in range(50):
        assert desk.tick() == "1 open: us_price fails"
    line, *replies = desk.only_thread()
    assert line.startswith(":rotating_light: *us_price fails* (critical · since")
    (root,) = desk.roots()
    assert desk.channel(root) == "quant-alerts"
    assert root.edits == 0
    assert f"https://dagster.example/runs/{run_id}" in str(root.blocks)
    assert "no bars: check [redacted]" in "\n".join(replies)
    assert "2026-03-16: us__prices: BadDataError" in "\n".join(replies)
    assert desk.subjects() == ["[quant critical] us_price fails"]
    assert SECRET not in desk.inbox.mails[0].get_content()
    run(desk, None, "2026-03-16")
    assert desk.tick() == "nothing is wrong"
    line, *after = desk.only_thread()
    assert line.startswith(":white_check_mark: *us_price fails*")
    assert after[: len(replies)] == replies
    assert after[len(replies) :] == ["*Resolved after 25 min*"]
    assert desk.subjects()[1:] == ["[quant resolved] us_price fails"]
    first, second = desk.inbox.mails
    assert second["In-Reply-To"] == first["Message-ID"]
    for _ in range(3):
        desk.tick(timedelta(hours=1))
    assert len(desk.roots()) == 1
    assert MemoryFile(desk.instance).load(logging.getLogger()).incidents == ()


def test_a_source_that_breaks_is_told_and_ends_no_incident(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run(desk, "no bars", "2026-03-16")
    desk.tick()
    observe(desk, 1)

    def breaks(*_: Any) -> Any:
        raise RuntimeError(f"a defect {SECRET}")

    with monkeypatch.context() as patch:
        patch.setattr(alerts, "look_at_runs", breaks)
        for _ in range(3):
            said = desk.tick()
    assert said.startswith("3 open: us_price fails")
    assert "Alerts of the kind run cannot be made" in said
    assert "Messages could not be processed" in said
    assert capfd.readouterr().err.count("cannot be made") == 1
    posted = "\n".join(message.text for message in desk.sandbox.slack.messages())
    assert "a defect [redacted]" in posted
    assert desk.tick() == "2 open: us_price fails; Messages could not be processed"


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "code": 503},
        {"kind": "status", "code": 429, "retry_after": 0},
        {"kind": "lost"},
        {"kind": "reset"},
        {"kind": "malformed"},
        {"kind": "error", "error": "fatal_error"},
    ],
    ids=lambda fault: "-".join(map(str, fault.values())),
)
def test_slack_that_is_away_is_told_once_afterwards(desk: Desk, fault: dict[str, Any]) -> None:
    desk.sandbox.faults.add(Fault("slack", **fault))
    run(desk, "no bars", "2026-03-16")
    for _ in range(10):
        assert "1 open: us_price fails | Slack: " in desk.tick()
    assert desk.subjects() == ["[quant critical] us_price fails"], "mails go on"
    desk.sandbox.faults.clear()
    desk.tick_until("1 open: us_price fails")
    thread = desk.only_thread()
    assert len(thread) == len(set(thread)) >= 2
    run(desk, None, "2026-03-16")
    desk.tick_until("nothing is wrong")
    assert desk.only_thread()[0].startswith(":white_check_mark:")


def test_a_token_that_is_refused_keeps_no_mail_back(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.sandbox.faults.add(Fault("slack", "error", error="invalid_auth"))
    run(desk, "no bars", "2026-03-16")
    for _ in range(5):
        assert desk.tick().startswith("1 open: us_price fails")
    assert desk.subjects() == ["[quant critical] us_price fails"]
    assert sum("SLACK_BOT_TOKEN" in record.getMessage() for record in caplog.records) == 1


def test_a_channel_that_is_made_later_is_written_to(desk: Desk) -> None:
    desk.set(QUANT_SLACK_ALERT_CHANNELS='{"critical": "#oncall"}')
    run(desk, "no bars", "2026-03-16")
    for _ in range(3):
        assert "channel_not_found" in desk.tick()
    desk.sandbox.slack.add_channel("oncall")
    desk.tick(alert_delivery.FORGIVE_EVERY)
    assert desk.channel(desk.roots()[0]) == "oncall"
    assert len(desk.only_thread()) >= 2


def test_a_root_that_cannot_be_looked_for_is_not_posted_again(desk: Desk) -> None:
    """Its outcome is unknown, and the token may not read: at most once."""
    desk.sandbox.slack.missing_scopes = {"channels:history"}
    desk.sandbox.faults.add(Fault("slack", "lost", methods=["chat.postMessage"], times=1))
    run(desk, "no bars", "2026-03-16")
    for _ in range(5):
        desk.tick(alert_delivery.FORGIVE_EVERY)
    assert len(desk.roots()) == 1
    assert desk.subjects() == ["[quant critical] us_price fails"]


def test_a_mail_server_that_refuses_is_logged_once_and_slack_goes_on(
    desk: Desk, capfd: pytest.CaptureFixture[str]
) -> None:
    desk.inbox.answers = {"mail": "550 sender rejected"}
    run(desk, "no bars", "2026-03-16")
    for _ in range(10):
        assert "QUANT_MAIL_FROM" in desk.tick()
    assert capfd.readouterr().err.count("sender rejected") == 1
    assert len(desk.only_thread()) >= 2
    assert desk.inbox.mails == []
    desk.inbox.answers = {}
    desk.tick(30 * MINUTE)
    desk.tick()
    assert desk.subjects() == ["[quant critical] us_price fails"]


def test_a_mail_server_that_says_nothing_keeps_no_slack_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mail, "TIMEOUT_SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        desk.set(QUANT_SMTP_PORT=silent.getsockname()[1])
        run(desk, "no bars", "2026-03-16")
        for _ in range(10):
            assert "does not answer" in desk.tick()
    assert capfd.readouterr().err.count("does not answer") == 1
    assert len(desk.only_thread()) >= 2


class KilledError(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("writes", range(1, 8))
@pytest.mark.parametrize("phase", ["opened", "resolved"])
def test_a_process_that_dies_at_any_write_says_nothing_twice(
    desk: Desk, phase: str, writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(desk, "no bars", "2026-03-16")
    if phase == "opened":
        die(desk, writes, monkeypatch)
    desk.tick_until("1 open: us_price fails")
    run(desk, None, "2026-03-16")
    if phase == "resolved":
        die(desk, writes, monkeypatch)
    desk.tick_until("nothing is wrong")
    thread = desk.only_thread()
    assert len(thread) == len(set(thread)) == 3
    assert thread[0].startswith(":white_check_mark:")
    assert thread[-1].startswith("*Resolved")
    told = ["[quant critical] us_price fails", "[quant resolved] us_price fails"]
    assert desk.subjects() in (told, told[:1], told[1:]), "at most once"


def die(desk: Desk, writes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a tick whose process is gone at its write number ``writes``."""
    keep = MemoryFile.keep
    done = 0

    def dies(self: MemoryFile, memory: Any) -> None:
        nonlocal done
        done += 1
        if done == writes:
            raise KilledError
        keep(self, memory)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFile, "keep", dies)
        with contextlib.suppress(KilledError):
            desk.tick()
    alerts._courier.cache_clear()


def test_a_mail_whose_process_died_when_it_was_handed_in_is_not_sent_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(desk, "no bars", "2026-03-16")
    send = mail.send

    def dies(*words: Any, **named: Any) -> None:
        send(*words, **named)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(mail, "send", dies)
        with pytest.raises(KilledError):
            desk.tick()
    for _ in range(3):
        desk.tick()
    assert desk.subjects() == ["[quant critical] us_price fails"]
    run(desk, None, "2026-03-16")
    desk.tick_until("nothing is wrong")
    assert desk.subjects()[1:] == ["[quant resolved] us_price fails"]
    assert desk.inbox.mails[1]["In-Reply-To"] == desk.inbox.mails[0]["Message-ID"]


def test_a_record_that_cannot_be_read_is_begun_anew(
    desk: Desk, capfd: pytest.CaptureFixture[str]
) -> None:
    desk.instance.daemon_cursor_storage.set_cursor_values({KEY: '{"incidents": 5}'})
    run(desk, "no bars", "2026-03-16")
    assert desk.tick() == "1 open: us_price fails"
    assert "begun anew" in capfd.readouterr().err


def test_a_record_with_half_a_character_is_kept(desk: Desk) -> None:
    file = MemoryFile(desk.instance)
    file.keep(Memory(mail=MailTrouble("a\udc00b", 1, desk.now)))
    kept = MemoryFile(desk.instance).load(logging.getLogger()).mail
    assert kept is not None
    assert kept.text == "a?b"


def test_slack_that_takes_its_time_leaves_mails_theirs(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "SLACK_SECONDS", 0.0)
    run(desk, "no bars", "2026-03-16")
    assert "1 not told yet" in desk.tick()
    assert desk.subjects() == ["[quant critical] us_price fails"]


def test_what_there_is_no_room_for_is_counted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incidents, "MAX_OPEN", 1)
    run(desk, "no bars", "2026-03-16")
    observe(desk, 1)
    assert desk.tick().startswith("1 open: us_price fails | 1 more not told")


def test_severities_go_to_their_channels(desk: Desk) -> None:
    desk.sandbox.slack.add_channel("oncall")
    desk.set(QUANT_SLACK_ALERT_CHANNELS='{"critical": "#oncall"}')
    run(desk, "no bars", "2026-03-16")
    observe(desk, 1)
    desk.tick()
    assert sorted(desk.channel(root) for root in desk.roots()) == ["oncall", "quant-alerts"]


def test_the_courier_is_one_a_process(desk: Desk) -> None:
    connection = desk.settings.slack()
    assert connection is not None
    assert isinstance(alerts._courier(connection), Courier)
    assert alerts._courier(connection) is alerts._courier(connection)
