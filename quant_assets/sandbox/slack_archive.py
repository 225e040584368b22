"""The simulated Slack on disk. What belongs here: its file format, its bounds, who may write.

``messages.jsonl`` takes one line for every message as it was posted or edited, so a process that
is killed leaves at worst a torn last line, which is ignored; pictures and other files lie beside it
and are there before the line that names them. One process at a time writes; a second one on the
same home keeps its Slack in memory only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any

from quant_assets.sandbox.slack_workspace import Message, SlackWorkspace, StoredFile

FOLDER_NAME = "sandbox_slack"
MAX_MESSAGES, MAX_AGE = 2000, timedelta(days=30)
REWRITE_LINES = 10_000
"""Lines after which the file is written anew: an edited message takes a line for every edit."""
_MESSAGES = "messages.jsonl"
_FILE_ID = re.compile(r"F\d{8,18}")
_TIMESTAMP = re.compile(r"\d{10}\.\d{6}")
_DEEPEST = 50
"""Levels of lists and objects in a line; what has many more can be neither shown nor written."""


class SlackArchive:
    """The Slack of one home, held open for writing until ``close``."""

    def __init__(self, folder: Path, workspace: SlackWorkspace, lock: IO[str]) -> None:
        self._folder = folder
        self._workspace = workspace
        self._lock = lock
        self._log: IO[bytes] | None = None
        self._lines = 0

    @classmethod
    def open(cls, home: Path, workspace: SlackWorkspace, now: datetime) -> SlackArchive | None:
        """Fill ``workspace`` with what ``home`` keeps and keep what it stores from now on.

        ``None`` if another sandbox writes there or the disk does not let us.
        """
        folder = home / FOLDER_NAME
        with contextlib.ExitStack() as opened:
            try:
                (folder / "files").mkdir(parents=True, exist_ok=True)
                lock = opened.enter_context((folder / ".lock").open("w"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                archive = cls(folder, workspace, lock)
                archive._rewrite(retained(_stored(folder), now))
            except OSError:
                return None
            opened.pop_all()
        workspace.keep_in(archive)
        return archive

    def close(self) -> None:
        """Keep nothing more and let another process write."""
        self._workspace.keep_in(None)
        if self._log is not None:
            self._log.close()
        self._lock.close()

    def keep(self, message: Message) -> None:
        """Store a message as it is now."""
        self._write([_record(message)], message.files)
        if self._lines >= REWRITE_LINES:
            with self._unwritable_is_left():
                self._rewrite(retained(self._workspace.messages(), message.time))

    def drop(self, message: Message) -> None:
        """Forget a message."""
        self._write([{"deleted": [message.channel, message.ts]}], ())

    def _write(self, records: Sequence[Mapping[str, Any]], files: Sequence[StoredFile]) -> None:
        with self._unwritable_is_left():
            if self._log is None:
                return
            for file in files:
                _write_file(self._folder, file)
            content = _lines(records)
            if self._log.write(content) < len(content):
                raise OSError(errno.ENOSPC, f"no room for a message in {self._folder}")
            self._lines += len(records)

    def _rewrite(self, messages: list[Message]) -> None:
        """Write the file anew with ``messages`` and nothing else, and go on behind them."""
        records = [_record(message) for message in messages]
        temporary = self._folder / f".{_MESSAGES}.new"
        temporary.write_bytes(_lines(records))
        temporary.replace(self._folder / _MESSAGES)
        if self._log is not None:
            self._log.close()
        self._log = (self._folder / _MESSAGES).open("ab", buffering=0)
        self._lines = len(records)
        self._workspace.restore(messages)
        named = {file.file_id for message in messages for file in message.files}
        for path in (self._folder / "files").iterdir():
            if path.name not in named:
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _unwritable_is_left(self) -> Iterator[None]:
        """After a failed write keep nothing more: the line is torn, the disk is full or gone."""
        try:
            yield
        except OSError:
            if self._log is not None:
                self._log.close()
            self._log = None


def read_workspace(home: Path) -> SlackWorkspace:
    """What ``home`` keeps, also while another process writes it; empty if it keeps nothing."""
    workspace = SlackWorkspace()
    # A file that is written anew meanwhile misses an older picture at worst.
    with contextlib.suppress(OSError):
        workspace.restore(_stored(home / FOLDER_NAME))
    return workspace


def retained(messages: Sequence[Message], now: datetime) -> list[Message]:
    """The newest threads with at most ``MAX_MESSAGES`` messages, none older than ``MAX_AGE``.

    Threads are kept whole; only one that is too long by itself loses its oldest replies.
    """
    threads: dict[tuple[str, str], list[Message]] = {}
    for message in sorted(messages, key=lambda message: message.ts):
        threads.setdefault((message.channel, message.root_ts), []).append(message)
    kept: list[Message] = []
    for thread in sorted(threads.values(), key=lambda thread: thread[-1].ts, reverse=True):
        if thread[-1].time < now - MAX_AGE or len(kept) >= MAX_MESSAGES:
            break
        if len(kept) + len(thread) <= MAX_MESSAGES:
            kept += thread
        elif not kept:
            kept += [thread[0], *thread[-(MAX_MESSAGES - 1) :]]
        else:
            break
    return sorted(kept, key=lambda message: message.ts)


def _stored(folder: Path) -> list[Message]:
    """Messages of the file; lines that are torn or foreign are ignored."""
    path = folder / _MESSAGES
    found: dict[tuple[str, str], Message] = {}
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            record = json.loads(line)
            _check_depth(record)
            if "deleted" in record:
                channel, ts = record["deleted"]
                found.pop((channel, ts), None)
                continue
            message = _message(folder, record)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            continue
        found[message.channel, message.ts] = message
    return list(found.values())


def _check_depth(content: Any, depth: int = 0) -> None:
    if depth > _DEEPEST:
        raise ValueError("the line is nested too deeply")
    if isinstance(content, dict | list):
        for part in content.values() if isinstance(content, dict) else content:
            _check_depth(part, depth + 1)


def _record(message: Message) -> dict[str, Any]:
    return {
        "channel": message.channel,
        "ts": message.ts,
        "thread_ts": message.thread_ts,
        "text": message.text,
        "blocks": message.blocks,
        "metadata": message.metadata,
        "edits": message.edits,
        "edited_ts": message.edited_ts,
        "files": [[file.file_id, file.name, file.length, file.title] for file in message.files],
    }


def _message(folder: Path, record: Mapping[str, Any]) -> Message:
    message = Message(
        channel=str(record["channel"]),
        ts=str(record["ts"]),
        text=str(record["text"]),
        blocks=list(record["blocks"]),
        thread_ts=record["thread_ts"],
        edits=int(record["edits"]),
        edited_ts=str(record["edited_ts"]),
        files=[_file(folder, *entry) for entry in record["files"]],
        metadata=dict(record["metadata"]),
    )
    if not all(_TIMESTAMP.fullmatch(ts) for ts in (message.ts, message.root_ts)):
        raise ValueError(f"{message.ts!r} in {message.root_ts!r} is no time stamp of Slack")
    return message


def _file(folder: Path, file_id: str, name: str, length: int, title: str) -> StoredFile:
    if not _FILE_ID.fullmatch(file_id):
        raise ValueError(f"{file_id!r} is no file id")
    path = folder / "files" / file_id
    content = path.read_bytes() if path.exists() else b""
    return StoredFile(file_id, str(name), int(length), str(title), content)


def _write_file(folder: Path, file: StoredFile) -> None:
    path = folder / "files" / file.file_id
    if not path.exists():
        temporary = folder / f".{file.file_id}.new"
        temporary.write_bytes(file.content or b"")
        temporary.replace(path)


def _lines(records: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)
