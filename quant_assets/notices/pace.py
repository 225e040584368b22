"""When Slack may be asked again. What belongs here: clocks, no calls.

One ``Traffic`` serves all couriers of a process that use the same token, because Slack counts a
channel's messages and not ours by thread.
"""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from quant_assets.notices.complaints import Complaints
from quant_assets.vendors.slack import SlackConnection

SECONDS_PER_POST = 1.0
SECONDS_PER_UPDATE = 2.0
SECONDS_PER_ANY_UPDATE = 1.25
"""Slack takes about 50 edits a minute from one token, whatever the message."""
SECONDS_A_WISH_LASTS = 5.0
SECONDS_TO_SETTLE = 2.0
"""What a dead process sent may still be on its way; an upload appears a moment after the answer."""
LONGEST_BACKOFF_SECONDS = 60.0
_MOST_KEPT = 1000
_Key = TypeVar("_Key")


class Pace:
    """One post a second and channel, one edit in two seconds and message. Thread-safe.

    After a failure a channel rests 1, 2, 4 ... 60 seconds, or longer where Slack says so.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._lock = threading.Lock()
        self._names: dict[str, str] = {}
        self._free_at: dict[str, float] = {}
        self._rests_until: dict[str, float] = {}
        self._failures: dict[tuple[str, str], int] = {}
        self._touched: dict[tuple[str, str], float] = {}
        self._last_update = float("-inf")
        self._wishes: dict[tuple[str, str], tuple[float, float]] = {}
        self._unsure_since: dict[str, float] = {}
        self._all_rest_until = float("-inf")

    def call(self, channel: str, channel_id: str) -> None:
        """Learn that a name and an id are the same channel."""
        with self._lock:
            if channel != channel_id and self._names.get(channel) != channel_id:
                for known in (self._free_at, self._rests_until):
                    if channel in known:
                        earlier = known.get(channel_id, float("-inf"))
                        known[channel_id] = max(known.pop(channel), earlier)
                self._names[channel] = channel_id

    def is_resting(self, channel: str) -> bool:
        """Whether nothing at all may be asked about ``channel`` now."""
        with self._lock:
            resting = self._rests_until.get(self._id(channel), float("-inf"))
            return self.clock() < max(resting, self._all_rest_until)

    def may_post(self, channel: str) -> bool:
        """Whether ``channel`` takes a message now."""
        with self._lock:
            free_at = self._free_at.get(self._id(channel), float("-inf"))
        return not self.is_resting(channel) and self.clock() >= free_at

    def may_update(self, channel: str, ts: str) -> bool:
        """Whether the message may be edited now; who has asked for longest comes first."""
        if self.is_resting(channel):
            return False
        with self._lock:
            message, now = (self._id(channel), ts), self.clock()
            if now < self._touched.get(message, float("-inf")) + SECONDS_PER_UPDATE:
                return False
            since, _ = self._wishes.get(message, (now, now))
            self._wishes[message] = (since, now)
            self._wishes = {
                key: (asked, seen)
                for key, (asked, seen) in self._wishes.items()
                if seen >= now - SECONDS_A_WISH_LASTS
            }
            is_first = since == min(asked for asked, _ in self._wishes.values())
            return is_first and now >= self._last_update + SECONDS_PER_ANY_UPDATE

    def may_settle(self, thread: str) -> bool:
        """Whether it is long enough known that ``thread`` has an unknown outcome to look."""
        with self._lock:
            since = self._unsure_since.setdefault(thread, self.clock())
            _forget_oldest(self._unsure_since)
            return self.clock() >= since + SECONDS_TO_SETTLE

    def settled(self, thread: str) -> None:
        """Note that ``thread`` has no unknown outcome any more."""
        with self._lock:
            self._unsure_since.pop(thread, None)

    def posts(self, channel: str) -> None:
        """Count a message that is sent now."""
        with self._lock:
            self._free_at[self._id(channel)] = self.clock() + SECONDS_PER_POST

    def appeared(self, channel: str, ts: str) -> None:
        """Note a message that will be edited."""
        with self._lock:
            self._touched[self._id(channel), ts] = self.clock()
            _forget_oldest(self._touched)

    def updates(self, channel: str, ts: str) -> None:
        """Count an edit that is made now."""
        self.appeared(channel, ts)
        with self._lock:
            self._wishes.pop((self._id(channel), ts), None)
            self._last_update = self.clock()

    def failed(self, channel: str, topic: str, retry_after_seconds: float | None) -> None:
        """Let ``channel`` rest, the longer the more often ``topic`` has failed in it."""
        with self._lock:
            name = self._id(channel)
            count = self._failures.get((name, topic), 0)
            self._failures[name, topic] = count + 1
            seconds = min(2.0 ** min(count, 10), LONGEST_BACKOFF_SECONDS)
            rest = max(seconds, retry_after_seconds or 0.0)
            self._rests_until[name] = self.clock() + rest

    def worked(self, channel: str, topic: str) -> None:
        """Forget the failures of ``topic`` in ``channel``."""
        with self._lock:
            self._failures.pop((self._id(channel), topic), None)

    def rest_all(self, seconds: float) -> None:
        """Let every channel rest."""
        with self._lock:
            self._all_rest_until = self.clock() + seconds

    def _id(self, channel: str) -> str:
        return self._names.get(channel, channel)


def _forget_oldest(known: dict[_Key, float]) -> None:
    while len(known) > _MOST_KEPT:
        known.pop(next(iter(known)))


class Traffic:
    """Pace and complaints of one token."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.pace = Pace(clock)
        self.complaints = Complaints()


_SHARED: dict[SlackConnection, Traffic] = {}
_SHARED_LOCK = threading.Lock()


def shared_traffic(connection: SlackConnection) -> Traffic:
    """The one ``Traffic`` of this process for a connection."""
    with _SHARED_LOCK:
        return _SHARED.setdefault(connection, Traffic())
