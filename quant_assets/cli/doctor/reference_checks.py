"""Calendars, lists, model and time. What belongs here: what ships with the platform or replaces it.

The clock is compared with the ``Date`` of an answer; nothing here asks a time server.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from quant_assets.cli.doctor.findings import Finding, Group
from quant_assets.errors import BadConfigurationError, TransientError
from quant_assets.markets import (
    LAST_CALENDAR_DAY,
    MARKETS,
    OVERRIDES_VARIABLE,
    read_overrides,
)
from quant_assets.settings import Settings

if TYPE_CHECKING:
    import requests

REFERENCE = Group("calendars and lists")
TIME = Group("time")
MOST_SECONDS_OFF = 60.0
NOON = datetime(2024, 7, 1, 12, tzinfo=UTC)
_HOURS_AT_NOON = {"America/New_York": -4, "Asia/Seoul": 9}
"""Offsets from UTC on that day, by the laws of the places."""


def calendars(today: date) -> Finding:
    """Whether the shipped calendars reach a year ahead."""
    if today + timedelta(days=365) > LAST_CALENDAR_DAY:
        what = f"they end on {LAST_CALENDAR_DAY}"
        return REFERENCE.fail("calendars", what, "install a newer version of quant-assets")
    year = today + timedelta(days=365)
    try:
        ahead = {m.key: len(m.sessions(today, year)) for m in MARKETS.values()}
    except BadConfigurationError:
        return REFERENCE.skip("calendars", "not counted: the overrides cannot be used")
    what = ", ".join(f"{key} {count} sessions" for key, count in ahead.items())
    if odd := [key for key, count in ahead.items() if not 200 <= count <= 262]:
        remedy = f"check the closures of {', '.join(odd)} in the file of {OVERRIDES_VARIABLE}"
        return REFERENCE.fail("calendars", f"the next year has {what}", remedy)
    return REFERENCE.ok("calendars", f"until {LAST_CALENDAR_DAY}; next year: {what}")


def overrides(path: str) -> Finding:
    """Whether the file of late closures can be used. Raises what is wrong with it."""
    if not path:
        return REFERENCE.ok("overrides", f"{OVERRIDES_VARIABLE} is not set: the shipped ones")
    count = len(read_overrides(path))
    if not count:
        remedy = "begin it with the line market,date,kind,open_local,close_local"
        return REFERENCE.warn("overrides", f"{path} holds no entry", remedy)
    return REFERENCE.ok("overrides", f"{count} in {path}")


def universe(settings: Settings, market_key: str) -> Finding:
    """Whether a market's list of symbols can be used. Raises what is wrong with it."""
    listings = settings.universe(market_key)
    return REFERENCE.ok(f"universe {market_key}", f"{len(listings)} symbols")


def macro_series(settings: Settings) -> Finding:
    """Whether the list of macro series can be used. Raises what is wrong with it."""
    return REFERENCE.ok("macro series", f"{len(settings.series())} series")


def sentiment_model(settings: Settings) -> Finding:
    """Whether the model's directory has what it needs, if one is set. Raises what is wrong."""
    if settings.sentiment_model is None:
        return REFERENCE.ok("sentiment", "the word lists: QUANT_SENTIMENT_MODEL is not set")
    from quant_assets.domain.sentiment_model import TransformerScorer

    scorer = TransformerScorer(settings.sentiment_model)
    return REFERENCE.ok("sentiment", f"{settings.sentiment_model}, {scorer.version}")


def recorded(settings: Settings) -> Finding:
    """Whether the recorded files of a replay are there."""
    folder = settings.replayed_data
    if folder is None:
        return REFERENCE.skip("recorded files", "the profile replays none")
    wanted = ("bars.parquet", "macro.parquet", "news.parquet")
    if missing := [name for name in wanted if not (folder / name).is_file()]:
        what = f"{folder} lacks {', '.join(missing)}"
        return REFERENCE.fail("recorded files", what, "name their directory in QUANT_SANDBOX_DATA")
    return REFERENCE.ok("recorded files", str(folder))


def zones() -> Finding:
    """Whether the installed timezone data are there and right."""
    wrong = []
    for name in sorted({m.timezone for m in MARKETS.values()}):
        try:
            offset = NOON.astimezone(ZoneInfo(name)).utcoffset()
        except (OSError, ValueError, KeyError) as error:
            wrong.append(f"{name}: {error}")
            continue
        if offset != timedelta(hours=_HOURS_AT_NOON[name]):
            wrong.append(f"{name} was {offset} off UTC on {NOON:%Y-%m-%d}")
    if wrong:
        remedy = "pip install --upgrade tzdata, or your system's package tzdata"
        return TIME.fail("timezone data", "; ".join(wrong), remedy)
    return TIME.ok("timezone data", f"of {', '.join(sorted(_HOURS_AT_NOON))} are right")


def local_zone() -> Finding:
    """What the machine's own timezone is, which nothing depends on."""
    local = datetime.now().astimezone()
    if local.utcoffset() == timedelta(0):
        return TIME.ok("timezone", "UTC")
    return TIME.ok("timezone", f"{local:%Z (UTC%z)}; partitions are in UTC all the same")


def clock(
    addresses: Sequence[str],
    seconds: float,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Finding:
    """How far this machine's clock is off the ``Date`` of the first address that answers.

    Raises ``TransientError`` if none does.
    """
    if not addresses:
        return TIME.skip("clock", "nobody was asked for the time")
    off, host = _difference(addresses, seconds, now)
    if off is None:
        return TIME.skip("clock", f"the answer of {host} has no date")
    what = f"{abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} {host}"
    if abs(off) > MOST_SECONDS_OFF:
        remedy = "set the clock, and let it be kept: timedatectl set-ntp true"
        return TIME.fail("clock", what, remedy)
    return TIME.ok("clock", f"within {max(1, round(abs(off)))} s of {host}")


def _difference(
    addresses: Sequence[str], seconds: float, now: Callable[[], datetime]
) -> tuple[float | None, str]:
    """Seconds that the clock is ahead, and of whom."""
    from urllib.parse import urlsplit

    import requests

    from quant_assets.vendors.http import build_session

    session = build_session(
        retries=0,
        backoff_seconds=0,
        timeout_seconds=seconds / len(addresses),
        user_agent="quant-assets",
    )
    for address in addresses:
        began = time.monotonic()
        try:
            answer = session.get(address, stream=True)
        except requests.RequestException:
            continue
        between = timedelta(seconds=(time.monotonic() - began) / 2)
        told = _date_of(answer)
        answer.close()
        host = urlsplit(address).hostname or ""
        return (None if told is None else (now() - between - told).total_seconds()), host
    raise TransientError(f"none of {len(addresses)} address(es) answers")


def _date_of(answer: requests.Response) -> datetime | None:
    """When an answer was made: its ``Date`` and the ``Age`` that caches on the way add."""
    from email.utils import parsedate_to_datetime

    try:
        made = parsedate_to_datetime(answer.headers["Date"]).astimezone(UTC)
    except (KeyError, TypeError, ValueError):
        return None
    age = answer.headers.get("Age", "")
    return made + timedelta(seconds=int(age) if age.isdecimal() and len(age) < 10 else 0)
