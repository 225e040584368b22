"""What Dagster knows of a rule's partitions. What belongs here: asking the instance, nothing else.

The answer comes from the partitions and the runs, never from what a schedule remembers: so a
schedule that was off, renamed or evaluated twice asks for what lacks, and only for that.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

import dagster as dg

from quant_assets import naming
from quant_assets.hooks.outcomes import assets_of_run
from quant_assets.hooks.runs import awaits_repeat, is_repeated, partitions_of
from quant_assets.sensors.common import REPEATS, UNFINISHED, partition_tags
from quant_assets.timetable import Known, Rule

RUNS_BEFORE = timedelta(days=1)
"""Runs that began so long before the first partition of interest became due may still go on."""


def known_partitions(
    instance: dg.DagsterInstance, rule: Rule, now: datetime, keys: Iterable[str] = ()
) -> Known:
    """What is done, under way and failed of what ``rule`` looks back on at ``now``, and ``keys``.

    Runs under way count whatever they are called: a person may materialize some assets.
    """
    wanted = {*keys, *rule.due(now - rule.look_back, now)}
    since = now - rule.look_back - RUNS_BEFORE
    own = instance.get_runs(dg.RunsFilter(job_name=rule.job, created_after=since))
    unfinished = instance.get_runs(dg.RunsFilter(statuses=list(UNFINISHED)))
    others = [run for run in unfinished if {*rule.assets} & {*assets_of_run(run)}]
    pending: set[str] = set()
    failures: dict[str, int] = {}
    for run in [*own, *others]:
        first, last = partitions_of(run)
        spanned = [key for key in wanted if first <= key <= last]
        if not run.is_finished or awaits_repeat(run):
            pending.update(spanned)
        elif run.status == dg.DagsterRunStatus.FAILURE and not is_repeated(run):
            for key in spanned:
                failures[key] = failures.get(key, 0) + 1
    return Known(
        done=materialized(instance, rule.assets),
        ready=materialized(instance, rule.needs) if rule.needs else None,
        pending=pending,
        failures=failures,
    )


def materialized(instance: dg.DagsterInstance, assets: Iterable[str]) -> set[str]:
    """Partitions of which every one of ``assets`` is materialized."""
    found = [instance.get_materialized_partitions(dg.AssetKey(a.split("/"))) for a in assets]
    return set.intersection(*map(set, found))


def unasked_run(
    rule: Rule, first: str, last: str, *, key: str, try_until: datetime
) -> dg.RunRequest:
    """A run that nobody asked for by hand; failures that may pass are repeated for a while."""
    tags = {
        **partition_tags(first, last),
        **REPEATS,
        naming.TAG_REPEAT_FAILURES: naming.UNLESS_FINAL,
        naming.TAG_TRY_UNTIL: try_until.isoformat(timespec="seconds"),
    }
    return dg.RunRequest(run_key=f"{key}/{first}..{last}", job_name=rule.job, tags=tags)
