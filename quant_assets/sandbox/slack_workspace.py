"""Channels, messages and files of the simulated Slack. What belongs here: state, no HTTP."""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from quant_assets.sandbox.randomness import stable_hash
from quant_assets.sandbox.slack_limits import RateLimits

JOINED_CHANNELS = ("general", "quant", "quant-runs", "quant-alerts", "trading")
FOREIGN_CHANNEL, ARCHIVED_CHANNEL = "private-desk", "old-desk"
SCOPES = ("channels:history", "channels:read", "chat:write", "files:write")
"""What the bot may do unless ``SlackWorkspace.missing_scopes`` takes it away."""
BOT_USER, BOT_ID, TEAM_ID = "U0SANDBOX", "B0SANDBOX", "T0SANDBOX"


@dataclass(frozen=True)
class Channel:
    """One channel; the bot writes only where it is a member."""

    channel_id: str
    name: str
    is_member: bool = True
    is_archived: bool = False


@dataclass
class StoredFile:
    """One uploaded file; ``content`` is ``None`` until its bytes have come."""

    file_id: str
    name: str
    length: int
    title: str = ""
    content: bytes | None = None

    @property
    def is_picture(self) -> bool:
        """Whether it is a PNG, whatever its name says."""
        return self.content is not None and self.content.startswith(b"\x89PNG")

    def as_dict(self) -> dict[str, Any]:
        """Slack's JSON form."""
        return {
            "id": self.file_id,
            "name": self.name,
            "title": self.title or self.name,
            "size": self.length,
        }


@dataclass
class Message:
    """One message; ``thread_ts`` is that of its root, or ``None`` outside a thread."""

    channel: str
    ts: str
    text: str
    blocks: list[Any] = field(default_factory=list)
    thread_ts: str | None = None
    edits: int = 0
    edited_ts: str = ""
    files: list[StoredFile] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def is_reply(self) -> bool:
        """Whether it hangs below another message."""
        return self.thread_ts is not None and self.thread_ts != self.ts

    @property
    def root_ts(self) -> str:
        """Time stamp of the first message of its thread."""
        return self.thread_ts or self.ts

    @property
    def time(self) -> datetime:
        """When it was posted, in UTC."""
        return datetime.fromtimestamp(float(self.ts), UTC)

    def as_dict(
        self, replies: "list[Message] | None" = None, *, has_metadata: bool = False
    ) -> dict[str, Any]:
        """Slack's JSON form; ``replies`` are those below it."""
        content: dict[str, Any] = {
            "type": "message",
            "user": BOT_USER,
            "bot_id": BOT_ID,
            "team": TEAM_ID,
            "ts": self.ts,
            "text": self.text,
        }
        if self.blocks:
            content["blocks"] = self.blocks
        if self.files:
            content["files"] = [file.as_dict() for file in self.files]
        if self.edits:
            content["edited"] = {"user": BOT_USER, "ts": self.edited_ts or self.ts}
        if self.thread_ts is not None or replies:
            content["thread_ts"] = self.root_ts
        if self.is_reply:
            content["parent_user_id"] = BOT_USER
        if replies:
            content |= {"reply_count": len(replies), "latest_reply": replies[-1].ts}
        if has_metadata and self.metadata:
            content["metadata"] = self.metadata
        return content


class Archive(Protocol):
    """Where a workspace keeps what it stores."""

    def keep(self, message: Message) -> None:
        """Store a message as it is now."""

    def drop(self, message: Message) -> None:
        """Forget a message."""


class SlackWorkspace:
    """Everything the simulated Slack stores. Thread-safe.

    ``limits`` are on as in the real one. Scopes in ``missing_scopes`` were not granted to the bot.
    """

    def __init__(self) -> None:
        self.limits = RateLimits()
        self.missing_scopes: set[str] = set()
        self._archive: Archive | None = None
        self._lock = threading.RLock()
        self._channels: dict[str, Channel] = {}
        self._messages: dict[tuple[str, str], Message] = {}
        self._files: dict[str, StoredFile] = {}
        self._last_microsecond = 0
        self._last_file = 0
        for name in JOINED_CHANNELS:
            self.add_channel(name)
        self.add_channel(FOREIGN_CHANNEL, is_member=False)
        self.add_channel(ARCHIVED_CHANNEL, is_archived=True)

    def __iter__(self) -> Iterator[Message]:
        return iter(self.messages())

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def messages_per_second(self) -> float | None:
        """Pace of each channel; ``None`` lifts every rate limit."""
        return self.limits.messages_per_second

    @messages_per_second.setter
    def messages_per_second(self, value: float | None) -> None:
        self.limits.messages_per_second = value

    def add_channel(self, name: str, *, is_member: bool = True, is_archived: bool = False) -> str:
        """Create a channel; gives its id."""
        with self._lock:
            channel_id = f"C{stable_hash('channel', name) % 16**8:08X}"
            self._channels[channel_id] = Channel(channel_id, name, is_member, is_archived)
            return channel_id

    def channels(self) -> list[Channel]:
        """Every channel, in the order of creation."""
        with self._lock:
            return list(self._channels.values())

    def channel(self, wanted: str) -> Channel | None:
        """The channel with this id or name, with or without ``#``."""
        with self._lock:
            if wanted in self._channels:
                return self._channels[wanted]
            name = wanted.removeprefix("#")
            return next((c for c in self._channels.values() if c.name == name), None)

    def messages(self, channel: str | None = None) -> list[Message]:
        """Messages in order, of one channel (id or name) or of all."""
        found = None if channel is None else self.channel(channel)
        with self._lock:
            kept = [
                message
                for message in self._messages.values()
                if channel is None or (found is not None and message.channel == found.channel_id)
            ]
        return sorted(kept, key=lambda message: message.ts)

    def message(self, channel: str, ts: str) -> Message | None:
        """One message by channel id and time stamp."""
        with self._lock:
            return self._messages.get((channel, ts))

    def thread(self, channel: str, ts: str) -> list[Message]:
        """Root and replies of a thread, in order."""
        return [message for message in self.messages(channel) if message.root_ts == ts]

    def post(
        self,
        now: datetime,
        channel: str,
        text: str,
        *,
        blocks: list[Any] | None = None,
        thread_ts: str | None = None,
        files: list[StoredFile] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> Message:
        """Store a new message in the channel with this id."""
        with self._lock:
            message = Message(
                channel,
                self._stamp(now),
                text,
                blocks or [],
                thread_ts,
                files=files or [],
                metadata=metadata or {},
            )
            self._messages[channel, message.ts] = message
            self._keep(message)
            return message

    def edit(
        self,
        now: datetime,
        message: Message,
        text: str,
        blocks: list[Any],
        metadata: dict[str, Any] | None,
    ) -> None:
        """Replace what a message says; its metadata stays where none is given."""
        with self._lock:
            message.text, message.blocks = text, blocks
            message.metadata = message.metadata if metadata is None else metadata
            message.edits += 1
            message.edited_ts = f"{now.timestamp():.6f}"
            self._keep(message)

    def delete(self, message: Message) -> None:
        """Remove a message."""
        with self._lock:
            self._messages.pop((message.channel, message.ts), None)
            if self._archive is not None:
                self._archive.drop(message)

    def new_file(self, name: str, length: int) -> StoredFile:
        """Reserve an upload."""
        with self._lock:
            self._last_file += 1
            file = StoredFile(f"F{self._last_file:08d}", name, length)
            self._files[file.file_id] = file
            return file

    def file(self, file_id: str) -> StoredFile | None:
        """An upload by id."""
        with self._lock:
            return self._files.get(file_id)

    def restore(self, messages: Iterable[Message]) -> None:
        """Hold these messages and no others, and their files too."""
        with self._lock:
            self._messages.clear()
            for message in messages:
                self._messages[message.channel, message.ts] = message
                self._last_microsecond = max(self._last_microsecond, _microseconds(message.ts))
                for file in message.files:
                    self._files[file.file_id] = file
                    self._last_file = max(self._last_file, int(file.file_id.removeprefix("F")))

    def keep_in(self, archive: Archive | None) -> None:
        """Store every further change in ``archive``; ``None`` ends it."""
        with self._lock:
            self._archive = archive

    def _keep(self, message: Message) -> None:
        if self._archive is not None:
            self._archive.keep(message)

    def _stamp(self, now: datetime) -> str:
        """A time stamp after all others, to the microsecond that of ``now`` where that is free."""
        self._last_microsecond = max(
            _microseconds(f"{now.timestamp():.6f}"), self._last_microsecond + 1
        )
        seconds, rest = divmod(self._last_microsecond, 1_000_000)
        return f"{seconds}.{rest:06d}"


def _microseconds(ts: str) -> int:
    seconds, _, rest = ts.partition(".")
    return int(seconds) * 1_000_000 + int(rest or 0)
