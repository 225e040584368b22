"""The page that shows what was posted. What belongs here: HTML of channels and threads."""

from datetime import UTC, datetime
from html import escape
from typing import Any

from quant_assets.sandbox.slack_workspace import Message, SlackWorkspace

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:56rem;color:#1d1c1d}
h2{border-bottom:1px solid #ddd;padding-bottom:.2rem}
article{margin:.8rem 0}
.replies{margin-left:1.6rem;border-left:3px solid #e3e3e3;padding-left:.9rem}
time{color:#777;font-size:.8rem}
p{margin:.15rem 0;white-space:pre-wrap;overflow-wrap:anywhere}
img{max-width:100%;border:1px solid #ddd}
"""


def page(workspace: SlackWorkspace) -> str:
    """HTML page of every channel that has messages, newest thread first."""
    sections = [
        _channel(workspace, channel, name) for channel, name in workspace.channels().items()
    ]
    body = "".join(section for section in sections if section) or "<p>Nothing was posted yet.</p>"
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="refresh" content="5"><title>Slack sandbox</title>'
        f"<style>{_STYLE}</style></head><body><h1>Slack sandbox</h1>{body}</body></html>"
    )


def _channel(workspace: SlackWorkspace, channel: str, name: str) -> str:
    messages = workspace.messages(channel)
    if not messages:
        return ""
    threads: dict[str, list[Message]] = {}
    for message in messages:
        threads.setdefault(message.thread_ts or message.ts, []).append(message)
    shown = "".join(_thread(thread) for _, thread in sorted(threads.items(), reverse=True))
    return f"<section><h2>#{escape(name)}</h2>{shown}</section>"


def _thread(messages: list[Message]) -> str:
    root, *replies = messages
    below = "".join(_message(reply) for reply in replies)
    return _message(root) + (f'<div class="replies">{below}</div>' if replies else "")


def _message(message: Message) -> str:
    when = datetime.fromtimestamp(float(message.ts), UTC)
    edited = " (edited)" if message.edits else ""
    texts = [text for block in message.blocks for text in _texts(block)] or [message.text]
    paragraphs = "".join(f"<p>{escape(text)}</p>" for text in texts)
    files = "".join(_file(file.file_id, file.title or file.name) for file in message.files)
    return f"<article><time>{when:%Y-%m-%d %H:%M:%S}{edited}</time>{paragraphs}{files}</article>"


def _file(file_id: str, title: str) -> str:
    address = f"/slack/files/{file_id}"
    if title.endswith(".png"):
        return f'<p><img src="{address}" alt="{escape(title)}"></p>'
    return f'<p><a href="{address}">{escape(title)}</a></p>'


def _texts(block: Any) -> list[str]:
    """Texts of a block, wherever it carries them."""
    found = []
    for part in (block.get("text"), *(block.get("fields") or []), *(block.get("elements") or [])):
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            found.append(part["text"])
    return found
