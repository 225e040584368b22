"""The article sensor: messages of the stream become runs. What belongs here: which run reads what.

A run gets the offsets of the messages of one stretch of hours, so that no hour without messages is
stored and a repeated run reads the same messages. What is stored is the asset's business.
"""

import hashlib
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import dagster as dg

from quant_assets import naming
from quant_assets.assets.news_stream import STEP
from quant_assets.events.dead_letters import DeadLetter, bury
from quant_assets.events.envelope import BadEventError, EventDecoder
from quant_assets.events.follower import Cursor, Follower
from quant_assets.events.publisher import Publisher
from quant_assets.events.reading import Record
from quant_assets.events.topics import Role, TopicNames
from quant_assets.resources import ClockResource, EventsResource
from quant_assets.schemas.keys import HOUR_FORMAT
from quant_assets.sensors.common import (
    REPEATS,
    free_runs,
    no_room,
    observation,
    partition_tags,
    report,
    why_off,
)
from quant_assets.sensors.intake import letter
from quant_assets.sensors.routing import CLOCK_TOLERANCE

NAME = "article_stream"
JOB = "news_stream"
GROUP = "quant-assets.articles"
INTERVAL_SECONDS = 30
BATCH = 2_000
BATCH_BYTES = 32_000_000
"""A message may have a megabyte; a tick keeps all that it reads in memory."""
FIRST_WAIT_SECONDS, WAIT_SECONDS = 3.0, 1.0
"""For the first message over a new connection, and for more: an empty fetch takes half a second."""
READ_SECONDS = 15.0
"""A steady stream never pauses; Dagster gives up on a sensor after 60 s."""
HOUR = timedelta(hours=1)

Ranges = Mapping[str, Mapping[int, tuple[int, int]]]


def build_article_sensor() -> dg.SensorDefinition:
    """The sensor that hands the articles of the stream to runs of ``news_stream``."""

    @dg.sensor(
        name=NAME,
        job_name=JOB,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Articles that an external crawler sends to Kafka are stored and scored.",
    )
    def article_stream(
        context: dg.SensorEvaluationContext, events: EventsResource, clock: ClockResource
    ) -> dg.SensorResult | dg.SkipReason:
        settings = events.settings()
        connection, publisher = events.connection(), events.publisher()
        if connection is None or publisher is None:
            return dg.SkipReason(why_off(settings))
        room = free_runs(context.instance, NAME, settings.event_runs)
        if room <= 0:
            return no_room(settings.event_runs)
        topics = events.names().read_topics(Role.STREAM)
        with closing(Follower(connection, topics, GROUP)) as follower:
            tick = _Tick(context, follower, publisher, events.names(), clock.now())
            return tick.run(topics, settings.news_start, room)

    return article_stream


class _Tick:
    """One evaluation of the sensor."""

    def __init__(
        self,
        context: dg.SensorEvaluationContext,
        follower: Follower,
        publisher: Publisher,
        names: TopicNames,
        now: datetime,
    ) -> None:
        self._context = context
        self._follower = follower
        self._publisher = publisher
        self._decoder = EventDecoder(names)
        self._now = now

    def run(
        self, topics: Sequence[str], first_day: date, room: int
    ) -> dg.SensorResult | dg.SkipReason:
        """Read what is new and hand it to runs; the cursor moves once the dead letters are safe."""
        cursor = self._resume()
        if not cursor.topics.keys() & set(topics):
            return dg.SkipReason(f"no topic yet: {', '.join(topics)}")
        records = self._read()
        plan = plan_runs(
            records,
            self._decoder,
            first_hour=datetime.combine(first_day, datetime.min.time(), UTC),
            now=self._now,
            room=room,
        )
        bury(self._publisher, plan.letters)
        cursor = cursor.after(plan.taken)
        self._follower.commit(cursor)
        told = f"{len(plan.letters)} dead letters" if plan.letters else "no article came"
        return dg.SensorResult(
            run_requests=[_run_request(run, self._now) for run in plan.runs],
            skip_reason=None if plan.runs else dg.SkipReason(told),
            cursor=cursor.text(),
            asset_events=[self._seen(records, plan)] if records else [],
        )

    def _seen(self, records: Sequence[Record], plan: "Plan") -> dg.AssetObservation:
        return observation(
            naming.ASSET_ARTICLES,
            records,
            len(plan.taken),
            self._follower,
            runs=len(plan.runs),
            dead_letters=len(plan.letters),
        )

    def _resume(self) -> Cursor:
        """Where reading goes on; messages that were lost meanwhile are dead letters first."""
        resumed = self._follower.resume(Cursor.parse(self._context.cursor))
        report(resumed, self._publisher, self._context.log, self._now)
        return resumed.cursor

    def _read(self) -> list[Record]:
        """Messages that are there, as many as a tick deals with."""
        records: list[Record] = []
        size = 0
        deadline = time.monotonic() + READ_SECONDS
        while len(records) < BATCH and size < BATCH_BYTES and time.monotonic() < deadline:
            wait = WAIT_SECONDS if records else FIRST_WAIT_SECONDS
            more = self._follower.read(BATCH - len(records), wait, lambda: False)
            if not more:
                break
            records += more
            size += sum(len(record.value or b"") for record in more)
        return records


@dataclass(frozen=True)
class HourRun:
    """A run: the hours from ``first`` to ``last`` (UTC) and the offsets of their messages."""

    first: datetime
    last: datetime
    ranges: Ranges
    sent_at: datetime

    @property
    def key(self) -> str:
        """Equal for equal ranges; a topic that was created again has others at other times."""
        content = repr(sorted((t, sorted(p.items())) for t, p in self.ranges.items()))
        digest = hashlib.sha256(f"{content} {self.sent_at.isoformat()}".encode()).hexdigest()
        return f"{self.first.strftime(HOUR_FORMAT)}:{digest[:24]}"


class Plan(NamedTuple):
    """What becomes of the messages that are ``taken``; the others wait for a later tick."""

    runs: list[HourRun]
    letters: list[DeadLetter]
    taken: list[Record]


def plan_runs(
    records: Sequence[Record],
    decoder: EventDecoder,
    *,
    first_hour: datetime,
    now: datetime,
    room: int,
) -> Plan:
    """Decide about messages, those of one partition in their order.

    A message that is no article, or whose time is before ``first_hour`` or in the future, is a
    dead letter. A partition is left at its first message that needs one run more than
    ``room``, or whose hour has not begun (a producer's clock may be ahead a little).
    """
    letters: list[DeadLetter] = []
    taken: list[Record] = []
    good: dict[datetime, list[Record]] = defaultdict(list)
    left: set[tuple[str, int]] = set()
    for record in records:
        place = record.origin.topic, record.origin.partition
        if place in left:
            continue
        try:
            decoder.decode(record.origin.topic, record.value)
            _demand_usable_time(record, first_hour, now)
        except BadEventError as error:
            letters.append(letter(record, error, now))
            taken.append(record)
            continue
        hour = _hour(record.sent_at)
        is_new = hour not in good
        if hour > _hour(now) or (is_new and len(stretches([*good, hour])) > room):
            left.add(place)
            continue
        good[hour].append(record)
        taken.append(record)
    return Plan([_hour_run(part, good) for part in stretches(good)], letters, taken)


def stretches(hours: Collection[datetime]) -> list[list[datetime]]:
    """``hours`` in ascending order, parted where an hour in between is absent."""
    parts: list[list[datetime]] = []
    for hour in sorted(hours):
        if not parts or hour - parts[-1][-1] > HOUR:
            parts.append([])
        parts[-1].append(hour)
    return parts


def _demand_usable_time(record: Record, first_hour: datetime, now: datetime) -> None:
    """Raise ``BadEventError`` if the message's time names no hour of the platform."""
    if record.sent_at < first_hour:
        raise BadEventError(
            "message_time",
            f"the message's time is {record.sent_at:%Y-%m-%d %H:%M} UTC, before the first hour of "
            f"the news ({first_hour:%Y-%m-%d}, QUANT_NEWS_START)",
        )
    if record.sent_at > now + CLOCK_TOLERANCE:
        raise BadEventError(
            "message_time",
            f"the message's time is {record.sent_at:%Y-%m-%d %H:%M} UTC, in the future: the "
            "producer's clock is wrong",
        )


def _hour(instant: datetime) -> datetime:
    return instant.replace(minute=0, second=0, microsecond=0)


def _hour_run(hours: Sequence[datetime], good: Mapping[datetime, Sequence[Record]]) -> HourRun:
    records = [record for hour in hours for record in good[hour]]
    ranges: dict[str, dict[int, tuple[int, int]]] = defaultdict(dict)
    for record in records:
        topic, partition, offset = (
            record.origin.topic,
            record.origin.partition,
            record.origin.offset,
        )
        first, end = ranges[topic].get(partition, (offset, offset + 1))
        ranges[topic][partition] = min(first, offset), max(end, offset + 1)
    return HourRun(hours[0], hours[-1], dict(ranges), min(record.sent_at for record in records))


def _run_request(run: HourRun, now: datetime) -> dg.RunRequest:
    first, last = run.first.strftime(HOUR_FORMAT), run.last.strftime(HOUR_FORMAT)
    ranges: dict[str, Any] = {
        topic: {str(partition): list(offsets) for partition, offsets in partitions.items()}
        for topic, partitions in run.ranges.items()
    }
    return dg.RunRequest(
        run_key=run.key,
        run_config={"ops": {STEP: {"config": {"ranges": ranges, "received_at": now.isoformat()}}}},
        tags={**partition_tags(first, last), **REPEATS, naming.TAG_REPEAT_FAILURES: "true"},
    )
