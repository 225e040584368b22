"""Versions. What belongs here: Python, what the project demands, what the lock file pins."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from quant_assets.cli.doctor.findings import Finding, Group

VERSIONS = Group("versions")
LEAST_PYTHON = (3, 11)
DISTRIBUTION = "quant-assets"
WITH_DAGSTER = ("dagster-webserver", "dagster-graphql", "dagster-pipes", "dagster-shared")
"""Libraries that carry Dagster's own number."""
BESIDE_DAGSTER = ("dagster-postgres", "dagster-aws")
"""Libraries of the numbering 0.(minor + 16).patch."""
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)(?:\s*;\s*([^\\]+?))?\s*\\?$")


def python() -> Finding:
    """The interpreter."""
    told = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info < LEAST_PYTHON:
        return VERSIONS.fail("Python", f"{told} is too old", "make run PYTHON=python3.11 or later")
    return VERSIONS.ok("Python", f"{told} at {sys.executable}")


def installed_version(name: str) -> str | None:
    """Version of an installed distribution, None if there is none."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def dagster(installed: Mapping[str, str | None]) -> Finding:
    """Whether Dagster and its companions are of one release."""
    own = installed.get("dagster")
    if own is None:
        return VERSIONS.fail("dagster", "is not installed", _install())
    _, minor, patch = (*own.split("."), "0", "0")[:3]
    beside = f"0.{int(minor) + 16}.{patch}"
    wanted = dict.fromkeys(WITH_DAGSTER, own) | dict.fromkeys(BESIDE_DAGSTER, beside)
    wrong = [
        f"{name} is {there}, not {wanted[name]}" if there else f"{name} is not installed"
        for name, there in ((name, installed.get(name)) for name in wanted)
        if there != wanted[name]
    ]
    if wrong:
        return VERSIONS.fail("dagster", f"{own}, but {'; '.join(wrong)}", _install())
    return VERSIONS.ok("dagster", f"{own}, and its {len(wanted)} companions are of it")


def dagsters_installed() -> dict[str, str | None]:
    """Installed versions of Dagster and its companions."""
    return {n: installed_version(n) for n in ("dagster", *WITH_DAGSTER, *BESIDE_DAGSTER)}


def demands(stated: list[str] | None = None) -> Finding:
    """Whether what the project demands is installed, such as SQLAlchemy below 2.1."""
    from packaging.requirements import Requirement

    found = stated if stated is not None else requires(DISTRIBUTION) or []
    wrong, count = [], 0
    for requirement in (Requirement(text) for text in found):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        count += 1
        there = installed_version(requirement.name)
        if there is None:
            wrong.append(f"{requirement.name} is not installed")
        elif not requirement.specifier.contains(there, prereleases=True):
            wrong.append(f"{requirement.name} is {there}, not {requirement.specifier}")
    if wrong:
        return VERSIONS.fail("requirements", "; ".join(wrong), _install())
    return VERSIONS.ok("requirements", f"{count} are met")


def lock(path: Path) -> Finding:
    """Whether the versions are those that were tested together."""
    name = path.name
    if not path.is_file():
        return VERSIONS.skip(name, f"{path.parent} has none to compare with")
    pins = read_pins(path.read_text(encoding="utf-8"))
    other = {
        package: there or "not installed"
        for package, pinned in pins.items()
        if (there := installed_version(package)) != pinned
    }
    if not other:
        return VERSIONS.ok(name, f"all {len(pins)} packages are as pinned")
    shown = ", ".join(f"{n} {there} (pinned {pins[n]})" for n, there in list(other.items())[:4])
    more = f" and {len(other) - 4} more" if len(other) > 4 else ""
    return VERSIONS.warn(name, f"{len(other)} of {len(pins)} differ: {shown}{more}", _install())


def read_pins(text: str) -> dict[str, str]:
    """Version of each package that a lock file pins for this machine."""
    from packaging.markers import Marker

    pins = {}
    for line in text.splitlines():
        if found := _PIN.match(line):
            name, pinned, marker = found.groups()
            if marker is None or Marker(marker).evaluate():
                pins[name] = pinned
    return pins


def _install() -> str:
    return f"{Path(sys.executable).name} -m pip install --require-hashes -r requirements.lock"
