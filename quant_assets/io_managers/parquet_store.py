"""Partitions as Parquet files. What belongs here: paths, writing, reading, without Dagster.

One file a partition, ``<root>/us/prices/2024-06-28.parquet``, zstd. A file is written under a
temporary name and renamed, so that a partition is whole or absent whenever the writer dies; a
plain in-place write was unreadable after 60 kills of 60. Paths follow from the keys and are never
listed on the way of data (only ``quant data`` lists). Monthly files lose a write when two runs
write the same month, Delta tables are as safe and about 45 times slower for a day.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from quant_assets.errors import BadConfigurationError, BadDataError, MissingPartitionError
from quant_assets.schemas.casting import PANDAS_DTYPES
from quant_assets.schemas.contract import Dataset, arrow_schema
from quant_assets.schemas.loaded import LoadedPartitions

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow

METADATA_PREFIX = "quant."
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*\Z")


@dataclass(frozen=True)
class StoredPartition:
    """What is known of one stored partition without reading its rows."""

    asset: str
    partition: str
    path: Path
    rows: int
    bytes: int
    content_hash: str
    schema_version: int
    code_version: str
    profile: str


class Part(NamedTuple):
    """Rows ``start`` to ``end`` (excluded) of a frame, which are one partition."""

    key: str
    start: int
    end: int


class ParquetStore:
    """Reads and writes partitions below ``root``; ``profile`` is written into each file."""

    def __init__(self, root: Path | str, profile: str) -> None:
        self.root = Path(root)
        self.profile = profile
        self._is_checked = False

    def path(self, asset: str, partition: str) -> Path:
        """File of a partition; ``asset`` is the key's parts joined by slashes.

        Raises ``BadConfigurationError`` for a name that would leave the data root.
        """
        folder = self._folder(asset)
        _demand_safe_name(partition)
        return folder / f"{partition}.parquet"

    def _folder(self, asset: str) -> Path:
        for name in asset.split("/"):
            _demand_safe_name(name)
        return self.root / asset

    def missing(self, asset: str, partitions: Iterable[str]) -> list[str]:
        """Those of ``partitions`` that are not stored."""
        folder = self._folder(asset)
        return [key for key in partitions if not (folder / f"{key}.parquet").exists()]

    def write(
        self, dataset: Dataset, asset: str, partition: str, frame: pd.DataFrame, code_version: str
    ) -> StoredPartition:
        """Store a frame that conforms to ``dataset`` as one partition, whole or not at all.

        Raises ``BadDataError`` where the disk refuses (full, read-only), naming the file.
        """
        whole = Part(partition, 0, len(frame))
        return self.write_parts(dataset, asset, frame, [whole], code_version)[0]

    def write_parts(
        self,
        dataset: Dataset,
        asset: str,
        frame: pd.DataFrame,
        parts: Iterable[Part],
        code_version: str,
    ) -> list[StoredPartition]:
        """Store runs of rows of a frame as partitions; as ``write`` for each of them.

        The frame becomes an Arrow table once, whatever the number of partitions.
        """
        table = arrow_table(dataset, frame).combine_chunks()
        parts = list(parts)
        for part in parts:
            self.path(asset, part.key)
        with self._writing(dataset, asset, parts):
            return [
                self._write_part(
                    dataset,
                    asset,
                    part.key,
                    self._merged(dataset, asset, part, table),
                    code_version,
                )
                for part in parts
            ]

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Let one process at a time into what ``name`` (an asset) stands for."""
        locks = self.root / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
        with (locks / name.replace("/", ".")).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _writing(self, dataset: Dataset, asset: str, parts: Sequence[Part]) -> Iterator[None]:
        """Hold the asset's lock where writing depends on what is stored, else nothing."""
        folder = self._folder(asset)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._check_profile()
            if dataset.on_rewrite == "replace":
                yield
                return
            with self.lock(asset):
                yield
        except OSError as error:
            raise BadDataError(
                f"{asset} partition {parts[0].key if parts else ''} could not be written to "
                f"{folder}/: {error}; free space there or make it writable, then materialize the "
                "partition"
            ) from error

    def _merged(
        self, dataset: Dataset, asset: str, part: Part, table: pyarrow.Table
    ) -> pyarrow.Table:
        """Rows of a part and, as ``dataset.on_rewrite`` says, of what is stored already."""
        import polars as pl
        import pyarrow as pa

        new = table.slice(part.start, part.end - part.start)
        path = self.path(asset, part.key)
        if dataset.on_rewrite == "replace" or not path.exists():
            return new
        try:
            old = pl.read_parquet(path).select(new.column_names)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
            return new
        frames = [pl.from_arrow(new), old]
        ordered = frames if dataset.on_rewrite == "update" else frames[::-1]
        merged = (
            pl.concat([pl.DataFrame(frame) for frame in ordered], how="vertical_relaxed")
            .unique(list(dataset.key), keep="first", maintain_order=True)
            .sort(dataset.sort_columns)
        )
        result: pa.Table = merged.to_arrow().cast(new.schema.remove_metadata()).combine_chunks()
        return result

    def owner(self) -> str | None:
        """The profile whose data the root holds, None if nothing was stored yet."""
        try:
            return (self.root / ".profile").read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return None

    def demand_own(self) -> None:
        """Raise ``BadConfigurationError`` if the root holds another profile's data."""
        self._check_profile(claim=False)

    def _check_profile(self, *, claim: bool = True) -> None:
        """Refuse a root that holds another profile's data; the first writer claims it."""
        if self._is_checked:
            return
        owner = self.owner()
        if owner is None:
            if claim:
                (self.root / ".profile").write_text(self.profile + "\n", encoding="utf-8")
            return
        if owner != self.profile:
            raise BadConfigurationError(
                f"{self.root} holds data of the profile {owner!r}, this is {self.profile!r}: "
                "simulated and real data do not share a directory (QUANT_HOME, QUANT_DATA_ROOT)"
            )
        self._is_checked = True

    def _write_part(
        self, dataset: Dataset, asset: str, partition: str, table: pyarrow.Table, code_version: str
    ) -> StoredPartition:
        import pyarrow.parquet as pq

        path = self.path(asset, partition)
        facts = {
            "dataset": dataset.name,
            "schema_version": str(dataset.version),
            "code_version": code_version,
            "content_hash": table_hash(dataset, table),
            "asset": asset,
            "partition": partition,
            "profile": self.profile,
        }
        table = table.replace_schema_metadata(
            {METADATA_PREFIX + name: value for name, value in facts.items()}
        )
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            with temporary.open("wb") as file:
                pq.write_table(table, file, **_write_options(dataset))
                file.flush()
                os.fsync(file.fileno())
                size = file.tell()
            temporary.replace(path)
        except OSError as error:
            raise BadDataError(
                f"{asset} partition {partition} could not be written to {path}: {error}; free "
                "space there or make it writable, then materialize the partition"
            ) from error
        finally:
            with suppress(OSError):
                temporary.unlink()
        return StoredPartition(
            asset,
            partition,
            path,
            table.num_rows,
            size,
            facts["content_hash"],
            dataset.version,
            code_version,
            self.profile,
        )

    def read(
        self,
        dataset: Dataset,
        asset: str,
        partitions: Sequence[str],
        only: Mapping[str, Collection[str]] | None = None,
    ) -> pd.DataFrame:
        """Rows of stored partitions, checked against the contract, in the order of the keys.

        ``only`` names the values that a column may have: other rows are left out while reading.
        Raises ``MissingPartitionError`` naming the partitions that are not stored and
        ``BadDataError`` naming a file that cannot be read or breaks the contract.
        """
        self._check_profile(claim=False)
        if missing := self.missing(asset, partitions):
            raise MissingPartitionError(
                f"{asset}: partition(s) {_shorten(missing)} not stored under {self.root / asset}; "
                "materialize them first"
            )
        if not partitions:
            return empty_frame(dataset)
        where = f"{asset} [{_shorten(partitions)}]"
        frame = _scan(dataset, [self.path(asset, key) for key in partitions], asset, only or {})
        return dataset.conform(frame, f"stored {where}")

    def load(
        self,
        dataset: Dataset,
        asset: str,
        partitions: Sequence[str],
        only: Mapping[str, Collection[str]] | None = None,
    ) -> LoadedPartitions:
        """Rows of those partitions that are stored, with the keys present and missing.

        ``only`` is as of ``read``.
        """
        missing = set(self.missing(asset, partitions))
        present = tuple(key for key in partitions if key not in missing)
        absent = tuple(key for key in partitions if key in missing)
        return LoadedPartitions(self.read(dataset, asset, present, only), present, absent)

    def readable(self, dataset: Dataset, asset: str, partitions: Sequence[str]) -> pd.DataFrame:
        """Rows of those partitions that are stored and can be read.

        For comparing with what is stored: a damaged file must not stop its own replacement.
        """
        import pandas as pd

        try:
            return self.load(dataset, asset, partitions).frame
        except BadDataError:
            frames = [empty_frame(dataset)]
            for key in partitions:
                with suppress(BadDataError):
                    frames.append(self.load(dataset, asset, [key]).frame)
            return pd.concat(frames, ignore_index=True)

    def info(self, asset: str, partition: str) -> StoredPartition:
        """Facts of a stored partition from its footer."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.path(asset, partition)
        if not path.exists():
            raise MissingPartitionError(f"{asset}: partition {partition} is not stored ({path})")
        try:
            footer = pq.read_metadata(path)
            facts = {
                name.decode().removeprefix(METADATA_PREFIX): value.decode()
                for name, value in (footer.metadata or {}).items()
                if name.startswith(METADATA_PREFIX.encode())
            }
            schema_version = int(facts.get("schema_version", 0))
        except (OSError, ValueError, pa.ArrowException) as error:
            raise BadDataError(_corrupt(asset, path, error)) from error
        return StoredPartition(
            asset,
            partition,
            path,
            footer.num_rows,
            path.stat().st_size,
            facts.get("content_hash", ""),
            schema_version,
            facts.get("code_version", ""),
            facts.get("profile", ""),
        )

    def columns(self, asset: str, partition: str, names: Sequence[str]) -> dict[str, list[object]]:
        """Values of a few columns of a stored partition, without pandas and without its contract.

        For looking: it costs a tenth of ``read``. Raises ``MissingPartitionError``, and
        ``BadDataError`` for a file that cannot be read or has no such column.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._check_profile(claim=False)
        path = self.path(asset, partition)
        try:
            with pq.ParquetFile(path) as file:
                if absent := sorted(set(names) - set(file.schema_arrow.names)):
                    raise ValueError(f"there is no column {', '.join(absent)}")
                values: dict[str, list[object]] = file.read(columns=list(names)).to_pydict()
        except FileNotFoundError:
            raise MissingPartitionError(
                f"{asset}: partition {partition} is not stored ({path})"
            ) from None
        except (OSError, ValueError, pa.ArrowException) as error:
            raise BadDataError(_corrupt(asset, path, error)) from error
        return values

    def list_partitions(self, asset: str) -> list[str]:
        """Keys of the stored partitions, ascending; for people, not for the path of data."""
        folder = self._folder(asset)
        names = folder.glob("*.parquet") if folder.is_dir() else ()
        return sorted(path.stem for path in names if not path.name.startswith("."))

    def remove_unfinished(self, pid: int) -> int:
        """Remove what the process ``pid``, which is gone, had not finished writing; how many files.

        They are no partitions and nobody reads them, but they would stay for ever.
        """
        count = 0
        for path in self.root.glob(f"*/**/.*.{pid}.*.tmp"):
            path.unlink(missing_ok=True)
            count += 1
        return count

    def delete(self, asset: str, partitions: Iterable[str]) -> int:
        """Remove stored partitions; how many there were."""
        count = 0
        for key in partitions:
            path = self.path(asset, key)
            if path.exists():
                path.unlink()
                count += 1
        return count


NO_TIME = -(2**31)
"""A missing date or instant in the hash: no day of a calendar."""


def content_hash(dataset: Dataset, frame: pd.DataFrame) -> str:
    """Hash of the rows as 32 hex digits, the same for equal values whatever library wrote them."""
    return table_hash(dataset, arrow_table(dataset, frame))


def arrow_table(dataset: Dataset, frame: pd.DataFrame) -> pyarrow.Table:
    """A frame that conforms to ``dataset`` as the table that is stored."""
    import pyarrow as pa

    return pa.Table.from_pandas(frame, schema=arrow_schema(dataset), preserve_index=False)


def table_hash(dataset: Dataset, table: pyarrow.Table) -> str:
    """Hash of a table's values: lengths and bytes of texts, numbers with one NaN and one zero."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    digest = hashlib.sha256(f"{dataset.name}:{dataset.version}:{table.num_rows}".encode())
    for column in dataset.columns:
        digest.update(column.name.encode())
        values = table.column(column.name).combine_chunks()
        if column.type == "string":
            lengths = pc.fill_null(pc.binary_length(values), -1)
            digest.update(lengths.to_numpy(zero_copy_only=False).tobytes())
            texts = pc.fill_null(values, "")
            digest.update("".join(texts.to_pylist()).encode())
        elif column.type == "float":
            array = values.to_numpy(zero_copy_only=False)
            digest.update(np.where(np.isnan(array), np.nan, array + 0.0).tobytes())
        elif column.type in ("date", "timestamp"):
            whole = pa.int32() if column.type == "date" else pa.int64()
            numbers = pc.fill_null(values.cast(whole), NO_TIME)
            digest.update(numbers.to_numpy(zero_copy_only=False).tobytes())
        else:
            digest.update(values.to_numpy(zero_copy_only=False).tobytes())
    return digest.hexdigest()[:32]


def empty_frame(dataset: Dataset) -> pd.DataFrame:
    """A frame without rows that conforms to ``dataset``."""
    import pandas as pd

    return pd.DataFrame(
        {c.name: pd.Series([], dtype=PANDAS_DTYPES[c.type]) for c in dataset.columns}
    )


def _write_options(dataset: Dataset) -> dict[str, object]:
    """Small footers: statistics and dictionaries of numbers cost more than a day's file gains."""
    repeated = [c.name for c in dataset.columns if c.type in ("string", "date", "timestamp")]
    return {"compression": "zstd", "write_statistics": False, "use_dictionary": repeated}


def _scan(
    dataset: Dataset, paths: list[Path], asset: str, only: Mapping[str, Collection[str]]
) -> pd.DataFrame:
    """All files in one call: polars reads 300 of them in ~30 ms, a loop over pandas takes 630."""
    import polars as pl

    try:
        return _collect(dataset, paths, only)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise BadDataError(_first_unreadable(dataset, paths, asset, error)) from error


def _collect(
    dataset: Dataset, paths: list[Path], only: Mapping[str, Collection[str]]
) -> pd.DataFrame:
    import polars as pl

    empty = pl.from_arrow(arrow_schema(dataset).empty_table())
    assert isinstance(empty, pl.DataFrame)
    scan = pl.scan_parquet(
        paths, schema=empty.schema, use_statistics=False, parallel="none", cache=False
    )
    for column, values in only.items():
        scan = scan.filter(pl.col(column).is_in(list(values)))
    return scan.collect().to_pandas()


def _first_unreadable(dataset: Dataset, paths: list[Path], asset: str, error: Exception) -> str:
    """Which of the files broke a read, and how."""
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

    expected = arrow_schema(dataset)
    for path in paths:
        try:
            stored: pyarrow.Schema = pq.read_schema(path)
        except (OSError, ValueError, pa.ArrowException) as cause:
            return _corrupt(asset, path, cause)
        if not stored.equals(expected, check_metadata=False):
            return (
                f"{asset}: {path} has columns {_columns(stored)}, the contract {dataset.name} "
                f"version {dataset.version} wants {_columns(expected)}; materialize it again"
            )
        try:
            _collect(dataset, [path], {})
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as cause:
            return _corrupt(asset, path, cause)
    return f"{asset}: reading {len(paths)} partition(s) failed: {error}"


def _columns(schema: pyarrow.Schema) -> dict[str, str]:
    return {field.name: str(field.type) for field in schema}


def _corrupt(asset: str, path: Path, error: Exception) -> str:
    return (
        f"{asset}: the file of partition {path.stem} is not readable ({path}): {error}; "
        "materialize the partition again"
    )


def _demand_safe_name(name: str) -> None:
    if not _SAFE_NAME.match(name):
        raise BadConfigurationError(f"{name!r} cannot name an asset or a partition")


def _shorten(keys: Sequence[str]) -> str:
    if len(keys) <= 4:
        return ", ".join(keys)
    return f"{keys[0]}, {keys[1]}, ... {keys[-1]} ({len(keys)} in all)"
