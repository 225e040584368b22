"""The serving tables as assets. What belongs here: an asset for each table that is kept."""

from dataclasses import replace
from typing import Any

import dagster as dg

from quant_assets import naming
from quant_assets.assets.common import column_schema
from quant_assets.io_managers.serving_tables import SERVED, Served
from quant_assets.markets import MARKETS
from quant_assets.partitions import hour_partitions, session_partitions, stream_hours
from quant_assets.policies import SINGLE_RUN, VENDOR_RETRY
from quant_assets.settings import Settings

_LAST = {"dagster/priority": "-1"}
"""A slow database holds up no other step of the run."""


def build_serving(settings: Settings) -> list[dg.AssetsDefinition]:
    """An asset for each served one; none without ``QUANT_SERVING_URL``."""
    return [_table(served, settings) for served in SERVED.values() if settings.has_serving]


def _table(served: Served, settings: Settings) -> dg.AssetsDefinition:
    is_postgres = settings.serving_address.startswith("postgresql")
    dataset = served.table.dataset

    @dg.asset(
        key=served.asset.split("/"),
        ins={"rows": dg.AssetIn(key=served.source.split("/"))},
        partitions_def=_partitions(served, settings),
        backfill_policy=SINGLE_RUN,
        retry_policy=VENDOR_RETRY,
        io_manager_key=naming.SERVING_IO_MANAGER,
        op_tags=_LAST,
        group_name=naming.GROUP_SERVING,
        description=f"{dataset.description} As rows of the table {served.table.name}.",
        kinds={"table", "postgresql" if is_postgres else "sqlite"},
        owners=[naming.OWNER],
        code_version="1",
        metadata={
            "dagster/column_schema": column_schema(replace(dataset, columns=served.table.columns)),
            "dagster/table_name": served.table.name,
            "key": ", ".join(served.table.key),
        },
    )
    def table(rows: Any) -> Any:
        return rows

    return table


def _partitions(served: Served, settings: Settings) -> dg.TimeWindowPartitionsDefinition:
    if served.scope in MARKETS:
        return session_partitions(MARKETS[served.scope])
    hours = stream_hours if served.scope == "streamed" else hour_partitions
    return hours(settings.news_start)
