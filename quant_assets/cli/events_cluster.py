"""``quant events lag`` and ``setup``. What belongs here: the topics as the cluster has them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from quant_assets.cli.broker import require_connection
from quant_assets.errors import BadConfigurationError, PermanentError, TransientError
from quant_assets.events.envelope import MAX_EVENT_BYTES
from quant_assets.events.reading import (
    ANSWER_SECONDS,
    consumer,
    topic_partitions,
    watermarks,
)
from quant_assets.events.topics import EVENT_TYPES, Role, TopicNames
from quant_assets.settings import Settings

if TYPE_CHECKING:
    from confluent_kafka import Consumer
    from confluent_kafka.admin import AdminClient

    from quant_assets.events.connection import KafkaConnection

GROUPS = {Role.REQUEST: "quant-assets.requests", Role.STREAM: "quant-assets.articles"}
"""Groups that tell Kafka how far they have read the topics of a role."""
DAY_MS = 24 * 3600 * 1000
RETENTION_DAYS = 7
DEAD_LETTER_RETENTION_DAYS = 30
MESSAGE_BYTES = MAX_EVENT_BYTES + 65_536
"""The largest event with its key and headers; Kafka's default ends at the event alone."""


class Lag(NamedTuple):
    """A partition and its reader; ``committed`` is None if the reader has told nothing."""

    topic: str
    partition: int
    low: int
    end: int
    group: str
    committed: int | None

    @property
    def unread(self) -> int:
        """Messages that are there and not read."""
        return self.end - max(self.low, self.committed or 0)


def show_lag(values: Settings, form: str) -> None:
    """Print low, end, committed offset and lag of each partition that is read."""
    from rich import box
    from rich.table import Table

    from quant_assets.cli.show import output

    connection, names = require_connection(values), values.topic_names()
    rows = measure_lag(connection, names)
    if form == "json":
        click.echo(json.dumps([{**row._asdict(), "lag": row.unread} for row in rows], indent=2))
        return
    table = Table("topic", "partition", "low", "end", "committed", "lag", "group", box=box.SIMPLE)
    for row in rows:
        told = "-" if row.committed is None else str(row.committed)
        numbers = (row.partition, row.low, row.end, told, row.unread)
        table.add_row(row.topic, *(str(number) for number in numbers), row.group)
    if rows:
        output().print(table)
    absent = sorted({*names.read_topics(*GROUPS)} - {row.topic for row in rows})
    if absent:
        click.echo(f"not there yet: {', '.join(absent)}")
    click.echo(f"{sum(row.unread for row in rows):,} message(s) are not read yet")


def measure_lag(connection: KafkaConnection, names: TopicNames) -> list[Lag]:
    """Each partition of the topics that are read, by topic and number."""
    found = []
    for role, group in GROUPS.items():
        with consumer(connection, group) as reader:
            partitions = topic_partitions(reader, names.read_topics(role))
            places = [(topic, number) for topic, them in partitions.items() for number in them]
            committed = _committed(reader, places)
            for topic, number in places:
                low, end = watermarks(reader, topic, number)
                found.append(Lag(topic, number, low, end, group, committed.get((topic, number))))
    return sorted(found)


def _committed(
    reader: Consumer, places: Sequence[tuple[str, int]]
) -> Mapping[tuple[str, int], int]:
    """Offsets that the reader's group has committed."""
    from confluent_kafka import KafkaException, TopicPartition

    if not places:
        return {}
    try:
        told = reader.committed([TopicPartition(*place) for place in places], ANSWER_SECONDS)
    except KafkaException as error:
        reason = error.args[0].str()
        raise TransientError(f"Kafka does not tell what was committed: {reason}") from error
    return {(place.topic, place.partition): place.offset for place in told if place.offset >= 0}


def create_missing_topics(
    values: Settings, partitions: int, replication: int, *, dry_run: bool
) -> None:
    """Create what is missing and print it; what is there stays as it is."""
    connection, names = require_connection(values), values.topic_names()
    if connection.is_embedded:
        click.echo("the sandbox's broker makes each topic when it is first used: nothing to do")
        return
    from confluent_kafka.admin import AdminClient

    admin = AdminClient(connection.client())
    wanted = [*(names.topic(name) for name in EVENT_TYPES), names.dead_letter]
    there = _partition_counts(admin)
    missing = [topic for topic in wanted if topic not in there]
    for topic in wanted:
        if topic in there:
            click.echo(f"exists        {topic} ({there[topic]} partitions)")
        elif dry_run:
            click.echo(f"would create  {topic} ({partitions} partitions)")
    if missing and not dry_run:
        _create(admin, missing, names, partitions, replication)
    count = len(wanted) - len(missing)
    verb = "would create" if dry_run else "created"
    click.echo(f"{verb} {len(missing)} topic(s), {count} existed already")


def _partition_counts(admin: AdminClient) -> dict[str, int]:
    from confluent_kafka import KafkaException

    try:
        topics = admin.list_topics(timeout=ANSWER_SECONDS).topics
    except KafkaException as error:
        raise TransientError(f"Kafka does not answer: {error.args[0].str()}") from error
    return {name: len(topic.partitions) for name, topic in topics.items()}


def _create(
    admin: AdminClient, topics: Sequence[str], names: TopicNames, partitions: int, replication: int
) -> None:
    from confluent_kafka import KafkaException
    from confluent_kafka.cimpl import NewTopic

    new = [
        NewTopic(topic, partitions, replication, config=_config(topic, names)) for topic in topics
    ]
    for topic, done in admin.create_topics(new, request_timeout=ANSWER_SECONDS).items():
        try:
            done.result(2 * ANSWER_SECONDS)
        except KafkaException as error:
            _explain(topic, error.args[0])
        else:
            click.echo(f"created       {topic} ({partitions} partitions)")


def _config(topic: str, names: TopicNames) -> dict[str, str]:
    days = DEAD_LETTER_RETENTION_DAYS if topic == names.dead_letter else RETENTION_DAYS
    return {
        "retention.ms": str(days * DAY_MS),
        "max.message.bytes": str(MESSAGE_BYTES),
        # An article's hour is that of its message: the broker's clock, not the sender's.
        "message.timestamp.type": "LogAppendTime",
    }


def _explain(topic: str, error: Any) -> None:
    """Raise what an answer of Kafka means, unless another was quicker to create the topic."""
    said = f"{topic} could not be created: {error.str()} ({error.name()})"
    if error.name() == "TOPIC_ALREADY_EXISTS":
        click.echo(f"exists        {topic}")
    elif error.name() in ("INVALID_REPLICATION_FACTOR", "INVALID_PARTITIONS", "POLICY_VIOLATION"):
        raise BadConfigurationError(f"{said}; choose another --replication or --partitions")
    elif error.retriable() or error.name().startswith("_"):
        raise TransientError(f"{said}; run the command again")
    else:
        raise PermanentError(f"{said}; the Kafka user must be allowed to create topics")
