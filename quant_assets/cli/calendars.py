"""Writes the exchange calendars that the platform ships. What belongs here: that one command.

``python -m quant_assets.cli.calendars`` reads ``exchange_calendars`` and writes, for each
market, the weekdays on which the exchange is closed and the sessions whose hours differ from the
regular ones. The platform reads these files instead of the library because the code location is
imported at the start of every run: two small files take a millisecond, the library with pandas
half a second. A test compares the files with the installed library.
"""

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from quant_assets.markets import MARKETS, Market
from quant_assets.reference import reference_path

FIRST, LAST = date(2000, 1, 1), date(2035, 12, 31)
HEADER = "date,kind,open_local,close_local\n"


def calendar_lines(market: Market) -> list[str]:
    """CSV lines of ``market``: ``closed`` weekdays and sessions with irregular ``hours``."""
    import exchange_calendars

    calendar = exchange_calendars.get_calendar(
        market.calendar, start=FIRST.isoformat(), end=(LAST + timedelta(days=366)).isoformat()
    )
    zone = ZoneInfo(market.timezone)
    hours: dict[date, tuple[time, time]] = {
        session.date(): (
            _local(row["open"].to_pydatetime(), zone),
            _local(row["close"].to_pydatetime(), zone),
        )
        for session, row in calendar.schedule.iterrows()
    }
    lines = []
    day = FIRST
    while day <= LAST:
        if day not in hours:
            if day.weekday() < 5:
                lines.append(f"{day},closed,,\n")
        elif hours[day] != market.regular_hours(day):
            opens, closes = hours[day]
            lines.append(f"{day},hours,{opens:%H:%M},{closes:%H:%M}\n")
        day += timedelta(days=1)
    return lines


def _local(instant: datetime, zone: ZoneInfo) -> time:
    return instant.astimezone(zone).time()


def main() -> None:
    """Write the calendar file of every market."""
    for market in MARKETS.values():
        path = reference_path(f"calendar_{market.key}.csv")
        lines = calendar_lines(market)
        path.write_text(HEADER + "".join(lines), encoding="utf-8")
        print(f"{path.name}: {len(lines)} lines")


if __name__ == "__main__":
    main()
