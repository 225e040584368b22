"""Sockets and HTTP framing. What belongs here: bytes in, bytes out; no vendor, no fault."""

import contextlib
import socket
import struct
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from quant_assets.sandbox.wire import Response


class RawRequest(NamedTuple):
    """A request before anything is known about its vendor; header names in lower case."""

    method: str
    host: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


class Reply(NamedTuple):
    """What to send: no response closes the connection; ``is_truncated`` sends half of the body."""

    response: Response | None
    is_truncated: bool = False


class LoopbackServer(ThreadingHTTPServer):
    """HTTP/1.1 server on 127.0.0.1 with one daemon thread a connection."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int, answer: Callable[[RawRequest], Reply]) -> None:
        self.answer = answer
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    def opened(self, connection: socket.socket) -> None:
        """Note a connection."""
        with self._lock:
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        """Forget a connection."""
        with self._lock:
            self._open.discard(connection)

    def close_connections(self) -> None:
        """End kept-alive connections, so that no client goes on talking to a stopped server."""
        with self._lock:
            for connection in self._open:
                # A client may have closed its end a moment ago, which is what is wanted.
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error of the server."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "sandbox"
    # Without these two a small answer waits for the client's delayed acknowledgement: 40 ms each.
    disable_nagle_algorithm = True
    wbufsize = -1
    server: LoopbackServer

    def setup(self) -> None:
        super().setup()
        self.server.opened(self.connection)

    def finish(self) -> None:
        self.server.closed(self.connection)
        super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing: the sandbox keeps its own log."""

    def serve(self) -> None:
        """Answer one request of any method."""
        length = int(self.headers.get("Content-Length") or 0)
        target = urlsplit(self.path)
        host = target.netloc or self.headers.get("Host", "")
        reply = self.server.answer(
            RawRequest(
                method=self.command,
                host=host.rpartition("@")[2].partition(":")[0].lower(),
                path=unquote(target.path) or "/",
                query=dict(parse_qsl(target.query, keep_blank_values=True)),
                headers={name.lower(): value for name, value in self.headers.items()},
                body=self.rfile.read(length),
            )
        )
        if reply.response is None:
            self._reset()
        else:
            self._send(reply.response, reply.is_truncated)

    do_GET = do_POST = do_DELETE = do_HEAD = serve  # noqa: N815

    def _reset(self) -> None:
        linger_zero = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_zero)
        self.close_connection = True

    def _send(self, response: Response, is_truncated: bool) -> None:
        body = response.body
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", response.content_type)
        if response.status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and response.status != 304:
            self.wfile.write(body[: len(body) // 2] if is_truncated else body)
        self.close_connection = self.close_connection or is_truncated
