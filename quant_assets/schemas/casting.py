"""Values → the dtype of their column. What belongs here: casts that lose nothing, no contracts.

pandas casts 1.5 to the integer 1, "False" to True, a missing flag to True and a number to a text
without a word. Here a value either fits its column or is named.
"""

from __future__ import annotations

import numbers
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

ColumnType = Literal["date", "timestamp", "string", "float", "int", "bool"]
PANDAS_DTYPES: dict[ColumnType, str] = {
    "date": "datetime64[us]",
    "timestamp": "datetime64[us, UTC]",
    "string": "str",
    "float": "float64",
    "int": "int64",
    "bool": "bool",
}
_FITTING_KINDS = {
    "date": "M",
    "timestamp": "M",
    "string": "T",
    "float": "iufb",
    "int": "iufb",
    "bool": "b",
}
"""Kinds of dtype that a column type is made from; T stands for text."""


def cast(values: pd.Series, to: ColumnType) -> tuple[pd.Series, pd.Series]:
    """``values`` with the dtype of ``to``, and a mask of those that do not fit.

    Where one does not fit, the values come back as they are. A missing value fits a date, an
    instant, a text and a float.
    """
    dtype: Any = PANDAS_DTYPES[to]
    unfit = ~_is_of_kind(values, to) & values.notna()
    if unfit.any():
        return values, unfit
    try:
        typed = values.astype(dtype)
    except (TypeError, ValueError, OverflowError):
        alone = (values.iloc[[n]] for n in range(len(values)))
        return values, _mask(values, [not _casts(value, dtype) for value in alone])
    if to in ("int", "bool"):
        unfit = typed != values
        return (values if unfit.any() else typed), unfit
    return typed, unfit


def _casts(values: pd.Series, dtype: Any) -> bool:
    try:
        values.astype(dtype)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _is_of_kind(values: pd.Series, to: ColumnType) -> pd.Series:
    """Whether each value is a number, a text, a flag or a time, as the column wants."""
    import pandas as pd

    if values.dtype == object or isinstance(values.dtype, pd.CategoricalDtype):
        return _mask(values, [_fits(value, to) for value in values.astype(object)])
    kind = "T" if pd.api.types.is_string_dtype(values.dtype) else values.dtype.kind
    return _mask(values, [kind in _FITTING_KINDS[to]] * len(values))


def _mask(values: pd.Series, flags: list[bool]) -> pd.Series:
    import pandas as pd

    return pd.Series(flags, index=values.index, dtype=bool)


def _fits(value: object, to: ColumnType) -> bool:
    import numpy as np

    if to == "string":
        return isinstance(value, str)
    if to == "bool":
        return isinstance(value, bool | np.bool_)
    if to == "timestamp":
        return getattr(value, "tzinfo", None) is not None
    if to == "date":
        return isinstance(value, date | np.datetime64)
    return isinstance(value, numbers.Number | np.bool_)
