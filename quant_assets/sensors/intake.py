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
    read = [_read(record, decoder) for record in records]
    tags = known({str(item.event.event_id) for item in read if isinstance(item, _Request)})
    state = _State(tags, router.at(now), now)
    for position, item in enumerate(read):
        if isinstance(item, _Unreadable):
            state.refuse(item)
        elif not state.take(item, free_runs):
            for later in read[position + 1 :]:
                if isinstance(later, _Request):
                    state.join(later)
            return state.intake(position)
    return state.intake(len(records))


class _Unreadable(NamedTuple):
    record: Record
    error: BadEventError
    event_type: str


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

    def refuse(self, message: _Unreadable) -> None:
        """Bury a message that is no request; its sender is told if it says who it is."""
        self.letters.append(letter(message.record, message.error, self.now))
        if message.error.event_id is not None:
            told = _refusal(
                message.event_type,
                str(message.error.event_id),
                message.error,
                self.now,
                str(message.record.origin),
            )
            self.refusals.append(told)

    def take(self, request: _Request, free_runs: int) -> bool:
        """Deal with a request; False if it needs a run and there is no room."""
        if earlier := self._earlier(request):
            self._repeat(request, earlier)
            return True
        try:
            plan = self._plan(request)
        except RefusedRequestError as error:
            self.letters.append(letter(request.record, error, self.now))
            asked = request.event
            told = _refusal(
                asked.event_type,
                str(asked.event_id),
                error,
                self.now,
                str(request.attempt),
                thread_ts=asked.payload.thread_ts,
                channel=asked.payload.channel,
            )
            self.refusals.append(told)
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
            request.event.event_id,
        )
        self.refuse(_Unreadable(request.record, error, request.event.event_type))

    def _planned(self, plan: RunPlan) -> PlannedRun | None:
        """A planned run for the same partitions that has room for one more request."""
        for run in self.runs:
            is_same = (run.job, run.first, run.last) == (plan.job, plan.first, plan.last)
            if is_same and len(run.requests) < REQUESTS_PER_RUN:
                return run
        return None


def _read(record: Record, decoder: EventDecoder) -> _Request | _Unreadable:
    try:
        found = decoder.decode(record.topic, record.value)
    except BadEventError as error:
        return _Unreadable(record, error, decoder.event_type(record.topic))
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
    event_type: str,
    request_id: str,
    error: BadEventError | RefusedRequestError,
    now: datetime,
    entity: str,
    **thread: str | None,
) -> tuple[str, Event[Any]]:
    """The answer to a request that cannot be served, with its key."""
    failed_type = FAILED_TYPE[event_type]
    payload = Failed(
        request_id=request_id,
        error_type=type(error).__name__,
        message=str(error),
        thread_ts=thread.get("thread_ts"),
        channel=thread.get("channel"),
    )
    identity = derived_id(request_id, failed_type, f"refused:{entity}")
    return request_id, event(failed_type, payload, event_id=identity, timestamp=now)
