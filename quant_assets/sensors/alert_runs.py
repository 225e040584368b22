"""Runs that failed and checks that fail. What belongs here: what is still wrong, from ended runs.

Each end of a run is taken once. A job's trouble is over when every partition that failed was made
by a later run, whatever the run was called.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import groupby
from typing import Any

import dagster as dg
import msgspec

from quant_assets import naming
from quant_assets.errors import BadDataError
from quant_assets.hooks.answers import partition_keys
from quant_assets.hooks.outcomes import (
    FAILED_RUN,
    Problem,
    assets_of_run,
    problem_of_step,
    step_key,
)
from quant_assets.hooks.runs import (
    WILL_RETRY,
    awaits_reconciler,
    is_repeated,
    partitions_of,
)
from quant_assets.notices.incidents import Finding, Severity, clean
from quant_assets.sensors.alert_ends import End, ends_of_runs, forget_taken
from quant_assets.sensors.common import partition_tags
from quant_assets.sensors.outbox import RETRY_DECISION
from quant_assets.settings import Settings
from quant_assets.vendors.redaction import redact

RUNS, CHECKS = "run", "check"
"""Sources of the findings: what their keys begin with."""
FORGET_AFTER = timedelta(days=7)
MAX_PARTS = 300
"""Failed runs of one job that are remembered; more are taken for repaired with these."""
LINE_LIMIT = 240
TELLING = {
    dg.DagsterEventType.STEP_SUCCESS,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
}

Span = tuple[str, str]
"""First and last partition; two empty texts of a run without partitions."""


class Part(msgspec.Struct, frozen=True):
    """A failed run as far as it is not made up for: assets, and the partitions that are left."""

    run_id: str
    span: Span
    left: tuple[Span, ...]
    assets: frozenset[str]
    line: str


class Trouble(msgspec.Struct, frozen=True):
    """What is wrong with one job, or with one check (which has no parts)."""

    name: str
    title: str
    text: str
    link: str
    severity: Severity
    last_at: datetime
    count: int = 0
    parts: tuple[Part, ...] = ()
    line: str = ""


class RunsSeen(msgspec.Struct, frozen=True):
    """How far the ends of runs are read, and what is wrong since.

    Ends up to ``since`` are read; of later ones, ``taken`` are those that are, and when they were.
    ``undecided``: failed runs of which Dagster has not said whether it repeats them, and when
    they failed.
    """

    since: datetime | None = None
    taken: dict[str, datetime] = {}
    undecided: dict[str, datetime] = {}
    jobs: dict[str, Trouble] = {}
    checks: dict[str, Trouble] = {}


def look_at_runs(
    instance: dg.DagsterInstance, seen: RunsSeen, values: Settings, now: datetime
) -> tuple[RunsSeen, list[Finding]]:
    """Read the runs that ended since the last look; what is known now, and what is wrong."""
    look = _Look(instance, seen, values)
    look.settle_undecided(datetime.now(UTC))
    look.read(ends_of_runs(instance, seen.since, seen.taken, datetime.now(UTC)), datetime.now(UTC))
    findings = [
        *(_finding(RUNS, key, trouble, now) for key, trouble in look.jobs.items()),
        *(_finding(CHECKS, key, trouble, now) for key, trouble in look.checks.items()),
    ]
    closed = {finding.key for finding in findings if finding.closing}
    after = RunsSeen(
        look.since,
        look.taken,
        look.undecided,
        {key: value for key, value in look.jobs.items() if f"{RUNS}:{key}" not in closed},
        {key: value for key, value in look.checks.items() if f"{CHECKS}:{key}" not in closed},
    )
    return after, findings


def _finding(source: str, key: str, trouble: Trouble, now: datetime) -> Finding:
    is_old = now - trouble.last_at > FORGET_AFTER
    items = {part.run_id[:8]: part.line for part in trouble.parts}
    return Finding(
        key=f"{source}:{key}",
        severity=trouble.severity,
        title=trouble.title,
        text=trouble.text,
        seen_at=trouble.last_at,
        items=items or {f"{trouble.count}": trouble.line},
        link=trouble.link,
        count=trouble.count,
        closing=f"nothing new for {FORGET_AFTER.days} days" if is_old else "",
    )


class _Look:
    """One look at the runs that ended."""

    def __init__(self, instance: dg.DagsterInstance, seen: RunsSeen, values: Settings) -> None:
        self._instance = instance
        self._values = values
        self.since = seen.since
        self.taken = dict(seen.taken)
        self.undecided = dict(seen.undecided)
        self.jobs = dict(seen.jobs)
        self.checks = dict(seen.checks)

    def settle_undecided(self, now: datetime) -> None:
        """Take the failed runs of which it is decided by now whether they are repeated."""
        waiting, self.undecided = self.undecided, {}
        for run in self._runs(waiting):
            at = waiting[run.run_id]
            is_decided = WILL_RETRY in run.tags or now - at >= RETRY_DECISION
            if is_decided and not awaits_reconciler(run):
                self._take(run, End(0, run.run_id, dg.DagsterEventType.RUN_FAILURE, at))
            else:
                self.undecided[run.run_id] = at

    def read(self, ends: Sequence[End], now: datetime) -> None:
        """Take the runs of ``ends`` in their order."""
        runs = {run.run_id: run for run in self._runs([end.run_id for end in ends])}
        for end in ends:
            self.taken[end.name] = end.at
            run = runs.get(end.run_id)
            if run is None:
                continue
            is_failed = end.kind == dg.DagsterEventType.RUN_FAILURE
            may_retry = is_failed and self._instance.run_retries_enabled
            if (may_retry and WILL_RETRY not in run.tags) or awaits_reconciler(run):
                self.undecided[run.run_id] = end.at
            else:
                self._take(run, end)

        self.since, self.taken = forget_taken(self.since, self.taken, now)

    def _runs(self, ids: Iterable[str]) -> Sequence[dg.DagsterRun]:
        wanted = list(ids)
        return self._instance.get_runs(dg.RunsFilter(run_ids=wanted)) if wanted else []

    def _take(self, run: dg.DagsterRun, end: End) -> None:
        """What an ended run made up for, and what it left undone."""
        types = {dg.DagsterEventType.ASSET_CHECK_EVALUATION}
        is_whole = end.kind == dg.DagsterEventType.RUN_SUCCESS
        found = self._instance.get_records_for_run(
            run.run_id, of_type=types if is_whole else TELLING
        ).records
        events = [e for record in found if (e := record.event_log_entry.dagster_event) is not None]
        steps = {e.step_key for e in events if e.event_type == dg.DagsterEventType.STEP_SUCCESS}
        wanted = _assets(run)
        made = wanted if is_whole else {a for a in wanted if step_key(a) in steps}
        self._make_up(made, partitions_of(run))
        if end.kind == dg.DagsterEventType.RUN_FAILURE and not is_repeated(run):
            self._fail(run, frozenset(wanted - made), events, end.at)
        self._check(run, events, end.at)

    def _make_up(self, made: set[str], span: Span) -> None:
        for key, trouble in list(self.jobs.items()):
            parts = trouble.parts
            left = tuple(p for part in parts for p in _rest(part, made, span, self._values))
            if not left:
                del self.jobs[key]
            elif left != trouble.parts:
                self.jobs[key] = msgspec.structs.replace(trouble, parts=left)

    def _fail(
        self,
        run: dg.DagsterRun,
        assets: frozenset[str],
        events: Sequence[dg.DagsterEvent],
        at: datetime,
    ) -> None:
        name = _name(run)
        problem = _problem(events)
        where = f"{problem.step}: " if problem.step else ""
        message = redact(problem.message, self._values.secrets)
        span = partitions_of(run)
        text = clean(f"{where}{problem.error_type}: {message}")
        line = _clip(f"{_said(span)}{text}")
        part = Part(run.run_id, span, (span,), assets or frozenset(_assets(run)), line)
        before = self.jobs.get(name)
        parts = (*(before.parts if before else ()), part)[-MAX_PARTS:]
        self.jobs[name] = Trouble(
            name=name,
            title=f"{name} fails",
            text=text,
            link=f"{self._values.ui_url}/runs/{run.run_id}",
            severity="critical",
            last_at=at,
            count=(before.count if before else 0) + 1,
            parts=parts,
        )

    def _check(self, run: dg.DagsterRun, events: Sequence[dg.DagsterEvent], at: datetime) -> None:
        for event in events:
            if event.event_type != dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                continue
            evaluation: Any = event.event_specific_data
            key = evaluation.asset_check_key
            if key.name == naming.CHECK_FRESHNESS:
                # The source of stale data tells it, in one thread.
                continue
            name = f"{key.asset_key.to_user_string()}:{key.name}"
            if evaluation.passed and name not in self.checks:
                continue
            latest = self._latest(key, evaluation)
            if latest.passed:
                self.checks.pop(name, None)
            elif not evaluation.passed:
                self.checks[name] = self._failing(name, evaluation, run, at)

    def _latest(self, key: dg.AssetCheckKey, evaluation: Any) -> Any:
        """The latest evaluation of a check: runs may end in another order than they checked."""
        record = self._instance.get_latest_asset_check_evaluation_record(key)
        event = record.event.dagster_event if record is not None and record.event else None
        is_evaluated = (
            event is not None and event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
        )
        return event.event_specific_data if event is not None and is_evaluated else evaluation

    def _failing(self, name: str, evaluation: Any, run: dg.DagsterRun, at: datetime) -> Trouble:
        asset, _, check = name.rpartition(":")
        said = clean(redact(evaluation.description or "the check failed", self._values.secrets))
        before = self.checks.get(name)
        is_error = evaluation.severity == dg.AssetCheckSeverity.ERROR
        return Trouble(
            name=name,
            title=f"Check {check} of {asset} fails",
            text=said,
            link=f"{self._values.ui_url}/assets/{asset}?view=checks&checkDetail={check}",
            severity="critical" if is_error else "warning",
            last_at=at,
            count=(before.count if before else 0) + 1,
            line=_clip(f"{_said(partitions_of(run))}{said}"),
        )


def _rest(part: Part, made: set[str], span: Span, values: Settings) -> tuple[Part, ...]:
    """What is left of ``part`` once ``made`` were made for the partitions of ``span``."""
    if not part.assets & made:
        return (part,)
    left = _without(part, span, values)
    if left == part.left:
        return (part,)
    rest = []
    if left:
        rest.append(msgspec.structs.replace(part, assets=part.assets & made, left=left))
    if part.assets - made:
        rest.append(msgspec.structs.replace(part, assets=part.assets - made))
    return tuple(rest)


def _without(part: Part, span: Span, values: Settings) -> tuple[Span, ...]:
    """The partitions of ``part`` that are left, without those of ``span``."""
    first, last = span
    if all(first <= one and other <= last for one, other in part.left):
        return ()
    if not any(one <= last and first <= other for one, other in part.left):
        return part.left
    asset = min(part.assets)
    tags = partition_tags(*part.span)
    try:
        keys = partition_keys(dg.DagsterRun(job_name=part.run_id, tags=tags), asset, values)
    except (BadDataError, KeyError):
        return part.left
    is_left = [
        any(one <= key <= other for one, other in part.left) and not first <= key <= last
        for key in keys
    ]
    spans = []
    for left, group in groupby(zip(keys, is_left, strict=True), key=lambda pair: pair[1]):
        members = [key for key, _ in group]
        if left:
            spans.append((members[0], members[-1]))
    return tuple(spans)


def _assets(run: dg.DagsterRun) -> set[str]:
    """The assets of a run; one that is of none stands for itself."""
    return set(assets_of_run(run)) or {f"job {run.job_name}"}


def _said(span: Span) -> str:
    first, last = span
    if not first:
        return ""
    return f"{first}: " if first == last else f"{first} .. {last}: "


def _name(run: dg.DagsterRun) -> str:
    """The job of a run, or the assets that somebody chose."""
    if not run.job_name.startswith("__"):
        return run.job_name
    names = ", ".join(sorted(assets_of_run(run))) or run.job_name
    if len(names) <= 80:
        return names
    return f"{names[:70]}… ({sha256(names.encode()).hexdigest()[:6]})"


def _problem(events: Sequence[dg.DagsterEvent]) -> Problem:
    """Why a run failed: its first failed step, else what Dagster says of the run."""
    failures = [e for e in events if e.event_type == dg.DagsterEventType.STEP_FAILURE]
    if failures:
        return problem_of_step(failures[0])
    said = [e.message for e in events if e.event_type == dg.DagsterEventType.RUN_FAILURE]
    message = next((text for text in said if text), None)
    return Problem(
        FAILED_RUN, message or "the run failed outside of its steps: see its log in the UI"
    )


def _clip(text: str) -> str:
    return clean(" ".join(text.split()), LINE_LIMIT)
