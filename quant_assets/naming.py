"""Names that more than one room uses. What belongs here: constants without behaviour."""

from collections.abc import Mapping

from quant_assets.markets import MARKETS

OWNER = "team:quant-platform"

GROUP_PRICES = "prices"
GROUP_MACRO = "macro"
GROUP_NEWS = "news"
GROUP_ANALYSIS = "analysis"
GROUP_TRADING = "trading"
GROUP_RESEARCH = "research"
GROUP_SERVING = "serving"
GROUP_EVENTS = "events"

POOL_YAHOO = "yahoo"
POOL_FRED = "fred"
POOL_NEWS = "news"

TAG_PARTITION = "dagster/partition"
TAG_RANGE_START = "dagster/asset_partition_range_start"
TAG_RANGE_END = "dagster/asset_partition_range_end"

TAG_MAX_RUNTIME = "dagster/max_runtime"
"""Run tag: seconds after which run monitoring, or the command that runs it, ends the run."""
TAG_TIME_LIMIT = "quant/time_limit"
"""Run tag: rule of ``TAG_MAX_RUNTIME``: seconds of the first partition + of each further one."""

TAG_REBUILD = "quant/rebuild"
"""Run tag: make the partitions from the kept raw answers, without asking the vendor."""

TAG_REQUEST_PREFIX = "quant.request/"
"""Run tag, followed by a request's event id: JSON of what its answer needs. One a request."""
TAG_THREAD = "quant/thread_ts"
TAG_CHANNEL = "quant/channel"
"""Run tags: the Slack thread that the first request of the run named."""
TAG_REPEATS_LEFT = "quant/repeats_left"
"""Run tag: how often the run may be repeated if its process dies."""
TAG_REPEAT_FAILURES = "quant/repeat_failures"
"""Run tag: repeat the run also where a step failed, since nobody else would ask again."""
UNLESS_FINAL = "unless final"
"""Its value where an error that will come again, such as a refused key, ends the repeats."""
TAG_TRY_UNTIL = "quant/try_until"
"""Run tag: no repeat begins after this time (ISO 8601)."""
TAG_REPEATED_BY = "quant/repeated_by"
"""Run tag: the run that repeats this one, whose process died."""
TAG_ANSWERED = "quant/answered_by"
"""Run tag: the run that this one repeats had reached its outcome, which is told already."""
TAG_REPEAT_OF = "quant/repeat_of"
"""Run tag: the run whose process died, which this one repeats."""
TAG_PUBLISHED = "quant/published"
"""Run tag: when the events that tell how the run ended were taken by Kafka, and the run's own id,
because a repeated run gets a copy of its tags: read it with ``is_published``."""

TAG_COMMAND = "quant/command"
"""Run tag: the command that executes the run, such as ``quant job news``."""
TAG_HOST, TAG_PID = "quant/host", "quant/pid"
"""Run tags of a run that a command executes itself: where, and in which process."""

ANY_JOB = "__ASSET_JOB"
"""Dagster's own job of all assets, for what no named job holds; every code location has one."""

ASSET_REQUESTS = ["kafka", "requests"]
ASSET_ARTICLES = ["kafka", "articles"]
ASSET_DEAD_LETTERS = ["kafka", "dead_letters"]
"""Keys of the assets that stand for Kafka's topics; a tick that read something observes them."""

INCOMPLETE = "quant/incomplete"
"""``DataFrame.attrs`` key: why the rows are not all that there should be.

The IO manager stores the rows and then fails the step with this text: good rows are not lost, and
the partition does not count as materialized.
"""

FORECAST = ("return_forecast", "forecast_skill")
"""The forecast assets of a market, in the order of the data."""
FORECAST_INPUTS = ("technical_indicators", "technical_score", "news_sentiment")
"""What the features of a forecast are made from, beside the regime."""
TRADING = ("signals", "ledger", "orders", "fills", "positions", "risk")
"""The trading assets of a market, in the order of the data."""
CHAINED = ("signals", "ledger")
"""Those that go on from their own session before: made again from one on, all later ones are."""

PERFORMANCE_INPUTS = ("ledger", "risk", "signals", "recommendations", "prices")
"""What the evaluation of a market's book rests on."""
BACKTEST_INPUTS = ("recommendations", "technical_indicators", "return_forecast", "prices")
"""What a backtest of a market rests on."""

IO_MANAGER = "parquet"
"""Resource key of the IO manager of every dataset."""
SERVING_IO_MANAGER = "serving"
"""Resource key of the IO manager of the serving tables."""


def market_job(market_key: str, suffix: str) -> str:
    """Name of a market's job, such as ``us_price`` or ``kr_combined_analysis``."""
    return f"{market_key}_{suffix}"


CHECK_FRESHNESS = "freshness"
"""Name of the check that says whether an asset's due partitions are stored. It is evaluated by the
clock and not with a run, and told as the incident of stale data."""


FETCHED: Mapping[str, str] = {
    **{f"{key}/prices": market_job(key, "price") for key in MARKETS},
    "macro/observations": "macro_sync",
    "news/articles": "news_crawl",
}
"""The job of each asset that is fetched from a vendor."""
