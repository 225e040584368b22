"""The event bus: one contract for every implementation, and what the one in memory adds."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from quant_assets.errors import BadConfigurationError, PermanentError
from quant_assets.events import payloads as p
from quant_assets.events.bus import EventBus, Received
from quant_assets.events.connection import KafkaConnection
from quant_assets.events.dead_letters import DeadLetter
from quant_assets.events.envelope import BadEventError, Event, encode, event
from quant_assets.events.kafka_bus import KafkaEventBus
from quant_assets.events.memory_bus import MemoryEventBus
from quant_assets.events.topics import TopicNames
from quant_assets.sandbox.broker import EmbeddedBroker
from quant_assets_tests.kafka_broker import KafkaBroker, poll
from quant_assets_tests.unit.buses import (
    SECONDS,
    Seen,
    article,
    create_topics,
    failed,
    kafka_letters,
    new_prefix,
    order,
    status,
)


@dataclass
class Bench:
    """A bus under test and its dead letters."""

    bus: EventBus
    names: TopicNames
    letters: Callable[[], list[DeadLetter]]


@pytest.fixture(scope="module")
def embedded() -> Iterator[KafkaConnection]:
    with EmbeddedBroker() as broker:
        yield KafkaConnection(broker.bootstrap_servers, is_embedded=True)


@pytest.fixture(scope="module")
def real_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    with KafkaBroker(tmp_path_factory.mktemp("kafka"), auto_create_topics=True) as broker:
        yield broker


@pytest.fixture(params=["memory", "embedded", pytest.param("real", marks=pytest.mark.kafka)])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    names = TopicNames(new_prefix())
    if request.param == "memory":
        memory = MemoryEventBus(names)
        yield Bench(memory, names, lambda: list(memory.dead_letters))
        memory.close()
        return
    if request.param == "embedded":
        connection = request.getfixturevalue("embedded")
    else:
        connection = request.getfixturevalue("real_broker").connection
        create_topics(connection, names)
    bus = KafkaEventBus(connection, names)
    yield Bench(bus, names, lambda: kafka_letters(connection, names))
    bus.close()


# What every bus promises.


def test_a_subscriber_has_the_events_of_its_pattern_alone(bench: Bench) -> None:
    everything, orders, failures, one = Seen(), Seen(), Seen(), Seen()
    for pattern, handler in (
        ("**", everything),
        ("trading.*.created", orders),
        ("**.failed", failures),
        ("status.updated", one),
    ):
        bench.bus.subscribe(pattern, handler)
    sent = [status("started"), failed("no"), order(1), article("a"), status("completed")]
    for each in sent:
        bench.bus.publish(each)
    assert {e.event_id for e in everything.wait(5)} == {e.event_id for e in sent}
    assert orders.wait(1) == [sent[2]]
    assert failures.wait(1) == [sent[1]]
    assert sorted(e.payload.status for e in one.wait(2)) == ["completed", "started"]


def test_a_handler_is_told_where_the_message_stood(bench: Bench) -> None:
    seen = Seen()
    bench.bus.subscribe("status.updated", seen)
    sent = status("started")
    bench.bus.publish(sent, key="열쇠")
    seen.wait(1)
    message = seen.messages[0]
    assert message.origin.topic == bench.names.topic("status.updated")
    assert message.origin.offset == 0
    assert message.key == "열쇠".encode()
    assert message.value == encode(sent)
    assert abs((message.sent_at - datetime.now(UTC)).total_seconds()) < 3600


def test_events_of_one_key_keep_their_order(bench: Bench) -> None:
    seen = Seen()
    bench.bus.subscribe("status.*", seen)
    for number in range(60):
        for key in "abcde":
            bench.bus.publish(status(key, number), key=key)
    by_key: dict[str, list[int]] = defaultdict(list)
    for one in seen.wait(300):
        by_key[one.payload.status].append(one.payload.done)
    assert by_key == {key: list(range(60)) for key in "abcde"}


def test_the_key_is_the_entity_unless_one_is_given(bench: Bench) -> None:
    seen = Seen()
    bench.bus.subscribe("**", seen)
    bench.bus.publish(order(1))
    bench.bus.publish(order(1), key="mine")
    seen.wait(2)
    assert sorted(str(message.key) for message in seen.messages) == ["b'AAPL'", "b'mine'"]


def test_every_handler_has_every_event(bench: Bench) -> None:
    handlers = [Seen() for _ in range(5)]
    for handler in handlers:
        bench.bus.subscribe("**", handler)
    twice = Seen()
    bench.bus.subscribe("status.updated", twice)
    bench.bus.subscribe("**.updated", twice)
    sent = [status("progress", number) for number in range(10)]
    for one in sent:
        bench.bus.publish(one, key="k")
    for handler in handlers:
        assert handler.wait(10) == sent
    twice.wait(20)


def test_a_handler_that_raises_stops_nobody_and_leaves_a_dead_letter(bench: Bench) -> None:
    class NoGoodError(Exception):
        pass

    good, tried = Seen(), Seen()

    def bad(one: Event[Any], message: Received) -> None:
        tried(one, message)
        if one.payload.done % 2:
            raise NoGoodError(f"cannot do {one.payload.done}")

    bench.bus.subscribe("status.*", bad, name="the bad one")
    bench.bus.subscribe("status.*", good)
    sent = [status("progress", number) for number in range(6)]
    for one in sent:
        bench.bus.publish(one, key="키")
    assert good.wait(6) == sent
    assert tried.wait(6) == sent
    poll("three dead letters", SECONDS, lambda: len(bench.letters()) == 3)
    letters = sorted(bench.letters(), key=lambda letter: letter.reason)
    assert [letter.reason for letter in letters] == [
        f"the bad one: cannot do {n}" for n in (1, 3, 5)
    ]
    first = letters[0]
    assert (first.code, first.error_class) == ("handler_failed", "NoGoodError")
    assert first.value == encode(sent[1])
    assert first.key == "키".encode()
    assert first.origin == good.messages[1].origin
    assert first.attempts == 1
    assert first.first_at <= first.last_at


def test_the_dead_letter_of_a_nameless_handler_names_its_function(bench: Bench) -> None:
    class Broken:
        def __call__(self, one: Event[Any], message: Received) -> None:
            raise ValueError("\udce9\x00")

    bench.bus.subscribe("status.*", Broken())
    bench.bus.publish(status("started"))
    poll("a dead letter", SECONDS, lambda: len(bench.letters()) == 1)
    assert f"{__name__}." in bench.letters()[0].reason
    assert "Broken: " in bench.letters()[0].reason


def test_what_a_handler_publishes_comes_after_its_own_event(bench: Bench) -> None:
    """A chain of events that each follow from the one before, and a witness of all of them."""
    log: list[str] = []
    witness = Seen()

    def step(one: Event[Any], _: Received) -> None:
        number = one.payload.done
        log.append(f"in {number}")
        if number < 40:
            bench.bus.publish(status("progress", number + 1), key=str(number))
        log.append(f"out {number}")

    bench.bus.subscribe("status.*", step)
    bench.bus.subscribe("status.*", witness)
    bench.bus.publish(status("progress"))
    assert [one.payload.done for one in witness.wait(41)] == list(range(41))
    poll("the end of the chain", SECONDS, lambda: log[-1:] == ["out 40"])
    assert log == [f"{word} {number}" for number in range(41) for word in ("in", "out")]
    assert bench.letters() == []


def test_a_subscription_has_only_what_comes_after_it(bench: Bench) -> None:
    early, late = Seen(), Seen()
    bench.bus.subscribe("status.*", early)
    bench.bus.publish(status("before"))
    early.wait(1)
    bench.bus.subscribe("status.*", late)
    bench.bus.publish(status("after"))
    assert [one.payload.status for one in late.wait(1)] == ["after"]


def test_a_handler_may_subscribe_another(bench: Bench) -> None:
    inner = Seen()
    done = threading.Event()

    def outer(one: Event[Any], _: Received) -> None:
        if one.payload.status == "first":
            bench.bus.subscribe("status.*", inner)
            done.set()

    bench.bus.subscribe("status.*", outer)
    bench.bus.publish(status("first"))
    assert done.wait(SECONDS)
    bench.bus.publish(status("second"))
    assert [one.payload.status for one in inner.wait(1)] == ["second"]


def test_a_closed_subscription_is_not_called_again(bench: Bench) -> None:
    gone, stays = Seen(), Seen()
    subscription = bench.bus.subscribe("status.*", gone)
    bench.bus.subscribe("status.*", stays)
    bench.bus.publish(status("first"))
    gone.wait(1)
    subscription.close()
    subscription.close()
    bench.bus.publish(status("second"))
    stays.wait(2)
    gone.wait(1)


def test_closing_waits_for_the_call_that_is_under_way(bench: Bench) -> None:
    inside, go_on = threading.Event(), threading.Event()
    log: list[str] = []

    def slow(_: Event[Any], __: Received) -> None:
        inside.set()
        assert go_on.wait(SECONDS)
        log.append("handled")

    subscription = bench.bus.subscribe("status.*", slow)
    with ThreadPoolExecutor(2) as pool:
        publishing = pool.submit(bench.bus.publish, status("started"))
        assert inside.wait(SECONDS)
        closing = pool.submit(lambda: (subscription.close(), log.append("closed")))
        assert not closing.done()
        go_on.set()
        closing.result(SECONDS)
        publishing.result(SECONDS)
    assert log == ["handled", "closed"]


def test_a_handler_may_close_its_own_subscription(bench: Bench) -> None:
    once, stays = Seen(), Seen()

    def only_once(one: Event[Any], message: Received) -> None:
        subscription.close()
        once(one, message)

    subscription = bench.bus.subscribe("status.*", only_once)
    bench.bus.subscribe("status.*", stays)
    for number in range(3):
        bench.bus.publish(status("progress", number), key="k")
    stays.wait(3)
    once.wait(1)
    assert bench.letters() == []


def test_a_closed_bus_refuses_and_calls_nobody(bench: Bench) -> None:
    seen = Seen()
    bench.bus.subscribe("**", seen)
    bench.bus.publish(status("first"))
    seen.wait(1)
    bench.bus.close()
    bench.bus.close()
    with pytest.raises(PermanentError, match="event bus is closed"):
        bench.bus.publish(status("second"))
    with pytest.raises(PermanentError, match="event bus is closed"):
        bench.bus.subscribe("**", seen)
    seen.wait(1)


def test_a_handler_may_close_the_bus(bench: Bench) -> None:
    seen = Seen()

    def last(one: Event[Any], message: Received) -> None:
        bench.bus.close()
        seen(one, message)

    bench.bus.subscribe("**", last)
    bench.bus.publish(status("first"))
    seen.wait(1)
    with pytest.raises(PermanentError):
        bench.bus.publish(status("second"))


@pytest.mark.parametrize(
    "text",
    [
        "삼성전자 005930",
        "نص عربي",
        "👩‍👩‍👧‍👦 𝔘",
        "a\x00b\x1b[2J\u2028\ufeff",
        '"\\/\b\f\n\r\t',
        "\x7f\x80\x9f",
    ],
)
def test_any_text_arrives_as_it_was(bench: Bench, text: str) -> None:
    seen = Seen()
    bench.bus.subscribe("news.**", seen)
    sent = article(text, text * 50)
    bench.bus.publish(sent, key=text)
    assert seen.wait(1) == [sent]
    assert seen.messages[0].key == text.encode()


def test_a_large_event_arrives_and_a_larger_one_is_refused(bench: Bench) -> None:
    seen = Seen()
    bench.bus.subscribe("command.*", seen)

    def command(characters: int) -> Event[Any]:
        return event(
            "command.requested",
            p.CommandRequested(task_type="x", params={"text": "가" * characters}),
        )

    sent = command(340_000)
    assert len(encode(sent)) > 1_000_000
    bench.bus.publish(sent)
    assert seen.wait(1) == [sent]
    with pytest.raises(BadEventError, match="an event has at most 1048576 bytes"):
        bench.bus.publish(command(350_000))


@pytest.mark.parametrize(
    ("unreadable", "message"),
    [
        (
            event("command.requested", p.CommandRequested(task_type="x" * 41)),
            r"\$.payload.taskType",
        ),
        (event("status.updated", failed("no").payload), "missing required field `status`"),
        (
            event("status.updated", p.StatusUpdated(status="x"), timestamp=datetime(2026, 1, 1)),
            "timezone component",
        ),
        (
            event("command.requested", p.CommandRequested(task_type="x", params={"a": object()})),
            "cannot be written as JSON",
        ),
    ],
    ids=["too long", "another payload", "no time zone", "an object"],
)
def test_what_nobody_could_read_is_not_sent(
    bench: Bench, unreadable: Event[Any], message: str
) -> None:
    seen = Seen()
    bench.bus.subscribe("**", seen)
    with pytest.raises(BadEventError, match=message):
        bench.bus.publish(unreadable)
    bench.bus.publish(status("started"))
    assert [one.event_type for one in seen.wait(1)] == ["status.updated"]


def test_an_unknown_event_type_is_refused(bench: Bench) -> None:
    with pytest.raises(BadConfigurationError, match=r"no\.such\.type' is no topic"):
        bench.bus.publish(event("no.such.type", p.StatusUpdated(status="x")))
    with pytest.raises(BadConfigurationError, match=r"no event type fits the pattern 'stok\.\*'"):
        bench.bus.subscribe("stok.*", Seen())


def test_many_threads_may_publish(bench: Bench) -> None:
    seen = Seen()
    bench.bus.subscribe("status.*", seen)

    def publish(thread: int) -> None:
        for number in range(25):
            bench.bus.publish(status(str(thread), number), key=str(thread))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(publish, range(8)))
    by_thread: dict[str, list[int]] = defaultdict(list)
    for one in seen.wait(200):
        by_thread[one.payload.status].append(one.payload.done)
    assert by_thread == {str(thread): list(range(25)) for thread in range(8)}


# The bus in memory alone.


def test_in_memory_everything_has_happened_when_publish_returns() -> None:
    bus = MemoryEventBus()
    log: list[str] = []

    def first(one: Event[Any], _: Received) -> None:
        log.append(f"first {one.payload.done}")
        if one.payload.done < 3:
            bus.publish(status("progress", one.payload.done + 1))

    bus.subscribe("status.*", first)
    bus.subscribe("status.*", lambda one, _: log.append(f"second {one.payload.done}"))
    bus.publish(status("progress", 1))
    assert log == ["first 1", "second 1", "first 2", "second 2", "first 3", "second 3"]


def test_in_memory_a_long_chain_needs_no_deep_stack() -> None:
    bus = MemoryEventBus()
    count = 0

    def again(one: Event[Any], _: Received) -> None:
        nonlocal count
        count += 1
        if one.payload.done < 5_000:
            bus.publish(status("progress", one.payload.done + 1))

    bus.subscribe("status.*", again)
    bus.publish(status("progress", 1))
    assert count == 5_000


def test_in_memory_an_interrupted_delivery_goes_on_with_the_next_event() -> None:
    bus = MemoryEventBus()
    seen = Seen()

    def interrupted(one: Event[Any], _: Received) -> None:
        if one.payload.status == "first":
            bus.publish(status("second"))
            raise KeyboardInterrupt

    bus.subscribe("status.*", interrupted)
    bus.subscribe("status.*", seen)
    with pytest.raises(KeyboardInterrupt):
        bus.publish(status("first"))
    bus.publish(status("third"))
    assert [one.payload.status for one in seen.events] == ["second", "third"]
    assert bus.dead_letters == []


def test_in_memory_the_clock_is_the_callers() -> None:
    then = datetime(2020, 1, 2, tzinfo=UTC)
    bus = MemoryEventBus(now=lambda: then)

    def broken(one: Event[Any], message: Received) -> None:
        assert message.sent_at == then
        raise ValueError("no")

    bus.subscribe("status.*", broken)
    bus.publish(status("started"))
    (letter,) = bus.dead_letters
    assert letter.error_class == "ValueError"
    assert (letter.first_at, letter.last_at) == (then, then)
