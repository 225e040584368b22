"""Reading what a topic holds, by offsets. What belongs here: reads that end; no group, no state."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from quant_assets.errors import BadDataError, TransientError
from quant_assets.events.connection import KafkaConnection, open_client
from quant_assets.events.dead_letters import Origin
from quant_assets.events.publisher import Headers

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

ANSWER_SECONDS = 10.0
READER_GROUP = "quant-assets.readers"
BATCH = 5_000
_END_OF_TIME_MS = 253_402_300_800_000
"""The first millisecond of the year 10000, which no datetime can hold."""

Ranges = Mapping[int, tuple[int, int]]
"""Offsets of each partition: the first, and the one after the last."""


class Record:
    """One message with where and when it was; what is not asked for is not unpacked."""

    __slots__ = ("_message",)

    def __init__(self, message: Any) -> None:
        self._message = message

    @property
    def topic(self) -> str:
        """Where it was."""
        return self._message.topic()  # type: ignore[no-any-return]

    @property
    def origin(self) -> Origin:
        """Topic, partition and offset."""
        message = self._message
        return Origin(message.topic(), message.partition(), message.offset())

    @property
    def key(self) -> bytes | None:
        """Bytes of the key."""
        return self._message.key()  # type: ignore[no-any-return]

    @property
    def value(self) -> bytes | None:
        """Bytes of the message, None for a tombstone."""
        return self._message.value()  # type: ignore[no-any-return]

    @property
    def headers(self) -> Headers:
        """Names and bytes; none where a name is not UTF-8, which the client cannot unpack."""
        try:
            return self._message.headers() or ()
        except (SystemError, UnicodeDecodeError):
            return ()

    @property
    def sent_at(self) -> datetime:
        """The broker's or the producer's time, UTC; the epoch where it says nothing usable."""
        _, milliseconds = self._message.timestamp()
        if not 0 <= milliseconds < _END_OF_TIME_MS:
            milliseconds = 0
        return datetime.fromtimestamp(milliseconds / 1000, UTC)


@contextmanager
def consumer(connection: KafkaConnection, group: str = READER_GROUP) -> "Iterator[Consumer]":
    """A consumer that is closed at the end."""
    from confluent_kafka import Consumer

    reader = open_client(Consumer, connection.consumer(group))
    try:
        yield reader
    finally:
        reader.close()


def metadata(
    reader: "Consumer", *, servers: str = "", timeout_seconds: float = ANSWER_SECONDS
) -> Any:
    """What the cluster has; raises ``TransientError``, which names ``servers``, if none answers."""
    from confluent_kafka import KafkaException

    try:
        return reader.list_topics(timeout=timeout_seconds)
    except KafkaException as error:
        where = f"Kafka at {servers}" if servers else "Kafka"
        raise TransientError(
            f"{where} does not answer ({error.args[0].str()}): is it up, does it let us in?"
        ) from error


def topic_partitions(
    reader: "Consumer",
    topics: list[str],
    *,
    servers: str = "",
    timeout_seconds: float = ANSWER_SECONDS,
) -> dict[str, list[int]]:
    """Partitions of those of ``topics`` that exist; raises as ``metadata`` does."""
    return partitions_in(metadata(reader, servers=servers, timeout_seconds=timeout_seconds), topics)


def partitions_in(cluster: Any, topics: list[str]) -> dict[str, list[int]]:
    """Partitions of those of ``topics`` that the cluster has."""
    known = cluster.topics
    return {
        topic: sorted(known[topic].partitions)
        for topic in topics
        if topic in known and known[topic].error is None
    }


def watermarks(
    reader: "Consumer", topic: str, partition: int, *, timeout_seconds: float = ANSWER_SECONDS
) -> tuple[int, int]:
    """First offset that a partition still holds, and the one that its next message gets."""
    from confluent_kafka import KafkaException, TopicPartition

    try:
        low, high = reader.get_watermark_offsets(
            TopicPartition(topic, partition), timeout=timeout_seconds, cached=False
        )
    except KafkaException as error:
        raise TransientError(
            f"Kafka does not tell the offsets of {topic}/{partition}: {error.args[0].str()}"
        ) from error
    return low, high


def read_ranges(
    connection: KafkaConnection, ranges: Mapping[str, Ranges], *, idle_seconds: float = 20.0
) -> Iterator[Record]:
    """Exactly the messages of ``ranges`` (topic → partition → offsets), a partition at a time.

    Compaction and transactions leave holes in a range; they are passed over. Raises
    ``BadDataError`` if retention has removed the beginning of a range or the topic ends before it,
    ``TransientError`` if the broker is silent for ``idle_seconds``.
    """
    with consumer(connection) as reader:
        for topic, partitions in ranges.items():
            for partition, (first, end) in partitions.items():
                yield from _read_partition(
                    reader, Origin(topic, partition, first), end, idle_seconds
                )


def read_topic(connection: KafkaConnection, topic: str) -> list[Record]:
    """All that a topic holds now, by partition and offset; empty if the topic does not exist."""
    with consumer(connection) as reader:
        partitions = topic_partitions(reader, [topic]).get(topic, [])
        ranges = {number: watermarks(reader, topic, number) for number in partitions}
    return list(read_ranges(connection, {topic: ranges}))


def read_at(connection: KafkaConnection, origin: Origin) -> Record | None:
    """The message at ``origin``, None if it, its partition or its topic is no longer there."""
    with consumer(connection) as reader:
        partitions = topic_partitions(reader, [origin.topic], servers=connection.bootstrap_servers)
    if origin.partition not in partitions.get(origin.topic, []):
        return None
    ranges = {origin.topic: {origin.partition: (origin.offset, origin.offset + 1)}}
    try:
        return next(iter(read_ranges(connection, ranges)), None)
    except BadDataError:
        return None


def _read_partition(
    reader: "Consumer", start: Origin, end: int, idle_seconds: float
) -> Iterator[Record]:
    from confluent_kafka import TopicPartition

    low, high = watermarks(reader, start.topic, start.partition)
    if start.offset < low or end > high:
        raise BadDataError(
            f"{start.topic}/{start.partition} no longer holds the offsets {start.offset} to "
            f"{end - 1}: it has {low} to {high - 1}"
        )
    place = TopicPartition(start.topic, start.partition, start.offset)
    if start.offset < end:
        reader.assign([place])
    position = start.offset
    deadline = time.monotonic() + idle_seconds
    while position < end:
        for message in _consume(reader, start, end - position):
            deadline = time.monotonic() + idle_seconds
            record = Record(message)
            position = record.origin.offset + 1
            if position <= end:
                yield record
        position = max(position, _passed(reader, place))
        if position < end and time.monotonic() > deadline:
            raise TransientError(f"Kafka sent nothing of {start} for {idle_seconds:g} s")
    reader.unassign()


def _consume(reader: "Consumer", start: Origin, wanted: int) -> "list[Message]":
    messages = reader.consume(min(wanted, BATCH), timeout=0.2)
    for message in messages:
        error = message.error()
        if error is None:
            continue
        if error.retriable() or error.name().startswith("_"):
            continue
        raise BadDataError(f"{start}: {error.str()} ({error.name()})")
    return [message for message in messages if message.error() is None]


def _passed(reader: "Consumer", place: Any) -> int:
    """How far the reader is, also over holes that hold no message."""
    (position,) = reader.position([place])
    return int(position.offset)
