"""Serving databases for tests. What belongs here: making them, and whole partitions for them."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import sqlalchemy as sa

from quant_assets.io_managers.parquet_store import Part
from quant_assets.io_managers.partitioned_parquet import split_by_partition
from quant_assets.io_managers.serving_database import Change, ServingDatabase
from quant_assets.io_managers.serving_tables import Served


@contextmanager
def new_database(server: str | None, folder: Path) -> Iterator[str]:
    """Address of an empty database: on the PostgreSQL ``server``, or without one of SQLite."""
    name = f"serving_{uuid.uuid4().hex[:12]}"
    if server is None:
        yield f"sqlite:///{folder / name}.db"
        return
    run(server, f"CREATE DATABASE {name}")
    yield sa.make_url(server).set(database=name).render_as_string(hide_password=False)
    run(server, f"DROP DATABASE {name} WITH (FORCE)")


def run(url: str, *statements: str) -> list[tuple[object, ...]]:
    """Execute statements one by one, each for itself, and return the last one's rows."""
    engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            result = connection.execute(sa.text(statement))
        return [tuple(row) for row in result] if result.returns_rows else []


def serve(database: ServingDatabase, served: Served, frame: pd.DataFrame, *empty: str) -> Change:
    """Serve every partition of a frame, and some without rows, all in the order of their keys."""
    parts = [
        *split_by_partition(served.table.dataset, frame),
        *(Part(key, 0, 0) for key in empty),
    ]
    return database.replace(served, frame, sorted(parts))
