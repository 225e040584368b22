"""From messages to rows and from messages to runs, without a broker and without Dagster."""

import json
import re
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from quant_assets.assets.news_stream import StreamedOffsets
from quant_assets.domain.article_identity import article_id
from quant_assets.domain.streamed_articles import Streamed, StreamedArticle, stream_articles
from quant_assets.errors import BadConfigurationError
from quant_assets.events.envelope import EventDecoder
from quant_assets.events.reading import Record
from quant_assets.events.topics import TopicNames
from quant_assets.io_managers.parquet_store import empty_frame
from quant_assets.schemas import dataset_of
from quant_assets.sensors.articles import Plan, plan_runs, stretches

DATASET = dataset_of("news/streamed_articles")
TEN = datetime(2024, 6, 28, 10, tzinfo=UTC)
URL = "https://news.example/a"
TOPIC = TopicNames().topic("news.article.collected")


def _article(minutes: float = 30, url: str = URL, **changes: Any) -> StreamedArticle:
    """An article whose message came ``minutes`` after ten, published an hour before."""
    sent_at = TEN + timedelta(minutes=minutes)
    given = {
        "title": "Apple beats expectations",
        "summary": "A summary.",
        "source": "Example",
        "published_at": sent_at - timedelta(hours=1),
        "tickers": ("AAPL",),
        "origin": f"{TOPIC}/0/7",
        "received_at": sent_at,
        **changes,
    }
    return StreamedArticle(url=url, sent_at=sent_at, **given)


def test_an_article_is_not_known_before_the_platform_has_read_it() -> None:
    """Whoever sends may set the message's time: it must not reach decisions of the past."""
    read_at = TEN + timedelta(days=3)
    (row,) = _stream([_article(30, received_at=read_at)]).rows.to_dict("records")
    assert (row["hour"], row["first_seen_at"], row["available_at"]) == (TEN, read_at, read_at)


def _stream(
    articles: Sequence[StreamedArticle],
    stored: pd.DataFrame | None = None,
    known: dict[str, datetime] | None = None,
) -> Streamed:
    start = empty_frame(DATASET) if stored is None else stored
    found = stream_articles(articles, stored=start, known=known or {})
    return found._replace(rows=DATASET.conform(found.rows, "news/streamed_articles"))


def _one(article: StreamedArticle, **how: Any) -> Any:
    (row,) = _stream([article], **how).rows.itertuples(index=False)
    return row


def test_an_article_belongs_to_the_hour_of_its_message_and_is_known_from_then() -> None:
    sent_at = TEN + timedelta(minutes=59, seconds=59)
    row = _one(_article(59 + 59 / 60))
    assert row.hour == TEN
    assert row.first_seen_at == row.available_at == sent_at
    assert row.published_at == sent_at - timedelta(hours=1)
    assert (row.provider, row.is_backfilled, row.is_date_estimated) == ("kafka", False, False)
    assert json.loads(row.tickers) == ["AAPL"]
    assert json.loads(row.provider_sentiment) == [
        {"symbol": "AAPL", "relevance": None, "score": None}
    ]


def test_an_article_is_not_known_before_it_is_published() -> None:
    ahead = _article(30, published_at=TEN + timedelta(minutes=38))
    assert _one(ahead).available_at == TEN + timedelta(minutes=38)


def test_old_news_are_known_from_their_message_and_keep_their_date() -> None:
    row = _one(_article(30, published_at=TEN - timedelta(days=20)))
    assert row.hour == TEN
    assert row.published_at == TEN - timedelta(days=20)
    assert row.available_at == TEN + timedelta(minutes=30)


def test_the_first_message_of_an_article_counts_however_it_is_linked() -> None:
    later = _article(40, url=f"http://www.news.example/a?utm_source=x&ref={uuid.uuid4()}")
    found = _stream([later, _article(20), _article(50, title="Another headline")])
    assert found.rows["first_seen_at"].tolist() == [TEN + timedelta(minutes=20)]
    assert found.rows["article_id"].tolist() == [article_id(URL)]
    assert found.repeated == 2


def test_an_undated_article_of_today_by_its_address_counts_as_published_when_it_came() -> None:
    row = _one(_article(30, url="https://news.example/2024/06/28/a", published_at=None))
    assert row.is_date_estimated
    assert row.published_at == row.available_at == TEN + timedelta(minutes=30)


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("undated", {"published_at": None}),
        ("undated", {"published_at": None, "url": "https://news.example/2024/06/27/a"}),
        ("future", {"published_at": TEN + timedelta(minutes=41)}),
        ("future", {"published_at": datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)}),
        ("too_old", {"published_at": datetime(1989, 12, 31, tzinfo=UTC)}),
        ("too_old", {"published_at": datetime(1, 1, 1, tzinfo=UTC)}),
        ("no_title", {"title": " \t"}),
        ("no_address", {"url": "http://[::1"}),
    ],
)
def test_a_doubtful_article_is_held_with_the_rule_and_what_was_sent(
    rule: str, changes: dict[str, Any]
) -> None:
    found = _stream([_article(30, **changes)])
    assert found.rows.empty
    (one,) = found.refused
    assert (one.rule, one.hour) == (rule, TEN)
    assert one.item.raw["message"] == f"{TOPIC}/0/7"
    is_releasable = rule not in ("no_title", "no_address")
    assert (one.row is not None) == is_releasable
    if one.row is not None:
        assert one.row["available_at"] == one.row["published_at"] == TEN + timedelta(minutes=30)
        assert one.row["is_date_estimated"]
        DATASET.conform(pd.DataFrame([one.row]), "a released row")


def test_an_article_is_held_once_and_not_where_another_message_gives_it_well() -> None:
    undated = _article(30, published_at=None)
    assert len(_stream([undated, _article(70, published_at=None)]).refused) == 1
    assert _stream([undated, _article(45)]).refused == []
    assert _stream([undated], known={article_id(URL): TEN}).refused == []


def test_what_was_known_before_the_message_is_not_news_any_more() -> None:
    before, after = TEN + timedelta(minutes=29), TEN + timedelta(minutes=31)
    assert _stream([_article(30)], known={article_id(URL): before}).rows.empty
    assert len(_stream([_article(30)], known={article_id(URL): after}).rows) == 1


def test_reading_the_same_messages_again_changes_nothing() -> None:
    articles = [_article(n, url=f"{URL}/{n}") for n in (5, 25, 65)]
    once = _stream(articles)
    again = _stream([*articles, _article(70, url=f"{URL}/5", title="Corrected")], once.rows)
    assert_frame_equal(again.rows, once.rows)
    assert (once.repeated, again.repeated) == (0, 4)


_messages = st.lists(
    st.builds(
        lambda second, name, dated: _article(
            second / 60, url=f"{URL}/{name}", published_at=TEN if dated else None
        ),
        st.integers(0, 3 * 3600),
        st.sampled_from("abcdef"),
        st.booleans(),
    ),
    max_size=12,
    unique_by=lambda one: one.sent_at,
)


@hypothesis_settings(max_examples=30)
@given(messages=_messages, data=st.data())
def test_neither_order_nor_batches_change_the_rows(
    messages: list[StreamedArticle], data: st.DataObject
) -> None:
    whole = _stream(messages).rows
    assert_frame_equal(_stream(data.draw(st.permutations(messages))).rows, whole)
    ordered = sorted(messages, key=lambda one: one.sent_at)
    cut = data.draw(st.integers(0, len(ordered)))
    first = _stream(ordered[:cut]).rows
    assert_frame_equal(_stream(ordered[cut:], first).rows, whole)


def _record(
    hours: float, offset: int, partition: int = 0, value: bytes | None = None, topic: str = TOPIC
) -> Record:
    """A message that came ``hours`` after ten o'clock, by default with an article."""
    payload = {"url": f"{URL}/{partition}/{offset}", "title": "t", "source": "s"}
    event = {
        "eventId": str(uuid.uuid4()),
        "eventType": "news.article.collected",
        "timestamp": TEN.isoformat(),
        "source": "test",
        "payload": payload,
    }
    content = json.dumps(event).encode() if value is None else value
    milliseconds = int((TEN + timedelta(hours=hours)).timestamp() * 1000)
    message = Message(
        topic=topic, partition=partition, offset=offset, value=content, timestamp=(1, milliseconds)
    )
    return Record(message)


def _plan(records: Sequence[Record], *, now_hours: float = 12, room: int = 4) -> Plan:
    return plan_runs(
        records,
        EventDecoder(TopicNames()),
        first_hour=TEN,
        now=TEN + timedelta(hours=now_hours),
        room=room,
    )


def _runs(plan: Plan) -> list[tuple[int, int, dict[int, tuple[int, int]]]]:
    """First and last hour after ten, and the ranges, of each run."""
    hour = timedelta(hours=1)
    return [
        ((run.first - TEN) // hour, (run.last - TEN) // hour, dict(run.ranges[TOPIC]))
        for run in plan.runs
    ]


def test_neighbouring_hours_are_one_run_and_hours_without_messages_are_in_none() -> None:
    hours = (0.1, 1.9, 2.0, 7.5, 0.5)
    records = [_record(hour, offset) for offset, hour in enumerate(hours, start=3)]
    records.append(_record(7.9, 0, partition=1))
    plan = _plan(records)
    assert _runs(plan) == [(0, 2, {0: (3, 8)}), (7, 7, {0: (6, 7), 1: (0, 1)})]
    assert plan.taken == records
    assert plan.letters == []


def test_a_partition_is_left_where_more_runs_than_free_were_needed() -> None:
    records = [_record(0, 0), _record(3, 1), _record(6, 2), _record(0, 3)]
    plan = _plan([*records, _record(3.5, 9, partition=1)], room=2)
    assert _runs(plan) == [(0, 0, {0: (0, 1)}), (3, 3, {0: (1, 2), 1: (9, 10)})]
    assert [r.origin.offset for r in plan.taken] == [0, 1, 9]


@given(
    hours=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 11)), max_size=30),
    room=st.integers(1, 4),
)
def test_every_message_is_in_one_run_of_its_hour_and_reading_goes_on(
    hours: list[tuple[int, int]], room: int
) -> None:
    records, offsets = [], [0, 0, 0]
    for partition, hour in hours:
        records.append(_record(hour, offsets[partition], partition))
        offsets[partition] += 1
    left, seen, ticks = records, [], 0
    while left:
        plan = _plan(left, room=room)
        assert 1 <= len(plan.runs) <= room
        for record in plan.taken:
            place, offset = record.origin.partition, record.origin.offset
            covering = [
                run
                for run in plan.runs
                if run.first <= record.sent_at <= run.last
                and run.ranges[TOPIC].get(place, (0, 0))[0] <= offset
                and offset < run.ranges[TOPIC].get(place, (0, 0))[1]
            ]
            assert len(covering) == 1
        covered = {h for run in plan.runs for h in _span(run.first, run.last)}
        assert covered == {r.sent_at for r in plan.taken}
        seen += plan.taken
        left = [record for record in left if record not in plan.taken]
        for partition in range(3):
            mine = [r.origin.offset for r in seen if r.origin.partition == partition]
            assert mine == list(range(len(mine))), "no message is passed over"
        ticks += 1
        assert ticks <= len(records)


def _span(first: datetime, last: datetime) -> list[datetime]:
    return [first + timedelta(hours=n) for n in range((last - first) // timedelta(hours=1) + 1)]


@pytest.mark.parametrize(
    ("record", "code", "said"),
    [
        (_record(0, 0, value=b"\xff"), "not_utf8", "byte 0"),
        (_record(0, 0, value=b"{"), "not_json", "JSON"),
        (_record(0, 0, value=b'{"eventId": 1}'), "invalid_field", r"\$\.eventId"),
        (_record(0, 0, value=b" " * 2_000_000), "too_large", "2000000 bytes"),
        (_record(-1, 0), "message_time", "QUANT_NEWS_START"),
        (_record(12.2, 0), "message_time", "in the future"),
    ],
)
def test_a_message_that_is_no_article_is_a_letter_and_stalls_nothing(
    record: Record, code: str, said: str
) -> None:
    plan = _plan([record, _record(0.5, 1)])
    (letter,) = plan.letters
    assert (letter.code, letter.origin, letter.value) == (code, record.origin, record.value)
    assert re.search(said, letter.reason)
    assert (letter.attempts, letter.first_at) == (1, record.sent_at)
    assert _runs(plan) == [(0, 0, {0: (1, 2)})]
    assert len(plan.taken) == 2


def test_a_message_of_the_hour_to_come_waits_for_it() -> None:
    records = [_record(12.9, 0), _record(13.05, 1), _record(12.95, 2)]
    early = _plan(records, now_hours=12.97)
    assert [r.origin.offset for r in early.taken] == [0]
    assert _runs(_plan(records[1:], now_hours=13.0)) == [(12, 13, {0: (1, 3)})]


def test_a_run_key_is_that_of_its_messages() -> None:
    records = [_record(0.5, 0), _record(1.5, 1, partition=1)]
    (run,) = _plan(records).runs
    assert run.key == _plan(list(reversed(records))).runs[0].key
    assert run.key.startswith("2024-06-28-10:")
    others = [
        _plan([*records, _record(1.7, 1)]).runs[0].key,
        _plan([_record(0.6, 0), _record(1.5, 1, partition=1)]).runs[0].key,
        _plan(records[:1]).runs[0].key,
    ]
    assert len({run.key, *others}) == 4


def test_stretches_end_where_an_hour_is_absent() -> None:
    hours = [TEN + timedelta(hours=n) for n in (5, 0, 1, 3)]
    assert [len(part) for part in stretches(hours)] == [2, 1, 1]
    assert stretches([]) == []


@pytest.mark.parametrize("partition", ["x", "-1", ""])
def test_a_config_that_is_no_range_is_refused(partition: str) -> None:
    with pytest.raises(BadConfigurationError, match=r"news__streamed_articles\.config\.ranges"):
        StreamedOffsets(ranges={TOPIC: {partition: [0, 1]}}).parsed()


@pytest.mark.parametrize("offsets", [[], [1], [1, 2, 3], [2, 1], [-1, 5]])
def test_offsets_that_are_no_range_are_refused(offsets: list[int]) -> None:
    with pytest.raises(BadConfigurationError, match="offset after the last"):
        StreamedOffsets(ranges={TOPIC: {"0": offsets}}).parsed()
