"""A disk that refuses. What belongs here: no tests."""

import errno
from collections.abc import Sequence
from pathlib import Path

import pytest


def refuse_writing(monkeypatch: pytest.MonkeyPatch, names: Sequence[str]) -> None:
    """A disk that is full for the files whose path contains one of ``names``."""
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if "raw" in path.parts and any(name in str(path) for name in names):
            write(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
