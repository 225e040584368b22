"""The simulated Slack, asked by slack_sdk."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from quant_assets.sandbox.faults import Fault
from quant_assets.sandbox.server import Sandbox

NOW = datetime(2026, 6, 16, 22, 0, tzinfo=UTC)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(now=lambda: NOW) as running:
        yield running


@pytest.fixture
def client(sandbox: Sandbox) -> WebClient:
    return WebClient(token="xoxb-test", base_url=f"{sandbox.url}/api/", retry_handlers=[])


def refused(error: pytest.ExceptionInfo[SlackApiError]) -> str:
    return str(error.value.response["error"])


def test_a_thread_is_posted_updated_and_read(sandbox: Sandbox, client: WebClient) -> None:
    assert client.auth_test()["bot_id"]
    root = client.chat_postMessage(channel="#quant-runs", text="run started")
    reply = client.chat_postMessage(
        channel=root["channel"], text="step 1 of 3", thread_ts=root["ts"]
    )
    client.chat_update(channel=root["channel"], ts=reply["ts"], text="step 2 of 3")
    thread = client.conversations_replies(channel=root["channel"], ts=root["ts"])["messages"]
    assert [message["text"] for message in thread] == ["run started", "step 2 of 3"]
    assert thread[0]["reply_count"] == 1
    assert thread[1]["thread_ts"] == root["ts"]
    roots = client.conversations_history(channel=root["channel"])["messages"]
    assert [message["ts"] for message in roots] == [root["ts"]]
    assert [m.text for m in sandbox.slack.thread(root["channel"], root["ts"])] == [
        "run started",
        "step 2 of 3",
    ]
    client.chat_delete(channel=root["channel"], ts=reply["ts"])
    assert len(sandbox.slack) == 1


def test_channels_are_listed_and_can_be_added(sandbox: Sandbox, client: WebClient) -> None:
    sandbox.slack.add_channel("desk")
    names = {channel["name"]: channel["id"] for channel in client.conversations_list()["channels"]}
    assert {"general", "desk"} <= set(names)
    assert client.chat_postMessage(channel=names["desk"], text="hello")["ok"]


def section(length: int) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": "x" * length}}


@pytest.mark.filterwarnings("ignore:The top-level `text` argument is missing")
@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"channel": "#nowhere", "text": "a"}, "channel_not_found"),
        ({"channel": "#quant"}, "no_text"),
        ({"channel": "#quant", "text": "x" * 40_001}, "msg_too_long"),
        ({"channel": "#quant", "text": "a", "blocks": [section(3001)]}, "invalid_blocks"),
        ({"channel": "#quant", "text": "a", "blocks": [section(5)] * 51}, "invalid_blocks"),
        ({"channel": "#quant", "text": "a", "blocks": [{"text": "?"}]}, "invalid_blocks"),
        ({"channel": "#quant", "text": "a", "thread_ts": "yesterday"}, "invalid_thread_ts"),
        ({"channel": "#quant", "text": "a", "thread_ts": "1700000000.000009"}, "thread_not_found"),
    ],
)
def test_wrong_messages_are_refused(
    sandbox: Sandbox, client: WebClient, message: dict[str, Any], error: str
) -> None:
    with pytest.raises(SlackApiError) as raised:
        client.chat_postMessage(**message)
    assert refused(raised) == error
    assert raised.value.response.status_code == 200
    assert len(sandbox.slack) == 0


def test_limits_are_inclusive(client: WebClient) -> None:
    assert client.chat_postMessage(channel="#quant", text="a", blocks=[section(3000)] * 50)["ok"]


@pytest.mark.parametrize(("token", "error"), [("", "not_authed"), ("abc", "invalid_auth")])
def test_tokens_are_checked(sandbox: Sandbox, token: str, error: str) -> None:
    client = WebClient(token=token, base_url=f"{sandbox.url}/api/", retry_handlers=[])
    with pytest.raises(SlackApiError) as raised:
        client.auth_test()
    assert refused(raised) == error


def test_missing_messages_and_methods(client: WebClient) -> None:
    with pytest.raises(SlackApiError) as raised:
        client.chat_update(channel="#quant", ts="1700000000.000001", text="a")
    assert refused(raised) == "message_not_found"
    with pytest.raises(SlackApiError) as raised:
        client.users_list()
    assert refused(raised) == "unknown_method"


def test_one_message_a_second_when_switched_on(sandbox: Sandbox, client: WebClient) -> None:
    for _ in range(3):
        client.chat_postMessage(channel="#quant", text="no limit by default")
    sandbox.slack.messages_per_second = 1.0
    client.chat_postMessage(channel="#quant", text="first")
    with pytest.raises(SlackApiError) as raised:
        client.chat_postMessage(channel="#quant", text="second")
    assert raised.value.response.status_code == 429
    assert raised.value.response.headers["Retry-After"] == "1"
    assert refused(raised) == "ratelimited"
    assert client.chat_postMessage(channel="#general", text="other channel")["ok"]


def test_files_are_uploaded_into_a_thread(sandbox: Sandbox, client: WebClient) -> None:
    root = client.chat_postMessage(channel="#quant", text="equity curve")
    content = b"\x89PNG\r\n" + bytes(range(256))
    client.files_upload_v2(
        channel=root["channel"],
        thread_ts=root["ts"],
        filename="curve.png",
        content=content,
        initial_comment="see below",
    )
    posted = sandbox.slack.thread(root["channel"], root["ts"])[-1]
    assert posted.text == "see below"
    assert posted.files[0].content == content
    address = f"{sandbox.url}/slack/files/{posted.files[0].file_id}"
    assert requests.get(address, timeout=5).content == content


def test_scripted_errors(sandbox: Sandbox, client: WebClient) -> None:
    sandbox.faults.add(
        Fault("slack", "error", error="is_archived", methods=["chat.postMessage"], times=1)
    )
    assert client.auth_test()["ok"]
    with pytest.raises(SlackApiError) as raised:
        client.chat_postMessage(channel="#quant", text="a")
    assert refused(raised) == "is_archived"
    assert client.chat_postMessage(channel="#quant", text="a")["ok"]


def test_the_page_shows_channels_and_threads(sandbox: Sandbox, client: WebClient) -> None:
    root = client.chat_postMessage(channel="#quant", text="<b>run</b> & more")
    client.chat_postMessage(
        channel=root["channel"],
        text="fallback",
        blocks=[{"type": "section", "text": {"type": "mrkdwn", "text": "score 0.42"}}],
        thread_ts=root["ts"],
    )
    page = requests.get(f"{sandbox.url}/slack", timeout=5)
    assert page.headers["Content-Type"].startswith("text/html")
    assert "#quant" in page.text
    assert "&lt;b&gt;run&lt;/b&gt; &amp; more" in page.text
    assert page.text.index("more") < page.text.index("score 0.42")
    assert "fallback" not in page.text
