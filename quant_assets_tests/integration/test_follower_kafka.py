"""Following topics of a real Kafka: retention, topics made again, growth, crashes."""

from collections.abc import Callable, Iterator

import pytest

from quant_assets.errors import TransientError
from quant_assets.events.follower import Cursor, Follower
from quant_assets_tests.kafka_broker import KafkaBroker

pytestmark = pytest.mark.kafka
TOPIC, OTHER = "follower.first", "follower.second"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    with KafkaBroker(tmp_path_factory.mktemp("kafka")) as started:
        yield started


@pytest.fixture
def topic(broker: KafkaBroker, request: pytest.FixtureRequest) -> str:
    name = f"follower.{request.node.name}"
    broker.create_topic(name, 1)
    return name


def follower(broker: KafkaBroker, *topics: str) -> Follower:
    return Follower(broker.connection, topics, "follower-test")


def read(reader: Follower, cursor: Cursor, count: int) -> tuple[list[bytes | None], Cursor]:
    """Values of the next ``count`` messages, and the cursor after them."""
    values: list[bytes | None] = []
    for _ in range(10):
        cursor = reader.resume(cursor).cursor
        records = reader.read(count - len(values), 5.0, lambda: False)
        values += [record.value for record in records]
        cursor = cursor.after(records)
        if len(values) == count:
            return values, cursor
    raise AssertionError(f"only {values}")


def send(broker: KafkaBroker, topic: str, *values: bytes, partition: int = 0) -> None:
    for value in values:
        broker.produce(topic, value, partition=partition)


def test_a_cursor_goes_on_where_it_was_in_another_process(broker: KafkaBroker, topic: str) -> None:
    send(broker, topic, b"1", b"2", b"3")
    values, cursor = read(follower(broker, topic), Cursor(), 2)
    assert values == [b"1", b"2"]
    values, _ = read(follower(broker, topic), Cursor.parse(cursor.text()), 1)
    assert values == [b"3"]


def test_messages_that_were_not_dealt_with_come_again(broker: KafkaBroker, topic: str) -> None:
    send(broker, topic, b"1", b"2", b"3")
    reader = follower(broker, topic)
    cursor = reader.resume(Cursor()).cursor
    first = reader.read(3, 5.0, lambda: False)
    assert [record.value for record in first] == [b"1", b"2", b"3"]
    values, _ = read(reader, cursor.after(first[:1]), 2)
    assert values == [b"2", b"3"]


def test_offsets_that_retention_removed_are_told(broker: KafkaBroker, topic: str) -> None:
    send(broker, topic, *[b"%d" % n for n in range(6)])
    reader = follower(broker, topic)
    _, cursor = read(reader, Cursor(), 2)
    reader.close()
    broker.delete_records_before(topic, 0, 5)
    resumed = reader.resume(cursor)
    assert [(gap.topic, gap.partition, gap.first, gap.end) for gap in resumed.gaps] == [
        (topic, 0, 2, 5)
    ]
    values, _ = read(reader, resumed.cursor, 1)
    assert values == [b"5"]


def test_offsets_removed_under_an_open_reader_are_told_too(broker: KafkaBroker, topic: str) -> None:
    send(broker, topic, *[b"%d" % n for n in range(6)])
    reader = follower(broker, topic)
    _, cursor = read(reader, Cursor(), 2)
    broker.delete_records_before(topic, 0, 5)
    gaps = []
    values: list[bytes | None] = []
    for _ in range(10):
        resumed = reader.resume(cursor)
        gaps += resumed.gaps
        records = reader.read(10, 3.0, lambda: False)
        values += [record.value for record in records]
        cursor = resumed.cursor.after(records)
        if b"5" in values:
            break
    assert values[-1] == b"5"
    lost = {offset for gap in gaps for offset in range(gap.first, gap.end)}
    assert lost | {int(v) for v in values if v} == {2, 3, 4, 5}


def test_a_topic_that_was_created_again_is_read_from_its_beginning(
    broker: KafkaBroker, topic: str
) -> None:
    send(broker, topic, b"1", b"2", b"3")
    reader = follower(broker, topic)
    _, cursor = read(reader, Cursor(), 3)
    reader.close()
    broker.delete_topic(topic)
    broker.create_topic(topic, 1)
    send(broker, topic, *[b"new %d" % n for n in range(5)])  # more than before: offsets look right
    fresh = follower(broker, topic)
    resumed = fresh.resume(cursor)
    assert resumed.restarted == [topic]
    values, _ = read(fresh, resumed.cursor, 5)
    assert values == [b"new %d" % n for n in range(5)]


def test_new_topics_are_read_from_their_beginning(broker: KafkaBroker, topic: str) -> None:
    later = f"{topic}.later"
    reader = follower(broker, topic, later)
    cursor = reader.resume(Cursor()).cursor
    broker.create_topic(later, 2)
    send(broker, later, b"1", partition=1)
    values, cursor = read(reader, cursor, 1)
    assert values == [b"1"]
    assert set(cursor.topics) == {topic, later}


def test_a_topic_that_is_away_keeps_its_place(broker: KafkaBroker, topic: str) -> None:
    send(broker, topic, b"1", b"2")
    _, cursor = read(follower(broker, topic), Cursor(), 2)
    other = follower(broker, OTHER)
    kept = other.resume(cursor).cursor
    assert kept.topics[topic] == cursor.topics[topic]


def test_a_broker_that_was_killed_is_followed_again(broker: KafkaBroker, topic: str) -> None:
    send(broker, topic, b"1", b"2")
    reader = follower(broker, topic)
    values, cursor = read(reader, Cursor(), 1)
    broker.kill()
    with pytest.raises(TransientError, match="Kafka"):
        _until_told(lambda: reader.resume(Cursor()) and reader.read(1, 30.0, lambda: False))
    broker.restart()
    send(broker, topic, b"3")
    values, _ = read(reader, cursor, 2)
    assert values == [b"2", b"3"]


def _until_told(ask: Callable[[], object]) -> None:
    for _ in range(20):
        ask()


def test_offsets_are_committed_for_the_tools_that_show_lag(broker: KafkaBroker, topic: str) -> None:
    from confluent_kafka import Consumer, TopicPartition

    send(broker, topic, b"1", b"2", b"3")
    reader = follower(broker, topic)
    _, cursor = read(reader, Cursor(), 2)
    reader.commit(cursor)
    reader.close()
    watcher = Consumer({**broker.client_settings, "group.id": "follower-test"})
    (place,) = watcher.committed([TopicPartition(topic, 0)], timeout=10)
    watcher.close()
    assert place.offset == 2
