"""Messages in Slack's form. What belongs here: text, escaping, limits, blocks; no sending.

Two kinds of text go round. *Plain* text may come from anywhere: ``escape``, ``bold``, ``code``,
``link``, ``header`` and ``table`` take it and make it harmless. *mrkdwn* is made of their results
and of our own words: ``section``, ``context`` and ``message`` take that.
"""

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from quant_assets.notices.monospace import NumberOrText, lines_of_table

Block = Mapping[str, Any]

MAX_SECTION, MAX_HEADER, MAX_CONTEXT, MAX_FALLBACK = 3000, 150, 2000, 3000
MAX_BLOCKS, MAX_CONTEXT_ELEMENTS = 50, 10
MAX_BLOCKS_JSON = 10_000
"""Slack refuses blocks of about 12,000 characters in all (``msg_blocks_too_long``; the figure is
not documented, others measured refusals from 11,300 and acceptance up to 13,200)."""
MAX_URL = 1500
NOTHING = "–"
ELLIPSIS = "…"

# Overrides of direction turn the rest of a line round; the isolates and marks do less harm but
# have no place in a notice either.
_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_UNWANTED = re.compile(rf"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff{_BIDI}\ufeff]")
_BREAKS = re.compile(r"\r\n|[\r\u2028\u2029\u0085\v\f]")
_FENCE = re.compile(r"`{2,}")
_ENTITY = re.compile(r"&(?:amp|lt|gt);")
_LONGEST_GRAPHEME = 32


@dataclass(frozen=True)
class Message:
    """``blocks`` are what is shown, ``text`` what a notification or a plain client shows.

    Both are within Slack's limits and escaped: make them with the functions of this module.
    """

    text: str
    blocks: tuple[Block, ...] = ()


def plain(text: object) -> str:
    """``text`` without control characters and overrides of direction; tabs become spaces."""
    lines = _BREAKS.sub("\n", str(text)).replace("\t", " ")
    return _UNWANTED.sub("", lines)


def escape(text: object) -> str:
    """Plain text as mrkdwn that mentions nobody, links nowhere and opens no code block."""
    harmless = _FENCE.sub(lambda found: "'" * len(found[0]), plain(text))
    return _entities(harmless)


def bold(text: object) -> str:
    """Plain text in bold, on one line; empty for empty text."""
    return _marked("*", _one_line(text).replace("`", "'"))


def code(text: object) -> str:
    """Plain text in monospace, on one line; empty for empty text."""
    return _marked("`", _one_line(text).replace("`", "'"))


def link(url: str, label: object) -> str:
    """A link with a plain label; the label alone if ``url`` is not an http address."""
    shown = _one_line(label)
    address = _address(url)
    if address is None:
        return escape(shown)
    # A bar or an angle would end the link; entities keep the angle, nothing keeps the bar.
    return f"<{address}|{_entities((shown or NOTHING).replace('|', '¦').replace('`', chr(39)))}>"


def clip(text: str, limit: int) -> str:
    """Cut mrkdwn to at most ``limit`` characters, ending in "…" if it was longer.

    Cuts through no entity, no link and no character that is made of several. A code block that
    the cut opened is closed.
    """
    if length(text) <= limit:
        return text
    closing = "\n```" if text.count("```") >= 1 else ""
    room = limit - length(ELLIPSIS + closing)
    if room <= 0:
        return ELLIPSIS[:limit]
    kept = text[: _before_token(text, _before_grapheme(text, _place(text, room)))].rstrip()
    is_open = kept.count("```") % 2 == 1
    return kept + ELLIPSIS + (closing if is_open else "")


def length(text: str) -> int:
    """Characters as Slack's clients count them: those beyond the basic plane are two."""
    return len(text) + sum(character > "\uffff" for character in text)


def section(mrkdwn: str) -> Block:
    """A paragraph."""
    return {"type": "section", "text": _mrkdwn(mrkdwn, MAX_SECTION)}


def context(*mrkdwn: str) -> Block:
    """Small grey texts side by side, at most ten."""
    kept = [text for text in mrkdwn if text.strip()] or [NOTHING]
    if len(kept) > MAX_CONTEXT_ELEMENTS:
        left_out = len(kept) - MAX_CONTEXT_ELEMENTS + 1
        kept = [*kept[: MAX_CONTEXT_ELEMENTS - 1], f"{ELLIPSIS} and {left_out} more"]
    return {"type": "context", "elements": [_mrkdwn(text, MAX_CONTEXT) for text in kept]}


def header(text: object) -> Block:
    """A heading of plain text."""
    shown = clip(_one_line(text), MAX_HEADER) or NOTHING
    return {"type": "header", "text": {"type": "plain_text", "text": shown, "emoji": True}}


def table(
    columns: Sequence[str], rows: Sequence[Sequence[NumberOrText]], *, title: str = ""
) -> list[Block]:
    """A table in monospace; columns of numbers stand right. Plain text; rows may be cut.

    Hangul and other wide characters count as two columns. Floats are shown with two decimals and
    ``None`` as a dash: give text where something else is wanted. Without rows and title: nothing.
    """
    above = f"{bold(title)}\n" if title.strip() else ""
    if not rows:
        return [section(f"{above}{NOTHING}")] if above else []
    lines = [
        _entities(plain(line).replace("`", "'"))
        for line in lines_of_table(columns, [[_cell(value) for value in row] for row in rows])
    ]
    room = (
        MAX_SECTION - length(above) - length("```\n\n```") - length(f"\n{ELLIPSIS} and 99999 more")
    )
    shown: list[str] = []
    for line in lines:
        room -= length(line) + 1
        if room < 0:
            break
        shown.append(line)
    body = "\n".join(shown)
    left_out = len(lines) - len(shown)
    more = f"\n{ELLIPSIS} and {left_out} more" if left_out else ""
    return [section(f"{above}```\n{body}\n```{more}")]


def message(*blocks: Block, text: str) -> Message:
    """A message; ``text`` is its mrkdwn fallback and, without blocks, what is shown."""
    fallback = clip(text.strip(), MAX_FALLBACK) or NOTHING
    return Message(fallback, _fitting_blocks(blocks or (section(fallback),)))


def fitting(messages: Sequence[Message]) -> int:
    """How many of the first ``messages`` fit into one, at least one of a sequence with any."""
    count = blocks = characters = 0
    for one in messages:
        blocks += len(one.blocks)
        characters += sum(map(_json_length, one.blocks))
        if count and (blocks > MAX_BLOCKS or characters > MAX_BLOCKS_JSON):
            break
        count += 1
    return count


def joined(messages: Sequence[Message]) -> list[Message]:
    """The same content in as few messages as fit, in order."""
    left = list(messages)
    together: list[Message] = []
    while left:
        count = fitting(left)
        part, left = left[:count], left[count:]
        blocks = tuple(block for one in part for block in one.blocks)
        together.append(Message(clip("\n".join(m.text for m in part), MAX_FALLBACK), blocks))
    return together


def _fitting_blocks(blocks: Sequence[Block]) -> tuple[Block, ...]:
    room = MAX_BLOCKS_JSON - _json_length(_left_out(len(blocks)))
    count = 0
    for block in blocks:
        room -= _json_length(block)
        if room < 0:
            break
        count += 1
    if count == len(blocks) <= MAX_BLOCKS:
        return tuple(blocks)
    count = min(count, MAX_BLOCKS - 1)
    return (*blocks[:count], _left_out(len(blocks) - count))


def _left_out(count: int) -> Block:
    return context(f"{ELLIPSIS} and {count} more that did not fit into this message")


def _json_length(block: Block) -> int:
    return length(json.dumps(block, ensure_ascii=False))


def _mrkdwn(text: str, limit: int) -> Block:
    # verbatim: Slack makes no links and no mentions of words such as @channel or #general.
    shown = clip(text, limit) if text.strip() else NOTHING
    return {"type": "mrkdwn", "text": shown, "verbatim": True}


def _entities(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _one_line(text: object) -> str:
    return " ".join(plain(text).split())


def _cell(value: NumberOrText) -> NumberOrText:
    return _one_line(value) if isinstance(value, str) else value


def _marked(sign: str, text: str) -> str:
    return f"{sign}{_entities(text)}{sign}" if text else ""


def _address(url: str) -> str | None:
    """``url`` as it may stand in a link, None if it is not an http address."""
    cleaned = "".join(plain(url).split())
    try:
        parts = urlsplit(cleaned)
    except ValueError:
        return None
    if parts.scheme.lower() not in ("http", "https") or not parts.netloc:
        return None
    safe = quote(cleaned, safe="%/:?#[]@!$&'()*+,;=~-._")
    return _entities(safe) if length(safe) <= MAX_URL else None


def _place(text: str, room: int) -> int:
    """Index up to which ``text`` has at most ``room`` characters."""
    place = min(room, len(text))
    while length(text[:place]) > room:
        place -= max(1, (length(text[:place]) - room) // 2)
    return max(place, 0)


def _before_grapheme(text: str, place: int) -> int:
    """The last index up to ``place`` that does not cut through a visible character."""
    lowest = max(0, place - _LONGEST_GRAPHEME)
    for candidate in range(place, lowest, -1):
        if not _is_inside(text, candidate):
            return candidate
    return place


def _is_inside(text: str, place: int) -> bool:
    if place <= 0 or place >= len(text):
        return False
    before, after = text[place - 1], text[place]
    if after in "\u200d\ufe0e\ufe0f" or before == "\u200d":
        return True
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\U000e0020" <= after <= "\U000e007f":
        return True
    if _is_flag(after) and _is_flag(before):
        run = 0
        while place - 1 - run >= 0 and _is_flag(text[place - 1 - run]):
            run += 1
        return run % 2 == 1
    is_jamo = "\u1160" <= after <= "\u11ff"
    return is_jamo or unicodedata.category(after) in ("Mn", "Mc", "Me")


def _is_flag(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _before_token(text: str, place: int) -> int:
    """``place``, or the start of the entity or link that it would cut."""
    if (opened := text.rfind("<", 0, place)) > text.rfind(">", 0, place):
        return opened
    for entity in _ENTITY.finditer(text, max(0, place - 5), place + 5):
        if entity.start() < place < entity.end():
            return entity.start()
    return place
