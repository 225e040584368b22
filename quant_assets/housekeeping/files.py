"""Files that nobody needs any more. What belongs here: finding them by name, age and writer."""

import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from quant_assets.hooks.processes import is_alive
from quant_assets.vendors.archive_files import touched

HOUR_SECONDS = 3600.0
"""Younger temporary files are left, whoever wrote them: on another machine, perhaps."""
SCRATCH = "scratch"
"""Folder of a home for directories that a command works in: ``NAME.PID.RANDOM``."""
_TEMPORARY = re.compile(r"\..+\.(\d+)\.[0-9a-f]{8}\.tmp")
_RECORD = re.compile(r"\.(?:sandbox|broker)\.json\.(\d+)")
_SCRATCH = re.compile(r"[a-z]+\.(\d+)\.[0-9a-f]{8}")
_PICTURE = re.compile(r"\w+_recommendations_\d{4}-\d{2}-\d{2}\.png")
_SESSION = re.compile(r"\d{4}-\d{2}-\d{2}")
_RUN = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def leftovers(roots: Iterable[Path], home: Path, now: float) -> Iterator[Path]:
    """What killed writers left: temporary files below ``roots``, records and scratch of ``home``.

    Only what is older than an hour and whose writer is not alive; ``now`` in seconds since 1970.
    Each once, also where one root lies in another.
    """
    yield from sorted(
        {path for root in roots for path in _dead(root.rglob(".*.tmp"), _TEMPORARY, now)}
    )
    yield from _dead(home.glob(".*.json.*"), _RECORD, now)
    yield from _dead((home / SCRATCH).glob("*"), _SCRATCH, now)


def _dead(paths: Iterable[Path], name: re.Pattern[str], now: float) -> Iterator[Path]:
    for path in paths:
        match = name.fullmatch(path.name)
        changed = touched(path)
        if match is None or path.is_symlink() or now - changed < HOUR_SECONDS:
            continue
        # A younger process with the number is not the writer.
        if not is_alive(int(match[1]), changed):
            yield path


def old_pictures(home: Path, before: float) -> Iterator[Path]:
    """Pictures of recommendations that were saved before a time (seconds since 1970)."""
    for path in (home / "pictures").glob("*.png"):
        if _PICTURE.fullmatch(path.name) and touched(path) < before:
            yield path


def old_reports(home: Path, before: float) -> Iterator[Path]:
    """Results of the paper book that were made before a time, but the newest of each market.

    A backtest's are left: somebody asked for them.
    """
    for book in (home / "results").glob("*/book"):
        made = sorted(path for path in book.glob("*") if _SESSION.fullmatch(path.name))
        yield from (path for path in made[:-1] if touched(path) < before)


def old_outputs(folder: Path, before: float) -> Iterator[Path]:
    """Directories of what the steps of a run printed, last written to before a time."""
    for path in folder.glob("*/compute_logs"):
        if _RUN.fullmatch(path.parent.name) and _newest(path) < before:
            yield path.parent


def shards_without_run(
    folder: Path, before: float, is_known: Callable[[str], bool]
) -> Iterator[Path]:
    """Files of the event logs of runs that are gone: deleting a run in the UI leaves them."""
    for path in folder.glob("*.db*"):
        run_id = path.name.partition(".")[0]
        if _RUN.fullmatch(run_id) and touched(path) < before and not is_known(run_id):
            yield path


def _newest(folder: Path) -> float:
    return max((touched(path) for path in (folder, *folder.glob("*"))), default=0.0)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a directory; 0 of what has gone."""
    if path.is_dir() and not path.is_symlink():
        return sum(size_of(below) for below in path.iterdir())
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def clear(paths: Iterable[Path], *, dry_run: bool) -> tuple[int, int]:
    """Remove files and directories, or only look; how many there were and their bytes.

    What somebody else has removed meanwhile does not count.
    """
    count = size = 0
    for path in list(paths):
        own = size_of(path)
        if not path.exists() and not path.is_symlink():
            continue
        if not dry_run and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=False)
        elif not dry_run:
            path.unlink(missing_ok=True)
        count, size = count + 1, size + own
    return count, size
