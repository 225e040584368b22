"""Checks made from the contracts: what is stored obeys its dataset's columns, types and ranges."""

from collections.abc import Sequence

import dagster as dg

from quant_assets.checks.common import checked_partitions
from quant_assets.errors import BadDataError
from quant_assets.resources import StoreResource
from quant_assets.schemas import DATASETS, dataset_of


def build_schema_checks() -> list[dg.AssetChecksDefinition]:
    """One blocking check a dataset: the files as they lie on disk keep the contract."""
    return [_schema_check(asset) for asset in DATASETS]


def _schema_check(asset: str) -> dg.AssetChecksDefinition:
    dataset = dataset_of(asset)

    @dg.asset_check(
        asset=asset.split("/"),
        name="schema",
        blocking=True,
        description=f"The stored rows keep the contract {dataset.name} v{dataset.version}.",
    )
    def schema(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
        partitions = store.open()
        keys = checked_partitions(context, partitions, asset)
        if not keys:
            return dg.AssetCheckResult(passed=False, description=f"{asset}: nothing is stored")
        try:
            rows = len(partitions.read(dataset, asset, keys))
        except BadDataError as error:
            return dg.AssetCheckResult(passed=False, description=str(error))
        return dg.AssetCheckResult(
            passed=True, metadata={"partitions": len(keys), "rows": rows, **_span(keys)}
        )

    return schema


def _span(keys: Sequence[str]) -> dict[str, str]:
    return {"first": min(keys), "last": max(keys)} if keys else {}
