"""What a dataset's contract is. What belongs here: the contract type and what is derived from it.

A contract lists the columns of a dataset with type, unit, range and meaning. It is the single
source for the Parquet schema, the check on the way in and out of storage (pandera), the column
schema shown in the Dagster UI and the asset checks. This module is imported by the code location:
pandas, pandera and pyarrow are imported where they are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal

from quant_assets.errors import BadDataError
from quant_assets.schemas.casting import PANDAS_DTYPES, ColumnType, cast

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pa
    import pyarrow

_DAY_MICROSECONDS = 24 * 3600 * 10**6
_HOUR_MICROSECONDS = 3600 * 10**6


OnRewrite = Literal["replace", "update", "keep"]


@dataclass(frozen=True)
class Column:
    """One column: ``date`` is a naive midnight, ``timestamp`` a UTC instant."""

    name: str
    type: ColumnType
    description: str
    unit: str = ""
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)
class Dataset:
    """Contract of one dataset; datasets are compared and cached by identity.

    ``partition_column`` holds the partition of a row (a date or the start of an hour), ``key``
    the columns that identify a row inside the dataset; rows are stored sorted by them.
    ``may_be_empty`` says that a partition without rows is a normal answer.
    ``version`` rises when a column changes in name, type or meaning. ``on_rewrite`` says what
    becomes of the stored rows when a partition is stored again: computed data ``replace`` them;
    fetched data ``update`` the rows that came again and keep the others, so that a bad night of a
    vendor loses nothing; news ``keep`` what was stored and add what is new.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    partition_column: str
    key: tuple[str, ...]
    may_be_empty: bool = False
    version: int = 1
    on_rewrite: OnRewrite = "replace"

    @cached_property
    def column_names(self) -> list[str]:
        """Names of the columns, in stored order."""
        return [column.name for column in self.columns]

    @property
    def sort_columns(self) -> list[str]:
        """Order of the stored rows: by partition, then by key."""
        return [self.partition_column, *(k for k in self.key if k != self.partition_column)]

    def conform(self, frame: pd.DataFrame, where: str) -> pd.DataFrame:
        """``frame`` with the contract's columns, order, dtypes and sorting, checked.

        ``where`` names asset and partitions for the message. Raises ``BadDataError`` that lists
        each broken rule with the offending values.
        """
        import pandas as pd

        if not isinstance(frame, pd.DataFrame):
            raise BadDataError(f"{where}: {self.name} is a DataFrame, not {type(frame).__name__}")
        missing = [name for name in self.column_names if name not in frame.columns]
        if missing:
            raise BadDataError(f"{where}: column(s) {', '.join(missing)} missing in {self.name}")
        typed = frame if list(frame.columns) == self.column_names else frame[self.column_names]
        if twice := typed.columns[typed.columns.duplicated()].unique().tolist():
            raise BadDataError(f"{where}: column(s) {', '.join(twice)} occur twice in {self.name}")
        dtypes = _pandas_dtypes(self)
        wrong = [c for c in self.columns if typed[c.name].dtype != dtypes[c.name]]
        if wrong:
            typed = typed.assign(**{c.name: self._cast(c, typed, where) for c in wrong})
        if not _strictly_ascending(typed, self.sort_columns):
            typed = typed.sort_values(self.sort_columns, kind="stable", ignore_index=True)
            self._check_key(typed, where)
        self._check_rules(typed, where)
        return typed

    def _cast(self, column: Column, frame: pd.DataFrame, where: str) -> pd.Series:
        """A column in its own dtype; a value that does not fit is named, never bent."""
        values = frame[column.name]
        typed, unfit = cast(values, column.type)
        if unfit.any():
            rows = frame.loc[unfit.to_numpy()].head(3)
            raise BadDataError(
                f"{where}: {self.name}: {column.name} has a wrong type: {int(unfit.sum())} row(s) "
                f"hold no {column.type}, e.g. {_row_names(self, rows)} with "
                f"{values[unfit.to_numpy()].head(3).tolist()}"
            )
        return typed

    def whole_microseconds(self, column: Column) -> int:
        """What the values of ``column`` are multiples of: a day, the partition's hour, else 1."""
        if column.type == "date":
            return _DAY_MICROSECONDS
        is_hour = column.type == "timestamp" and column.name == self.partition_column
        return _HOUR_MICROSECONDS if is_hour else 1

    def _check_key(self, frame: pd.DataFrame, where: str) -> None:
        """Check that sorted rows have distinct keys."""
        duplicated = frame.duplicated(list(self.key), keep=False)
        if duplicated.any():
            rows = frame.loc[duplicated, list(self.key)].head(4).astype(str).to_dict("records")
            raise BadDataError(
                f"{where}: {self.name} has {int(duplicated.sum())} rows that share a key, {rows}"
            )

    def _check_rules(self, frame: pd.DataFrame, where: str) -> None:
        """Check nulls, ranges and allowed values of a frame of the right dtypes.

        numpy decides (0.3 ms for a day of 500 symbols, where pandera takes 3), pandera explains:
        it runs only on a frame that breaks a rule. Raises ``BadDataError`` naming columns, rules
        and the first offending rows.
        """
        import pandera.errors

        if all(
            _obeys(column, frame[column.name], self.whole_microseconds(column))
            for column in self.columns
        ):
            return
        try:
            pandera_schema(self).validate(frame, lazy=True)
        except pandera.errors.SchemaErrors as errors:
            raise BadDataError(f"{where}: {_explain(self, frame, errors.failure_cases)}") from None
        raise BadDataError(f"{where}: {self.name} breaks its contract")


@lru_cache(maxsize=64)
def _pandas_dtypes(dataset: Dataset) -> dict[str, Any]:
    """Dtype objects of the columns: comparing with objects is ten times faster than with names."""
    import pandas as pd

    return {c.name: pd.api.types.pandas_dtype(PANDAS_DTYPES[c.type]) for c in dataset.columns}


def _obeys(column: Column, values: pd.Series, whole: int) -> bool:
    """Whether every value of a column keeps its rules; the same rules as its pandera column."""
    import numpy as np

    if len(values) == 0:
        return True
    if column.type in ("string", "bool", "date", "timestamp"):
        if not column.nullable and values.hasnans:
            return False
        if whole > 1 and (values.dropna().astype("int64").to_numpy() % whole).any():
            return False
        return column.allowed is None or bool(values.dropna().isin(column.allowed).all())
    array = values.to_numpy()
    low, high = np.fmin.reduce(array), np.fmax.reduce(array)
    if column.type == "float":
        if not column.nullable and np.isnan(array).any():
            return False
        if np.isinf(low) or np.isinf(high):
            return False
    above = column.minimum is None or np.isnan(low) or low >= column.minimum
    below = column.maximum is None or np.isnan(high) or high <= column.maximum
    return bool(above and below)


def _strictly_ascending(frame: pd.DataFrame, by: Sequence[str]) -> bool:
    """Whether rows ascend by the columns ``by`` without two equal ones (null-free columns)."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if len(frame) < 2:
        return True
    undecided = np.ones(len(frame) - 1, dtype=bool)
    for name in by:
        values = pa.array(frame[name])
        if isinstance(values, pa.ChunkedArray):
            values = values.combine_chunks()
        before, after = values[:-1], values[1:]
        less = pc.fill_null(pc.less(before, after), False).to_numpy(zero_copy_only=False)
        equal = pc.fill_null(pc.equal(before, after), False).to_numpy(zero_copy_only=False)
        if (undecided & ~(less | equal)).any():
            return False
        undecided &= equal
    return not undecided.any()


@lru_cache(maxsize=64)
def pandera_schema(dataset: Dataset) -> pa.DataFrameSchema:
    """The pandera schema of ``dataset``."""
    import pandera.pandas as pa

    columns = {}
    for column in dataset.columns:
        checks = []
        if column.minimum is not None:
            checks.append(pa.Check.ge(column.minimum))
        if column.maximum is not None:
            checks.append(pa.Check.le(column.maximum))
        if column.allowed is not None:
            checks.append(pa.Check.isin(column.allowed))
        if column.type == "float":
            checks.append(pa.Check(_is_finite, name="finite"))
        if (whole := dataset.whole_microseconds(column)) > 1:
            name = "a whole day" if whole == _DAY_MICROSECONDS else "a whole hour"
            checks.append(pa.Check(_is_whole, name=name, whole=whole))
        columns[column.name] = pa.Column(
            PANDAS_DTYPES[column.type], checks, nullable=column.nullable
        )
    return pa.DataFrameSchema(columns, strict=True, ordered=True, name=dataset.name)


@lru_cache(maxsize=64)
def arrow_schema(dataset: Dataset) -> pyarrow.Schema:
    """The stored schema of ``dataset``.

    Units and meanings are not repeated in each file: they double the footer that every read of a
    range has to parse.
    """
    import pyarrow as pa

    types = {
        "date": pa.date32(),
        "timestamp": pa.timestamp("us", tz="UTC"),
        "string": pa.large_string(),
        "float": pa.float64(),
        "int": pa.int64(),
        "bool": pa.bool_(),
    }
    return pa.schema(
        [
            pa.field(
                column.name,
                types[column.type],
                nullable=column.nullable,
            )
            for column in dataset.columns
        ]
    )


def _is_finite(series: pd.Series) -> pd.Series:
    import numpy as np

    is_infinite: pd.Series = np.isinf(series)
    return ~is_infinite


def _is_whole(instants: pd.Series, whole: int) -> pd.Series:
    is_whole: pd.Series = instants.astype("int64") % whole == 0
    return is_whole


def _row_names(dataset: Dataset, rows: pd.DataFrame) -> list[str]:
    """Keys of ``rows`` as texts; a missing part of a key reads nan."""
    keys = rows[list(dataset.key)].astype(object)
    return [
        " ".join(str(part).removesuffix(" 00:00:00") for part in key)
        for key in keys.itertuples(index=False)
    ]


def _explain(dataset: Dataset, frame: pd.DataFrame, failures: pd.DataFrame) -> str:
    """One sentence for the broken rules: column, rule, number of rows, the first rows' keys."""
    parts = []
    grouped = failures.groupby(["column", "check"], sort=False, dropna=False)
    for (column, check), cases in grouped:
        index: list[int] = [i for i in cases["index"].dropna().tolist() if i in frame.index]
        keys = _row_names(dataset, frame.loc[index[:3]])
        values = cases["failure_case"].head(3).tolist()
        parts.append(f"{column} breaks {check} in {len(cases)} row(s), e.g. {keys} with {values}")
    return f"{dataset.name} breaks its contract: " + "; ".join(parts)
