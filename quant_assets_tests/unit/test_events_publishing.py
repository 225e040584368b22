"""Publishing and reading by offsets on a real client and the embedded broker."""

import itertools
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from quant_assets.errors import BadDataError, TransientError
from quant_assets.events import payloads as p
from quant_assets.events.connection import KafkaConnection
from quant_assets.events.dead_letters import DeadLetter, Origin, bury, header_texts
from quant_assets.events.envelope import EventDecoder, encode, event
from quant_assets.events.publisher import Outgoing, Publisher, RefusedMessageError
from quant_assets.events.reading import (
    consumer,
    read_at,
    read_ranges,
    read_topic,
    topic_partitions,
    watermarks,
)
from quant_assets.events.topics import TopicNames
from quant_assets.sandbox.broker import EmbeddedBroker


@pytest.fixture(scope="module")
def connection() -> Iterator[KafkaConnection]:
    with EmbeddedBroker() as broker:
        yield KafkaConnection(broker.bootstrap_servers, is_embedded=True)


@pytest.fixture
def publisher(connection: KafkaConnection) -> Iterator[Publisher]:
    made = Publisher(connection, TopicNames(f"{uuid.uuid4().hex}."))
    yield made
    made.close()


def letter(value: bytes) -> DeadLetter:
    now = datetime.now(UTC)
    return DeadLetter(
        origin=Origin("there", 1, 2),
        code="not_json",
        reason="not JSON",
        error_class="BadEventError",
        value=value,
        key=b"k",
        attempts=1,
        first_at=now,
        last_at=now,
    )


def test_what_was_published_is_there_when_publish_returns(publisher: Publisher) -> None:
    sent = [event("status.updated", p.StatusUpdated(status=str(n))) for n in range(50)]
    publisher.publish([(one.payload.status, one) for one in sent])
    topic = publisher.names.topic("status.updated")
    records = read_topic(publisher.connection, topic)
    assert {record.value for record in records} == {encode(one) for one in sent}
    assert {record.key for record in records} == {str(n).encode() for n in range(50)}
    publisher.publish([])


def test_one_key_is_one_partition_in_the_order_of_sending(publisher: Publisher) -> None:
    keys = itertools.cycle("abcdefg")
    sent = [
        (next(keys), event("status.updated", p.StatusUpdated(status="x", done=n)))
        for n in range(700)
    ]
    publisher.publish(sent)
    read: dict[bytes | None, list[tuple[int, int]]] = defaultdict(list)
    decoder = EventDecoder(publisher.names)
    for record in read_topic(publisher.connection, publisher.names.topic("status.updated")):
        one = decoder.decode(record.origin.topic, record.value)
        read[record.key].append((record.origin.partition, one.payload.done))
    for number, key in enumerate("abcdefg"):
        places = read[key.encode()]
        assert len({partition for partition, _ in places}) == 1
        assert [done for _, done in places] == list(range(number, 700, 7))


def test_headers_keys_and_tombstones_arrive(publisher: Publisher) -> None:
    headers = [("a", b"1"), ("a", b"2"), ("b", b"\xff")]
    publisher.send([Outgoing("plain", None, b"\xff\x00", headers), Outgoing("plain", b"")])
    records = {record.value: record for record in read_topic(publisher.connection, "plain")}
    assert set(records) == {None, b""}
    assert list(records[None].headers) == headers
    assert header_texts(records[None].headers) == {"a": "2", "b": "\\xff"}
    assert records[None].key == b"\xff\x00"
    assert records[b""].key is None
    assert abs(records[None].sent_at - datetime.now(UTC)) < timedelta(hours=1)


def test_a_message_that_kafka_refuses_is_named(publisher: Publisher) -> None:
    large = Outgoing("large", b"x" * 16_100_000)
    with pytest.raises(RefusedMessageError, match="did not take a message for large") as caught:
        publisher.send([large])
    assert caught.value.outgoing is large
    assert caught.value.code == "MSG_SIZE_TOO_LARGE"
    assert read_topic(publisher.connection, "large") == []


def test_a_letter_that_is_refused_for_its_size_goes_without_its_bytes(publisher: Publisher) -> None:
    bury(publisher, [letter(b"small"), letter(b"x" * 16_100_000), letter(b"small too")])
    records = read_topic(publisher.connection, publisher.names.dead_letter)
    letters = [
        DeadLetter.read(header_texts(record.headers), record.value, record.key)
        for record in records
    ]
    assert [(one.value, one.is_whole) for one in letters] == [
        (b"small", True),
        (None, False),
        (b"small too", True),
    ]
    assert {one.origin for one in letters} == {Origin("there", 1, 2)}


def test_a_broker_that_is_gone_is_a_transient_error_within_the_timeout() -> None:
    with EmbeddedBroker() as broker:
        connection = KafkaConnection(broker.bootstrap_servers, is_embedded=True)
        publisher = Publisher(connection, TopicNames())
        publisher.send([Outgoing("there", b"1")])
    started = time.monotonic()
    with pytest.raises(
        TransientError, match=r"has not acknowledged 2 of 2 message\(s\) within 1 s"
    ):
        publisher.send([Outgoing("there", b"2"), Outgoing("there", b"3")], timeout_seconds=1.0)
    assert time.monotonic() - started < 20
    with consumer(connection) as reader:
        with pytest.raises(TransientError, match="Kafka does not answer"):
            topic_partitions(reader, ["there"], timeout_seconds=1.0)
        with pytest.raises(TransientError, match=r"does not tell the offsets of there/0"):
            watermarks(reader, "there", 0, timeout_seconds=1.0)


def test_a_range_is_read_exactly(publisher: Publisher) -> None:
    publisher.send([Outgoing("ranged", str(n).encode(), b"k") for n in range(300)])
    (partition,) = {r.origin.partition for r in read_topic(publisher.connection, "ranged")}

    def numbers(first: int, end: int) -> list[int]:
        ranges = {"ranged": {partition: (first, end)}}
        return [int(record.value or b"") for record in read_ranges(publisher.connection, ranges)]

    assert numbers(0, 300) == list(range(300))
    assert numbers(17, 18) == [17]
    assert numbers(250, 300) == list(range(250, 300))
    assert numbers(5, 5) == []
    with pytest.raises(
        BadDataError, match=f"ranged/{partition} no longer holds the offsets 299 to"
    ):
        numbers(299, 301)
    found = read_at(publisher.connection, Origin("ranged", partition, 42))
    assert found is not None
    assert found.value == b"42"
    assert read_at(publisher.connection, Origin("ranged", partition, 300)) is None
    assert read_topic(publisher.connection, "never-written") == []
