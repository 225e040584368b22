"""Sending to Kafka. What belongs here: messages out, each with the broker's word that it has it."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quant_assets.errors import TransientError
from quant_assets.events.connection import KafkaConnection, open_client
from quant_assets.events.envelope import Event, encode, encode_key
from quant_assets.events.topics import TopicNames

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message, Producer

Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True)
class Outgoing:
    """One message to send."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()


class RefusedMessageError(TransientError):
    """The broker refused ``outgoing``; ``code`` is Kafka's name of the reason."""

    def __init__(self, message: str, outgoing: Outgoing, code: str) -> None:
        super().__init__(message)
        self.outgoing = outgoing
        self.code = code


class Publisher:
    """Sends messages and waits until the broker has acknowledged each; one a process is enough.

    Usable from several threads. ``close`` it, or leave it to the end of the process.
    """

    def __init__(self, connection: KafkaConnection, names: TopicNames) -> None:
        self.connection = connection
        self.names = names
        self._lock = threading.Lock()
        self._producer: Producer | None = None

    def publish(
        self, events: Sequence[tuple[str, Event[Any]]], *, timeout_seconds: float | None = None
    ) -> None:
        """Send (key, event) pairs, each to the topic of its type; see ``send``."""
        self.send(
            [
                Outgoing(self.names.topic(event.event_type), encode(event), encode_key(key))
                for key, event in events
            ],
            timeout_seconds=timeout_seconds,
        )

    def send(self, messages: Sequence[Outgoing], *, timeout_seconds: float | None = None) -> None:
        """Send ``messages`` in order and return once the broker has every one of them.

        Raises ``TransientError`` if some were not acknowledged within ``timeout_seconds`` (default
        the connection's delivery timeout), ``RefusedMessageError`` if the broker refused one. Some
        may have arrived all the same: send again, the ids tell repeats.
        """
        if not messages:
            return
        from confluent_kafka import KafkaException

        wait = timeout_seconds or self.connection.delivery_timeout_seconds
        deadline = time.monotonic() + wait
        delivery = _Delivery(len(messages))
        producer = self._open()
        for message in messages:
            while True:
                try:
                    producer.produce(
                        message.topic,
                        value=message.value,
                        key=message.key,
                        headers=list(message.headers),
                        on_delivery=delivery.callback(message),
                    )
                    break
                except BufferError:
                    producer.poll(0.1)
                    if time.monotonic() > deadline:
                        raise self._unacknowledged(delivery, wait) from None
                except KafkaException as error:
                    raise _refused(message, error.args[0]) from error
        while delivery.left and time.monotonic() < deadline:
            producer.poll(min(0.1, max(0.0, deadline - time.monotonic())))
        if delivery.refused is not None:
            raise _refused(*delivery.refused)
        if delivery.left:
            raise self._unacknowledged(delivery, wait)

    def close(self) -> None:
        """Let go of the producer; messages that are under way get two more seconds."""
        with self._lock:
            producer, self._producer = self._producer, None
        if producer is not None:
            producer.flush(2.0)

    def _open(self) -> "Producer":
        with self._lock:
            if self._producer is None:
                from confluent_kafka import Producer

                self._producer = open_client(Producer, self.connection.producer())
            return self._producer

    def _unacknowledged(self, delivery: "_Delivery", wait: float) -> TransientError:
        return TransientError(
            f"Kafka at {self.connection.bootstrap_servers} has not acknowledged "
            f"{delivery.left} of {delivery.total} message(s) within {wait:g} s: "
            "is it up, does it let us in?"
        )


class _Delivery:
    """What became of the messages of one ``send``."""

    def __init__(self, total: int) -> None:
        self.total = self.left = total
        self.refused: tuple[Outgoing, KafkaError] | None = None
        self._lock = threading.Lock()

    def callback(self, outgoing: Outgoing) -> Any:
        def delivered(error: "KafkaError | None", _: "Message") -> None:
            with self._lock:
                self.left -= 1
                if error is not None and self.refused is None:
                    self.refused = outgoing, error

        return delivered


def _refused(outgoing: Outgoing, error: "KafkaError") -> RefusedMessageError:
    return RefusedMessageError(
        f"Kafka did not take a message for {outgoing.topic}: {error.str()} ({error.name()})",
        outgoing,
        str(error.name()),
    )
