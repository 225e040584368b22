"""RSS feeds and the pages they link. What belongs here: XML of a feed, conditional requests, HTML.

Feeds: markets, companies, korea. A few items have no date, or one in the future, as real feeds do.
The page of ``https://host/path`` is served as ``/rss/pages/host/path``.
"""

import hashlib
import re
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from xml.sax.saxutils import escape

from quant_assets.sandbox.news import FEEDS, NewsSource, Story, latest_stories
from quant_assets.sandbox.randomness import stable_hash
from quant_assets.sandbox.wire import Request, Response, html_response

PAGES_PATH = "/rss/pages/"
ITEM_COUNT = 60
DELAY_SECONDS = 120
RSS_TYPE = "application/rss+xml; charset=utf-8"
UNDATED_ONE_IN = 90
FUTURE_ONE_IN = 120
FUTURE_SECONDS = 2 * 86_400
_PAGE_DAY = re.compile(r"/(20\d\d/[01]\d/[0-3]\d)/")
_TITLES = {"markets": "Markets", "companies": "Companies", "korea": "Korea"}


def feed_of(path: str) -> str:
    """Name of the feed that ``path`` asks for."""
    return path.removeprefix("/rss/").removesuffix(".xml")


class Rss:
    """Answers for ``/rss/<feed>.xml`` from one source of stories."""

    def __init__(self, news: NewsSource) -> None:
        self._news = news

    def answer(self, request: Request) -> Response:
        """Response to a request below ``/rss``."""
        if request.path.startswith(PAGES_PATH):
            return self._page(request)
        feed = feed_of(request.path)
        if feed not in FEEDS:
            return html_response("<html><body>404 Not Found</body></html>", 404)
        latest = int(request.now.timestamp()) - DELAY_SECONDS
        if (fault := request.fault("late")) is not None:
            latest -= int(fault.option("hours", 6) * 3600)
        stories = latest_stories(self._news, feed, latest, ITEM_COUNT)
        if request.fault("empty") is not None:
            stories = []
        if request.fault("duplicate") is not None:
            stories = [story for story in stories for _ in range(2)]
        malformed = request.fault("malformed")
        has_wrong_types = malformed is not None and bool(malformed.option("wrong_types", False))
        body = _document(feed, stories, has_wrong_types).encode()
        changed = datetime.fromtimestamp(stories[0].published if stories else 0, UTC)
        headers = {
            "ETag": f'"{hashlib.sha256(body).hexdigest()[:20]}"',
            "Last-Modified": format_datetime(changed, usegmt=True),
        }
        if _is_current(request, headers["ETag"], changed):
            return Response(304, b"", RSS_TYPE, headers)
        return Response(200, body, RSS_TYPE, headers)

    def _page(self, request: Request) -> Response:
        """The page of a story that has been published, with a menu and a footer around it."""
        address = "https://" + request.path.removeprefix(PAGES_PATH)
        named = _PAGE_DAY.search(address)
        if named is not None:
            day = int(datetime.strptime(named[1], "%Y/%m/%d").replace(tzinfo=UTC).timestamp())
            last = min(day + 86_399, int(request.now.timestamp()))
            for story in self._news.stories(day, last, None, False):
                if story.url == address:
                    return html_response(_html(story))
        return html_response("<html><body>404 Not Found</body></html>", 404)


def _html(story: Story) -> str:
    sentences = [*story.summary.replace(". ", ".|").split("|"), f"{story.source} reported this."]
    paragraphs = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    return (
        f"<!doctype html><html><head><title>{escape(story.title)}</title></head><body>"
        "<nav><a href='/'>Home</a> <a href='/markets'>Markets</a></nav>"
        f"<article><h1>{escape(story.title)}</h1>{paragraphs}</article>"
        "<footer>All rights reserved. Subscribe to the newsletter.</footer></body></html>"
    )


def _is_current(request: Request, etag: str, changed: datetime) -> bool:
    """Whether the client already has this body; an entity tag outweighs a date."""
    if (known := request.headers.get("if-none-match")) is not None:
        return etag in (tag.strip().removeprefix("W/") for tag in known.split(","))
    since = request.headers.get("if-modified-since")
    if since is None:
        return False
    try:
        return changed <= parsedate_to_datetime(since)
    except (TypeError, ValueError):
        return False


def _document(feed: str, stories: list[Story], has_wrong_types: bool) -> str:
    items = "".join(_item(story, has_wrong_types) for story in stories)
    built = f"<lastBuildDate>{_date(stories[0].published)}</lastBuildDate>" if stories else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><rss version="2.0"><channel>'
        f"<title>{_TITLES[feed]}</title><link>https://www.ledgerwire.example/{feed}</link>"
        f"<description>Latest stories: {feed}</description><language>en-us</language>{built}"
        f"<ttl>5</ttl>{items}</channel></rss>"
    )


def _item(story: Story, has_wrong_types: bool) -> str:
    date = "" if stated_date(story) is None else f"<pubDate>{_date(stated_date(story))}</pubDate>"
    if has_wrong_types:
        date = "<pubDate>the day before yesterday</pubDate>"
    return (
        f"<item><title>{escape(story.title)}</title><link>{escape(story.url)}</link>"
        f"<description>{escape(f'<p>{escape(story.summary)}</p>')}</description>{date}"
        f'<source url="https://www.{story.domain}/">{escape(story.source)}</source>'
        f'<guid isPermaLink="true">{escape(story.url)}</guid></item>'
    )


def stated_date(story: Story) -> int | None:
    """Date that the feed states for ``story``: rarely none, rarely one in the future."""
    if stable_hash("undated", story.url) % UNDATED_ONE_IN == 0:
        return None
    if stable_hash("future", story.url) % FUTURE_ONE_IN == 0:
        return story.published + FUTURE_SECONDS
    return story.published


def _date(instant: int | None) -> str:
    return format_datetime(datetime.fromtimestamp(instant or 0, UTC), usegmt=True)
