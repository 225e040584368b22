"""Fixtures shared by every test. What belongs here: locations and guards, no behaviour."""

import faulthandler
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from quant_assets_tests.kafka_clients import close_kafka_clients

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
"""One commit gets one verdict; `pytest --hypothesis-profile=default` searches anew."""

IN_MEMORY = Path("/dev/shm")
ROOM_BYTES = 4 * 1024**3
"""Far more than the directories of three whole runs, which pytest keeps."""


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Say where files go: those of tests, and the stack of a worker process that dies."""
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        folder = config.rootpath / ".pytest_cache" / "crashes"
        folder.mkdir(parents=True, exist_ok=True)
        faulthandler.enable((folder / worker).open("w"))
    elif IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > ROOM_BYTES:
        _keep_files_in_memory()


def _keep_files_in_memory() -> None:
    """Let the tests' directories lie in memory, unless told otherwise.

    Each of the suite's partitions and of Dagster's events waits for the disk (8 ms of a busy one).
    What a power cut leaves is nothing that a test here could see; a killed process leaves the same.
    """
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(IN_MEMORY))


@pytest.fixture(autouse=True, scope="session")
def _no_outside_network() -> None:
    """Send every connection that leaves the machine to a closed port.

    libcurl does not use Python's sockets, so the fence is the proxy that it and requests obey.
    """
    os.environ["HTTPS_PROXY"] = os.environ["https_proxy"] = "http://127.0.0.1:9"
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"


@pytest.fixture(autouse=True, scope="session")
def _no_settings_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Work in an empty directory without the platform's variables: a checkout may have a .env."""
    for name in list(os.environ):
        is_ours = name.startswith(("QUANT_", "KAFKA_", "DAGSTER_"))
        if is_ours and name != "QUANT_TEST_DATA":
            del os.environ[name]
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])
    os.chdir(tmp_path_factory.mktemp("work"))


@pytest.fixture(autouse=True, scope="session")
def _no_companions() -> Iterator[None]:
    """Let the runs of this process take a daemon for granted: none starts a process to be told."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quant_assets.hooks.slack.has_daemon", lambda instance: True)
        yield


@pytest.fixture(autouse=True, scope="module")
def _kafka_clients_end_with_their_module() -> Iterator[None]:
    yield
    close_kafka_clients()


@pytest.fixture(scope="session")
def recorded_data() -> Path:
    """Directory of the recorded vendor data (``QUANT_TEST_DATA``, default ``../shared/data``)."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("QUANT_TEST_DATA", default))
    if not (root / "README.md").is_file():
        pytest.fail(
            f"recorded data not found at {root}: set QUANT_TEST_DATA to the directory that holds "
            "recorded/, prices/, macro/, news/, wire/ and reference/"
        )
    return root
