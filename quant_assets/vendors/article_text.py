"""The text of articles from their pages. What belongs here: polite fetching, and finding the text.

Publishers are strangers: an address may lead to a huge file, to a machine of the user's own
network, or nowhere. So every address is checked before it is asked, also those that a page sends
to; robots.txt is obeyed; size, time and number are limited. No page is worth a failure: what went
wrong is an outcome. What does not belong here: which articles are worth reading.
"""

import importlib.util
import ipaddress
import socket
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit
from urllib.robotparser import RobotFileParser

import requests

from quant_assets.errors import BadConfigurationError, BadDataError
from quant_assets.vendors.archive import Answer, NoTape, Tape, is_local, kept_headers, request_key
from quant_assets.vendors.http import Pacer

USER_AGENT = "quant-assets"
PAGE_LIMIT_BYTES = 2_000_000
TEXT_LIMIT = 20_000
"""Characters of an article that are kept; what tells its tone stands before that."""
PAGES_A_RUN = 100
SECONDS_A_RUN = 120.0
_REDIRECTS = 3
_HOSTS_AT_ONCE = 4
_PORTS = {None, 80, 443}
_PAGE_TYPES = ("text/html", "application/xhtml+xml")


class PageText(NamedTuple):
    """Text of a page, empty unless ``outcome`` is ``read``; else the outcome says why."""

    text: str
    outcome: str


class _UnreadError(Exception):
    """Why a page was not read; becomes the page's outcome."""


class ArticleReader:
    """Reads pages, those of one host one after the other.

    ``mirror_url`` is a stand-in that serves ``https://host/path`` as ``<mirror_url>/host/path``;
    without it the publishers are asked. ``pause_seconds`` lies between two requests to a host.
    """

    def __init__(
        self,
        *,
        mirror_url: str | None = None,
        timeout_seconds: float = 10.0,
        pause_seconds: float | None = None,
        seconds_a_run: float = SECONDS_A_RUN,
        tape: Tape | None = None,
    ) -> None:
        """Prepare the reader; no request is made. Raises ``BadConfigurationError``."""
        if importlib.util.find_spec("trafilatura") is None:
            raise BadConfigurationError(
                "QUANT_ARTICLE_TEXT needs trafilatura: pip install 'quant-assets[text]', or unset "
                "the variable"
            )
        self._mirror_url = mirror_url
        self._timeout_seconds = timeout_seconds
        default = 0.0 if mirror_url is not None else 1.0
        self._pause_seconds = default if pause_seconds is None else pause_seconds
        self._seconds_a_run = seconds_a_run
        self._tape = tape or NoTape()

    def read(self, urls: Iterable[str]) -> dict[str, PageText]:
        """Text or outcome of each address, at most ``PAGES_A_RUN`` of them."""
        by_host: dict[str, list[str]] = {}
        for url in list(dict.fromkeys(urls))[:PAGES_A_RUN]:
            by_host.setdefault(urlsplit(url).hostname or "", []).append(url)
        deadline = time.monotonic() + self._seconds_a_run
        with ThreadPoolExecutor(_HOSTS_AT_ONCE) as pool:
            found = pool.map(lambda group: self._read_host(group, deadline), by_host.values())
            return {url: page for pages in found for url, page in pages.items()}

    def _read_host(self, urls: list[str], deadline: float) -> dict[str, PageText]:
        """Pages of one host, in turn."""
        pace = max(self._pause_seconds, 1e-6)
        pacer = Pacer(max_per_second=1.0 / pace)
        pages: dict[str, PageText] = {}
        with requests.Session() as session:
            session.headers["User-Agent"] = USER_AGENT
            session.trust_env = self._mirror_url is None
            visit = _Visit(session, pacer, deadline)
            for url in urls:
                try:
                    pages[url] = PageText(self._text(url, visit), "read")
                except _UnreadError as reason:
                    pages[url] = PageText("", str(reason))
        return pages

    def _text(self, url: str, visit: "_Visit") -> str:
        if not self._may_fetch(url, visit):
            raise _UnreadError("robots.txt forbids it")
        answer = self._get(url, visit)
        if answer.status != 200:
            raise _UnreadError(f"HTTP {answer.status}")
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind not in _PAGE_TYPES:
            raise _UnreadError(f"not a page ({kind or 'no content type'})")
        text = extract_text(answer.body)
        if not text:
            raise _UnreadError("no text found")
        return text

    def _may_fetch(self, url: str, visit: "_Visit") -> bool:
        """What the host's robots.txt says; without one everything is allowed, RFC 9309."""
        parts = urlsplit(url)
        place = f"{parts.scheme}://{parts.netloc}"
        if place not in visit.robots:
            rules = RobotFileParser()
            answer = self._get(f"{place}/robots.txt", visit)
            if answer.status == 200:
                rules.parse(answer.body.decode("utf-8", "replace").splitlines())
            elif 400 <= answer.status < 500 and answer.status != 429:
                rules.parse([])
            else:
                rules.parse(["User-agent: *", "Disallow: /"])
            visit.robots[place] = rules
        return visit.robots[place].can_fetch(USER_AGENT, url)

    def _get(self, url: str, visit: "_Visit") -> Answer:
        """Answer after redirects, each of which is checked before it is followed.

        The tape knows it by the address that was asked first.
        """
        key = request_key(self._mirrored(url))
        try:
            kept = self._tape.find(key)
        except BadDataError:
            raise _UnreadError("not part of the kept fetch") from None
        if kept is not None:
            return kept
        for _ in range(_REDIRECTS + 1):
            self._check_address(url)
            answer, location = self._ask(self._mirrored(url), visit)
            if location is None:
                self._tape.note(key, answer)
                return answer
            url = urljoin(url, location)
        raise _UnreadError("too many redirects")

    def _ask(self, url: str, visit: "_Visit") -> tuple[Answer, str | None]:
        """One request; the second is where the answer sends to, if it does."""
        if time.monotonic() > visit.deadline:
            raise _UnreadError("no time left in this run")
        visit.pacer.wait()
        try:
            with visit.session.get(
                url, timeout=self._timeout_seconds, stream=True, allow_redirects=False
            ) as response:
                location = response.headers.get("Location") if response.is_redirect else None
                body = b"" if location else self._body(response, visit)
                headers = kept_headers(response.headers)
                return Answer(response.status_code, headers, body), location
        except requests.RequestException as error:
            raise _UnreadError(type(error).__name__) from None

    def _body(self, response: requests.Response, visit: "_Visit") -> bytes:
        """The body, as long as it is neither too large nor too slow."""
        content = bytearray()
        give_up_at = min(visit.deadline, time.monotonic() + 3 * self._timeout_seconds)
        for chunk in response.iter_content(65_536):
            content += chunk
            if len(content) > PAGE_LIMIT_BYTES:
                raise _UnreadError(f"larger than {PAGE_LIMIT_BYTES:,} bytes")
            if time.monotonic() > give_up_at:
                raise _UnreadError("too slow")
        return bytes(content)

    def _mirrored(self, url: str) -> str:
        if self._mirror_url is None:
            return url
        parts = urlsplit(url)
        query = f"?{parts.query}" if parts.query else ""
        return f"{self._mirror_url}/{parts.netloc}{parts.path}{query}"

    def _check_address(self, url: str) -> None:
        """Refuse what is not a public web server: a feed must not reach into the user's network."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise _UnreadError("refused address (malformed)") from None
        if parts.scheme not in ("http", "https") or port not in _PORTS or not host:
            raise _UnreadError("refused address (not a web server)")
        if is_local(host) or not is_public(host, resolve=self._mirror_url is None):
            raise _UnreadError("refused address (not public)")


class _Visit:
    """What the requests to one host share."""

    def __init__(self, session: requests.Session, pacer: Pacer, deadline: float) -> None:
        self.session = session
        self.pacer = pacer
        self.deadline = deadline
        self.robots: dict[str, RobotFileParser] = {}


def is_public(host: str, *, resolve: bool) -> bool:
    """Whether a host is on the public internet; a name counts by every address that it has.

    Without ``resolve`` a name counts as public and only an address is judged.
    """
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        pass
    if not resolve:
        return True
    try:
        found = socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)
    except OSError:
        return False
    addresses = {str(entry[4][0]).partition("%")[0] for entry in found}
    return bool(addresses) and all(ipaddress.ip_address(a).is_global for a in addresses)


def extract_text(page: bytes) -> str:
    """The article's text in a page, without navigation, comments and tables; empty if none."""
    import trafilatura

    try:
        text = trafilatura.extract(page, include_comments=False, include_tables=False)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return ""
    return (text or "").strip()[:TEXT_LIMIT]


def tally(pages: Iterable[PageText]) -> str:
    """Outcomes with how often they came, the most frequent first."""
    counts = Counter(page.outcome for page in pages)
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
