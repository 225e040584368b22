"""``quant data``. What belongs here: listing, showing and removing stored partitions."""

from __future__ import annotations

from datetime import datetime

import click
from rich import box
from rich.table import Table

from quant_assets.cli.show import output, print_frame
from quant_assets.errors import BadConfigurationError
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.schemas import DATASETS, dataset_of
from quant_assets.schemas.keys import HOUR_FORMAT, SESSION_FORMAT
from quant_assets.settings import Settings


def _store(values: Settings) -> ParquetStore:
    return ParquetStore(values.data_place, values.profile)


def list_assets(values: Settings) -> None:
    """Print every asset with the number and range of its stored partitions and their size."""
    store = _store(values)
    table = Table("asset", "partitions", "first", "last", "size", box=box.SIMPLE)
    for asset in sorted(DATASETS):
        keys = store.list_partitions(asset)
        size = store.size(asset)
        ends = (keys[0], keys[-1]) if keys else ("", "")
        table.add_row(asset, f"{len(keys):,}", *ends, f"{size / 1e6:,.1f} MB")
    output().print(table)


def list_partitions(values: Settings, asset: str) -> None:
    """Print the stored partition keys of an asset, one a line."""
    dataset_of(asset)
    for key in _store(values).list_partitions(asset):
        click.echo(key)


def show_partition(values: Settings, asset: str, partition: str, rows: int, form: str) -> None:
    """Print the facts in a partition's footer and its first rows."""
    store = _store(values)
    dataset = dataset_of(asset)
    facts = store.info(asset, partition)
    frame = store.read(dataset, asset, [partition]).head(rows)
    if form != "table":
        print_frame(frame, form)
        return
    click.echo(
        f"{facts.address}\n{facts.rows} rows, {facts.bytes:,} bytes, profile {facts.profile}"
    )
    click.echo(
        f"content hash {facts.content_hash}, schema version {facts.schema_version}, "
        f"code version {facts.code_version}"
    )
    click.echo(frame.to_string(index=False))


def clear_partitions(
    values: Settings, asset: str, first: str | None, last: str | None, *, ask: bool
) -> None:
    """Remove stored partitions from ``first`` to ``last``; asks before unless told not to."""
    dataset_of(asset)
    store = _store(values)
    form = HOUR_FORMAT if asset.startswith("news/") else SESSION_FORMAT
    for key in (first, last):
        _demand_key(key, form)
    keys = [
        key
        for key in store.list_partitions(asset)
        if (first is None or key >= first) and (last is None or key <= last)
    ]
    if not keys:
        click.echo(f"{asset}: no stored partition in that range")
        return
    if ask:
        click.confirm(
            f"Remove {len(keys)} partitions {keys[0]} .. {keys[-1]} of {asset}?", abort=True
        )
    click.echo(f"removed {store.delete(asset, keys)} partitions of {asset}")


def _demand_key(key: str | None, form: str) -> None:
    """Raise ``BadConfigurationError`` unless ``key`` is written as a partition key is."""
    try:
        is_key = key is None or datetime.strptime(key, form).strftime(form) == key
    except ValueError:
        is_key = False
    if not is_key:
        raise BadConfigurationError(f"{key!r} is no partition key: it is written as {form}")
