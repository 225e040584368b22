"""``news/articles`` and ``news/article_sentiment``. What belongs here: collecting and scoring.

What does not belong here: how the providers are asked (``news_collecting``) and what is kept of
what is refused (``news_holding``).
"""

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import dagster as dg

from quant_assets import naming
from quant_assets.assets.common import (
    Versions,
    dataset_spec,
    demand_existing_partition,
    grant_time,
    markdown_table,
    record,
    rows_by_partition,
)
from quant_assets.assets.news_collecting import Collection, collect, complete_hours
from quant_assets.assets.news_holding import ARTICLES, hold, note_sources, settle, stored_nearby
from quant_assets.errors import BadDataError
from quant_assets.io_managers.parquet_store import Part
from quant_assets.io_managers.partitioned_parquet import split_by_partition
from quant_assets.markets import MARKETS
from quant_assets.partitions import hour_of, hour_partitions
from quant_assets.policies import SINGLE_RUN, VENDOR_RETRY, typed_failures
from quant_assets.resources import (
    AlphaVantageResource,
    ClockResource,
    RawResource,
    RssResource,
    SettingsResource,
    StoreResource,
)
from quant_assets.resources.base import Fetch
from quant_assets.schemas import dataset_of
from quant_assets.schemas.keys import HOUR_FORMAT

if TYPE_CHECKING:
    import pandas as pd

    from quant_assets.io_managers.parquet_store import ParquetStore

LATE_HOURS = 24
"""Hours around a crawl in which an article may be stored that a feed showed late."""


def build_news(first_day: date, versions: Versions) -> list[dg.AssetsDefinition]:
    """The news assets; their hours begin on ``first_day``."""
    return [_articles(first_day, versions), _article_sentiment(first_day, versions)]


def _articles(first_day: date, versions: Versions) -> dg.AssetsDefinition:
    @dg.asset(
        **dataset_spec(
            ARTICLES, group=naming.GROUP_NEWS, kinds={"alpha_vantage", "rss"}, versions=versions
        ),
        partitions_def=hour_partitions(first_day),
        backfill_policy=SINGLE_RUN,
        retry_policy=VENDOR_RETRY,
        pool=naming.POOL_NEWS,
    )
    def articles(
        context: dg.AssetExecutionContext,
        alpha_vantage: AlphaVantageResource,
        rss: RssResource,
        raw: RawResource,
        clock: ClockResource,
        store: StoreResource,
    ) -> Any:
        with typed_failures():
            demand_existing_partition(context)
            fetch = raw.fetch(context, clock.now())
            asked = hours_between(fetch.first, fetch.last)
            found = collect(alpha_vantage, rss, fetch, asked, clock.now)
            hours, broken_off = complete_hours(found, asked, fetch.now)
            own = set(context.partition_keys)
            own_hours = [hour for hour in hours if hour.strftime(HOUR_FORMAT) in own]
            crawl = _Crawl(found, hours, own_hours, fetch)
            frame, facts = _rows(crawl, rss, store)
            facts |= fetch.keep()
            if broken_off is not None and len(own_hours) < len(own):
                if own_hours:
                    _store_whole_hours(context, store, frame, own_hours, facts, versions[ARTICLES])
                raise broken_off
            return record(context, frame, facts)

    return articles


def hours_between(first: str, last: str) -> list[datetime]:
    """Hours of the partition keys from ``first`` to ``last``, both included, UTC."""
    start, end = (hour_of(key).replace(tzinfo=UTC) for key in (first, last))
    return [start + timedelta(hours=n) for n in range((end - start) // timedelta(hours=1) + 1)]


class _Crawl(NamedTuple):
    """What was collected for ``hours``, of which ``own_hours`` are the run's.

    They differ in a rebuild, which repeats a whole fetch and keeps what is the run's.
    """

    found: Collection
    hours: list[datetime]
    own_hours: list[datetime]
    fetch: Fetch


def _rows(
    crawl: _Crawl, rss: RssResource, store: StoreResource
) -> "tuple[pd.DataFrame, dict[str, Any]]":
    """Rows of the run's partitions, and facts; notes what is refused."""
    import pandas as pd

    from quant_assets.domain.collected import collect_articles

    found, hours, own_hours, fetch = crawl
    partitions = store.open()
    stored, unreadable = _stored(partitions, [hour.strftime(HOUR_FORMAT) for hour in hours])
    frame, refused = collect_articles(
        found.items,
        hours,
        now=fetch.now,
        stored=stored,
        known_elsewhere=stored_nearby(partitions, hours, LATE_HOURS, LATE_HOURS),
    )
    if len(own_hours) < len(hours):
        frame = frame[frame["hour"].isin(own_hours)].reset_index(drop=True)
    is_new = ~frame["article_id"].isin(stored["article_id"])
    frame, texts = _with_texts(frame, is_new & ~frame["is_backfilled"], rss, fetch)
    quarantine = store.quarantine(ARTICLES)
    held, released = hold(quarantine, partitions, refused, hours, own_hours)
    frame = pd.concat([frame, released], ignore_index=True) if len(released) else frame
    held += note_sources(found, hours, own_hours)
    settle(quarantine, held, frame, found, own_hours, fetch.now)
    outcomes = [(outcome.source, outcome.told) for outcome in found.outcomes]
    facts: dict[str, Any] = {
        "articles": len(frame),
        "new_articles": int(is_new.sum()),
        "sources": markdown_table(["source", "outcome"], outcomes),
        "latest": latest_articles(frame),
        "held": len(held),
        **texts,
    }
    if unreadable:
        facts["unreadable_hours"] = ", ".join(unreadable)
    return frame, facts


def _stored(partitions: "ParquetStore", keys: list[str]) -> "tuple[pd.DataFrame, list[str]]":
    """Stored rows of ``keys``, and the keys whose file cannot be read: these are made again."""
    import pandas as pd

    dataset = dataset_of(ARTICLES)
    try:
        return partitions.load(dataset, ARTICLES, keys).frame, []
    except BadDataError:
        frames, unreadable = [], []
    for key in keys:
        try:
            frames.append(partitions.load(dataset, ARTICLES, [key]).frame)
        except BadDataError:
            unreadable.append(key)
    empty = partitions.load(dataset, ARTICLES, []).frame
    return pd.concat([empty, *(f for f in frames if len(f))], ignore_index=True), unreadable


def _with_texts(
    frame: "pd.DataFrame", wanted: "pd.Series", rss: RssResource, fetch: Fetch
) -> "tuple[pd.DataFrame, dict[str, Any]]":
    """``frame`` with the texts of the ``wanted`` articles' pages, if the settings ask for them."""
    reader = rss.article_reader(fetch.tape)
    if reader is None or not wanted.any():
        return frame, {}
    from quant_assets.vendors.article_text import tally

    pages = reader.read(frame.loc[wanted, "url"])
    texts = frame["url"].map({url: page.text for url, page in pages.items()}).fillna("")
    return frame.assign(text=texts.where(wanted, frame["text"])), {"texts": tally(pages.values())}


def _store_whole_hours(
    context: dg.AssetExecutionContext,
    store: StoreResource,
    frame: "pd.DataFrame",
    hours: list[datetime],
    facts: dict[str, Any],
    code_version: str,
) -> None:
    """Store the hours that are whole before the run fails for the others.

    What a day's calls have paid for is not asked again.
    """
    keys = [hour.strftime(HOUR_FORMAT) for hour in hours]
    dataset = dataset_of(ARTICLES)
    rows = dataset.conform(frame, f"{ARTICLES} [{keys[0]} .. {keys[-1]}]")
    parts = {part.key: part for part in split_by_partition(dataset, rows)}
    wanted = [parts.get(key, Part(key, 0, 0)) for key in keys]
    store.open().write_parts(dataset, ARTICLES, rows, wanted, code_version)
    counts = rows_by_partition(dataset, rows)
    for key in keys:
        metadata = {"dagster/partition_row_count": counts.get(key, 0)}
        context.log_event(
            dg.AssetMaterialization(
                asset_key=context.asset_key,
                partition=key,
                metadata={**metadata, **(facts if key == keys[-1] else {})},
            )
        )


def latest_articles(frame: "pd.DataFrame") -> dg.MarkdownMetadataValue:
    """The newest articles, for the metadata."""
    columns = ["published_at", "title", "source", "tickers"]
    newest = frame.sort_values("published_at", ascending=False, kind="stable").head(12)
    return markdown_table(columns, newest[columns].astype(str).to_numpy().tolist())


def _article_sentiment(first_day: date, versions: Versions) -> dg.AssetsDefinition:
    @dg.asset(
        **dataset_spec(
            "news/article_sentiment", group=naming.GROUP_NEWS, kinds={"vader"}, versions=versions
        ),
        partitions_def=hour_partitions(first_day),
        backfill_policy=SINGLE_RUN,
        ins={"articles": dg.AssetIn(key=["news", "articles"])},
    )
    def article_sentiment(
        context: dg.AssetExecutionContext, articles: Any, platform: SettingsResource
    ) -> Any:
        with typed_failures():
            grant_time(context)
            return score(context, articles, platform)

    return article_sentiment


def score(
    context: dg.AssetExecutionContext, articles: "pd.DataFrame", platform: SettingsResource
) -> "pd.DataFrame":
    """Tone of ``articles`` for every symbol that they are about, with facts for the metadata."""
    from quant_assets.assets.pictures import tone_picture
    from quant_assets.domain.articles import score_articles
    from quant_assets.domain.sentiment_model import scorer_for
    from quant_assets.domain.tickers import TickerRecognizer

    listings = [x for key in MARKETS for x in platform.listings(key)]
    scorer = scorer_for(platform.settings().sentiment_model)
    frame = score_articles(articles, TickerRecognizer.for_listings(listings), scorer)
    facts = {
        "articles": articles["article_id"].nunique(),
        "articles_about_a_symbol": frame["article_id"].nunique(),
        "symbols": frame["symbol"].nunique(),
        "scorer": f"{scorer.name} {scorer.version}",
        "picture": tone_picture(frame),
    }
    return record(context, frame, facts)
