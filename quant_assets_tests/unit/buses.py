"""What tests of the event bus share: events, a handler that notes them, topics and dead letters."""

import itertools
from datetime import datetime
from typing import Any

from confluent_kafka.admin import AdminClient, NewTopic

from quant_assets.events import payloads as p
from quant_assets.events.bus import Received
from quant_assets.events.connection import KafkaConnection
from quant_assets.events.dead_letters import DeadLetter, header_texts
from quant_assets.events.envelope import Event, event
from quant_assets.events.reading import read_topic
from quant_assets.events.topics import EVENT_TYPES, TopicNames
from quant_assets_tests.kafka_broker import poll

SECONDS = 60.0
_NUMBERS = itertools.count()


def new_prefix() -> str:
    """A prefix whose topics no other test of this process writes."""
    return f"test{next(_NUMBERS)}."


def kafka_letters(connection: KafkaConnection, names: TopicNames) -> list[DeadLetter]:
    return [
        DeadLetter.read(header_texts(record.headers), record.value, record.key)
        for record in read_topic(connection, names.dead_letter)
    ]


def create_topics(connection: KafkaConnection, names: TopicNames) -> None:
    """Make every topic, so that no subscription has to look for new ones."""
    admin = AdminClient(connection.client())
    topics = [NewTopic(names.topic(name), 3, 1) for name in EVENT_TYPES]
    for done in admin.create_topics(topics).values():
        done.result(SECONDS)


class Seen:
    """A handler that notes what it was called with."""

    def __init__(self) -> None:
        self.events: list[Event[Any]] = []
        self.messages: list[Received] = []

    def __call__(self, one: Event[Any], message: Received) -> None:
        self.messages.append(message)
        self.events.append(one)

    def wait(self, count: int) -> list[Event[Any]]:
        poll(f"{count} events, not {len(self.events)}", SECONDS, lambda: len(self.events) >= count)
        assert len(self.events) == count
        return self.events


def status(text: str, done: int = 0, **fields: Any) -> Event[Any]:
    return event("status.updated", p.StatusUpdated(status=text, done=done, **fields))


def failed(message: str) -> Event[Any]:
    return event("analysis.failed", p.Failed(error_type="X", message=message))


def order(number: int) -> Event[Any]:
    payload = p.TradingOrderCreated(
        order_id=str(number),
        client_order_id=str(number),
        symbol="AAPL",
        market="us",
        session=datetime(2026, 3, 19).date(),
        order_type="MARKET",
        side="BUY",
        quantity=1.0,
        status="NEW",
    )
    return event("trading.order.created", payload)


def article(title: str, summary: str = "") -> Event[Any]:
    payload = p.NewsArticleCollected(
        url="https://example.com/a", title=title, source="test", summary=summary
    )
    return event("news.article.collected", payload)
