"""The page that shows what was posted. What belongs here: HTML of channels and threads.

One design for two readers: the sandbox serves it and it renews itself; ``export_page`` writes all
of it into one file that needs nothing else.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from itertools import islice
from pathlib import Path
from urllib.parse import quote

from quant_assets.sandbox.slack_mrkdwn import blocks_html, mrkdwn
from quant_assets.sandbox.slack_style import POLICY, SCRIPT, STYLE
from quant_assets.sandbox.slack_workspace import Channel, Message, SlackWorkspace, StoredFile
from quant_assets.sandbox.wire import Response, html_response

PAGE_PATH, FILE_PREFIX = "/slack", "/slack/files/"
THREADS_A_PAGE, UNFOLDED_THREADS = 30, 5
Thread = Sequence[Message]


@dataclass(frozen=True)
class _Links:
    """Where the parts of a page lead: to the sandbox, or to places of the same file."""

    channel: Callable[[str], str]
    message: Callable[[str, Message], str]
    file: Callable[[StoredFile], str]


def permalink(channel: str, message: Message) -> str:
    """Path of a message on the page."""
    below = f"#{message.ts}" if message.is_reply else ""
    return f"{PAGE_PATH}/{quote(channel)}/{message.root_ts}{below}"


_LIVE = _Links(
    channel=lambda name: f"{PAGE_PATH}?channel={quote(name)}",
    message=permalink,
    file=lambda file: f"{FILE_PREFIX}{file.file_id}",
)
_STATIC = _Links(
    channel=lambda name: f"#channel-{quote(name)}",
    message=lambda _, message: f"#{message.ts}",
    file=lambda file: "data:{};base64,{}".format(
        "image/png" if file.is_picture else "application/octet-stream",
        base64.b64encode(file.content or b"").decode(),
    ),
)


def page_response(workspace: SlackWorkspace, path: str, query: Mapping[str, str]) -> Response:
    """The page of a channel, or under ``/slack/<channel>/<ts>`` that of one thread."""
    parts = path.removeprefix(PAGE_PATH).strip("/").split("/")
    named = parts[0] or query.get("channel") or _liveliest(workspace)
    channel = workspace.channel(named)
    threads = [] if channel is None else _threads(workspace, channel)
    if channel is None:
        status, main = 404, _empty(f"There is no channel {escape(named)}.")
    elif len(parts) > 1:
        thread = next((t for t in threads if t[0].root_ts == parts[1]), None)
        status = 200 if thread else 404
        main = _one_thread(channel, thread)
    else:
        status, main = 200, _channel_page(channel, threads, query.get("before", ""))
    name = "" if channel is None else channel.name
    text = _document(workspace, name, _LIVE, main, "", f"<script>{SCRIPT}</script>")
    headers = {
        "Content-Security-Policy": POLICY,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
    }
    response = html_response(text, status)
    return Response(response.status, response.body, response.content_type, headers)


def export_page(workspace: SlackWorkspace, path: Path) -> None:
    """Write every channel into one file, pictures included."""
    sections = []
    for channel in sorted(workspace.channels(), key=lambda c: _newest(workspace, c), reverse=True):
        if threads := _threads(workspace, channel):
            body = _channel_header(channel, threads) + _threads_html(channel, threads, _STATIC)
            sections.append(f'<section id="channel-{escape(channel.name)}">{body}</section>')
    policy = f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">'
    main = "".join(sections) or _empty("Nothing was posted yet.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(html_response(_document(workspace, "", _STATIC, main, policy, "")).body)
    temporary.replace(path)


def _document(
    workspace: SlackWorkspace, shown: str, links: _Links, main: str, head: str, foot: str
) -> str:
    title = f"#{shown} | Slack sandbox" if shown else "Slack sandbox"
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">{head}'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
        '<aside><div class="side"><h1>Slack sandbox</h1>'
        '<p class="note">What a real workspace would show</p>'
        f"{_navigation(workspace, shown, links)}</div></aside><main>{main}</main>"
        f'<div id="gone">The sandbox has stopped</div>{foot}</body></html>'
    )


def _navigation(workspace: SlackWorkspace, shown: str, links: _Links) -> str:
    entries = []
    for channel in workspace.channels():
        count = len(workspace.messages(channel.channel_id))
        is_open = channel.is_member and not channel.is_archived
        if not count and channel.name != shown and (links is _STATIC or not is_open):
            continue
        state = "on" if channel.name == shown else "" if count else "empty-channel"
        entries.append(
            f'<a class="{state}" href="{escape(links.channel(channel.name))}">'
            f'<span class="hash">#</span><span class="name">{escape(channel.name)}</span>'
            f'<span class="count">{count or ""}</span></a>'
        )
    return f"<nav>{''.join(entries)}</nav>"


def _newest(workspace: SlackWorkspace, channel: Channel) -> str:
    return max((message.ts for message in workspace.messages(channel.channel_id)), default="")


def _liveliest(workspace: SlackWorkspace) -> str:
    """Channel of the newest message."""
    messages = workspace.messages()
    return messages[-1].channel if messages else "quant-runs"


def _threads(workspace: SlackWorkspace, channel: Channel) -> list[Thread]:
    """Threads of a channel, newest first; each by time, its root first."""
    threads: dict[str, list[Message]] = {}
    for message in workspace.messages(channel.channel_id):
        threads.setdefault(message.root_ts, []).append(message)
    return [thread for _, thread in sorted(threads.items(), reverse=True)]


def _channel_page(channel: Channel, threads: Sequence[Thread], before: str) -> str:
    wanted = iter([thread for thread in threads if not before or thread[0].root_ts < before])
    shown = list(islice(wanted, THREADS_A_PAGE))
    older = ""
    if shown and next(wanted, None) is not None:
        address = f"{_LIVE.channel(channel.name)}&before={shown[-1][0].root_ts}"
        older = f'<p class="older"><a href="{escape(address)}">Older threads</a></p>'
    body = _threads_html(channel, shown, _LIVE) or _empty(
        "Nothing was posted here yet. A run, an alert or <code>quant notify test</code> opens "
        "the first thread."
    )
    return _channel_header(channel, threads) + body + older


def _channel_header(channel: Channel, threads: Sequence[Thread]) -> str:
    messages = sum(len(thread) for thread in threads)
    counts = f"{_counted(len(threads), 'thread')}, {_counted(messages, 'message')}"
    return (
        f"<header><h2># {escape(channel.name)}</h2>"
        f"<p>{counts}, newest first, times in UTC</p></header>"
    )


def _one_thread(channel: Channel, thread: Thread | None) -> str:
    name, address = escape(channel.name), escape(_LIVE.channel(channel.name))
    header = (
        f"<header><h2># {name}</h2>"
        f'<p>One thread, times in UTC, <a href="{address}">all threads</a></p></header>'
    )
    if thread is None:
        return header + _empty("There is no such thread here.")
    return header + _thread(channel, thread, _LIVE, is_open=True)


def _threads_html(channel: Channel, threads: Sequence[Thread], links: _Links) -> str:
    return "".join(
        _thread(channel, thread, links, is_open=place < UNFOLDED_THREADS)
        for place, thread in enumerate(threads)
    )


def _thread(channel: Channel, thread: Thread, links: _Links, *, is_open: bool) -> str:
    root, *replies = thread
    below = ""
    if replies:
        state = " open" if is_open else ""
        shown = "".join(_reply(channel, root, reply, links) for reply in replies)
        last = _time(replies[-1].time, root.time)
        below = (
            f'<details id="replies-{root.ts}"{state}>'
            f"<summary>{_counted(len(replies), 'reply', 'replies')} "
            f"<span>last at {last}</span></summary>"
            f'<div class="replies">{shown}</div></details>'
        )
    return (
        f'<article class="thread" id="{root.ts}"><div class="root"><div class="avatar">q</div>'
        f'<div><span class="who">quant</span><span class="app">APP</span>'
        f"{_stamp(channel, root, links, None)}{_edited(root)}{_content(root, links)}"
        f"</div></div>{below}</article>"
    )


def _reply(channel: Channel, root: Message, message: Message, links: _Links) -> str:
    return (
        f'<div class="reply" id="{message.ts}">{_stamp(channel, message, links, root.time)}'
        f"<div>{_content(message, links)}{_edited(message)}</div></div>"
    )


def _stamp(channel: Channel, message: Message, links: _Links, since: datetime | None) -> str:
    when = message.time
    return (
        f'<a class="time" href="{escape(links.message(channel.name, message))}" '
        f'title="{when:%Y-%m-%d %H:%M:%S} UTC">{_time(when, since)}</a>'
    )


def _time(when: datetime, since: datetime | None) -> str:
    """Time of day, with the date where it is not that of ``since``."""
    is_same_day = since is not None and since.date() == when.date()
    return f"{when:%H:%M:%S}" if is_same_day else f"{when:%Y-%m-%d %H:%M:%S}"


def _edited(message: Message) -> str:
    if not message.edits:
        return ""
    return f'<span class="edited" title="{_counted(message.edits, "time")}">(edited)</span>'


def _content(message: Message, links: _Links) -> str:
    """What a message says: its blocks, or else its text; then its files."""
    text = f'<div class="text">{mrkdwn(message.text)}</div>' if message.text else ""
    return (_blocks(message) or text) + "".join(_file(f, links) for f in message.files)


def _blocks(message: Message) -> str:
    """The blocks; none if a file that was tampered with gives them a shape that Slack has not."""
    try:
        return blocks_html(message.blocks)
    except (TypeError, AttributeError, ValueError):
        return ""


def _file(file: StoredFile, links: _Links) -> str:
    address, title = escape(links.file(file)), escape(file.title or file.name)
    if file.is_picture:
        return (
            f'<figure><figcaption>{title}</figcaption><img src="{address}" alt="{title}"></figure>'
        )
    name = escape(file.name)
    return f'<div class="text"><a href="{address}" download="{name}">{title}</a></div>'


def _empty(html: str) -> str:
    return f'<p class="empty">{html}</p>'


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"
