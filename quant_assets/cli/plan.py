"""What a range of sessions needs and lacks, and why. What belongs here: planning only."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from quant_assets.cli.inputs import decision_hours, first_hour_of_news, inputs_of
from quant_assets.cli.spans import Span, with_history
from quant_assets.cli.tasks import Cause, Causes, Reason, Task, Write, written_by
from quant_assets.domain.indicator_names import LOOK_BACK_SESSIONS
from quant_assets.domain.macro_series import FIRST_RELEASE_DAY
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.io_managers.quarantine import Quarantine
from quant_assets.markets import Market
from quant_assets.naming import FORECAST, TRADING, market_job
from quant_assets.partitions import REGIME_LOOK_BACK_DAYS, key_ranges
from quant_assets.schemas.keys import HOUR_FORMAT

if TYPE_CHECKING:
    import dagster as dg

HOURS_A_RUN = 1500
"""News hours of one run: several runs use both cores and show progress."""
CORRECTED_WITHIN_DAYS = 7
"""Vendors correct a bad bar within days or not at all."""
ANALYSIS = ("technical_indicators", "technical_score", "news_sentiment", "recommendations")
ARTICLES, TONE = "news/articles", "news/article_sentiment"
OBSERVATIONS, REGIME = "macro/observations", "macro/regime"


class _Stored(NamedTuple):
    """When a partition was stored, seconds since 1970: 0 if it is not, infinite if it will be."""

    at: float
    name: str

    @property
    def told(self) -> str:
        """What to say of it where it is newer than something."""
        return f"{self.name} {'will be' if self.at == math.inf else 'is'} newer"


class Planner:
    """Finds what is missing: not stored, or stored without Dagster's knowledge of it.

    ``planned`` are tasks that will be done before: what they write counts as newer than all that
    is stored.
    """

    def __init__(
        self,
        store: ParquetStore,
        instance: dg.DagsterInstance,
        now: datetime,
        versions: Mapping[str, str] | None = None,
        *,
        planned: Iterable[Task] = (),
    ) -> None:
        self._store = store
        self._instance = instance
        self._now = now
        self._versions = versions or {}
        self._planned = written_by(planned)

    def after(self, tasks: Iterable[Task]) -> Planner:
        """The planner of what is to be done once ``tasks`` are."""
        later = Planner(self._store, self._instance, self._now, self._versions, planned=tasks)
        later._planned |= self._planned
        return later

    def fetching(self, spans: Sequence[Span], news_start: date) -> list[Task]:
        """Runs that ask vendors: news (the longest) first, then prices and macro releases."""
        tasks = self.news(self.news_hours(spans, news_start))
        for span in spans:
            tasks += self.prices(span.market, with_history(span))
        first, last = self._release_days(spans)
        history = _days(first - timedelta(days=REGIME_LOOK_BACK_DAYS), last)
        return tasks + self._tasks("macro_sync", (OBSERVATIONS,), history, self._asked(history))

    def analysis(self, spans: Sequence[Span]) -> list[Task]:
        """Runs that compute: the analysis of each market, and the regime."""
        days = _days(*self._release_days(spans))
        tasks = self._tasks("macro_sync", (REGIME,), days, self._older_regimes(days))
        return tasks + [task for span in spans for task in self.recommendations(span)]

    def prices(
        self, market: Market, sessions: Sequence[date], *, force: bool = False
    ) -> list[Task]:
        """Runs that ask for bars of ``sessions``."""
        asset = f"{market.key}/prices"
        keys = [session.isoformat() for session in sessions]
        again = _forced(keys, force) | self._held_lately(asset, keys)
        again |= self._gaps(asset, keys, "no_answer")
        return self._tasks(market_job(market.key, "price"), (asset,), keys, again)

    def macro(self, first: date, last: date, *, force: bool = False) -> list[Task]:
        """Runs that ask for the releases of some days and compute the regime of each.

        Days that lack between the first stored one and these are asked for too: the regime refuses
        a history with holes.
        """
        asked = _days(first, last)
        since = max(first - timedelta(days=REGIME_LOOK_BACK_DAYS), FIRST_RELEASE_DAY)
        behind = _days(since, first - timedelta(days=1))
        missing = set(self._store.missing(OBSERVATIONS, behind))
        begin = next((n for n, day in enumerate(behind) if day not in missing), len(behind))
        days = [*behind[begin:], *asked]
        again = _forced(asked, force) | self._asked(days)
        causes = {(OBSERVATIONS, day): cause for day, cause in again.items()}
        causes |= self._lacking(OBSERVATIONS, days)
        causes |= self._lacking(REGIME, [day for _, day in causes])
        both = tasks_of("macro_sync", (OBSERVATIONS, REGIME), days, causes)
        done = {day for _, day in written_by(both)}
        older = self.after(both)._older_regimes(asked)
        others = {(REGIME, day): cause for day, cause in older.items()}
        others |= self._lacking(REGIME, asked)
        left = {place: cause for place, cause in others.items() if place[1] not in done}
        return both + tasks_of("macro_sync", (REGIME,), asked, left)

    def news_hours(self, spans: Sequence[Span], news_start: date) -> list[str]:
        """Keys of the hours, as far as they are over, of the spans' decision windows."""
        earliest = datetime.combine(news_start, datetime.min.time(), UTC)
        opens = [
            first_hour_of_news(s.market, s.sessions[0]) for s in spans if s.sessions[0] > news_start
        ]
        first = earliest if len(opens) < len(spans) else max(earliest, min(opens))
        last = max(s.market.decision_at(s.sessions[-1]) for s in spans)
        end = min(last + timedelta(minutes=59), self._now).replace(
            minute=0, second=0, microsecond=0
        )
        count = int((end - first) / timedelta(hours=1))
        return [(first + timedelta(hours=n)).strftime(HOUR_FORMAT) for n in range(count)]

    def news(self, keys: Sequence[str], *, force: bool = False) -> list[Task]:
        """Runs that crawl the hours ``keys`` or score what was crawled or streamed in them."""
        chunks = [keys[n : n + HOURS_A_RUN] for n in range(0, len(keys), HOURS_A_RUN)]
        return [task for chunk in chunks for task in self._news_tasks(chunk, force)]

    def recommendations(self, span: Span, *, force: bool = False) -> list[Task]:
        """Runs that compute the analysis of a span."""
        key = span.market.key
        keys = [session.isoformat() for session in span.sessions]
        return self._tasks(
            market_job(key, "combined_analysis"),
            tuple(f"{key}/{name}" for name in ANALYSIS),
            keys,
            _forced(keys, force) | self._outdated(span),
        )

    def trading(self, span: Span) -> list[Task]:
        """The run that takes the paper book from its first outdated session to the last one.

        Up to the first session without recommendations: the book cannot go on without them. What
        is stored of it beyond the span goes on from the span and is made again, too.
        """
        market = span.market.key
        assets = tuple(f"{market}/{name}" for name in (*FORECAST, *TRADING))
        keys = [session.isoformat() for session in span.sessions]
        without = set(self._store.missing(f"{market}/recommendations", keys))
        without -= {key for asset, key in self._planned if asset == f"{market}/recommendations"}
        keys = keys[: next((n for n, key in enumerate(keys) if key in without), len(keys))]
        causes = {
            place: cause for asset in assets for place, cause in self._lacking(asset, keys).items()
        }
        written = cache(lambda place: self._written(*place))  # forecasts share their inputs
        for place in ((asset, key) for key in keys for asset in assets):
            newest = max(map(written, inputs_of(*place)))
            if self._written(*place).at < newest.at:
                causes.setdefault(place, Cause(Reason.OLDER, newest.told))
        if not causes:
            return []
        begin = min(key for _, key in causes)
        keys += self._beyond(span.market, keys[-1])
        follows = Cause(Reason.OLDER, f"{market}/ledger {begin} will be newer")
        for place in ((asset, key) for key in keys if key > begin for asset in assets):
            causes.setdefault(place, follows)
        return tasks_of(market_job(market, "paper_trading"), assets, keys, causes)

    def _beyond(self, market: Market, last: str) -> list[str]:
        """The sessions after ``last`` up to the last one of the stored book."""
        stored = self._store.list_partitions(f"{market.key}/ledger")
        if not stored or max(stored) <= last:
            return []
        ends = (date.fromisoformat(key) for key in (last, max(stored)))
        return [session.isoformat() for session in market.sessions(*ends)[1:]]

    def _asked(self, days: Sequence[str]) -> dict[str, Cause]:
        """Stored release days for which FRED has to be asked again."""
        return {**self._unfinished_days(days), **self._gaps(OBSERVATIONS, days, "series_failed")}

    def _held_lately(self, asset: str, keys: Sequence[str]) -> dict[str, Cause]:
        """Recent ones of ``keys`` with held rows: the vendor may have corrected them since.

        Each with the session after it, which bears the split or dividend of a held row.
        """
        since = (self._now - timedelta(days=CORRECTED_WITHIN_DAYS)).date().isoformat()
        quarantine = Quarantine(self._store, asset)
        recent = sorted({k for k in keys if k >= since} & set(quarantine.partitions()))
        if not recent:
            return {}
        held = set(quarantine.held(recent)["partition_key"])
        with_next = held | {after for key, after in pairwise(keys) if key in held}
        return {key: Cause(Reason.HELD) for key in with_next}

    def _gaps(self, asset: str, keys: Sequence[str], rule: str, item: str = "") -> dict[str, Cause]:
        """Those of ``keys`` for which the quarantine notes that a source has to be asked again."""
        quarantine = Quarantine(self._store, asset)
        noted = sorted(set(quarantine.partitions()) & set(keys))
        if not noted:
            return {}
        frame = quarantine.held(noted)
        is_gap = (frame["rule"] == rule) & frame["item"].str.startswith(item)
        notes = frame.loc[is_gap, ["item", "raw"]].itertuples(index=False)
        gaps = [(str(note.item), json.loads(str(note.raw))) for note in notes]
        return {
            key: Cause(Reason.NO_ANSWER, name)
            for name, gap in gaps
            if gap.get("ask_again", True)
            for key in keys
            if gap["first"] <= key <= gap["last"]
        }

    def _older_regimes(self, days: Sequence[str]) -> dict[str, Cause]:
        """Days whose regime is older than an observation file that it rests on."""
        if not days:
            return {}
        first = date.fromisoformat(days[0]) - timedelta(days=REGIME_LOOK_BACK_DAYS)
        history = _days(first, date.fromisoformat(days[-1]))
        written = [self._written(OBSERVATIONS, key) for key in history]
        newest = {
            key: max(written[n : n + REGIME_LOOK_BACK_DAYS + 1]) for n, key in enumerate(days)
        }
        return {
            key: Cause(Reason.OLDER, newest[key].told)
            for key in days
            if self._written(REGIME, key).at < newest[key].at
        }

    def _unfinished_days(self, days: Sequence[str]) -> dict[str, Cause]:
        """Release days that were stored before they were over: what came later is not in them."""
        found = {}
        for key in days:
            end = datetime.fromisoformat(key).replace(tzinfo=UTC) + timedelta(days=1, hours=6)
            if 0 < self._written(OBSERVATIONS, key).at < end.timestamp():
                found[key] = Cause(Reason.NOT_OVER)
        return found

    def _news_tasks(self, keys: Sequence[str], force: bool) -> list[Task]:
        """Crawls of what is missing, and new scores for articles scored in another way."""
        again = _forced(keys, force)
        again |= self._gaps(ARTICLES, keys, "source_failed", "alpha_vantage general")
        crawls = self._tasks("news_crawl", (ARTICLES, TONE), keys, again)
        crawled = {partition for _, partition in written_by(crawls)}
        others = [key for key in keys if key not in crawled]
        version = self._versions.get(TONE)
        outdated = {}
        for key in others:
            articles = self._written(ARTICLES, key)
            if self._written(TONE, key).at < articles.at:
                outdated[TONE, key] = Cause(Reason.OLDER, articles.told)
            elif version and self._version(TONE, key) != version:
                outdated[TONE, key] = Cause(Reason.CONFIGURATION)
        scored = tasks_of("news_crawl", (TONE,), others, outdated)
        return crawls + scored + self._streamed_tasks(keys)

    def _streamed_tasks(self, keys: Sequence[str]) -> list[Task]:
        """New scores for streamed articles that are not scored, or in another way.

        The articles themselves come from Kafka, whenever they are sent.
        """
        articles, tone = "news/streamed_articles", "news/streamed_sentiment"
        version = self._versions.get(tone)
        outdated = {}
        for key in keys:
            scored, sent = self._written(tone, key), self._written(articles, key)
            if scored.at < sent.at:
                outdated[tone, key] = Cause(Reason.OLDER, sent.told)
            elif scored.at and version and self._version(tone, key) != version:
                outdated[tone, key] = Cause(Reason.CONFIGURATION)
        return tasks_of("news_stream", (tone,), keys, outdated)

    def _release_days(self, spans: Sequence[Span]) -> tuple[date, date]:
        """First and last complete release day of the spans; a day ends at 06:00 UTC of the next."""
        first = min(span.sessions[0] for span in spans)
        complete = (self._now - timedelta(hours=6)).date() - timedelta(days=1)
        return first, min(max(span.sessions[-1] for span in spans), complete)

    def _outdated(self, span: Span) -> dict[str, Cause]:
        """Sessions whose results are older than the prices or news that they rest on.

        So history that was filled in later, and news that came after a stored sentiment whose
        decision was still open, enter the results.
        """
        key = span.market.key
        history = [self._written(f"{key}/prices", s.isoformat()) for s in with_history(span)]
        offset = len(history) - len(span.sessions)
        outdated = {}
        for n, session in enumerate(span.sessions):
            name = session.isoformat()
            made = min(self._written(f"{key}/{asset}", name).at for asset in ANALYSIS)
            last = offset + n
            bars = max(history[max(0, last - LOOK_BACK_SESSIONS + 1) : last + 1])
            newest = max(bars, self._newest_news(span.market, session))
            if made < newest.at:
                outdated[name] = Cause(Reason.OLDER, newest.told)
        return outdated

    def _newest_news(self, market: Market, session: date) -> _Stored:
        """The latest stored hour of the session's decision window, crawled or streamed."""
        keys = decision_hours(market, session)
        assets = (TONE, "news/streamed_sentiment")
        return max(self._written(asset, key) for asset in assets for key in keys)

    def _written(self, asset: str, key: str) -> _Stored:
        """When a partition was stored, or that it will be."""
        name = f"{asset} {key}"
        if (asset, key) in self._planned:
            return _Stored(math.inf, name)
        try:
            return _Stored(self._store.facts(asset, key).modified, name)
        except FileNotFoundError:
            return _Stored(0.0, name)

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
        again: Mapping[str, Cause],
    ) -> list[Task]:
        causes = {(asset, key): cause for key, cause in again.items() for asset in assets}
        for asset in assets:
            causes |= self._lacking(asset, keys)
        return tasks_of(job, assets, keys, causes)

    def _lacking(self, asset: str, keys: Sequence[str]) -> dict[tuple[str, str], Cause]:
        known = self._materialized(asset)
        missing = set(self._store.missing(asset, keys))
        other = self._of_another_version(asset, [k for k in keys if k not in missing])
        found = {}
        for key in keys:
            if key in missing:
                found[asset, key] = Cause(Reason.MISSING)
            elif key in other:
                found[asset, key] = Cause(Reason.CONFIGURATION)
            elif key not in known:
                found[asset, key] = Cause(Reason.UNKNOWN)
        return found

    def _materialized(self, asset: str) -> set[str]:
        import dagster as dg

        return set(self._instance.get_materialized_partitions(dg.AssetKey(asset.split("/"))))


def tasks_of(job: str, assets: tuple[str, ...], keys: Sequence[str], causes: Causes) -> list[Task]:
    """The tasks that make the ``keys`` for which there is a cause, with their neighbours."""
    lacking = {partition for _, partition in causes}
    along = Cause(Reason.ALONG)
    return [
        Task(
            job,
            assets,
            part[0],
            part[-1],
            len(part),
            tuple(
                Write(asset, key, *causes.get((asset, key), along))
                for key in part
                for asset in assets
            ),
        )
        for part in key_ranges(keys, lacking)
    ]


def _days(first: date, last: date) -> list[str]:
    return [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]


def _forced(keys: Sequence[str], force: bool) -> dict[str, Cause]:
    return dict.fromkeys(keys, Cause(Reason.FORCED)) if force else {}
