"""``quant verify``. What belongs here: the sample, and from a stored file to its verdict."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import groupby

import click
import dagster as dg

from quant_assets.cli.inputs import inputs_of
from quant_assets.cli.progress import sandbox_for_all
from quant_assets.cli.selection import FROM_KAFKA, ends_of
from quant_assets.cli.verify_compare import difference, integrity
from quant_assets.cli.verify_future import is_decided, verdicts
from quant_assets.cli.verify_report import Code, Partition, Reason, VerifyReport
from quant_assets.cli.verify_scratch import make, scratch
from quant_assets.errors import BadDataError
from quant_assets.io_managers.parquet_store import ParquetStore, StoredPartition
from quant_assets.naming import FETCHED
from quant_assets.settings import Settings
from quant_assets.vendors.archive import RawArchive
from quant_assets.versions import code_versions

FAR = 40
"""Partitions between two of the sample that cost more than to read their fetch once more."""
Told = Callable[[Partition], None]


@dataclass(frozen=True)
class Sample:
    """Which stored partitions are verified: ``size`` of those between the ends.

    ``without_future``: they are made from what was known at their decision.
    """

    assets: tuple[str, ...]
    size: int
    seed: int
    first: str | None = None
    last: str | None = None
    without_future: bool = False


def verify(values: Settings, sample: Sample, told: Told) -> VerifyReport:
    """Make a sample of the stored partitions again and compare; each is ``told`` once it is known.

    Raises ``click.UsageError`` if the selection has nothing stored in the range.
    """
    store = ParquetStore(values.data_place, values.profile)
    assets = [a for a in sample.assets if is_decided(a) or not sample.without_future]
    stored = [(asset, key) for asset in assets for key in _stored(store, asset, sample)]
    if not stored:
        raise click.UsageError("nothing is stored of this selection in this range")
    rank = {asset: n for n, asset in enumerate(sample.assets)}
    drawn = random.Random(sample.seed).sample(stored, min(sample.size, len(stored)))
    drawn.sort(key=lambda place: (rank[place[0]], place[1]))
    found = []
    made = _without_future if sample.without_future else _with_all
    for one in made(values, store, drawn):
        told(one)
        found.append(one)
    return VerifyReport(values.profile, sample.seed, len(stored), tuple(found))


def _with_all(
    values: Settings, store: ParquetStore, drawn: Sequence[tuple[str, str]]
) -> Iterator[Partition]:
    return _Verifier(values, store).verdicts(drawn)


def _without_future(
    values: Settings, store: ParquetStore, drawn: Sequence[tuple[str, str]]
) -> Iterator[Partition]:
    """Verdicts without the future; what is other with the future as well does not look ahead."""
    suspects: dict[tuple[str, str], Partition] = {}
    for one, is_suspect in verdicts(values, store, drawn):
        if is_suspect:
            suspects[one.asset, one.partition] = one
        else:
            yield one
    rank = {place: n for n, place in enumerate(drawn)}
    for one in _Verifier(values, store).verdicts(sorted(suspects, key=rank.__getitem__)):
        yield suspects[one.asset, one.partition] if one.verdict == "equal" else one


def _stored(store: ParquetStore, asset: str, sample: Sample) -> list[str]:
    first, last = ends_of(asset, sample.first or "0000-00-00", sample.last or "9999-99-99")
    return [key for key in store.list_partitions(asset) if first <= key <= last]


class _Verifier:
    """Verdicts on stored partitions."""

    def __init__(self, values: Settings, store: ParquetStore) -> None:
        self._values = values
        self._store = store
        self._versions = code_versions(values)
        self._archive = RawArchive(values.raw_dir, values.secrets)

    def verdicts(self, drawn: Sequence[tuple[str, str]]) -> Iterator[Partition]:
        """One verdict for each of ``drawn``, in their order of assets."""
        if not drawn:
            return
        with ExitStack() as stack:
            beside = stack.enter_context(scratch(self._values))
            self._instance = stack.enter_context(dg.DagsterInstance.ephemeral())
            self._scratch = beside
            self._derived = beside.definitions()
            if any(asset in FETCHED for asset, _ in drawn):
                stack.enter_context(sandbox_for_all(self._values))
                beside.find_vendors()
            for asset, places in groupby(drawn, key=lambda place: place[0]):
                yield from self._of_asset(asset, [key for _, key in places])

    def _of_asset(self, asset: str, keys: Sequence[str]) -> Iterator[Partition]:
        whole = []
        for key in keys:
            if problem := integrity(self._store, asset, key):
                yield Partition(asset, key, problem.verdict, problem.reasons, problem.stored_hash)
            else:
                whole.append(key)
        if asset == FROM_KAFKA:
            text = "its articles came from Kafka, which is not asked again; the file is whole"
            yield from (_unverifiable(asset, key, "from_kafka", text) for key in whole)
        elif asset in FETCHED:
            yield from self._of_fetches(asset, whole)
        else:
            yield from (self._of_derived(asset, key) for key in whole)

    def _of_derived(self, asset: str, key: str) -> Partition:
        """A partition that is computed from stored ones."""
        with self._scratch.without(asset, [key]):
            why = make(self._derived, self._instance, asset, key, key, rebuild=False)
            return self._judged(asset, key, why)

    def _of_fetches(self, asset: str, keys: Sequence[str]) -> Iterator[Partition]:
        """Partitions that were fetched: all fetches of a partition again, the oldest first.

        Neighbours with the same fetches are made together, since a fetch is read as a whole.
        """
        manifests = self._archive.manifests(asset)
        place = {key: n for n, key in enumerate(self._store.list_partitions(asset))}

        def fetches(key: str) -> tuple[str, ...]:
            return tuple(m.path.name for m in manifests if m.first <= key <= m.last)

        for names, some in groupby(keys, key=fetches):
            if not names:
                text = "no raw answers are kept for it (QUANT_RAW_RETENTION_DAYS)"
                yield from (_unverifiable(asset, key, "no_raw_answer", text) for key in some)
                continue
            for near in _neighbours(list(some), place):
                yield from self._of_one_range(asset, near, names)

    def _of_one_range(
        self, asset: str, keys: Sequence[str], manifests: Sequence[str]
    ) -> list[Partition]:
        with self._scratch.without(asset, keys):
            why = ""
            for name in manifests:
                made = self._scratch.definitions(name)
                why = make(made, self._instance, asset, keys[0], keys[-1], rebuild=True) or why
            return [self._judged(asset, key, why) for key in keys]

    def _judged(self, asset: str, key: str, why_failed: str) -> Partition:
        """The verdict on a partition after an attempt to make it again."""
        stored = self._store.info(asset, key)
        made: StoredPartition | None = None
        with suppress(BadDataError):
            made = self._scratch.store.info(asset, key)
        if made is None:
            missing = [p for p in inputs_of(asset, key) if self._store.missing(p[0], [p[1]])]
            code: Code = "input_missing" if missing and "not stored" in why_failed else "failed"
            return _unverifiable(
                asset, key, code, why_failed or "it was not made again", stored.content_hash
            )
        is_other = made.content_hash != stored.content_hash
        if is_other and why_failed:
            # Half of what it was made from is no ground to doubt the stored rows.
            return _unverifiable(asset, key, "failed", why_failed, stored.content_hash)
        reasons = list(self._of_versions(stored, made))
        found = None
        if is_other:
            found = difference(self._store, self._scratch.store, asset, key)
            if found.is_real:
                reasons.insert(0, Reason("content", "made again, its rows are others"))
            else:
                found = None
        if reasons:
            reasons += self._of_newer_inputs(asset, key)
        return Partition(
            asset,
            key,
            "drift" if reasons else "equal",
            tuple(reasons),
            stored.content_hash,
            made.content_hash,
            found,
        )

    def _of_versions(self, stored: StoredPartition, made: StoredPartition) -> Iterator[Reason]:
        if stored.code_version != made.code_version:
            yield Reason(
                "code_version",
                f"stored by version {stored.code_version}, made again by {made.code_version}",
            )
        if stored.schema_version != made.schema_version:
            yield Reason(
                "schema_version",
                f"stored with schema {stored.schema_version}, now it is {made.schema_version}",
            )

    def _of_newer_inputs(self, asset: str, key: str) -> Iterator[Reason]:
        """What a partition rests on and was stored after it."""
        made = self._store.facts(asset, key).modified
        newer = []
        for place in inputs_of(asset, key):
            with suppress(FileNotFoundError):
                if self._store.facts(*place).modified > made:
                    newer.append(" ".join(place))
        if newer:
            more = f" and {len(newer) - 1} more" if len(newer) > 1 else ""
            yield Reason("input_newer", f"{newer[-1]}{more} was stored after it")


def _neighbours(keys: Sequence[str], place: Mapping[str, int]) -> list[list[str]]:
    """``keys`` in groups with few others between them: those are made again as well."""
    groups: list[list[str]] = []
    for key in keys:
        if not groups or place[key] - place[groups[-1][-1]] > FAR:
            groups.append([])
        groups[-1].append(key)
    return groups


def _unverifiable(asset: str, key: str, code: Code, text: str, stored_hash: str = "") -> Partition:
    return Partition(asset, key, "unverifiable", (Reason(code, text),), stored_hash)
