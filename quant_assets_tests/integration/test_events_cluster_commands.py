"""``quant events lag`` and ``setup``, and what each command says without a broker."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from quant_assets.cli.events_cluster import GROUPS
from quant_assets.events import payloads as p
from quant_assets.events.connection import KafkaConnection
from quant_assets.events.envelope import MAX_EVENT_BYTES, event
from quant_assets.events.publisher import Publisher
from quant_assets.events.topics import EVENT_TYPES, Role, TopicNames
from quant_assets.sandbox import locate
from quant_assets.sensors import requests
from quant_assets_tests.integration.quant_processes import Home, sandbox_of
from quant_assets_tests.kafka_broker import KafkaBroker

ANALYSIS = "quantiq.analysis.combined.request"
ARTICLES = "quantiq.news.article.collected"
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = Home(tmp_path_factory.mktemp("checkout"))
    with sandbox_of(made):
        yield made


@pytest.fixture(scope="module")
def connection(home: Home) -> KafkaConnection:
    servers = locate.kafka_servers(home.path, seed=7, data_dir=None)
    assert servers is not None
    return KafkaConnection(servers, is_embedded=True)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home whose broker is a real Apache Kafka without topics."""
    with KafkaBroker(tmp_path_factory.mktemp("kafka")) as broker:
        folder = tmp_path_factory.mktemp("real")
        yield Home(folder, {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers})


def commit(connection: KafkaConnection, group: str, place: TopicPartition) -> None:
    reader = Consumer(connection.consumer(group))
    reader.commit(offsets=[place], asynchronous=False)
    reader.close()


def publish(connection: KafkaConnection) -> None:
    """Five requests of one key and two articles."""
    asked = event("analysis.combined.request", p.AnalysisRequested(market="us"))
    found = p.NewsArticleCollected(url="https://example.com", title="t", source="s")
    publisher = Publisher(connection, TopicNames())
    publisher.publish([("us", asked)] * 5)
    publisher.publish([("a", event("news.article.collected", found))] * 2)
    publisher.close()


def lags(home: Home) -> list[dict[str, Any]]:
    """The rows with messages."""
    rows: list[dict[str, Any]] = json.loads(home("events", "lag", "--format", "json").out)
    return [row for row in rows if row["end"]]


@pytest.mark.parametrize("which", ["embedded", pytest.param("real", marks=pytest.mark.kafka)])
def test_lag_is_what_is_there_and_not_read(which: str, request: pytest.FixtureRequest) -> None:
    if which == "embedded":
        home = request.getfixturevalue("home")
        connection = request.getfixturevalue("connection")
    else:
        home = request.getfixturevalue("real")
        connection = KafkaConnection(home.variables["KAFKA_BOOTSTRAP_SERVERS"])
        home("events", "setup")
    publish(connection)
    before = {row["topic"]: row for row in lags(home)}
    asked, articles = before[ANALYSIS], before[ARTICLES]
    assert (asked["low"], asked["end"], asked["committed"], asked["lag"]) == (0, 5, None, 5)
    assert (articles["group"], articles["lag"]) == ("quant-assets.articles", 2)
    commit(connection, requests.GROUP, TopicPartition(ANALYSIS, asked["partition"], 3))
    after = {row["topic"]: row for row in lags(home)}
    assert (after[ANALYSIS]["committed"], after[ANALYSIS]["lag"]) == (3, 2)
    assert after[ANALYSIS]["group"] == requests.GROUP
    assert after[ARTICLES] == articles
    table = home("events", "lag").out
    assert "4 message(s) are not read yet" in table
    row = next(line for line in table.splitlines() if ANALYSIS in line and " 5 " in line)
    assert row.split() == [ANALYSIS, str(asked["partition"]), "0", "5", "3", "2", requests.GROUP]


def test_lag_names_topics_that_do_not_exist(home: Home) -> None:
    other = replace(home, variables={"KAFKA_TOPIC_PREFIX": "other."})
    text = other("events", "lag").out
    assert "not there yet: other.analysis.combined.request, " in text
    assert "0 message(s) are not read yet" in text


def test_the_groups_are_those_of_the_readers() -> None:
    assert GROUPS[Role.REQUEST] == requests.GROUP


def test_the_sandbox_needs_no_setup(home: Home) -> None:
    assert "makes each topic when it is first used: nothing to do" in home("events", "setup").out


@pytest.mark.kafka
def test_setup_creates_what_is_missing(real: Home) -> None:
    own = replace(real, variables={**real.variables, "KAFKA_TOPIC_PREFIX": "own."})
    names = TopicNames("own.")
    admin = AdminClient(KafkaConnection(real.variables["KAFKA_BOOTSTRAP_SERVERS"]).client())

    def partitions() -> dict[str, int]:
        topics = admin.list_topics(timeout=10).topics
        return {name: len(t.partitions) for name, t in topics.items() if name.startswith("own.")}

    wanted = {*(names.topic(name) for name in EVENT_TYPES), names.dead_letter}
    dry = own("events", "setup", "--dry-run").out
    assert dry.count("would create  own.") == len(wanted)
    assert dry.endswith(f"would create {len(wanted)} topic(s), 0 existed already\n")
    assert partitions() == {}
    refused = own("events", "setup", "--replication", "3", status=1).err
    assert "INVALID_REPLICATION_FACTOR); choose another --replication" in refused
    made = own("events", "setup", "--partitions", "2").out
    assert made.endswith(f"created {len(wanted)} topic(s), 0 existed already\n")
    assert partitions() == dict.fromkeys(wanted, 2)
    again = own("events", "setup").out
    assert again.count("exists        own.") == len(wanted)
    assert "own.status.updated (2 partitions)" in again
    assert again.endswith(f"created 0 topic(s), {len(wanted)} existed already\n")
    assert retention(admin, names.topic("status.updated")) == 7 * DAY_MS
    assert retention(admin, names.dead_letter) == 30 * DAY_MS


@pytest.mark.kafka
def test_what_setup_creates_takes_the_largest_event(real: Home) -> None:
    """Right after the creation, when the topics have hardly a leader, and wait for the answer."""
    own = replace(real, variables={**real.variables, "KAFKA_TOPIC_PREFIX": "large."})
    own("events", "setup")
    # Numbers that no compression makes small.
    empty = len(json.dumps({"taskType": "x", "params": {"a": ""}}))
    noise = bytes(33 + (n * n * 31 + n * 7) % 90 for n in range(MAX_EVENT_BYTES - empty - 400))
    text = noise.decode().replace("\\", "x").replace('"', "y")
    payload = json.dumps({"taskType": "x", "params": {"a": text}})
    (own.folder / "large.json").write_text(payload)
    words = ("events", "send", "command.requested", "--payload", "@large.json")
    done = own(*words, "--wait", "--timeout", "1", status=2)
    assert "no answer to" in done.err


def retention(admin: AdminClient, topic: str) -> int:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    found = admin.describe_configs([resource])[resource].result(10)
    return int(found["retention.ms"].value)


COMMANDS = [
    ("send", "news.crawl.requested"),
    ("send", "news.crawl.requested", "--wait"),
    ("send", "news.crawl.requested", "--raw"),
    ("watch",),
    ("lag",),
    ("setup",),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_without_a_broker_each_command_says_how_to_get_one(
    tmp_path_factory: pytest.TempPathFactory, words: tuple[str, ...]
) -> None:
    alone = Home(tmp_path_factory.mktemp("alone"))
    done = alone("events", *words, status=1)
    assert done.out == ""
    assert done.err == (
        "error: no Kafka broker runs for the profile sandbox: start `make dev` or `quant sandbox` "
        "in another shell, or set KAFKA_BOOTSTRAP_SERVERS to one\n"
    )
    done = alone("events", *words, "--profile", "live", status=1)
    assert "set KAFKA_BOOTSTRAP_SERVERS" in done.err
    assert done.err.count("\n") == 1


def test_a_broker_that_does_not_answer_is_a_sentence(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    variables = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "KAFKA_DELIVERY_TIMEOUT_SECONDS": "1"}
    alone = Home(tmp_path_factory.mktemp("closed"), variables)
    done = alone("events", "send", "news.crawl.requested", status=1)
    assert done.err.startswith("error: Kafka at 127.0.0.1:9 has not acknowledged 1 of 1 message(s)")
    assert done.err.count("\n") == 1
