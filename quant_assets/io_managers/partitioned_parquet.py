"""The IO manager of every dataset. What belongs here: Dagster's keys to the store's calls.

A run over a range hands over one frame with the rows of all its partitions; each partition is
stored by itself. An input over a range is read in one call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from quant_assets.errors import BadDataError, MissingPartitionError
from quant_assets.io_managers.parquet_store import ParquetStore, Part, StoredPartition
from quant_assets.naming import INCOMPLETE
from quant_assets.policies import typed_failures
from quant_assets.schemas import dataset_of
from quant_assets.schemas.contract import Dataset
from quant_assets.schemas.keys import HOUR_FORMAT, SESSION_FORMAT
from quant_assets.schemas.loaded import HISTORY, LoadedPartitions

if TYPE_CHECKING:
    import pandas as pd


class PartitionedParquetIOManager(dg.ConfigurableIOManager):
    """Stores frames as Parquet files below ``root``, one a partition.

    An input annotated ``LoadedPartitions`` receives what is stored together with the keys that
    are missing; any other input receives a DataFrame and needs every partition, but those before
    the beginning of the stored history where its metadata says so (``HISTORY``).
    """

    root: str
    profile: str

    def store(self) -> ParquetStore:
        """The store below this IO manager."""
        return ParquetStore(self.root, self.profile)

    def handle_output(self, context: dg.OutputContext, obj: pd.DataFrame) -> None:
        """Check the frame against its contract and store its partitions.

        Raises ``BadDataError`` for rows outside the run's partitions and, after the good ones are
        stored, for a partition without rows where the dataset does not allow one and for a frame
        that says that it is incomplete (``INCOMPLETE``); each as a failure that is not retried.
        """
        with typed_failures():
            self._store(context, obj)

    def _store(self, context: dg.OutputContext, obj: pd.DataFrame) -> None:
        asset = context.asset_key.to_user_string()
        dataset = dataset_of(asset)
        keys = list(context.asset_partition_keys)
        where = named_range(asset, keys)
        frame = dataset.conform(obj, where)
        parts = parts_of(dataset, frame, keys, where)
        empty = [part.key for part in parts if part.start == part.end]
        wanted = [part for part in parts if dataset.may_be_empty or part.start < part.end]
        code_version = context.asset_spec.code_version or ""
        stored = self.store().write_parts(dataset, asset, frame, wanted, code_version)
        if empty and not dataset.may_be_empty:
            raise BadDataError(
                f"{where}: no rows for {empty[:5]}{' ...' if len(empty) > 5 else ''}; the other "
                f"{len(stored)} partition(s) are stored"
            )
        if incomplete := obj.attrs.get(INCOMPLETE):
            raise BadDataError(
                f"{where}: incomplete, the {len(frame)} row(s) that came are stored. {incomplete}"
            )
        context.add_output_metadata(self._describe(asset, frame, stored, keys))

    def _describe(
        self, asset: str, frame: pd.DataFrame, stored: Sequence[StoredPartition], keys: list[str]
    ) -> dict[str, Any]:
        facts: dict[str, Any] = {"profile": self.profile}
        if len(stored) == 1:
            facts["path"] = dg.MetadataValue.path(stored[0].address)
            facts["content_hash"] = stored[0].content_hash
            facts["dagster/partition_row_count"] = len(frame)
        else:
            facts["path"] = dg.MetadataValue.path(self.store().address(asset))
            facts["rows_in_run"] = len(frame)
            facts["partitions_in_run"] = len(keys)
        facts["size_bytes"] = sum(part.bytes for part in stored)
        return facts

    def load_input(self, context: dg.InputContext) -> pd.DataFrame | LoadedPartitions:
        """Read the partitions that the input's mapping names, in one call."""
        asset = context.asset_key.to_user_string()
        dataset = dataset_of(asset)
        keys = list(context.asset_partition_keys) if context.has_asset_partitions else []
        store = self.store()
        if context.dagster_type.typing_type is LoadedPartitions:
            return store.load(dataset, asset, keys)
        if (context.definition_metadata or {}).get(HISTORY):
            keys = _from_first_stored(store, asset, keys)
        try:
            return store.read(dataset, asset, keys)
        except MissingPartitionError as error:
            raise MissingPartitionError(f"{error}{_needed_by(context)}") from error


def named_range(asset: str, keys: Sequence[str]) -> str:
    """An asset and the range of its partitions, for messages."""
    return f"{asset} [{keys[0]}{'' if len(keys) == 1 else ' .. ' + keys[-1]}]"


def parts_of(dataset: Dataset, frame: pd.DataFrame, keys: Sequence[str], where: str) -> list[Part]:
    """A part of a sorted frame for each of ``keys``, without rows where it has none.

    Raises ``BadDataError``, with ``where``, for rows of other partitions.
    """
    parts = {part.key: part for part in split_by_partition(dataset, frame)}
    if foreign := sorted(set(parts) - set(keys)):
        raise BadDataError(f"{where}: rows of partitions outside this run: {foreign[:5]}")
    return [parts.get(key, Part(key, 0, 0)) for key in keys]


def split_by_partition(dataset: Dataset, frame: pd.DataFrame) -> Iterator[Part]:
    """Partition keys with their rows, of a frame sorted by its partition column."""
    import numpy as np

    if frame.empty:
        return
    column = frame[dataset.partition_column]
    values = column.to_numpy() if column.dt.tz is None else column.dt.tz_localize(None).to_numpy()
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    ends = np.r_[starts[1:], len(frame)]
    is_hourly = any(c.type == "timestamp" and c.name == column.name for c in dataset.columns)
    names = column.iloc[starts].dt.strftime(HOUR_FORMAT if is_hourly else SESSION_FORMAT)
    for name, start, end in zip(names, starts, ends, strict=True):
        yield Part(str(name), int(start), int(end))


def _needed_by(context: dg.InputContext) -> str:
    """Which step asked; outside of a run (``load_asset_value``) there is none."""
    try:
        return f" (needed by {context.step_context.step.key})"
    except dg.DagsterInvariantViolationError:
        return ""


def _from_first_stored(store: ParquetStore, asset: str, keys: list[str]) -> list[str]:
    """``keys`` without those before the first stored one; the last one is always needed."""
    missing = set(store.missing(asset, keys))
    first = next((n for n, key in enumerate(keys) if key not in missing), len(keys) - 1)
    return keys[first:]
