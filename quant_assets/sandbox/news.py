"""Simulated headlines. What belongs here: which stories a day has; their wording lies elsewhere.

A story's tone follows the mood of its company on that day, and the same mood moves the company's
next session a little (see ``market``). A day's stories depend on the seed and the day alone.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from typing import Literal, NamedTuple, Protocol

from quant_assets.sandbox import company_headlines as wording
from quant_assets.sandbox import general_headlines as general
from quant_assets.sandbox.companies import SECTORS, Company, company, known_companies
from quant_assets.sandbox.cycle import GRID_DAYS, GRID_START, business_cycle
from quant_assets.sandbox.market import SimulatedMarket
from quant_assets.sandbox.randomness import small_random

Feed = Literal["markets", "companies", "korea"]
FEEDS: tuple[Feed, ...] = ("markets", "companies", "korea")
DAY_SECONDS = 86_400
RSS_LOOK_BACK_DAYS = 60
REPRINT_RATE = 0.08
_EPOCH_DAY = int(datetime(GRID_START.year, 1, 1, tzinfo=UTC).timestamp()) // DAY_SECONDS
_AUTHORS = ("Ines Calder", "Tomas Vey", "Priya Lund", "Mark Oyelaran", "June Sato", "Dana Kerr")
_TOPICS = {
    "Energy": "Energy & Transportation",
    "Financials": "Finance",
    "Health Care": "Life Sciences",
    "Information Technology": "Technology",
    "Real Estate": "Real Estate & Construction",
    "Consumer Discretionary": "Retail & Wholesale",
    "Consumer Staples": "Retail & Wholesale",
}


class Mention(NamedTuple):
    """A symbol in a story; ``score`` is ``None`` where the provider has none."""

    symbol: str
    relevance: float
    score: float | None


@dataclass(frozen=True)
class Story:
    """One published story; ``published`` is Unix time in seconds."""

    published: int
    title: str
    url: str
    summary: str
    source: str
    domain: str
    category: str
    author: str
    topics: tuple[str, ...]
    score: float | None
    mentions: tuple[Mention, ...]
    feed: Feed


class NewsSource(Protocol):
    """Where stories come from."""

    def covers(self, symbol: str) -> bool:
        """Whether the provider knows ``symbol`` as a ticker."""
        ...

    def stories(
        self, first: int, last: int, symbol: str | None, newest_first: bool
    ) -> Iterator[Story]:
        """Stories published from ``first`` to ``last`` inclusive, in order of time, lazily."""
        ...


class SimulatedNews:
    """The simulated stories of one seed."""

    def __init__(self, market: SimulatedMarket) -> None:
        self._market = market
        self._seed = market.seed
        self._tone = lru_cache(maxsize=2048)(market.tone)
        self._company_day = lru_cache(maxsize=40_000)(self._write_company_day)
        self._sector_day = lru_cache(maxsize=20_000)(self._write_sector_day)
        self._day = lru_cache(maxsize=800)(self._write_day)

    def covers(self, symbol: str) -> bool:
        """US shares only; Korean companies appear by name alone."""
        known = company(symbol)
        return known is not None and known.market.key == "us" and known.instrument_type != "INDEX"

    def stories(
        self, first: int, last: int, symbol: str | None, newest_first: bool
    ) -> Iterator[Story]:
        """Stories published from ``first`` to ``last`` inclusive, in order of time, lazily."""
        days = range(
            max(first // DAY_SECONDS - _EPOCH_DAY, 1),
            min(last // DAY_SECONDS - _EPOCH_DAY + 1, GRID_DAYS),
        )
        for day in reversed(days) if newest_first else days:
            written = self._day(day) if symbol is None else self._about(symbol, day)
            for story in reversed(written) if newest_first else written:
                if first <= story.published <= last:
                    yield story

    def _about(self, symbol: str, day: int) -> tuple[Story, ...]:
        known = company(symbol)
        if known is None:
            return ()
        own = self._company_day(symbol, day)
        beside = [
            story
            for story in self._sector_day("us", known.sector, day)
            if any(mention.symbol == symbol for mention in story.mentions)
        ]
        return _in_order([*own, *beside]) if beside else own

    def _write_day(self, day: int) -> tuple[Story, ...]:
        companies = [*known_companies("us"), *known_companies("kr")]
        return _in_order(
            chain(
                *(self._company_day(known.symbol, day) for known in companies),
                *(self._sector_day(key, name, day) for key in ("us", "kr") for name in SECTORS),
                *(self._economy_day(key, day) for key in ("us", "kr")),
            )
        )

    def _write_company_day(self, symbol: str, day: int) -> tuple[Story, ...]:
        known = company(symbol)
        if known is None:
            return ()
        rng = small_random(self._seed, "company news", symbol, day)
        mood = float(self._tone(symbol)[day])
        rate = _usual_rate(known) * (1.0 + 0.25 * abs(mood)) * (0.35 if _is_weekend(day) else 1.0)
        written = []
        for _ in range(_poisson(rng, rate)):
            story = _company_story(rng, known, mood, day)
            written.append(story)
            if rng.random() < REPRINT_RATE:
                written.append(_reprint(rng, story, day))
        return _in_order(written)

    def _write_sector_day(self, market: str, sector: str, day: int) -> tuple[Story, ...]:
        members = [known for known in known_companies(market) if known.sector == sector]
        if len(members) < 2:
            return ()
        rng = small_random(self._seed, "sector news", market, sector, day)
        written = []
        for _ in range(_poisson(rng, 0.7)):
            pair = rng.sample(members, 2)
            mood = sum(float(self._tone(known.symbol)[day]) for known in pair) / 2.0
            written.append(_sector_story(rng, sector, pair, mood, day))
        return _in_order(written)

    def _economy_day(self, market: str, day: int) -> tuple[Story, ...]:
        rng = small_random(self._seed, "economy news", market, day)
        mood = 0.6 * float(business_cycle(self._seed).shock(market)[day - 1])
        count = _poisson(rng, (6.0 if market == "us" else 3.0) * (0.4 if _is_weekend(day) else 1))
        return _in_order(_economy_story(rng, market, mood, day) for _ in range(count))


def latest_stories(news: NewsSource, feed: str, now: int, count: int) -> list[Story]:
    """The ``count`` newest stories of ``feed`` at ``now``, newest first."""
    found: list[Story] = []
    for story in news.stories(now - RSS_LOOK_BACK_DAYS * DAY_SECONDS, now, None, True):
        if story.feed == feed:
            found.append(story)
            if len(found) == count:
                break
    return found


def _in_order(written: "Iterator[Story] | list[Story] | chain[Story]") -> tuple[Story, ...]:
    return tuple(sorted(written, key=lambda story: (story.published, story.url)))


def _is_weekend(day: int) -> bool:
    return (day + _EPOCH_DAY + 3) % 7 >= 5


def _usual_rate(known: Company) -> float:
    """Stories a day: about two for the largest companies, less for others and for Korea."""
    if known.rank is None:
        return 0.8
    return max(2.2 - 0.05 * known.rank, 0.9) * (0.5 if known.market.key == "kr" else 1.0)


def _poisson(rng: random.Random, mean: float) -> int:
    count, reached = 0, rng.expovariate(1.0)
    while reached < mean:
        count += 1
        reached += rng.expovariate(1.0)
    return count


def _second_of_day(rng: random.Random, market: str) -> int:
    """Most stories appear around the market's own working day."""
    if rng.random() < 0.25:
        return rng.randrange(DAY_SECONDS)
    if market == "kr":
        return (22 * 3600 + rng.randrange(12 * 3600)) % DAY_SECONDS
    return rng.randrange(11 * 3600, 22 * 3600)


def _scored(rng: random.Random, mood: float) -> tuple[int, float]:
    """Kind of a story (1 good, -1 bad, 0 neither) and its score, given the mood behind it."""
    drawn = 0.75 * mood + 0.66 * rng.gauss(0.0, 1.0)
    if abs(drawn) < 0.40:
        return 0, round(0.12 * drawn, 6)
    kind = 1 if drawn > 0 else -1
    return kind, round(kind * min(0.16 + 0.16 * abs(drawn) + 0.05 * rng.random(), 0.95), 6)


def _company_story(rng: random.Random, known: Company, mood: float, day: int) -> Story:
    kind, score = _scored(rng, mood)
    slots = {
        "company": known.name,
        "product": rng.choice(wording.PRODUCTS[known.sector]),
        "region": rng.choice(wording.REGIONS),
        "percent": f"{rng.choice((1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 14))}.{rng.randrange(10)}",
        "amount": f"${rng.choice((50, 80, 120, 250, 400, 650, 900))} million"
        if rng.random() < 0.6
        else f"${rng.randrange(10, 95) / 10} billion",
        "house": rng.choice(wording.HOUSES),
        "quarter": rng.choice(wording.QUARTERS),
        "count": str(rng.randrange(4, 19)),
        "officer": rng.choice(wording.OFFICERS),
    }
    titles = (wording.NEUTRAL, wording.POSITIVE, wording.NEGATIVE)[kind]
    details = (wording.DETAILS_NEUTRAL, wording.DETAILS_POSITIVE, wording.DETAILS_NEGATIVE)[kind]
    title = _capitalised(rng.choice(titles).format_map(slots)) + _ticker_tag(rng, known)
    summary = " ".join(_capitalised(d.format_map(slots)) for d in rng.sample(details, 2))
    is_us = known.market.key == "us"
    own = Mention(known.symbol, round(rng.uniform(0.55, 1.0), 6), score)
    topics = (_TOPICS.get(known.sector, "Manufacturing"), "Financial Markets", "Earnings")
    story = _story(rng, day, known.market.key, title, summary, score, topics[: rng.randint(1, 3)])
    return replace(story, mentions=(own,) if is_us else (), feed="companies" if is_us else "korea")


def _ticker_tag(rng: random.Random, known: Company) -> str:
    draw = rng.random()
    if known.market.key != "us" or draw > 0.17:
        return ""
    if draw < 0.05:
        return f" ${known.symbol.replace('-', '.')}"
    exchange = "NASDAQ" if known.sector in ("Information Technology", "Index") else "NYSE"
    return f" ({exchange}: {known.symbol.replace('-', '.')})"


def _sector_story(
    rng: random.Random, sector: str, pair: list[Company], mood: float, day: int
) -> Story:
    kind, score = _scored(rng, mood)
    slots = {
        "sector": sector,
        "first": pair[0].name,
        "second": pair[1].name,
        "percent": f"{rng.randrange(1, 9)}.{rng.randrange(10)}",
        "count": str(rng.randrange(3, 15)),
    }
    titles = (general.SECTOR_NEUTRAL, general.SECTOR_POSITIVE, general.SECTOR_NEGATIVE)[kind]
    template = rng.choice(titles)
    summary = " ".join(d.format_map(slots) for d in rng.sample(general.SECTOR_DETAILS, 2))
    market = pair[0].market.key
    named = pair if "{second}" in template else pair[:1]
    mentions = tuple(
        Mention(known.symbol, round(rng.uniform(0.15, 0.45), 6), round(score * 0.8, 6))
        for known in named
        if market == "us" and "{first}" in template
    )
    topics = (_TOPICS.get(sector, "Manufacturing"), "Financial Markets")
    title = template.format_map(slots)
    story = _story(rng, day, market, title, summary, score, topics)
    return replace(story, mentions=mentions, feed="markets" if market == "us" else "korea")


def _economy_story(rng: random.Random, market: str, mood: float, day: int) -> Story:
    kind, score = _scored(rng, mood)
    bank, index = general.ECONOMIES[market]
    slots = {
        "bank": bank,
        "index": index,
        "percent": f"{rng.randrange(0, 4)}.{rng.randrange(1, 10)}",
        "count": str(rng.randrange(3, 15)),
    }
    titles = (general.ECONOMY_NEUTRAL, general.ECONOMY_POSITIVE, general.ECONOMY_NEGATIVE)[kind]
    title = _capitalised(rng.choice(titles).format_map(slots))
    if market == "kr" and index not in title and "Korea" not in title:
        title = f"Korea: {title[0].lower()}{title[1:]}"
    summary = " ".join(
        _capitalised(d.format_map(slots)) for d in rng.sample(general.ECONOMY_DETAILS, 2)
    )
    story = _story(rng, day, market, title, summary, score, ("Economy - Macro",))
    return replace(story, feed="markets" if market == "us" else "korea")


def _story(
    rng: random.Random,
    day: int,
    market: str,
    title: str,
    summary: str,
    score: float,
    topics: tuple[str, ...],
) -> Story:
    sources = wording.KOREAN_SOURCES if market == "kr" else wording.SOURCES
    source, domain, category = rng.choice(sources)
    return Story(
        published=(day + _EPOCH_DAY) * DAY_SECONDS + _second_of_day(rng, market),
        title=title,
        url=_address(domain, day, title, rng),
        summary=summary,
        source=source,
        domain=domain,
        category=category,
        author=rng.choice(_AUTHORS),
        topics=topics,
        score=score,
        mentions=(),
        feed="markets",
    )


def _reprint(rng: random.Random, story: Story, day: int) -> Story:
    """The same story, nearly word for word, from another source a little later."""
    choices = wording.KOREAN_SOURCES if story.feed == "korea" else wording.SOURCES
    others = [entry for entry in choices if entry[0] != story.source]
    source, domain, category = rng.choice(others)
    title = rng.choice(wording.REPRINTS).format(title=story.title, source=source)
    end_of_day = (day + _EPOCH_DAY + 1) * DAY_SECONDS - 1
    published = min(story.published + rng.randrange(300, 5400), end_of_day)
    url = _address(domain, day, title, rng)
    return replace(
        story,
        published=published,
        title=title,
        url=url,
        source=source,
        domain=domain,
        category=category,
    )


def _address(domain: str, day: int, title: str, rng: random.Random) -> str:
    when = datetime.fromtimestamp((day + _EPOCH_DAY) * DAY_SECONDS, UTC)
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:70]
    return f"https://www.{domain}/{when:%Y/%m/%d}/{slug}-{rng.randrange(16**7):07x}"


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
