"""Every fault of Alpha Vantage and of a feed, through a real crawl of a live hour.

For each fault: the outcome of the source, the number of requests, the rows stored, what is held in
quarantine and what the quality check says. No fault loses a good row of another source, none is
silent, and a crawl without the fault afterwards leaves the same rows as one that never saw it.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from quant_assets.assets import news
from quant_assets.definitions import build_defs
from quant_assets.io_managers.quarantine import Quarantine
from quant_assets.policies import VENDOR_RETRY
from quant_assets.resources import ClockResource, RssResource, build_resources
from quant_assets.sandbox import locate
from quant_assets.sandbox.faults import Fault
from quant_assets_tests.integration.campaign import wait_until
from quant_assets_tests.platform import NOW, Platform, platform
from quant_assets_tests.unit.scripted_server import Reply, ScriptedServer

HOUR = "2026-03-20-02"
ARTICLES = "news/articles"
GENERAL = "alpha_vantage general feed"
TICKERS = ("AAPL", "JPM", "MSFT")
ROWS_WITHOUT_ALPHA_VANTAGE = 102
ROWS_WITHOUT_COMPANIES = 44
"""Of the 102 rows of a clean crawl with the sandbox's seed 7 at ``NOW``."""
ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


@dataclass(frozen=True)
class Case:
    """A fault and what must follow from it.

    ``told`` stands in the outcome of the source; ``requests`` count those to the vendor (Alpha
    Vantage) or to the feed; ``held`` counts rules in quarantine.
    """

    name: str
    kind: str
    told: str
    requests: int
    held: dict[str, int] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    severity: dg.AssetCheckSeverity = ERROR

    def fault(self, endpoint: str, **where: Any) -> Fault:
        return Fault(endpoint, self.kind, **where, **self.options)


FAILED_FEED = {"source_failed": 1}
FAILED_ALL = {"source_failed": 1 + len(TICKERS)}
ALPHA_VANTAGE = [
    Case("429", "status", "TransientError", 4, FAILED_FEED, {"code": 429}),
    Case(
        "429 with Retry-After, then well",
        "status",
        "12 articles",
        4 + 2,
        {},
        {"code": 429, "retry_after": 1, "times": 2},
    ),
    Case("401", "status", "PermanentError", 4, FAILED_ALL, {"code": 401}),
    Case("404", "status", "PermanentError", 4, FAILED_ALL, {"code": 404}),
    Case("500 HTML", "status", "TransientError", 4, FAILED_FEED, {"code": 500, "body": "html"}),
    Case("timeout", "delay", "no answer in time", 4, FAILED_FEED, {"seconds": 3}),
    Case("reset", "reset", "connection failed", 4, FAILED_FEED),
    Case("truncated", "truncated", "broke off", 4, FAILED_FEED),
    Case("malformed", "malformed", "not valid JSON", 4, FAILED_FEED),
    Case("no body", "empty", "not valid JSON", 4, FAILED_FEED, {"body": True}),
    Case("empty", "empty", "0 articles", 4, {"feed_silent": 1}, {}, WARN),
    Case(
        "wrong types", "malformed", "1 articles", 4, {"no_address": 1}, {"wrong_types": True}, WARN
    ),
    Case("duplicate", "duplicate", "12 articles", 4),
    Case("half the tickers", "half", "12 articles", 10, {"source_failed": 2}, {"code": 500}, WARN),
    Case("quota", "quota", "QuotaExhaustedError", 1, FAILED_FEED),
    Case("rate", "rate", "calls per second", 3, FAILED_FEED),
]
FEED = [
    Case("429", "status", "TransientError", 4, FAILED_FEED, {"code": 429}),
    Case(
        "429 with Retry-After, then well",
        "status",
        "60 articles",
        3,
        {},
        {"code": 429, "retry_after": 1, "times": 2},
    ),
    Case("401", "status", "PermanentError", 1, FAILED_FEED, {"code": 401}),
    Case("404", "status", "PermanentError", 1, FAILED_FEED, {"code": 404}),
    Case("500 HTML", "status", "TransientError", 4, FAILED_FEED, {"code": 500, "body": "html"}),
    Case("timeout", "delay", "no answer in time", 4, FAILED_FEED, {"seconds": 3}),
    Case("reset", "reset", "connection failed", 4, FAILED_FEED),
    Case("truncated", "truncated", "broke off", 1, FAILED_FEED),
    Case("malformed", "malformed", "not an RSS or Atom feed", 1, FAILED_FEED),
    Case("no body", "empty", "not an RSS or Atom feed", 1, FAILED_FEED, {"body": True}),
    Case("empty", "empty", "a feed without entries", 1, FAILED_FEED),
    Case("silent", "late", "60 articles", 1, {"feed_silent": 1}, {"hours": 240}, WARN),
    Case("duplicate", "duplicate", "60 articles", 1),
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(news, "VENDOR_RETRY", VENDOR_RETRY._replace(delay=0.01))
        home = tmp_path_factory.mktemp("home")
        with platform(home, QUANT_ALPHA_VANTAGE_TICKERS=",".join(TICKERS)) as p:
            yield p


@pytest.fixture(scope="module")
def clean(shared: Platform) -> pd.DataFrame:
    """What a crawl stores that sees no fault."""
    forget(shared)
    assert verdict(crawl(shared)) == (True, {})
    return shared.read(ARTICLES)


@pytest.fixture
def p(shared: Platform, clean: pd.DataFrame) -> Platform:
    locate.record(shared.settings.home_dir, shared.sandbox)
    forget(shared)
    return shared


def forget(p: Platform) -> None:
    """Empty the platform: nothing stored, refused, cached or scripted."""
    p.sandbox.faults.clear()
    p.sandbox.requests.clear()
    for folder in (p.settings.data_dir, p.settings.home_dir / "cache", p.settings.raw_dir):
        shutil.rmtree(folder, ignore_errors=True)


def crawl(p: Platform, **options: Any) -> dg.ExecuteInProcessResult:
    return p.run("news_crawl", HOUR, **options)


def crawl_with(p: Platform, case: Case) -> dg.ExecuteInProcessResult:
    """A crawl that meets the case; it does not wait long where no answer will come."""
    if case.kind != "delay":
        return crawl(p)
    settings = p.settings.model_copy(update={"vendor_timeout_seconds": 1.0})
    resources = {**build_resources(settings), "clock": ClockResource(fixed_now=NOW.isoformat())}
    return crawl(replace(p, defs=build_defs(settings, resource_overrides=resources)))


def sources(p: Platform) -> dict[str, str]:
    """Outcome of each source of the last crawl."""
    event = p.instance.get_latest_materialization_event(dg.AssetKey(ARTICLES.split("/")))
    assert event is not None
    assert event.asset_materialization is not None
    table = str(event.asset_materialization.metadata["sources"].value)
    assert p.settings.alpha_vantage_key() not in table
    return dict(line.strip("| ").split(" | ", 1) for line in table.splitlines()[2:])


def evaluation(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    return next(
        e
        for e in result.get_asset_check_evaluations()
        if e.check_name == "quality" and e.asset_key.path[-1] == "articles"
    )


def verdict(result: dg.ExecuteInProcessResult) -> tuple[bool, dict[str, int]]:
    """What the quality check says: passed, and how often each rule was broken."""
    found = evaluation(result)
    rows = str(found.metadata["rows"].value).splitlines()[2:] if "rows" in found.metadata else []
    return found.passed, dict(Counter(row.strip("| ").split(" | ")[0] for row in rows))


def requests_of(p: Platform, case: Case, endpoint: str, subject: str | None = None) -> int:
    """Requests made; late answers are recorded late, none is left to the next test."""

    def recorded() -> int:
        return sum(
            entry.endpoint == endpoint and subject in (None, entry.subject)
            for entry in p.sandbox.requests
        )

    if case.kind == "delay":
        hits = p.sandbox.faults.all()[0].hits
        wait_until(lambda: recorded() == hits, 60, "the record of the late answers")
    return recorded()


def assert_follows(p: Platform, case: Case, result: dg.ExecuteInProcessResult, source: str) -> None:
    assert case.told in sources(p)[source]
    assert verdict(result) == (not case.held, case.held)
    if case.held:
        assert evaluation(result).severity == case.severity


def assert_recovers(p: Platform, clean: pd.DataFrame) -> None:
    """A crawl without the fault stores what is missing and forgets what was held for it."""
    p.sandbox.faults.clear()
    result = crawl(p)
    rows = p.read(ARTICLES)
    assert set(rows["article_id"]) == set(clean["article_id"])
    assert rows["article_id"].is_unique
    left = set(verdict(result)[1])
    assert left <= {"no_address", "undated"}, "only what the vendor did not give well again"


def by_provider(clean: pd.DataFrame, provider: str) -> set[str]:
    return set(clean.loc[clean["provider"] == provider, "article_id"])


@pytest.mark.parametrize("case", ALPHA_VANTAGE, ids=lambda case: case.name)
def test_a_fault_of_alpha_vantage(p: Platform, clean: pd.DataFrame, case: Case) -> None:
    p.sandbox.faults.add(case.fault("alpha_vantage"))
    result = crawl_with(p, case)
    assert_follows(p, case, result, GENERAL)
    assert requests_of(p, case, "alpha_vantage") == case.requests
    stored = set(p.read(ARTICLES)["article_id"])
    assert by_provider(clean, "rss") <= stored <= set(clean["article_id"])
    is_well = case.told == "12 articles"
    assert len(stored) == (len(clean) if is_well else ROWS_WITHOUT_ALPHA_VANTAGE)
    assert_recovers(p, clean)


@pytest.mark.parametrize("case", FEED, ids=lambda case: case.name)
def test_a_fault_of_a_feed(p: Platform, clean: pd.DataFrame, case: Case) -> None:
    p.sandbox.faults.add(case.fault("rss", feeds=["companies"]))
    result = crawl_with(p, case)
    assert_follows(p, case, result, "rss 127.0.0.1/rss/companies.xml")
    assert requests_of(p, case, "rss", "companies") == case.requests
    stored = set(p.read(ARTICLES)["article_id"])
    assert by_provider(clean, "alpha_vantage") <= stored <= set(clean["article_id"])
    assert len(stored) == (ROWS_WITHOUT_COMPANIES if case.held else len(clean))
    assert_recovers(p, clean)


def test_half_of_the_feeds_are_down(p: Platform, clean: pd.DataFrame) -> None:
    p.sandbox.faults.add(Fault("rss", "status", code=404, feeds=["markets", "korea"]))
    result = crawl(p)
    assert verdict(result) == (False, {"source_failed": 2})
    assert sources(p)["rss 127.0.0.1/rss/companies.xml"] == "60 articles"
    assert_recovers(p, clean)


def test_a_feed_whose_dates_say_nothing(p: Platform, clean: pd.DataFrame) -> None:
    """Of its articles, those whose address names the day are stored, the others held."""
    p.sandbox.faults.add(Fault("alpha_vantage", "quota"))
    p.sandbox.faults.add(Fault("rss", "malformed", wrong_types=True, feeds=["companies"]))
    result = crawl(p)
    rows, held = p.read(ARTICLES), p_held(p)
    estimated = rows[rows["is_date_estimated"]]
    assert len(estimated) > 0
    assert (estimated["available_at"] == pd.Timestamp(NOW)).all()
    assert estimated["url"].str.contains("/2026/03/20/").all()
    undated = held[held["rule"] == "undated"]
    assert undated["reason"].str.contains("the day before yesterday").all()
    assert not undated["item"].str.contains("/2026/03/20/").any()
    assert len(estimated) + len(undated) == 60
    assert verdict(result) == (False, {"source_failed": 1, "undated": min(len(undated), 49)})
    assert evaluation(result).metadata["held_articles"].value == len(undated)
    assert set(clean["url"]) <= set(rows["url"]) | set(undated["item"])
    crawl(p)
    pd.testing.assert_frame_equal(p_held(p), held)
    pd.testing.assert_frame_equal(p.read(ARTICLES), rows)
    assert_recovers(p, clean)


def p_held(p: Platform) -> pd.DataFrame:
    return Quarantine(p.store, ARTICLES).held([HOUR])


def test_a_held_article_is_held_once_and_can_be_let_in(p: Platform, clean: pd.DataFrame) -> None:
    p.sandbox.faults.add(Fault("rss", "malformed", wrong_types=True, feeds=["companies"]))
    crawl(p)
    quarantine = Quarantine(p.store, ARTICLES)
    first, second = p_held(p)["item"].tolist()[:2]
    released = quarantine.release(HOUR, [first], "1")
    assert (released["published_at"] == pd.Timestamp(NOW)).all()
    stored = p.read(ARTICLES)
    assert first in set(stored["url"])
    with platform(
        p.settings.home_dir,
        now=NOW + timedelta(hours=1),
        QUANT_ALPHA_VANTAGE_TICKERS="AAPL",
    ) as later:
        later.sandbox.faults.add(Fault("rss", "malformed", wrong_types=True, feeds=["companies"]))
        later.run("news_crawl", "2026-03-20-03")
        again = set(quarantine.held(["2026-03-20-03"])["item"])
        assert first not in again
        assert second not in again, "held in the hour before"
        later.store.delete(ARTICLES, [HOUR])
        later.run("news_crawl", HOUR)
        assert first in set(later.read(ARTICLES, HOUR)["url"]), "what was let in stays in"
        assert second not in set(later.read(ARTICLES, HOUR)["url"])


def test_articles_that_a_feed_shows_late_are_stored_when_they_come(
    p: Platform, clean: pd.DataFrame
) -> None:
    p.sandbox.faults.add(Fault("rss", "late", hours=6))
    crawl(p)
    fewer = p.read(ARTICLES)
    recent = clean[clean["published_at"] > pd.Timestamp(NOW - timedelta(hours=6))]
    late = set(recent.loc[recent["provider"] == "rss", "article_id"])
    assert late
    assert not late & set(fewer["article_id"])
    p.sandbox.faults.clear()
    crawl(p)
    assert set(clean["article_id"]) | set(fewer["article_id"]) == set(
        p.read(ARTICLES)["article_id"]
    )


def test_every_source_down_is_retried_and_nothing_is_stored(p: Platform) -> None:
    p.sandbox.faults.add(Fault("alpha_vantage", "quota"))
    p.sandbox.faults.add(Fault("rss", "truncated"))
    result = crawl(p, check=False)
    assert not result.success
    retried = [
        e for e in result.all_events if e.event_type == dg.DagsterEventType.STEP_UP_FOR_RETRY
    ]
    assert len(retried) == VENDOR_RETRY.max_retries
    assert p.files(ARTICLES) == {}


def break_cache(p: Platform) -> None:
    for path in (p.settings.home_dir / "cache" / "feeds").iterdir():
        path.write_bytes(b"damage")


def keep_cache(p: Platform) -> None:
    assert list((p.settings.home_dir / "cache" / "feeds").iterdir())


@pytest.mark.parametrize(("damage", "status"), [(keep_cache, 304), (break_cache, 200)])
def test_a_crawl_killed_before_it_stored_loses_nothing(
    p: Platform, clean: pd.DataFrame, damage: Callable[[Platform], None], status: int
) -> None:
    """The feeds answer that nothing has changed; what they showed is read from the cache."""
    crawl(p)
    p.store.delete(ARTICLES, [HOUR])
    damage(p)
    p.sandbox.requests.clear()
    crawl(p)
    assert set(p.read(ARTICLES)["article_id"]) == set(clean["article_id"])
    statuses = {entry.status for entry in p.sandbox.requests if entry.endpoint == "rss"}
    assert statuses == {status}


def test_an_unreadable_hour_is_made_again(p: Platform, clean: pd.DataFrame) -> None:
    crawl(p)
    p.store.path(ARTICLES, HOUR).write_bytes(b"PAR1 not really")
    crawl(p)
    assert set(p.read(ARTICLES)["article_id"]) == set(clean["article_id"])


def test_no_key_is_written_anywhere(p: Platform) -> None:
    p.sandbox.faults.add(Fault("alpha_vantage", "quota"))
    crawl(p)
    key = p.settings.alpha_vantage_key().encode()
    files = [path for path in Path(p.settings.home_dir).rglob("*") if path.is_file()]
    assert len(files) > 5
    assert [path.name for path in files if key in path.read_bytes()] == []


class OneFeed(RssResource):
    """The feeds of the settings replaced by one."""

    address: str

    def feeds(self) -> tuple[str, ...]:
        return (self.address,)


def feed_of(title: str, minutes: int) -> bytes:
    published = format_datetime(NOW - timedelta(minutes=minutes), usegmt=True)
    return (
        f'<rss version="2.0"><channel><title>Publisher</title><item><title>{title}</title>'
        "<link>https://publisher.example/2026/03/20/a</link>"
        f"<pubDate>{published}</pubDate></item></channel></rss>"
    ).encode()


def test_an_article_that_was_revised_stays_as_it_was_first_seen(tmp_path: Path) -> None:
    """A later headline or date would change what was known then."""
    shown = [feed_of("Apple profit rises", 60)]
    with ScriptedServer(lambda _: Reply(shown[0])) as server:
        override = {"rss": OneFeed(values={"QUANT_HOME": str(tmp_path)}, address=server.url)}
        with platform(tmp_path, overrides=override) as p:
            p.sandbox.faults.add(Fault("alpha_vantage", "empty"))
            crawl(p)
            before = p.files(ARTICLES)
            shown[0] = feed_of("Apple profit falls", 30)
            crawl(p)
            assert p.files(ARTICLES) == before
            assert p.read(ARTICLES)["title"].tolist() == ["Apple profit rises"]
