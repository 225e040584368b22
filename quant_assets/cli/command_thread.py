"""``quant run`` in Slack. What belongs here: one thread for a whole command, and its delivery.

The command's runs are told here and not one by one: a first fill has a dozen of them. What was
told is kept in memory, since nobody continues a command that was stopped.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from quant_assets.cli.execute import Outcome
from quant_assets.cli.pictures import recommendation_picture
from quant_assets.cli.spans import Span
from quant_assets.errors import BadDataError, TransientError
from quant_assets.hooks.answers import stored_rows
from quant_assets.hooks.thread import (
    BAD,
    DOUBTFUL,
    GOOD,
    SEPARATOR,
    WAITING,
    duration,
    foreign,
    job_title,
    run_link,
)
from quant_assets.hooks.thread_tables import label_counts, recommendation_blocks
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.markets import Market
from quant_assets.notices.message import bold, code, message, section
from quant_assets.notices.thread import Picture, Post, ThreadState, ThreadView
from quant_assets.resources.slack import courier_to
from quant_assets.settings import Settings
from quant_assets.vendors.slack import SlackRefusedError

if TYPE_CHECKING:
    import dagster as dg

    from quant_assets.vendors.slack import SlackConnection

LAST_WAIT_SECONDS = 10.0
LOOK_SECONDS = 0.5
LOG = logging.getLogger(__name__)


class CommandThread:
    """What a command says: a line, a reply for each task, and the recommendations at the end."""

    def __init__(self, values: Settings, spans: Sequence[Span]) -> None:
        self._values = values
        self._title = _title(spans)
        self._key = f"quant-run {uuid.uuid4()}"
        self._started = time.monotonic()
        self._tasks = self._failed = 0
        self._done = 0
        self._posts: list[Post] = []
        self._ended = ""
        self._state = ThreadState()
        self._changed = threading.Event()
        self._mutex = threading.Lock()
        self._worker: threading.Thread | None = None

    def planned(self, tasks: int) -> None:
        """So many tasks more are to be done; the first ones begin the thread."""
        with self._mutex:
            self._tasks += tasks
        connection = self._values.slack() if tasks and self._worker is None else None
        if connection is not None:
            self._worker = threading.Thread(
                target=self._deliver, args=(connection,), name="slack-command", daemon=True
            )
            self._worker.start()
        self._changed.set()

    def ended(self, outcome: Outcome) -> None:
        """A task has ended."""
        with self._mutex:
            self._done += 1
            self._failed += bool(outcome.reason)
            self._posts.append(_task_post(f"t{self._done}", outcome, self._values))
        self._changed.set()

    def recommended(
        self, market: Market, session: str, store: ParquetStore, instance: dg.DagsterInstance
    ) -> None:
        """Add the newest recommendations of a market."""
        if self._worker is None:
            return
        post = _recommendation_post(self._values, market, session, store, instance)
        with self._mutex:
            self._posts.append(post)
        self._changed.set()

    def close(self, *, is_stopped: bool = False) -> None:
        """End the thread and wait for Slack, not for long."""
        with self._mutex:
            word = "stopped after" if is_stopped else "done in"
            self._ended = f"{word} {duration(time.monotonic() - self._started)}"
        self._changed.set()
        if self._worker is None:
            return
        self._worker.join(LAST_WAIT_SECONDS)
        if not self._state.is_done:
            LOG.warning("Slack did not take the end of this command's thread: it stays as it is")

    def view(self) -> ThreadView:
        """The thread as it should be now."""
        with self._mutex:
            sign = WAITING
            if self._ended:
                sign = GOOD if self._done == self._tasks and not self._failed else BAD
            count = f"{self._done} of {self._tasks} task{'' if self._tasks == 1 else 's'}"
            parts = [f"{sign} {bold(self._title)}: {count}"]
            if self._failed:
                parts.append(f"{self._failed} failed")
            if self._ended:
                parts.append(self._ended)
            text = SEPARATOR.join(parts)
            return ThreadView(
                key=self._key,
                channel=self._values.slack_channel,
                line=message(section(text), text=text),
                posts=tuple(self._posts),
                is_ended=bool(self._ended),
            )

    def _deliver(self, connection: SlackConnection) -> None:
        courier = courier_to(connection, LOG)
        is_refused = False
        while not (self._state.is_done or self._state.problem):
            self._changed.wait(LOOK_SECONDS)
            self._changed.clear()
            view, before = self.view(), self._state
            try:
                self._state = courier.deliver(view, before, self._keep)
                is_refused = is_refused and self._state == before
            except SlackRefusedError:
                is_refused = True
            except TransientError:
                continue
            except Exception:
                LOG.exception("quant run is not told in Slack")
                return
            if is_refused and view.is_ended:
                return

    def _keep(self, state: ThreadState) -> None:
        self._state = state


@contextmanager
def command_thread(values: Settings, spans: Sequence[Span]) -> Iterator[CommandThread]:
    """The thread of a command; a command that is stopped says so."""
    thread = CommandThread(values, spans)
    try:
        yield thread
    except BaseException:
        thread.close(is_stopped=True)
        raise
    thread.close()


def _title(spans: Sequence[Span]) -> str:
    markets = ", ".join(span.market.key.upper() for span in spans)
    first = min(span.sessions[0] for span in spans)
    last = max(span.sessions[-1] for span in spans)
    return f"quant run: {markets} {first}" + (f" .. {last}" if last != first else "")


def _task_post(key: str, outcome: Outcome, values: Settings) -> Post:
    task = outcome.task
    span = task.first if task.first == task.last else f"{task.first} .. {task.last}"
    sign = BAD if outcome.reason else DOUBTFUL if outcome.failed_checks else GOOD
    count = f"{task.partitions:,} partition{'' if task.partitions == 1 else 's'}"
    parts = [f"{sign} {bold(f'{job_title(task.job)} {span}')}", count, duration(outcome.seconds)]
    lead = SEPARATOR.join(parts)
    lines = [SEPARATOR.join([lead, run_link(outcome.run_id, values)])]
    lines += [f"{DOUBTFUL} check {code(check)} not passed" for check in outcome.failed_checks]
    if outcome.reason:
        lines.append(foreign(outcome.reason, values))
    return Post(key, message(section("\n".join(lines)), text=lead))


def _recommendation_post(
    values: Settings,
    market: Market,
    session: str,
    store: ParquetStore,
    instance: dg.DagsterInstance,
) -> Post:
    key, title = f"e-{market.key}", f"{market.name} {session}"
    try:
        rows = stored_rows(store, f"{market.key}/recommendations", session)
    except BadDataError as error:
        text = f"{BAD} {bold(title)} {foreign(str(error), values)}"
        return Post(key, message(section(text), text=f"{title}: not readable"))
    names: Mapping[str, str] = {one.symbol: one.name for one in values.universe(market.key)}
    lead = SEPARATOR.join(filter(None, (bold(title), label_counts(rows))))
    content = recommendation_picture(instance, market.key, session)
    name = f"{market.key}_recommendations_{session}.png"
    picture = None if content is None else Picture(name, title, lambda: content)
    blocks = recommendation_blocks("", rows, names)
    return Post(key, message(section(lead), *blocks, text=lead), picture)
