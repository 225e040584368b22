"""Lists of messages, page by page. What belongs here: ranges of time, limits and cursors.

``conversations.history`` gives the newest first, ``conversations.replies`` the oldest first with
the thread's root at the top of every page.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any

from quant_assets.sandbox.slack_blocks import SlackError
from quant_assets.sandbox.slack_workspace import Message

HISTORY_LIMIT, REPLIES_LIMIT, MAX_LIMIT = 100, 1000, 1000
_TIME = re.compile(r"\d{1,12}(\.\d{1,6})?")
_CURSOR = "next_ts:"


def history_page(messages: Sequence[Message], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Answer of ``conversations.history`` from the messages of a channel, oldest first."""
    roots = [message for message in messages if not message.is_reply]
    replies: dict[str, list[Message]] = {}
    for message in messages:
        if message.is_reply:
            replies.setdefault(message.root_ts, []).append(message)
    wanted = [message for message in reversed(roots) if _is_within(message, arguments)]
    if (start := _start(arguments)) is not None:
        wanted = [message for message in wanted if message.ts <= start]
    limit = _limit(arguments, HISTORY_LIMIT)
    has_metadata = _is_on(arguments, "include_all_metadata")
    shown = [m.as_dict(replies.get(m.ts), has_metadata=has_metadata) for m in wanted[:limit]]
    return _page(shown, wanted[limit:]) | {"pin_count": 0}


def replies_page(thread: Sequence[Message], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Answer of ``conversations.replies`` from a thread, its root first."""
    root, *replies = thread
    wanted = [message for message in replies if _is_within(message, arguments)]
    if (start := _start(arguments)) is not None:
        wanted = [message for message in wanted if message.ts >= start]
    limit = max(1, _limit(arguments, REPLIES_LIMIT) - 1)
    has_metadata = _is_on(arguments, "include_all_metadata")
    shown = [
        root.as_dict(replies, has_metadata=has_metadata),
        *(message.as_dict(has_metadata=has_metadata) for message in wanted[:limit]),
    ]
    return _page(shown, wanted[limit:])


def _page(shown: list[dict[str, Any]], rest: Sequence[Message]) -> dict[str, Any]:
    page: dict[str, Any] = {"messages": shown, "has_more": bool(rest)}
    if rest:
        cursor = base64.b64encode(f"{_CURSOR}{rest[0].ts}".encode()).decode()
        page["response_metadata"] = {"next_cursor": cursor}
    return page


def _is_within(message: Message, arguments: Mapping[str, Any]) -> bool:
    oldest, latest = _time(arguments, "oldest"), _time(arguments, "latest")
    ts = float(message.ts)
    if _is_on(arguments, "inclusive"):
        return (oldest is None or ts >= oldest) and (latest is None or ts <= latest)
    return (oldest is None or ts > oldest) and (latest is None or ts < latest)


def _time(arguments: Mapping[str, Any], name: str) -> float | None:
    given = str(arguments.get(name) or "")
    if not given or (name == "latest" and given == "now"):
        return None
    if not _TIME.fullmatch(given):
        raise SlackError(f"invalid_ts_{name}")
    return float(given)


def _limit(arguments: Mapping[str, Any], default: int) -> int:
    given = str(arguments.get("limit") or default)
    if not given.isdigit() or not 0 < int(given) <= MAX_LIMIT:
        raise SlackError("invalid_limit")
    return int(given)


def _start(arguments: Mapping[str, Any]) -> str | None:
    """Time stamp of the first message of the page that a cursor names."""
    given = str(arguments.get("cursor") or "")
    if not given:
        return None
    try:
        text = base64.b64decode(given, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise SlackError("invalid_cursor") from None
    if not text.startswith(_CURSOR):
        raise SlackError("invalid_cursor")
    return text.removeprefix(_CURSOR)


def _is_on(arguments: Mapping[str, Any], name: str) -> bool:
    return str(arguments.get(name, "")).lower() in ("1", "true")
