"""The named jobs. What belongs here: selections of assets with the names that users know."""

from typing import Any

import dagster as dg

from quant_assets.markets import MARKETS
from quant_assets.naming import market_job


def build_jobs() -> list[Any]:
    """Every job; each takes a partition or a range of partitions of its assets."""
    jobs = [
        _job("macro_sync", "Macro values released on a day, and the regime.", "macro/*"),
        _job("news_crawl", "News of an hour and their tone.", "news/*"),
    ]
    for market in MARKETS.values():
        key, name = market.key, market.name
        jobs += [
            _job(market_job(key, "price"), f"{name}: daily bars of a session.", f"{key}/prices"),
            _job(
                market_job(key, "technical_analysis"),
                f"{name}: indicators and technical score of a session.",
                f"{key}/technical_indicators",
                f"{key}/technical_score",
            ),
            _job(
                market_job(key, "sentiment_analysis"),
                f"{name}: news sentiment of a session's decision window.",
                f"{key}/news_sentiment",
            ),
            _job(
                market_job(key, "combined_analysis"),
                f"{name}: technical score, news sentiment and recommendations of a session.",
                f"{key}/technical_indicators",
                f"{key}/technical_score",
                f"{key}/news_sentiment",
                f"{key}/recommendations",
            ),
        ]
    return jobs


def _job(name: str, description: str, *assets: str) -> Any:
    """A job of ``assets`` (``group/*`` for all below a prefix) with their checks."""
    selection: dg.AssetSelection = dg.AssetSelection.assets()
    for asset in assets:
        prefix, _, leaf = asset.partition("/")
        selection |= (
            dg.AssetSelection.key_prefixes(prefix)
            if leaf == "*"
            else dg.AssetSelection.assets(asset.split("/"))
        )
    return dg.define_asset_job(name, selection, description=description)
