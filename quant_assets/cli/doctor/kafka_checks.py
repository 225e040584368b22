"""Kafka. What belongs here: broker, topics, retention of the dead letters, what is not read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_assets.cli.doctor.findings import Finding, Group
from quant_assets.settings import Settings

if TYPE_CHECKING:
    from quant_assets.events.connection import KafkaConnection

KAFKA = Group("Kafka")
DAY_MS = 24 * 3600 * 1000


def kafka(settings: Settings, seconds: float) -> list[Finding]:
    """The cluster of the settings, if there is one."""
    connection = settings.kafka()
    if connection is None:
        if settings.is_sandbox:
            return [KAFKA.skip("broker", "no sandbox runs", "make dev, or quant sandbox")]
        return [KAFKA.skip("broker", "KAFKA_BOOTSTRAP_SERVERS is not set: no events")]
    return cluster(settings, connection, seconds)


def cluster(settings: Settings, connection: KafkaConnection, seconds: float) -> list[Finding]:
    """Whether the cluster answers, has the topics, keeps the dead letters and tells the lag.

    Raises ``TransientError`` if it does not answer.
    """
    from quant_assets.events.reading import consumer, metadata
    from quant_assets.events.topics import EVENT_TYPES

    names, servers = settings.topic_names(), connection.bootstrap_servers
    with consumer(connection) as reader:
        there = metadata(reader, servers=servers, timeout_seconds=seconds / 2).topics
    found = [KAFKA.ok("broker", f"{servers} answers")]
    wanted = [*(names.topic(name) for name in EVENT_TYPES), names.dead_letter]
    missing = [topic for topic in wanted if topic not in there]
    if connection.is_embedded:
        what = "the sandbox's broker makes each when it is first used"
        found.append(KAFKA.ok("topics", what))
    elif missing:
        what = f"{len(missing)} of {len(wanted)} are not there, such as {missing[0]}"
        found.append(KAFKA.fail("topics", what, "quant events setup"))
    else:
        found.append(KAFKA.ok("topics", f"all {len(wanted)} are there"))
    if not connection.is_embedded and names.dead_letter not in missing:
        found.append(dead_letters(connection, names.dead_letter, seconds))
    found.append(_lag(settings, connection))
    return found


def dead_letters(connection: KafkaConnection, topic: str, seconds: float) -> Finding:
    """Whether the cluster keeps dead letters for as long as somebody may want them."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]

    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    asked = AdminClient(connection.client()).describe_configs(
        [resource], request_timeout=seconds / 2
    )
    try:
        told = asked[resource].result(seconds / 2)
    except KafkaException as error:
        what = f"their configuration is not told: {error.args[0].str()}"
        remedy = "let the Kafka user describe the topic's configuration (DESCRIBE_CONFIGS)"
        return KAFKA.warn("dead letters", what, remedy)
    config = {name: entry.value for name, entry in told.items()}
    return judge_retention(topic, config.get("retention.ms"), config.get("cleanup.policy"))


def judge_retention(topic: str, retention_ms: str | None, policy: str | None) -> Finding:
    """What a cluster's retention means for the dead letters; -1 keeps them for ever."""
    from quant_assets.cli.events_cluster import DEAD_LETTER_RETENTION_DAYS, RETENTION_DAYS

    name = "dead letters"
    if "compact" in (policy or ""):
        what = f"{topic} is compacted: letters with the same key are lost"
        return KAFKA.fail(name, what, f"set cleanup.policy=delete on {topic}")
    days = int(retention_ms) / DAY_MS if retention_ms not in (None, "-1") else None
    if days is not None and days < RETENTION_DAYS:
        what = f"{topic} keeps them for {days:g} days: some go before anybody looks"
        wanted = DEAD_LETTER_RETENTION_DAYS * DAY_MS
        return KAFKA.warn(name, what, f"set retention.ms={wanted} on {topic}")
    return KAFKA.ok(name, "kept for ever" if days is None else f"kept for {days:g} days")


def _lag(settings: Settings, connection: KafkaConnection) -> Finding:
    from quant_assets.cli.events_cluster import measure_lag

    unread = sum(row.unread for row in measure_lag(connection, settings.topic_names()))
    return KAFKA.ok("lag", f"{unread:,} message(s) are not read yet")
