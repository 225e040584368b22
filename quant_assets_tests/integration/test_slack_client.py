"""Slack's client against the simulated Slack: what each failure means, and what is found again."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from quant_assets.errors import TransientError
from quant_assets.sandbox.faults import Fault
from quant_assets.sandbox.server import Sandbox
from quant_assets.vendors.slack import (
    FILE_KEY,
    UNAUTHORIZED,
    SlackClient,
    SlackConnection,
    SlackRefusedError,
    UnknownOutcomeError,
)
from quant_assets_tests.unit.scripted_server import Reply, ScriptedServer

TOKEN = "xoxb-123-secret-token"
CHANNEL = "#quant-runs"


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    # slack_sdk takes any proxy for loopback too, and urllib without NO_PROXY as well.
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with Sandbox() as running:
        running.slack.messages_per_second = None
        yield running


@pytest.fixture
def client(sandbox: Sandbox) -> SlackClient:
    return SlackClient(SlackConnection(f"{sandbox.url}/api/", TOKEN))


def post(
    client: SlackClient, *keys: str, thread_ts: str = "", thread: str = "t"
) -> tuple[str, str]:
    return client.post(CHANNEL, "text", thread_ts=thread_ts, thread=thread, keys=keys or ("line",))


def test_what_was_told_is_found_again(sandbox: Sandbox, client: SlackClient) -> None:
    channel, root = post(client)
    _, both = post(client, "a", "b", thread_ts=root)
    post(client, "c", thread_ts=root, thread="another")
    client.upload(channel, root, "scores-1a2b.png", "Scores", b"\x89PNG")
    told = client.told(CHANNEL, root, "t")
    (_, _, _, picture) = sandbox.slack.thread(channel, root)
    assert told == {"line": root, "a": both, "b": both, f"{FILE_KEY}scores-1a2b.png": picture.ts}
    assert picture.files[0].content == b"\x89PNG"
    assert picture.files[0].title == "Scores"


def test_a_channel_is_found_by_its_name_only_once(sandbox: Sandbox, client: SlackClient) -> None:
    channel, root = post(client)
    fresh = SlackClient(client.connection)
    assert fresh.find_root(CHANNEL, "t") == (channel, root)
    assert fresh.find_root(CHANNEL, "unknown") is None
    fresh.update(CHANNEL, root, "edited", thread="t", keys=("line",))
    assert sandbox.slack.thread(channel, root)[0].text == "edited"
    assert fresh.find_root(CHANNEL, "t") == (channel, root)
    assert sum(r.path.endswith("conversations.list") for r in sandbox.requests) == 1


def test_threads_of_several_pages(sandbox: Sandbox, client: SlackClient) -> None:
    channel, root = post(client)
    for number in range(230):
        post(client, f"k{number}", thread_ts=root)
    assert len(client.told(channel, root, "t")) == 231
    for number in range(210):
        post(client, thread=f"other {number}")
    assert client.find_root(channel, "t") == (channel, root)


def test_messages_mention_nobody_and_unfold_nothing(sandbox: Sandbox, client: SlackClient) -> None:
    bodies: list[dict[str, Any]] = []
    sent = client._web.api_call

    def note(method: str, **arguments: Any) -> Any:
        bodies.append(arguments["json"])
        return sent(method, **arguments)

    client._web.api_call = note
    channel, ts = post(client)
    client.update(channel, ts, "x", thread="t", keys=("line",))
    assert bodies[0]["unfurl_links"] is bodies[0]["unfurl_media"] is False
    assert not any({"parse", "link_names"} & set(body) for body in bodies)


@pytest.mark.parametrize(
    ("fault", "error", "retry_after"),
    [
        (Fault("slack", "status", code=429, retry_after=7), TransientError, 7.0),
        (Fault("slack", "status", code=429), TransientError, 1.0),
        (Fault("slack", "status", code=429, retry_after="soon"), TransientError, 1.0),
        (Fault("slack", "status", code=500), UnknownOutcomeError, None),
        (Fault("slack", "status", code=503, body="json"), UnknownOutcomeError, None),
        (Fault("slack", "status", code=404), TransientError, None),
        (Fault("slack", "reset"), UnknownOutcomeError, None),
        (Fault("slack", "lost"), UnknownOutcomeError, None),
        (Fault("slack", "lost", code=502), UnknownOutcomeError, None),
        (Fault("slack", "delay", seconds=2.0), UnknownOutcomeError, None),
        (Fault("slack", "truncated"), UnknownOutcomeError, None),
        (Fault("slack", "malformed"), UnknownOutcomeError, None),
        (Fault("slack", "empty"), UnknownOutcomeError, None),
        (Fault("slack", "empty", body=True), UnknownOutcomeError, None),
        (Fault("slack", "error", error="internal_error"), UnknownOutcomeError, None),
        (Fault("slack", "error", error="fatal_error"), UnknownOutcomeError, None),
        (Fault("slack", "error", error="service_unavailable"), UnknownOutcomeError, None),
        (Fault("slack", "error", error="ratelimited"), TransientError, 1.0),
        (Fault("slack", "error", error="request_timeout"), TransientError, 1.0),
    ],
    ids=lambda value: f"{value.kind}-{value.options}" if isinstance(value, Fault) else "",
)
def test_what_may_have_been_done(
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    fault: Fault,
    error: type[TransientError],
    retry_after: float | None,
) -> None:
    caplog.set_level(logging.DEBUG)
    patience = 0.5 if fault.kind == "delay" else 10.0
    connection = SlackConnection(f"{sandbox.url}/api/", TOKEN)
    client = SlackClient(connection, timeout_seconds=patience)
    sandbox.faults.add(fault)
    with pytest.raises(TransientError) as raised:
        post(client)
    assert type(raised.value) is error
    assert raised.value.retry_after_seconds == retry_after
    assert fault.hits == 1, "nothing is repeated"
    with pytest.raises(TransientError) as raised:
        client.told("C12345678", "1700000000.000001", "t")
    assert type(raised.value) is TransientError, "nothing is done by looking"
    assert not [record for record in caplog.records if TOKEN in record.getMessage()]


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        '"text"',
        "1",
        "null",
        "{",
        "<html>",
        '{"ok": true}',
        '{"ok": true, "channel": 1, "ts": 2}',
    ],
)
def test_answers_that_are_none(body: str) -> None:
    def scripted(_: Any) -> Reply:
        return Reply(body, headers={"Content-Type": "application/json"})

    with ScriptedServer(scripted) as server:
        client = SlackClient(SlackConnection(f"{server.url}/api/", TOKEN), timeout_seconds=2.0)
        with pytest.raises(UnknownOutcomeError):
            post(client)
        with pytest.raises(TransientError):
            client.told("C12345678", "1700000000.000001", "t")


def test_a_closed_port_has_done_nothing() -> None:
    client = SlackClient(SlackConnection("http://127.0.0.1:9/api/", TOKEN))
    with pytest.raises(TransientError, match="not reached") as raised:
        post(client)
    assert type(raised.value) is TransientError


def test_an_unknown_host_has_done_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    client = SlackClient(SlackConnection("http://slack.invalid/api/", TOKEN))
    with pytest.raises(TransientError, match="not reached") as raised:
        post(client)
    assert type(raised.value) is TransientError


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("invalid_auth", "SLACK_BOT_TOKEN"),
        ("not_in_channel", "/invite"),
        ("channel_not_found", "QUANT_SLACK_CHANNEL"),
        ("is_archived", "restore #quant-runs"),
        ("thread_not_found", "gone from #quant-runs"),
        ("some_new_code", "some_new_code"),
    ],
)
def test_refusals_say_what_to_do(
    sandbox: Sandbox, client: SlackClient, code: str, remedy: str
) -> None:
    sandbox.faults.add(Fault("slack", "error", error=code))
    with pytest.raises(SlackRefusedError, match=remedy) as raised:
        post(client)
    assert raised.value.code == code
    assert (code in UNAUTHORIZED) == (code == "invalid_auth")


def test_a_missing_scope_is_named(sandbox: Sandbox, client: SlackClient) -> None:
    channel, root = post(client)
    sandbox.slack.missing_scopes = {"channels:history", "files:write"}
    with pytest.raises(SlackRefusedError, match="give the app channels:history"):
        client.told(channel, root, "t")
    with pytest.raises(SlackRefusedError, match="give the app files:write"):
        client.upload(channel, root, "a.png", "A", b"x")


def test_an_upload_is_unknown_only_at_its_end(sandbox: Sandbox, client: SlackClient) -> None:
    channel, root = post(client)
    sandbox.faults.add(Fault("slack", "lost", methods=["files.getUploadURLExternal"], times=1))
    with pytest.raises(TransientError) as raised:
        client.upload(channel, root, "a.png", "A", b"x")
    assert type(raised.value) is TransientError
    sandbox.faults.add(Fault("slack", "lost", methods=["F00000002"], times=1))
    with pytest.raises(TransientError) as raised:
        client.upload(channel, root, "a.png", "A", b"x")
    assert type(raised.value) is TransientError
    assert len(sandbox.slack.thread(channel, root)) == 1
    sandbox.faults.add(Fault("slack", "lost", methods=["files.completeUploadExternal"], times=1))
    with pytest.raises(UnknownOutcomeError):
        client.upload(channel, root, "a.png", "A", b"x")
    assert f"{FILE_KEY}a.png" in client.told(channel, root, "t")


@pytest.mark.parametrize("token", ["", "xoxb-1\nsecret", "xoxb-열쇠", "xoxb 1"])
def test_a_token_that_no_header_holds_is_refused_without_being_shown(
    sandbox: Sandbox, token: str
) -> None:
    client = SlackClient(SlackConnection(f"{sandbox.url}/api/", token))
    with pytest.raises(SlackRefusedError, match="SLACK_BOT_TOKEN") as raised:
        post(client)
    assert not token or token not in str(raised.value)
    assert len(list(sandbox.requests)) == 0


def test_the_token_is_never_shown(sandbox: Sandbox, client: SlackClient) -> None:
    assert TOKEN not in repr(client) + str(client) + repr(client.connection)
    sandbox.faults.add(Fault("slack", "error", error=f"leak_{TOKEN}"))
    with pytest.raises((SlackRefusedError, TransientError)) as raised:
        post(client)
    assert TOKEN not in str(raised.value)


def test_who_the_token_is(client: SlackClient) -> None:
    assert client.identity() == "sandbox / quant"
