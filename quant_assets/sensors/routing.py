"""From a request to the run that serves it. What belongs here: pure functions, no Dagster.

What a message may ask for is decided here and nowhere else: its texts only choose among known
markets, symbols, sessions and jobs, and never become a path, a name or configuration.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from quant_assets.domain.macro_series import FIRST_RELEASE_DAY
from quant_assets.errors import BadConfigurationError, QuantAssetsError
from quant_assets.events import payloads as p
from quant_assets.events.envelope import BadEventError, Event, payload_from
from quant_assets.markets import FIRST_SESSION, MARKETS, Market, market
from quant_assets.naming import market_job
from quant_assets.schemas.keys import HOUR_FORMAT
from quant_assets.vendors.fred_clock import release_day_at

CLOCK_TOLERANCE = timedelta(minutes=10)
"""How far ahead a producer's clock may be."""
NAMES_SHOWN = 5

COMMANDS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "crawl_news": ("news.crawl.requested", {}),
    "macro": ("economic.data.sync.requested", {}),
    **{
        f"{key}_{task}": (event_type, {"market": key})
        for key in MARKETS
        for task, event_type in (
            ("price", "stock.price.sync.requested"),
            ("technical_analysis", "analysis.technical.request"),
            ("sentiment_analysis", "analysis.sentiment.request"),
            ("combined_analysis", "analysis.combined.request"),
        )
    },
    "technical_analysis": ("analysis.technical.request", {}),
    "sentiment_analysis": ("analysis.sentiment.request", {}),
    "combined_analysis": ("analysis.combined.request", {}),
}
"""What each task of a command asks for: the type of its request, and fields that it fixes."""

ANALYSIS_JOBS = {
    "analysis.technical.request": "technical_analysis",
    "analysis.sentiment.request": "sentiment_analysis",
    "analysis.combined.request": "combined_analysis",
}


class RefusedRequestError(QuantAssetsError):
    """A request that is well formed and cannot be served; ``code`` names why in a word."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True)
class RunPlan:
    """The run that serves a request: a job and its first and last partition.

    ``symbols`` are those that the answer names, none for all.
    """

    job: str
    first: str
    last: str
    symbols: tuple[str, ...] = ()


@dataclass(frozen=True)
class Router:
    """Decides about requests by what the installation has.

    ``symbols_of`` gives a market's symbols, ``series`` are the macro series, ``news_start`` is the
    first day of news, ``max_age`` how old a request may be when it is first read.
    """

    symbols_of: Callable[[str], Collection[str]]
    series: frozenset[str]
    news_start: date
    max_age: timedelta

    def at(self, now: datetime) -> "Routes":
        """The decisions that hold at ``now`` (UTC)."""
        return Routes(self, now)

    def plan(self, event_type: str, payload: Any, now: datetime) -> RunPlan:
        """The run for a payload; raises ``RefusedRequestError``."""
        if event_type == "command.requested":
            return self._command(payload, now)
        if event_type == "economic.data.sync.requested":
            return self._macro(payload, now)
        if event_type == "news.crawl.requested":
            return self._news(payload, now)
        if event_type == "stock.price.sync.requested":
            wanted = _market(payload.market)
            first, last = _sessions(wanted, payload, now)
            return RunPlan(market_job(wanted.key, "price"), first, last)
        return self._analysis(ANALYSIS_JOBS[event_type], payload, now)

    def _command(self, command: p.CommandRequested, now: datetime) -> RunPlan:
        if command.task_type not in COMMANDS:
            raise RefusedRequestError(
                "unknown_task",
                f"taskType {command.task_type!r} is unknown; the tasks are "
                f"{', '.join(sorted(COMMANDS))} - at `$.payload.taskType`",
            )
        event_type, fixed = COMMANDS[command.task_type]
        for name, value in fixed.items():
            if command.params.get(name, value) != value:
                raise RefusedRequestError(
                    "invalid_field",
                    f"the task {command.task_type} is for {name} {value!r}, the params say "
                    f"{command.params[name]!r:.100} - at `$.payload.params.{name}`",
                )
        try:
            payload = payload_from(event_type, {**command.params, **fixed})
        except BadEventError as error:
            text = str(error).replace("$.payload", "$.payload.params")
            raise RefusedRequestError("invalid_field", text) from error
        return self.plan(event_type, payload, now)

    def _macro(self, wanted: p.EconomicDataSyncRequested, now: datetime) -> RunPlan:
        today = release_day_at(now)
        unknown = [name for name in wanted.series_ids if name not in self.series]
        if unknown:
            raise RefusedRequestError(
                "unknown_series",
                f"{_names(unknown)} not among the macro series (QUANT_MACRO_SERIES): "
                f"{_names(sorted(self.series))} - at `$.payload.seriesIds`",
            )
        last = wanted.last or today
        first = wanted.first or max(
            min(last, today), FIRST_RELEASE_DAY + timedelta(days=1)
        ) - timedelta(days=1)
        _check_order(first, last)
        if first < FIRST_RELEASE_DAY or last > today:
            raise RefusedRequestError(
                "no_partition",
                f"{first} to {last}: release days are stored from {FIRST_RELEASE_DAY} to {today}, "
                "the day that goes on at FRED (US Central time)",
            )
        return RunPlan("macro_sync", first.isoformat(), last.isoformat())

    def _news(self, wanted: p.NewsCrawlRequested, now: datetime) -> RunPlan:
        this_hour = _hour_of(now)
        hour = this_hour - timedelta(hours=1) if wanted.hour is None else _hour_of(wanted.hour)
        if hour.date() < self.news_start or hour >= this_hour:
            raise RefusedRequestError(
                "no_partition",
                f"hour {hour:%Y-%m-%dT%H}: news are stored from {self.news_start} to the last "
                f"hour that is over, {this_hour - timedelta(hours=1):%Y-%m-%dT%H} (UTC) "
                "- at `$.payload.hour`",
            )
        return RunPlan("news_crawl", hour.strftime(HOUR_FORMAT), hour.strftime(HOUR_FORMAT))

    def _analysis(self, task: str, wanted: p.AnalysisRequested, now: datetime) -> RunPlan:
        chosen = _market(wanted.market) if wanted.market else self._market_of(wanted.symbols)
        known = self.symbols_of(chosen.key)
        if wanted.symbols and not any(symbol in known for symbol in wanted.symbols):
            raise RefusedRequestError(
                "unknown_symbol",
                f"{_names(wanted.symbols)} not in the universe of market {chosen.key!r} "
                f"(QUANT_{chosen.key.upper()}_UNIVERSE) - at `$.payload.symbols`",
            )
        session = _session(chosen, wanted.session, now)
        return RunPlan(market_job(chosen.key, task), session, session, wanted.symbols)

    def _market_of(self, symbols: tuple[str, ...]) -> Market:
        """The market that has ``symbols``."""
        found = [m for m in MARKETS.values() if any(s in self.symbols_of(m.key) for s in symbols)]
        if len(found) == 1:
            return found[0]
        names = _names(symbols) if symbols else "the analysis"
        if symbols and not found:
            raise RefusedRequestError(
                "unknown_symbol", f"no market has {names} - at `$.payload.symbols`"
            )
        raise RefusedRequestError(
            "market_missing",
            f"name the market of {names}: one of {', '.join(MARKETS)} - at `$.payload.market`",
        )


class Routes:
    """Decisions at one moment; what equal requests ask for is worked out once."""

    def __init__(self, router: Router, now: datetime) -> None:
        self._router = router
        self._now = now
        self._earliest = now - router.max_age
        self._latest = now + CLOCK_TOLERANCE
        self._plans: dict[tuple[str, Any], RunPlan] = {}

    def plan(self, event: Event[Any], *, attempt: int = 1) -> RunPlan:
        """The run for ``event``.

        Raises ``RefusedRequestError``. Age is not held against a replay (``attempt`` above 1).
        """
        if not self._earliest <= event.timestamp <= self._latest:
            self._check_time(event.timestamp, attempt)
        asked = event.event_type, event.payload
        _check_thread(event.payload)
        try:
            known = self._plans.get(asked)
        except TypeError:  # a command carries a mapping
            return self._router.plan(*asked, self._now)
        if known is None:
            known = self._plans[asked] = self._router.plan(*asked, self._now)
        return known

    def _check_time(self, sent: datetime, attempt: int) -> None:
        if sent > self._latest:
            raise RefusedRequestError(
                "future",
                f"timestamp {sent.isoformat()} lies in the future (now {self._now.isoformat()}): "
                "check the sender's clock - at `$.timestamp`",
            )
        if attempt == 1:
            raise RefusedRequestError(
                "too_old",
                f"timestamp {sent.isoformat()} is more than {self._router.max_age.days} days old "
                "(QUANT_EVENT_MAX_AGE_DAYS); replay the dead letter to run it all the same",
            )


def _check_thread(payload: p.Request) -> None:
    """Thread and channel become run tags, in which PostgreSQL takes no NUL."""
    for name, text in (("threadTs", payload.thread_ts), ("channel", payload.channel)):
        if text is not None and not text.isprintable():
            raise RefusedRequestError(
                "invalid_field", f"{text!r} holds a control character - at `$.payload.{name}`"
            )


def _market(key: str) -> Market:
    try:
        return market(key)
    except BadConfigurationError as error:
        raise RefusedRequestError("unknown_market", f"{error} - at `$.payload.market`") from error


def _sessions(chosen: Market, wanted: p.StockPriceSyncRequested, now: datetime) -> tuple[str, str]:
    """First and last session of a price request."""
    if wanted.first is None and wanted.last is None:
        session = _session(chosen, wanted.session, now)
        return session, session
    if wanted.session is not None:
        raise RefusedRequestError(
            "invalid_field", "give session, or from and to, not both - at `$.payload.session`"
        )
    newest = chosen.last_complete_session(now)
    first = wanted.first or wanted.last or newest
    last = wanted.last or newest
    _check_order(first, last)
    if first < FIRST_SESSION or last > newest:
        raise RefusedRequestError(
            "no_partition",
            f"{first} to {last}: sessions of {chosen.key} are stored from {FIRST_SESSION} to the "
            f"last complete one, {newest}",
        )
    sessions = chosen.sessions(first, last)
    if not sessions:
        raise RefusedRequestError("no_session", f"{chosen.key} has no session {first} to {last}")
    return sessions[0].isoformat(), sessions[-1].isoformat()


def _session(chosen: Market, wanted: date | None, now: datetime) -> str:
    """The session asked for, or the last complete one."""
    newest = chosen.last_complete_session(now)
    if wanted is None:
        return newest.isoformat()
    if not FIRST_SESSION <= wanted <= newest:
        raise RefusedRequestError(
            "no_partition",
            f"session {wanted} of {chosen.key}: sessions are stored from {FIRST_SESSION} to the "
            f"last complete one, {newest} - at `$.payload.session`",
        )
    if not chosen.is_session(wanted):
        before = chosen.offset_session(wanted, -1)
        raise RefusedRequestError(
            "no_session",
            f"{wanted} is no trading day of {chosen.key}; the session before it is {before} "
            "- at `$.payload.session`",
        )
    return wanted.isoformat()


def _hour_of(instant: datetime) -> datetime:
    """The UTC hour of ``instant``; refuses one at the edges of time that has none."""
    try:
        return instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    except OverflowError as error:
        raise RefusedRequestError(
            "no_partition", f"hour {instant.isoformat()} has no time in UTC - at `$.payload.hour`"
        ) from error


def _check_order(first: date, last: date) -> None:
    if first > last:
        raise RefusedRequestError(
            "invalid_field", f"from {first} is after to {last} - at `$.payload.from`"
        )


def _names(names: Collection[str]) -> str:
    shown = ", ".join(repr(name)[1:-1] for name in list(names)[:NAMES_SHOWN])
    return shown + (f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else "")
