"""The stored data in ``quant status``. What belongs here: looking at the newest files, no opinion.

Only the newest file of an asset is opened, and of it the footer and a few columns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from quant_assets.checks.freshness import look, timetables
from quant_assets.cli.status_house import House, said
from quant_assets.cli.status_report import AssetState, QuarantineState, QuotaState
from quant_assets.domain.freshness import Timetable
from quant_assets.io_managers.quarantine import Quarantine
from quant_assets.markets import MARKETS
from quant_assets.naming import FETCHED
from quant_assets.resources.base import shown_settings
from quant_assets.resources.vendors import AlphaVantageResource

QUARANTINED = 100
"""So many of the newest quarantine files of an asset are opened."""

Successes = Mapping[str, tuple[datetime, str]]
"""When each asset was last stored, and by which run (empty: by none)."""


def assets_of(house: House, successes: Successes) -> list[AssetState]:
    """Freshness of every watched asset, what its newest file holds, and who stored it."""
    tables = timetables(house.values)
    names = [name for name in tables if house.concerns(name)]
    return [_asset(house, name, tables[name], successes.get(name)) for name in names]


def _asset(
    house: House,
    asset: str,
    timetable: Timetable,
    success: tuple[datetime, str] | None,
) -> AssetState:
    group = asset.partition("/")[0]
    at, run_id = success or (None, None)
    known: dict[str, Any] = {
        "asset": asset,
        "group": group,
        "last_success_at": at,
        "last_run_id": run_id or None,
    }
    try:
        found = look(house.store, asset, timetable, house.now)
    except Exception as error:  # noqa: BLE001 - one folder that cannot be read is one asset
        return AssetState(**known, status="unknown", problem=said(error, house.values))
    known |= {
        "unit": found.unit,
        "newest": found.newest,
        "complete": found.complete,
        "due": found.due,
        "deadline": found.deadline,
        "behind": found.behind,
    }
    if found.newest is None and at is not None:
        place = house.values.data_place
        why = f"all of it is gone, stored last on {at:%Y-%m-%d}: is {place} mounted?"
        return AssetState(**known, status="lost", problem=why)
    if found.newest is None:
        return AssetState(**known, status="empty")
    try:
        known |= _content(house, asset, found.newest)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a file
        return AssetState(**known, status="unreadable", problem=said(error, house.values))
    return AssetState(**known, status=found.state)


def _content(house: House, asset: str, key: str) -> dict[str, Any]:
    """Rows of a partition from its footer; of the symbols, who is there."""
    rows = house.store.info(asset, key).rows
    market, _, name = asset.partition("/")
    if market not in MARKETS or name not in ("prices", "recommendations"):
        return {"rows": rows}
    listed = {
        x.symbol for x in house.values.universe(market) if x.trades_on(date.fromisoformat(key))
    }
    if name == "prices":
        symbols = house.store.columns(asset, key, ["symbol"])["symbol"]
        return {
            "rows": rows,
            "present": len(listed & set(symbols)),
            "expected": len(listed),
            "demanded": demanded(len(listed), house.values.success_ratio(market)),
        }
    values = house.store.columns(asset, key, ["symbol", "label", "is_degraded"])
    labelled = {s for s, label in zip(values["symbol"], values["label"], strict=True) if label}
    degraded = sum(bool(flag) for flag in values["is_degraded"])
    return {
        "rows": rows,
        "present": len(listed & labelled),
        "expected": len(listed),
        "degraded": degraded,
    }


def demanded(expected: int, ratio: float) -> int:
    """So many of the expected symbols must have prices: one of several may lack, as in a fetch."""
    least = math.ceil(round(ratio * expected, 6))
    return min(least, expected - 1) if expected > 1 else least


def quota(house: House) -> QuotaState | None:
    """Alpha Vantage's calls of the day; None where they are not counted."""
    if not house.values.has_alpha_vantage:
        return None
    resource = AlphaVantageResource(values=shown_settings(house.values))
    counted = resource.quota(lambda: house.now)
    limit = house.values.alpha_vantage_daily_calls
    if counted is None or limit is None:
        return None
    return QuotaState(left=counted.peek(), limit=limit, resets_at=counted.resets_at())


def quarantined(house: House) -> list[QuarantineState]:
    """Rows held back, of the assets that have any."""
    found = []
    for asset in FETCHED:
        if not house.concerns(asset):
            continue
        quarantine = Quarantine(house.store, asset)
        keys = quarantine.partitions()
        looked = keys[-QUARANTINED:]
        held = quarantine.count_held(looked)
        if held:
            found.append(
                QuarantineState(
                    asset=asset,
                    held=held,
                    partitions=len(keys),
                    partitions_looked_at=len(looked),
                )
            )
    return found
