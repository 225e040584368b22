"""Quarantine partitions. What belongs here: keeping refused rows, releasing them; no rules.

Beside ``us/prices/2024-06-28.parquet`` lies ``quarantine/us/prices/2024-06-28.parquet`` if rows of
that session were refused. The file says why and holds the raw values, so that nothing that a
vendor gave is lost. A held row leaves it when the vendor gives a good one, or when a person
releases it; a released row stays on record and is not refused again with the same values.

A damaged quarantine file stops nothing: it reads as one held row that names it (``DAMAGED``), and
the next run of its partition moves it aside, where it stays until a person removes it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
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
DAMAGED = "damaged_file"
"""Rule of the row that stands for a quarantine file which cannot be read."""
_VERSION = "1"
_VALUES = ("rule", "reason", "row", "raw")
"""What makes a refusal the same one as before; ``held_at`` and ``state`` then stay."""


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
        """Quarantined rows of ``partitions``, held and released ones; see ``QUARANTINE``.

        A file that cannot be read is one held row, so that it does not hide the others.
        """
        import pandas as pd

        keys = list(partitions)
        try:
            return self._load(keys)
        except BadDataError:
            rows = []
            for key in keys:
                try:
                    rows += _records(self._load([key]))
                except BadDataError as error:
                    since = datetime.fromtimestamp(
                        self._store.facts(self._folder, key).modified, UTC
                    )
                    advice = f"{error}, which sets the file aside"
                    address = self._store.address(self._folder, key)
                    rows.append(self._damage(key, address, advice, since))
            frame = pd.DataFrame(rows, columns=QUARANTINE.column_names)
            return QUARANTINE.conform(frame, f"quarantine of {self._asset}")

    def _load(self, keys: Sequence[str]) -> pd.DataFrame:
        return self._store.load(QUARANTINE, self._folder, keys).frame

    def held(self, partitions: Iterable[str]) -> pd.DataFrame:
        """Rows of ``partitions`` that are still refused."""
        frame = self.read(partitions)
        return frame[frame["state"] == HELD].reset_index(drop=True)

    def count_held(self, partitions: Iterable[str]) -> int:
        """How many rows of ``partitions`` are refused; a damaged file counts as one."""
        count = 0
        for key in partitions:
            try:
                count += self._store.columns(self._folder, key, ["state"])["state"].count(HELD)
            except BadDataError:
                count += 1
        return count

    def sift(self, held: Sequence[Held]) -> tuple[list[Held], list[Held]]:
        """Those of ``held`` that stay refused, and those that were released with these values."""
        known = self.read(sorted({one.partition for one in held} & set(self.partitions())))
        released = {
            (row.partition_key, row.item, row.row)
            for row in known[known["state"] == RELEASED].itertuples()
        }
        refused: list[Held] = []
        accepted: list[Held] = []
        for one in held:
            is_released = bool(released) and _identity(self._dataset, one) in released
            (accepted if is_released else refused).append(one)
        return refused, accepted

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
        with self._locked():
            existing = set(self.partitions())
            for key in sorted((existing & set(partitions)) | set(fresh)):
                known = self._known(key, now) if key in existing else []
                new = [_as_record(self._dataset, one, now) for one in fresh.get(key, [])]
                told = {item for partition, item in stored if partition == key}
                rows = _settled(known, new, told, self._store.is_there)
                if rows != known:
                    self._write(key, rows)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one process at a time change the quarantine of the asset."""
        try:
            with self._store.lock(self._folder):
                yield
        except OSError as error:
            raise BadDataError(
                f"the quarantine of {self._asset} in {self._store.address(self._folder)} could not "
                f"be written: {error}; free space there or make it writable"
            ) from None

    def _known(self, key: str, now: datetime) -> list[dict[str, Any]]:
        """Rows of a stored file; a damaged one is copied aside and gives way to a row that says so.

        A file that the system does not let us read is not damaged: that raises ``OSError``.
        """
        try:
            return _records(self._load([key]))
        except BadDataError:
            mark = f"{now:%Y%m%dT%H%M%S%f}.damaged"
            aside = self._store.set_aside(self._folder, key, mark)
        reason = (
            f"the quarantine file of {key} could not be read and was moved to {aside}: rows that "
            "it held are held again when the vendor gives them again, and so are released ones; "
            "remove that file to forget this"
        )
        note = self._damage(key, aside, reason, now)
        self._write(key, [note])
        return [note]

    def _damage(self, key: str, address: str, reason: str, when: datetime) -> dict[str, Any]:
        """The held row that stands for a damaged file."""
        name = address.rpartition("/")[2]
        one = Held(key, name, DAMAGED, reason, FOLDER, {"file": address})
        return _as_record(self._dataset, one, when)

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
        A stored partition keeps its code version: one row more does not bring the others up to
        date. Raises ``BadConfigurationError`` for an item that is not held and ``BadDataError`` for
        one that the dataset's contract does not admit, or for a damaged file.
        """
        if not items:
            raise BadConfigurationError(f"{self._asset} {partition}: no item to release is named")
        with self._locked():
            known = self._load([partition])
            wanted = known[known["item"].isin(list(items)) & (known["state"] == HELD)]
            if unknown := sorted(set(items) - set(wanted["item"])):
                there = known.loc[known["state"] == HELD, "item"].tolist()
                raise BadConfigurationError(
                    f"{self._asset} {partition}: {', '.join(unknown)} not in quarantine; held are "
                    f"{', '.join(there) or 'none'}"
                )
            wanted = wanted[wanted["row"] != ""]
            if formless := sorted(set(items) - set(wanted["item"])):
                raise BadDataError(
                    f"{self._asset} {partition}: {', '.join(formless)} cannot be released: the "
                    "vendor's values make no storable row; correct them at the source and "
                    "materialize the partition again"
                )
            frame = rows_from_json(self._dataset, wanted["row"])
            frame = self._dataset.conform(frame, f"{self._asset} [{partition}]")
            if self._store.load(self._dataset, self._asset, [partition]).present:
                code_version = self._store.info(self._asset, partition).code_version
            self._store.write(self._dataset, self._asset, partition, frame, code_version)
            is_released = known.index.isin(wanted.index)
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
    values = {name: _plain(row[name]) for name in dataset.column_names}
    return json.dumps({k: _text(v) if isinstance(v, str) else v for k, v in values.items()})


def _settled(
    known: Sequence[dict[str, Any]],
    new: Sequence[dict[str, Any]],
    stored: Collection[str],
    is_there: Callable[[str], bool],
) -> list[dict[str, Any]]:
    """Rows of a partition after a run that refused ``new`` and could store the items ``stored``.

    A refusal that is known stays as it was. A held row of an item of which the run now says
    something else is forgotten; a released one stays on record.
    """
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    fresh = {_place(row): row for row in new}
    told = {row["item"] for row in new} | set(stored)
    for old in known:
        again = fresh.get(_place(old))
        if again is not None and _is_same(old, again):
            fresh[_place(old)] = old
        elif old["state"] == RELEASED or (
            old["item"] not in told and not _is_mended(old, is_there)
        ):
            rows[_place(old)] = old
    rows |= fresh
    return sorted(rows.values(), key=_place)


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in QUARANTINE.key)


def _is_same(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a refusal is a known one; of a released row only the row itself counts."""
    if old["state"] == RELEASED:
        return bool(old["row"] == new["row"])
    return all(old[name] == new[name] for name in _VALUES)


def _is_mended(old: Mapping[str, Any], is_there: Callable[[str], bool]) -> bool:
    """Whether a row stands for a damaged file that somebody has removed."""
    return old["rule"] == DAMAGED and not is_there(json.loads(old["raw"])["file"])


def _identity(dataset: Dataset, one: Held) -> tuple[str, str, str]:
    return one.partition, _text(one.item), row_to_json(dataset, one.row)


def _as_record(dataset: Dataset, one: Held, now: datetime) -> dict[str, Any]:
    return {
        "partition_key": one.partition,
        "item": _text(one.item),
        "rule": _text(one.rule),
        "reason": _text(one.reason),
        "source": _text(one.source),
        "row": row_to_json(dataset, one.row),
        "raw": json.dumps(_plain(one.raw)),
        "held_at": now,
        "state": HELD,
    }


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _text(text: str) -> str:
    """A text as UTF-8 can hold it: a lone surrogate of a vendor's JSON as its escape."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _plain(value: Any) -> Any:
    """A value as JSON has it: dates as ISO 8601, missing values as null, infinities as texts.

    An infinity must not become null: a release would store a missing value in its place.
    """
    import numpy as np
    import pandas as pd

    if isinstance(value, np.datetime64):
        value = pd.Timestamp(value)
    elif isinstance(value, np.generic):
        value = value.item()
    elif isinstance(value, np.ndarray):
        value = value.tolist()
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value if isinstance(value, str | int | float) else str(value)
