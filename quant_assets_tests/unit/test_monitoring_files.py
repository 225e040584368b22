"""Dashboards and alert rules: they name metrics that there are, and say what to do."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from quant_assets.cli.metrics_runs import EndedRuns
from quant_assets.cli.metrics_state import families
from quant_assets.cli.status_report import (
    AssetState,
    DaemonState,
    DeadLetterState,
    IncidentState,
    QuarantineState,
    QuotaState,
    Report,
    RunState,
    ScheduleState,
    SensorState,
)

DOCKER = Path(__file__).parents[2] / "docker"
AT = datetime(2026, 11, 30, 22, 0, tzinfo=UTC)
OF_INSTANCE = {
    "quant_tick_timestamp_seconds",
    "quant_tick_duration_seconds",
    "quant_kafka_lag_messages",
    "quant_kafka_oldest_waited_seconds",
    "quant_kafka_read_timestamp_seconds",
    "quant_metrics_untold",
    "quant_metrics_seconds",
}
"""Metrics that are asked of Dagster's instance; the test of the command sees them."""


def report() -> Report:
    """A house with something in every part."""
    return Report(
        at=AT,
        profile="live",
        home="/home",
        assets=[
            AssetState(
                asset="us/prices",
                group="us",
                status="behind",
                behind=2,
                rows=498,
                present=498,
                expected=500,
                demanded=450,
                degraded=3,
                last_success_at=AT,
                deadline=AT,
            ),
            AssetState(asset="kr/prices", group="kr", status="empty"),
        ],
        schedules=[
            ScheduleState(
                name="us_price",
                job="us_price",
                cron=["0 9 * * 2-6"],
                timezone="UTC",
                is_on=True,
                next_at=AT,
            )
        ],
        sensors=[SensorState(name="requests", is_on=False, problem="failed 3 times in a row")],
        runs=[
            RunState(
                run_id="a", job="us_price", partition="", status="QUEUED", since=AT, problem="stuck"
            )
        ],
        failed_runs=[
            RunState(run_id="b", job="us_price", partition="", status="FAILURE", since=AT)
        ],
        daemon=DaemonState(status="gone", last_at=AT),
        incidents=[IncidentState(severity="critical", title="t", count=1, opened_at=AT)],
        dead_letters=DeadLetterState(open=4),
        quota=QuotaState(left=3, limit=25, resets_at=AT),
        quarantine=[
            QuarantineState(asset="us/prices", held=7, partitions=1, partitions_looked_at=5)
        ],
        untold={"quota": "no"},
    )


def samples(found: Report) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families(found)
        for sample in family.samples
    }


def test_a_report_as_metrics() -> None:
    told = samples(report())
    expected = {
        ("quant_healthy",): 1,
        ("quant_asset_status", "us/prices", "us", "behind"): 1,
        ("quant_asset_partitions_behind", "us/prices", "us"): 2,
        ("quant_asset_partitions_behind", "kr/prices", "kr"): 0,
        ("quant_asset_symbols_present", "us/prices", "us"): 498,
        ("quant_asset_symbols_demanded", "us/prices", "us"): 450,
        ("quant_asset_last_success_timestamp_seconds", "us/prices", "us"): AT.timestamp(),
        ("quant_runs_unfinished", "us_price", "QUEUED"): 1,
        ("quant_runs_stuck",): 1,
        ("quant_runs_failed_lately", "us_price"): 1,
        ("quant_daemon_alive",): 0,
        ("quant_ticking_on", "schedule", "us_price"): 1,
        ("quant_ticking_on", "sensor", "requests"): 0,
        ("quant_ticking_failing", "sensor", "requests"): 1,
        ("quant_incidents_open", "critical"): 1,
        ("quant_incidents_open", "info"): 0,
        ("quant_dead_letters_open",): 4,
        ("quant_vendor_calls_left", "alpha_vantage"): 3,
        ("quant_quarantine_rows_held", "us/prices"): 7,
        ("quant_untold", "quota"): 1,
    }
    assert {key: told.get(key) for key in expected} == expected
    assert ("quant_asset_symbols_present", "kr/prices", "kr") not in told, "nobody has counted"


def test_what_could_not_be_told_has_no_samples() -> None:
    told = samples(Report(at=AT, profile="live", home="/", untold={"instance": "none"}))
    assert {name for name, *_ in told} == {
        "quant_healthy", "quant_state_timestamp_seconds", "quant_untold",
    }  # fmt: skip


def known_metrics() -> set[str]:
    registry = CollectorRegistry()
    ended = EndedRuns(registry, AT)
    assert ended is not None
    counted = {f"{m.name}{'_total' if m.type == 'counter' else ''}" for m in registry.collect()}
    return {family.name for family in families(report())} | counted | OF_INSTANCE


def metrics_in(expression: str) -> set[str]:
    without_texts = re.sub(r'"[^"]*"', "", expression)
    return {name.removesuffix("_bucket") for name in re.findall(r"\bquant_[a-z_]+", without_texts)}


def rules() -> list[dict[str, Any]]:
    text = (DOCKER / "prometheus" / "alerts.yml").read_text(encoding="utf-8")
    (group,) = yaml.safe_load(text)["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_judges_metrics_that_there_are_and_says_what_to_do(rule: dict[str, Any]) -> None:
    assert metrics_in(rule["expr"]) <= known_metrics()
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule["annotations"]) == {"summary", "description"}


def panels() -> list[dict[str, Any]]:
    text = (DOCKER / "grafana" / "dashboards" / "quant_assets.json").read_text(encoding="utf-8")
    found: list[dict[str, Any]] = json.loads(text)["panels"]
    return found


def test_the_dashboard_shows_metrics_that_there_are_without_overlaps() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        assert panel["title"]
        assert panel["description"]
        for target in panel["targets"]:
            assert metrics_in(target["expr"]) <= known_metrics(), panel["title"]
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_metric_of_the_house_is_on_the_dashboard_or_in_an_alert() -> None:
    shown = {
        name
        for panel in panels()
        for target in panel["targets"]
        for name in metrics_in(target["expr"])
    }
    judged = {name for rule in rules() for name in metrics_in(rule["expr"])}
    elsewhere = {
        "quant_state_timestamp_seconds",
        "quant_asset_deadline_timestamp_seconds",
        "quant_asset_rows_degraded",
        "quant_runs_failed_lately",
        "quant_daemon_heartbeat_timestamp_seconds",
        "quant_schedule_next_timestamp_seconds",
    }
    assert known_metrics() - shown - judged == elsewhere
