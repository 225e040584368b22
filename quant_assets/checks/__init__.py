"""Asset checks: those that follow from the contracts, and those of meaning."""

from quant_assets.checks.coverage import build_coverage_checks
from quant_assets.checks.freshness import build_freshness_checks
from quant_assets.checks.macro import build_macro_checks
from quant_assets.checks.news import build_news_checks
from quant_assets.checks.prices import build_price_checks
from quant_assets.checks.schema import build_schema_checks
from quant_assets.checks.trading import build_trading_checks

__all__ = [
    "build_coverage_checks",
    "build_freshness_checks",
    "build_macro_checks",
    "build_news_checks",
    "build_price_checks",
    "build_schema_checks",
    "build_trading_checks",
]
