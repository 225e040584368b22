"""The embedded broker inside one process, and telling whether a Kafka answers."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from quant_assets.errors import BadConfigurationError
from quant_assets.sandbox import broker as broker_module
from quant_assets.sandbox.broker import EmbeddedBroker, cluster_at, notice
from quant_assets.sandbox.server import Sandbox

DEADLINE_SECONDS = 600.0
TOPIC = "quantiq.status.updated"
LOOPBACK = "0100007F"
LISTENS = "0A"


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as running:
        yield running


def send(servers: str, *values: str) -> None:
    producer = Producer({"bootstrap.servers": servers, "acks": "all", "linger.ms": 0})
    for value in values:
        producer.produce(TOPIC, value.encode(), partition=0)
    assert producer.flush(DEADLINE_SECONDS) == 0


def read(servers: str, count: int) -> list[str]:
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "test", "fetch.wait.max.ms": 10})
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    found: list[str] = []
    deadline = time.monotonic() + DEADLINE_SECONDS
    while len(found) < count:
        assert time.monotonic() < deadline, found
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            found.append(message.value().decode())
    consumer.close()
    return found


def test_what_was_sent_is_read(broker: EmbeddedBroker) -> None:
    send(broker.bootstrap_servers, "one", "two", "three")
    assert read(broker.bootstrap_servers, 3) == ["one", "two", "three"]


def test_it_listens_on_loopback_only(broker: EmbeddedBroker) -> None:
    port = f"{int(broker.bootstrap_servers.rpartition(':')[2]):04X}"
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            address, local_port = line.split()[1].split(":")
            if local_port == port and line.split()[3] == LISTENS:
                listening.append(address)
    assert listening == [LOOPBACK]
    assert broker.bootstrap_servers.startswith("127.0.0.1:")


def test_it_writes_nothing_to_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with EmbeddedBroker() as broker:
        send(broker.bootstrap_servers, "one")
        with socket.create_connection(
            ("127.0.0.1", int(broker.bootstrap_servers.rpartition(":")[2]))
        ) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert cluster_at(broker.bootstrap_servers) == broker.cluster_id
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "MOCK" not in printed.err


def test_a_stopped_one_answers_no_longer_and_says_so() -> None:
    broker = EmbeddedBroker()
    with pytest.raises(BadConfigurationError, match=r"call start\(\) first"):
        _ = broker.bootstrap_servers
    servers = broker.start()
    assert broker.start() == servers
    assert cluster_at(servers) == broker.cluster_id
    broker.stop()
    broker.stop()
    assert cluster_at(servers) is None
    with pytest.raises(BadConfigurationError, match=r"call start\(\) first"):
        _ = broker.cluster_id


def test_every_start_has_an_id_of_its_own_and_keeps_nothing() -> None:
    broker = EmbeddedBroker()
    ids = set()
    for _ in range(10):
        servers = broker.start()
        ids.add(broker.cluster_id)
        send(servers, "again")
        assert read(servers, 1) == ["again"]
        client = Producer({"bootstrap.servers": servers})
        (partition, *_) = client.list_topics(TOPIC, timeout=DEADLINE_SECONDS).topics.values()
        assert len(partition.partitions) == 4
        consumer = Consumer({"bootstrap.servers": servers, "group.id": "test"})
        assert consumer.get_watermark_offsets(TopicPartition(TOPIC, 0)) == (0, 1)
        consumer.close()
        broker.stop()
    assert len(ids) == 10


def test_two_brokers_do_not_share_messages(broker: EmbeddedBroker) -> None:
    with EmbeddedBroker() as other:
        assert other.bootstrap_servers != broker.bootstrap_servers
        send(other.bootstrap_servers, "there")
        send(broker.bootstrap_servers, "here")
        assert read(broker.bootstrap_servers, 1) == ["here"]


@pytest.mark.parametrize("servers", ["", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:0"])
def test_no_cluster_at_an_address_that_is_none(servers: str) -> None:
    assert cluster_at(servers) is None


def test_no_cluster_where_something_else_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_module, "ANSWER_SECONDS", 0.3)
    with Sandbox() as sandbox:
        assert cluster_at(sandbox.url.removeprefix("http://")) is None
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        assert cluster_at(f"127.0.0.1:{mute.getsockname()[1]}") is None


def test_a_sandbox_runs_one_if_it_is_asked_for() -> None:
    with Sandbox() as without:
        assert without.kafka_servers is None
    sandbox = Sandbox(broker=True)
    sandbox.start()
    servers = sandbox.kafka_servers
    assert servers is not None
    send(servers, "event")
    assert read(servers, 1) == ["event"]
    assert "kafka" not in sandbox.identity
    sandbox.stop()
    assert cluster_at(servers) is None


def test_a_sandbox_that_cannot_listen_leaves_no_broker() -> None:
    with Sandbox() as first:
        port = int(first.url.rpartition(":")[2])
        second = Sandbox(port=port, broker=True)
        with pytest.raises(BadConfigurationError, match="cannot listen"):
            second.start()
        with pytest.raises(BadConfigurationError, match=r"call start\(\) first"):
            _ = second.kafka_servers


def test_the_notice_says_where_and_what_for() -> None:
    text = notice("127.0.0.1:1234")
    for part in ("Kafka (in memory)   127.0.0.1:1234", "tests", "nothing when it stops"):
        assert part in text
    assert "KAFKA_BOOTSTRAP_SERVERS" in text
