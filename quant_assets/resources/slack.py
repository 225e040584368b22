"""Slack as a resource. What belongs here: the way to Slack, and who may write a thread."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from quant_assets.resources.base import SettingsResource

if TYPE_CHECKING:
    from quant_assets.notices.courier import Courier
    from quant_assets.settings import Settings
    from quant_assets.vendors.slack import SlackConnection

LOCK_NAME = ".slack.lock"
LOG = logging.getLogger(__name__)


class SlackResource(SettingsResource):
    """Slack for sensors and runs, by the settings; off where none is configured."""


def courier_to(connection: SlackConnection, log: logging.Logger = LOG) -> Courier:
    """A courier; all of a process keep one pace for each connection."""
    from quant_assets.notices.courier import Courier
    from quant_assets.vendors.slack import SlackClient

    return Courier(SlackClient(connection), log)


def why_off(settings: Settings) -> str:
    """Why there is no Slack, and what to do about it."""
    if settings.is_sandbox:
        return "no Slack: `quant dev` and `quant sandbox` each run a simulated one"
    return "SLACK_BOT_TOKEN is not set: nothing is told in Slack"


class ThreadLocks:
    """Lets one process, and in it one thread, tell a run at a time.

    Each run has a byte of one file. The system frees the bytes of a process that dies. The file is
    opened once: closing any descriptor of it would free every byte of the process.
    """

    def __init__(self, path: Path) -> None:
        self._mutex = threading.Lock()
        self._held: set[int] = set()
        self._descriptor: int | None = None
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            LOG.warning("%s: %s; other processes are not waited for", path, error)

    @contextmanager
    def hold(self, name: str) -> Iterator[bool]:
        """Whether ``name`` is this thread's meanwhile; never waits."""
        place = _place(name)
        with self._mutex:
            is_mine = place not in self._held and self._take(place)
            if is_mine:
                self._held.add(place)
        try:
            yield is_mine
        finally:
            if is_mine:
                with self._mutex:
                    self._held.discard(place)
                    self._give_back(place)

    def _take(self, place: int) -> bool:
        if self._descriptor is None:
            return True
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            LOG.warning("%s: %s; other processes are not waited for", self._path, error)
            self._descriptor = None
        return True

    def _give_back(self, place: int) -> None:
        if self._descriptor is not None:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, place)


_mutex = threading.Lock()


def thread_locks(home: Path) -> ThreadLocks:
    """The locks of this process for the runs of a home."""
    with _mutex:
        return _locks_of(home.absolute(), os.getpid())


@cache
def _locks_of(home: Path, _process: int) -> ThreadLocks:
    # A forked child inherits the table but none of the locks: the process is part of the key.
    return ThreadLocks(home / LOCK_NAME)


def _place(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6).digest())
