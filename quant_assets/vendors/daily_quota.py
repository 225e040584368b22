"""A vendor's daily allowance, counted in a file. What belongs here: the count, not who may spend.

Every process of a user spends from the same allowance, so the count lies on disk under a lock.
A call is counted before it is made: a killed process may have counted one call too many, never one
too few.
"""

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from quant_assets.errors import BadDataError, QuotaExhaustedError
from quant_assets.vendors.archive_files import write_whole

RESET_ZONE = ZoneInfo("America/New_York")
"""Alpha Vantage counts by the day and does not say in which zone. It is a US company whose data
roll over at midnight New York time; counting by another day could only start to ask too early,
and then the vendor's own refusal ends the day here too (``exhaust``)."""


def quota_path(home: Path) -> Path:
    """Where the calls of a profile are counted."""
    return home / "cache" / "alpha_vantage_quota.json"


@dataclass(frozen=True)
class _Count:
    """What is known of a day: calls spent, and whether the vendor said that none is left."""

    day: str
    spent: int = 0
    is_exhausted: bool = False


class DailyQuota:
    """At most ``limit`` calls a day, over all processes that count in the file ``path``.

    A count that cannot be read or written means no call until the next day, because the worst
    mistake would be to ask without a limit; the message names the file.
    """

    def __init__(self, path: Path, limit: int, now: Callable[[], datetime]) -> None:
        self._path = path
        self._limit = limit
        self._now = now

    def spend(self) -> None:
        """Count one call. Raises ``QuotaExhaustedError`` when the day has none left."""
        with self._counting() as count:
            if count.is_exhausted or count.spent >= self._limit:
                raise QuotaExhaustedError(self._used_up(count))
            self._write(_Count(count.day, count.spent + 1))

    def exhaust(self) -> None:
        """Note that the vendor itself says that none is left today."""
        with self._counting() as count:
            self._write(_Count(count.day, count.spent, is_exhausted=True))

    def left(self) -> int:
        """Calls left today; 0 if the count cannot be read."""
        try:
            with self._counting() as count:
                return 0 if count.is_exhausted else max(0, self._limit - count.spent)
        except QuotaExhaustedError:
            return 0

    def peek(self) -> int:
        """Calls left today, without lock or repair: for whoever only looks.

        Raises ``BadDataError`` where the count cannot be read, which then allows none.
        """
        try:
            count = self._kept()
        except FileNotFoundError:
            return self._limit
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadDataError(
                f"the day's calls in {self._path} cannot be read: {error}"
            ) from error
        if count.day < self._today().isoformat():
            return self._limit
        return 0 if count.is_exhausted else max(0, self._limit - count.spent)

    def resets_at(self) -> datetime:
        """When the next day of the vendor begins, UTC."""
        tomorrow = self._today() + timedelta(days=1)
        midnight = datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=RESET_ZONE)
        return midnight.astimezone(UTC)

    def _today(self) -> date:
        return self._now().astimezone(RESET_ZONE).date()

    @contextmanager
    def _counting(self) -> Iterator[_Count]:
        """Hold the file's lock and give the count of today."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield self._read()
        except OSError as error:
            raise QuotaExhaustedError(
                f"the day's calls cannot be counted in {self._path} ({error}), so none is made; "
                "make the directory writable"
            ) from error

    def _read(self) -> _Count:
        """The count of today. A clock that was set back does not begin a new day.

        A damaged count is replaced by one that allows nothing more today.
        """
        today = self._today().isoformat()
        try:
            kept = self._kept()
        except FileNotFoundError:
            return _Count(today)
        except (ValueError, KeyError, TypeError):
            damaged = _Count(today, self._limit, is_exhausted=True)
            self._write(damaged)
            return damaged
        return kept if kept.day >= today else _Count(today)

    def _kept(self) -> _Count:
        """The count as it stands in the file, of whatever day."""
        content = json.loads(self._path.read_bytes())
        kept = _Count(str(content["day"]), int(content["spent"]), bool(content["is_exhausted"]))
        if date.fromisoformat(kept.day) > self._today() + timedelta(days=1):
            raise ValueError("a day that has not come: the clock was wrong")
        return kept

    def _write(self, count: _Count) -> None:
        write_whole(self._path, json.dumps(asdict(count)).encode())

    def _used_up(self, count: _Count) -> str:
        why = "the vendor refused more" if count.is_exhausted else f"all {self._limit} are spent"
        return (
            f"no calls left today ({why}; counted in {self._path}); they return at "
            f"{self.resets_at():%Y-%m-%d %H:%M} UTC, or raise QUANT_ALPHA_VANTAGE_CALLS_PER_DAY "
            "with a larger plan"
        )
