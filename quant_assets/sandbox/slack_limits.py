"""Slack's rate limits. What belongs here: who has to wait how long; no HTTP.

https://docs.slack.dev/apis/web-api/rate-limits: one message a second and channel, "short bursts"
above it allowed; methods of tier 3 fifty calls a minute, of tier 4 a hundred, "sporadic bursts are
welcome". How long a burst may be Slack does not say: here it is on the strict side.
"""

import threading
import time
from collections.abc import Callable

DEFAULT_BURST = 3
_TIER_3 = (50.0, 20)
_TIER_4 = (100.0, 40)
_PER_MINUTE = {
    "chat.update": _TIER_3,
    "chat.delete": _TIER_3,
    "conversations.history": _TIER_3,
    "conversations.replies": _TIER_3,
    "conversations.list": (20.0, 10),
    "files.getUploadURLExternal": _TIER_4,
    "files.completeUploadExternal": _TIER_4,
}
"""Calls a minute and the burst of each method that has a tier."""


class RateLimits:
    """A bucket of calls for each channel and for each method. Thread-safe.

    ``messages_per_second`` is the pace of ``chat.postMessage`` in each channel after ``burst``
    messages at once; ``None`` lifts every limit. ``burst`` 1 is the strictest.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.messages_per_second: float | None = 1.0
        self.burst = DEFAULT_BURST
        self._clock = clock
        self._lock = threading.Lock()
        self._spent: dict[str, tuple[float, float]] = {}

    def seconds_to_wait(self, method: str, channel: str) -> float:
        """Wait before the next such call; 0 admits one and counts it."""
        if self.messages_per_second is None:
            return 0.0
        if method == "chat.postMessage":
            return self._wait(f"channel {channel}", self.messages_per_second, self.burst)
        if method in _PER_MINUTE:
            per_minute, burst = _PER_MINUTE[method]
            return self._wait(method, per_minute / 60.0, burst)
        return 0.0

    def _wait(self, bucket: str, per_second: float, capacity: int) -> float:
        with self._lock:
            moment = self._clock()
            spent, since = self._spent.get(bucket, (0.0, moment))
            spent = max(0.0, spent - (moment - since) * per_second)
            if spent + 1.0 > capacity + 1e-9:
                self._spent[bucket] = (spent, moment)
                return (spent + 1.0 - capacity) / per_second
            self._spent[bucket] = (spent + 1.0, moment)
            return 0.0
