"""What Slack's failures are. What belongs here: error types, codes and remedies, no calls."""

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from quant_assets.errors import PermanentError, TransientError
from quant_assets.vendors.redaction import redact

UNAUTHORIZED = frozenset(
    {
        *("invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired"),
        *("no_permission", "org_login_required", "ekm_access_denied", "not_allowed_token_type"),
        *("access_denied", "two_factor_setup_required", "team_access_not_granted"),
    }
)
MALFORMED_CONTENT = frozenset(
    {
        *("invalid_blocks", "invalid_blocks_format", "msg_too_long", "msg_blocks_too_long"),
        *("no_text", "too_many_attachments", "markdown_text_conflict", "invalid_arguments"),
        *("metadata_too_large", "invalid_metadata_format", "invalid_metadata_schema"),
        *("invalid_json", "json_not_object", "slack_connect_blocked_file_type"),
    }
)
_UNKNOWN_OUTCOME = frozenset({"internal_error", "fatal_error", "service_unavailable"})
_NOTHING_DONE = frozenset({"request_timeout", "team_added_to_org", "ratelimited", "rate_limited"})
_REMEDIES: Mapping[str, str] = {
    "channel_not_found": "create {channel}, or name another in QUANT_SLACK_CHANNEL or "
    "QUANT_SLACK_ALERT_CHANNELS; a private channel must have the bot as a member",
    "not_in_channel": "invite the bot: write /invite @its-name in {channel}",
    "is_archived": "restore {channel}, or name another in QUANT_SLACK_CHANNEL or "
    "QUANT_SLACK_ALERT_CHANNELS",
    "restricted_action": "allow the bot to post in {channel}: the settings of the channel limit it",
    "thread_not_found": "the message that began the thread is gone from {channel}",
    "message_not_found": "the message is gone from {channel}",
}
_TOKEN_REMEDY = "check SLACK_BOT_TOKEN: a bot token of the app, such as xoxb-..., still installed"
_CODE = re.compile(r"[a-z][a-z0-9_:.-]*")
_NEVER_SENT = ("Tunnel connection failed", "unreachable", "No route to host")


class SlackRefusedError(PermanentError):
    """Slack answered ``ok: false``. ``code`` is its error code; nothing was done."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class UnknownOutcomeError(TransientError):
    """No usable answer came: Slack may or may not have done it."""


def raise_answered(method: str, response: Any, channel: str, token: str) -> NoReturn:
    """Type the answer that the SDK took for a failure."""
    status, data = response.status_code, response.data
    if status == 429:
        wait = _retry_after(response.headers)
        raise TransientError(
            f"{method}: HTTP 429, Slack asks to wait {wait:g} s", retry_after_seconds=wait
        )
    if status >= 500:
        raise UnknownOutcomeError(f"{method}: HTTP {status}")
    given = data if isinstance(data, Mapping) else {}
    code = given.get("error")
    if given.get("ok") is not False or not isinstance(code, str) or not _CODE.fullmatch(code):
        if status >= 400:
            raise TransientError(f"{method}: HTTP {status} without an error code of Slack's")
        raise UnknownOutcomeError(f"{method}: Slack's answer is not readable")
    if code in _NOTHING_DONE:
        wait = _retry_after(response.headers)
        raise TransientError(f"{method}: {code}", retry_after_seconds=wait)
    if code in _UNKNOWN_OUTCOME:
        raise UnknownOutcomeError(f"{method}: {code}")
    raise SlackRefusedError(redact(refusal(method, code, given, channel), [token]), code=code)


def raise_unanswered(method: str, error: Exception, token: str) -> NoReturn:
    """Type a failure of the transport: before Slack had the request, or after."""
    import socket
    import ssl
    from urllib.error import URLError

    cause = error.reason if isinstance(error, URLError) else error
    named = redact(f"{type(cause).__name__}: {cause}", [token])
    if isinstance(error, URLError) and (
        isinstance(cause, ConnectionRefusedError | socket.gaierror | ssl.SSLCertVerificationError)
        or any(words in str(cause) for words in _NEVER_SENT)
    ):
        raise TransientError(f"{method}: Slack is not reached ({named})") from None
    raise UnknownOutcomeError(f"{method}: no answer from Slack ({named})") from None


def _retry_after(headers: Mapping[str, Any]) -> float:
    """Seconds of the header Retry-After; 1 if it names none."""
    for name, value in headers.items():
        if name.lower() == "retry-after":
            text = str(value[0] if isinstance(value, list) and value else value)
            return max(float(text), 1.0) if re.fullmatch(r"\d{1,6}(\.\d+)?", text) else 1.0
    return 1.0


def refusal(method: str, code: str, answer: Mapping[str, Any], channel: str) -> str:
    """What Slack refused and what to do about it."""
    named = f" for {channel}" if channel else ""
    if code in UNAUTHORIZED:
        return f"{method}{named}: {code}; {_TOKEN_REMEDY}"
    if code == "missing_scope":
        needed = answer.get("needed") or "the scope of this method"
        return (
            f"{method}{named}: missing_scope; give the app {needed} under OAuth & Permissions and "
            "install it again"
        )
    remedy = _REMEDIES.get(code, "").format(channel=channel or "the channel")
    more = answer.get("response_metadata")
    hints = more.get("messages") if isinstance(more, Mapping) else None
    said = f" ({json.dumps(hints, ensure_ascii=False)[:300]})" if hints else ""
    return f"{method}{named}: {code}{said}" + (f"; {remedy}" if remedy else "")
