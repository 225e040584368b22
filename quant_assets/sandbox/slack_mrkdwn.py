"""Slack's mark-up as HTML. What belongs here: texts and blocks, no page around them.

Whatever a text holds, only the tags written here come out, and links lead to http or https only.
"""

import re
from collections.abc import Callable, Mapping
from html import escape
from typing import Any
from unicodedata import east_asian_width

from quant_assets.sandbox.slack_emoji import with_signs

# Two private characters around a number stand for HTML that is already made. Nothing is made of
# what holds them: a link inside the address of another would end its attribute.
_OPEN, _CLOSE = "\ue000", "\ue001"
_FENCED = re.compile(r"```\n?(.+?)\n?```", re.DOTALL)
_CODE = re.compile("`([^`\n\ue000]+)`")
_CONTROL = re.compile("<([^<>\n\ue000]+)>")
_ADDRESS = re.compile("https?://[^\\s<>|`\ue000]*[^\\s<>|`.,;:!?'\"*_~)\\]\ue000\ue001]")
_STYLES = tuple(
    (re.compile(rf"(?<![\w{mark}])[{mark}](?=\S)([^{mark}\n]+)(?<=\S)[{mark}](?![\w{mark}])"), tag)
    for mark, tag in (("*", "strong"), ("_", "em"), ("~", "del"))
)
_MADE = re.compile(f"{_OPEN}(\\d+){_CLOSE}")
_AROUND_BLOCK = re.compile(f"\n?({_OPEN}\\d+{_CLOSE}{_CLOSE})\n?")
_QUOTE = re.compile(r"(?:>|&gt;) ?")


def mrkdwn(text: str, *, is_verbatim: bool = False) -> str:
    """HTML of a text in Slack's mark-up; a bare address is a link unless ``is_verbatim``."""
    return _Rendering().html(text, is_verbatim)


def plain(text: str) -> str:
    """HTML of a text without mark-up; only named signs are shown."""
    return with_signs(escape(_unescaped(text)))


def blocks_html(blocks: list[Any]) -> str:
    """HTML of the blocks of a message."""
    return "".join(_block(block) for block in blocks if isinstance(block, dict))


class _Rendering:
    """One text on its way: what is made already is put aside, the rest is escaped as a whole."""

    def __init__(self) -> None:
        self._made: list[str] = []

    def html(self, text: str, is_verbatim: bool) -> str:
        text = text.replace(_OPEN, "").replace(_CLOSE, "")
        text = _FENCED.sub(lambda match: self._aside(_pre(match[1])) + _CLOSE, text)
        text = _CODE.sub(lambda match: self._aside(f"<code>{_literal(match[1])}</code>"), text)
        text = _CONTROL.sub(self._control, text)
        if not is_verbatim:
            text = _ADDRESS.sub(lambda match: self._aside(_link(match[0], match[0])), text)
        text = _AROUND_BLOCK.sub(r"\1", text)
        lines = text.split("\n")
        text = "".join(self._quoted(lines)).replace(_CLOSE + _CLOSE, _CLOSE)
        return _MADE.sub(lambda match: self._made[int(match[1])], text)

    def _aside(self, html: str) -> str:
        self._made.append(html)
        return f"{_OPEN}{len(self._made) - 1}{_CLOSE}"

    def _control(self, match: re.Match[str]) -> str:
        target, _, label = match[1].partition("|")
        if target.startswith(("http://", "https://")):
            return self._aside(_link(target, label or target))
        if target.startswith(("!date^", "!subteam^")):
            return self._aside(_literal(label))
        if target.startswith(("!", "@", "#")):
            sign = "@" if target[0] == "!" else target[0]
            shown = label.removeprefix(sign) or target[1:]
            return self._aside(f'<span class="mention">{sign}{_literal(shown)}</span>')
        return match[0]

    def _quoted(self, lines: list[str]) -> list[str]:
        """HTML of lines, those that begin with ``>`` in quotes."""
        found: list[str] = []
        kinds: list[bool] = []
        for line in lines:
            is_quote = _QUOTE.match(line) is not None
            content = _styled(_QUOTE.sub("", line, count=1) if is_quote else line)
            if kinds and kinds[-1] == is_quote:
                found[-1] += "\n" + content
            else:
                found.append(content)
                kinds.append(is_quote)
        return [
            f"<blockquote>{part}</blockquote>" if is_quote else part
            for part, is_quote in zip(found, kinds, strict=True)
        ]


def _styled(text: str) -> str:
    """A line escaped, with bold, italic and struck parts and signs."""
    text = escape(_unescaped(text))
    for pattern, tag in _STYLES:
        text = pattern.sub(rf"<{tag}>\1</{tag}>", text)
    return with_signs(text)


def _unescaped(text: str) -> str:
    """The three characters that Slack wants escaped as themselves."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _literal(text: str) -> str:
    return escape(_unescaped(text))


def _pre(text: str) -> str:
    """Monospaced text; wide characters take two columns whatever font has them."""
    return "<pre>{}</pre>".format(
        "".join(
            f'<span class="wide">{sign}</span>' if east_asian_width(sign) in "WF" else sign
            for sign in _literal(text)
        )
    )


def _link(address: str, label: str) -> str:
    return (
        f'<a href="{_literal(address)}" target="_blank" rel="noopener noreferrer">'
        f"{with_signs(_literal(label))}</a>"
    )


def _text(content: Any) -> str:
    if not isinstance(content, dict):
        return ""
    text = str(content.get("text", ""))
    if content.get("type") != "mrkdwn":
        return plain(text)
    return mrkdwn(text, is_verbatim=content.get("verbatim") is True)


def _block(block: Mapping[str, Any]) -> str:
    made = _BLOCKS.get(str(block.get("type")))
    return "" if made is None else made(block)


def _section(block: Mapping[str, Any]) -> str:
    text = f'<div class="text">{_text(block["text"])}</div>' if block.get("text") else ""
    fields = "".join(f'<div class="text">{_text(entry)}</div>' for entry in block.get("fields", ()))
    picture = _image(block["accessory"]) if block.get("accessory") else ""
    return text + (f'<div class="fields">{fields}</div>' if fields else "") + picture


def _header(block: Mapping[str, Any]) -> str:
    return f'<div class="header">{_text(block.get("text"))}</div>'


def _context(block: Mapping[str, Any]) -> str:
    elements = (
        _image(element) if element.get("type") == "image" else f"<span>{_text(element)}</span>"
        for element in block.get("elements", ())
        if isinstance(element, dict)
    )
    return f'<div class="context">{"".join(elements)}</div>'


def _image(block: Mapping[str, Any]) -> str:
    """A link to the picture: the page loads nothing from elsewhere."""
    alt, address = str(block.get("alt_text", "")), str(block.get("image_url", ""))
    is_web = address.startswith(("http://", "https://"))
    return f'<div class="text">{_link(address, alt) if is_web else escape(alt)}</div>'


_BLOCKS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "section": _section,
    "header": _header,
    "context": _context,
    "divider": lambda _: "<hr>",
    "image": _image,
}
