"""How yfinance reaches Yahoo: session, pacing, cookies, timezones, and the status of an answer.

What belongs here: everything that hooks into yfinance. What does not: retries, threads and the
tables made of the answers (``yahoo``).

yfinance 1.7 keeps one process-wide ``YfData`` with one session, caches bad answers in an LRU cache
and stores timezones and cookies in SQLite files that processes would share. Each client here has
its own transport instead, without answer cache and without files but one of timezones, so that two
clients in a process do not swap sessions and a retry really asks again.
"""

import warnings
from typing import Any
from urllib.parse import urlsplit

import yfinance
from curl_cffi.requests import Response, Session
from pandas.errors import Pandas4Warning
from yfinance.data import YfData
from yfinance.exceptions import YFRateLimitError

from quant_assets.errors import BadDataError, PermanentError, TransientError
from quant_assets.vendors.archive import (
    Answer,
    NoTape,
    NotKeptError,
    Tape,
    kept_headers,
    request_key,
)
from quant_assets.vendors.http import Pacer
from quant_assets.vendors.yahoo_timezones import Timezones

_CHART_PATH = "/v8/finance/chart/"
_CRUMB_PATH = "/v1/test/getcrumb"


class YahooRateLimited(YFRateLimitError):  # type: ignore[misc]  # noqa: N818
    """HTTP 429. A ``YFRateLimitError``, so that yfinance lets it through; not raised to callers."""

    def __init__(self, retry_after_seconds: float | None) -> None:
        super().__init__()
        self.retry_after_seconds = retry_after_seconds


class CrumbRefusedError(ConnectionError):
    """Yahoo gave no crumb. A ``ConnectionError``, on which yfinance goes on without one.

    Left alone it would take the text of the error for the crumb, and every chart would be refused.
    """


class UnknownSymbolError(PermanentError):
    """Yahoo has never heard of the symbol, or has removed it."""


class NoBarsError(PermanentError):
    """Yahoo knows the symbol and has no bars in the range asked for."""


class YahooSession(Session):  # type: ignore[type-arg]
    """A paced browser-like session; with ``proxy_url`` everything goes there over plain HTTP.

    One session serves all threads: curl_cffi gives each thread its own curl handle, and yfinance
    shares cookie and crumb between them by design.

    Status codes of charts are judged here, before yfinance sees them: on any status from 400 it
    would drop cookie and crumb of all threads and ask again, also after 404 and 429.
    """

    def __init__(self, *, proxy_url: str | None, pacer: Pacer, tape: Tape | None = None) -> None:
        self._is_redirected = proxy_url is not None
        self._pacer = pacer
        self.tape = tape or NoTape()
        super().__init__(
            impersonate="chrome", proxies={"http": proxy_url} if proxy_url is not None else None
        )

    def request(self, method: Any, url: str, *args: Any, **kwargs: Any) -> Response:
        """Send one request; raises what ``check_status`` raises, and libcurl's own errors.

        The tape keeps the charts, and none of what opens a session (cookie, crumb).
        """
        path = urlsplit(url).path
        key = request_key(f"https://yahoo{path}", kwargs.get("params"))
        kept = self.tape.find(key) if path.startswith(_CHART_PATH) else None
        if kept is not None:
            response = _response(kept)
        else:
            self._pacer.wait()
            if self._is_redirected:
                url = "http://" + url.removeprefix("https://")
            response = super().request(method, url, *args, **kwargs)
            if path.startswith(_CHART_PATH):
                answer = Answer(response.status_code, _headers(response), response.content)
                self.tape.note(key, answer)
        check_status(response, path)
        return response


def _headers(response: Response) -> dict[str, str]:
    return kept_headers({name: value or "" for name, value in response.headers.items()})


def _response(answer: Answer) -> Response:
    """A kept answer as libcurl would have given it."""
    response = Response()
    response.status_code = answer.status
    response.headers.update(dict(answer.headers))
    response.content = answer.body
    return response


def check_status(response: Any, path: str) -> None:
    """Raise for an answer whose status already says what happened; others pass."""
    status = response.status_code
    if status == 429:
        header = response.headers.get("Retry-After", "")
        raise YahooRateLimited(float(header) if header.isdigit() else None)
    if path == _CRUMB_PATH and status >= 400:
        raise CrumbRefusedError(f"no crumb (HTTP {status})")
    if not path.startswith(_CHART_PATH):
        return
    symbol = path.removeprefix(_CHART_PATH)
    if status >= 500:
        raise TransientError(f"Yahoo chart of {symbol}: the server failed (HTTP {status})")
    if status in (400, 404, 422):
        description = _error_description(response)
        if description is None and status == 404:
            raise TransientError(f"Yahoo chart of {symbol}: HTTP 404 without a reason")
        told = description or f"HTTP {status}"
        if status == 404:
            raise UnknownSymbolError(told)
        if "data doesn't exist" in told.lower():
            raise NoBarsError(told)
        raise PermanentError(f"Yahoo chart of {symbol}: refused (HTTP {status}: {told})")


def _error_description(response: Any) -> str | None:
    try:
        body = response.json()
        return str(body["chart"]["error"]["description"])
    except (ValueError, KeyError, TypeError):
        return None


class Transport(YfData):  # type: ignore[misc]
    """yfinance's cookie and crumb logic for one client, without cookie files and answer cache."""

    def cache_get(self, url: str, params: Any = None, timeout: float = 30) -> Any:
        """Ask Yahoo: yfinance's version caches errors too, and a retry would get them back."""
        return self.get(url, params, timeout)

    def _get_cookie_and_crumb(self, timeout: float = 30) -> Any:
        """Open a session, unless only kept answers are read."""
        if self._session.tape.is_closed:
            return None, self._cookie_strategy
        return super()._get_cookie_and_crumb(timeout)

    def _load_cookie_curlCffi(self) -> bool:  # noqa: N802
        return False

    def _save_cookie_curlCffi(self) -> bool:  # noqa: N802
        """Remember that the session has its cookie; yfinance asks for it anew until it knows."""
        has_cookie = any("yahoo" in cookie.domain for cookie in self._session.cookies.jar)
        if has_cookie:
            self._cookie = True
        return has_cookie


def quieten_yfinance() -> None:
    """Show yfinance's errors and hide its use of pandas calls that pandas 4 will drop."""
    yfinance.config.debug.hide_exceptions = False
    warnings.filterwarnings("ignore", category=Pandas4Warning, module="yfinance")


def new_transport(session: YahooSession) -> Transport:
    """Make a transport of its own; calling the class would return the process-wide one."""
    transport: Transport = object.__new__(Transport)
    YfData.__init__(transport, session)
    return transport


class _Recorder:
    """Passes one ticker's requests on and keeps the latest chart, which yfinance does not."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.response: Any = None

    def get(self, url: str, params: Any = None, timeout: float = 30) -> Any:
        response = self._transport.get(url, params, timeout)
        if response.status_code >= 400:
            raise TransientError(
                f"Yahoo refused the session (HTTP {response.status_code}), also with a new crumb"
            )
        self.response = response
        return response

    cache_get = get


class SymbolTicker(yfinance.Ticker):  # type: ignore[misc]
    """yfinance's ticker over a client's transport, timezones and timeout."""

    def __init__(
        self, symbol: str, transport: Transport, timezones: Timezones, timeout_seconds: float
    ) -> None:
        super().__init__(symbol, session=transport._session)
        self._data = _Recorder(transport)
        self._session_tape: Tape = transport._session.tape
        self._timezones = timezones
        self._timeout_seconds = timeout_seconds

    def chart(self) -> dict[str, Any]:
        """Return the result of the latest chart, which may be without bars.

        Raises ``BadDataError`` for an answer of another shape: yfinance calls that, too, a symbol
        without prices.
        """
        body = self._data.response.json()
        try:
            chart = body["chart"]["result"][0]
        except (LookupError, TypeError):
            chart = None
        if not isinstance(chart, dict) or not isinstance(chart.get("meta"), dict):
            raise BadDataError(f"Yahoo chart of {self.ticker}: not a chart: {str(body)[:200]}")
        return chart

    def _get_ticker_tz(self, timeout: float) -> str | None:
        """Look up or ask the timezone: yfinance's version opens SQLite files and ignores timeouts.

        It also falls back to further pages for unknown symbols, which this does not. The tape
        keeps the timezone, because the parameters of a chart's request follow from it.
        """
        tape, key = self._session_tape, f"timezone of {self.ticker}"
        if tape.is_closed:
            return self._kept_timezone(key)
        name = self._timezones.get(self.ticker)
        if name is None:
            name = self._fetch_ticker_tz(self._timeout_seconds)
            if name is not None:
                self._timezones.put(self.ticker, name)
        if name is not None:
            tape.note(key, Answer(200, {}, name.encode()))
        return name

    def _kept_timezone(self, key: str) -> str | None:
        """The timezone on the tape; a symbol without one was refused, which the tape has too."""
        try:
            kept = self._session_tape.find(key)
        except NotKeptError:
            name: str | None = self._fetch_ticker_tz(self._timeout_seconds)
            return name
        return None if kept is None else kept.body.decode()
