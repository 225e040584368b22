"""Quarantine partitions. What belongs here: keeping refused rows, releasing them; no rules.

Beside ``us/prices/2024-06-28.parquet`` lies ``quarantine/us/prices/2024-06-28.parquet`` if rows of
that session were refused. The file says why and holds the raw values, so that nothing that a
vendor gave is lost. A held row leaves it when the vendor gives a good one, or when a person
releases it; a released row stays on record and is not refused again with the same values.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from quant_assets.domain.held import Held
from quant_assets.errors import BadConfigurationError, BadDataError
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.schemas import dataset_of
from quant_assets.schemas.contract import Dataset
from quant_assets.schemas.quarantine import HELD, QUARANTINE, RELEASED

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "quarantine"
_VERSION = "1"


class Quarantine:
    """The refused rows of one asset (``us/prices`` and the like)."""

    def __init__(self, store: ParquetStore, asset: str) -> None:
        self._store = store
        self._asset = asset
        self._dataset = dataset_of(asset)
        self._folder = f"{FOLDER}/{asset}"

    def partitions(self) -> list[str]:
        """Keys with quarantined rows, ascending."""
        return self._store.list_partitions(self._folder)

    def read(self, partitions: Iterable[str]) -> pd.DataFrame:
        """Quarantined rows of ``partitions``, held and released ones; see ``QUARANTINE``."""
        return self._store.load(QUARANTINE, self._folder, list(partitions)).frame

    def held(self, partitions: Iterable[str]) -> pd.DataFrame:
        """Rows of ``partitions`` that are still refused."""
        frame = self.read(partitions)
        return frame[frame["state"] == HELD].reset_index(drop=True)

    def sift(self, held: Sequence[Held]) -> tuple[list[Held], list[Held]]:
        """Those of ``held`` that stay refused, and those that were released with these values."""
        known = self.read(sorted({one.partition for one in held} & set(self.partitions())))
        released = {
            (row.partition_key, row.item, row.row)
            for row in known[known["state"] == RELEASED].itertuples()
        }
        accepted = [one for one in held if _identity(self._dataset, one) in released]
        return [one for one in held if one not in accepted], accepted

    def settle(
        self,
        partitions: Sequence[str],
        held: Sequence[Held],
        stored: Collection[tuple[str, str]],
        now: datetime,
    ) -> None:
        """Note what a run refused in ``partitions``, and forget what it could store.

        ``stored`` are the (partition, item) pairs of the run's good rows. Held rows of which the
        run says nothing stay. ``held`` may name partitions that are not of the run (a bar on a
        closure). Running twice changes nothing: the time of the first refusal is kept.
        """
        fresh: dict[str, list[Held]] = {}
        for one in held:
            fresh.setdefault(one.partition, []).append(one)
        with self._store.lock(self._folder):
            existing = set(self.partitions())
            for key in sorted((existing & set(partitions)) | set(fresh)):
                known = self.read([key]) if key in existing else None
                self._settle_one(key, known, fresh.get(key, []), stored, now)

    def _settle_one(
        self,
        key: str,
        known: pd.DataFrame | None,
        held: Sequence[Held],
        stored: Collection[tuple[str, str]],
        now: datetime,
    ) -> None:
        rows: dict[str, dict[str, Any]] = {}
        for old in [] if known is None else _records(known):
            if (key, old["item"]) not in stored or old["state"] == RELEASED:
                rows[old["item"]] = old
        for one in held:
            new = _as_record(self._dataset, one, now)
            old_row = rows.get(one.item)
            if old_row is None or any(
                old_row[name] != new[name] for name in ("rule", "reason", "row", "raw")
            ):
                rows[one.item] = new
        self._write(key, list(rows.values()))

    def _write(self, key: str, rows: list[dict[str, Any]]) -> None:
        import pandas as pd

        if not rows:
            self._store.delete(self._folder, [key])
            return
        frame = QUARANTINE.conform(pd.DataFrame(rows), f"quarantine of {self._asset} [{key}]")
        self._store.write(QUARANTINE, self._folder, key, frame, _VERSION)

    def release(self, partition: str, items: Collection[str], code_version: str) -> pd.DataFrame:
        """Store held rows of ``partition`` after all, and return them as stored.

        The row is stored first, then marked: a kill between the two is mended by releasing again.
        Raises ``BadConfigurationError`` for an item that is not held and ``BadDataError`` for one
        that the dataset's contract does not admit.
        """
        with self._store.lock(self._folder):
            known = self.read([partition])
            wanted = known[known["item"].isin(list(items)) & (known["state"] == HELD)]
            if unknown := sorted(set(items) - set(wanted["item"])):
                there = known.loc[known["state"] == HELD, "item"].tolist()
                raise BadConfigurationError(
                    f"{self._asset} {partition}: {', '.join(unknown)} not in quarantine; held are "
                    f"{', '.join(there) or 'none'}"
                )
            if formless := wanted.loc[wanted["row"] == "", "item"].tolist():
                raise BadDataError(
                    f"{self._asset} {partition}: {', '.join(formless)} cannot be released: the "
                    "vendor's values make no storable row; correct them at the source and "
                    "materialize the partition again"
                )
            frame = rows_from_json(self._dataset, wanted["row"])
            frame = self._dataset.conform(frame, f"{self._asset} [{partition}]")
            self._store.write(self._dataset, self._asset, partition, frame, code_version)
            is_released = known["item"].isin(wanted["item"])
            marked = known.assign(state=known["state"].mask(is_released, RELEASED))
            self._write(partition, _records(marked))
            return frame


def rows_from_json(dataset: Dataset, rows: Iterable[str]) -> pd.DataFrame:
    """Frame of rows that were written by ``row_to_json``."""
    import pandas as pd

    frame = pd.DataFrame([json.loads(row) for row in rows], columns=dataset.column_names)
    for column in dataset.columns:
        if column.type in ("date", "timestamp"):
            frame[column.name] = pd.to_datetime(
                frame[column.name], utc=column.type == "timestamp", format="ISO8601"
            ).dt.as_unit("us")
    return frame


def row_to_json(dataset: Dataset, row: Mapping[str, Any] | None) -> str:
    """JSON of the dataset's columns of a row; empty without one."""
    if row is None:
        return ""
    return json.dumps({name: _plain(row[name]) for name in dataset.column_names})


def _identity(dataset: Dataset, one: Held) -> tuple[str, str, str]:
    return one.partition, one.item, row_to_json(dataset, one.row)


def _as_record(dataset: Dataset, one: Held, now: datetime) -> dict[str, Any]:
    return {
        "partition_key": one.partition,
        "item": one.item,
        "rule": one.rule,
        "reason": one.reason,
        "source": one.source,
        "row": row_to_json(dataset, one.row),
        "raw": json.dumps({name: _plain(value) for name, value in one.raw.items()}, default=str),
        "held_at": now,
        "state": HELD,
    }


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _plain(value: Any) -> Any:
    """A value as JSON has it: dates as ISO 8601, missing numbers as null."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
