"""``quant quarantine``. What belongs here: listing, showing and releasing refused rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click
from rich import box
from rich.table import Table
from rich.text import Text

from quant_assets.cli.show import output, print_frame
from quant_assets.cli.text import printable
from quant_assets.errors import MissingPartitionError
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.io_managers.quarantine import Quarantine
from quant_assets.schemas import DATASETS, dataset_of
from quant_assets.settings import Settings
from quant_assets.versions import code_versions

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ["asset", "partition_key", "item", "rule", "reason", "state", "held_at"]


def _store(values: Settings) -> ParquetStore:
    return ParquetStore(values.data_place, values.profile)


def list_rows(
    values: Settings, asset: str | None, first: str | None, last: str | None, form: str
) -> None:
    """Print the quarantined rows of an asset, or of all, one a line."""
    keys = {
        name: [
            key
            for key in Quarantine(_store(values), name).partitions()
            if (first is None or key >= first) and (last is None or key <= last)
        ]
        for name in (sorted(DATASETS) if asset is None else [asset])
    }
    if form != "table":
        print_frame(_rows(values, keys), form)
        return
    # Reading takes pandas, which is slow to import: mostly there is nothing to read.
    frame = _rows(values, keys) if any(keys.values()) else None
    if frame is None or frame.empty:
        click.echo("nothing is in quarantine")
        return
    table = Table(*(name.replace("_key", "") for name in COLUMNS[:-1]), box=box.SIMPLE)
    for row in frame[COLUMNS[:-1]].astype(str).itertuples(index=False):
        table.add_row(*(Text(printable(value)) for value in row))
    output().print(table)


def _rows(values: Settings, keys: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Quarantined rows of partitions, which stand by asset."""
    import pandas as pd

    store = _store(values)
    frames = [
        Quarantine(store, asset).read(wanted).assign(asset=asset)[COLUMNS]
        for asset, wanted in keys.items()
    ]
    return pd.concat(frames, ignore_index=True)


def show_rows(values: Settings, asset: str, partition: str, item: str | None) -> None:
    """Print reason, raw values and the row that a release would store."""
    frame = Quarantine(_store(values), asset).read([partition])
    frame = frame if item is None else frame[frame["item"] == item]
    if frame.empty:
        raise MissingPartitionError(
            f"{asset} {partition}: nothing {f'named {item} ' if item else ''}is in quarantine; "
            f"see `quant quarantine list {asset}`"
        )
    for row in frame.to_dict("records"):
        since = f"{row['held_at']:%Y-%m-%d %H:%M} UTC"
        stored = f"would store: {row['row']}" if row["row"] else "no storable row to release"
        click.echo(printable(f"{row['item']}: {row['rule']}, {row['state']} since {since}"))
        for line in (row["reason"], f"{row['source']} gave: {row['raw']}", stored):
            click.echo(f"  {printable(line)}")


def release_rows(
    values: Settings, asset: str, partition: str, items: Sequence[str], *, ask: bool
) -> None:
    """Store held rows and tell Dagster, so that what rests on the partition is made again."""
    import dagster as dg

    dataset_of(asset)
    store = _store(values)
    if ask:
        named = printable(", ".join(items))
        click.confirm(f"Store {named} of {asset} {partition} after all?", abort=True)
    frame = Quarantine(store, asset).release(partition, items, code_versions(values)[asset])
    rows = len(store.read(dataset_of(asset), asset, [partition]))
    with dg.DagsterInstance.get() as instance:
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                asset_key=asset.split("/"),
                partition=partition,
                description=f"released from quarantine: {', '.join(items)}",
                metadata={
                    "released": json.dumps(list(items)),
                    "dagster/partition_row_count": rows,
                    "profile": values.profile,
                },
            )
        )
    click.echo(f"stored {len(frame)} row(s) in {asset} {partition}, which now has {rows}")
    if asset.endswith("/prices") and _has_event(frame):
        click.echo(
            "the session has a split or dividend of these symbols, which meanwhile stands on their "
            f"next session: materialize that one again (or `quant rebuild {asset} NEXT_SESSION`)"
        )
    click.echo("`quant run` makes again what rests on it")


def _has_event(frame: pd.DataFrame) -> bool:
    return bool(((frame["dividend"] != 0) | (frame["split_ratio"] != 1)).any())
