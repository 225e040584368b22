"""Slack's Web API. What belongs here: methods, their checks and their error codes.

Logical errors come with HTTP 200 and ``ok: false``; only the rate limit is an HTTP 429. Any token
of the form ``xoxb-...`` is accepted.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from quant_assets.sandbox.slack_page import page
from quant_assets.sandbox.slack_workspace import (
    BOT_ID,
    BOT_USER,
    TEAM_ID,
    Message,
    SlackWorkspace,
    StoredFile,
)
from quant_assets.sandbox.wire import Request, Response, html_response, json_response

API_PREFIX = "/api/"
UPLOAD_PREFIX = "/api/upload/"
PAGE_PATH = "/slack"
FILE_PREFIX = "/slack/files/"
MAX_TEXT, MAX_SECTION_TEXT, MAX_HEADER_TEXT, MAX_BLOCKS = 40_000, 3000, 150, 50
_TEXT_LIMITS = {"section": MAX_SECTION_TEXT, "header": MAX_HEADER_TEXT}
_TIMESTAMP = re.compile(r"\d{10}\.\d{6}")


class SlackError(Exception):
    """A logical error: its code, and the messages that Slack adds."""

    def __init__(self, code: str, *messages: str) -> None:
        super().__init__(code)
        self.messages = messages


def is_slack_path(path: str) -> bool:
    """Whether the Slack stand-in answers ``path``."""
    return path == PAGE_PATH or path.startswith((API_PREFIX, FILE_PREFIX))


def channel_of(request: Request) -> str:
    """Channel that a request names; empty if none."""
    if not request.path.startswith(API_PREFIX) or request.path.startswith(UPLOAD_PREFIX):
        return ""
    return str(_arguments(request).get("channel", ""))


class Slack:
    """Answers for ``/api/...`` and the page that shows what was posted."""

    def __init__(self) -> None:
        self.workspace = SlackWorkspace()
        self._methods: Mapping[str, Callable[[Request, dict[str, Any]], dict[str, Any]]] = {
            "api.test": lambda _, arguments: {"args": arguments},
            "auth.test": self._auth_test,
            "chat.postMessage": self._post_message,
            "chat.update": self._update,
            "chat.delete": self._delete,
            "conversations.list": self._list,
            "conversations.history": self._history,
            "conversations.replies": self._replies,
            "files.getUploadURLExternal": self._upload_url,
            "files.completeUploadExternal": self._complete_upload,
        }

    def answer(self, request: Request) -> Response:
        """Response to a request to the API, to an upload address or to the page."""
        if request.path == PAGE_PATH:
            return html_response(page(self.workspace))
        if request.path.startswith(FILE_PREFIX):
            return self._download(request)
        if request.path.startswith(UPLOAD_PREFIX):
            return self._receive(request)
        return self._call(request)

    def _call(self, request: Request) -> Response:
        try:
            if (fault := request.fault("error")) is not None:
                raise SlackError(str(fault.option("error", "fatal_error")))
            method = self._methods.get(request.path.removeprefix(API_PREFIX))
            if method is None:
                raise SlackError("unknown_method")
            arguments = _arguments(request)
            _check_token(request, arguments)
            wait = self._wait(request, arguments)
            if wait > 0:
                content = {"ok": False, "error": "ratelimited"}
                return json_response(content, 429, Retry_After=str(math.ceil(wait)))
            content = {"ok": True, **method(request, arguments)}
        except SlackError as error:
            content = {"ok": False, "error": str(error)}
            if error.messages:
                content["response_metadata"] = {"messages": list(error.messages)}
        if request.fault("empty") is not None:
            content = {}
        return json_response(content)

    def _wait(self, request: Request, arguments: Mapping[str, Any]) -> float:
        if request.path != f"{API_PREFIX}chat.postMessage":
            return 0.0
        channel = self.workspace.channel_id(str(arguments.get("channel") or ""))
        return 0.0 if channel is None else self.workspace.seconds_to_wait(channel)

    def _auth_test(self, request: Request, _: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "url": _base(request) + "/",
            "team": "sandbox",
            "user": "quant",
            "team_id": TEAM_ID,
            "user_id": BOT_USER,
            "bot_id": BOT_ID,
            "is_enterprise_install": False,
        }

    def _post_message(self, request: Request, arguments: Mapping[str, Any]) -> dict[str, Any]:
        channel = self._channel(arguments)
        text, blocks = _content(arguments)
        thread_ts = arguments.get("thread_ts") or None
        if thread_ts is not None:
            if not _TIMESTAMP.fullmatch(str(thread_ts)):
                raise SlackError("invalid_thread_ts")
            root = self.workspace.message(channel, str(thread_ts))
            if root is None:
                raise SlackError("thread_not_found")
            thread_ts = root.thread_ts or root.ts
        message = self.workspace.post(
            request.now, channel, text, blocks=blocks, thread_ts=thread_ts
        )
        return {"channel": channel, "ts": message.ts, "message": message.as_dict()}

    def _update(self, _: Request, arguments: Mapping[str, Any]) -> dict[str, Any]:
        message = self._message(arguments)
        text, blocks = _content(arguments)
        message.text, message.blocks = text, blocks
        message.edits += 1
        return {
            "channel": message.channel,
            "ts": message.ts,
            "text": text,
            "message": message.as_dict(),
        }

    def _delete(self, _: Request, arguments: Mapping[str, Any]) -> dict[str, Any]:
        message = self._message(arguments)
        self.workspace.delete(message)
        return {"channel": message.channel, "ts": message.ts}

    def _list(self, _: Request, __: Mapping[str, Any]) -> dict[str, Any]:
        channels = [
            {
                "id": channel,
                "name": name,
                "name_normalized": name,
                "is_channel": True,
                "is_private": False,
                "is_archived": False,
                "is_member": True,
            }
            for channel, name in self.workspace.channels().items()
        ]
        return {"channels": channels, "response_metadata": {"next_cursor": ""}}

    def _history(self, _: Request, arguments: Mapping[str, Any]) -> dict[str, Any]:
        channel = self._channel(arguments)
        oldest, latest = str(arguments.get("oldest", "0")), str(arguments.get("latest", "9" * 12))
        roots = [m for m in self.workspace.messages(channel) if not m.is_reply]
        kept = [m for m in reversed(roots) if float(oldest) < float(m.ts) < float(latest)]
        limit = int(arguments.get("limit", 100))
        shown = [self._with_replies(message) for message in kept[:limit]]
        return {"messages": shown, "has_more": len(kept) > limit}

    def _replies(self, _: Request, arguments: Mapping[str, Any]) -> dict[str, Any]:
        channel = self._channel(arguments)
        thread = self.workspace.thread(channel, str(arguments.get("ts", "")))
        if not thread:
            raise SlackError("thread_not_found")
        return {"messages": [self._with_replies(m) for m in thread], "has_more": False}

    def _with_replies(self, message: Message) -> dict[str, Any]:
        if message.is_reply:
            return message.as_dict()
        return message.as_dict(len(self.workspace.thread(message.channel, message.ts)) - 1)

    def _upload_url(self, request: Request, arguments: Mapping[str, Any]) -> dict[str, Any]:
        name, length = arguments.get("filename"), str(arguments.get("length", ""))
        if not name or not length.isdigit() or int(length) == 0:
            raise SlackError("invalid_arguments", "[ERROR] filename and length are required")
        file = self.workspace.new_file(str(name), int(length))
        address = f"{_base(request)}{UPLOAD_PREFIX}{file.file_id}"
        return {"upload_url": address, "file_id": file.file_id}

    def _receive(self, request: Request) -> Response:
        file = self.workspace.file(request.path.removeprefix(UPLOAD_PREFIX))
        if file is None:
            return Response(404, b"no such upload", "text/plain")
        file.content = request.body
        return Response(200, f"OK - {len(request.body)}".encode(), "text/plain")

    def _download(self, request: Request) -> Response:
        file = self.workspace.file(request.path.removeprefix(FILE_PREFIX))
        if file is None or file.content is None:
            return html_response("<html><body>404 Not Found</body></html>", 404)
        kind = "image/png" if file.name.endswith(".png") else "application/octet-stream"
        return Response(200, file.content, kind)

    def _complete_upload(self, request: Request, arguments: Mapping[str, Any]) -> dict[str, Any]:
        listed = arguments.get("files")
        if isinstance(listed, str):
            listed = json.loads(listed)
        if not isinstance(listed, list) or not listed:
            raise SlackError("invalid_arguments", "[ERROR] files is required")
        files = [self._uploaded(entry) for entry in listed]
        if arguments.get("channel_id"):
            channel = self._channel({"channel": arguments["channel_id"]})
            thread_ts = arguments.get("thread_ts") or None
            if thread_ts is not None and self.workspace.message(channel, thread_ts) is None:
                raise SlackError("thread_not_found")
            text = str(arguments.get("initial_comment") or "")
            self.workspace.post(request.now, channel, text, thread_ts=thread_ts, files=files)
        return {"files": [file.as_dict() for file in files]}

    def _uploaded(self, entry: Any) -> StoredFile:
        file = self.workspace.file(str(entry.get("id"))) if isinstance(entry, dict) else None
        if file is None or file.content is None:
            raise SlackError("file_not_found")
        file.title = str(entry.get("title") or file.name)
        return file

    def _channel(self, arguments: Mapping[str, Any]) -> str:
        found = self.workspace.channel_id(str(arguments.get("channel") or ""))
        if found is None:
            raise SlackError("channel_not_found")
        return found

    def _message(self, arguments: Mapping[str, Any]) -> Message:
        message = self.workspace.message(self._channel(arguments), str(arguments.get("ts")))
        if message is None:
            raise SlackError("message_not_found")
        return message


def _base(request: Request) -> str:
    return f"http://{request.headers.get('host', '127.0.0.1')}"


def _arguments(request: Request) -> dict[str, Any]:
    """Arguments from the query, the form or the JSON body."""
    arguments: dict[str, Any] = dict(request.query)
    if "json" in request.headers.get("content-type", ""):
        try:
            content = json.loads(request.body or b"{}")
        except ValueError:
            return arguments
        return arguments | (content if isinstance(content, dict) else {})
    return arguments | dict(parse_qsl(request.body.decode(errors="replace")))


def _check_token(request: Request, arguments: Mapping[str, Any]) -> None:
    authorization = request.headers.get("authorization", "")
    token = authorization.removeprefix("Bearer ") or str(arguments.get("token", ""))
    if request.path == f"{API_PREFIX}api.test":
        return
    if not token:
        raise SlackError("not_authed")
    if not token.startswith("xoxb-"):
        raise SlackError("invalid_auth")


def _content(arguments: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """Text and blocks of a message, checked against Slack's limits."""
    text, blocks = str(arguments.get("text") or ""), arguments.get("blocks") or []
    if isinstance(blocks, str):
        try:
            blocks = json.loads(blocks)
        except ValueError:
            raise SlackError("invalid_blocks_format") from None
    if not isinstance(blocks, list):
        raise SlackError("invalid_blocks_format")
    if not text and not blocks and not arguments.get("attachments"):
        raise SlackError("no_text")
    if len(text) > MAX_TEXT:
        raise SlackError("msg_too_long")
    if len(blocks) > MAX_BLOCKS:
        raise SlackError(
            "invalid_blocks",
            f"[ERROR] no more than {MAX_BLOCKS} items allowed [json-pointer:/blocks]",
        )
    for place, block in enumerate(blocks):
        _check_block(place, block)
    return text, blocks


def _check_block(place: int, block: Any) -> None:
    where = f"[json-pointer:/blocks/{place}"
    if not isinstance(block, dict) or not block.get("type"):
        raise SlackError("invalid_blocks", f"[ERROR] missing required field: type {where}]")
    limit = _TEXT_LIMITS.get(str(block["type"]))
    if limit is None:
        return
    texts = [block.get("text"), *(block.get("fields") or [])]
    for text in texts:
        content = text.get("text", "") if isinstance(text, dict) else ""
        if len(content) > limit:
            raise SlackError(
                "invalid_blocks",
                f"[ERROR] must be no more than {limit} characters {where}/text/text]",
            )
    if not any(texts):
        raise SlackError("invalid_blocks", f"[ERROR] missing required field: text {where}]")
