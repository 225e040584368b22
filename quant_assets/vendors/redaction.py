"""Keeping keys out of messages and logs.

What belongs here: removing secrets from text. What does not: deciding what a secret is worth
(settings hold the keys) and building error messages (the clients do, through ``http``).
"""

import logging
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "[redacted]"
SECRET_PARAMETERS = ("apikey", "api_key", "token", "access_token", "crumb")
_QUERY = re.compile(
    rf"(?i)(?<![\w-])((?:{'|'.join(SECRET_PARAMETERS)})=)[^&\s\"'<>#)\]]+",
)
_USER = re.compile(r"(://)[^/@\s\"'<>]+@")
_LOGGERS_THAT_PRINT_ADDRESSES = ("urllib3.connectionpool", "urllib3.util.retry", "yfinance")


def redact_query(text: str) -> str:
    """Mask the user of an address and the values of ``apikey=``, ``token=`` and the like."""
    return _USER.sub(rf"\1{MASK}@", _QUERY.sub(rf"\1{MASK}", text))


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Mask every secret, plain or URL-quoted, and every secret query parameter in ``text``."""
    for form in _forms(secrets):
        text = text.replace(form, MASK)
    return redact_query(text)


def redact_bytes(content: bytes, secrets: Iterable[str]) -> bytes:
    """Mask every secret, plain or URL-quoted, in bytes of any encoding that keeps ASCII."""
    for form in _forms(secrets):
        content = content.replace(form.encode(), MASK.encode())
    return content


def _forms(secrets: Iterable[str]) -> list[str]:
    """A secret as it may stand in a text, longest first."""
    forms = {form for s in secrets if s for form in (s, quote(s, safe=""), quote_plus(s))}
    return sorted(forms, key=len, reverse=True)


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
