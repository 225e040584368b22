"""What a backfill has to do. What belongs here: due partitions, and bundling them into few runs.

A stage is what may run at the same time; the next one rests on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from quant_assets.cli.inputs import TONES, Place, inputs_of
from quant_assets.cli.plan import ARTICLES, HOURS_A_RUN, OBSERVATIONS, Planner
from quant_assets.cli.selection import FROM_KAFKA, JOBS_BY_NAME, is_hourly, parents_of
from quant_assets.cli.tasks import Cause, Causes, Reason, Task, Write
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.naming import ANY_JOB, CHAINED, FORECAST
from quant_assets.partitions import key_ranges

if TYPE_CHECKING:
    import dagster as dg

LOOK_BACK = {"technical_indicators", "regime", "risk", *FORECAST, *CHAINED}
"""Names of assets that rest on partitions of before, too."""

STREAMED_TONE = "news/streamed_sentiment"

Pending = Mapping[str, set[str]]
"""The partitions that are about to be made, by asset."""
Keys = Mapping[str, Sequence[str]]
"""The partitions that are asked for of each asset, ascending."""


class DueFinder(Planner):
    """Which partitions are not stored or not up to date, asset by asset, as ``quant run`` plans."""

    def __init__(
        self,
        store: ParquetStore,
        instance: dg.DagsterInstance,
        now: datetime,
        versions: Mapping[str, str],
    ) -> None:
        super().__init__(store, instance, now, versions)
        self._times: dict[Place, float] = {}

    def due(self, asset: str, keys: Sequence[str], pending: Pending) -> dict[str, Cause]:
        """Those of ``keys`` that have to be made, and why; ``pending`` are those about to be."""
        if asset == STREAMED_TONE:
            # Most hours have no streamed articles: nothing is missing there.
            articles = TONES[asset]
            lacking = set(self._store.missing(articles, keys)) - pending.get(articles, set())
            keys = [key for key in keys if key not in lacking]
        found = self._to_ask_again(asset, keys)
        for key in keys:
            if (newer := self._newer_input(asset, key, pending)) is not None:
                found[key] = Cause(Reason.OLDER, newer)
        found |= {key: Cause(Reason.CONFIGURATION) for key in self._of_another_tone(asset, keys)}
        found |= {key: cause for (_, key), cause in self._lacking(asset, keys).items()}
        if is_chained(asset) and found:
            begin = min(found)
            follows = Cause(Reason.OLDER, f"{asset} {begin} will be newer")
            found |= {key: follows for key in keys if key > begin and key not in found}
        return found

    def _to_ask_again(self, asset: str, keys: Sequence[str]) -> dict[str, Cause]:
        """Partitions whose vendor has more to say."""
        if asset.endswith("/prices"):
            return self._held_lately(asset, keys) | self._gaps(asset, keys, "no_answer")
        if asset == OBSERVATIONS:
            return self._asked(keys)
        if asset == ARTICLES:
            return self._gaps(asset, keys, "source_failed", "alpha_vantage general")
        return {}

    def _of_another_tone(self, asset: str, keys: Sequence[str]) -> set[str]:
        """Stored hours that were scored in another way."""
        version = self._versions.get(asset) if asset in TONES else None
        if version is None:
            return set()
        missing = set(self._store.missing(asset, keys))
        stored = [key for key in keys if key not in missing]
        return {key for key in stored if self._version(asset, key) != version}

    def _newer_input(self, asset: str, key: str, pending: Pending) -> str | None:
        """What a stored partition rests on and is newer, or will be, in words."""
        made = self._written(asset, key).at
        for place in inputs_of(asset, key):
            if place[1] in pending.get(place[0], ()):
                return f"{' '.join(place)} will be newer"
            if self._written_once(place) > made:
                return f"{' '.join(place)} is newer"
        return None

    def _written_once(self, place: Place) -> float:
        """When an input was stored: asked once, since neighbours share their inputs."""
        if place not in self._times:
            self._times[place] = self._written(*place).at
        return self._times[place]


@dataclass
class _Bundle:
    """Assets of one kind of partitions that are due for the same ones."""

    keys: Sequence[str]
    due: set[str]
    stage: int
    chunk: int | None
    assets: list[str] = field(default_factory=list)

    def ranges(self) -> list[list[str]]:
        """The ranges of its runs, with nothing in them that is not due.

        However many: what is stored and up to date is not asked of a vendor again.
        """
        parts = key_ranges(self.keys, self.due, most=len(self.keys))
        size = self.chunk or len(self.keys) or 1
        return [part[n : n + size] for part in parts for n in range(0, len(part), size)]

    def admits(self, asset: str, due: set[str]) -> bool:
        """Whether an asset can be made in the same runs.

        Not if it rests on earlier partitions of an asset of the bundle and there are several
        runs: they are not done in the order of time.
        """
        looks_back = asset.rpartition("/")[2] in LOOK_BACK and parents_of(asset, self.assets)
        return due == self.due and (not looks_back or len(self.ranges()) == 1)


def stages(
    finder: DueFinder, keys: Keys, *, chunk: int | None = None, again: bool = False
) -> list[list[Task]]:
    """The runs that make what is due of ``keys``, as few as can be; stage after stage.

    ``keys`` in the order of the data. ``chunk``: most partitions of a run (hours: 1,500 unless
    given). ``again``: everything is due.
    """
    pending: dict[str, set[str]] = {}
    bundles: list[_Bundle] = []
    place: dict[str, _Bundle] = {}
    causes: dict[Place, Cause] = {}
    for asset, wanted in keys.items():
        if asset == FROM_KAFKA:
            continue
        why = _forced(wanted) if again else finder.due(asset, wanted, pending)
        if not (due := set(why)):
            continue
        causes |= {(asset, key): cause for key, cause in why.items()}
        pending[asset] = due
        above = [place[parent] for parent in parents_of(asset, list(place))]
        size = chunk or (HOURS_A_RUN if is_hourly(asset) else None)
        if is_chained(asset):
            size = None  # its runs would go on from each other and begin at the same time
        bundle = _bundle_for(asset, wanted, due, above, bundles)
        if bundle is None:
            stage = max((one.stage + 1 for one in above), default=0)
            bundle = _Bundle(wanted, due, stage, size)
            bundles.append(bundle)
        bundle.assets.append(asset)
        place[asset] = bundle
    last = max((bundle.stage for bundle in bundles), default=-1)
    by_stage = [[b for b in bundles if b.stage == n] for n in range(last + 1)]
    return [[task for bundle in some for task in _tasks(bundle, causes)] for some in by_stage]


def is_chained(asset: str) -> bool:
    """Whether a partition goes on from the one before it."""
    return asset.rpartition("/")[2] in CHAINED


def _bundle_for(
    asset: str,
    wanted: Sequence[str],
    due: set[str],
    above: Sequence[_Bundle],
    bundles: Sequence[_Bundle],
) -> _Bundle | None:
    """The latest bundle that an asset may join: nothing that it is made from comes later."""
    earliest = max((one.stage for one in above), default=0)
    for bundle in reversed(bundles):
        is_after = all(one is bundle or one.stage < bundle.stage for one in above)
        is_same_kind = asset.partition("/")[0] == bundle.assets[0].partition("/")[0]
        same_keys = is_same_kind and list(bundle.keys) == list(wanted)
        if bundle.stage >= earliest and is_after and same_keys and bundle.admits(asset, due):
            return bundle
    return None


def _forced(keys: Sequence[str]) -> dict[str, Cause]:
    return dict.fromkeys(keys, Cause(Reason.FORCED))


def _tasks(bundle: _Bundle, causes: Causes) -> list[Task]:
    holding = [job for job in JOBS_BY_NAME.values() if set(bundle.assets) <= set(job.assets)]
    job = min(holding, key=lambda one: len(one.assets)).name if holding else ANY_JOB
    assets, along = tuple(bundle.assets), Cause(Reason.ALONG)
    tasks = []
    for part in bundle.ranges():
        places = [(asset, key) for key in part for asset in assets]
        writes = tuple(Write(*place, *causes.get(place, along)) for place in places)
        tasks.append(Task(job, assets, part[0], part[-1], len(part), writes))
    return tasks
