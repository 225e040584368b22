"""What a message may be made of. What belongs here: Slack's limits on text, blocks and metadata.

Slack's Block Kit has more kinds of blocks than ``BLOCK_TYPES``; those are unsupported here.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

MAX_TEXT, MAX_BLOCKS, MAX_BLOCK_ID = 40_000, 50, 255
MAX_SECTION_TEXT, MAX_FIELDS, MAX_FIELD_TEXT = 3000, 10, 2000
MAX_HEADER_TEXT, MAX_CONTEXT_ELEMENTS, MAX_ALT_TEXT, MAX_URL = 150, 10, 2000, 3000
MAX_METADATA_BYTES = 16_384
_MRKDWN, _PLAIN = "mrkdwn", "plain_text"


class SlackError(Exception):
    """A logical error: its code, Slack's messages about it, and further fields of the answer."""

    def __init__(self, code: str, *messages: str, **fields: str) -> None:
        super().__init__(code)
        self.messages = messages
        self.fields = fields


def content(arguments: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """Text and blocks of a message; ``SlackError`` where Slack would refuse them."""
    text = arguments.get("text") or ""
    if not isinstance(text, str):
        raise SlackError("invalid_arguments", "[ERROR] must be a string [json-pointer:/text]")
    blocks = _blocks(arguments.get("blocks"))
    if not text.strip() and not blocks and not arguments.get("attachments"):
        raise SlackError("no_text")
    if len(text) > MAX_TEXT:
        raise SlackError("msg_too_long")
    if len(blocks) > MAX_BLOCKS:
        raise _invalid(f"no more than {MAX_BLOCKS} items allowed", "/blocks")
    seen: set[str] = set()
    for place, block in enumerate(blocks):
        _check_block(block, f"/blocks/{place}")
        if (block_id := block.get("block_id")) is not None:
            _check_block_id(block_id, f"/blocks/{place}/block_id", seen)
    return text, blocks


def metadata(arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """Metadata of a message, ``{}`` to remove it and ``None`` where none is named."""
    given = _parsed(arguments.get("metadata"), "invalid_metadata_format")
    if given is None:
        return None
    if not isinstance(given, dict):
        raise SlackError("invalid_metadata_format")
    if not given:
        return {}
    event_type, payload = given.get("event_type"), given.get("event_payload")
    if set(given) != {"event_type", "event_payload"}:
        raise SlackError("invalid_metadata_format")
    if not isinstance(event_type, str) or not event_type or not isinstance(payload, dict):
        raise SlackError("invalid_metadata_format")
    if len(json.dumps(given).encode()) > MAX_METADATA_BYTES:
        raise SlackError("metadata_too_large")
    return given


def _blocks(given: Any) -> list[Any]:
    blocks = _parsed(given, "invalid_blocks_format")
    if blocks is None:
        return []
    if not isinstance(blocks, list):
        raise SlackError("invalid_blocks_format")
    return blocks


def _parsed(given: Any, error: str) -> Any:
    """A value that may come as JSON text."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given) if given else None
    except ValueError:
        raise SlackError(error) from None


def _invalid(text: str, where: str) -> SlackError:
    return SlackError("invalid_blocks", f"[ERROR] {text} [json-pointer:{where}]")


def _check_block(block: Any, where: str) -> None:
    if not isinstance(block, dict) or not block.get("type"):
        raise _invalid("missing required field: type", where)
    kind = str(block["type"])
    if kind not in BLOCK_TYPES:
        raise _invalid(f"unsupported type: {kind}", f"{where}/type")
    names, check = BLOCK_TYPES[kind]
    _check_names(block, {"type", "block_id", *names}, where)
    check(block, where)


def _check_block_id(block_id: Any, where: str, seen: set[str]) -> None:
    if not isinstance(block_id, str) or len(block_id) > MAX_BLOCK_ID:
        raise _invalid(f"must be less than {MAX_BLOCK_ID + 1} characters", where)
    if block_id in seen:
        raise _invalid("`block_id` already exists", where)
    seen.add(block_id)


def _check_names(given: Mapping[str, Any], allowed: Collection[str], where: str) -> None:
    for name in given:
        if name not in allowed:
            raise _invalid(f"invalid additional property: {name}", where)


def _check_section(block: Mapping[str, Any], where: str) -> None:
    text, fields = block.get("text"), block.get("fields")
    if text is None and fields is None:
        raise _invalid("missing required field: text", where)
    if text is not None:
        _check_text(text, MAX_SECTION_TEXT, f"{where}/text")
    if fields is not None:
        for place, entry in enumerate(_items(fields, MAX_FIELDS, f"{where}/fields")):
            _check_text(entry, MAX_FIELD_TEXT, f"{where}/fields/{place}")
    if (accessory := block.get("accessory")) is not None:
        _check_image(accessory, f"{where}/accessory")


def _check_header(block: Mapping[str, Any], where: str) -> None:
    _check_text(block.get("text"), MAX_HEADER_TEXT, f"{where}/text", kinds=(_PLAIN,))


def _check_context(block: Mapping[str, Any], where: str) -> None:
    elements = _items(block.get("elements"), MAX_CONTEXT_ELEMENTS, f"{where}/elements")
    for place, element in enumerate(elements):
        if isinstance(element, dict) and element.get("type") == "image":
            _check_image(element, f"{where}/elements/{place}")
        else:
            _check_text(element, MAX_SECTION_TEXT, f"{where}/elements/{place}")


def _check_divider(_: Mapping[str, Any], __: str) -> None:
    """A divider has nothing to be wrong."""


def _check_image(block: Any, where: str) -> None:
    if not isinstance(block, dict) or block.get("type") != "image":
        raise _invalid("failed to match all allowed schemas", where)
    alt, file, address = block.get("alt_text"), block.get("slack_file"), block.get("image_url")
    if not isinstance(alt, str) or not 0 < len(alt) <= MAX_ALT_TEXT:
        raise _invalid("missing required field: alt_text", where)
    if (file is None) == (address is None):
        raise _invalid("must provide one of: image_url, slack_file", where)
    if address is not None and not _is_web_address(address):
        raise _invalid("invalid url", f"{where}/image_url")
    if file is not None and (not isinstance(file, dict) or not (file.keys() & {"id", "url"})):
        raise _invalid("must provide one of: id, url", f"{where}/slack_file")
    if (title := block.get("title")) is not None:
        _check_text(title, MAX_ALT_TEXT, f"{where}/title", kinds=(_PLAIN,))


def _is_web_address(address: Any) -> bool:
    return (
        isinstance(address, str)
        and address.startswith(("http://", "https://"))
        and len(address) <= MAX_URL
    )


def _items(given: Any, most: int, where: str) -> list[Any]:
    if not isinstance(given, list) or not given:
        raise _invalid("must have at least 1 item", where)
    if len(given) > most:
        raise _invalid(f"no more than {most} items allowed", where)
    return given


def _check_text(
    given: Any, most: int, where: str, kinds: Sequence[str] = (_MRKDWN, _PLAIN)
) -> None:
    if not isinstance(given, dict):
        raise _invalid("missing required field: text", where)
    kind, text = given.get("type"), given.get("text")
    if kind not in kinds:
        raise _invalid(f"must be one of: {', '.join(kinds)}", f"{where}/type")
    _check_names(given, {"type", "text", "emoji" if kind == _PLAIN else "verbatim"}, where)
    if not isinstance(text, str):
        raise _invalid("missing required field: text", where)
    if not text:
        raise _invalid("must be more than 0 characters", f"{where}/text")
    if len(text) > most:
        raise _invalid(f"must be less than {most + 1} characters", f"{where}/text")


BLOCK_TYPES: Mapping[str, tuple[tuple[str, ...], Callable[[Mapping[str, Any], str], None]]] = {
    "section": (("text", "fields", "accessory", "expand"), _check_section),
    "header": (("text",), _check_header),
    "context": (("elements",), _check_context),
    "divider": ((), _check_divider),
    "image": (("image_url", "slack_file", "alt_text", "title"), _check_image),
}
"""Properties of each supported block, and what checks them."""
