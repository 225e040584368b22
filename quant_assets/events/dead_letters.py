"""Dead letters: what could not be processed. What belongs here: their form on the wire.

A dead letter is the original message, byte for byte, with headers that say where it was and why it
is here. Kafka cannot remove one record, so that a letter was replayed or dropped is a record of its
own in the same topic: the topic alone tells the whole state.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from quant_assets.errors import BadDataError
from quant_assets.events.publisher import Headers, Outgoing, Publisher, RefusedMessageError

ATTEMPT_HEADER = "attempt"
FIRST_AT_HEADER = "first-at"
REASON_LIMIT = 2_000


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
        return cls(topic, int(partition), int(offset))


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
        return Outgoing(
            topic, self.value, self.key, [(name, text.encode()) for name, text in headers.items()]
        )

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
                attempts=int(headers["attempts"]),
                first_at=datetime.fromisoformat(headers[FIRST_AT_HEADER]),
                last_at=datetime.fromisoformat(headers["last-at"]),
                is_whole=headers["whole"] == "yes",
            )
        except (KeyError, ValueError) as error:
            raise BadDataError(f"a record of the dead letters is none: {error!r}") from error


def header_texts(headers: Headers | None) -> dict[str, str]:
    """Headers as texts; bytes that are no UTF-8 are shown escaped, a repeated name counts last."""
    return {
        name: (value or b"").decode("utf-8", "backslashreplace") for name, value in headers or ()
    }


def attempt_of(headers: Headers | None) -> int:
    """Which attempt a message is: 1, or what a replay wrote into its header."""
    text = header_texts(headers).get(ATTEMPT_HEADER, "1")
    return int(text) if text.isdecimal() and 0 < len(text) < 7 and int(text) else 1


def bury(publisher: Publisher, letters: list[DeadLetter]) -> None:
    """Send ``letters`` to the dead-letter topic; returns once the broker has all of them.

    A letter whose bytes the broker refuses for their size goes without them: its origin says where
    they still are.
    """
    topic = publisher.names.dead_letter
    for letter in letters:
        try:
            publisher.send([letter.outgoing(topic)])
        except RefusedMessageError as error:
            if error.code != "MSG_SIZE_TOO_LARGE" and error.code != "_MSG_SIZE_TOO_LARGE":
                raise
            publisher.send([replace(letter, value=None, is_whole=False).outgoing(topic)])


def first_seen(headers: Headers | None, sent_at: datetime) -> datetime:
    """When a message was first delivered: what a replay wrote, else when it was sent."""
    text = header_texts(headers).get(FIRST_AT_HEADER)
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if text else sent_at
    except ValueError:
        return sent_at
