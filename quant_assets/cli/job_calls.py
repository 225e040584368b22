"""What a task will ask of whom. What belongs here: counting; nothing is asked and nothing written.

Requests that are repeated because an answer failed are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from quant_assets.assets.news_collecting import RSS_REACH
from quant_assets.cli.job_report import Calls, Quota
from quant_assets.cli.plan import ARTICLES, OBSERVATIONS
from quant_assets.cli.tasks import Task
from quant_assets.errors import BadDataError
from quant_assets.markets import MARKETS
from quant_assets.schemas.keys import HOUR_FORMAT
from quant_assets.settings import Settings
from quant_assets.vendors.daily_quota import DailyQuota, quota_path
from quant_assets.vendors.rotation import ReachedTimes, choose_tickers, reserved_calls
from quant_assets.vendors.yahoo_timezones import Timezones

LONG_PERIOD_DAYS = 1_900
"""Days of vintages that one request to FRED covers."""
SHORT_PERIOD_DAYS = 31
"""Up to so many days FRED is asked first whether anything was released."""
SESSION_REQUESTS = 2
"""Requests that open a session at Yahoo: its cookie and its crumb."""


def quota_of(values: Settings, now: datetime) -> Quota | None:
    """Alpha Vantage's calls of the day; None where they are not counted or there is no key."""
    counted = _counted(values, now)
    if counted is None or values.alpha_vantage_daily_calls is None:
        return None
    return Quota(
        vendor="alpha_vantage",
        limit=values.alpha_vantage_daily_calls,
        left=_left(counted),
        resets_at=counted.resets_at(),
    )


def calls_of(tasks: Sequence[Task], values: Settings, now: datetime) -> list[list[Calls]]:
    """Requests of each task, in the order in which they are done."""
    counted = _counted(values, now)
    left = None if counted is None else _left(counted)
    found = []
    for task in tasks:
        calls = []
        if task.assets[0].endswith("/prices"):
            calls = [_yahoo(task, values)]
        elif OBSERVATIONS in task.assets:
            calls = [_fred(task, values)]
        elif ARTICLES in task.assets:
            calls = _news(task, values, now, left)
            if left is not None:
                left = max(0, left - sum(c.least for c in calls if c.vendor == "alpha_vantage"))
        found.append(calls)
    return found


def _counted(values: Settings, now: datetime) -> DailyQuota | None:
    limit = values.alpha_vantage_daily_calls
    if limit is None or not values.has_alpha_vantage:
        return None
    return DailyQuota(quota_path(values.home_dir), limit, lambda: now)


def _left(counted: DailyQuota) -> int:
    """Calls left today; a count that cannot be read allows none."""
    try:
        return counted.peek()
    except BadDataError:
        return 0


def _yahoo(task: Task, values: Settings) -> Calls:
    """One chart a symbol, and one where the symbol's time zone is not known yet."""
    key = next(key for key in MARKETS if task.assets[0] == f"{key}/prices")
    first, last = date.fromisoformat(task.first), date.fromisoformat(task.last)
    listings = [one for one in values.universe(key) if one.trades_between(first, last)]
    zones = Timezones(values.yahoo_cache_dir / "timezones.json")
    unknown = sum(zones.get(one.yahoo_symbol) is None for one in listings)
    count = len(listings) + unknown + SESSION_REQUESTS
    seconds = count / values.yahoo_pace_per_second
    note = f"{len(listings):,} symbols, about {seconds:,.0f} s at the pace that is set"
    return Calls(vendor="yahoo", least=count, most=count, note=note)


def _fred(task: Task, values: Settings) -> Calls:
    """Of a short period one request a series, and two more where something was released."""
    series = values.series()
    lagged = sum(one.publication_lag_days is not None for one in series)
    others = len(series) - lagged
    if task.partitions <= SHORT_PERIOD_DAYS:
        least, most = others + lagged, 3 * others + lagged
    else:
        chunks = math.ceil((task.partitions + 1) / LONG_PERIOD_DAYS)
        least = most = others * chunks + lagged
    return Calls(vendor="fred", least=least, most=most, note=f"{len(series):,} series")


def _news(task: Task, values: Settings, now: datetime, left: int | None) -> list[Calls]:
    calls = []
    end = datetime.strptime(task.last, HOUR_FORMAT).replace(tzinfo=UTC) + timedelta(hours=1)
    if values.has_alpha_vantage:
        tickers = values.alpha_vantage_asked()
        counted = _counted(values, now)
        spendable, reached = None, {}
        if counted is not None and left is not None:
            spendable = left - 1 - reserved_calls(now, counted.resets_at())
            reached = ReachedTimes(values.alpha_vantage_reached_path).load()
        chosen, waiting = choose_tickers(tickers, reached, spendable)
        note = f"the general feed and {len(chosen):,} tickers; one more a thousand articles"
        if waiting:
            note += f"; {len(waiting):,} tickers wait for their turn"
        least = min(1 + len(chosen), math.inf if left is None else left)
        calls.append(Calls(vendor="alpha_vantage", least=int(least), most=None, note=note))
    if now - end <= RSS_REACH:
        feeds = len(values.feed_names)
        note = "and the pages of new articles" if values.article_text else ""
        most = None if values.article_text else feeds
        calls.append(Calls(vendor="rss", least=feeds, most=most, note=note))
    return calls
