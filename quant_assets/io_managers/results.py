"""Results of an evaluation as a folder: tables, a page. What belongs here: writing it whole.

A result is not a partition: nothing is computed from it, it is looked at and opened in a notebook.
``<home>/results/us/book/2026-03-19/`` holds that of the paper book after a session,
``<home>/results/us/backtests/<name>/`` that of a backtest; each has ``report.html``,
``facts.json`` and a Parquet file a table.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quant_assets.errors import BadDataError

if TYPE_CHECKING:
    import pandas as pd

PAGE, FACTS = "report.html", "facts.json"


def write_results(
    folder: Path, tables: Mapping[str, pd.DataFrame], page: str | None, facts: Mapping[str, Any]
) -> None:
    """Write a result beside ``folder`` and put it there, in place of an older one.

    A reader never finds half of one. Between the two renames there is none for a moment: one
    process at a time is there, and where it is killed the next one to look puts the older result
    back. What it leaves under a hidden name is removed by housekeeping.
    Raises ``BadDataError`` where the disk refuses, naming the folder.
    """
    mark = f"{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp"
    fresh, old = (folder.with_name(f".{folder.name}.{name}.{mark}") for name in ("new", "old"))
    try:
        fresh.mkdir(parents=True)
        for name, table in tables.items():
            table.to_parquet(fresh / f"{name}.parquet", compression="zstd")
        if page is not None:
            (fresh / PAGE).write_text(page, encoding="utf-8")
        (fresh / FACTS).write_text(json.dumps(facts, indent=2, default=str), encoding="utf-8")
        with _alone_in(folder.parent):
            _swap(fresh, folder, old)
    except OSError as error:
        raise BadDataError(
            f"the results could not be written to {folder}: {error}; free space there or make it "
            "writable, then make them again"
        ) from error
    finally:
        for left in (fresh, old) if folder.exists() else (fresh,):
            shutil.rmtree(left, ignore_errors=True)


def _swap(fresh: Path, folder: Path, old: Path) -> None:
    """Put ``fresh`` in the place of ``folder``, which becomes ``old``; or leave it as it was."""
    if folder.exists():
        folder.replace(old)
    try:
        fresh.replace(folder)
    except OSError:
        if old.exists():
            old.replace(folder)
        raise


@contextmanager
def _alone_in(parent: Path) -> Iterator[None]:
    """Let one process at a time swap results in ``parent``, where none is missing then."""
    with (parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for old in sorted(parent.glob(".*.old.*.tmp")):
            name = old.name.removeprefix(".").rpartition(".old.")[0]
            if not (parent / name).exists():
                old.replace(parent / name)
        yield


def results_in(folder: Path) -> list[Path]:
    """The results in ``folder``, by name; not those that are being written or were left half."""
    if any(folder.glob(".*.old.*.tmp")):
        with suppress(OSError), _alone_in(folder):
            pass
    return sorted(path.parent for path in folder.glob(f"*/{FACTS}") if path.parent.name[0] != ".")


def newest_result(folder: Path) -> Path | None:
    """The result in ``folder`` whose name is the last, None if there is none."""
    return next(reversed(results_in(folder)), None)
