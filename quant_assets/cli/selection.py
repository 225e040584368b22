"""Selections of stored assets, as commands take them. What belongs here: text to asset keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import click

from quant_assets.jobs import NAMED_JOBS, NEWS_STREAM
from quant_assets.markets import MARKETS
from quant_assets.schemas import DATASETS
from quant_assets.schemas.keys import HOUR_FORMAT, SESSION_FORMAT

if TYPE_CHECKING:
    import dagster as dg

FROM_KAFKA = "news/streamed_articles"
"""The one stored asset that nobody can ask for again: its messages come when they are sent."""
JOBS_BY_NAME = {**NAMED_JOBS, NEWS_STREAM.name: NEWS_STREAM}
_DAY = "2026-11-19"
_HINT = (
    "give a job (us_price), asset keys (us/prices,us/technical_score) or Dagster's syntax "
    "(key:us/technical_score+)"
)


@lru_cache(maxsize=1)
def asset_graph() -> Any:
    """The graph of the code location's assets."""
    from quant_assets.definitions import defs

    return defs.resolve_asset_graph()


def selected_assets(text: str) -> tuple[str, ...]:
    """The stored assets that a job's name, asset keys or a Dagster selection stand for.

    In the order of the data: what an asset is made from comes before it. Raises
    ``click.UsageError`` for what selects none.
    """
    named = [part.strip() for part in text.split(",")]
    if text.strip() in JOBS_BY_NAME:
        wanted = set(JOBS_BY_NAME[text.strip()].assets)
    elif all(name in DATASETS for name in named):
        wanted = set(named)
    else:
        wanted = _resolved(text)
    ordered = [key.to_user_string() for key in asset_graph().toposorted_asset_keys]
    found = tuple(asset for asset in ordered if asset in wanted and asset in DATASETS)
    if not found:
        raise click.UsageError(f"{text!r} selects no stored asset: {_HINT}")
    return found


def _resolved(text: str) -> set[str]:
    import dagster as dg

    try:
        selection = dg.AssetSelection.from_string(text)
        keys = selection.resolve(asset_graph())
    except Exception as error:  # noqa: BLE001  whatever Dagster's parser raises, the text is the user's
        said = str(error).strip().splitlines()
        reason = said[0] if said else type(error).__name__
        raise click.UsageError(f"{text!r} is no selection ({reason}); {_HINT}") from None
    return {key.to_user_string() for key in keys}


def partitions_of(asset: str) -> dg.PartitionsDefinition[Any]:
    """The partitions of a stored asset."""
    import dagster as dg

    found = asset_graph().get(dg.AssetKey(asset.split("/"))).partitions_def
    assert found is not None
    return found  # type: ignore[no-any-return]


def is_hourly(asset: str) -> bool:
    """Whether the partitions are hours."""
    return asset.startswith("news/")


def complete_keys(asset: str, first: str, last: str, now: datetime) -> list[str]:
    """The partitions of an asset from ``first`` to ``last`` that are over at ``now``, ascending.

    The ends are days (``2026-11-19``) or, of hours, hours (``2026-11-19-13``).
    """
    first, last = ends_of(asset, first, last)
    until = min(last, _last_complete(asset, now))
    return [key for key in partitions_of(asset).get_partition_keys() if first <= key <= until]


def ends_of(asset: str, first: str, last: str) -> tuple[str, str]:
    """The first and the last key that days stand for: hours, where the partitions are hours."""
    if not is_hourly(asset):
        return first[: len(_DAY)], last[: len(_DAY)]
    return (
        f"{first}-00" if len(first) == len(_DAY) else first,
        f"{last}-23" if len(last) == len(_DAY) else last,
    )


def _last_complete(asset: str, now: datetime) -> str:
    head = asset.partition("/")[0]
    if head in MARKETS:
        return MARKETS[head].last_complete_session(now).isoformat()
    if is_hourly(asset):
        return (now - timedelta(hours=1)).strftime(HOUR_FORMAT)
    # A release day ends at 06:00 UTC of the next, when FRED's day does.
    return (now - timedelta(days=1, hours=6)).strftime(SESSION_FORMAT)


def parents_of(asset: str, among: Sequence[str]) -> list[str]:
    """Those of ``among`` that an asset is made from directly."""
    import dagster as dg

    keys = asset_graph().get(dg.AssetKey(asset.split("/"))).parent_keys
    names = {key.to_user_string() for key in keys}
    return [name for name in among if name in names]
