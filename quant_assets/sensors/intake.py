"""From messages to runs, dead letters and refusals. What belongs here: pure functions.

Each message ends as exactly one of: part of a run, a repeat of a request that has one, or a dead
letter. A request that could be read and not be served is also answered, so that nobody waits.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from quant_assets.events.dead_letters import DeadLetter, attempt_of, first_seen
from quant_assets.events.envelope import BadEventError, Event, EventDecoder, derived_id, event
from quant_assets.events.payloads import Failed
from quant_assets.events.reading import Record
from quant_assets.events.requests import RequestTag, content_digest
from quant_assets.events.topics import FAILED_TYPE
from quant_assets.sensors.routing import RefusedRequestError, Router, Routes, RunPlan

REQUESTS_PER_RUN = 50
"""Requests that share one run: each is a run tag."""

KnownRequests = Callable[[Collection[str]], Mapping[str, Sequence[RequestTag]]]
"""The tags that runs have for some request ids."""


@dataclass
class PlannedRun:
    """A run and the requests that it serves, by event id, in the order they came."""

    job: str
    first: str
    last: str
    requests: dict[str, RequestTag] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Equal whenever the same first request asks again."""
        event_id, tag = next(iter(self.requests.items()))
        return f"{event_id}:{tag.attempt}"


class Intake(NamedTuple):
    """What becomes of the first ``taken`` messages; the others have to wait."""

    runs: list[PlannedRun]
    letters: list[DeadLetter]
    refusals: list[tuple[str, Event[Any]]]
    repeated: int
    taken: int


class _Request(NamedTuple):
    record: Record
    event: Event[Any]
    attempt: int


def take_in(
    records: Sequence[Record],
    *,
    decoder: EventDecoder,
    router: Router,
    known: KnownRequests,
    free_runs: int,
    now: datetime,
) -> Intake:
    """Decide about ``records`` in their order, with room for ``free_runs`` more runs.

    Stops before the first message that needs a run for which there is no room. Requests behind it
    that can share one of the runs join it; when their turn comes they are known.
    """
    read = [_read(record, decoder, now) for record in records]
    tags = known({str(item.event.event_id) for item in read if isinstance(item, _Request)})
    state = _State(tags, router.at(now), now)
    for position, item in enumerate(read):
        if isinstance(item, DeadLetter):
            state.letters.append(item)
        elif not state.take(item, free_runs):
            for later in read[position + 1 :]:
                if isinstance(later, _Request):
                    state.join(later)
            return state.intake(position)
    return state.intake(len(records))


class _State:
    def __init__(
        self, tags: Mapping[str, Sequence[RequestTag]], routes: Routes, now: datetime
    ) -> None:
        self.tags = {event_id: list(found) for event_id, found in tags.items()}
        self.routes = routes
        self.now = now
        self.runs: list[PlannedRun] = []
        self.letters: list[DeadLetter] = []
        self.refusals: list[tuple[str, Event[Any]]] = []
        self.repeated = 0

    def intake(self, taken: int) -> Intake:
        return Intake(self.runs, self.letters, self.refusals, self.repeated, taken)

    def take(self, request: _Request, free_runs: int) -> bool:
        """Deal with a request; False if it needs a run and there is no room."""
        if earlier := self._earlier(request):
            self._repeat(request, earlier)
            return True
        try:
            plan = self._plan(request)
        except RefusedRequestError as error:
            self.letters.append(letter(request.record, error, self.now))
            self.refusals.append(_refusal(request, error, self.now))
            return True
        run = self._planned(plan)
        if run is None:
            if len(self.runs) >= free_runs:
                return False
            run = PlannedRun(plan.job, plan.first, plan.last)
            self.runs.append(run)
        self._add(request, plan, run)
        return True

    def join(self, request: _Request) -> None:
        """Let a request share a planned run, if there is one for what it asks."""
        if self._earlier(request):
            return
        try:
            plan = self._plan(request)
        except RefusedRequestError:
            return  # its turn comes
        if (run := self._planned(plan)) is not None:
            self._add(request, plan, run)

    def _plan(self, request: _Request) -> RunPlan:
        """The run for a request; whatever goes wrong with one must not hold up the others."""
        try:
            return self.routes.plan(request.event, attempt=request.attempt)
        except RefusedRequestError:
            raise
        except Exception as error:
            reason = f"the request cannot be worked out: {type(error).__name__}: {error}"
            raise RefusedRequestError("unexpected", reason) from error

    def _earlier(self, request: _Request) -> list[RequestTag]:
        """The same request, or a later attempt of it, where a run has it."""
        tags = self.tags.get(str(request.event.event_id), ())
        return [tag for tag in tags if tag.attempt >= request.attempt]

    def _add(self, request: _Request, plan: RunPlan, run: PlannedRun) -> None:
        event_id = str(request.event.event_id)
        tag = RequestTag.of(request.event, request.record.origin, request.attempt, plan.symbols)
        run.requests[event_id] = tag
        self.tags.setdefault(event_id, []).append(tag)

    def _repeat(self, request: _Request, earlier: Sequence[RequestTag]) -> None:
        if any(tag.digest == content_digest(request.event) for tag in earlier):
            self.repeated += 1
            return
        error = BadEventError(
            "id_reused",
            f"eventId {request.event.event_id} was used for another content "
            f"({earlier[0].event_type} at {earlier[0].origin}); each request needs its own",
        )
        self.letters.append(letter(request.record, error, self.now))

    def _planned(self, plan: RunPlan) -> PlannedRun | None:
        """A planned run for the same partitions that has room for one more request."""
        for run in self.runs:
            is_same = (run.job, run.first, run.last) == (plan.job, plan.first, plan.last)
            if is_same and len(run.requests) < REQUESTS_PER_RUN:
                return run
        return None


def _read(record: Record, decoder: EventDecoder, now: datetime) -> _Request | DeadLetter:
    try:
        found = decoder.decode(record.topic, record.value)
    except BadEventError as error:
        return letter(record, error, now)
    return _Request(record, found, attempt_of(record.headers))


def letter(record: Record, error: BadEventError | RefusedRequestError, now: datetime) -> DeadLetter:
    """The dead letter of a message."""
    return DeadLetter(
        origin=record.origin,
        code=error.code,
        reason=str(error),
        error_class=type(error).__name__,
        value=record.value,
        key=record.key,
        attempts=attempt_of(record.headers),
        first_at=first_seen(record.headers, record.sent_at),
        last_at=now,
    )


def _refusal(
    request: _Request, error: RefusedRequestError, now: datetime
) -> tuple[str, Event[Any]]:
    """The answer to a request that cannot be served, with its key."""
    asked = request.event
    request_id = str(asked.event_id)
    failed_type = FAILED_TYPE[asked.event_type]
    payload = Failed(
        request_id=request_id,
        thread_ts=asked.payload.thread_ts,
        channel=asked.payload.channel,
        error_type=type(error).__name__,
        message=str(error),
    )
    identity = derived_id(request_id, failed_type, f"refused:{request.attempt}")
    return request_id, event(failed_type, payload, event_id=identity, timestamp=now)
