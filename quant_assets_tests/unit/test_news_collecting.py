"""Which hours may be stored after a source broke off, and what the check makes of failures."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from quant_assets.assets.news import hours_between
from quant_assets.assets.news_collecting import (
    GENERAL_FEED,
    Collection,
    Outcome,
    complete_hours,
)
from quant_assets.checks.news import quality_result
from quant_assets.domain.collected import CollectedItem
from quant_assets.errors import (
    BadDataError,
    PermanentError,
    QuantAssetsError,
    QuotaExhaustedError,
    TransientError,
)

START = datetime(2026, 3, 10, tzinfo=UTC)
HOURS = [START + timedelta(hours=n) for n in range(10)]
LONG_AFTER = START + timedelta(days=9)
LIVE = HOURS[-1] + timedelta(minutes=65)
RSS = "rss publisher.example/feed"


def item(name: str) -> CollectedItem:
    return CollectedItem("rss", f"https://a.example/{name}", name, "", "", START)


def broken(error: QuantAssetsError, reached: float | None, *answered: str) -> Collection:
    """The general feed broke off ``reached`` hours after the start."""
    found = Collection(errors={GENERAL_FEED: error})
    found.outcomes.append(Outcome(GENERAL_FEED, "failed", str(error)))
    found.outcomes += [Outcome(name, "answered", "5 articles") for name in answered]
    found.reached = None if reached is None else START + timedelta(hours=reached)
    return found


def test_the_keys_of_a_range_are_its_hours() -> None:
    assert hours_between("2026-03-10-00", "2026-03-10-09") == HOURS
    assert hours_between("2026-03-10-00", "2026-03-10-00") == HOURS[:1]


@pytest.mark.parametrize(("reached", "count"), [(3.0, 3), (3.99, 3), (1.0, 1), (9.5, 9)])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (QuotaExhaustedError("used up"), QuotaExhaustedError),
        (TransientError("down"), TransientError),
        (BadDataError("shape"), PermanentError),
    ],
)
def test_the_hours_before_the_break_are_whole(
    reached: float, count: int, error: QuantAssetsError, kind: type[Exception]
) -> None:
    whole, failure = complete_hours(broken(error, reached), HOURS, LONG_AFTER)
    assert whole == HOURS[:count]
    assert type(failure) is kind
    assert f"from 2026-03-10 {count:02}:00 UTC are not" in str(failure)
    assert f"Ask again from 2026-03-10-{count:02}" in str(failure)


@pytest.mark.parametrize("reached", [None, 0.0, 0.9])
def test_without_a_whole_hour_the_error_is_raised(reached: float | None) -> None:
    with pytest.raises(TransientError, match="cannot be filled from RSS"):
        complete_hours(broken(TransientError("down"), reached), HOURS, LONG_AFTER)


def test_live_hours_are_stored_with_what_a_feed_showed() -> None:
    found = broken(QuotaExhaustedError("used up"), None, RSS)
    assert complete_hours(found, HOURS, LIVE) == (HOURS, None)
    with pytest.raises(PermanentError, match="used up"):
        complete_hours(found, HOURS, LONG_AFTER)


def test_live_hours_without_any_feed_are_not_stored_as_if_complete() -> None:
    with pytest.raises(QuotaExhaustedError):
        complete_hours(broken(QuotaExhaustedError("used up"), 0.5), HOURS, LIVE)
    whole, failure = complete_hours(broken(TransientError("down"), 4.0), HOURS, LIVE)
    assert (whole, type(failure)) == (HOURS[:4], TransientError)


def test_a_general_feed_that_answered_completes_every_hour() -> None:
    found = Collection(outcomes=[Outcome(GENERAL_FEED, "answered", "0 articles")])
    assert complete_hours(found, HOURS, LONG_AFTER) == (HOURS, None)


def test_what_came_before_a_failure_is_kept() -> None:
    def answers() -> Iterator[list[CollectedItem]]:
        yield [item("a"), item("b")]
        raise TransientError("the third page is missing")

    found = Collection()
    assert not found.ask("source", answers())
    assert [one.title for one in found.items] == ["a", "b"]
    assert found.failed() == {
        "source": "2 articles, then TransientError: the third page is missing"
    }
    assert found.answered() == []
    kept = Collection(is_rebuild=True)
    assert not kept.ask("source", answers())
    assert kept.failed() == {}, "in a rebuild nobody is asked, so nobody fails"


FINDINGS = {
    "feed": ("source_failed", "2026-03-20-02", "rss publisher.example/feed", "HTTP 404"),
    "general": ("source_failed", "2026-03-20-02", GENERAL_FEED, "used up"),
    "ticker": ("source_failed", "2026-03-20-02", "alpha_vantage AAPL", "HTTP 500"),
    "silent": ("feed_silent", "2026-03-20-02", "rss publisher.example/feed", "unchanged"),
    "article": ("undated", "2026-03-20-02", "https://a.example/b", "no date"),
}


@pytest.mark.parametrize(
    ("names", "severity"),
    [
        (["feed"], dg.AssetCheckSeverity.ERROR),
        (["general", "article"], dg.AssetCheckSeverity.ERROR),
        (["ticker"], dg.AssetCheckSeverity.WARN),
        (["silent"], dg.AssetCheckSeverity.WARN),
        (["article"], dg.AssetCheckSeverity.WARN),
    ],
)
def test_a_provider_that_failed_is_an_error_and_the_rest_a_warning(
    names: list[str], severity: dg.AssetCheckSeverity
) -> None:
    result = quality_result([FINDINGS[name] for name in names])
    assert not result.passed
    assert result.severity == severity
    table = str(result.metadata["rows"].value)
    assert all(cell in table for name in names for cell in FINDINGS[name])


def test_sources_are_named_before_articles_and_nothing_found_passes() -> None:
    many = [("undated", "h", f"https://a.example/{n}", "no date") for n in range(80)]
    result = quality_result([*many, FINDINGS["feed"]])
    rows = str(result.metadata["rows"].value).splitlines()[2:]
    assert rows[0].startswith("| source_failed")
    assert len(rows) == 50
    assert result.metadata["held_articles"].value == 80
    assert quality_result([]).passed
