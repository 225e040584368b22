"""The process that does a ``quant job``'s work. What belongs here: everything that needs Dagster.

``python -m quant_assets.cli.job_worker FD`` reads requests from standard input and answers on the
file descriptor FD. The command that starts it stays light and ends it at once, whatever it does.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any, BinaryIO

import dagster as dg
import msgspec

from quant_assets.cli.execute import end_with, execute
from quant_assets.cli.instance import has_instance
from quant_assets.cli.job_calls import calls_of, quota_of
from quant_assets.cli.job_protocol import (
    Answer,
    Closed,
    CloseRun,
    Conclude,
    Concluded,
    Plan,
    PlanAnalysis,
    PlanFetching,
    Refused,
    Request,
    RunTask,
    StepEnded,
    TaskEnded,
)
from quant_assets.cli.job_report import PlannedWrite, Recommendations, Step, TaskReport
from quant_assets.cli.job_wanted import Wanted
from quant_assets.cli.plan import ARTICLES, Planner
from quant_assets.cli.spans import Span, listed_between, with_history
from quant_assets.cli.tasks import Reason, Task, Write
from quant_assets.errors import BadConfigurationError, QuantAssetsError
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.jobs import NAMED_JOBS, NEWS_STREAM, NamedJob
from quant_assets.markets import MARKETS
from quant_assets.naming import TAG_COMMAND, market_job
from quant_assets.schemas.keys import HOUR_FORMAT
from quant_assets.sensors.dead_runs import close_dead_runs, close_run
from quant_assets.settings import Settings, settings
from quant_assets.timetable import RSS_LOOK_BACK
from quant_assets.versions import code_versions

SHOWN_SESSIONS = 31
STEPS = {
    dg.DagsterEventType.STEP_SUCCESS: "done",
    dg.DagsterEventType.STEP_FAILURE: "failed",
    dg.DagsterEventType.STEP_UP_FOR_RETRY: "retried",
}
Say = Callable[[Answer], None]


def main() -> None:
    """Answer requests until standard input ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the command decides what a signal ends
    end_with(os.getppid())
    with os.fdopen(int(sys.argv[1]), "wb") as out:
        answer_requests(sys.stdin.buffer, out)


def answer_requests(requests: BinaryIO, out: BinaryIO) -> None:
    """Answer each line of ``requests``; an error is an answer too."""

    def say(answer: Answer) -> None:
        out.write(msgspec.json.encode(answer) + b"\n")
        out.flush()

    for line in requests:
        try:
            say(_answer(msgspec.json.decode(line, type=Request), say))
        except QuantAssetsError as error:
            say(Refused(str(error), isinstance(error, BadConfigurationError)))
        except Exception as error:  # noqa: BLE001  told to the command, which fails with it
            text = "".join(traceback.format_exception_only(error)).strip()
            say(Refused(text, False, traceback.format_exc()))


def _answer(request: Request, say: Say) -> Answer:
    match request:
        case PlanFetching(wanted=wanted, is_dry_run=is_dry_run):
            return _Planning(settings(), wanted, is_dry_run).fetching()
        case PlanAnalysis(wanted=wanted, is_dry_run=is_dry_run, fetching=fetching):
            return _Planning(settings(), wanted, is_dry_run).analysis(fetching)
        case RunTask():
            return _run(request, say)
        case CloseRun():
            return _close(request)
        case Conclude(wanted=wanted):
            return Concluded(list(_recommendations(settings(), wanted)))


class _Planning:
    """What is lacking for what is wanted, at the time of the request."""

    def __init__(self, values: Settings, wanted: Wanted, is_dry_run: bool) -> None:
        self._values = values
        self._wanted = wanted
        self._is_dry_run = is_dry_run
        self._now = datetime.now(UTC)
        self._store = ParquetStore(values.data_place, values.profile)
        self._notes: list[str] = []

    def fetching(self) -> Plan:
        """What comes from vendors."""
        with _instance(self._values, is_dry_run=self._is_dry_run) as instance:
            if not self._is_dry_run and (closed := close_dead_runs(instance)):
                self._notes.append(f"closed {len(closed)} run(s) whose process had died")
            tasks = self._fetching(self._planner(instance))
        has_news = any(ARTICLES in task.assets for task in tasks)
        quota = quota_of(self._values, self._now) if has_news else None
        return Plan(self._reports(tasks), [quota] if quota else [], self._notes)

    def analysis(self, fetching: Sequence[TaskReport]) -> Plan:
        """What is computed, once ``fetching`` is done; what lost a required input is not run."""
        with _instance(self._values, is_dry_run=self._is_dry_run) as instance:
            planner = self._planner(instance)
            if self._is_dry_run:
                planner = planner.after(_task(report) for report in fetching)
            tasks = [
                task
                for span in self._spans()
                for task in planner.recommendations(span, force=self._wanted.is_forced)
            ]
        failed = {report.job: report.title for report in fetching if report.has_failed}
        reports = self._reports(tasks)
        for report in reports:
            if lost := [failed[job] for job in _named(report.job).inputs if job in failed]:
                report.state = "not_run"
                report.error = f"it needs {', '.join(lost)}, which failed"
        return Plan(reports, [], self._notes)

    def _planner(self, instance: dg.DagsterInstance) -> Planner:
        return Planner(self._store, instance, self._now, code_versions(self._values))

    def _fetching(self, planner: Planner) -> list[Task]:
        wanted, tasks = self._wanted, []
        if wanted.job == "news" and wanted.hours:
            tasks = planner.news(_keys(*wanted.hours), force=wanted.is_forced)
        elif wanted.has_analysis:
            tasks = planner.news(self._obtainable(self._hours(planner)))
        for span in self._spans():
            sessions = with_history(span) if wanted.has_analysis else span.sessions
            is_forced = wanted.is_forced and not wanted.has_analysis
            tasks += planner.prices(span.market, sessions, force=is_forced)
        if wanted.days:
            tasks += planner.macro(*wanted.days, force=wanted.is_forced)
        return tasks

    def _hours(self, planner: Planner) -> list[str]:
        """Hours of the decision windows, and those that were asked for."""
        keys = set(planner.news_hours(self._spans(), self._values.news_start))
        if self._wanted.hours:
            keys |= set(_keys(*self._wanted.hours))
        return sorted(keys)

    def _obtainable(self, keys: Sequence[str]) -> list[str]:
        """Hours that are stored or can still be had: RSS alone knows only the last day."""
        if self._values.has_alpha_vantage:
            return list(keys)
        missing = set(self._store.missing(ARTICLES, keys))
        begin = (self._now - RSS_LOOK_BACK).strftime(HOUR_FORMAT)
        lost = {key for key in missing if key < begin}
        if lost:
            self._notes.append(
                f"{len(lost)} hour(s) of news, {min(lost)} .. {max(lost)}, cannot be had any more: "
                "RSS shows the last day (ALPHA_VANTAGE_API_KEY)"
            )
        return [key for key in keys if key not in lost]

    def _spans(self) -> list[Span]:
        spans = []
        for key, sessions in self._wanted.sessions.items():
            since, _ = listed_between(self._values.universe(key))
            spans.append(Span(MARKETS[key], tuple(sessions), since))
        return spans

    def _reports(self, tasks: Sequence[Task]) -> list[TaskReport]:
        goals = [market_job(key, "combined_analysis") for key in self._wanted.sessions]
        optional = {name for goal in goals for name in NAMED_JOBS[goal].optional_inputs}
        calls = calls_of(tasks, self._values, self._now)
        return [
            TaskReport(
                job=task.job,
                assets=list(task.assets),
                first=task.first,
                last=task.last,
                partitions=task.partitions,
                is_optional=self._wanted.has_analysis and task.job in optional,
                limit_seconds=_named(task.job).limit.seconds(task.partitions),
                writes=[
                    PlannedWrite(
                        asset=write.asset,
                        partition=write.partition,
                        reason=write.reason,
                        detail=write.detail,
                    )
                    for write in task.writes
                ],
                calls=asked,
                why=task.why,
            )
            for task, asked in zip(tasks, calls, strict=True)
        ]


def _named(job: str) -> NamedJob:
    return NEWS_STREAM if job == NEWS_STREAM.name else NAMED_JOBS[job]


def _task(report: TaskReport) -> Task:
    writes = tuple(
        Write(one.asset, one.partition, Reason(one.reason), one.detail) for one in report.writes
    )
    assets = tuple(report.assets)
    return Task(report.job, assets, report.first, report.last, report.partitions, writes)


def _keys(first: datetime, last: datetime) -> list[str]:
    count = (last - first) // timedelta(hours=1) + 1
    return [(first + timedelta(hours=n)).strftime(HOUR_FORMAT) for n in range(count)]


@contextmanager
def _instance(values: Settings, *, is_dry_run: bool = False) -> Iterator[dg.DagsterInstance]:
    """The instance; for a dry run one in memory where opening it would make its files."""
    if is_dry_run:
        is_there = has_instance(values.home_dir)
        opened = dg.DagsterInstance.get() if is_there else dg.DagsterInstance.ephemeral()
    else:
        with (values.home_dir / ".instance.lock").open("w") as lock:
            # Two that make Dagster's databases at the same time spoil them for ever.
            fcntl.flock(lock, fcntl.LOCK_EX)
            opened = dg.DagsterInstance.get()
    with opened as instance:
        yield instance


def _run(request: RunTask, say: Say) -> TaskEnded:
    def told(entry: dg.EventLogEntry) -> None:
        if (step := _step(entry.dagster_event)) is not None:
            say(StepEnded(step))

    tags = {TAG_COMMAND: request.command, "dagster/max_retries": "0"}
    outcome = execute(_task(request.task), request.run_id, tags, told)
    return TaskEnded(
        "failed" if outcome.reason else "done",
        outcome.seconds,
        outcome.reason,
        outcome.trace,
        list(outcome.failed_checks),
    )


def _step(event: Any) -> Step | None:
    """The step that an event of a run ends."""
    if event is None or event.event_type not in STEPS:
        return None
    seconds = None
    if event.event_type == dg.DagsterEventType.STEP_SUCCESS:
        seconds = event.step_success_data.duration_ms / 1e3
    name = event.step_key.replace("__", "/")
    return Step(name=name, state=STEPS[event.event_type], seconds=seconds)  # type: ignore[arg-type]


def _close(request: CloseRun) -> Closed:
    """Close a run whose process is gone, and remove what it had not finished writing."""
    values = settings()
    with _instance(values) as instance:
        run = instance.get_run_by_id(request.run_id)
        if run is not None:
            close_run(run, instance, request.reason, is_failure=request.is_failure)
    ParquetStore(values.data_place, values.profile).remove_unfinished(request.pid)
    return Closed()


def _recommendations(values: Settings, wanted: Wanted) -> Iterator[Recommendations]:
    """What is stored of the newest sessions that were wanted."""
    store = ParquetStore(values.data_place, values.profile)
    for key, sessions in wanted.sessions.items():
        asset = f"{key}/recommendations"
        names = [date.isoformat(session) for session in sessions[-SHOWN_SESSIONS:]]
        missing = set(store.missing(asset, names))
        for name in (name for name in names if name not in missing):
            rows = store.columns(asset, name, ["label", "is_degraded"])
            yield Recommendations(
                market=key,
                session=name,
                symbols=len(rows["label"]),
                labelled=sum(label is not None for label in rows["label"]),
                degraded=sum(map(bool, rows["is_degraded"])),
            )


if __name__ == "__main__":
    main()
