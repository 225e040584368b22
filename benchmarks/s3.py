"""How long a range of partitions takes on S3 at a given latency, against other readers.

Belongs here: made prices, a server that waits before each answer, the clock. Does not belong here:
Dagster.

The floor is what the waiting alone takes: one request a partition, as many at a time as the store
sends. The peers are polars, which reads ``s3://`` itself, and one GET after the other.
"""

import argparse
import io
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import polars as pl
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from benchmarks.indicators import synthetic_prices
from benchmarks.report import Measurement, print_measurements
from quant_assets.io_managers import bucket as s3
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.io_managers.partitioned_parquet import split_by_partition
from quant_assets.schemas import dataset_of

ASSET = "us/prices"
DATASET = dataset_of(ASSET)
BUCKET = "quant"
KEYS = {"AWS_ACCESS_KEY_ID": "made", "AWS_SECRET_ACCESS_KEY": "up", "AWS_REGION": "us-east-1"}


class Waiting:
    """An application that waits before each answer."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self.seconds = 0.0

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        """Wait, then answer."""
        time.sleep(self.seconds)
        answer: Iterable[bytes] = self._application(environ, start_response)
        return answer


def main(argv: list[str]) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--sessions", type=int, default=300)
    parser.add_argument("--milliseconds", type=float, default=30.0)
    parser.add_argument("--quick", action="store_true", help="sixty sessions")
    options = parser.parse_args(argv)
    sessions = 60 if options.quick else options.sessions
    application = Waiting(DomainDispatcherApplication(create_backend_app))
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, application, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ.update(KEYS, AWS_ENDPOINT_URL_S3=f"http://127.0.0.1:{server.server_port}")
    try:
        frame = DATASET.conform(synthetic_prices(options.symbols, sessions, seed=1), ASSET)
        s3._client(os.getpid()).create_bucket(Bucket=BUCKET)
        measure(frame, application, options.milliseconds / 1000)
    finally:
        server.shutdown()


def measure(frame: Any, application: Waiting, latency: float) -> None:
    """Print what each way takes."""
    store = ParquetStore(f"s3://{BUCKET}/data", "sandbox")
    parts = list(split_by_partition(DATASET, frame))
    keys = [part.key for part in parts]
    store.place.claim("sandbox")
    application.seconds = latency
    written = timed(lambda: store.write_parts(DATASET, ASSET, frame, parts, "1"))
    read = timed(lambda: store.read(DATASET, ASSET, keys))
    looked = timed(lambda: store.missing(ASSET, keys))
    paths = [store.address(ASSET, key) for key in keys]
    by_polars = timed(lambda: pl.scan_parquet(paths, storage_options=polars_options()).collect())
    singly = timed(lambda: one_by_one(store, keys))
    floor = math.ceil(len(keys) / s3.THREADS) * latency
    waiting = "waiting alone"
    rows = [
        ("read", read, 1.0 / floor),
        ("written, merged with what is stored", written, None),
        ("which are stored", looked, None),
        ("polars, s3:// by itself", by_polars, None),
        ("one GET after the other", singly, None),
    ]
    print_measurements(
        f"{len(keys)} sessions of {len(frame) // len(keys)} symbols at {latency * 1000:g} ms",
        [
            Measurement(waiting, f"{floor:.2f} s"),
            *(
                Measurement(name, f"{seconds:.2f} s", seconds / floor, waiting, target)
                for name, seconds, target in rows
            ),
        ],
        ["The target of reading is a second. The server shares the machine's cores."],
    )


def polars_options() -> dict[str, str]:
    """What polars wants to be told of the server."""
    return {
        "aws_endpoint_url": os.environ["AWS_ENDPOINT_URL_S3"],
        "aws_access_key_id": KEYS["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": KEYS["AWS_SECRET_ACCESS_KEY"],
        "aws_region": KEYS["AWS_REGION"],
        "aws_allow_http": "true",
    }


def one_by_one(store: ParquetStore, keys: list[str]) -> pl.DataFrame:
    """The rows by one request after the other."""
    frames = []
    for key in keys:
        content = store.sources(ASSET, [key])[key]
        assert isinstance(content, bytes)
        frames.append(pl.read_parquet(io.BytesIO(content)))
    return pl.concat(frames)


def timed(action: Callable[[], object]) -> float:
    """Seconds of a call, the first of which is not counted."""
    action()
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


if __name__ == "__main__":
    main(sys.argv[1:])
