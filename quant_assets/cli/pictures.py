"""Pictures out of the metadata of materializations. What belongs here: decoding and saving."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import dagster as dg

from quant_assets.settings import Settings

_BEFORE, _AFTER = "base64,", ")"


def save_pictures(
    instance: dg.DagsterInstance, values: Settings, shown: Mapping[str, str]
) -> list[str]:
    """Save the pictures of the recommendations ``shown`` (market, session); the files' paths."""
    paths = []
    folder = values.home_dir / "pictures"
    for market, session in shown.items():
        records = instance.fetch_materializations(
            dg.AssetRecordsFilter(
                asset_key=dg.AssetKey([market, "recommendations"]), asset_partitions=[session]
            ),
            limit=1,
        ).records
        materialization = records[0].asset_materialization if records else None
        picture = materialization.metadata.get("picture") if materialization else None
        if materialization is None or not isinstance(picture, dg.MarkdownMetadataValue):
            continue
        text = picture.md_str or ""
        if _BEFORE not in text:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{market}_recommendations_{session}.png"
        encoded = text.split(_BEFORE, 1)[1].rsplit(_AFTER, 1)[0]
        path.write_bytes(base64.b64decode(encoded))
        paths.append(str(path))
    return paths
