"""Reference tables shipped with the platform. What belongs here: small CSV files and their reader.

Universes, exchange calendars, macro series, company aliases and the finance word list are data:
they change without a change of code, and a user may replace them by settings.
"""

import csv
from functools import lru_cache
from importlib.resources import files
from pathlib import Path


def reference_path(name: str) -> Path:
    """Path of the shipped reference file ``name``."""
    return Path(str(files(__name__).joinpath(name)))


@lru_cache(maxsize=32)
def reference_rows(name: str) -> tuple[dict[str, str], ...]:
    """Rows of the shipped CSV file ``name``, as header → text; lines starting with # are notes."""
    return tuple(read_rows(reference_path(name)))


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of the CSV file at ``path``, as header → text; lines starting with # are notes.

    UTF-8, with or without the mark that spreadsheets put first.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))
