"""Following topics from tick to tick. What belongs here: positions, gaps, the open consumer.

The reader is told its offsets and never subscribes to a group: where it goes on is written in the
caller's cursor alone, so that a crash anywhere repeats messages and never skips one.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from quant_assets.errors import TransientError
from quant_assets.events.connection import KafkaConnection, open_client
from quant_assets.events.dead_letters import Origin
from quant_assets.events.reading import (
    ANSWER_SECONDS,
    Record,
    metadata,
    partitions_in,
    topic_partitions,
    watermarks,
)

if TYPE_CHECKING:
    from confluent_kafka import Consumer

METADATA_SECONDS = 30.0
"""How often new partitions and topics are looked for."""
MISSING_TOPIC_SECONDS = 5.0
"""The same while a topic does not exist yet."""
SETTLE_SECONDS = 0.05
"""After the first message, the wait for others of the same burst."""
POLL_SECONDS = 0.25
MOCK_CLUSTER = "mockCluster"
"""librdkafka's own broker calls itself so; it answers no administrator and has no topic ids."""
_MISPLACED = frozenset(
    {
        "OFFSET_OUT_OF_RANGE",
        "_AUTO_OFFSET_RESET",
        "UNKNOWN_TOPIC_OR_PART",
        "UNKNOWN_TOPIC_ID",
        "_UNKNOWN_TOPIC",
        "_UNKNOWN_PARTITION",
    }
)
"""Errors after which the positions are looked up again."""


class TopicPosition(msgspec.Struct, frozen=True):
    """Where a topic was left: Kafka's id of it (empty if it tells none), next offsets."""

    id: str
    next: dict[int, int]


class Cursor(msgspec.Struct, frozen=True):
    """Where a reader goes on: the cluster and every partition's next offset."""

    cluster: str = ""
    topics: dict[str, TopicPosition] = {}

    def text(self) -> str:
        """The cursor as Dagster keeps it."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def parse(cls, text: str | None) -> "Cursor":
        """The cursor of a text; an unreadable one counts as none, and repeats are recognized."""
        if not text:
            return cls()
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.MsgspecError:
            return cls()

    def after(self, records: Iterable[Record]) -> "Cursor":
        """The cursor once ``records`` are dealt with."""
        topics = {name: dict(position.next) for name, position in self.topics.items()}
        for record in records:
            origin = record.origin
            topics[origin.topic][origin.partition] = origin.offset + 1
        ids = {name: position.id for name, position in self.topics.items()}
        return Cursor(self.cluster, {n: TopicPosition(ids[n], o) for n, o in topics.items()})


class Gap(NamedTuple):
    """Offsets that were removed before they were read."""

    topic: str
    partition: int
    first: int
    end: int

    @property
    def origin(self) -> Origin:
        """The first lost message."""
        return Origin(self.topic, self.partition, self.first)


class Resumed(NamedTuple):
    """What was found on going on: the corrected cursor, and what happened meanwhile."""

    cursor: Cursor
    gaps: list[Gap]
    restarted: list[str]
    """Topics (or ``cluster``) that are new under an old name and are read from their beginning."""


class Follower:
    """Reads topics from a cursor, tick after tick, over one open connection.

    Not for several threads at a time.
    """

    def __init__(self, connection: KafkaConnection, topics: Sequence[str], group: str) -> None:
        self._connection = connection
        self._topics = list(topics)
        self._group = group
        self._consumer: Consumer | None = None
        self._partitions: dict[str, list[int]] = {}
        self._topic_ids: dict[str, str] = {}
        self._cluster = ""
        self._looked_at = 0.0
        self._next: dict[tuple[str, int], int] = {}

    def resume(self, cursor: Cursor) -> Resumed:
        """Take position at ``cursor``; partitions that it does not know begin at their beginning.

        Raises ``TransientError`` if no broker answers.
        """
        from confluent_kafka import KafkaException

        try:
            return self._resume(cursor)
        except KafkaException as error:
            self._next = {}
            raise TransientError(
                f"Kafka at {self._connection.bootstrap_servers}: {error.args[0].str()}"
            ) from error

    def _resume(self, cursor: Cursor) -> Resumed:
        self._refresh()
        gaps: list[Gap] = []
        restarted: list[str] = []
        moved = bool(cursor.cluster) and cursor.cluster != self._cluster
        if moved:
            restarted.append("cluster")
        wanted: dict[tuple[str, int], int] = {}
        for topic, partitions in self._partitions.items():
            known = None if moved else cursor.topics.get(topic)
            if known is not None and known.id and known.id != self._topic_ids.get(topic, known.id):
                restarted.append(topic)
                known = None
            for partition in partitions:
                place = topic, partition
                before = None if known is None else known.next.get(partition)
                if before is not None and before <= self._next.get(place, -1):
                    wanted[place] = before  # it was read once: a fetch says so if it is gone
                    continue
                low, high = watermarks(self._open(), topic, partition)
                if before is not None and before > high:
                    restarted.append(f"{topic}/{partition}")
                elif before is not None and before < low:
                    gaps.append(Gap(topic, partition, before, low))
                is_there = before is not None and low <= before <= high
                wanted[place] = before if is_there and before is not None else low
        self._assign(wanted)
        return Resumed(self._cursor(Cursor() if moved else cursor), gaps, restarted)

    def read(self, limit: int, wait_seconds: float, is_stopped: Callable[[], bool]) -> list[Record]:
        """Up to ``limit`` messages; waits for the first one, returns soon after it.

        Empty if none came in ``wait_seconds``, if ``is_stopped`` says so, or if the partitions
        changed: then ``resume`` again. Raises ``TransientError`` if the broker went away.
        """
        reader = self._open()
        deadline = time.monotonic() + wait_seconds
        while not is_stopped():
            left = deadline - time.monotonic()
            if left <= 0 or self._is_due():
                return []
            first = reader.poll(min(POLL_SECONDS, left))
            if first is None:
                continue
            messages = [first, *reader.consume(limit - 1, timeout=SETTLE_SECONDS)]
            failed = [m for m in messages if m.error() is not None]
            if failed:
                self._heed(failed)
                messages = [m for m in messages if m.error() is None]
            if messages or not self._next:
                self._move()
                return [Record(message) for message in messages]
        return []

    def commit(self, cursor: Cursor) -> None:
        """Tell the group's offsets to Kafka, so that its tools show the lag; nothing reads them."""
        from confluent_kafka import KafkaException, TopicPartition

        places = [
            TopicPartition(topic, partition, offset)
            for topic, position in cursor.topics.items()
            for partition, offset in position.next.items()
        ]
        if not places:
            return
        try:
            self._open().commit(offsets=places, asynchronous=True)
        except KafkaException as error:
            raise TransientError(f"Kafka took no offsets: {error.args[0].str()}") from error

    def lag(self) -> int:
        """Messages that are there and not read, by what the broker last told."""
        from confluent_kafka import TopicPartition

        total = 0
        for (topic, partition), offset in self._next.items():
            _, high = self._open().get_watermark_offsets(
                TopicPartition(topic, partition), cached=True
            )
            total += max(0, high - offset)
        return total

    def close(self) -> None:
        """Close the connection."""
        consumer, self._consumer = self._consumer, None
        self._next = {}
        if consumer is not None:
            consumer.close()

    def _open(self) -> "Consumer":
        if self._consumer is None:
            from confluent_kafka import Consumer

            self._consumer = open_client(Consumer, self._connection.consumer(self._group))
        return self._consumer

    def _is_due(self) -> bool:
        """Whether it is time to look for new topics and partitions."""
        is_missing = len(self._partitions) < len(self._topics)
        wait = MISSING_TOPIC_SECONDS if is_missing else METADATA_SECONDS
        return time.monotonic() - self._looked_at > wait

    def _refresh(self) -> None:
        if self._looked_at and not self._is_due():
            return
        reader = self._open()
        servers = self._connection.bootstrap_servers
        cluster = metadata(reader, servers=servers)
        self._cluster = str(cluster.cluster_id or "")
        self._partitions = partitions_in(cluster, self._topics)
        if self._connection.is_embedded and len(self._partitions) < len(self._topics):
            for topic in self._topics:  # asking for a topic creates it there
                reader.list_topics(topic, timeout=ANSWER_SECONDS)
            self._partitions = topic_partitions(reader, self._topics, servers=servers)
        if not self._cluster.startswith(MOCK_CLUSTER):
            self._topic_ids = _topic_ids(self._connection, list(self._partitions))
        self._looked_at = time.monotonic()

    def _assign(self, wanted: dict[tuple[str, int], int]) -> None:
        if wanted == self._next:
            return
        from confluent_kafka import TopicPartition

        self._open().assign([TopicPartition(*place, offset) for place, offset in wanted.items()])
        self._next = wanted

    def _cursor(self, before: Cursor) -> Cursor:
        """The positions, with those of ``before`` whose topic or partition is away just now."""
        topics = {name: dict(position.next) for name, position in before.topics.items()}
        ids = {name: position.id for name, position in before.topics.items()} | self._topic_ids
        for (topic, partition), offset in self._next.items():
            topics.setdefault(topic, {})[partition] = offset
        return Cursor(
            self._cluster, {name: TopicPosition(ids.get(name, ""), o) for name, o in topics.items()}
        )

    def _move(self) -> None:
        """Note how far the partitions are read."""
        from confluent_kafka import TopicPartition

        places = [TopicPartition(*place) for place in self._next]
        for place in self._open().position(places) if places else ():
            if place.offset >= 0:
                self._next[place.topic, place.partition] = place.offset

    def _heed(self, messages: Sequence[Any]) -> None:
        """Deal with errors: some say that the positions are wrong, which forgets them.

        Raises ``TransientError`` for those that the client does not mend by itself.
        """
        for message in messages:
            error = message.error()
            if error.name() in _MISPLACED:
                self._next = {}
                self._looked_at = 0.0
            elif not error.retriable():
                self._next = {}
                raise TransientError(
                    f"Kafka at {self._connection.bootstrap_servers}: {error.str()} ({error.name()})"
                )


def _topic_ids(connection: KafkaConnection, topics: list[str]) -> dict[str, str]:
    """Kafka's ids of topics: a topic that was deleted and created again has another one."""
    from confluent_kafka import KafkaException, TopicCollection
    from confluent_kafka.admin import AdminClient

    if not topics:
        return {}
    admin = open_client(AdminClient, connection.client())
    answers = admin.describe_topics(TopicCollection(topics), request_timeout=ANSWER_SECONDS)
    found = {}
    for topic, answer in answers.items():
        try:
            found[topic] = str(answer.result().topic_id)
        except KafkaException:  # not allowed to describe: the offsets alone must tell
            continue
    return found
