"""The request sensor. What belongs here: Kafka and Dagster around the intake."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import dagster as dg

from quant_assets import naming
from quant_assets.events.connection import KafkaConnection
from quant_assets.events.dead_letters import bury
from quant_assets.events.envelope import EventDecoder
from quant_assets.events.follower import Cursor, Follower
from quant_assets.events.publisher import Publisher
from quant_assets.events.reading import Record
from quant_assets.events.requests import RequestTag
from quant_assets.events.topics import Role, TopicNames
from quant_assets.resources import ClockResource, EventsResource
from quant_assets.sensors.common import (
    REPEATS,
    free_runs,
    no_room,
    observation,
    partition_tags,
    report,
    why_off,
)
from quant_assets.sensors.intake import Intake, PlannedRun, take_in
from quant_assets.sensors.routing import Router
from quant_assets.settings import Settings

NAME = "event_requests"
GROUP = "quant-assets.requests"
POLL_SECONDS = 40.0
"""A tick waits so long for a message: Dagster gives up on a sensor after 60 s."""
BATCH = 1_000
BUSY_SECONDS = 0.5


def build_request_sensor(
    jobs: Sequence[Any], *, poll_seconds: float = POLL_SECONDS
) -> dg.SensorDefinition:
    """One sensor for every request topic: a request becomes a run within a second."""

    @dg.sensor(
        name=NAME,
        jobs=jobs,
        minimum_interval_seconds=1,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests from Kafka become runs, each exactly once.",
    )
    def event_requests(
        context: dg.SensorEvaluationContext, events: EventsResource, clock: ClockResource
    ) -> dg.SensorResult | dg.SkipReason:
        settings = events.settings()
        connection = settings.kafka()
        if connection is None:
            return dg.SkipReason(why_off(settings))
        publisher = events.publisher()
        assert publisher is not None
        desk = _desk_for(connection, settings.topic_names())
        with desk.alone() as is_stopped:
            tick = _Tick(context, desk, publisher, settings, clock.now, is_stopped)
            return tick.run(time.monotonic() + poll_seconds)

    return event_requests


class _Desk:
    """What a code server keeps from tick to tick: the open reader, and who uses it."""

    def __init__(self, connection: KafkaConnection, names: TopicNames) -> None:
        self.follower = Follower(connection, names.read_topics(Role.REQUEST), GROUP)
        self.decoder = EventDecoder(names)
        self._lock = threading.Lock()
        self._turn = 0

    @contextmanager
    def alone(self) -> Iterator[Callable[[], bool]]:
        """Use the reader alone; gives a function that says whether the next tick is waiting.

        A tick whose daemon died goes on in the code server: the one after must not wait for it.
        """
        self._turn += 1
        turn = self._turn
        with self._lock:
            yield lambda: self._turn != turn


_desks: dict[Any, _Desk] = {}
_desks_lock = threading.Lock()


def _desk_for(connection: KafkaConnection, names: TopicNames) -> _Desk:
    key = connection, names.prefix, tuple(sorted(names.aliases.items()))
    with _desks_lock:
        if key not in _desks:
            _desks[key] = _Desk(connection, names)
        return _desks[key]


class _Tick:
    """One evaluation of the sensor."""

    def __init__(
        self,
        context: dg.SensorEvaluationContext,
        desk: _Desk,
        publisher: Publisher,
        settings: Settings,
        now: Callable[[], datetime],
        is_stopped: Callable[[], bool],
    ) -> None:
        self._context = context
        self._desk = desk
        self._publisher = publisher
        self._settings = settings
        self._now = now
        self._is_stopped = is_stopped

    def run(self, deadline: float) -> dg.SensorResult | dg.SkipReason:
        """Wait for messages until ``deadline`` (monotonic) and decide about them."""
        cursor, records = self._read(Cursor.parse(self._context.cursor), deadline)
        if not records:
            return dg.SensorResult(
                skip_reason=dg.SkipReason("no request came"), cursor=cursor.text()
            )
        limit = self._settings.event_runs
        intake = self._decide(records, limit)
        if intake.runs:
            room = self._wait_for_room(min(len(intake.runs), (limit + 1) // 2), deadline)
            if room <= 0:
                return no_room(limit)
            if room < len(intake.runs):
                intake = self._decide(records, room)
        bury(self._publisher, intake.letters)
        self._publisher.publish(intake.refusals)
        cursor = cursor.after(records[: intake.taken])
        self._desk.follower.commit(cursor)
        return dg.SensorResult(
            run_requests=[_run_request(run) for run in intake.runs],
            cursor=cursor.text(),
            asset_events=[self._seen(records, intake)],
        )

    def _decide(self, records: Sequence[Record], room: int) -> Intake:
        return take_in(
            records,
            decoder=self._desk.decoder,
            router=_router(self._settings),
            known=self._known_requests,
            free_runs=room,
            now=self._now(),
        )

    def _wait_for_room(self, wanted: int, deadline: float) -> int:
        """How many more runs of requests may start; waits until it is ``wanted`` or time is up.

        Requests wait in Kafka, where they are safe and where later ones join them in one run. The
        daemon comes back only every 5 s, so that starting one run at a time would take for ever.
        """
        limit = self._settings.event_runs
        while True:
            free = free_runs(self._context.instance, NAME, limit)
            if free >= wanted or time.monotonic() > deadline or self._is_stopped():
                return free
            time.sleep(BUSY_SECONDS)

    def _read(self, cursor: Cursor, deadline: float) -> tuple[Cursor, list[Record]]:
        """Messages after ``cursor``, once there are some; and the cursor that they are after."""
        follower = self._desk.follower
        while True:
            resumed = follower.resume(cursor)
            report(resumed, self._publisher, self._context.log, self._now())
            cursor = resumed.cursor
            records = follower.read(BATCH, deadline - time.monotonic(), self._is_stopped)
            if records or self._is_stopped() or time.monotonic() > deadline:
                return cursor, records

    def _known_requests(self, event_ids: Collection[str]) -> Mapping[str, Sequence[RequestTag]]:
        """The tags that runs have for these ids: a request that has one is not run again."""
        keys = [f"{naming.TAG_REQUEST_PREFIX}{event_id}" for event_id in event_ids]
        known: dict[str, list[RequestTag]] = defaultdict(list)
        for first in range(0, len(keys), 500):
            found = self._context.instance.get_run_tags(tag_keys=keys[first : first + 500])
            for key, values in found:
                event_id = key.removeprefix(naming.TAG_REQUEST_PREFIX)
                known[event_id] += [RequestTag.read(value) for value in values]
        return known

    def _seen(self, records: Sequence[Record], intake: Intake) -> dg.AssetObservation:
        return observation(
            naming.ASSET_REQUESTS,
            records,
            intake.taken,
            self._desk.follower,
            runs=len(intake.runs),
            repeated=intake.repeated,
            dead_letters=len(intake.letters),
        )


def _router(settings: Settings) -> Router:
    return Router(
        symbols_of=cache(lambda key: {listing.symbol for listing in settings.universe(key)}),
        series=frozenset(series.series_id for series in settings.series()),
        news_start=settings.news_start,
        max_age=timedelta(days=settings.event_max_age_days),
    )


def _run_request(run: PlannedRun) -> dg.RunRequest:
    """The run, with all that its answers need as tags."""
    threads = {tag.thread_ts: tag.channel for tag in run.requests.values() if tag.thread_ts}
    thread, channel = next(iter(threads.items()), (None, None))
    tags = {
        **partition_tags(run.first, run.last),
        **REPEATS,
        **{naming.TAG_REQUEST_PREFIX + key: tag.text() for key, tag in run.requests.items()},
        **({naming.TAG_THREAD: thread} if thread else {}),
        **({naming.TAG_CHANNEL: channel} if channel else {}),
    }
    return dg.RunRequest(run_key=run.key, job_name=run.job, tags=tags)
