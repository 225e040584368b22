"""Alpha Vantage's NEWS_SENTIMENT. What belongs here: its parameters, JSON, limits and errors.

Errors come with HTTP 200, as from the real service. A story is served ten minutes after its
publication.
"""

import json
import re
import threading
from collections import deque
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Any

from quant_assets.sandbox.news import NewsSource, Story
from quant_assets.sandbox.wire import JSON_TYPE, Request, Response, json_response

PUBLICATION_LAG_SECONDS = 600
DEFAULT_LIMIT, MAX_LIMIT = 50, 1000
_DOCUMENTATION = "https://www.alphavantage.co/documentation#newsapi"
_PREMIUM = "https://www.alphavantage.co/premium/"
_HEAD = {
    "sentiment_score_definition": (
        "x <= -0.35: Bearish; -0.35 < x <= -0.15: Somewhat-Bearish; -0.15 < x < 0.15: Neutral; "
        "0.15 <= x < 0.35: Somewhat_Bullish; x >= 0.35: Bullish"
    ),
    "relevance_score_definition": ("0 < x <= 1, with a higher score indicating higher relevance."),
}
_NONSENSE = {
    "title": None,
    "url": 5,
    "time_published": "yesterday",
    "ticker_sentiment": "none",
}
_TIME = re.compile(r"\d{8}T\d{4}(\d{2})?")


class AlphaVantage:
    """Answers for ``/query`` from one source of stories.

    ``limits`` are calls allowed per window of seconds, such as ``{1: 1, 86400: 25}``; none by
    default.
    """

    def __init__(self, news: NewsSource, limits: dict[int, int] | None = None) -> None:
        self._news = news
        self.limits = dict(limits or {})
        self._calls: deque[float] = deque(maxlen=100_000)
        self._lock = threading.Lock()

    def answer(self, request: Request) -> Response:
        """Response to a request to ``/query``."""
        query = request.query
        key = query.get("apikey", "")
        if not key:
            return json_response(
                {
                    "Error Message": "the parameter apikey is invalid or missing. Please claim "
                    "your free API key on (https://www.alphavantage.co/support/#api-key). It "
                    "should take less than 20 seconds."
                }
            )
        if query.get("function") != "NEWS_SENTIMENT":
            return json_response(
                {"Error Message": f"This API function ({query.get('function')}) does not exist."}
            )
        if (refusal := self._over_limit(request, key)) is not None:
            return refusal
        return self._news_sentiment(request)

    def _over_limit(self, request: Request, key: str) -> Response | None:
        exceeded = self._count(request.now)
        if request.fault("quota") is not None or any(seconds >= 3600 for seconds in exceeded):
            return json_response(
                {
                    "Information": f"We have detected your API key as {key} and our standard API "
                    f"rate limit is 25 requests per day. Please subscribe to any of the premium "
                    f"plans at {_PREMIUM} to instantly remove all daily rate limits."
                }
            )
        if request.fault("rate") is not None or exceeded:
            return json_response(
                {
                    "Information": "Thank you for using Alpha Vantage! Please consider spreading "
                    "out your free API requests more sparingly (1 request per second). You may "
                    f"subscribe to any of the premium plans at {_PREMIUM} to lift the free key "
                    "rate limit (25 requests per day), raise the per-second burst limit, and "
                    "instantly unlock all premium endpoints"
                }
            )
        return None

    def _count(self, now: datetime) -> set[int]:
        """Count this call and give the windows, in seconds, whose allowance it exceeds."""
        moment = now.timestamp()
        with self._lock:
            exceeded = {
                seconds
                for seconds, allowed in self.limits.items()
                if sum(1 for call in self._calls if call > moment - seconds) >= allowed
            }
            if not exceeded:
                self._calls.append(moment)
        return exceeded

    def _news_sentiment(self, request: Request) -> Response:
        query = request.query
        latest = int(request.now.timestamp()) - PUBLICATION_LAG_SECONDS
        if (fault := request.fault("late")) is not None:
            latest -= int(fault.option("hours", 6) * 3600)
        symbol = query.get("tickers") or None
        try:
            first = _instant(query.get("time_from"), 0)
            last = min(_instant(query.get("time_to"), latest), latest)
            limit = int(query.get("limit", DEFAULT_LIMIT))
        except ValueError:
            return _invalid()
        sort = query.get("sort", "LATEST").upper()
        is_known = symbol is None or ("," not in symbol and self._news.covers(symbol))
        if not is_known or limit < 1 or sort not in ("LATEST", "EARLIEST", "RELEVANCE"):
            return _invalid()
        found = self._news.stories(first, last, symbol, sort != "EARLIEST")
        stories = list(islice(found, min(limit, MAX_LIMIT)))
        if request.fault("empty") is not None or request.fault("half") is not None:
            stories = []
        if sort == "RELEVANCE" and symbol is not None:
            stories.sort(key=lambda story: -_relevance(story, symbol))
        if not stories:
            return json_response(
                {
                    "Information": "No articles found. Please adjust the time range or refer to "
                    f"the API documentation {_DOCUMENTATION} and try again."
                }
            )
        return _page(stories, request)


def _page(stories: list[Story], request: Request) -> Response:
    if request.fault("duplicate") is not None:
        stories = [story for story in stories for _ in range(2)]
    malformed = request.fault("malformed")
    if malformed is not None and malformed.option("wrong_types", False):
        return json_response({"items": len(stories), **_HEAD, "feed": [_NONSENSE]})
    head = json.dumps({"items": str(len(stories)), **_HEAD})
    feed = ",".join(_item(story) for story in stories)
    return Response(200, f'{head[:-1]}, "feed": [{feed}]}}'.encode(), JSON_TYPE)


@lru_cache(maxsize=50_000)
def _item(story: Story) -> str:
    mentions = []
    for symbol, relevance, score in story.mentions:
        mention = {"ticker": symbol, "relevance_score": f"{relevance:.6g}"}
        if score is not None:
            mention["ticker_sentiment_score"] = f"{score:.6g}"
            mention["ticker_sentiment_label"] = _label(score)
        mentions.append(mention)
    overall: dict[str, Any] = {}
    if story.score is not None:
        overall["overall_sentiment_score"] = story.score
        overall["overall_sentiment_label"] = _label(story.score)
    topic_weight = f"{1.0 / max(len(story.topics), 1):.6g}"
    content: dict[str, Any] = {
        "title": story.title,
        "url": story.url,
        "time_published": f"{datetime.fromtimestamp(story.published, UTC):%Y%m%dT%H%M%S}",
        "authors": [story.author] if story.author else [],
        "summary": story.summary,
        "banner_image": None,
        "source": story.source,
        "category_within_source": story.category,
        "source_domain": f"www.{story.domain}",
        "topics": [{"topic": name, "relevance_score": topic_weight} for name in story.topics],
        **overall,
        "ticker_sentiment": mentions,
    }
    return json.dumps(content)


def _label(score: float) -> str:
    if score <= -0.35:
        return "Bearish"
    if score <= -0.15:
        return "Somewhat-Bearish"
    if score < 0.15:
        return "Neutral"
    return "Somewhat-Bullish" if score < 0.35 else "Bullish"


def _relevance(story: Story, symbol: str) -> float:
    return max((m.relevance for m in story.mentions if m.symbol == symbol), default=0.0)


def _instant(text: str | None, default: int) -> int:
    if text is None:
        return default
    if not _TIME.fullmatch(text):
        raise ValueError(text)
    form = "%Y%m%dT%H%M" if len(text) == 13 else "%Y%m%dT%H%M%S"
    return int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp())


def _invalid() -> Response:
    return json_response(
        {
            "Information": "Invalid inputs. Please refer to the API documentation "
            f"{_DOCUMENTATION} and try again."
        }
    )
