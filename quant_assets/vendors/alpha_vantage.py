"""Alpha Vantage NEWS_SENTIMENT: dated articles with the vendor's sentiment scores.

What belongs here: paging, the vendor's habit of reporting errors as HTTP 200, and its fields. What
does not: labels (derived from the numbers elsewhere, since the vendor spells them variously),
deduplication across providers, and which tickers are worth one of the day's calls.
"""

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, Protocol

import requests

from quant_assets.errors import (
    BadConfigurationError,
    BadDataError,
    PermanentError,
    QuantAssetsError,
    QuotaExhaustedError,
    TransientError,
)
from quant_assets.vendors.http import HttpCaller, Pacer, build_session

LIVE_URL = "https://www.alphavantage.co"
_KEY_NAME = "ALPHA_VANTAGE_API_KEY"
_USER_AGENT = "quant-assets (requests)"
_ENDPOINT = "NEWS_SENTIMENT"
_PAGE_LIMIT = 1000
TRANSIENT_ATTEMPTS = 4
LONGEST_PAUSE_SECONDS = 60.0
_MINUTE = timedelta(minutes=1)
_RESOLUTION = timedelta(microseconds=1)
_TIME_FORMATS = ("%Y%m%dT%H%M%S", "%Y%m%dT%H%M")
_WAIT_SECONDS = {"second": 1.5, "minute": 61.0}


class TickerSentiment(NamedTuple):
    """What an article says of one ticker: relevance 0..1, score -1..1, ``None`` if not given."""

    ticker: str
    relevance: float | None
    score: float | None


@dataclass(frozen=True)
class NewsItem:
    """One article; ``published_at`` is UTC."""

    url: str
    title: str
    summary: str
    source: str
    published_at: datetime
    overall_score: float | None
    ticker_sentiment: tuple[TickerSentiment, ...]


@dataclass(frozen=True)
class RejectedItem:
    """An item of an answer that could not be read, as it came."""

    reason: str
    raw: Any


@dataclass(frozen=True)
class NewsPage:
    """What one call added: articles, what could not be read, and how far the range is read.

    Every article published before ``reached`` is on this page or on one before it.
    """

    items: tuple[NewsItem, ...]
    rejected: tuple[RejectedItem, ...]
    reached: datetime
    calls: int


@dataclass(frozen=True)
class NewsResult:
    """Articles of a time range, oldest first, and what could not be read of it."""

    items: tuple[NewsItem, ...]
    rejected: tuple[RejectedItem, ...]
    calls: int


class DailyBudget(Protocol):
    """Counts the calls of a day, also across processes; the free plan has 25."""

    def spend(self) -> None:
        """Count one call, or raise ``QuotaExhaustedError`` when none is left."""

    def exhaust(self) -> None:
        """Note that the vendor itself says that none is left."""


class AlphaVantageClient:
    """Reads news of one ticker, or of all, for a range of time."""

    def __init__(
        self,
        api_key: str,
        base_url: str = LIVE_URL,
        session: requests.Session | None = None,
        *,
        pacer: Pacer | None = None,
        daily_budget: DailyBudget | None = None,
        rate_limit_attempts: int = 3,
        pause_seconds: float = 1.0,
        page_limit: int = _PAGE_LIMIT,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare the client; no request is made. The default pace is the free plan's."""
        if not api_key:
            raise BadConfigurationError(
                f"Alpha Vantage needs a key: set {_KEY_NAME} (alphavantage.co/support/#api-key)"
            )
        self._api_key = api_key
        self._url = f"{base_url.rstrip('/')}/query"
        self._caller = HttpCaller(
            "Alpha Vantage",
            session
            or build_session(
                retries=0, backoff_seconds=1.0, timeout_seconds=30.0, user_agent=_USER_AGENT
            ),
            pacer=pacer or Pacer(max_per_minute=5),
            secrets=(api_key,),
            key_name=_KEY_NAME,
        )
        self._daily_budget = daily_budget
        self._rate_limit_attempts = rate_limit_attempts
        self._pause_seconds = pause_seconds
        self._page_limit = page_limit
        self._sleep = sleep

    def news(self, ticker: str | None, time_from: datetime, time_to: datetime) -> NewsResult:
        """Return the articles published in ``[time_from, time_to)``, one an address.

        ``ticker`` ``None`` asks for all tickers. An item that cannot be read is in ``rejected``
        and does not disturb the others. Raises what ``pages`` raises.
        """
        pages = list(self.pages(ticker, time_from, time_to))
        items = sorted(
            (item for page in pages for item in page.items),
            key=lambda item: (item.published_at, item.url),
        )
        rejected = tuple(one for page in pages for one in page.rejected)
        return NewsResult(tuple(items), rejected, sum(page.calls for page in pages))

    def pages(
        self, ticker: str | None, time_from: datetime, time_to: datetime
    ) -> Iterator[NewsPage]:
        """Yield the answers for ``[time_from, time_to)`` one by one, oldest articles first.

        Whoever takes them keeps those before a failure. Raises ``QuotaExhaustedError`` when the
        day's calls are used up, ``TransientError``, ``PermanentError`` (key, plan, arguments),
        ``BadDataError`` (an answer of another shape), ``BadConfigurationError`` (a naive or empty
        range).
        """
        start, end = _utc_range(time_from, time_to)
        seen: set[str] = set()
        minute = start.replace(second=0, microsecond=0)
        while minute < end:
            feed, calls = self._page(ticker, minute, end)
            items, rejected, published = _read_page(feed, start, end, seen)
            is_last = len(feed) < self._page_limit
            last = published.replace(second=0, microsecond=0) if published else minute
            if not is_last and last <= minute:
                rejected.append(_full_minute(minute, self._page_limit))
                last = minute + _MINUTE
            minute = end if is_last else last
            yield NewsPage(tuple(items), tuple(rejected), max(start, min(minute, end)), calls)

    def _page(self, ticker: str | None, start: datetime, end: datetime) -> tuple[list[Any], int]:
        """Ask for one page, waiting out rate limits; gives the number of calls that it took.

        An empty list is an empty answer.
        """
        for attempt in range(1, self._rate_limit_attempts + 1):
            body = self._ask_patiently(ticker, start, end)
            if isinstance(body, dict) and "feed" in body:
                feed = body["feed"]
                if isinstance(feed, list):
                    return feed, attempt
                raise BadDataError(
                    f"Alpha Vantage {_ENDPOINT} of {ticker}: 'feed' is a {type(feed).__name__}, "
                    "not a list; try again later"
                )
            answer = classify_body(body)
            if answer == "empty":
                return [], attempt
            if answer not in _WAIT_SECONDS:
                raise self._failure(answer, body, ticker)
            if attempt < self._rate_limit_attempts:
                self._sleep(_WAIT_SECONDS[answer])
        raise TransientError(
            f"Alpha Vantage {_ENDPOINT} of {ticker}: still over its calls per {answer} after "
            f"{self._rate_limit_attempts} attempts; lower the calls per minute in the settings",
            retry_after_seconds=_WAIT_SECONDS[answer],
        )

    def _ask_patiently(self, ticker: str | None, start: datetime, end: datetime) -> Any:
        """Ask again after a failure that may pass; each request counts as one of the day's."""
        for attempt in range(TRANSIENT_ATTEMPTS):
            try:
                return self._ask(ticker, start, end)
            except TransientError as error:
                if attempt == TRANSIENT_ATTEMPTS - 1:
                    raise
                pause = error.retry_after_seconds or self._pause_seconds * 2.0**attempt
            self._sleep(min(pause, LONGEST_PAUSE_SECONDS))
        raise AssertionError

    def _ask(self, ticker: str | None, start: datetime, end: datetime) -> Any:
        if self._daily_budget is not None:
            self._daily_budget.spend()
        params = {
            "function": _ENDPOINT,
            "time_from": f"{start:%Y%m%dT%H%M}",
            "time_to": f"{end + _MINUTE - _RESOLUTION:%Y%m%dT%H%M}",
            "sort": "EARLIEST",
            "limit": str(self._page_limit),
            "apikey": self._api_key,
        }
        if ticker is not None:
            params["tickers"] = ticker
        response = self._caller.get(self._url, endpoint=_ENDPOINT, params=params)
        return self._caller.json(response, endpoint=_ENDPOINT)

    def _failure(self, answer: str, body: Any, ticker: str | None) -> QuantAssetsError:
        told = self._caller.redact(_message(body))[:300]
        where = f"Alpha Vantage {_ENDPOINT} of {ticker or 'all tickers'}"
        if answer == "quota":
            if self._daily_budget is not None:
                self._daily_budget.exhaust()
            return QuotaExhaustedError(
                f"{where}: the day's calls are used up; ask again after the reset or take a "
                f"larger plan ({told!r})"
            )
        if answer == "plan":
            return PermanentError(f"{where}: the plan of the key does not include it ({told!r})")
        if answer == "refused":
            return PermanentError(
                f"{where}: refused; check {_KEY_NAME}, the ticker and the times ({told!r})"
            )
        return BadDataError(
            f"{where}: an answer without a feed and without a known message ({told!r}); try "
            "again later, and check the vendor's documentation if it stays so"
        )


Answer = Literal["empty", "second", "minute", "quota", "plan", "refused", "unknown"]


def classify_body(body: Any) -> Answer:
    """Say what an answer without a feed means.

    The order matters: one text often names several limits and the premium plans. A limit a second
    or a minute passes by waiting, a daily one does not.
    """
    text = _message(body).lower()
    if "no articles" in text:
        return "empty"
    if re.search(r"\d+ (requests?|calls?) ?(per |/ ?)second", text):
        return "second"
    if re.search(r"(per |/ ?)minute", text):
        return "minute"
    if re.search(r"(requests?|calls?) ?(per |/ ?)day|daily rate limit", text):
        return "quota"
    if "premium" in text:
        return "plan"
    is_error = isinstance(body, dict) and "Error Message" in body
    if is_error or "invalid inputs" in text or "demo purposes" in text:
        return "refused"
    return "unknown"


def parse_item(raw: Any) -> NewsItem:
    """Read one element of ``feed``; raises ``BadDataError`` that says what is wrong with it."""
    if not isinstance(raw, Mapping):
        raise BadDataError(f"an item is a {type(raw).__name__}, not an object")
    url = _text(raw, "url")
    if not url.startswith(("http://", "https://")):
        raise BadDataError(f"'url' is not a web address: {url!r}")
    sentiments = raw.get("ticker_sentiment") or []
    if not isinstance(sentiments, list):
        raise BadDataError("'ticker_sentiment' is not a list")
    return NewsItem(
        url=url,
        title=_text(raw, "title"),
        summary=_optional_text(raw, "summary"),
        source=_optional_text(raw, "source"),
        published_at=_published_at(raw),
        overall_score=_number(raw, "overall_sentiment_score", -1.0, 1.0),
        ticker_sentiment=tuple(_ticker_sentiment(entry) for entry in sentiments),
    )


def _ticker_sentiment(raw: Any) -> TickerSentiment:
    if not isinstance(raw, Mapping):
        raise BadDataError("an element of 'ticker_sentiment' is not an object")
    return TickerSentiment(
        ticker=_text(raw, "ticker"),
        relevance=_number(raw, "relevance_score", 0.0, 1.0),
        score=_number(raw, "ticker_sentiment_score", -1.0, 1.0),
    )


def _text(raw: Mapping[str, Any], name: str) -> str:
    value = raw.get(name)
    if not isinstance(value, str) or not value.strip():
        raise BadDataError(f"{name!r} is missing or not a text: {value!r}")
    return value.strip()


def _optional_text(raw: Mapping[str, Any], name: str) -> str:
    return "" if raw.get(name) is None else str(raw[name]).strip()


def _number(raw: Mapping[str, Any], name: str, low: float, high: float) -> float | None:
    """Read a number that may be a text; outside its range it is an error, absent ``None``."""
    value = raw.get(name)
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not low <= number <= high:
        raise BadDataError(f"{name!r} is not a number in [{low:g}, {high:g}]: {value!r}")
    return number


def _published_at(raw: Mapping[str, Any]) -> datetime:
    text = _text(raw, "time_published")
    moment = parse_time(text)
    if moment is None:
        raise BadDataError(f"'time_published' is not YYYYMMDDTHHMMSS: {text!r}")
    return moment


def parse_time(text: str) -> datetime | None:
    """Read a time as the vendor writes it, UTC; ``None`` for anything else."""
    for time_format in _TIME_FORMATS:
        try:
            return datetime.strptime(text, time_format).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None


def _utc_range(time_from: datetime, time_to: datetime) -> tuple[datetime, datetime]:
    if time_from.tzinfo is None or time_to.tzinfo is None:
        raise BadConfigurationError("news needs times with a timezone, not naive ones")
    if time_to <= time_from:
        raise BadConfigurationError(f"the time range {time_from}..{time_to} is empty")
    return time_from.astimezone(UTC), time_to.astimezone(UTC)


def _read_page(
    feed: list[Any], start: datetime, end: datetime, seen: set[str]
) -> tuple[list[NewsItem], list[RejectedItem], datetime | None]:
    """Items of a page that are not in ``seen``, unreadable ones, and the latest publication."""
    items: list[NewsItem] = []
    rejected: list[RejectedItem] = []
    latest: datetime | None = None
    for raw in feed:
        try:
            item = parse_item(raw)
        except BadDataError as error:
            if repr(raw) not in seen:
                seen.add(repr(raw))
                rejected.append(RejectedItem(str(error), raw))
            continue
        if item.published_at >= end + _MINUTE:
            if repr(raw) not in seen:
                seen.add(repr(raw))
                rejected.append(RejectedItem("published after the range that was asked for", raw))
            continue
        latest = max(latest or item.published_at, item.published_at)
        if start <= item.published_at < end and item.url not in seen:
            seen.add(item.url)
            items.append(item)
    return items, rejected, latest


def _full_minute(minute: datetime, page_limit: int) -> RejectedItem:
    reason = (
        f"{page_limit} articles in the minute {minute:%Y-%m-%d %H:%M} UTC: the vendor gives no way "
        "to read more of it"
    )
    return RejectedItem(reason, None)


def _message(body: Any) -> str:
    if isinstance(body, Mapping):
        return " ".join(str(value) for value in body.values())
    return str(body)
