"""Freshness in the UI. What belongs here: the sensor that evaluates the checks of freshness.

It reports without runs. That an asset fell behind or caught up is told at the next tick, that the
due partition is another one too; a check that something newer was stored for is told once an hour,
because the UI takes the result of before for one of the old data.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import dagster as dg

from quant_assets.checks.freshness import Verdict, check_keys, look, timetables, verdict
from quant_assets.domain.freshness import Timetable
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.resources import ClockResource, StoreResource
from quant_assets.settings import Settings

NAME = "freshness"
INTERVAL_SECONDS = 60
REPEAT_AFTER = timedelta(hours=1)


class Told(NamedTuple):
    """What the UI was last told of an asset: passed, about which due partition, and when."""

    is_passed: bool
    due: str
    at: datetime


def build_freshness_sensor(values: Settings) -> dg.SensorDefinition:
    """Evaluates the checks of freshness by the clock."""

    @dg.sensor(
        name=NAME,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Says in the checks `freshness` whether what is due is stored.",
    )
    def freshness(
        context: dg.SensorEvaluationContext, store: StoreResource, clock: ClockResource
    ) -> dg.SensorResult:
        found = evaluate(context.instance, store.open(), timetables(values), clock.now())
        behind = sum(not one.passed for one in found)
        said = f"reported {len(found)}, {behind} of them behind" if found else "nothing has changed"
        return dg.SensorResult(asset_events=found, skip_reason=dg.SkipReason(said))

    return freshness


def evaluate(
    instance: dg.DagsterInstance,
    store: ParquetStore,
    tables: Mapping[str, Timetable],
    now: datetime,
) -> list[dg.AssetCheckEvaluation]:
    """The evaluations that the UI lacks at ``now``.

    An asset that was never stored is not watched; one that was and is gone is behind.
    """
    stored_at = _stored_at(instance, tables)
    evaluations = []
    for asset, key in check_keys().items():
        found = look(store, asset, tables[asset], now)
        told = _told(instance, key)
        if found.state == "empty" and told is None:
            continue
        result = verdict(asset, found)
        if told is None or _is_news(result, told, stored_at.get(asset)):
            evaluations.append(_evaluation(key, result))
    return evaluations


def _is_news(result: Verdict, told: Told, stored_at: datetime | None) -> bool:
    if result.is_passed != told.is_passed or result.metadata["due"] != told.due:
        return True
    # By the time of the records: the clock of the assets may stand elsewhere.
    is_old = datetime.now(UTC) - told.at >= REPEAT_AFTER
    return is_old and stored_at is not None and stored_at > told.at


def _stored_at(instance: dg.DagsterInstance, assets: Iterable[str]) -> dict[str, datetime]:
    """When each asset was last materialized."""
    found = {}
    for record in instance.get_asset_records([dg.AssetKey(name.split("/")) for name in assets]):
        last = record.asset_entry.last_materialization_record
        if last is not None:
            name = record.asset_entry.asset_key.to_user_string()
            found[name] = datetime.fromtimestamp(last.timestamp, UTC)
    return found


def _told(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> Told | None:
    """The latest evaluation of a check, None without one or while a run makes one."""
    record = instance.get_latest_asset_check_evaluation_record(key)
    entry = None if record is None else record.event
    event = None if entry is None else entry.dagster_event
    if event is None or event.event_type != dg.DagsterEventType.ASSET_CHECK_EVALUATION:
        return None
    evaluation: Any = event.event_specific_data
    due = evaluation.metadata.get("due")
    # The record's own time is cut to a second: data of the same second would seem newer.
    at = datetime.fromtimestamp(entry.timestamp, UTC)  # type: ignore[union-attr]
    return Told(evaluation.passed, "" if due is None else str(due.value), at)


def _evaluation(key: dg.AssetCheckKey, result: Verdict) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=result.is_passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=result.text,
        metadata={
            name: dg.MetadataValue.text(v) if isinstance(v, str) else dg.MetadataValue.int(v)
            for name, v in result.metadata.items()
        },
    )
