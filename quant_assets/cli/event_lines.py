"""An event on one line. What belongs here: which facts of a payload a person wants to see."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from quant_assets.cli.text import printable
from quant_assets.events.envelope import Event

LISTED = 5
TEXT_CHARACTERS = 160
ID_CHARACTERS = 8


def event_line(event: Event[Any]) -> str:
    """Local time, type and key facts."""
    return f"{local_time(event.timestamp)}  {event.event_type:<30}  {facts(event.payload)}".rstrip()


def local_time(instant: datetime) -> str:
    """In the time zone of this machine; an instant that has none of it as it was sent."""
    try:
        return f"{instant.astimezone():%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError):
        return instant.isoformat()


def facts(payload: Any) -> str:
    """Who, what and how it went, as far as the payload says so."""
    words = []
    for name, show in _FACTS.items():
        value = getattr(payload, name, None)
        if value not in (None, "", (), {}):
            words.append(show(value))
    if total := getattr(payload, "total", 0):
        words.append(f"{payload.done} of {total}")
    return printable("  ".join(words))


def _listed(values: Iterable[object]) -> str:
    texts = [str(value) for value in values]
    more = f" and {len(texts) - LISTED} more" if len(texts) > LISTED else ""
    return ", ".join(texts[:LISTED]) + more


def _span(partitions: Any) -> str:
    first, last = partitions.first, partitions.last
    return str(first) if first == last else f"{first} .. {last} ({partitions.count:,})"


def _result(result: Any) -> str:
    words = [result.symbol, result.label or result.status]
    if result.score is not None:
        words.append(f"{result.score:+.3f}")
    return " ".join(words)


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_CHARACTERS else f"{text[: TEXT_CHARACTERS - 1]}…"


def _named(name: str) -> Callable[[Any], str]:
    return lambda value: f"{name} {value}"


_FACTS: dict[str, Callable[[Any], str]] = {
    "market": str,
    "session": str,
    "partitions": _span,
    "first": _named("from"),
    "last": _named("to"),
    "hour": datetime.isoformat,
    "task_type": str,
    "params": lambda params: _cut(str(params)),
    "series_ids": _listed,
    "symbols": _listed,
    "symbol": str,
    "signal_type": str,
    "side": str,
    "order_type": str,
    "quantity": lambda value: f"{value:g}",
    "price": lambda value: f"at {value:,.6g}",
    "filled_quantity": lambda value: f"{value:g}",
    "filled_price": lambda value: f"at {value:,.6g}",
    "entry_price": lambda value: f"at {value:,.6g}",
    "score": lambda value: f"{value:+.3f}",
    "target_weight": lambda value: f"{value:.1%} of the equity",
    "status": str,
    "step": str,
    "rows": lambda value: f"{value:,} rows",
    "coverage": lambda value: f"{value.present:,} of {value.expected:,}",
    "results": lambda results: _listed(_result(result) for result in results),
    "error_type": str,
    "message": _cut,
    "title": _cut,
    "tickers": _listed,
    "url": _cut,
    "request_id": lambda value: f"request {value[:ID_CHARACTERS]}",
    "run_id": lambda value: f"run {value[:ID_CHARACTERS]}",
}
"""How each field is shown, in the order of the line."""
