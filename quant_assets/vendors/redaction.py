"""Keeping keys out of messages and logs.

What belongs here: removing secrets from text. What does not: deciding what a secret is worth
(settings hold the keys) and building error messages (the clients do, through ``http``).
"""

import logging
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "[redacted]"
_SECRET_PARAMETERS = ("apikey", "api_key", "token", "access_token", "crumb")
_QUERY = re.compile(
    rf"(?i)(?<![\w-])((?:{'|'.join(_SECRET_PARAMETERS)})=)[^&\s\"'<>#)\]]+",
)
_LOGGERS_THAT_PRINT_ADDRESSES = ("urllib3.connectionpool", "urllib3.util.retry", "yfinance")


def redact_query(text: str) -> str:
    """Mask the values of ``apikey=``, ``api_key=``, ``token=`` and ``crumb=`` in any text."""
    return _QUERY.sub(rf"\1{MASK}", text)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Mask every secret, plain or URL-quoted, and every secret query parameter in ``text``."""
    forms = {form for s in secrets if s for form in (s, quote(s, safe=""), quote_plus(s))}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, MASK)
    return redact_query(text)


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
