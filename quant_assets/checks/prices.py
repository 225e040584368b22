"""Quality of prices: what is strange about stored bars, and what is held back.

One check an asset, because each check costs Dagster some 10 ms a partition. The rules are
``domain/price_quality``.
"""

from datetime import date, timedelta
from typing import Any

import dagster as dg

from quant_assets.assets.prices import MARGIN
from quant_assets.checks.common import checked_partitions, findings_result, held_findings
from quant_assets.markets import MARKETS, Market
from quant_assets.partitions import session_of
from quant_assets.resources import SettingsResource, StoreResource
from quant_assets.schemas import dataset_of

CALENDAR_SHARE = 0.5
"""If more of a market's symbols have a bar on a closure, the calendar is wrong, not the vendor."""


def build_price_checks() -> list[dg.AssetChecksDefinition]:
    """The quality check of each market's prices."""
    return [_quality(market) for market in MARKETS.values()]


def _quality(market: Market) -> dg.AssetChecksDefinition:
    asset = f"{market.key}/prices"

    @dg.asset_check(
        asset=asset.split("/"),
        name="quality",
        description="No jump, stale close, volume step or vanished symbol, and nothing in "
        "quarantine.",
    )
    def quality(
        context: dg.AssetCheckExecutionContext, store: StoreResource, platform: SettingsResource
    ) -> dg.AssetCheckResult:
        import pandas as pd

        from quant_assets.domain.price_quality import absent, doubtful

        partitions = store.open()
        days = sorted(map(session_of, checked_partitions(context, partitions, asset)))
        if not days:
            return findings_result([], 0)
        sessions = market.sessions(days[0] - MARGIN, days[-1])
        frame = partitions.load(
            dataset_of(asset), asset, [session.isoformat() for session in sessions]
        ).frame
        found = doubtful(frame, pd.Timestamp(days[0]))
        listed = [x.symbol for x in platform.listings(market.key) if x.trades_on(days[-1])]
        rows = [
            (rule, f"{session:%Y-%m-%d}", symbol, detail)
            for rule, session, symbol, detail in found.itertuples(index=False)
        ]
        rows += [("absent", f"{days[-1]}", s, detail) for s, detail in absent(frame, listed)]
        held = _held(market, store, days)
        rows += held
        calendar = calendar_disagreements(held, len(listed))
        return findings_result([*calendar, *rows], len(frame), is_error=bool(calendar))

    return quality


def _held(market: Market, store: StoreResource, days: list[date]) -> list[Any]:
    """Findings of the quarantine, also on the closures since the session before the first."""
    quarantine = store.quarantine(f"{market.key}/prices")
    since = market.sessions(days[0] - MARGIN, days[0] - timedelta(days=1))
    first = (since[-1] + timedelta(days=1) if since else days[0]).isoformat()
    return held_findings(quarantine, first, days[-1].isoformat())


def calendar_disagreements(held: list[Any], listed: int) -> list[Any]:
    """Closures on which so many symbols have a bar that the calendar is in doubt."""
    on_closures = [row[1] for row in held if row[0] == "holiday_row"]
    return [
        (
            "calendar",
            day,
            "",
            f"{on_closures.count(day)} of {listed} symbols have a bar on a closure: if the "
            "exchange traded, add the day to QUANT_CALENDAR_OVERRIDES",
        )
        for day in sorted(set(on_closures))
        if on_closures.count(day) > CALENDAR_SHARE * listed
    ]
