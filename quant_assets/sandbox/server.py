"""The sandbox. What belongs here: its lifecycle, its clock, its faults and its control paths.

One loopback address stands in for every vendor. Yahoo is reached as through a plain HTTP proxy
(absolute request line, or a Yahoo host name in ``Host``), the others by path.
"""

import json
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from quant_assets.errors import BadConfigurationError
from quant_assets.sandbox import locate
from quant_assets.sandbox.broker import EmbeddedBroker, notice
from quant_assets.sandbox.faults import Fault, FaultBook, fault_from_dict
from quant_assets.sandbox.http_server import LoopbackServer, RawRequest, Reply
from quant_assets.sandbox.interruptions import interruptions
from quant_assets.sandbox.news import FEEDS
from quant_assets.sandbox.request_log import LoggedRequest, RequestLog
from quant_assets.sandbox.routing import Vendors, route
from quant_assets.sandbox.slack_archive import SlackArchive
from quant_assets.sandbox.wire import Request, Response, html_response, json_response

CONTROL_PREFIX = "/_sandbox/"


class Sandbox:
    """All vendors on one loopback address.

    ``data_dir`` holds recorded files to replay; without it the market is simulated from ``seed``.
    ``now`` is the vendors' clock: they know nothing later. ``port`` 0 takes a free one. With
    ``broker`` a Kafka broker runs beside them. With ``home`` its Slack is kept there for the next
    sandbox of that home; without, nothing outlives it.
    """

    def __init__(
        self,
        *,
        seed: int = 7,
        data_dir: Path | None = None,
        port: int = 0,
        now: Callable[[], datetime] | None = None,
        broker: bool = False,
        home: Path | None = None,
    ) -> None:
        self.seed = seed
        self.data_dir = None if data_dir is None else data_dir.absolute()
        self.faults = FaultBook(seed)
        self.requests = RequestLog()
        self.broker = EmbeddedBroker() if broker else None
        self._clock = now or _utc_now
        self._port = port
        self._vendors = Vendors(seed, self.data_dir)
        self._server: LoopbackServer | None = None
        self._stopping = threading.Event()
        self._home = home
        self._archive: SlackArchive | None = None
        self.slack = self._vendors.slack.workspace
        self.alpha_vantage_limits = self._vendors.alpha_vantage.limits
        self.fred_limits = self._vendors.fred.limits

    @property
    def url(self) -> str:
        """Base address, without a slash at the end."""
        if self._server is None:
            raise BadConfigurationError("the sandbox is not running: call start() first")
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def kafka_servers(self) -> str | None:
        """Bootstrap servers of the broker, None without one."""
        return None if self.broker is None else self.broker.bootstrap_servers

    @property
    def identity(self) -> dict[str, object]:
        """What the health call answers."""
        return {"service": locate.SERVICE, **locate.source(self.seed, self.data_dir)}

    def start(self) -> str:
        """Serve in daemon threads; gives the base address."""
        if self._server is None:
            self._stopping.clear()
            if self._home is not None:
                self._archive = SlackArchive.open(self._home, self.slack, self._clock())
            try:
                self._server = LoopbackServer(self._port, self._answer)
            except OSError as error:
                self.stop()
                raise BadConfigurationError(
                    f"the sandbox cannot listen on 127.0.0.1:{self._port}: {error}; "
                    "choose another port, or 0 for a free one"
                ) from error
            threading.Thread(
                target=self._server.serve_forever,
                kwargs={"poll_interval": 0.05},
                name="sandbox",
                daemon=True,
            ).start()
            self._start_broker()
        return self.url

    def stop(self) -> None:
        """Stop serving and end every connection; what was stored stays readable."""
        self._stopping.set()
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.close_connections()
            server.server_close()
        archive, self._archive = self._archive, None
        if archive is not None:
            archive.close()
        if self.broker is not None:
            self.broker.stop()

    def _start_broker(self) -> None:
        try:
            if self.broker is not None:
                self.broker.start()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> "Sandbox":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answer(self, raw: RawRequest) -> Reply:
        if raw.path.startswith(CONTROL_PREFIX):
            return Reply(self._control(raw))
        now = self._clock().astimezone(UTC)
        request = Request(raw.method, raw.host, raw.path, raw.query, raw.headers, raw.body, now)
        endpoint, subject = route(request)
        drawn = self.faults.draw(
            endpoint,
            subject,
            method=raw.path.rpartition("/")[2],
            is_history=endpoint != "yahoo.chart" or "period1" in raw.query,
        )
        request = replace(request, faults=drawn)
        response = self._with_faults(request, endpoint)
        status = 0 if response is None else response.status
        self.requests.add(
            LoggedRequest(now, endpoint, subject, raw.method, raw.path, raw.query, status)
        )
        return Reply(response, request.fault("truncated") is not None)

    def _with_faults(self, request: Request, endpoint: str) -> Response | None:
        """The vendor's response after the faults of the transport; ``None`` is a reset."""
        if (fault := request.fault("delay")) is not None:
            self._stopping.wait(float(fault.option("seconds", 1.0)))
        if request.fault("reset") is not None:
            return None
        failing = request.fault("status") or request.fault("half")
        if failing is not None and (failing.kind == "status" or "code" in failing.options):
            return _failure(failing)
        response = self._vendors.answer(request, endpoint)
        if (lost := request.fault("lost")) is not None:
            self._stopping.wait(float(lost.option("seconds", 0.0)))
            return _failure(lost) if "code" in lost.options else None
        empty, malformed = request.fault("empty"), request.fault("malformed")
        if empty is not None and empty.option("body", False):
            return replace(response, body=b"")
        if malformed is not None and not malformed.option("wrong_types", False):
            return replace(response, body=b'{"unfinished": [<' + response.body[40:0:-1])
        return response

    def _control(self, raw: RawRequest) -> Response:
        name = raw.path.removeprefix(CONTROL_PREFIX)
        if name == "health":
            return json_response(self.identity)
        if name == "requests":
            return json_response([entry.as_dict() for entry in self.requests])
        if name != "faults" or raw.method not in ("GET", "POST", "DELETE"):
            return json_response({"error": f"there is no {raw.method} {raw.path}"}, 404)
        if raw.method == "DELETE":
            self.faults.clear()
        elif raw.method == "POST":
            try:
                self.faults.add(fault_from_dict(json.loads(raw.body)))
            except (BadConfigurationError, ValueError) as error:
                return json_response({"error": str(error)}, 400)
        return json_response([fault.as_dict() for fault in self.faults.all()])


def serve(*, home: Path, seed: int, data_dir: Path | None, port: int, broker: bool = False) -> None:
    """Serve in the foreground until SIGINT or SIGTERM, recorded in ``home`` meanwhile.

    With ``broker`` there is a Kafka broker for as long: the one of ``home``, or one started here.
    """
    with (
        interruptions(signal.SIGINT, signal.SIGTERM) as interrupted,
        Sandbox(seed=seed, data_dir=data_dir, port=port, home=home) as sandbox,
    ):
        locate.record(home, sandbox)
        try:
            with locate.Keeper(home, seed=seed, data_dir=data_dir, broker=broker) as keeper:
                _say(_welcome(sandbox, keeper.kafka_servers))
                while not interrupted(locate.RENEW_SECONDS):
                    if (moved := keeper.renew()) is not None:
                        _say(notice(moved))
        finally:
            locate.forget(home)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _welcome(sandbox: Sandbox, kafka_servers: str | None) -> str:
    base = sandbox.url
    source = f"seed {sandbox.seed}" if sandbox.data_dir is None else f"files of {sandbox.data_dir}"
    lines = [
        f"sandbox on {base} ({source})",
        f"  Yahoo (HTTP proxy)  {base}",
        f"  FRED                {base}/fred",
        f"  Alpha Vantage       {base}/query",
        *(f"  RSS                 {base}/rss/{feed}.xml" for feed in FEEDS),
        f"  Slack API           {base}/api/",
        f"  Slack channels      {base}/slack",
        *([] if kafka_servers is None else [notice(kafka_servers)]),
        "stop with Ctrl-C",
    ]
    return "\n".join(lines)


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _failure(fault: Fault) -> Response:
    status = int(fault.option("code", 500))
    headers = {}
    if (wait := fault.option("retry_after", None)) is not None:
        headers["Retry-After"] = str(wait)
    if fault.option("body", "html") == "json":
        return json_response({"error": {"code": status, "message": "scripted"}}, status, **headers)
    text = f"<html><head><title>{status}</title></head><body>Edge error {status}</body></html>"
    return replace(html_response(text, status), headers=headers)
