"""Slack's Web API through slack_sdk. What belongs here: calls and their errors, no wording."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class SlackConnection:
    """How Slack is reached."""

    base_url: str
    token: str = field(repr=False)
