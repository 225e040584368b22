"""What all HTTP vendors share: sessions, pacing, and turning answers into typed errors.

What belongs here: transport rules that no single vendor owns. What does not: addresses, parameters
and the meaning of a vendor's body (each client's own module). Yahoo goes over libcurl, because it
refuses other TLS handshakes, and shares only the pacer.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from quant_assets.errors import PermanentError, QuantAssetsError, TransientError
from quant_assets.vendors.archive import (
    Answer,
    NoTape,
    Tape,
    is_local,
    kept_headers,
    request_key,
)
from quant_assets.vendors.redaction import protect_logs, redact

RETRIED_STATUSES = (429, 500, 502, 503, 504)
Expected = Literal["json", "xml"]
_EXCERPT_LENGTH = 200


class _TimeoutAdapter(HTTPAdapter):
    """Gives every request a timeout: requests itself would wait for ever."""

    def __init__(self, timeout_seconds: float, max_retries: Retry) -> None:
        self._timeout_seconds = timeout_seconds
        super().__init__(max_retries=max_retries)

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self._timeout_seconds
        return super().send(request, *args, **kwargs)


class _Session(requests.Session):
    """Goes to loopback directly: proxy variables of the environment are for the outside.

    ``tape`` sees every answer, and may give one in the vendor's place.
    """

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self._tape = tape

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        key = request_key(request.url or "")
        kept = self._tape.find(key)
        if kept is not None:
            return _response(request, kept)
        response = super().send(request, **kwargs)
        headers = kept_headers(response.headers)
        self._tape.note(key, Answer(response.status_code, headers, response.content))
        return response

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        given = {**self.proxies, **(proxies or {})}
        settings = super().merge_environment_settings(url, proxies, stream, verify, cert)
        if is_local(urlsplit(str(url)).hostname or ""):
            settings["proxies"] = given
        return settings


def build_session(
    *,
    retries: int,
    backoff_seconds: float,
    timeout_seconds: float,
    retry_after_max_seconds: int = 60,
    user_agent: str,
    tape: Tape | None = None,
) -> requests.Session:
    """Return a session that retries reads and never waits without a limit.

    Repeats GET and HEAD after 429, 5xx, connection errors and timeouts, up to ``retries`` times,
    waiting ``backoff_seconds * 2**n`` or what Retry-After asks, at most
    ``retry_after_max_seconds``: urllib3 alone would honour six hours. The last answer is returned
    whatever its status, so that ``classify_response`` can name it. ``tape`` keeps the answers, or
    gives kept ones.
    """
    retry = Retry(
        total=retries,
        backoff_factor=backoff_seconds,
        backoff_jitter=backoff_seconds / 2,
        backoff_max=retry_after_max_seconds,
        status_forcelist=RETRIED_STATUSES,
        allowed_methods=frozenset({"GET", "HEAD"}),
        raise_on_status=False,
        retry_after_max=retry_after_max_seconds,
    )
    session = _Session(tape or NoTape())
    adapter = _TimeoutAdapter(timeout_seconds, retry)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    session.headers["User-Agent"] = user_agent
    protect_logs()
    return session


class Pacer:
    """Holds callers back so that no window of time sees more than its share of requests.

    A burst up to the limit passes at once, as vendors count a window and not a distance. One pacer
    is shared by all threads; across processes Dagster's pools do the same job.
    """

    def __init__(
        self,
        *,
        max_per_second: float | None = None,
        max_per_minute: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if (max_per_second is None) == (max_per_minute is None):
            raise ValueError("give exactly one of max_per_second and max_per_minute")
        limit = max_per_second if max_per_second is not None else max_per_minute
        assert limit is not None
        if limit <= 0:
            raise ValueError(f"a pace must be positive, not {limit}")
        slots = max(1, int(limit))
        self._window_seconds = slots / limit * (1.0 if max_per_second is not None else 60.0)
        self._starts: deque[float] = deque(maxlen=slots)
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Return when the next request may start."""
        with self._lock:
            now = self._monotonic()
            start = now
            if len(self._starts) == self._starts.maxlen:
                start = max(now, self._starts[0] + self._window_seconds)
            self._starts.append(start)
        if start > now:
            self._sleep(start - now)


class HttpCaller:
    """One vendor's GET requests: paced, typed on failure, without a secret in any message.

    ``key_name`` is the setting that holds the key and is named when the vendor refuses it.
    """

    def __init__(
        self,
        vendor: str,
        session: requests.Session,
        *,
        pacer: Pacer | None = None,
        secrets: Collection[str] = (),
        key_name: str | None = None,
    ) -> None:
        self.vendor = vendor
        self._session = session
        self._pacer = pacer
        self._secrets = tuple(secrets)
        self._key_name = key_name
        protect_logs()

    def redact(self, text: str) -> str:
        """Mask the vendor's secrets in ``text``."""
        return redact(text, self._secrets)

    def get(
        self,
        url: str,
        *,
        endpoint: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        expects: Expected = "json",
        understood: Collection[int] = (),
    ) -> requests.Response:
        """Return the answer, whose status is 2xx or one of ``understood``.

        Raises ``TransientError`` or ``PermanentError``. The error carries no cause on purpose: the
        text of requests' own exceptions holds the address with the key.
        """
        if self._pacer is not None:
            self._pacer.wait()
        try:
            response = self._session.get(url, params=params, headers=headers)
        except requests.RequestException as error:
            failure = self._describe_failure(error, endpoint)
        else:
            if response.status_code in understood:
                return response
            problem = classify_response(
                response,
                vendor=self.vendor,
                endpoint=endpoint,
                secrets=self._secrets,
                key_name=self._key_name,
                expects=expects,
            )
            if problem is None:
                return response
            failure = problem
        raise failure

    def json(self, response: requests.Response, *, endpoint: str) -> Any:
        """Parse the body as JSON; a cut or mangled body is a ``TransientError``."""
        try:
            return response.json()
        except ValueError:
            excerpt = self.redact(_excerpt(response))
        raise TransientError(
            f"{self.vendor} {endpoint}: the body is not valid JSON ({excerpt!r}); "
            "try again later, and if it stays so check the vendor's status page"
        )

    def _describe_failure(self, error: requests.RequestException, endpoint: str) -> Exception:
        detail = redact(str(error), self._secrets)
        if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
            return PermanentError(
                f"{self.vendor} {endpoint}: the address is not usable ({detail}); "
                "check the vendor's URL in the settings"
            )
        kind = _failure_kind(error)
        return TransientError(
            f"{self.vendor} {endpoint}: {kind} ({detail}); try again later, and check the "
            "network and proxy settings if it persists"
        )


def classify_response(
    response: requests.Response,
    *,
    vendor: str,
    endpoint: str,
    secrets: Collection[str] = (),
    key_name: str | None = None,
    expects: Expected = "json",
) -> QuantAssetsError | None:
    """Return the error that an answer stands for, or ``None`` when its body can be read.

    429, 408 and 5xx are transient, as is an HTML page where data is due (consent, maintenance and
    rate-limit pages arrive as 200); 401 and 403 are a refused key; other 4xx are permanent.
    """
    status = response.status_code
    where = f"{vendor} {endpoint}"
    if status < 300 and not _is_html(response):
        return None
    told = redact(_excerpt(response), secrets)
    if status == 429:
        wait = retry_after_seconds(response)
        asked = "" if wait is None else f", which asks to wait {wait:g} s"
        return TransientError(
            f"{where}: rate limited (HTTP 429{asked}); wait, or lower the request pace",
            retry_after_seconds=wait,
        )
    if status == 408 or status >= 500:
        return TransientError(
            f"{where}: the server failed (HTTP {status}: {told!r}); try again later",
            retry_after_seconds=retry_after_seconds(response),
        )
    if status in (401, 403):
        remedy = f"check {key_name}" if key_name else "check that access is allowed"
        return PermanentError(f"{where}: access refused (HTTP {status}: {told!r}); {remedy}")
    if status >= 300:
        reason = "not found" if status == 404 else "request refused"
        return PermanentError(
            f"{where}: {reason} (HTTP {status}: {told!r}); check the address and the arguments"
        )
    return TransientError(
        f"{where}: an HTML page came where {expects.upper()} is due ({told!r}); "
        "try again later, and open the address in a browser if it persists"
    )


def retry_after_seconds(response: requests.Response) -> float | None:
    """Seconds that ``Retry-After`` asks to wait (a number or a date), ``None`` without one."""
    header = response.headers.get("Retry-After", "").strip()
    if not header:
        return None
    if header.isdigit():
        return float(header)
    until = _http_date(header)
    if until is None:
        return None
    sent = _http_date(response.headers.get("Date", "")) or datetime.now(UTC)
    return max(0.0, (until - sent).total_seconds())


def _http_date(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text).astimezone(UTC)
    except (TypeError, ValueError):
        return None


def _failure_kind(error: requests.RequestException) -> str:
    if isinstance(error, requests.exceptions.Timeout) or "timed out" in str(error).lower():
        return "no answer in time"
    if isinstance(
        error, requests.exceptions.ChunkedEncodingError | requests.exceptions.ContentDecodingError
    ):
        return "the body broke off"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy did not answer"
    return "connection failed"


def _excerpt(response: requests.Response) -> str:
    """Return the start of a body; ``response.text`` would guess the charset of all of it."""
    text = " ".join(response.content[: 4 * _EXCERPT_LENGTH].decode("utf-8", "replace").split())
    return text if len(text) <= _EXCERPT_LENGTH else text[:_EXCERPT_LENGTH] + "..."


def _is_html(response: requests.Response) -> bool:
    start = response.content[:200].lstrip().lower()
    return start.startswith((b"<!doctype html", b"<html"))


def _response(request: requests.PreparedRequest, answer: Answer) -> requests.Response:
    """A kept answer as requests would have given it."""
    response = requests.Response()
    response.status_code = answer.status
    response.headers.update(answer.headers)
    response.url = request.url or ""
    response.request = request
    response._content = answer.body
    return response
