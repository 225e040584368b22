"""SQLite's files. What belongs here: giving freed space back to the system, without hurry.

SQLite uses freed pages for what comes next, so that a database under a daily housekeeping does not
grow; only where much was freed at once (the first housekeeping) is it worth to write it anew.
"""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

BUSY_SECONDS = 5.0
FREE_BYTES, FREE_SHARE = 16_000_000, 0.25
EVENTS = ("history/runs/index.db", "history/runs/.db")
"""Events of all runs, and those of none."""
OTHERS = ("history/runs.db", "schedules/schedules.db")
LARGEST_BYTES, LARGEST_OTHER_BYTES = 1_000_000_000, 100_000_000
"""Others wait meanwhile, Dagster's processes for 30 s at most, and only 5 s for those that hold no
events: what stays of a larger database is not written anew beside them."""


def databases(home: Path) -> Iterator[Path]:
    """The databases of a Dagster instance on SQLite, without those of single runs."""
    for name in (*EVENTS, *OTHERS):
        path = home / name
        if path.is_file():
            yield path


def reclaim(path: Path) -> tuple[int, str]:
    """Shrink a database if it is worth it; bytes that were given back, and why not more.

    Beside a running daemon: a write transaction like another one. Readers are not held up.
    """
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)) as database:
            before = _bytes(path)
            note = _vacuum(database, path)
            # Without it the pages stay in the -wal file until somebody closes the last connection.
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return max(0, before - _bytes(path)), note
    except sqlite3.OperationalError as error:
        return 0, f"{path} keeps its size for now: {error}"


def _vacuum(database: sqlite3.Connection, path: Path) -> str:
    page, pages, free = (
        int(database.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_size", "page_count", "freelist_count")
    )
    live = page * (pages - free)
    if page * free < FREE_BYTES or free < FREE_SHARE * pages:
        return ""
    holds_events = str(path).endswith(EVENTS)
    if live > (LARGEST_BYTES if holds_events else LARGEST_OTHER_BYTES):
        return (
            f"{path} holds {live / 1e6:,.0f} MB: stop the daemon and VACUUM it to make it smaller"
        )
    if shutil.disk_usage(path.parent).free < 3 * live:
        return f"{path} keeps its size: writing it anew needs {3 * live / 1e6:,.0f} MB of free disk"
    database.execute("VACUUM")
    return ""


def _bytes(path: Path) -> int:
    wal = path.with_name(f"{path.name}-wal")
    return path.stat().st_size + (wal.stat().st_size if wal.exists() else 0)
