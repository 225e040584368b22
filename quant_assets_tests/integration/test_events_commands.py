"""``quant events`` as a person uses it: processes beside a running ``quant sandbox``."""

import json
import re
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest

from quant_assets.events import payloads as p
from quant_assets.events.bus import Received
from quant_assets.events.connection import KafkaConnection
from quant_assets.events.envelope import Event, encode, event
from quant_assets.events.kafka_bus import KafkaEventBus
from quant_assets.events.publisher import Outgoing, Publisher
from quant_assets.events.reading import Record, read_topic
from quant_assets.events.topics import EVENT_TYPES, TopicNames
from quant_assets.sandbox import locate
from quant_assets_tests.integration.quant_processes import SECONDS, Home, sandbox_of

NAMES = TopicNames()
ANALYSIS = "analysis.combined.request"
ALIASES = {"old.combined": ANALYSIS}
ALIASED = {"KAFKA_TOPIC_ALIASES": json.dumps(ALIASES)}


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
def bus(connection: KafkaConnection) -> Iterator[KafkaEventBus]:
    made = KafkaEventBus(connection, NAMES)
    yield made
    made.close()


def sent(connection: KafkaConnection, event_type: str, event_id: str) -> Record:
    """The one message of an event."""
    found = [
        record
        for record in read_topic(connection, NAMES.topic(event_type))
        if event_id.encode() in (record.value or b"")
    ]
    assert len(found) == 1
    return found[0]


@contextmanager
def watching(home: Home, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A ``quant events watch`` that has begun to watch; its first line on stderr is read."""
    process = home.start("events", "watch", *words)
    try:
        assert process.stderr is not None
        first = process.stderr.readline()
        assert re.match(r"watching \d+ topic\(s\) of 127\.0\.0\.1:\d+; Ctrl-C ends\n", first), first
        yield process
    finally:
        process.kill()
        process.wait()


# Sending.


@pytest.mark.parametrize(
    ("topic", "payload", "key"),
    [
        (ANALYSIS, {"market": "us", "symbols": ["AAPL"]}, b"us"),
        ("quantiq.analysis.combined.request", {"symbols": ["005930.KS"]}, b"005930.KS"),
        ("old.combined", {"market": "kr"}, b"kr"),
        ("economic.data.sync.requested", {"seriesIds": ["DGS10", "VIXCLS"]}, b"DGS10,VIXCLS"),
        ("command.requested", {"taskType": "macro", "params": {"to": "2026-03-19"}}, b"macro"),
        (
            "news.article.collected",
            {"url": "https://example.com/1", "title": "삼성전자", "source": "test"},
            b"https://example.com/1",
        ),
    ],
)
def test_send_sends_a_right_event_and_prints_its_id(
    home: Home, connection: KafkaConnection, topic: str, payload: dict[str, Any], key: bytes
) -> None:
    done = replace(home, variables=ALIASED)(
        "events", "send", topic, "--payload", json.dumps(payload, ensure_ascii=False)
    )
    assert done.err == ""
    event_type = TopicNames(aliases=ALIASES).event_type(topic)
    record = sent(connection, event_type, str(uuid.UUID(done.out.strip())))
    content = json.loads(record.value or b"")
    assert content["payload"] == payload
    assert content["eventType"] == event_type
    assert content["source"] == "quant-cli"
    assert record.key == key


def test_send_takes_a_file_standard_input_and_every_field(
    home: Home, connection: KafkaConnection
) -> None:
    payload = {"market": "us", "session": "2026-03-19", "threadTs": "1.2"}
    (home.folder / "payload.json").write_text(json.dumps(payload))
    for number, (words, given) in enumerate(
        ((["--payload", "@payload.json"], ""), (["--payload", "-"], json.dumps(payload)))
    ):
        event_id = str(uuid.uuid4())
        fields = ["--event-id", event_id, "--source", f"tester {number}", "--key", "열쇠"]
        done = home("events", "send", ANALYSIS, *words, *fields, given=given)
        assert done.out == f"{event_id}\n"
        record = sent(connection, ANALYSIS, event_id)
        content = json.loads(record.value or b"")
        assert content["payload"] == payload
        assert content["source"] == f"tester {number}"
        assert record.key == "열쇠".encode()


def test_send_warns_of_a_field_that_nobody_reads(home: Home) -> None:
    done = home("events", "send", ANALYSIS, "--payload", '{"market": "us", "symbol": "AAPL"}')
    uuid.UUID(done.out.strip())
    assert done.err == (
        "warning: nobody reads symbol; the fields are threadTs, channel, market, session, symbols\n"
    )


def test_raw_sends_the_bytes_as_they_are(home: Home, connection: KafkaConnection) -> None:
    aliased = replace(home, variables=ALIASED)
    (home.folder / "bytes").write_bytes(b"\xff\x00{")
    done = home("events", "send", "stock.price.sync.requested", "--raw", "--payload", "@bytes")
    assert done.out == "sent 3 bytes to quantiq.stock.price.sync.requested\n"
    aliased("events", "send", "old.combined", "--raw", "--payload", "no json", "--key", "k")
    (record,) = read_topic(connection, "quantiq.stock.price.sync.requested")
    assert (record.value, record.key) == (b"\xff\x00{", None)
    (record,) = read_topic(connection, "old.combined")
    assert (record.value, record.key) == (b"no json", b"k")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["send", "analysis.combined"], "'analysis.combined' is no topic of the platform; the"),
        (["send", ANALYSIS, "--payload", "{"], "--payload is not JSON: Input data was truncated"),
        (["send", ANALYSIS, "--payload", "[1]"], "--payload is no JSON object, which has braces"),
        (["send", ANALYSIS, "--payload", "@none"], "--payload @none: No such file or directory"),
        (["send", ANALYSIS, "--payload", "@."], "--payload @.: Is a directory"),
        (
            ["send", ANALYSIS, "--payload", '{"symbols": [5]}'],
            "Expected `str`, got `int` - at `$.payload.symbols[0]`; `quant events topics --schema "
            "analysis.combined.request` says what it may hold",
        ),
        (
            ["send", "stock.price.sync.requested"],
            "Object missing required field `market`; `quant events topics",
        ),
        (["send", ANALYSIS, "--source", "x" * 201], "length <= 200 - at `$.source`"),
        (
            ["send", "status.updated", "--payload", '{"status": "x"}', "--wait"],
            "--wait: status.updated is sent while a run goes on, so nothing answers it",
        ),
        (["watch", "stok.**"], "no event type fits the pattern 'stok.**'"),
        (["topics", "--schema", "nothing"], "'nothing' is no topic of the platform"),
    ],
)
def test_a_wrong_argument_is_a_sentence(home: Home, words: list[str], message: str) -> None:
    done = home("events", *words, status=1)
    assert done.err.startswith("error: ")
    assert message in done.err
    assert done.err.count("\n") == 1
    assert done.out == ""


def test_raw_goes_with_nothing_that_needs_an_event(home: Home) -> None:
    done = home("events", "send", ANALYSIS, "--raw", "--wait", status=2)
    assert "--raw sends bytes alone" in done.err
    assert (
        "Invalid value for '--event-id'"
        in home("events", "send", ANALYSIS, "--event-id", "7", status=2).err
    )


# Waiting for the answer.


class Platform:
    """Answers a request as a run would: progress first, and not without answers to others."""

    def __init__(self, bus: KafkaEventBus, answers: list[Event[Any]]) -> None:
        self._bus = bus
        self._answers = answers

    def __call__(self, request: Event[Any], _: Received) -> None:
        asked = str(request.event_id)
        another = str(uuid.uuid4())
        told = [
            event("status.updated", p.StatusUpdated(status="not of it", request_id=another)),
            event("status.updated", p.StatusUpdated(status="started", request_id=asked)),
            event(
                "status.updated",
                p.StatusUpdated(status="progress", request_id=asked, step="score", done=2, total=5),
            ),
        ]
        for one in told:
            self._bus.publish(one, key="k")
        for answer in self._answers:
            for request_id in (another, asked):
                payload = msgspec.structs.replace(answer.payload, request_id=request_id)
                self._bus.publish(event(answer.event_type, payload))


@contextmanager
def answered(bus: KafkaEventBus, *answers: Event[Any]) -> Iterator[None]:
    subscription = bus.subscribe("**.request", Platform(bus, list(answers)))
    try:
        yield
    finally:
        subscription.close()


RESULT = p.AnalysisResult(symbol="AAPL", status="OK", score=0.495, label="STRONG_BUY")
COMPLETED = event(
    "analysis.completed",
    p.AnalysisCompleted(
        market="us",
        session=date(2026, 3, 19),
        partitions=p.Partitions(first="2026-03-19", last="2026-03-19", count=1),
        results=(RESULT,),
        data_version="1",
    ),
)
FAILED = event("analysis.failed", p.Failed(error_type="BadDataError", message="no \x1b[2J bars"))


def test_wait_tells_the_progress_and_prints_the_answer(home: Home, bus: KafkaEventBus) -> None:
    with answered(bus, COMPLETED):
        done = home("events", "send", ANALYSIS, "--payload", '{"market": "us"}', "--wait")
    answer = json.loads(done.out)
    first, *progress = done.err.splitlines()
    event_id = answer["payload"]["requestId"]
    assert first == f"sent {event_id} to quantiq.analysis.combined.request"
    assert answer["eventType"] == "analysis.completed"
    assert answer["payload"]["results"][0]["label"] == "STRONG_BUY"
    assert [line.split("  ", 2)[2].split("  ")[-3:] for line in progress] == [
        ["", "started", f"request {event_id[:8]}"],
        ["score", f"request {event_id[:8]}", "2 of 5"],
    ]


def test_wait_ends_with_1_if_the_request_failed(home: Home, bus: KafkaEventBus) -> None:
    with answered(bus, FAILED):
        done = home("events", "send", ANALYSIS, "--wait", status=1)
    assert json.loads(done.out)["payload"]["errorType"] == "BadDataError"
    assert done.err.endswith("analysis.failed: BadDataError: no \\x1b[2J bars\n")


def test_wait_ends_with_2_and_a_hint_if_nobody_answers(home: Home, bus: KafkaEventBus) -> None:
    words = ("events", "send", ANALYSIS, "--wait", "--timeout")
    done = home(*words, "0.5", status=2)
    assert done.out == ""
    assert "within 0.5 s: is the daemon running (`make dev` starts one)?" in done.err
    assert "served before" not in done.err
    assert "served before" in home(*words, "0.5", "--event-id", str(uuid.uuid4()), status=2).err
    with answered(bus):
        done = home(*words, "5", status=2)
    assert "last it was progress, and it goes on" in done.err


def test_wait_can_be_interrupted(home: Home) -> None:
    process = home.start("events", "send", ANALYSIS, "--wait")
    assert process.stderr is not None
    assert process.stderr.readline().startswith("sent ")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out, err) == (130, "", "no longer waiting; the request stands\n")


# Watching.


def signal_of(symbol: str) -> Event[Any]:
    payload = p.TradingSignalDetected(
        signal_type="BUY",
        symbol=symbol,
        price=1234.5,
        volume=10,
        strategy_id="s",
        market="us",
        session=date(2026, 3, 19),
        score=0.25,
        target_weight=0.05,
    )
    stamp = datetime(2026, 3, 19, 20, 30, tzinfo=UTC)
    return event("trading.signal.detected", payload, timestamp=stamp)


def test_watch_shows_what_comes_until_it_is_interrupted(home: Home, bus: KafkaEventBus) -> None:
    bus.publish(signal_of("BEFORE"))
    with watching(home, "trading.**") as process:
        assert process.stdout is not None
        bus.publish(event("status.updated", p.StatusUpdated(status="started")))
        bus.publish(signal_of("AA\x1b[2J"))
        line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS)
    assert line == (
        "2026-03-20 05:30:00  trading.signal.detected         "
        "us  2026-03-19  AA\\x1b[2J  BUY  at 1,234.5  +0.250  5.0% of the equity\n"
    ), "the time is that of TZ"
    assert (process.returncode, out, err) == (0, "", "")


def test_watch_ends_after_a_number_of_events(home: Home, bus: KafkaEventBus) -> None:
    with watching(home, "trading.signal.*", "--count", "2", "--format", "json") as process:
        made = [signal_of(symbol) for symbol in ("A", "B", "C")]
        for one in made:
            bus.publish(one, key="k")
        out, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert out.splitlines() == [encode(one).decode() for one in made[:2]]


def test_watch_may_begin_with_what_is_there(home: Home, bus: KafkaEventBus) -> None:
    bus.publish(event("trading.position.updated", POSITION))
    words = ("events", "watch", "trading.position.*", "--from-beginning", "--count", "1")
    assert "us  2026-03-19  MSFT  at 10  OPEN" in home(*words).out.replace("  5  ", "  ")


POSITION = p.TradingPositionUpdated(
    position_id="1",
    symbol="MSFT",
    market="us",
    session=date(2026, 3, 19),
    quantity=5.0,
    entry_price=10.0,
    unrealized_pnl=0.0,
    status="OPEN",
)


def test_watch_ends_when_its_time_is_over(home: Home) -> None:
    quiet = ("events", "watch", "news.crawl.failed", "--timeout", "0.5")
    assert home(*quiet).out == ""
    assert home(*quiet, "--count", "3", status=1).err.endswith("0 of 3 event(s) within 0.5 s\n")


def test_watch_tells_what_is_no_event_beside_the_events(
    home: Home, bus: KafkaEventBus, connection: KafkaConnection
) -> None:
    with watching(home, "**.crawl.*", "--count", "1") as process:
        publisher = Publisher(connection, NAMES)
        publisher.send([Outgoing("quantiq.news.crawl.completed", b"\x1b[2J", b"k")])
        publisher.close()
        payload = p.Failed(error_type="X", message="a\nb " + "x" * 500)
        bus.publish(event("news.crawl.failed", payload))
        out, err = process.communicate(timeout=SECONDS)
    assert re.search(r"^\S+ \S+  quantiq\.news\.crawl\.completed/\d/0 is no event: not JSON", err)
    assert out.count("\n") == 1
    assert "X  a\\nb xxx" in out
    assert "x…" in out


def test_watch_can_be_interrupted_when_the_broker_has_gone(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    home = Home(tmp_path_factory.mktemp("short"))
    with sandbox_of(home) as sandbox, watching(home) as process:
        sandbox.terminate()
        sandbox.wait(SECONDS)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (0, "")


# Topics, which need no broker.


def test_topics_lists_every_event_type(tmp_path_factory: pytest.TempPathFactory) -> None:
    alone = Home(tmp_path_factory.mktemp("alone"), ALIASED)
    table = alone("events", "topics").out
    assert all(f"  {name} " in table for name in EVENT_TYPES)
    assert "old.combined is read as analysis.combined.request" in table
    rows = {
        row["eventType"]: row
        for row in json.loads(alone("events", "topics", "--format", "json").out)
    }
    assert set(rows) == set(EVENT_TYPES)
    assert rows[ANALYSIS]["aliases"] == ["old.combined"]
    assert rows[ANALYSIS]["topic"] == "quantiq.analysis.combined.request"
    for topic in ("old.combined", ANALYSIS, "quantiq.analysis.combined.request"):
        schema = json.loads(alone("events", "topics", "--schema", topic).out)
        assert schema["title"] == ANALYSIS
        assert "symbols" in schema["$defs"]["AnalysisRequested"]["properties"]
