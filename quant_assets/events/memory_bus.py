"""The event bus inside one process, for backtests and tests. What belongs here: its queue."""

import threading
from collections import Counter, deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from quant_assets.events.bus import (
    Handler,
    Received,
    Subscription,
    as_read,
    closed_error,
    entity_key,
    failed_letter,
    handler_name,
    matching,
)
from quant_assets.events.dead_letters import DeadLetter, Origin
from quant_assets.events.envelope import Event, EventDecoder, encode_key
from quant_assets.events.topics import TopicNames


class MemoryEventBus:
    """Calls the handlers inside ``publish``: when it returns, all that follows has happened.

    There is one queue, so that all events keep the order of their ``publish`` calls, whatever their
    keys; handlers are called in the order in which they subscribed. What a handler publishes waits
    in the queue until every handler has had the present event. While one thread delivers, another
    thread's ``publish`` only adds to the queue and returns.

    ``dead_letters`` are those of failed handlers, in order. An event is checked by encoding and
    decoding it, as on the way through Kafka. ``now`` is the clock of messages and dead letters.
    """

    def __init__(
        self, names: TopicNames | None = None, *, now: Callable[[], datetime] | None = None
    ) -> None:
        self.dead_letters: list[DeadLetter] = []
        self._names = names or TopicNames()
        self._decoder = EventDecoder(self._names)
        self._now = now or _utc_now
        self._lock = threading.Lock()
        self._queue: deque[tuple[Event[Any], Received, tuple[_Subscription, ...]]] = deque()
        self._subscriptions: tuple[_Subscription, ...] = ()
        self._offsets: Counter[str] = Counter()
        self._is_delivering = False
        self._is_closed = False

    def publish(self, event: Event[Any], *, key: str | None = None) -> None:
        """Deliver an event to the handlers; see ``EventBus``."""
        value, readable = as_read(event, self._decoder, self._names)
        key_bytes = encode_key(entity_key(event) if key is None else key)
        topic = self._names.topic(event.event_type)
        with self._lock:
            if self._is_closed:
                raise closed_error()
            origin = Origin(topic, 0, self._offsets[topic])
            self._offsets[topic] += 1
            message = Received(origin, key_bytes, value, (), self._now())
            self._queue.append((readable, message, self._subscriptions))
            if self._is_delivering:
                return
            self._is_delivering = True
        self._deliver()

    def subscribe(self, pattern: str, handler: Handler, *, name: str | None = None) -> Subscription:
        """Call ``handler`` with what is published from now on; see ``EventBus``."""
        new = _Subscription(self, matching(pattern), handler, name or handler_name(handler))
        with self._lock:
            if self._is_closed:
                raise closed_error()
            self._subscriptions = (*self._subscriptions, new)
        return new

    def close(self) -> None:
        """End every subscription; events that wait in the queue are dropped."""
        with self._lock:
            self._is_closed = True
            subscriptions = self._subscriptions
        for subscription in subscriptions:
            subscription.close()

    def _deliver(self) -> None:
        """Empty the queue. An interrupt ends it early; the next ``publish`` goes on."""
        try:
            while True:
                with self._lock:
                    if not self._queue:
                        self._is_delivering = False
                        return
                    event, message, subscriptions = self._queue.popleft()
                for subscription in subscriptions:
                    subscription.call(event, message)
        except BaseException:
            with self._lock:
                self._is_delivering = False
            raise

    def _forget(self, subscription: "_Subscription") -> None:
        with self._lock:
            self._subscriptions = tuple(s for s in self._subscriptions if s is not subscription)

    def _bury(self, message: Received, handler: str, error: Exception) -> None:
        self.dead_letters.append(failed_letter(message, handler, error, self._now()))


class _Subscription:
    """One handler of a bus and the event types that it wants."""

    def __init__(
        self, bus: MemoryEventBus, types: frozenset[str], handler: Handler, name: str
    ) -> None:
        self._bus = bus
        self._types = types
        self._handler = handler
        self._name = name
        self._is_closed = False
        # Held during a call, so that ``close`` waits for it; the handler itself may close.
        self._calling = threading.RLock()

    def call(self, event: Event[Any], message: Received) -> None:
        if event.event_type not in self._types:
            return
        with self._calling:
            if self._is_closed:
                return
            try:
                self._handler(event, message)
            except Exception as error:  # noqa: BLE001  whatever a handler raises is a dead letter
                self._bus._bury(message, self._name, error)

    def close(self) -> None:
        with self._calling:
            self._is_closed = True
        self._bus._forget(self)


def _utc_now() -> datetime:
    return datetime.now(UTC)
