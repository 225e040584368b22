"""When a feed counts as silent: working time without anything new."""

from datetime import UTC, datetime, timedelta

import pytest

from quant_assets.domain.liveness import silence, working_time

FRIDAY = datetime(2026, 3, 20, 20, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("since", "until", "hours"),
    [
        (FRIDAY, FRIDAY, 0),
        (FRIDAY - 5 * HOUR, FRIDAY, 5),
        (FRIDAY, FRIDAY + 10 * HOUR, 4),
        (FRIDAY, FRIDAY + 60 * HOUR, 12),
        (FRIDAY + 10 * HOUR, FRIDAY + 40 * HOUR, 0),
        (FRIDAY - 7 * 24 * HOUR, FRIDAY, 120),
        (FRIDAY + HOUR, FRIDAY, 0),
    ],
)
def test_weekends_do_not_count(since: datetime, until: datetime, hours: float) -> None:
    assert working_time(since, until) == hours * HOUR


def test_a_feed_is_silent_when_its_newest_article_is_old() -> None:
    now = FRIDAY
    fresh, old = now - 47 * HOUR, now - 49 * HOUR
    assert silence([old, fresh], None, now) is None
    assert silence([old, None], None, now) == "its newest article is of 2026-03-18 19:00 UTC"
    assert silence([old, now + HOUR], None, now) is not None, "the future says nothing"
    monday = FRIDAY + 60 * HOUR
    assert silence([FRIDAY - HOUR], None, monday) is None


def test_a_feed_is_silent_when_it_does_not_change() -> None:
    assert silence([], None, FRIDAY) is None
    assert silence([None], FRIDAY - 47 * HOUR, FRIDAY) is None
    told = silence([None], FRIDAY - 49 * HOUR, FRIDAY)
    assert told == "it has not changed since 2026-03-18 19:00 UTC"
