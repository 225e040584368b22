"""One thread, compared and completed. What belongs here: what is sent next, never twice, in order.

Before anything is posted the state is kept with ``is_pending`` and with the keys of the message,
each after a ``?``; after Slack's answer it is kept without. Where the outcome is unknown, or its
process died in between, Slack is asked which of the keys are there. If Slack does not let us look
they count as posted: at most once. An edit needs no such care, it may be made twice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from quant_assets.errors import TransientError
from quant_assets.notices.message import Message, joined
from quant_assets.notices.pace import Pace
from quant_assets.notices.thread import Post, ThreadState, ThreadView
from quant_assets.notices.troubles import Troubles
from quant_assets.notices.untold import (
    digest_of,
    file_name,
    first_untold,
    is_there,
    picture_key,
    told_together,
)
from quant_assets.vendors.slack import (
    MALFORMED_CONTENT,
    UNAUTHORIZED,
    SlackClient,
    SlackRefusedError,
    UnknownOutcomeError,
)

LINE_KEY = "line"
_PENDING_MARK = "?"
_LINE_IS_GONE = "-"
_CHANNEL_IS_GONE = frozenset({"channel_not_found", "not_in_channel", "is_archived"})
_THREAD_IS_GONE = _CHANNEL_IS_GONE | {"thread_not_found"}
_LONGEST_PROBLEM = 200
_Answer = TypeVar("_Answer")


class _NoLookError(Exception):
    """Slack does not let us look; ``refusal`` says why."""

    def __init__(self, refusal: SlackRefusedError) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


@dataclass
class Delivery:
    """One call of ``Courier.deliver``."""

    client: SlackClient
    pace: Pace
    troubles: Troubles
    view: ThreadView
    state: ThreadState
    keep: Callable[[ThreadState], None]
    is_own: bool = False
    """Whether the thread or the channel that the view names is not to be had."""

    @property
    def home(self) -> str:
        """The channel in which a thread of our own is begun then."""
        return self.view.home or self.view.channel

    @property
    def channel(self) -> str:
        """Id of the channel once it is known, before that what the view calls it."""
        return self.state.channel or (self.home if self.is_own else self.view.channel)

    @property
    def _place(self) -> str:
        """What the channel is called in the log."""
        return self.channel if self.home != self.view.channel else self.view.channel

    @property
    def foreign_ts(self) -> str:
        """The thread of somebody else that is written into, empty for our own."""
        if self.is_own:
            return ""
        if self.state.thread_ts:
            is_ours = self.state.thread_ts == self.state.line_ts
            return "" if is_ours else self.state.thread_ts
        return self.view.thread_ts

    def step(self) -> bool:
        """Do the next thing; False if there is none, or none that the pace allows."""
        if self.state.is_pending:
            if not self.pace.may_settle(self.view.key):
                return False
            self._settle()
            self.pace.settled(self.view.key)
            return True
        if not self.state.line_ts:
            return self._begin()
        if self._is_line_old() and self._may_edit():
            self._edit(self.view.line)
            return True
        return self._reply()

    def concluded(self) -> ThreadState:
        """The state, with whether all is told."""
        is_done = self.view.is_ended and not (
            self.state.is_pending
            or self.state.problem
            or not self.state.line_ts
            or self._is_line_old()
            or first_untold(self.view, self.state.posted) is not None
        )
        if is_done != self.state.is_done:
            self._keep(is_done=is_done)
        return self.state

    def _keep(self, **changes: Any) -> None:
        changed = msgspec.structs.replace(self.state, **({"is_done": False} | changes))
        if changed != self.state:
            self.keep(changed)
            self.state = changed

    def _begin(self, *, is_urgent: bool = False) -> bool:
        """Post the line: as the root, or as the first reply in a thread of somebody else."""
        if not (is_urgent or self.pace.may_post(self.channel)):
            return False
        below = self.foreign_ts
        try:
            channel, ts = self._post(self.view.line, (LINE_KEY,), below, self.state.posted)
        except SlackRefusedError as error:
            self._thread_refused(error)
            return True
        self.pace.appeared(channel, ts)
        self._keep(
            channel=channel,
            thread_ts=below or ts,
            line_ts=ts,
            line_hash=digest_of(self.view.line),
            is_pending=False,
        )
        return True

    def _reply(self) -> bool:
        """Post what comes next: as many posts as fit into one message, or a picture."""
        first = first_untold(self.view, self.state.posted)
        if first is None:
            return False
        if self.view.posts[first].key in self.state.posted:
            self._upload(self.view.posts[first])
            return True
        if not self.pace.may_post(self.channel):
            return False
        waiting = told_together(self.view, self.state.posted, first)
        keys = tuple(post.key for post in waiting)
        told = (*self.state.posted, *keys)
        pending = (*self.state.posted, *(f"{_PENDING_MARK}{key}" for key in keys))
        (whole,) = joined([post.message for post in waiting])
        try:
            channel, _ = self._post(whole, keys, self.state.thread_ts, pending)
        except SlackRefusedError as error:
            if error.code in MALFORMED_CONTENT:
                self._keep(posted=told)
            else:
                self._thread_refused(error)
            return True
        self._keep(channel=channel, posted=told, is_pending=False)
        return True

    def _post(
        self, content: Message, keys: Sequence[str], below: str, pending: tuple[str, ...]
    ) -> tuple[str, str]:
        """Post one message; what Slack does not take with blocks is posted as plain text."""
        before = self.state
        self._keep(posted=pending, is_pending=True)
        self.pace.posts(self.channel)
        try:
            answer = self.client.post(
                self.channel,
                content.text,
                content.blocks,
                thread_ts=below,
                thread=self.view.key,
                keys=keys,
            )
        except UnknownOutcomeError as error:
            self.troubles.failed("post", self._place, error)
            raise
        except TransientError as error:
            self._keep(posted=before.posted, is_pending=False)
            self.troubles.failed("post", self._place, error)
            raise
        except SlackRefusedError as error:
            self._keep(posted=before.posted, is_pending=False)
            if error.code not in MALFORMED_CONTENT:
                self.troubles.refused("post", self._place, error, self._way_out(error))
                raise
            if not content.blocks:
                result = f"left out of the thread {self.view.key}"
                self.troubles.refused("content", self._place, error, result)
                raise
            self.troubles.refused("content", self._place, error, "told as plain text")
            return self._post(Message(content.text), keys, below, pending)
        self.pace.call(self._place, answer[0])
        self.troubles.worked("post", self._place)
        return answer

    def _edit(self, line: Message) -> None:
        """Bring the line up to date; a line that somebody deleted stays deleted."""
        self.pace.updates(self.channel, self.state.line_ts)
        try:
            self.client.update(
                self.channel,
                self.state.line_ts,
                line.text,
                line.blocks,
                thread=self.view.key,
                keys=(LINE_KEY,),
            )
        except TransientError as error:
            self.troubles.failed("update", self._place, error)
            raise
        except SlackRefusedError as error:
            self._edit_refused(line, error)
            return
        self._keep(line_hash=digest_of(self.view.line))
        self.troubles.worked("update", self._place)

    def _edit_refused(self, line: Message, error: SlackRefusedError) -> None:
        if error.code in UNAUTHORIZED:
            self.troubles.refused("update", self._place, error, "")
            raise error
        if error.code in _CHANNEL_IS_GONE:
            self.troubles.refused("update", self._place, error, self._way_out(error))
            self._thread_refused(error)
        elif error.code in MALFORMED_CONTENT and line.blocks:
            self.troubles.refused("content", self._place, error, "told as plain text")
            self._edit(Message(line.text))
        elif error.code in MALFORMED_CONTENT:
            self.troubles.refused("content", self._place, error, "left as it was")
            self._keep(line_hash=digest_of(self.view.line))
        else:
            self.troubles.refused("update", self._place, error, "the line stays as it is")
            self._keep(line_hash=_LINE_IS_GONE)

    def _upload(self, post: Post) -> None:
        """Upload the picture of a post; one that cannot be had or is refused is left out."""
        before, told = self.state.posted, (*self.state.posted, picture_key(post.key))
        content = self._drawn(post)
        if not content or post.picture is None:
            self._keep(posted=told)
            return
        self._keep(posted=(*before, _PENDING_MARK + picture_key(post.key)), is_pending=True)
        self.pace.posts(self.channel)
        name = file_name(self.view.key, post.key, post.picture.name)
        try:
            self.client.upload(
                self.channel, self.state.thread_ts, name, post.picture.title, content
            )
        except UnknownOutcomeError as error:
            self.troubles.failed("picture", self._place, error)
            raise
        except TransientError as error:
            self._keep(posted=before, is_pending=False)
            self.troubles.failed("picture", self._place, error)
            raise
        except SlackRefusedError as error:
            is_unauthorized = error.code in UNAUTHORIZED
            self._keep(posted=before if is_unauthorized else told, is_pending=False)
            self.troubles.refused("picture", self._place, error, "told without pictures")
            if is_unauthorized:
                raise
            return
        self._keep(posted=told, is_pending=False)
        self.troubles.worked("picture", self._place)

    def _drawn(self, post: Post) -> bytes:
        """The picture's bytes; none if it cannot be made."""
        if post.picture is None:
            return b""
        try:
            return post.picture.content()
        except Exception as error:  # noqa: BLE001  whatever is wrong with a picture, the rest is told
            kind = type(error).__name__
            text = f"the picture {post.picture.name} cannot be made ({kind}: {error}); left out"
            self.troubles.complain("drawing", self._place, kind, text)
            return b""

    def _way_out(self, error: SlackRefusedError) -> str:
        is_left = self._may_move(error)
        return "a thread of its own is begun" if is_left else "the thread is given up"

    def _may_move(self, error: SlackRefusedError) -> bool:
        """Whether a thread of our own in ``home`` is still to be had."""
        is_channel_gone = error.code in _CHANNEL_IS_GONE and self.home != self.view.channel
        return bool(self.foreign_ts) or (is_channel_gone and not self.is_own)

    def _thread_refused(self, error: SlackRefusedError) -> None:
        """Begin a thread of our own in place of the one that is not to be had, or give it up."""
        if error.code in UNAUTHORIZED:
            raise error
        if not self._may_move(error):
            self._keep(problem=str(error)[:_LONGEST_PROBLEM])
            return
        self.is_own = True
        self._keep(channel="", thread_ts="", line_ts="", line_hash="")
        self._begin(is_urgent=self.home == self.view.channel)

    def _settle(self) -> None:
        """Find out whether what was about to be sent is there."""
        if self.state.line_ts:
            self._settle_replies()
        else:
            self._settle_line()

    def _settle_replies(self) -> None:
        posted = [key for key in self.state.posted if not key.startswith(_PENDING_MARK)]
        unsure = [key[1:] for key in self.state.posted if key.startswith(_PENDING_MARK)]
        client, channel, thread_ts = self.client, self.channel, self.state.thread_ts
        try:
            there = self._look(lambda: client.told(channel, thread_ts, self.view.key))
        except _NoLookError:
            self._keep(posted=(*posted, *unsure), is_pending=False)
            return
        found = [key for key in unsure if is_there(self.view.key, key, there)]
        self._keep(posted=(*posted, *found), is_pending=False)

    def _settle_line(self) -> None:
        below = self.foreign_ts
        try:
            if below:
                line_ts = self._line_below(below)
                if line_ts:
                    self._keep(thread_ts=below, line_ts=line_ts, line_hash="", is_pending=False)
                    return
            found = self._root()
        except _NoLookError as error:
            self._count_line_as_told(below, error.refusal)
            return
        if found is None:
            self._keep(is_pending=False)
        else:
            channel, ts = found
            self._keep(channel=channel, thread_ts=ts, line_ts=ts, line_hash="", is_pending=False)

    def _root(self) -> tuple[str, str] | None:
        """The root of our own, in the channel that the view names or at home."""
        client, key = self.client, self.view.key
        named = () if self.view.thread_ts else (self.view.channel,)
        for channel in dict.fromkeys((*named, self.home)):
            try:
                found = self._look(lambda channel=channel: client.find_root(channel, key))  # type: ignore[misc]
            except _NoLookError as error:
                if channel == self.home or error.refusal.code not in _CHANNEL_IS_GONE:
                    raise
                continue
            if found is not None:
                self.pace.call(channel, found[0])
                return found
        return None

    def _line_below(self, thread_ts: str) -> str:
        """The line's ts in a thread of somebody else, empty if it is not there."""
        client, channel = self.client, self.view.channel
        try:
            told = self._look(lambda: client.told(channel, thread_ts, self.view.key))
        except _NoLookError as error:
            if error.refusal.code in _THREAD_IS_GONE:
                return ""
            raise
        return told.get(LINE_KEY, "")

    def _count_line_as_told(self, below: str, error: SlackRefusedError) -> None:
        """At most once: without a look, a line that may be there is not posted again."""
        if below:
            self._keep(
                thread_ts=below,
                line_ts=_LINE_IS_GONE,
                line_hash=_LINE_IS_GONE,
                is_pending=False,
            )
            return
        problem = f"whether the thread was begun cannot be seen: {error}"
        self.troubles.complain(
            "look", self._place, f"root {error.code}", f"thread {self.view.key}: {problem}"
        )
        self._keep(is_pending=False, problem=problem[:_LONGEST_PROBLEM])

    def _look(self, ask: Callable[[], _Answer]) -> _Answer:
        """Ask Slack what is there; raises ``_NoLookError`` where it does not tell."""
        try:
            answer = ask()
        except TransientError as error:
            self.troubles.failed("look", self._place, error)
            raise
        except SlackRefusedError as error:
            result = "what may have been told already is not told again"
            self.troubles.refused("look", self._place, error, result)
            if error.code in UNAUTHORIZED:
                raise
            raise _NoLookError(error) from error
        self.troubles.worked("look", self._place)
        return answer

    def _is_line_old(self) -> bool:
        return self.state.line_hash not in (_LINE_IS_GONE, digest_of(self.view.line))

    def _may_edit(self) -> bool:
        return self.view.is_ended or self.pace.may_update(self.channel, self.state.line_ts)
