"""Where the files of partitions lie. What belongs here: the port, and a directory of the disk.

A file has a name below the root, such as ``us/prices/2024-06-28.parquet``. It is written whole or
not at all, whenever its writer dies.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, TypeVar

S3_SCHEME = "s3://"

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class FileFacts:
    """Size in bytes, and when it was written (Unix seconds)."""

    size: int
    modified: float


class Place(Protocol):
    """Files below a root. Where it refuses, ``OSError`` or an error of the platform is raised."""

    address: str
    """The root, for people and for metadata."""
    has_versions: bool
    """Whether ``write_over`` notices that another has written; else a lock is needed."""

    def existing(self, names: Sequence[str]) -> set[str]:
        """Those of ``names`` that are there."""
        ...

    def sources(self, names: Sequence[str]) -> dict[str, Path | bytes]:
        """Of those that are there, what a reader of Parquet takes, in the order of ``names``."""
        ...

    def facts(self, name: str) -> FileFacts:
        """Raises ``FileNotFoundError`` for a file that is not there."""
        ...

    def all_facts(self, folder: str) -> dict[str, FileFacts]:
        """Facts of every file in ``folder``, by its name there; hidden ones are none."""
        ...

    def write(self, name: str, fill: Callable[[IO[bytes]], object]) -> int:
        """Write what ``fill`` writes; the size in bytes."""
        ...

    def versioned(self, name: str) -> tuple[Path | bytes | None, str]:
        """What a reader takes, None for a file that is not there, and its version."""
        ...

    def write_over(self, name: str, fill: Callable[[IO[bytes]], object], version: str) -> int:
        """``write``, if the file is still of that version.

        Raises ``FileExistsError`` if another has written it meanwhile.
        """
        ...

    def each(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """``work`` for all items in the way that suits the place, results in their order."""
        ...

    def names(self, folder: str) -> list[str]:
        """Names of the files in ``folder``, ascending; hidden ones are none."""
        ...

    def delete(self, names: Sequence[str]) -> int:
        """Remove files; how many there were."""
        ...

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Let one process at a time into what ``name`` stands for."""
        ...

    def claim(self, owner: str) -> str:
        """Whose the root is: ``owner``, if it was nobody's."""
        ...

    def owner(self) -> str | None:
        """Whose the root is, None if it is nobody's."""
        ...

    def prepare(self, folder: str) -> None:
        """Make a folder that is to be written to."""
        ...

    def demand_readable(self, folder: str) -> None:
        """Raise if a folder may not be read: it looks empty otherwise."""
        ...

    def remove_unfinished(self, pid: int) -> int:
        """Remove what the process ``pid``, which is gone, had not finished; how many files."""
        ...


class Directory:
    """A directory of the disk; see ``Place``.

    A file is written under a temporary name and renamed: a plain in-place write was unreadable
    after 60 kills of 60.
    """

    has_versions = False

    def __init__(self, root: Path) -> None:
        self.root = root
        self.address = str(root)

    def existing(self, names: Sequence[str]) -> set[str]:
        """Those of ``names`` that are there."""
        return {name for name in names if (self.root / name).exists()}

    def sources(self, names: Sequence[str]) -> dict[str, Path | bytes]:
        """Paths of those that are there."""
        paths = {name: self.root / name for name in names}
        return {name: path for name, path in paths.items() if path.exists()}

    def facts(self, name: str) -> FileFacts:
        """Size and time of a file."""
        found = (self.root / name).stat()
        return FileFacts(found.st_size, found.st_mtime)

    def all_facts(self, folder: str) -> dict[str, FileFacts]:
        """Facts of every file in ``folder``."""
        found = {}
        for name in self.names(folder):
            with suppress(FileNotFoundError):
                found[name] = self.facts(f"{folder}/{name}")
        return found

    def write(self, name: str, fill: Callable[[IO[bytes]], object]) -> int:
        """Write a file whole, or leave what was there; it is on the disk afterwards."""
        path = self.root / name
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            with temporary.open("wb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
                size = file.tell()
            temporary.replace(path)
        finally:
            with suppress(OSError):
                temporary.unlink()
        return size

    def versioned(self, name: str) -> tuple[Path | bytes | None, str]:
        """The path, if there is a file; whoever writes it afterwards holds the lock."""
        return self.sources([name]).get(name), ""

    def write_over(self, name: str, fill: Callable[[IO[bytes]], object], version: str) -> int:
        """Write a file: under the lock nobody has written it meanwhile."""
        return self.write(name, fill)

    def each(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """One after the other: a disk gains nothing by threads."""
        return [work(item) for item in items]

    def names(self, folder: str) -> list[str]:
        """Names of the files in ``folder``."""
        # A folder that may not be read looks empty here: see ``demand_readable``.
        found = (path.name for path in (self.root / folder).glob("*"))
        return sorted(name for name in found if not name.startswith("."))

    def delete(self, names: Sequence[str]) -> int:
        """Remove files; how many there were."""
        there = [self.root / name for name in names if (self.root / name).exists()]
        for path in there:
            path.unlink()
        return len(there)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """A lock of the system, which goes with its process."""
        locks = self.root / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
        with (locks / name.replace("/", ".")).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def prepare(self, folder: str) -> None:
        """Make a folder that is to be written to."""
        (self.root / folder).mkdir(parents=True, exist_ok=True)

    def claim(self, owner: str) -> str:
        """Write down whose the root is, if it is nobody's."""
        known = self.owner()
        if known is None:
            (self.root / ".profile").write_text(owner + "\n", encoding="utf-8")
        return known or owner

    def owner(self) -> str | None:
        """Whose the root is."""
        try:
            return (self.root / ".profile").read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return None

    def demand_readable(self, folder: str) -> None:
        """Raise ``OSError`` if a folder may not be read."""
        place = self.root / folder
        if place.is_dir():
            next(place.iterdir(), None)

    def remove_unfinished(self, pid: int) -> int:
        """Remove temporary files: nobody reads them, but they would stay for ever."""
        count = 0
        for path in self.root.glob(f"*/**/.*.{pid}.*.tmp"):
            path.unlink(missing_ok=True)
            count += 1
        return count


def place_of(root: Path | str) -> Place:
    """The place that a root names: ``s3://bucket/prefix``, else a directory."""
    if str(root).startswith(S3_SCHEME):
        from quant_assets.io_managers.bucket import Bucket

        return Bucket.at(str(root))
    return Directory(Path(root))
