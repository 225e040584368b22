"""The simulated Slack, asked by slack_sdk."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from http.client import HTTPException
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
        running.slack.messages_per_second = None
        yield running


@pytest.fixture
def channel(client: WebClient) -> str:
    """Id of #quant."""
    return named(client, "quant")


@pytest.fixture
def client(sandbox: Sandbox) -> WebClient:
    return WebClient(token="xoxb-test", base_url=f"{sandbox.url}/api/", retry_handlers=[])


def named(client: WebClient, name: str) -> str:
    channels = client.conversations_list()["channels"]
    return str(next(channel["id"] for channel in channels if channel["name"] == name))


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
    assert "old-desk" in names
    active = client.conversations_list(exclude_archived=True)["channels"]
    assert set(names) - {channel["name"] for channel in active} == {"old-desk"}
    assert client.chat_postMessage(channel=names["desk"], text="hello")["ok"]


def section(length: int) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": "x" * length}}


@pytest.mark.filterwarnings("ignore:The top-level `text` argument is missing")
@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"channel": "#nowhere", "text": "a"}, "channel_not_found"),
        ({"channel": "#private-desk", "text": "a"}, "not_in_channel"),
        ({"channel": "#old-desk", "text": "a"}, "is_archived"),
        ({"channel": "#quant"}, "no_text"),
        ({"channel": "#quant", "text": "  \n"}, "no_text"),
        ({"channel": "#quant", "text": "x" * 40_001}, "msg_too_long"),
        ({"channel": "#quant", "text": "a", "blocks": [section(3001)]}, "invalid_blocks"),
        ({"channel": "#quant", "text": "a", "blocks": [section(5)] * 51}, "invalid_blocks"),
        ({"channel": "#quant", "text": "a", "blocks": [{"text": "?"}]}, "invalid_blocks"),
        ({"channel": "#quant", "text": "a", "blocks": "[{"}, "invalid_blocks_format"),
        ({"channel": "#quant", "text": "a", "metadata": "[1]"}, "invalid_metadata_format"),
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


def test_missing_messages_and_methods(client: WebClient, channel: str) -> None:
    with pytest.raises(SlackApiError) as raised:
        client.chat_update(channel=channel, ts="1700000000.000001", text="a")
    assert refused(raised) == "message_not_found"
    with pytest.raises(SlackApiError) as raised:
        client.chat_update(channel="#quant", ts="1700000000.000001", text="a")
    assert refused(raised) == "channel_not_found"
    with pytest.raises(SlackApiError) as raised:
        client.users_list()
    assert refused(raised) == "unknown_method"


def test_messages_are_limited_unless_switched_off(sandbox: Sandbox, client: WebClient) -> None:
    for _ in range(10):
        client.chat_postMessage(channel="#quant", text="the fixture lifts the limits")
    sandbox.slack.messages_per_second = 0.001
    for _ in range(3):
        client.chat_postMessage(channel="#quant", text="a short burst")
    with pytest.raises(SlackApiError) as raised:
        client.chat_postMessage(channel="#quant", text="one more")
    assert raised.value.response.status_code == 429
    assert 0 < int(raised.value.response.headers["Retry-After"]) <= 1000
    assert refused(raised) == "ratelimited"
    assert client.chat_postMessage(channel="#general", text="other channel")["ok"]
    assert len(sandbox.slack.messages("quant")) == 13


def test_a_sandbox_limits_as_slack_does() -> None:
    limits = Sandbox().slack.limits
    assert (limits.messages_per_second, limits.burst) == (1.0, 3)


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


def test_metadata_is_shown_to_whoever_asks(client: WebClient, channel: str) -> None:
    told = {"event_type": "quant_notice", "event_payload": {"thread": "run 1", "keys": ["line"]}}
    root = client.chat_postMessage(channel=channel, text="root", metadata=told)
    reply = client.chat_postMessage(
        channel=channel, text="reply", thread_ts=root["ts"], metadata=json.dumps(told)
    )
    assert "metadata" not in root["message"]
    assert "metadata" not in client.conversations_history(channel=channel)["messages"][0]
    seen = client.conversations_replies(channel=channel, ts=root["ts"], include_all_metadata=True)
    assert [message["metadata"] for message in seen["messages"]] == [told, told]
    client.chat_update(channel=channel, ts=root["ts"], text="edited")
    seen = client.conversations_history(channel=channel, include_all_metadata=True)
    assert seen["messages"][0]["metadata"] == told
    assert seen["messages"][0]["text"] == "edited"
    assert seen["messages"][0]["latest_reply"] == reply["ts"]
    client.chat_update(channel=channel, ts=root["ts"], text="edited", metadata={})
    seen = client.conversations_history(channel=channel, include_all_metadata=True)
    assert "metadata" not in seen["messages"][0]


def test_an_update_replaces_the_blocks(client: WebClient, channel: str) -> None:
    posted = client.chat_postMessage(channel=channel, text="a", blocks=[section(3)])
    assert "edited" not in posted["message"]
    changed = client.chat_update(channel=channel, ts=posted["ts"], text="b")["message"]
    assert changed["edited"]["ts"] >= posted["ts"]
    assert "blocks" not in changed


def test_a_history_comes_page_by_page(client: WebClient, channel: str) -> None:
    sent = [client.chat_postMessage(channel=channel, text=str(n))["ts"] for n in range(7)]
    assert sent == sorted(sent)
    pages = [
        [message["ts"] for message in page["messages"]]
        for page in client.conversations_history(channel=channel, limit=3)
    ]
    assert pages == [sent[:3:-1], sent[3:0:-1], sent[:1]]

    def between(**bounds: Any) -> list[str]:
        found = client.conversations_history(channel=channel, **bounds)["messages"]
        return [message["text"] for message in found]

    assert between(oldest=sent[2], latest=sent[5]) == ["4", "3"]
    assert between(oldest=sent[2], latest=sent[5], inclusive=True) == ["5", "4", "3", "2"]
    for wrong, error in [
        ({"oldest": "yesterday"}, "invalid_ts_oldest"),
        ({"latest": "-1"}, "invalid_ts_latest"),
        ({"limit": 1001}, "invalid_limit"),
        ({"cursor": "bm9uZQ=="}, "invalid_cursor"),
        ({"cursor": "?"}, "invalid_cursor"),
    ]:
        with pytest.raises(SlackApiError) as raised:
            between(**wrong)
        assert refused(raised) == error


def test_replies_come_page_by_page_below_their_root(client: WebClient, channel: str) -> None:
    root = client.chat_postMessage(channel=channel, text="root")["ts"]
    for n in range(5):
        client.chat_postMessage(channel=channel, text=str(n), thread_ts=root)
    client.chat_postMessage(channel=channel, text="another thread")
    pages = client.conversations_replies(channel=channel, ts=root, limit=3)
    texts = [[message["text"] for message in page["messages"]] for page in pages]
    assert texts == [["root", "0", "1"], ["root", "2", "3"], ["root", "4"]]
    with pytest.raises(SlackApiError) as raised:
        client.conversations_replies(channel=channel, ts="1700000000.000001")
    assert refused(raised) == "thread_not_found"


def test_nothing_hangs_below_a_deleted_root(client: WebClient, channel: str) -> None:
    root = client.chat_postMessage(channel=channel, text="root")["ts"]
    reply = client.chat_postMessage(channel=channel, text="reply", thread_ts=root)["ts"]
    client.chat_delete(channel=channel, ts=root)
    for ts in (root, reply):
        with pytest.raises(SlackApiError) as raised:
            client.chat_postMessage(channel=channel, text="more", thread_ts=ts)
        assert refused(raised) == "thread_not_found"


def test_a_file_is_named_in_its_thread(client: WebClient, channel: str) -> None:
    root = client.chat_postMessage(channel=channel, text="root")["ts"]
    client.files_upload_v2(channel=channel, thread_ts=root, filename="end.png", content=b"\x89PNG")
    thread = client.conversations_replies(channel=channel, ts=root)["messages"]
    assert [file["name"] for file in thread[1]["files"]] == ["end.png"]
    with pytest.raises(SlackApiError) as raised:
        client.files_completeUploadExternal(files=[{"id": "F0", "title": "a"}], channel_id=channel)
    assert refused(raised) == "file_not_found"


def test_scopes_can_be_missing(sandbox: Sandbox, client: WebClient, channel: str) -> None:
    sandbox.slack.missing_scopes = {"channels:history"}
    with pytest.raises(SlackApiError) as raised:
        client.conversations_history(channel=channel)
    assert refused(raised) == "missing_scope"
    assert raised.value.response["needed"] == "channels:history"
    assert raised.value.response["provided"] == "channels:read,chat:write,files:write"
    assert client.chat_postMessage(channel=channel, text="may write")["ok"]


def test_foreign_channels_are_not_read(client: WebClient) -> None:
    with pytest.raises(SlackApiError) as raised:
        client.conversations_history(channel=named(client, "private-desk"))
    assert refused(raised) == "not_in_channel"
    assert client.conversations_history(channel=named(client, "old-desk"))["messages"] == []


def test_a_broken_body_is_no_call(sandbox: Sandbox) -> None:
    headers = {"Authorization": "Bearer xoxb-test", "Content-Type": "application/json"}
    address = f"{sandbox.url}/api/chat.postMessage"
    for body, error in [(b"{", "invalid_json"), (b"[]", "json_not_object")]:
        answer = requests.post(address, data=body, headers=headers, timeout=5)
        assert (answer.status_code, answer.json()["error"]) == (200, error)


@pytest.mark.parametrize("options", [{}, {"code": 503}])
def test_a_lost_answer_leaves_the_message(
    sandbox: Sandbox, client: WebClient, options: dict[str, Any]
) -> None:
    sandbox.faults.add(Fault("slack", "lost", methods=["chat.postMessage"], times=1, **options))
    with pytest.raises((SlackApiError, OSError, HTTPException)) as raised:
        client.chat_postMessage(channel="#quant", text="there")
    if options:
        assert isinstance(raised.value, SlackApiError)
        assert raised.value.response.status_code == 503
    assert [message.text for message in sandbox.slack] == ["there"]


def test_a_lost_request_leaves_nothing(sandbox: Sandbox, client: WebClient) -> None:
    sandbox.faults.add(Fault("slack", "reset", methods=["chat.postMessage"], times=1))
    with pytest.raises((OSError, HTTPException)):
        client.chat_postMessage(channel="#quant", text="not there")
    assert len(sandbox.slack) == 0


def test_a_permalink_leads_to_the_message(client: WebClient, channel: str) -> None:
    root = client.chat_postMessage(channel=channel, text="the root")
    reply = client.chat_postMessage(channel=channel, text="the reply", thread_ts=root["ts"])
    client.chat_postMessage(channel=channel, text="another thread")
    for message, anchor in [(root, ""), (reply, f"#{reply['ts']}")]:
        link = client.chat_getPermalink(channel=channel, message_ts=message["ts"])["permalink"]
        assert link.endswith(f"/slack/quant/{root['ts']}{anchor}")
        page = requests.get(link, timeout=5)
        assert page.status_code == 200
        assert page.text.index("the root") < page.text.index("the reply")
        assert "another thread" not in page.text
