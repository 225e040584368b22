"""Requests on a real broker become runs exactly once; everything else becomes a dead letter."""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from quant_assets.errors import TransientError
from quant_assets.events.requests import RequestTag
from quant_assets.naming import TAG_PARTITION, TAG_RANGE_END, TAG_RANGE_START, TAG_THREAD
from quant_assets_tests.dagster.event_desk import NAMES, EventDesk, event_desk

NOW = datetime(2026, 3, 20, 3, 30, tzinfo=UTC)
COMBINED = "analysis.combined.request"
COMBINED_TOPIC = NAMES.topic(COMBINED)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[EventDesk]:
    with event_desk(tmp_path, now=NOW) as made:
        yield made


def test_a_request_becomes_a_run_that_knows_its_answer(desk: EventDesk) -> None:
    event_id = desk.send(
        COMBINED,
        {"market": "us", "symbols": ["AAPL"], "threadTs": "171.5", "channel": "C1", "new": 1},
    )
    (run,) = desk.tick()
    assert (run.job_name, run.run_key) == ("us_combined_analysis", f"{event_id}:1")
    assert run.tags[TAG_PARTITION] == "2026-03-19"
    assert run.tags[TAG_THREAD] == "171.5"
    assert run.tags["dagster/max_retries"] == "0"
    tag = RequestTag.parse(run.tags[f"quant.request/{event_id}"])
    assert (tag.event_type, tag.attempt, tag.symbols) == (COMBINED, 1, ("AAPL",))
    assert (tag.thread_ts, tag.channel) == ("171.5", "C1")
    assert tag.origin.startswith(f"{COMBINED_TOPIC}/")
    assert desk.letters() == []


def test_a_range_becomes_one_run_over_it(desk: EventDesk) -> None:
    desk.send("stock.price.sync.requested", {"market": "us", "from": "2026-02-14"})
    (run,) = desk.tick()
    assert run.job_name == "us_price"
    assert (run.tags[TAG_RANGE_START], run.tags[TAG_RANGE_END]) == ("2026-02-17", "2026-03-19")


def test_repeats_in_one_tick_and_in_later_ones_run_once(desk: EventDesk) -> None:
    event_id = str(uuid.uuid4())
    for key in ("a", "b", "c", None):  # other partitions, so that order cannot help
        desk.send(COMBINED, {"market": "us"}, event_id=event_id, key=key)
    assert len(desk.tick()) == 1
    desk.finish_runs()
    desk.send(COMBINED, {"market": "us"}, event_id=event_id)
    assert desk.tick() == []
    assert desk.letters() == []


def test_a_tick_that_is_repeated_with_its_old_cursor_runs_nothing_twice(desk: EventDesk) -> None:
    """The daemon died after launching and before it kept the cursor."""
    for session in ("2026-03-18", "2026-03-19"):
        desk.send(COMBINED, {"market": "us", "session": session})
    assert len(desk.tick(keep_cursor=False)) == 2
    assert desk.tick() == []


def test_a_tick_that_died_before_its_runs_were_made_is_repeated(desk: EventDesk) -> None:
    desk.send(COMBINED, {"market": "us"})
    assert len(desk.tick(keep_cursor=False, launch=False)) == 1
    assert len(desk.tick()) == 1


def test_requests_for_the_same_session_share_a_run_and_keep_their_answers(
    desk: EventDesk,
) -> None:
    first = desk.send(COMBINED, {"market": "us", "symbols": ["AAPL"]})
    second = desk.send(COMBINED, {"symbols": ["MSFT"], "threadTs": "2.2"})
    other = desk.send(COMBINED, {"market": "kr"})
    runs = {run.job_name: run for run in desk.tick()}
    assert set(runs) == {"us_combined_analysis", "kr_combined_analysis"}
    shared = runs["us_combined_analysis"].tags
    assert RequestTag.parse(shared[f"quant.request/{first}"]).symbols == ("AAPL",)
    assert RequestTag.parse(shared[f"quant.request/{second}"]).thread_ts == "2.2"
    assert f"quant.request/{other}" in runs["kr_combined_analysis"].tags
    desk.finish_runs()
    desk.send(COMBINED, {"symbols": ["MSFT"], "threadTs": "2.2"}, event_id=second)
    assert desk.tick() == []  # one of the shared ones, delivered again


def test_an_id_used_for_another_content_is_a_dead_letter(desk: EventDesk) -> None:
    event_id = desk.send(COMBINED, {"market": "us"})
    desk.send(COMBINED, {"market": "kr"}, event_id=event_id)
    assert len(desk.tick()) == 1
    desk.finish_runs()
    desk.send(COMBINED, {"market": "us", "session": "2026-03-18"}, event_id=event_id)
    assert desk.tick() == []
    assert [letter.code for letter in desk.letters()] == ["id_reused", "id_reused"]
    assert event_id in desk.letters()[0].reason


def test_hostile_messages_are_dead_letters_and_the_next_one_is_served(desk: EventDesk) -> None:
    good = {
        "eventId": str(uuid.uuid4()),
        "eventType": COMBINED,
        "timestamp": NOW.isoformat(),
        "source": "test",
        "payload": {"market": "us"},
    }
    messages: dict[str, bytes | None] = {
        "not_json": b"{",
        "not_utf8": b"\xff\xfe\x00",
        "too_large": b"[" + b"1," * 1_000_000 + b"1]",
        "too_deep": b'{"a":' * 200_000,
        "tombstone": None,
        "wrong_type": json.dumps({**good, "eventType": "command.requested"}).encode(),
        "future": json.dumps({**good, "timestamp": "2999-01-01T00:00:00Z"}).encode(),
        "too_old": json.dumps({**good, "timestamp": "1970-01-01T00:00:00Z"}).encode(),
        "unknown_market": json.dumps({**good, "payload": {"market": "../etc"}}).encode(),
        "unknown_symbol": json.dumps(
            {**good, "payload": {"market": "us", "symbols": ["$(reboot)"]}}
        ).encode(),
    }
    invalid = [
        b"[]",
        b"null",
        json.dumps({**good, "eventId": "1"}).encode(),
        json.dumps({**good, "timestamp": "yesterday"}).encode(),
        json.dumps({**good, "timestamp": "2026-03-20T03:30:00"}).encode(),
        json.dumps({**good, "payload": {"market": {"ops": {}}}}).encode(),
        json.dumps({**good, "payload": {"market": "us", "threadTs": 5}}).encode(),
        *(json.dumps({k: v for k, v in good.items() if k != name}).encode() for name in good),
    ]
    for value in (*messages.values(), *invalid):
        desk.send_raw(COMBINED_TOPIC, value, key="us")
    desk.send(COMBINED, {"market": "us"}, key=None)
    served = [run for _ in range(3) for run in desk.tick()]
    assert [run.job_name for run in served] == ["us_combined_analysis"]
    letters = desk.letters()
    assert sorted(x.code for x in letters) == sorted([*messages, *["invalid_field"] * len(invalid)])
    whole = {letter.code: letter.value for letter in letters if letter.code in messages}
    assert whole == messages
    assert all(letter.origin.topic == COMBINED_TOPIC for letter in letters)
    paths = " ".join(letter.reason for letter in letters)
    for path in ("$.eventId", "$.timestamp", "$.payload.market", "$.payload.threadTs"):
        assert f"`{path}`" in paths


def test_a_request_that_cannot_be_served_is_answered_too(desk: EventDesk) -> None:
    asked = desk.send(COMBINED, {"market": "us", "session": "2026-03-15", "threadTs": "3.3"})
    told = desk.send("command.requested", {"taskType": "dance"})
    assert desk.tick() == []
    (answer,) = desk.answers("analysis.failed")
    assert (answer["requestId"], answer["threadTs"]) == (asked, "3.3")
    assert "2026-03-13" in answer["message"]
    (refused,) = desk.answers("command.failed")
    assert refused["requestId"] == told
    assert sorted(letter.code for letter in desk.letters()) == ["no_session", "unknown_task"]


def test_a_replay_is_a_new_attempt_and_runs_once(desk: EventDesk) -> None:
    old = (NOW - timedelta(days=30)).isoformat()
    event_id = desk.send(COMBINED, {"market": "us"}, timestamp=old)
    assert desk.tick() == []
    assert [letter.code for letter in desk.letters()] == ["too_old"]
    for _ in range(2):
        desk.send(
            COMBINED, {"market": "us"}, event_id=event_id, timestamp=old, headers={"attempt": "2"}
        )
    (run,) = desk.tick()
    assert run.run_key == f"{event_id}:2"
    desk.finish_runs()
    desk.send(COMBINED, {"market": "us"}, event_id=event_id)
    assert desk.tick() == []


def test_more_requests_than_runs_are_allowed_wait_in_kafka(tmp_path: Path) -> None:
    with event_desk(tmp_path, now=NOW, QUANT_EVENT_RUNS=2) as desk:
        sessions = [f"2026-03-{day:02}" for day in (9, 10, 11, 12, 13)]
        for session in sessions:
            desk.send("stock.price.sync.requested", {"market": "us", "session": session})
        late = desk.send("stock.price.sync.requested", {"market": "us", "session": sessions[0]})
        served = []
        for expected in (2, 0, 2, 1):
            asked = desk.tick(poll_seconds=0.6)
            assert len(asked) == expected
            served += [run.tags[TAG_PARTITION] for run in asked]
            if expected != 2 or len(served) == 4:
                desk.finish_runs()
        assert served == sessions  # in the order of their key
        assert f"quant.request/{late}" in desk.requested[0].tags  # no need for it to wait


def test_a_lost_cursor_repeats_nothing(desk: EventDesk) -> None:
    desk.send(COMBINED, {"market": "us"})
    assert len(desk.tick()) == 1
    desk.cursor = "{broken"
    assert desk.tick() == []


def test_old_topic_names_are_read(tmp_path: Path) -> None:
    aliases = json.dumps({"stock.analysis.requested": COMBINED})
    with event_desk(tmp_path, now=NOW, KAFKA_TOPIC_ALIASES=aliases) as desk:
        content = {
            "eventId": str(uuid.uuid4()),
            "eventType": "stock.analysis.requested",
            "timestamp": NOW.isoformat(),
            "source": "old",
            "payload": {"market": "us"},
        }
        desk.send_raw("stock.analysis.requested", json.dumps(content).encode())
        (run,) = desk.tick()
        tag = RequestTag.parse(run.tags[f"quant.request/{content['eventId']}"])
        assert tag.event_type == COMBINED
        assert tag.origin.startswith("stock.analysis.requested/")


def test_symbols_that_do_not_fit_a_tag_stay_in_kafka(desk: EventDesk) -> None:
    names = [f"SYMBOL{n:04}" for n in range(400)]
    event_id = desk.send(COMBINED, {"market": "us", "symbols": ["AAPL", *names]})
    (run,) = desk.tick()
    tag = RequestTag.parse(run.tags[f"quant.request/{event_id}"])
    assert tag.symbols_at_origin
    assert tag.symbols == ()


def test_a_new_cluster_under_the_same_settings_is_read_from_its_beginning(tmp_path: Path) -> None:
    with event_desk(tmp_path, now=NOW) as desk:
        for session in ("2026-03-17", "2026-03-18"):
            desk.send(COMBINED, {"market": "us", "session": session})
        assert len(desk.tick()) == 2
        desk.finish_runs()
        cursor = desk.cursor
    with event_desk(tmp_path, now=NOW) as desk:
        desk.cursor = cursor
        desk.send(COMBINED, {"market": "us", "session": "2026-03-19"})
        assert [run.tags[TAG_PARTITION] for run in desk.tick()] == ["2026-03-19"]


def test_a_broker_that_is_away_fails_the_tick_and_says_which(tmp_path: Path) -> None:
    with event_desk(tmp_path, now=NOW, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:9") as desk:
        with pytest.raises(TransientError, match=r"Kafka at 127\.0\.0\.1:9"):
            desk.tick()
        assert desk.cursor is None


def test_without_a_broker_the_sensor_skips_and_says_how_to_get_one(tmp_path: Path) -> None:
    with event_desk(tmp_path, now=NOW) as desk:
        assert desk.sandbox.broker is not None
        desk.sandbox.broker.stop()
        assert desk.tick() == []
        assert "quant dev" in desk.skipped
    with event_desk(tmp_path, now=NOW, QUANT_PROFILE="live", KAFKA_BOOTSTRAP_SERVERS="x:1") as desk:
        desk.settings = desk.settings.model_copy(update={"kafka_bootstrap_servers": ""})
        assert desk.tick() == []
        assert "KAFKA_BOOTSTRAP_SERVERS" in desk.skipped


def test_ticks_and_dead_letters_are_figures_in_the_ui(desk: EventDesk) -> None:
    desk.send(COMBINED, {"market": "us"})
    desk.send_raw(COMBINED_TOPIC, b"{")
    desk.tick()
    (seen,) = desk.observed
    assert seen.asset_key.path == ["kafka", "requests"]
    figures = {name: value.value for name, value in seen.metadata.items()}
    assert (figures["messages"], figures["runs"], figures["dead_letters"]) == (2, 1, 1)
    assert figures["waiting_in_kafka"] == 0
    (counted,) = desk.count_dead_letters()
    assert counted.metadata["open"].value == 1
    assert counted.metadata["open: not_json"].value == 1
    assert desk.count_dead_letters() == []  # nothing has changed


def test_whoever_says_who_he_is_gets_an_answer_to_a_wrong_message(desk: EventDesk) -> None:
    wrong = desk.send(COMBINED, {"market": "us", "threadTs": 5})
    other = desk.send(COMBINED, {"market": "us"}, eventType="command.requested")
    first = desk.send(COMBINED, {"market": "us"})
    desk.send(COMBINED, {"market": "kr"}, event_id=first)
    assert len(desk.tick()) == 1
    told = {answer["requestId"]: answer["message"] for answer in desk.answers("analysis.failed")}
    assert set(told) == {wrong, other, first}
    assert "$.payload.threadTs" in told[wrong]
    assert "each request needs its own" in told[first]


def test_tags_fit_postgres(desk: EventDesk) -> None:
    """Its index takes 2,704 bytes of key and value, and its texts no NUL."""
    hangul = ["삼" * 24 + str(n) for n in range(10)]
    long = desk.send(COMBINED, {"market": "us", "symbols": ["AAPL", *(h[:24] for h in hangul * 7)]})
    desk.send(COMBINED, {"market": "us", "threadTs": "1\u00002"})
    (run,) = desk.tick()
    tag = run.tags[f"quant.request/{long}"]
    assert len(tag.encode()) <= 2_000
    assert [letter.code for letter in desk.letters()] == ["invalid_field"]


def test_a_foreign_tag_stalls_nothing(desk: EventDesk) -> None:
    event_id = str(uuid.uuid4())
    job = desk.job("us_price")
    desk.instance.create_run_for_job(job, tags={f"quant.request/{event_id}": "mine"})
    desk.send(COMBINED, {"market": "us"}, event_id=event_id)
    desk.send(COMBINED, {"market": "kr"})
    (run,) = desk.tick()
    assert run.job_name == "kr_combined_analysis"
