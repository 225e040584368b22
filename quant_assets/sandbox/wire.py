"""Requests and responses of the sandbox. What belongs here: the two types and ways to make them.

The vendors' modules take a ``Request`` and return a ``Response``; sockets, logging and the faults
that concern the transport are the server's.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from quant_assets.sandbox.faults import Fault

JSON_TYPE = "application/json; charset=utf-8"
HTML_TYPE = "text/html; charset=utf-8"
XML_TYPE = "text/xml; charset=utf-8"


@dataclass(frozen=True)
class Request:
    """One request as the vendors' modules see it; ``now`` is the vendor's clock in UTC."""

    method: str
    host: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    now: datetime
    faults: tuple[Fault, ...] = ()

    def fault(self, kind: str) -> Fault | None:
        """The fault of ``kind`` that this request was drawn for."""
        return next((fault for fault in self.faults if fault.kind == kind), None)


@dataclass(frozen=True)
class Response:
    """One answer."""

    status: int
    body: bytes
    content_type: str = JSON_TYPE
    headers: Mapping[str, str] = field(default_factory=dict)


def json_response(content: Any, status: int = 200, **headers: str) -> Response:
    """``content`` as JSON; underscores in the names of ``headers`` become hyphens."""
    body = json.dumps(content, separators=(",", ":")).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, body, JSON_TYPE, named)


def html_response(text: str, status: int = 200) -> Response:
    """A page; half a surrogate pair, which JSON may hold and UTF-8 may not, becomes ``?``."""
    return Response(status, text.encode(errors="replace"), HTML_TYPE)
