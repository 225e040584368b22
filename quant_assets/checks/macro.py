"""Quality of the macro series: what is late, left out or held back, and what could not be read.

One check, because each check costs Dagster some 10 ms a partition. The rules are
``domain/macro_quality``.
"""

from datetime import date
from typing import TYPE_CHECKING

import dagster as dg

from quant_assets.assets.macro_fetch import ASSET, days_before
from quant_assets.checks.common import checked_partitions, findings_result, held_findings
from quant_assets.errors import BadDataError
from quant_assets.partitions import session_of
from quant_assets.resources import SettingsResource, StoreResource
from quant_assets.schemas import dataset_of

if TYPE_CHECKING:
    from quant_assets.io_managers.parquet_store import ParquetStore


def build_macro_checks() -> list[dg.AssetChecksDefinition]:
    """The quality check of the observations."""

    @dg.asset_check(
        asset=ASSET.split("/"),
        name="quality",
        description="No series is overdue, has a hole or missing values, or could not be read, and "
        "nothing is in quarantine.",
    )
    def quality(
        context: dg.AssetCheckExecutionContext, store: StoreResource, platform: SettingsResource
    ) -> dg.AssetCheckResult:
        from quant_assets.domain.macro_quality import doubtful

        partitions = store.open()
        keys = sorted(checked_partitions(context, partitions, ASSET))
        if not keys:
            return findings_result([], 0)
        days = history_of(partitions, session_of(keys[-1]))
        held = held_findings(store.quarantine(ASSET), min(keys[0], days[0]), keys[-1])
        try:
            frame = partitions.read(dataset_of(ASSET), ASSET, days)
        except BadDataError as error:
            unreadable = ("unreadable", keys[-1], "", str(error))
            return findings_result([*held, unreadable], 0, is_error=True)
        series = platform.settings().series()
        found: list[tuple[str, str, str, str]] = [
            (rule, f"{day}", series_id, detail)
            for rule, day, series_id, detail in doubtful(
                frame, series, session_of(days[0]), session_of(days[-1])
            )
        ]
        return findings_result([*held, *found], len(frame), is_error=bool(held))

    return [quality]


def history_of(store: "ParquetStore", last: date) -> list[str]:
    """Keys of the stored days up to ``last`` that follow each other without a gap.

    Behind a day that is not stored nothing can be said of holes.
    """
    from quant_assets.domain.macro_quality import HISTORY_DAYS

    keys = [*days_before(last, HISTORY_DAYS), last.isoformat()]
    missing = set(store.missing(ASSET, keys[:-1]))
    start = max((n + 1 for n, key in enumerate(keys) if key in missing), default=0)
    return keys[start:]
