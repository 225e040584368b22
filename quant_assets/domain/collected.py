"""Collected news items → rows of ``news/articles``. What belongs here: pure functions.

Which hour an article belongs to, when it counts as known, and what is refused. Dates are not
guessed. One repair is made: an undated article whose address names the day of the crawled hour
counts as published at the end of that hour (``is_date_estimated``), the latest moment possible. It
counts as known when it was first seen, as every live article does, so that nothing is known early;
its age is wrong by less than a day.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd

from quant_assets.domain.article_identity import article_id, canonical_url
from quant_assets.domain.news_timing import LIVE_FOR
from quant_assets.errors import BadDataError

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
CLOCK_TOLERANCE = timedelta(minutes=10)
"""How far in the future a publication time may lie before it is refused."""
LATE_FOR = timedelta(hours=24)
"""An article shown this late is still taken, as known from when it was seen; older ones are not,
because a feed may show the same article for days."""
PROVIDER_LAG = {
    "alpha_vantage": timedelta(minutes=15),
    "rss": timedelta(minutes=5),
    "kafka": timedelta(minutes=1),
}
"""Usual time from publication to the provider's answer, for history fetched afterwards."""
_ADDRESS_DAY = re.compile(r"/(20\d\d)[/-]?(0[1-9]|1[0-2])[/-]?([0-2]\d|3[01])(?=[/-]|$)")
_RESOLUTION = timedelta(microseconds=1)
COLUMNS = [
    "hour",
    "article_id",
    "url",
    "title",
    "summary",
    "source",
    "provider",
    "published_at",
    "first_seen_at",
    "available_at",
    "is_backfilled",
    "is_date_estimated",
    "tickers",
    "provider_sentiment",
    "text",
]


@dataclass(frozen=True)
class CollectedItem:
    """One article as a provider gave it; ``published_at`` is None where it had no usable date.

    ``sentiment`` holds (ticker, relevance, score) of the provider, the figures None if absent.
    ``raw_date`` is the date as it was written. ``fault`` is set by a vendor's parser for what it
    could not read; such an item is refused whatever else it holds. ``raw`` is what came.
    """

    provider: str
    url: str
    title: str
    summary: str
    source: str
    published_at: datetime | None
    sentiment: tuple[tuple[str, float | None, float | None], ...] = ()
    raw_date: str = ""
    fault: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Refused:
    """An item that is not stored: which rule it breaks, and why.

    ``hour`` is the partition that it would belong to. ``row`` is the row that a person may let in
    (an undated one counts as published when first seen), None if no row can be made of it.
    """

    name: str
    item: CollectedItem
    hour: datetime
    rule: str
    reason: str
    row: Mapping[str, Any] | None


def collect_articles(
    items: Iterable[CollectedItem],
    hours: Sequence[datetime],
    *,
    now: datetime,
    stored: pd.DataFrame,
    known_elsewhere: frozenset[str],
) -> tuple[pd.DataFrame, list[Refused]]:
    """Rows for the partitions ``hours`` (UTC, ascending, without gaps) and the refused items.

    An article belongs to the hour of its publication. One published earlier that was not stored
    then (``known_elsewhere`` holds the ids of the hours around) belongs to the last of ``hours``,
    if that is live: the feeds show some articles late. What is already stored in these
    partitions (``stored``) stays as it is, so that running twice changes nothing. ``is_backfilled``
    marks what was fetched as history: it counts as known after the provider's usual lag.

    An item is refused only if no other item, stored or collected, gives the same article well; a
    dated item comes before an undated one of the same article.
    """
    stored_ids = set(stored["article_id"]) | known_elsewhere
    seen = set(stored_ids)
    doubtful: list[tuple[CollectedItem, str, str]] = []
    accepted: set[str] = set()
    rows = []
    for given in sorted(items, key=lambda item: item.published_at is None):
        item = dated_by_address(given, hours[-1], now)
        broken = broken_rule(item, now)
        if broken is not None or item.published_at is None:
            doubtful.append((item, *(broken or ("undated", "no date"))))
            continue
        identity = article_id(item.url)
        accepted.add(identity)
        if identity in seen:
            continue
        placed = _placed(item.published_at, hours, now)
        if placed is not None:
            seen.add(identity)
            rows.append(article_row(item, identity, *placed, now, given.published_at is None))
    refused = refusals(doubtful, hours, now, stored_ids | accepted)
    if not rows:
        return stored, refused
    fresh = pd.DataFrame(rows, columns=COLUMNS).astype(stored.dtypes.to_dict())
    return pd.concat([stored, fresh], ignore_index=True) if len(stored) else fresh, refused


def _placed(
    published_at: datetime, hours: Sequence[datetime], now: datetime
) -> tuple[datetime, bool] | None:
    """Hour of an article and whether it is history; ``None`` if it is not for ``hours``."""
    start, end = hours[0], hours[-1] + timedelta(hours=1)
    hour = published_at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if hour >= end:
        return None
    if hour >= start:
        return hour, now - (hour + timedelta(hours=1)) > LIVE_FOR
    late_by = LATE_FOR if now - end <= LATE_FOR else timedelta(0)
    return (hours[-1], False) if start - hour <= late_by else None


def dated_by_address(item: CollectedItem, hour: datetime, now: datetime) -> CollectedItem:
    """``item`` with the latest possible date if it has none and its address names today."""
    if item.published_at is not None or item.fault or not item.title.strip():
        return item
    end = hour + timedelta(hours=1)
    if now - end > LIVE_FOR or address_day(item.url) != hour.date():
        return item
    return replace(item, published_at=min(now, end - _RESOLUTION))


def address_day(url: str) -> date | None:
    """The day that an address names (``/2024/06/28/``), ``None`` without one."""
    found = _ADDRESS_DAY.search(url)
    try:
        return date(int(found[1]), int(found[2]), int(found[3])) if found else None
    except ValueError:
        return None


def broken_rule(item: CollectedItem, now: datetime) -> tuple[str, str] | None:
    """The rule that an item breaks and how; ``None`` for a good one."""
    if item.fault and not item.url and not item.title:
        return "unreadable", item.fault
    try:
        canonical_url(item.url)
    except BadDataError:
        return "no_address", f"no web address: {item.url!r}"
    if not item.title.strip():
        return "no_title", "no title"
    if item.fault:
        return "unreadable", item.fault
    if item.published_at is None:
        return "undated", f"no usable publication date: {item.raw_date!r}"
    if item.published_at > now + CLOCK_TOLERANCE:
        return "future", f"published in the future: {item.published_at:%Y-%m-%d %H:%M}"
    if item.published_at < EARLIEST:
        return "too_old", f"published before 1990: {item.published_at:%Y-%m-%d}"
    return None


def refusals(
    doubtful: Iterable[tuple[CollectedItem, str, str]],
    hours: Sequence[datetime],
    now: datetime,
    known: set[str],
) -> list[Refused]:
    """What to hold of the doubtful items: each once, none that is known well otherwise."""
    refused: dict[str, Refused] = {}
    for item, rule, reason in doubtful:
        has_address = rule != "no_address" and bool(item.url)
        if has_address and article_id(item.url) in known:
            continue
        name = canonical_url(item.url) if has_address else item.title.strip() or reason
        hour, row = hours[-1], None
        if has_address and rule != "no_title":
            hour, values = _releasable(item, rule, hours, now)
            row = dict(zip(COLUMNS, values, strict=True))
        refused.setdefault(name, Refused(name, item, hour, rule, reason, row))
    return list(refused.values())


def _releasable(
    item: CollectedItem, rule: str, hours: Sequence[datetime], now: datetime
) -> tuple[datetime, tuple[object, ...]]:
    """Hour and row of a refused item, should a person let it in: without doubtful figures.

    A date that is wrong or absent is replaced by the time at which the item was first seen.
    """
    published = item.published_at
    is_usable = rule == "unreadable" and published is not None and EARLIEST <= published <= now
    moment = published if is_usable and published is not None else now
    hour = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    hour = hour if hours[0] <= hour <= hours[-1] else hours[-1]
    is_backfilled = is_usable and now - (hour + timedelta(hours=1)) > LIVE_FOR
    dated = replace(item, published_at=moment, sentiment=())
    return hour, article_row(dated, article_id(item.url), hour, is_backfilled, now, not is_usable)


def article_row(
    item: CollectedItem,
    identity: str,
    hour: datetime,
    is_backfilled: bool,
    now: datetime,
    is_date_estimated: bool,
) -> tuple[object, ...]:
    """The row of ``news/articles`` for an item."""
    assert item.published_at is not None
    published = item.published_at.astimezone(UTC)
    available = published + PROVIDER_LAG[item.provider] if is_backfilled else max(published, now)
    sentiment = [{"symbol": t, "relevance": r, "score": s} for t, r, s in item.sentiment]
    return (
        hour,
        identity,
        canonical_url(item.url),
        item.title.strip(),
        item.summary.strip(),
        item.source,
        item.provider,
        published,
        now,
        available,
        is_backfilled,
        is_date_estimated,
        json.dumps([entry["symbol"] for entry in sentiment]),
        json.dumps(sentiment),
        "",
    )
