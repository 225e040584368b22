"""Asking the news providers for a range of hours. What belongs here: whom, when, and failures.

What does not belong here: which rows follow from the answers (``domain.collected``).
The general feed of Alpha Vantage decides how far a range is complete: a feed of RSS shows only the
present, and a ticker's news are part of the general feed.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from quant_assets.errors import (
    PermanentError,
    QuantAssetsError,
    QuotaExhaustedError,
    TransientError,
)
from quant_assets.resources import AlphaVantageResource, RssResource
from quant_assets.resources.base import Fetch
from quant_assets.vendors.archive import UnreadableArchiveError

if TYPE_CHECKING:
    from quant_assets.domain.collected import CollectedItem
    from quant_assets.vendors.alpha_vantage import AlphaVantageClient
    from quant_assets.vendors.daily_quota import DailyQuota
    from quant_assets.vendors.rss import RssClient

RSS_REACH = timedelta(hours=24)
"""A feed shows about the last day; an hour that ended earlier cannot be filled from it."""
LIVE_MARGIN = timedelta(hours=3)
"""A live crawl asks this much further back, for what Alpha Vantage listed late."""
TICKER_REACH = timedelta(hours=24)
"""How far back a ticker is asked for whose turn comes seldom: later articles are not taken."""
FAILURES_IN_A_ROW = 2
"""So many tickers in a row without an answer mean that the vendor is down: the rest can wait."""
EMPTY_FOR = timedelta(hours=3)
"""The general feed is never without an article for so long."""
GENERAL_FEED = "alpha_vantage general feed"

State = Literal["answered", "failed", "waiting", "not asked"]


class Outcome(NamedTuple):
    """What asking one source came to."""

    source: str
    state: State
    told: str


@dataclass
class Collection:
    """What the providers gave.

    ``reached`` is until when the general feed answered; ``silent`` says of sources that answered
    why they seem dead. In a rebuild a source without a kept answer was not asked, or failed then.
    """

    items: "list[CollectedItem]" = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    errors: dict[str, QuantAssetsError] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)
    reached: datetime | None = None
    is_rebuild: bool = False

    def answered(self) -> list[str]:
        """Sources that answered whole."""
        return [outcome.source for outcome in self.outcomes if outcome.state == "answered"]

    def failed(self) -> dict[str, str]:
        """What went wrong, by source."""
        return {o.source: o.told for o in self.outcomes if o.state == "failed"}

    def ask(self, source: str, answers: "Iterable[list[CollectedItem]]") -> bool:
        """Take the answers of a source until one fails; whether it answered whole."""
        before = len(self.items)
        try:
            for items in answers:
                self.items.extend(items)
        except UnreadableArchiveError:
            raise
        except QuantAssetsError as error:
            got = len(self.items) - before
            self.errors[source] = error
            partly = f"{got} articles, then " if got else ""
            state: State = "not asked" if self.is_rebuild else "failed"
            told = f"{partly}{type(error).__name__}: {error}"
            self.outcomes.append(Outcome(source, state, told))
            return False
        self.outcomes.append(Outcome(source, "answered", f"{len(self.items) - before} articles"))
        return True


def collect(
    alpha_vantage: AlphaVantageResource,
    rss: RssResource,
    fetch: Fetch,
    hours: list[datetime],
    clock: Callable[[], datetime],
) -> Collection:
    """Ask every provider that can answer for ``hours`` (UTC, ascending).

    A provider that fails is recorded and the others are kept. If none of them answered, the error
    is raised: ``TransientError`` if asking again may help, else ``PermanentError``. RSS shows
    only the present, so that a past hour without Alpha Vantage is an error, not an empty success.
    In a rebuild the kept answers stand for the vendors. ``clock`` says to which day of the vendor
    each call belongs.
    """
    found = Collection(is_rebuild=fetch.is_rebuild)
    start, end = hours[0], hours[-1] + timedelta(hours=1)
    is_past = fetch.now - end > RSS_REACH
    if alpha_vantage.is_configured() or fetch.is_rebuild:
        quota = None if fetch.is_rebuild else alpha_vantage.quota(clock)
        _ask_alpha_vantage(found, alpha_vantage, fetch, quota, start, end, is_past)
    else:
        told = "no key (ALPHA_VANTAGE_API_KEY)"
        found.outcomes.append(Outcome("alpha_vantage", "not asked", told))
    if is_past:
        told = "a past hour cannot be filled from RSS"
        found.outcomes.append(Outcome("rss", "not asked", told))
    else:
        reader = rss.client(fetch.tape, lambda: fetch.now)
        for address in rss.feeds():
            name = f"rss {_shown(address)}"
            found.ask(name, _feed(found, name, reader, address, fetch.now))
    _demand_an_answer(found, start, end)
    return found


def complete_hours(
    found: Collection, hours: list[datetime], now: datetime
) -> tuple[list[datetime], QuantAssetsError | None]:
    """The hours that may be stored, and the error to end with if these are not all.

    Where a feed of RSS answered, an hour that it shows may be stored with what was got. Any other
    needs the general feed of Alpha Vantage: where that broke off, the hours before are whole and
    the others would be stored as if they had had no news. Raises that error if no hour is whole.
    """
    answered = found.answered()
    has_feed = any(source.startswith("rss ") for source in answered)
    if GENERAL_FEED in answered or (has_feed and now - hours[0] <= RSS_REACH):
        return hours, None
    whole = [h for h in hours if found.reached and h + timedelta(hours=1) <= found.reached]
    error = found.errors.get(GENERAL_FEED)
    told = "no key (ALPHA_VANTAGE_API_KEY)" if error is None else f"{type(error).__name__}: {error}"
    first_missing = hours[len(whole)]
    stored = (
        f"{whole[0]:%Y-%m-%d %H:00} .. {whole[-1]:%Y-%m-%d %H:00} UTC are stored. " if whole else ""
    )
    message = (
        f"{stored}The hours from {first_missing:%Y-%m-%d %H:00} UTC are not: those before "
        f"{now - RSS_REACH:%Y-%m-%d %H:00} cannot be filled from RSS and Alpha Vantage did not "
        f"answer: {told}. Ask again from {first_missing:%Y-%m-%d-%H}, or for the last day by itself"
    )
    kind = type(error) if isinstance(error, TransientError | QuotaExhaustedError) else None
    failure = (kind or PermanentError)(message)
    if not whole:
        raise failure
    return whole, failure


def _ask_alpha_vantage(
    found: Collection,
    alpha_vantage: AlphaVantageResource,
    fetch: Fetch,
    quota: "DailyQuota | None",
    start: datetime,
    end: datetime,
    is_past: bool,
) -> None:
    """Ask for the general feed, then for the tickers that the day's calls reach for."""
    from quant_assets.vendors.rotation import choose_tickers

    client = alpha_vantage.client(fetch.tape, quota)
    since = start if is_past else start - LIVE_MARGIN
    before = len(found.items)
    is_whole = found.ask(GENERAL_FEED, _pages(client, None, since, end, found))
    if is_whole and len(found.items) == before and end - since > EMPTY_FOR:
        found.silent[GENERAL_FEED] = f"no article from {since:%Y-%m-%d %H:%M} to {end:%H:%M} UTC"
    error = found.errors.get(GENERAL_FEED)
    tickers = alpha_vantage.settings().alpha_vantage_asked()
    if isinstance(error, QuotaExhaustedError | TransientError):
        _wait(found, tickers, "the general feed failed")
        return
    reached = {} if quota is None else alpha_vantage.reached().load()
    chosen, waiting = choose_tickers(tickers, reached, _spendable(quota, fetch.now))
    asked = _ask_tickers(found, client, chosen, reached, since, end, is_past)
    if quota is not None and not is_past and asked:
        alpha_vantage.reached().advance(asked, end)
    _wait(found, waiting, "the day's calls do not reach for it; its turn comes")


def _ask_tickers(
    found: Collection,
    client: "AlphaVantageClient",
    chosen: list[str],
    reached: Mapping[str, datetime],
    since: datetime,
    end: datetime,
    is_past: bool,
) -> list[str]:
    """Ask for tickers one by one; those that answered."""
    answered, failures = [], 0
    for place, ticker in enumerate(chosen):
        first = since
        if not is_past and ticker in reached:
            first = max(min(reached[ticker], since), end - TICKER_REACH)
        name = f"alpha_vantage {ticker}"
        if found.ask(name, _pages(client, ticker, first, end)):
            answered.append(ticker)
            failures = 0
            continue
        error = found.errors[name]
        failures = failures + 1 if isinstance(error, TransientError) else 0
        if not isinstance(error, TransientError | QuotaExhaustedError):
            answered.append(
                ticker
            )  # refused: asked again when its turn comes, not before the others
        if failures >= FAILURES_IN_A_ROW or isinstance(error, QuotaExhaustedError):
            _wait(found, chosen[place + 1 :], f"{name} failed")
            break
    return answered


def _wait(found: Collection, tickers: Iterable[str], why: str) -> None:
    found.outcomes.extend(Outcome(f"alpha_vantage {t}", "waiting", why) for t in tickers)


def _spendable(quota: "DailyQuota | None", now: datetime) -> int | None:
    """Calls that may go to tickers now: what is left without the general feed's later hours."""
    from quant_assets.vendors.rotation import reserved_calls

    return None if quota is None else quota.left() - reserved_calls(now, quota.resets_at())


def _pages(
    client: "AlphaVantageClient",
    ticker: str | None,
    start: datetime,
    end: datetime,
    general: Collection | None = None,
) -> "Iterable[list[CollectedItem]]":
    """Pages of Alpha Vantage as items; notes on ``general`` how far they reach."""
    from quant_assets.domain.collected import CollectedItem

    for page in client.pages(ticker, start, end):
        items = [
            CollectedItem(
                "alpha_vantage",
                item.url,
                item.title,
                item.summary,
                item.source,
                item.published_at,
                item.ticker_sentiment,
            )
            for item in page.items
        ]
        items += [_unread("alpha_vantage", one.raw, one.reason) for one in page.rejected]
        if general is not None:
            general.reached = page.reached
        yield items


def _feed(
    found: Collection, name: str, reader: "RssClient", address: str, now: datetime
) -> "Iterable[list[CollectedItem]]":
    """The items of one feed; notes on ``found`` if it seems dead."""
    from quant_assets.domain.collected import CollectedItem
    from quant_assets.domain.liveness import silence

    result = reader.fetch(address)
    why = silence((item.published_at for item in result.items), result.changed_at, now)
    if why is not None:
        found.silent[name] = why
    items = [
        CollectedItem(
            "rss",
            item.url,
            item.title,
            item.summary,
            item.source,
            item.published_at,
            raw_date=item.raw_date,
        )
        for item in result.items
    ]
    yield [*items, *(_unread("rss", one.raw, "") for one in result.rejected)]


_FIELDS = {
    "url": ("url", "link"),
    "title": ("title",),
    "summary": ("summary",),
    "source": ("source",),
    "date": ("time_published", "published", "updated"),
}
"""Where an unread item may have what an article has, in either provider's words."""


def _unread(provider: str, raw: Any, fault: str) -> "CollectedItem":
    """An item that a client could not read, with what can be said of it."""
    from quant_assets.domain.collected import CollectedItem
    from quant_assets.vendors.alpha_vantage import parse_time

    fields: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {}
    given = {
        name: next((str(fields[key]) for key in keys if fields.get(key)), "")
        for name, keys in _FIELDS.items()
    }
    published = parse_time(given["date"])
    return CollectedItem(
        provider,
        given["url"],
        given["title"],
        given["summary"],
        given["source"],
        published,
        raw_date=given["date"],
        fault="" if published is None and "'time_published'" in fault else fault,
        raw=fields or {"item": repr(raw)},
    )


def _demand_an_answer(found: Collection, start: datetime, end: datetime) -> None:
    if found.answered() or found.items:
        return
    reasons = "; ".join(f"{o.source}: {o.told}" for o in found.outcomes if o.state != "waiting")
    message = f"no news source answered for {start:%Y-%m-%d %H:%M} .. {end:%H:%M} UTC. {reasons}"
    if any(isinstance(error, TransientError) for error in found.errors.values()):
        raise TransientError(message)
    raise PermanentError(message)


def _shown(feed: str) -> str:
    """Host and path of a feed: its query or user part may hold a secret."""
    parts = urlsplit(feed)
    return f"{parts.hostname}{parts.path}"
