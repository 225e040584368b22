"""What a run has told Dagster so far. What belongs here: event records to facts, no wording.

Facts grow with each record, so that a run is followed by reading only what is new. The events of
single partitions are not read: a run over ten years has 2,500 of them.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from quant_assets.hooks.answers import Row
from quant_assets.hooks.outcomes import (
    Problem,
    assets_of_run,
    outcomes_of_run,
    problem_of_retry,
    problem_of_step,
    step_key,
)
from quant_assets.hooks.runs import ENDS
from quant_assets.naming import CHECK_FRESHNESS

KINDS = {
    dg.DagsterEventType.RUN_START,
    dg.DagsterEventType.STEP_START,
    dg.DagsterEventType.STEP_SUCCESS,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.STEP_UP_FOR_RETRY,
    dg.DagsterEventType.STEP_RESTARTED,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    *ENDS,
}
MOST_HAPPENINGS = 100
"""A run of this platform has a dozen; more are not told one by one."""
CANDIDATES = 5
"""So many materializations of a partition are searched for the run's own."""
_PICTURE_BEFORE, _PICTURE_AFTER = "base64,", ")"


@dataclass(frozen=True)
class Made:
    """What a run says of the asset that it stored: of the last partition, if it made several."""

    rows: int | None = None
    coverage: float | None = None
    picture: bytes | None = field(default=None, repr=False)

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> "Made":
        """From the metadata of a materialization."""
        values = {name: getattr(value, "value", None) for name, value in metadata.items()}
        rows = values.get("rows_in_run", values.get("dagster/partition_row_count"))
        coverage = values.get("coverage")
        return cls(
            rows=rows if isinstance(rows, int) else None,
            coverage=coverage if isinstance(coverage, float) else None,
            picture=picture_of(metadata),
        )


@dataclass(frozen=True)
class Done:
    """A step has ended well."""

    step: str
    seconds: float


@dataclass(frozen=True)
class Failed:
    """A step has failed for good."""

    step: str
    seconds: float
    problem: Problem


@dataclass(frozen=True)
class Retried:
    """A step has failed and is tried again; ``attempt`` counts from 1."""

    step: str
    attempt: int
    wait_seconds: float
    problem: Problem


@dataclass(frozen=True)
class CheckFailed:
    """A check of an asset was not passed."""

    asset: str
    check: str
    is_error: bool
    description: str
    findings: int | None


Happening = Done | Failed | Retried | CheckFailed


@dataclass
class RunFacts:
    """A run with assets as far as its events are read; ``happenings`` in the order of the events.

    ``rows`` are the stored recommendations by asset, of the last session. ``main_asset`` is what
    the run is for, ``recommended`` are the recommendations among its outcomes.
    """

    run: dg.DagsterRun
    started_at: float | None = None
    ended_at: float | None = None
    end_message: str = ""
    happenings: list[Happening] = field(default_factory=list)
    running: dict[str, float] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    made: dict[str, Made] = field(default_factory=dict)
    rows: dict[str, Sequence[Row]] = field(default_factory=dict)
    rows_problem: str = ""
    _attempts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.assets = assets_of_run(self.run)
        self.asset_of_step = {step_key(asset): asset for asset in self.assets}
        outcomes = [outcome.asset for outcome in outcomes_of_run(self.run)]
        self.main_asset = (outcomes or list(self.assets))[-1]
        self.recommended = [asset for asset in outcomes if asset.endswith("/recommendations")]

    @property
    def is_ended(self) -> bool:
        """Whether the run's last event is read."""
        return self.ended_at is not None and self.run.is_finished

    @property
    def assets_done(self) -> int:
        """How many of the run's assets are made."""
        return len(self.done & self.asset_of_step.keys())

    @property
    def seconds(self) -> float:
        """How long the run took, 0 while it goes on."""
        if self.started_at is None or self.ended_at is None:
            return 0.0
        return max(0.0, self.ended_at - self.started_at)

    def name(self, step: str) -> str:
        """What a step is called: its asset, else what Dagster calls it."""
        return self.asset_of_step.get(step, step)

    def take(self, entry: dg.EventLogEntry) -> str | None:
        """Add an event; gives the asset that it says to be stored, if it does."""
        event, at = entry.dagster_event, entry.timestamp
        if event is None:
            return None
        step = event.step_key or ""
        match event.event_type:
            case dg.DagsterEventType.RUN_START:
                self.started_at = at
            case dg.DagsterEventType.STEP_START | dg.DagsterEventType.STEP_RESTARTED:
                self.running[step] = at
            case dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                self._check(event.asset_check_evaluation_data)
            case kind if kind in ENDS:
                self.ended_at, self.end_message = at, event.message or ""
                self.running.clear()
            case kind:
                return self._step_ended(kind, step, event, at)
        return None

    def _step_ended(
        self, kind: dg.DagsterEventType, step: str, event: dg.DagsterEvent, at: float
    ) -> str | None:
        seconds = max(0.0, at - self.running.pop(step, at))
        if kind == dg.DagsterEventType.STEP_SUCCESS:
            self.done.add(step)
            if step in self.asset_of_step:
                self._add(Done(step, seconds))
            return self.asset_of_step.get(step)
        if kind == dg.DagsterEventType.STEP_FAILURE:
            self._add(Failed(step, seconds, problem_of_step(event)))
        else:
            attempt = self._attempts[step] = self._attempts.get(step, 0) + 1
            wait = float(event.step_retry_data.seconds_to_wait or 0.0)
            self._add(Retried(step, attempt, wait, problem_of_retry(event)))
        return None

    def _check(self, evaluation: dg.AssetCheckEvaluation) -> None:
        if evaluation.passed or evaluation.check_name == CHECK_FRESHNESS:
            return
        findings = getattr(evaluation.metadata.get("findings"), "value", None)
        missing = getattr(evaluation.metadata.get("missing"), "value", None)
        self._add(
            CheckFailed(
                evaluation.asset_key.to_user_string(),
                evaluation.check_name,
                evaluation.severity == dg.AssetCheckSeverity.ERROR,
                evaluation.description or "",
                findings if findings is not None else missing,
            )
        )

    def _add(self, happening: Happening) -> None:
        if len(self.happenings) < MOST_HAPPENINGS:
            self.happenings.append(happening)


def made_by(
    instance: dg.DagsterInstance, run_id: str, asset: str, partition: str | None
) -> Made | None:
    """What the run says of the last partition of an asset that it stored, None if it is lost."""
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(
            asset_key=dg.AssetKey(asset.split("/")),
            asset_partitions=[partition] if partition else None,
        ),
        limit=CANDIDATES,
    ).records
    for record in records:
        materialization = record.asset_materialization
        if record.event_log_entry.run_id == run_id and materialization is not None:
            return Made.of(materialization.metadata)
    return None


def picture_of(metadata: Mapping[str, Any]) -> bytes | None:
    """The PNG that an asset's metadata carries, None without one."""
    picture = metadata.get("picture")
    text = picture.md_str or "" if isinstance(picture, dg.MarkdownMetadataValue) else ""
    if _PICTURE_BEFORE not in text:
        return None
    encoded = text.split(_PICTURE_BEFORE, 1)[1].rsplit(_PICTURE_AFTER, 1)[0]
    return base64.b64decode(encoded)
