"""``quant metrics`` as a process, and a real Prometheus that scrapes it."""

import json
import os
import re
import shutil
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from quant_assets.cli.metrics_runs import EndedRuns, topics
from quant_assets.naming import ASSET_REQUESTS
from quant_assets_tests.filled_home import US, filled
from quant_assets_tests.integration.quant_processes import Home
from quant_assets_tests.kafka_broker import free_ports, poll
from quant_assets_tests.unit.test_monitoring_files import DOCKER, OF_INSTANCE, panels

SECONDS = 600.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home with data, whose instance has run."""
    folder = tmp_path_factory.mktemp("metrics")
    quant = Home(folder, {"QUANT_US_UNIVERSE": ",".join(US), "QUANT_KR_UNIVERSE": "005930.KS"})
    with filled(quant.path):
        pass
    quant("setup")
    return quant


def read(address: str) -> str:
    with urllib.request.urlopen(address, timeout=60) as answer:
        text: str = answer.read().decode()
        return text


@contextmanager
def exporter(home: Home, *words: str) -> Iterator[str]:
    """Address of a ``quant metrics`` that runs meanwhile, and ends well when told to."""
    process = home.start("metrics", "--port", "0", *words)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/metrics", line)
        assert found, line
        yield found[0]
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()
        process.communicate()


def test_it_serves_what_status_says_in_prometheus_own_form(home: Home) -> None:
    status = json.loads(home("status", "--json").out)
    with exporter(home, "--every", "0") as address:
        text = read(address)
        again = read(address)
    told = {family.name: family for family in text_string_to_metric_families(text)}
    healthy = told["quant_healthy"].samples[0].value
    assert healthy == float(status["isHealthy"])
    rows = {s.labels["asset"]: s.value for s in told["quant_asset_partition_rows"].samples}
    assert rows["us/prices"] == len(US)
    ended = [s for s in told["quant_runs_ended"].samples if s.labels["job"] == "us_price"]
    assert [s.value for s in ended] == [0, 0, 0], "what ended before it began is not counted"
    assert told["quant_metrics_seconds"].samples[0].value > 0
    assert set(told) >= OF_INSTANCE
    assert text.split("quant_metrics_seconds ")[-1] != again.split("quant_metrics_seconds ")[-1]


def test_a_scrape_soon_after_another_does_not_look_again(home: Home) -> None:
    with exporter(home, "--every", "3600") as address:
        first, second = (re.findall(r"quant_metrics_seconds (\S+)", read(address)) for _ in "ab")
    assert first == second


def test_a_home_without_an_instance_says_so_and_is_told_later(tmp_path: Path) -> None:
    home = Home(tmp_path)
    told = home("metrics", "--once").out
    assert 'quant_untold{part="instance"} 1.0' in told
    assert "quant_healthy" in told


def test_a_port_in_use_is_named(home: Home) -> None:
    with exporter(home) as address:
        port = str(urllib.parse.urlsplit(address).port)
        assert f"127.0.0.1:{port}" in home("metrics", "--port", port, status=1).err


@dg.asset
def first() -> None:
    """Something to run."""


@dg.asset
def broken() -> None:
    raise ValueError("no")


def test_each_run_is_counted_once_with_its_steps() -> None:
    began = datetime.now(UTC)
    registry = CollectorRegistry()
    ended = EndedRuns(registry, began)
    with dg.DagsterInstance.ephemeral() as instance:
        job = dg.define_asset_job("us_price", dg.AssetSelection.all())
        for asset in (first, broken, first):
            defs = dg.Definitions(assets=[asset], jobs=[job])
            defs.resolve_job_def("us_price").execute_in_process(
                instance=instance, raise_on_error=False
            )
            for minutes in (0, 1):
                ended.look(instance, began + timedelta(minutes=minutes))
        late = EndedRuns(CollectorRegistry(), datetime.now(UTC) + timedelta(minutes=1))
        late.look(instance, datetime.now(UTC))

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    assert value("quant_runs_ended_total", job="us_price", status="success") == 2
    assert value("quant_runs_ended_total", job="us_price", status="failure") == 1
    assert value("quant_run_duration_seconds_count", job="us_price") == 3
    assert value("quant_step_duration_seconds_count", job="us_price", step="first") == 2


def test_what_waits_in_kafka_is_what_the_last_tick_found() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        for waiting in (5, 2):
            instance.report_runless_asset_event(
                dg.AssetObservation(
                    ASSET_REQUESTS,
                    metadata={"waiting_in_kafka": waiting, "oldest_waited_seconds": 1.5},
                )
            )
        told = {s.name: s for family in topics(instance) for s in family.samples}
    assert told["quant_kafka_lag_messages"].value == 2
    assert told["quant_kafka_lag_messages"].labels == {"topics": "requests"}
    assert told["quant_kafka_oldest_waited_seconds"].value == 1.5


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[str]:
    """Address of a Prometheus with the shipped configuration, but for target and pace."""
    shutil.copytree(DOCKER / "prometheus", folder, dirs_exist_ok=True)
    config = folder / "prometheus.yml"
    text = config.read_text(encoding="utf-8")
    text = text.replace("metrics:9464", target).replace("30s", "1s").replace("25s", "1s")
    config.write_text(text, encoding="utf-8")
    (port,) = free_ports(1)
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "TZ": "UTC"},
    )
    address = f"http://127.0.0.1:{port}"
    try:
        poll("Prometheus", SECONDS, lambda: _answers(f"{address}/-/ready"))
        yield address
    finally:
        process.terminate()
        process.communicate(timeout=SECONDS)


def _answers(address: str) -> bool:
    try:
        return bool(read(address))
    except (urllib.error.URLError, ConnectionError):
        return False


def ask(address: str, path: str, **values: str) -> Any:
    answer = json.loads(read(f"{address}/api/v1/{path}?{urllib.parse.urlencode(values)}"))
    assert answer["status"] == "success", answer
    return answer["data"]


@pytest.mark.monitoring
def test_prometheus_takes_the_metrics_the_rules_and_every_query_of_the_dashboard(
    home: Home, tmp_path: Path
) -> None:
    checks = (
        ["promtool", "check", "config", "prometheus.yml"],
        ["promtool", "test", "rules", "alerts_test.yml"],
    )
    for words in checks:
        subprocess.run(words, cwd=DOCKER / "prometheus", check=True)
    with exporter(home, "--every", "1") as metrics:
        scraped = subprocess.run(
            ["promtool", "check", "metrics"], input=read(metrics).encode(), capture_output=True
        )
        assert scraped.returncode == 0, scraped.stdout + scraped.stderr
        target = urllib.parse.urlsplit(metrics).netloc
        with prometheus(tmp_path / "prometheus", target) as address:
            poll(
                "a scrape",
                SECONDS,
                lambda: ask(address, "query", query="quant_healthy")["result"],
            )
            groups = ask(address, "rules")["groups"]
            poll(
                "the rules",
                SECONDS,
                lambda: all(
                    rule["health"] == "ok"
                    for group in ask(address, "rules")["groups"]
                    for rule in group["rules"]
                ),
            )
            assert len(groups[0]["rules"]) == 15
            found = {}
            for panel in panels():
                for target_of in panel["targets"]:
                    query = target_of["expr"].replace("$instance", ".*").replace("[1h]", "[1m]")
                    found[query] = ask(address, "query", query=query)["result"]
            empty = {query for query, result in found.items() if not result}
    waits_for_something = (
        "_bucket", "kafka", "runs_ended", "runs_unfinished", "tick_duration", "vendor_calls",
        "quarantine",
    )  # fmt: skip
    others = {q for q in empty if not any(word in q for word in waits_for_something)}
    assert others <= {'quant_ticking_failing{instance=~".*"} == 1'}
