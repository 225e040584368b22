"""The code location as a whole: it loads alone and light; its surface changes only in review."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from quant_assets.definitions import build_defs
from quant_assets.housekeeping.ours import EVALUATIONS
from quant_assets.markets import FIRST_SESSION, MARKETS
from quant_assets.partitions import session_partitions
from quant_assets.schemas import DATASETS
from quant_assets.settings import Settings

SNAPSHOT = Path(__file__).parents[1] / "data" / "surface.json"
HEAVY = (
    "pandas", "numpy", "pyarrow", "polars", "pandera", "talib", "matplotlib", "yfinance",
    "sklearn", "scipy",
)  # fmt: skip
TOPICS = {"kafka/requests", "kafka/articles", "kafka/dead_letters"}
"""Assets that stand for Kafka: they have no rows of ours."""


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    return build_defs(Settings())


def test_definitions_load_without_key_network_or_sandbox(tmp_path: Path) -> None:
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise AssertionError('a connection was opened')\n"
        "socket.socket.connect = refuse; socket.create_connection = refuse\n"
        "from quant_assets.definitions import defs\n"
        "import threading\n"
        "print(len(defs.resolve_asset_graph().get_all_asset_keys()), threading.active_count())\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    lines = answer.stdout.splitlines()
    assert lines[0] == f"{len(DATASETS) + len(TOPICS) + len(EVALUATIONS)} 1"
    assert lines[1] == "[]"
    assert list(tmp_path.iterdir()) == []


def test_surface_is_as_reviewed(defs: dg.Definitions) -> None:
    """Regenerate with ``python -m quant_assets_tests.dagster.test_definitions`` and review."""
    assert surface(defs) == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def test_every_asset_describes_itself(defs: dg.Definitions) -> None:
    for spec in defs.resolve_all_asset_specs():
        asset = spec.key.to_user_string()
        assert spec.description, asset
        assert spec.owners, asset
        if asset in TOPICS:
            continue
        assert spec.code_version, asset
        if asset in EVALUATIONS:
            continue
        schema = spec.metadata["dagster/column_schema"]
        assert [c.name for c in schema.columns] == DATASETS[asset].column_names
        assert all(c.description for c in schema.columns), asset


@pytest.mark.parametrize("market", MARKETS.values(), ids=list(MARKETS))
def test_session_keys_are_exactly_the_sessions(market) -> None:
    today = datetime.now(UTC).date()
    keys = session_partitions(market).get_partition_keys()
    sessions = [s.isoformat() for s in market.sessions(FIRST_SESSION, today)]
    assert keys[: len(sessions)] == sessions
    assert len(keys) - len(sessions) <= 1, "at most the next session beyond a closure"


def test_dagster_validates_the_definitions(tmp_path: Path) -> None:
    checkout = Path(__file__).parents[2]
    command = [sys.executable, "-m", "dagster", "definitions", "validate"]
    answer = subprocess.run(
        [*command, "-w", str(checkout / "workspace.yaml")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    assert "Validation successful" in answer.stdout + answer.stderr


def surface(defs: dg.Definitions) -> dict:
    """Assets with all that is said of them, jobs, schedules, sensors and checks."""
    assets = {}
    for spec in defs.resolve_all_asset_specs():
        partitions = spec.partitions_def
        assets[spec.key.to_user_string()] = {
            "group": spec.group_name,
            "owners": list(spec.owners),
            "kinds": sorted(spec.kinds),
            "partitions": _described(partitions),
            "description": spec.description,
            "code_version": spec.code_version,
            "deps": {
                dep.asset_key.to_user_string(): _offsets(dep.partition_mapping)
                for dep in sorted(spec.deps, key=lambda dep: dep.asset_key)
            },
        }
    graph = defs.resolve_asset_graph()
    jobs = {
        job.name: {
            "description": job.description,
            "assets": sorted(key.to_user_string() for key in job.asset_layer.selected_asset_keys),
            "tags": dict(job.tags),
        }
        for job in defs.resolve_all_job_defs()
        if not job.name.startswith("__")
    }
    return {
        "assets": dict(sorted(assets.items())),
        "jobs": dict(sorted(jobs.items())),
        "schedules": {
            schedule.name: {
                "description": schedule.description,
                "cron": schedule.cron_schedule,
                "timezone": schedule.execution_timezone,
                "job": schedule.job_name,
                "default_status": schedule.default_status.value,
            }
            for schedule in defs.schedules or []
            if isinstance(schedule, dg.ScheduleDefinition)
        },
        "sensors": {
            sensor.name: {
                "description": sensor.description,
                "minimum_interval_seconds": sensor.minimum_interval_seconds,
                "default_status": sensor.default_status.value,
            }
            for sensor in defs.sensors or []
        },
        "checks": sorted(
            f"{k.asset_key.to_user_string()} {k.name}" for k in graph.asset_check_keys
        ),
    }


def _described(partitions: dg.PartitionsDefinition | None) -> str:
    if partitions is None:
        return "none"
    assert isinstance(partitions, dg.TimeWindowPartitionsDefinition)
    return f"{partitions.fmt} from {partitions.start:%Y-%m-%d} {partitions.timezone}"


def _offsets(mapping: dg.PartitionMapping | None) -> str:
    if isinstance(mapping, dg.TimeWindowPartitionMapping):
        return f"{mapping.start_offset}..{mapping.end_offset}"
    return "same"


if __name__ == "__main__":
    SNAPSHOT.parent.mkdir(exist_ok=True)
    text = json.dumps(surface(build_defs(Settings())), indent=2, ensure_ascii=False)
    SNAPSHOT.write_text(text + "\n", encoding="utf-8")
