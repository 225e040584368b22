"""The request sensor on a real broker, without a daemon. What belongs here: building and asking it.

The broker is librdkafka's, in this process; the Dagster instance is a real one on the disk. Runs
are created as the daemon would create them and are not started.
"""

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from quant_assets.definitions import build_defs
from quant_assets.events.connection import KafkaConnection
from quant_assets.events.dead_letters import DeadLetter, header_texts
from quant_assets.events.publisher import Outgoing, Publisher
from quant_assets.events.reading import read_topic
from quant_assets.events.topics import TopicNames
from quant_assets.resources import ClockResource, build_resources
from quant_assets.sandbox import locate
from quant_assets.sandbox.server import Sandbox
from quant_assets.sensors.dead_letters import build_dead_letter_sensor
from quant_assets.sensors.requests import build_request_sensor
from quant_assets.settings import Settings
from quant_assets_tests.kafka_clients import close_kafka_clients

NAMES = TopicNames()


@dataclass
class EventDesk:
    """What a test needs: send messages, let the sensor tick, see what became of them."""

    connection: KafkaConnection
    instance: dg.DagsterInstance
    settings: Settings
    sandbox: Sandbox
    now: datetime
    cursor: str | None = None
    skipped: str = ""
    letters_cursor: str | None = None
    observed: list[dg.AssetObservation] = field(default_factory=list)
    requested: list[dg.RunRequest] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.publisher = Publisher(self.connection, NAMES)
        self._defs = build_defs(self.settings)

    def send(
        self,
        event_type: str,
        payload: Mapping[str, Any],
        *,
        event_id: str | None = None,
        key: str | None = "us",
        headers: Mapping[str, str] | None = None,
        **envelope: Any,
    ) -> str:
        """Send an event; its id. ``envelope`` replaces fields of the envelope."""
        identity = event_id or str(uuid.uuid4())
        content = {
            "eventId": identity,
            "eventType": event_type,
            "timestamp": self.now.isoformat(),
            "source": "test",
            "payload": payload,
            **envelope,
        }
        self.send_raw(NAMES.topic(event_type), json.dumps(content).encode(), key, headers)
        return identity

    def send_raw(
        self,
        topic: str,
        value: bytes | None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send bytes."""
        given = [(name, text.encode()) for name, text in (headers or {}).items()]
        self.publisher.send([Outgoing(topic, value, key.encode() if key else None, given)])

    def tick(
        self, *, keep_cursor: bool = True, launch: bool = True, poll_seconds: float = 1.5
    ) -> list[dg.RunRequest]:
        """Evaluate the sensor as the daemon does: keep its cursor, create its runs."""
        sensor = build_request_sensor(list(self._defs.jobs or []), poll_seconds=poll_seconds)
        resources = build_resources(self.settings)
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            definitions=self._defs,
            resources={
                "events": resources["events"],
                "clock": ClockResource(fixed_now=self.now.isoformat()),
            },
        ) as context:
            result = sensor(context)
        assert isinstance(result, dg.SensorResult | dg.SkipReason), result
        reason = result if isinstance(result, dg.SkipReason) else result.skip_reason
        self.skipped = getattr(reason, "skip_message", None) or str(reason or "")
        if isinstance(result, dg.SkipReason):
            return []
        if keep_cursor:
            self.cursor = result.cursor
        self.observed += [e for e in result.asset_events if isinstance(e, dg.AssetObservation)]
        asked = list(result.run_requests or [])
        self.requested += asked
        if launch:
            for request in asked:
                self.create_run(request)
        return asked

    def count_dead_letters(self) -> list[dg.AssetObservation]:
        """Evaluate the sensor that counts the dead letters; what it has observed."""
        events = build_resources(self.settings)["events"]
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.letters_cursor,
            definitions=self._defs,
            resources={"events": events, "clock": ClockResource()},
        ) as context:
            result = build_dead_letter_sensor()(context)
        if not isinstance(result, dg.SensorResult):
            return []
        self.letters_cursor = result.cursor
        return [e for e in result.asset_events if isinstance(e, dg.AssetObservation)]

    def job(self, name: str) -> dg.JobDefinition:
        """A job of the platform."""
        return self._defs.resolve_job_def(name)

    def create_run(self, request: dg.RunRequest) -> dg.DagsterRun:
        """The run of a request, as the daemon creates it."""
        job = self.job(str(request.job_name))
        tags = {**request.tags, "dagster/sensor_name": "event_requests"}
        return self.instance.create_run_for_job(job, tags=tags)

    def finish_runs(self) -> None:
        """Let every run end well."""
        for run in self.instance.get_runs():
            if not run.is_finished:
                self.instance.report_dagster_event(
                    dg.DagsterEvent(
                        event_type_value=dg.DagsterEventType.PIPELINE_SUCCESS.value,
                        job_name=run.job_name,
                    ),
                    run.run_id,
                )

    def letters(self) -> list[DeadLetter]:
        """The dead letters, in the order of their origin."""
        records = read_topic(self.connection, NAMES.dead_letter)
        found = [DeadLetter.read(header_texts(r.headers), r.value, r.key) for r in records]
        return sorted(found, key=lambda x: (x.origin.topic, x.origin.partition, x.origin.offset))

    def answers(self, event_type: str) -> list[dict[str, Any]]:
        """Payloads of the events of a type."""
        records = read_topic(self.connection, NAMES.topic(event_type))
        return [json.loads(record.value or b"")["payload"] for record in records]


@contextmanager
def event_desk(home: Path, *, now: datetime, **variables: Any) -> Iterator[EventDesk]:
    """A desk below ``home``, with a broker of its own."""
    settings = Settings(
        **{
            "QUANT_HOME": str(home),
            "QUANT_US_UNIVERSE": "AAPL,MSFT",
            "QUANT_KR_UNIVERSE": "005930.KS",
            **variables,
        }
    )
    with (
        Sandbox(seed=settings.sandbox_seed, broker=True) as sandbox,
        dg.DagsterInstance.local_temp(tempdir=str(home)) as instance,
    ):
        locate.record(home, sandbox)
        connection = settings.kafka()
        assert connection is not None
        desk = EventDesk(connection, instance, settings, sandbox, now.astimezone(UTC))
        yield desk
        desk.publisher.close()
        close_kafka_clients()
