"""The named jobs. What belongs here: selections of assets with the names that users know."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from quant_assets.checks.freshness import check_keys
from quant_assets.io_managers.serving_tables import SERVED
from quant_assets.markets import MARKETS, Market
from quant_assets.naming import FORECAST, TAG_TIME_LIMIT, TRADING, market_job
from quant_assets.policies import (
    ANALYSIS_LIMIT,
    MACRO_LIMIT,
    NEWS_LIMIT,
    PRICE_LIMIT,
    TimeLimit,
)


@dataclass(frozen=True)
class NamedJob:
    """A job and its assets in the order of the data; the last one is what the job is run for.

    ``inputs`` are the jobs without which it is not worth running; ``optional_inputs`` those whose
    failure does not stop it: the result is then degraded, as its rows say. ``evaluations`` are
    assets without partitions that each of its runs makes after the others.
    """

    name: str
    description: str
    assets: tuple[str, ...]
    limit: TimeLimit
    inputs: tuple[str, ...] = ()
    optional_inputs: tuple[str, ...] = ()
    evaluations: tuple[str, ...] = ()

    @property
    def made(self) -> tuple[str, ...]:
        """Everything that a run of the whole job makes."""
        return (*self.assets, *self.evaluations)

    @property
    def tags(self) -> dict[str, str]:
        """Tags of each of its runs: the rule by which its first step sets the run's time."""
        return {TAG_TIME_LIMIT: self.limit.text}


NEWS = ("news_crawl", "news_stream")
"""Without them symbols have no news: their rows say so, and their labels are capped."""


def _market_jobs(market: Market) -> tuple[NamedJob, ...]:
    key, name = market.key, market.name
    technical = (f"{key}/technical_indicators", f"{key}/technical_score")
    sentiment = (f"{key}/news_sentiment",)
    price = market_job(key, "price")
    return (
        NamedJob(
            price,
            f"{name}: daily bars of a session.",
            (f"{key}/prices",),
            PRICE_LIMIT,
        ),
        NamedJob(
            market_job(key, "technical_analysis"),
            f"{name}: indicators and technical score of a session.",
            technical,
            ANALYSIS_LIMIT,
            inputs=(price,),
        ),
        NamedJob(
            market_job(key, "sentiment_analysis"),
            f"{name}: news sentiment of a session's decision window.",
            sentiment,
            ANALYSIS_LIMIT,
            optional_inputs=NEWS,
        ),
        NamedJob(
            market_job(key, "combined_analysis"),
            f"{name}: technical score, news sentiment and recommendations of a session.",
            (*technical, *sentiment, f"{key}/recommendations"),
            ANALYSIS_LIMIT,
            inputs=(price,),
            optional_inputs=(*NEWS, "macro_sync"),
        ),
        NamedJob(
            market_job(key, "paper_trading"),
            f"{name}: forecast of returns, signals of every strategy, the paper book with its "
            "tables and risk, and how it has done.",
            tuple(f"{key}/{table}" for table in (*FORECAST, *TRADING)),
            ANALYSIS_LIMIT,
            inputs=(market_job(key, "combined_analysis"),),
            optional_inputs=("macro_sync",),
            evaluations=(f"{key}/performance",),
        ),
    )


NAMED_JOBS: Mapping[str, NamedJob] = {
    job.name: job
    for job in (
        NamedJob(
            "macro_sync",
            "Macro values released on a day, and the regime.",
            ("macro/observations", "macro/regime"),
            MACRO_LIMIT,
        ),
        NamedJob(
            "news_crawl",
            "News of an hour and their tone.",
            ("news/articles", "news/article_sentiment"),
            NEWS_LIMIT,
        ),
        *(job for market in MARKETS.values() for job in _market_jobs(market)),
    )
}

NEWS_STREAM = NamedJob(
    "news_stream",
    "Articles that an external crawler sent, and their tone.",
    ("news/streamed_articles", "news/streamed_sentiment"),
    NEWS_LIMIT,
)
"""Nobody asks for its runs: no event tells how they end."""

BACKTEST = "backtest"
"""Job of a backtest; it has no partitions, its run config says what is tested."""


def build_jobs(*, has_serving: bool) -> list[Any]:
    """Every job; each takes a partition or a range of partitions of its assets.

    ``has_serving``: a job that makes what is served also serves it. The checks of freshness are
    no part of them: they look at the present, not at the partitions.
    """
    return [
        *(
            dg.define_asset_job(
                job.name, _selection(job, has_serving), description=job.description, tags=job.tags
            )
            for job in (*NAMED_JOBS.values(), NEWS_STREAM)
        ),
        dg.define_asset_job(
            BACKTEST,
            dg.AssetSelection.assets(["research", "backtest"]),
            description="What strategies would have done, by run config.",
            tags={TAG_TIME_LIMIT: ANALYSIS_LIMIT.text},
        ),
    ]


def served_tables(assets: Iterable[str]) -> list[str]:
    """The assets of the serving tables that hold some of ``assets``."""
    return [SERVED[asset].asset for asset in assets if asset in SERVED]


def _selection(job: NamedJob, has_serving: bool) -> dg.AssetSelection:
    served = served_tables(job.assets) if has_serving else []
    selection = dg.AssetSelection.assets(*(asset.split("/") for asset in (*job.made, *served)))
    by_the_clock = check_keys()
    checks = [by_the_clock[asset] for asset in job.assets if asset in by_the_clock]
    return selection - dg.AssetSelection.checks(*checks) if checks else selection
