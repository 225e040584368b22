"""What the events carry. What belongs here: one struct a payload, its fields, their limits.

On the wire names are camelCase, here snake_case. Fields that are not listed are ignored. Every
text has a limit, because it ends in tags and messages. Whether a market or a symbol exists is for
the router to say; a pattern here would cost more than the rest of the decoding.
"""

from datetime import date, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta, field

MAX_SYMBOLS = 500
MarketKey = Annotated[str, Meta(max_length=8, description="us or kr")]
Symbol = Annotated[str, Meta(min_length=1, max_length=24)]
SeriesId = Annotated[str, Meta(min_length=1, max_length=40)]
ThreadTs = Annotated[
    str, Meta(max_length=64, description="Slack thread that the answer belongs to")
]
Channel = Annotated[str, Meta(max_length=80, description="Slack channel")]
TaskType = Annotated[str, Meta(max_length=40)]
Text = Annotated[str, Meta(max_length=20_000)]
ShortText = Annotated[str, Meta(max_length=1_000)]
Address = Annotated[str, Meta(pattern=r"\Ahttps?://[!-~]{1,2000}\Z")]
Instant = Annotated[datetime, Meta(tz=True)]
Score = Annotated[float, Meta(ge=-1, le=1)]


class Payload(
    msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True, gc=False
):
    """Base of every payload.

    Made from JSON they hold no cycles, so the garbage collector need not walk thousands of them.
    """


class Request(Payload, frozen=True, kw_only=True, gc=False):
    """What every request may say about where its answer belongs."""

    thread_ts: ThreadTs | None = None
    channel: Channel | None = None


class EconomicDataSyncRequested(Request, frozen=True, kw_only=True, gc=False):
    """Fetch the macro values released from ``first`` to ``last`` (default yesterday and today)."""

    series_ids: Annotated[tuple[SeriesId, ...], Meta(max_length=MAX_SYMBOLS)] = ()
    first: date | None = field(default=None, name="from")
    last: date | None = field(default=None, name="to")


class StockPriceSyncRequested(Request, frozen=True, kw_only=True, gc=False):
    """Fetch the bars of a session, or of a range (default the last complete session)."""

    market: MarketKey
    session: date | None = None
    first: date | None = field(default=None, name="from")
    last: date | None = field(default=None, name="to")


class NewsCrawlRequested(Request, frozen=True, kw_only=True, gc=False):
    """Fetch the news of an hour (default the last one that is over)."""

    hour: Instant | None = None


class AnalysisRequested(Request, frozen=True, kw_only=True, gc=False):
    """Run an analysis of a session (default the last complete one); the answer names ``symbols``.

    ``market`` may be left out where the symbols tell it. Without symbols the answer has all.
    """

    market: MarketKey | None = None
    session: date | None = None
    symbols: Annotated[tuple[Symbol, ...], Meta(max_length=MAX_SYMBOLS)] = ()


class CommandRequested(Request, frozen=True, kw_only=True, gc=False):
    """A person's command by the name of a task; ``params`` are the fields of its request."""

    task_type: TaskType
    params: dict[str, Any] = field(default_factory=dict)


class NewsArticleCollected(Payload, frozen=True, kw_only=True, gc=False):
    """An article that an external crawler found."""

    url: Address
    title: Annotated[str, Meta(min_length=1, max_length=1_000)]
    source: Annotated[str, Meta(min_length=1, max_length=200)]
    published_at: Instant | None = None
    summary: Text = ""
    tickers: Annotated[tuple[Symbol, ...], Meta(max_length=MAX_SYMBOLS)] = ()


class Partitions(Payload, frozen=True, kw_only=True, gc=False):
    """The partitions of a run: first and last key, and how many."""

    first: str
    last: str
    count: int


class Coverage(Payload, frozen=True, kw_only=True, gc=False):
    """Rows that are there against those that should be."""

    present: int
    expected: int


class Outcome(Payload, frozen=True, kw_only=True, gc=False):
    """What every answer says: whose it is and which run made it.

    ``request_id`` is the ``eventId`` of the request, absent if nobody asked (a schedule, a person
    in the UI).
    """

    request_id: str | None = None
    run_id: str | None = None
    job: str | None = None
    market: MarketKey | None = None
    thread_ts: ThreadTs | None = None
    channel: Channel | None = None


class DataUpdated(Outcome, frozen=True, kw_only=True, gc=False):
    """Partitions of a dataset are stored."""

    partitions: Partitions
    rows: int
    coverage: Coverage | None = None


class Failed(Outcome, frozen=True, kw_only=True, gc=False):
    """A request or a run did not succeed: the type of the error, what happened, what to do."""

    error_type: str
    message: Text
    step: str | None = None
    partitions: Partitions | None = None


class AnalysisParts(Payload, frozen=True, kw_only=True, gc=False):
    """What a score is made of; a part is absent where the analysis does not make it."""

    technical: Score | None = None
    sentiment: Score | None = None
    trend: Score | None = None
    momentum: Score | None = None
    reversal: Score | None = None
    articles: int | None = None


class AnalysisResult(Payload, frozen=True, kw_only=True, gc=False):
    """The result of one symbol. ``status`` is OK, or what is missing; ``reason`` says why."""

    symbol: Symbol
    status: str
    score: Score | None = None
    label: str | None = None
    parts: AnalysisParts = field(default_factory=AnalysisParts)
    reason: str | None = None


class AnalysisCompleted(Outcome, frozen=True, kw_only=True, gc=False):
    """An analysis is stored. ``session`` is the last of its sessions, the results are of that one.

    ``data_version`` identifies the stored rows: equal versions are equal rows.
    """

    session: date
    partitions: Partitions
    results: tuple[AnalysisResult, ...]
    data_version: str


class TradingSignalDetected(Payload, frozen=True, kw_only=True, gc=False):
    """A recommendation to buy or to sell; HOLD is not sent.

    ``price`` is the session's close as traded, in the market's currency; ``volume`` the shares
    traded in it.
    """

    signal_type: str
    symbol: Symbol
    price: float
    volume: int
    strategy_id: str
    market: MarketKey
    session: date
    score: Score
    label: str


class TradingOrderCreated(Payload, frozen=True, kw_only=True, gc=False):
    """An order of the paper book."""

    order_id: str
    client_order_id: str
    symbol: Symbol
    market: MarketKey
    session: date
    order_type: str
    side: str
    quantity: float
    price: float | None = None
    status: str


class TradingOrderFilled(Payload, frozen=True, kw_only=True, gc=False):
    """A fill, whole or partial, of an order of the paper book."""

    order_id: str
    client_order_id: str
    symbol: Symbol
    market: MarketKey
    session: date
    side: str
    filled_quantity: float
    filled_price: float
    commission: float
    status: str


class TradingPositionUpdated(Payload, frozen=True, kw_only=True, gc=False):
    """A position of the paper book after a session; ``status`` is OPEN or CLOSED."""

    position_id: str
    symbol: Symbol
    market: MarketKey
    session: date
    quantity: float
    entry_price: float
    unrealized_pnl: float
    status: str


class StatusUpdated(Outcome, frozen=True, kw_only=True, gc=False):
    """Progress of a run: ``status`` is started, progress, completed or failed."""

    status: str
    step: str | None = None
    done: int = 0
    total: int = 0
