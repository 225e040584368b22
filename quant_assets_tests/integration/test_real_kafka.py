"""A real Apache Kafka and what librdkafka says of it: the ground under the consumers.

The embedded broker of the sandbox cannot remove records, tell topic ids, ask for a password or
hide what a transaction took back. What a client is told in each case is written here once.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from quant_assets.events.connection import KafkaConnection
from quant_assets.events.reading import read_topic
from quant_assets_tests.kafka_broker import KafkaBroker, poll

pytestmark = pytest.mark.kafka

SECONDS = 30.0
GROUP = "test-real-kafka"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    with KafkaBroker(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A broker behind TLS and a password, which makes topics when they are written."""
    folder = tmp_path_factory.mktemp("guarded")
    with KafkaBroker(folder, sasl_ssl=True, auto_create_topics=True) as running:
        yield running


def consumer(
    connection: KafkaConnection,
    topic: str,
    offset: int,
    heard: Callable[[KafkaError], None] | None = None,
) -> Consumer:
    """A reader with the product's settings, assigned to partition 0."""
    settings = connection.consumer(GROUP)
    reader = Consumer({**settings, "error_cb": heard} if heard else settings)
    reader.assign([TopicPartition(topic, 0, offset)])
    return reader


def next_message(reader: Consumer) -> Message:
    return poll("a message or an error", SECONDS, lambda: reader.poll(0.2))


def next_value(reader: Consumer) -> bytes | None:
    message = next_message(reader)
    assert message.error() is None
    return message.value()


def error_of(call: Callable[[], object]) -> KafkaError:
    """What the client says when ``call`` fails."""
    with pytest.raises(KafkaException) as caught:
        call()
    error: KafkaError = caught.value.args[0]
    return error


def errors_of_delivery(connection: KafkaConnection, topic: str) -> list[str | None]:
    """Name of the error that the product's producer gives to one message, None if it is stored."""
    names: list[str | None] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        names.append(None if error is None else error.name())

    producer = Producer(replace(connection, delivery_timeout_seconds=2.0).producer())
    producer.produce(topic, b"value", on_delivery=delivered)
    assert producer.flush(SECONDS) == 0
    return names


def wait_until_told(connection: KafkaConnection, wanted: str) -> None:
    """Read until the error callback has got the error of that name; no message may come."""
    names: set[str] = set()

    def is_told() -> bool:
        assert reader.poll(0.2) is None
        return wanted in names

    reader = consumer(connection, "secrets", 0, lambda error: names.add(error.name()))
    with closing(reader):
        poll(f"error {wanted}", SECONDS, is_told)


def test_a_message_comes_back_with_its_key_headers_and_time(broker: KafkaBroker) -> None:
    headers = [("attempt", b"1"), ("attempt", b"2"), ("empty", None), ("bytes", b"\xff\x00")]
    broker.create_topic("round", partitions=2, config={"retention.ms": "-1"})
    place = broker.produce(
        "round", b"\x00value", key=b"AAPL", headers=headers, timestamp_ms=1_773_900_000_123
    )
    (record,) = read_topic(broker.connection, "round")
    assert (record.origin.partition, record.origin.offset) == place
    assert (record.key, record.value) == (b"AAPL", b"\x00value")
    assert list(record.headers) == headers
    assert record.sent_at.isoformat() == "2026-03-19T06:00:00.123000+00:00"


def test_a_tombstone_and_a_chosen_partition_are_kept(broker: KafkaBroker) -> None:
    broker.create_topic("chosen", partitions=3)
    assert broker.produce("chosen", None, key=b"k", partition=2) == (2, 0)
    (record,) = read_topic(broker.connection, "chosen")
    assert (record.origin.partition, record.key, record.value) == (2, b"k", None)


@pytest.mark.parametrize("end", [KafkaBroker.kill, KafkaBroker.stop])
def test_a_broker_that_comes_back_has_its_messages_and_its_readers(
    broker: KafkaBroker, end: Callable[[KafkaBroker], None]
) -> None:
    topic = f"kept-{end.__name__}"
    broker.create_topic(topic)
    broker.produce(topic, b"before")
    address, topic_id = broker.bootstrap_servers, broker.topic_id(topic)
    with closing(consumer(broker.connection, topic, 0)) as reader:
        assert next_value(reader) == b"before"
        end(broker)
        broker.restart()
        assert (broker.bootstrap_servers, broker.topic_id(topic)) == (address, topic_id)
        assert broker.watermarks(topic) == (0, 1)
        broker.produce(topic, b"after")
        assert next_value(reader) == b"after"


def test_removed_records_raise_the_low_watermark(broker: KafkaBroker) -> None:
    broker.create_topic("retained")
    for number in range(5):
        broker.produce("retained", b"%d" % number)
    assert broker.delete_records_before("retained", 0, 3) == 3
    assert broker.watermarks("retained") == (3, 5)
    assert [record.value for record in read_topic(broker.connection, "retained")] == [b"3", b"4"]


@pytest.mark.parametrize("offset", [0, 99], ids=["removed", "not yet written"])
def test_an_offset_that_is_not_there_is_told_and_only_a_new_assignment_goes_on(
    broker: KafkaBroker, offset: int
) -> None:
    topic = f"gap-{offset}"
    broker.create_topic(topic)
    for number in range(3):
        broker.produce(topic, b"%d" % number)
    broker.delete_records_before(topic, 0, 2)
    with closing(consumer(broker.connection, topic, offset)) as reader:
        message = next_message(reader)
        error = message.error()
        assert error is not None
        assert error.name() == "_AUTO_OFFSET_RESET"
        assert (error.retriable(), error.fatal()) == (False, False)
        assert (message.topic(), message.partition(), message.offset()) == (topic, 0, offset)
        at_low = TopicPartition(topic, 0, 2)
        assert error_of(lambda: reader.seek(at_low)).name() == "_STATE"
        reader.assign([at_low])
        assert next_value(reader) == b"2"


def test_a_topic_that_was_made_again_is_told_by_its_id_alone(broker: KafkaBroker) -> None:
    """The old offset reads on in the middle of the new topic, without any error."""
    broker.create_topic("again")
    for number in range(3):
        broker.produce("again", b"old %d" % number)
    old_id = broker.topic_id("again")
    broker.delete_topic("again")
    assert broker.topic_id("again") is None
    broker.create_topic("again")
    for number in range(5):
        broker.produce("again", b"new %d" % number)
    assert broker.topic_id("again") not in (None, old_id)
    with closing(consumer(broker.connection, "again", 3)) as reader:
        assert next_value(reader) == b"new 3"


def test_an_unknown_topic_is_told_to_who_asks_and_never_made_by_asking(
    broker: KafkaBroker,
) -> None:
    with closing(consumer(broker.connection, "missing", 0)) as reader:
        found = reader.list_topics("missing", timeout=SECONDS).topics["missing"].error
        assert found is not None
        assert found.name() == "UNKNOWN_TOPIC_OR_PART"
        assert "missing" not in reader.list_topics(timeout=SECONDS).topics
        place = TopicPartition("missing", 0)
        asked = error_of(lambda: reader.get_watermark_offsets(place, SECONDS, cached=False))
        assert asked.name() == "_UNKNOWN_PARTITION"
    assert errors_of_delivery(broker.connection, "missing") == ["_MSG_TIMED_OUT"]
    assert broker.topic_id("missing") is None


def test_a_broker_that_is_away_is_told_by_calls_and_the_callback_not_by_messages(
    broker: KafkaBroker,
) -> None:
    broker.create_topic("away")
    broker.produce("away", b"0")
    names: set[str] = set()
    connection = broker.connection
    place = TopicPartition("away", 0)
    with closing(consumer(connection, "away", 0, lambda e: names.add(e.name()))) as reader:
        assert next_value(reader) == b"0"
        broker.kill()
        try:
            assert error_of(lambda: reader.list_topics(timeout=1.0)).name() == "_TRANSPORT"
            # The same error as for a partition that does not exist.
            asked = error_of(lambda: reader.get_watermark_offsets(place, 1.0, cached=False))
            assert asked.name() == "_UNKNOWN_PARTITION"
            assert errors_of_delivery(connection, "away") == ["_MSG_TIMED_OUT"]
            assert reader.poll(0.5) is None
        finally:
            broker.restart()
        assert names >= {"_ALL_BROKERS_DOWN", "_TRANSPORT"}
        broker.produce("away", b"1")
        assert next_value(reader) == b"1"


def test_a_reader_sees_what_transactions_committed_and_gets_past_the_rest(
    broker: KafkaBroker,
) -> None:
    """Markers take offsets and hold no message; the last offset of the topic is one."""
    broker.create_topic("transactions")
    producer = Producer({**broker.connection.producer(), "transactional.id": "test"})
    producer.init_transactions(SECONDS)
    for value, finish in (
        (b"kept", producer.commit_transaction),
        (b"taken back", producer.abort_transaction),
    ):
        producer.begin_transaction()
        producer.produce("transactions", value)
        assert producer.flush(SECONDS) == 0
        finish(SECONDS)
    assert broker.watermarks("transactions") == (0, 4)
    assert [one.value for one in read_topic(broker.connection, "transactions")] == [b"kept"]


def test_a_user_gets_in_and_the_first_write_makes_the_topic(guarded: KafkaBroker) -> None:
    assert errors_of_delivery(guarded.connection, "made") == [None]
    assert [record.value for record in read_topic(guarded.connection, "made")] == [b"value"]


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"sasl_password": "wrong"}, "_AUTHENTICATION"),
        ({"sasl_username": "nobody"}, "_AUTHENTICATION"),
        ({"sasl_mechanism": "PLAIN"}, "_AUTHENTICATION"),
        ({"ssl_ca_location": ""}, "_SSL"),
    ],
    ids=["password", "user", "mechanism", "authority"],
)
def test_who_may_not_come_in_hears_why_in_the_callback_alone(
    guarded: KafkaBroker, wrong: dict[str, str], name: str
) -> None:
    guarded.produce("secrets", b"secret")
    refused = replace(guarded.connection, **wrong)
    wait_until_told(refused, name)
    with closing(Consumer(refused.consumer(GROUP))) as reader:
        assert error_of(lambda: reader.list_topics(timeout=1.0)).name() == "_TRANSPORT"
    assert errors_of_delivery(refused, "secrets") == ["_MSG_TIMED_OUT"]


def test_a_broker_that_cannot_start_shows_why(tmp_path: Path) -> None:
    broker = KafkaBroker(tmp_path)
    host, port = broker.bootstrap_servers.split(":")
    with socket.socket() as taken:
        taken.bind((host, int(port)))
        taken.listen()
        with pytest.raises(AssertionError, match="Address already in use"):
            broker.start()
    broker.start()
    broker.stop()
