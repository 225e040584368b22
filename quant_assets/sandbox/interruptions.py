"""Signals as answers. What belongs here: catching them without an exception; no import that weighs.

Commands that run for long use it as the sandbox does.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue


@contextmanager
def interruptions(*numbers: signal.Signals) -> Iterator[Callable[[float], int]]:
    """Catch signals; gives the function that waits some seconds for one: its number, 0 if none.

    As an exception Ctrl-C may strike inside a destructor or a database's callback, where Python
    ignores it. The signals go through a queue because its ``put`` may interrupt its ``get``: the
    ``set`` of an event would wait for ever for the ``wait`` that it interrupts.
    """
    caught: SimpleQueue[int] = SimpleQueue()

    def interrupted(seconds: float) -> int:
        try:
            return caught.get(timeout=seconds) if seconds else caught.get_nowait()
        except Empty:
            return 0

    previous = {
        number: signal.signal(number, lambda caught_number, _: caught.put(caught_number))
        for number in numbers
    }
    try:
        yield interrupted
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
