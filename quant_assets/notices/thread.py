"""A thread as it should be and as far as it is told. What belongs here: both states, no network.

Whoever has something to say makes the whole thread anew each time; the courier compares it with
what was told and sends the rest. So it does not matter how often, by which process or how late a
thread is delivered.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from quant_assets.notices.message import Message


@dataclass(frozen=True)
class Picture:
    """A PNG to upload; its bytes are made only when it is sent."""

    name: str
    title: str
    content: Callable[[], bytes]


@dataclass(frozen=True)
class Post:
    """A reply that stays; ``key`` is unique in its thread and a few characters long.

    It may not begin with ``?``, end with ``+`` or hold a line break: the courier marks keys so.
    """

    key: str
    message: Message
    picture: Picture | None = None


@dataclass(frozen=True)
class ThreadView:
    """What a thread should say now.

    ``line`` is one message that is edited in place. Without ``thread_ts`` it is the root of a
    thread in ``channel``; with it (a thread that somebody else began) it is the first reply.
    ``posts`` are in their order; more may follow until ``is_ended``. ``key`` names the thread for
    ever, so that it is found again in Slack. ``home`` is the channel in which a thread of our own
    is begun if the named thread or its channel is not to be had; empty: ``channel``.
    """

    key: str
    channel: str
    line: Message
    posts: tuple[Post, ...] = ()
    thread_ts: str = ""
    is_ended: bool = False
    home: str = ""


class ThreadState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was told of a thread. Small, since it is kept after each step.

    ``channel`` is the id that Slack gave. ``posted`` are the keys of the replies that are there.
    ``is_pending``: something was about to be sent; whether Slack has it is known only to Slack.
    ``problem``: why the thread is given up for good.
    """

    channel: str = msgspec.field(default="", name="c")
    thread_ts: str = msgspec.field(default="", name="t")
    line_ts: str = msgspec.field(default="", name="l")
    line_hash: str = msgspec.field(default="", name="h")
    posted: tuple[str, ...] = msgspec.field(default=(), name="p")
    is_pending: bool = msgspec.field(default=False, name="w")
    is_done: bool = msgspec.field(default=False, name="d")
    problem: str = msgspec.field(default="", name="x")

    def encode(self) -> str:
        """As JSON."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def parse(cls, text: str | None) -> "ThreadState":
        """From JSON; what is not readable counts as nothing told."""
        if not text:
            return cls()
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.MsgspecError:
            return cls()
