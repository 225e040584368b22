"""Serving tables from the command line. What belongs here: comparing them with what is stored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import click
from rich import box
from rich.console import Console
from rich.table import Table

from quant_assets.errors import BadConfigurationError
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.io_managers.partitioned_parquet import named_range, parts_of
from quant_assets.io_managers.serving import serving_database
from quant_assets.io_managers.serving_database import ServingDatabase
from quant_assets.io_managers.serving_tables import SERVED, Served
from quant_assets.schemas import dataset_of

if TYPE_CHECKING:
    from quant_assets.settings import Settings

PARTITIONS_A_TRANSACTION = 250


@dataclass(frozen=True)
class Gap:
    """What a table lacks of one asset: partitions to serve, and served ones that are not stored."""

    served: Served
    stored: int
    last: str
    to_serve: tuple[str, ...]
    to_remove: tuple[str, ...]

    @property
    def is_closed(self) -> bool:
        """Whether the table holds what is stored."""
        return not self.to_serve and not self.to_remove


def set_up(values: Settings) -> None:
    """Make or update the tables, and say where they are."""
    database = serving_database(values)
    revision = database.setup()
    click.echo(f"serving tables at {database.address}: schema {revision}")


def show_status(values: Settings, form: str) -> bool:
    """Print the state of each table; whether all are up to date."""
    database = serving_database(values)
    store = ParquetStore(values.data_place, values.profile)
    gaps = _gaps(store, database, None, None)
    if form == "json":
        click.echo(
            json.dumps(
                {
                    "database": database.address,
                    "tables": [
                        {
                            "table": gap.served.table.name,
                            "asset": gap.served.source,
                            "stored": gap.stored,
                            "last": gap.last,
                            "to_serve": len(gap.to_serve),
                            "to_remove": len(gap.to_remove),
                        }
                        for gap in gaps
                    ],
                }
            )
        )
    else:
        _print(database, gaps)
    return all(gap.is_closed for gap in gaps)


def _print(database: ServingDatabase, gaps: list[Gap]) -> None:
    click.echo(f"Serving tables at {database.address}")
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for title in ("asset", "stored", "last", "lacking", "gone"):
        is_number = title in ("stored", "lacking", "gone")
        table.add_column(title, justify="right" if is_number else "left", no_wrap=True)
    for gap in gaps:
        numbers = f"{gap.stored:,}", gap.last, f"{len(gap.to_serve):,}", f"{len(gap.to_remove):,}"
        table.add_row(gap.served.source, *numbers)
    Console().print(table)
    if not all(gap.is_closed for gap in gaps):
        click.echo("`quant serving sync` brings them up to date")


def synchronise(values: Settings, first: date | None, last: date | None, *, is_dry: bool) -> None:
    """Serve and remove what ``quant serving status`` counts, between two days.

    Raises ``BadConfigurationError`` where nothing is stored of an asset whose rows are served: that
    is a data directory that is not there rather than a wish to remove everything.
    """
    database = serving_database(values)
    store = ParquetStore(values.data_place, values.profile)
    for gap in _gaps(store, database, first, last):
        served = gap.served
        if gap.to_remove and not gap.stored:
            raise BadConfigurationError(
                f"{served.source}: nothing is stored in {values.data_place}, but "
                f"{len(gap.to_remove)} partition(s) are served: is that directory the right one, "
                "and mounted? To serve nothing, remove the rows from the database"
            )
        if not is_dry:
            for keys in _chunks(gap.to_serve):
                _serve(store, database, served, keys)
            for keys in _chunks(gap.to_remove):
                # A run may have stored and served one since we looked.
                database.remove(served, store.missing(served.source, keys))
        word = "to serve" if is_dry else "served"
        click.echo(
            f"{served.source} -> {served.table.name}: {len(gap.to_serve):,} partition(s) {word}, "
            f"{len(gap.to_remove):,} {'to remove' if is_dry else 'removed'}"
        )


def _serve(store: ParquetStore, database: ServingDatabase, served: Served, keys: list[str]) -> None:
    dataset = dataset_of(served.source)
    frame = store.read(dataset, served.source, keys)
    where = named_range(served.source, keys)
    database.replace(served, frame, parts_of(dataset, frame, keys, where))
    there = sorted(set(keys) - set(store.missing(served.source, keys)))
    if newer := _others(store, served, there, database.served(served)):
        # A run has stored these meanwhile, and what it served may be what we wrote over.
        _serve(store, database, served, newer)


def _others(
    store: ParquetStore, served: Served, stored: Iterable[str], known: Mapping[str, str]
) -> list[str]:
    """Those of the partitions ``stored`` whose rows are not those that are served."""
    return [key for key in stored if store.info(served.source, key).content_hash != known.get(key)]


def _gaps(
    store: ParquetStore, database: ServingDatabase, first: date | None, last: date | None
) -> list[Gap]:
    store.demand_own()
    return [_gap(store, database, served, first, last) for served in SERVED.values()]


def _gap(
    store: ParquetStore,
    database: ServingDatabase,
    served: Served,
    first: date | None,
    last: date | None,
) -> Gap:
    def is_meant(key: str) -> bool:
        day = key[:10]
        return (not first or day >= first.isoformat()) and (not last or day <= last.isoformat())

    # In this order: what a run stores and serves in between is not taken for gone.
    known = database.served(served)
    stored = store.list_partitions(served.source)
    to_serve = _others(store, served, filter(is_meant, stored), known)
    gone = sorted(key for key in set(known) - set(stored) if is_meant(key))
    last_key = stored[-1] if stored else "-"
    return Gap(served, len(stored), last_key, tuple(to_serve), tuple(gone))


def _chunks(keys: tuple[str, ...]) -> list[list[str]]:
    size = PARTITIONS_A_TRANSACTION
    return [list(keys[n : n + size]) for n in range(0, len(keys), size)]
