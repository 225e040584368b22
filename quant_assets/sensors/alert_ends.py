"""Ends of runs, each once. What belongs here: reading them, and what has to be remembered for it.

How far they are read is a time and not a place in the event log, whose numbers begin again when
runs are wiped.
"""

from collections.abc import Container, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import dagster as dg

from quant_assets.hooks.runs import ENDS

FIRST_LOOK = timedelta(hours=24)
RUNS_A_LOOK = 100
LATE = timedelta(minutes=5)
"""So much later than others of its time may an end be written."""
MAX_TAKEN = 1000


class End(NamedTuple):
    """The end of a run; ``place`` is its number in the event log."""

    place: int
    run_id: str
    kind: dg.DagsterEventType
    at: datetime

    @property
    def name(self) -> str:
        """The same for the same end."""
        return f"{self.run_id} {self.kind.value}"


def ends_of_runs(
    instance: dg.DagsterInstance, since: datetime | None, taken: Container[str], now: datetime
) -> list[End]:
    """The ends of runs that are not taken yet in their order, not more than a look takes."""
    since = now - FIRST_LOOK if since is None else _not_ahead(since, now)
    ends: list[End] = []
    last = None
    for kind in ENDS:
        found, has_more = _ends_of(instance, kind, since, taken)
        ends += found
        if has_more:
            last = min(last or found[-1].place, found[-1].place)
    return sorted(end for end in ends if last is None or end.place <= last)[:RUNS_A_LOOK]


def _ends_of(
    instance: dg.DagsterInstance,
    kind: dg.DagsterEventType,
    since: datetime,
    taken: Container[str],
) -> tuple[list[End], bool]:
    """The ends of one kind that are not taken yet, and whether there are more."""
    ends: list[End] = []
    cursor = None
    while True:
        found = instance.fetch_run_status_changes(
            dg.RunStatusChangeRecordsFilter(
                kind,  # type: ignore[arg-type]
                after_timestamp=since.timestamp(),
            ),
            limit=RUNS_A_LOOK,
            cursor=cursor,
            ascending=True,
        )
        for record in found.records:
            at = datetime.fromtimestamp(record.timestamp, UTC)
            end = End(record.storage_id, record.run_id, kind, at)
            if at > since and end.name not in taken:
                ends.append(end)
        if not found.has_more or len(ends) >= RUNS_A_LOOK:
            return ends, found.has_more
        cursor = found.cursor


def forget_taken(
    since: datetime | None, taken: Mapping[str, datetime], now: datetime
) -> tuple[datetime | None, dict[str, datetime]]:
    """Move ``since`` on, so that only ends of which more may come are remembered."""
    times = sorted(taken.values())
    if not times:
        return since, {}
    marks = [min(times[-1], now) - LATE]
    if since is not None:
        marks.append(_not_ahead(since, now))
    if len(times) > MAX_TAKEN:
        marks.append(times[-MAX_TAKEN - 1])
    mark = max(marks)
    return mark, {name: at for name, at in taken.items() if at > mark}


def _not_ahead(since: datetime, now: datetime) -> datetime:
    """``since``, unless the clock was set back behind it."""
    return since if since <= now else now - LATE
