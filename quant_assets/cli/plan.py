"""Which partitions a range of sessions needs and lacks. What belongs here: planning only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from quant_assets.domain.indicator_names import LOOK_BACK_SESSIONS
from quant_assets.errors import BadConfigurationError
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.io_managers.quarantine import Quarantine
from quant_assets.markets import FIRST_SESSION, Listing, Market
from quant_assets.naming import market_job
from quant_assets.partitions import HOUR_FORMAT, REGIME_LOOK_BACK_DAYS, key_ranges

if TYPE_CHECKING:
    import dagster as dg

HOURS_A_RUN = 1500
"""News hours of one run: several runs use both cores and show progress."""
CORRECTED_WITHIN_DAYS = 7
"""Vendors correct a bad bar within days or not at all."""
ANALYSIS = ("technical_indicators", "technical_score", "news_sentiment", "recommendations")


@dataclass(frozen=True)
class Task:
    """One run: a job, the assets of it, and the range of partitions (both ends included)."""

    job: str
    assets: tuple[str, ...]
    first: str
    last: str
    partitions: int

    @property
    def title(self) -> str:
        """For people: job and range."""
        span = self.first if self.first == self.last else f"{self.first} .. {self.last}"
        return f"{self.job} {span}"


@dataclass(frozen=True)
class Span:
    """Sessions of one market that are asked for.

    ``listed_since`` is the first day on which a symbol of the universe was listed, if all of them
    say when: before it there is nothing to fetch.
    """

    market: Market
    sessions: tuple[date, ...]
    listed_since: date | None = None


class Planner:
    """Finds what is missing: not stored, or stored without Dagster's knowledge of it."""

    def __init__(
        self,
        store: ParquetStore,
        instance: dg.DagsterInstance,
        now: datetime,
        versions: Mapping[str, str] | None = None,
    ) -> None:
        self._store = store
        self._instance = instance
        self._now = now
        self._versions = versions or {}

    def fetching(self, spans: Sequence[Span], news_start: date) -> list[Task]:
        """Runs that ask vendors: news (the longest) first, then prices and macro releases."""
        tasks = self._news(spans, news_start)
        for span in spans:
            sessions = with_history(span)
            asset = f"{span.market.key}/prices"
            keys = [session.isoformat() for session in sessions]
            again = self._gaps(asset, keys, "no_answer") | self._held_lately(asset, keys)
            tasks += self._tasks(market_job(span.market.key, "price"), (asset,), keys, again)
        first, last = self._release_days(spans)
        history = _days(first - timedelta(days=REGIME_LOOK_BACK_DAYS), last)
        again = self._gaps("macro/observations", history, "series_failed")
        again |= self._unfinished_days(history)
        return tasks + self._tasks("macro_sync", ("macro/observations",), history, again=again)

    def _held_lately(self, asset: str, keys: Sequence[str]) -> set[str]:
        """Recent ones of ``keys`` with held rows: the vendor may have corrected them since.

        Each with the session after it, which bears the split or dividend of a held row.
        """
        since = (self._now - timedelta(days=CORRECTED_WITHIN_DAYS)).date().isoformat()
        quarantine = Quarantine(self._store, asset)
        recent = sorted({k for k in keys if k >= since} & set(quarantine.partitions()))
        held = set(quarantine.held(recent)["partition_key"])
        return held | {after for key, after in pairwise(keys) if key in held}

    def _gaps(self, asset: str, keys: Sequence[str], rule: str, item: str = "") -> set[str]:
        """Those of ``keys`` for which the quarantine notes that a source has to be asked again."""
        quarantine = Quarantine(self._store, asset)
        frame = quarantine.held(sorted(set(quarantine.partitions()) & set(keys)))
        is_gap = (frame["rule"] == rule) & frame["item"].str.startswith(item)
        gaps = [json.loads(raw) for raw in frame.loc[is_gap, "raw"]]
        open_gaps = [gap for gap in gaps if gap.get("ask_again", True)]
        return {k for k in keys if any(gap["first"] <= k <= gap["last"] for gap in open_gaps)}

    def analysis(self, spans: Sequence[Span]) -> list[Task]:
        """Runs that compute: the analysis of each market, and the regime."""
        days = _days(*self._release_days(spans))
        again = self._older_regimes(days)
        tasks = self._tasks("macro_sync", ("macro/regime",), days, again=again)
        for span in spans:
            key = span.market.key
            keys = [session.isoformat() for session in span.sessions]
            tasks += self._tasks(
                market_job(key, "combined_analysis"),
                tuple(f"{key}/{name}" for name in ANALYSIS),
                keys,
                again=self._outdated(span),
            )
        return tasks

    def _older_regimes(self, days: Sequence[str]) -> set[str]:
        """Days whose regime is older than an observation file that it rests on."""
        if not days:
            return set()
        first = date.fromisoformat(days[0]) - timedelta(days=REGIME_LOOK_BACK_DAYS)
        history = _days(first, date.fromisoformat(days[-1]))
        written = [self._written("macro/observations", key) for key in history]
        return {
            key
            for n, key in enumerate(days)
            if self._written("macro/regime", key) < max(written[n : n + REGIME_LOOK_BACK_DAYS + 1])
        }

    def _unfinished_days(self, days: Sequence[str]) -> set[str]:
        """Release days that were stored before they were over: what came later is not in them."""
        found = set()
        for key in days:
            end = datetime.fromisoformat(key).replace(tzinfo=UTC) + timedelta(days=1, hours=6)
            if 0 < self._written("macro/observations", key) < end.timestamp():
                found.add(key)
        return found

    def _news(self, spans: Sequence[Span], news_start: date) -> list[Task]:
        earliest = datetime.combine(news_start, datetime.min.time(), UTC)
        opens = [
            s.market.hours_of(s.market.offset_session(s.sessions[0], -1))[0].replace(minute=0)
            for s in spans
            if s.sessions[0] > news_start
        ]
        first = earliest if len(opens) < len(spans) else max(earliest, min(opens))
        last = max(s.market.decision_at(s.sessions[-1]) for s in spans)
        end = min(last + timedelta(minutes=59), self._now).replace(
            minute=0, second=0, microsecond=0
        )
        count = int((end - first) / timedelta(hours=1))
        keys = [(first + timedelta(hours=n)).strftime(HOUR_FORMAT) for n in range(count)]
        chunks = [keys[n : n + HOURS_A_RUN] for n in range(0, len(keys), HOURS_A_RUN)]
        return [task for chunk in chunks for task in self._news_tasks(chunk)]

    def _news_tasks(self, keys: Sequence[str]) -> list[Task]:
        """Crawls of what is missing, and new scores for articles scored in another way."""
        tone = "news/article_sentiment"
        gaps = self._gaps("news/articles", keys, "source_failed", "alpha_vantage general")
        crawls = self._tasks("news_crawl", ("news/articles", tone), keys, gaps)
        crawled = {key for task in crawls for key in keys if task.first <= key <= task.last}
        others = [key for key in keys if key not in crawled]
        version = self._versions.get(tone)
        outdated = {k for k in others if version and self._version(tone, k) != version}
        outdated |= {
            k for k in others if self._written(tone, k) < self._written("news/articles", k)
        }
        scored = [
            Task("news_crawl", (tone,), r[0], r[-1], len(r)) for r in key_ranges(others, outdated)
        ]
        return crawls + scored + self._streamed_tasks(keys)

    def _streamed_tasks(self, keys: Sequence[str]) -> list[Task]:
        """New scores for streamed articles that are not scored, or in another way.

        The articles themselves come from Kafka, whenever they are sent.
        """
        articles, tone = "news/streamed_articles", "news/streamed_sentiment"
        version = self._versions.get(tone)
        outdated = set()
        for key in keys:
            scored = self._written(tone, key)
            is_older = scored < self._written(articles, key)
            if is_older or (scored and version and self._version(tone, key) != version):
                outdated.add(key)
        return [
            Task("news_stream", (tone,), part[0], part[-1], len(part))
            for part in key_ranges(keys, outdated)
        ]

    def _release_days(self, spans: Sequence[Span]) -> tuple[date, date]:
        """First and last complete release day of the spans; a day ends at 06:00 UTC of the next."""
        first = min(span.sessions[0] for span in spans)
        complete = (self._now - timedelta(hours=6)).date() - timedelta(days=1)
        return first, min(max(span.sessions[-1] for span in spans), complete)

    def _outdated(self, span: Span) -> set[str]:
        """Sessions whose results are older than the prices or news that they rest on.

        So history that was filled in later, and news that came after a stored sentiment whose
        decision was still open, enter the results.
        """
        key = span.market.key
        history = [self._written(f"{key}/prices", s.isoformat()) for s in with_history(span)]
        offset = len(history) - len(span.sessions)
        outdated = set()
        for n, session in enumerate(span.sessions):
            name = session.isoformat()
            made = min(self._written(f"{key}/{asset}", name) for asset in ANALYSIS)
            last = offset + n
            newest = max(history[max(0, last - LOOK_BACK_SESSIONS + 1) : last + 1])
            if made < max(newest, self._newest_news(span.market, session)):
                outdated.add(name)
        return outdated

    def _newest_news(self, market: Market, session: date) -> float:
        """When the latest hour of the session's decision window was stored, or streamed to."""
        start = market.hours_of(market.offset_session(session, -1))[0].replace(minute=0)
        hours = int((market.decision_at(session) - start) / timedelta(hours=1)) + 1
        keys = [(start + timedelta(hours=n)).strftime(HOUR_FORMAT) for n in range(hours)]
        assets = ("news/article_sentiment", "news/streamed_sentiment")
        return max(self._written(asset, key) for asset in assets for key in keys)

    def _written(self, asset: str, key: str) -> float:
        """When a partition was stored, seconds since 1970; 0 if it is not."""
        try:
            return self._store.path(asset, key).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def _of_another_version(self, asset: str, keys: Sequence[str]) -> set[str]:
        """Stored sessions that were made under another configuration."""
        version = self._versions.get(asset)
        if version is None or asset.startswith("news/"):
            return set()
        return {k for k in keys if self._version(asset, k) != version}

    def _version(self, asset: str, key: str) -> str:
        return self._store.info(asset, key).code_version

    def _tasks(
        self,
        job: str,
        assets: tuple[str, ...],
        keys: Sequence[str],
        again: frozenset[str] | set[str] = frozenset(),
    ) -> list[Task]:
        lacking = set(again)
        for asset in assets:
            known = self._materialized(asset)
            missing = set(self._store.missing(asset, keys))
            lacking |= missing | {k for k in keys if k not in known}
            lacking |= self._of_another_version(asset, [k for k in keys if k not in missing])
        parts = key_ranges(keys, lacking)
        return [Task(job, assets, part[0], part[-1], len(part)) for part in parts]

    def _materialized(self, asset: str) -> set[str]:
        import dagster as dg

        return set(self._instance.get_materialized_partitions(dg.AssetKey(asset.split("/"))))


def with_history(span: Span) -> list[date]:
    """The span's sessions and the look-back that its first one needs, as far as there is one."""
    first = span.sessions[0]
    reach = first - timedelta(days=int(LOOK_BACK_SESSIONS * 1.5))
    earliest = max(FIRST_SESSION, reach, span.listed_since or FIRST_SESSION)
    before = span.market.sessions(earliest, first - timedelta(days=1))
    return [*before[-(LOOK_BACK_SESSIONS - 1) :], *span.sessions]


def span_of(
    market: Market,
    first: date | None,
    last: date | None,
    now: datetime,
    listings: Sequence[Listing] = (),
    default_days: int = 365,
) -> Span:
    """Sessions of ``market`` from ``first`` to ``last``; by default the year up to the last one.

    Sessions that are not complete are left out, and those outside the time in which any of
    ``listings`` was listed, if all of them say when. Raises ``BadConfigurationError`` if none is
    left.
    """
    since, until = _listed_between(listings)
    newest = min(market.last_complete_session(now), until or date.max)
    end = last or newest
    start = first or end - timedelta(days=default_days - 1)
    if start < FIRST_SESSION:
        raise BadConfigurationError(f"the first session of the platform is {FIRST_SESSION}")
    sessions = tuple(s for s in market.sessions(max(start, since or start), end) if s <= newest)
    if not sessions:
        raise BadConfigurationError(
            f"{market.key}: no complete session from {start} to {end}; the last one is {newest}"
            + (f", the universe is listed from {since}" if since else "")
        )
    return Span(market, sessions, since)


def _listed_between(listings: Sequence[Listing]) -> tuple[date | None, date | None]:
    """First and last day on which any symbol is listed; None where one of them does not say."""
    first = [listing.listed_on for listing in listings]
    last = [listing.delisted_on for listing in listings]
    return (
        min((d for d in first if d), default=None) if None not in first else None,
        max((d for d in last if d), default=None) if None not in last else None,
    )


def _days(first: date, last: date) -> list[str]:
    return [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]
