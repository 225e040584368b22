"""Pictures out of the metadata of materializations. What belongs here: finding and saving them."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from quant_assets.hooks.thread_facts import picture_of
from quant_assets.settings import Settings


def save_pictures(
    instance: dg.DagsterInstance, values: Settings, shown: Mapping[str, str]
) -> list[str]:
    """Save the pictures of the recommendations ``shown`` (market, session); the files' paths."""
    paths = []
    folder = values.home_dir / "pictures"
    for market, session in shown.items():
        content = recommendation_picture(instance, market, session)
        if content is None:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{market}_recommendations_{session}.png"
        path.write_bytes(content)
        paths.append(str(path))
    return paths


def recommendation_picture(instance: dg.DagsterInstance, market: str, session: str) -> bytes | None:
    """The picture of the recommendations of a session, None if there is none."""
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(
            asset_key=dg.AssetKey([market, "recommendations"]), asset_partitions=[session]
        ),
        limit=1,
    ).records
    materialization = records[0].asset_materialization if records else None
    return picture_of(materialization.metadata) if materialization is not None else None
