"""Envelope and payloads under hostile messages, and every payload there and back.

Whatever comes out of a topic, decoding gives an event or a ``BadEventError`` that says where it is
wrong, and nothing else.
"""

import json
import math
import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.errors import BadConfigurationError
from quant_assets.events import payloads as p
from quant_assets.events.envelope import (
    MAX_EVENT_BYTES,
    BadEventError,
    Event,
    EventDecoder,
    derived_id,
    encode,
    event,
    payload_from,
)
from quant_assets.events.topics import EVENT_TYPES, TopicNames
from quant_assets_tests.unit.event_payloads import (
    DAY,
    EXAMPLES,
    INSTANTS,
    JSON_VALUES,
    STRATEGIES,
    texts,
)

NAMES = TopicNames(aliases={"old.combined": "analysis.combined.request"})
DECODER = EventDecoder(NAMES)
ANALYSIS = "analysis.combined.request"
COMMAND = "command.requested"
ID = uuid.UUID("7e57c0de-0000-4000-8000-000000000001")


def message(payload: Any = None, event_type: str = ANALYSIS, **fields: Any) -> dict[str, Any]:
    """A message of the wire as an object, by default a right one."""
    return {
        "eventId": str(ID),
        "eventType": event_type,
        "timestamp": "2026-03-20T03:30:00Z",
        "source": "test",
        "payload": {"market": "us", "symbols": ["AAPL"]} if payload is None else payload,
        **fields,
    }


def raw(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")


def decode(value: bytes | None, event_type: str = ANALYSIS) -> Event[Any]:
    return DECODER.decode(NAMES.topic(event_type), value)


def refused(value: bytes | None, event_type: str = ANALYSIS) -> BadEventError:
    with pytest.raises(BadEventError) as caught:
        decode(value, event_type)
    return caught.value


def decode_or_refuse(value: bytes, event_type: str) -> Event[Any] | BadEventError:
    try:
        return decode(value, event_type)
    except BadEventError as error:
        return error


# Hostile messages.


def test_a_right_message_is_an_event() -> None:
    assert decode(raw(message())) == Event(
        event_id=ID,
        event_type=ANALYSIS,
        timestamp=datetime(2026, 3, 20, 3, 30, tzinfo=UTC),
        source="test",
        payload=p.AnalysisRequested(market="us", symbols=("AAPL",)),
    )


@pytest.mark.parametrize(
    ("value", "code", "reason"),
    [
        (None, "tombstone", "no value"),
        (b"", "not_json", "truncated"),
        (b"hello", "not_json", "malformed"),
        (b'{"eventId": ', "not_json", "truncated"),
        (b"\xff\xfe\x00", "not_utf8", "byte 0"),
        (raw(message()).decode().encode("utf-16"), "not_utf8", "byte 0"),
        (raw(message(source="\xe9")).replace("\xe9".encode(), b"\xe9"), "not_utf8", "not UTF-8"),
        (raw(message(source="\ud800")), "not_utf8", "not UTF-8"),
        (json.dumps(message(source="\ud800")).encode(), "not_json", "surrogate"),
        (b"\xef\xbb\xbf" + raw(message()), "not_json", "byte 0"),
        (raw(message()) + b"{}", "not_json", "trailing"),
        (raw(message()).replace(b"AAPL", b"AA\x00PL"), "not_json", "invalid character"),
        (raw(message()).replace(b"AAPL", b"AA\nPL"), "not_json", "invalid character"),
        (raw(message()).replace(b"AAPL", b"AA\\PL"), "not_json", "escape"),
        (raw(message()).replace(b'"us"', b"NaN"), "not_json", "malformed"),
        (raw(message()).replace(b'"', b"'"), "not_json", "malformed"),
        (b"null", "invalid_field", "Expected `object`, got `null`"),
        (b"[]", "invalid_field", "Expected `object`, got `array`"),
        (b"7", "invalid_field", "Expected `object`, got `int`"),
        (b"[" * 200_000 + b"]" * 200_000, "invalid_field", "Expected `object`"),
        (b"x" * 10_000_000, "too_large", "10000000 bytes"),
        (raw(message(source="x" * 10_000_000)), "too_large", "at most 1048576 bytes"),
    ],
    ids=lambda value: f"{value[:20]!r}" if isinstance(value, bytes) else None,
)
def test_bytes_that_are_no_event(value: bytes | None, code: str, reason: str) -> None:
    error = refused(value)
    assert error.code == code
    assert reason in str(error)
    assert error.event_id is None
    assert len(str(error)) < 300


@pytest.mark.parametrize("nested", ["unknown", "params"])
def test_deep_nesting_is_refused_and_not_a_crash(nested: str) -> None:
    deep = b'{"a":' + b"[" * 250_000 + b"]" * 250_000 + b"}"
    content = raw(message({"taskType": "x", nested: 0}, COMMAND))
    error = refused(
        content.replace(f'"{nested}": 0'.encode(), f'"{nested}": '.encode() + deep), COMMAND
    )
    assert error.code == "too_deep"
    assert decode(raw(message()), ANALYSIS).event_id == ID


def test_the_size_limit_is_exact() -> None:
    def sized(total: int) -> bytes:
        empty = len(raw(message({"taskType": "x", "params": {"a": ""}}, COMMAND)))
        return raw(message({"taskType": "x", "params": {"a": "x" * (total - empty)}}, COMMAND))

    assert len(sized(MAX_EVENT_BYTES)) == MAX_EVENT_BYTES
    assert decode(sized(MAX_EVENT_BYTES), COMMAND).event_id == ID
    assert refused(sized(MAX_EVENT_BYTES + 1), COMMAND).code == "too_large"


@pytest.mark.parametrize("name", ["eventId", "eventType", "timestamp", "source", "payload"])
def test_each_field_of_the_envelope_is_required(name: str) -> None:
    content = message()
    del content[name]
    error = refused(raw(content))
    assert error.code == "invalid_field"
    assert f"missing required field `{name}`" in str(error)
    assert error.event_id == (None if name == "eventId" else ID)


def required_fields() -> list[tuple[str, str]]:
    return [
        (event_type.name, field.encode_name)
        for event_type in EVENT_TYPES.values()
        for field in msgspec.structs.fields(event_type.payload)
        if field.required
    ]


@pytest.mark.parametrize(("event_type", "name"), required_fields())
def test_each_required_field_of_a_payload_is_demanded(event_type: str, name: str) -> None:
    content = json.loads(encode(event(event_type, EXAMPLES[EVENT_TYPES[event_type].payload])))
    assert decode(raw(content), event_type).event_type == event_type
    del content["payload"][name]
    error = refused(raw(content), event_type)
    assert error.code == "invalid_field"
    assert str(error) == f"Object missing required field `{name}` - at `$.payload`"
    assert error.event_id == uuid.UUID(content["eventId"])


@pytest.mark.parametrize(
    ("content", "path"),
    [
        (message(eventId="7e57"), "$.eventId"),
        (message(eventId=5), "$.eventId"),
        (message(eventId=None), "$.eventId"),
        (message(eventType=["x"]), "$.eventType"),
        (message(timestamp=1774000000), "$.timestamp"),
        (message(timestamp="2026-03-20"), "$.timestamp"),
        (message(timestamp="2026-03-20T03:30:00"), "$.timestamp"),
        (message(timestamp="2026-02-30T03:30:00Z"), "$.timestamp"),
        (message(timestamp="2026-03-20T23:59:60Z"), "$.timestamp"),
        (message(timestamp="-2026-03-20T03:30:00Z"), "$.timestamp"),
        (message(timestamp="12026-03-20T03:30:00Z"), "$.timestamp"),
        (message(source=None), "$.source"),
        (message(source="x" * 201), "$.source"),
        (message([]), "$.payload"),
        (message("us"), "$.payload"),
        (message({"market": 1}), "$.payload.market"),
        (message({"market": "x" * 9}), "$.payload.market"),
        (message({"session": "2026-3-1"}), "$.payload.session"),
        (message({"session": "2026-03-01T00:00:00Z"}), "$.payload.session"),
        (message({"session": 20260301}), "$.payload.session"),
        (message({"symbols": "AAPL"}), "$.payload.symbols"),
        (message({"symbols": None}), "$.payload.symbols"),
        (message({"symbols": {"0": "AAPL"}}), "$.payload.symbols"),
        (message({"symbols": ["AAPL", ""]}), "$.payload.symbols[1]"),
        (message({"symbols": ["x" * 25]}), "$.payload.symbols[0]"),
        (message({"symbols": [True]}), "$.payload.symbols[0]"),
        (message({"symbols": ["A"] * 501}), "$.payload.symbols"),
        (message({"threadTs": "1" * 65}), "$.payload.threadTs"),
        (message({"channel": 5}), "$.payload.channel"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_wrong_field_is_named_by_its_path(content: dict[str, Any], path: str) -> None:
    error = refused(raw(content))
    assert error.code == "invalid_field"
    assert str(error).endswith(f" - at `{path}`")
    assert error.event_id == (None if path == "$.eventId" else ID)


@pytest.mark.parametrize(
    ("event_type", "fields", "path"),
    [
        ("status.updated", {"status": "x", "done": 1.5}, "$.payload.done"),
        ("status.updated", {"status": "x", "done": "1"}, "$.payload.done"),
        ("status.updated", {"status": "x", "done": True}, "$.payload.done"),
        ("trading.signal.detected", {"targetWeight": 1.0000001}, "$.payload.targetWeight"),
        ("trading.signal.detected", {"targetWeight": -2}, "$.payload.targetWeight"),
        ("trading.signal.detected", {"score": "0.5"}, "$.payload.score"),
        ("news.article.collected", {"url": "ftp://example.com"}, "$.payload.url"),
        ("news.article.collected", {"url": "https://a b"}, "$.payload.url"),
        ("news.article.collected", {"url": "https://a\n"}, "$.payload.url"),
        ("news.article.collected", {"url": "https://" + "x" * 2_001}, "$.payload.url"),
        ("news.article.collected", {"url": "javascript:https://x"}, "$.payload.url"),
        ("news.article.collected", {"title": ""}, "$.payload.title"),
        ("news.article.collected", {"summary": "x" * 20_001}, "$.payload.summary"),
        ("news.article.collected", {"publishedAt": "2026-03-01T00:00:00"}, "$.payload.publishedAt"),
        ("analysis.completed", {"results": [{"symbol": "A"}]}, "$.payload.results[0]"),
        (
            "analysis.completed",
            {"results": [{"symbol": "A", "status": "OK", "parts": {"trend": 9}}]},
            "$.payload.results[0].parts.trend",
        ),
        ("analysis.completed", {"partitions": None}, "$.payload.partitions"),
        (COMMAND, {"params": []}, "$.payload.params"),
    ],
)
def test_a_wrong_value_of_a_payload_is_named(
    event_type: str, fields: dict[str, Any], path: str
) -> None:
    content = json.loads(encode(event(event_type, EXAMPLES[EVENT_TYPES[event_type].payload])))
    content["payload"] |= fields
    assert f"`{path}`" in str(refused(raw(content), event_type))


@pytest.mark.parametrize(
    ("number", "is_right"),
    [
        ("9" * 19, True),
        ("9" * 400, True),
        ("9" * 5_000, False),
        ("9" * 900_000, False),
        ("1e308", True),
        ("1e309", False),
        ("-1e999999999", False),
        ("1e0e0", False),
    ],
    ids=lambda value: value[:14] if isinstance(value, str) else None,
)
def test_numbers_without_bounds_are_read_or_refused(number: str, is_right: bool) -> None:
    content = raw(message({"taskType": "x", "params": {"a": 0}}, COMMAND))
    value = content.replace(b'"a": 0', f'"a": {number}'.encode())
    if is_right:
        one = decode(value, COMMAND)
        assert one.payload.params["a"] == json.loads(number)
        assert decode(encode(one), COMMAND) == one
    else:
        assert refused(value, COMMAND).code in ("invalid_field", "not_json")


def test_unknown_fields_are_ignored_everywhere() -> None:
    content = message({"market": "us", "symbols": ["AAPL"], "new": [{"deep": [None]}]}, version=2)
    assert decode(raw(content)) == decode(raw(message()))


def test_a_repeated_field_counts_as_it_stood_last() -> None:
    first, last = b'{"source": "first", ', b', "source": "last"}'
    assert decode(first + raw(message())[1:]).source == "test"
    assert decode(raw(message())[:-1] + last).source == "last"
    assert refused(b'{"eventId": 5, ' + raw(message())[1:]).code == "invalid_field"


def test_control_characters_and_any_script_stay_as_they_are() -> None:
    symbol = "A\x00\x1b[2J\u2028\u202e삼성👍"
    content = json.dumps(message({"symbols": [symbol]})).encode()
    one = decode(content)
    assert one.payload.symbols == (symbol,)
    assert decode(encode(one)) == one
    assert b"\x1b" not in encode(one)


def test_limits_count_characters_and_not_bytes() -> None:
    assert decode(raw(message({"symbols": ["👍" * 24]}))).payload.symbols == ("👍" * 24,)
    assert refused(raw(message({"symbols": ["👍" * 25]}))).code == "invalid_field"


def test_an_event_in_the_wrong_topic_is_refused() -> None:
    error = refused(raw(message(eventType="status.updated")))
    assert (error.code, error.event_id) == ("wrong_type", ID)
    assert str(error).startswith("eventType is 'status.updated' in the topic of 'analysis.combined")
    assert len(str(refused(raw(message(eventType="x" * 100_000))))) < 300
    assert refused(raw(message(eventType=NAMES.topic(ANALYSIS)))).code == "wrong_type"


def test_an_alias_is_accepted_and_renamed() -> None:
    for topic in ("old.combined", NAMES.topic(ANALYSIS)):
        for name in ("old.combined", ANALYSIS):
            one = DECODER.decode(topic, raw(message(eventType=name)))
            assert one.event_type == ANALYSIS
            assert one.event_id == ID
    with pytest.raises(BadEventError, match="in the topic of"):
        DECODER.decode("old.combined", raw(message(eventType="command.requested")))


def test_an_alias_with_the_prefix_is_meant_without_it_too() -> None:
    names = TopicNames("q.", {"q.old": ANALYSIS})
    for name in ("q.old", "old", ANALYSIS):
        one = EventDecoder(names).decode("q.old", raw(message(eventType=name)))
        assert one.event_type == ANALYSIS


def test_a_topic_that_is_none_of_ours_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(BadConfigurationError, match="no topic of the platform"):
        DECODER.decode("quantiq.dead-letter", raw(message()))


@given(st.binary(max_size=300), st.sampled_from(sorted(EVENT_TYPES)))
def test_any_bytes_are_an_event_or_refused(value: bytes, event_type: str) -> None:
    with pytest.raises(BadEventError):
        decode(value, event_type)


@given(st.data(), st.sampled_from(sorted(EVENT_TYPES)))
@settings(max_examples=300)
def test_any_change_of_a_message_is_an_event_or_refused(
    data: st.DataObject, event_type: str
) -> None:
    value = bytearray(encode(event(event_type, EXAMPLES[EVENT_TYPES[event_type].payload])))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(value) - 1))
        length = data.draw(st.integers(0, 3))
        value[place : place + length] = data.draw(st.binary(max_size=4))
    one = decode_or_refuse(bytes(value), event_type)
    if isinstance(one, BadEventError):
        assert one.code in ("not_json", "not_utf8", "invalid_field", "wrong_type", "too_deep")
        assert str(one).encode()
    else:
        assert decode(encode(one), event_type) == one


@given(st.data(), st.sampled_from(sorted(EVENT_TYPES)), JSON_VALUES)
@settings(max_examples=300)
def test_any_value_in_any_field_is_an_event_or_refused(
    data: st.DataObject, event_type: str, value: Any
) -> None:
    content = json.loads(encode(event(event_type, EXAMPLES[EVENT_TYPES[event_type].payload])))
    fields = msgspec.structs.fields(EVENT_TYPES[event_type].payload)
    place: dict[str, Any] = data.draw(st.sampled_from([content, content["payload"]]))
    names = list(content) if place is content else [field.encode_name for field in fields]
    name = data.draw(st.sampled_from(names))
    place[name] = value
    one = decode_or_refuse(raw(content), event_type)
    if isinstance(one, BadEventError):
        assert f".{name}" in str(one)
    else:
        assert decode(encode(one), event_type) == one


# Every payload there and back.


def test_every_payload_has_a_strategy_and_an_example() -> None:
    payloads = {event_type.payload for event_type in EVENT_TYPES.values()}
    assert set(STRATEGIES) == payloads
    assert set(EXAMPLES) == payloads


@pytest.mark.parametrize("event_type", EVENT_TYPES)
@given(data=st.data())
@settings(max_examples=40)
def test_every_event_comes_back_as_it_was(event_type: str, data: st.DataObject) -> None:
    one = event(
        event_type,
        data.draw(STRATEGIES[EVENT_TYPES[event_type].payload]),
        event_id=data.draw(st.uuids()),
        timestamp=data.draw(INSTANTS),
        source=data.draw(texts(200)),
    )
    value = encode(one)
    assert decode(value, event_type) == one
    assert encode(decode(value, event_type)) == value
    assert json.loads(value)["eventType"] == event_type


def test_names_are_camel_case_on_the_wire() -> None:
    content = json.loads(
        encode(
            event(
                "stock.price.sync.requested",
                p.StockPriceSyncRequested(market="us", first=DAY, last=DAY, thread_ts="1.2"),
            )
        )
    )
    assert set(content) == {"eventId", "eventType", "timestamp", "source", "payload"}
    assert content["payload"] == {
        "market": "us",
        "from": "2026-03-19",
        "to": "2026-03-19",
        "threadTs": "1.2",
    }


def test_a_number_that_json_has_not_is_not_sent_as_one() -> None:
    one = event("status.updated", p.StatusUpdated(status="x", done=math.nan))  # type: ignore[arg-type]
    assert refused(encode(one), "status.updated").code == "invalid_field"


def test_payload_from_fields_names_the_wrong_one() -> None:
    assert (
        payload_from("news.crawl.requested", {"hour": "2026-03-19T05:00:00Z"})
        == EXAMPLES[p.NewsCrawlRequested]
    )
    with pytest.raises(BadEventError, match=r"at `\$\.payload\.symbols\[0\]`"):
        payload_from(ANALYSIS, {"symbols": [5]})
    with pytest.raises(BadEventError, match="missing required field `market`"):
        payload_from("stock.price.sync.requested", {})


def test_a_derived_id_depends_on_every_part_and_their_order() -> None:
    parts = [("a", "b"), ("b", "a"), ("ab",), ("a", "b", ""), ("a b",)]
    assert len({derived_id(*each) for each in parts}) == len(parts)
    assert derived_id("a", "b") == derived_id("a", "b")


def test_what_utf8_cannot_hold_is_sent_escaped() -> None:
    """A file's name in an error may be no text."""
    sent = event("analysis.failed", p.Failed(error_type="OSError", message="/data/\udcff.parquet"))
    read = json.loads(encode(sent))
    assert read["payload"]["message"] == "/data/\\udcff.parquet"
    assert read["eventId"] == str(sent.event_id)
