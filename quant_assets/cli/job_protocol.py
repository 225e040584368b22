"""What ``quant job`` and its worker say to each other. What belongs here: messages; no Dagster.

Each message is a line of JSON with its type. The worker answers a request with any number of
``StepEnded`` and then one of the other answers.
"""

from __future__ import annotations

import msgspec

from quant_assets.cli.job_report import Quota, Recommendations, State, Step, TaskReport
from quant_assets.cli.job_wanted import Wanted


class PlanFetching(msgspec.Struct, tag=True):
    """Plan what comes from vendors. A dry run leaves everything as it is."""

    wanted: Wanted
    is_dry_run: bool


class PlanAnalysis(msgspec.Struct, tag=True):
    """Plan what is computed after ``fetching``, which in a dry run has not been done."""

    wanted: Wanted
    is_dry_run: bool
    fetching: list[TaskReport]


class RunTask(msgspec.Struct, tag=True):
    """Execute a task as the run ``run_id`` of the command named ``command``."""

    task: TaskReport
    run_id: str
    command: str


class CloseRun(msgspec.Struct, tag=True):
    """Close a run whose worker, the process ``pid``, was ended; also what it left half written."""

    run_id: str
    pid: int
    reason: str
    is_failure: bool


class Conclude(msgspec.Struct, tag=True):
    """Say what is stored of the sessions that were wanted."""

    wanted: Wanted


class Plan(msgspec.Struct, tag=True):
    """The tasks of a plan, and what there is to say of it."""

    tasks: list[TaskReport]
    quotas: list[Quota] = []
    notes: list[str] = []


class StepEnded(msgspec.Struct, tag=True):
    """A step of the task that runs has ended."""

    step: Step


class TaskEnded(msgspec.Struct, tag=True):
    """A task has ended; ``trace`` is the traceback of an error that the platform did not raise."""

    state: State
    seconds: float
    error: str = ""
    trace: str = ""
    failed_checks: list[str] = []


class Concluded(msgspec.Struct, tag=True):
    """The recommendations that are stored."""

    recommendations: list[Recommendations]


class Closed(msgspec.Struct, tag=True):
    """The run is closed."""


class Refused(msgspec.Struct, tag=True):
    """A request failed; ``is_configuration`` where a setting or an argument is to blame."""

    message: str
    is_configuration: bool
    trace: str = ""


Request = PlanFetching | PlanAnalysis | RunTask | CloseRun | Conclude
Answer = Plan | StepEnded | TaskEnded | Concluded | Closed | Refused
