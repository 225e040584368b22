"""Threads brought to Slack. What belongs here: one delivery after the other, at Slack's pace."""

import logging
import time
from collections.abc import Callable

from quant_assets.notices.delivery import Delivery
from quant_assets.notices.pace import Traffic, shared_traffic
from quant_assets.notices.thread import ThreadState, ThreadView
from quant_assets.notices.troubles import Troubles
from quant_assets.vendors.slack import SlackClient


class Courier:
    """Sends what threads lack. All couriers of a process with the same token share one pace."""

    def __init__(
        self,
        client: SlackClient,
        log: logging.Logger,
        *,
        clock: Callable[[], float] = time.monotonic,
        traffic: Traffic | None = None,
    ) -> None:
        if traffic is None:
            is_real = clock is time.monotonic
            traffic = shared_traffic(client.connection) if is_real else Traffic(clock)
        self._client = client
        self._pace = traffic.pace
        self._troubles = Troubles(log, traffic)

    def is_due(self, channel: str) -> bool:
        """Whether ``channel`` takes a message now."""
        return self._pace.may_post(channel)

    def deliver(
        self,
        view: ThreadView,
        state: ThreadState,
        keep: Callable[[ThreadState], None],
        *,
        until: float | None = None,
    ) -> ThreadState:
        """Send what ``view`` has and ``state`` lacks, as far as Slack's pace lets; gives the state.

        ``keep`` is called before and after whatever is sent. ``until`` is a moment of the clock
        after which nothing is begun. Never waits but for the answers: come again until
        ``is_done``, or ``problem`` says why the thread is given up. A state that is done goes on
        if the view has more by now.

        Raises ``TransientError`` (come again later, nothing is lost) and ``SlackRefusedError`` if
        the token is not accepted.
        """
        if state.problem:
            return state
        delivery = Delivery(self._client, self._pace, self._troubles, view, state, keep)
        while not (self._pace.is_resting(delivery.channel) or delivery.state.problem):
            if until is not None and self._pace.clock() >= until:
                break
            if not delivery.step():
                break
        return delivery.concluded()
