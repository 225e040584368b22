"""The Dagster instance. What belongs here: its databases, runs, daemon, and the code location.

Dagster is imported by the checks, one at a time: its modules import each other in circles, which
two threads must not walk at once.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quant_assets.cli.doctor.findings import Finding, Group
from quant_assets.cli.instance import DATABASES, has_instance, names_storage, without_values
from quant_assets.errors import BadConfigurationError
from quant_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

INSTANCE = Group("instance")
LOCK_SECONDS = 1.0
MIGRATE = "DAGSTER_HOME={home} dagster instance migrate (copy the directory before)"
_one_at_a_time = threading.Lock()


def databases(settings: Settings) -> list[Finding]:
    """Whether SQLite can read its files; read-only, so that nothing changes."""
    paths = [settings.home_dir / name for name in DATABASES]
    there = [path for path in paths if path.exists()]
    if names_storage(settings.home_dir):
        return [INSTANCE.ok("databases", "on the server that dagster.yaml names: see schema")]
    if not there:
        return [INSTANCE.skip("databases", "no SQLite file yet: the first run makes them")]
    broken = [found for path in there if (found := _broken(path)) is not None]
    what = f"SQLite reads {', '.join(str(p.relative_to(settings.home_dir)) for p in there)}"
    return broken or [INSTANCE.ok("databases", what)]


def _broken(path: Path) -> Finding | None:
    """What SQLite says about a file that it cannot use."""
    import sqlite3
    from urllib.request import pathname2url

    try:
        address = f"file:{pathname2url(str(path))}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=LOCK_SECONDS)) as connection:
            answer = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.DatabaseError as error:
        answer = str(error)
    if answer == "ok":
        return None
    if "locked" in answer:
        remedy = "end the process that holds it, or wait, and ask again"
        return INSTANCE.warn(path.name, f"{path}: {answer}", remedy)
    remedy = (
        f"stop what uses it and restore it from a copy, or move {path} away: Dagster begins a new "
        "one without its history; stored partitions stay"
    )
    return INSTANCE.fail(path.name, f"{path}: {answer}", remedy)


class OpenInstance:
    """The instance of a profile for the checks of this module, opened once, by the first of them.

    An instance without databases is left alone: opening it would make them.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._opened: dg.DagsterInstance | None = None

    @contextmanager
    def use(self) -> Iterator[dg.DagsterInstance | None]:
        """The instance, None if nothing was kept in it yet; for one check at a time."""
        with _one_at_a_time:
            if self._opened is None and self.is_begun():
                import dagster as dg

                try:
                    self._opened = dg.DagsterInstance.from_config(str(self._home))
                except dg.DagsterInvalidConfigError as error:
                    raise BadConfigurationError(without_values(str(error))) from None
            yield self._opened

    def is_begun(self) -> bool:
        """Whether the instance has storage: on a server that it names, or files."""
        return has_instance(self._home)


def _on(
    name: str, look: Callable[[dg.DagsterInstance], Finding]
) -> Callable[[OpenInstance], Finding]:
    """A check that needs an instance with something in it."""

    def check(opened: OpenInstance) -> Finding:
        with opened.use() as instance:
            if instance is None:
                return INSTANCE.skip(name, "nothing was kept in this instance yet")
            return look(instance)

    return check


def _schema(instance: dg.DagsterInstance) -> Finding:
    import dagster as dg

    with (
        tempfile.TemporaryDirectory() as folder,
        dg.DagsterInstance.from_config(folder) as newest,
    ):
        wanted = _revisions(newest)
    found = _revisions(instance)
    where = type(instance.run_storage).__name__
    old = [part for part, revision in found.items() if revision != wanted[part]]
    if not old:
        return INSTANCE.ok("schema", f"current, revision {found['runs']}, {where}")
    states = ", ".join(f"{part} {found[part] or 'none'}, not {wanted[part]}" for part in old)
    home = instance.root_directory
    return INSTANCE.fail("schema", f"not of this Dagster: {states}", MIGRATE.format(home=home))


def _revisions(instance: dg.DagsterInstance) -> dict[str, str | None]:
    """Revision of the tables of each part of the storage."""
    from sqlalchemy import text

    storages: dict[str, Any] = {
        "runs": instance.run_storage.connect,  # type: ignore[attr-defined]
        "events": instance.event_log_storage.index_connection,  # type: ignore[attr-defined]
        "schedules": instance.schedule_storage.connect,  # type: ignore[union-attr]
    }
    found = {}
    for part, connect in storages.items():
        with connect() as connection:
            row = connection.execute(text("SELECT version_num FROM alembic_version")).fetchone()
        found[part] = None if row is None else str(row[0])
    return found


def _dead(instance: dg.DagsterInstance) -> Finding:
    from quant_assets.sensors.dead_runs import dead_runs

    dead = [run.run_id for run in dead_runs(instance)]
    if not dead:
        return INSTANCE.ok("unfinished runs", "each has its process")
    what = f"the process of {len(dead)} has died, such as {dead[0]}"
    remedy = "`quant run` or a daemon (`make dev`) closes them"
    return INSTANCE.warn("unfinished runs", what, remedy)


def _daemon(instance: dg.DagsterInstance) -> Finding:
    return judge_daemon(instance.get_daemon_statuses())


def judge_daemon(statuses: Mapping[str, Any]) -> Finding:
    """What the last signs of life of Dagster's daemons (by kind) mean."""
    seen = {name: s for name, s in statuses.items() if s.last_heartbeat is not None}
    if not seen:
        what = "none has run on this instance; schedules, sensors and events need one"
        return INSTANCE.skip("daemon", what, "make dev, or dagster-daemon run")
    sick = sorted(name for name, status in statuses.items() if status.healthy is False)
    if not sick:
        return INSTANCE.ok("daemon", f"alive: {', '.join(sorted(seen))}")
    errors = [error.message for name in sick if name in seen for error in _errors(seen[name])]
    if errors:
        what = f"{', '.join(sick)}: {errors[0]}"
        return INSTANCE.fail("daemon", what, "mend what it says, then start the daemon again")
    last = max(s.last_heartbeat.timestamp for s in seen.values() if s.last_heartbeat is not None)
    what = f"not heard since {_told(last)} ({', '.join(sick)}): nothing is scheduled"
    return INSTANCE.warn("daemon", what, "start it: make dev, or dagster-daemon run")


def _told(timestamp: float) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d %H:%M} UTC"


def _errors(status: Any) -> list[Any]:
    return list(status.last_heartbeat.errors or ())


schema = _on("schema", _schema)
"""Whether the tables are those of the installed Dagster."""
dead = _on("unfinished runs", _dead)
"""Whether each unfinished run of this machine has its process."""
daemon = _on("daemon", _daemon)
"""Whether a daemon is running on the instance, and well."""


def code_location(settings: Settings) -> Finding:
    """Whether the definitions load, as each run loads them at its start."""
    with _one_at_a_time:
        import dagster as dg

        from quant_assets.definitions import build_defs

        definitions = build_defs(settings)
        dg.Definitions.validate_loadable(definitions)
        count = len(list(definitions.resolve_asset_graph().get_all_asset_keys()))
    return INSTANCE.ok("code location", f"loads, {count} assets")
