"""``quant raw`` and ``quant rebuild``. What belongs here: the kept answers as a user sees them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import click
from rich import box
from rich.table import Table

from quant_assets.cli.show import output
from quant_assets.errors import BadConfigurationError
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.naming import FETCHED, TAG_REBUILD
from quant_assets.settings import Settings
from quant_assets.vendors.archive import Manifest, RawArchive, UnreadableArchiveError


def _archive(values: Settings) -> RawArchive:
    return RawArchive(values.raw_dir, values.secrets)


def list_fetches(values: Settings, asset: str | None) -> None:
    """Print every kept fetch of an asset, or of all, and which manifests are damaged."""
    if asset is not None:
        _demand_fetched(asset)
    archive = _archive(values)
    table = Table("asset", "first", "last", "fetched at (UTC)", "answers", "size", box=box.SIMPLE)
    damaged = []
    for name in archive.assets() if asset is None else [asset]:
        for manifest in archive.manifests(name):
            try:
                entries = manifest.load()[1]
                size = f"{sum(entry.bytes for entry in entries) / 1e6:,.1f} MB"
                facts = (f"{len(entries):,}", size)
            except UnreadableArchiveError as error:
                damaged.append(error)
                facts = ("damaged", "")
            when = f"{manifest.saved_at:%Y-%m-%d %H:%M:%S}"
            table.add_row(name, manifest.first, manifest.last, when, *facts)
    if table.row_count:
        output().print(table)
    else:
        click.echo("no raw answers are kept")
    for problem in damaged:
        click.echo(f"warning: {problem}", err=True)


def prune(values: Settings, days: int | None, *, dry_run: bool) -> None:
    """Remove what is older than ``days``, by default the retention of the settings."""
    keep = values.raw_retention_days if days is None else days
    before = datetime.now(UTC) - timedelta(days=keep)
    try:
        count, size = _archive(values).prune(before, dry_run=dry_run)
    except OSError as error:
        raise BadConfigurationError(
            f"raw answers below {values.raw_dir} could not be removed: {error}; make it readable "
            "and writable"
        ) from error
    verb = "would remove" if dry_run else "removed"
    click.echo(f"{verb} {count:,} files, {size / 1e6:,.1f} MB, older than {keep} days")


def rebuild_partitions(values: Settings, asset: str, first: str, last: str) -> bool:
    """Run the asset's job on kept answers for each stretch of one fetch; whether all succeeded."""
    from quant_assets.cli.execute import execute
    from quant_assets.cli.tasks import Task

    _demand_fetched(asset)
    if last < first:
        raise BadConfigurationError(f"the last partition {last} is before the first, {first}")
    archive = _archive(values)
    keys = _partitions(values, asset, first, last)
    is_complete = True
    for stretch in stretches(keys, archive.manifests(asset)):
        task = Task(FETCHED[asset], (asset,), stretch[0], stretch[-1], len(stretch))
        outcome = execute(task, str(uuid.uuid4()), {TAG_REBUILD: "true"})
        if outcome.reason:
            is_complete = False
            click.echo(f"failed {task.title}: {outcome.reason}", err=True)
        else:
            click.echo(f"rebuilt {asset} {stretch[0]} .. {stretch[-1]} from kept answers")
    return is_complete


def _partitions(values: Settings, asset: str, first: str, last: str) -> list[str]:
    """Stored partitions from ``first`` to ``last``, and these two if there are such partitions.

    Raises ``BadConfigurationError`` if there is none at all: a closure has no partition.
    """
    import dagster as dg

    from quant_assets.definitions import defs

    definition = defs.resolve_asset_graph().get(dg.AssetKey(asset.split("/"))).partitions_def
    assert definition is not None
    stored = ParquetStore(values.data_place, values.profile).list_partitions(asset)
    ends = {key for key in (first, last) if definition.has_partition_key(key)}
    keys = sorted({key for key in stored if first <= key <= last} | ends)
    if not keys:
        raise BadConfigurationError(f"{asset} has no partition from {first} to {last}")
    return keys


def _demand_fetched(asset: str) -> None:
    if asset not in FETCHED:
        raise BadConfigurationError(
            f"{asset} is not fetched from a vendor; these are: {', '.join(FETCHED)}"
        )


def stretches(keys: Sequence[str], manifests: Sequence[Manifest]) -> list[list[str]]:
    """Neighbouring ``keys`` whose newest covering fetch is the same.

    Raises ``BadConfigurationError`` naming the first key that no kept fetch covers.
    """
    found: list[list[str]] = []
    before: Manifest | None = None
    for key in keys:
        covering = [m for m in manifests if m.first <= key <= m.last]
        if not covering:
            raise BadConfigurationError(
                f"{key}: no raw answers are kept for it (QUANT_RAW_RETENTION_DAYS); materialize "
                "the partition, which asks the vendor"
            )
        if covering[-1] != before:
            found.append([])
            before = covering[-1]
        found[-1].append(key)
    return found
