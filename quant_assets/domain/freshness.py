"""Whether a dataset is up to date. What belongs here: when a partition is due, and judging.

A partition is *complete* once its vendor has all of it, and *due* when its deadline has passed
after that: what is due and not stored is behind. Partitions are named by their keys, which sort by
time; moments are UTC with their zone. Pure functions: nobody looks at a disk or a clock here.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal, get_args

from quant_assets.markets import FIRST_SESSION, Market

Unit = Literal["session", "day", "hour"]
State = Literal["fresh", "awaited", "behind", "empty"]
"""The newest complete partition is stored; it is not, but it is not due yet; the newest due one is
not stored; nothing was ever stored, so that nobody asked for it yet. Holes behind them are not
looked for."""
STATES: tuple[State, ...] = get_args(State)
NAMED = 5
"""So many of the missing partitions are named."""
LOOKS = (8, 64, 512)
"""So many of the newest keys are looked for one by one before the whole folder is listed: a folder
of ten years of hours has 87,000 files."""


@dataclass(frozen=True, kw_only=True)
class Timetable(ABC):
    """When the partitions of a dataset are complete and due.

    A partition is due ``grace`` after it is complete, or after somebody asks for it if that is
    later (``asked``; None where nobody does). Keys before ``first`` and after ``last`` do not
    exist: a recording ends.
    """

    grace: timedelta
    asked: Callable[[str], datetime | None] = lambda key: None
    first: str = ""
    last: str = ""

    @property
    @abstractmethod
    def unit(self) -> Unit:
        """What one partition is."""

    @abstractmethod
    def complete_at(self, key: str) -> datetime:
        """When everything of a partition can be had."""

    @abstractmethod
    def offset(self, key: str, count: int) -> str:
        """The key ``count`` partitions after (negative: before) ``key``."""

    @abstractmethod
    def after(self, key: str, last: str) -> list[str]:
        """The keys after ``key`` up to ``last``, which is included; ascending."""

    @abstractmethod
    def _newest_complete(self, now: datetime) -> str:
        """The newest key that is complete at ``now``, without regard to ``last``."""

    def newest_complete(self, now: datetime) -> str:
        """The newest key that is complete at ``now``."""
        newest = self._newest_complete(now)
        return min(newest, self.last) if self.last else newest

    def due(self, now: datetime) -> str:
        """The newest key whose deadline has passed at ``now``."""
        key = self.newest_complete(now)
        while self.deadline(key) > now:
            key = self.offset(key, -1)
        return key

    def deadline(self, key: str) -> datetime:
        """When a partition has to be stored."""
        complete = self.complete_at(key)
        return max(complete, self.asked(key) or complete) + self.grace

    def until(self, key: str, count: int) -> list[str]:
        """The ``count`` keys up to ``key``, fewer where the dataset begins; ascending."""
        keys: list[str] = []
        while len(keys) < count and key >= self.first:
            keys.append(key)
            key = self.offset(key, -1)
        return keys[::-1]


@dataclass(frozen=True, kw_only=True)
class Sessions(Timetable):
    """One partition a session of ``market``: complete once the bars count."""

    market: Market
    first: str = FIRST_SESSION.isoformat()

    @property
    def unit(self) -> Unit:
        """A session."""
        return "session"

    def complete_at(self, key: str) -> datetime:
        """Close and vendor's delay of the session."""
        return self.market.complete_at(date.fromisoformat(key))

    def offset(self, key: str, count: int) -> str:
        """The session ``count`` sessions on; before the first one any day will do."""
        if count < 0 and key <= self.first:
            return (date.fromisoformat(key) - timedelta(days=1)).isoformat()
        return self.market.offset_session(date.fromisoformat(key), count).isoformat()

    def after(self, key: str, last: str) -> list[str]:
        """The sessions after ``key`` up to ``last``."""
        first = date.fromisoformat(key) + timedelta(days=1)
        return [day.isoformat() for day in self.market.sessions(first, date.fromisoformat(last))]

    def _newest_complete(self, now: datetime) -> str:
        return self.market.last_complete_session(now).isoformat()


@dataclass(frozen=True, kw_only=True)
class Regular(Timetable):
    """Partitions of equal ``length`` in UTC, named by their start as ``form``.

    They are complete ``ends`` after their start: an hour when it is over, a release day when it is
    over where it is made.
    """

    length: timedelta
    ends: timedelta
    form: str

    @property
    def unit(self) -> Unit:
        """An hour, or a day."""
        return "hour" if self.length < timedelta(days=1) else "day"

    def complete_at(self, key: str) -> datetime:
        """The end of the partition."""
        return self._start(key) + self.ends

    def offset(self, key: str, count: int) -> str:
        """The partition ``count`` lengths on."""
        return (self._start(key) + count * self.length).strftime(self.form)

    def after(self, key: str, last: str) -> list[str]:
        """The partitions after ``key`` up to ``last``."""
        start, end = self._start(key), self._start(last)
        count = max(0, (end - start) // self.length)
        return [(start + n * self.length).strftime(self.form) for n in range(1, count + 1)]

    def _newest_complete(self, now: datetime) -> str:
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        whole = (now.astimezone(UTC) - self.ends - epoch) // self.length
        return (epoch + whole * self.length).strftime(self.form)

    def _start(self, key: str) -> datetime:
        return datetime.strptime(key, self.form).replace(tzinfo=UTC)


@dataclass(frozen=True)
class Stored:
    """The newest stored key, and the newest that is not after the one that is due."""

    newest: str | None = None
    newest_due: str | None = None


@dataclass(frozen=True)
class Freshness:
    """How a dataset stands.

    ``complete`` is the newest partition that could be stored, ``due`` the newest that had to be.
    ``deadline`` is that of ``due`` where it is behind, else that of the next one to come.
    ``behind`` counts the partitions that are due and missing since the newest that is stored;
    ``missing`` names the last of them.
    """

    state: State
    unit: Unit
    newest: str | None
    complete: str
    due: str
    deadline: datetime
    behind: int = 0
    missing: tuple[str, ...] = ()

    @property
    def lag(self) -> str:
        """How far it is behind, such as ``3 sessions behind``."""
        return f"{self.behind:,} {self.unit}{'' if self.behind == 1 else 's'} behind"


def find_stored(
    timetable: Timetable,
    now: datetime,
    missing: Callable[[Sequence[str]], Iterable[str]],
    listed: Callable[[], Sequence[str]],
) -> Stored:
    """Look for the newest stored keys from the present back.

    ``missing`` gives those of some keys that are not stored, ``listed`` all that are, ascending. A
    partition may be stored before it is complete: the search begins one ahead.
    """
    due = timetable.due(now)
    newest = timetable.newest_complete(now)
    if not timetable.last or newest < timetable.last:
        newest = timetable.offset(newest, 1)
    for count in LOOKS:
        keys = timetable.until(newest, count)
        absent = set(missing(keys))
        there = [key for key in keys if key not in absent]
        if any(key <= due for key in there):
            return _stored(there, due)
        if len(keys) < count:
            break
    return _stored([key for key in listed() if key <= newest], due)


def _stored(keys: Sequence[str], due: str) -> Stored:
    return Stored(max(keys, default=None), max((key for key in keys if key <= due), default=None))


def judge(timetable: Timetable, stored: Stored, now: datetime) -> Freshness:
    """How a dataset stands at ``now``.

    A dataset that begins after what is due lacks nothing, and nothing is due before ``first``.
    """
    complete, due = timetable.newest_complete(now), timetable.due(now)
    newest = stored.newest
    lacking = []
    if stored.newest_due is not None and stored.newest_due < due:
        lacking = timetable.after(stored.newest_due, due)
    if newest is None:
        state: State = "empty"
    elif lacking:
        state = "behind"
    else:
        state = "fresh" if newest >= complete else "awaited"
    awaited = due if lacking else timetable.offset(max(newest or due, due), 1)
    return Freshness(
        state=state,
        unit=timetable.unit,
        newest=newest,
        complete=complete,
        due=due,
        deadline=timetable.deadline(awaited),
        behind=len(lacking),
        missing=tuple(lacking[-NAMED:]),
    )
