"""Slack's Web API through slack_sdk. What belongs here: calls and their errors, no wording.

Nothing is repeated here. A repeated ``chat.postMessage`` posts twice, so an error says whether
Slack may have done what it was asked: ``UnknownOutcomeError`` means look before asking again
(``told``, ``find_root``), any other ``TransientError`` that nothing was done.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from quant_assets.errors import TransientError
from quant_assets.vendors.slack_errors import (
    MALFORMED_CONTENT,
    UNAUTHORIZED,
    SlackRefusedError,
    UnknownOutcomeError,
    raise_answered,
    raise_unanswered,
    refusal,
)

if TYPE_CHECKING:
    from slack_sdk.web import SlackResponse

EVENT_TYPE = "quant_notice"
FILE_KEY = "file:"
"""Before the name of a file in what ``told`` gives."""
_PAGE_SIZE = 200
_MOST_PAGES = 25
_MOST_PAGES_OF_ROOTS = 5
_CHANNEL_ID = re.compile(r"[CDG][A-Z0-9]{7,}")

__all__ = [
    "FILE_KEY",
    "MALFORMED_CONTENT",
    "UNAUTHORIZED",
    "SlackClient",
    "SlackConnection",
    "SlackRefusedError",
    "UnknownOutcomeError",
]


@dataclass(frozen=True)
class SlackConnection:
    """How Slack is reached."""

    base_url: str
    token: str = field(repr=False)


class SlackClient:
    """Slack as one bot sees it. Safe to share between threads.

    Every method raises ``SlackRefusedError``, ``UnknownOutcomeError`` or ``TransientError``; what
    only reads or is not yet shown never has an unknown outcome.
    """

    def __init__(self, connection: SlackConnection, *, timeout_seconds: float = 10.0) -> None:
        self.connection = connection
        self._timeout_seconds = timeout_seconds
        self._channel_ids: dict[str, str] = {}
        self._web = _web_client(connection, timeout_seconds)

    def __repr__(self) -> str:
        return f"SlackClient({self.connection.base_url})"

    def identity(self) -> str:
        """The workspace and the user of the token: ``team / user``."""
        answer = self._read("auth.test", self._web.auth_test)
        return f"{answer.get('team', '?')} / {answer.get('user', '?')}"

    def post(
        self,
        channel: str,
        text: str,
        blocks: Sequence[Mapping[str, Any]] = (),
        *,
        thread: str,
        keys: Sequence[str],
        thread_ts: str = "",
    ) -> tuple[str, str]:
        """Post a message that carries ``keys`` of ``thread``; gives channel id and ts.

        Below ``thread_ts`` if there is one. ``channel`` is an id or a name such as ``#quant``.
        """
        answer = self._ask(
            "chat.postMessage",
            lambda: self._web.chat_postMessage(
                channel=channel,
                text=text,
                blocks=[dict(block) for block in blocks] or None,
                thread_ts=thread_ts or None,
                unfurl_links=False,
                unfurl_media=False,
                metadata=_metadata(thread, keys),
            ),
            channel,
        )
        channel_id, ts = answer.get("channel"), answer.get("ts")
        if not (isinstance(channel_id, str) and isinstance(ts, str) and channel_id and ts):
            raise UnknownOutcomeError("chat.postMessage: Slack's answer names no channel and ts")
        self._channel_ids[channel] = channel_id
        return channel_id, ts

    def update(
        self,
        channel: str,
        ts: str,
        text: str,
        blocks: Sequence[Mapping[str, Any]] = (),
        *,
        thread: str,
        keys: Sequence[str],
    ) -> None:
        """Replace a message. To do it twice does no harm."""
        channel_id = self.channel_id(channel)
        self._ask(
            "chat.update",
            lambda: self._web.chat_update(
                channel=channel_id,
                ts=ts,
                text=text,
                blocks=[dict(block) for block in blocks],
                metadata=_metadata(thread, keys),
            ),
            channel,
        )

    def upload(self, channel: str, thread_ts: str, name: str, title: str, content: bytes) -> None:
        """Upload a file into a thread; ``name`` is what ``told`` finds."""
        channel_id = self.channel_id(channel)
        reserved = self._read(
            "files.getUploadURLExternal",
            lambda: self._web.files_getUploadURLExternal(filename=name, length=len(content)),
            channel,
        )
        address, file_id = reserved.get("upload_url"), reserved.get("file_id")
        if not isinstance(file_id, str) or not re.match(r"https?://", str(address)):
            raise TransientError("files.getUploadURLExternal: Slack's answer names no address")
        self._hand_in(str(address), content)
        self._ask(
            "files.completeUploadExternal",
            lambda: self._web.files_completeUploadExternal(
                files=[{"id": file_id, "title": title or name}],
                channel_id=channel_id,
                thread_ts=thread_ts,
            ),
            channel,
        )

    def told(self, channel: str, thread_ts: str, thread: str) -> dict[str, str]:
        """What is there of ``thread`` in the Slack thread ``thread_ts``: ts of each key.

        Files stand as ``file:<name>``. ``channel`` may be a name.
        """
        channel_id = self.channel_id(channel)
        found: dict[str, str] = {}
        for message in self._messages(
            "conversations.replies",
            lambda cursor: self._web.conversations_replies(
                channel=channel_id,
                ts=thread_ts,
                limit=_PAGE_SIZE,
                cursor=cursor,
                include_all_metadata=True,
            ),
            channel,
        ):
            ts = str(message.get("ts", ""))
            found |= dict.fromkeys(_keys_of(message, thread), ts)
            for file in message.get("files") or ():
                if isinstance(file, Mapping):
                    found[f"{FILE_KEY}{file.get('name')}"] = ts
        return found

    def find_root(self, channel: str, thread: str, oldest: float = 0.0) -> tuple[str, str] | None:
        """Channel id and ts of the message that began ``thread``, if it is among the last 1,000.

        ``oldest`` (seconds since 1970) ends the search earlier.
        """
        channel_id = self.channel_id(channel)
        for message in self._messages(
            "conversations.history",
            lambda cursor: self._web.conversations_history(
                channel=channel_id,
                oldest=f"{oldest:.6f}",
                limit=_PAGE_SIZE,
                cursor=cursor,
                include_all_metadata=True,
            ),
            channel,
            pages=_MOST_PAGES_OF_ROOTS,
        ):
            if _keys_of(message, thread):
                return channel_id, str(message["ts"])
        return None

    def channel_id(self, channel: str) -> str:
        """Id of a channel; only ``chat.postMessage`` understands names.

        Raises ``SlackRefusedError`` for a name that the bot does not see.
        """
        if _CHANNEL_ID.fullmatch(channel):
            return channel
        if channel in self._channel_ids:
            return self._channel_ids[channel]
        name = channel.removeprefix("#")
        for found in self._listed_channels():
            if found.get("name") == name and isinstance(found.get("id"), str):
                self._channel_ids[channel] = str(found["id"])
                return self._channel_ids[channel]
        raise SlackRefusedError(
            refusal("conversations.list", "channel_not_found", {}, channel),
            code="channel_not_found",
        )

    def _listed_channels(self) -> Iterator[Mapping[str, Any]]:
        def pages(types: str) -> Iterator[Mapping[str, Any]]:
            return self._messages(
                "conversations.list",
                lambda cursor: self._web.conversations_list(
                    exclude_archived=True, types=types, limit=_PAGE_SIZE, cursor=cursor
                ),
                "",
                part="channels",
            )

        try:
            yield from pages("public_channel,private_channel")
        except SlackRefusedError as error:
            if error.code != "missing_scope":
                raise
            yield from pages("public_channel")

    def _messages(
        self,
        method: str,
        call: Callable[[str | None], "SlackResponse"],
        channel: str,
        *,
        part: str = "messages",
        pages: int = _MOST_PAGES,
    ) -> Iterator[Mapping[str, Any]]:
        cursor: str | None = None
        for _ in range(pages):
            answer = self._read(method, lambda cursor=cursor: call(cursor), channel)  # type: ignore[misc]
            listed = answer.get(part)
            if not isinstance(listed, list):
                raise TransientError(f"{method}: Slack's answer has no list of {part}")
            yield from (entry for entry in listed if isinstance(entry, Mapping))
            more = answer.get("response_metadata")
            cursor = str(more.get("next_cursor") or "") if isinstance(more, Mapping) else ""
            if not cursor:
                return

    def _hand_in(self, address: str, content: bytes) -> None:
        import requests

        with requests.Session() as session:
            session.trust_env = not _is_local(address)
            try:
                answer = session.post(address, data=content, timeout=self._timeout_seconds)
            except requests.RequestException as error:
                raise TransientError(f"upload to Slack: {type(error).__name__}") from None
        if answer.status_code != 200:
            raise TransientError(f"upload to Slack: HTTP {answer.status_code}")

    def _read(
        self, method: str, call: Callable[[], "SlackResponse"], channel: str = ""
    ) -> Mapping[str, Any]:
        """``_ask`` for what changes nothing that anybody sees."""
        try:
            return self._ask(method, call, channel)
        except UnknownOutcomeError as error:
            raise TransientError(str(error)) from None

    def _ask(
        self, method: str, call: Callable[[], "SlackResponse"], channel: str
    ) -> Mapping[str, Any]:
        from http.client import HTTPException

        from slack_sdk.errors import SlackApiError

        token = self.connection.token
        if not re.fullmatch(r"[!-~]+", token):
            # http.client would quote the whole header, token included, in its error.
            raise SlackRefusedError(
                refusal(method, "invalid_auth", {}, channel), code="invalid_auth"
            )
        try:
            data = call().data
        except SlackApiError as error:
            raise_answered(method, error.response, channel, token)
        except (OSError, HTTPException) as error:
            raise_unanswered(method, error, token)
        except (ValueError, AttributeError, TypeError, LookupError) as error:
            # slack_sdk expects an object of JSON in a known encoding.
            raise UnknownOutcomeError(
                f"{method}: Slack's answer is not readable ({type(error).__name__})"
            ) from None
        if not isinstance(data, Mapping):
            raise UnknownOutcomeError(f"{method}: Slack's answer is no object")
        return data


def _web_client(connection: SlackConnection, timeout_seconds: float) -> Any:
    import logging

    from slack_sdk import WebClient

    # The SDK logs each failure on its own and whole bodies at DEBUG; the courier logs them once.
    quiet = logging.getLogger("quant_assets.slack_sdk")
    quiet.setLevel(logging.CRITICAL)
    return WebClient(
        token=connection.token,
        base_url=connection.base_url,
        timeout=timeout_seconds,  # type: ignore[arg-type]
        retry_handlers=[],
        logger=quiet,
        # The SDK adopts the proxy of the environment for loopback too, and has no switch: a proxy
        # that is the server itself is none.
        proxy=connection.base_url if _is_local(connection.base_url) else None,
    )


def _is_local(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


def _metadata(thread: str, keys: Sequence[str]) -> dict[str, Any]:
    # Slack documents texts, numbers, booleans and objects in a payload, no lists of texts.
    return {
        "event_type": EVENT_TYPE,
        "event_payload": {"thread": thread, "keys": "\n".join(keys)},
    }


def _keys_of(message: Mapping[str, Any], thread: str) -> list[str]:
    """Keys that a message carries of ``thread``; none if it is not ours."""
    metadata = message.get("metadata")
    if not isinstance(metadata, Mapping) or metadata.get("event_type") != EVENT_TYPE:
        return []
    payload = metadata.get("event_payload")
    if not isinstance(payload, Mapping) or payload.get("thread") != thread:
        return []
    return str(payload.get("keys") or "").split("\n")
