"""A loopback HTTP server that answers from a script. What belongs here: transport, no vendor.

The sandbox plays whole vendors; this serves exact bodies (recorded ones, or broken in one place).
"""

import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Reply:
    """One answer. ``fault``: ``reset`` closes without one, ``cut`` sends half, ``hang`` none."""

    body: bytes | str = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    fault: str = ""


class ScriptedServer:
    """Answers each request with the next reply, the last one again and again, or by a function."""

    def __init__(self, script: Iterable[Reply] | Callable[[Request], Reply]) -> None:
        self.requests: list[Request] = []
        self._answer = script if callable(script) else _in_turn(script)
        self._stopping = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "ScriptedServer":
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, format: str, *args: object) -> None:
                """Keep the test's output clean."""

            def do_GET(self) -> None:
                target = urlsplit(self.path)
                request = Request(target.path, dict(parse_qsl(target.query)), dict(self.headers))
                script.requests.append(request)
                self._send(script._answer(request))

            def _send(self, reply: Reply) -> None:
                body = reply.body.encode() if isinstance(reply.body, str) else reply.body
                if reply.fault == "hang":
                    script._stopping.wait(10)
                if reply.fault in ("hang", "reset"):
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                if "Date" in reply.headers:
                    self.send_response_only(reply.status)
                else:
                    self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if reply.fault == "cut":
                    body = body[: len(body) // 2]
                    self.close_connection = True
                self.wfile.write(body)

        return Handler


def _in_turn(replies: Iterable[Reply]) -> Callable[[Request], Reply]:
    left = deque(replies)
    lock = threading.Lock()

    def answer(request: Request) -> Reply:
        with lock:
            return left.popleft() if len(left) > 1 else left[0]

    return answer
