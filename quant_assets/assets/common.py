"""What every asset of the platform says about itself. What belongs here: shared specs, metadata.

Asset modules keep pandas out of their imports: the code location is imported at every run's start.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

from quant_assets import naming
from quant_assets.errors import BadConfigurationError
from quant_assets.markets import Market
from quant_assets.partitions import session_of, session_partitions
from quant_assets.policies import OTHER_LIMIT, SINGLE_RUN, TimeLimit
from quant_assets.schemas import dataset_of
from quant_assets.schemas.contract import Dataset
from quant_assets.schemas.keys import HOUR_FORMAT, SESSION_FORMAT

if TYPE_CHECKING:
    import pandas as pd

ROW_COUNT_LIMIT = 100
"""Longest range whose partitions get their own row counts.

``add_asset_metadata(partition_key=...)`` lists the run's partitions at each call: 21 ms for a
range of 2,500, so that a ten-year range would spend a minute on them.
"""


Versions = Mapping[str, str]
"""Code version of each asset, by its key joined with slashes."""


def dataset_spec(asset: str, *, group: str, kinds: set[str], versions: Versions) -> dict[str, Any]:
    """Arguments of ``@dg.asset`` that follow from the dataset's contract."""
    dataset = dataset_of(asset)
    return {
        "key": asset.split("/"),
        "group_name": group,
        "description": dataset.description,
        "kinds": {"python", "parquet", *kinds},
        "owners": [naming.OWNER],
        "code_version": versions[asset],
        "io_manager_key": naming.IO_MANAGER,
        "metadata": {
            "dagster/column_schema": column_schema(dataset),
            "dagster/table_name": asset.replace("/", "."),
            "schema_version": dataset.version,
            "key": ", ".join(dataset.key),
        },
    }


def session_asset(
    market: Market, versions: Versions, name: str, *, group: str, kinds: set[str]
) -> dict[str, Any]:
    """Arguments of ``@dg.asset`` for a dataset of a market that a run computes for a range."""
    return {
        **dataset_spec(f"{market.key}/{name}", group=group, kinds=kinds, versions=versions),
        "partitions_def": session_partitions(market),
        "backfill_policy": SINGLE_RUN,
    }


def column_schema(dataset: Dataset) -> dg.TableSchema:
    """The contract as Dagster shows it: type, meaning, unit and rules of each column."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column.name,
                type=column.type,
                description=f"{column.description} [{column.unit}]"
                if column.unit
                else column.description,
                constraints=dg.TableColumnConstraints(
                    nullable=column.nullable,
                    other=[
                        *([f">= {column.minimum:g}"] if column.minimum is not None else []),
                        *([f"<= {column.maximum:g}"] if column.maximum is not None else []),
                        *([f"one of {', '.join(column.allowed)}"] if column.allowed else []),
                    ],
                ),
            )
            for column in dataset.columns
        ]
    )


def record(
    context: dg.AssetExecutionContext, frame: "pd.DataFrame", facts: Mapping[str, Any]
) -> "pd.DataFrame":
    """Attach ``facts`` and the rows of each partition to the materializations; returns ``frame``.

    Facts describe the run or its last partition and go to the last partition's event only: they
    would be wrong on the others, and 2,500 copies of a picture of 30 kB would fill the event log.
    """
    keys = sorted(context.partition_keys)
    context.add_asset_metadata(dict(facts), partition_key=keys[-1] if len(keys) > 1 else None)
    if 1 < len(keys) <= ROW_COUNT_LIMIT:
        counts = rows_by_partition(dataset_of(context.asset_key.to_user_string()), frame)
        for key in keys:
            context.add_asset_metadata(
                {"dagster/partition_row_count": counts.get(key, 0)}, partition_key=key
            )
    return frame


def rows_by_partition(dataset: Dataset, frame: "pd.DataFrame") -> dict[str, int]:
    """Number of rows of each partition key in ``frame``."""
    is_hourly = dataset.partition_column == "hour"
    names = frame[dataset.partition_column].dt.strftime(
        HOUR_FORMAT if is_hourly else SESSION_FORMAT
    )
    return {str(key): int(count) for key, count in names.value_counts().items()}


def run_sessions(context: dg.AssetExecutionContext) -> list[date]:
    """The sessions or release days that this run materializes, ascending."""
    demand_existing_partition(context)
    return sorted(session_of(key) for key in context.partition_keys)


def demand_existing_partition(context: dg.AssetExecutionContext) -> None:
    """Raise ``BadConfigurationError`` if the run was asked for a partition that does not exist.

    Dagster takes the next one instead: a Saturday asked for would rewrite Monday. A range that
    exists is granted its time.
    """
    keys = list(context.partition_keys)
    for tag, key in (
        (naming.TAG_PARTITION, keys[0]),
        (naming.TAG_RANGE_START, keys[0]),
        (naming.TAG_RANGE_END, keys[-1]),
    ):
        asked = context.run.tags.get(tag)
        if asked is not None and asked not in keys:
            raise BadConfigurationError(
                f"{context.asset_key.to_user_string()} has no partition {asked!r} ({tag}); "
                f"the nearest is {key}"
            )
    grant_time(context)


def grant_time(context: dg.AssetExecutionContext) -> None:
    """Set the time limit of a run, whoever launched it, once its first step has begun.

    A job's tags cannot know the range of a run, nor how long it waits for a vendor's pool: before
    it has begun only the instance's own limit holds. A limit that is set already stays as it is.
    """
    record = context.instance.get_run_record_by_id(context.run.run_id)
    if record is None or naming.TAG_MAX_RUNTIME in record.dagster_run.tags:
        return
    limit = TimeLimit.read(record.dagster_run.tags.get(naming.TAG_TIME_LIMIT)) or OTHER_LIMIT
    waited = time.time() - (record.start_time or time.time())
    seconds = int(waited // 60) * 60 + limit.seconds(len(context.partition_keys))
    context.instance.add_run_tags(context.run.run_id, {naming.TAG_MAX_RUNTIME: str(seconds)})


def markdown_table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> dg.MarkdownMetadataValue:
    """A table for the UI; numbers are shown with up to six significant digits."""

    def cell(value: Any) -> str:
        if isinstance(value, float):
            return "" if value != value else f"{value:,.6g}"
        return str(value).replace("|", "\\|").replace("\n", " ")

    lines = [
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
        *("| " + " | ".join(cell(value) for value in row) + " |" for row in rows),
    ]
    return dg.MetadataValue.md("\n".join(lines))
