"""``quant job``. What belongs here: conducting the work of a worker process; no Dagster.

The process of the command holds 40 MB and does nothing itself, so that a signal or a time limit
ends the work at once: the worker is killed, which is safe because a partition is stored whole or
not at all, and another one closes the run that it left.
"""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from quant_assets.cli.job_process import SignalError, TooLongError, Worker, WorkerDiedError
from quant_assets.cli.job_protocol import (
    Answer,
    CloseRun,
    Conclude,
    Concluded,
    Plan,
    PlanAnalysis,
    PlanFetching,
    Refused,
    Request,
    RunTask,
    TaskEnded,
)
from quant_assets.cli.job_report import (
    DEGRADED,
    FAILED,
    INTERRUPTED,
    TERMINATED,
    Report,
    Step,
    TaskReport,
)
from quant_assets.cli.job_wanted import Wanted
from quant_assets.errors import BadConfigurationError, QuantAssetsError
from quant_assets.sandbox.interruptions import interruptions

PLANNING_SECONDS = 900.0
"""So long planning may take: of ten years it reads the times of some hundred thousand files."""
CLOSING_SECONDS = 120.0
"""So long the closing of a run may take: a few seconds, and a minute on a machine that is busy. Who
kills earlier (Kubernetes and ECS 30 s after they ask to end) leaves it to the next command."""
TELLING_SECONDS = 20.0
"""So long the worker may stay at its end: the last run is told in Slack, where there is one."""
Tell = Callable[[str], None]
_A = TypeVar("_A", bound=Answer)


class WorkFailedError(QuantAssetsError):
    """Planning failed, or the worker did not survive it."""


def conduct(wanted: Wanted, profile: str, *, is_dry_run: bool, tell: Tell) -> Report:
    """Do what is wanted, or in a dry run say what that would be; ``tell`` gets the progress.

    Raises ``BadConfigurationError`` for what the settings do not allow.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    with interruptions(*numbers) as interrupted, Worker(interrupted) as worker:
        return _Job(worker, wanted, profile, is_dry_run, tell).report()


class _Job:
    def __init__(
        self, worker: Worker, wanted: Wanted, profile: str, is_dry_run: bool, tell: Tell
    ) -> None:
        self._worker = worker
        self._wanted = wanted
        self._is_dry_run = is_dry_run
        self._tell = tell
        self._began = time.monotonic()
        self._report = Report(
            job=wanted.job,
            profile=profile,
            is_dry_run=is_dry_run,
            started_at=datetime.now(UTC),
            notes=list(wanted.notes),
        )

    def report(self) -> Report:
        """Do the job; how it ended."""
        report = self._report
        for note in report.notes:
            self._tell(note)
        try:
            self._do()
            self._judge()
            self._worker.close(TELLING_SECONDS)
        except SignalError as error:
            report.status = "interrupted"
            is_term = error.number == signal.SIGTERM
            report.exit_status = TERMINATED if is_term else INTERRUPTED
            name = signal.Signals(error.number).name
            report.message = f"interrupted by {name}; the same call does what is missing"
        except WorkFailedError as error:
            report.status, report.exit_status, report.message = "failed", FAILED, str(error)
        report.seconds = round(time.monotonic() - self._began, 3)
        return report

    def _do(self) -> None:
        fetching = self._plan(PlanFetching(self._wanted, self._is_dry_run))
        self._run_all(fetching)
        if not self._wanted.has_analysis:
            return
        analysis = self._plan(PlanAnalysis(self._wanted, self._is_dry_run, fetching))
        self._run_all(analysis)
        if not self._is_dry_run:
            concluded = self._ask(Conclude(self._wanted), Concluded, "reading the results")
            self._report.recommendations = concluded.recommendations

    def _plan(self, request: PlanFetching | PlanAnalysis) -> list[TaskReport]:
        plan = self._ask(request, Plan, "planning")
        self._report.tasks += plan.tasks
        self._report.quotas += plan.quotas
        self._report.notes += plan.notes
        for note in plan.notes:
            self._tell(note)
        return plan.tasks

    def _ask(self, request: Request, expected: type[_A], what: str) -> _A:
        try:
            answer = self._worker.ask(request, PLANNING_SECONDS)
        except TooLongError:
            raise WorkFailedError(f"{what} took more than {PLANNING_SECONDS:.0f} s") from None
        except WorkerDiedError:
            raise WorkFailedError(f"{what}: the worker process died (out of memory?)") from None
        if isinstance(answer, Refused):
            if answer.is_configuration:
                raise BadConfigurationError(answer.message)
            if answer.trace:
                self._tell(answer.trace.rstrip())
            raise WorkFailedError(f"{what} failed: {answer.message}")
        assert isinstance(answer, expected)
        return answer

    def _run_all(self, tasks: list[TaskReport]) -> None:
        for number, task in enumerate(tasks, start=1):
            where = f"[{number}/{len(tasks)}] {task.title}"
            if self._is_dry_run:
                continue
            if task.state == "not_run":
                self._tell(f"{where}: not run: {task.error}")
                continue
            task.run_id = str(uuid.uuid4())
            minutes = task.limit_seconds / 60
            self._tell(f"{where}: {task.why}; run {task.run_id}, at most {minutes:.0f} min")
            self._run(task)
            self._tell(f"{where}: {_end_of(task)}")
            for check in task.failed_checks:
                self._tell(f"  check not passed: {check}")

    def _run(self, task: TaskReport) -> None:
        """Run a task to its end, whatever that is."""
        assert task.run_id is not None
        began = time.monotonic()

        def ended(step: Step) -> None:
            task.steps = [*task.steps, step]
            seconds = "" if step.seconds is None else f" in {step.seconds:.1f} s"
            self._tell(f"  {step.name}: {step.state}{seconds}")

        request = RunTask(task, task.run_id, f"quant job {self._wanted.job}")
        try:
            answer = self._worker.ask(request, task.limit_seconds, ended)
        except SignalError as error:
            name = signal.Signals(error.number).name
            self._close(task, f"interrupted by {name}", "interrupted")
            raise
        except TooLongError:
            limit = f"it took more than {task.limit_seconds} s"
            self._close(task, f"Exceeded maximum runtime: {limit}.", "timed_out")
            task.error = f"{limit}, the limit of {task.job}"
        except WorkerDiedError:
            task.error = "the worker process died (out of memory?)"
            self._close(task, task.error, "failed")
        else:
            self._note_end(task, answer)
        finally:
            task.seconds = round(time.monotonic() - began, 3)

    def _note_end(self, task: TaskReport, answer: Answer) -> None:
        if isinstance(answer, TaskEnded):
            task.state, task.error = answer.state, answer.error
            task.failed_checks = answer.failed_checks
            trace = answer.trace
        else:
            assert isinstance(answer, Refused)
            task.state, task.error, trace = "failed", answer.message, answer.trace
        if trace:
            self._tell(trace.rstrip())

    def _close(self, task: TaskReport, reason: str, state: str) -> None:
        """Close the run of a worker that was ended, by another one."""
        assert task.run_id is not None
        task.state = state  # type: ignore[assignment]
        is_failure = state != "interrupted"
        request = CloseRun(task.run_id, self._worker.pid, reason, is_failure)
        try:
            answer = self._worker.ask(request, CLOSING_SECONDS, is_stoppable=False)
        except (TooLongError, WorkerDiedError):
            problem = "no answer"
        else:
            if not isinstance(answer, Refused):
                return
            problem = answer.message
        self._tell(f"run {task.run_id} could not be closed ({problem}): the next command does it")

    def _judge(self) -> None:
        """Status and exit status from what became of the tasks."""
        report = self._report
        failed = [task for task in report.tasks if task.has_failed]
        count = f"{len(report.tasks)} task{'' if len(report.tasks) == 1 else 's'}"
        if not report.tasks:
            report.status, report.message = "nothing_to_do", "nothing to do: all of it is stored"
        elif self._is_dry_run:
            report.status = "planned"
            report.message = f"{count} to do; nothing was asked or written"
        elif not failed:
            report.status, report.message = "done", f"{count} done"
        elif all(task.is_optional for task in failed):
            lost = ", ".join(dict.fromkeys(task.job for task in failed))
            report.status, report.exit_status = "degraded", DEGRADED
            report.message = f"done without {lost}, which failed: the result is degraded"
        else:
            report.status, report.exit_status = "failed", FAILED
            report.message = f"{len(failed)} of {count} failed; the same call does what is missing"


def _end_of(task: TaskReport) -> str:
    seconds = f"{task.seconds or 0.0:.1f} s"
    if task.state == "done":
        return f"done in {seconds}"
    return f"{'ended' if task.state == 'timed_out' else 'failed'} after {seconds}: {task.error}"
