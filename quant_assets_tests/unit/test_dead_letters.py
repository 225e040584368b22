"""Dead letters on a real broker: their form, their state, replaying and dropping them.

One broker for the module; each test has topics of its own by their prefix.
"""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from quant_assets.errors import BadDataError, TransientError
from quant_assets.events.connection import KafkaConnection
from quant_assets.events.dead_letter_log import (
    DeadLetterLog,
    FiledLetter,
    Summary,
    drop,
    obstacle,
    original,
    read_log,
    replay,
)
from quant_assets.events.dead_letters import (
    BATCH_BYTES,
    BATCH_MESSAGES,
    MAX_ATTEMPT,
    RETENTION_GAP,
    DeadLetter,
    Origin,
    Settlement,
    State,
    attempt_of,
    batches,
    bury,
    first_seen,
    header_texts,
)
from quant_assets.events.envelope import EventDecoder, encode, event
from quant_assets.events.payloads import AnalysisRequested
from quant_assets.events.publisher import Outgoing, Publisher
from quant_assets.events.reading import Record, read_topic
from quant_assets.events.topics import TopicNames
from quant_assets.sandbox.broker import EmbeddedBroker

FIRST = datetime(2026, 3, 20, 3, 30, 0, 123456, tzinfo=UTC)
BURIED = FIRST + timedelta(minutes=5)
NOW = FIRST + timedelta(hours=1)
REQUEST = "analysis.combined.request"


class SmallMessages(KafkaConnection):
    """Refuses messages above 2,000 bytes, as a broker with a small limit does."""

    def producer(self) -> dict[str, Any]:
        return {**super().producer(), "message.max.bytes": 2_000}


class NoSending(KafkaConnection):
    """Reads from the broker, and sends to an address where none is."""

    def producer(self) -> dict[str, Any]:
        nowhere = {"bootstrap.servers": "127.0.0.1:1", "delivery.timeout.ms": 300, "linger.ms": 0}
        return {**super().producer(), **nowhere}


class Desk:
    """A broker, topics of one test, and short words for what is done there."""

    def __init__(self, servers: str) -> None:
        self.names = TopicNames(f"t{uuid.uuid4().hex}.", {"old.requests": REQUEST})
        self.connection = KafkaConnection(servers, is_embedded=True)
        self.publisher = Publisher(self.connection, self.names)
        self.topic = self.names.topic(REQUEST)

    def letter(self, offset: int, **changes: Any) -> DeadLetter:
        one = DeadLetter(
            origin=Origin(self.topic, 0, offset),
            code="not_json",
            reason=f"not JSON: {offset}",
            error_class="BadEventError",
            value=b'{"n": %d' % offset,
            key=b"us",
            attempts=1,
            first_at=FIRST,
            last_at=BURIED,
        )
        return replace(one, **changes)

    def bury(self, *letters: DeadLetter) -> None:
        bury(self.publisher, list(letters))

    def log(self) -> DeadLetterLog:
        return read_log(self.connection, self.names)

    def only(self) -> FiledLetter:
        (filed,) = self.log().letters
        return filed

    def replay(self, *letters: FiledLetter) -> list[str]:
        """Problems of a replay, one a letter."""
        return [done.problem for done in replay(self.publisher, letters, now=NOW)]

    def sent(self) -> list[Record]:
        return read_topic(self.connection, self.topic)

    def attempts(self) -> list[int]:
        return [attempt_of(record.headers) for record in self.sent()]

    def put(self, headers: dict[str, bytes], value: bytes | None = b"", **more: Any) -> None:
        """A record in the dead-letter topic that nobody here wrote."""
        record = Outgoing(self.names.dead_letter, value, headers=list(headers.items()), **more)
        self.publisher.send([record])


@pytest.fixture(scope="module")
def servers() -> Iterator[str]:
    with EmbeddedBroker() as broker:
        yield broker.bootstrap_servers


@pytest.fixture
def desk(servers: str) -> Iterator[Desk]:
    one = Desk(servers)
    yield one
    one.publisher.close()


def headers_of(outgoing: Outgoing) -> dict[str, str]:
    return header_texts(outgoing.headers)


@pytest.mark.parametrize(
    ("value", "key", "is_whole"),
    [(b"\x00\xff", b"\xfe", True), (None, None, True), (None, b"us", False), (b"", b"", True)],
)
def test_a_letter_survives_its_headers(
    desk: Desk, value: bytes | None, key: bytes | None, is_whole: bool
) -> None:
    one = desk.letter(7, value=value, key=key, is_whole=is_whole, attempts=MAX_ATTEMPT)
    record = one.outgoing("t")
    assert DeadLetter.read(headers_of(record), record.value, record.key) == one


def test_a_reason_that_is_no_unicode_is_buried_escaped(desk: Desk) -> None:
    desk.bury(desk.letter(1, reason="no file \udcff", error_class="\ud800"))
    assert desk.only().letter.reason == r"no file \udcff"


def test_a_settlement_survives_its_headers(desk: Desk) -> None:
    one = Settlement(Origin(desk.topic, 1, 2), "0123", State.REPLAYED, 2, NOW)
    assert Settlement.read(headers_of(one.outgoing("t", b"us"))) == one


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("origin", "no-place"),
        ("origin", "a/b/c"),
        ("origin", "a/1/ 2"),
        ("origin", "a/1/٢"),
        ("origin", "a/1/02"),
        ("origin", "\x1b[2J/1/2"),
        ("origin", "/1/2"),
        ("origin", "x" * 250 + "/1/2"),
        ("attempts", "0"),
        ("attempts", "-1"),
        ("attempts", "1000000"),
        ("attempts", "²"),
        ("attempts", ""),
        ("attempts", "9" * 5_000),
        ("first-at", "2026-03-20T03:30:00"),
        ("first-at", "0001-01-01T00:00:00+14:00"),
        ("last-at", "yesterday"),
        ("last-at", "9999-12-31T23:59:59-14:00"),
    ],
)
def test_a_wrong_header_makes_it_no_letter(desk: Desk, name: str, value: str) -> None:
    headers = {**headers_of(desk.letter(1).outgoing("t")), name: value}
    with pytest.raises(BadDataError, match="not a dead letter: "):
        DeadLetter.read(headers, b"", b"")


@pytest.mark.parametrize(
    "text", [b"0001-01-01T00:00:00+14:00", b"2026-03-20T03:30:00", b"\xff", b""]
)
def test_a_wrong_first_time_of_a_message_is_its_own(text: bytes) -> None:
    assert first_seen([("first-at", text)], NOW) == NOW


def test_a_missing_header_is_named(desk: Desk) -> None:
    headers = headers_of(desk.letter(1).outgoing("t"))
    del headers["error-class"]
    with pytest.raises(BadDataError, match="no header 'error-class'"):
        DeadLetter.read(headers, b"", b"")


def test_without_a_topic_there_are_no_letters(desk: Desk) -> None:
    assert desk.log() == DeadLetterLog((), ())
    assert desk.log().summary() == Summary(0, None)


def test_a_letter_is_read_with_its_size_and_without_its_bytes(desk: Desk) -> None:
    one = desk.letter(3, value=b"\x00\xff" * 50_000)
    desk.bury(one)
    filed = desk.only()
    assert filed.letter == replace(one, value=None)
    assert (filed.id, filed.size_bytes, filed.state) == (f"{desk.topic}/0/3", 100_000, State.OPEN)
    assert (filed.next_attempt, filed.settled_at) == (2, None)
    found = original(desk.connection, filed)
    assert found is not None
    assert (found.value, found.key) == (one.value, b"us")


def test_the_numbers_that_are_watched(desk: Desk) -> None:
    early = FIRST - timedelta(days=3)
    desk.bury(
        desk.letter(1, first_at=early, code="rare"),
        *(desk.letter(n) for n in (2, 3)),
        desk.letter(4, first_at=early - timedelta(days=1), last_at=FIRST),
    )
    oldest = desk.log().letters[0]
    assert oldest.letter.origin.offset == 4
    drop(desk.publisher, [oldest])
    log = desk.log()
    assert log.summary() == Summary(3, early)
    assert log.open_by_code() == {"not_json": 2, "rare": 1}
    assert log.letters[0].state is State.DROPPED


def test_a_letter_that_was_buried_twice_is_one(desk: Desk) -> None:
    """Without a key the two stand in any partitions, so neither is certain to be read first."""
    later = {"last_at": BURIED + timedelta(hours=1), "first_at": FIRST + timedelta(seconds=1)}
    for offset in range(20):
        one = desk.letter(offset, key=None)
        both = [one, replace(one, reason="said later", **later)]
        desk.bury(*(both if offset % 2 else reversed(both)))
    letters = desk.log().letters
    assert len(letters) == 20
    assert {filed.letter.reason for filed in letters} == {"said later"}
    assert {filed.letter.first_at for filed in letters} == {FIRST}
    assert desk.replay(*letters) == [""] * 20
    assert desk.attempts() == [2] * 20
    assert desk.log().open_letters() == []


def test_a_letter_buried_again_after_it_was_settled_stays_settled(desk: Desk) -> None:
    one, other = desk.letter(1), desk.letter(2, key=None)
    desk.bury(one, other)
    drop(desk.publisher, desk.log().letters)
    desk.bury(one, replace(other, last_at=NOW))
    assert [filed.state for filed in desk.log().letters] == [State.DROPPED] * 2


def test_a_settlement_counts_wherever_it_stands(desk: Desk) -> None:
    """Before the letter and with other keys, which puts it into other partitions."""
    letters = [desk.letter(n) for n in range(12)]
    topic = desk.names.dead_letter
    for number, one in enumerate(letters):
        settlement = Settlement(one.origin, one.digest, State.REPLAYED, 2, NOW)
        desk.publisher.send([settlement.outgoing(topic, b"key %d" % number)])
    desk.bury(*letters)
    partitions = {record.origin.partition for record in read_topic(desk.connection, topic)}
    assert len(partitions) > 2
    assert {filed.state for filed in desk.log().letters} == {State.REPLAYED}


def test_what_was_sent_counts_before_what_was_dropped(desk: Desk) -> None:
    desk.bury(desk.letter(1))
    filed = desk.only()
    desk.replay(filed)
    drop(desk.publisher, [filed])
    assert desk.only().state is State.REPLAYED
    assert desk.only().settled_at == NOW


def test_another_message_at_the_same_place_is_another_letter(desk: Desk) -> None:
    """The request topic was deleted and created again after the first was dropped."""
    desk.bury(desk.letter(5))
    drop(desk.publisher, [desk.only()])
    desk.bury(desk.letter(5, value=b"another", last_at=NOW))
    dropped, opened = desk.log().letters
    assert [dropped.state, opened.state] == [State.DROPPED, State.OPEN]
    assert dropped.id == f"{desk.topic}/0/5~{desk.letter(5).digest}"
    assert opened.id.startswith(f"{desk.topic}/0/5~")
    assert desk.replay(opened) == [""]
    assert [record.value for record in desk.sent()] == [b"another"]


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "no header 'origin'"),
        ({"origin": b"a/1/2"}, "no header 'code'"),
        ({"settled": b"replayed"}, "no header 'origin'"),
        (
            {"settled": b"eaten", "origin": b"a/1/2", "digest": b"", "attempt": b"1"},
            "'eaten' is not a valid State",
        ),
        ({"origin": b"\xff\xfe"}, "not enough values to unpack"),
    ],
)
def test_a_record_that_is_no_letter_is_named_and_hides_nothing(
    desk: Desk, headers: dict[str, bytes], reason: str
) -> None:
    desk.put(headers, b"\x00" * 1_000)
    desk.put(headers, None)
    desk.bury(desk.letter(1))
    log = desk.log()
    assert [filed.letter.origin.offset for filed in log.letters] == [1]
    assert len(log.strangers) == 2
    assert {place.topic for place, _ in log.strangers} == {desk.names.dead_letter}
    assert all(reason in why for _, why in log.strangers)


def test_a_settlement_without_its_letter_is_nothing(desk: Desk) -> None:
    settlement = Settlement(Origin(desk.topic, 0, 1), "0", State.DROPPED, 1, NOW)
    desk.publisher.send([settlement.outgoing(desk.names.dead_letter, None)])
    assert desk.log() == DeadLetterLog((), ())


def test_a_replay_sends_the_original_message_as_its_next_attempt(desk: Desk) -> None:
    asked = event(REQUEST, AnalysisRequested(market="us"))
    desk.bury(desk.letter(9, value=encode(asked), attempts=3))
    assert desk.replay(desk.only()) == [""]
    (record,) = desk.sent()
    assert (record.value, record.key) == (encode(asked), b"us")
    assert EventDecoder(desk.names).decode(desk.topic, record.value).event_id == asked.event_id
    assert attempt_of(record.headers) == 4
    assert first_seen(record.headers, NOW) == FIRST
    assert set(header_texts(record.headers)) == {"attempt", "first-at"}
    filed = desk.only()
    assert (filed.state, filed.settled_at, filed.next_attempt) == (State.REPLAYED, NOW, 5)


@pytest.mark.parametrize("value", [b"", None, b"\x00\xff\x1b[2J"])
def test_a_replay_keeps_bytes_of_every_kind(desk: Desk, value: bytes | None) -> None:
    desk.bury(desk.letter(1, value=value, key=None))
    assert desk.replay(desk.only()) == [""]
    (record,) = desk.sent()
    assert (record.value, record.key) == (value, None)


def test_a_replay_goes_to_the_old_topic_that_the_letter_came_from(desk: Desk) -> None:
    origin = Origin("old.requests", 0, 1)
    value = uuid.uuid4().bytes
    desk.bury(desk.letter(1, origin=origin, value=value))
    assert desk.replay(desk.only()) == [""]
    assert value in [r.value for r in read_topic(desk.connection, "old.requests")]
    assert desk.sent() == []


def test_a_second_replay_uses_an_attempt_that_no_letter_of_the_message_has_used(
    desk: Desk,
) -> None:
    """Attempt 2 failed and became a letter itself; attempt 3 was its replay."""
    one = desk.letter(1)
    desk.bury(one)
    desk.replay(desk.only())
    desk.bury(replace(one, origin=Origin(desk.topic, 0, 8), attempts=2, last_at=NOW))
    first, second = desk.log().letters
    assert (first.state, second.state) == (State.REPLAYED, State.OPEN)
    desk.replay(second)
    first, second = desk.log().letters
    desk.replay(first)
    assert desk.attempts() == [2, 3, 4]


def test_letters_without_bytes_do_not_count_each_others_attempts(desk: Desk) -> None:
    desk.publisher.send([Outgoing(desk.topic, b"long", b"us")])
    one = desk.letter(0, origin=desk.sent()[0].origin, value=None, is_whole=False)
    desk.bury(one, desk.letter(9, value=None, is_whole=False, attempts=7))
    desk.replay(*(filed for filed in desk.log().letters if filed.letter.attempts == 1))
    assert {filed.next_attempt for filed in desk.log().letters} == {3, 8}


CHILD = """
import os, signal, sys
from quant_assets.events.connection import KafkaConnection
from quant_assets.events.dead_letter_log import read_log, replay
from quant_assets.events.publisher import Publisher
from quant_assets.events.topics import TopicNames

class Dying(Publisher):
    def send(self, messages, *, timeout_seconds=None):
        if any(message.topic == self.names.dead_letter for message in messages):
            os.kill(os.getpid(), signal.SIGKILL)
        super().send(messages, timeout_seconds=timeout_seconds)

connection, names = KafkaConnection(sys.argv[1], is_embedded=True), TopicNames(sys.argv[2])
list(replay(Dying(connection, names), read_log(connection, names).letters))
"""


def test_killed_between_sending_and_settling_the_same_attempt_is_sent_again(desk: Desk) -> None:
    desk.bury(*(desk.letter(n) for n in range(3)))
    words = [sys.executable, "-c", CHILD, desk.connection.bootstrap_servers, desk.names.prefix]
    child = subprocess.run(words, env=dict(os.environ), timeout=600)
    assert child.returncode == -signal.SIGKILL
    assert desk.attempts() == [2, 2, 2]
    assert len(desk.log().open_letters()) == 3
    assert desk.replay(*desk.log().open_letters()) == [""] * 3
    assert desk.attempts() == [2] * 6
    assert len({record.value for record in desk.sent()}) == 3
    assert desk.log().open_letters() == []


def test_letters_without_their_bytes_are_read_at_their_origin(desk: Desk) -> None:
    long = b"x" * 5_000
    desk.publisher.send([Outgoing(desk.topic, long, b"us")])
    (stored,) = desk.sent()
    small = Publisher(SmallMessages(desk.connection.bootstrap_servers), desk.names)
    bury(small, [desk.letter(77), desk.letter(0, origin=stored.origin, value=long)])
    small.close()
    by_offset = {filed.letter.origin.offset: filed for filed in desk.log().letters}
    filed = by_offset[stored.origin.offset]
    assert (filed.letter.is_whole, filed.size_bytes) == (False, None)
    assert by_offset[77].letter.is_whole
    assert desk.replay(filed) == [""]
    assert [(r.value, attempt_of(r.headers)) for r in desk.sent()] == [(long, 1), (long, 2)]


@pytest.mark.parametrize("place", ["no such offset", "no such topic", "another message"])
def test_a_letter_whose_bytes_are_gone_everywhere_says_so(desk: Desk, place: str) -> None:
    origin = Origin(desk.topic, 0, 50)
    if place == "another message":
        desk.publisher.send([Outgoing(desk.topic, b"another", b"kr")])
        origin = desk.sent()[0].origin
    elif place == "no such offset":
        desk.publisher.send([Outgoing(desk.topic, b"another", b"us")])
    before = len(desk.sent())
    desk.bury(desk.letter(1, origin=origin, value=None, is_whole=False), desk.letter(2))
    gone, there = sorted(desk.log().letters, key=lambda filed: filed.letter.is_whole)
    problems = {done.filed.id: done.problem for done in replay(desk.publisher, [gone, there])}
    assert f"gone from {origin} too" in problems[gone.id]
    assert problems[there.id] == ""
    assert desk.log().open_letters() == [gone]
    assert len(desk.sent()) == before + 1


def test_a_gap_can_only_be_dropped(desk: Desk) -> None:
    desk.bury(desk.letter(4, code=RETENTION_GAP, value=None, key=None))
    filed = desk.only()
    assert filed.is_gap
    assert "can only be dropped" in obstacle(filed, desk.names)
    assert "can only be dropped" in desk.replay(filed)[0]
    assert desk.only().state is State.OPEN
    drop(desk.publisher, [filed])
    assert desk.only().state is State.DROPPED
    assert desk.sent() == []


@pytest.mark.parametrize("topic", ["payments", "dead-letter"])
def test_nothing_is_sent_to_a_topic_that_is_not_the_platforms(desk: Desk, topic: str) -> None:
    topic = desk.names.dead_letter if topic == "dead-letter" else topic
    desk.bury(desk.letter(1, origin=Origin(topic, 0, 0)))
    assert "is no topic that the platform reads" in desk.replay(desk.only())[0]
    assert desk.only().state is State.OPEN
    assert len(read_topic(desk.connection, desk.names.dead_letter)) == 1


def test_the_last_attempt_that_a_header_can_hold_is_the_last(desk: Desk) -> None:
    desk.bury(desk.letter(1, attempts=MAX_ATTEMPT))
    assert str(MAX_ATTEMPT) in desk.replay(desk.only())[0]
    assert desk.sent() == []


def test_many_letters_keep_the_order_of_their_key(desk: Desk) -> None:
    count = 2 * BATCH_MESSAGES + 100
    desk.bury(*(desk.letter(n, key=b"key %d" % (n % 5)) for n in range(count)))
    assert desk.replay(*reversed(desk.log().letters)) == [""] * count
    for key in {record.key for record in desk.sent()}:
        values = [record.value for record in desk.sent() if record.key == key]
        assert values == [b'{"n": %d' % n for n in range(count) if b"key %d" % (n % 5) == key]
    assert desk.log().open_letters() == []


def test_a_message_that_the_broker_refuses_stops_no_other(desk: Desk) -> None:
    desk.bury(desk.letter(1), desk.letter(2, value=b"x" * 5_000), desk.letter(3))
    small = Publisher(
        SmallMessages(desk.connection.bootstrap_servers, is_embedded=True), desk.names
    )
    done = {d.filed.letter.origin.offset: d.problem for d in replay(small, desk.log().letters)}
    small.close()
    assert "Kafka did not take a message" in done.pop(2)
    assert set(done.values()) == {""}
    assert [filed.letter.origin.offset for filed in desk.log().open_letters()] == [2]
    assert set(desk.attempts()) == {2}


def test_without_the_brokers_word_a_letter_stays_open(desk: Desk) -> None:
    desk.bury(desk.letter(1))
    nowhere = NoSending(
        desk.connection.bootstrap_servers, delivery_timeout_seconds=0.3, is_embedded=True
    )
    with pytest.raises(TransientError):
        list(replay(Publisher(nowhere, desk.names), desk.log().letters))
    with pytest.raises(TransientError):
        drop(Publisher(nowhere, desk.names), desk.log().letters)
    assert desk.only().state is State.OPEN


def test_batches_are_short_and_small_and_lose_nothing() -> None:
    sizes = [1] * (BATCH_MESSAGES + 1) + [BATCH_BYTES + 5, 1, BATCH_BYTES - 1, 1]
    found = list(batches(sizes, lambda size: size))
    assert [size for batch in found for size in batch] == sizes
    assert all(len(batch) <= BATCH_MESSAGES for batch in found)
    assert all(sum(batch) <= BATCH_BYTES for batch in found if len(batch) > 1)
    assert list(batches([], len)) == []
