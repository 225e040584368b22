"""How to reach Kafka. What belongs here: the settings of librdkafka's clients, with why."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from quant_assets.errors import BadConfigurationError

T = TypeVar("T")

REPEAT_SECONDS = 60.0


class _Once(logging.Filter):
    """Lets each message through once a minute: librdkafka repeats a lost broker at each attempt."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if record.created - self._said.get(text, 0.0) < REPEAT_SECONDS:
            return False
        if len(self._said) > 500:
            self._said.clear()
        self._said[text] = record.created
        return True


LOG = logging.getLogger("quant_assets.kafka")
"""librdkafka's own messages go here instead of to standard error."""
LOG.addHandler(logging.NullHandler())
LOG.addFilter(_Once())
EMBEDDED_FETCH_WAIT_MS = 10
"""The sandbox's broker does not wake a waiting fetch when a message comes."""
FETCH_WAIT_MS = 100
"""Other questions on the connection wait behind a fetch, hence not Kafka's 500."""


SESSION_TIMEOUT_MS = 6_000
"""Closing waits so long for an offset that was being committed while the broker went away."""


def _note(error: Any) -> None:
    """Log what no call tells: with a wrong password they all say that the broker is away."""
    LOG.error("%s: %s", error.name(), error.str())


def open_client(kind: Callable[[dict[str, Any]], T], settings: dict[str, Any]) -> T:
    """A client of librdkafka; raises ``BadConfigurationError`` if it refuses the settings."""
    from confluent_kafka import KafkaException

    try:
        return kind(settings)
    except KafkaException as error:
        raise BadConfigurationError(
            f"Kafka's client refuses its settings: {error.args[0].str()}; check the variables "
            "KAFKA_..."
        ) from error


@dataclass(frozen=True)
class KafkaConnection:
    """A cluster and how to be let in. ``is_embedded`` is the sandbox's broker in memory."""

    bootstrap_servers: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = ""
    sasl_username: str = ""
    sasl_password: str = field(default="", repr=False)
    ssl_ca_location: str = ""
    ssl_certificate_location: str = ""
    ssl_key_location: str = ""
    ssl_key_password: str = field(default="", repr=False)
    compression: str = "snappy"
    delivery_timeout_seconds: float = 30.0
    is_embedded: bool = False

    def client(self) -> dict[str, Any]:
        """Configuration that every client shares."""
        given = {
            "sasl.mechanism": self.sasl_mechanism,
            "sasl.username": self.sasl_username,
            "sasl.password": self.sasl_password,
            "ssl.ca.location": self.ssl_ca_location,
            "ssl.certificate.location": self.ssl_certificate_location,
            "ssl.key.location": self.ssl_key_location,
            "ssl.key.password": self.ssl_key_password,
        }
        return {
            "bootstrap.servers": self.bootstrap_servers,
            "client.id": "quant-assets",
            "security.protocol": self.security_protocol,
            "reconnect.backoff.ms": 250,
            "reconnect.backoff.max.ms": 2_000,
            "topic.metadata.refresh.interval.ms": 30_000,
            "logger": LOG,
            "error_cb": _note,
            **{name: value for name, value in given.items() if value},
        }

    def producer(self) -> dict[str, Any]:
        """Nothing is lost or reordered: all replicas acknowledge, retries keep the order."""
        return {
            **self.client(),
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": self.compression,
            "linger.ms": 5,
            "message.max.bytes": 16_000_000,
            "delivery.timeout.ms": int(self.delivery_timeout_seconds * 1000),
        }

    def consumer(self, group: str) -> dict[str, Any]:
        """A reader that is told its offsets; ``group`` only names where lag is watched.

        With a full queue librdkafka pauses a second before it fetches again, unless told otherwise.
        """
        return {
            **self.client(),
            "group.id": group,
            "session.timeout.ms": SESSION_TIMEOUT_MS,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": False,
            "allow.auto.create.topics": self.is_embedded,
            "fetch.wait.max.ms": EMBEDDED_FETCH_WAIT_MS if self.is_embedded else FETCH_WAIT_MS,
            "queued.max.messages.kbytes": 16_384,
            "fetch.queue.backoff.ms": 10,
        }
