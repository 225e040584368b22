"""What became of the dead letters. What belongs here: reading their state, replaying, dropping.

The dead-letter topic alone says it: letters, and a settlement for each that was replayed or
dropped. Records count whatever their order and however often they stand there, so that any number
of hosts may write at the same time and a crash anywhere leaves nothing half done: a letter without
a settlement is open, and replaying it again sends the same attempt, which whoever reads it drops.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple

from quant_assets.errors import BadConfigurationError, BadDataError, TransientError
from quant_assets.events.bus import HANDLER_FAILED
from quant_assets.events.connection import KafkaConnection
from quant_assets.events.dead_letters import (
    ATTEMPT_HEADER,
    FIRST_AT_HEADER,
    MAX_ATTEMPT,
    RETENTION_GAP,
    SETTLED_HEADER,
    DeadLetter,
    Origin,
    Settlement,
    State,
    batches,
    header_texts,
)
from quant_assets.events.publisher import Outgoing, Publisher, RefusedMessageError
from quant_assets.events.reading import (
    Record,
    consumer,
    read_at,
    read_ranges,
    topic_partitions,
    watermarks,
)
from quant_assets.events.topics import EVENT_TYPES, Role, TopicNames


@dataclass(frozen=True)
class FiledLetter:
    """A letter and what became of it.

    ``letter`` is without its bytes, which stand at ``place`` in the dead-letter topic and are
    ``size_bytes`` long (None: there are none). ``id`` is its origin; where different messages stood
    at one origin, since the topic was created anew, each id ends in its message's digest.
    """

    id: str
    letter: DeadLetter
    digest: str
    place: Origin
    size_bytes: int | None
    state: State
    settled_at: datetime | None
    next_attempt: int

    @property
    def is_gap(self) -> bool:
        """Whether it stands for lost messages, of which nothing can be sent again."""
        return self.letter.code == RETENTION_GAP


class Stranger(NamedTuple):
    """A record of the dead-letter topic that is nothing of ours."""

    place: Origin
    reason: str


class Summary(NamedTuple):
    """The numbers that are watched."""

    open_count: int
    oldest_first_at: datetime | None


@dataclass(frozen=True)
class DeadLetterLog:
    """All that the topic held when it was read; letters by the time they were last buried."""

    letters: tuple[FiledLetter, ...]
    strangers: tuple[Stranger, ...]

    def open_letters(self) -> list[FiledLetter]:
        """Letters that nobody has replayed or dropped."""
        return [filed for filed in self.letters if filed.state is State.OPEN]

    def open_by_code(self) -> dict[str, int]:
        """How many letters are open for each kind of fault, most first."""
        return dict(Counter(filed.letter.code for filed in self.open_letters()).most_common())

    def summary(self) -> Summary:
        """Number of the open letters, and when the oldest of them was first delivered."""
        letters = self.open_letters()
        return Summary(len(letters), min((f.letter.first_at for f in letters), default=None))


@dataclass(frozen=True)
class Replay:
    """What came of replaying a letter; ``problem`` says why nothing was sent."""

    filed: FiledLetter
    problem: str = ""


def read_log(connection: KafkaConnection, names: TopicNames) -> DeadLetterLog:
    """Read the dead-letter topic; the letters' bytes are not kept.

    Raises ``TransientError`` if no broker answers.
    """
    filing = _Filing()
    for record in _records(connection, names.dead_letter):
        filing.add(record)
    return filing.log()


def obstacle(filed: FiledLetter, names: TopicNames) -> str:
    """Why ``filed`` cannot be replayed; empty if nothing is known to be in the way."""
    if filed.is_gap:
        return "it stands for messages that retention removed: it can only be dropped"
    if filed.next_attempt > MAX_ATTEMPT:
        return f"it was tried {MAX_ATTEMPT} times, which is the most: it can only be dropped"
    try:
        event_type = names.event_type(filed.letter.origin.topic)
    except BadConfigurationError:
        return (
            f"{filed.letter.origin.topic} is no topic that the platform reads: drop it, or name "
            "the topic in KAFKA_TOPIC_ALIASES"
        )
    if filed.letter.code == HANDLER_FAILED and EVENT_TYPES[event_type].role is Role.REQUEST:
        return "the request was served, a handler failed on it: a replay would run it again"
    return ""


def replay(
    publisher: Publisher, letters: Iterable[FiledLetter], *, now: datetime | None = None
) -> Iterator[Replay]:
    """Send ``letters`` to where they came from, whatever their state, and settle each.

    Bytes and key are the original ones; the headers say which attempt it is and when the first
    was. Yields each letter once its settlement is acknowledged, in the order of the dead-letter
    topic, which keeps that of every key. Raises ``TransientError`` if the broker is away.
    """
    ordered = sorted(letters, key=lambda filed: (filed.place.partition, filed.place.offset))
    for batch in batches(ordered, lambda filed: filed.size_bytes or 0):
        yield from _replay_batch(publisher, batch, now or datetime.now(UTC))


def drop(
    publisher: Publisher, letters: Sequence[FiledLetter], *, now: datetime | None = None
) -> None:
    """Settle ``letters`` as dropped: nothing is sent, and they are open no longer."""
    _settle(publisher, letters, State.DROPPED, now or datetime.now(UTC))


def original(connection: KafkaConnection, filed: FiledLetter) -> Record | None:
    """The record whose bytes are the letter's message, None if nobody has them any more.

    It is the letter's own, or that of its origin if the letter is not whole.
    """
    if filed.letter.is_whole:
        return read_at(connection, filed.place)
    found = read_at(connection, filed.letter.origin)
    return found if found is not None and found.key == filed.letter.key else None


def _records(connection: KafkaConnection, topic: str) -> Iterator[Record]:
    """All that a topic holds now, one at a time: the letters together may not fit into memory."""
    with consumer(connection) as reader:
        servers = connection.bootstrap_servers
        partitions = topic_partitions(reader, [topic], servers=servers).get(topic, [])
        ranges = {number: watermarks(reader, topic, number) for number in partitions}
    yield from read_ranges(connection, {topic: ranges})


_Identity = tuple[Origin, str]


class _Filed(NamedTuple):
    """The latest record of a letter."""

    letter: DeadLetter
    place: Origin
    size_bytes: int | None


class _Filing:
    """Puts records together to letters, in whatever order they come."""

    def __init__(self) -> None:
        self._letters: dict[_Identity, _Filed] = {}
        self._settlements: dict[_Identity, list[Settlement]] = defaultdict(list)
        self._attempts: dict[str, int] = {}
        self._strangers: list[Stranger] = []

    def add(self, record: Record) -> None:
        headers = header_texts(record.headers)
        try:
            if SETTLED_HEADER in headers:
                self._add_settlement(Settlement.read(headers))
            else:
                self._add_letter(DeadLetter.read(headers, record.value, record.key), record.origin)
        except BadDataError as error:
            self._strangers.append(Stranger(record.origin, str(error)))

    def log(self) -> DeadLetterLog:
        digests = Counter(origin for origin, _ in self._letters)
        letters = [self._filed(identity, digests) for identity in self._letters]
        letters.sort(key=lambda filed: (filed.letter.last_at, filed.id))
        return DeadLetterLog(tuple(letters), tuple(self._strangers))

    def _add_letter(self, letter: DeadLetter, place: Origin) -> None:
        digest = letter.digest
        self._count(digest, letter.attempts)
        size = None if letter.value is None else len(letter.value)
        found = _Filed(replace(letter, value=None), place, size)
        known = self._letters.get((letter.origin, digest), found)
        latest = max(known, found, key=lambda filed: filed.letter.last_at)
        first_at = min(known.letter.first_at, letter.first_at)
        self._letters[letter.origin, digest] = latest._replace(
            letter=replace(latest.letter, first_at=first_at)
        )

    def _add_settlement(self, settlement: Settlement) -> None:
        self._settlements[settlement.origin, settlement.digest].append(settlement)
        if settlement.state is State.REPLAYED:
            self._count(settlement.digest, settlement.attempt)

    def _count(self, digest: str, attempt: int) -> None:
        self._attempts[digest] = max(attempt, self._attempts.get(digest, 0))

    def _filed(self, identity: _Identity, digests: Mapping[Origin, int]) -> FiledLetter:
        origin, digest = identity
        letter, place, size_bytes = self._letters[identity]
        settlements = self._settlements.get(identity, [])
        states = {settlement.state for settlement in settlements}
        # What was sent cannot be unsent: replayed counts before dropped.
        state = next((s for s in (State.REPLAYED, State.DROPPED) if s in states), State.OPEN)
        times = [settlement.at for settlement in settlements if settlement.state is state]
        # Sent once more, a message needs an attempt that none of its other letters has used.
        tried = self._attempts[digest] if state is State.REPLAYED else letter.attempts
        return FiledLetter(
            id=str(origin) if digests[origin] == 1 else f"{origin}~{digest}",
            letter=letter,
            digest=digest,
            place=place,
            size_bytes=size_bytes,
            state=state,
            settled_at=max(times, default=None),
            next_attempt=tried + 1,
        )


def _replay_batch(
    publisher: Publisher, batch: Sequence[FiledLetter], now: datetime
) -> Iterator[Replay]:
    problems: dict[str, str] = {}
    outgoing: dict[str, Outgoing] = {}
    bodies = _bodies(publisher.connection, batch)
    for filed in batch:
        problem = obstacle(filed, publisher.names)
        body = None if problem else bodies.get(filed.place) or original(publisher.connection, filed)
        if body is not None:
            outgoing[filed.id] = _repeated(filed, body)
        else:
            problems[filed.id] = problem or _gone(filed)
    problems |= _send(publisher, outgoing)
    sent = [filed for filed in batch if filed.id not in problems]
    try:
        _settle(publisher, sent, State.REPLAYED, now)
    except TransientError as error:
        raise TransientError(
            f"{len(sent)} letter(s) were sent, and this could not be noted ({error}); replay them "
            "again: the same attempt is sent, and counts once"
        ) from error
    for filed in batch:
        yield Replay(filed, problems.get(filed.id, ""))


def _bodies(connection: KafkaConnection, batch: Sequence[FiledLetter]) -> dict[Origin, Record]:
    """The records of those letters that are whole, by place."""
    wanted = {filed.place for filed in batch if filed.letter.is_whole}
    offsets: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for place in wanted:
        offsets[place.topic][place.partition].append(place.offset)
    ranges = {
        topic: {number: (min(found), max(found) + 1) for number, found in partitions.items()}
        for topic, partitions in offsets.items()
    }
    records = read_ranges(connection, ranges)
    return {record.origin: record for record in records if record.origin in wanted}


def _repeated(filed: FiledLetter, body: Record) -> Outgoing:
    headers = [
        (ATTEMPT_HEADER, str(filed.next_attempt).encode()),
        (FIRST_AT_HEADER, filed.letter.first_at.isoformat().encode()),
    ]
    return Outgoing(filed.letter.origin.topic, body.value, body.key, headers)


def _send(publisher: Publisher, outgoing: Mapping[str, Outgoing]) -> dict[str, str]:
    """Send all that the broker takes; why it refused the others, by id."""
    try:
        publisher.send(list(outgoing.values()))
    except RefusedMessageError:
        problems = {}
        for letter_id, message in outgoing.items():
            try:
                publisher.send([message])
            except RefusedMessageError as error:
                problems[letter_id] = str(error)
        return problems
    return {}


def _settle(
    publisher: Publisher, letters: Sequence[FiledLetter], state: State, now: datetime
) -> None:
    publisher.send(
        [
            Settlement(
                origin=filed.letter.origin,
                digest=filed.digest,
                state=state,
                attempt=filed.letter.attempts if state is State.DROPPED else filed.next_attempt,
                at=now,
            ).outgoing(publisher.names.dead_letter, filed.letter.key)
            for filed in letters
        ]
    )


def _gone(filed: FiledLetter) -> str:
    if filed.letter.is_whole:
        return f"its record at {filed.place} is gone: list the letters again"
    return (
        "the letter was too large to be kept with its bytes, and they are gone from "
        f"{filed.letter.origin} too: drop it, and have the message sent again"
    )
