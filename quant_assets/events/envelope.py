"""The envelope: bytes to a validated event and back. What belongs here: the format alone."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta

from quant_assets.errors import BadDataError
from quant_assets.events.payloads import Instant, Payload
from quant_assets.events.topics import EVENT_TYPES, TopicNames

SOURCE = "quant-assets"
MAX_EVENT_BYTES = 1_048_576
"""Longer events are not decoded: no request is, and Kafka's own default ends here."""
_NAMESPACE = uuid.UUID("6f0c2e8c-6a0f-5b43-9f7e-5f2d1f0a7c11")

P = TypeVar("P")


class Event(msgspec.Struct, Generic[P], rename="camel", frozen=True, kw_only=True, gc=False):
    """One event. ``event_type`` is the topic without its prefix; the time is UTC."""

    event_id: uuid.UUID
    event_type: str
    timestamp: Instant
    source: Annotated[str, Meta(max_length=200)]
    payload: P


class BadEventError(BadDataError):
    """A message that is no event of its topic.

    ``code`` names the kind of fault, ``event_id`` is the message's if it could be read.
    """

    def __init__(self, code: str, reason: str, event_id: uuid.UUID | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.event_id = event_id


class EventDecoder:
    """Decodes the messages of an installation's topics."""

    def __init__(self, names: TopicNames) -> None:
        self._names = names
        self._decoders: dict[str, tuple[msgspec.json.Decoder[Any], frozenset[str], str]] = {}

    def decode(self, topic: str, value: bytes | None) -> Event[Any]:
        """The event in ``value``; ``event_type`` is the present name also where an alias came.

        Raises ``BadEventError`` with the path of the wrong field.
        """
        known = self._decoders.get(topic)
        if known is None:
            known = self._learn(topic)
        decoder, accepted, event_type = known
        if value is None or len(value) > MAX_EVENT_BYTES:
            raise _unreadable(value)
        try:
            event: Event[Any] = decoder.decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise _explain(value, error) from None
        if event.event_type == event_type:
            return event
        if event.event_type not in accepted:
            raise BadEventError(
                "wrong_type",
                f"eventType is {event.event_type[:100]!r} in the topic of {event_type!r} "
                "- at `$.eventType`",
                event.event_id,
            )
        return msgspec.structs.replace(event, event_type=event_type)

    def event_type(self, topic: str) -> str:
        """The type of a topic's or an alias's events."""
        return self._names.event_type(topic)

    def _learn(self, topic: str) -> tuple[msgspec.json.Decoder[Any], frozenset[str], str]:
        event_type = self._names.event_type(topic)
        payload = EVENT_TYPES[event_type].payload
        aliases = {a for a, name in self._names.aliases.items() if name == event_type}
        accepted = aliases | {a.removeprefix(self._names.prefix) for a in aliases}
        decoder = msgspec.json.Decoder(Event[payload])  # type: ignore[valid-type]
        self._decoders[topic] = decoder, frozenset(accepted), event_type
        return self._decoders[topic]


class _OnlyId(msgspec.Struct, rename="camel"):
    event_id: uuid.UUID


def _unreadable(value: bytes | None) -> BadEventError:
    if value is None:
        return BadEventError("tombstone", "the message has no value (a tombstone)")
    return BadEventError(
        "too_large", f"{len(value)} bytes; an event has at most {MAX_EVENT_BYTES} bytes"
    )


def _explain(value: bytes, error: Exception) -> BadEventError:
    """What is wrong with ``value``, and the id of the event if that much can be read."""
    if isinstance(error, RecursionError):
        return BadEventError("too_deep", "the JSON is nested too deeply")
    try:
        value.decode("utf-8")
    except UnicodeDecodeError as wrong:
        return BadEventError("not_utf8", f"not UTF-8: {wrong.reason} at byte {wrong.start}")
    if not isinstance(error, msgspec.ValidationError):
        return BadEventError("not_json", f"not JSON: {error}")
    try:
        event_id = msgspec.json.decode(value, type=_OnlyId).event_id
    except (msgspec.MsgspecError, RecursionError):
        event_id = None
    return BadEventError("invalid_field", str(error), event_id)


def event(
    event_type: str,
    payload: Payload,
    *,
    event_id: uuid.UUID | None = None,
    timestamp: datetime | None = None,
    source: str = SOURCE,
) -> Event[Any]:
    """A new event, by default with a random id and the present time."""
    return Event(
        event_id=event_id or uuid.uuid4(),
        event_type=event_type,
        timestamp=timestamp or datetime.now(UTC),
        source=source,
        payload=payload,
    )


def derived_id(*parts: str) -> uuid.UUID:
    """The id of an event that follows from something else: equal parts give equal ids.

    Sending such an event twice is harmless to whoever drops repeated ids.
    """
    return uuid.uuid5(_NAMESPACE, "\x1f".join(parts))


def encode(event: Event[Any]) -> bytes:
    """The event as JSON, UTF-8; what UTF-8 cannot hold (a strange file name) is escaped."""
    try:
        return msgspec.json.encode(event)
    except UnicodeEncodeError:
        return msgspec.json.encode(_encodable(msgspec.to_builtins(event)))


def encode_key(key: str) -> bytes:
    """The key of a message."""
    return key.encode(errors="backslashreplace")


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(name): _encodable(inner) for name, inner in value.items()}
    return [_encodable(inner) for inner in value] if isinstance(value, list | tuple) else value


def payload_from(event_type: str, fields: Mapping[str, Any]) -> Payload:
    """A payload from fields named as on the wire.

    Raises ``BadEventError`` with the path of the wrong field.
    """
    try:
        return msgspec.convert(fields, EVENT_TYPES[event_type].payload)
    except msgspec.ValidationError as error:
        raise BadEventError("invalid_field", str(error).replace("$", "$.payload", 1)) from None
