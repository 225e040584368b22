"""Articles of an external crawler: from Kafka through the sensor and its runs into decisions."""

import json
import os
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from pandas.testing import assert_frame_equal

from quant_assets.cli.explain import explain_recommendation
from quant_assets.cli.plan import ANALYSIS, Planner
from quant_assets.cli.spans import Span, span_of
from quant_assets.cli.tasks import Task
from quant_assets.errors import TransientError
from quant_assets.events.connection import KafkaConnection
from quant_assets.events.dead_letters import DeadLetter, bury, header_texts
from quant_assets.events.publisher import Publisher
from quant_assets.events.reading import read_topic
from quant_assets.events.topics import TopicNames
from quant_assets.io_managers.parquet_store import empty_frame
from quant_assets.io_managers.quarantine import Quarantine
from quant_assets.markets import US
from quant_assets.naming import TAG_PARTITION, TAG_RANGE_END, TAG_RANGE_START
from quant_assets.resources import ClockResource, build_resources
from quant_assets.sandbox import locate
from quant_assets.sandbox.broker import EmbeddedBroker
from quant_assets.sandbox.server import Sandbox
from quant_assets.schemas import dataset_of
from quant_assets.sensors import articles
from quant_assets.sensors.articles import GROUP, build_article_sensor
from quant_assets.settings import Settings
from quant_assets.versions import code_versions
from quant_assets_tests.platform import NOW, Platform, failure, platform

NAMES = TopicNames()
TOPIC = NAMES.topic("news.article.collected")
STREAMED, TONE = "news/streamed_articles", "news/streamed_sentiment"
THREE = datetime(2026, 3, 20, 3, tzinfo=UTC)
"""The hour that is going on at ``NOW``."""


@dataclass
class Stream:
    """What a test needs: send messages, let the sensor tick, execute what it asks for."""

    platform: Platform
    connection: KafkaConnection
    cursor: str | None = None
    skipped: str = ""
    newest: datetime | None = None
    """Time of the newest message: the sensor ticks as soon as it has come."""
    _producer: Producer | None = None

    def send(self, minutes: float, partition: int = 0, *, topic: str = TOPIC, **fields: Any) -> str:
        """Send an article ``minutes`` after three o'clock; its address."""
        payload = {
            "url": f"https://news.example/{uuid.uuid4()}",
            "title": "Apple (NASDAQ: AAPL) posts record profit and strong growth",
            "source": "Example",
            "publishedAt": (THREE + timedelta(minutes=minutes - 5)).isoformat(),
            **fields,
        }
        event = {
            "eventId": str(uuid.uuid4()),
            "eventType": "news.article.collected",
            "timestamp": NOW.isoformat(),
            "source": "crawler",
            "payload": {name: value for name, value in payload.items() if value is not None},
        }
        self.send_raw(json.dumps(event).encode(), minutes, partition, topic=topic)
        return str(payload["url"])

    def send_raw(
        self, value: bytes | None, minutes: float = 5, partition: int = 0, *, topic: str = TOPIC
    ) -> None:
        """Send bytes."""
        if self._producer is None:
            self._producer = Producer(self.connection.producer())
        sent_at = THREE + timedelta(minutes=minutes)
        self.newest = max(self.newest or sent_at, sent_at)
        self._producer.produce(
            topic, value, partition=partition, timestamp=int(sent_at.timestamp() * 1000)
        )
        assert self._producer.flush(20) == 0

    def send_until_the_first_is_lost(self) -> None:
        """Fill partition 0, of which the broker keeps about 5 MB."""
        for _ in range(8):
            self.send_raw(os.urandom(900_000))

    def tick(self) -> list[dg.RunRequest]:
        """Evaluate the sensor as the daemon does, and keep its cursor."""
        resources = build_resources(self.platform.settings)
        with dg.build_sensor_context(
            instance=self.platform.instance,
            cursor=self.cursor,
            definitions=self.platform.defs,
            resources={
                "events": resources["events"],
                "clock": ClockResource(fixed_now=min(self.newest or NOW, NOW).isoformat()),
            },
        ) as context:
            result = build_article_sensor()(context)
        assert isinstance(result, dg.SensorResult | dg.SkipReason), result
        reason = result if isinstance(result, dg.SkipReason) else result.skip_reason
        self.skipped = getattr(reason, "skip_message", None) or ""
        if isinstance(result, dg.SkipReason):
            return []
        self.cursor = result.cursor
        return list(result.run_requests or [])

    def run(self, request: dg.RunRequest, *, check: bool = True) -> dg.ExecuteInProcessResult:
        """Execute what the sensor asked for."""
        result = self.platform.defs.resolve_job_def("news_stream").execute_in_process(
            instance=self.platform.instance,
            run_config=request.run_config,
            tags=request.tags,
            partition_key=request.tags.get(TAG_PARTITION),
            raise_on_error=False,
        )
        if check:
            assert result.success, failure(result)
        return result

    def drain(self) -> None:
        """Tick once and execute all that was asked for."""
        for request in self.tick():
            self.run(request)

    def letters(self) -> dict[str, DeadLetter]:
        """The dead letters by their origin."""
        records = read_topic(self.connection, NAMES.dead_letter)
        found = [DeadLetter.read(header_texts(r.headers), r.value, r.key) for r in records]
        return {letter.id: letter for letter in found}


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[Stream]:
    with platform(tmp_path, sandbox=Sandbox(now=lambda: NOW, broker=True)) as p:
        connection = p.settings.kafka()
        assert connection is not None
        yield Stream(p, connection)


def hours_of(request: dg.RunRequest) -> tuple[str, str]:
    tags = request.tags
    one = tags.get(TAG_PARTITION, "")
    return tags.get(TAG_RANGE_START, one), tags.get(TAG_RANGE_END, one)


def ranges_of(request: dg.RunRequest) -> Any:
    return request.run_config["ops"]["news__streamed_articles"]["config"]["ranges"]


def test_an_article_is_stored_and_scored_while_its_hour_goes_on(stream: Stream) -> None:
    url = stream.send(20, 2, tickers=["AAPL"], summary="Up.")
    (request,) = stream.tick()
    assert hours_of(request) == ("2026-03-20-03", "2026-03-20-03")
    assert ranges_of(request) == {TOPIC: {"2": [0, 1]}}
    stream.run(request)
    p = stream.platform
    (row,) = p.read(STREAMED, "2026-03-20-03").itertuples(index=False)
    assert (row.url, row.provider, row.source) == (url, "kafka", "Example")
    assert row.first_seen_at == row.available_at == THREE + timedelta(minutes=20)
    (scored,) = p.read(TONE, "2026-03-20-03").itertuples(index=False)
    assert (scored.symbol, scored.article_id) == ("AAPL", row.article_id)
    assert scored.score > 0.2
    assert scored.available_at == row.available_at
    assert stream.tick() == []
    assert stream.skipped == "no article came"


def test_hours_without_messages_are_not_stored(stream: Stream) -> None:
    for minutes in (10, -50, -300):
        stream.send(minutes)
    requests = stream.tick()
    spans = [hours_of(request) for request in requests]
    assert spans == [("2026-03-19-22", "2026-03-19-22"), ("2026-03-20-02", "2026-03-20-03")]
    for request in requests:
        stream.run(request)
    stored = stream.platform.store.list_partitions(STREAMED)
    assert stored == ["2026-03-19-22", "2026-03-20-02", "2026-03-20-03"]
    assert stream.platform.store.list_partitions(TONE) == stored


def test_a_repeated_run_reads_the_same_messages(stream: Stream) -> None:
    for minutes in (-70, -10, 5):
        stream.send(minutes)
    (request,) = stream.tick()
    stream.run(request)
    p = stream.platform
    before = p.files(STREAMED, TONE)
    assert len(before) == 6
    stream.send(6)
    stream.run(request)
    assert p.files(STREAMED, TONE) == before
    p.store.delete(STREAMED, p.store.list_partitions(STREAMED))
    p.store.delete(TONE, p.store.list_partitions(TONE))
    stream.run(request)
    assert p.files(STREAMED, TONE) == before


def test_one_article_by_many_messages_is_one_row(stream: Stream) -> None:
    url = stream.send(-50)
    stream.send(-45, 1, url=f"{url}?utm_source=mail&fbclid=1")
    stream.send(5, 2, url=f"{url}/#top")
    stream.drain()
    stream.send(8, 3, url=url.replace("https://", "http://www."))
    stream.drain()
    rows = stream.platform.read(STREAMED)
    assert rows["hour"].tolist() == [THREE - timedelta(hours=1)]
    assert rows["first_seen_at"].tolist() == [THREE + timedelta(minutes=5)]  # when it was read
    assert len(stream.platform.read(TONE)) == 1


def test_doubtful_articles_are_held_and_can_be_let_in(stream: Stream) -> None:
    stream.send(5)
    doubtful = {
        stream.send(6, publishedAt=None): "undated",
        stream.send(7, publishedAt="2026-04-01T00:00:00Z"): "future",
        stream.send(8, publishedAt="1970-01-01T00:00:00+09:00"): "too_old",
        stream.send(8, publishedAt="0001-01-01T00:00:00+14:00"): "too_old",
    }
    stream.send(9, title="  ")
    stream.send(9, url="http://[::1")
    (request,) = stream.tick()
    stream.run(request)
    p = stream.platform
    quarantine = Quarantine(p.store, STREAMED)
    held = quarantine.held(["2026-03-20-03"])
    assert {
        u: r for u, r in zip(held["item"], held["rule"], strict=True) if u in doubtful
    } == doubtful
    assert sorted(held["rule"]) == sorted([*doubtful.values(), "no_title", "no_address"])
    assert f"{TOPIC}/0/1" in "".join(held["raw"])
    assert len(p.read(STREAMED)) == 1

    undated = next(iter(doubtful))
    quarantine.release("2026-03-20-03", [undated], "1")
    stream.run(request)
    assert set(p.read(STREAMED)["url"]) > {undated}
    assert len(p.read(TONE)) == 2
    stream.send(20, url=undated, publishedAt=None)
    stream.drain()
    assert len(p.read(STREAMED)) == 2
    assert len(quarantine.held(["2026-03-20-03"])) == 5


def test_bad_messages_are_letters_and_stall_nothing(stream: Stream) -> None:
    stream.send_raw(b"\xff\xfe")
    stream.send_raw(None)
    stream.send_raw(b"{nope")
    stream.send_raw(b'{"eventId": "' + b"x" * 3_000_000 + b'"}')
    stream.send(5, url="ftp://example/a")
    stream.send(5, title="x" * 1_001)
    stream.send(5, publishedAt="2026-03-20T03:00:00")
    good = stream.send(6)
    stream.send(-60 * 24 * 365 * 5)
    stream.send(60)
    (request,) = stream.tick()
    letters = stream.letters()
    codes = [letters[f"{TOPIC}/0/{n}"].code for n in (0, 1, 2, 3, 4, 5, 6, 8, 9)]
    assert codes == [
        "not_utf8", "tombstone", "not_json", "too_large", "invalid_field", "invalid_field",
        "invalid_field", "message_time", "message_time",
    ]  # fmt: skip
    assert "$.payload.url" in letters[f"{TOPIC}/0/4"].reason
    assert len(letters) == 9
    assert letters[f"{TOPIC}/0/0"].value == b"\xff\xfe"
    stream.run(request)
    assert stream.platform.read(STREAMED)["url"].tolist() == [good]
    assert stream.tick() == []
    assert len(stream.letters()) == 9


def test_a_run_passes_over_what_is_no_article_of_its_hours(stream: Stream) -> None:
    stream.send(-50)
    stream.send_raw(b"{}", -50)
    stream.send(5)
    (request,) = stream.tick()
    later = request.run_config
    result = stream.platform.defs.resolve_job_def("news_stream").execute_in_process(
        instance=stream.platform.instance,
        run_config=later,
        partition_key="2026-03-20-03",
        raise_on_error=False,
    )
    assert result.success, failure(result)
    event = result.asset_materializations_for_node("news__streamed_articles")[0]
    assert event.metadata["no_article"].value == 1
    assert event.metadata["messages_of_other_hours"].value == 1
    assert stream.platform.store.list_partitions(STREAMED) == ["2026-03-20-03"]


def test_dead_letters_are_safe_before_the_cursor_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker goes away while the tick holds a message that it cannot read."""
    broker = EmbeddedBroker()
    servers = broker.start()
    variables = {"KAFKA_BOOTSTRAP_SERVERS": servers, "KAFKA_DELIVERY_TIMEOUT_SECONDS": "1"}
    with platform(tmp_path, **variables) as p:
        stream = Stream(p, KafkaConnection(servers))
        stream.send(5)
        stream.drain()
        before = stream.cursor
        stream.send_raw(b"broken")

        def bury_too_late(publisher: Publisher, letters: list[DeadLetter]) -> None:
            if letters:
                broker.stop()
            bury(publisher, letters)

        monkeypatch.setattr(articles, "bury", bury_too_late)
        with pytest.raises(TransientError, match="has not acknowledged 1 of 1"):
            stream.tick()
        with pytest.raises(TransientError, match=servers):
            stream.tick()
        assert stream.cursor == before


def test_lost_messages_are_a_letter_and_reading_goes_on(stream: Stream) -> None:
    stream.send(1)
    stream.drain()
    stream.send_until_the_first_is_lost()
    good = stream.send(9)
    requests = stream.tick()
    gap = stream.letters()[f"{TOPIC}/0/1"]
    assert gap.code == "retention_gap"
    assert "offsets 1 to" in gap.reason
    assert gap.value is None
    assert len(requests) == 1
    stream.run(requests[0])
    assert good in set(stream.platform.read(STREAMED)["url"])


def test_a_run_whose_messages_are_gone_says_so(stream: Stream) -> None:
    stream.send(1)
    (request,) = stream.tick()
    stream.send_until_the_first_is_lost()
    result = stream.run(request, check=False)
    assert not result.success
    assert f"{TOPIC}/0 no longer holds the offsets 0 to 0" in failure(result)


def test_a_new_partition_is_read_from_its_beginning(stream: Stream) -> None:
    stream.send(1)
    stream.drain()
    known = json.loads(str(stream.cursor))
    del known["topics"][TOPIC]["next"]["3"]
    stream.cursor = json.dumps(known)
    stream.send(2, 3)
    stream.send(3, 3)
    (request,) = stream.tick()
    assert ranges_of(request) == {TOPIC: {"3": [0, 2]}}


def test_a_topic_that_was_created_again_is_read_from_its_beginning(stream: Stream) -> None:
    for minutes in (1, 2, 3):
        stream.send(minutes)
    (first,) = stream.tick()
    home = stream.platform.settings.home_dir
    with EmbeddedBroker() as broker:
        stream.platform.sandbox.broker.stop()
        stream.platform.sandbox.broker = broker
        locate.record(home, stream.platform.sandbox)
        again = Stream(stream.platform, KafkaConnection(broker.bootstrap_servers), stream.cursor)
        for minutes in (4, 5, 6):
            again.send(minutes)
        (request,) = again.tick()
        assert ranges_of(request) == ranges_of(first) == {TOPIC: {"0": [0, 3]}}
        assert request.run_key != first.run_key, "the key of other messages would be refused"


def test_an_old_topic_name_is_read_as_well(tmp_path: Path) -> None:
    aliases = json.dumps({"crawler.out": "news.article.collected"})
    sandbox = Sandbox(now=lambda: NOW, broker=True)
    with platform(tmp_path, sandbox=sandbox, KAFKA_TOPIC_ALIASES=aliases) as p:
        connection = p.settings.kafka()
        assert connection is not None
        stream = Stream(p, connection)
        stream.send(1, topic="crawler.out")
        stream.send(2)
        (request,) = stream.tick()
        assert set(ranges_of(request)) == {TOPIC, "crawler.out"}
        stream.run(request)
        assert len(p.read(STREAMED)) == 2


def test_no_broker_and_no_topic_are_said(tmp_path: Path) -> None:
    with platform(tmp_path / "none") as p:
        stream = Stream(p, KafkaConnection("nowhere:1"))
        assert stream.tick() == []
        assert "quant dev" in stream.skipped
        live = Settings(QUANT_PROFILE="live", QUANT_HOME=str(tmp_path / "live"))
        stream.platform.settings = live
        assert stream.tick() == []
        assert "KAFKA_BOOTSTRAP_SERVERS" in stream.skipped
    with (
        EmbeddedBroker() as broker,
        platform(tmp_path / "empty", KAFKA_BOOTSTRAP_SERVERS=broker.bootstrap_servers) as p,
    ):
        stream = Stream(p, KafkaConnection(broker.bootstrap_servers))
        assert stream.tick() == []
        assert stream.skipped == f"no topic yet: {TOPIC}"


def test_what_was_handed_over_shows_as_the_groups_offsets(stream: Stream) -> None:
    for partition in (0, 0, 2):
        stream.send(1, partition)
    stream.tick()
    reader = Consumer(stream.connection.consumer(GROUP))
    try:
        places = [TopicPartition(TOPIC, number) for number in range(4)]
        committed = {p.partition: p.offset for p in reader.committed(places, timeout=10)}
    finally:
        reader.close()
    assert (committed[0], committed[2]) == (2, 1)


def test_messages_wait_while_as_many_runs_as_allowed_are_under_way(stream: Stream) -> None:
    stream.send(1)
    (request,) = stream.tick()
    job = stream.platform.defs.resolve_job_def("news_stream")
    for _ in range(stream.platform.settings.event_runs):
        stream.platform.instance.create_run_for_job(
            job,
            run_config=request.run_config,
            tags={**request.tags, "dagster/sensor_name": "article_stream"},
        )
    stream.send(2)
    before = stream.cursor
    assert stream.tick() == []
    assert "QUANT_EVENT_RUNS" in stream.skipped
    assert stream.cursor == before


def test_a_steady_stream_does_not_hold_a_tick(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(articles, "READ_SECONDS", 0.5)
    is_over = threading.Event()
    sent = []

    def drip() -> None:
        while not is_over.wait(0.05) and len(sent) < 1_000:
            sent.append(stream.send(1))

    stream.send(1)
    source = threading.Thread(target=drip)
    source.start()
    try:
        (request,) = stream.tick()
    finally:
        is_over.set()
        source.join(timeout=30)
    (taken,) = ranges_of(request)[TOPIC].values()
    assert taken[0] == 0
    assert taken[1] < 1_000, "it went on although messages kept coming"


def test_two_runs_of_one_hour_at_a_time_lose_nothing(stream: Stream) -> None:
    requests = []
    for _ in range(4):
        stream.send(1)
        requests += stream.tick()
    assert len({request.run_key for request in requests}) == 4
    gate = threading.Barrier(len(requests))
    results: list[bool] = []

    def execute(request: dg.RunRequest) -> None:
        with dg.DagsterInstance.ephemeral() as instance:
            own = replace(stream, platform=replace(stream.platform, instance=instance))
            gate.wait(timeout=600)
            results.append(own.run(request, check=False).success)

    threads = [threading.Thread(target=execute, args=(request,)) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=600)
    assert results == [True] * 4
    p = stream.platform
    assert len(p.read(STREAMED)) == 4
    assert len(p.read(TONE)) == 4


def test_a_stale_score_of_one_run_does_not_undo_another(stream: Stream) -> None:
    """A run that loaded the articles before another stored more of them writes last."""
    stream.send(1)
    stream.drain()
    p = stream.platform
    early = p.read(TONE, "2026-03-20-03")
    stream.send(2)
    stream.drain()
    both = p.read(TONE, "2026-03-20-03")
    assert len(both) == 2
    version = code_versions(p.settings)[TONE]
    p.store.write(dataset_of(TONE), TONE, "2026-03-20-03", early, version)
    assert_frame_equal(p.read(TONE, "2026-03-20-03"), both)


def planned(p: Platform) -> list[Task]:
    """What `quant run` would do about the stream."""
    planner = Planner(p.store, p.instance, NOW, code_versions(p.settings))
    span = span_of(US, date(2026, 3, 19), date(2026, 3, 19), NOW)
    tasks = planner.fetching([span], p.settings.news_start)
    return [task for task in tasks if task.job == "news_stream"]


def test_scores_of_another_version_are_made_anew(stream: Stream) -> None:
    url = stream.send(-50)
    stream.drain()
    p, key = stream.platform, "2026-03-20-02"
    row = p.read(TONE, key)
    wrong = row.assign(symbol="MSFT")
    p.store.write(dataset_of(TONE), TONE, key, wrong, "0-other")
    assert set(p.read(TONE, key)["symbol"]) == {"AAPL", "MSFT"}
    assert planned(p) == [Task("news_stream", (TONE,), key, key, 1)]
    result = p.defs.resolve_job_def("news_stream").execute_in_process(
        instance=p.instance,
        partition_key=key,
        asset_selection=[dg.AssetKey(TONE.split("/"))],
        raise_on_error=False,
    )
    assert result.success, failure(result)
    assert_frame_equal(p.read(TONE, key), row)
    assert planned(p) == []
    assert p.read(STREAMED, key)["url"].tolist() == [url]


def sentiment(p: Platform, day: str = "2026-03-18") -> Any:
    frame = p.read("us/news_sentiment", day)
    (row,) = frame[frame["symbol"] == "AAPL"].itertuples(index=False)
    return row


def test_a_streamed_article_reaches_the_decision_and_makes_no_hour_a_crawled_one(
    stream: Stream,
) -> None:
    """The session of the 18th is decided at the open of the 19th, 13:30 UTC."""
    p = stream.platform
    decision = datetime(2026, 3, 19, 13, 30, tzinfo=UTC)
    minutes = (decision - THREE) / timedelta(minutes=1)
    p.run("news_crawl", "2026-03-17-13", "2026-03-19-09")
    p.run("us_sentiment_analysis", "2026-03-18")
    before = sentiment(p)
    stream.send(minutes - 10)
    stream.drain()
    stream.send(minutes + 1)
    stream.drain()
    stream.send(minutes - 20)  # by the clock of its sender
    stream.drain()
    p.run("us_sentiment_analysis", "2026-03-18")
    after = sentiment(p)
    assert after.n_articles == before.n_articles + 1, "two were read after the decision"
    assert (after.hours_expected, after.hours_missing) == (
        before.hours_expected,
        before.hours_missing,
    )
    assert after.hours_missing > 0
    assert after.sentiment_score != before.sentiment_score


def test_hours_that_were_only_streamed_leave_the_sentiment_unavailable(stream: Stream) -> None:
    stream.send((datetime(2026, 3, 18, 15, tzinfo=UTC) - THREE) / timedelta(minutes=1))
    stream.drain()
    stream.platform.run("us_sentiment_analysis", "2026-03-18")
    row = sentiment(stream.platform)
    assert row.status == "UNAVAILABLE"
    assert row.hours_missing == row.hours_expected > 0


def test_an_article_that_was_crawled_and_streamed_counts_once(stream: Stream) -> None:
    p = stream.platform
    p.run("news_crawl", "2026-03-17-13", "2026-03-19-13")
    p.run("us_sentiment_analysis", "2026-03-18")
    before = sentiment(p)
    scored = p.read("news/article_sentiment")
    mine = scored[
        (scored["symbol"] == "AAPL")
        & (scored["available_at"] >= before.window_start)
        & (scored["available_at"] < before.decision_at)
    ]
    crawled = p.read("news/articles").set_index("article_id")
    one = crawled.loc[mine["article_id"].iloc[0]]
    sent = (one["published_at"] - THREE).total_seconds() / 60 + 1
    stream.send(
        sent,
        url=f"{one['url']}?utm_source=crawler",
        title=one["title"],
        publishedAt=one["published_at"].isoformat(),
        tickers=["AAPL"],
    )
    stream.drain()
    assert len(p.read(STREAMED)) == 1, "it came a minute after it was published, before the crawl"
    p.run("us_sentiment_analysis", "2026-03-18")
    assert sentiment(p).n_articles == before.n_articles
    stream.send(25, url=one["url"], title=one["title"], publishedAt=one["published_at"].isoformat())
    stream.drain()
    assert len(p.read(STREAMED)) == 1, "it is not news again a day later"


def test_the_crawl_does_not_touch_the_stream(stream: Stream) -> None:
    stream.send(-50)
    stream.drain()
    p = stream.platform
    before = p.files(STREAMED, TONE)
    p.run("news_crawl", "2026-03-20-02")
    assert p.files(STREAMED, TONE) == before
    assert len(p.read("news/articles", "2026-03-20-02")) > 0


def test_a_session_is_analysed_again_once_an_article_was_streamed_to_it(stream: Stream) -> None:
    p = stream.platform
    span = Span(US, (date(2026, 3, 18),))
    for asset in (f"us/{name}" for name in ANALYSIS):
        p.store.write(dataset_of(asset), asset, "2026-03-18", empty_frame(dataset_of(asset)), "1")
        p.instance.report_runless_asset_event(
            dg.AssetMaterialization(asset_key=asset.split("/"), partition="2026-03-18")
        )

    def outdated() -> list[str]:
        tasks = Planner(p.store, p.instance, NOW).analysis([span])
        return [task.first for task in tasks if task.job == "us_combined_analysis"]

    assert outdated() == []
    stream.send((datetime(2026, 3, 19, 13, tzinfo=UTC) - THREE) / timedelta(minutes=1))
    stream.drain()
    assert outdated() == ["2026-03-18"]


def test_explain_shows_streamed_articles_with_the_crawled_ones(
    stream: Stream, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    p = stream.platform
    sent = (datetime(2026, 3, 19, 1, tzinfo=UTC) - THREE) / timedelta(minutes=1)
    stream.send(sent, source="Crawler")
    stream.drain()
    p.run("news_crawl", "2026-03-18-18", "2026-03-19-02")
    p.run("us_price", "2026-03-02", "2026-03-18")
    p.run("us_combined_analysis", "2026-03-18")
    (p.settings.home_dir / "instance").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(p.settings.home_dir / "instance"))
    explain_recommendation(p.settings, US, "AAPL", date(2026, 3, 18))
    printed = capsys.readouterr().out
    assert "Crawler" in printed
    crawled = p.read("news/article_sentiment")
    about = crawled.loc[crawled["symbol"] == "AAPL", "article_id"]
    sources = p.read("news/articles").set_index("article_id")["source"]
    assert any(source in printed for source in sources[about]), "the crawled ones are there too"
