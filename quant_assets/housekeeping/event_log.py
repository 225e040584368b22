"""Dagster's event log without a run. What belongs here: what of a run's events goes, what stays.

``DagsterInstance.delete_run`` takes the materializations of the run along. Measured with Dagster
1.13.27 on a run that had made 503 partitions: ``get_materialized_partitions``, by which ``quant
run`` plans, gave none of them afterwards, while the UI went on to show all 503 out of its cache;
the file of the run's events stayed on the disk, and so did its 1,509 rows of planned checks. A run
that must be kept because it made the latest version of a partition would be kept for ever, since
nearly every partition is made once.

So the run goes and the latest materialization of each partition stays, with its time, its number
and the id of the run. Asked for it, Dagster (and the UI) says that the run is not found;
partitions, staleness and checks are as before.

Dagster has no interface for that. The statements name the tables of its schema, on SQLite as on
PostgreSQL, and the tests run them on both.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg

from quant_assets.housekeeping.ours import STORED_KEYS

RUNLESS = ""
"""Run id of what Dagster was told outside of a run: observations of topics, released rows."""

_LATER = """EXISTS (SELECT 1 FROM event_logs AS later WHERE later.asset_key = event_logs.asset_key
  AND later.dagster_event_type = event_logs.dagster_event_type
  AND (later.partition = event_logs.partition) AND later.id > event_logs.id)"""
_LATER_WITHOUT = """EXISTS (SELECT 1 FROM event_logs AS later
  WHERE later.asset_key = event_logs.asset_key
  AND later.dagster_event_type = event_logs.dagster_event_type
  AND later.partition IS NULL AND later.id > event_logs.id)"""
_IS_LATEST = f"""(event_logs.dagster_event_type IN ('ASSET_MATERIALIZATION', 'ASSET_OBSERVATION')
  AND event_logs.asset_key IS NOT NULL
  AND ((event_logs.partition IS NOT NULL AND NOT {_LATER})
    OR (event_logs.partition IS NULL AND NOT {_LATER_WITHOUT})))"""
_OLD_EVENTS = f"event_logs WHERE event_logs.run_id = :run AND NOT {_IS_LATEST}"
_OLD_CHECKS = """asset_check_executions WHERE run_id = :run AND (execution_status = 'PLANNED'
  OR EXISTS (SELECT 1 FROM asset_check_executions AS later
    WHERE later.asset_key = asset_check_executions.asset_key
    AND later.check_name = asset_check_executions.check_name
    AND (later.partition = asset_check_executions.partition
      OR (later.partition IS NULL AND asset_check_executions.partition IS NULL))
    AND later.execution_status <> 'PLANNED' AND later.id > asset_check_executions.id))"""
_LEFT_PLANS = """asset_check_executions WHERE run_id = :run AND execution_status = 'PLANNED'
  AND partition IS NOT NULL AND asset_key IN :ours"""
# The event of an evaluation names no asset, the row of its check does.
_EVENT_IS_OURS = """(event_logs.asset_key IN :ours OR event_logs.id IN (
  SELECT evaluation_event_storage_id FROM asset_check_executions WHERE asset_key IN :ours))"""
_OUR_EVENTS = f"{_OLD_EVENTS} AND {_EVENT_IS_OURS}"
_OUR_CHECKS = f"{_OLD_CHECKS} AND asset_key IN :ours"


class Volume(NamedTuple):
    """Rows and the bytes of what they hold."""

    rows: int
    bytes: int

    def __add__(self, other: Any) -> "Volume":
        return Volume(self.rows + other.rows, self.bytes + other.bytes)


def strip_run(instance: dg.DagsterInstance, run_id: str, *, dry_run: bool) -> Volume:
    """Remove a run's events but the latest of each partition, and what it planned and checked.

    The latest evaluation of a check stays as well. In one transaction; again changes nothing.
    """
    return _remove(
        instance,
        {_OLD_EVENTS: "event", _OLD_CHECKS: "evaluation_event"},
        {"run": run_id},
        dry_run=dry_run,
    )


def strip_runless(instance: dg.DagsterInstance, before: datetime, *, dry_run: bool) -> Volume:
    """Remove what Dagster was told outside of runs and later events have replaced.

    Observations come with each tick that read something, evaluations of freshness with the clock,
    all under one id, which other code locations share: only what concerns our assets goes.
    """
    old = {
        f"{_OUR_EVENTS} AND event_logs.timestamp < :before": "event",
        f"{_OUR_CHECKS} AND evaluation_event_timestamp < :before": "evaluation_event",
    }
    parameters = {"run": RUNLESS, "before": _stored(before)}
    return _remove(instance, old, parameters, dry_run=dry_run)


def strip_copies(instance: dg.DagsterInstance, before: datetime, *, dry_run: bool) -> Volume:
    """Remove what SQLite keeps a second time of what Dagster was told outside of runs.

    It is written to the file of the run without an id as well, whose events nobody asks for.
    """
    database = shard_of(instance, RUNLESS)[-1:]
    if not database or not database[0].exists():
        return Volume(0, 0)
    storage: Any = instance.event_log_storage
    old = {"event_logs WHERE event_logs.timestamp < :before": "event"}
    parameters = {"before": _stored(before)}
    with storage.run_connection(RUNLESS) as connection:
        return _remove_on(connection, old, parameters, dry_run=dry_run)


def strip_orphans(instance: dg.DagsterInstance, before: datetime, *, dry_run: bool) -> Volume:
    """Remove our materializations of runs that are gone once later ones have replaced them."""
    replaced = _text(
        "SELECT DISTINCT run_id FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION' "
        "AND timestamp < :before AND partition IS NOT NULL AND asset_key IN :ours "
        f"AND {_LATER}"
    )
    with _index(instance) as connection:
        ids = [row[0] for row in connection.execute(replaced, {"before": _stored(before)})]
    old = {_OUR_EVENTS: "event", _OUR_CHECKS: "evaluation_event"}
    total = Volume(0, 0)
    for run_id in ids:
        if run_id != RUNLESS and not instance.has_run(run_id):
            total += _remove(instance, old, {"run": run_id}, dry_run=dry_run)
    return total


def left_plans(instance: dg.DagsterInstance) -> Iterator[str]:
    """Runs with rows that plan checks of our assets partition by partition.

    Dagster writes one for each check and partition of a range, each naming all partitions of the
    range (50 of the 66 MB of an index after the first fill), and never looks at them again: the
    checks have no partitions, so what they find has a row of its own.
    """
    query = _text(f"SELECT DISTINCT run_id FROM {_LEFT_PLANS.replace('run_id = :run AND ', '')}")
    with _index(instance) as connection:
        ids = [str(row[0]) for row in connection.execute(query)]
    yield from ids


def strip_plans(instance: dg.DagsterInstance, run_id: str, *, dry_run: bool) -> Volume:
    """Remove the plans of checks that a finished run leaves."""
    parameters = {"run": run_id}
    return _remove(instance, {_LEFT_PLANS: "evaluation_event"}, parameters, dry_run=dry_run)


def shard_of(instance: dg.DagsterInstance, run_id: str) -> list[Path]:
    """The files of a run's own events on SQLite, the database last; none on PostgreSQL."""
    storage: Any = instance.event_log_storage
    if not getattr(storage, "is_run_sharded", False):
        return []
    path = Path(storage.path_for_shard(run_id))
    # Without the database nobody reads the two others; they would stay for ever.
    return [path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm"), path]


def forget_run(instance: dg.DagsterInstance, run_id: str) -> None:
    """Remove the run itself: the last step, so that a killed housekeeping finds it again.

    With its tags, which SQLite leaves, and what Slack was told of it.
    """
    import sqlalchemy as sa

    storage: Any = instance.run_storage
    with storage.connect() as connection:
        named = {"place": f"%:{run_id}"}
        connection.execute(sa.text("DELETE FROM kvs WHERE key LIKE :place"), named)
        tags = sa.text("DELETE FROM run_tags WHERE run_id = :run")
        connection.execute(tags, {"run": run_id})
    storage.delete_run(run_id)


def _remove(
    instance: dg.DagsterInstance,
    old: Mapping[str, str],
    parameters: Mapping[str, Any],
    *,
    dry_run: bool,
) -> Volume:
    """Measure, and unless in a dry run remove, rows: clause → column that holds their content."""
    with _index(instance) as connection:
        return _remove_on(connection, old, parameters, dry_run=dry_run)


def _remove_on(
    connection: Any, old: Mapping[str, str], parameters: Mapping[str, Any], *, dry_run: bool
) -> Volume:
    total = Volume(0, 0)
    for clause, column in old.items():
        measure = f"SELECT COUNT(*), COALESCE(SUM(LENGTH({column})), 0) FROM {clause}"
        rows, size = connection.execute(_text(measure), parameters).one()
        total += Volume(int(rows), int(size))
        if dry_run or not rows:
            continue
        if clause.startswith("event_logs"):
            tags = f"DELETE FROM asset_event_tags WHERE event_id IN (SELECT id FROM {clause})"
            connection.execute(_text(tags), parameters)
        connection.execute(_text(f"DELETE FROM {clause}"), parameters)
    return total


def _text(statement: str) -> Any:
    """A statement; ``:ours`` are our assets, as the tables name them."""
    import sqlalchemy as sa

    made = sa.text(statement)
    if ":ours" not in statement:
        return made
    return made.bindparams(sa.bindparam("ours", list(STORED_KEYS), expanding=True))


def _index(instance: dg.DagsterInstance) -> Any:
    """A transaction on what Dagster finds the events of all runs in."""
    storage: Any = instance.event_log_storage
    return storage.index_connection()


def _stored(moment: datetime) -> str:
    """A time as the event log writes it: UTC without a zone."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
