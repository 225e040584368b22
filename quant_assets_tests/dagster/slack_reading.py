"""What runs said in the simulated Slack. What belongs here: reading it and telling runs.

Assertions belong to the tests.
"""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

import dagster as dg
import pytest

from quant_assets.hooks.reporter import Reporter
from quant_assets.notices import pace
from quant_assets.sandbox.server import Sandbox
from quant_assets.sandbox.slack_workspace import Message
from quant_assets_tests.platform import Platform

SECONDS = 600.0
RUNS = "quant-runs"


@dataclass
class Thread:
    """One thread of a channel as its readers see it."""

    line: str
    edits: int
    replies: list[str]
    """Paragraphs of every reply, in order."""
    files: list[str]
    keys: list[str]
    """What the messages of the platform say they are."""


def in_a_hurry(patch: pytest.MonkeyPatch) -> None:
    """Let Slack and our side take messages as quickly as they come."""
    for name in ("PER_POST", "PER_UPDATE", "PER_ANY_UPDATE", "TO_SETTLE"):
        patch.setattr(pace, f"SECONDS_{name}", 0.0)


def threads(sandbox: Sandbox, channel: str = RUNS) -> list[Thread]:
    """The threads of a channel, the oldest first."""
    found = sandbox.slack.channel(f"#{channel}")
    assert found is not None
    messages = sandbox.slack.messages(found.channel_id)
    roots = sorted((m for m in messages if not m.is_reply), key=lambda m: m.ts)
    return [
        _thread(root, [m for m in messages if m.is_reply and m.root_ts == root.ts])
        for root in roots
    ]


def thread(sandbox: Sandbox, channel: str = RUNS) -> Thread:
    """The only thread of a channel."""
    (found,) = threads(sandbox, channel)
    return found


def _thread(root: Message, replies: list[Message]) -> Thread:
    ordered = sorted(replies, key=lambda m: m.ts)
    return Thread(
        line=paragraphs(root)[0] if root.blocks else root.text,
        edits=root.edits,
        replies=[text for reply in ordered for text in paragraphs(reply)],
        files=[file.name for reply in ordered for file in reply.files],
        keys=[key for message in (root, *ordered) for key in keys_of(message)],
    )


def paragraphs(message: Message) -> list[str]:
    """Texts of the sections of a message."""
    return [block["text"]["text"] for block in message.blocks if block["type"] == "section"]


def keys_of(message: Message) -> list[str]:
    """What a message of the platform says it is."""
    payload = message.metadata.get("event_payload", {})
    keys = payload.get("keys", "")
    return keys.split() if isinstance(keys, str) else list(keys)


def reporter_of(p: Platform, log: logging.Logger | None = None) -> Reporter:
    """A reporter on a platform, as the sensor makes one."""
    connection = p.settings.slack()
    assert connection is not None
    return Reporter(p.instance, p.settings, connection, log or logging.getLogger("test"))


def tell(p: Platform, *run_ids: str, reporter: Reporter | None = None) -> Reporter:
    """Tell runs to their end."""
    teller = reporter or reporter_of(p)
    deadline = time.monotonic() + SECONDS
    while not teller.step(run_ids):
        assert time.monotonic() < deadline, f"not told within {SECONDS:.0f} s"
        time.sleep(0.02)
    return teller


def run_of(p: Platform, run_id: str) -> dg.DagsterRun:
    """A run as it is stored now."""
    run = p.instance.get_run_by_id(run_id)
    assert run is not None
    return run


def contains_in_order(texts: Iterable[str], *parts: str) -> None:
    """Demand that each part is in a text, one after the other."""
    left = iter(texts)
    for part in parts:
        assert any(part in text for text in left), f"{part!r} is not there, or not in this order"
