"""Notices by e-mail. What belongs here: the server, and handing a mail in."""

import base64
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from quant_assets.errors import BadConfigurationError, QuantAssetsError, TransientError
from quant_assets.vendors.redaction import redact

if TYPE_CHECKING:
    import smtplib
    from email.message import EmailMessage

TIMEOUT_SECONDS = 10.0
TOTAL_SECONDS = 15.0
"""Time limit of a mail, from the connection to the last answer."""
SUBJECT_LIMIT = 200
ANSWER_LIMIT = 300
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class MailServer:
    """An SMTP server and the addresses of the notices."""

    host: str
    port: int
    security: Literal["starttls", "tls", "none"]
    sender: str
    recipients: tuple[str, ...]
    username: str = ""
    password: str = field(default="", repr=False)

    @property
    def address(self) -> str:
        """Host and port, as messages name the server."""
        return f"{self.host}:{self.port}"


def send(
    server: MailServer, *, subject: str, text: str, message_id: str, in_reply_to: str = ""
) -> None:
    """Hand in one mail of plain text; ``message_id`` is its name without the sender's domain.

    Raises ``TransientError`` if the same mail may be taken later, ``BadConfigurationError`` if a
    setting has to be changed first. A recipient who is refused while others are not is logged.
    """
    try:
        mail = compose(server, subject, text, message_id, in_reply_to)
    except Exception as error:  # noqa: BLE001 - the library's parser fails in many ways
        raise BadConfigurationError(
            f"mail: it cannot be written ({type(error).__name__}: {_clean(server, str(error))}): "
            "check QUANT_MAIL_FROM and QUANT_MAIL_TO"
        ) from None
    with _logged_in(server) as smtp:
        refused = smtp.send_message(mail, server.sender, server.recipients)
    for recipient, (code, answer) in refused.items():
        said = _said(server, code, answer)
        LOG.warning("mail: %s does not take %s (%s)", server.address, recipient, said)


def probe(server: MailServer) -> None:
    """Connect and log in without sending; raises as ``send`` does."""
    with _logged_in(server) as smtp:
        smtp.noop()


@contextmanager
def _logged_in(server: MailServer) -> "Iterator[smtplib.SMTP]":
    """A connection on which a mail can be handed in, its errors explained."""
    until = time.monotonic() + TOTAL_SECONDS
    with _explained(server), _connected(server, until) as smtp:
        if server.username:
            _hurry(smtp, until)
            smtp.login(server.username, server.password)
        _hurry(smtp, until)
        yield smtp


def compose(
    server: MailServer, subject: str, text: str, message_id: str, in_reply_to: str = ""
) -> "EmailMessage":
    """The mail as it is sent. Its headers hold no line break, whatever the texts are."""
    from email.message import EmailMessage
    from email.utils import formatdate

    mail = EmailMessage()
    mail["Subject"] = _clip(" ".join(_printable(subject).split()), SUBJECT_LIMIT)
    mail["From"] = server.sender
    mail["To"] = ", ".join(server.recipients)
    mail["Date"] = formatdate(usegmt=True)
    mail["Message-ID"] = _identity(server, message_id)
    if in_reply_to:
        mail["In-Reply-To"] = mail["References"] = _identity(server, in_reply_to)
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content("\n".join(_printable(line) for line in text.splitlines()) + "\n")
    return mail


def _identity(server: MailServer, name: str) -> str:
    return f"<{name}@{server.sender.rpartition('@')[2]}>"


def _printable(text: str) -> str:
    """A text without what acts on a screen or cannot be written as UTF-8."""
    return "".join(c if c.isprintable() else " " for c in text)


def _clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


@contextmanager
def _connected(server: MailServer, until: float) -> "Iterator[smtplib.SMTP]":
    """A connection that is as secret as the settings want it. The end is not waited for."""
    import smtplib
    import ssl

    context = None if server.security == "none" else ssl.create_default_context()
    address = (server.host, server.port)
    raw = socket.create_connection(address, timeout=_left(until))
    smtp = smtplib.SMTP(timeout=TIMEOUT_SECONDS)
    # The library connects and reads the greeting in one go, during which nobody could end it.
    smtp._host = server.host  # type: ignore[attr-defined]
    smtp.sock = raw
    try:
        with _cut_off(raw, until):
            if server.security == "tls" and context is not None:
                smtp.sock = context.wrap_socket(raw, server_hostname=server.host)
            code, answer = smtp.getreply()
            if code != 220:
                raise smtplib.SMTPConnectError(code, answer)
            if server.security == "starttls":
                _hurry(smtp, until)
                smtp.starttls(context=context)
            yield smtp
    except (smtplib.SMTPServerDisconnected, ssl.SSLError):
        _left(until)
        raise
    finally:
        smtp.close()


@contextmanager
def _cut_off(raw: socket.socket, until: float) -> Iterator[None]:
    """End a connection at ``until``: one whose server sends a little all the time never times out.

    TLS takes the socket over, hence a second handle.
    """
    handle = raw.dup()

    def cut() -> None:
        with suppress(OSError):
            handle.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, until - time.monotonic()), cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        handle.close()


def _left(until: float) -> float:
    """Time limit of the next answer. Raises ``TimeoutError`` at the end."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("it takes too long")
    return min(left, TIMEOUT_SECONDS)


def _hurry(smtp: "smtplib.SMTP", until: float) -> None:
    """Let no further answer take longer than what is left."""
    left = _left(until)
    if smtp.sock is not None:
        smtp.sock.settimeout(left)


@contextmanager
def _explained(server: MailServer) -> Iterator[None]:
    """Errors of the library as ours, with what to do and without the password."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise _problem(server, error) from None


def _problem(server: MailServer, error: Exception) -> QuantAssetsError:
    import smtplib
    import ssl

    where = f"mail: {server.address}"
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return BadConfigurationError(
            f"{where} does not offer what QUANT_SMTP_SECURITY={server.security} or the login "
            f"needs ({_clean(server, str(error))}): use tls or none, or no QUANT_SMTP_USERNAME"
        )
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, answer = next(iter(error.recipients.values()))
        said = _said(server, code, answer)
        return _by_code(code, f"{where} takes none of the recipients ({said}): check QUANT_MAIL_TO")
    if isinstance(error, smtplib.SMTPResponseException):
        remedy = _REMEDIES.get(type(error).__name__, "see what the server says")
        said = _said(server, error.smtp_code, error.smtp_error)
        return _by_code(error.smtp_code, f"{where} refused ({said}): {remedy}")
    text = _clean(server, str(error)) or type(error).__name__
    if isinstance(error, ssl.SSLError):
        return BadConfigurationError(f"{where} {_tls_problem(server, error, text)}")
    if isinstance(error, ValueError):
        return BadConfigurationError(f"mail: it cannot be written ({text}): check QUANT_MAIL_TO")
    return TransientError(
        f"{where} cannot be reached or does not answer ({text}): check QUANT_SMTP_HOST and "
        "QUANT_SMTP_PORT if it stays so"
    )


def _tls_problem(server: MailServer, error: Exception, text: str) -> str:
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"has a certificate that is not trusted ({text}): check QUANT_SMTP_HOST, or name your "
            "authority's certificate in SSL_CERT_FILE"
        )
    return (
        f"does not speak TLS as asked ({text}): QUANT_SMTP_SECURITY is {server.security}; port "
        "587 wants starttls, port 465 tls"
    )


_REMEDIES = {
    "SMTPAuthenticationError": "check QUANT_SMTP_USERNAME and QUANT_SMTP_PASSWORD",
    "SMTPSenderRefused": "check QUANT_MAIL_FROM, or set QUANT_SMTP_USERNAME and its password",
    "SMTPHeloError": "check QUANT_SMTP_HOST and QUANT_SMTP_PORT",
    "SMTPConnectError": "check QUANT_SMTP_HOST and QUANT_SMTP_PORT",
}


def _by_code(code: int, text: str) -> QuantAssetsError:
    """SMTP's 4xx are said to pass, its 5xx are not."""
    return BadConfigurationError(text) if code >= 500 else TransientError(text)


def _said(server: MailServer, code: int, answer: bytes | str) -> str:
    text = answer.decode(errors="replace") if isinstance(answer, bytes) else answer
    return _clean(server, f"{code} {text}")


def _clean(server: MailServer, text: str) -> str:
    """What a server said, on one line, without the password in any form that SMTP sends."""
    secrets = [server.password] if server.password else []
    for form in (f"\0{server.username}\0{server.password}", server.password):
        if server.password:
            secrets.append(base64.b64encode(form.encode()).decode())
    return _clip(" ".join(_printable(redact(text, secrets)).split()), ANSWER_LIMIT)
