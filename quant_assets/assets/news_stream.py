"""``news/streamed_articles`` and ``news/streamed_sentiment``: the articles that are sent to us.

What belongs here: reading a run's offsets, storing and scoring what came. The stream has assets of
its own beside the crawl's, joined where a decision is made (``us|kr/news_sentiment``): an hour
counts as crawled if the crawl stored it, however many articles were streamed in it; no two jobs
write one partition; and a streamed article counts from when it came, not from when its hour is
crawled. What does not belong here: which offsets a run reads (``sensors.articles``).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from quant_assets import naming
from quant_assets.assets.common import (
    Versions,
    dataset_spec,
    demand_existing_partition,
    markdown_table,
    record,
)
from quant_assets.assets.news import LATE_HOURS, latest_articles, score
from quant_assets.assets.news_holding import ARTICLES, REMEMBERED_HOURS
from quant_assets.domain.held import Held
from quant_assets.errors import BadConfigurationError, BadDataError
from quant_assets.partitions import hour_of, stream_hours
from quant_assets.policies import SINGLE_RUN, VENDOR_RETRY, typed_failures
from quant_assets.resources import ClockResource, EventsResource, SettingsResource, StoreResource
from quant_assets.schemas import dataset_of
from quant_assets.schemas.keys import HOUR_FORMAT
from quant_assets.schemas.loaded import LoadedPartitions

if TYPE_CHECKING:
    import pandas as pd

    from quant_assets.domain.streamed_articles import Streamed, StreamedArticle
    from quant_assets.io_managers.parquet_store import ParquetStore

STREAMED = "news/streamed_articles"
TONE = "news/streamed_sentiment"
STEP = STREAMED.replace("/", "__")
"""Name of the step whose config says what it reads."""


class StreamedOffsets(dg.Config):
    """What a run reads: topic → partition → first offset and the one after the last."""

    ranges: dict[str, dict[str, list[int]]] = Field(
        description="topic → partition → [first offset, offset after the last]"
    )
    received_at: str = Field(
        "", description="When the messages were read (ISO 8601); empty: when the run starts"
    )

    def parsed(self) -> dict[str, dict[int, tuple[int, int]]]:
        """The offsets; raises ``BadConfigurationError`` for what is no range."""
        parsed: dict[str, dict[int, tuple[int, int]]] = {}
        for topic, partitions in self.ranges.items():
            for partition, offsets in partitions.items():
                if not partition.isdecimal() or len(offsets) != 2 or not _is_range(*offsets):
                    raise BadConfigurationError(
                        f"ops.{STEP}.config.ranges: {topic} {partition}: {offsets} is no range of "
                        "a partition; give [first offset, offset after the last]"
                    )
                parsed.setdefault(topic, {})[int(partition)] = offsets[0], offsets[1]
        return parsed

    def received(self, now: datetime) -> datetime:
        """When the messages were read, UTC; ``now`` where the run was started by hand."""
        if not self.received_at:
            return now
        try:
            return datetime.fromisoformat(self.received_at).astimezone(UTC)
        except ValueError as error:
            raise BadConfigurationError(
                f"ops.{STEP}.config.received_at: {self.received_at!r} is no ISO 8601 time"
            ) from error


def _is_range(first: int, end: int) -> bool:
    return 0 <= first <= end


def build_news_stream(first_day: date, versions: Versions) -> list[dg.AssetsDefinition]:
    """The assets of the stream; their hours begin on ``first_day``."""
    return [_streamed_articles(first_day, versions), _streamed_sentiment(first_day, versions)]


def _streamed_articles(first_day: date, versions: Versions) -> dg.AssetsDefinition:
    @dg.asset(
        **dataset_spec(STREAMED, group=naming.GROUP_NEWS, kinds={"kafka"}, versions=versions),
        partitions_def=stream_hours(first_day),
        deps=[dg.AssetKey(naming.ASSET_ARTICLES)],
        backfill_policy=SINGLE_RUN,
        retry_policy=VENDOR_RETRY,
    )
    def streamed_articles(
        context: dg.AssetExecutionContext,
        config: StreamedOffsets,
        events: EventsResource,
        store: StoreResource,
        clock: ClockResource,
    ) -> Any:
        with typed_failures():
            demand_existing_partition(context)
            hours = [hour_of(key) for key in sorted(context.partition_keys)]
            messages = _Messages(events, config.parsed(), hours, config.received(clock.now()))
            frame, facts = _rows(list(messages), hours, store, clock.now())
            return record(context, frame, {**messages.facts(), **facts})

    return streamed_articles


class _Messages:
    """The articles in a run's offsets that belong to its hours; counts the others.

    A message that is no article is a dead letter already: the sensor saw to it before the run.
    """

    def __init__(
        self,
        events: EventsResource,
        ranges: Mapping[str, Mapping[int, tuple[int, int]]],
        hours: Sequence[datetime],
        received_at: datetime,
    ) -> None:
        self._events = events
        self._received_at = received_at
        self._ranges = ranges
        self._hours = set(hours)
        self.no_article = self.other_hours = 0

    def __iter__(self) -> "Iterator[StreamedArticle]":
        from quant_assets.domain.streamed_articles import StreamedArticle
        from quant_assets.events.envelope import BadEventError, EventDecoder
        from quant_assets.events.reading import read_ranges

        connection = self._events.connection()
        if connection is None:
            raise BadConfigurationError(
                "there is no Kafka to read from: set KAFKA_BOOTSTRAP_SERVERS, or in the sandbox "
                "keep `quant dev` or `quant sandbox` running"
            )
        decoder = EventDecoder(self._events.names())
        for message in read_ranges(connection, self._ranges):
            try:
                article = decoder.decode(message.origin.topic, message.value).payload
            except BadEventError:
                self.no_article += 1
                continue
            found = StreamedArticle(
                url=article.url,
                title=article.title,
                summary=article.summary,
                source=article.source,
                published_at=article.published_at,
                tickers=article.tickers,
                sent_at=message.sent_at,
                received_at=self._received_at,
                origin=str(message.origin),
            )
            if found.hour.replace(tzinfo=None) in self._hours:
                yield found
            else:
                self.other_hours += 1

    def facts(self) -> dict[str, Any]:
        """What was read, for the metadata."""
        rows = [
            (topic, partition, *offsets)
            for topic, partitions in self._ranges.items()
            for partition, offsets in partitions.items()
        ]
        return {
            "offsets": markdown_table(["topic", "partition", "first", "end"], rows),
            "no_article": self.no_article,
            "messages_of_other_hours": self.other_hours,
        }


def _rows(
    articles: "list[StreamedArticle]",
    hours: Sequence[datetime],
    store: StoreResource,
    now: datetime,
) -> "tuple[pd.DataFrame, dict[str, Any]]":
    """Rows of the run's hours and facts; notes what is refused."""
    from quant_assets.domain.streamed_articles import stream_articles

    partitions = store.open()
    keys = [hour.strftime(HOUR_FORMAT) for hour in hours]
    stored = partitions.readable(dataset_of(STREAMED), STREAMED, keys)
    found = stream_articles(articles, stored=stored, known=_known(partitions, hours))
    frame, held = _hold(found, keys, store, now)
    facts: dict[str, Any] = {
        "articles": len(frame),
        "new_articles": len(frame) - len(stored),
        "known_before": found.repeated,
        "held": held,
        "latest": latest_articles(frame),
    }
    return frame, facts


def _known(partitions: "ParquetStore", hours: Sequence[datetime]) -> dict[str, datetime]:
    """Since when articles around ``hours`` are known, by id: streamed in others, or crawled.

    A crawler may send an article again for days; it must not look new each time.
    """
    known: dict[str, datetime] = {}
    reach = ((STREAMED, REMEMBERED_HOURS, 0), (ARTICLES, LATE_HOURS, len(hours)))
    for asset, before, after in reach:
        around = (hours[0] + timedelta(hours=n) for n in range(-before, after))
        keys = [hour.strftime(HOUR_FORMAT) for hour in around]
        frame = partitions.readable(dataset_of(asset), asset, keys)
        for identity, seen in zip(frame["article_id"], frame["first_seen_at"], strict=True):
            known[identity] = min(seen, known.get(identity, seen))
    return known


def _hold(
    found: "Streamed", keys: Sequence[str], store: StoreResource, now: datetime
) -> "tuple[pd.DataFrame, int]":
    """The rows with those that a person has let in before; puts the refused ones in quarantine.

    An article that is sent again for days is held once, in the hour in which it first came.
    """
    import pandas as pd

    from quant_assets.domain.streamed_articles import PROVIDER
    from quant_assets.io_managers.quarantine import row_to_json, rows_from_json

    dataset, quarantine = dataset_of(STREAMED), store.quarantine(STREAMED)
    first = (hour_of(keys[0]) - timedelta(hours=REMEMBERED_HOURS)).strftime(HOUR_FORMAT)
    elsewhere = {key for key in quarantine.partitions() if first <= key <= keys[-1]} - set(keys)
    remembered = set(quarantine.read(sorted(elsewhere))["item"]) if found.refused else set()
    fresh = [
        Held(
            one.hour.strftime(HOUR_FORMAT),
            one.name,
            one.rule,
            one.reason,
            PROVIDER,
            one.item.raw,
            one.row,
        )
        for one in found.refused
        if one.name not in remembered
    ]
    held, accepted = quarantine.sift(fresh)
    released = rows_from_json(dataset, [row_to_json(dataset, one.row) for one in accepted])
    frame = pd.concat([found.rows, released], ignore_index=True) if accepted else found.rows
    good = set(zip(frame["hour"].dt.strftime(HOUR_FORMAT), frame["url"], strict=True))
    quarantine.settle(keys, held, good, now)
    return frame, len(held)


def _streamed_sentiment(first_day: date, versions: Versions) -> dg.AssetsDefinition:
    @dg.asset(
        **dataset_spec(TONE, group=naming.GROUP_NEWS, kinds={"vader"}, versions=versions),
        partitions_def=stream_hours(first_day),
        backfill_policy=SINGLE_RUN,
        ins={"streamed_articles": dg.AssetIn(key=STREAMED.split("/"))},
    )
    def streamed_sentiment(
        context: dg.AssetExecutionContext,
        streamed_articles: LoadedPartitions,
        platform: SettingsResource,
        store: StoreResource,
    ) -> Any:
        with typed_failures():
            frame = score(context, streamed_articles.frame, platform)
            _forget_other_versions(store.open(), context.partition_keys, versions[TONE])
            return frame

    return streamed_sentiment


def _forget_other_versions(
    partitions: "ParquetStore", keys: Sequence[str], code_version: str
) -> None:
    """Remove scores of ``keys`` that another version of the scorer made.

    Storing adds to what is stored, where another run may score the same hour; of another version
    nothing is worth keeping.
    """
    missing = set(partitions.missing(TONE, keys))
    for key in keys:
        if key in missing:
            continue
        try:
            made_with = partitions.info(TONE, key).code_version
        except BadDataError:  # a damaged file gives way to the new one anyway
            continue
        if made_with != code_version:
            partitions.delete(TONE, [key])
