"""A real Apache Kafka for a test. What belongs here: its process, its topics, raw messages into it.

One node in KRaft mode from the jars that ``make test-kafka`` fetches. What the librdkafka of the
product makes of it is the business of the tests.
"""

import base64
import contextlib
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec, TopicMetadata

from quant_assets.events.connection import KafkaConnection

T = TypeVar("T")
JARS = Path(sys.prefix) / "kafka"
# With the first compiler alone a start takes 3 s of processor time instead of 5.
JVM_OPTIONS = (
    "-Xmx384m",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-Dorg.apache.logging.log4j.level=INFO",
)
START_SECONDS = 300.0
STOP_SECONDS = 30.0
ANSWER_SECONDS = 60.0
LOG_TAIL_BYTES = 6_000
USER = "quant"
MECHANISM = "SCRAM-SHA-512"


class KafkaBroker:
    """One broker, controller included, whose files are below ``directory``.

    ``auto_create_topics`` lets a topic appear when it is first written. With ``sasl_ssl`` clients
    must come by TLS and as a user; ``connection`` and ``client_settings`` know how. ``settings``
    are added to ``server.properties``. A broker that was stopped or killed starts again with its
    ports and its messages.
    """

    def __init__(
        self,
        directory: Path,
        *,
        sasl_ssl: bool = False,
        auto_create_topics: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.log = directory / "broker.log"
        self._port, self._internal_port, self._controller_port = free_ports(3)
        self._properties = directory / "server.properties"
        assert not self._properties.exists(), f"{directory} holds another broker"
        self._process: subprocess.Popen[bytes] | None = None
        self._producer: Producer | None = None
        self._password = secrets.token_hex(12)
        self._sasl_ssl = sasl_ssl
        self._settings = {
            **self._server_settings(),
            "auto.create.topics.enable": str(auto_create_topics).lower(),
            **(settings or {}),
        }

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def connection(self) -> KafkaConnection:
        """How the product reaches this broker."""
        if not self._sasl_ssl:
            return KafkaConnection(self.bootstrap_servers)
        return KafkaConnection(
            self.bootstrap_servers,
            security_protocol="SASL_SSL",
            sasl_mechanism=MECHANISM,
            sasl_username=USER,
            sasl_password=self._password,
            ssl_ca_location=str(self.directory / "ca.pem"),
        )

    @property
    def client_settings(self) -> dict[str, object]:
        """What any librdkafka client needs to reach this broker, silent and quick to reconnect."""
        return {
            **self.connection.client(),
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 200,
        }

    def start(self) -> None:
        """Start and wait until clients are answered; raises with the end of the log if not."""
        assert self._process is None, "the broker runs already"
        if not self._properties.exists():
            self._format()
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [*_java(), "kafka.Kafka", str(self._properties)],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            poll("an answer of Kafka", START_SECONDS, self._answers)
        except BaseException as error:
            error.add_note(self.log_tail())
            self.kill()
            raise

    def stop(self) -> None:
        """End in good order: what SIGTERM does."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End at once, as a crash does: SIGKILL."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Start again with the same ports and messages, after a stop if it still runs."""
        if self._process is not None:
            self.stop()
        self.start()

    def log_tail(self) -> str:
        """The end of the broker's own log."""
        return self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")

    def __enter__(self) -> "KafkaBroker":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.stop()

    def create_topic(
        self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None
    ) -> None:
        """Make a topic and wait until it can be written; ``config`` as in ``retention.ms``."""
        topic = NewTopic(name, partitions, 1, config=dict(config or {}))
        self._admin.create_topics([topic])[name].result(ANSWER_SECONDS)
        poll(f"{name} is served", ANSWER_SECONDS, lambda: self._has_topic(name))

    def delete_topic(self, name: str) -> None:
        """Remove a topic and wait until the broker does not know it any more."""
        # It would remember that there is no such topic, also after the next one of this name.
        self._producer = None
        self._admin.delete_topics([name])[name].result(ANSWER_SECONDS)
        poll(f"{name} is gone", ANSWER_SECONDS, lambda: self.topic_id(name) is None)

    def topic_id(self, name: str) -> str | None:
        """Id that Kafka gave the topic when it was made, None if there is no such topic."""
        asked = self._admin.describe_topics(TopicCollection([name]))
        try:
            return str(asked[name].result(ANSWER_SECONDS).topic_id)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return None
            raise

    def delete_records_before(self, topic: str, partition: int, offset: int) -> int:
        """Remove the messages below ``offset``, as retention does; gives the new low watermark."""
        place = TopicPartition(topic, partition, offset)
        answer = self._admin.delete_records([place])[place].result(ANSWER_SECONDS)
        return int(answer.low_watermark)

    def watermarks(self, topic: str, partition: int = 0) -> tuple[int, int]:
        """First offset that is still there, and the one that the next message gets."""
        reader = Consumer({**self.client_settings, "group.id": "quant-assets-tests"})
        try:
            place = TopicPartition(topic, partition)
            low, high = reader.get_watermark_offsets(place, ANSWER_SECONDS, cached=False)
        finally:
            reader.close()
        return low, high

    def produce(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
        timestamp_ms: int = 0,
        partition: int = -1,
    ) -> tuple[int, int]:
        """Write one message as it is; gives its partition and offset once it is stored.

        Partition -1 leaves the choice to the key, time 0 means now.
        """
        stored: list[tuple[int, int]] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                raise KafkaException(error)
            stored.append((message.partition(), message.offset()))

        if self._producer is None:
            settings = {**self.client_settings, "delivery.timeout.ms": 10_000, "linger.ms": 0}
            self._producer = Producer(settings)
        self._producer.produce(
            topic,
            value,
            key=key,
            headers=list(headers),
            timestamp=timestamp_ms,
            partition=partition,
            on_delivery=delivered,
        )
        assert self._producer.flush(2 * ANSWER_SECONDS) == 0, f"not delivered to {topic}"
        return stored[0]

    @cached_property
    def _admin(self) -> AdminClient:
        return AdminClient(self.client_settings)

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"Kafka ended by itself with status {self._process.returncode}")
        try:
            cluster = self._admin.list_topics(timeout=1.0)
        except KafkaException:
            return False
        return bool(cluster.brokers) and all(map(self._is_served, cluster.topics.values()))

    def _has_topic(self, name: str) -> bool:
        topics = self._admin.list_topics(timeout=ANSWER_SECONDS).topics
        return name in topics and self._is_served(topics[name])

    def _is_served(self, topic: TopicMetadata) -> bool:
        """Whether the broker leads the partitions; it is said to before it has taken them over."""
        places = [TopicPartition(topic.topic, number) for number in topic.partitions]
        if not places:
            return False
        asked = self._admin.list_offsets({place: OffsetSpec.latest() for place in places})
        try:
            return all(done.result(ANSWER_SECONDS).offset >= 0 for done in asked.values())
        except KafkaException:
            return False

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None, "the broker does not run"
        process, self._process = self._process, None
        process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.wait()
            raise AssertionError(f"Kafka did not stop\n{self.log_tail()}") from error

    def _format(self) -> None:
        """Write the configuration and make the log directory, with the user if there is one."""
        self.directory.mkdir(parents=True, exist_ok=True)
        users = []
        if self._sasl_ssl:
            make_certificates(self.directory)
            users = ["--add-scram", f"{MECHANISM}=[name={USER},password={self._password}]"]
        lines = [f"{name}={value}\n" for name, value in self._settings.items()]
        self._properties.write_text("".join(lines))
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = [*_java(), "kafka.tools.StorageTool", "format", "--standalone"]
        command += [f"--cluster-id={cluster}", f"--config={self._properties}", *users]
        with self.log.open("ab") as output:
            status = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT).returncode
        if status != 0:
            self._properties.unlink()
            raise AssertionError(f"Kafka's storage was not made\n{self.log_tail()}")

    def _server_settings(self) -> dict[str, str]:
        """One node: every internal topic in one copy, little memory, groups without a wait."""
        addresses = {
            "CLIENT": self.bootstrap_servers,
            "INTERNAL": f"127.0.0.1:{self._internal_port}",
            "CONTROLLER": f"127.0.0.1:{self._controller_port}",
        }
        listeners = [f"{name}://{address}" for name, address in addresses.items()]
        protocol = "SASL_SSL" if self._sasl_ssl else "PLAINTEXT"
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": addresses["CONTROLLER"],
            "listeners": ",".join(listeners),
            "advertised.listeners": ",".join(listeners[:2]),
            "listener.security.protocol.map": (
                f"CLIENT:{protocol},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT"
            ),
            "inter.broker.listener.name": "INTERNAL",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self.directory / "data"),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "1",
            "group.initial.rebalance.delay.ms": "0",
            "log.cleaner.dedupe.buffer.size": "4194304",
            # A killed broker may register again when its old session has ended: 9 s by default.
            "broker.session.timeout.ms": "2500",
            "broker.heartbeat.interval.ms": "500",
            **(self._listener_security() if self._sasl_ssl else {}),
        }

    def _listener_security(self) -> dict[str, str]:
        prefix = "listener.name.client"
        login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        return {
            f"{prefix}.sasl.enabled.mechanisms": MECHANISM,
            f"{prefix}.{MECHANISM.lower()}.sasl.jaas.config": login,
            f"{prefix}.ssl.keystore.type": "PEM",
            f"{prefix}.ssl.keystore.location": str(self.directory / "server.pem"),
        }


def make_certificates(directory: Path) -> None:
    """Write ``ca.pem`` and, signed by it for 127.0.0.1, ``server.pem`` with its key."""
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    new += ["-nodes", "-days", "2"]
    signed = ["-CA", str(directory / "ca.pem"), "-CAkey", str(directory / "ca.key")]
    signed += ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"]
    for name, subject, options in (
        ("ca", "quant-assets tests", []),
        ("server", "127.0.0.1", signed),
    ):
        files = ["-out", str(directory / f"{name}.pem"), "-keyout", str(directory / f"{name}.key")]
        subprocess.run(
            [*new, "-subj", f"/CN={subject}", *files, *options], check=True, capture_output=True
        )
    with (directory / "server.pem").open("a") as chain:
        chain.write((directory / "server.key").read_text())


def poll(what: str, seconds: float, found: Callable[[], T | None]) -> T:
    """First true value of ``found``; fails with ``what`` when the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.05)
    raise AssertionError(f"not seen within {seconds:.0f} s: {what}")


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, below those that outgoing connections take.

    A broker that is down must find its port free again: one of the ephemeral range can be taken
    by any client's connection meanwhile.
    """
    ports: set[int] = set()
    while len(ports) < count:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            ports.add(port)
    return list(ports)


def _java() -> list[str]:
    java = shutil.which("java")
    if java is None or not JARS.is_dir():
        missing = "java is not on the PATH" if java is None else f"{JARS} does not exist"
        raise AssertionError(f"{missing}: install Java 17 and Maven, then run make test-kafka")
    return [java, *JVM_OPTIONS, "-cp", f"{JARS}/*"]
