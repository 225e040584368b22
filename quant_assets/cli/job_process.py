"""The worker process as its command sees it. What belongs here: starting, asking and ending it."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from quant_assets.cli.job_protocol import Answer, Request, StepEnded
from quant_assets.cli.job_report import Step

POLL_SECONDS = 0.2
MEMORY = {"MALLOC_ARENA_MAX": "2"}
"""A pool of memory for each of Yahoo's threads is kept by the worker to its end."""
SIGNAL_SECONDS = 0.5
"""So long after the worker's death a signal counts as its cause."""


class SignalError(Exception):
    """A signal asked for the end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class TooLongError(Exception):
    """The worker did not answer in time."""


class WorkerDiedError(Exception):
    """The worker's process ended by itself."""


class Worker:
    """A process that answers requests one after the other; started when it is needed.

    ``interrupted`` waits some seconds for a signal and gives its number (``interruptions``).
    """

    def __init__(self, interrupted: Callable[[float], int]) -> None:
        self._interrupted = interrupted
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.pid = 0

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def ask(
        self,
        request: Request,
        seconds: float,
        on_step: Callable[[Step], None] | None = None,
        *,
        is_stoppable: bool = True,
    ) -> Answer:
        """Give the answer to ``request``; after an error the process is gone.

        Raises ``SignalError`` unless ``is_stoppable`` is false, ``TooLongError`` after ``seconds``,
        and ``WorkerDiedError``.
        """
        deadline = time.monotonic() + seconds
        try:
            self._send(request)
            while True:
                if is_stoppable and (number := self._interrupted(0.0)):
                    raise SignalError(number)
                answer = self._receive()
                if isinstance(answer, StepEnded):
                    if on_step is not None:
                        on_step(answer.step)
                elif answer is not None:
                    return answer
                if time.monotonic() > deadline:
                    raise TooLongError
        except WorkerDiedError:
            self.kill()
            # Who ends a whole group of processes (systemd) ends the worker as well.
            if is_stoppable and (number := self._interrupted(SIGNAL_SECONDS)):
                raise SignalError(number) from None
            raise
        except BaseException:
            self.kill()
            raise

    def close(self, seconds: float) -> None:
        """Let the process end by itself, at most so long: it may have somebody to tell."""
        process = self._process
        if process is None or process.stdin is None:
            return
        with suppress(BrokenPipeError):
            process.stdin.close()
        deadline = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < deadline:
            if self._interrupted(POLL_SECONDS):
                break
        self.kill()

    def kill(self) -> None:
        """End the process and all that it started, at once."""
        process = self._process
        if process is None:
            return
        self._process = None
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()

    def _send(self, request: Request) -> None:
        if self._process is None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(request) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerDiedError from None

    def _receive(self) -> Answer | None:
        try:
            line = self._answers.get(timeout=POLL_SECONDS)
        except queue.Empty:
            return None
        if line is None:
            raise WorkerDiedError
        answer: Answer = msgspec.json.decode(line, type=Answer)
        return answer

    def _start(self) -> None:
        """Start the process in a group of its own: the terminal's Ctrl-C is for the command.

        It answers on a pipe of its own, since a library may print on standard output.
        """
        reading, writing = os.pipe()
        self._answers = queue.SimpleQueue()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "quant_assets.cli.job_worker", str(writing)],
                stdin=subprocess.PIPE,
                stdout=sys.stderr.fileno(),
                pass_fds=(writing,),
                start_new_session=True,
                env={**MEMORY, **os.environ},
            )
        finally:
            os.close(writing)
        self.pid = self._process.pid
        threading.Thread(target=_read, args=(reading, self._answers), daemon=True).start()


def _read(descriptor: int, answers: queue.SimpleQueue[bytes | None]) -> None:
    """Pass the lines on, and None at the end."""
    with os.fdopen(descriptor, "rb") as lines:
        for line in lines:
            answers.put(line)
    answers.put(None)
