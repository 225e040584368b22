"""What of a thread is not told yet. What belongs here: comparing and naming, no sending."""

import hashlib
import json
import re
from collections.abc import Collection, Sequence
from pathlib import PurePath

from quant_assets.notices.message import Message, fitting
from quant_assets.notices.thread import Post, ThreadView
from quant_assets.vendors.slack import FILE_KEY

PICTURE_MARK = "+"
"""After the key of a post: the key of its picture. Keys of posts end in no ``+``."""


def digest_of(line: Message) -> str:
    """A short text that differs for lines that differ."""
    written = json.dumps([line.text, line.blocks], sort_keys=True)
    return hashlib.sha256(written.encode()).hexdigest()[:12]


def picture_key(key: str) -> str:
    """Key of the picture of the post ``key``."""
    return key + PICTURE_MARK


def first_untold(view: ThreadView, posted: Collection[str]) -> int | None:
    """Place of the first post that, or whose picture, is not in ``posted``."""
    told = frozenset(posted)
    for place, post in enumerate(view.posts):
        if post.key not in told:
            return place
        if post.picture is not None and picture_key(post.key) not in told:
            return place
    return None


def told_together(view: ThreadView, posted: Collection[str], first: int) -> Sequence[Post]:
    """Posts from ``first`` on that are told in one message.

    A picture comes right after its post, so its post is the last of a message.
    """
    waiting: list[Post] = []
    for post in view.posts[first:]:
        if post.key in posted:
            break
        waiting.append(post)
        if post.picture is not None:
            break
    return waiting[: fitting([post.message for post in waiting])]


def is_there(thread: str, key: str, told: Collection[str]) -> bool:
    """Whether ``key`` is in what ``SlackClient.told`` found; pictures are known by their file."""
    if not key.endswith(PICTURE_MARK):
        return key in told
    mark = _mark_of_file(thread, key.removesuffix(PICTURE_MARK))
    return any(mark in name for name in told if name.startswith(FILE_KEY))


def file_name(thread: str, key: str, name: str) -> str:
    """``name`` with a mark by which ``is_there`` finds it again."""
    path = PurePath(re.sub(r"[^\w.-]+", "_", name))
    return f"{path.stem[:60]}-{_mark_of_file(thread, key)}{path.suffix[:8] or '.png'}"


def _mark_of_file(thread: str, key: str) -> str:
    return hashlib.sha256(f"{thread}\n{key}".encode()).hexdigest()[:10]
