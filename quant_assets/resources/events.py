"""Events as a resource. What belongs here: the process's way to Kafka, and what a run says on it.

Events never fail a run and hold it up once at most: what could not be sent when it happened is
sent by the sensor ``event_outbox``.
"""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import dagster as dg
import msgspec
from pydantic import PrivateAttr

from quant_assets import naming
from quant_assets.events.envelope import Event, derived_id, event
from quant_assets.events.payloads import StatusUpdated
from quant_assets.events.requests import RequestTag
from quant_assets.markets import MARKETS
from quant_assets.resources.base import SettingsResource

if TYPE_CHECKING:
    from quant_assets.events.connection import KafkaConnection
    from quant_assets.events.publisher import Publisher
    from quant_assets.events.topics import TopicNames

WAIT_SECONDS = 5.0
"""A run waits so long for a broker that does not answer."""
SILENT_SECONDS = 60.0
"""So long after that the process does not try again."""
LOG = logging.getLogger(__name__)

Keyed = tuple[str, Event[Any]]
"""An event and its key in the topic."""


@dataclass
class _Line:
    """The process's connection to one cluster; silent for a while after the broker was away."""

    publisher: "Publisher"
    silent_until: float = 0.0


_lock = threading.Lock()
_lines: dict[Any, _Line] = {}


class EventsResource(SettingsResource):
    """Kafka for sensors, hooks and assets; off where no broker is configured."""

    _outlet: "Outlet | None" = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Find the broker once for the run, and say that the run has started.

        Each process of a run does it; the event's id is the same in all of them.
        """
        line = self._line() if context.run is not None else None
        if context.run is None or line is None:
            return
        self._outlet = Outlet(line)
        self._outlet.offer(status_events(context.run, "started"), context.log or LOG)

    @property
    def outlet(self) -> "Outlet | None":
        """Where the hooks of the run send to; None outside of a run and if publishing is off."""
        return self._outlet

    def connection(self) -> "KafkaConnection | None":
        """How to reach Kafka, None if there is none: publishing is off."""
        return self.settings().kafka()

    def names(self) -> "TopicNames":
        """Names of the topics."""
        return self.settings().topic_names()

    def publisher(self) -> "Publisher | None":
        """Publisher of the process, made once for each cluster; None if publishing is off."""
        line = self._line()
        return None if line is None else line.publisher

    def _line(self) -> _Line | None:
        settings = self.settings()
        connection = settings.kafka()
        if connection is None:
            return None
        from quant_assets.events.publisher import Publisher

        names = settings.topic_names()
        key = connection, names.prefix
        with _lock:
            if key not in _lines:
                _lines[key] = _Line(Publisher(connection, names))
            return _lines[key]


@dataclass
class Outlet:
    """What the hooks of a run send through; ``answered`` are the outcomes that Kafka has."""

    _line: _Line
    answered: set[str] = field(default_factory=set)

    @property
    def publisher(self) -> "Publisher":
        """The publisher behind it."""
        return self._line.publisher

    @property
    def is_silent(self) -> bool:
        """Whether the broker was away a moment ago."""
        return time.monotonic() < self._line.silent_until

    def offer(self, events: Sequence[Keyed], log: logging.Logger) -> bool:
        """Send ``events``; whether Kafka has all of them.

        Waits for an absent broker for ``WAIT_SECONDS`` and then gives up.
        """
        if self.is_silent:
            return False
        try:
            self.publisher.publish(events, timeout_seconds=WAIT_SECONDS)
        except Exception as error:  # noqa: BLE001  whatever keeps an event back, the run goes on
            self.give_up(error, log)
            return False
        return True

    def give_up(self, error: Exception, log: logging.Logger) -> None:
        """Say in one line that Kafka is away; the process tries again in ``SILENT_SECONDS``."""
        self._line.silent_until = time.monotonic() + SILENT_SECONDS
        log.warning("%s; the sensor event_outbox sends the run's outcome later", error)


@dataclass(frozen=True)
class Asker:
    """Whom a run answers: a request by its id, or nobody in particular."""

    request_id: str | None = None
    tag: RequestTag | None = None


def askers_of(run: dg.DagsterRun) -> list[Asker]:
    """The requests that a run serves, or one asker without a request.

    A tag that cannot be read is a request of which only the id is known.
    """
    askers = []
    for name, value in sorted(run.tags.items()):
        if not name.startswith(naming.TAG_REQUEST_PREFIX):
            continue
        request_id = name.removeprefix(naming.TAG_REQUEST_PREFIX)
        try:
            askers.append(Asker(request_id, RequestTag.parse(value)))
        except msgspec.MsgspecError as error:
            _say_unreadable(run.run_id, name, str(error))
            askers.append(Asker(request_id))
    return askers or [Asker()]


@lru_cache(maxsize=256)
def _say_unreadable(run_id: str, name: str, reason: str) -> None:
    """Say it once: a run is looked at again and again."""
    LOG.warning("run %s: the tag %s is not readable: %s", run_id, name, reason)


def root_of(run: dg.DagsterRun) -> str:
    """Id of the run that ``run`` repeats, its own if it repeats none."""
    return run.root_run_id or run.run_id


def key_for(run: dg.DagsterRun, asker: Asker) -> str:
    """Key of the messages that answer ``asker``."""
    return asker.request_id or root_of(run)


def common_fields(run: dg.DagsterRun, asker: Asker) -> dict[str, Any]:
    """What every outcome and status says of the run and of whom it is for."""
    tag = asker.tag
    return {
        "request_id": asker.request_id,
        "run_id": run.run_id,
        "job": None if run.job_name.startswith("__") else run.job_name,
        "thread_ts": tag.thread_ts if tag else run.tags.get(naming.TAG_THREAD),
        "channel": tag.channel if tag else run.tags.get(naming.TAG_CHANNEL),
    }


def status_events(
    run: dg.DagsterRun, status: str, *, step: str | None = None, done: int = 0, total: int = 0
) -> list[Keyed]:
    """``status.updated`` for everyone who waits for the run.

    A run has one of each status, but for ``progress``, of which each step has one.
    """
    which = status if status != "progress" else f"{status}:{step}"
    market = _market(run)
    keyed = []
    for asker in askers_of(run):
        payload = StatusUpdated(
            **common_fields(run, asker),
            market=market,
            status=status,
            step=step,
            done=done,
            total=total,
        )
        identity = derived_id(run.run_id, "status.updated", asker.request_id or "", which)
        keyed.append((key_for(run, asker), event("status.updated", payload, event_id=identity)))
    return keyed


def _market(run: dg.DagsterRun) -> str | None:
    """The market of the run's assets, None for macro and news, and for several markets."""
    heads = {key.path[0] for key in run.asset_selection or ()} or {run.job_name.partition("_")[0]}
    return heads.pop() if len(heads) == 1 and heads <= MARKETS.keys() else None
