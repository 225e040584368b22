"""What a range of sessions needs and lacks, on a real store and a real Dagster instance."""

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets import naming
from quant_assets.cli.backfill_plan import stages
from quant_assets.cli.inputs import inputs_of
from quant_assets.cli.plan import HOURS_A_RUN, Planner
from quant_assets.cli.spans import Span, span_of, with_history
from quant_assets.cli.tasks import Cause, Reason, Task
from quant_assets.domain.forecast_config import FORECAST
from quant_assets.domain.indicator_names import LOOK_BACK_SESSIONS
from quant_assets.errors import BadConfigurationError
from quant_assets.io_managers.parquet_store import ParquetStore, empty_frame
from quant_assets.markets import FIRST_SESSION, KR, US, Market
from quant_assets.naming import TRADING
from quant_assets.partitions import MOST_RANGES, REGIME_LOOK_BACK_DAYS, key_ranges
from quant_assets.schemas import dataset_of
from quant_assets.schemas.keys import HOUR_FORMAT

NOW = datetime(2024, 7, 2, 12, 20, tzinfo=UTC)
NEWS_START = date(2022, 3, 1)
ANALYSES = ("technical_indicators", "technical_score", "news_sentiment", "recommendations")
NEWS = ("news/articles", "news/article_sentiment")


@pytest.fixture
def store(tmp_path: Path) -> ParquetStore:
    return ParquetStore(tmp_path, "sandbox")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as one:
        yield one


@pytest.fixture
def planner(store: ParquetStore, instance: dg.DagsterInstance) -> Planner:
    return Planner(store, instance, NOW)


def _span(market: Market, first: str, last: str) -> Span:
    return span_of(market, date.fromisoformat(first), date.fromisoformat(last), NOW)


def _have(
    store: ParquetStore,
    instance: dg.DagsterInstance,
    assets: Sequence[str],
    keys: Sequence[str],
    written_at: datetime | None = None,
) -> None:
    """Store partitions and tell the instance of them."""
    for asset in assets:
        dataset = dataset_of(asset)
        for key in keys:
            written = store.write(dataset, asset, key, empty_frame(dataset), "1")
            if written_at is not None:
                os.utime(written.address, (written_at.timestamp(), written_at.timestamp()))
            instance.report_runless_asset_event(
                dg.AssetMaterialization(asset_key=asset.split("/"), partition=key)
            )


def _analyses(market: str) -> tuple[str, ...]:
    return tuple(f"{market}/{name}" for name in ANALYSES)


def _combined(tasks: Sequence[Task]) -> list[tuple[str, str, int]]:
    """Ranges of the markets' analysis among ``tasks``."""
    combined = [task for task in tasks if task.job.endswith("_combined_analysis")]
    return [(task.first, task.last, task.partitions) for task in combined]


def test_ranges_are_runs_of_neighbours_that_lack() -> None:
    keys = list("abcdefgh")
    assert key_ranges(keys, set()) == []
    assert key_ranges(keys, set(keys)) == [keys]
    assert key_ranges(keys, {"a", "b", "e", "h"}) == [["a", "b"], ["e"], ["h"]]
    assert key_ranges(keys, {"z", "c"}) == [["c"]]
    assert key_ranges([], {"a"}) == []


def test_many_gaps_become_one_range_from_the_first_to_the_last() -> None:
    keys = [f"{n:03d}" for n in range(100)]
    gaps = {f"{n:03d}" for n in range(10, 10 + 2 * MOST_RANGES, 2)}
    assert key_ranges(keys, gaps) == [[gap] for gap in sorted(gaps)]
    more = {*gaps, "090"}
    assert key_ranges(keys, more) == [keys[10:91]]


@given(lacking=st.sets(st.integers(0, 60)))
def test_ranges_cover_what_lacks_in_order(lacking: set[int]) -> None:
    keys = [f"{n:02d}" for n in range(60)]
    wanted = {f"{n:02d}" for n in lacking} & set(keys)
    parts = key_ranges(keys, {f"{n:02d}" for n in lacking})
    flat = [key for part in parts for key in part]
    assert flat == sorted(set(flat))
    assert wanted <= set(flat)
    assert len(parts) <= MOST_RANGES
    if len(parts) > 1:
        assert set(flat) == wanted


def test_a_span_is_the_complete_sessions_of_a_range() -> None:
    newest = US.last_complete_session(NOW)
    assert newest == date(2024, 7, 1)
    year = span_of(US, None, None, NOW)
    assert year.sessions[-1] == newest
    assert year.sessions[0] == date(2023, 7, 3)
    assert span_of(US, date(2024, 6, 27), date(2024, 12, 31), NOW).sessions == (
        date(2024, 6, 27), date(2024, 6, 28), date(2024, 7, 1),
    )  # fmt: skip
    assert span_of(KR, date(2024, 7, 1), None, NOW).sessions[-1] == date(2024, 7, 2)
    until_june = span_of(US, None, date(2024, 6, 28), NOW, default_days=5)
    assert until_june.sessions[0] == date(2024, 6, 24)


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        (date(2024, 7, 2), None, "2024-07-02 to 2024-07-01.*last one is 2024-07-01"),
        (date(2024, 6, 29), date(2024, 6, 30), "2024-06-29 to 2024-06-30"),
        (date(2024, 6, 28), date(2024, 6, 27), "2024-06-28 to 2024-06-27"),
        (date(1999, 12, 31), None, "2000-01-03"),
    ],
)
def test_a_span_without_complete_sessions_is_refused(
    first: date, last: date | None, said: str
) -> None:
    with pytest.raises(BadConfigurationError, match=said):
        span_of(US, first, last, NOW)


@pytest.mark.parametrize("market", [US, KR], ids=["us", "kr"])
def test_the_first_session_brings_its_look_back(market: Market) -> None:
    span = _span(market, "2024-06-03", "2024-06-28")
    sessions = with_history(span)
    assert sessions[-len(span.sessions) :] == list(span.sessions)
    assert len(sessions) == len(span.sessions) + LOOK_BACK_SESSIONS - 1
    assert sessions == market.sessions(sessions[0], sessions[-1])


def test_the_look_back_begins_with_the_calendar() -> None:
    span = _span(US, "2000-03-01", "2000-03-31")
    assert with_history(span)[0] == FIRST_SESSION


def test_everything_is_planned_where_nothing_is_stored(planner: Planner) -> None:
    span = _span(US, "2024-06-24", "2024-06-28")
    tasks = planner.fetching([span], NEWS_START)
    by_job = {(task.job, task.assets): task for task in tasks}
    prices = by_job["us_price", ("us/prices",)]
    assert (prices.last, prices.partitions) == ("2024-06-28", LOOK_BACK_SESSIONS + 4)
    news = by_job["news_crawl", NEWS]
    # From the open of the session before (21 June, 13:30) to that of the one after (1 July, 13:30).
    assert (news.first, news.last) == ("2024-06-21-10", "2024-07-01-13")
    assert news.partitions == 10 * 24 + 4
    observations = by_job["macro_sync", ("macro/observations",)]
    first = date(2024, 6, 24) - timedelta(days=REGIME_LOOK_BACK_DAYS)
    assert (observations.first, observations.last) == (first.isoformat(), "2024-06-28")
    assert tasks[0].job == "news_crawl"
    assert len(tasks) == 3
    regime, analysis = planner.analysis([span])
    week = ("2024-06-24", "2024-06-28", 5)
    assert regime == Task("macro_sync", ("macro/regime",), *week)
    assert analysis == Task("us_combined_analysis", _analyses("us"), *week)
    assert analysis.title == "us_combined_analysis 2024-06-24 .. 2024-06-28"


def test_the_news_cover_the_decision_windows_of_every_market(planner: Planner) -> None:
    spans = [_span(US, "2024-06-28", "2024-06-28"), _span(KR, "2024-06-28", "2024-06-28")]
    news = [task for task in planner.fetching(spans, NEWS_START) if task.job == "news_crawl"]
    # Korea opens at 00:00 UTC the day before, the US open three days later; news of the three
    # hours before may become known in the window.
    assert (news[0].first, news[-1].last) == ("2024-06-26-21", "2024-07-01-13")
    needed = {
        hour.strftime(HOUR_FORMAT)
        for span in spans
        for hour in _hours_of_decision(span.market, span.sessions[0])
    }
    planned = _hours(news[0].first, news[-1].last)
    assert needed <= set(planned)


def _hours_of_decision(market: Market, session: date) -> list[datetime]:
    start = market.hours_of(market.offset_session(session, -1))[0].replace(minute=0)
    count = int((market.decision_at(session) - start) / timedelta(hours=1)) + 1
    hours = [start + timedelta(hours=n) for n in range(count)]
    return [hour for hour in hours if hour < market.decision_at(session)]


def _hours(first: str, last: str) -> list[str]:
    start, end = (datetime.strptime(key, HOUR_FORMAT) for key in (first, last))
    count = int((end - start) / timedelta(hours=1)) + 1
    return [(start + timedelta(hours=n)).strftime(HOUR_FORMAT) for n in range(count)]


def test_news_end_with_the_last_hour_that_is_over(planner: Planner) -> None:
    tasks = planner.fetching([_span(US, "2024-07-01", "2024-07-01")], NEWS_START)
    assert tasks[0].last == "2024-07-02-11"
    macro = [task for task in tasks if task.job == "macro_sync"]
    assert [task.last for task in macro] == ["2024-07-01"]


def test_a_release_day_that_goes_on_is_left_for_tomorrow(planner: Planner) -> None:
    today = _span(KR, "2024-07-02", "2024-07-02")
    fetching = planner.fetching([today], NEWS_START)
    assert [t.last for t in fetching if t.job == "macro_sync"] == ["2024-07-01"]
    assert {t.job for t in planner.analysis([today])} == {"kr_combined_analysis"}


def test_news_begin_with_their_first_day(planner: Planner) -> None:
    span = _span(US, "2024-06-24", "2024-06-28")
    assert planner.fetching([span], date(2024, 6, 26))[0].first == "2024-06-26-00"
    later = planner.fetching([span], date(2024, 7, 2))
    assert "news_crawl" not in {task.job for task in later}


def test_the_first_session_of_all_has_none_before_it(planner: Planner) -> None:
    span = _span(US, "2000-01-03", "2000-01-07")
    tasks = planner.fetching([span], NEWS_START)
    assert {task.job for task in tasks} == {"us_price", "macro_sync"}
    assert [task.first for task in tasks if task.job == "us_price"] == ["2000-01-03"]


def test_hours_are_done_in_chunks(planner: Planner) -> None:
    span = _span(US, "2024-01-02", "2024-06-28")
    news = [task for task in planner.fetching([span], NEWS_START) if task.job == "news_crawl"]
    assert [task.partitions for task in news[:-1]] == [HOURS_A_RUN] * (len(news) - 1)
    assert 0 < news[-1].partitions <= HOURS_A_RUN
    planned = [hour for task in news for hour in _hours(task.first, task.last)]
    assert planned == _hours("2023-12-29-11", "2024-07-01-13")


def test_what_is_stored_and_known_is_not_planned(
    planner: Planner, store: ParquetStore, instance: dg.DagsterInstance
) -> None:
    span = _span(US, "2024-06-03", "2024-06-07")
    keys = [session.isoformat() for session in span.sessions]
    _have(store, instance, [*_analyses("us"), "macro/regime"], keys)
    assert planner.analysis([span]) == []
    _have(store, instance, NEWS, _hours("2024-06-08-00", "2024-06-10-13"))
    tasks = planner.fetching([span], date(2024, 6, 8))
    assert {task.job for task in tasks} == {"us_price", "macro_sync"}
    assert "news_crawl" in {task.job for task in planner.fetching([span], date(2024, 6, 7))}


def test_a_file_that_is_gone_is_planned_again(
    planner: Planner, store: ParquetStore, instance: dg.DagsterInstance
) -> None:
    span = _span(US, "2024-06-03", "2024-06-07")
    keys = [session.isoformat() for session in span.sessions]
    _have(store, instance, _analyses("us"), keys)
    store.delete("us/technical_score", [keys[1], keys[3]])
    tasks = planner.analysis([span])
    assert _combined(tasks) == [(keys[1], keys[1], 1), (keys[3], keys[3], 1)]
    assert tasks[-1].title == f"us_combined_analysis {keys[3]}"


def test_a_file_that_dagster_does_not_know_is_planned_again(
    planner: Planner, store: ParquetStore, instance: dg.DagsterInstance
) -> None:
    span = _span(KR, "2024-06-03", "2024-06-07")
    keys = [session.isoformat() for session in span.sessions]
    _have(store, instance, _analyses("kr"), keys[:2])
    dataset = dataset_of("kr/recommendations")
    for asset in _analyses("kr"):
        for key in keys[2:]:
            store.write(dataset_of(asset), asset, key, empty_frame(dataset_of(asset)), "1")
    assert "2024-06-06" not in keys  # Memorial Day
    assert len(store.read(dataset, "kr/recommendations", keys)) == 0
    assert _combined(planner.analysis([span])) == [(keys[2], keys[-1], len(keys) - 2)]


def test_many_gaps_are_done_in_one_run(
    planner: Planner, store: ParquetStore, instance: dg.DagsterInstance
) -> None:
    span = _span(US, "2024-04-15", "2024-05-31")
    keys = [session.isoformat() for session in span.sessions]
    _have(store, instance, _analyses("us"), keys)
    store.delete("us/recommendations", keys[4 : 4 + 2 * (MOST_RANGES + 1) : 2])
    assert _combined(planner.analysis([span])) == [
        (keys[4], keys[4 + 2 * MOST_RANGES], 2 * MOST_RANGES + 1)
    ]


def test_news_stored_after_a_sentiment_make_it_again(
    planner: Planner, store: ParquetStore, instance: dg.DagsterInstance
) -> None:
    """The window of 1 July is open until 2 July 13:30; that of 24 June has long been closed."""
    span = _span(US, "2024-06-24", "2024-07-01")
    keys = [session.isoformat() for session in span.sessions]
    made = datetime(2024, 7, 2, 12, 0, tzinfo=UTC)
    _have(store, instance, _analyses("us"), keys, made)
    assert _combined(planner.analysis([span])) == []
    _have(store, instance, ["news/article_sentiment"], ["2024-07-02-11"], made + timedelta(hours=1))
    assert _combined(planner.analysis([span])) == [("2024-07-01", "2024-07-01", 1)]
    _have(store, instance, ["news/article_sentiment"], ["2024-07-02-14"], made + timedelta(hours=3))
    assert _combined(planner.analysis([span])) == [("2024-07-01", "2024-07-01", 1)]


def test_history_filled_in_later_makes_the_results_again(
    planner: Planner, store: ParquetStore, instance: dg.DagsterInstance
) -> None:
    span = _span(US, "2024-06-24", "2024-07-01")
    keys = [session.isoformat() for session in span.sessions]
    made = datetime(2024, 7, 2, 12, 0, tzinfo=UTC)
    _have(store, instance, _analyses("us"), keys, made)
    _have(store, instance, ["us/prices"], ["2024-06-26"], made + timedelta(minutes=1))
    assert _combined(planner.analysis([span])) == [("2024-06-26", "2024-07-01", 4)]


def test_another_configuration_makes_the_results_again(
    store: ParquetStore, instance: dg.DagsterInstance
) -> None:
    span = _span(US, "2024-06-24", "2024-07-01")
    keys = [session.isoformat() for session in span.sessions]
    _have(store, instance, _analyses("us"), keys, NOW)
    stored = store.info("us/recommendations", keys[0]).code_version
    same = Planner(store, instance, NOW, {"us/recommendations": stored})
    assert _combined(same.analysis([span])) == []
    other = Planner(store, instance, NOW, {"us/recommendations": "1-other"})
    assert _combined(other.analysis([span])) == [(keys[0], keys[-1], len(keys))]


def test_each_market_is_planned_by_itself(planner: Planner) -> None:
    spans = [_span(US, "2024-06-24", "2024-06-28"), _span(KR, "2024-06-26", "2024-06-28")]
    assert [(t.job, t.first, t.partitions) for t in planner.analysis(spans)] == [
        ("macro_sync", "2024-06-24", 5),
        ("us_combined_analysis", "2024-06-24", 5),
        ("kr_combined_analysis", "2024-06-26", 3),
    ]
    fetching = planner.fetching(spans, NEWS_START)
    assert [t.job for t in fetching if t.job.endswith("_price")] == ["us_price", "kr_price"]
    assert len([t for t in fetching if t.job == "macro_sync"]) == 1


def test_articles_scored_in_another_way_are_scored_again_and_not_fetched(
    store: ParquetStore, instance: dg.DagsterInstance
) -> None:
    span = _span(US, "2024-06-27", "2024-06-28")
    first = Planner(store, instance, NOW).fetching([span], NEWS_START)
    crawl = next(task for task in first if task.job == "news_crawl")
    hours = _hours(crawl.first, crawl.last)
    _have(store, instance, NEWS, hours[:-2])
    same = Planner(store, instance, NOW, {NEWS[1]: "1"}).fetching([span], NEWS_START)
    assert [task for task in same if task.job == "news_crawl"] == [
        Task("news_crawl", NEWS, hours[-2], hours[-1], 2)
    ]
    other = Planner(store, instance, NOW, {NEWS[1]: "2-abc"}).fetching([span], NEWS_START)
    assert [task for task in other if task.job == "news_crawl"] == [
        Task("news_crawl", NEWS, hours[-2], hours[-1], 2),
        Task("news_crawl", NEWS[1:], hours[0], hours[-3], len(hours) - 2),
    ]


def _reasons(tasks: Sequence[Task]) -> dict[tuple[str, str], str]:
    return {(write.asset, write.partition): write.reason for task in tasks for write in task.writes}


def test_each_partition_has_its_reason(
    planner: Planner, store: ParquetStore, instance: dg.DagsterInstance
) -> None:
    span = _span(US, "2024-06-24", "2024-06-28")
    keys = [session.isoformat() for session in span.sessions]
    made = datetime(2024, 6, 29, tzinfo=UTC)
    _have(store, instance, _analyses("us"), keys[1:], made)
    store.delete("us/recommendations", [keys[1]])
    _have(store, instance, ["us/prices"], [keys[4]], made + timedelta(hours=1))
    prices = dataset_of("us/prices")
    store.write(prices, "us/prices", keys[3], empty_frame(prices), "1")
    os.utime(store.path("us/prices", keys[3]), (made.timestamp() - 9, made.timestamp() - 9))
    first, last = planner.recommendations(span)
    assert _reasons([first]) == {
        **{(asset, keys[0]): "missing" for asset in _analyses("us")},
        **{(asset, keys[1]): "along" for asset in _analyses("us")},
        ("us/recommendations", keys[1]): "missing",
    }
    assert first.why == "2 not stored"
    assert set(_reasons([last]).values()) == {"older_than_inputs"}
    assert last.writes[0].detail == f"us/prices {keys[4]} is newer"
    assert last.why == "older than what it rests on"
    (unknown,) = planner.prices(US, span.sessions[3:])
    assert _reasons([unknown]) == {("us/prices", keys[3]): "unknown_to_dagster"}


def test_what_will_be_fetched_makes_results_older_than_it(
    planner: Planner, store: ParquetStore, instance: dg.DagsterInstance
) -> None:
    """A dry run says before what the run will find after its fetches."""
    span = _span(US, "2024-06-24", "2024-07-01")
    keys = [session.isoformat() for session in span.sessions]
    _have(store, instance, _analyses("us"), keys, NOW)
    assert planner.recommendations(span) == []
    fetching = planner.prices(US, [date(2024, 6, 27)])
    later = planner.after(fetching).recommendations(span)
    assert [(task.first, task.last) for task in later] == [("2024-06-27", "2024-07-01")]
    assert later[0].writes[0].detail == "us/prices 2024-06-27 will be newer"
    news = planner.after(planner.news(["2024-07-01-20"])).recommendations(span)
    assert [(task.first, task.last) for task in news] == [("2024-07-01", "2024-07-01")]


def test_macro_days_bring_the_holes_behind_them_and_no_history(
    planner: Planner, store: ParquetStore, instance: dg.DagsterInstance
) -> None:
    both = ("macro/observations", "macro/regime")
    days = (date(2024, 6, 28), date(2024, 6, 29))
    assert planner.macro(*days) == [Task("macro_sync", both, "2024-06-28", "2024-06-29", 2)]
    _have(store, instance, both, ["2024-06-24", "2024-06-26"], NOW)
    assert [(t.first, t.last) for t in planner.macro(*days)] == [
        ("2024-06-25", "2024-06-25"),
        ("2024-06-27", "2024-06-29"),
    ]
    _have(store, instance, both, ["2024-06-25", "2024-06-27", "2024-06-28", "2024-06-29"], NOW)
    assert planner.macro(*days) == []
    assert _reasons(planner.macro(*days, force=True))[both[0], "2024-06-28"] == "forced"
    store.delete("macro/regime", ["2024-06-29"])
    assert planner.macro(*days) == [Task("macro_sync", both[1:], "2024-06-29", "2024-06-29", 1)]
    before = datetime(2024, 6, 29, 5, tzinfo=UTC)
    _have(store, instance, both[:1], ["2024-06-28"], before)
    store.write(dataset_of(both[1]), both[1], "2024-06-29", empty_frame(dataset_of(both[1])), "1")
    again = _reasons(planner.macro(*days))
    assert again[both[0], "2024-06-28"] == "day_was_not_over"
    assert again[both[1], "2024-06-29"] == "older_than_inputs"


def test_a_backfill_of_scattered_holes_makes_nothing_else() -> None:
    keys = [f"2024-05-{day:02}" for day in range(1, 32)]
    holes = keys[::2]
    assert len(holes) > MOST_RANGES
    why = dict.fromkeys(holes, Cause(Reason.MISSING))
    finder = SimpleNamespace(due=lambda asset, wanted, pending: why)
    (tasks,) = stages(finder, {"macro/observations": keys})
    assert [(task.first, task.last) for task in tasks] == [(key, key) for key in holes]


def _traded(store: ParquetStore, instance: dg.DagsterInstance, keys: Sequence[str]) -> None:
    """Store the analysis and the book of sessions, one session after the other."""
    for n, key in enumerate(keys):
        at = NOW + timedelta(minutes=n)
        _have(store, instance, ["us/prices", *(f"us/{a}" for a in ANALYSES)], [key], at)
        _have(store, instance, [f"us/{name}" for name in (*naming.FORECAST, *TRADING)], [key], at)


def test_the_book_is_made_again_from_its_first_outdated_session_to_its_end(
    planner: Planner, store: ParquetStore, instance: dg.DagsterInstance
) -> None:
    keys = [day.isoformat() for day in US.sessions(date(2024, 6, 3), date(2024, 6, 14))]
    _traded(store, instance, keys)
    span = _span(US, keys[0], keys[5])
    assert planner.trading(span) == []
    _have(store, instance, ["us/recommendations"], [keys[3]], NOW + timedelta(hours=1))
    (task,) = planner.trading(span)
    assert (task.job, task.first, task.last) == ("us_paper_trading", keys[3], keys[-1])
    causes = {(write.asset, write.partition): write for write in task.writes}
    assert causes["us/signals", keys[3]].reason is Reason.OLDER
    assert {key for _, key in causes} == set(keys[3:]), "what is stored beyond the span, too"


def test_the_book_ends_before_a_session_without_recommendations(
    planner: Planner, store: ParquetStore, instance: dg.DagsterInstance
) -> None:
    keys = [day.isoformat() for day in US.sessions(date(2024, 6, 3), date(2024, 6, 7))]
    _have(store, instance, ["us/recommendations"], [*keys[:2], *keys[3:]])
    (task,) = planner.trading(_span(US, keys[0], keys[-1]))
    assert (task.first, task.last) == (keys[0], keys[1])


def test_signals_rest_on_the_regime(
    planner: Planner, store: ParquetStore, instance: dg.DagsterInstance
) -> None:
    keys = [day.isoformat() for day in US.sessions(date(2024, 6, 3), date(2024, 6, 5))]
    _traded(store, instance, keys)
    _have(store, instance, ["macro/regime"], ["2024-06-01"], NOW + timedelta(hours=1))
    (task,) = planner.trading(_span(US, keys[0], keys[-1]))
    assert task.first == keys[0]


def test_a_forecast_rests_on_its_session_and_on_what_its_month_learned_from() -> None:
    """Not on the sessions in between: those may be made again without it."""
    keys = [day.isoformat() for day in US.sessions(date(2022, 1, 3), date(2024, 6, 28))]
    key, refit = "2024-06-20", keys.index("2024-06-03")
    places: dict[str, list[str]] = {}
    for asset, partition in inputs_of("us/return_forecast", key):
        places.setdefault(asset, []).append(partition)
    learned = keys[refit - FORECAST.gap - FORECAST.training_sessions + 1 :][:500]
    assert learned[-1] == keys[refit - 12]
    for name in ("technical_indicators", "technical_score", "news_sentiment"):
        assert sorted(places[f"us/{name}"]) == [*learned, key]
    assert sorted(places["us/prices"]) == [*learned, *keys[refit - 11 : refit - 5]]
    days = places["macro/regime"]
    assert {key, learned[0], learned[-1], "2024-06-15"} <= set(days)
    assert "2024-06-10" not in days
    judged = set(inputs_of("us/forecast_skill", key))
    assert ("us/return_forecast", keys[keys.index(key) - 257]) in judged
    assert ("us/return_forecast", keys[keys.index(key) - 258]) not in judged
    assert len(judged) == 3 * 258
    assert list(inputs_of("us/return_forecast", "2000-01-03"))[-1] == ("macro/regime", "2000-01-03")


def test_forecasts_are_made_again_with_the_book(
    planner: Planner, store: ParquetStore, instance: dg.DagsterInstance
) -> None:
    keys = [day.isoformat() for day in US.sessions(date(2024, 6, 3), date(2024, 6, 7))]
    _traded(store, instance, keys)
    assert planner.trading(_span(US, keys[0], keys[-1])) == []
    learned = US.offset_session(date(2024, 6, 3), -FORECAST.gap).isoformat()
    _have(store, instance, ["us/technical_indicators"], [learned], NOW + timedelta(hours=1))
    (task,) = planner.trading(_span(US, keys[2], keys[-1]))
    causes = {(write.asset, write.partition): write for write in task.writes}
    assert causes["us/return_forecast", keys[2]].reason is Reason.OLDER
    assert learned in causes["us/return_forecast", keys[2]].detail
    ignored = US.offset_session(date(2024, 6, 3), 1 - FORECAST.gap).isoformat()
    _traded(store, instance, keys)
    store.delete("us/technical_indicators", [learned])
    _have(store, instance, ["us/technical_indicators"], [ignored], NOW + timedelta(hours=1))
    assert planner.trading(_span(US, keys[2], keys[-1])) == []
