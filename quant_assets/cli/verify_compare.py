"""Stored rows and recomputed ones. What belongs here: is a file whole, and how do two differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from quant_assets.cli.verify_report import Difference, Reason, Verdict
from quant_assets.errors import BadDataError
from quant_assets.io_managers.parquet_store import ParquetStore, content_hash
from quant_assets.schemas import dataset_of

if TYPE_CHECKING:
    import pandas as pd

EXAMPLES = 5
CLOSE = 1e-9
"""Relative difference of numbers (absolute below 1) that is rounding, not drift."""
MAGIC = b"PAR1"


class Problem(NamedTuple):
    """Why a file is not what it says that it is."""

    verdict: Verdict
    reasons: tuple[Reason, ...]
    stored_hash: str


def integrity(store: ParquetStore, asset: str, key: str) -> Problem | None:
    """What is wrong with a stored file by itself: unreadable, or other rows than were written."""
    dataset = dataset_of(asset)
    stored_hash = ""
    try:
        _demand_magic(store, asset, key)
        facts = store.info(asset, key)
        stored_hash = facts.content_hash
        if facts.schema_version and facts.schema_version != dataset.version:
            text = f"stored with schema {facts.schema_version}, now it is {dataset.version}"
            return Problem("drift", (Reason("schema_version", text),), stored_hash)
        rows = store.read(dataset, asset, [key])
    except BadDataError as error:
        return Problem("damaged", (Reason("unreadable", str(error)),), stored_hash)
    if content_hash(dataset, rows) == stored_hash:
        return None
    text = "the rows are not those that were written: their hash is another than the file's"
    return Problem("damaged", (Reason("hash_mismatch", text),), stored_hash)


def _demand_magic(store: ParquetStore, asset: str, key: str) -> None:
    """Raise ``BadDataError`` unless a file begins as Parquet does: readers look at its end only."""
    source = store.sources(asset, [key])[key]
    whole = source if isinstance(source, bytes) else source.read_bytes()
    if not whole.startswith(MAGIC):
        raise BadDataError(f"{store.address(asset, key)} does not begin with {MAGIC.decode()}")


def difference(stored: ParquetStore, made: ParquetStore, asset: str, key: str) -> Difference:
    """How the stored rows of a partition differ from the recomputed ones."""
    dataset = dataset_of(asset)
    name = list(dataset.key)
    old = stored.read(dataset, asset, [key]).set_index(name)
    new = made.read(dataset, asset, [key]).set_index(name)
    only_old, only_new = old.index.difference(new.index), new.index.difference(old.index)
    both = old.index.intersection(new.index)
    old, new = old.loc[both], new.loc[both]
    columns = {column: _is_other(old[column], new[column]) for column in old.columns}
    changed = {column: mask for column, mask in columns.items() if mask.any()}
    examples = [
        f"{_words(index)} {column}: stored {old[column].loc[index]}, recomputed "
        f"{new[column].loc[index]}"
        for column, mask in changed.items()
        for index in mask.index[mask][:EXAMPLES]
    ]
    examples += [f"{_words(index)}: only stored" for index in only_old[:EXAMPLES]]
    examples += [f"{_words(index)}: only recomputed" for index in only_new[:EXAMPLES]]
    return Difference(
        columns=tuple(changed),
        rows_changed=_rows(changed),
        rows_only_stored=len(only_old),
        rows_only_recomputed=len(only_new),
        examples=tuple(examples[:EXAMPLES]),
    )


def _is_other(old: pd.Series, new: pd.Series) -> pd.Series:
    """Where two columns of the same rows differ; two missing values are the same.

    Numbers are the same within ``CLOSE``: indicators of a range and of its sessions one by one are
    summed from other beginnings.
    """
    same = (old == new) | (old.isna() & new.isna())
    if old.dtype.kind == "f":
        same |= (old - new).abs() <= CLOSE * old.abs().clip(lower=1.0)
    return ~same.fillna(False).astype(bool)


def _rows(changed: dict[str, pd.Series]) -> int:
    import pandas as pd

    return int(pd.DataFrame(changed).any(axis=1).sum()) if changed else 0


def _words(index: object) -> str:
    parts = index if isinstance(index, tuple) else (index,)
    return " ".join(str(part).removesuffix(" 00:00:00") for part in parts)
