"""What the checks share. What belongs here: which partitions a check looks at."""

import dagster as dg

from quant_assets.io_managers.parquet_store import ParquetStore


def checked_partitions(
    context: dg.AssetCheckExecutionContext, store: ParquetStore, asset: str
) -> list[str]:
    """Partitions of the run, or the latest stored one if the check runs without any."""
    if context.has_partition_key or context.has_partition_key_range:
        return list(context.partition_keys)
    return store.list_partitions(asset)[-1:]
