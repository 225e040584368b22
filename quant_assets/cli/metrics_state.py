"""The state of the house as metrics. What belongs here: from a report to families, their names.

Names and units follow Prometheus: ``quant_`` before, the unit behind, instants as Unix seconds. A
part of the report that could not be told has no samples and is named by ``quant_untold``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily

from quant_assets.cli.status_report import AssetState, Report
from quant_assets.notices.incidents import SEVERITIES

Sample = tuple[tuple[str, ...], float]
_OF_ASSET = ("asset", "group")


def families(report: Report) -> Iterator[GaugeMetricFamily]:
    """The metrics of a report."""
    yield gauge("healthy", "1 if `quant status` finds nothing wrong.", (), [((), _one(report))])
    yield gauge("state_timestamp_seconds", "When the state was told.", (), [((), _at(report.at))])
    untold = [((part,), 1.0) for part in report.untold]
    yield gauge("untold", "Parts of the state that could not be told.", ("part",), untold)
    yield from _of_assets(report.assets or ())
    yield from _of_runs(report)
    yield from _of_ticking(report)
    yield from _of_troubles(report)


def gauge(
    name: str, meaning: str, labels: Iterable[str], samples: Iterable[Sample]
) -> GaugeMetricFamily:
    """A family with its samples."""
    family = GaugeMetricFamily(f"quant_{name}", meaning, labels=list(labels))
    for values, value in samples:
        family.add_metric(list(values), value)
    return family


def _of_assets(assets: Iterable[AssetState]) -> Iterator[GaugeMetricFamily]:
    named = {(one.asset, one.group): one for one in assets}
    states = [((*key, one.status), 1.0) for key, one in named.items()]
    yield gauge("asset_status", "1 for what an asset is.", (*_OF_ASSET, "status"), states)
    behind = {key: float(one.behind) for key, one in named.items()}
    yield _by_asset("partitions_behind", "Partitions that are due and not complete.", behind)
    counts: Mapping[str, tuple[str, str]] = {
        "rows": ("partition_rows", "Rows of the newest partition."),
        "present": ("symbols_present", "Symbols with a row (a label) in the newest partition."),
        "expected": ("symbols_expected", "Symbols that should have one."),
        "demanded": ("symbols_demanded", "Symbols without which the partition is incomplete."),
        "degraded": ("rows_degraded", "Rows of the newest partition that were made without news."),
    }
    for field, (name, meaning) in counts.items():
        told = {key: getattr(one, field) for key, one in named.items()}
        yield _by_asset(name, meaning, {k: float(v) for k, v in told.items() if v is not None})
    instants: Mapping[str, tuple[str, str]] = {
        "last_success_at": ("last_success_timestamp_seconds", "When a run last stored it."),
        "deadline": ("deadline_timestamp_seconds", "When what is due must be there."),
    }
    for field, (name, meaning) in instants.items():
        at = {key: getattr(one, field) for key, one in named.items()}
        yield _by_asset(name, meaning, {k: _at(v) for k, v in at.items() if v is not None})


def _by_asset(
    name: str, meaning: str, values: Mapping[tuple[str, str], float]
) -> GaugeMetricFamily:
    return gauge(f"asset_{name}", meaning, _OF_ASSET, values.items())


def _of_runs(report: Report) -> Iterator[GaugeMetricFamily]:
    if report.runs is not None:
        counts = Counter((run.job, run.status) for run in report.runs)
        yield gauge(
            "runs_unfinished",
            "Runs that have not ended; status QUEUED are the queue.",
            ("job", "status"),
            [(key, float(count)) for key, count in counts.items()],
        )
        stuck = sum(bool(run.problem) for run in report.runs)
        meaning = "Unfinished runs that are stuck or have lost their process."
        yield gauge("runs_stuck", meaning, (), [((), float(stuck))])
    if report.failed_runs is not None:
        failed = Counter(run.job for run in report.failed_runs)
        yield gauge(
            "runs_failed_lately",
            "Runs that failed in the last 24 hours and are not repeated.",
            ("job",),
            [((job,), float(count)) for job, count in failed.items()],
        )


def _of_ticking(report: Report) -> Iterator[GaugeMetricFamily]:
    if report.daemon is not None:
        alive = float(report.daemon.status == "alive")
        yield gauge("daemon_alive", "1 if Dagster's daemon says that it lives.", (), [((), alive)])
        if report.daemon.last_at is not None:
            last = [((), _at(report.daemon.last_at))]
            meaning = "When the daemon last said that it lives."
            yield gauge("daemon_heartbeat_timestamp_seconds", meaning, (), last)
    ticking = [
        *(("schedule", one.name, one.is_on, one.problem) for one in report.schedules or ()),
        *(("sensor", one.name, one.is_on, one.problem) for one in report.sensors or ()),
    ]
    labels = ("kind", "name")
    on = [((kind, name), float(is_on)) for kind, name, is_on, _ in ticking]
    yield gauge("ticking_on", "1 if a schedule or sensor is on.", labels, on)
    failing = [((kind, name), float(bool(problem))) for kind, name, _, problem in ticking]
    yield gauge("ticking_failing", "1 if its last ticks failed.", labels, failing)
    upcoming = [
        ((one.name,), _at(one.next_at)) for one in report.schedules or () if one.next_at is not None
    ]
    yield gauge("schedule_next_timestamp_seconds", "Its next tick.", ("schedule",), upcoming)


def _of_troubles(report: Report) -> Iterator[GaugeMetricFamily]:
    if report.incidents is not None:
        counts = Counter(one.severity for one in report.incidents)
        samples = [((severity,), float(counts[severity])) for severity in SEVERITIES]
        yield gauge("incidents_open", "Open incidents.", ("severity",), samples)
    if report.dead_letters is not None:
        count = float(report.dead_letters.open)
        yield gauge(
            "dead_letters_open", "Dead letters that nobody has dealt with.", (), [((), count)]
        )
    if report.quota is not None:
        left, limit = float(report.quota.left), float(report.quota.limit)
        vendor = ("alpha_vantage",)
        yield gauge("vendor_calls_left", "Calls left today.", ("vendor",), [(vendor, left)])
        yield gauge("vendor_calls_limit", "Calls of a day.", ("vendor",), [(vendor, limit)])
    if report.quarantine is not None:
        held = [((one.asset,), float(one.held)) for one in report.quarantine]
        yield gauge("quarantine_rows_held", "Refused rows, lately.", ("asset",), held)


def _one(report: Report) -> float:
    return float(report.is_healthy)


def _at(instant: datetime) -> float:
    return instant.timestamp()
