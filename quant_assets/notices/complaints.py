"""What is logged once. What belongs here: memory of what was said, no failures of anybody."""

import logging
import threading


class Complaints:
    """Logs each kind of failure once until it works again. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[tuple[str, str], set[str]] = {}

    def make(self, log: logging.Logger, topic: str, channel: str, kind: str, message: str) -> None:
        """Warn of ``kind`` unless that was done since ``topic`` last worked in ``channel``."""
        with self._lock:
            made = self._made.setdefault((topic, channel), set())
            is_new = kind not in made
            made.add(kind)
        if is_new:
            log.warning(message)

    def withdraw(self, log: logging.Logger, topic: str, channel: str, message: str) -> None:
        """Say once that what was complained of works again."""
        with self._lock:
            complaints = self._made.pop((topic, channel), None)
        if complaints:
            log.info(message)
