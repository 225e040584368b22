"""What is ours on an instance that other code locations share. What belongs here: telling it."""

import dagster as dg

from quant_assets import naming
from quant_assets.housekeeping.job import NAME
from quant_assets.io_managers.serving_tables import SERVED
from quant_assets.jobs import BACKTEST, NAMED_JOBS, NEWS_STREAM
from quant_assets.markets import MARKETS
from quant_assets.schemas import DATASETS

TOPICS = (naming.ASSET_REQUESTS, naming.ASSET_ARTICLES, naming.ASSET_DEAD_LETTERS)
EVALUATIONS = ("research/backtest", *(f"{market}/performance" for market in MARKETS))
TABLES = tuple(served.asset for served in SERVED.values())
ASSETS = frozenset(
    dg.AssetKey(path)
    for path in (*(name.split("/") for name in (*DATASETS, *EVALUATIONS, *TABLES)), *TOPICS)
)
"""The keys of all assets of this code location."""
STORED_KEYS = tuple(sorted(key.to_string() for key in ASSETS))
"""The same as Dagster's tables write them."""
JOBS = frozenset((*NAMED_JOBS, NEWS_STREAM.name, BACKTEST, NAME))


def is_ours(run: dg.DagsterRun) -> bool:
    """Whether a run is one of our jobs, or of chosen assets that are all ours."""
    if not run.job_name.startswith(naming.ANY_JOB):
        return run.job_name in JOBS
    chosen = run.asset_selection or frozenset(
        key.asset_key for key in run.asset_check_selection or ()
    )
    return bool(chosen) and chosen <= ASSETS
