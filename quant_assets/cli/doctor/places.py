"""Directories of a profile. What belongs here: whether they are there, writable, and whose."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from quant_assets.cli.doctor.findings import Finding, Group
from quant_assets.errors import QuantAssetsError
from quant_assets.housekeeping import files
from quant_assets.settings import Settings

PLACES = Group("directories")
LEAST_BYTES, FEW_BYTES = 200_000_000, 2_000_000_000
"""Free space below which something is about to break, and below which it is worth a word."""


def home(settings: Settings) -> Finding:
    """The profile's own directory: what `quant setup` makes."""
    return _directory("home", settings.home_dir, "QUANT_HOME", settings.profile)


def data_root(settings: Settings) -> Finding:
    """Where partitions are stored."""
    if settings.is_on_s3:
        return _bucket(settings)
    return _directory("data", settings.data_dir, "QUANT_DATA_ROOT", settings.profile)


def _bucket(settings: Settings) -> Finding:
    """Whether the bucket can be read; nothing is written."""
    from quant_assets.io_managers.parquet_store import ParquetStore

    store = ParquetStore(settings.data_place, settings.profile)
    try:
        store.demand_own()
        store.list_partitions("us/prices")
    except QuantAssetsError as error:
        return PLACES.fail("data", str(error), "see README, Storage on S3")
    return PLACES.ok("data", settings.data_place)


def raw_answers(settings: Settings) -> Finding:
    """Where the vendors' answers are kept, if they are."""
    if not settings.raw_retention_days:
        return PLACES.skip("raw answers", "none are kept: QUANT_RAW_RETENTION_DAYS is 0")
    return _directory("raw answers", settings.raw_dir, "QUANT_HOME", settings.profile)


def _directory(name: str, path: Path, setting: str, profile: str) -> Finding:
    remedy = f"make it a directory that you may write to, or name another in {setting}"
    nearest = next(folder for folder in (path, *path.parents) if os.path.lexists(folder))
    if not nearest.is_dir():
        return PLACES.fail(name, f"{path}: {nearest} is no directory", remedy)
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        return PLACES.fail(name, f"{path}: {nearest} is not writable ({error.strerror})", remedy)
    if nearest != path:
        if name != "home":
            return PLACES.ok(name, f"{path} is made when something is stored")
        return PLACES.warn(name, f"{path} is not there yet", f"quant setup --profile {profile}")
    return PLACES.ok(name, str(path))


def free_space(settings: Settings) -> Finding:
    """Room for data, on the disk that has the least of it."""
    folders = (settings.home_dir, settings.data_dir)
    nearest = [next(p for p in (folder, *folder.parents) if p.is_dir()) for folder in folders]
    place = min(nearest, key=lambda folder: shutil.disk_usage(folder).free)
    free = shutil.disk_usage(place).free
    what = f"{free / 1e9:,.1f} GB free at {place}"
    remedy = "free some: `quant raw prune`, or point QUANT_DATA_ROOT at a larger disk"
    if free < LEAST_BYTES:
        return PLACES.fail("disk", what, remedy)
    return PLACES.warn("disk", what, remedy) if free < FEW_BYTES else PLACES.ok("disk", what)


def owner(settings: Settings) -> Finding:
    """Whether the data root belongs to this profile."""
    from quant_assets.io_managers.parquet_store import ParquetStore

    store = ParquetStore(settings.data_place, settings.profile)
    found = store.owner()
    if found is None:
        return PLACES.ok("owner of the data", "nobody yet: the first write claims it")
    store.demand_own()
    return PLACES.ok("owner of the data", f"the profile {found}")


def leftovers(settings: Settings) -> Finding:
    """Temporary files whose writer was killed."""
    home = settings.home_dir
    left = sorted(set(files.leftovers((home, settings.data_dir), home, time.time())))
    if not left:
        return PLACES.ok("temporary files", "none is left over")
    size = sum(files.size_of(path) for path in left)
    what = f"{len(left)} left by killed writers ({size / 1e6:,.1f} MB), such as {left[0]}"
    return PLACES.warn("temporary files", what, "quant housekeeping")


def dagster_home(
    settings: Settings, environment: Mapping[str, str], env_file: Mapping[str, str]
) -> Finding:
    """Whether plain `dagster` commands typed here meet the instance of this profile."""
    name = "DAGSTER_HOME"
    mend = f"quant setup --profile {settings.profile}"
    if (given := environment.get(name)) is not None:
        if Path(given) == settings.home_dir:
            return PLACES.ok(name, f"{given} (environment)")
        what = f"the environment says {given}, this profile's instance is {settings.home_dir}"
        return PLACES.warn(name, what, "unset DAGSTER_HOME")
    if not (kept := env_file.get(name)):
        what = "not in .env: `dagster` commands typed here use an instance of their own"
        return PLACES.warn(name, what, mend)
    if not Path(kept).is_absolute():
        return PLACES.fail(name, f"{kept} in .env is no absolute path", mend)
    if Path(kept) != settings.home_dir:
        what = f".env says {kept}, this profile's instance is {settings.home_dir}"
        return PLACES.warn(name, what, mend)
    return PLACES.ok(name, f"{kept} (.env)")


def instance_link(settings: Settings) -> Finding:
    """The ``dagster.yaml`` of the instance: a link to the checkout's, or the user's own."""
    from quant_assets.cli.instance import checkout, is_of_checkout

    name, link = "dagster.yaml", settings.home_dir / "dagster.yaml"
    mend = f"quant setup --profile {settings.profile}"
    if not os.path.lexists(link):
        return PLACES.warn(name, f"{link} is not there", mend)
    if not link.is_symlink():
        return PLACES.ok(name, "a file of your own, not the checkout's")
    if not link.exists():
        return PLACES.fail(name, f"{link} leads to {link.readlink()}, which is gone", mend)
    target = checkout() / "dagster.yaml"
    if link.resolve() != target.resolve() and not is_of_checkout(link):
        return PLACES.ok(name, f"your own, a link to {link.readlink()}")
    if link.resolve() != target.resolve():
        return PLACES.warn(name, f"{link} leads to another checkout's: {link.readlink()}", mend)
    return PLACES.ok(name, f"the link to {target}")
