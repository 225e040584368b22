"""What tells one article from another. What belongs here: addresses and headlines, no scores.

An article is known by its address, however it was linked (``article_id``); the same story under
another address is known by its headline (``title_key``, ``near_titles``).
"""

import base64
import binascii
import hashlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from quant_assets.errors import BadDataError

_DEFAULT_PORTS = {"http": 80, "https": 443}
_TRACKING_PARAMETER = re.compile(
    r"utm_.*|guce_.*|guccounter|soc_(?:src|trk)|mc_[ce]id|fbclid|gclid|gclsrc|dclid|msclkid|wbraid|gbraid"
    r"|igshid|yptr|siteid|\.?tsrc|ncid|cmpid|cmp|ref|ref_src|refsrc|referrer|partner|taid|mod"
    r"|feature|ocid|icid|xtor|_hs(?:enc|mi)|smid|cid|spm",
    re.IGNORECASE,
)
_PUBLISHER = (
    r"reuters|bloomberg(?: news)?|cnbc|marketwatch|barron'?s|the wall street journal|wsj"
    r"|financial times|ft|yahoo finance|benzinga|zacks(?: commentary)?|(?:the )?motley fool"
    r"|seeking alpha|forbes|fortune|business insider|the new york times|associated press"
    r"|ap(?: news)?|bbc(?: news)?|cnn(?: business)?|techcrunch|nikkei asia|globenewswire"
    r"|pr newswire|business wire|tipranks|investor'?s business daily|yonhap(?: news(?: agency)?)?"
    r"|(?:the )?korea (?:herald|times|joongang daily|economic daily)|연합뉴스|한국경제|매일경제"
    r"|머니투데이|조선비즈|이데일리|[\w-]+(?:\.[\w-]+)*\.(?:com|net|org|kr|uk)"
)
_SOURCE_SUFFIX = re.compile(rf"\s+(?:[-|\u2013\u2014]|::)\s+(?:{_PUBLISHER})\s*$", re.IGNORECASE)
_SOURCE_PREFIX = re.compile(r"^(?:rt @\w+:?|(?:update|corrected|refile|exclusive)[\s\d]*[-:])\s*")
_LINK = re.compile(r"https?://\S+")
_KEY_WORD = re.compile(r"\w+(?:[.,]\d+)*")
_STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an the of to in on for and or as at by with from into is are was were be been its it"
        " this that has have had will",
    )
)
_GOOGLE = re.compile(r"(?:www\.)?google\.[a-z]{2,3}(?:\.[a-z]{2})?")
_GOOGLE_NEWS_PATH = re.compile(r"/(?:rss/)?articles/([\w-]+)")
_AMP_CACHE_PATH = re.compile(r"/(?:amp|[a-z])/(s/)?(?=[\w-]+\.)")
_YAHOO_TARGET = re.compile(r"/RU=([^/]+)/")
_PRINTED_URL = re.compile(rb"https?://[\x21-\x7e]+")
_EDITION_LABELS = ("www.", "m.", "mobile.", "amp.")
_AMP_PARAMETERS = frozenset({("amp", ""), ("amp", "1"), ("amp", "true"), ("outputtype", "amp")})
FEWEST_WORDS = 5
"""Below this many words one more word makes another headline: similarity 2n / (2n + 1) < 0.9."""
_REVERSALS = frozenset(
    re.findall(
        r"\w+",
        "not no never nor without deny denies denied denying fail fails failed refuse refuses"
        " refused reject rejects rejected cancel cancels canceled cancelled unlikely false"
        " 부인 무산 철회 취소 실패 아니다 않는다",
    )
)
"""Words that turn a headline into its opposite: one more of these is other news."""


def canonical_url(url: str) -> str:
    """Return the URL under which an article is linked best, however it came.

    Lower-case scheme and host, no default port, user, fragment or tracking parameter, the other
    parameters sorted. Redirects and caches of Google and Yahoo are replaced by the page that they
    name in their own address. Raises ``BadDataError`` for anything but an absolute http(s) URL.
    """
    canonical = _tidy(url)
    while (target := _target(canonical)) is not None:
        try:
            canonical = _tidy(target)
        except BadDataError:
            break
    return canonical


def article_id(url: str) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of the address without its edition.

    The edition is what leads to the same article: http or https, ``www.``, ``m.``, ``mobile.`` or
    ``amp.`` before the host, AMP marks, a slash at the end.
    """
    return hashlib.sha256(_without_edition(canonical_url(url)).encode("utf-8")).hexdigest()[:16]


def _tidy(url: str) -> str:
    try:
        parts = urlsplit(url.strip())
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError as error:
        raise BadDataError(f"article URL {url!r} is malformed ({error}): quarantine it") from error
    if scheme not in _DEFAULT_PORTS or not host:
        raise BadDataError(f"article URL {url!r} is not an absolute http(s) URL: quarantine it")
    host = f"[{host}]" if ":" in host else host
    netloc = host if port in (None, _DEFAULT_PORTS[scheme]) else f"{host}:{port}"
    parameters = sorted(
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if not _TRACKING_PARAMETER.fullmatch(name)
    )
    return urlunsplit((scheme, netloc, parts.path or "/", urlencode(parameters), ""))


def _target(url: str) -> str | None:
    """The address that a redirect or a cache names in its own, ``None`` for a plain page."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if _GOOGLE.fullmatch(host) and parts.path == "/url":
        asked = dict(parse_qsl(parts.query))
        return asked.get("q") or asked.get("url")
    is_cache = host.endswith(".cdn.ampproject.org")
    if is_cache or (_GOOGLE.fullmatch(host) and parts.path.startswith("/amp/")):
        amp = _AMP_CACHE_PATH.match(parts.path)
        scheme = "https" if amp and amp[1] else "http"
        return f"{scheme}://{parts.path[amp.end() :]}" if amp else None
    if host == "news.google.com" and (coded := _GOOGLE_NEWS_PATH.match(parts.path)):
        return _decoded(coded[1])
    if host == "r.search.yahoo.com" and (named := _YAHOO_TARGET.search(parts.path)):
        return unquote(named[1])
    return None


def _decoded(code: str) -> str | None:
    """The address inside an older Google News code; newer ones hide it and stay as they are."""
    try:
        content = base64.urlsafe_b64decode(code + "=" * (-len(code) % 4))
    except (binascii.Error, ValueError):
        return None
    found = _PRINTED_URL.search(content)
    return found[0].decode("ascii") if found else None


def _without_edition(url: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc
    while host.startswith(_EDITION_LABELS) and "." in host.partition(".")[2]:
        host = host.partition(".")[2]
    path = parts.path.removesuffix("/")
    path = path.removesuffix("/amp").removesuffix(".amp")
    if path.endswith(".amp.html"):
        path = path.removesuffix(".amp.html") + ".html"
    if path.startswith("/amp/"):
        path = path.removeprefix("/amp")
    parameters = [
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if (name.lower(), value.lower()) not in _AMP_PARAMETERS
    ]
    return urlunsplit(("https", host, path or "/", urlencode(parameters), ""))


def title_key(title: str) -> str:
    """Return what near-identical titles share: their words without case, source and stop words.

    Numbers stay, because "up 5%" and "up 6%" are two pieces of news. Empty for an empty title.
    """
    text = unicodedata.normalize("NFKC", title).replace("\u2019", "'").lower().strip()
    text = _LINK.sub(" ", _SOURCE_PREFIX.sub("", text))
    text = _SOURCE_SUFFIX.sub("", text).replace("'s ", " ")
    return " ".join(word for word in _KEY_WORD.findall(text) if word not in _STOP_WORDS)


def near_titles(keys: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of positions whose title keys tell the same news in nearly the same words.

    The words are the same in another order, or one of the two has one word more, which does not
    turn it into its opposite; both have at least ``FEWEST_WORDS``. That is a similarity of the
    sets of words, 2 |A and B| / (|A| + |B|), of at least 0.9. Exchanged words do not count as
    near: "beats" for "misses" is one of them. Equal keys are not reported.
    """
    words = [tuple(sorted(set(key.split()))) for key in keys]
    places: dict[tuple[str, ...], list[int]] = {}
    for position, found in enumerate(words):
        if len(found) >= FEWEST_WORDS:
            places.setdefault(found, []).append(position)
    for position, found in enumerate(words):
        if len(found) < FEWEST_WORDS:
            continue
        for other in places[found]:
            if other < position and keys[other] != keys[position]:
                yield other, position
        if len(found) == FEWEST_WORDS:
            continue
        for n, extra in enumerate(found):
            shorter = places.get(found[:n] + found[n + 1 :])
            if shorter is not None and extra not in _REVERSALS:
                yield from ((other, position) for other in shorter)
