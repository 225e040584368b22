"""A ``quant job``'s report for people. What belongs here: words; no Dagster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from quant_assets.cli.job_report import Calls, PlannedWrite, Report, TaskReport
from quant_assets.cli.tasks import TOLD, Reason

VENDORS = {
    "yahoo": ("Yahoo", "call"),
    "fred": ("FRED", "request"),
    "alpha_vantage": ("Alpha Vantage", "call"),
    "rss": ("RSS", "feed"),
}


def lines_of(report: Report) -> Iterator[str]:
    """The lines that end a job: of a dry run the whole plan, of a run what became of it."""
    if report.is_dry_run:
        for task in report.tasks:
            yield from _planned(task)
        yield from _totals(report)
    else:
        for task in report.tasks:
            if task.has_failed:
                run = f" (run {task.run_id})" if task.run_id else ""
                yield f"{task.state.replace('_', ' ')}: {task.title}{run}: {task.error}"
    for one in report.recommendations:
        yield (
            f"{one.market} {one.session}: {one.symbols} recommendations, {one.labelled} with a "
            f"label, {one.degraded} degraded"
        )
    yield f"{report.job}: {report.message} ({report.seconds:.1f} s)"


def _planned(task: TaskReport) -> Iterator[str]:
    optional = ", the rest goes on without it" if task.is_optional else ""
    yield f"{task.title} (at most {task.limit_seconds / 60:.0f} min{optional})"
    for calls in task.calls:
        yield f"  asks {_told(calls)}" + (f" ({calls.note})" if calls.note else "")
    for group in _groups(task.writes):
        first, last = group[0], group[-1]
        span = first.partition
        if len(group) > 1:
            span = f"{first.partition} .. {last.partition} ({len(group):,})"
        detail = f" ({first.detail})" if first.detail else ""
        yield f"  writes {first.asset} {span}: {TOLD[Reason(first.reason)]}{detail}"


def _groups(writes: Sequence[PlannedWrite]) -> list[list[PlannedWrite]]:
    """Neighbouring partitions of an asset that have one reason."""
    groups: list[list[PlannedWrite]] = []
    open_groups: dict[str, list[PlannedWrite]] = {}
    for write in writes:
        group = open_groups.get(write.asset)
        if group is None or (group[0].reason, group[0].detail) != (write.reason, write.detail):
            group = open_groups[write.asset] = []
            groups.append(group)
        group.append(write)
    return groups


def _totals(report: Report) -> Iterator[str]:
    calls = [one for task in report.tasks for one in task.calls]
    for vendor in dict.fromkeys(one.vendor for one in calls):
        mine = [one for one in calls if one.vendor == vendor]
        most = [one.most for one in mine]
        total = Calls(
            vendor=vendor,
            least=sum(one.least for one in mine),
            most=None if None in most else sum(one for one in most if one is not None),
        )
        quota = next((one for one in report.quotas if one.vendor == vendor), None)
        left = (
            f"; {quota.left} of the {quota.limit} of the day are left, new ones at "
            f"{quota.resets_at:%Y-%m-%d %H:%M} UTC"
            if quota
            else ""
        )
        yield f"in all {_told(total)}{left}"


def _told(calls: Calls) -> str:
    name, unit = VENDORS[calls.vendor]
    count = f"{calls.least:,}"
    if calls.most is None:
        count = f"{calls.least:,} or more"
    elif calls.most != calls.least:
        count = f"{calls.least:,} to {calls.most:,}"
    return f"{name}: {count} {unit}{'' if count == '1' else 's'}"
