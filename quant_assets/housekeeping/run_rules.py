"""Which finished runs may go. What belongs here: the reasons to keep one, without removing any."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from quant_assets import naming
from quant_assets.hooks.outcomes import is_published, outcomes_of_run
from quant_assets.hooks.runs import (
    RETRIED_BY,
    WILL_RETRY,
    awaits_reconciler,
    finished_runs,
)
from quant_assets.housekeeping.ours import is_ours
from quant_assets.sensors import alert_memory, outbox
from quant_assets.sensors.common import UNFINISHED
from quant_assets.sensors.dead_runs import LOOK_BACK_DAYS
from quant_assets.settings import Settings

TAG_BACKFILL = "dagster/backfill"
ENDED_BACKFILLS = ("COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED")
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
_RUN_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class RunRules:
    """What is known of the instance when a housekeeping begins, and what follows for a run."""

    def __init__(self, instance: dg.DagsterInstance, values: Settings, now: datetime) -> None:
        self._instance = instance
        self._now = now
        self._cutoff = now - timedelta(days=values.run_retention_days)
        # A request is recognised by its run: as long as it may be delivered again, the run stays.
        served = timedelta(days=values.event_max_age_days + 1)
        self._request_cutoff = min(self._cutoff, now - served)
        self._untold_since = _untold_since(instance, values)
        self._of_incidents = _named_by_incidents(instance)
        self._of_unfinished = _named_by_unfinished(instance)
        self._backfills = {
            backfill.backfill_id
            for backfill in instance.get_backfills()
            if backfill.status.value not in ENDED_BACKFILLS
        }

    def old_runs(self) -> Iterator[dg.RunRecord]:
        """Finished runs that nothing has happened to within the retention, the oldest first.

        Only ours: those of another code location on the instance are not ours to remove.
        """
        found = finished_runs(self._instance, LONG_AGO, self._cutoff)
        return (record for record in found if is_ours(record.dagster_run))

    def why_kept(self, record: dg.RunRecord) -> str:
        """Why an old run must stay, empty if it may go."""
        run = record.dagster_run
        changed = record.update_timestamp
        if run.run_id in self._of_incidents:
            return "an open incident refers to it"
        if run.run_id in self._of_unfinished:
            return "an unfinished run repeats it"
        if run.tags.get(TAG_BACKFILL) in self._backfills:
            return "its backfill goes on"
        if self._is_repeat_due(record):
            return "it is still to be repeated"
        is_request = any(tag.startswith(naming.TAG_REQUEST_PREFIX) for tag in run.tags)
        if is_request and changed >= self._request_cutoff:
            return "its request may be delivered again"
        if self._untold_since is not None and changed >= self._untold_since and self._owes(record):
            return "its outcome is not published yet"
        return ""

    def _owes(self, record: dg.RunRecord) -> bool:
        """Whether the outbox has still to send an outcome of the run."""
        run = record.dagster_run
        if is_published(run) or not outcomes_of_run(run):
            return False
        ended = outbox.ended_as(run, self._instance, self._now - record.update_timestamp)
        return bool(ended.outcomes) or ended.is_open

    def _is_repeat_due(self, record: dg.RunRecord) -> bool:
        run = record.dagster_run
        if run.tags.get(WILL_RETRY, "").lower() == "true" and RETRIED_BY not in run.tags:
            return run.status == dg.DagsterRunStatus.FAILURE
        is_looked_at = record.update_timestamp > self._now - timedelta(days=LOOK_BACK_DAYS)
        return is_looked_at and awaits_reconciler(run)


def _untold_since(instance: dg.DagsterInstance, values: Settings) -> datetime | None:
    """Since when outcomes may wait for the outbox; None if it sends none, or never ran.

    What ended before its place is sent, or nobody will send it.
    """
    if not values.is_sandbox and values.configured_kafka() is None:
        return None
    cursors = [
        getattr(state.instigator_data, "cursor", None)
        for state in instance.all_instigator_state()
        if state.instigator_name == outbox.NAME
    ]
    known = [cursor for cursor in cursors if cursor]
    return min(outbox.sent_until(cursor) for cursor in known) - outbox.OVERLAP if known else None


def _named_by_incidents(instance: dg.DagsterInstance) -> frozenset[str]:
    """Every run that the record of the incidents names, wherever in it."""
    key = alert_memory.KEY
    text = instance.daemon_cursor_storage.get_cursor_values({key}).get(key, "")
    return frozenset(_RUN_ID.findall(text))


def _named_by_unfinished(instance: dg.DagsterInstance) -> frozenset[str]:
    runs = instance.get_runs(dg.RunsFilter(statuses=list(UNFINISHED)))
    named = ((r.parent_run_id, r.root_run_id, r.tags.get(naming.TAG_REPEAT_OF)) for r in runs)
    return frozenset(run_id for ids in named for run_id in ids if run_id)
