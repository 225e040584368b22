"""What the checks share. What belongs here: which partitions a check looks at, and findings."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import dagster as dg

from quant_assets.assets.common import markdown_table
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.io_managers.quarantine import Quarantine


def checked_partitions(
    context: dg.AssetCheckExecutionContext, store: ParquetStore, asset: str
) -> list[str]:
    """Partitions of the run, or the latest stored one if the check runs without any."""
    if context.has_partition_key or context.has_partition_key_range:
        return list(context.partition_keys)
    return store.list_partitions(asset)[-1:]


def held_findings(quarantine: Quarantine, first: str, last: str) -> list[tuple[str, str, str, str]]:
    """Findings of what is held in the partitions ``first`` to ``last``."""
    keys = [key for key in quarantine.partitions() if first <= key <= last]
    columns = ["rule", "partition_key", "item", "reason"]
    rows = quarantine.held(keys)[columns].itertuples(index=False)
    return [(rule, key, item, f"held: {reason}") for rule, key, item, reason in rows]


SHOWN = 50
FINDING_COLUMNS = ["rule", "partition", "item", "detail"]


def findings_result(
    findings: Sequence[tuple[str, str, str, str]], rows: int, *, is_error: bool = False
) -> dg.AssetCheckResult:
    """Result of a quality check: passed without findings, else with the first of them by rule.

    ``findings`` are (rule, partition, item, detail); ``rows`` how many rows were looked at.
    """
    by_rule = Counter(rule for rule, _, _, _ in findings)
    metadata: dict[str, Any] = {"findings": len(findings), "rows": rows}
    if findings:
        metadata["by_rule"] = markdown_table(["rule", "findings"], list(by_rule.items()))
        metadata["first"] = markdown_table(FINDING_COLUMNS, findings[:SHOWN])
    return dg.AssetCheckResult(
        passed=not findings,
        severity=dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN,
        metadata=metadata,
    )
