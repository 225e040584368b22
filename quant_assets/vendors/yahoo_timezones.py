"""Time zones of Yahoo's symbols. What belongs here: the file that keeps them; nothing heavy."""

import json
import threading
from collections.abc import Mapping
from pathlib import Path

from quant_assets.vendors.archive_files import write_whole


class Timezones:
    """The exchange timezone of each symbol, kept in one JSON file across processes.

    yfinance asks it of Yahoo per symbol and process; a known one halves the requests.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._names = self._read()
        self._is_changed = False

    def get(self, symbol: str) -> str | None:
        """Return the timezone of ``symbol`` if it is known."""
        with self._lock:
            return self._names.get(symbol)

    def put(self, symbol: str, name: str) -> None:
        """Remember the timezone of ``symbol``."""
        with self._lock:
            self._is_changed |= self._names.get(symbol) != name
            self._names[symbol] = name

    def save(self) -> None:
        """Write what has changed, together with what other processes wrote, atomically."""
        with self._lock:
            if not self._is_changed:
                return
            self._names = {**self._read(), **self._names}
            write_whole(self._path, json.dumps(self._names, sort_keys=True).encode())
            self._is_changed = False

    def _read(self) -> dict[str, str]:
        """Return the stored names; an unreadable file is a cache miss, not a failure."""
        try:
            stored = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(stored, Mapping):
            return {}
        return {str(symbol): str(name) for symbol, name in stored.items()}
