"""The written reference of the events says what the code does."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from quant_assets.events import reference
from quant_assets.events.envelope import Event, EventDecoder, encode, event
from quant_assets.events.topics import EVENT_TYPES, TopicNames
from quant_assets_tests.unit.event_payloads import EXAMPLES


def test_the_reference_is_up_to_date() -> None:
    assert reference.PATH.read_text(encoding="utf-8") == reference.text(), (
        "run `python -m quant_assets.events.reference`"
    )


def test_it_is_written_to_its_place(tmp_path: Path) -> None:
    script = (
        "import pathlib, quant_assets.events.reference as r; "
        f"r.PATH = pathlib.Path({str(tmp_path / 'T.md')!r}); r.write()"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert (tmp_path / "T.md").read_text(encoding="utf-8") == reference.text()


def test_it_names_every_topic_and_field() -> None:
    text = reference.text()
    assert "`quantiq.dead-letter`" in text
    for event_type in EVENT_TYPES.values():
        assert f"[`quantiq.{event_type.name}`]" in text
        assert f"\n### {event_type.payload.__name__}\n" in text
        section = text.split(f"\n### {event_type.payload.__name__}\n")[1].split("\n### ")[0]
        for field in msgspec.structs.fields(event_type.payload):
            row = next(
                line for line in section.splitlines() if f"| `{field.encode_name}` |" in line
            )
            assert ("| yes |" in row) == field.required


def test_its_links_lead_somewhere() -> None:
    text = reference.text()
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = [re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles]
    assert len(anchors) == len(set(anchors))
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= set(anchors)


def test_its_example_is_a_right_event() -> None:
    example = re.search(r"```json\n(\{.*?\n\})\n```", reference.text(), re.DOTALL)
    assert example is not None
    names = TopicNames()
    one = EventDecoder(names).decode(names.topic("analysis.combined.request"), example[1].encode())
    assert one.payload.symbols == ("AAPL", "MSFT")


def test_the_envelope_of_the_reference_is_that_of_the_code() -> None:
    assert list(reference._ENVELOPE) == [
        field.encode_name for field in msgspec.structs.fields(Event)
    ]


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_the_schema_describes_the_events_of_its_type(event_type: str) -> None:
    schema = reference.schema(event_type)
    content = json.loads(encode(event(event_type, EXAMPLES[EVENT_TYPES[event_type].payload])))
    assert set(schema["required"]) == set(content)
    assert schema["properties"]["eventType"] == {"const": event_type}
    payload = resolved(schema, schema["properties"]["payload"])
    assert set(payload["required"]) <= set(content["payload"]) <= set(payload["properties"])
    for reference_text in references(schema):
        assert resolved(schema, {"$ref": reference_text})


def test_descriptions_and_patterns_are_for_any_reader() -> None:
    """Docstrings keep their indentation before Python 3.13; ECMA's patterns have no \\A and \\Z."""
    for event_type in EVENT_TYPES:
        text = json.dumps(reference.schema(event_type), ensure_ascii=False)
        assert "\\n" not in text
        assert "``" not in text
        assert "\\\\A" not in text
        assert "\\\\Z" not in text


def resolved(schema: dict[str, Any], field: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = schema["$defs"][field["$ref"].rpartition("/")[2]]
    return found


def references(content: Any) -> list[str]:
    if isinstance(content, dict):
        own = [content["$ref"]] if "$ref" in content else []
        return own + [name for value in content.values() for name in references(value)]
    if isinstance(content, list):
        return [name for value in content for name in references(value)]
    return []
