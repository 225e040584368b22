"""Twenty years of ticks: what each schedule asks for, and when.

The ticks are those of Dagster's own iterator over the cron expressions, so that what is shown is
what the daemon does.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from dagster._utils.schedules import cron_string_iterator
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.checks.freshness import timetables
from quant_assets.markets import MARKETS
from quant_assets.settings import Settings
from quant_assets.timetable import MOST_CATCH_UPS, Known, Rule, decide, rules

FIRST, LAST = date(2008, 1, 1), date(2027, 12, 31)
RULES = rules()


def ticks(rule: Rule, first: date = FIRST, last: date = LAST) -> list[datetime]:
    """The ticks of a rule's schedule, as Dagster's daemon makes them."""
    start = datetime(first.year, first.month, first.day, tzinfo=UTC)
    found = []
    for tick in cron_string_iterator(start.timestamp(), rule.ticks.cron, rule.ticks.zone):
        if tick.astimezone(UTC).date() > last:
            return found
        found.append(tick.astimezone(UTC))
    raise AssertionError


def asked(rule: Rule, first: date = FIRST, last: date = LAST) -> Iterator[tuple[datetime, str]]:
    """Every tick's partitions."""
    for tick in ticks(rule, first, last):
        for key in rule.due(rule.ticks.before(tick), tick):
            yield tick, key


@pytest.mark.parametrize("name", RULES)
def test_the_tick_before_is_dagsters(name: str) -> None:
    rule = RULES[name]
    some = ticks(rule, date(2025, 12, 20), date(2026, 4, 10))
    assert all(rule.ticks.before(tick) == before for before, tick in pairwise(some))


@pytest.mark.parametrize(
    ("name", "cron", "zone"),
    [
        ("us_price", "0 9 * * 2,3,4,5,6", "UTC"),
        ("kr_price", "0 21 * * 1,2,3,4,5", "UTC"),
        ("macro_sync", "0 23 * * 0,1,2,3,4,5", "UTC"),
        ("news_crawl", "5 * * * *", "UTC"),
        ("us_combined_analysis", "45 23 * * 1,2,3,4,5", "Asia/Seoul"),
        ("kr_combined_analysis", "45 8 * * 1,2,3,4,5", "Asia/Seoul"),
    ],
)
def test_the_times_are_those_of_before(name: str, cron: str, zone: str) -> None:
    assert (RULES[name].ticks.cron, RULES[name].ticks.zone) == (cron, zone)


@pytest.mark.parametrize("key", MARKETS)
@pytest.mark.parametrize("task", ["price", "combined_analysis"])
def test_every_session_of_twenty_years_is_asked_for_once(key: str, task: str) -> None:
    market = MARKETS[key]
    counts = Counter(session for _, session in asked(RULES[f"{key}_{task}"]))
    assert set(counts.values()) == {1}
    sessions = [s.isoformat() for s in market.sessions(FIRST, LAST)]
    # The last session before the first tick was due before it, the last one is due after the end.
    assert set(sessions) - set(counts) <= set(sessions[-2:])
    assert set(counts) - set(sessions) <= {
        market.offset_session(market.sessions(FIRST, LAST)[0], -1).isoformat()
    }


@pytest.mark.parametrize("key", MARKETS)
def test_prices_are_asked_for_after_the_close_and_before_the_next_open(key: str) -> None:
    market = MARKETS[key]
    for tick, session in asked(RULES[f"{key}_price"]):
        day = date.fromisoformat(session)
        assert market.complete_at(day) <= tick < market.decision_at(day), session


def test_the_korean_analysis_is_made_before_the_open_it_is_for() -> None:
    kr = MARKETS["kr"]
    for tick, session in asked(RULES["kr_combined_analysis"]):
        day = date.fromisoformat(session)
        wait = kr.decision_at(day) - tick
        assert kr.complete_at(day) <= tick
        assert timedelta(minutes=15) <= wait <= timedelta(minutes=75), session


def test_the_us_analysis_is_made_at_quarter_to_midnight_in_seoul_after_the_open() -> None:
    us = MARKETS["us"]
    waits = Counter(
        tick - us.decision_at(date.fromisoformat(session))
        for tick, session in asked(RULES["us_combined_analysis"])
    )
    # 15 minutes after the open in winter, 75 while New York has summer time.
    assert set(waits) == {timedelta(minutes=15), timedelta(minutes=75)}
    assert waits[timedelta(minutes=75)] > waits[timedelta(minutes=15)] > 1500


@pytest.mark.parametrize(
    ("name", "session", "tick"),
    [
        (
            "us_price",
            "2025-11-28",
            "2025-11-29T09:00Z",
        ),  # closes at 13:00, the day after Thanksgiving
        ("us_price", "2026-03-06", "2026-03-07T09:00Z"),  # summer time begins on the 8th
        ("us_price", "2026-03-09", "2026-03-10T09:00Z"),
        ("us_combined_analysis", "2026-03-06", "2026-03-09T14:45Z"),
        ("us_combined_analysis", "2026-11-25", "2026-11-27T14:45Z"),  # over Thanksgiving
        ("us_combined_analysis", "2012-10-26", "2012-10-31T14:45Z"),  # over hurricane Sandy
        ("kr_price", "2026-11-19", "2026-11-19T21:00Z"),  # opens and closes an hour late
        ("kr_combined_analysis", "2026-11-18", "2026-11-18T23:45Z"),
        ("kr_combined_analysis", "2017-09-29", "2017-10-09T23:45Z"),  # ten days closed
        ("kr_price", "2026-06-02", "2026-06-02T21:00Z"),  # the 3rd is closed by decree
        ("kr_combined_analysis", "2026-06-02", "2026-06-03T23:45Z"),
    ],
)
def test_special_days(name: str, session: str, tick: str) -> None:
    at = datetime.fromisoformat(tick)
    assert RULES[name].due(RULES[name].ticks.before(at), at) == [session]


@pytest.mark.parametrize(
    ("name", "tick"),
    [
        ("us_price", "2026-11-27T09:00Z"),  # Thanksgiving is the 26th
        ("kr_price", "2026-06-03T21:00Z"),
        ("us_combined_analysis", "2026-11-26T14:45Z"),
        ("kr_combined_analysis", "2026-06-02T23:45Z"),
    ],
)
def test_on_a_closure_a_tick_asks_for_nothing_and_says_why(name: str, tick: str) -> None:
    decision = decide(RULES[name], datetime.fromisoformat(tick), Known())
    assert decision.runs == ()
    assert "closed" in decision.reason


def test_every_hour_of_news_is_asked_for_once() -> None:
    keys = [key for _, key in asked(RULES["news_crawl"], date(2026, 1, 1), date(2026, 12, 31))]
    start = datetime(2025, 12, 31, 23)
    assert keys == [f"{start + timedelta(hours=n):%Y-%m-%d-%H}" for n in range(len(keys))]
    assert len(keys) == 365 * 24


def test_news_begin_on_their_first_day() -> None:
    rule = rules(news_start=date(2026, 3, 2))["news_crawl"]
    at = datetime(2026, 3, 2, 2, 5, tzinfo=UTC)
    assert rule.due(at - timedelta(hours=9), at) == ["2026-03-02-00", "2026-03-02-01"]


def test_every_release_day_is_asked_for_and_once_more_when_it_is_over() -> None:
    counts = Counter(key for _, key in asked(RULES["macro_sync"]))
    days = [(FIRST + timedelta(days=n)).isoformat() for n in range((LAST - FIRST).days - 2)]
    assert set(days) <= set(counts)
    last_asked = {key: tick for tick, key in asked(RULES["macro_sync"])}
    for key in days:
        over = datetime.fromisoformat(key).replace(tzinfo=UTC) + timedelta(days=1, hours=6)
        assert last_asked[key] >= over, key
    assert max(counts.values()) == 2


@pytest.mark.parametrize("name", ["us_price", "kr_price", "macro_sync", "news_crawl"])
def test_nothing_is_overdue_before_its_schedule_has_asked_for_it(name: str) -> None:
    """What is said to be behind is so because a run failed, not because its hour has not come."""
    rule = RULES[name]
    deadlines = timetables(Settings(QUANT_PROFILE="live"))[rule.assets[0]]
    least = timedelta(minutes=30) if name == "news_crawl" else timedelta(hours=1)
    first_asked: dict[str, datetime] = {}
    for tick, key in asked(rule, date(2025, 1, 2), date(2026, 12, 31)):
        first_asked.setdefault(key, tick)
    del first_asked[min(first_asked)]  # may have been asked for by the tick before the first
    for key, tick in first_asked.items():
        assert deadlines.deadline(key) - tick >= least, key


def simulate(
    rule: Rule, at: list[datetime], fails: set[int], done_before: set[str] | None = None
) -> list[list[tuple[str, str]]]:
    """The runs of each tick of ``at``; every run succeeds but those of the ticks in ``fails``."""
    done = set(done_before or ())
    failures: dict[str, int] = {}
    made = []
    for n, tick in enumerate(at):
        decision = decide(rule, tick, Known(done=frozenset(done), failures=dict(failures)))
        made.append(list(decision.runs))
        keys = rule.due(tick - rule.look_back, tick)
        for first, last in decision.runs:
            spanned = [key for key in keys if first <= key <= last]
            assert spanned, (first, last)
            if n in fails:
                failures.update({key: failures.get(key, 0) + 1 for key in spanned})
            else:
                done.update(spanned)
    return made


@pytest.mark.parametrize("key", MARKETS)
def test_nothing_is_asked_for_twice_while_all_is_well(key: str) -> None:
    rule = RULES[f"{key}_price"]
    since = date(2022, 1, 1)
    runs = [run for made in simulate(rule, ticks(rule, since), set()) for run in made]
    assert len(runs) == len(set(runs)) == len(list(asked(rule, since)))
    assert all(first == last for first, last in runs)


@settings(max_examples=40)
@given(
    market=st.sampled_from(sorted(MARKETS)),
    offset=st.integers(0, 4000),
    dropped=st.sets(st.integers(1, 18)),
    repeated=st.sets(st.integers(0, 19)),
    fails=st.sets(st.integers(1, 16), max_size=2),
)
def test_whatever_ticks_are_lost_or_made_twice_each_session_is_done_once(
    market: str, offset: int, dropped: set[int], repeated: set[int], fails: set[int]
) -> None:
    rule = RULES[f"{market}_price"]
    first_day = date(2010, 1, 1) + timedelta(days=offset)
    some = ticks(rule, first_day, first_day + timedelta(days=40))
    troubled = [
        tick
        for n, tick in enumerate(some[:20])
        if n not in dropped
        for _ in range(1 + (n in repeated))
    ]
    made = simulate(rule, [*troubled, *some[20:22]], {n for n in fails if n < len(troubled)})
    assert all(len(runs) <= 1 + MOST_CATCH_UPS for runs in made), "no flood"
    wanted = [key for tick in some[:20] for key in rule.due(rule.ticks.before(tick), tick)]
    succeeded = [run for n, runs in enumerate(made) if n not in fails for run in runs]
    done = Counter(k for first, last in succeeded for k in wanted if first <= k <= last)
    assert set(done.values()) <= {1}, "nothing is done twice"
    lost = max(len(run) for run in "".join(".x"[n in dropped] for n in range(20)).split("."))
    if lost <= 5 and done:
        assert [key for key in wanted if key > min(done) and key not in done] == []


def test_five_sessions_that_were_missed_are_one_run() -> None:
    rule = RULES["us_price"]
    at = ticks(rule, date(2026, 3, 2), date(2026, 3, 14))
    made = simulate(rule, [at[0], at[6]], set())
    assert made == [
        [("2026-03-02", "2026-03-02")],
        [("2026-03-10", "2026-03-10"), ("2026-03-03", "2026-03-09")],
    ]


def test_a_new_installation_is_not_flooded() -> None:
    for name, rule in RULES.items():
        (first, last), *others = simulate(
            rule, ticks(rule, date(2026, 3, 4), date(2026, 3, 5))[:1], set()
        )[0]
        assert not others, name
        assert name == "macro_sync" or first == last


def test_what_is_under_way_or_has_no_prices_is_not_asked_for() -> None:
    tick = datetime(2026, 3, 3, 14, 45, tzinfo=UTC)
    rule = RULES["us_combined_analysis"]
    waiting = decide(rule, tick, Known(ready=frozenset()))
    assert (waiting.runs, "lacks its prices" in waiting.reason) == ((), True)
    busy = decide(rule, tick, Known(ready={"2026-03-02"}, pending={"2026-03-02"}))
    assert (busy.runs, "under way" in busy.reason) == ((), True)
    again = decide(rule, tick, Known(ready={"2026-03-02"}, done={"2026-03-02"}))
    assert again.runs == (("2026-03-02", "2026-03-02"),)
    stored = decide(
        RULES["us_price"], datetime(2026, 3, 3, 9, tzinfo=UTC), Known(done={"2026-03-02"})
    )
    assert (stored.runs, "stored already" in stored.reason) == ((), True)


def test_a_session_that_keeps_failing_is_given_up() -> None:
    rule = RULES["us_price"]
    at = ticks(rule, date(2026, 3, 2), date(2026, 3, 14))
    made = simulate(rule, at, set(range(1, 10)), {"2026-02-27"})
    tried = Counter(k for runs in made for run in runs for k in [run[0]] if k == "2026-03-03")
    assert tried["2026-03-03"] <= MOST_CATCH_UPS + 1


def test_feeds_alone_are_caught_up_with_for_a_day() -> None:
    tick = datetime(2026, 3, 3, 14, 5, tzinfo=UTC)
    known = Known(done={"2026-02-27-00"})
    for has_alpha_vantage, oldest in ((True, "2026-02-28-14"), (False, "2026-03-02-15")):
        rule = rules(has_alpha_vantage=has_alpha_vantage)["news_crawl"]
        assert decide(rule, tick, known).runs[-1][0] == oldest


def test_scattered_gaps_are_not_filled_with_what_is_stored() -> None:
    rule = RULES["news_crawl"]
    tick = datetime(2026, 3, 3, 14, 5, tzinfo=UTC)
    recent = rule.due(tick - rule.look_back, tick)
    gaps = recent[5:50:8]
    done = frozenset(recent) - {*gaps, recent[-1]}
    runs = decide(rule, tick, Known(done=done, pending={gaps[0]})).runs
    assert runs == ((recent[-1], recent[-1]), *((gap, gap) for gap in gaps[1:4]))


def test_the_first_session_of_an_installation_is_tried_again_if_it_failed() -> None:
    tick = datetime(2026, 3, 4, 9, tzinfo=UTC)
    known = Known(done={"2026-03-03"}, failures={"2026-03-02": 1})
    assert decide(RULES["us_price"], tick, known).runs == (("2026-03-02", "2026-03-02"),)


def test_the_book_catches_up_in_one_run_from_the_first_session_that_lacks() -> None:
    """However often it failed: nothing after it can be made without it."""
    rule = RULES["us_paper_trading"]
    tick = datetime(2026, 3, 12, 15, 15, tzinfo=UTC)
    keys = rule.due(tick - rule.look_back, tick)
    assert keys[-1] == "2026-03-11"
    ready, done = frozenset(keys), frozenset(keys[:-5])
    known = Known(done=done, ready=ready, failures={keys[-5]: MOST_CATCH_UPS + 1})
    assert decide(rule, tick, known).runs == ((keys[-5], keys[-1]),)
    cut = Known(done=done, ready=ready - {keys[-3]})
    assert decide(rule, tick, cut).runs == ((keys[-5], keys[-4]),)
    busy = decide(rule, tick, Known(done=done, ready=ready, pending={keys[-5]}))
    assert busy.runs == ()
    assert busy.reason == f"{keys[-5]} is under way, on which the next one rests"
    again = Known(done=frozenset(keys), ready=ready)
    assert decide(rule, tick, again).runs == ((keys[-1], keys[-1]),), "with the night's news"
    without = decide(rule, tick, Known(done=frozenset(keys[:-1]), ready=frozenset(keys[:-1])))
    assert "lacks its recommendations" in without.reason
