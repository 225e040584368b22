"""How fast events are read, and how soon they are answered. What belongs here: measuring alone.

``throughput``: requests are read from a broker, decoded, validated and routed by the code of the
request sensor, one after the other with json and pydantic over the same consumer; events a second
of one thread. ``latency``: an installation of processes (code server, daemon, broker) and, beside
it in the same run, a stock sensor (subscribed consumer, default interval, default instance); the
time from sending a request to the sensor's return, the run's row, its first step and its
completion event. ``idle``: CPU and memory of daemon and code server with nothing to do.
"""

import argparse
import json
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

from confluent_kafka import Consumer, TopicPartition
from pydantic import BaseModel, Field

from quant_assets.events.connection import KafkaConnection
from quant_assets.events.envelope import EventDecoder
from quant_assets.events.follower import Cursor, Follower
from quant_assets.events.publisher import Outgoing, Publisher
from quant_assets.events.topics import Role, TopicNames
from quant_assets.sandbox.broker import EmbeddedBroker
from quant_assets.sensors.routing import Router
from quant_assets.settings import read_settings

NAMES = TopicNames()
TOPIC = NAMES.topic("analysis.combined.request")
EVENTS = 60_000
"""The embedded broker keeps about 5 MB a partition: 60,000 events of 250 bytes fit into four."""


class PeerPayload(BaseModel):
    """The payload as pydantic checks it."""

    market: str | None = Field(None, max_length=8)
    session: date | None = None
    symbols: list[str] = Field(default_factory=list, max_length=500)
    threadTs: str | None = Field(None, max_length=64)  # noqa: N815  the name on the wire
    channel: str | None = Field(None, max_length=80)


class PeerEvent(BaseModel):
    """The envelope as pydantic checks it."""

    eventId: uuid.UUID  # noqa: N815
    eventType: Literal["analysis.combined.request"]  # noqa: N815
    timestamp: datetime
    source: str = Field(max_length=200)
    payload: PeerPayload


def fill(connection: KafkaConnection) -> None:
    """Send the events."""
    publisher = Publisher(connection, NAMES)
    now = datetime.now(UTC).isoformat()
    symbols = ["AAPL", "MSFT", "NVDA", "JPM", "XOM"]
    for first in range(0, EVENTS, 5_000):
        batch = []
        for number in range(first, first + 5_000):
            content = {
                "eventId": str(uuid.uuid4()),
                "eventType": "analysis.combined.request",
                "timestamp": now,
                "source": "benchmark",
                "payload": {"market": "us", "symbols": [symbols[number % 5]], "channel": "C1"},
            }
            batch.append(
                Outgoing(TOPIC, json.dumps(content).encode(), symbols[number % 5].encode())
            )
        publisher.send(batch)
    publisher.close()


def ours(connection: KafkaConnection, router: Router) -> float:
    """Events a second through the request sensor's reader, decoder and router."""
    follower = Follower(connection, NAMES.read_topics(Role.REQUEST), "benchmark")
    decoder = EventDecoder(NAMES)
    follower.resume(Cursor())
    routes = router.at(datetime.now(UTC))
    done = 0
    started = time.perf_counter()
    while done < EVENTS:
        for record in follower.read(10_000, 10.0, lambda: False):
            routes.plan(decoder.decode(record.topic, record.value))
            done += 1
    elapsed = time.perf_counter() - started
    follower.close()
    return EVENTS / elapsed


def peer(connection: KafkaConnection, decode: Callable[[bytes], Any]) -> float:
    """Events a second with another decoder, over a plain consumer; routed by a dictionary."""
    consumer = Consumer(connection.consumer("benchmark"))
    partitions = consumer.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions
    consumer.assign([TopicPartition(TOPIC, number, 0) for number in partitions])
    jobs = {"us": "us_combined_analysis", "kr": "kr_combined_analysis"}
    done = 0
    started = time.perf_counter()
    while done < EVENTS:
        for message in consumer.consume(10_000, 1.0):
            value = message.value()
            if message.error() is None and isinstance(value, bytes):
                jobs[decode(value).payload.market]
                done += 1
    elapsed = time.perf_counter() - started
    consumer.close()
    return EVENTS / elapsed


def print_throughput(repeat: int) -> None:
    """Measure both in turn and print the best of each."""
    settings = read_settings(QUANT_PROFILE="sandbox")
    symbols = {key: {x.symbol for x in settings.universe(key)} for key in ("us", "kr")}
    router = Router(symbols.__getitem__, frozenset(), date(2022, 3, 1), timedelta(days=7))
    best: dict[str, float] = {}
    with EmbeddedBroker() as broker:
        connection = KafkaConnection(broker.bootstrap_servers, is_embedded=True)
        fill(connection)
        for _ in range(repeat):
            measured = {
                "ours": ours(connection, router),
                "pydantic, model_validate_json": peer(connection, PeerEvent.model_validate_json),
                "json + pydantic": peer(
                    connection, lambda value: PeerEvent.model_validate(json.loads(value))
                ),
            }
            best = {name: max(rate, best.get(name, 0.0)) for name, rate in measured.items()}
    print("consumed, decoded, validated, routed; one thread, events a second")
    for name, rate in best.items():
        print(f"  {name:<32}{rate:>12,.0f}   ours / it {best['ours'] / rate:5.2f}")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args(argv)
    print_throughput(options.repeat)


if __name__ == "__main__":
    main()
