"""What is wrong now, apart from runs. What belongs here: one function a source of alerts.

Each looks at one thing and gives findings; it keeps nothing between two looks.
"""

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Any

import dagster as dg

from quant_assets import naming
from quant_assets.checks.freshness import look, session_timetable
from quant_assets.domain.freshness import NAMED
from quant_assets.errors import BadDataError
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.markets import MARKETS, Market
from quant_assets.notices.incidents import Finding, clean
from quant_assets.resources.base import shown_settings
from quant_assets.resources.vendors import AlphaVantageResource
from quant_assets.settings import Settings
from quant_assets.vendors.daily_quota import DailyQuota
from quant_assets.vendors.redaction import redact

STALE, LETTERS, QUOTA, TICKS = "stale", "dead_letters", "quota", "tick"
"""Names of the sources: what the keys of their findings begin with."""
FAILURES_IN_A_ROW = 2
TICKS_COUNTED = 100
LINE_LIMIT = 240


def stale_recommendations(
    store: ParquetStore, values: Settings, now: datetime, *, is_known: Callable[[str], bool]
) -> list[Finding]:
    """Markets without recommendations of the last session whose deadline has passed.

    A market that never had any is not watched: nobody asked for it yet. ``is_known`` says whether
    there is an open incident of a key. Raises ``BadDataError`` if what it had is not there, and
    ``OSError`` if it cannot be listed: then nothing is known.
    """
    findings = []
    for market in MARKETS.values():
        is_watched = is_known(f"{STALE}:{market.key}")
        findings.append(_stale(market, store, values, now, is_watched=is_watched))
    return [finding for finding in findings if finding is not None]


def _stale(
    market: Market, store: ParquetStore, values: Settings, now: datetime, *, is_watched: bool
) -> Finding | None:
    asset = f"{market.key}/recommendations"
    timetable = session_timetable(market, values)
    found = look(store, asset, timetable, now)
    if found.state == "empty" and is_watched:
        raise BadDataError(
            f"{store.address(asset)} holds no recommendations any more: is the data directory "
            "mounted and readable (QUANT_HOME)?"
        )
    if found.state != "behind":
        return None
    newest = timetable.offset(found.missing[-1], -found.behind)
    since = f"stored up to {newest}" if found.behind <= NAMED else f"none since {newest}"
    return Finding(
        key=f"{STALE}:{market.key}",
        severity="warning",
        title=f"{market.name}: no recommendations of {found.due}",
        text=(
            f"{asset} is {since}. They were due at {found.deadline:%Y-%m-%d %H:%M} UTC "
            "(QUANT_RECOMMENDATIONS_DEADLINE_MINUTES sets another time). "
            f"`quant run --market {market.key}` makes what is missing."
        ),
        seen_at=found.deadline,
        items={key: f"no recommendations of {key}" for key in found.missing},
        link=f"{values.ui_url}/assets/{asset}?view=partitions&partition={found.due}",
        count=found.behind,
    )


def open_dead_letters(
    instance: dg.DagsterInstance, values: Settings, now: datetime
) -> list[Finding]:
    """Open dead letters, as the sensor ``dead_letter_count`` last counted them."""
    found = instance.fetch_observations(dg.AssetKey(naming.ASSET_DEAD_LETTERS), limit=1).records
    seen: Any = found[0].asset_observation if found else None
    if seen is None:
        return []
    counts = {name: value.value for name, value in seen.metadata.items()}
    count = int(counts.get("open") or 0)
    if not count:
        return []
    codes = {
        name.removeprefix("open: "): int(number or 0)
        for name, number in counts.items()
        if name.startswith("open: ")
    }
    return [
        Finding(
            key=f"{LETTERS}:open",
            severity="warning",
            title="Messages could not be processed",
            text=(
                "`quant dead-letters list` shows them; `replay` sends them again, `drop` settles "
                "them."
            ),
            seen_at=datetime.fromtimestamp(found[0].timestamp, now.tzinfo),
            items={code: f"{code}: {number} open" for code, number in codes.items() if number},
            link=f"{values.ui_url}/assets/{'/'.join(naming.ASSET_DEAD_LETTERS)}",
            count=count,
        )
    ]


def exhausted_quota(values: Settings, now: datetime) -> list[Finding]:
    """Alpha Vantage's calls of the day, where they are counted and none is left."""
    resource = AlphaVantageResource(values=shown_settings(values))
    quota: DailyQuota | None = resource.quota(lambda: now) if values.has_alpha_vantage else None
    if quota is None or quota.left():
        return []
    return [
        Finding(
            key=f"{QUOTA}:alpha_vantage",
            severity="info",
            title="Alpha Vantage: no calls left today",
            text=(
                f"News of Alpha Vantage pause until {quota.resets_at():%Y-%m-%d %H:%M} UTC; what "
                "was missed is asked for then. A larger plan is set by "
                "QUANT_ALPHA_VANTAGE_CALLS_PER_DAY."
            ),
            seen_at=now,
        )
    ]


def failing_ticks(
    instance: dg.DagsterInstance,
    values: Settings,
    now: datetime,
    *,
    is_mine: Callable[[Any], bool] = lambda _: True,
) -> list[Finding]:
    """Schedules and sensors whose latest ticks have failed, twice in a row or more.

    ``is_mine`` says whether a state is of this code location.
    """
    findings = []
    for state in instance.all_instigator_state():
        if not state.is_running or not is_mine(state):
            continue
        failures = _failures_in_a_row(instance, state)
        if len(failures) >= FAILURES_IN_A_ROW:
            findings.append(_failing(state, failures, values, now))
    return findings


def _failures_in_a_row(instance: dg.DagsterInstance, state: Any) -> list[Any]:
    """The latest ticks up to one that did not fail, newest first; one that runs does not count."""
    for limit in (FAILURES_IN_A_ROW + 1, TICKS_COUNTED):
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=limit)
        failures: list[Any] = []
        for tick in (tick for tick in ticks if tick.status.value != "STARTED"):
            if tick.status.value != "FAILURE":
                return failures
            failures.append(tick)
        if len(ticks) < limit:
            break
    return failures


def _failing(state: Any, failures: list[Any], values: Settings, now: datetime) -> Finding:
    name, kind = state.instigator_name, state.instigator_type.value.lower()
    line = first_line(failures[0].error, values.secrets)
    path = "schedules" if kind == "schedule" else "sensors"
    repository = state.origin.repository_origin
    location = repository.code_location_origin.location_name
    return Finding(
        key=f"{TICKS}:{name}",
        severity="critical",
        title=f"The {kind} {name} fails",
        text=line,
        seen_at=datetime.fromtimestamp(failures[0].timestamp, now.tzinfo),
        items={line[:80]: line},
        link=f"{values.ui_url}/locations/{repository.repository_name}@{location}/{path}/{name}",
        count=len(failures),
    )


def first_line(error: Any, secrets: Collection[str]) -> str:
    """What the innermost cause of a stored error says, in a line without ``secrets``."""
    while error is not None and error.cause is not None:
        error = error.cause
    lines: Iterable[str] = () if error is None else redact(error.message, secrets).splitlines()
    line = next((line.strip() for line in lines if line.strip()), "see the tick in the UI")
    return clean(line, LINE_LIMIT)
