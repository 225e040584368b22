"""What runs say on a real broker. What belongs here: running jobs for requests, and listening.

Assertions belong to the tests.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import dagster as dg

from quant_assets.events.connection import KafkaConnection
from quant_assets.events.publisher import Outgoing, Publisher
from quant_assets.events.reading import read_topic
from quant_assets.events.requests import RequestTag
from quant_assets.events.topics import TopicNames
from quant_assets.naming import TAG_PARTITION, TAG_RANGE_END, TAG_RANGE_START, TAG_REQUEST_PREFIX
from quant_assets.resources import build_resources
from quant_assets.sensors.outbox import build_outbox_sensor
from quant_assets.settings import Settings
from quant_assets_tests.platform import Platform

NAMES = TopicNames()


class Said(NamedTuple):
    """One event as its reader sees it."""

    id: str
    key: str
    payload: dict[str, Any]


@dataclass
class Listener:
    """Reads what was sent to a broker."""

    servers: str

    def __post_init__(self) -> None:
        self.connection = KafkaConnection(self.servers, is_embedded=True)

    def all(self, event_type: str) -> list[Said]:
        """Every event of a type."""
        records = read_topic(self.connection, NAMES.topic(event_type))
        found = []
        for record in sorted(records, key=lambda r: r.sent_at):
            content = json.loads(record.value or b"", parse_constant=_refuse)
            assert content["eventType"] == event_type
            found.append(Said(content["eventId"], (record.key or b"").decode(), content["payload"]))
        return found

    def of(self, run_id: str, event_type: str) -> list[Said]:
        """The events of a type that a run sent."""
        return [said for said in self.all(event_type) if said.payload.get("runId") == run_id]

    def only(self, run_id: str, event_type: str) -> Said:
        """The one event of a type that a run sent."""
        (said,) = self.of(run_id, event_type)
        return said

    def statuses(self, run_id: str) -> list[str]:
        """What a run said of its progress, in order."""
        found = self.of(run_id, "status.updated")
        return [
            f"{s.payload['status']} {s.payload.get('done', 0)}/{s.payload.get('total', 0)}"
            for s in found
        ]


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def ask(
    *symbols: str,
    event_type: str = "analysis.combined.request",
    request_id: str | None = None,
    **fields: Any,
) -> tuple[str, dict[str, str]]:
    """A request's id and the run tag by which a run serves it."""
    identity = request_id or str(uuid.uuid4())
    tag = RequestTag(
        **{
            "event_type": event_type,
            "origin": f"{NAMES.topic(event_type)}/0/0",
            "attempt": 1,
            "digest": "",
            "symbols": symbols,
            **fields,
        }
    )
    return identity, {f"{TAG_REQUEST_PREFIX}{identity}": tag.text()}


def send_request(
    listener: Listener, event_type: str, payload: Mapping[str, Any]
) -> tuple[str, str]:
    """Send a request as a message; its id and where it stands."""
    request_id = str(uuid.uuid4())
    content = {
        "eventId": request_id,
        "eventType": event_type,
        "timestamp": "2026-03-20T03:30:00+00:00",
        "source": "test",
        "payload": payload,
    }
    topic = NAMES.topic(event_type)
    Publisher(listener.connection, NAMES).send([Outgoing(topic, json.dumps(content).encode())])
    (origin,) = (
        record.origin
        for record in read_topic(listener.connection, topic)
        if request_id.encode() in (record.value or b"")
    )
    return request_id, str(origin)


def execute(
    p: Platform,
    job: str,
    first: str,
    last: str | None = None,
    *,
    tags: Mapping[str, str] | None = None,
    assets: Sequence[str] = (),
) -> dg.ExecuteInProcessResult:
    """Run a job, or some of its assets, for a partition or a range."""
    partition = (
        {TAG_PARTITION: first} if last is None else {TAG_RANGE_START: first, TAG_RANGE_END: last}
    )
    return p.defs.resolve_job_def(job).execute_in_process(
        instance=p.instance,
        tags={**(tags or {}), **partition},
        partition_key=first if last is None else None,
        asset_selection=[dg.AssetKey(asset.split("/")) for asset in assets] or None,
        raise_on_error=False,
    )


@dataclass
class Outbox:
    """The sensor as the daemon asks it: it keeps the cursor of each tick that did not fail."""

    instance: dg.DagsterInstance
    settings: Settings
    resources: Mapping[str, Any]
    cursor: str | None = None

    @classmethod
    def of(cls, p: Platform, **variables: Any) -> "Outbox":
        """The sensor of a platform, with other settings if ``variables`` name some."""
        settings = p.settings
        if variables:
            known = settings.model_dump(exclude_unset=True, by_alias=True)
            settings = Settings(**{**known, **variables})
        made = {**build_resources(settings), "clock": (p.defs.resources or {})["clock"]}
        return cls(p.instance, settings, {key: made[key] for key in ("events", "store", "clock")})

    def tick(self) -> str:
        """One tick; what it says."""
        sensor = build_outbox_sensor(self.settings)
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources=dict(self.resources)
        ) as context:
            result = sensor(context)
            self.cursor = context.cursor
        assert isinstance(result, dg.SkipReason)
        return str(result.skip_message)
