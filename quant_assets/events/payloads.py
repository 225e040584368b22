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
TaskType = Annotated[
    str, Meta(max_length=40, description="crawl_news, macro, us_price, combined_analysis ...")
]
Text = Annotated[str, Meta(max_length=20_000)]
ShortText = Annotated[str, Meta(max_length=1_000)]
Address = Annotated[str, Meta(pattern=r"\Ahttps?://[!-~]{1,2000}\Z")]
Instant = Annotated[datetime, Meta(tz=True)]
Score = Annotated[float, Meta(ge=-1, le=1, description="Negative is bearish, positive bullish")]
Session = Annotated[date, Meta(description="Trading day of the market, by its local date")]
Side = Annotated[str, Meta(description="BUY or SELL")]
Shares = Annotated[float, Meta(description="Shares")]
Price = Annotated[float, Meta(description="In the market's currency")]

From = Annotated[date, Meta(description="First day of a range, included")]
To = Annotated[date, Meta(description="Last day of a range, included")]


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
    """Fetch the macro values released on some days (default yesterday and today)."""

    series_ids: Annotated[
        tuple[SeriesId, ...],
        Meta(max_length=MAX_SYMBOLS, description="Series that must be known; all are fetched"),
    ] = ()
    first: From | None = field(default=None, name="from")
    last: To | None = field(default=None, name="to")


class StockPriceSyncRequested(Request, frozen=True, kw_only=True, gc=False):
    """Fetch the bars of a session, or of a range (default the last complete session)."""

    market: MarketKey
    session: Session | None = None
    first: From | None = field(default=None, name="from")
    last: To | None = field(default=None, name="to")


class NewsCrawlRequested(Request, frozen=True, kw_only=True, gc=False):
    """Fetch the news of an hour (default the last one that is over)."""

    hour: Annotated[Instant, Meta(description="Any time within the hour")] | None = None


class AnalysisRequested(Request, frozen=True, kw_only=True, gc=False):
    """Run an analysis of a session (default the last complete one); the answer names ``symbols``.

    ``market`` may be left out where the symbols tell it. Without symbols the answer has all.
    """

    market: MarketKey | None = None
    session: Session | None = None
    symbols: Annotated[
        tuple[Symbol, ...],
        Meta(max_length=MAX_SYMBOLS, description="Symbols that the answer names; none: all"),
    ] = ()


class CommandRequested(Request, frozen=True, kw_only=True, gc=False):
    """A person's command by the name of a task; ``params`` are the fields of its request."""

    task_type: TaskType
    params: Annotated[dict[str, Any], Meta(description="Fields of the task's own request")] = field(
        default_factory=dict
    )


class NewsArticleCollected(Payload, frozen=True, kw_only=True, gc=False):
    """An article that an external crawler found."""

    url: Annotated[Address, Meta(description="Address of the article")]
    title: Annotated[str, Meta(min_length=1, max_length=1_000)]
    source: Annotated[str, Meta(min_length=1, max_length=200)]
    published_at: (
        Annotated[
            Instant, Meta(description="Absent: the article is held in quarantine until released")
        ]
        | None
    ) = None
    summary: Annotated[Text, Meta(description="Summary or lead")] = ""
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

    request_id: Annotated[str, Meta(description="eventId of the request")] | None = None
    run_id: Annotated[str, Meta(description="Run in Dagster")] | None = None
    job: Annotated[str, Meta(description="Job in Dagster")] | None = None
    market: MarketKey | None = None
    thread_ts: ThreadTs | None = None
    channel: Channel | None = None


class DataUpdated(Outcome, frozen=True, kw_only=True, gc=False):
    """Partitions of a dataset are stored."""

    partitions: Partitions
    rows: Annotated[int, Meta(description="Rows stored in these partitions")]
    coverage: Coverage | None = None


class Failed(Outcome, frozen=True, kw_only=True, gc=False):
    """A request or a run did not succeed: the type of the error, what happened, what to do."""

    error_type: Annotated[str, Meta(description="Class of the error")]
    message: Annotated[Text, Meta(description="What happened, and what to do")]
    step: Annotated[str, Meta(description="Step that failed")] | None = None
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
    status: Annotated[str, Meta(description="OK, or what is missing")]
    score: Score | None = None
    label: Annotated[str, Meta(description="STRONG_BUY to STRONG_SELL")] | None = None
    parts: AnalysisParts = field(default_factory=AnalysisParts)
    reason: str | None = None


class AnalysisCompleted(Outcome, frozen=True, kw_only=True, gc=False):
    """An analysis is stored. ``session`` is the last of its sessions, the results are of that one.

    ``data_version`` identifies the stored rows: equal versions are equal rows.
    """

    session: Session
    partitions: Partitions
    results: tuple[AnalysisResult, ...]
    data_version: Annotated[str, Meta(description="Equal for equal rows")]


class TradingSignalDetected(Payload, frozen=True, kw_only=True, gc=False):
    """What the live strategy buys or sells; HOLD is not sent.

    ``price`` is the session's close as traded, in the market's currency; ``volume`` the shares
    traded in it. ``score`` is null where a symbol is sold that has none any more.
    """

    signal_type: Side
    symbol: Symbol
    price: Price
    volume: Annotated[int, Meta(description="Shares traded in the session")]
    strategy_id: Annotated[str, Meta(description="Strategy and its version")]
    market: MarketKey
    session: Session
    score: Annotated[float, Meta(description="Score of the strategy, of its own scale")] | None
    target_weight: Annotated[float, Meta(ge=0, le=1, description="Share of the equity to be held")]


class TradingOrderCreated(Payload, frozen=True, kw_only=True, gc=False):
    """An order of the paper book."""

    order_id: str
    client_order_id: str
    symbol: Symbol
    market: MarketKey
    session: Session
    order_type: Annotated[str, Meta(description="MARKET or LIMIT")]
    side: Side
    quantity: Shares
    price: Price | None = None
    status: str


class TradingOrderFilled(Payload, frozen=True, kw_only=True, gc=False):
    """A fill, whole or partial, of an order of the paper book."""

    order_id: str
    client_order_id: str
    symbol: Symbol
    market: MarketKey
    session: Session
    side: Side
    filled_quantity: Shares
    filled_price: Price
    commission: Price
    status: str


class TradingPositionUpdated(Payload, frozen=True, kw_only=True, gc=False):
    """A position of the paper book after a session; ``status`` is OPEN or CLOSED."""

    position_id: str
    symbol: Symbol
    market: MarketKey
    session: Session
    quantity: Shares
    entry_price: Price
    unrealized_pnl: Price
    status: Annotated[str, Meta(description="OPEN or CLOSED")]


class StatusUpdated(Outcome, frozen=True, kw_only=True, gc=False):
    """Progress of a run: ``status`` is started, progress, completed or failed."""

    status: Annotated[str, Meta(description="started, progress, completed or failed")]
    step: Annotated[str, Meta(description="Step that has just ended")] | None = None
    done: Annotated[int, Meta(description="Assets that are made")] = 0
    total: Annotated[int, Meta(description="Assets of the run")] = 0
