"""The topics. What belongs here: each event type once, its payload, key and meaning; topic names.

A topic is the prefix (``KAFKA_TOPIC_PREFIX``) and the event type. Old names of the systems before
are accepted where ``KAFKA_TOPIC_ALIASES`` maps them, and never sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from quant_assets.errors import BadConfigurationError
from quant_assets.events import payloads as p

DEAD_LETTER = "dead-letter"


class Role(Enum):
    """What the platform does with a topic."""

    REQUEST = "asks for a run"
    STREAM = "is read in batches"
    OUTCOME = "is sent when a run ends"
    SIGNAL = "is sent by the trading assets"
    PROGRESS = "is sent while a run goes on"


@dataclass(frozen=True)
class EventType:
    """One kind of event; ``key`` says which entity keeps its events in order."""

    name: str
    role: Role
    payload: type[p.Payload]
    key: str
    meaning: str


def _request(name: str, payload: type[p.Payload], meaning: str) -> EventType:
    return EventType(name, Role.REQUEST, payload, "market, series, hour or task", meaning)


def _outcome(name: str, payload: type[p.Payload], meaning: str) -> EventType:
    return EventType(name, Role.OUTCOME, payload, "request id, else run id", meaning)


EVENT_TYPES: Mapping[str, EventType] = {
    event_type.name: event_type
    for event_type in (
        _request("economic.data.sync.requested", p.EconomicDataSyncRequested, "Run `macro_sync`."),
        _request(
            "stock.price.sync.requested",
            p.StockPriceSyncRequested,
            "Run `us_price` or `kr_price`.",
        ),
        _request("news.crawl.requested", p.NewsCrawlRequested, "Run `news_crawl`."),
        _request(
            "analysis.technical.request",
            p.AnalysisRequested,
            "Run the market's technical analysis.",
        ),
        _request(
            "analysis.sentiment.request",
            p.AnalysisRequested,
            "Run the market's sentiment analysis.",
        ),
        _request(
            "analysis.combined.request", p.AnalysisRequested, "Run the market's combined analysis."
        ),
        _request("command.requested", p.CommandRequested, "Run a task by its name."),
        EventType(
            "news.article.collected",
            Role.STREAM,
            p.NewsArticleCollected,
            "address",
            "An article of an external crawler.",
        ),
        _outcome("economic.data.updated", p.DataUpdated, "Macro values are stored."),
        _outcome("economic.data.sync.failed", p.Failed, "Macro values could not be stored."),
        _outcome("stock.price.updated", p.DataUpdated, "Bars are stored."),
        _outcome("stock.price.failed", p.Failed, "Bars could not be stored."),
        _outcome("news.crawl.completed", p.DataUpdated, "News are stored and scored."),
        _outcome("news.crawl.failed", p.Failed, "News could not be stored."),
        _outcome(
            "analysis.technical.completed", p.AnalysisCompleted, "Technical scores are stored."
        ),
        _outcome("analysis.sentiment.completed", p.AnalysisCompleted, "News sentiment is stored."),
        _outcome("analysis.completed", p.AnalysisCompleted, "Recommendations are stored."),
        _outcome("analysis.failed", p.Failed, "An analysis did not succeed."),
        _outcome("command.failed", p.Failed, "A command could not be understood."),
        EventType(
            "trading.signal.detected",
            Role.SIGNAL,
            p.TradingSignalDetected,
            "symbol",
            "A recommendation to buy or to sell.",
        ),
        EventType(
            "trading.order.created",
            Role.SIGNAL,
            p.TradingOrderCreated,
            "symbol",
            "An order of the paper book.",
        ),
        EventType(
            "trading.order.filled",
            Role.SIGNAL,
            p.TradingOrderFilled,
            "symbol",
            "A fill of the paper book.",
        ),
        EventType(
            "trading.position.updated",
            Role.SIGNAL,
            p.TradingPositionUpdated,
            "symbol",
            "A position of the paper book.",
        ),
        EventType(
            "status.updated",
            Role.PROGRESS,
            p.StatusUpdated,
            "request id, else run id",
            "Progress of a run.",
        ),
    )
}

FAILED_TYPE: Mapping[str, str] = {
    "economic.data.sync.requested": "economic.data.sync.failed",
    "stock.price.sync.requested": "stock.price.failed",
    "news.crawl.requested": "news.crawl.failed",
    "analysis.technical.request": "analysis.failed",
    "analysis.sentiment.request": "analysis.failed",
    "analysis.combined.request": "analysis.failed",
    "command.requested": "command.failed",
}
"""How a request that cannot be served is answered."""


def event_types(*roles: Role) -> list[EventType]:
    """The event types of some roles."""
    return [event_type for event_type in EVENT_TYPES.values() if event_type.role in roles]


@dataclass(frozen=True)
class TopicNames:
    """Topic names of an installation: prefix, and old names that are still read."""

    prefix: str = "quantiq."
    aliases: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for alias, event_type in self.aliases.items():
            if event_type not in EVENT_TYPES:
                raise BadConfigurationError(
                    f"KAFKA_TOPIC_ALIASES: {alias!r} stands for {event_type!r}, which is no event "
                    f"type; they are {', '.join(EVENT_TYPES)}"
                )

    @property
    def dead_letter(self) -> str:
        """Topic of what could not be processed."""
        return f"{self.prefix}{DEAD_LETTER}"

    def topic(self, event_type: str) -> str:
        """Topic that events of a type are sent to."""
        return f"{self.prefix}{event_type}"

    def event_type(self, topic: str) -> str:
        """Event type of a topic or alias; raises ``BadConfigurationError`` for any other."""
        known = self.aliases.get(topic) or topic.removeprefix(self.prefix)
        if known not in EVENT_TYPES:
            raise BadConfigurationError(
                f"{topic!r} is no topic of the platform; the event types are "
                f"{', '.join(EVENT_TYPES)}"
            )
        return known

    def read_topics(self, *roles: Role) -> list[str]:
        """Topics and aliases of some roles, that is all that has to be read for them."""
        wanted = {event_type.name for event_type in event_types(*roles)}
        own = [self.topic(name) for name in wanted]
        old = [alias for alias, name in self.aliases.items() if name in wanted]
        return sorted({*own, *old})
