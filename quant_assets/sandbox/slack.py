"""Slack's Web API. What belongs here: methods, who may call them, and their answers.

Logical errors come with HTTP 200 and ``ok: false``; only the rate limit is an HTTP 429. Any token
of the form ``xoxb-...`` is accepted. As in Slack only ``chat.postMessage`` takes a channel's name,
every other method wants its id.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from quant_assets.sandbox import slack_blocks
from quant_assets.sandbox.slack_blocks import SlackError
from quant_assets.sandbox.slack_listing import history_page, replies_page
from quant_assets.sandbox.slack_page import FILE_PREFIX, PAGE_PATH, page_response, permalink
from quant_assets.sandbox.slack_workspace import (
    BOT_ID,
    BOT_USER,
    SCOPES,
    TEAM_ID,
    Channel,
    Message,
    SlackWorkspace,
    StoredFile,
)
from quant_assets.sandbox.wire import Request, Response, html_response, json_response

API_PREFIX = "/api/"
UPLOAD_PREFIX = "/api/upload/"
_TIMESTAMP = re.compile(r"\d{10}\.\d{6}")
_SCOPES = {
    "chat.postMessage": "chat:write",
    "chat.update": "chat:write",
    "chat.delete": "chat:write",
    "conversations.list": "channels:read",
    "conversations.history": "channels:history",
    "conversations.replies": "channels:history",
    "files.getUploadURLExternal": "files:write",
    "files.completeUploadExternal": "files:write",
}


def is_slack_path(path: str) -> bool:
    """Whether the Slack stand-in answers ``path``."""
    return path == PAGE_PATH or path.startswith((API_PREFIX, f"{PAGE_PATH}/"))


def channel_of(request: Request) -> str:
    """Channel that a request names; empty if none."""
    if not request.path.startswith(API_PREFIX) or request.path.startswith(UPLOAD_PREFIX):
        return ""
    try:
        arguments = _arguments(request)
    except SlackError:
        return ""
    return str(arguments.get("channel") or arguments.get("channel_id") or "")


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
            "chat.getPermalink": self._permalink,
            "conversations.list": self._list,
            "conversations.history": self._history,
            "conversations.replies": self._replies,
            "files.getUploadURLExternal": self._upload_url,
            "files.completeUploadExternal": self._complete_upload,
        }

    def answer(self, request: Request) -> Response:
        """Response to a request to the API, to an upload address or to the page."""
        if request.path.startswith(FILE_PREFIX):
            return self._download(request)
        if request.path == PAGE_PATH or request.path.startswith(f"{PAGE_PATH}/"):
            return page_response(self.workspace, request.path, request.query)
        if request.path.startswith(UPLOAD_PREFIX):
            return self._receive(request)
        return self._call(request)

    def _call(self, request: Request) -> Response:
        try:
            if (fault := request.fault("error")) is not None:
                raise SlackError(str(fault.option("error", "fatal_error")))
            name = request.path.removeprefix(API_PREFIX)
            method = self._methods.get(name)
            if method is None:
                raise SlackError("unknown_method", req_method=name)
            arguments = _arguments(request)
            if name != "api.test":
                _check_token(request, arguments)
            wait = self._wait(name, arguments)
            if wait > 0:
                content = {"ok": False, "error": "ratelimited"}
                return json_response(content, 429, Retry_After=str(math.ceil(wait)))
            self._check_scope(name)
            content = {"ok": True, **method(request, arguments)}
        except SlackError as error:
            content = {"ok": False, "error": str(error), **error.fields}
            if error.messages:
                content["response_metadata"] = {"messages": list(error.messages)}
        if request.fault("empty") is not None:
            content = {}
        return json_response(content)

    def _wait(self, method: str, arguments: Mapping[str, Any]) -> float:
        channel = self.workspace.channel(str(arguments.get("channel") or ""))
        return self.workspace.limits.seconds_to_wait(
            method, "" if channel is None else channel.channel_id
        )

    def _check_scope(self, method: str) -> None:
        missing = self.workspace.missing_scopes
        if (needed := _SCOPES.get(method)) in missing and needed is not None:
            provided = ",".join(scope for scope in SCOPES if scope not in missing)
            raise SlackError("missing_scope", needed=needed, provided=provided)

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
        channel = self._writable(self.workspace.channel(str(arguments.get("channel") or "")))
        text, blocks = slack_blocks.content(arguments)
        metadata = slack_blocks.metadata(arguments)
        message = self.workspace.post(
            request.now,
            channel.channel_id,
            text,
            blocks=blocks,
            thread_ts=self._root_ts(channel, arguments),
            metadata=metadata,
        )
        return {"channel": channel.channel_id, "ts": message.ts, "message": message.as_dict()}

    def _update(self, request: Request, arguments: Mapping[str, Any]) -> dict[str, Any]:
        message = self._message(arguments, "ts", is_writing=True)
        text, blocks = slack_blocks.content(arguments)
        self.workspace.edit(request.now, message, text, blocks, slack_blocks.metadata(arguments))
        return {
            "channel": message.channel,
            "ts": message.ts,
            "text": text,
            "message": message.as_dict(),
        }

    def _delete(self, _: Request, arguments: Mapping[str, Any]) -> dict[str, Any]:
        message = self._message(arguments, "ts", is_writing=True)
        self.workspace.delete(message)
        return {"channel": message.channel, "ts": message.ts}

    def _permalink(self, request: Request, arguments: Mapping[str, Any]) -> dict[str, Any]:
        message = self._message(arguments, "message_ts")
        name = self._channel(arguments).name
        return {"channel": message.channel, "permalink": _base(request) + permalink(name, message)}

    def _list(self, _: Request, arguments: Mapping[str, Any]) -> dict[str, Any]:
        is_all = str(arguments.get("exclude_archived", "")).lower() not in ("1", "true")
        channels = [
            {
                "id": channel.channel_id,
                "name": channel.name,
                "name_normalized": channel.name,
                "is_channel": True,
                "is_private": False,
                "is_archived": channel.is_archived,
                "is_member": channel.is_member,
            }
            for channel in self.workspace.channels()
            if is_all or not channel.is_archived
        ]
        return {"channels": channels, "response_metadata": {"next_cursor": ""}}

    def _history(self, _: Request, arguments: Mapping[str, Any]) -> dict[str, Any]:
        channel = self._readable(arguments)
        return history_page(self.workspace.messages(channel.channel_id), arguments)

    def _replies(self, _: Request, arguments: Mapping[str, Any]) -> dict[str, Any]:
        channel = self._readable(arguments)
        found = self.workspace.message(channel.channel_id, str(arguments.get("ts", "")))
        root_ts = None if found is None else found.root_ts
        if root_ts is None or self.workspace.message(channel.channel_id, root_ts) is None:
            raise SlackError("thread_not_found")
        return replies_page(self.workspace.thread(channel.channel_id, root_ts), arguments)

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
        kind = "image/png" if file.is_picture else "application/octet-stream"
        return Response(200, file.content, kind, {"X-Content-Type-Options": "nosniff"})

    def _complete_upload(self, request: Request, arguments: Mapping[str, Any]) -> dict[str, Any]:
        listed = arguments.get("files")
        try:
            listed = json.loads(listed) if isinstance(listed, str) else listed
        except ValueError:
            listed = None
        if not isinstance(listed, list) or not listed:
            raise SlackError("invalid_arguments", "[ERROR] files is required")
        files = [self._uploaded(entry) for entry in listed]
        if named := arguments.get("channel_id"):
            channel = self._writable(self._by_id(str(named)))
            self.workspace.post(
                request.now,
                channel.channel_id,
                str(arguments.get("initial_comment") or ""),
                thread_ts=self._root_ts(channel, arguments),
                files=files,
            )
        return {"files": [file.as_dict() for file in files]}

    def _uploaded(self, entry: Any) -> StoredFile:
        file = self.workspace.file(str(entry.get("id"))) if isinstance(entry, dict) else None
        if file is None or file.content is None:
            raise SlackError("file_not_found")
        file.title = str(entry.get("title") or file.name)
        return file

    def _root_ts(self, channel: Channel, arguments: Mapping[str, Any]) -> str | None:
        """Root of the thread that a new message names, if it names one."""
        thread_ts = arguments.get("thread_ts") or None
        if thread_ts is None:
            return None
        if not _TIMESTAMP.fullmatch(str(thread_ts)):
            raise SlackError("invalid_thread_ts")
        named = self.workspace.message(channel.channel_id, str(thread_ts))
        if named is None or self.workspace.message(channel.channel_id, named.root_ts) is None:
            raise SlackError("thread_not_found")
        return named.root_ts

    def _by_id(self, wanted: str) -> Channel | None:
        found = self.workspace.channel(wanted)
        return found if found is not None and found.channel_id == wanted else None

    def _channel(self, arguments: Mapping[str, Any]) -> Channel:
        found = self._by_id(str(arguments.get("channel") or ""))
        if found is None:
            raise SlackError("channel_not_found")
        return found

    def _writable(self, channel: Channel | None) -> Channel:
        if channel is None:
            raise SlackError("channel_not_found")
        if channel.is_archived:
            raise SlackError("is_archived")
        if not channel.is_member:
            raise SlackError("not_in_channel")
        return channel

    def _readable(self, arguments: Mapping[str, Any]) -> Channel:
        channel = self._channel(arguments)
        if not channel.is_member:
            raise SlackError("not_in_channel")
        return channel

    def _message(
        self, arguments: Mapping[str, Any], name: str, *, is_writing: bool = False
    ) -> Message:
        channel = self._channel(arguments)
        message = self.workspace.message(channel.channel_id, str(arguments.get(name)))
        if message is None:
            raise SlackError("message_not_found")
        if is_writing:
            self._writable(channel)
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
            raise SlackError("invalid_json") from None
        if not isinstance(content, dict):
            raise SlackError("json_not_object")
        return arguments | content
    return arguments | dict(parse_qsl(request.body.decode(errors="replace")))


def _check_token(request: Request, arguments: Mapping[str, Any]) -> None:
    authorization = request.headers.get("authorization", "")
    token = authorization.removeprefix("Bearer ") or str(arguments.get("token", ""))
    if not token:
        raise SlackError("not_authed")
    if not token.startswith("xoxb-"):
        raise SlackError("invalid_auth")
