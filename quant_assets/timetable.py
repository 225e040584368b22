"""Which partitions are due when. What belongs here: the rules of the schedules, without Dagster's.

Pure functions of the time of a tick and of what is known of the partitions: no clock, no storage.
Each rule says which partitions became due since the tick before, so that over any run of ticks
each is named exactly once; and which of the last ones a tick catches up with.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from quant_assets.domain.macro_series import FIRST_RELEASE_DAY
from quant_assets.markets import FIRST_SESSION, MARKETS, Market
from quant_assets.naming import FORECAST, TRADING, market_job
from quant_assets.partitions import key_ranges
from quant_assets.schemas.keys import HOUR_FORMAT, SESSION_FORMAT
from quant_assets.vendors.fred_clock import release_day_at

LOOK_BACK = timedelta(days=14)
"""Sessions and release days that a tick catches up with; `quant run` does older ones."""
CHAIN_LOOK_BACK = timedelta(days=60)
"""The same where nothing can be made without what lacks."""
NEWS_LOOK_BACK = timedelta(hours=72)
RSS_LOOK_BACK = timedelta(hours=23)
"""Hours that are caught up with, with Alpha Vantage, and with feeds that show the last day only."""
MOST_CATCH_UPS = 3
"""Runs that a tick asks for to catch up, and times that it does so for one partition."""
WEEK = tuple(range(7))
MOST_TICKS = 30
"""So many ticks after its start a partition is due at the latest: Korea was closed for ten days."""


class Ticks(Protocol):
    """When a schedule ticks: ``cron`` in ``zone`` for Dagster, and the ticks beside a moment."""

    @property
    def cron(self) -> str:
        """The expression that Dagster reads."""

    @property
    def zone(self) -> str:
        """The time zone of ``cron``."""

    def before(self, tick: datetime) -> datetime:
        """The tick before ``tick``, UTC."""

    def after(self, moment: datetime) -> datetime:
        """The first tick after ``moment``, UTC."""


@dataclass(frozen=True)
class Weekly:
    """Ticks at one time of the day, in ``zone``, on some ``days`` of the week (Monday is 0)."""

    days: tuple[int, ...]
    at: time
    zone: str = "UTC"

    @property
    def cron(self) -> str:
        """The same for Dagster; its Sunday is 0."""
        days = ",".join(str(day) for day in sorted((day + 1) % 7 for day in self.days))
        return f"{self.at.minute} {self.at.hour} * * {'*' if len(self.days) == len(WEEK) else days}"

    def before(self, tick: datetime) -> datetime:
        """The tick before ``tick``, UTC."""
        zone = ZoneInfo(self.zone)
        day = tick.astimezone(zone).date()
        while True:
            found = datetime.combine(day, self.at, zone).astimezone(UTC)
            if day.weekday() in self.days and found < tick:
                return found
            day -= timedelta(days=1)

    def after(self, moment: datetime) -> datetime:
        """The first tick after ``moment``, UTC."""
        zone = ZoneInfo(self.zone)
        day = moment.astimezone(zone).date()
        while True:
            found = datetime.combine(day, self.at, zone).astimezone(UTC)
            if day.weekday() in self.days and found > moment:
                return found
            day += timedelta(days=1)


@dataclass(frozen=True)
class Hourly:
    """A tick each hour, ``minute`` minutes after its start."""

    minute: int
    zone: str = "UTC"

    @property
    def cron(self) -> str:
        """The same for Dagster."""
        return f"{self.minute} * * * *"

    def before(self, tick: datetime) -> datetime:
        """The tick before ``tick``, UTC."""
        found = tick.astimezone(UTC).replace(minute=self.minute, second=0, microsecond=0)
        return found if found < tick else found - timedelta(hours=1)

    def after(self, moment: datetime) -> datetime:
        """The first tick after ``moment``, UTC."""
        found = moment.astimezone(UTC).replace(minute=self.minute, second=0, microsecond=0)
        return found if found > moment else found + timedelta(hours=1)


@dataclass(frozen=True)
class Rule:
    """What the schedule of one job does.

    ``due(start, end)`` are the partitions that become due after ``start`` up to ``end`` (UTC),
    ascending. ``assets`` must all be materialized for a partition to count as done; those of
    ``needs`` before it is asked for. ``asks_again``: what is done already is asked for once more
    when it is due. ``is_chained``: a partition goes on from the one before, so that a tick asks for
    one range, and for none while an earlier one is under way. ``patience`` is how long after the
    tick failures that may pass are repeated.
    """

    job: str
    description: str
    ticks: Ticks
    assets: tuple[str, ...]
    due: Callable[[datetime, datetime], list[str]] = field(repr=False)
    look_back: timedelta = LOOK_BACK
    needs: tuple[str, ...] = ()
    asks_again: bool = False
    is_chained: bool = False
    patience: timedelta = timedelta(hours=3)


@dataclass(frozen=True)
class Known:
    """What is known of a rule's partitions when its tick is evaluated.

    ``done`` are materialized, ``ready`` have their inputs (None: no partition has any to wait
    for), ``pending`` are in a run that goes on or is repeated, ``failures`` counts the ended runs
    that did not make a partition.
    """

    done: Collection[str] = ()
    ready: Collection[str] | None = None
    pending: Collection[str] = ()
    failures: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """Ranges of partitions to run, each by itself; and what to say of the others."""

    runs: tuple[tuple[str, str], ...]
    reason: str


def decide(rule: Rule, tick: datetime, known: Known) -> Decision:
    """What the tick of ``rule`` asks for.

    First what became due since the tick before. Then what was missed: partitions of the last time
    that are not done, unless they are pending, were tried often enough, or lie before the first
    one that was ever made, for nobody asked for those.
    """
    start = rule.ticks.before(tick)
    due = rule.due(start, tick)
    recent = [key for key in rule.due(tick - rule.look_back, start) if key not in due]
    wanted = [key for key in due if rule.asks_again or key not in known.done]
    asked = [key for key in wanted if _is_free(key, known)]
    since = min([*known.done, *known.failures], default=None)
    missed = [
        key
        for key in recent
        if since is not None
        and key >= since
        and key not in known.done
        and (rule.is_chained or known.failures.get(key, 0) < MOST_CATCH_UPS)
        and _is_free(key, known)
    ]
    parts = key_ranges(due, asked) + key_ranges(recent, missed, len(recent))[:MOST_CATCH_UPS]
    if rule.is_chained:
        parts = _one_range([*recent, *due], {*missed, *asked}, known)
    runs = tuple((part[0], part[-1]) for part in parts)
    told = "" if runs else _why_nothing(rule, start, tick, due, known)
    if rule.is_chained and (waits := [key for key in recent if key in known.pending]) and told:
        told = f"{waits[-1]} is under way, on which the next one rests"
    return Decision(runs, told)


def _one_range(keys: list[str], wanted: set[str], known: Known) -> list[list[str]]:
    """The range of ``keys`` (ascending) from the first to the last one ``wanted``.

    It ends before a key that is not ready; there is none while one of ``keys`` is pending.
    """
    if not wanted or any(key in known.pending for key in keys):
        return []
    part = [key for key in keys if min(wanted) <= key <= max(wanted)]
    ready = known.ready
    end = next((n for n, key in enumerate(part) if ready is not None and key not in ready), None)
    return [part[:end]] if part[:end] else []


def first_asked(rule: Rule, key: str, since: datetime) -> datetime | None:
    """The tick of ``rule`` at which a partition becomes due; None if none after ``since`` names it.

    ``since``: the partition's start.
    """
    tick = rule.ticks.after(since)
    for _ in range(MOST_TICKS):
        if key in rule.due(rule.ticks.before(tick), tick):
            return tick
        tick = rule.ticks.after(tick)
    return None


def _is_free(key: str, known: Known) -> bool:
    return key not in known.pending and (known.ready is None or key in known.ready)


def _why_nothing(rule: Rule, start: datetime, tick: datetime, due: list[str], known: Known) -> str:
    if not due:
        return (
            f"nothing became due between {start:%Y-%m-%d %H:%M} and {tick:%Y-%m-%d %H:%M} UTC: "
            "the exchange was closed"
        )
    told = []
    what = rule.needs[0].rpartition("/")[2] if rule.needs else ""
    for key in due:
        if key in known.pending:
            told.append(f"{key} is under way")
        elif known.ready is not None and key not in known.ready:
            told.append(f"{key} lacks its {what}: it follows as soon as they are stored")
        else:
            told.append(f"{key} is stored already")
    return "; ".join(told)


def rules(*, has_alpha_vantage: bool = True, news_start: date | None = None) -> dict[str, Rule]:
    """Every scheduled job's rule, by its name.

    The times are those at which the systems before this one ran, in UTC; the analyses of both
    markets are told in the time of Seoul.
    """
    made = [
        _prices(MARKETS["us"], Weekly((1, 2, 3, 4, 5), time(9))),
        _prices(MARKETS["kr"], Weekly((0, 1, 2, 3, 4), time(21))),
        _combined(MARKETS["us"], Weekly((0, 1, 2, 3, 4), time(23, 45), "Asia/Seoul")),
        _combined(MARKETS["kr"], Weekly((0, 1, 2, 3, 4), time(8, 45), "Asia/Seoul")),
        _trading(MARKETS["us"], Weekly((1, 2, 3, 4, 5), time(0, 15), "Asia/Seoul")),
        _trading(MARKETS["kr"], Weekly((0, 1, 2, 3, 4), time(9, 15), "Asia/Seoul")),
        _macro(),
        _news(NEWS_LOOK_BACK if has_alpha_vantage else RSS_LOOK_BACK, news_start),
    ]
    return {rule.job: rule for rule in made}


def _prices(market: Market, ticks: Weekly) -> Rule:
    def due(start: datetime, end: datetime) -> list[str]:
        return [
            _key(s) for s in _around(market, start, end) if start < market.complete_at(s) <= end
        ]

    return Rule(
        job=market_job(market.key, "price"),
        description=f"{market.name}: bars of the sessions that ended since the last time.",
        ticks=ticks,
        assets=(f"{market.key}/prices",),
        due=due,
    )


def _combined(market: Market, ticks: Weekly) -> Rule:
    """The analysis that the schedule makes on the day of a session's decision.

    It has run before, as soon as the prices were there; now the news up to the decision are in.
    """
    zone = ZoneInfo(ticks.zone)

    def due(start: datetime, end: datetime) -> list[str]:
        first, last = (instant.astimezone(zone).date() for instant in (start, end))
        return [
            _key(s)
            for s in _around(market, start, end)
            if first < market.decision_at(s).astimezone(zone).date() <= last
        ]

    return Rule(
        job=market_job(market.key, "combined_analysis"),
        description=f"{market.name}: the session whose decision falls on this day.",
        ticks=ticks,
        assets=(f"{market.key}/recommendations",),
        due=due,
        needs=(f"{market.key}/prices",),
        asks_again=True,
        patience=timedelta(hours=2),
    )


def _trading(market: Market, ticks: Weekly) -> Rule:
    """The paper book of the sessions whose decisions have passed: with all the news they had."""

    def due(start: datetime, end: datetime) -> list[str]:
        return [
            _key(s) for s in _around(market, start, end) if start < market.decision_at(s) <= end
        ]

    return Rule(
        job=market_job(market.key, "paper_trading"),
        description=f"{market.name}: the paper book of the session that was decided last.",
        ticks=ticks,
        assets=tuple(f"{market.key}/{name}" for name in (*FORECAST, *TRADING)),
        due=due,
        look_back=CHAIN_LOOK_BACK,
        needs=(f"{market.key}/recommendations", f"{market.key}/prices"),
        asks_again=True,
        is_chained=True,
        patience=timedelta(hours=2),
    )


def _macro() -> Rule:
    def due(start: datetime, end: datetime) -> list[str]:
        """The day of the tick before once more: FRED may have released something after it."""
        first, last = max(release_day_at(start), FIRST_RELEASE_DAY), release_day_at(end)
        return [_key(first + timedelta(days=n)) for n in range((last - first).days + 1)]

    return Rule(
        job="macro_sync",
        description="Release days since the last time, and that one once more: it was not over.",
        ticks=Weekly((6, 0, 1, 2, 3, 4), time(23)),
        assets=("macro/observations", "macro/regime"),
        due=due,
        asks_again=True,
    )


def _news(look_back: timedelta, first_day: date | None) -> Rule:
    earliest = datetime.combine(first_day or date.min, time(), UTC)

    def due(start: datetime, end: datetime) -> list[str]:
        hour = start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        keys = []
        while (hour := hour + timedelta(hours=1)) <= end:
            if hour > start and hour > earliest:
                keys.append((hour - timedelta(hours=1)).strftime(HOUR_FORMAT))
        return keys

    return Rule(
        job="news_crawl",
        description="News of the hour that is over.",
        ticks=Hourly(5),
        assets=("news/articles", "news/article_sentiment"),
        due=due,
        look_back=look_back,
        patience=timedelta(minutes=45),
    )


def _around(market: Market, start: datetime, end: datetime) -> list[date]:
    """Sessions that may become due between two instants: a decision comes days after its session.

    Eleven days at most: Korea's exchange was closed from 30 September to 9 October 2017.
    """
    first = max(start.date() - timedelta(days=15), FIRST_SESSION)
    return market.sessions(first, end.date() + timedelta(days=1))


def _key(day: date) -> str:
    return day.strftime(SESSION_FORMAT)
