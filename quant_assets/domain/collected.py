"""Collected news items → rows of ``news/articles``. What belongs here: pure functions.

Which hour an article belongs to, when it counts as known, and what is refused.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pandas as pd

from quant_assets.domain.articles import article_id, canonical_url

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
CLOCK_TOLERANCE = timedelta(minutes=10)
"""How far in the future a publication time may lie before it is refused."""
LIVE_FOR = timedelta(hours=2)
"""An hour fetched later than this after its end is history: ``is_backfilled``."""
LATE_FOR = timedelta(hours=24)
"""An article shown this late is still taken, as known from when it was seen; older ones are not,
because a feed may show the same article for days."""
PROVIDER_LAG = {
    "alpha_vantage": timedelta(minutes=15),
    "rss": timedelta(minutes=5),
    "kafka": timedelta(minutes=1),
}
"""Usual time from publication to the provider's answer, for history fetched afterwards."""
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
    "tickers",
    "provider_sentiment",
]


@dataclass(frozen=True)
class CollectedItem:
    """One article as a provider gave it; ``published_at`` is None where it had no usable date.

    ``sentiment`` holds (ticker, relevance, score) of the provider, the figures None if absent.
    """

    provider: str
    url: str
    title: str
    summary: str
    source: str
    published_at: datetime | None
    sentiment: tuple[tuple[str, float | None, float | None], ...] = ()


@dataclass(frozen=True)
class Refused:
    """An item that cannot be stored, and why."""

    url: str
    title: str
    reason: str


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
    partitions (``stored``) stays as it is, so that running twice changes nothing.

    ``available_at`` is the later of publication and first sight; for history it is the
    publication plus the provider's usual lag, and ``is_backfilled`` says so.
    """
    start, end = hours[0], hours[-1] + timedelta(hours=1)
    late_by = LATE_FOR if now - end <= LATE_FOR else timedelta(0)
    seen = set(stored["article_id"]) | known_elsewhere
    refused: list[Refused] = []
    rows = []
    for item in items:
        reason = _refusal(item, now)
        if reason or item.published_at is None:
            refused.append(Refused(item.url, item.title, reason))
            continue
        identity = article_id(item.url)
        hour = item.published_at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        is_late = hour < start
        if identity in seen or hour >= end or (is_late and start - hour > late_by):
            continue
        seen.add(identity)
        hour = hours[-1] if is_late else hour
        is_backfilled = not is_late and now - (hour + timedelta(hours=1)) > LIVE_FOR
        rows.append(_row(item, identity, hour, now, is_backfilled))
    if not rows:
        return stored, refused
    fresh = pd.DataFrame(rows, columns=COLUMNS).astype(stored.dtypes.to_dict())
    return pd.concat([stored, fresh], ignore_index=True) if len(stored) else fresh, refused


def _refusal(item: CollectedItem, now: datetime) -> str:
    if item.published_at is None:
        return "no usable publication date"
    if item.published_at > now + CLOCK_TOLERANCE:
        return f"published in the future: {item.published_at:%Y-%m-%d %H:%M}"
    if item.published_at < EARLIEST:
        return f"published before 1990: {item.published_at:%Y-%m-%d}"
    if not item.title.strip():
        return "no title"
    if not item.url.startswith(("http://", "https://")):
        return "no web address"
    return ""


def _row(
    item: CollectedItem, identity: str, hour: datetime, now: datetime, is_backfilled: bool
) -> tuple[object, ...]:
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
        json.dumps([entry["symbol"] for entry in sentiment]),
        json.dumps(sentiment),
    )
