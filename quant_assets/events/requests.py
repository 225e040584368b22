"""What a run remembers of a request. What belongs here: the run tag that answers are made from."""

import hashlib
from typing import Any

import msgspec

from quant_assets.events.dead_letters import Origin
from quant_assets.events.envelope import Event
from quant_assets.events.payloads import Request

MAX_TAG_BYTES = 2_000
"""PostgreSQL's index of the tags takes 2,704 bytes of key and value together."""


class RequestTag(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request inside the run that serves it, as a run tag's value.

    ``symbols`` are those that the answer names (none: all). Where they are too many for a tag,
    ``symbols_at_origin`` is set and they are read from the message itself. ``digest`` tells another
    content under the same id.
    """

    event_type: str
    origin: str
    attempt: int
    digest: str
    thread_ts: str | None = None
    channel: str | None = None
    symbols: tuple[str, ...] = ()
    symbols_at_origin: bool = False

    @classmethod
    def of(
        cls, event: Event[Any], origin: Origin, attempt: int, symbols: tuple[str, ...]
    ) -> "RequestTag":
        """The tag of a request as it was read; ``symbols`` are those that its answer names."""
        payload: Request = event.payload
        tag = cls(
            event_type=event.event_type,
            origin=str(origin),
            attempt=attempt,
            digest=content_digest(event),
            thread_ts=payload.thread_ts,
            channel=payload.channel,
            symbols=symbols,
        )
        if len(tag.text().encode()) <= MAX_TAG_BYTES:
            return tag
        return msgspec.structs.replace(tag, symbols=(), symbols_at_origin=True)

    def text(self) -> str:
        """The tag's value."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def read(cls, text: str) -> "RequestTag":
        """The tag of any value; one that nobody of ours wrote counts as every attempt."""
        try:
            return cls.parse(text)
        except msgspec.MsgspecError:
            return cls(event_type="unknown", origin="a foreign tag", attempt=2**31, digest="")

    @classmethod
    def parse(cls, text: str) -> "RequestTag":
        """The tag of a value that ``text`` wrote."""
        return msgspec.json.decode(text, type=cls)


def content_digest(event: Event[Any]) -> str:
    """Equal for two events with the same type and payload, whatever their id, time and source."""
    content = msgspec.json.encode((event.event_type, event.payload))
    return hashlib.sha256(content).hexdigest()[:16]
