"""The event bus as a port. What belongs here: what every bus promises, and what they share."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from quant_assets.errors import BadConfigurationError, PermanentError
from quant_assets.events.dead_letters import DeadLetter, Origin, attempt_of, first_seen
from quant_assets.events.envelope import BadEventError, Event, EventDecoder, encode
from quant_assets.events.publisher import Headers
from quant_assets.events.topics import EVENT_TYPES, TopicNames

HANDLER_FAILED = "handler_failed"
"""Code of the dead letters that handlers leave."""
KEY_LIMIT = 200
_KEY_FIELDS = (
    "request_id",
    "run_id",
    "symbol",
    "url",
    "market",
    "symbols",
    "series_ids",
    "hour",
    "task_type",
)


@dataclass(frozen=True)
class Received:
    """The message that an event came in: where it stood, what it held, when it was sent."""

    origin: Origin
    key: bytes | None
    value: bytes | None
    headers: Headers
    sent_at: datetime


Handler = Callable[[Event[Any], Received], None]
"""What a subscriber gives."""


class Subscription(Protocol):
    """A handler that is being called."""

    def close(self) -> None:
        """Call the handler no more.

        A call that is under way is waited for, except by a handler. Closing again is harmless.
        """


class EventBus(Protocol):
    """Events from publishers to handlers.

    - Events with one key reach a handler in the order in which they were published.
    - A subscription has what is published after ``subscribe`` has returned.
    - A handler is called by one thread at a time. It may publish, subscribe and close; what it
      publishes is delivered after its own event, never inside it.
    - A handler that raises stops no other handler and no later event. Its event goes to the dead
      letters with the code ``handler_failed``; the reason names the handler. A replay brings the
      event to every handler again, so handlers should drop event ids that they have seen.
    """

    def publish(self, event: Event[Any], *, key: str | None = None) -> None:
        """Send an event; ``key`` is the entity whose events stay in order (``entity_key``).

        Raises ``BadEventError`` for an event that no subscriber could read.
        """

    def subscribe(self, pattern: str, handler: Handler, *, name: str | None = None) -> Subscription:
        """Call ``handler`` with the events whose type ``matching`` finds for ``pattern``.

        ``name`` stands for the handler in dead letters; default the function's own.
        """

    def close(self) -> None:
        """End every subscription; publishing and subscribing are refused from then on."""


def matching(pattern: str) -> frozenset[str]:
    """Event types that fit a pattern, in which ``*`` is one level between dots, ``**`` any number.

    Any number is also none: ``**.failed`` fits ``failed``. Raises ``BadConfigurationError`` if none
    of the platform's event types fits, since such a subscription would wait for ever.
    """
    wanted = pattern.split(".")
    found = frozenset(name for name in EVENT_TYPES if _fits(wanted, name.split(".")))
    if not found:
        raise BadConfigurationError(
            f"no event type fits the pattern {pattern!r}: give a type, or levels of one with "
            f"* (one level) and ** (any number); the types are {', '.join(EVENT_TYPES)}"
        )
    return found


def topics_of(pattern: str, names: TopicNames) -> list[str]:
    """Topics and aliases that hold the events of a pattern."""
    types = matching(pattern)
    old = [alias for alias, event_type in names.aliases.items() if event_type in types]
    return sorted({*(names.topic(event_type) for event_type in types), *old})


def entity_key(event: Event[Any]) -> str:
    """The entity of an event: whose answer, symbol, address, market, series, hour or task it is."""
    for name in _KEY_FIELDS:
        value = getattr(event.payload, name, None)
        if not value:
            continue
        text = ",".join(value) if isinstance(value, tuple) else _text(value)
        return text[:KEY_LIMIT]
    return event.event_type


def as_read(
    event: Event[Any], decoder: EventDecoder, names: TopicNames
) -> tuple[bytes, Event[Any]]:
    """An event as it is sent and as its subscribers will read it.

    Raises ``BadEventError`` if they could not.
    """
    try:
        value = encode(event)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        reason = f"an event of {event.event_type!r} cannot be written as JSON: {error}"
        raise BadEventError("not_json", reason, event.event_id) from error
    return value, decoder.decode(names.topic(event.event_type), value)


def handler_name(handler: Handler) -> str:
    """What a handler is called in dead letters."""
    named = handler if hasattr(handler, "__qualname__") else type(handler)
    return f"{named.__module__}.{named.__qualname__}"


def failed_letter(message: Received, handler: str, error: Exception, now: datetime) -> DeadLetter:
    """The dead letter of an event whose ``handler`` raised.

    A message may hold what UTF-8 cannot, such as the name of a file.
    """
    reason = f"{handler}: {error}".encode(errors="backslashreplace").decode()
    return DeadLetter(
        origin=message.origin,
        code=HANDLER_FAILED,
        reason=reason,
        error_class=type(error).__name__,
        value=message.value,
        key=message.key,
        attempts=attempt_of(message.headers),
        first_at=first_seen(message.headers, message.sent_at),
        last_at=now,
    )


def closed_error() -> PermanentError:
    """What a closed bus answers."""
    return PermanentError("the event bus is closed: make another one")


def _fits(pattern: list[str], levels: list[str]) -> bool:
    if not pattern:
        return not levels
    first, rest = pattern[0], pattern[1:]
    if first == "**":
        if rest[:1] == ["**"]:  # the same, and a long row of them would take for ever
            return _fits(rest, levels)
        return any(_fits(rest, levels[n:]) for n in range(len(levels) + 1))
    return bool(levels) and first in ("*", levels[0]) and _fits(rest, levels[1:])


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
