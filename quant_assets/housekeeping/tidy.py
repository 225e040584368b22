"""One housekeeping. What belongs here: the order of the steps and their report.

Each step may be killed and done again: a run's own entry goes last, so that what was left of it is
found the next time.
"""

import fcntl
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg

from quant_assets.errors import BadConfigurationError, TransientError
from quant_assets.hooks.runs import FINISHED
from quant_assets.housekeeping import event_log, files
from quant_assets.housekeeping.databases import databases, reclaim
from quant_assets.housekeeping.report import Kept, Removed, Report
from quant_assets.housekeeping.run_rules import RunRules
from quant_assets.settings import Settings
from quant_assets.vendors.archive import RawArchive

LOCK_NAME = ".housekeeping.lock"


def tidy(
    instance: dg.DagsterInstance, values: Settings, now: datetime, *, dry_run: bool = False
) -> Report:
    """Remove what is older than the settings say, or only say what would be removed.

    Raises ``TransientError`` if another one is under way or a database is held by somebody and
    ``BadConfigurationError`` where a directory cannot be read or written.
    """
    from sqlalchemy.exc import OperationalError

    try:
        with _alone(values.home_dir, dry_run=dry_run):
            return _Tidy(instance, values, now, dry_run=dry_run).run()
    except OperationalError as error:
        raise TransientError(
            f"housekeeping stopped: {error.orig}; what it removed is gone, so do it again once the "
            "database answers and nobody holds it"
        ) from error
    except OSError as error:
        raise BadConfigurationError(
            f"housekeeping stopped: {error}; make it readable and writable, then do it again"
        ) from error


@contextmanager
def _alone(home: Path, *, dry_run: bool) -> Iterator[None]:
    if dry_run:
        yield
        return
    with (home / LOCK_NAME).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TransientError(
                f"another housekeeping of {home} is under way: it does the same"
            ) from None
        yield


class _Tidy:
    def __init__(
        self, instance: dg.DagsterInstance, values: Settings, now: datetime, *, dry_run: bool
    ) -> None:
        self._instance = instance
        self._values = values
        self._now = now
        self._dry_run = dry_run
        self._kept: Counter[str] = Counter()
        self._notes: list[str] = []

    def run(self) -> Report:
        """Every step; what is freed in the databases is given back at the end."""
        steps: tuple[Callable[[], Iterator[Removed]], ...] = (
            self._runs,
            self._events,
            self._outputs,
            self._raw_answers,
            self._leftovers,
            self._pictures,
            self._databases,
        )
        removed = [one for step in steps for one in step() if one.count]
        kept = tuple(Kept(why, count) for why, count in sorted(self._kept.items()))
        return Report(self._dry_run, tuple(removed), kept, tuple(self._notes))

    def _before(self, days: int) -> datetime:
        return self._now - timedelta(days=days)

    def _runs(self) -> Iterator[Removed]:
        days = self._values.run_retention_days
        rules = RunRules(self._instance, self._values, self._now)
        count = events = size = 0
        for record in rules.old_runs():
            if why := rules.why_kept(record):
                self._kept[why] += 1
                continue
            volume = self._remove_run(record.dagster_run.run_id)
            count, events, size = count + 1, events + volume.rows, size + volume.bytes
        why = f"finished more than {days} days ago (QUANT_RUN_RETENTION_DAYS); {events:,} events"
        yield Removed("runs", count, size, why)

    def _remove_run(self, run_id: str) -> event_log.Volume:
        """What a run leaves, and last the run itself."""
        volume = event_log.strip_run(self._instance, run_id, dry_run=self._dry_run)
        own = [*event_log.shard_of(self._instance, run_id), self._output_root() / run_id]
        _, size = files.clear(own, dry_run=self._dry_run)
        if not self._dry_run:
            event_log.forget_run(self._instance, run_id)
        return volume + event_log.Volume(0, size)

    def _events(self) -> Iterator[Removed]:
        """What no run accounts for, and what finished runs never needed."""
        before = self._before(self._values.run_retention_days)
        runless = event_log.strip_runless(self._instance, before, dry_run=self._dry_run)
        orphans = event_log.strip_orphans(self._instance, before, dry_run=self._dry_run)
        yield Removed("events", *(runless + orphans), "of no run, and replaced by later ones")
        copies = event_log.strip_copies(self._instance, before, dry_run=self._dry_run)
        yield Removed("copies of events", *copies, "of no run, which SQLite keeps beside them")
        plans = event_log.Volume(0, 0)
        for run_id in event_log.left_plans(self._instance):
            run = self._instance.get_run_by_id(run_id)
            if run is None or run.status in FINISHED:
                plans += event_log.strip_plans(self._instance, run_id, dry_run=self._dry_run)
        yield Removed("plans of checks", *plans, "of runs that are finished")
        shards = event_log.shard_of(self._instance, event_log.RUNLESS)[-1:]
        for shard in shards:
            stray = files.shards_without_run(
                shard.parent, before.timestamp(), self._instance.has_run
            )
            yield self._cleared("event logs", stray, "of runs that are gone")

    def _output_root(self) -> Path:
        return Path(self._instance.storage_directory())

    def _outputs(self) -> Iterator[Removed]:
        days = self._values.compute_log_retention_days
        old = files.old_outputs(self._output_root(), self._before(days).timestamp())
        why = f"older than {days} days (QUANT_COMPUTE_LOG_RETENTION_DAYS)"
        yield self._cleared("outputs of steps", old, why)

    def _raw_answers(self) -> Iterator[Removed]:
        days = self._values.raw_retention_days
        archive = RawArchive(self._values.raw_dir, self._values.secrets)
        if not archive.root.is_dir():
            return
        count, size = archive.prune(self._before(days), dry_run=self._dry_run)
        why = f"older than {days} days (QUANT_RAW_RETENTION_DAYS)"
        yield Removed("raw answers", count, size, why)

    def _leftovers(self) -> Iterator[Removed]:
        home = self._values.home_dir
        roots = (home, self._values.data_dir)
        found = files.leftovers(roots, home, self._now.timestamp())
        yield self._cleared(
            "temporary files", found, "left by writers that died, an hour ago or more"
        )

    def _pictures(self) -> Iterator[Removed]:
        days = self._values.picture_retention_days
        old = files.old_pictures(self._values.home_dir, self._before(days).timestamp())
        why = f"saved more than {days} days ago (QUANT_PICTURE_RETENTION_DAYS)"
        yield self._cleared("pictures", old, why)
        reports = files.old_reports(self._values.home_dir, self._before(days).timestamp())
        yield self._cleared("reports", reports, why)

    def _databases(self) -> Iterator[Removed]:
        if self._dry_run:
            return
        count = total = 0
        for path in databases(Path(self._instance.root_directory)):
            size, note = reclaim(path)
            count, total = count + bool(size), total + size
            self._notes += [note] if note else []
        yield Removed("databases", count, total, "free space given back to the system")

    def _cleared(self, what: str, paths: Iterator[Path], why: str) -> Removed:
        return Removed(what, *files.clear(paths, dry_run=self._dry_run), why)
