"""The written reference of the events. What belongs here: deriving it from topics and payloads.

``python -m quant_assets.events.reference`` writes ``TOPICS.md`` beside this module.
"""

import json
import sys
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from quant_assets.events import payloads as p
from quant_assets.events.envelope import MAX_EVENT_BYTES, Event, encode, event
from quant_assets.events.topics import DEAD_LETTER, EVENT_TYPES, EventType, TopicNames

PATH = Path(__file__).with_name("TOPICS.md")
_REF = "#/$defs/"
_HEAD = f"""\
# Events

Made by `python -m quant_assets.events.reference` from `topics.py` and `payloads.py`; do not edit.

## Envelope

A message is one event: JSON in UTF-8, at most {MAX_EVENT_BYTES:,} bytes. Names are camelCase.
Fields that are not listed are ignored; a missing or wrong one makes the message a dead letter,
whose reason names the field. Events with the same message key stay in order.

"""
_ENVELOPE = {
    "eventId": "Identifies the event: a request that comes twice with one id is served once.",
    "eventType": "What happened or is asked for: the topic without its prefix.",
    "timestamp": "When, with its offset from UTC.",
    "source": "Who sent it.",
    "payload": "As the type has it, below.",
}
"""The envelope serves every payload, so its struct describes none."""
_TOPICS = """\
## Topics

The name of a topic is the prefix `KAFKA_TOPIC_PREFIX` (`quantiq.` unless set) and the event type.
Topics that `KAFKA_TOPIC_ALIASES` names are read like the ones they stand for and never written.

"""


def schema(event_type: str) -> dict[str, Any]:
    """JSON Schema of the events of a type: the envelope, with that type and its payload."""
    known = EVENT_TYPES[event_type]
    found: dict[str, Any] = _tidy(msgspec.json.schema(Event[known.payload]))  # type: ignore[name-defined]
    definitions = found["$defs"]
    envelope = definitions.pop(found.pop("$ref").removeprefix(_REF))
    envelope["properties"]["eventType"] = {"const": event_type}
    envelope |= {"title": event_type, "description": known.meaning}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **envelope,
        "$defs": definitions,
    }


def text() -> str:
    """The whole reference, Markdown."""
    return "".join(_parts())


def write() -> None:
    """Write the reference to its place."""
    PATH.write_text(text(), encoding="utf-8")


def _parts() -> Iterator[str]:
    yield _HEAD
    (envelope,) = msgspec.json.schema(Event[dict[str, Any]])["$defs"].values()
    yield _fields(envelope, _ENVELOPE)
    yield f"\n```json\n{_example()}\n```\n\n"
    yield _TOPICS
    yield _table("topic", "what the platform does with it", "key", "payload", "meaning")
    for known in EVENT_TYPES.values():
        anchor = f"schema-of-{known.name.replace('.', '')}"
        topic = f"[`{TopicNames().topic(known.name)}`](#{anchor})"
        payload = known.payload.__name__
        link = f"[{payload}](#{payload.lower()})"
        yield _row(topic, known.role.value, known.key, link, known.meaning)
    letters = f"`{TopicNames().topic(DEAD_LETTER)}`"
    meaning = "What could not be processed: the original bytes; the headers say why."
    yield _row(letters, "is sent when a message cannot be processed", "the original", "", meaning)
    yield "\n## Payloads\n"
    for name, definition in _definitions().items():
        yield f"\n### {name}\n\n{definition.get('description', '')}\n\n"
        yield _fields(definition)
    yield "\n## Schemas\n"
    for known in EVENT_TYPES.values():
        yield _details(known)


def _example() -> str:
    """An event of the wire, on several lines."""
    one = event(
        "analysis.combined.request",
        p.AnalysisRequested(market="us", symbols=("AAPL", "MSFT")),
        event_id=uuid.UUID("0b9f7a52-6d0e-4b6c-9a41-3f1f6c1f2a10"),
        timestamp=datetime(2026, 3, 20, 21, 30, tzinfo=UTC),
        source="portfolio-service",
    )
    return json.dumps(json.loads(encode(one)), indent=2)


def _definitions() -> dict[str, dict[str, Any]]:
    """Schemas of the payloads in the order of the topics, then of what they are made of."""
    payloads = dict.fromkeys(known.payload for known in EVENT_TYPES.values())
    _, found = msgspec.json.schema_components(list(payloads), ref_template=f"{_REF}{{name}}")
    names = [payload.__name__ for payload in payloads]
    parts = sorted(set(found) - set(names))
    return {name: _tidy(found[name]) for name in [*names, *parts]}


def _fields(definition: Mapping[str, Any], meanings: Mapping[str, str] | None = None) -> str:
    """Table of an object's fields; ``meanings`` are those that the schema lacks."""
    rows = [
        _row(
            f"`{name}`",
            _type(field),
            "yes" if name in definition["required"] else "",
            _description(field) or (meanings or {}).get(name, ""),
        )
        for name, field in definition["properties"].items()
    ]
    return _table("field", "type", "required", "meaning") + "".join(rows)


def _type(field: Mapping[str, Any]) -> str:
    """Type and limits of a field in words."""
    if "anyOf" in field:
        return _type(_some(field))
    if "$ref" in field:
        name = field["$ref"].removeprefix(_REF)
        return f"[{name}](#{name.lower()})"
    if "items" in field:
        limit = f", at most {field['maxItems']}" if "maxItems" in field else ""
        return f"array{limit}: {_type(field['items'])}"
    words = [str(field.get("format") or field.get("type") or "any")]
    if "minimum" in field:
        words.append(f"{field['minimum']} to {field['maximum']}")
    if "minLength" in field:
        words.append("not empty")
    if "maxLength" in field:
        words.append(f"at most {field['maxLength']:,} characters")
    if "pattern" in field:
        words.append(f"pattern `{field['pattern']}`")
    return ", ".join(words)


def _description(field: Mapping[str, Any]) -> str:
    if "description" in field:
        return str(field["description"])
    inner = _some(field) if "anyOf" in field else field.get("items", {})
    return str(inner.get("description", ""))


def _some(field: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an optional field holds if it is there."""
    (inner,) = [one for one in field["anyOf"] if one != {"type": "null"}]
    found: Mapping[str, Any] = inner
    return found


def _details(known: EventType) -> str:
    content = json.dumps(schema(known.name), indent=1, ensure_ascii=False)
    return (
        f"\n### Schema of {known.name}\n\n{known.meaning}\n\n"
        "<details><summary>JSON Schema</summary>\n\n"
        f"```json\n{content}\n```\n\n</details>\n"
    )


def _table(*heads: str) -> str:
    return _row(*heads) + _row(*("---" for _ in heads))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _tidy(content: Any) -> Any:
    """The same for readers that are not Python."""
    if isinstance(content, dict):
        return {
            name: _WORDS[name](value) if name in _WORDS and isinstance(value, str) else _tidy(value)
            for name, value in content.items()
        }
    return [_tidy(value) for value in content] if isinstance(content, list) else content


def _flowing(docstring: str) -> str:
    """On one line: before Python 3.13 a docstring keeps its indentation."""
    return " ".join(docstring.split()).replace("``", "`")


def _ecma(pattern: str) -> str:
    """As JSON Schema wants it: the ends of the text have other names there."""
    return pattern.replace(r"\A", "^").replace(r"\Z", "$")


_WORDS = {"description": _flowing, "pattern": _ecma}


if __name__ == "__main__":
    write()
    sys.stdout.write(f"wrote {PATH}\n")
