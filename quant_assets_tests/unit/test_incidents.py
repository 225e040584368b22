"""Incidents: one from the first look to the last, however often it is looked."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.notices.incidents import (
    LINES_A_REPLY,
    MAX_ITEMS_TOLD,
    MAX_NOTES,
    MAX_OPEN,
    TEXT_LIMIT,
    Finding,
    Incident,
    delivered,
    duration,
    is_over,
    reconcile,
)
from quant_assets.notices.reports import due_mail, incident_mail, incident_thread, mail_name
from quant_assets.notices.thread import ThreadState

START = datetime(2026, 11, 20, 21, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
TICK = 30 * SECOND


def finding(at: datetime = START, **fields: Any) -> Finding:
    known = {
        "key": "run:us_price",
        "severity": "critical",
        "title": "us_price fails",
        "text": "Yahoo had no bars of the last session.",
        "seen_at": at,
        "items": {"a1": "2026-11-20: BadDataError: no bars"},
        "link": "http://127.0.0.1:3000/runs/a1",
    }
    return Finding(**{**known, **fields})


def told(incident: Incident) -> Incident:
    """The incident after everything of it was delivered."""
    view = incident_thread(incident, "#quant-alerts")
    posted = (*incident.thread.posted, *(post.key for post in view.posts))
    state = ThreadState("C1", "1.0", "1.0", "hash", posted, is_done=view.is_ended)
    return delivered(incident, state)


def only(incidents: tuple[Incident, ...]) -> Incident:
    (incident,) = incidents
    return incident


def line(incident: Incident) -> str:
    return incident_thread(incident, "#quant-alerts").line.text


def test_fifty_looks_at_the_same_thing_are_one_incident_that_is_told_once() -> None:
    incidents: tuple[Incident, ...] = ()
    lines, posts, mails = [], [], []
    for number in range(50):
        now = START + number * TICK
        incidents = reconcile(incidents, [finding(now)], now)
        incident = only(incidents)
        lines.append(line(incident))
        posts += [post.key for post in incident_thread(incident, "#a").posts]
        if (kind := due_mail(incident)) is not None:
            mails.append(kind)
            incident = msgspec.structs.replace(incident, mailed=(mail_name(incident, kind),))
        incidents = (told(incident),)
    assert posts == ["d1", "i1"]
    assert mails == ["opened"]
    assert len(set(lines)) == 1, "a line that does not change is not edited"
    over = only(reconcile(incidents, [], START + 50 * TICK))
    view = incident_thread(over, "#a")
    assert view.is_ended
    assert [post.key for post in view.posts] == ["r1"]
    assert "Resolved after 25 min" in view.posts[0].message.text
    assert view.line.text.startswith(":white_check_mark: *us_price fails*")
    assert due_mail(over) == "resolved"


def test_the_line_tells_severity_count_and_times() -> None:
    first = only(reconcile((), [finding()], START))
    assert line(first) == (
        ":rotating_light: *us_price fails* (critical · since 2026-11-20 21:00 UTC)"
    )
    later = finding(START + 7 * MINUTE, count=3, severity="warning")
    second = only(reconcile((first,), [later], START + 8 * MINUTE))
    assert line(second) == (
        ":warning: *us_price fails* (warning · 3 × · since 2026-11-20 21:00 UTC · "
        "last 2026-11-20 21:07 UTC)"
    )
    assert second.filed_as == "critical", "the thread stays where it began"
    over = only(reconcile((second,), [], START + 80 * MINUTE))
    assert "resolved 2026-11-20 22:20 UTC · lasted 1 h 20 min" in line(over)


def test_a_text_that_stands_in_a_line_is_not_told_twice() -> None:
    said = finding(text="no bars", items={"a1": "2026-11-20: no bars"})
    (post,) = incident_thread(only(reconcile((), [said], START)), "#a").posts
    assert post.message.text == "2026-11-20: no bars"


def test_new_details_wait_for_each_other() -> None:
    items = {"a": "first"}
    incidents = (told(only(reconcile((), [finding(items=items)], START))),)
    replies = []
    for number in range(1, 61):
        items = {**items, f"n{number}": f"line {number}"}
        now = START + number * TICK
        incidents = reconcile(incidents, [finding(now, items=items, count=number + 1)], now)
        view = incident_thread(only(incidents), "#a")
        replies += [(number, post.key) for post in view.posts]
        incidents = (told(only(incidents)),)
    assert [number for number, _ in replies] == [20, 40, 60]
    assert "61 ×" in line(only(incidents))
    assert len(only(incidents).told) == MAX_ITEMS_TOLD
    note = incident_thread(
        only(reconcile((), [finding(items={str(n): f"l{n}" for n in range(30)})], START)), "#a"
    ).posts[1]
    assert note.message.text.count("\n") == LINES_A_REPLY
    assert "and 20 more" in note.message.text


def test_what_waits_is_told_when_it_is_over() -> None:
    incident = told(only(reconcile((), [finding()], START)))
    more = finding(START + MINUTE, items={"a1": "one", "a2": "two"}, count=2)
    incident = only(reconcile((incident,), [more], START + MINUTE))
    assert incident_thread(incident, "#a").posts == ()
    over = only(reconcile((incident,), [], START + 2 * MINUTE))
    assert [post.key for post in incident_thread(over, "#a").posts] == ["i2", "r1"]


def test_what_comes_back_within_an_hour_goes_on_in_its_thread() -> None:
    first = told(only(reconcile((), [finding(count=2)], START)))
    over = told(only(reconcile((first,), [], START + 10 * MINUTE)))
    assert over.thread.is_done
    again = reconcile((over,), [finding(START + 30 * MINUTE, items={})], START + 30 * MINUTE)
    incident = only(again)
    assert incident.thread_key == first.thread_key
    assert not incident.thread.is_done
    assert incident.count == 3
    (post,) = incident_thread(incident, "#a").posts
    assert "Again after 20 min" in post.message.text
    assert due_mail(incident) == "opened"
    assert mail_name(incident, "opened") != mail_name(first, "opened")


def test_what_comes_back_later_is_a_new_thread() -> None:
    over = only(reconcile(reconcile((), [finding()], START), [], START + MINUTE))
    later = START + 62 * MINUTE
    old, new = reconcile((over,), [finding(later)], later)
    assert old == over
    assert new.thread_key != old.thread_key
    assert new.is_open


def test_what_comes_and_goes_is_not_told_each_time() -> None:
    """A source that flaps every minute for three hours."""
    incidents: tuple[Incident, ...] = ()
    mails = posts = 0
    for number in range(180):
        now = START + number * MINUTE
        incidents = reconcile(incidents, [finding()] if number % 2 == 0 else [], now)
        incident = only(incidents)
        posts += len(incident_thread(incident, "#a").posts)
        if (kind := due_mail(incident)) is not None:
            mails += 1
            name = mail_name(incident, kind)
            incident = msgspec.structs.replace(incident, mailed=(*incident.mailed, name))
        incidents = (told(incident),)
    assert mails == 3
    assert posts == 4
    assert only(incidents).is_open


def test_a_source_that_cannot_look_ends_nothing() -> None:
    incidents = reconcile((), [finding(), finding(key="stale:us")], START)
    after = reconcile(incidents, [], START + MINUTE, unknown={"run"})
    assert {i.key: i.is_open for i in after} == {"run:us_price": True, "stale:us": False}


def test_what_is_no_longer_watched_is_closed_and_says_why() -> None:
    incidents = reconcile((), [finding()], START)
    later = START + timedelta(days=7, hours=1)
    closing = finding(closing="nothing new for 7 days")
    over = only(reconcile(incidents, [closing], later))
    assert not over.is_open
    assert "Closed after 7 days 1 h: nothing new for 7 days" in (
        incident_thread(over, "#a").posts[-1].message.text
    )
    assert reconcile((), [closing], later) == (), "nothing is opened to be closed"


def test_an_incident_is_forgotten_an_hour_after_it_was_told_or_after_a_week() -> None:
    over = only(reconcile(reconcile((), [finding()], START), [], START + MINUTE))
    assert not is_over(over, START + 60 * MINUTE, is_told=True)
    assert is_over(over, START + 61 * MINUTE, is_told=True)
    assert not is_over(over, START + timedelta(days=6), is_told=False)
    assert is_over(over, START + timedelta(days=8), is_told=False)


def test_mails_name_the_first_one() -> None:
    incident = only(reconcile((), [finding(title="us_price\nfails")], START))
    opened = incident_mail(incident, "opened")
    assert opened.subject == "[quant critical] us_price\nfails"
    assert "2026-11-20: BadDataError: no bars" in opened.text
    assert opened.text.endswith("http://127.0.0.1:3000/runs/a1")
    assert opened.in_reply_to == ""
    mailed = msgspec.structs.replace(incident, mailed=(opened.name,))
    over = only(reconcile((mailed,), [], START + MINUTE))
    resolved = incident_mail(over, "resolved")
    assert resolved.subject.startswith("[quant resolved]")
    assert resolved.in_reply_to == opened.name
    assert "lasted 1 min" in resolved.text
    unmailed = msgspec.structs.replace(over, mailed=())
    assert due_mail(unmailed) == "resolved", "one mail, not two"
    assert incident_mail(unmailed, "resolved").in_reply_to == ""


def test_hostile_texts_stay_texts() -> None:
    evil = "<!channel> <https://evil.example|click> ```rm``` *bold* \x1b[2J\u202e & @here"
    made = only(reconcile((), [finding(title=evil, text=evil * 200, items={"x": evil})], START))
    view = incident_thread(made, "#a")
    for message in (view.line, *(post.message for post in view.posts)):
        assert "<!channel>" not in message.text
        assert "<https://evil" not in message.text
        assert "```" not in message.text
        assert "\x1b" not in message.text
        assert "\u202e" not in message.text
        assert len(message.text) <= 3000


def test_a_message_is_whole_after_a_round_trip_through_the_record() -> None:
    incident = told(only(reconcile((), [finding()], START)))
    text = msgspec.json.encode(incident)
    assert msgspec.json.decode(text, type=Incident) == incident


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (86_400, "1 day"),
        (273_600, "3 days 4 h"),
    ],
)
def test_durations_in_words(seconds: int, said: str) -> None:
    assert duration(timedelta(seconds=seconds)) == said


@given(
    st.lists(
        st.tuples(
            st.sets(st.sampled_from(["run:a", "run:b", "stale:us"])),
            st.sets(st.integers(0, 99), max_size=8),
            st.integers(1, 5000),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_whatever_is_seen_each_key_is_open_at_most_once_and_nothing_grows(
    looks: list[tuple[set[str], set[int], int, bool]],
) -> None:
    incidents: tuple[Incident, ...] = ()
    now = START
    keys_told: dict[str, list[str]] = {}
    for keys, items, seconds, is_delivered in looks:
        now += timedelta(seconds=seconds)
        seen = [finding(now, key=key, items={str(i): f"l{i}" for i in items}) for key in keys]
        incidents = reconcile(incidents, seen, now)
        still_open = [i.key for i in incidents if i.is_open]
        assert len(still_open) == len(set(still_open))
        assert keys <= set(still_open)
        for incident in incidents:
            assert len(incident.notes) <= MAX_NOTES
            assert len(incident.told) + len(incident.waiting) <= MAX_ITEMS_TOLD
        if is_delivered:
            for incident in incidents:
                posts = [post.key for post in incident_thread(incident, "#a").posts]
                keys_told.setdefault(incident.thread_key, []).extend(posts)
            incidents = tuple(told(incident) for incident in incidents)
        incidents = tuple(i for i in incidents if not is_over(i, now, is_told=is_delivered))
    for posts in keys_told.values():
        assert len(posts) == len(set(posts))


def test_what_is_over_takes_no_room_and_the_gravest_comes_first() -> None:
    few = [finding(key=f"run:{n}", severity="info") for n in range(MAX_OPEN)]
    over = reconcile(reconcile((), few, START), [], START + MINUTE)
    assert not any(incident.is_open for incident in over)
    many = [finding(key=f"stale:{n}", severity="info") for n in range(MAX_OPEN)]
    after = reconcile(over, [*many, finding(key="run:new")], START + 2 * MINUTE)
    still_open = [incident for incident in after if incident.is_open]
    assert len(still_open) == MAX_OPEN
    assert still_open[0].key == "run:new"


def test_a_text_from_anywhere_can_be_kept() -> None:
    said = "\ud800" + "x" * 5000
    incident = only(reconcile((), [finding(title=said, text=said, items={said: said})], START))
    assert len(msgspec.json.encode(incident)) < 7 * (TEXT_LIMIT + 10)


def test_a_clock_that_was_set_back_keeps_no_reply_waiting() -> None:
    incident = told(only(reconcile((), [finding()], START)))
    early = START - timedelta(days=1)
    more = finding(early, items={"a1": "one", "a2": "two"}, count=2)
    incident = only(reconcile((incident,), [more], early))
    assert [post.key for post in incident_thread(incident, "#a").posts] == ["i2"]
