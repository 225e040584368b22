"""Frames that obey a dataset's contract, made from a seed. What belongs here: no tests."""

import numpy as np
import pandas as pd

from quant_assets.schemas.casting import PANDAS_DTYPES
from quant_assets.schemas.contract import Column, Dataset

TEXTS = (
    "",
    "Apple",
    "삼성전자",
    "a\x1fb",
    "\x00",
    "Ünïcödé 🙂",
    'quote " and, comma',
    "line\nbreak",
)
FIRST_DAY = pd.Timestamp("2024-01-02")


def partition_keys(dataset: Dataset, count: int) -> list[str]:
    """The first ``count`` partition keys that ``valid_frame`` fills."""
    return [when.strftime(_key_format(dataset)) for when in _partition_starts(dataset, count)]


def valid_frame(dataset: Dataset, partitions: int, rows: int, seed: int) -> pd.DataFrame:
    """``rows`` rows in each of ``partitions`` partitions, sorted, with nulls where allowed.

    A dataset whose only key is its partition gets one row a partition.
    """
    random = np.random.default_rng(seed)
    if dataset.key == (dataset.partition_column,):
        rows = min(rows, 1)
    count = partitions * rows
    data = {}
    for column in dataset.columns:
        if column.name == dataset.partition_column:
            starts = [w for w in _partition_starts(dataset, partitions) for _ in range(rows)]
            values: object = starts
        elif column.name in dataset.key:
            values = _key_values(column, partitions, rows, random)
        else:
            values = _values(column, count, random)
        data[column.name] = pd.Series(values, dtype=_series_dtype(column, values))
    frame = pd.DataFrame(data).astype({c.name: PANDAS_DTYPES[c.type] for c in dataset.columns})
    return frame.sort_values(dataset.sort_columns, ignore_index=True)


def _series_dtype(column: Column, values: object) -> str | None:
    return "float64" if column.type == "float" else (None if len(values) else "object")  # type: ignore[arg-type]


def _partition_starts(dataset: Dataset, count: int) -> list[pd.Timestamp]:
    if _key_format(dataset) == "%Y-%m-%d":
        return [FIRST_DAY + pd.Timedelta(days=n) for n in range(count)]
    start = FIRST_DAY.tz_localize("UTC")
    return [start + pd.Timedelta(hours=22 + n) for n in range(count)]


def _key_format(dataset: Dataset) -> str:
    column = next(c for c in dataset.columns if c.name == dataset.partition_column)
    return "%Y-%m-%d" if column.type == "date" else "%Y-%m-%d-%H"


def _key_values(
    column: Column, partitions: int, rows: int, random: np.random.Generator
) -> list[object]:
    values: list[object] = []
    for _ in range(partitions):
        order = random.permutation(rows)
        if column.type == "date":
            values += [FIRST_DAY - pd.Timedelta(days=int(n)) for n in order]
        elif column.type == "int":
            values += [int(column.minimum or 0) + int(n) for n in order]
        else:
            values += [("가나다.KS" if n % 2 else "S") + f"{n:04d}" for n in order]
    return values


def _values(column: Column, count: int, random: np.random.Generator) -> list[object]:
    low = -1000.0 if column.minimum is None else column.minimum
    high = low + 1000.0 if column.maximum is None else column.maximum
    makers = {
        "float": lambda: float(random.uniform(low, high)),
        "int": lambda: int(random.integers(int(low), int(min(high, 2**53)), endpoint=True)),
        "bool": lambda: bool(random.integers(2)),
        "string": lambda: str(random.choice(column.allowed or TEXTS)),
        "date": lambda: FIRST_DAY + pd.Timedelta(days=int(random.integers(900))),
        "timestamp": lambda: (
            FIRST_DAY.tz_localize("UTC") + pd.Timedelta(microseconds=int(random.integers(10**12)))
        ),
    }
    make = makers[column.type]
    edges = [column.minimum, column.maximum] if column.type == "float" else []
    values: list[object] = []
    values += [edge for edge in edges if edge is not None][:count]
    values += [make() for _ in range(count - len(values))]
    if column.nullable:
        values = [None if random.random() < 0.3 else value for value in values]
    return values
