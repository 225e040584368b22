"""Files of the raw archive. What belongs here: writing whole, locking, removing; no layout."""

import fcntl
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all. Raises ``OSError`` where the disk refuses."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def locked(root: Path, *, is_shared: bool) -> Iterator[None]:
    """Hold the lock of an archive: shared to keep a body, alone to remove.

    So a body is either removed before it is kept again, and then written anew, or kept.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX)
        yield


def touched(path: Path) -> float:
    """When a file was last used, seconds since 1970; of one that has gone, the far future."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def remove(paths: Iterable[Path], *, dry_run: bool) -> tuple[int, int]:
    """Remove files, or only look; how many there were and their bytes."""
    count = size = 0
    for path in paths:
        try:
            bytes_of_file = path.stat().st_size
            if not dry_run:
                path.unlink()
        except FileNotFoundError:
            continue
        count, size = count + 1, size + bytes_of_file
    return count, size
