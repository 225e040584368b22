"""Checks of coverage: every symbol that should have a row has one, and those without are named."""

from datetime import date
from typing import Any

import dagster as dg

from quant_assets.assets.common import markdown_table
from quant_assets.checks.common import checked_partitions
from quant_assets.markets import MARKETS, Market, expected_rows
from quant_assets.partitions import session_of
from quant_assets.resources import SettingsResource, StoreResource
from quant_assets.schemas import dataset_of

SHOWN = 50


def build_coverage_checks() -> list[dg.AssetChecksDefinition]:
    """Coverage of prices and of recommendations, for each market."""
    return [
        check
        for market in MARKETS.values()
        for check in (_price_coverage(market), _label_coverage(market))
    ]


def _price_coverage(market: Market) -> dg.AssetChecksDefinition:
    asset = f"{market.key}/prices"

    @dg.asset_check(
        asset=asset.split("/"),
        name="coverage",
        description="Every symbol of the universe has a bar in every session it was listed in.",
    )
    def coverage(
        context: dg.AssetCheckExecutionContext, store: StoreResource, platform: SettingsResource
    ) -> dg.AssetCheckResult:
        partitions = store.open()
        keys = sorted(checked_partitions(context, partitions, asset))
        frame = partitions.read(dataset_of(asset), asset, keys)
        have = set(zip(frame["session_date"].dt.date, frame["symbol"], strict=True))
        expected = _expected(platform, market, keys)
        missing = [pair for pair in expected if pair not in have]
        return _result(missing, len(expected), ["session", "symbol"])

    return coverage


def _label_coverage(market: Market) -> dg.AssetChecksDefinition:
    asset = f"{market.key}/recommendations"

    @dg.asset_check(
        asset=asset.split("/"),
        name="labelled",
        description="Every symbol has a label; those without are named with the reason.",
    )
    def labelled(
        context: dg.AssetCheckExecutionContext, store: StoreResource, platform: SettingsResource
    ) -> dg.AssetCheckResult:
        partitions = store.open()
        keys = sorted(checked_partitions(context, partitions, asset))
        frame = partitions.read(dataset_of(asset), asset, keys)
        unlabelled = frame[frame["label"].isna()]
        pairs = zip(unlabelled["session_date"].dt.date, unlabelled["symbol"], strict=True)
        reasons = dict(zip(pairs, unlabelled["reason"], strict=True))
        labelled = frame[frame["label"].notna()]
        have = set(zip(labelled["session_date"].dt.date, labelled["symbol"], strict=True))
        expected = _expected(platform, market, keys)
        without = [
            (*pair, reasons.get(pair, "no bar in the session"))
            for pair in expected
            if pair not in have
        ]
        return _result(without, len(expected), ["session", "symbol", "reason"])

    return labelled


def _expected(
    platform: SettingsResource, market: Market, keys: list[str]
) -> list[tuple[date, str]]:
    """(session, symbol) pairs of the universe that should have a row."""
    return expected_rows(map(session_of, keys), platform.listings(market.key))


def _result(missing: list[Any], expected: int, columns: list[str]) -> dg.AssetCheckResult:
    metadata: dict[str, Any] = {
        "expected": expected,
        "missing": len(missing),
        "coverage": 1 - len(missing) / expected if expected else 0.0,
    }
    if missing:
        metadata["rows"] = markdown_table(columns, missing[:SHOWN])
    return dg.AssetCheckResult(
        passed=not missing and expected > 0,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=metadata,
    )
