"""Keeping keys out of messages and logs.

What belongs here: removing secrets from text. What does not: deciding what a secret is worth
(settings hold the keys) and building error messages (the clients do, through ``http``).
"""

import html
import json
import logging
import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import quote, quote_plus

MASK = "[redacted]"
SECRET_PARAMETERS = (
    *("apikey", "api_key", "crumb", "token", "access_token", "key", "auth"),
    *("secret", "password", "signature", "sig"),
)
SHORTEST_SECRET = 8
"""A shorter one is not masked in the vendors' answers: ``demo`` is part of many words."""
_QUERY = re.compile(
    rf"(?i)(?<![\w-])((?:{'|'.join(SECRET_PARAMETERS)})=)[^&\s\"'<>#)\]]+",
)
_USER = re.compile(r"(://)[^/@\s\"'<>]+@")
_LOGGERS_THAT_PRINT_ADDRESSES = ("urllib3.connectionpool", "urllib3.util.retry", "yfinance")


def redact_query(text: str) -> str:
    """Mask the user of an address and the values of ``apikey=``, ``token=`` and the like."""
    return _USER.sub(rf"\1{MASK}@", _QUERY.sub(rf"\1{MASK}", text))


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Mask every secret, however it is written, and every secret query parameter in ``text``."""
    for form in _forms(secrets):
        text = text.replace(form, MASK)
    return redact_query(text)


def redact_bytes(content: bytes, secrets: Iterable[str]) -> bytes:
    """Mask every secret, however it is written, in bytes of an encoding that keeps ASCII."""
    for form in _forms(s for s in secrets if len(s) >= SHORTEST_SECRET):
        content = content.replace(form.encode(), MASK.encode())
    return content


def _forms(secrets: Iterable[str]) -> list[str]:
    """Secrets as they may stand in a text, longest first."""
    forms = {form for secret in secrets if secret for form in _written(secret)}
    return sorted(forms, key=len, reverse=True)


@lru_cache(maxsize=64)
def _written(secret: str) -> frozenset[str]:
    """A secret as texts, addresses, JSON and HTML write it."""
    quoted = quote(secret, safe="")
    in_json = json.dumps(secret)[1:-1]
    return frozenset(
        {
            secret,
            quoted,
            re.sub("%..", lambda code: code[0].lower(), quoted),
            quote_plus(secret),
            in_json,
            in_json.replace("/", "\\/"),
            json.dumps(secret, ensure_ascii=False)[1:-1],
            html.escape(secret),
            html.escape(secret, quote=False),
        }
    )


class _RedactingFilter(logging.Filter):
    """Rewrites a record whose message carries a secret query parameter."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        masked = redact_query(message)
        if masked != message:
            record.msg, record.args = masked, ()
        return True


_FILTER = _RedactingFilter()


def protect_logs() -> None:
    """Redact what the HTTP libraries log: urllib3 prints whole addresses, retries at WARNING."""
    for name in _LOGGERS_THAT_PRINT_ADDRESSES:
        logging.getLogger(name).addFilter(_FILTER)
