"""Metrics of runs, ticks and topics. What belongs here: asking Dagster's instance for them.

Counters and histograms begin when the exporter does, as Prometheus expects; gauges say what is.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import dagster as dg
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily

from quant_assets.cli.metrics_state import gauge
from quant_assets.cli.selection import JOBS_BY_NAME
from quant_assets.housekeeping.job import NAME as HOUSEKEEPING
from quant_assets.jobs import BACKTEST
from quant_assets.naming import ASSET_ARTICLES, ASSET_REQUESTS

BUCKETS = (1, 3, 10, 30, 60, 180, 600, 1800, 7200)
"""Seconds: a small step takes one, a throttled one minutes, run monitoring ends the longest."""
ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
RUNS_AT_ONCE = 500
OTHERS = "assets"
"""Runs of no named job: assets chosen by hand."""
OVERLAP = timedelta(minutes=5)
"""How far back each look goes again: a run may be written later than its time says."""


class EndedRuns:
    """Counts runs as they end, each once."""

    def __init__(self, registry: CollectorRegistry, since: datetime) -> None:
        self._since = since
        self._seen: dict[str, datetime] = {}
        self._runs = Counter(
            "quant_runs_ended", "Runs that ended.", ("job", "status"), registry=registry
        )
        # From 0 on: what begins at 1 is no increase, and the first failure would go unnoticed.
        for job in (*JOBS_BY_NAME, BACKTEST, HOUSEKEEPING, OTHERS):
            for status in ENDED:
                self._runs.labels(job, status.value.lower())
        self._seconds = Histogram(
            "quant_run_duration_seconds",
            "How long runs took, from their first step on.",
            ("job",),
            buckets=BUCKETS,
            registry=registry,
        )
        self._steps = Histogram(
            "quant_step_duration_seconds",
            "How long steps took.",
            ("job", "step"),
            buckets=BUCKETS,
            registry=registry,
        )

    def look(self, instance: dg.DagsterInstance, now: datetime) -> None:
        """Count what has ended since the last look."""
        ended = dg.RunsFilter(statuses=list(ENDED), updated_after=self._since - OVERLAP)
        for record in _pages(instance, ended):
            run = record.dagster_run
            end = record.end_time
            if run.run_id in self._seen or end is None or end < self._since.timestamp():
                continue
            self._seen[run.run_id] = now
            job = OTHERS if run.job_name.startswith("__") else run.job_name
            self._runs.labels(job, run.status.value.lower()).inc()
            if record.start_time is not None:
                self._seconds.labels(job).observe(end - record.start_time)
            for step in instance.get_run_step_stats(run.run_id):
                if step.start_time is not None and step.end_time is not None:
                    self._steps.labels(job, step.step_key).observe(step.end_time - step.start_time)
        self._seen = {run: at for run, at in self._seen.items() if now - at < 2 * OVERLAP}
        self._since = max(self._since, now - OVERLAP)


def _pages(instance: dg.DagsterInstance, wanted: dg.RunsFilter) -> Iterator[dg.RunRecord]:
    cursor: str | None = None
    while records := instance.get_run_records(wanted, limit=RUNS_AT_ONCE, cursor=cursor):
        yield from records
        cursor = records[-1].dagster_run.run_id


def ticks(instance: dg.DagsterInstance) -> Iterator[GaugeMetricFamily]:
    """The last tick of each schedule and sensor: when it was, and how long it took."""
    began, took = [], []
    for state in instance.all_instigator_state():
        last = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
        for tick in last:
            key = (state.instigator_type.value.lower(), state.instigator_name)
            began.append((key, tick.timestamp))
            if tick.end_timestamp is not None:
                took.append((key, max(0.0, tick.end_timestamp - tick.timestamp)))
    labels = ("kind", "name")
    yield gauge("tick_timestamp_seconds", "When the last tick began.", labels, began)
    yield gauge("tick_duration_seconds", "How long the last tick took.", labels, took)


def topics(instance: dg.DagsterInstance) -> Iterator[GaugeMetricFamily]:
    """What waits in Kafka, as the last tick that read something found it."""
    waiting, waited, at = [], [], []
    for key in (ASSET_REQUESTS, ASSET_ARTICLES):
        for record in instance.fetch_observations(dg.AssetKey(key), limit=1).records:
            observation = record.asset_observation
            if observation is None:
                continue
            facts = observation.metadata
            topic = (key[-1],)
            at.append((topic, record.timestamp))
            waiting.append((topic, float(str(facts["waiting_in_kafka"].value))))
            waited.append((topic, float(str(facts["oldest_waited_seconds"].value))))
    labels = ("topics",)
    yield gauge("kafka_lag_messages", "Messages that wait to be read.", labels, waiting)
    yield gauge("kafka_oldest_waited_seconds", "How long the oldest had waited.", labels, waited)
    yield gauge("kafka_read_timestamp_seconds", "When something was last read.", labels, at)
