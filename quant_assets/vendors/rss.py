"""RSS and Atom feeds: the items that a publisher shows now.

What belongs here: conditional requests, parsing, dates, plain text. What does not: recognising
tickers, hashing addresses, and judging an item's date (``domain``). A feed knows only the present.
"""

import calendar
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from typing import Any
from xml.sax import SAXException

import feedparser
import requests

from quant_assets.errors import BadDataError, TransientError
from quant_assets.vendors.archive import Answer, NoTape, Tape, kept_headers, request_key
from quant_assets.vendors.feed_cache import CachedFeed, FeedCache
from quant_assets.vendors.http import HttpCaller, Pacer, build_session
from quant_assets.vendors.redaction import redact_query

_USER_AGENT = "quant-assets (requests; feedparser)"
_ZONE_HOURS = {"KST": 9, "JST": 9, "HKT": 8, "CET": 1, "CEST": 2, "BST": 1}
"""Zone names met in feeds that RFC 822 does not define."""
_ZONES_READ_BY_EMAIL = frozenset(
    {"UT", "UTC", "GMT", "Z", "EST", "EDT", "CST", "CDT", "MST", "MDT", "PST", "PDT"}
)
_ZONE_NAME = re.compile(r"(?<=[\d\s])([A-Z]{1,5})\s*$")
_OFFSET = re.compile(r"[+-]\d{2}:?\d{2}\s*(?:\([^)]*\)\s*)?$")
_SLASHED_DATE = re.compile(r"\d{1,2}[/.]\d{1,2}[/.]\d{2,4}\b")


@dataclass(frozen=True)
class FeedItem:
    """One entry. ``published_at`` is UTC, ``None`` when ``raw_date`` is absent or unreadable."""

    url: str
    title: str
    summary: str
    source: str
    published_at: datetime | None
    raw_date: str


@dataclass(frozen=True)
class RejectedEntry:
    """An entry that cannot be an article, as it came."""

    reason: str
    raw: dict[str, str]


@dataclass(frozen=True)
class FeedResult:
    """What a feed shows now.

    ``is_well_formed`` is False for XML that a strict parser refuses; its entries were salvaged.
    ``is_unchanged`` says that the publisher sent no body and the cached one was read;
    ``changed_at`` is when the feed first showed what it shows, as far as a cache knows.
    """

    items: tuple[FeedItem, ...]
    rejected: tuple[RejectedEntry, ...]
    is_well_formed: bool = True
    is_unchanged: bool = False
    changed_at: datetime | None = None


class RssClient:
    """Fetches feeds by its own session, so that each has a timeout, retries and typed errors.

    With a ``cache`` requests are conditional, and what is unchanged is read from it. ``tape`` is
    told the body that was read, under the address that was asked: an unchanged feed's answer has
    none, and a moved feed's lies elsewhere. A closed tape (a rebuild) has the last word: no cache.
    """

    def __init__(
        self,
        session: requests.Session | None = None,
        *,
        pacer: Pacer | None = None,
        cache: FeedCache | None = None,
        tape: Tape | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Prepare the client; no request is made."""
        self._tape = tape or NoTape()
        self._cache = None if self._tape.is_closed else cache
        self._now = now
        self._caller = HttpCaller(
            "RSS",
            session
            or build_session(
                retries=2, backoff_seconds=1.0, timeout_seconds=10.0, user_agent=_USER_AGENT
            ),
            pacer=pacer,
        )

    def fetch(self, url: str) -> FeedResult:
        """Return what the feed shows now, from the cache where the publisher says so.

        Only a body that could be read is cached. Raises ``TransientError`` (also for an HTML
        page), ``PermanentError`` (moved, refused), and ``BadDataError`` for a body that is no feed
        or a feed without entries: a dead feed is a failure, not an empty success.
        """
        known = None if self._cache is None else self._cache.get(url)
        response = self._get(url, known)
        is_unchanged = response.status_code == 304
        if is_unchanged and known is None:
            raise TransientError(
                f"RSS {redact_query(url)}: the publisher says that nothing has changed since a "
                "request that was never made (HTTP 304); try again later"
            )
        body = known.body if is_unchanged and known is not None else response.content
        items, rejected, is_well_formed = parse_feed(body, url)
        self._tape.note(request_key(url), Answer(200, kept_headers(response.headers), body))
        if self._cache is not None and not is_unchanged:
            headers = response.headers
            known = self._cache.put(
                url, body, headers.get("ETag"), headers.get("Last-Modified"), self._now()
            )
        changed_at = None if known is None else known.changed_at
        return FeedResult(items, rejected, is_well_formed, is_unchanged, changed_at)

    def _get(self, url: str, known: CachedFeed | None) -> requests.Response:
        headers = {"Accept": "application/rss+xml, application/atom+xml, application/xml, */*"}
        if known is not None and known.etag:
            headers["If-None-Match"] = known.etag
        if known is not None and known.modified:
            headers["If-Modified-Since"] = known.modified
        return self._caller.get(
            url, endpoint=redact_query(url), headers=headers, expects="xml", understood=(304,)
        )


def parse_feed(
    content: bytes, url: str
) -> tuple[tuple[FeedItem, ...], tuple[RejectedEntry, ...], bool]:
    """Parse a feed's bytes into items (one an address), rejected entries and well-formedness.

    ``url`` is where the bytes came from: relative links are resolved against it. Raises
    ``BadDataError`` for a body that is no feed and for a feed without entries.
    """
    feed = feedparser.parse(content, response_headers={"content-location": url})
    shown = redact_query(url)
    if not feed.entries:
        fault = "a feed without entries" if feed.get("version") else "not an RSS or Atom feed"
        raise BadDataError(
            f"RSS {shown}: {fault} ({len(content)} bytes); open the address, and replace it in "
            "QUANT_RSS_FEEDS if the publisher gave it up"
        )
    items: dict[str, FeedItem] = {}
    rejected: list[RejectedEntry] = []
    feed_title = plain_text(feed.feed.get("title", ""))
    for entry in feed.entries:
        reason = _fault(entry)
        if reason is None:
            item = _item(entry, feed_title)
            items.setdefault(item.url, item)
        else:
            rejected.append(RejectedEntry(reason, _raw(entry)))
    return tuple(items.values()), tuple(rejected), not _is_malformed(feed)


def plain_text(html: str) -> str:
    """Return the text of an HTML fragment, entities resolved, white space collapsed."""
    extractor = _TextExtractor()
    extractor.feed(html)
    extractor.close()
    return " ".join("".join(extractor.parts).split())


def parse_date(text: str, parsed: Any = None) -> datetime | None:
    """Return a feed date in UTC, ``None`` for one that names no known moment.

    RFC 822 dates are read by the standard library and by zone name; for anything else ``parsed``,
    feedparser's UTC ``struct_time``, is taken. Nothing is guessed: a date without a zone or with
    an unknown one could be half a day off, and in 03/04/2024 the day may be the month.
    """
    text = text.strip()
    if _SLASHED_DATE.match(text):
        return None
    zone = _ZONE_NAME.search(text)
    if zone is not None and zone[1] not in _ZONES_READ_BY_EMAIL:
        return _in_named_zone(text[: zone.start()], zone[1])
    if zone is None and not _OFFSET.search(text):
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None if parsed is None else datetime.fromtimestamp(calendar.timegm(parsed), UTC)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _in_named_zone(local_text: str, zone: str) -> datetime | None:
    if zone not in _ZONE_HOURS:
        return None
    try:
        local = parsedate_to_datetime(local_text + "+0000")
    except (TypeError, ValueError):
        return None
    return local.astimezone(UTC) - timedelta(hours=_ZONE_HOURS[zone])


def _item(entry: Any, feed_title: str) -> FeedItem:
    stated = "published" if "published" in entry else "updated"
    raw_date = entry.get(stated, "")
    source = plain_text((entry.get("source") or {}).get("title", ""))
    return FeedItem(
        url=entry.link.strip(),
        title=plain_text(entry.title),
        summary=plain_text(entry.get("summary", "")),
        source=source or feed_title,
        published_at=parse_date(raw_date, entry.get(f"{stated}_parsed")),
        raw_date=raw_date,
    )


def _fault(entry: Any) -> str | None:
    if not entry.get("link", "").strip().startswith(("http://", "https://")):
        return "no web address"
    if not plain_text(entry.get("title", "")):
        return "no title"
    return None


def _raw(entry: Any) -> dict[str, str]:
    return {key: value for key, value in entry.items() if isinstance(value, str)}


def _is_malformed(feed: Any) -> bool:
    return isinstance(feed.get("bozo_exception"), SAXException)


class _TextExtractor(HTMLParser):
    """Collects character data; tags become spaces, scripts and styles vanish."""

    _HIDDEN = frozenset({"script", "style"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden_depth = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag in self._HIDDEN:
            self._hidden_depth += 1
        self.parts.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._HIDDEN and self._hidden_depth:
            self._hidden_depth -= 1
        self.parts.append(" ")

    def handle_data(self, data: str) -> None:
        if not self._hidden_depth:
            self.parts.append(data)
