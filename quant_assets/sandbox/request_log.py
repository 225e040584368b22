"""Log of the requests served. What belongs here: what was asked and what was answered."""

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

CAPACITY = 100_000
_SECRET_PARAMETERS = frozenset({"apikey", "api_key", "token", "crumb"})


@dataclass(frozen=True)
class LoggedRequest:
    """One served request; ``status`` 0 means that the connection was closed without an answer."""

    time: datetime
    endpoint: str
    subject: str
    method: str
    path: str
    query: Mapping[str, str]
    status: int

    def as_dict(self) -> dict[str, Any]:
        """JSON form; keys and crumbs are left out."""
        return {
            "time": self.time.isoformat(),
            "endpoint": self.endpoint,
            "subject": self.subject,
            "method": self.method,
            "path": self.path,
            "query": {k: v for k, v in self.query.items() if k not in _SECRET_PARAMETERS},
            "status": self.status,
        }


class RequestLog:
    """The latest requests, oldest first. Thread-safe."""

    def __init__(self) -> None:
        self._entries: deque[LoggedRequest] = deque(maxlen=CAPACITY)
        self._lock = threading.Lock()

    def add(self, entry: LoggedRequest) -> None:
        """Append ``entry``."""
        with self._lock:
            self._entries.append(entry)

    def clear(self) -> None:
        """Forget every request."""
        with self._lock:
            self._entries.clear()

    def matching(
        self,
        *,
        endpoint: str | None = None,
        subject: str | None = None,
        path: str | None = None,
        method: str | None = None,
        status: int | None = None,
        **query: str,
    ) -> list[LoggedRequest]:
        """Requests that agree with everything given; other names are query parameters."""
        wanted = {
            name: value
            for name, value in {
                "endpoint": endpoint,
                "subject": subject,
                "path": path,
                "method": method,
                "status": status,
            }.items()
            if value is not None
        }
        return [
            entry
            for entry in self.snapshot()
            if all(getattr(entry, name) == value for name, value in wanted.items())
            and all(entry.query.get(name) == str(value) for name, value in query.items())
        ]

    def count(self, **wanted: Any) -> int:
        """Number of requests that ``matching`` finds for the same arguments."""
        return len(self.matching(**wanted))

    def snapshot(self) -> list[LoggedRequest]:
        """The requests so far."""
        with self._lock:
            return list(self._entries)

    def __getitem__(self, index: int) -> LoggedRequest:
        return self.snapshot()[index]

    def __iter__(self) -> Iterator[LoggedRequest]:
        return iter(self.snapshot())

    def __len__(self) -> int:
        return len(self._entries)
