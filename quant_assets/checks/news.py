"""Checks of meaning on the news. What belongs here: reporting what a crawl found doubtful."""

from typing import Any

import dagster as dg

from quant_assets.assets.common import markdown_table
from quant_assets.assets.news_collecting import GENERAL_FEED
from quant_assets.assets.news_holding import ARTICLES, FEED_SILENT, SOURCE_FAILED
from quant_assets.checks.common import checked_partitions
from quant_assets.resources import StoreResource

SHOWN = 50
COLUMNS = ["rule", "hour", "item", "reason"]


def build_news_checks() -> list[dg.AssetChecksDefinition]:
    """Quality of the articles of an hour or a range of hours."""
    return [_articles_quality()]


def _articles_quality() -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=ARTICLES.split("/"),
        name="quality",
        description=(
            "Every source answered, no feed has fallen silent, no article is held in quarantine."
        ),
    )
    def quality(
        context: dg.AssetCheckExecutionContext, store: StoreResource
    ) -> dg.AssetCheckResult:
        quarantine = store.quarantine(ARTICLES)
        keys = set(checked_partitions(context, store.open(), ARTICLES))
        frame = quarantine.held(sorted(keys & set(quarantine.partitions())))
        columns = (frame[name] for name in ("rule", "partition_key", "item", "reason"))
        findings = sorted(zip(*columns, strict=True))
        return quality_result(findings)

    return quality


def quality_result(findings: list[tuple[str, str, str, str]]) -> dg.AssetCheckResult:
    """Result for (rule, hour, item, reason) findings.

    A provider's whole feed that failed is an error, as news of every symbol are missing; a
    ticker, a silent feed and held articles are warnings.
    """
    sources = [f for f in findings if f[0] in (SOURCE_FAILED, FEED_SILENT)]
    is_error = any(rule == SOURCE_FAILED and is_feed(item) for rule, _, item, _ in sources)
    metadata: dict[str, Any] = {
        "findings": len(findings),
        "held_articles": len(findings) - len(sources),
        "sources_failed": sum(rule == SOURCE_FAILED for rule, *_ in sources),
        "sources_silent": sum(rule == FEED_SILENT for rule, *_ in sources),
    }
    if findings:
        others = [f for f in findings if f not in sources]
        metadata["rows"] = markdown_table(COLUMNS, [*sources, *others][:SHOWN])
    return dg.AssetCheckResult(
        passed=not findings,
        severity=dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN,
        metadata=metadata,
    )


def is_feed(source: str) -> bool:
    """Whether a source is a whole feed and not the news of one ticker."""
    return source == GENERAL_FEED or source.startswith("rss ")
