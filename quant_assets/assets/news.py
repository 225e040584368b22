"""``news/articles`` and ``news/article_sentiment``. What belongs here: collecting and scoring."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import dagster as dg

from quant_assets import naming
from quant_assets.assets.common import (
    Versions,
    dataset_spec,
    demand_existing_partition,
    markdown_table,
    record,
)
from quant_assets.errors import (
    PermanentError,
    QuantAssetsError,
    QuotaExhaustedError,
    TransientError,
)
from quant_assets.markets import MARKETS
from quant_assets.partitions import HOUR_FORMAT, hour_of, hour_partitions
from quant_assets.policies import SINGLE_RUN, VENDOR_RETRY, typed_failures
from quant_assets.resources import (
    AlphaVantageResource,
    ClockResource,
    RssResource,
    SettingsResource,
    StoreResource,
)
from quant_assets.schemas import dataset_of

if TYPE_CHECKING:
    import pandas as pd

    from quant_assets.domain.collected import CollectedItem
    from quant_assets.io_managers.parquet_store import ParquetStore

RSS_REACH = timedelta(hours=24)
"""A feed shows about the last day; an hour that ended earlier cannot be filled from it."""
LATE_HOURS = 24
"""Hours around a crawl in which an article may be stored that a feed showed late."""
ARTICLES = "news/articles"


@dataclass
class _Collection:
    """What the providers gave: items, the outcome of each, and those that must be asked again."""

    items: "list[CollectedItem]" = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)
    outcomes: dict[str, str] = field(default_factory=dict)
    errors: dict[str, QuantAssetsError] = field(default_factory=dict)


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
        clock: ClockResource,
        store: StoreResource,
    ) -> Any:
        from quant_assets.domain.collected import collect_articles

        with typed_failures():
            demand_existing_partition(context)
            hours = sorted(hour_of(key).replace(tzinfo=UTC) for key in context.partition_keys)
            now = clock.now()
            found = collect(alpha_vantage, rss, hours, now)
            partitions = store.open()
            dataset = dataset_of(ARTICLES)
            stored = partitions.load(dataset, ARTICLES, list(context.partition_keys)).frame
            frame, refused = collect_articles(
                found.items,
                hours,
                now=now,
                stored=stored,
                known_elsewhere=_known_elsewhere(partitions, hours),
            )
            facts: dict[str, Any] = {
                "articles": len(frame),
                "new_articles": len(frame) - len(stored),
                "sources": markdown_table(["source", "outcome"], list(found.outcomes.items())),
                "latest": _latest(frame),
            }
            refusals = [*found.rejected, *((r.title or r.url, r.reason) for r in refused)]
            if refusals:
                facts["refused"] = markdown_table(["article", "reason"], refusals[:50])
                facts["n_refused"] = len(refusals)
            return record(context, frame, facts)

    return articles


def collect(
    alpha_vantage: AlphaVantageResource, rss: RssResource, hours: list[datetime], now: datetime
) -> _Collection:
    """Ask every provider that can answer for ``hours``.

    A provider that fails is recorded and the others are kept. If none of them answered, the error
    is raised: ``TransientError`` if asking again may help, else ``PermanentError``. RSS shows
    only the present, so that a past hour without Alpha Vantage is an error, not an empty success.
    """
    found = _Collection()
    start, end = hours[0], hours[-1] + timedelta(hours=1)
    is_past = now - end > RSS_REACH
    if alpha_vantage.is_configured():
        margin = timedelta(0) if is_past else timedelta(hours=3)
        client = alpha_vantage.client()
        for ticker in (None, *alpha_vantage.settings().alpha_vantage_asked()):
            name = f"alpha_vantage {ticker or 'general feed'}"
            _ask(found, name, _alpha_vantage_items(client, ticker, start - margin, end))
            if isinstance(found.errors.get(name), QuotaExhaustedError | TransientError):
                break
    else:
        found.outcomes["alpha_vantage"] = "no key (ALPHA_VANTAGE_API_KEY)"
    if is_past:
        found.outcomes["rss"] = "a past hour cannot be filled from RSS"
    else:
        reader = rss.client()
        for feed in rss.feeds():
            _ask(found, f"rss {_shown(feed)}", _rss_items(reader, feed))
    _demand_an_answer(found, start, end)
    _demand_history(found, start, now)
    return found


def _ask(
    found: _Collection, name: str, fetch: "Callable[[_Collection], Iterator[CollectedItem]]"
) -> None:
    """Run one request and note its outcome."""
    before = len(found.items)
    try:
        found.items.extend(fetch(found))
    except QuantAssetsError as error:
        found.errors[name] = error
        found.outcomes[name] = f"{type(error).__name__}: {error}"
        return
    found.outcomes[name] = f"{len(found.items) - before} articles"


def _demand_an_answer(found: _Collection, start: datetime, end: datetime) -> None:
    if any(outcome.endswith("articles") for outcome in found.outcomes.values()):
        return
    reasons = "; ".join(f"{name}: {outcome}" for name, outcome in found.outcomes.items())
    message = f"no news source answered for {start:%Y-%m-%d %H:%M} .. {end:%H:%M} UTC. {reasons}"
    if any(isinstance(error, TransientError) for error in found.errors.values()):
        raise TransientError(message)
    raise PermanentError(message)


def _demand_history(found: _Collection, start: datetime, now: datetime) -> None:
    """Raise if the range begins before what RSS can show and Alpha Vantage did not answer.

    Otherwise those hours would be stored as if they had had no news.
    """
    general = found.outcomes.get("alpha_vantage general feed", "no key (ALPHA_VANTAGE_API_KEY)")
    if general.endswith("articles") or now - start <= RSS_REACH:
        return
    error = found.errors.get("alpha_vantage general feed")
    message = (
        f"the hours before {now - RSS_REACH:%Y-%m-%d %H:00} UTC cannot be filled from RSS and "
        f"Alpha Vantage did not answer: {general}. Ask for the hours since then by themselves"
    )
    raise (TransientError if isinstance(error, TransientError) else PermanentError)(message)


def _shown(feed: str) -> str:
    """Host and path of a feed: its query or user part may hold a secret."""
    parts = urlsplit(feed)
    return f"{parts.hostname}{parts.path}"


def _alpha_vantage_items(
    client: Any, ticker: str | None, start: datetime, end: datetime
) -> "Callable[[_Collection], Iterator[CollectedItem]]":
    def fetch(found: _Collection) -> "Iterator[CollectedItem]":
        from quant_assets.domain.collected import CollectedItem

        result = client.news(ticker, start, end)
        found.rejected.extend((str(r.raw)[:200], r.reason) for r in result.rejected)
        for item in result.items:
            yield CollectedItem(
                "alpha_vantage",
                item.url,
                item.title,
                item.summary,
                item.source,
                item.published_at,
                item.ticker_sentiment,
            )

    return fetch


def _rss_items(reader: Any, feed: str) -> "Callable[[_Collection], Iterator[CollectedItem]]":
    def fetch(found: _Collection) -> "Iterator[CollectedItem]":
        from quant_assets.domain.collected import CollectedItem

        result = reader.fetch(feed)
        found.rejected.extend((str(r.raw)[:200], r.reason) for r in result.rejected)
        for item in result.items:
            yield CollectedItem(
                "rss", item.url, item.title, item.summary, item.source, item.published_at
            )

    return fetch


def _known_elsewhere(partitions: "ParquetStore", hours: list[datetime]) -> frozenset[str]:
    """Ids of the articles stored in the hours around ``hours``, where late ones may lie."""
    around = [
        *(hours[0] - timedelta(hours=n) for n in range(1, LATE_HOURS + 1)),
        *(hours[-1] + timedelta(hours=n) for n in range(1, LATE_HOURS + 1)),
    ]
    keys = [hour.strftime(HOUR_FORMAT) for hour in around]
    loaded = partitions.load(dataset_of(ARTICLES), ARTICLES, keys)
    return frozenset(loaded.frame["article_id"])


def _latest(frame: "pd.DataFrame") -> dg.MarkdownMetadataValue:
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
        from quant_assets.assets.pictures import tone_picture
        from quant_assets.domain.articles import score_articles
        from quant_assets.domain.sentiment import FinanceVader
        from quant_assets.domain.tickers import TickerRecognizer

        with typed_failures():
            listings = [x for key in MARKETS for x in platform.listings(key)]
            scorer = FinanceVader()
            frame = score_articles(articles, TickerRecognizer.for_listings(listings), scorer)
            facts = {
                "articles": articles["article_id"].nunique(),
                "articles_about_a_symbol": frame["article_id"].nunique(),
                "symbols": frame["symbol"].nunique(),
                "scorer": f"{scorer.name} {scorer.version}",
                "picture": tone_picture(frame),
            }
            return record(context, frame, facts)

    return article_sentiment
