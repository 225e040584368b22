"""Finding a running sandbox, starting one's own, and the foreground server."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from quant_assets.sandbox import broker as broker_module
from quant_assets.sandbox import locate
from quant_assets.sandbox.broker import EmbeddedBroker
from quant_assets.sandbox.server import Sandbox

DEADLINE_SECONDS = 600.0


def health(address: str) -> dict[str, object]:
    found: dict[str, object] = requests.get(f"{address}/_sandbox/health", timeout=5).json()
    return found


def test_a_recorded_sandbox_is_found(tmp_path: Path) -> None:
    with Sandbox(seed=3) as sandbox:
        locate.record(tmp_path, sandbox)
        assert locate.ensure(tmp_path, seed=3, data_dir=None) == sandbox.url
        locate.forget(tmp_path)
    assert not (tmp_path / locate.RECORD_NAME).exists()


def test_a_sandbox_with_another_seed_is_foreign(tmp_path: Path) -> None:
    with Sandbox(seed=3) as sandbox:
        locate.record(tmp_path, sandbox)
        own = locate.ensure(tmp_path, seed=4, data_dir=None)
        assert own != sandbox.url
        assert health(own)["seed"] == 4


@pytest.mark.parametrize(
    "record",
    [
        "not json",
        "[]",
        json.dumps({"address": "http://127.0.0.1:1", "seed": 5}),
        json.dumps({"address": "http://example.invalid:80", "seed": 5}),
        json.dumps({"pid": 1}),
    ],
)
def test_a_stale_record_is_ignored(tmp_path: Path, record: str) -> None:
    (tmp_path / locate.RECORD_NAME).write_text(record)
    assert health(locate.ensure(tmp_path, seed=5, data_dir=None))["seed"] == 5
    assert (tmp_path / locate.RECORD_NAME).read_text() == record


def test_a_stopped_sandbox_is_replaced_by_an_own_one(tmp_path: Path) -> None:
    with Sandbox(seed=6) as sandbox:
        locate.record(tmp_path, sandbox)
        stopped = sandbox.url
    own = locate.ensure(tmp_path, seed=6, data_dir=None)
    assert own != stopped
    assert health(own)["seed"] == 6


def test_many_threads_start_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        addresses = set(
            pool.map(lambda _: locate.ensure(tmp_path, seed=9, data_dir=None), range(32))
        )
    assert len(addresses) == 1
    assert locate.ensure(tmp_path / "other", seed=9, data_dir=None) not in addresses
    assert not (tmp_path / locate.RECORD_NAME).exists()


def test_a_shared_sandbox_is_recorded_while_it_is_needed(tmp_path: Path) -> None:
    with locate.shared(tmp_path, seed=12, data_dir=None) as address:
        assert json.loads((tmp_path / locate.RECORD_NAME).read_text())["address"] == address
        assert locate.ensure(tmp_path, seed=12, data_dir=None) == address
        with locate.shared(tmp_path, seed=12, data_dir=None) as again:
            assert again == address
        assert health(address)["seed"] == 12
    assert not (tmp_path / locate.RECORD_NAME).exists()


def test_forget_leaves_the_record_of_another_process(tmp_path: Path) -> None:
    content = json.dumps({"address": "http://127.0.0.1:1", "pid": os.getpid() + 1})
    (tmp_path / locate.RECORD_NAME).write_text(content)
    locate.forget(tmp_path)
    assert (tmp_path / locate.RECORD_NAME).read_text() == content


def test_the_foreground_server_records_and_forgets_itself(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from quant_assets.sandbox.server import serve; "
        f"serve(home=Path({str(tmp_path)!r}), seed=11, data_dir=None, port=0)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + DEADLINE_SECONDS
        record = tmp_path / locate.RECORD_NAME
        while not record.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        address = json.loads(record.read_text())["address"]
        assert locate.ensure(tmp_path, seed=11, data_dir=None) == address
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate(timeout=DEADLINE_SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
    assert process.returncode == 0
    assert not record.exists()
    for part in ("/fred", "/query", "/rss/korea.xml", "/slack", "Yahoo"):
        assert part in printed


def kafka(home: Path, seed: int = 3) -> str | None:
    return locate.kafka_servers(home, seed=seed, data_dir=None)


def test_the_broker_of_a_recorded_sandbox_is_found(tmp_path: Path) -> None:
    assert kafka(tmp_path) is None
    with Sandbox(seed=3, broker=True) as sandbox:
        locate.record(tmp_path, sandbox)
        assert kafka(tmp_path) == sandbox.kafka_servers
        assert kafka(tmp_path, seed=4) is None
        assert locate.kafka_servers(tmp_path, seed=3, data_dir=tmp_path) is None
        assert locate.ensure(tmp_path, seed=3, data_dir=None) == sandbox.url
        locate.forget(tmp_path)
        assert kafka(tmp_path) is None
    assert not list(tmp_path.glob("*.json"))


def test_a_sandbox_without_a_broker_records_none(tmp_path: Path) -> None:
    with Sandbox(seed=3) as sandbox:
        locate.record(tmp_path, sandbox)
        assert kafka(tmp_path) is None
        assert not (tmp_path / locate.BROKER_RECORD_NAME).exists()


@pytest.mark.parametrize(
    "wrong",
    [
        "not json",
        "[]",
        "{}",
        json.dumps({"address": None, "cluster_id": None, "seed": 3, "data_dir": None}),
        json.dumps({"address": "127.0.0.1:1", "cluster_id": None, "seed": 3, "data_dir": None}),
        json.dumps({"address": "example.invalid:9092", "seed": 3, "data_dir": None}),
    ],
)
def test_a_wrong_record_of_a_broker_is_not_believed(tmp_path: Path, wrong: str) -> None:
    (tmp_path / locate.BROKER_RECORD_NAME).write_text(wrong)
    assert kafka(tmp_path) is None
    with locate.shared(tmp_path, seed=3, data_dir=None, broker=True):
        assert kafka(tmp_path) is not None


def test_whoever_took_the_port_of_a_broker_is_not_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorded one has gone; another broker, or something that is none, has its port."""
    monkeypatch.setattr(broker_module, "ANSWER_SECONDS", 0.5)
    path = tmp_path / locate.BROKER_RECORD_NAME
    with Sandbox(seed=3, broker=True) as sandbox, EmbeddedBroker() as other:
        locate.record(tmp_path, sandbox)
        content = json.loads(path.read_text())
        for taken_by in (other.bootstrap_servers, sandbox.url.removeprefix("http://")):
            path.write_text(json.dumps({**content, "address": taken_by}))
            assert kafka(tmp_path) is None
        path.write_text(json.dumps(content))
        assert kafka(tmp_path) == sandbox.kafka_servers


def test_a_broker_is_started_beside_a_sandbox_that_has_none(tmp_path: Path) -> None:
    with Sandbox(seed=3) as sandbox:
        locate.record(tmp_path, sandbox)
        before = (tmp_path / locate.RECORD_NAME).read_text()
        with locate.shared(tmp_path, seed=3, data_dir=None, broker=True) as address:
            assert address == sandbox.url
            assert kafka(tmp_path) is not None
            with locate.Keeper(tmp_path, seed=3, data_dir=None, broker=True) as second:
                assert second.kafka_servers == kafka(tmp_path)
            assert kafka(tmp_path) is not None
        assert kafka(tmp_path) is None
        assert (tmp_path / locate.RECORD_NAME).read_text() == before


def test_without_asking_nobody_gets_a_broker(tmp_path: Path) -> None:
    with locate.shared(tmp_path, seed=3, data_dir=None):
        assert kafka(tmp_path) is None
    with locate.Keeper(tmp_path, seed=3, data_dir=None) as keeper:
        assert keeper.kafka_servers is None


def test_a_keeper_replaces_what_ends_before_it(tmp_path: Path) -> None:
    sandbox = Sandbox(seed=3, broker=True)
    sandbox.start()
    locate.record(tmp_path, sandbox)
    with locate.Keeper(tmp_path, seed=3, data_dir=None, broker=True) as keeper:
        assert (keeper.address, keeper.kafka_servers) == (sandbox.url, sandbox.kafka_servers)
        assert keeper.renew() is None
        sandbox.stop()
        moved = keeper.renew()
        assert moved is not None
        assert moved == keeper.kafka_servers == kafka(tmp_path)
        assert health(keeper.address)["seed"] == 3
        assert locate.ensure(tmp_path, seed=3, data_dir=None) == keeper.address
        assert keeper.renew() is None
    assert kafka(tmp_path) is None
    assert not list(tmp_path.glob("*.json"))


def test_a_keeper_records_its_own_again_when_the_record_is_lost(tmp_path: Path) -> None:
    with locate.Keeper(tmp_path, seed=3, data_dir=None, broker=True) as keeper:
        own = (keeper.address, keeper.kafka_servers)
        for path in tmp_path.glob("*.json"):
            path.unlink()
        assert keeper.renew() is None
        assert (keeper.address, keeper.kafka_servers) == own
        assert kafka(tmp_path) == keeper.kafka_servers


def test_a_keeper_leaves_the_records_of_its_successor(tmp_path: Path) -> None:
    with Sandbox(seed=3, broker=True) as successor:
        with locate.shared(tmp_path, seed=3, data_dir=None, broker=True):
            locate.record(tmp_path, successor)
        assert kafka(tmp_path) == successor.kafka_servers
        assert locate.ensure(tmp_path, seed=3, data_dir=None) == successor.url
