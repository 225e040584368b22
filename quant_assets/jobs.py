"""The named jobs. What belongs here: selections of assets with the names that users know."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from quant_assets.checks.freshness import check_keys
from quant_assets.markets import MARKETS, Market
from quant_assets.naming import market_job


@dataclass(frozen=True)
class NamedJob:
    """A job and its assets in the order of the data; the last one is what the job is run for."""

    name: str
    description: str
    assets: tuple[str, ...]


def _market_jobs(market: Market) -> tuple[NamedJob, ...]:
    key, name = market.key, market.name
    technical = (f"{key}/technical_indicators", f"{key}/technical_score")
    sentiment = (f"{key}/news_sentiment",)
    return (
        NamedJob(
            market_job(key, "price"),
            f"{name}: daily bars of a session.",
            (f"{key}/prices",),
        ),
        NamedJob(
            market_job(key, "technical_analysis"),
            f"{name}: indicators and technical score of a session.",
            technical,
        ),
        NamedJob(
            market_job(key, "sentiment_analysis"),
            f"{name}: news sentiment of a session's decision window.",
            sentiment,
        ),
        NamedJob(
            market_job(key, "combined_analysis"),
            f"{name}: technical score, news sentiment and recommendations of a session.",
            (*technical, *sentiment, f"{key}/recommendations"),
        ),
    )


NAMED_JOBS: Mapping[str, NamedJob] = {
    job.name: job
    for job in (
        NamedJob(
            "macro_sync",
            "Macro values released on a day, and the regime.",
            ("macro/observations", "macro/regime"),
        ),
        NamedJob(
            "news_crawl",
            "News of an hour and their tone.",
            ("news/articles", "news/article_sentiment"),
        ),
        *(job for market in MARKETS.values() for job in _market_jobs(market)),
    )
}

NEWS_STREAM = NamedJob(
    "news_stream",
    "Articles that an external crawler sent, and their tone.",
    ("news/streamed_articles", "news/streamed_sentiment"),
)
"""Nobody asks for its runs: no event tells how they end."""


def build_jobs() -> list[Any]:
    """Every job; each takes a partition or a range of partitions of its assets.

    The checks of freshness are no part of them: they look at the present, not at the partitions.
    """
    return [
        dg.define_asset_job(job.name, _selection(job), description=job.description)
        for job in (*NAMED_JOBS.values(), NEWS_STREAM)
    ]


def _selection(job: NamedJob) -> dg.AssetSelection:
    selection = dg.AssetSelection.assets(*(asset.split("/") for asset in job.assets))
    by_the_clock = check_keys()
    checks = [by_the_clock[asset] for asset in job.assets if asset in by_the_clock]
    return selection - dg.AssetSelection.checks(*checks) if checks else selection
