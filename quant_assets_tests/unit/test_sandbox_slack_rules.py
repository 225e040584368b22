"""Slack's limits on messages and on their pace."""

from typing import Any

import pytest

from quant_assets.sandbox.slack_blocks import SlackError, content, metadata
from quant_assets.sandbox.slack_limits import RateLimits


def text(length: int, kind: str = "mrkdwn") -> dict[str, Any]:
    return {"type": kind, "text": "x" * length}


def section(**parts: Any) -> dict[str, Any]:
    return {"type": "section", **parts}


def image(**parts: Any) -> dict[str, Any]:
    return {"type": "image", "alt_text": "curve", "image_url": "https://x.example/a.png", **parts}


def message_about(blocks: Any) -> str:
    """What Slack says about blocks that it refuses."""
    with pytest.raises(SlackError) as raised:
        content({"text": "a", "blocks": blocks})
    assert str(raised.value) == "invalid_blocks"
    return raised.value.messages[0]


@pytest.mark.parametrize(
    "block",
    [
        section(text=text(3000)),
        section(text=text(1, "plain_text") | {"emoji": True}),
        section(fields=[text(2000)] * 10),
        section(text=text(5), accessory=image(), block_id="b" * 255),
        {"type": "header", "text": text(150, "plain_text")},
        {"type": "context", "elements": [*[text(3000)] * 9, image()]},
        {"type": "divider"},
        image(title=text(5, "plain_text")),
        {"type": "image", "alt_text": "curve", "slack_file": {"id": "F1"}},
    ],
)
def test_what_slack_takes(block: dict[str, Any]) -> None:
    assert content({"text": "a", "blocks": [block]}) == ("a", [block])


@pytest.mark.parametrize(
    ("block", "said", "where"),
    [
        (section(text=text(3001)), "less than 3001 characters", "/blocks/0/text/text"),
        (section(text=text(0)), "more than 0 characters", "/blocks/0/text/text"),
        (section(text="a"), "missing required field: text", "/blocks/0/text"),
        (section(text={"type": "html", "text": "a"}), "must be one of", "/blocks/0/text/type"),
        (section(text=text(1) | {"emoji": True}), "additional property: emoji", "/blocks/0/text"),
        (section(), "missing required field: text", "/blocks/0"),
        (section(fields=[text(5)] * 11), "no more than 10 items", "/blocks/0/fields"),
        (section(fields=[]), "at least 1 item", "/blocks/0/fields"),
        (section(fields=[text(5), text(2001)]), "2001 characters", "/blocks/0/fields/1/text"),
        (section(text=text(5), colour="red"), "additional property: colour", "/blocks/0"),
        (section(text=text(5), accessory=text(1)), "failed to match", "/blocks/0/accessory"),
        (section(text=text(5), block_id="b" * 256), "256 characters", "/blocks/0/block_id"),
        ({"type": "header", "text": text(5)}, "must be one of: plain_text", "/blocks/0/text/type"),
        ({"type": "header", "text": text(151, "plain_text")}, "151 char", "/blocks/0/text/text"),
        ({"type": "context", "elements": [text(5)] * 11}, "no more than 10", "/blocks/0/elements"),
        ({"type": "context"}, "at least 1 item", "/blocks/0/elements"),
        ({"type": "divider", "text": "a"}, "additional property: text", "/blocks/0"),
        (image(image_url="javascript:alert(1)"), "invalid url", "/blocks/0/image_url"),
        (image(alt_text=""), "missing required field: alt_text", "/blocks/0"),
        (image(slack_file={"id": "F1"}), "must provide one of", "/blocks/0"),
        ({"type": "marquee"}, "unsupported type: marquee", "/blocks/0/type"),
        ({"text": "a"}, "missing required field: type", "/blocks/0"),
        ("text", "missing required field: type", "/blocks/0"),
    ],
)
def test_what_slack_refuses_and_why(block: Any, said: str, where: str) -> None:
    message = message_about([block])
    assert said in message
    assert message.endswith(f"[json-pointer:{where}]")


def test_blocks_as_a_whole() -> None:
    divider = {"type": "divider"}
    assert len(content({"text": "a", "blocks": [divider] * 50})[1]) == 50
    assert "no more than 50" in message_about([divider] * 51)
    twice = [{"type": "divider", "block_id": "one"}] * 2
    assert "/blocks/1/block_id" in message_about(twice)
    for malformed in ("{", {"type": "divider"}, "7"):
        with pytest.raises(SlackError, match="invalid_blocks_format"):
            content({"text": "a", "blocks": malformed})


@pytest.mark.parametrize(
    "given",
    [
        "{",
        "[]",
        ["event_type"],
        {"event_type": "a"},
        {"event_type": "", "event_payload": {}},
        {"event_type": "a", "event_payload": []},
        {"event_type": "a", "event_payload": {}, "more": 1},
    ],
)
def test_malformed_metadata_is_refused(given: Any) -> None:
    with pytest.raises(SlackError, match="invalid_metadata_format"):
        metadata({"metadata": given})


def test_metadata() -> None:
    told = {"event_type": "a", "event_payload": {"key": ["x"]}}
    assert metadata({"metadata": told}) == told
    assert metadata({}) is None
    assert metadata({"metadata": "{}"}) == {}
    with pytest.raises(SlackError, match="metadata_too_large"):
        metadata({"metadata": {"event_type": "a", "event_payload": {"key": "x" * 20_000}}})


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_one_message_a_second_after_a_short_burst() -> None:
    clock = Clock()
    limits = RateLimits(clock)

    def wait(channel: str = "C1") -> float:
        return limits.seconds_to_wait("chat.postMessage", channel)

    assert [wait() for _ in range(5)] == [0.0, 0.0, 0.0, 1.0, 1.0]
    assert wait("C2") == 0.0
    clock.now = 0.25
    assert wait() == 0.75
    clock.now = 1.0
    assert [wait(), wait()] == [0.0, 1.0]
    clock.now = 100.0
    assert [wait() for _ in range(4)] == [0.0, 0.0, 0.0, 1.0]
    limits.burst = 1
    clock.now = 200.0
    assert [wait(), wait()] == [0.0, 1.0]
    limits.messages_per_second = None
    assert wait() == 0.0


def test_fifty_calls_a_minute_of_other_methods() -> None:
    clock = Clock()
    limits = RateLimits(clock)

    def admitted(method: str, seconds: int) -> int:
        count = 0
        for _ in range(seconds):
            clock.now += 1.0
            for _ in range(30):
                count += limits.seconds_to_wait(method, "C1") == 0.0
        return count

    assert admitted("chat.update", 1) == 20
    assert admitted("chat.update", 120) == 100
    assert admitted("conversations.replies", 1) == 20
    assert admitted("auth.test", 10) == 300
