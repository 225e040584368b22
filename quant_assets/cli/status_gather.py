"""What ``quant status`` looks at. What belongs here: one function a part, no opinion, no printing.

Nothing is written and nothing started. A part that fails says why, and the others are told all the
same. Each asks Dagster in bulk; of the data only the newest files are opened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from quant_assets import naming
from quant_assets.checks.freshness import watched_assets
from quant_assets.cli.status_data import Successes, assets_of, quarantined, quota
from quant_assets.cli.status_house import House, NoInstanceError, instance_of, said
from quant_assets.cli.status_report import (
    INSTANCE,
    DaemonState,
    DeadLetterState,
    IncidentState,
    Report,
    RunState,
    ScheduleState,
    SensorState,
    daemon_state,
    judged,
    why_stuck,
)
from quant_assets.cli.text import printable
from quant_assets.hooks.runs import is_repeated, partitions_of, whole_seconds
from quant_assets.notices.incidents import SEVERITIES
from quant_assets.sensors import alert_sources as sources
from quant_assets.sensors.alert_memory import MemoryFile
from quant_assets.sensors.common import UNFINISHED
from quant_assets.sensors.dead_runs import dead_runs
from quant_assets.settings import Settings

MAX_RUNS = 200
FAILED_WITHIN = timedelta(hours=24)
LONGEST_RUN = timedelta(seconds=7200)
"""Run monitoring ends runs that go on for longer (``dagster.yaml``)."""


AGES = timedelta(days=3660)
"""No cron string waits longer: Dagster gives only windows that are over."""


def gather(values: Settings, now: datetime, market: str | None = None) -> Report:
    """Look at everything; the judged report."""
    with instance_of(values) as instance:
        return report_of(House(values, now, instance, market))


def report_of(house: House) -> Report:
    """The judged report of a house."""
    untold: dict[str, str] = {}

    def told(part: str, ask: Callable[[House], Any]) -> Any:
        try:
            return ask(house)
        except NoInstanceError as error:
            untold[INSTANCE] = str(error)
        except Exception as error:  # noqa: BLE001 - whatever breaks one part, the others are told
            untold[part] = said(error, house.values)
        return None

    schedules, sensors = told("schedules and sensors", schedules_and_sensors) or (None, None)
    successes = told("last successes", last_successes) or {}
    needed = [
        part
        for part, them in (("SCHEDULER", schedules), ("SENSOR", sensors))
        if any(one.is_on for one in them or ())
    ]
    return judged(
        Report(
            at=house.now.replace(microsecond=0),
            profile=house.values.profile,
            home=str(house.values.home_dir),
            assets=told("assets", lambda house: assets_of(house, successes)),
            schedules=schedules,
            sensors=sensors,
            runs=told("runs", unfinished_runs),
            failed_runs=told("failed runs", failed_runs),
            daemon=told("daemon", lambda house: daemon(house, needed)),
            incidents=told("incidents", incidents),
            dead_letters=told("dead letters", dead_letters),
            quota=told("quota", quota),
            quarantine=told("quarantine", quarantined),
            untold=untold,
        )
    )


def last_successes(house: House) -> Successes:
    """When each asset was last stored and by which run, whatever the partition."""
    found = {}
    keys = [dg.AssetKey(name.split("/")) for name in watched_assets()]
    for record in house.instance().get_asset_records(keys):
        last = record.asset_entry.last_materialization_record
        if last is not None:
            at = datetime.fromtimestamp(int(last.timestamp), UTC)
            found[record.asset_entry.asset_key.to_user_string()] = (at, last.run_id)
    return found


def schedules_and_sensors(house: House) -> tuple[list[ScheduleState], list[SensorState]]:
    """The schedules and sensors of the code location, whether they are on, and what fails."""
    from quant_assets.definitions import defs

    repository = defs.get_repository_def()
    states: dict[tuple[str, str], str] = {}
    failing: dict[str, str] = {}
    with suppress(NoInstanceError):
        instance = house.instance()
        for state in instance.all_instigator_state():
            states[state.instigator_type.value, state.instigator_name] = state.status.value
        for finding in sources.failing_ticks(instance, house.values, house.now):
            name = finding.key.partition(":")[2]
            failing[name] = f"failed {finding.count} times in a row: {finding.text}"
    schedules = [
        _schedule(one, states.get(("SCHEDULE", one.name)), failing, house.now)
        for one in repository.schedule_defs
        if house.concerns(one.name)
    ]
    sensors = [
        SensorState(
            name=one.name,
            **_switch(states.get(("SENSOR", one.name)), one),
            problem=failing.get(one.name, ""),
        )
        for one in repository.sensor_defs
    ]
    return schedules, sensors


def _switch(state: str | None, definition: Any) -> dict[str, bool]:
    """Whether it runs: as somebody switched it, else as the code says."""
    is_on_by_code = definition.default_status.value == "RUNNING"
    is_on = state == "RUNNING" if state in ("RUNNING", "STOPPED") else is_on_by_code
    return {"is_on": is_on, "is_switched_off": is_on_by_code and not is_on}


def _schedule(
    one: dg.ScheduleDefinition, state: str | None, failing: dict[str, str], now: datetime
) -> ScheduleState:
    crons = [one.cron_schedule] if isinstance(one.cron_schedule, str) else [*one.cron_schedule]
    timezone = one.execution_timezone or "UTC"
    switch = _switch(state, one)
    return ScheduleState(
        name=one.name,
        job=one.job_name,
        cron=crons,
        timezone=timezone,
        **switch,
        next_at=min(next_tick(c, timezone, now) for c in crons) if switch["is_on"] else None,
        problem=failing.get(one.name, ""),
    )


def next_tick(cron: str, timezone: str, now: datetime) -> datetime:
    """The first tick of a cron string after ``now``, as Dagster counts it, UTC.

    A partitions definition of the same cron begins with it: that is Dagster's public way. Compared
    with its scheduler over 3,240 moments around both changes of clocks it differs in the hour that
    comes twice, where it may skip a tick.
    """
    local = now.astimezone(ZoneInfo(timezone)).replace(tzinfo=None)
    windows = dg.TimeWindowPartitionsDefinition(
        start=local + timedelta(seconds=1), cron_schedule=cron, timezone=timezone, fmt="%Y-%m-%d"
    )
    with dg.partition_loading_context(now + AGES):
        first = windows.get_first_partition_window()
    assert first is not None
    return first.start.astimezone(UTC)


def unfinished_runs(house: House) -> list[RunState]:
    """The runs that have not ended, the oldest first; those that are dead or stuck say so."""
    instance = house.instance()
    records = instance.get_run_records(dg.RunsFilter(statuses=list(UNFINISHED)), limit=MAX_RUNS)
    dead = {run.run_id for run in dead_runs(instance)}
    return [_run(record, house.now, dead) for record in reversed(records)]


def _run(record: dg.RunRecord, now: datetime, dead: set[str]) -> RunState:
    run = record.dagster_run
    started = record.start_time
    since = (
        record.create_timestamp.replace(tzinfo=UTC)
        if started is None
        else datetime.fromtimestamp(started, UTC)
    ).replace(microsecond=0)
    own = whole_seconds(run.tags.get(naming.TAG_MAX_RUNTIME))
    longest = LONGEST_RUN if own is None else timedelta(seconds=own)
    is_dead = run.run_id in dead
    return RunState(
        run_id=run.run_id,
        job=_job(run),
        partition=_partition(run),
        status=run.status.value,
        since=since,
        problem="has lost its process"
        if is_dead
        else why_stuck(run.status.value, since, now, longest),
    )


def failed_runs(house: House) -> list[RunState]:
    """The runs that failed in the last day and are not repeated, the newest first."""
    records = house.instance().get_run_records(
        dg.RunsFilter(
            statuses=[dg.DagsterRunStatus.FAILURE], updated_after=house.now - FAILED_WITHIN
        ),
        limit=MAX_RUNS,
    )
    return [
        _run(record, house.now, set())
        for record in records
        if not is_repeated(record.dagster_run) and house.concerns(record.dagster_run.job_name)
    ]


def _job(run: dg.DagsterRun) -> str:
    return "assets" if run.job_name.startswith("__") else run.job_name


def _partition(run: dg.DagsterRun) -> str:
    first, last = partitions_of(run)
    return first if first == last else f"{first} .. {last}"


def daemon(house: House, needed: Sequence[str]) -> DaemonState:
    """The daemon, of which the ``needed`` parts have something to do."""
    heartbeats = {
        str(name): (
            datetime.fromtimestamp(int(beat.timestamp), UTC),
            [sources.first_line(error, house.values.secrets) for error in beat.errors or ()],
        )
        for name, beat in house.instance().get_daemon_heartbeats().items()
    }
    return daemon_state(heartbeats, needed, house.now)


def incidents(house: House) -> list[IncidentState]:
    """The open incidents, the gravest and oldest first."""
    found = [one for one in MemoryFile(house.instance()).read().incidents if one.is_open]
    found.sort(key=lambda one: (SEVERITIES.index(one.severity), one.opened_at))
    return [
        IncidentState(
            severity=one.severity,
            title=printable(one.title),
            count=one.count,
            opened_at=one.opened_at,
            link=printable(one.link),
        )
        for one in found
    ]


def dead_letters(house: House) -> DeadLetterState:
    """Open dead letters, as the sensor counted them."""
    for found in sources.open_dead_letters(house.instance(), house.values, house.now):
        return DeadLetterState(open=found.count, counted_at=found.seen_at.replace(microsecond=0))
    return DeadLetterState(open=0)
