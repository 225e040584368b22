"""Checks of freshness: what is due is stored. What belongs here: which assets, by which calendar.

``build_time_partition_freshness_checks`` does not fit these partitions (tried): ``end_offset=1``
makes it expect a session that has not opened, and one cron knows neither half days nor closures.
``FreshnessPolicy`` looks at the asset and not at the partition, so an old backfill looks fresh.

These checks are not part of any job: a run that makes last year's sessions says nothing of today.
The sensor ``freshness`` evaluates them by the clock; by hand each can be executed in the UI. A run
of chosen assets evaluates them too, since Dagster adds every check of an asset: they say what is
true at that moment, and nobody is told of it.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import NamedTuple

import dagster as dg

from quant_assets.assets.macro_fetch import RELEASE_DAY_ENDS
from quant_assets.domain.freshness import (
    Freshness,
    Regular,
    Sessions,
    Timetable,
    find_stored,
    judge,
)
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.markets import MARKETS, Market
from quant_assets.naming import CHECK_FRESHNESS, market_job
from quant_assets.resources import ClockResource, SettingsResource, StoreResource
from quant_assets.schemas.keys import HOUR_FORMAT, SESSION_FORMAT
from quant_assets.settings import Settings
from quant_assets.timetable import Rule, first_asked, rules

ANALYSIS = ("technical_indicators", "technical_score", "news_sentiment", "recommendations")
NEWS_ASSETS = ("news/articles", "news/article_sentiment")
MACRO_ASSETS = ("macro/observations", "macro/regime")


def watched_assets() -> list[str]:
    """Names of the assets whose freshness is watched: all that are made by the calendar."""
    markets = [f"{key}/{name}" for key in MARKETS for name in ("prices", *ANALYSIS)]
    return [*markets, *NEWS_ASSETS, *MACRO_ASSETS]


def timetables(values: Settings) -> dict[str, Timetable]:
    """The timetable of every watched asset, by its name.

    A partition is due when its schedule has asked for it and its patience is over, whoever makes
    it. In a replay nothing is due after the last recorded session.
    """
    asks = rules(has_alpha_vantage=values.has_alpha_vantage, news_start=values.news_start)
    tables: dict[str, Timetable] = {}
    ends = []
    for market in MARKETS.values():
        last = _last_listed(market, values)
        ends.append(last)
        price = asks[market_job(market.key, "price")]
        tables[f"{market.key}/prices"] = _sessions(market, price, last)
        analysis = session_timetable(market, values)
        tables |= {f"{market.key}/{name}": analysis for name in ANALYSIS}
    end = max(ends) if values.replayed_data is not None and all(ends) else ""
    hours = Regular(
        grace=asks["news_crawl"].patience,
        asked=_asked(asks["news_crawl"], HOUR_FORMAT),
        first=values.news_start.strftime(f"{SESSION_FORMAT}-00"),
        last=f"{end}-00" if end else "",
        length=timedelta(hours=1),
        ends=timedelta(hours=1),
        form=HOUR_FORMAT,
    )
    days = Regular(
        grace=asks["macro_sync"].patience,
        asked=_asked(asks["macro_sync"], SESSION_FORMAT),
        last=end,
        length=timedelta(days=1),
        ends=RELEASE_DAY_ENDS,
        form=SESSION_FORMAT,
    )
    return tables | dict.fromkeys(NEWS_ASSETS, hours) | dict.fromkeys(MACRO_ASSETS, days)


def session_timetable(market: Market, values: Settings) -> Sessions:
    """When the analysis of a market's sessions is due.

    As its schedule says, or ``QUANT_RECOMMENDATIONS_DEADLINE_MINUTES`` after the close.
    """
    last = _last_listed(market, values)
    minutes = values.recommendations_deadline_minutes
    if minutes is None:
        return _sessions(market, rules()[market_job(market.key, "combined_analysis")], last)
    grace = max(timedelta(0), timedelta(minutes=minutes) - market.vendor_delay)
    return Sessions(grace=grace, market=market, last=last)


def _sessions(market: Market, rule: Rule, last: str) -> Sessions:
    return Sessions(
        grace=rule.patience, asked=_asked(rule, SESSION_FORMAT), market=market, last=last
    )


def _asked(rule: Rule, form: str) -> Callable[[str], datetime | None]:
    """When a rule's schedule asks for a partition whose key is a start in UTC."""

    @cache
    def asked(key: str) -> datetime | None:
        return first_asked(rule, key, datetime.strptime(key, form).replace(tzinfo=UTC))

    return asked


def _last_listed(market: Market, values: Settings) -> str:
    """The last session in which a symbol of the universe was listed, empty where it goes on."""
    ends = [listing.delisted_on for listing in values.universe(market.key)]
    last = max((day for day in ends if day is not None), default=None)
    if last is None or None in ends:
        return ""
    while not market.is_session(last):
        last -= timedelta(days=1)
    return last.isoformat()


def look(store: ParquetStore, asset: str, timetable: Timetable, now: datetime) -> Freshness:
    """How a stored asset stands. Raises ``OSError`` where its folder cannot be read."""
    stored = find_stored(
        timetable,
        now,
        missing=lambda keys: store.missing(asset, keys),
        listed=lambda: store.list_partitions(asset),
    )
    if stored.newest is None:
        store.demand_readable(asset)
    return judge(timetable, stored, now)


def build_freshness_checks() -> list[dg.AssetChecksDefinition]:
    """The freshness check of every watched asset."""
    return [_freshness(asset) for asset in watched_assets()]


def check_keys() -> Mapping[str, dg.AssetCheckKey]:
    """Keys of the freshness checks by asset."""
    return {
        asset: dg.AssetCheckKey(dg.AssetKey(asset.split("/")), CHECK_FRESHNESS)
        for asset in watched_assets()
    }


def _freshness(asset: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset.split("/"),
        name=CHECK_FRESHNESS,
        description="The newest partition that is due is stored; `quant run` and `quant backfill` "
        "find holes behind it.",
    )
    def freshness(
        store: StoreResource, platform: SettingsResource, clock: ClockResource
    ) -> dg.AssetCheckResult:
        timetable = timetables(platform.settings())[asset]
        told = verdict(asset, look(store.open(), asset, timetable, clock.now()))
        return dg.AssetCheckResult(
            passed=told.is_passed,
            severity=dg.AssetCheckSeverity.WARN,
            description=told.text,
            metadata=told.metadata,
        )

    return freshness


class Verdict(NamedTuple):
    """What a check says of an asset."""

    is_passed: bool
    text: str
    metadata: Mapping[str, str | int]


def verdict(asset: str, freshness: Freshness) -> Verdict:
    """The result of the check; an asset of which nothing is stored does not pass."""
    deadline = f"{freshness.deadline:%Y-%m-%d %H:%M} UTC"
    metadata: dict[str, str | int] = {
        "state": freshness.state,
        "due": freshness.due,
        "behind": freshness.behind,
        "deadline": deadline,
    }
    if freshness.newest is not None:
        metadata["newest"] = freshness.newest
    if freshness.missing:
        metadata["missing"] = ", ".join(freshness.missing)
    if freshness.state == "empty":
        text = f"nothing of {asset} is stored; {freshness.due} is due"
    elif freshness.state == "behind":
        text = f"{freshness.lag}: {freshness.due} was due at {deadline}"
    else:
        text = f"{freshness.newest} is stored; the next one is due at {deadline}"
    return Verdict(freshness.state in ("fresh", "awaited"), text, metadata)
