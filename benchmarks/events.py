"""How fast events are read, and how soon they are answered. What belongs here: measuring alone.

``throughput``: requests are read from a broker, decoded, validated and routed by the code of the
request sensor, one after the other with json and pydantic over the same consumer; events a second
of one thread. ``latency``: an installation of processes (code server, daemon, broker) and, beside
it in the same run, a stock sensor (subscribed consumer, default interval, default instance); the
time from sending a request to the run's row, its first step and its completion event. Our runs
fetch prices, those of the stock sensor do nothing. ``idle``: CPU and memory of daemon and code
server with nothing to do.
"""

import argparse
import gc
import json
import os
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import dagster as dg
import psutil
from confluent_kafka import Consumer, TopicPartition
from pydantic import BaseModel, Field

from quant_assets.events.connection import KafkaConnection
from quant_assets.events.envelope import EventDecoder
from quant_assets.events.follower import Cursor, Follower
from quant_assets.events.publisher import Outgoing, Publisher
from quant_assets.events.topics import Role, TopicNames
from quant_assets.markets import MARKETS
from quant_assets.sandbox.broker import EmbeddedBroker
from quant_assets.sensors.routing import Router
from quant_assets.settings import read_settings
from quant_assets_tests.integration.campaign import Installation, Process, installation, wait_until

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
    """Measure all in turn and print the best of each.

    The modules are frozen first: one pass of the garbage collector over them takes as long as
    40,000 events, and strikes whoever happens to read.
    """
    gc.freeze()
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


STOCK = """
import json
import dagster as dg
from confluent_kafka import Consumer

@dg.op
def work():
    return 1

@dg.job
def stock_job():
    work()

consumer = None

@dg.sensor(job=stock_job, default_status=dg.DefaultSensorStatus.RUNNING)
def stock_sensor(context):
    global consumer
    if consumer is None:
        consumer = Consumer({{"bootstrap.servers": "{servers}", "group.id": "stock",
                             "auto.offset.reset": "earliest", "fetch.wait.max.ms": 10}})
        consumer.subscribe(["{topic}"])
    for message in consumer.consume(100, timeout=5.0):
        event = json.loads(message.value())
        yield dg.RunRequest(run_key=event["eventId"], tags={{"event": event["eventId"]}})

defs = dg.Definitions(jobs=[stock_job], sensors=[stock_sensor])
"""
PRICE = "stock.price.sync.requested"
RUN_ROW, FIRST_STEP, COMPLETION = "run row", "first step", "answer"


def sessions(count: int) -> list[date]:
    """The last ``count`` sessions of the US market, newest first."""
    market = MARKETS["us"]
    day = market.last_complete_session(datetime.now(UTC))
    return [market.offset_session(day, -n) if n else day for n in range(count)]


def send_all(target: Installation, days: Sequence[date], pause: float) -> dict[str, float]:
    """Send a request a day, ``pause`` seconds apart; when each was sent, by id."""
    sent: dict[str, float] = {}
    for day in days:
        event_id = str(uuid.uuid4())
        sent[event_id] = time.time()
        target.request(PRICE, {"market": "us", "session": day.isoformat()}, event_id=event_id)
        time.sleep(pause)
    return sent


def our_times(target: Installation, sent: dict[str, float]) -> dict[str, list[float]]:
    """Seconds from sending to each stage, once every request is answered."""
    answered: dict[str, float] = {}

    def is_done() -> bool:
        for record in target.outcomes():
            payload = json.loads(record.value or b"")["payload"]
            answered.setdefault(payload.get("requestId"), record.sent_at.timestamp())
        return set(sent) <= set(answered)

    wait_until(is_done, 1_200, "an answer to every request")
    found: dict[str, list[float]] = {RUN_ROW: [], FIRST_STEP: [], COMPLETION: []}
    for event_id, at in sent.items():
        (run,) = target.runs_of(event_id)
        _add_run_times(found, target.instance, run.run_id, at)
        found[COMPLETION].append(answered[event_id] - at)
    return found


def stock_times(instance: dg.DagsterInstance, sent: dict[str, float]) -> dict[str, list[float]]:
    """The same of the stock sensor; its answer is the end of its run."""

    def runs() -> dict[str, dg.DagsterRun]:
        return {run.tags["event"]: run for run in instance.get_runs() if "event" in run.tags}

    wait_until(
        lambda: set(sent) <= {key for key, run in runs().items() if run.is_finished},
        1_200,
        "the end of every stock run",
    )
    found: dict[str, list[float]] = {RUN_ROW: [], FIRST_STEP: [], COMPLETION: []}
    for event_id, run in runs().items():
        if event_id in sent:
            record = instance.get_run_record_by_id(run.run_id)
            assert record is not None
            assert record.end_time is not None
            _add_run_times(found, instance, run.run_id, sent[event_id])
            found[COMPLETION].append(record.end_time - sent[event_id])
    return found


def _add_run_times(
    found: dict[str, list[float]], instance: dg.DagsterInstance, run_id: str, at: float
) -> None:
    record = instance.get_run_record_by_id(run_id)
    assert record is not None
    found[RUN_ROW].append(record.create_timestamp.timestamp() - at)
    steps = instance.get_records_for_run(
        run_id, of_type=dg.DagsterEventType.STEP_START, limit=1
    ).records
    found[FIRST_STEP].append(steps[0].event_log_entry.timestamp - at)


def print_times(title: str, found: dict[str, list[float]]) -> None:
    """Median and 95th percentile of each stage."""
    print(f"{title} ({len(found[RUN_ROW])} requests): seconds from sending, p50 / p95")
    for stage, values in found.items():
        ordered = sorted(values)
        p95 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
        print(f"  {stage:<14}{ordered[len(ordered) // 2]:7.2f} /{p95:7.2f}")


def print_latency(idle_events: int, burst: int) -> None:
    """Measure ours and the stock sensor, idle and in a burst, and what both cost when idle."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with installation(home / "ours", QUANT_US_UNIVERSE="AAPL,MSFT") as target:
            target.start()
            send_all(target, sessions(1), 0.0)
            time.sleep(45)
            print_idle("ours: four sensors", target.daemon.pid, target.server.pid)
            sent = send_all(target, sessions(idle_events), 6.0)
            print_times("ours, idle", our_times(target, sent))
            sent = send_all(target, sessions(burst), 0.0)
            print_times("ours, burst", our_times(target, sent))
        with EmbeddedBroker() as broker:
            stock(home / "stock", broker.bootstrap_servers, idle_events, burst)


def stock(home: Path, servers: str, idle_events: int, burst: int) -> None:
    """A stock sensor with default settings: its own instance, daemon and code server."""
    home.mkdir()
    (home / "stock.py").write_text(STOCK.format(servers=servers, topic=TOPIC), "utf-8")
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", "utf-8")
    # A code server of its own: the one that a daemon starts from a file ends every minute, and the
    # consumer in it with it, whose place in the group is taken for 45 s more: no event is read.
    port = free_port()
    place = f"{{host: 127.0.0.1, port: {port}, location_name: stock}}"
    (home / "workspace.yaml").write_text(f"load_from:\n  - grpc_server: {place}\n", "utf-8")
    folder = Path(sys.executable).parent
    environment = {**os.environ, "DAGSTER_HOME": str(home)}
    words = ["code-server", "start", "-h", "127.0.0.1", "-p", str(port), "-f", "stock.py"]
    server = Process("server", [str(folder / "dagster"), *words], environment, home)
    words = ["run", "-w", "workspace.yaml"]
    daemon = Process("daemon", [str(folder / "dagster-daemon"), *words], environment, home)
    publisher = Publisher(KafkaConnection(servers, is_embedded=True), NAMES)

    def send(count: int, pause: float) -> dict[str, float]:
        sent: dict[str, float] = {}
        for _ in range(count):
            event_id = str(uuid.uuid4())
            sent[event_id] = time.time()
            value = json.dumps({"eventId": event_id}).encode()
            publisher.send([Outgoing(TOPIC, value, event_id.encode())])
            time.sleep(pause)
        return sent

    server.start()
    wait_until(lambda: is_served(port), 120, "the stock code server")
    daemon.start()
    try:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            stock_times(instance, send(1, 0.0))
            print_times("stock, idle", stock_times(instance, send(idle_events, 6.0)))
            print_times("stock, burst", stock_times(instance, send(burst, 0.0)))
    finally:
        daemon.stop()
        server.stop()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def is_served(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def print_idle(title: str, *pids: int) -> None:
    """CPU and memory of processes over half a minute with nothing to do."""
    processes = [psutil.Process(pid) for pid in pids]
    before = [sum(process.cpu_times()[:2]) for process in processes]
    time.sleep(30)
    print(f"{title}, idle for 30 s")
    for name, process, cpu in zip(("daemon", "code server"), processes, before, strict=True):
        used = (sum(process.cpu_times()[:2]) - cpu) / 30
        print(f"  {name:<14}{used:6.1%} of a core, {process.memory_info().rss / 2**20:.0f} MB")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--latency", action="store_true", help="also the latencies, 25 minutes")
    parser.add_argument("--events", type=int, default=100, help="requests of the idle part")
    parser.add_argument("--burst", type=int, default=40)
    options = parser.parse_args(argv)
    print_throughput(options.repeat)
    if options.latency:
        print_latency(options.events, options.burst)


if __name__ == "__main__":
    main()
