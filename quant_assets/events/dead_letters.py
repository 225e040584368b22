"""Dead letters: what could not be processed. What belongs here: their form on the wire.

A dead letter is the original message, byte for byte, with headers that say where it was and why it
is here. Kafka cannot remove one record, so that a letter was replayed or dropped is a record of its
own in the same topic: the topic alone tells the whole state.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

from quant_assets.errors import BadDataError
from quant_assets.events.publisher import Headers, Outgoing, Publisher, RefusedMessageError

ATTEMPT_HEADER = "attempt"
FIRST_AT_HEADER = "first-at"
SETTLED_HEADER = "settled"
RETENTION_GAP = "retention_gap"
"""Code of the letter that stands for messages which were removed before they were read."""
REASON_LIMIT = 2_000
MAX_ATTEMPT = 999_999
BATCH_MESSAGES = 200
BATCH_BYTES = 8_000_000
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")

T = TypeVar("T")


@dataclass(frozen=True)
class Origin:
    """Where a message stood."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Origin":
        """The origin that ``str`` wrote; raises ``ValueError``."""
        topic, partition, offset = text.rsplit("/", 2)
        origin = cls(topic, int(partition), int(offset))
        if str(origin) != text or not _TOPIC.fullmatch(topic):
            raise ValueError(f"{text[:300]!r} is no topic/partition/offset")
        return origin


class State(StrEnum):
    """What became of a letter."""

    OPEN = "open"
    REPLAYED = "replayed"
    DROPPED = "dropped"


@dataclass(frozen=True)
class DeadLetter:
    """A message that could not be processed; its ``id`` is its origin.

    ``code`` is the kind of fault in one word, ``reason`` the sentence, ``error_class`` the type of
    the error. ``attempts`` counts deliveries, 1 for the first. ``is_whole`` is False where the
    broker refused the original bytes and only the origin is kept.
    """

    origin: Origin
    code: str
    reason: str
    error_class: str
    value: bytes | None
    key: bytes | None
    attempts: int
    first_at: datetime
    last_at: datetime
    is_whole: bool = True

    @property
    def id(self) -> str:
        """What the commands call it."""
        return str(self.origin)

    @property
    def digest(self) -> str:
        """Equal for the same message, also where it stands elsewhere after a replay.

        A topic that was deleted and created again has other messages at the same places. Of a
        letter that is not whole only the origin is known.
        """
        content = hashlib.sha256(b"" if self.is_whole else self.id.encode())
        for part in (self.key, self.value):
            content.update(b"-" if part is None else b"%d:" % len(part))
            content.update(part or b"")
        return content.hexdigest()[:16]

    def outgoing(self, topic: str) -> Outgoing:
        """The record for the dead-letter topic."""
        headers = {
            "code": self.code,
            "reason": self.reason[:REASON_LIMIT],
            "error-class": self.error_class,
            "origin": str(self.origin),
            "attempts": str(self.attempts),
            FIRST_AT_HEADER: self.first_at.isoformat(),
            "last-at": self.last_at.isoformat(),
            "whole": "yes" if self.is_whole else "no",
        }
        encoded = _headers(headers)
        return Outgoing(topic, self.value, self.key, encoded)

    @classmethod
    def read(
        cls, headers: Mapping[str, str], value: bytes | None, key: bytes | None
    ) -> "DeadLetter":
        """The letter of a record; raises ``BadDataError`` for a record that is none."""
        try:
            return cls(
                origin=Origin.parse(headers["origin"]),
                code=headers["code"],
                reason=headers["reason"],
                error_class=headers["error-class"],
                value=value,
                key=key,
                attempts=_attempt(headers["attempts"]),
                first_at=_instant(headers[FIRST_AT_HEADER]),
                last_at=_instant(headers["last-at"]),
                is_whole=headers["whole"] == "yes",
            )
        except (KeyError, ValueError) as error:
            raise BadDataError(f"not a dead letter: {_complaint(error)}") from error


@dataclass(frozen=True)
class Settlement:
    """That a letter was replayed (as ``attempt``) or dropped: a record beside the letter's.

    It counts wherever it stands, before or behind the letter or in another partition. It names the
    message by origin and ``digest``.
    """

    origin: Origin
    digest: str
    state: State
    attempt: int
    at: datetime

    def outgoing(self, topic: str, key: bytes | None) -> Outgoing:
        """The record; with the letter's ``key`` retention removes both at about the same time."""
        headers = {
            SETTLED_HEADER: self.state.value,
            "origin": str(self.origin),
            "digest": self.digest,
            ATTEMPT_HEADER: str(self.attempt),
            "at": self.at.isoformat(),
        }
        return Outgoing(topic, None, key, _headers(headers))

    @classmethod
    def read(cls, headers: Mapping[str, str]) -> "Settlement":
        """The settlement of a record; raises ``BadDataError`` for a record that is none."""
        try:
            return cls(
                origin=Origin.parse(headers["origin"]),
                digest=headers["digest"],
                state=State(headers[SETTLED_HEADER]),
                attempt=_attempt(headers[ATTEMPT_HEADER]),
                at=_instant(headers["at"]),
            )
        except (KeyError, ValueError) as error:
            raise BadDataError(f"not a settlement: {_complaint(error)}") from error


def _complaint(error: KeyError | ValueError) -> str:
    return f"no header {error.args[0]!r}" if isinstance(error, KeyError) else str(error)


def _attempt(text: str) -> int:
    if not text.isdecimal() or not 0 < len(text) < 7 or not int(text):
        raise ValueError(f"{text[:100]!r} is no number of attempts (1 to {MAX_ATTEMPT})")
    return int(text)


def _instant(text: str) -> datetime:
    """The instant that ``isoformat`` wrote, UTC; raises ``ValueError``."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone")
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{text!r} is out of range") from None


def header_texts(headers: Headers | None) -> dict[str, str]:
    """Headers as texts; bytes that are no UTF-8 are shown escaped, a repeated name counts last."""
    return {
        name: (value or b"").decode("utf-8", "backslashreplace") for name, value in headers or ()
    }


def attempt_of(headers: Headers | None) -> int:
    """Which attempt a message is: 1, or what a replay wrote into its header."""
    try:
        return _attempt(header_texts(headers).get(ATTEMPT_HEADER, "1"))
    except ValueError:
        return 1


def _headers(texts: Mapping[str, str]) -> list[tuple[str, bytes]]:
    return [(name, text.encode(errors="backslashreplace")) for name, text in texts.items()]


def bury(publisher: Publisher, letters: list[DeadLetter]) -> None:
    """Send ``letters`` to the dead-letter topic; returns once the broker has all of them.

    A letter whose bytes the broker refuses for their size goes without them: its origin says where
    they still are. One that is sent twice is one letter.
    """
    topic = publisher.names.dead_letter
    for batch in batches(letters, lambda letter: len(letter.value or b"")):
        try:
            publisher.send([letter.outgoing(topic) for letter in batch])
        except RefusedMessageError:
            for letter in batch:
                _bury_one(publisher, letter)


def _bury_one(publisher: Publisher, letter: DeadLetter) -> None:
    topic = publisher.names.dead_letter
    try:
        publisher.send([letter.outgoing(topic)])
    except RefusedMessageError as error:
        if error.code not in ("MSG_SIZE_TOO_LARGE", "_MSG_SIZE_TOO_LARGE"):
            raise
        publisher.send([replace(letter, value=None, is_whole=False).outgoing(topic)])


def batches(items: Iterable[T], size_bytes: Callable[[T], int]) -> Iterator[list[T]]:
    """``items`` in lists that can be sent at once; a single item may be larger."""
    batch: list[T] = []
    total = 0
    for item in items:
        size = size_bytes(item)
        if batch and (len(batch) >= BATCH_MESSAGES or total + size > BATCH_BYTES):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += size
    if batch:
        yield batch


def first_seen(headers: Headers | None, sent_at: datetime) -> datetime:
    """When a message was first delivered: what a replay wrote, else when it was sent."""
    try:
        return _instant(header_texts(headers)[FIRST_AT_HEADER])
    except (KeyError, ValueError):
        return sent_at
