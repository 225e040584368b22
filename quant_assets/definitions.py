"""The code location. What belongs here: assembly of what the other rooms make, nothing else."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from quant_assets.assets.analysis import build_analysis
from quant_assets.assets.forecast import build_forecast
from quant_assets.assets.kafka_topics import build_kafka_topics
from quant_assets.assets.macro import build_macro
from quant_assets.assets.news import build_news
from quant_assets.assets.news_stream import build_news_stream
from quant_assets.assets.performance import build_performance
from quant_assets.assets.prices import build_prices
from quant_assets.assets.research import build_research
from quant_assets.assets.serving import build_serving
from quant_assets.assets.trading import build_trading
from quant_assets.checks import (
    build_coverage_checks,
    build_freshness_checks,
    build_macro_checks,
    build_news_checks,
    build_price_checks,
    build_schema_checks,
    build_trading_checks,
)
from quant_assets.hooks.completion import build_completion_hooks
from quant_assets.hooks.slack import RunSlackResource
from quant_assets.housekeeping.job import build_housekeeping_job
from quant_assets.jobs import build_jobs
from quant_assets.markets import MARKETS
from quant_assets.resources import build_resources, shown_settings
from quant_assets.schedules import build_schedules
from quant_assets.sensors.alerts import build_alert_sensor
from quant_assets.sensors.articles import build_article_sensor
from quant_assets.sensors.dead_letters import build_dead_letter_sensor
from quant_assets.sensors.dead_runs import build_reconciler_sensor
from quant_assets.sensors.follow_up import build_follow_up_sensor
from quant_assets.sensors.freshness import build_freshness_sensor
from quant_assets.sensors.outbox import build_outbox_sensor
from quant_assets.sensors.requests import build_request_sensor
from quant_assets.sensors.slack_threads import build_thread_sensor
from quant_assets.settings import Settings, settings
from quant_assets.versions import code_versions


def build_defs(
    values: Settings, *, resource_overrides: Mapping[str, Any] | None = None
) -> dg.Definitions:
    """The platform's definitions for ``values``; tests replace resources by key.

    Steps run in the run's own process: jobs have few and light steps, and a process a step costs
    a second each.
    """
    versions = code_versions(values)
    jobs = build_jobs(has_serving=values.has_serving)
    assets = [
        *(build_prices(market, versions) for market in MARKETS.values()),
        *build_macro(versions),
        *build_news(values.news_start, versions),
        *build_news_stream(values.news_start, versions),
        *(asset for market in MARKETS.values() for asset in build_analysis(market, versions)),
        *(asset for market in MARKETS.values() for asset in build_forecast(market, versions)),
        *(asset for market in MARKETS.values() for asset in build_trading(market, versions)),
        *(build_performance(market) for market in MARKETS.values()),
        build_research(),
    ]
    hooks = build_completion_hooks()
    return dg.Definitions(
        assets=[
            *(asset.with_hooks(hooks) for asset in assets),
            *build_serving(values),
            *build_kafka_topics(),
        ],
        asset_checks=[
            *build_schema_checks(),
            *build_coverage_checks(),
            *build_price_checks(),
            *build_macro_checks(),
            *build_news_checks(),
            *build_trading_checks(),
            *build_freshness_checks(),
        ],
        jobs=[*jobs, build_housekeeping_job(values)],
        schedules=build_schedules(values),
        sensors=[
            build_request_sensor(jobs),
            build_article_sensor(),
            build_outbox_sensor(values),
            build_dead_letter_sensor(),
            build_reconciler_sensor(jobs),
            build_follow_up_sensor(values, jobs),
            build_thread_sensor(),
            build_alert_sensor(values),
            build_freshness_sensor(values),
        ],
        resources={
            **build_resources(values),
            "slack": RunSlackResource(values=shown_settings(values)),
            **(resource_overrides or {}),
        },
        executor=dg.in_process_executor,
    )


defs = build_defs(settings())
