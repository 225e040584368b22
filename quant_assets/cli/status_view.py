"""The state of the house on the screen. What belongs here: drawing a report, no looking.

Quiet where all is well: what is bad stands at the top and in red, what may need a hand in yellow.
Texts of others pass ``printable`` where they are gathered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from quant_assets.cli.status_report import (
    AssetState,
    AssetStatus,
    DaemonState,
    Report,
    RunState,
    ScheduleState,
)
from quant_assets.markets import MARKETS
from quant_assets.notices.incidents import duration

BAD, DOUBTFUL, QUIET = "bold red", "yellow", "dim"
STYLES: dict[AssetStatus, str] = {
    "fresh": "green",
    "awaited": "",
    "behind": BAD,
    "empty": QUIET,
    "lost": BAD,
    "unreadable": BAD,
    "unknown": BAD,
}
SIGNS = {BAD: "✗", DOUBTFUL: "!", "green": "✓"}
RUNS_SHOWN = 8
SHORT_ID = 8
WIDE = 100
"""So many columns have room for the runs."""


def drawn(report: Report, width: int) -> RenderableType:
    """The whole report for a screen of ``width`` columns, at least 80."""
    parts: list[RenderableType] = [_head(report)]
    if report.reasons:
        parts.append(_bullets([Text(reason) for reason in report.reasons], BAD))
    for group, assets in groupby(report.assets or (), key=lambda one: one.group):
        parts += _group(group, [*assets], report.at, is_wide=width >= WIDE)
    if report.schedules is not None:
        parts += _schedules(report.schedules, report.at)
    parts += [Text(), *_lines(report)]
    return Group(*parts)


def _head(report: Report) -> RenderableType:
    verdict = Text("healthy", "bold green")
    if not report.is_healthy:
        count = len(report.reasons)
        verdict = Text(f"{count} thing{'' if count == 1 else 's'} wrong", BAD)
    head = Table.grid(expand=True)
    head.add_column()
    head.add_column(justify="right")
    title = Text.assemble(
        (f"{report.profile}", "bold"), f"  {report.at:%Y-%m-%d %H:%M:%S} UTC  ", style=""
    )
    head.add_row(title, verdict)
    head.add_row(Text(report.home, QUIET, overflow="fold"), "")
    return head


def _bullets(lines: Sequence[Text], style: str) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(min_width=1, no_wrap=True)
    table.add_column(overflow="fold")
    for line in lines:
        table.add_row(Text(SIGNS.get(style, "·"), style), line)
    return table


def _group(
    group: str, assets: Sequence[AssetState], now: datetime, *, is_wide: bool
) -> list[RenderableType]:
    """The assets of a market, of the news or of macro."""
    name = MARKETS[group].name if group in MARKETS else group.capitalize()
    title = Text.assemble(("\n" + name, "bold"), (_coming(assets), QUIET))
    if all(one.status == "empty" for one in assets):
        return [Text.assemble(title, ("  nothing stored yet", QUIET))]
    table = Table.grid(padding=(0, 2, 0, 0))
    for width in (1, 20, 13, 19):
        table.add_column(min_width=width, no_wrap=True)
    table.add_column(min_width=9, justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    for one in assets:
        style = _style(one)
        table.add_row(
            Text(SIGNS.get(style, "·"), style or QUIET),
            Text(one.asset.partition("/")[2], BAD if style == BAD else ""),
            Text(one.newest or ""),
            Text(_status(one), style),
            _rows(one),
            Text(_success(one, now, is_wide=is_wide), QUIET),
        )
    return [title, table]


def _coming(assets: Sequence[AssetState]) -> str:
    """What comes next, if the assets wait for the same."""
    for one in assets:
        if one.status in ("fresh", "awaited") and one.deadline is not None:
            return f"  next due {one.deadline:%m-%d %H:%M} UTC"
    return ""


def _style(one: AssetState) -> str:
    return DOUBTFUL if one.status == "fresh" and _is_thin(one) else STYLES[one.status]


def _is_thin(one: AssetState) -> bool:
    """Whether symbols are missing or were judged without news."""
    return bool(one.degraded) or (one.present or 0) < (one.expected or 0)


def _status(one: AssetState) -> str:
    if one.status == "behind":
        return f"{one.behind:,} {one.unit}{'' if one.behind == 1 else 's'} behind"
    if one.status == "awaited":
        return f"{one.unit} awaited"
    return f"{one.status}, {one.degraded:,} degraded" if one.degraded else one.status


def _rows(one: AssetState) -> Text:
    if one.expected is None:
        return Text("" if one.rows is None else f"{one.rows:,} rows", QUIET)
    text = f"{one.present:,}/{one.expected:,}"
    return Text(text, DOUBTFUL if (one.present or 0) < one.expected else "")


def _success(one: AssetState, now: datetime, *, is_wide: bool) -> str:
    """When it was stored last, and where there is room the run that did it."""
    if one.last_success_at is None:
        return ""
    age = _age(one.last_success_at, now)
    if not is_wide:
        return f"{' '.join(age.split()[:2])} ago"
    return f"{age} ago" + (f", {one.last_run_id[:SHORT_ID]}" if one.last_run_id else "")


def _age(moment: datetime, now: datetime) -> str:
    return duration(now - moment)


def _schedules(schedules: Sequence[ScheduleState], now: datetime) -> list[RenderableType]:
    shown = [one for one in schedules if one.is_on or one.is_switched_off]
    if not shown:
        told = f"all {len(schedules)} are off" if schedules else "there are none"
        return [Text.assemble(("\nSchedules", "bold"), (f"  {told}", QUIET))]
    table = Table.grid(padding=(0, 2, 0, 0))
    for width in (1, 20, 16):
        table.add_column(min_width=width, no_wrap=True)
    table.add_column(overflow="fold")
    for one in sorted(schedules, key=lambda one: (one.next_at is None, one.next_at or now)):
        table.add_row(*_schedule(one, now))
    return [Text("\nSchedules", "bold"), table]


def _schedule(one: ScheduleState, now: datetime) -> tuple[Text, Text, Text, Text]:
    if one.is_switched_off:
        return Text("!", DOUBTFUL), Text(one.name), Text("switched off", DOUBTFUL), Text()
    if one.next_at is None:
        return Text("·", QUIET), Text(one.name, QUIET), Text("off", QUIET), Text()
    when = Text(f"{one.next_at:%Y-%m-%d %H:%M}")
    if one.problem:
        return Text("✗", BAD), Text(one.name, BAD), when, Text(one.problem, BAD)
    return (
        Text("✓", "green"),
        Text(one.name),
        when,
        Text(f"in {duration(one.next_at - now)}", QUIET),
    )


def _lines(report: Report) -> Iterator[RenderableType]:
    """The rest, a line each."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(min_width=1, no_wrap=True)
    table.add_column(min_width=20, no_wrap=True)
    table.add_column(overflow="fold")
    for name, style, text in _facts(report):
        table.add_row(Text(SIGNS.get(style, "·"), style or QUIET), Text(name), Text(text, style))
    yield table


def _facts(report: Report) -> Iterator[tuple[str, str, str]]:
    """Name, style and text of each line."""
    if report.daemon is not None:
        yield "daemon", *_daemon(report.daemon, report.at)
    if report.sensors is not None:
        bad = [one for one in report.sensors if one.is_on and one.problem]
        off = [one.name for one in report.sensors if one.is_switched_off]
        for one in bad:
            yield "sensor", BAD, f"{one.name} {one.problem}"
        if off:
            yield "switched off", DOUBTFUL, ", ".join(off)
        if not bad and not off:
            yield "sensors", "green", f"{sum(one.is_on for one in report.sensors)} on"
    yield from _run_facts(report)
    if report.incidents is not None:
        for incident in report.incidents:
            style = BAD if incident.severity == "critical" else DOUBTFUL
            since = f"since {incident.opened_at:%m-%d %H:%M}"
            yield f"{incident.severity}", style, f"{incident.title} ({since})"
        if not report.incidents:
            yield "incidents", "green", "none open"
    if report.dead_letters is not None:
        count = report.dead_letters.open
        yield "dead letters", DOUBTFUL if count else "green", f"{count:,} open" if count else "none"
    for held in report.quarantine or ():
        of = (
            ""
            if held.partitions == held.partitions_looked_at
            else (f" in the newest {held.partitions_looked_at:,} of {held.partitions:,} partitions")
        )
        yield "quarantine", DOUBTFUL, f"{held.held:,} of {held.asset}{of}"
    if report.quarantine == []:
        yield "quarantine", "green", "empty"
    if report.quota is not None:
        left = report.quota.left
        style = "" if left else DOUBTFUL
        again = f", again at {report.quota.resets_at:%m-%d %H:%M} UTC"
        yield "Alpha Vantage", style, f"{left:,} of {report.quota.limit:,} calls left{again}"


def _daemon(one: DaemonState, now: datetime) -> tuple[str, str]:
    if one.status == "never" or one.last_at is None:
        return QUIET, "none was ever here: `make dev` or `dagster-daemon run` is one"
    seen = f"{_age(one.last_at, now)} ago"
    if one.status == "gone":
        return BAD, f"last seen {seen}"
    if one.errors:
        return DOUBTFUL, f"alive, {one.errors[0]}"
    return "green", f"alive, seen {seen}"


def _run_facts(report: Report) -> Iterator[tuple[str, str, str]]:
    runs, failed = report.runs, report.failed_runs
    if runs is not None:
        if not runs:
            yield "runs", "green", "none in progress"
        for run in runs[:RUNS_SHOWN]:
            word = run.problem or f"{run.status.lower()} {_age(run.since, report.at)}"
            yield "run", BAD if run.problem else "", f"{_run(run)}  {word}"
        if len(runs) > RUNS_SHOWN:
            yield "runs", "", f"and {len(runs) - RUNS_SHOWN:,} more"
    if failed:
        yield "failed in a day", DOUBTFUL, f"{len(failed):,} run{'' if len(failed) == 1 else 's'}"
        for run in failed[:RUNS_SHOWN]:
            yield "", DOUBTFUL, f"{_run(run)}  {_age(run.since, report.at)} ago"


def _run(run: RunState) -> str:
    return "  ".join(filter(None, (run.run_id[:SHORT_ID], run.job, run.partition)))
