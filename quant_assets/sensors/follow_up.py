"""Analyses that follow their prices. What belongs here: the sensor, and what it asks for.

A declarative condition is not used for it. Conditions look at the latest partition, which during
a closure and until a session has ended is one that does not exist yet (``end_offset=1``), and at
every one of the 500 sessions and the hours that an analysis rests on; and they know nothing of a
run that is about to be repeated.
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from quant_assets.markets import MARKETS
from quant_assets.naming import market_job
from quant_assets.partitions import key_ranges
from quant_assets.resources import ClockResource
from quant_assets.sensors.common import UNFINISHED
from quant_assets.sensors.partition_state import known_partitions, unasked_run
from quant_assets.settings import Settings
from quant_assets.timetable import Known, rules

NAME = "analysis_follow_up"
INTERVAL_SECONDS = 60


def build_follow_up_sensor(values: Settings, jobs: Sequence[Any]) -> dg.SensorDefinition:
    """Asks for the analysis of a session as soon as its prices are stored."""
    made = rules(has_alpha_vantage=values.has_alpha_vantage, news_start=values.news_start)
    analyses = {market_job(key, "combined_analysis") for key in MARKETS}

    @dg.sensor(
        name=NAME,
        jobs=[job for job in jobs if job.name in analyses],
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=(
            dg.DefaultSensorStatus.STOPPED if values.is_sandbox else dg.DefaultSensorStatus.RUNNING
        ),
        description="The analysis of a session follows as soon as its prices are stored.",
    )
    def analysis_follow_up(
        context: dg.SensorEvaluationContext, clock: ClockResource
    ) -> list[dg.RunRequest] | dg.SkipReason:
        now = clock.now()
        requests: list[dg.RunRequest] = []
        told: list[str] = []
        for key in MARKETS:
            prices, analysis = (
                made[market_job(key, task)] for task in ("price", "combined_analysis")
            )
            if under_way := _under_way(context.instance, prices.job):
                told.append(f"{key}: waits for {under_way}")
                continue
            sessions = prices.due(now - prices.look_back, now)
            known = known_partitions(context.instance, analysis, now, sessions)
            parts = following(sessions, known)
            until = now + analysis.patience
            requests += [
                unasked_run(analysis, part[0], part[-1], key="follow-up", try_until=until)
                for part in parts
            ]
            told += [] if parts else [f"{key}: every session with prices is analysed"]
        return requests or dg.SkipReason("; ".join(told))

    return analysis_follow_up


def following(sessions: Sequence[str], known: Known) -> list[list[str]]:
    """Those of ``sessions``, as ranges for a run each, that have prices and no analysis.

    None before the first one that was ever analysed, and
    none that has failed: the schedule of the analysis tries those again. Where nothing was ever
    analysed only the last session is.
    """
    since = min(known.done, default=sessions[-1] if sessions else "")
    wanted = {
        key
        for key in sessions
        if key >= since
        and key not in {*known.done, *known.pending, *known.failures}
        and key in (known.ready or ())
    }
    return key_ranges(sessions, wanted)


def _under_way(instance: dg.DagsterInstance, prices_job: str) -> str:
    """A run that fetches what an analysis rests on; its end is worth waiting for."""
    for job in (prices_job, "news_crawl"):
        unfinished = dg.RunsFilter(job_name=job, statuses=list(UNFINISHED))
        if found := instance.get_runs(unfinished, limit=1):
            return f"run {found[0].run_id[:8]} of {job}"
    return ""
