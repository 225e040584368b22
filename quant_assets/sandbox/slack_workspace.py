"""Channels, messages and files of the simulated Slack. What belongs here: state, no HTTP."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from quant_assets.sandbox.randomness import stable_hash

DEFAULT_CHANNELS = ("general", "quant", "quant-runs", "quant-alerts", "trading")
BOT_USER, BOT_ID, TEAM_ID = "U0SANDBOX", "B0SANDBOX", "T0SANDBOX"


@dataclass
class Message:
    """One message; ``thread_ts`` is that of its root, or ``None`` outside a thread."""

    channel: str
    ts: str
    text: str
    blocks: list[Any] = field(default_factory=list)
    thread_ts: str | None = None
    edits: int = 0
    files: list["StoredFile"] = field(default_factory=list)

    @property
    def is_reply(self) -> bool:
        """Whether it hangs below another message."""
        return self.thread_ts is not None and self.thread_ts != self.ts

    def as_dict(self, replies: int = 0) -> dict[str, Any]:
        """Slack's JSON form."""
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
            content["edited"] = {"user": BOT_USER, "ts": self.ts}
        if self.thread_ts is not None or replies:
            content["thread_ts"] = self.thread_ts or self.ts
        if replies:
            content["reply_count"] = replies
        return content


@dataclass
class StoredFile:
    """One uploaded file; ``content`` is ``None`` until its bytes have come."""

    file_id: str
    name: str
    length: int
    title: str = ""
    content: bytes | None = None

    def as_dict(self) -> dict[str, Any]:
        """Slack's JSON form."""
        return {
            "id": self.file_id,
            "name": self.name,
            "title": self.title or self.name,
            "size": self.length,
        }


class SlackWorkspace:
    """Everything the simulated Slack stores. Thread-safe.

    ``messages_per_second`` limits each channel as Slack does (1.0); ``None`` is no limit.
    """

    def __init__(self) -> None:
        self.messages_per_second: float | None = None
        self._lock = threading.RLock()
        self._channels: dict[str, str] = {}
        self._messages: dict[tuple[str, str], Message] = {}
        self._files: dict[str, StoredFile] = {}
        self._last_sent: dict[str, float] = {}
        self._counter = 0
        for name in DEFAULT_CHANNELS:
            self.add_channel(name)

    def __iter__(self) -> Iterator[Message]:
        return iter(self.messages())

    def __len__(self) -> int:
        return len(self._messages)

    def add_channel(self, name: str) -> str:
        """Create a channel; gives its id."""
        with self._lock:
            channel = f"C{stable_hash('channel', name) % 16**8:08X}"
            self._channels[channel] = name
            return channel

    def channels(self) -> dict[str, str]:
        """Name of each channel by id."""
        with self._lock:
            return dict(self._channels)

    def channel_id(self, wanted: str) -> str | None:
        """Id of the channel with this id or name, with or without ``#``."""
        with self._lock:
            if wanted in self._channels:
                return wanted
            name = wanted.removeprefix("#")
            return next((key for key, value in self._channels.items() if value == name), None)

    def messages(self, channel: str | None = None) -> list[Message]:
        """Messages in order, of one channel (id or name) or of all."""
        found = None if channel is None else self.channel_id(channel)
        with self._lock:
            kept = [m for m in self._messages.values() if channel is None or m.channel == found]
        return sorted(kept, key=lambda message: message.ts)

    def message(self, channel: str, ts: str) -> Message | None:
        """One message by channel id and time stamp."""
        with self._lock:
            return self._messages.get((channel, ts))

    def thread(self, channel: str, ts: str) -> list[Message]:
        """Root and replies of a thread, in order."""
        return [m for m in self.messages(channel) if m.ts == ts or m.thread_ts == ts]

    def post(
        self,
        now: datetime,
        channel: str,
        text: str,
        *,
        blocks: list[Any] | None = None,
        thread_ts: str | None = None,
        files: list[StoredFile] | None = None,
    ) -> Message:
        """Store a new message in the channel with this id."""
        with self._lock:
            self._counter += 1
            ts = f"{int(now.timestamp())}.{self._counter:06d}"
            message = Message(channel, ts, text, blocks or [], thread_ts, files=files or [])
            self._messages[channel, ts] = message
            return message

    def delete(self, message: Message) -> None:
        """Remove a message."""
        with self._lock:
            self._messages.pop((message.channel, message.ts), None)

    def seconds_to_wait(self, channel: str) -> float:
        """Wait before the channel takes another message; 0 admits one and counts it."""
        if self.messages_per_second is None:
            return 0.0
        with self._lock:
            moment = time.monotonic()
            free_at = self._last_sent.get(channel, float("-inf")) + 1.0 / self.messages_per_second
            if moment < free_at:
                return free_at - moment
            self._last_sent[channel] = moment
            return 0.0

    def new_file(self, name: str, length: int) -> StoredFile:
        """Reserve an upload."""
        with self._lock:
            file = StoredFile(f"F{len(self._files) + 1:08d}", name, length)
            self._files[file.file_id] = file
            return file

    def file(self, file_id: str) -> StoredFile | None:
        """An upload by id."""
        with self._lock:
            return self._files.get(file_id)
