"""Messages in Slack's form. What belongs here: text, escaping, limits, blocks; no sending."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Block = Mapping[str, Any]


@dataclass(frozen=True)
class Message:
    """``blocks`` are what is shown, ``text`` what a notification or a plain client shows.

    Both are within Slack's limits and escaped: make them with the functions of this module.
    """

    text: str
    blocks: tuple[Block, ...] = ()
