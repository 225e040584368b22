"""Notices by e-mail. What belongs here: the server, and handing a mail in."""

from dataclasses import dataclass, field
from typing import Literal


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
