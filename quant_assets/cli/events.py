"""``quant events``. What belongs here: sending, waiting for the answer, watching, listing.

Texts of an event come from whoever sent it: each passes ``printable`` before it is shown.
"""

from __future__ import annotations

import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import msgspec

from quant_assets.cli.broker import require_connection
from quant_assets.cli.event_lines import event_line, local_time
from quant_assets.cli.text import printable
from quant_assets.errors import BadConfigurationError, TransientError
from quant_assets.events.bus import entity_key, topics_of
from quant_assets.events.envelope import (
    BadEventError,
    Event,
    EventDecoder,
    encode,
    event,
    payload_from,
)
from quant_assets.events.kafka_bus import OnBad, Tail
from quant_assets.events.payloads import Failed
from quant_assets.events.publisher import Outgoing, Publisher
from quant_assets.events.reading import Record
from quant_assets.events.topics import EVENT_TYPES, Role, TopicNames
from quant_assets.settings import Settings

COMPLETED, FAILED, UNANSWERED, INTERRUPTED = 0, 1, 2, 130
"""Exit status of ``send --wait``."""
PATIENCE_SECONDS = 1.0


@dataclass(frozen=True)
class Draft:
    """What a person wants to send; ``payload`` is text, ``@file`` or ``-`` for standard input."""

    topic: str
    payload: str
    key: str | None
    event_id: UUID | None
    source: str

    def content(self) -> bytes:
        """Bytes of the payload; raises ``BadConfigurationError`` if its file cannot be read."""
        if self.payload == "-":
            return sys.stdin.buffer.read()
        if not self.payload.startswith("@"):
            return self.payload.encode("utf-8", "surrogateescape")
        try:
            return Path(self.payload[1:]).read_bytes()
        except OSError as error:
            raise BadConfigurationError(f"--payload {self.payload}: {error.strerror}") from error

    def event(self, names: TopicNames) -> Event[Any]:
        """The event, as any reader will accept it.

        Raises ``BadConfigurationError`` that names what is wrong.
        """
        event_type = names.event_type(self.topic)
        try:
            fields = msgspec.json.decode(self.content())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadConfigurationError(f"--payload is not JSON: {error}") from error
        if not isinstance(fields, dict):
            raise BadConfigurationError(
                f"--payload is no JSON object, which has braces: {json.dumps(fields)[:80]}"
            )
        try:
            made = event(
                event_type,
                payload_from(event_type, fields),
                event_id=self.event_id,
                source=self.source,
            )
            EventDecoder(names).decode(names.topic(event_type), encode(made))
        except BadEventError as error:
            raise BadConfigurationError(
                f"{error}; `quant events topics --schema {event_type}` says what it may hold"
            ) from error
        _warn_of_unknown(event_type, fields)
        return made


def send(values: Settings, draft: Draft) -> None:
    """Send an event and print its id."""
    connection, names = require_connection(values), values.topic_names()
    made = draft.event(names)
    with closing(Publisher(connection, names)) as publisher:
        publisher.publish([(_key(draft, made), made)])
    click.echo(made.event_id)


def send_raw(values: Settings, draft: Draft) -> None:
    """Send bytes as they are, to an alias's own topic if one is named."""
    connection, names = require_connection(values), values.topic_names()
    event_type = names.event_type(draft.topic)
    topic = draft.topic if draft.topic in names.aliases else names.topic(event_type)
    value = draft.content()
    key = None if draft.key is None else draft.key.encode("utf-8", "surrogateescape")
    with closing(Publisher(connection, names)) as publisher:
        publisher.send([Outgoing(topic, value, key)])
    click.echo(f"sent {len(value):,} bytes to {topic}")


def send_and_wait(values: Settings, draft: Draft, timeout_seconds: float) -> int:
    """Send a request, tell its progress, print its answer; the exit status."""
    connection, names = require_connection(values), values.topic_names()
    made = draft.event(names)
    role = EVENT_TYPES[made.event_type].role
    if role is not Role.REQUEST:
        raise BadConfigurationError(
            f"--wait: {made.event_type} {role.value}, so nothing answers it; send it without --wait"
        )
    # Where the topics end is noted before the request is sent: no answer can come too early.
    with (
        closing(Tail(connection, names.read_topics(Role.OUTCOME, Role.PROGRESS))) as tail,
        closing(Publisher(connection, names)) as publisher,
        _until_interrupted() as is_stopped,
    ):
        publisher.publish([(_key(draft, made), made)])
        click.echo(f"sent {made.event_id} to {names.topic(made.event_type)}", err=True)
        answer, last = _answer(_events(tail, names, timeout_seconds, is_stopped), made)
        if answer is None and is_stopped():
            click.echo("no longer waiting; the request stands", err=True)
            return INTERRUPTED
    if answer is None:
        click.echo(_hint(draft, made, last, timeout_seconds), err=True)
        return UNANSWERED
    click.echo(msgspec.json.format(encode(answer), indent=2).decode())
    if isinstance(answer.payload, Failed):
        reason = printable(f"{answer.payload.error_type}: {answer.payload.message}")
        click.echo(f"{answer.event_type}: {reason}", err=True)
        return FAILED
    return COMPLETED


def watch_events(
    values: Settings,
    pattern: str,
    from_beginning: bool,
    count: int | None,
    timeout_seconds: float | None,
    form: str,
) -> int:
    """Print events as they come; 1 if the time was over before ``count`` came, else 0."""
    connection, names = require_connection(values), values.topic_names()
    topics = topics_of(pattern, names)
    shown = 0
    with (
        closing(Tail(connection, topics, from_beginning=from_beginning)) as tail,
        _until_interrupted() as is_stopped,
    ):
        where = f"{len(topics)} topic(s) of {connection.bootstrap_servers}"
        click.echo(f"watching {where}; Ctrl-C ends", err=True)
        for one in _events(tail, names, timeout_seconds, is_stopped, on_bad=_tell_bad):
            click.echo(event_line(one) if form == "line" else encode(one).decode())
            shown += 1
            if shown == count:
                return 0
        if is_stopped():
            return 0
    if count is not None:
        click.echo(f"{shown} of {count} event(s) within {timeout_seconds:g} s", err=True)
        return 1
    return 0


def list_topics(values: Settings, form: str) -> None:
    """Print the topics, their roles and meanings."""
    from rich import box
    from rich.table import Table

    from quant_assets.cli.show import output

    names = values.topic_names()
    if form == "json":
        rows = [
            {
                "eventType": known.name,
                "topic": names.topic(known.name),
                "aliases": sorted(a for a, name in names.aliases.items() if name == known.name),
                "role": known.role.name.lower(),
                "key": known.key,
                "payload": known.payload.__name__,
                "meaning": known.meaning,
            }
            for known in EVENT_TYPES.values()
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    table = Table("event type", "payload", "meaning", box=box.SIMPLE)
    for role in Role:
        table.add_section()
        table.add_row(f"[bold]{role.value}[/]")
        for known in EVENT_TYPES.values():
            if known.role is role:
                table.add_row(f"  {known.name}", known.payload.__name__, known.meaning)
    output().print(table)
    click.echo(f"topics begin with {names.prefix!r}; {names.dead_letter} has what failed")
    for alias, event_type in sorted(names.aliases.items()):
        click.echo(f"{alias} is read as {event_type}")


def show_schema(values: Settings, topic: str) -> None:
    """Print the JSON Schema of the events of a type, topic or alias."""
    from quant_assets.events.reference import schema

    click.echo(json.dumps(schema(values.topic_names().event_type(topic)), indent=2))


def _key(draft: Draft, made: Event[Any]) -> str:
    return entity_key(made) if draft.key is None else draft.key


def _warn_of_unknown(event_type: str, fields: Mapping[str, Any]) -> None:
    known = [f.encode_name for f in msgspec.structs.fields(EVENT_TYPES[event_type].payload)]
    unknown = [name for name in fields if name not in known]
    if unknown:
        text = f"nobody reads {', '.join(unknown)}; the fields are {', '.join(known)}"
        click.echo(f"warning: {printable(text)}", err=True)


def _answer(
    events: Iterator[Event[Any]], request: Event[Any]
) -> tuple[Event[Any] | None, Event[Any] | None]:
    """The first answer to ``request``, and what was last told about it."""
    last = None
    for one in events:
        if one.payload.request_id != str(request.event_id):
            continue
        if EVENT_TYPES[one.event_type].role is Role.OUTCOME:
            return one, last
        last = one
        click.echo(event_line(one), err=True)
    return None, last


def _hint(
    draft: Draft, request: Event[Any], last: Event[Any] | None, timeout_seconds: float
) -> str:
    told = f"no answer to {request.event_id} within {timeout_seconds:g} s"
    if last is not None:
        return (
            f"{told}; last it was {printable(last.payload.status)}, and it goes on: "
            "`quant events watch` shows the answer when it comes"
        )
    again = "; an id that was served before is not served again" if draft.event_id else ""
    return (
        f"{told}: is the daemon running (`make dev` starts one)? `quant events lag` says whether "
        f"the request was read, `quant dead-letters list` whether it was refused{again}"
    )


@contextmanager
def _until_interrupted() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C came. Raised inside a callback of librdkafka it would be lost, or worse.

    A second one raises all the same.
    """
    stopped = threading.Event()

    def stop(*_: object) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stopped.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def _events(
    tail: Tail,
    names: TopicNames,
    timeout_seconds: float | None,
    is_stopped: Callable[[], bool],
    on_bad: OnBad | None = None,
) -> Iterator[Event[Any]]:
    """Events as they come, until the time is over; ``on_bad`` has what is none."""
    decoder = EventDecoder(names)
    deadline = math.inf if timeout_seconds is None else time.monotonic() + timeout_seconds
    while not is_stopped() and (left := deadline - time.monotonic()) > 0:
        for record in _read(tail, min(PATIENCE_SECONDS, left), is_stopped):
            try:
                yield decoder.decode(record.topic, record.value)
            except BadEventError as error:
                if on_bad is not None:
                    on_bad(record, error)


def _read(tail: Tail, wait_seconds: float, is_stopped: Callable[[], bool]) -> Sequence[Record]:
    """What comes within ``wait_seconds``; an absent broker is told and waited for."""
    try:
        return tail.read(wait_seconds, is_stopped)
    except TransientError as error:
        click.echo(f"waiting for Kafka: {error}", err=True)
        time.sleep(wait_seconds)
        return []


def _tell_bad(record: Record, error: BadEventError) -> None:
    told = printable(f"{record.origin} is no event: {error}")
    click.echo(f"{local_time(record.sent_at)}  {told}", err=True)
