"""What a stored partition rests on. What belongs here: the files behind a file, from keys alone.

The same as the partition mappings say, without Dagster's cost of a mapping for each key.
"""

from bisect import bisect_left
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from functools import lru_cache

from quant_assets.domain.forecast_config import FORECAST as CONFIG
from quant_assets.domain.indicator_names import LOOK_BACK_SESSIONS
from quant_assets.domain.news_timing import LIVE_FOR
from quant_assets.markets import FIRST_SESSION, LAST_CALENDAR_DAY, MARKETS, Market
from quant_assets.naming import CHAINED, FORECAST, FORECAST_INPUTS, TRADING
from quant_assets.partitions import REGIME_LOOK_BACK_DAYS, REGIME_SESSIONS, session_of
from quant_assets.schemas.keys import HOUR_FORMAT

Place = tuple[str, str]
"""An asset and a partition of it."""
TONES = {
    "news/article_sentiment": "news/articles",
    "news/streamed_sentiment": "news/streamed_articles",
}


def inputs_of(asset: str, key: str) -> Iterator[Place]:
    """The partitions that a partition is computed from, stored or not; none of a fetched one."""
    head, _, name = asset.partition("/")
    if asset in TONES:
        yield TONES[asset], key
    elif asset == "macro/regime":
        day = session_of(key)
        for n in range(REGIME_LOOK_BACK_DAYS + 1):
            yield "macro/observations", (day - timedelta(days=n)).isoformat()
    elif head in MARKETS:
        yield from _inputs_of_session(MARKETS[head], name, key)


def _inputs_of_session(market: Market, name: str, key: str) -> Iterator[Place]:
    if name == "technical_indicators":
        sessions = _sessions(market.key)
        last = bisect_left(sessions, key)
        for session in sessions[max(0, last - LOOK_BACK_SESSIONS + 1) : last + 1]:
            yield f"{market.key}/prices", session
    elif name == "technical_score":
        yield f"{market.key}/technical_indicators", key
    elif name == "recommendations":
        yield f"{market.key}/technical_score", key
        yield f"{market.key}/news_sentiment", key
    elif name == "news_sentiment":
        for hour in decision_hours(market, session_of(key)):
            for tone in TONES:
                yield tone, hour
    elif name in FORECAST:
        yield from _inputs_of_forecast(market, name, key)
    elif name in TRADING:
        yield from _inputs_of_trading(market, name, key)


def _inputs_of_forecast(market: Market, name: str, key: str) -> Iterator[Place]:
    """Inputs of a session's forecast and of its judgement.

    A forecast rests on its own session and on what its month's model learned from, not on all that
    the mapping loads: the sessions in between may be made again without it.
    """
    if name == "forecast_skill":
        reach = CONFIG.judged_look_back
        for asset in ("return_forecast", "technical_score", "prices"):
            for session in _behind(market.key, key, reach, 0):
                yield f"{market.key}/{asset}", session
        return
    for asset in FORECAST_INPUTS:
        yield f"{market.key}/{asset}", key
    yield from _regimes(market, key, key)
    yield from _learned_from(market, key[: len("2026-11")])


@lru_cache(maxsize=64)
def _learned_from(market: Market, month: str) -> tuple[Place, ...]:
    """What the model of a month (``2026-11``) was fitted on."""
    sessions = _sessions(market.key)
    refit = sessions[bisect_left(sessions, month)]
    samples = _behind(market.key, refit, CONFIG.gap + CONFIG.training_sessions - 1, CONFIG.gap)
    if not samples:
        return ()
    places = [(f"{market.key}/{asset}", key) for asset in FORECAST_INPUTS for key in samples]
    targets = _behind(market.key, refit, CONFIG.gap - 1, CONFIG.embargo + 1)
    places += [(f"{market.key}/prices", key) for key in (*samples, *targets)]
    return (*places, *_regimes(market, samples[0], samples[-1]))


def _behind(market_key: str, key: str, most: int, least: int) -> list[str]:
    """The sessions from ``most`` to ``least`` before the session ``key``, ascending."""
    sessions = _sessions(market_key)
    place = bisect_left(sessions, key)
    return sessions[max(place - most, 0) : max(place - least + 1, 0)]


def _regimes(market: Market, first: str, last: str) -> Iterator[Place]:
    """The days whose regime may count for the decisions of the sessions from first to last."""
    day = session_of(_behind(market.key, first, REGIME_SESSIONS, 0)[0])
    while day <= session_of(last):
        yield "macro/regime", day.isoformat()
        day += timedelta(days=1)


def _inputs_of_trading(market: Market, name: str, key: str) -> Iterator[Place]:
    """Inputs of the trading assets; ``signals`` and ``ledger`` go on from the session before."""
    if name == "signals":
        yield f"{market.key}/recommendations", key
        yield f"{market.key}/technical_indicators", key
        yield f"{market.key}/return_forecast", key
        yield from _regimes(market, key, key)
    elif name == "ledger":
        yield f"{market.key}/signals", key
    else:
        yield f"{market.key}/ledger", key
    if name in CHAINED:
        yield f"{market.key}/{name}", market.offset_session(session_of(key), -1).isoformat()
    if name in (*CHAINED, "risk"):
        yield f"{market.key}/prices", key


def first_hour_of_news(market: Market, session: date) -> datetime:
    """The first hour of news that may enter the decision of a session.

    News become known up to ``LIVE_FOR`` after the end of their hour: it lies before the window.
    """
    opened = market.hours_of(market.offset_session(session, -1))[0].replace(minute=0)
    return opened - LIVE_FOR - timedelta(hours=1)


def decision_hours(market: Market, session: date) -> list[str]:
    """The hours of news that may enter the decision of a session."""
    start = first_hour_of_news(market, session)
    count = int((market.decision_at(session) - start) / timedelta(hours=1)) + 1
    return [(start + timedelta(hours=n)).strftime(HOUR_FORMAT) for n in range(count)]


@lru_cache(maxsize=4)
def _sessions(market_key: str) -> list[str]:
    days = MARKETS[market_key].sessions(FIRST_SESSION, LAST_CALENDAR_DAY)
    return [day.isoformat() for day in days]
