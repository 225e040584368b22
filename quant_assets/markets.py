"""Markets: everything in which one exchange differs from another. No Dagster, no pandas.

Adding a market is adding one ``Market`` here, one universe file and one calendar file.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from pathlib import Path
from zoneinfo import ZoneInfo

from quant_assets.errors import BadConfigurationError
from quant_assets.reference import read_rows, reference_path, reference_rows

FIRST_SESSION = date(2000, 1, 3)
LAST_CALENDAR_DAY = date(2035, 12, 31)
OVERRIDES_VARIABLE = "QUANT_CALENDAR_OVERRIDES"


@dataclass(frozen=True)
class Listing:
    """One symbol of a universe; ``yahoo_symbol`` is what the vendor calls it."""

    symbol: str
    yahoo_symbol: str
    name: str
    sector: str
    listed_on: date | None = None
    delisted_on: date | None = None

    def trades_between(self, first: date, last: date) -> bool:
        """Whether the symbol is listed on some day from ``first`` to ``last``, both included."""
        is_listed = self.listed_on is None or self.listed_on <= last
        return is_listed and (self.delisted_on is None or self.delisted_on >= first)

    def trades_on(self, session: date) -> bool:
        """Whether the symbol should have a bar in ``session``; both dates are inclusive."""
        return self.trades_between(session, session)


@dataclass(frozen=True)
class _Calendar:
    """Irregular days of a market: closures, extra sessions and unusual hours (local time)."""

    closed: frozenset[date]
    extra: frozenset[date]
    hours: Mapping[date, tuple[time, time]]


@dataclass(frozen=True)
class Market:
    """One exchange: its calendar, clock, currency and vendor facts.

    ``vendor_delay`` is how long after the close the vendor's daily bar is final.
    ``price_decimals`` is the precision of a price as traded (US: 0.0001, Korea: whole won, two
    decimals kept because recorded histories carry adjusted prices).
    ``hours`` lists the regular local trading hours, each with the date they began.
    ``price_limit`` is the widest move in a day that the exchange allows (0.3 is 30 %).
    """

    key: str
    name: str
    calendar: str
    timezone: str
    currency: str
    price_decimals: int
    vendor_delay: timedelta
    hours: tuple[tuple[date, time, time], ...] = field(repr=False)
    price_limit: float | None = None

    def regular_hours(self, day: date) -> tuple[time, time]:
        """Regular open and close, local time, in force on ``day``."""
        return next((o, c) for since, o, c in reversed(self.hours) if since <= day)

    @cached_property
    def _irregular(self) -> _Calendar:
        closed: set[date] = set()
        extra: set[date] = set()
        hours: dict[date, tuple[time, time]] = {}
        rows = [*reference_rows(f"calendar_{self.key}.csv"), *self._overrides()]
        for row in rows:
            day = date.fromisoformat(row["date"])
            closed.discard(day)
            extra.discard(day)
            hours.pop(day, None)
            if row["kind"] == "closed":
                closed.add(day)
                continue
            if day.weekday() >= 5:
                extra.add(day)
            if row["kind"] == "hours":
                hours[day] = (
                    time.fromisoformat(row["open_local"]),
                    time.fromisoformat(row["close_local"]),
                )
        return _Calendar(frozenset(closed), frozenset(extra), hours)

    def _overrides(self) -> list[dict[str, str]]:
        rows = list(reference_rows("calendar_overrides.csv"))
        if own := os.environ.get(OVERRIDES_VARIABLE):
            rows += read_overrides(own)
        return [row for row in rows if row["market"] == self.key]

    @property
    def closures(self) -> tuple[date, ...]:
        """Weekdays without a session, 2000 to 2035, ascending."""
        return tuple(sorted(self._irregular.closed))

    @property
    def weekend_sessions(self) -> tuple[date, ...]:
        """Saturdays and Sundays that an override declares to be sessions."""
        return tuple(sorted(self._irregular.extra))

    def is_session(self, day: date) -> bool:
        """Whether the exchange trades on ``day``."""
        if day.weekday() >= 5:
            return day in self._irregular.extra
        return day not in self._irregular.closed

    def sessions(self, first: date, last: date) -> list[date]:
        """Trading days from ``first`` to ``last``, both included."""
        days = (first + timedelta(days=n) for n in range((last - first).days + 1))
        return [day for day in days if self.is_session(day)]

    def offset_session(self, session: date, count: int) -> date:
        """The session ``count`` sessions after (negative: before) the trading day ``session``."""
        step = timedelta(days=1 if count > 0 else -1)
        day, left = session, abs(count)
        while left:
            day += step
            if not FIRST_SESSION.replace(month=1, day=1) <= day <= LAST_CALENDAR_DAY:
                raise BadConfigurationError(
                    f"{self.key}: {count} sessions from {session} lies outside the shipped "
                    f"calendar ({FIRST_SESSION}..{LAST_CALENDAR_DAY})"
                )
            left -= self.is_session(day)
        return day

    def hours_of(self, session: date) -> tuple[datetime, datetime]:
        """Open and close of ``session`` in UTC."""
        if not self.is_session(session):
            raise BadConfigurationError(
                f"{self.key}: {session} is not a trading day of {self.calendar}; the sessions "
                f"beside it are {self.offset_session(session, -1)} and "
                f"{self.offset_session(session, 1)}"
            )
        opens, closes = self._irregular.hours.get(session) or self.regular_hours(session)
        zone = ZoneInfo(self.timezone)
        return (
            datetime.combine(session, opens, zone).astimezone(UTC),
            datetime.combine(session, closes, zone).astimezone(UTC),
        )

    def complete_at(self, session: date) -> datetime:
        """When the bar of ``session`` counts: the close plus the vendor's delay, UTC."""
        return self.hours_of(session)[1] + self.vendor_delay

    def decision_at(self, session: date) -> datetime:
        """Decision time of ``session``: the open of the session after it, UTC."""
        return self.hours_of(self.offset_session(session, 1))[0]

    def last_complete_session(self, now: datetime) -> date:
        """The latest session whose bar counts at ``now`` (UTC)."""
        day = now.astimezone(ZoneInfo(self.timezone)).date()
        while not (self.is_session(day) and self.complete_at(day) <= now):
            day -= timedelta(days=1)
        return day


US = Market(
    key="us",
    name="United States",
    calendar="XNYS",
    timezone="America/New_York",
    currency="USD",
    price_decimals=4,
    vendor_delay=timedelta(minutes=30),
    hours=((date(1985, 9, 30), time(9, 30), time(16, 0)),),
)
KR = Market(
    key="kr",
    name="Korea",
    calendar="XKRX",
    timezone="Asia/Seoul",
    currency="KRW",
    price_decimals=2,
    vendor_delay=timedelta(minutes=60),
    hours=(
        (date(1998, 12, 7), time(9, 0), time(15, 0)),
        (date(2016, 8, 1), time(9, 0), time(15, 30)),
    ),
    price_limit=0.30,
)
MARKETS: Mapping[str, Market] = {market.key: market for market in (US, KR)}


def market(key: str) -> Market:
    """The market named ``key``; an unknown name lists the known ones."""
    try:
        return MARKETS[key]
    except KeyError:
        raise BadConfigurationError(
            f"unknown market {key!r}: the markets are {', '.join(MARKETS)}"
        ) from None


def load_universe(market_key: str, source: str | None = None) -> tuple[Listing, ...]:
    """Symbols of a market: the shipped universe, a CSV file, or a comma-separated list.

    ``source`` is the setting's value: empty for the shipped file, a path ending in ``.csv``, or
    symbols such as ``AAPL,MSFT``. Names and sectors of shipped symbols are kept for such a list.

    Raises ``BadConfigurationError`` for a missing file, a missing column, an empty universe or a
    symbol that stands in it twice.
    """
    shipped = {row["symbol"]: _listing(row) for row in reference_rows(f"universe_{market_key}.csv")}
    if not source:
        listings = list(shipped.values())
    elif source.endswith(".csv"):
        listings = _listings_from_file(Path(source))
    else:
        symbols = [symbol.strip().upper() for symbol in source.split(",") if symbol.strip()]
        listings = [shipped.get(s, Listing(s, s, s, "Unknown")) for s in symbols]
    _check_universe(market_key, listings)
    return tuple(listings)


def expected_rows(sessions: Iterable[date], listings: Sequence[Listing]) -> list[tuple[date, str]]:
    """(session, symbol) pairs of a universe that should have a row."""
    return [(s, x.symbol) for s in sessions for x in listings if x.trades_on(s)]


def _listings_from_file(path: Path) -> list[Listing]:
    if not path.is_file():
        raise BadConfigurationError(f"universe file {path} does not exist")
    try:
        rows = read_rows(path)
        if rows and "symbol" not in rows[0]:
            raise ValueError(
                "there is no column 'symbol'; "
                "expected symbol[,yahoo_symbol,name,sector,listed_on,delisted_on]"
            )
        return [_listing(row) for row in rows]
    except ValueError as error:
        raise BadConfigurationError(f"universe file {path}: {error}") from error


def _listing(row: Mapping[str, str]) -> Listing:
    symbol = (row["symbol"] or "").strip()
    try:
        listed_on = _date_or_none(row.get("listed_on"))
        delisted_on = _date_or_none(row.get("delisted_on"))
    except ValueError as error:
        raise ValueError(f"{symbol}: {error}; dates are YYYY-MM-DD") from error
    if listed_on and delisted_on and delisted_on < listed_on:
        raise ValueError(f"{symbol}: delisted on {delisted_on}, before it was listed {listed_on}")
    return Listing(
        symbol=symbol,
        yahoo_symbol=row.get("yahoo_symbol") or symbol,
        name=row.get("name") or symbol,
        sector=row.get("sector") or "Unknown",
        listed_on=listed_on,
        delisted_on=delisted_on,
    )


def _date_or_none(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def _check_universe(market_key: str, listings: list[Listing]) -> None:
    if not listings:
        raise BadConfigurationError(
            f"the universe of market {market_key!r} is empty: name at least one symbol in "
            f"QUANT_{market_key.upper()}_UNIVERSE or leave it unset"
        )
    seen: set[str] = set()
    for listing in listings:
        if not listing.symbol or any(c in listing.symbol for c in " /\\'\"\n"):
            raise BadConfigurationError(
                f"the universe of market {market_key!r} holds the unusable symbol "
                f"{listing.symbol!r}"
            )
        if listing.symbol in seen:
            raise BadConfigurationError(
                f"the universe of market {market_key!r} names {listing.symbol} twice"
            )
        seen.add(listing.symbol)
    yahoo = [listing.yahoo_symbol for listing in listings]
    if twice := sorted({name for name in yahoo if yahoo.count(name) > 1}):
        raise BadConfigurationError(
            f"the universe of market {market_key!r} gives {', '.join(twice)} to two symbols"
        )


def read_overrides(name: str) -> list[dict[str, str]]:
    """Entries of a file of late closures and hours.

    Raises ``BadConfigurationError`` naming the entry that cannot be used.
    """
    path = Path(name)
    if not path.is_file():
        raise BadConfigurationError(f"{OVERRIDES_VARIABLE}: the file {path} does not exist")
    try:
        rows = read_rows(path)
    except ValueError as error:
        raise BadConfigurationError(f"{OVERRIDES_VARIABLE}: {path}: {error}") from error
    for number, row in enumerate(rows, start=2):
        try:
            day = date.fromisoformat(row["date"])
            if row["market"] not in MARKETS or row["kind"] not in ("closed", "open", "hours"):
                raise ValueError(f"market {row['market']!r}, kind {row['kind']!r}")
            if row["kind"] == "hours":
                _check_hours(MARKETS[row["market"]], day, row["open_local"], row["close_local"])
        except (KeyError, TypeError, ValueError) as error:
            raise BadConfigurationError(
                f"{OVERRIDES_VARIABLE}: {path}, entry {number}: {error!r}; the form is that of "
                f"{reference_path('calendar_overrides.csv').name}"
            ) from error
    return rows


def _check_hours(market: Market, day: date, opens: str, closes: str) -> None:
    """Raise ``ValueError`` unless both times lie in order inside the UTC day of the session."""
    zone = ZoneInfo(market.timezone)
    first, last = (
        datetime.combine(day, time.fromisoformat(text), zone).astimezone(UTC)
        for text in (opens, closes)
    )
    if not (first < last and first.date() == last.date() == day):
        raise ValueError(f"{opens} to {closes} is no session inside the UTC day {day}")
