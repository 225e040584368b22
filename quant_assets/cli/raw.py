"""``quant raw`` and ``quant rebuild``. What belongs here: the kept answers as a user sees them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import click
from rich import box
from rich.table import Table

from quant_assets.cli.execute import execute
from quant_assets.cli.plan import Task
from quant_assets.cli.show import output
from quant_assets.errors import BadConfigurationError
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.markets import MARKETS
from quant_assets.naming import TAG_REBUILD, market_job
from quant_assets.settings import Settings
from quant_assets.vendors.archive import Manifest, RawArchive

JOBS = {
    **{f"{key}/prices": market_job(key, "price") for key in MARKETS},
    "macro/observations": "macro_sync",
    "news/articles": "news_crawl",
}
"""The job of each asset that is fetched from a vendor."""


def _archive(values: Settings) -> RawArchive:
    return RawArchive(values.raw_dir, values.secrets)


def list_fetches(values: Settings, asset: str | None) -> None:
    """Print every kept fetch of an asset, or of all."""
    archive = _archive(values)
    table = Table("asset", "first", "last", "fetched at (UTC)", "answers", "size", box=box.SIMPLE)
    for name in archive.assets() if asset is None else [asset]:
        for manifest in archive.manifests(name):
            entries = manifest.load()[1]
            size = sum(entry.bytes for entry in entries)
            when = f"{manifest.saved_at:%Y-%m-%d %H:%M:%S}"
            table.add_row(
                name,
                manifest.first,
                manifest.last,
                when,
                f"{len(entries):,}",
                f"{size / 1e6:,.1f} MB",
            )
    if table.row_count:
        output().print(table)
    else:
        click.echo("no raw answers are kept")


def prune(values: Settings, days: int | None, *, dry_run: bool) -> None:
    """Remove what is older than ``days``, by default the retention of the settings."""
    keep = values.raw_retention_days if days is None else days
    before = datetime.now(UTC) - timedelta(days=keep)
    count, size = _archive(values).prune(before, dry_run=dry_run)
    verb = "would remove" if dry_run else "removed"
    click.echo(f"{verb} {count:,} files, {size / 1e6:,.1f} MB, older than {keep} days")


def rebuild_partitions(values: Settings, asset: str, first: str, last: str) -> bool:
    """Run the asset's job on kept answers for each stretch of one fetch; whether all succeeded."""
    if asset not in JOBS:
        raise BadConfigurationError(
            f"{asset} is not fetched from a vendor; these are: {', '.join(JOBS)}"
        )
    archive = _archive(values)
    store = ParquetStore(values.data_dir, values.profile)
    stored = store.list_partitions(asset)
    keys = sorted({k for k in stored if first <= k <= last} | {first, last})
    is_complete = True
    for stretch in stretches(keys, archive.manifests(asset)):
        task = Task(JOBS[asset], (asset,), stretch[0], stretch[-1], len(stretch))
        outcome = execute(task, str(uuid.uuid4()), {TAG_REBUILD: "true"})
        if outcome.reason:
            is_complete = False
            click.echo(f"failed {task.title}: {outcome.reason}", err=True)
        else:
            click.echo(f"rebuilt {asset} {stretch[0]} .. {stretch[-1]} from kept answers")
    return is_complete


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
