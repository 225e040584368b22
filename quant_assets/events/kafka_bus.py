"""The event bus over Kafka. What belongs here: following topics as they grow, and the threads."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from quant_assets.errors import TransientError
from quant_assets.events.bus import (
    Handler,
    Received,
    Subscription,
    as_read,
    closed_error,
    entity_key,
    failed_letter,
    handler_name,
    topics_of,
)
from quant_assets.events.connection import KafkaConnection
from quant_assets.events.dead_letters import DeadLetter, bury
from quant_assets.events.envelope import BadEventError, Event, EventDecoder
from quant_assets.events.follower import Cursor, Follower, TopicPosition
from quant_assets.events.publisher import Publisher
from quant_assets.events.reading import (
    READER_GROUP,
    Record,
    consumer,
    topic_partitions,
    watermarks,
)
from quant_assets.events.topics import TopicNames

LOG = logging.getLogger("quant_assets.events")
BATCH = 500
WAIT_SECONDS = 1.0
RETRY_SECONDS = 1.0
START_SECONDS = 5.0
"""Topics that have just been created have no leader yet and answer nothing."""
POLL_SECONDS = 0.1

OnBad = Callable[[Record, BadEventError], None]
"""Called with a message that is no event of its topic."""


class KafkaEventBus:
    """Each subscription reads its topics in a thread of its own, without a consumer group.

    So every subscriber of every process has every event, and handlers of different subscriptions
    run at the same time. ``publish`` returns once the broker has acknowledged. Subscriptions note
    no position: what was published while nobody subscribed is read only ``from_beginning``.

    Messages that are no events are not sent to the dead letters, since every subscriber would send
    its own copy: the request sensor does it, once. ``now`` is the clock of dead letters.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        names: TopicNames,
        *,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._publisher = Publisher(connection, names)
        self._decoder = EventDecoder(names)
        self._now = now or _utc_now
        self._lock = threading.Lock()
        self._subscriptions: list[_Subscription] = []
        self._is_closed = False

    def publish(self, event: Event[Any], *, key: str | None = None) -> None:
        """Send an event; see ``EventBus``. Raises ``TransientError`` if Kafka does not take it."""
        if self._is_closed:
            raise closed_error()
        as_read(event, self._decoder, self._publisher.names)
        self._publisher.publish([(entity_key(event) if key is None else key, event)])

    def subscribe(
        self,
        pattern: str,
        handler: Handler,
        *,
        name: str | None = None,
        from_beginning: bool = False,
        on_bad: OnBad | None = None,
    ) -> Subscription:
        """Call ``handler`` with what is published from now on; see ``EventBus``.

        ``from_beginning`` starts with what Kafka still holds. ``on_bad`` is called with messages
        that are no events; by default the first of each topic and kind is logged. Raises
        ``TransientError`` if no broker answers.
        """
        topics = topics_of(pattern, self._publisher.names)
        tail = Tail(self._publisher.connection, topics, from_beginning=from_beginning)
        new = _Subscription(self, tail, handler, name or handler_name(handler), on_bad)
        with self._lock:
            if self._is_closed:
                tail.close()
                raise closed_error()
            self._subscriptions.append(new)
        new.start()
        return new

    def close(self) -> None:
        """End every subscription and its thread."""
        with self._lock:
            self._is_closed = True
            subscriptions = list(self._subscriptions)
        for subscription in subscriptions:  # all at once, since each takes a moment
            subscription.stop()
        for subscription in subscriptions:
            subscription.close()
        self._publisher.close()

    def _forget(self, subscription: "_Subscription") -> None:
        with self._lock:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)


class Tail:
    """Messages of topics as they come: from now on, or ``from_beginning`` with what is there.

    "Now" is when the constructor returns at the latest. Topics and partitions that come later are
    read from their beginning. Raises ``TransientError`` if no broker answers. Not for several
    threads at a time; ``close`` it.
    """

    def __init__(
        self, connection: KafkaConnection, topics: Sequence[str], *, from_beginning: bool = False
    ) -> None:
        self._follower = Follower(connection, topics, READER_GROUP)
        self._cursor = Cursor()
        try:
            self._start(connection, topics, from_beginning)
        except BaseException:
            self._follower.close()
            raise

    def read(self, wait_seconds: float, is_stopped: Callable[[], bool]) -> list[Record]:
        """The next messages, in the order of their partitions; none after ``wait_seconds``.

        Raises ``TransientError`` while the broker is away; call again to go on.
        """
        self._resume()
        records = self._follower.read(BATCH, wait_seconds, is_stopped)
        self._cursor = self._cursor.after(records)
        return records

    def close(self) -> None:
        """Close the connection."""
        self._follower.close()

    def _start(
        self, connection: KafkaConnection, topics: Sequence[str], from_beginning: bool
    ) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self._cursor = Cursor() if from_beginning else _ends(connection, topics)
                self._resume()
                return
            except TransientError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_SECONDS)

    def _resume(self) -> None:
        resumed = self._follower.resume(self._cursor)
        self._cursor = resumed.cursor
        for gap in resumed.gaps:
            LOG.warning(
                "%s/%s: the messages %s to %s were removed before they were read",
                gap.topic,
                gap.partition,
                gap.first,
                gap.end - 1,
            )
        for topic in resumed.restarted:
            LOG.warning("%s is new under its old name and is read from its beginning", topic)


class _HandlerThread(threading.Thread):
    """A thread that calls a handler."""


class _Subscription:
    """One handler, its reader, and the thread that brings them together."""

    def __init__(
        self, bus: KafkaEventBus, tail: Tail, handler: Handler, name: str, on_bad: OnBad | None
    ) -> None:
        self._bus = bus
        self._tail = tail
        self._handler = handler
        self._name = name
        self._on_bad = on_bad or self._log_bad
        self._logged: set[tuple[str, str]] = set()
        self._stopped = threading.Event()
        self._thread = _HandlerThread(target=self._run, name=f"events {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Make the thread end soon."""
        self._stopped.set()

    def close(self) -> None:
        self.stop()
        # Two handlers that each wait for the other to end would wait for ever.
        if not isinstance(threading.current_thread(), _HandlerThread):
            self._thread.join()
        self._bus._forget(self)

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                for record in self._read():
                    if self._stopped.is_set():
                        return
                    self._hand_over(record)
        finally:
            self._tail.close()

    def _read(self) -> list[Record]:
        try:
            return self._tail.read(WAIT_SECONDS, self._stopped.is_set)
        except TransientError as error:
            LOG.warning("%s waits for Kafka: %s", self._name, error)
            self._stopped.wait(RETRY_SECONDS)
            return []

    def _hand_over(self, record: Record) -> None:
        try:
            event = self._bus._decoder.decode(record.topic, record.value)
        except BadEventError as error:
            self._refuse(record, error)
            return
        message = Received(record.origin, record.key, record.value, record.headers, record.sent_at)
        try:
            self._handler(event, message)
        except Exception as error:  # noqa: BLE001  whatever a handler raises is a dead letter
            self._bury(failed_letter(message, self._name, error, self._bus._now()))

    def _refuse(self, record: Record, error: BadEventError) -> None:
        try:
            self._on_bad(record, error)
        except Exception:
            LOG.exception("%s: on_bad failed for %s", self._name, record.origin)

    def _log_bad(self, record: Record, error: BadEventError) -> None:
        kind = record.origin.topic, error.code
        if kind not in self._logged:
            self._logged.add(kind)
            LOG.warning("%s is no event and is passed over: %s", record.origin, error)

    def _bury(self, letter: DeadLetter) -> None:
        """Send the letter, however long Kafka is away: later events wait meanwhile."""
        while True:
            try:
                bury(self._bus._publisher, [letter])
                return
            except TransientError as error:
                LOG.warning("the dead letter %s waits for Kafka: %s", letter.id, error)
                if self._stopped.wait(RETRY_SECONDS):
                    LOG.error("the dead letter %s is lost: %s", letter.id, letter.reason)
                    return


def _ends(connection: KafkaConnection, topics: Sequence[str]) -> Cursor:
    """Where every partition ends now."""
    with consumer(connection) as reader:
        ends = {
            topic: {number: watermarks(reader, topic, number)[1] for number in numbers}
            for topic, numbers in topic_partitions(reader, list(topics)).items()
        }
    return Cursor(topics={topic: TopicPosition("", offsets) for topic, offsets in ends.items()})


def _utc_now() -> datetime:
    return datetime.now(UTC)
