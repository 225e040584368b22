"""Alerts. What belongs here: the sensor that looks for what is wrong and tells it.

A tick looks once, brings the incidents up to date and tells what is new of them. Nothing is lost
where Slack or the mail server is away: what was told stands in the record, and the next tick tells
the rest.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import dagster as dg
import msgspec

from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.notices.incidents import MAX_OPEN, Finding, Incident, is_over, reconcile
from quant_assets.notices.reports import due_mail
from quant_assets.resources import ClockResource, StoreResource
from quant_assets.resources.slack import courier_to
from quant_assets.sensors import alert_sources as sources
from quant_assets.sensors.alert_delivery import Desk
from quant_assets.sensors.alert_memory import MemoryFile
from quant_assets.sensors.alert_runs import CHECKS, RUNS, RunsSeen, look_at_runs
from quant_assets.settings import Settings
from quant_assets.vendors.redaction import redact
from quant_assets.vendors.slack import SlackConnection

if TYPE_CHECKING:
    from quant_assets.notices.courier import Courier

NAME = "alerts"
INTERVAL_SECONDS = 30
SLACK_SECONDS, MAIL_SECONDS = 15.0, 10.0
"""Each way to tell has its own time of a tick."""
SOURCE = "source"
TITLES_NAMED = 5
LOG = logging.getLogger(__name__)


def build_alert_sensor(values: Settings) -> dg.SensorDefinition:
    """Tells in Slack and by mail what is wrong, once, and when it is over."""

    @dg.sensor(
        name=NAME,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Failed runs and checks, stale data, dead letters and failing ticks are told.",
    )
    def alerts(
        context: dg.SensorEvaluationContext, store: StoreResource, clock: ClockResource
    ) -> dg.SkipReason:
        slack, server = values.slack(), values.mail_server()
        if slack is None and server is None:
            return dg.SkipReason(_why_off(values))
        location = _location(context)
        watch = Watch(context.instance, store.open(), values, clock.now(), location)
        return dg.SkipReason(tick(watch, slack, context.log))

    return alerts


@dataclass(frozen=True)
class Watch:
    """What a look looks at. ``location``: the code location whose ticks count, None for all."""

    instance: dg.DagsterInstance
    store: ParquetStore
    values: Settings
    now: datetime
    location: str | None = None


@dataclass(frozen=True)
class Sight:
    """What a look saw; ``unknown`` are the sources that could not look."""

    findings: list[Finding]
    unknown: frozenset[str]
    runs: RunsSeen


def tick(watch: Watch, slack: SlackConnection | None, log: logging.Logger) -> str:
    """Look, tell, remember; what the tick's page says."""
    record = MemoryFile(watch.instance)
    memory = record.load(log)
    still_open = {incident.key for incident in memory.incidents if incident.is_open}
    sight = look(watch, memory.runs, log, still_open.__contains__)
    incidents = reconcile(memory.incidents, sight.findings, watch.now, unknown=sight.unknown)
    server = watch.values.mail_server()
    kept = tuple(
        i for i in incidents if not is_over(i, watch.now, is_told=_is_told(i, slack, server))
    )
    memory = msgspec.structs.replace(memory, incidents=kept, runs=sight.runs)
    record.keep(memory)
    desk = Desk(memory, record.keep, watch.values, watch.now)
    if slack is not None and kept:
        desk.tell_slack(_courier(slack), time.monotonic() + SLACK_SECONDS)
    if server is not None:
        desk.tell_mail(server, log, time.monotonic() + MAIL_SECONDS)
    return _summary(desk.memory.incidents, sight.findings, desk.problems)


def look(
    watch: Watch, seen: RunsSeen, log: logging.Logger, is_known: Callable[[str], bool]
) -> Sight:
    """Ask every source. One that fails is itself a finding, and the others still count.

    ``is_known`` says whether there is an open incident of a key: it is not logged once more.
    """
    findings: list[Finding] = []
    unknown: set[str] = set()
    instance, values, now = watch.instance, watch.values, watch.now

    def runs() -> list[Finding]:
        nonlocal seen
        seen, found = look_at_runs(instance, seen, values, now)
        return found

    asked: dict[tuple[str, ...], Callable[[], list[Finding]]] = {
        (RUNS, CHECKS): runs,
        (sources.STALE,): lambda: sources.stale_recommendations(
            watch.store, values, now, is_known=is_known
        ),
        (sources.LETTERS,): lambda: sources.open_dead_letters(instance, values, now),
        (sources.QUOTA,): lambda: sources.exhausted_quota(values, now),
        (sources.TICKS,): lambda: sources.failing_ticks(
            instance, values, now, is_mine=lambda state: _is_of(state, watch.location)
        ),
    }
    for names, ask in asked.items():
        try:
            findings += ask()
        except Exception as error:
            # Whatever breaks one source, the others look.
            if not is_known(f"{SOURCE}:{names[0]}"):
                log.exception("alerts of the kind %s cannot be made", names[0])
            unknown.update(names)
            findings.append(_broken(names[0], error, values, now))
    return Sight(findings, frozenset(unknown), seen)


def _broken(name: str, error: Exception, values: Settings, now: datetime) -> Finding:
    said = redact(str(error) or type(error).__name__, values.secrets)
    return Finding(
        key=f"{SOURCE}:{name}",
        severity="warning",
        title=f"Alerts of the kind {name} cannot be made",
        text=f"{type(error).__name__}: {said}",
        seen_at=now,
    )


def _is_told(incident: Incident, slack: SlackConnection | None, server: Any) -> bool:
    is_posted = slack is None or incident.thread.is_done or bool(incident.thread.problem)
    return is_posted and (server is None or due_mail(incident) is None)


def _summary(
    incidents: Sequence[Incident], findings: Sequence[Finding], problems: Sequence[str]
) -> str:
    known = {incident.key for incident in incidents if incident.is_open}
    untold = sum(not finding.closing and finding.key not in known for finding in findings)
    still_open = [incident.title for incident in incidents if incident.is_open]
    named = "; ".join(still_open[:TITLES_NAMED])
    more = f" and {len(still_open) - TITLES_NAMED} more" if len(still_open) > TITLES_NAMED else ""
    said = f"{len(still_open)} open: {named}{more}" if still_open else "nothing is wrong"
    crowded = [f"{untold} more not told: {MAX_OPEN} are open"] if untold else []
    return " | ".join([said, *crowded, *dict.fromkeys(problems)])


@lru_cache(maxsize=4)
def _courier(connection: SlackConnection) -> "Courier":
    """One courier a workspace and process: it knows Slack's pace, and what it has said."""
    return courier_to(connection, LOG)


@lru_cache(maxsize=4)
def _log_once(reason: str) -> None:
    LOG.info("alerts: %s", reason)


def _why_off(values: Settings) -> str:
    """Why nobody can be told, and what to do about it."""
    if values.is_sandbox:
        reason = "no Slack: `quant dev` and `quant sandbox` each run one; QUANT_SMTP_HOST mails"
    else:
        reason = "neither SLACK_BOT_TOKEN nor QUANT_SMTP_HOST is set: nobody is told"
    _log_once(reason)
    return reason


def _location(context: dg.SensorEvaluationContext) -> str | None:
    """Name of the code location that the sensor is of, None where it is evaluated by hand."""
    origin: Any = context.code_location_origin
    return None if origin is None else str(origin.location_name)


def _is_of(state: Any, location: str | None) -> bool:
    """Whether a schedule's or sensor's state is of ``location``."""
    origin = state.origin.repository_origin.code_location_origin
    return location is None or origin.location_name == location
