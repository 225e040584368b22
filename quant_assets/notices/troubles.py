"""What becomes of Slack's failures. What belongs here: resting and saying so once, no delivery."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from quant_assets.errors import TransientError
from quant_assets.notices.pace import Traffic
from quant_assets.vendors.slack import UNAUTHORIZED, SlackRefusedError

UNAUTHORIZED_PAUSE_SECONDS = 300.0
_WORDS: Mapping[str, str] = {
    "post": "takes messages",
    "update": "takes edits",
    "picture": "takes pictures",
    "look": "lets us look",
}


@dataclass(frozen=True)
class Troubles:
    """Failures by topic (post, update, picture, look) and channel."""

    log: logging.Logger
    traffic: Traffic

    def failed(self, topic: str, channel: str, error: TransientError) -> None:
        """Let the channel rest and log the kind of failure once."""
        self.traffic.pace.failed(channel, topic, error.retry_after_seconds)
        limited = " by a limit" if error.retry_after_seconds else ""
        kind = f"{type(error).__name__}{limited}"
        self.complain(topic, channel, kind, f"{error}; tried again later")

    def refused(self, topic: str, channel: str, error: SlackRefusedError, result: str) -> None:
        """Log a refusal once; let everything rest if the token is not accepted."""
        if error.code in UNAUTHORIZED:
            self.traffic.pace.rest_all(UNAUTHORIZED_PAUSE_SECONDS)
            self.complain("token", "", error.code, f"{error}; tried again every five minutes")
        else:
            self.complain(topic, channel, error.code, f"{error}; {result}")

    def worked(self, topic: str, channel: str) -> None:
        """Forget failures of ``topic``; say so once if there were any."""
        self.traffic.pace.worked(channel, topic)
        withdraw = self.traffic.complaints.withdraw
        withdraw(self.log, "token", "", "Slack accepts the token again")
        withdraw(self.log, topic, channel, f"Slack {_WORDS[topic]} again in {channel}")

    def complain(self, topic: str, channel: str, kind: str, text: str) -> None:
        """Log a kind of failure once per channel until ``topic`` works again."""
        self.traffic.complaints.make(self.log, topic, channel, kind, f"Slack: {text}")
