"""The sandbox's Kafka broker. What belongs here: its lifecycle, and asking who answers.

It is librdkafka's mock cluster inside this process: for demonstrations and tests only. It keeps
about 5 MB a partition and drops the oldest beyond that, answers no admin call, and keeps nothing
when it stops. Which broker the processes of a profile share is the business of ``locate``.
"""

import socket
import threading
from typing import Any

from quant_assets.errors import BadConfigurationError, TransientError

START_SECONDS = 30.0
ANSWER_SECONDS = 5.0
# Without it librdkafka writes to standard error, between the lines of the command.
SILENT = {"log_level": 0}

_lock = threading.Lock()
_used_ids: set[str] = set()


class EmbeddedBroker:
    """One Kafka broker on a free port of 127.0.0.1, as long as this process and no longer.

    Topics appear when they are first written, with four partitions. Consumers should set
    ``fetch.wait.max.ms`` to 10: nothing wakes a waiting fetch.
    """

    def __init__(self) -> None:
        # The cluster lives as long as the client it was started with.
        self._client: Any = None
        self._servers = ""
        self._cluster_id = ""

    @property
    def bootstrap_servers(self) -> str:
        """Address for ``bootstrap.servers``."""
        self._check_runs()
        return self._servers

    @property
    def cluster_id(self) -> str:
        """Id that clients see; a broker that was stopped and started has another."""
        self._check_runs()
        return self._cluster_id

    def start(self) -> str:
        """Serve in threads of librdkafka; gives the bootstrap servers."""
        if self._client is None:
            self._client, self._servers, self._cluster_id = _start_cluster()
        return self._servers

    def stop(self) -> None:
        """Stop serving and forget every message."""
        self._client = None

    def __enter__(self) -> "EmbeddedBroker":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _check_runs(self) -> None:
        if self._client is None:
            raise BadConfigurationError("the broker is not running: call start() first")


def notice(servers: str) -> str:
    """What a user must know of the broker: where it is and what it is good for."""
    lines = [
        f"  Kafka (in memory)   {servers}",
        f"{'':22}for demonstrations and tests: it keeps the last 5 MB of a partition, and",
        f"{'':22}nothing when it stops; KAFKA_BOOTSTRAP_SERVERS names a real one",
    ]
    return "\n".join(lines)


def cluster_at(servers: str) -> str | None:
    """Id of the Kafka cluster that answers at one address, None if none does."""
    host, _, port = servers.rpartition(":")
    # First a bare connection: librdkafka tries a refused one again until its time is over.
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
    except (OSError, ValueError, OverflowError):
        return None
    from confluent_kafka import KafkaException, Producer

    client = Producer({"bootstrap.servers": servers, **SILENT})
    try:
        found: str | None = client.list_topics(timeout=ANSWER_SECONDS).cluster_id
    except KafkaException:
        return None
    return found


def _start_cluster() -> tuple[Any, str, str]:
    """A client with a cluster, the cluster's address and id.

    The id is made of a memory address, so a second cluster of a process often gets the id of the
    first. Such a one is held until another has come, which then stands elsewhere.
    """
    from confluent_kafka import KafkaException, Producer

    settings = {"test.mock.num.brokers": 1, "bootstrap.servers": "embedded:1", **SILENT}
    refused = []
    with _lock:
        while True:
            client = Producer(settings)
            try:
                cluster = client.list_topics(timeout=START_SECONDS)
            except KafkaException as error:
                raise TransientError(
                    f"the in-memory Kafka broker did not answer within {START_SECONDS:.0f} s "
                    f"({error}); start it again, or set KAFKA_BOOTSTRAP_SERVERS to a real one"
                ) from error
            if cluster.cluster_id not in _used_ids:
                break
            refused.append(client)
        _used_ids.add(cluster.cluster_id)
    broker = next(iter(cluster.brokers.values()))
    return client, f"{broker.host}:{broker.port}", cluster.cluster_id
