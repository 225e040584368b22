"""Articles of the stream → rows of ``news/streamed_articles``. What belongs here: pure functions.

An article belongs to the hour of its message. It counts as known from when the platform read it, or
from its message's time if that is later: the clock of whoever sends has no say in what was known.
Both are in the run's config, so that reading the same messages again gives the same rows. What is
refused and which dates are repaired is as with the crawled articles (``domain.collected``), where
the message's time stands for the time of the crawl.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import pandas as pd

from quant_assets.domain.article_identity import article_id
from quant_assets.domain.collected import (
    COLUMNS,
    CollectedItem,
    Refused,
    article_row,
    broken_rule,
    dated_by_address,
    refusals,
)

PROVIDER = "kafka"


@dataclass(frozen=True)
class StreamedArticle:
    """One message of the stream: what the crawler sent, when, and where the message stands.

    ``received_at`` is when the platform read it.
    """

    url: str
    title: str
    summary: str
    source: str
    published_at: datetime | None
    tickers: tuple[str, ...]
    sent_at: datetime
    received_at: datetime
    origin: str

    @property
    def known_at(self) -> datetime:
        """From when the article may enter a decision."""
        return max(self.sent_at, self.received_at)

    @property
    def hour(self) -> datetime:
        """The partition that the article belongs to: the hour in which its message was sent."""
        return self.sent_at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)

    def item(self) -> CollectedItem:
        """The article as the rules of the crawled ones see it."""
        published = None if self.published_at is None else self.published_at.isoformat()
        return CollectedItem(
            PROVIDER,
            self.url,
            self.title,
            self.summary,
            self.source,
            self.published_at,
            tuple((ticker, None, None) for ticker in self.tickers),
            raw={
                "url": self.url,
                "title": self.title,
                "summary": self.summary,
                "source": self.source,
                "publishedAt": published,
                "tickers": list(self.tickers),
                "message": self.origin,
            },
        )


class Streamed(NamedTuple):
    """What messages come to.

    ``rows`` are those of the run's hours, stored ones and new ones, ``refused`` the messages that
    make none, and ``repeated`` counts articles that were known before.
    """

    rows: pd.DataFrame
    refused: list[Refused]
    repeated: int


def stream_articles(
    articles: Iterable[StreamedArticle],
    *,
    stored: pd.DataFrame,
    known: Mapping[str, datetime],
) -> Streamed:
    """Rows of the messages, of which the first one of an article counts.

    ``stored`` are the rows of the same hours so far: they stay as they are, so that running twice
    changes nothing. ``known`` says since when articles are known from elsewhere, by id (other
    hours, the crawl): one that was known before its message came is not news any more. An item is
    refused only if no other message, and nothing known, gives the same article well.
    """
    seen = set(stored["article_id"])
    doubtful: list[tuple[StreamedArticle, CollectedItem, str, str]] = []
    accepted: set[str] = set()
    rows = []
    repeated = 0
    for article in sorted(articles, key=lambda one: one.sent_at):
        given = article.item()
        item = dated_by_address(given, article.hour, article.sent_at)
        if (broken := broken_rule(item, article.sent_at)) is not None:
            doubtful.append((article, item, *broken))
            continue
        identity = article_id(item.url)
        accepted.add(identity)
        if identity in seen or (identity in known and known[identity] <= article.known_at):
            repeated += 1
            continue
        seen.add(identity)
        hour, known_at, undated = article.hour, article.known_at, given.published_at is None
        rows.append(article_row(item, identity, hour, False, known_at, undated))
    refused = _held_once(doubtful, seen | accepted | set(known))
    if not rows:
        return Streamed(stored, refused, repeated)
    fresh = pd.DataFrame(rows, columns=COLUMNS).astype(stored.dtypes.to_dict())
    frame = pd.concat([stored, fresh], ignore_index=True) if len(stored) else fresh
    return Streamed(frame, refused, repeated)


def _held_once(
    doubtful: Iterable[tuple[StreamedArticle, CollectedItem, str, str]], known: set[str]
) -> list[Refused]:
    """The refusals, of several messages with one address the first."""
    refused: dict[str, Refused] = {}
    for article, item, rule, reason in doubtful:
        for one in refusals([(item, rule, reason)], [article.hour], article.sent_at, known):
            refused.setdefault(one.name, one)
    return list(refused.values())
