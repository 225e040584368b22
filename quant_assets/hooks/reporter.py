"""Telling runs in Slack. What belongs here: following runs, and how far each is told.

One code path for the sensor, which follows every run, and for the companion of a run. What was told
stands in the instance's key-value storage and not in the run's tags: Dagster rewrites a run whole
when it adds a tag, so that a tag written in the moment in which the run ends takes others away.
"""

import hashlib
import logging
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg
import msgspec

from quant_assets import naming
from quant_assets.errors import BadDataError, TransientError
from quant_assets.hooks.answers import stored_rows
from quant_assets.hooks.outcomes import assets_of_run
from quant_assets.hooks.runs import finished_runs, partitions_of, predecessors
from quant_assets.hooks.thread import Target, run_thread, targets_of
from quant_assets.hooks.thread_facts import KINDS, RunFacts, made_by
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.jobs import NEWS_STREAM
from quant_assets.notices.thread import ThreadState
from quant_assets.resources.slack import courier_to, thread_locks
from quant_assets.settings import Settings
from quant_assets.vendors.slack import SlackConnection, SlackRefusedError

RECORDS_A_READ = 1_000
RUNS_A_LOOK = 200
GIVE_UP = timedelta(hours=24)
"""A run that ended longer ago is not told any more."""
OVERLAP = timedelta(minutes=5)
"""Scanned again at the start: a change may become visible after a later one, and clocks differ."""
SHORT_OVERLAP = timedelta(seconds=10)
STATES = "quant/slack"
"""What the names of the kept states begin with."""
_NEVER = datetime.min.replace(tzinfo=UTC)
UNDER_WAY = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


@dataclass
class _Followed:
    """A run, how far it is read, and what was kept of its threads."""

    facts: RunFacts
    chain: list[str]
    """Ids of the runs that it repeats, the latest first."""
    cursor: str | None = None
    stored: set[str] = field(default_factory=set)
    """Assets whose materialization is not read yet."""

    @property
    def key(self) -> str:
        """Id of the run that the thread began with."""
        return self.chain[-1] if self.chain else self.facts.run.run_id


class Reporter:
    """Tells runs. Never raises for what Slack does; one run does not hold up another."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        settings: Settings,
        connection: SlackConnection,
        log: logging.Logger,
    ) -> None:
        self._instance = instance
        self._settings = settings
        self._courier = courier_to(connection, log)
        self._log = log
        self._store = ParquetStore(settings.data_place, settings.profile)
        self._locks = thread_locks(settings.home_dir)
        self._states = instance.daemon_cursor_storage
        self._followed: dict[str, _Followed] = {}
        self._open: dict[str, datetime | None] = {}
        self._told: set[str] = set()
        self._broken: set[str] = set()
        self._found_at = _NEVER
        self._is_refused = False

    @property
    def told_until(self) -> datetime:
        """The time up to which all is told: that of the first ended run that is not."""
        return min([self._found_at, *(at for at in self._open.values() if at is not None)])

    @property
    def is_refused(self) -> bool:
        """Whether Slack has not accepted the token."""
        return self._is_refused

    def has_ended(self, run_id: str) -> bool:
        """Whether a run had ended when it was last looked at."""
        followed = self._followed.get(run_id)
        return followed is not None and followed.facts.is_ended

    def summary(self) -> str:
        """What was done, for the tick's page."""
        told = f"told {len(self._told)} run(s)" if self._told else "every run is told"
        return f"{told}; {len(self._open)} not to the end yet" if self._open else told

    def find(self, since: datetime) -> None:
        """Look for runs under way and for those that ended after ``since``."""
        now = datetime.now(UTC)
        lower = since - OVERLAP if self._found_at is _NEVER else self._found_at - SHORT_OVERLAP
        for record in self._instance.get_run_records(
            dg.RunsFilter(statuses=UNDER_WAY), limit=RUNS_A_LOOK
        ):
            self._note(record.dagster_run, None)
        for record in finished_runs(self._instance, lower, now):
            ended = datetime.fromtimestamp(record.end_time or 0.0, UTC)
            if record.end_time is None or now - ended < GIVE_UP:
                self._note(record.dagster_run, record.update_timestamp)
        self._found_at = now

    def step(self, run_ids: Collection[str] | None = None, until: float | None = None) -> bool:
        """Tell what is new of ``run_ids``, else of every run that was found; whether all is told.

        ``until`` is a moment of ``time.monotonic`` after which no run is begun.
        """
        is_all = True
        for run_id in list(self._open) if run_ids is None else run_ids:
            if until is not None and time.monotonic() >= until:
                return False
            try:
                is_told = self._tell(run_id, until)
            except SlackRefusedError:
                self._is_refused = True
                return False
            if is_told:
                self._open.pop(run_id, None)
            is_all = is_all and is_told
        return is_all

    def _note(self, run: dg.DagsterRun, ended: datetime | None) -> None:
        run_id = run.run_id
        if run_id in self._told or not is_told_of(run) or self._is_settled(run):
            self._open.pop(run_id, None)
        elif self._open.get(run_id) is None:
            self._open[run_id] = ended

    def _tell(self, run_id: str, until: float | None) -> bool:
        """Tell a run; whether nothing of it is left to tell."""
        if run_id in self._told:
            return True
        try:
            followed = self._follow(run_id)
            is_told = followed is None or self._tell_in_turn(followed, until)
        except SlackRefusedError:
            raise
        except TransientError:
            return False
        except Exception:  # noqa: BLE001  a fault of one run does not hold up the others
            self._log.log(self._level(run_id), "run %s: could not be told", run_id, exc_info=True)
            return False
        if is_told:
            self._told.add(run_id)
            self._followed.pop(run_id, None)
        return is_told

    def _level(self, run_id: str) -> int:
        """A fault is an error once; the run is tried again and again."""
        is_known = run_id in self._broken
        self._broken.add(run_id)
        return logging.DEBUG if is_known else logging.ERROR

    def _follow(self, run_id: str) -> _Followed | None:
        if run_id not in self._followed:
            run = self._instance.get_run_by_id(run_id)
            if run is None or not is_told_of(run):
                return None
            chain = [before.run_id for before in predecessors(self._instance, run)]
            self._followed[run_id] = _Followed(RunFacts(run), chain)
        return self._followed[run_id]

    def _tell_in_turn(self, followed: _Followed, until: float | None) -> bool:
        """Tell the run once the one that it repeats is told: both write into one thread."""
        for before in followed.chain[:1]:
            if not self._is_past(before) and not self._tell(before, until):
                return False
        with self._locks.hold(followed.key) as is_mine:
            return is_mine and self._tell_alone(followed, until)

    def _is_past(self, run_id: str) -> bool:
        """Whether a run ended so long ago, or goes on so strangely, that nobody waits for it."""
        if run_id in self._told:
            return True
        record = self._instance.get_run_record_by_id(run_id)
        if record is None or not record.dagster_run.is_finished:
            return True
        age = datetime.now(UTC) - record.update_timestamp
        return age > GIVE_UP or self._is_settled(record.dagster_run)

    def _tell_alone(self, followed: _Followed, until: float | None) -> bool:
        run = self._instance.get_run_by_id(followed.facts.run.run_id)
        if run is None or self._is_settled(run):
            return True
        self._read(followed, run)
        is_told = True
        for name, target in _named(run, self._settings):
            state = self._deliver(followed, name, target, until)
            is_told = is_told and (state.is_done or bool(state.problem))
        return is_told and followed.facts.is_ended

    def _deliver(
        self, followed: _Followed, name: str, target: Target, until: float | None
    ) -> ThreadState:
        view = run_thread(followed.facts, target, self._settings, followed.key)
        state = self._state(followed, name)

        def keep(new: ThreadState) -> None:
            self._states.set_cursor_values({_place(name, followed.facts.run.run_id): new.encode()})

        return self._courier.deliver(view, state, keep, until=until)

    def _state(self, followed: _Followed, name: str) -> ThreadState:
        """What was told of the run in a thread; at its beginning what its predecessor leaves.

        Read each time: another process may have told something until a moment ago.
        """
        own, *earlier = [_place(name, run) for run in (followed.facts.run.run_id, *followed.chain)]
        kept = self._states.get_cursor_values({own, *earlier})
        if own in kept:
            return ThreadState.parse(kept[own])
        before = next((kept[place] for place in earlier if place in kept), None)
        return ThreadState() if before is None else _continued(ThreadState.parse(before))

    def _is_settled(self, run: dg.DagsterRun) -> bool:
        """Whether all of an ended run is told, or given up."""
        if not run.is_finished:
            return False
        places = {_place(name, run.run_id) for name, _ in _named(run, self._settings)}
        states = [ThreadState.parse(t) for t in self._states.get_cursor_values(places).values()]
        return len(states) == len(places) and all(s.is_done or s.problem for s in states)

    def _read(self, followed: _Followed, run: dg.DagsterRun) -> None:
        """Add what is new of a run; ``run`` was read before its events."""
        facts = followed.facts
        facts.run = run
        has_more = True
        while has_more:
            page = self._instance.get_records_for_run(
                run.run_id, cursor=followed.cursor, of_type=KINDS, limit=RECORDS_A_READ
            )
            taken = [facts.take(record.event_log_entry) for record in page.records]
            followed.cursor, has_more = page.cursor, page.has_more
            followed.stored.update(asset for asset in taken if asset)
        last = partitions_of(run)[1]
        for asset in list(followed.stored):
            made = made_by(self._instance, run.run_id, asset, last)
            if made is not None:
                facts.made[asset] = made
            followed.stored.discard(asset)
        if run.is_finished and facts.ended_at is None:
            facts.ended_at = time.time()
        if run.status == dg.DagsterRunStatus.SUCCESS:
            self._load_rows(facts)

    def _load_rows(self, facts: RunFacts) -> None:
        for asset in facts.recommended:
            if asset in facts.rows or facts.rows_problem:
                continue
            try:
                facts.rows[asset] = stored_rows(self._store, asset, partitions_of(facts.run)[1])
            except BadDataError as error:
                facts.rows_problem = str(error)


def is_told_of(run: dg.DagsterRun) -> bool:
    """Whether a run has a thread.

    One without assets has none, nor has the storing of streamed articles; the runs of ``quant run``
    are told by the command, but one that repeats such a run has nothing but its tags. Those of
    ``quant job`` name it and are told one by one.
    """
    assets = set(assets_of_run(run))
    tags = run.tags
    is_of_command = naming.TAG_PID in tags and naming.TAG_COMMAND not in tags
    is_of_command = is_of_command and run.parent_run_id is None
    return bool(assets - set(NEWS_STREAM.assets)) and not is_of_command


def _place(name: str, run_id: str) -> str:
    """Where the state of a thread of a run is kept."""
    return f"{name}:{run_id}"


def _continued(state: ThreadState) -> ThreadState:
    """The state with which a repetition begins: the same thread and line, none of its replies."""
    if state.problem:
        return ThreadState()
    return msgspec.structs.replace(state, posted=(), is_pending=False, is_done=False)


def _named(run: dg.DagsterRun, settings: Settings) -> Iterator[tuple[str, Target]]:
    """The threads of a run, each with the name of its state."""
    first, *others = targets_of(run, settings)
    yield STATES, first
    for target in others:
        name = f"{target.channel} {target.thread_ts}".encode()
        yield f"{STATES}:{hashlib.blake2b(name, digest_size=4).hexdigest()}", target
