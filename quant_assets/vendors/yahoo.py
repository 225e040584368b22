"""Daily bars and corporate actions from Yahoo Finance.

What belongs here: asking for many symbols at once, retries, and typed outcomes per symbol. What
does not: undoing splits, judging prices, dropping sessions that have not closed (``domain``), and
how yfinance is reached (``yahoo_transport``).
"""

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Literal

import pandas as pd
import yfinance
from yfinance.exceptions import (
    YFException,
    YFPricesMissingError,
    YFRateLimitError,
    YFTzMissingError,
)

from quant_assets.errors import (
    BadConfigurationError,
    BadDataError,
    PermanentError,
    TransientError,
)
from quant_assets.vendors.archive import NotKeptError, Tape
from quant_assets.vendors.http import Pacer
from quant_assets.vendors.redaction import protect_logs, redact_query
from quant_assets.vendors.yahoo_tables import (
    chart_bars,
    chart_events,
    no_bars,
    no_events,
    stack,
    warts,
)
from quant_assets.vendors.yahoo_timezones import Timezones
from quant_assets.vendors.yahoo_transport import (
    NoBarsError,
    SymbolTicker,
    UnknownSymbolError,
    YahooSession,
    new_transport,
    quieten_yfinance,
)

logger = logging.getLogger(__name__)

Status = Literal["ok", "empty", "unknown_symbol", "rate_limited", "failed"]
BAR_COLUMNS = ("symbol", "session_date", "open", "high", "low", "close", "volume")
EVENT_COLUMNS = ("symbol", "event_date", "dividend", "split_ratio")
_LONGEST_WAIT_SECONDS = 60.0
_SYMBOL_FAILURES = (
    TransientError,
    BadDataError,
    OSError,  # all of libcurl's errors are
    # yfinance fails on a mangled chart with whatever its first wrong field causes.
    YFException,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class SymbolOutcome:
    """What came of one symbol; ``first`` and ``last`` are the dates of its first and last bar.

    ``currency`` is what Yahoo says its prices are in, empty if it said nothing.
    ``ok`` and ``empty`` (known, without bars in the range) and ``unknown_symbol`` are answers;
    ``rate_limited`` and ``failed`` mean that nothing is known.
    """

    symbol: str
    status: Status
    bars: int
    first: date | None
    last: date | None
    attempts: int
    detail: str
    currency: str = ""

    @property
    def is_answered(self) -> bool:
        """Whether Yahoo gave an answer, be it that there is nothing."""
        return self.status in ("ok", "empty", "unknown_symbol")


@dataclass(frozen=True)
class DailyBars:
    """Bars and corporate actions of a range, and one outcome for each symbol asked.

    ``bars``: symbol, session_date (exchange-local), open, high, low, close, volume (int64), as
    Yahoo gives them: split-adjusted as of now, not adjusted for dividends. ``events``: symbol,
    event_date, dividend (per share, split-adjusted as of now; 0.0 = none), split_ratio (new per
    old share; 1.0 = none), also on dates without a bar. Both sorted by symbol and date.
    ``repeated``: rows as ``bars`` that a later row of the same symbol and date contradicts.
    """

    bars: pd.DataFrame
    events: pd.DataFrame
    outcomes: tuple[SymbolOutcome, ...]
    repeated: pd.DataFrame = field(default_factory=no_bars)

    def updated(self, again: "DailyBars") -> "DailyBars":
        """These answers with those of ``again`` in place of the same symbols'."""
        asked = {outcome.symbol for outcome in again.outcomes}

        def others(frame: pd.DataFrame) -> pd.DataFrame:
            return frame[~frame["symbol"].isin(list(asked))]

        kept = [outcome for outcome in self.outcomes if outcome.symbol not in asked]
        return DailyBars(
            bars=stack([others(self.bars), again.bars], no_bars()),
            events=stack([others(self.events), again.events], no_events()),
            outcomes=(*kept, *again.outcomes),
            repeated=stack([others(self.repeated), again.repeated], no_bars()),
        )


@dataclass(frozen=True)
class _Fetched:
    bars: pd.DataFrame
    events: pd.DataFrame
    outcome: SymbolOutcome
    repeated: pd.DataFrame


class YahooClient:
    """Asks Yahoo through yfinance, one request a symbol for the whole range.

    ``proxy_url`` is a plain-HTTP proxy that answers for Yahoo's hosts, ``None`` is the real Yahoo.
    """

    def __init__(
        self,
        *,
        proxy_url: str | None,
        cache_dir: Path,
        workers: int = 6,
        max_per_second: float = 4.0,
        attempts: int = 3,
        timeout_seconds: float = 10.0,
        backoff_seconds: float = 1.0,
        rate_limit_threshold: int = 5,
        minimum_success_ratio: float = 0.0,
        sleep: Callable[[float], None] = time.sleep,
        tape: Tape | None = None,
    ) -> None:
        """Prepare the client; no request is made.

        After ``rate_limit_threshold`` refusals for rate in a row nothing more is asked in that
        call. ``attempts`` counts the first one. See ``daily_bars`` for the success ratio.
        """
        if workers < 1 or attempts < 1 or rate_limit_threshold < 1:
            raise BadConfigurationError(
                "workers, attempts and rate_limit_threshold must each be at least 1"
            )
        yfinance.set_tz_cache_location(str(cache_dir))
        quieten_yfinance()
        protect_logs()
        session = YahooSession(
            proxy_url=proxy_url,
            pacer=Pacer(max_per_second=max_per_second, sleep=sleep),
            tape=tape,
        )
        self._transport = new_transport(session)
        self._timezones = Timezones(cache_dir / "timezones.json")
        self._workers = workers
        self._attempts = attempts
        self._timeout_seconds = timeout_seconds
        self._backoff_seconds = backoff_seconds
        self._rate_limit_threshold = rate_limit_threshold
        self._minimum_success_ratio = minimum_success_ratio
        self._sleep = sleep

    def daily_bars(self, symbols: Sequence[str], start: date, end: date) -> DailyBars:
        """Return the bars and events of ``symbols`` from ``start`` to ``end``, both inclusive.

        A symbol that fails is an outcome and never an error for the others. Raises
        ``TransientError`` only if the share of answered symbols is below
        ``minimum_success_ratio`` (one unanswered among others is always tolerated), and
        ``BadConfigurationError`` for an empty range.
        """
        if end < start:
            raise BadConfigurationError(f"Yahoo: the range {start}..{end} is empty")
        asked = list(dict.fromkeys(symbols))
        breaker = _Breaker(self._rate_limit_threshold)

        def fetch(symbol: str) -> _Fetched:
            return self._fetch(symbol, start, end, breaker)

        with ThreadPoolExecutor(self._workers, thread_name_prefix="yahoo") as pool:
            fetched = list(pool.map(fetch, asked))
        self._timezones.save()
        outcomes = tuple(one.outcome for one in fetched)
        self._demand_answers(outcomes, start, end)
        return DailyBars(
            bars=stack([one.bars for one in fetched], no_bars()),
            events=stack([one.events for one in fetched], no_events()),
            outcomes=outcomes,
            repeated=stack([one.repeated for one in fetched], no_bars()),
        )

    def _fetch(self, symbol: str, start: date, end: date, breaker: "_Breaker") -> _Fetched:
        status: Status = "rate_limited"
        detail = "not asked: Yahoo had refused others for their rate"
        for attempt in range(1, self._attempts + 1):
            if breaker.is_open:
                return _nothing(symbol, status, attempt - 1, detail)
            wait_seconds = 0.0
            try:
                fetched = self._ask(symbol, start, end, attempt)
            except (UnknownSymbolError, YFTzMissingError) as error:
                breaker.note_answer()
                return _nothing(symbol, "unknown_symbol", attempt, str(error))
            except NoBarsError as error:
                breaker.note_answer()
                return _nothing(symbol, "empty", attempt, str(error))
            except YFRateLimitError as error:
                breaker.note_refusal()
                status, detail = "rate_limited", "HTTP 429: lower the calls per second"
                wait_seconds = getattr(error, "retry_after_seconds", None) or 0.0
            except (PermanentError, NotKeptError) as error:
                return _nothing(symbol, "failed", attempt, redact_query(str(error)))
            except _SYMBOL_FAILURES as error:
                status, detail = "failed", redact_query(f"{type(error).__name__}: {error}")
            else:
                breaker.note_answer()
                return fetched
            if attempt < self._attempts and not breaker.is_open:
                self._sleep(self._wait_seconds(attempt, wait_seconds))
        logger.warning("Yahoo %s: %s after %d attempts: %s", symbol, status, attempt, detail)
        return _nothing(symbol, status, attempt, detail)

    def _ask(self, symbol: str, start: date, end: date, attempt: int) -> _Fetched:
        ticker = SymbolTicker(symbol, self._transport, self._timezones, self._timeout_seconds)
        try:
            # One day more: yfinance takes the end as exclusive. keepna: or rows of zeros vanish.
            frame = ticker.history(
                start=start,
                end=end + timedelta(days=1),
                auto_adjust=False,
                actions=True,
                keepna=True,
                timeout=self._timeout_seconds,
            )
            chart = ticker.chart()
        except YFPricesMissingError:
            frame, chart = pd.DataFrame(), ticker.chart()
        bars, repeated = chart_bars(symbol, frame, start, end)
        events = chart_events(symbol, chart, start, end)
        dates = bars["session_date"]
        return _Fetched(
            bars,
            events,
            SymbolOutcome(
                symbol=symbol,
                status="empty" if bars.empty else "ok",
                bars=len(bars),
                first=None if bars.empty else dates.iloc[0].date(),
                last=None if bars.empty else dates.iloc[-1].date(),
                attempts=attempt,
                detail=warts(chart),
                currency=str(chart["meta"].get("currency") or ""),
            ),
            repeated,
        )

    def _wait_seconds(self, attempt: int, asked_seconds: float) -> float:
        backoff = self._backoff_seconds * 2.0 ** (attempt - 1) * random.uniform(1.0, 1.5)
        return min(max(backoff, asked_seconds), _LONGEST_WAIT_SECONDS)

    def _demand_answers(self, outcomes: Sequence[SymbolOutcome], start: date, end: date) -> None:
        missing = [one for one in outcomes if not one.is_answered]
        answered = len(outcomes) - len(missing)
        is_lone_failure = len(missing) == 1 and answered > 0
        if is_lone_failure or answered >= self._minimum_success_ratio * len(outcomes):
            return
        counts = Counter(one.status for one in missing)
        told = ", ".join(f"{count} {status}" for status, count in counts.items())
        first = missing[0]
        raise TransientError(
            f"Yahoo {start}..{end}: only {answered} of {len(outcomes)} symbols answered ({told}; "
            f"first {first.symbol}: {first.detail}); try again later, or lower "
            "QUANT_YAHOO_CALLS_PER_SECOND if the rate was refused"
        )


class _Breaker:
    """Opens after a number of refusals for rate in a row, over all threads."""

    def __init__(self, threshold: int) -> None:
        self._threshold = threshold
        self._refusals = 0
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        with self._lock:
            return self._refusals >= self._threshold

    def note_refusal(self) -> None:
        with self._lock:
            self._refusals += 1

    def note_answer(self) -> None:
        with self._lock:
            if self._refusals < self._threshold:
                self._refusals = 0


def _nothing(symbol: str, status: Status, attempts: int, detail: str) -> _Fetched:
    outcome = SymbolOutcome(symbol, status, 0, None, None, attempts, detail)
    return _Fetched(no_bars(), no_events(), outcome, no_bars())
