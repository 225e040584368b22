"""What the event bus over Kafka promises beyond the contract of every bus."""

import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from quant_assets.errors import TransientError
from quant_assets.events import payloads as p
from quant_assets.events.bus import Received
from quant_assets.events.connection import KafkaConnection
from quant_assets.events.envelope import BadEventError, Event, encode
from quant_assets.events.kafka_bus import KafkaEventBus
from quant_assets.events.publisher import Outgoing, Publisher
from quant_assets.events.reading import Record, read_topic
from quant_assets.events.topics import TopicNames
from quant_assets.sandbox.broker import EmbeddedBroker
from quant_assets_tests.kafka_broker import KafkaBroker, poll
from quant_assets_tests.unit.buses import (
    SECONDS,
    Seen,
    create_topics,
    kafka_letters,
    new_prefix,
    order,
    status,
)


@pytest.fixture(scope="module")
def embedded() -> Iterator[KafkaConnection]:
    with EmbeddedBroker() as broker:
        yield KafkaConnection(broker.bootstrap_servers, is_embedded=True)


@pytest.fixture(scope="module")
def real_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    with KafkaBroker(tmp_path_factory.mktemp("kafka"), auto_create_topics=True) as broker:
        yield broker


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.kafka)])
def connection(request: pytest.FixtureRequest) -> KafkaConnection:
    if request.param == "embedded":
        found: KafkaConnection = request.getfixturevalue("embedded")
    else:
        found = request.getfixturevalue("real_broker").connection
    return found


@pytest.fixture
def names() -> TopicNames:
    prefix = new_prefix()
    return TopicNames(prefix, {f"{prefix}old-status": "status.updated"})


@pytest.fixture
def bus(connection: KafkaConnection, names: TopicNames) -> Iterator[KafkaEventBus]:
    made = KafkaEventBus(connection, names)
    yield made
    made.close()


def test_a_subscription_may_begin_with_what_is_there(bus: KafkaEventBus) -> None:
    sent = [status("progress", number) for number in range(20)]
    for one in sent[:15]:
        bus.publish(one, key="k")
    seen = Seen()
    bus.subscribe("status.*", seen, from_beginning=True)
    for one in sent[15:]:
        bus.publish(one, key="k")
    assert seen.wait(20) == sent


def test_topics_that_appear_later_are_read_from_their_first_message(
    connection: KafkaConnection, names: TopicNames
) -> None:
    """Topics that nobody has written yet; another bus writes them, one that reads comes first."""
    bus, other = KafkaEventBus(connection, names), KafkaEventBus(connection, names)
    seen = Seen()
    bus.subscribe("**", seen)
    other.publish(status("started"))
    other.publish(order(1))
    assert {one.event_type for one in seen.wait(2)} == {"status.updated", "trading.order.created"}
    bus.close()
    other.close()


def test_buses_of_two_processes_share_all_events(
    connection: KafkaConnection, names: TopicNames
) -> None:
    buses = [KafkaEventBus(connection, names) for _ in range(2)]
    handlers = [Seen(), Seen()]
    for bus, handler in zip(buses, handlers, strict=True):
        bus.subscribe("status.*", handler)
    for number in range(10):
        buses[number % 2].publish(status("progress", number), key="k")
    for bus, handler in zip(buses, handlers, strict=True):
        assert [one.payload.done for one in handler.wait(10)] == list(range(10))
        bus.close()


def test_handlers_that_close_the_bus_at_the_same_time_do_not_wait_for_each_other(
    bus: KafkaEventBus,
) -> None:
    together = threading.Barrier(2)
    ended = [threading.Event(), threading.Event()]

    def last(done: threading.Event) -> None:
        together.wait(SECONDS)
        bus.close()
        done.set()

    for done in ended:
        bus.subscribe("status.*", lambda *_, done=done: last(done))
    bus.publish(status("started"))
    assert all(done.wait(SECONDS) for done in ended)


def test_an_alias_is_read_and_renamed(bus: KafkaEventBus, names: TopicNames) -> None:
    seen = Seen()
    (alias,) = names.aliases
    bus.subscribe("status.updated", seen)
    old = Event(
        event_id=status("x").event_id,
        event_type=alias,
        timestamp=datetime.now(UTC),
        source="old",
        payload=p.StatusUpdated(status="started"),
    )
    Publisher(bus._publisher.connection, names).send([Outgoing(alias, encode(old))])
    (one,) = seen.wait(1)
    assert one.event_type == "status.updated"
    assert seen.messages[0].origin.topic == alias


def test_a_message_that_is_no_event_is_passed_over_and_not_buried(
    bus: KafkaEventBus, names: TopicNames, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[tuple[Record, BadEventError]] = []
    seen, other = Seen(), Seen()

    def on_bad(record: Record, error: BadEventError) -> None:
        told.append((record, error))
        raise ValueError("on_bad itself fails")

    bus.subscribe("status.*", seen, on_bad=on_bad)
    with caplog.at_level(logging.WARNING, "quant_assets.events"):
        bus.subscribe("status.*", other, name="logs")
        topic = names.topic("status.updated")
        publisher = Publisher(bus._publisher.connection, names)
        for value in (b"{", b"\xff", None, b"nonsense", b'{"eventId": 5}'):
            publisher.send([Outgoing(topic, value, b"k")])
        bus.publish(status("started"), key="k")
        seen.wait(1)
        other.wait(1)
    assert [error.code for _, error in told] == [
        "not_json",
        "not_utf8",
        "tombstone",
        "not_json",
        "invalid_field",
    ]
    assert told[0][0].value == b"{"
    logged = [r.getMessage() for r in caplog.records if "passed over" in r.getMessage()]
    assert len(logged) == 4, "one for each kind"
    assert topic in logged[0]
    assert read_topic(bus._publisher.connection, names.dead_letter) == []


def test_a_replayed_event_keeps_its_history_in_the_dead_letter(
    bus: KafkaEventBus, connection: KafkaConnection, names: TopicNames
) -> None:
    def broken(one: Event[Any], _: Received) -> None:
        raise ValueError("still no")

    bus.subscribe("status.*", broken)
    headers = [("attempt", b"3"), ("first-at", b"2026-01-02T03:04:05+00:00")]
    value = encode(status("started"))
    Publisher(connection, names).send(
        [Outgoing(names.topic("status.updated"), value, b"k", headers)]
    )
    poll("a dead letter", SECONDS, lambda: len(kafka_letters(connection, names)) == 1)
    (letter,) = kafka_letters(connection, names)
    assert letter.attempts == 3
    assert letter.first_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_without_a_broker_nothing_hangs() -> None:
    with EmbeddedBroker() as broker:
        servers = broker.bootstrap_servers
    bus = KafkaEventBus(
        KafkaConnection(servers, is_embedded=True, delivery_timeout_seconds=1.0), TopicNames()
    )
    with pytest.raises(TransientError, match=r"has not acknowledged 1 of 1|did not take"):
        bus.publish(status("started"))
    bus.close()


@pytest.mark.kafka
def test_a_subscription_survives_a_broker_that_is_killed(
    real_broker: KafkaBroker, names: TopicNames
) -> None:
    """Also a dead letter waits until it can be sent."""
    connection = real_broker.connection
    create_topics(connection, names)
    bus = KafkaEventBus(connection, names)
    seen = Seen()
    inside, go_on = threading.Event(), threading.Event()

    def broken_once(one: Event[Any], message: Received) -> None:
        seen(one, message)
        if one.payload.done == 0:
            inside.set()
            assert go_on.wait(SECONDS)
            raise ValueError("while Kafka is away")

    bus.subscribe("status.*", broken_once)
    bus.publish(status("progress", 0), key="k")
    assert inside.wait(SECONDS)
    real_broker.kill()
    go_on.set()
    real_broker.restart()
    bus.publish(status("progress", 1), key="k")
    assert [one.payload.done for one in seen.wait(2)] == [0, 1]
    poll("the dead letter", SECONDS, lambda: len(kafka_letters(connection, names)) == 1)
    bus.close()
