"""``quant verify lookahead``. What belongs here: making partitions again without their future.

The scratch store is cut at a decision: sessions that are decided later, hours and days that begin
later, and every row that became known later are gone. What is computed from the rest must be what
is stored. Cuts only ever go back in time, so one scratch store serves the whole sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime

import dagster as dg

from quant_assets.assets.macro_fetch import RELEASE_DAY_ENDS
from quant_assets.cli.inputs import inputs_of
from quant_assets.cli.verify_compare import difference, integrity
from quant_assets.cli.verify_report import Partition, Reason
from quant_assets.cli.verify_scratch import Scratch, make, scratch
from quant_assets.errors import BadDataError
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.markets import MARKETS
from quant_assets.naming import FETCHED
from quant_assets.partitions import hour_of, session_of
from quant_assets.schemas import DATASETS, dataset_of
from quant_assets.settings import Settings


def is_decided(asset: str) -> bool:
    """Whether an asset is computed as of a decision or of a day's end, so that it has a future."""
    return asset not in FETCHED and (asset == "macro/regime" or asset.split("/")[0] in MARKETS)


def decided_at(asset: str, key: str) -> datetime:
    """The instant (UTC) by which everything that a partition rests on was known."""
    market = MARKETS.get(asset.split("/")[0])
    if market is not None:
        return market.decision_at(session_of(key))
    return datetime.combine(session_of(key), datetime.min.time(), UTC) + RELEASE_DAY_ENDS


def verdicts(
    values: Settings, store: ParquetStore, drawn: Sequence[tuple[str, str]]
) -> Iterator[tuple[Partition, bool]]:
    """What was found of each of ``drawn``, the latest decisions first.

    The second value says that the partition is other than stored (or cannot be made) without its
    future: what it is with it decides whether it looks ahead.
    """
    with ExitStack() as stack:
        cut = _Cut(stack.enter_context(scratch(values)), store)
        instance = stack.enter_context(dg.DagsterInstance.ephemeral())
        definitions = cut.scratch.definitions()
        for asset, key in sorted(drawn, key=lambda place: decided_at(*place), reverse=True):
            if problem := integrity(store, asset, key):
                found = Partition(asset, key, problem.verdict, problem.reasons, problem.stored_hash)
                yield found, False
                continue
            cut.at(decided_at(asset, key), inputs_of(asset, key))
            with cut.scratch.without(asset, [key]):
                why = make(definitions, instance, asset, key, key, rebuild=False)
                yield _judged(store, cut.scratch, asset, key, why)


def _judged(
    store: ParquetStore, beside: Scratch, asset: str, key: str, why: str
) -> tuple[Partition, bool]:
    stored = store.info(asset, key)
    made = ""
    with suppress(BadDataError):
        made = beside.store.info(asset, key).content_hash
    if made == stored.content_hash:
        return Partition(asset, key, "equal", (), stored.content_hash, made), False
    if not made:
        text = f"without what became known after its decision it cannot be made: {why}"
        found = Partition(asset, key, "look_ahead", (Reason("future", text),), stored.content_hash)
        return found, True
    text = "made without what became known after its decision, its rows are others"
    other = difference(store, beside.store, asset, key)
    if not other.is_real:
        return Partition(asset, key, "equal", (), stored.content_hash, made), False
    reasons = (Reason("future", text),)
    return Partition(asset, key, "look_ahead", reasons, stored.content_hash, made, other), True


class _Cut:
    """A scratch store that knows nothing after an instant."""

    def __init__(self, beside: Scratch, stored: ParquetStore) -> None:
        self.scratch = beside
        self._left = {asset: stored.list_partitions(asset) for asset in sorted(DATASETS)}

    def at(self, decision: datetime, inputs: Iterator[tuple[str, str]]) -> None:
        """Forget what became known after ``decision``; of ``inputs`` also single rows."""
        for asset, keys in self._left.items():
            while keys and _begins(asset, keys[-1]) > decision:
                self.scratch.store.path(asset, keys.pop()).unlink(missing_ok=True)
        for asset, key in inputs:
            self._forget_rows(asset, key, decision)

    def _forget_rows(self, asset: str, key: str, decision: datetime) -> None:
        store, dataset = self.scratch.store, dataset_of(asset)
        if store.missing(asset, [key]) or "available_at" not in dataset.column_names:
            return
        known = store.columns(asset, key, ["available_at"])["available_at"]
        if all(at <= decision for at in known):  # type: ignore[operator]
            return
        rows = store.read(dataset, asset, [key])
        rows = rows[rows["available_at"] <= decision].reset_index(drop=True)
        version = store.info(asset, key).code_version
        store.path(asset, key).unlink()
        if len(rows) or dataset.may_be_empty:
            store.write(dataset, asset, key, rows, version)


def _begins(asset: str, key: str) -> datetime:
    """When a partition could first be looked at: a session at its decision, others at their start.

    A session is whole before its decision; that of the next one lies after it.
    """
    if asset.split("/")[0] in MARKETS:
        return decided_at(asset, key)
    start = hour_of(key) if asset.startswith("news/") else datetime.fromisoformat(key)
    return start.replace(tzinfo=UTC)
