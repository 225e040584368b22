"""Threads through the real client to the simulated Slack: nothing twice, in order, logged once."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant_assets.errors import TransientError
from quant_assets.notices.courier import Courier
from quant_assets.notices.message import escape, message, section
from quant_assets.notices.thread import Picture, Post, ThreadState, ThreadView
from quant_assets.sandbox.faults import Fault
from quant_assets.sandbox.server import Sandbox
from quant_assets.sandbox.slack_limits import RateLimits
from quant_assets.sandbox.slack_workspace import Message
from quant_assets.vendors.slack import SlackClient, SlackConnection, SlackRefusedError

CHANNEL = "#quant-runs"
PNG = b"\x89PNG picture"
LOG = logging.getLogger("courier test")


class CrashError(BaseException):
    """The process dies."""


@dataclass
class Clock:
    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class Desk:
    """A process that tells threads, and what is kept when it dies."""

    sandbox: Sandbox
    kept: ThreadState = field(default_factory=ThreadState)
    clock: Clock = field(default_factory=Clock)
    keeps: list[ThreadState] = field(default_factory=list)
    crashes: Callable[[ThreadState], bool] = lambda _: False
    patience: float = 10.0

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        connection = SlackConnection(f"{self.sandbox.url}/api/", "xoxb-test")
        client = SlackClient(connection, timeout_seconds=self.patience)
        self.courier = Courier(client, LOG, clock=self.clock)

    def keep(self, state: ThreadState) -> None:
        if self.crashes(state):
            raise CrashError
        self.kept = ThreadState.parse(state.encode())
        self.keeps.append(self.kept)

    def deliver(self, view: ThreadView) -> ThreadState:
        self.kept = self.courier.deliver(view, self.kept, self.keep)
        return self.kept

    def finish(self, view: ThreadView, *, turns: int = 60) -> ThreadState:
        """Deliver until all is told or given up, two seconds a turn."""
        for _ in range(turns):
            self.clock.seconds += 2.0
            try:
                state = self.deliver(view)
            except TransientError:
                continue
            if state.is_done or state.problem:
                return state
        raise AssertionError(f"not told in {turns} turns: {self.kept}")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        running.slack.messages_per_second = None
        yield running


@pytest.fixture
def desk(sandbox: Sandbox) -> Desk:
    return Desk(sandbox)


@pytest.fixture(autouse=True)
def _log_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOG.name)


def post(key: str, *, has_picture: bool = False, text: str = "") -> Post:
    picture = Picture(f"{key}.png", f"Picture {key}", lambda: PNG) if has_picture else None
    return Post(key, message(text=text or f"post {key}"), picture)


def view(
    keys: str = "abc", *, line: str = "line", is_ended: bool = True, **more: Any
) -> ThreadView:
    """A thread with a post for each letter; a capital one has a picture."""
    posts = tuple(post(key, has_picture=key.isupper()) for key in keys)
    values = {"key": "run 1", "channel": CHANNEL, "posts": posts} | more
    return ThreadView(line=message(text=line), is_ended=is_ended, **values)


def keys_of(shown: Message) -> list[str]:
    if shown.files:
        return [f"{shown.files[0].title.removeprefix('Picture ')}+"]
    return str(shown.metadata["event_payload"]["keys"]).split("\n")


def told(sandbox: Sandbox, channel: str = CHANNEL) -> list[str]:
    """Every key in the channel, in the order of the messages."""
    return [key for shown in sandbox.slack.messages(channel) for key in keys_of(shown)]


def foreign_thread(sandbox: Sandbox, channel: str = CHANNEL) -> tuple[str, str]:
    """Channel id and ts of a message that somebody else wrote."""
    client = SlackClient(SlackConnection(f"{sandbox.url}/api/", "xoxb-somebody"))
    return client.post(channel, "who buys?", thread="somebody's", keys=("root",))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


# A thread that goes well


def test_a_thread_is_told(sandbox: Sandbox, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    state = desk.finish(view("abCd"))
    assert told(sandbox) == ["line", "a", "b", "C", "C+", "d"]
    (root, *replies) = sandbox.slack.messages(CHANNEL)
    assert [shown.thread_ts for shown in replies] == [root.ts] * 3
    assert [text["text"]["text"] for text in replies[0].blocks] == ["post a", "post b", "post C"]
    assert replies[1].files[0].content == PNG
    assert (state.channel, state.thread_ts, state.line_ts) == (root.channel, root.ts, root.ts)
    assert state.posted == ("a", "b", "C", "C+", "d")
    assert state.is_done
    assert not state.is_pending
    assert not caplog.records


def test_a_view_is_told_only_as_far_as_it_is_new(sandbox: Sandbox, desk: Desk) -> None:
    desk.deliver(view("", line="0 of 2", is_ended=False))
    desk.clock.seconds += 1.0
    desk.deliver(view("a", line="1 of 2", is_ended=False))
    root, reply = sandbox.slack.messages(CHANNEL)
    assert (root.text, root.edits, reply.text) == ("0 of 2", 0, "post a")
    state = desk.finish(view("ab", line="2 of 2"))
    assert [shown.text for shown in sandbox.slack.messages(CHANNEL)] == [
        "2 of 2",
        "post a",
        "post b",
    ]
    requests = len(sandbox.requests)
    assert desk.deliver(view("ab", line="2 of 2")) == state
    assert len(sandbox.requests) == requests


def test_a_thread_that_was_done_goes_on(sandbox: Sandbox, desk: Desk) -> None:
    assert desk.finish(view("a")).is_done
    desk.clock.seconds += 2.0
    assert not desk.deliver(view("ab", is_ended=False)).is_done
    assert desk.finish(view("abc", line="again")).is_done
    assert told(sandbox) == ["line", "a", "b", "c"]


def test_the_line_is_edited_every_two_seconds_but_at_the_end_at_once(
    sandbox: Sandbox, desk: Desk
) -> None:
    desk.deliver(view("", line="0", is_ended=False))
    for number in range(1, 20):
        desk.clock.seconds += 0.25
        desk.deliver(view("", line=str(number), is_ended=False))
    (root,) = sandbox.slack.messages(CHANNEL)
    assert root.edits == 2
    desk.deliver(view("", line="end"))
    assert (root.edits, root.text) == (3, "end")


def test_slacks_limits_are_never_met(
    sandbox: Sandbox, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.slack.limits = RateLimits(desk.clock)
    sandbox.slack.limits.burst = 1
    states = dict.fromkeys(range(4), ThreadState())
    for turn in range(400):
        keys = "abCdefGhij"[: turn // 30]
        for run, state in states.items():
            thread = view(keys, line=f"{min(turn, 391)}", key=f"run {run}", is_ended=turn > 390)
            states[run] = desk.courier.deliver(thread, state, lambda _: None)
        desk.clock.seconds += 0.25
    assert 429 not in {request.status for request in sandbox.requests}
    assert not caplog.records
    assert sorted(told(sandbox)) == sorted(["line", *"abCdefGhij", "C+", "G+"] * 4)
    assert all(shown.edits > 3 for shown in sandbox.slack.messages(CHANNEL) if not shown.is_reply)


def test_posts_that_wait_are_joined(sandbox: Sandbox, desk: Desk) -> None:
    for number in range(31):
        keys = "abcdefghij"[: number // 3]
        desk.deliver(view(keys, line=keys or "-", is_ended=False))
        desk.clock.seconds += 0.1
    assert 3 <= len(sandbox.slack.messages(CHANNEL)) <= 4, "a message a second"
    desk.finish(view("abcdefghij"))
    assert told(sandbox) == ["line", *"abcdefghij"]


def test_the_pace_is_shared_by_threads_of_a_channel(sandbox: Sandbox, desk: Desk) -> None:
    desk.deliver(view("", is_ended=False))
    other = replace(view(""), key="run 2")
    assert not desk.courier.is_due(CHANNEL)
    assert desk.courier.is_due("#quant")
    assert desk.courier.deliver(other, ThreadState(), lambda _: None) == ThreadState()
    desk.clock.seconds += 1.0
    assert desk.courier.is_due(CHANNEL)
    assert desk.courier.deliver(other, ThreadState(), lambda _: None).is_done
    assert len(sandbox.slack.messages(CHANNEL)) == 2


def test_couriers_with_the_same_token_share_what_they_know(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    def courier(token: str) -> Courier:
        return Courier(SlackClient(SlackConnection(f"{sandbox.url}/api/", token)), LOG)

    first, second, other = courier("xoxb-a"), courier("xoxb-a"), courier("xoxb-b")
    sandbox.faults.add(Fault("slack", "error", error="invalid_auth", times=1))
    with pytest.raises(SlackRefusedError):
        first.deliver(view(), ThreadState(), lambda _: None)
    assert not second.is_due(CHANNEL)
    assert second.deliver(view(), ThreadState(), lambda _: None) == ThreadState()
    assert other.is_due(CHANNEL)
    assert len(warnings(caplog)) == 1


def test_nothing_is_begun_after_the_deadline(sandbox: Sandbox, desk: Desk) -> None:
    desk.clock.seconds = 10.0
    assert desk.courier.deliver(view(), ThreadState(), desk.keep, until=10.0) == ThreadState()
    assert len(sandbox.requests) == 0


def test_a_thread_of_somebody_else_gets_the_line_as_a_reply(sandbox: Sandbox, desk: Desk) -> None:
    channel, ts = foreign_thread(sandbox)
    state = desk.finish(view("ab", channel=channel, thread_ts=ts))
    assert told(sandbox) == ["root", "line", "a", "b"]
    assert [shown.thread_ts for shown in sandbox.slack.messages(CHANNEL)] == [None, ts, ts]
    assert state.thread_ts == ts != state.line_ts
    desk.finish(view("ab", channel=channel, thread_ts=ts, line="edited"))
    assert sandbox.slack.message(channel, state.line_ts).text == "edited"


def test_hostile_and_long_texts_are_told(sandbox: Sandbox, desk: Desk) -> None:
    hostile = "<!channel> <https://evil.example|x> ``` \u202e\ud800\x00 & @here " * 400
    posts = tuple(
        Post(f"k{number}", message(section(escape(hostile)), text=escape(hostile)))
        for number in range(9)
    )
    assert desk.finish(view(line=escape(hostile), posts=posts)).is_done
    assert told(sandbox) == ["line", *(f"k{number}" for number in range(9))]
    assert not any("<" in shown.text for shown in sandbox.slack.messages(CHANNEL))


# Failures that pass


@pytest.mark.parametrize(
    "method", ["chat.postMessage", "chat.update", "files.completeUploadExternal"]
)
@pytest.mark.parametrize(
    "kind",
    [
        {"kind": "status", "code": 429, "retry_after": 3},
        {"kind": "status", "code": 500},
        {"kind": "reset"},
        {"kind": "lost"},
        {"kind": "lost", "code": 503},
        {"kind": "truncated"},
        {"kind": "malformed"},
        {"kind": "empty"},
        {"kind": "error", "error": "internal_error"},
        {"kind": "error", "error": "ratelimited"},
    ],
    ids=lambda kind: "-".join(map(str, kind.values())),
)
def test_a_storm_loses_nothing_and_is_logged_once(
    sandbox: Sandbox,
    desk: Desk,
    caplog: pytest.LogCaptureFixture,
    method: str,
    kind: dict[str, Any],
) -> None:
    desk.finish(view("a", line="before", key="run 0"))
    desk.kept = ThreadState()
    desk.clock.seconds += 2.0
    if method != "chat.postMessage":
        desk.deliver(view("", line="first", is_ended=False))
    fault = sandbox.faults.add(Fault("slack", methods=[method], times=4, **kind))
    assert desk.finish(view("abCd", line="last")).is_done
    assert told(sandbox) == ["line", "a", "line", "a", "b", "C", "C+", "d"]
    assert sandbox.slack.messages(CHANNEL)[2].text == "last"
    assert fault.hits
    assert len(warnings(caplog)) == 1
    again = [r.getMessage() for r in caplog.records if r.levelno == logging.INFO]
    assert len(again) <= len(warnings(caplog))


def test_a_timeout_after_the_work_posts_nothing_twice(sandbox: Sandbox) -> None:
    desk = Desk(sandbox, patience=0.5)
    methods = ["chat.postMessage", "files.completeUploadExternal"]
    sandbox.faults.add(Fault("slack", "lost", seconds=1.5, methods=methods, times=3))
    assert desk.finish(view("aB")).is_done
    assert told(sandbox) == ["line", "a", "B", "B+"]


def test_slack_that_is_not_there_is_told_later(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.sandbox.stop()
    for _ in range(20):
        desk.clock.seconds += 30.0
        with pytest.raises(TransientError) if desk.courier.is_due(CHANNEL) else _nothing():
            desk.deliver(view())
    assert len(warnings(caplog)) == 1
    desk.sandbox.start()
    desk.restart()
    assert desk.finish(view()).is_done


class _nothing:  # noqa: N801
    def __enter__(self) -> None:
        """Expect nothing."""

    def __exit__(self, *_: object) -> None:
        """Expect nothing."""


def test_a_channel_rests_longer_and_longer_and_no_other_does(sandbox: Sandbox, desk: Desk) -> None:
    fault = sandbox.faults.add(Fault("slack", "status", code=503, methods=["chat.postMessage"]))
    waits = []
    for _ in range(8):
        with pytest.raises(TransientError):
            desk.courier.deliver(view(), ThreadState(), lambda _: None)
        assert desk.courier.is_due("#quant")
        start = desk.clock.seconds
        while not desk.courier.is_due(CHANNEL):
            desk.clock.seconds += 0.5
        waits.append(desk.clock.seconds - start)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert fault.hits == 8


def test_retry_after_is_honoured(sandbox: Sandbox, desk: Desk) -> None:
    sandbox.faults.add(Fault("slack", "status", code=429, retry_after=30, times=1))
    with pytest.raises(TransientError):
        desk.deliver(view())
    desk.clock.seconds += 29.5
    desk.deliver(view())
    assert len(sandbox.requests) == 1
    desk.clock.seconds += 0.5
    desk.deliver(view())
    assert told(sandbox) == ["line"]


# Refusals


def test_a_refused_token_lets_everything_rest(
    sandbox: Sandbox, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    fault = sandbox.faults.add(Fault("slack", "error", error="invalid_auth"))
    with pytest.raises(SlackRefusedError, match="SLACK_BOT_TOKEN"):
        desk.deliver(view())
    assert not desk.courier.is_due("#quant")
    desk.clock.seconds += 299.0
    assert not desk.deliver(view()).is_done
    assert fault.hits == 1
    desk.clock.seconds += 1.0
    with pytest.raises(SlackRefusedError):
        desk.deliver(view())
    assert len(warnings(caplog)) == 1
    sandbox.faults.clear()
    desk.clock.seconds += 300.0
    assert desk.finish(view()).is_done
    assert told(sandbox) == ["line", "a", "b", "c"]
    assert caplog.records[-1].getMessage() == "Slack accepts the token again"


@pytest.mark.parametrize("method", ["chat.update", "files.getUploadURLExternal"])
def test_a_token_that_is_revoked_in_between_loses_nothing(
    sandbox: Sandbox, desk: Desk, method: str
) -> None:
    desk.deliver(view("", line="first", is_ended=False))
    sandbox.faults.add(Fault("slack", "error", error="token_revoked", methods=[method], times=1))
    desk.clock.seconds += 2.0
    with pytest.raises(SlackRefusedError):
        desk.deliver(view("A", line="last"))
    desk.clock.seconds += 300.0
    assert desk.finish(view("A", line="last")).is_done
    assert told(sandbox) == ["line", "A", "A+"]


@pytest.mark.parametrize(
    ("channel", "code"),
    [
        ("#nowhere", "channel_not_found"),
        ("#private-desk", "not_in_channel"),
        ("#old-desk", "is_archived"),
    ],
)
def test_a_channel_that_is_not_to_be_had_is_a_problem_logged_once(
    sandbox: Sandbox, desk: Desk, caplog: pytest.LogCaptureFixture, channel: str, code: str
) -> None:
    for number in range(3):
        desk.kept = ThreadState()
        state = desk.finish(view(channel=channel, key=f"run {number}"))
        assert code in state.problem
        assert not state.is_done
        requests = len(sandbox.requests)
        assert desk.deliver(view(channel=channel)) == state
        assert len(sandbox.requests) == requests
    assert len(warnings(caplog)) == 1
    assert len(sandbox.slack) == 0


def test_a_deleted_root_of_our_own_ends_the_thread(sandbox: Sandbox, desk: Desk) -> None:
    desk.deliver(view("", is_ended=False))
    sandbox.slack.delete(sandbox.slack.messages(CHANNEL)[0])
    assert "thread_not_found" in desk.finish(view("a")).problem


def test_a_thread_of_somebody_else_that_is_gone_is_replaced(
    sandbox: Sandbox, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    state = desk.finish(view("ab", thread_ts="1700000000.000009"))
    assert told(sandbox) == ["line", "a", "b"]
    assert state.thread_ts == state.line_ts
    assert len(warnings(caplog)) == 1


def test_a_thread_of_somebody_else_that_vanishes_goes_on_in_our_own(
    sandbox: Sandbox, desk: Desk
) -> None:
    channel, ts = foreign_thread(sandbox)
    there = {"channel": channel, "thread_ts": ts}
    desk.deliver(view("", is_ended=False, **there))
    desk.clock.seconds += 2.0
    desk.deliver(view("a", is_ended=False, **there))
    sandbox.slack.delete(sandbox.slack.message(channel, ts))
    state = desk.finish(view("ab", **there))
    assert state.thread_ts == state.line_ts != ts
    assert told(sandbox) == ["line", "a", "line", "b"]


def test_a_new_root_in_the_middle_is_found_again(sandbox: Sandbox, desk: Desk) -> None:
    channel, ts = foreign_thread(sandbox)
    there = {"channel": channel, "thread_ts": ts}
    desk.deliver(view("", is_ended=False, **there))
    sandbox.slack.delete(sandbox.slack.message(channel, ts))
    desk.crashes = lambda state: bool(state.line_ts) and state.line_ts == state.thread_ts
    with pytest.raises(CrashError):
        desk.finish(view("a", **there))
    desk.crashes = lambda _: False
    desk.restart()
    assert desk.finish(view("a", **there)).is_done
    assert told(sandbox) == ["line", "line", "a"]


HOME = "#quant"
GONE = [
    ("#nowhere", ""),
    ("C0000000000", ""),
    ("#private-desk", ""),
    ("#old-desk", ""),
    ("C0000000000", "1700000000.000009"),
    (CHANNEL, "1700000000.000009"),
]


@pytest.mark.parametrize(("channel", "thread_ts"), GONE)
def test_what_cannot_be_told_where_it_was_asked_is_told_at_home(
    sandbox: Sandbox, desk: Desk, channel: str, thread_ts: str
) -> None:
    there = {"channel": channel, "thread_ts": thread_ts, "home": HOME}
    begun = desk.deliver(view("", line="first", is_ended=False, **there))
    assert begun.channel == sandbox.slack.channel(HOME).channel_id
    assert begun.thread_ts == begun.line_ts
    requests = len(sandbox.requests)
    desk.restart()
    state = desk.finish(view("aB", line="last", **there))
    assert (state.channel, state.thread_ts) == (begun.channel, begun.thread_ts)
    assert told(sandbox, HOME) == ["line", "a", "B", "B+"]
    assert len(sandbox.slack) == 3
    assert len(sandbox.requests) == requests + 5, "an edit, a reply and an upload; no other try"


@pytest.mark.parametrize("is_foreign", [False, True])
def test_a_thread_whose_channel_is_closed_goes_on_at_home(
    sandbox: Sandbox, desk: Desk, is_foreign: bool
) -> None:
    ts = foreign_thread(sandbox)[1] if is_foreign else ""
    there = {"thread_ts": ts, "home": HOME}
    desk.deliver(view("", is_ended=False, **there))
    sandbox.slack.add_channel(CHANNEL.removeprefix("#"), is_archived=True)
    state = desk.finish(view("a", **there))
    assert state.is_done
    assert state.channel == sandbox.slack.channel(HOME).channel_id
    assert told(sandbox, HOME) == ["line", "a"]


def test_a_named_channel_that_takes_messages_is_no_reason_to_go_home(
    sandbox: Sandbox, desk: Desk
) -> None:
    assert desk.finish(view("a", home=HOME)).is_done
    assert told(sandbox) == ["line", "a"]
    assert told(sandbox, HOME) == []


@pytest.mark.parametrize(("channel", "thread_ts"), GONE)
@pytest.mark.parametrize("kept", range(8))
def test_a_way_home_that_is_broken_off_anywhere_posts_nothing_twice(
    sandbox: Sandbox, desk: Desk, channel: str, thread_ts: str, kept: int
) -> None:
    thread = view("a", channel=channel, thread_ts=thread_ts, home=HOME)
    desk.crashes = lambda _: len(desk.keeps) == kept
    with contextlib.suppress(CrashError):
        desk.finish(thread)
    desk.crashes = lambda _: False
    desk.restart()
    assert desk.finish(thread).is_done
    assert told(sandbox, HOME) == ["line", "a"]


@pytest.mark.parametrize(("channel", "thread_ts"), GONE)
def test_a_home_that_is_not_to_be_had_ends_the_thread(
    sandbox: Sandbox, desk: Desk, channel: str, thread_ts: str
) -> None:
    state = desk.finish(view(channel=channel, thread_ts=thread_ts, home="#no-home"))
    assert "channel_not_found" in state.problem
    assert len(sandbox.slack) == 0


def test_the_way_home_keeps_to_the_pace_of_home(sandbox: Sandbox, desk: Desk) -> None:
    desk.courier.deliver(view("", channel=HOME, key="run 2"), ThreadState(), lambda _: None)
    desk.deliver(view("", channel="#nowhere", home=HOME))
    assert told(sandbox, HOME) == ["line"]
    assert desk.finish(view("", channel="#nowhere", home=HOME)).is_done
    assert told(sandbox, HOME) == ["line", "line"]


def test_a_line_that_a_person_deleted_stays_deleted(
    sandbox: Sandbox, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    channel, ts = foreign_thread(sandbox)
    there = {"channel": channel, "thread_ts": ts}
    state = desk.deliver(view("", is_ended=False, **there))
    sandbox.slack.delete(sandbox.slack.message(channel, state.line_ts))
    desk.clock.seconds += 2.0
    desk.deliver(view("", line="second", is_ended=False, **there))
    assert desk.finish(view("ab", line="third", **there)).is_done
    assert told(sandbox) == ["root", "a", "b"]
    assert len(warnings(caplog)) == 1


def test_blocks_that_are_refused_become_plain_text(
    sandbox: Sandbox, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    odd = replace(message(text="plain words"), blocks=({"type": "marquee"},))
    bad_posts = (post("a"), Post("b", odd, Picture("b.png", "Picture b", lambda: PNG)), post("c"))
    assert desk.finish(replace(view(posts=bad_posts), line=odd)).is_done
    assert told(sandbox) == ["line", "a", "b", "b+", "c"]
    assert [shown.text for shown in sandbox.slack.messages(CHANNEL)[:2]] == [
        "plain words",
        "post a\nplain words",
    ]
    assert len(warnings(caplog)) == 1


def test_a_post_that_is_refused_in_every_form_is_left_out(sandbox: Sandbox, desk: Desk) -> None:
    desk.deliver(view("", is_ended=False))
    fault = Fault("slack", "error", error="msg_too_long", methods=["chat.postMessage"], times=2)
    sandbox.faults.add(fault)
    desk.finish(view("a"))
    assert desk.finish(view("ab")).is_done
    assert told(sandbox) == ["line", "b"]


@pytest.mark.parametrize("error", ["missing_scope", "file_uploads_disabled"])
def test_pictures_that_are_refused_are_left_out(
    sandbox: Sandbox, desk: Desk, caplog: pytest.LogCaptureFixture, error: str
) -> None:
    methods = ["files.getUploadURLExternal"]
    fault = sandbox.faults.add(Fault("slack", "error", error=error, methods=methods))
    assert desk.finish(view("ABc")).is_done
    assert told(sandbox) == ["line", "A", "B", "c"]
    assert fault.hits == 2
    assert len(warnings(caplog)) == 1


def test_a_picture_that_cannot_be_made_is_left_out(
    sandbox: Sandbox, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> bytes:
        raise OSError("no such file")

    posts = (Post("a", message(text="a"), Picture("a.png", "A", fails)), post("b"))
    assert desk.finish(view(posts=posts)).is_done
    assert told(sandbox) == ["line", "a", "b"]
    assert "no such file" in warnings(caplog)[0]


# Processes that die, and outcomes that nobody knows


def crash_points(sandbox: Sandbox, thread: ThreadView) -> int:
    desk = Desk(sandbox)
    desk.finish(thread)
    return len(desk.keeps)


@pytest.mark.parametrize("is_foreign", [False, True])
def test_a_process_that_dies_anywhere_posts_nothing_twice(
    sandbox: Sandbox, is_foreign: bool
) -> None:
    for number in range(crash_points(sandbox, view("aBc", channel="#general"))):
        sandbox.slack.add_channel(f"desk-{number}")
        channel = f"#desk-{number}"
        _, ts = foreign_thread(sandbox, channel) if is_foreign else ("", "")
        thread = view("aBc", channel=channel, thread_ts=ts, key=f"run {number}")
        desk = Desk(sandbox)
        desk.crashes = lambda _, desk=desk, number=number: len(desk.keeps) == number
        with pytest.raises(CrashError):
            desk.finish(thread)
        desk.crashes = lambda _: False
        desk.restart()
        assert desk.finish(thread).is_done
        assert told(sandbox, channel) == ["root"] * is_foreign + ["line", "a", "B", "B+", "c"]


def test_what_may_be_on_its_way_is_waited_for(sandbox: Sandbox, desk: Desk) -> None:
    desk.crashes = lambda state: bool(state.line_ts)
    with pytest.raises(CrashError):
        desk.deliver(view(""))
    desk.crashes = lambda _: False
    desk.restart()
    (late,) = sandbox.slack.messages(CHANNEL)
    sandbox.slack.delete(late)
    desk.deliver(view(""))
    desk.clock.seconds += 1.5
    desk.deliver(view(""))
    sandbox.slack._messages[late.channel, late.ts] = late
    assert desk.finish(view("")).is_done
    assert told(sandbox) == ["line"]


@pytest.mark.parametrize("method", ["chat.postMessage", "files.completeUploadExternal"])
@pytest.mark.parametrize("kind", ["lost", "reset"])
def test_without_a_look_everything_is_told_at_most_once(
    sandbox: Sandbox, desk: Desk, caplog: pytest.LogCaptureFixture, kind: str, method: str
) -> None:
    desk.deliver(view("", is_ended=False))
    sandbox.slack.missing_scopes = {"channels:history"}
    sandbox.faults.add(Fault("slack", kind, methods=[method], times=1))
    assert desk.finish(view("aBc")).is_done
    lost = ["a", "B"] if method == "chat.postMessage" else ["B+"]
    everything = ["line", "a", "B", "B+", "c"]
    expected = everything if kind == "lost" else [key for key in everything if key not in lost]
    assert told(sandbox) == expected
    assert len([text for text in warnings(caplog) if "channels:history" in text]) == 1


@pytest.mark.parametrize("has_root", [False, True])
def test_a_token_that_is_refused_for_a_look_loses_nothing(
    sandbox: Sandbox, desk: Desk, has_root: bool
) -> None:
    if has_root:
        desk.deliver(view("", is_ended=False))
        desk.clock.seconds += 1.0
    sandbox.faults.add(Fault("slack", "status", methods=["chat.postMessage"], times=1))
    with pytest.raises(TransientError):
        desk.deliver(view("ab"))
    looks = ["conversations.replies", "conversations.list", "conversations.history"]
    sandbox.faults.add(Fault("slack", "error", error="invalid_auth", methods=looks, times=1))
    desk.clock.seconds += 1.0
    desk.deliver(view("ab"))
    desk.clock.seconds += 2.0
    with pytest.raises(SlackRefusedError):
        desk.deliver(view("ab"))
    desk.clock.seconds += 300.0
    assert desk.finish(view("ab")).is_done
    assert told(sandbox) == ["line", "a", "b"]


@pytest.mark.parametrize("method", ["chat.postMessage", "files.completeUploadExternal"])
def test_what_was_surely_not_done_needs_no_look(sandbox: Sandbox, desk: Desk, method: str) -> None:
    sandbox.slack.missing_scopes = {"channels:history", "channels:read"}
    sandbox.faults.add(Fault("slack", "status", code=429, methods=[method], times=2))
    assert desk.finish(view("aBc")).is_done
    assert told(sandbox) == ["line", "a", "B", "B+", "c"]


def test_a_root_that_nobody_can_look_for_ends_the_thread(sandbox: Sandbox, desk: Desk) -> None:
    sandbox.slack.missing_scopes = {"channels:history"}
    sandbox.faults.add(Fault("slack", "lost", methods=["chat.postMessage"], times=1))
    state = desk.finish(view())
    assert "cannot be seen" in state.problem
    assert len(state.encode()) < 2000
    assert told(sandbox) == ["line"]


def test_a_line_in_a_thread_of_somebody_else_that_nobody_can_look_for_is_left(
    sandbox: Sandbox, desk: Desk
) -> None:
    _, ts = foreign_thread(sandbox)
    sandbox.slack.missing_scopes = {"channels:history"}
    sandbox.faults.add(Fault("slack", "lost", methods=["chat.postMessage"], times=1))
    assert desk.finish(view("aB", channel=CHANNEL, thread_ts=ts)).is_done
    assert told(sandbox) == ["root", "line", "a", "B", "B+"]


def test_a_new_root_in_place_of_somebody_elses_is_found_again(sandbox: Sandbox, desk: Desk) -> None:
    thread = view("a", thread_ts="1700000000.000009")
    fault = Fault("slack", "error", error="thread_not_found", methods=["chat.postMessage"], times=1)
    sandbox.faults.add(fault)
    desk.crashes = lambda state: bool(state.line_ts)
    with pytest.raises(CrashError):
        desk.finish(thread)
    desk.crashes = lambda _: False
    desk.restart()
    assert desk.finish(thread).is_done
    assert told(sandbox) == ["line", "a"]


FAULTS = [
    {"kind": "status", "code": 429, "retry_after": 2},
    {"kind": "status", "code": 500},
    {"kind": "reset"},
    {"kind": "lost"},
    {"kind": "lost", "code": 502},
    {"kind": "truncated"},
    {"kind": "malformed"},
    {"kind": "empty"},
    {"kind": "error", "error": "fatal_error"},
    {"kind": "error", "error": "invalid_auth"},
]
LOOKS = ["conversations.replies", "conversations.history", "conversations.list"]
UPLOADS = ["files.getUploadURLExternal", "files.completeUploadExternal"]


def faults(*methods: str) -> st.SearchStrategy[tuple[str, Any, Any]]:
    return st.tuples(st.just("fault"), st.sampled_from(FAULTS), st.sampled_from(methods))


events = st.lists(
    st.one_of(
        faults("chat.postMessage"),
        faults(*LOOKS),
        faults(*UPLOADS),
        faults("chat.update"),
        st.tuples(st.just("crash"), st.integers(0, 3), st.none()),
        st.tuples(st.just("wait"), st.sampled_from([0.2, 5.0, 400.0]), st.none()),
        st.tuples(st.just("posts"), st.integers(0, 7), st.none()),
    ),
    min_size=8,
    max_size=30,
)


@pytest.fixture(scope="module")
def shared_sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        running.slack.messages_per_second = None
        yield running


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=events, is_foreign=st.booleans())
def test_whatever_happens_each_key_is_told_once_and_in_order(
    shared_sandbox: Sandbox, events: Sequence[tuple[str, Any, Any]], is_foreign: bool
) -> None:
    sandbox, letters = shared_sandbox, "abCdEfg"
    for shown in sandbox.slack.messages():
        sandbox.slack.delete(shown)
    sandbox.faults.clear()
    channel, ts = foreign_thread(sandbox) if is_foreign else (CHANNEL, "")
    there = {"channel": channel, "thread_ts": ts}
    desk, count = Desk(sandbox), 0
    for number, (event, value, method) in enumerate(events):
        desk.clock.seconds += 2.5
        desk.clock.seconds += 2.5
        if event == "fault":
            sandbox.faults.add(Fault("slack", methods=[method], times=1, **value))
        elif event == "wait":
            desk.clock.seconds += value
        elif event == "posts":
            count = max(count, value)
        else:
            at = len(desk.keeps) + value
            desk.crashes = lambda _, at=at: len(desk.keeps) >= at
        try:
            line = f"{count} of 7, {number}"
            desk.deliver(view(letters[:count], line=line, is_ended=False, **there))
        except (TransientError, SlackRefusedError):
            continue
        except CrashError:
            desk.crashes = lambda _: False
            desk.restart()
    desk.crashes = lambda _: False
    sandbox.faults.clear()
    desk.clock.seconds += 400.0
    assert desk.finish(view(letters, line="end", **there)).is_done
    expected = ["line", *"ab", "C", "C+", "d", "E", "E+", "f", "g"]
    assert told(sandbox) == ["root"] * is_foreign + expected
    line = next(shown for shown in sandbox.slack.messages(CHANNEL) if "line" in keys_of(shown))
    assert line.text == "end"
