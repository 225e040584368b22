"""Making partitions again beside the stored ones. What belongs here: the scratch store, its runs.

The scratch store is a tree of links to the stored files. Whoever writes puts a file of its own in
a link's place (files are written whole and renamed), so that the stored ones cannot change. Runs
are on an instance in memory, send no event and tell nobody.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import dagster as dg

from quant_assets.cli.execute import QUIET, failure_reason
from quant_assets.definitions import build_defs
from quant_assets.errors import BadConfigurationError
from quant_assets.housekeeping.files import SCRATCH
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.naming import ANY_JOB, TAG_REBUILD
from quant_assets.resources import EventsResource, Fetch, RawResource, build_resources
from quant_assets.resources.base import shown_settings
from quant_assets.sandbox import locate
from quant_assets.sensors.common import partition_tags
from quant_assets.settings import Settings
from quant_assets.vendors.archive import Replay


class SilentEvents(EventsResource):
    """Kafka for runs that nobody asked for: none."""

    def _line(self) -> None:
        return None


class OneFetch(RawResource):
    """The kept answers of one fetch, named by its manifest's file."""

    manifest: str

    def fetch(self, context: dg.AssetExecutionContext, now: datetime) -> Fetch:
        """Begin to repeat that fetch, whichever is the newest."""
        asset = context.asset_key.to_user_string()
        archive = self.archive()
        found = {one.path.name: one for one in archive.manifests(asset)}
        return Fetch(asset, Replay(archive, found[self.manifest]), None, context.log)


class Scratch:
    """A store of its own with everything that is stored, and runs on it."""

    def __init__(self, folder: Path, values: Settings) -> None:
        self._values = values
        self._stored = ParquetStore(values.data_place, values.profile)
        self._definitions: dict[str, dg.Definitions] = {}
        home, data = folder / "home", folder / "data"
        self._own = values.model_copy(update={"home": home, "data_root": str(data)})
        self.store = ParquetStore(data, values.profile)
        home.mkdir(parents=True)
        if values.is_on_s3:
            raise BadConfigurationError(
                f"verify makes partitions again beside the stored ones, which it needs on a disk: "
                f"copy {values.data_place} to a directory and name that in QUANT_DATA_ROOT"
            )
        _link_tree(values.data_dir, data)
        cache = values.home_dir / "cache" / "yahoo"
        if cache.is_dir():
            # Time zones that the client knew were not asked for.
            shutil.copytree(cache, home / "cache" / "yahoo")

    def find_vendors(self) -> None:
        """Let the runs find the sandbox that is recorded in the home: clients want an address."""
        record = self._values.home_dir / locate.RECORD_NAME
        if record.is_file():
            shutil.copy(record, self._own.home_dir / locate.RECORD_NAME)

    def definitions(self, manifest: str = "") -> dg.Definitions:
        """The code location on the scratch store; a fetch repeats the one of ``manifest``."""
        if manifest not in self._definitions:
            self._definitions[manifest] = self._build(manifest)
        return self._definitions[manifest]

    def _build(self, manifest: str) -> dg.Definitions:
        resources = {
            **build_resources(self._own),
            "raw": OneFetch(values=shown_settings(self._values), manifest=manifest),
            "events": SilentEvents(values=shown_settings(self._own)),
        }
        return build_defs(self._own, resource_overrides=resources)

    @contextmanager
    def without(self, asset: str, keys: Sequence[str]) -> Iterator[None]:
        """The store as if some partitions (ascending) were not stored; afterwards they are.

        So are those between them, which a run of the range writes as well.
        """
        for key in keys:
            self.store.path(asset, key).unlink(missing_ok=True)
        try:
            yield
        finally:
            for key in _between(self.store, asset, keys):
                self.store.path(asset, key).unlink()
            for key in _between(self._stored, asset, keys):
                path = self.store.path(asset, key)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(self._stored.path(asset, key))


def _between(store: ParquetStore, asset: str, keys: Sequence[str]) -> list[str]:
    """The partitions of a store from the first to the last of some keys."""
    return [key for key in store.list_partitions(asset) if keys[0] <= key <= keys[-1]]


@contextmanager
def scratch(values: Settings) -> Iterator[Scratch]:
    """A scratch store in the home; what a killed command leaves of it, housekeeping removes."""
    name = f"verify.{os.getpid()}.{uuid.uuid4().hex[:8]}"
    folder = values.home_dir / SCRATCH / name
    try:
        yield Scratch(folder, values)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    asset: str,
    first: str,
    last: str,
    *,
    rebuild: bool,
) -> str:
    """Make partitions of one asset; why it failed, empty if it did not."""
    tags = partition_tags(first, last) | ({TAG_REBUILD: "true"} if rebuild else {})
    result = definitions.resolve_job_def(ANY_JOB).execute_in_process(
        instance=instance,
        tags=tags,
        asset_selection=[dg.AssetKey(asset.split("/"))],
        partition_key=first if first == last else None,
        run_config=QUIET,
        raise_on_error=False,
    )
    return "" if result.success else failure_reason(result)[0]


def _link_tree(source: Path, target: Path) -> None:
    """The directories of a data root, also linked ones, with a link for each visible file."""
    for folder, names, files in os.walk(source, followlinks=True):
        names[:] = [
            name for name in names if not name.startswith(".") and not _is_above(folder, name)
        ]
        here = target / Path(folder).relative_to(source)
        here.mkdir(parents=True, exist_ok=True)
        for name in files:
            if not name.startswith("."):
                (here / name).symlink_to(Path(folder) / name)


def _is_above(folder: str, name: str) -> bool:
    """Whether a directory in a folder is a link to one that holds the folder: it has no end."""
    return Path(folder).resolve().is_relative_to((Path(folder) / name).resolve())
