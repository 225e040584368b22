"""FRED and ALFRED. What belongs here: the web service over vintage series, JSON and XML.

A row is shown when its validity overlaps the requested real-time period, and its validity is cut
to that period, as the real service does. Only ``units=lin`` and ``output_type=1`` are served.
"""

import re
import threading
from collections import deque
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any
from xml.sax.saxutils import quoteattr
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from quant_assets.sandbox.macro import MISSING, MacroSource, VintageSeries
from quant_assets.sandbox.wire import XML_TYPE, Request, Response, json_response

MAX_VINTAGES = 2000
MAX_ROWS = 100_000
MAX_LIMITED = 10_000
FIRST_DAY, LAST_DAY = "1776-07-04", "9999-12-31"
_LAST = np.datetime64(LAST_DAY)
_KEY = re.compile(r"[0-9a-z]{32}")
_READ_MORE = "  Read https://fred.stlouisfed.org/docs/api/api_key.html for more information."
_SHORT = {"Daily": "D", "Weekly": "W", "Monthly": "M", "Quarterly": "Q"}


class FredError(Exception):
    """An error as FRED words it."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Fred:
    """Answers for ``/fred/...`` from one source of statistics.

    ``limits`` are requests allowed per window of seconds, ``{60: 120}`` for the real service; none
    by default. Those beyond it are answered 429 and not counted.
    """

    def __init__(self, macro: MacroSource, limits: Mapping[int, int] | None = None) -> None:
        self._macro = macro
        self.limits = dict(limits or {})
        self._asked: deque[float] = deque(maxlen=MAX_LIMITED)
        self._lock = threading.Lock()

    def answer(self, request: Request) -> Response:
        """Response to a request below ``/fred``."""
        is_json = request.query.get("file_type") == "json"
        try:
            self._count(request.now)
            _check_key(request.query)
            handler = {
                "/fred/series/observations": self._observations,
                "/fred/series": self._info,
                "/fred/series/vintagedates": self._vintage_dates,
                "/fred/series/search": self._search,
            }.get(request.path)
            if handler is None:
                raise FredError("Not Found", 404)
            return handler(request, is_json)
        except FredError as error:
            if is_json:
                content = {"error_code": error.status, "error_message": str(error)}
                return json_response(content, error.status)
            attributes = {"code": str(error.status), "message": str(error)}
            return Response(error.status, _xml("error", attributes, ()), XML_TYPE)

    def _count(self, now: datetime) -> None:
        moment = now.timestamp()
        with self._lock:
            for seconds, allowed in self.limits.items():
                if sum(1 for asked in self._asked if asked > moment - seconds) >= allowed:
                    raise FredError("Too Many Requests.  Exceeded Rate Limit", 429)
            self._asked.append(moment)

    def _series(self, query: Mapping[str, str]) -> VintageSeries:
        series_id = query.get("series_id")
        if not series_id:
            raise FredError("Bad Request.  Variable series_id is not set.")
        found = self._macro.series(series_id)
        if found is None:
            raise FredError("Bad Request.  The series does not exist.")
        return found

    def _observations(self, request: Request, is_json: bool) -> Response:
        query = request.query
        series = self._series(query)
        _check_unsupported(query)
        period = _realtime(query, request.now)
        known = _known(series, request.now)
        _check_vintages(known, period)
        first = _day(query, "observation_start", "1600-01-01")
        last = _day(query, "observation_end", LAST_DAY)
        chosen = known.overlapping(*period) & known.dated(first, last)
        rows = _spoiled(_rows(known, chosen, period), request)
        if query.get("sort_order") == "desc":
            rows.reverse()
        head = _head(period) | {
            "observation_start": first,
            "observation_end": last,
            "units": "lin",
            "output_type": 1,
            "file_type": "json" if is_json else "xml",
            "order_by": "observation_date",
            "sort_order": query.get("sort_order", "asc"),
        }
        page, paging = _page(rows, query, MAX_ROWS)
        if is_json:
            return json_response(head | paging | {"observations": page})
        return _xml_response("observations", head | paging, "observation", page)

    def _vintage_dates(self, request: Request, is_json: bool) -> Response:
        query = request.query
        known = _known(self._series(query), request.now)
        period = _realtime(query, request.now, default=(FIRST_DAY, LAST_DAY))
        found = _spoiled_dates([str(day) for day in known.vintages(*period)], request)
        if query.get("sort_order") == "desc":
            found.reverse()
        head = _head(period) | {"order_by": "vintage_date", "sort_order": "asc"}
        page, paging = _page(found, query, 10_000)
        if is_json:
            return json_response(head | paging | {"vintage_dates": page})
        return _xml_response("vintage_dates", head | paging, "vintage_date", page)

    def _info(self, request: Request, is_json: bool) -> Response:
        period = _realtime(request.query, request.now)
        described = [_described(_known(self._series(request.query), request.now), period)]
        if is_json:
            return json_response(_head(period) | {"seriess": described})
        return _xml_response("seriess", _head(period), "series", described)

    def _search(self, request: Request, is_json: bool) -> Response:
        period = _realtime(request.query, request.now)
        words = request.query.get("search_text", "").lower().split()
        described = []
        for series_id in self._macro.series_ids():
            series = self._macro.series(series_id)
            if series and all(word in f"{series_id} {series.title}".lower() for word in words):
                described.append(_described(_known(series, request.now), period))
        page, paging = _page(described, request.query, 1000)
        if is_json:
            return json_response(_head(period) | paging | {"seriess": page})
        return _xml_response("seriess", _head(period) | paging, "series", page)


class _Known:
    """The rows of a series that are published, each with its last day of validity."""

    def __init__(self, series: VintageSeries, mask: NDArray[np.bool_]) -> None:
        self.series = series
        self.dates = series.dates[mask]
        self.start = series.realtime_start[mask]
        self.values = [series.values[row] for row in np.flatnonzero(mask)]
        self.end = np.full(len(self.dates), _LAST)
        is_revised = self.dates[1:] == self.dates[:-1]
        self.end[:-1][is_revised] = self.start[1:][is_revised] - np.timedelta64(1, "D")

    def overlapping(self, first: str, last: str) -> NDArray[np.bool_]:
        return (self.start <= np.datetime64(last)) & (self.end >= np.datetime64(first))

    def dated(self, first: str, last: str) -> NDArray[np.bool_]:
        return (self.dates >= np.datetime64(first)) & (self.dates <= np.datetime64(last))

    def vintages(self, first: str, last: str) -> NDArray[np.datetime64]:
        days = np.unique(self.start)
        return days[(days >= np.datetime64(first)) & (days <= np.datetime64(last))]


def _known(series: VintageSeries, now: datetime) -> _Known:
    return _Known(series, series.visible_at <= now.timestamp())


def _rows(known: _Known, chosen: NDArray[np.bool_], period: tuple[str, str]) -> list[Any]:
    starts = np.maximum(known.start[chosen], np.datetime64(period[0]))
    ends = np.minimum(known.end[chosen], np.datetime64(period[1]))
    texts = (np.datetime_as_string(days) for days in (starts, ends, known.dates[chosen]))
    values = [known.values[row] for row in np.flatnonzero(chosen)]
    return [
        {"realtime_start": str(start), "realtime_end": str(end), "date": str(day), "value": value}
        for start, end, day, value in zip(*texts, values, strict=True)
    ]


def _spoiled(rows: list[Any], request: Request) -> list[Any]:
    """``rows`` after the faults that concern the content."""
    if request.fault("empty") is not None or request.fault("half") is not None:
        return []
    if rows and request.fault("late") is not None:
        last = max(row["realtime_start"] for row in rows)
        rows = [row for row in rows if row["realtime_start"] != last]
    if (fault := request.fault("revised")) is not None:
        factor = fault.option("factor", 1.01)
        for row in rows:
            if row["value"] != MISSING:
                row["value"] = f"{float(row['value']) * factor:.6g}"
    if rows and request.fault("duplicate") is not None:
        rows.append(dict(rows[-1]))
    fault = request.fault("malformed")
    if fault is not None and fault.option("wrong_types", False):
        for row in rows:
            row["value"] = "n/a"
    return rows


def _spoiled_dates(days: list[str], request: Request) -> list[str]:
    """Vintage dates after the faults that concern the content."""
    if request.fault("empty") is not None or request.fault("half") is not None:
        return []
    if request.fault("late") is not None:
        days = days[:-1]
    if request.fault("duplicate") is not None:
        days = days + days[-1:]
    fault = request.fault("malformed")
    if fault is not None and fault.option("wrong_types", False):
        return ["n/a" for _ in days]
    return days


def _described(known: _Known, period: tuple[str, str]) -> dict[str, Any]:
    series = known.series
    has_rows = len(known.dates) > 0
    updated = known.start.max() if has_rows else FIRST_DAY
    return {
        "id": series.series_id,
        "realtime_start": period[0],
        "realtime_end": period[1],
        "title": series.title,
        "observation_start": str(known.dates[0]) if has_rows else FIRST_DAY,
        "observation_end": str(known.dates[-1]) if has_rows else FIRST_DAY,
        "frequency": series.frequency,
        "frequency_short": _SHORT[series.frequency],
        "units": series.units,
        "units_short": series.units,
        "seasonal_adjustment": "Not Seasonally Adjusted",
        "seasonal_adjustment_short": "NSA",
        "last_updated": f"{updated} 15:16:00-06",
        "popularity": 50,
        "notes": "Simulated or replayed by the sandbox.",
    }


def _check_key(query: Mapping[str, str]) -> None:
    key = query.get("api_key")
    if not key:
        raise FredError(f"Bad Request.  Variable api_key is not set.{_READ_MORE}")
    if not _KEY.fullmatch(key):
        raise FredError(
            "Bad Request.  The value for variable api_key is not a 32 character alpha-numeric "
            f"lower-case string.{_READ_MORE}"
        )


def _check_unsupported(query: Mapping[str, str]) -> None:
    for name, only in (("units", "lin"), ("output_type", "1"), ("frequency", "")):
        if query.get(name, only) != only:
            raise FredError(f"Bad Request.  The sandbox serves only {name}={only or '(unset)'}.")
    if "vintage_dates" in query:
        raise FredError("Bad Request.  The sandbox does not serve vintage_dates.")


def _check_vintages(known: _Known, period: tuple[str, str]) -> None:
    if len(known.start) and np.datetime64(period[1]) < known.start.min():
        raise FredError("Bad Request.  The series does not exist in ALFRED but may exist in FRED.")
    count = len(known.vintages(*period))
    if count > MAX_VINTAGES:
        raise FredError(
            f"Bad Request.  There are {count} vintage dates in the specified real-time period: "
            f"{period[0]} to {period[1]}.  This exceeds the maximum number of vintage dates "
            f"allowed ({MAX_VINTAGES})."
        )


def _realtime(
    query: Mapping[str, str], now: datetime, default: tuple[str, str] | None = None
) -> tuple[str, str]:
    """Real-time period asked for; by default today, as the clock stands in St. Louis."""
    today = now.astimezone(ZoneInfo("America/Chicago")).date().isoformat()
    first, last = default or (today, today)
    period = _day(query, "realtime_start", first), _day(query, "realtime_end", last)
    for name, day in zip(("realtime_start", "realtime_end"), period, strict=True):
        if today < day != LAST_DAY:
            raise FredError(
                f"Bad Request.  Variable {name} can not be after today's date ({today})."
            )
    if period[0] > period[1]:
        raise FredError(
            "Bad Request.  Variable realtime_end must be on or after variable realtime_start."
        )
    return period


def _day(query: Mapping[str, str], name: str, default: str) -> str:
    value = query.get(name, default)
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError:
        raise FredError(
            f"Bad Request.  Variable {name} is not a YYYY-MM-DD formatted date (e.g. 2000-02-24)."
        ) from None


def _head(period: tuple[str, str]) -> dict[str, Any]:
    return {"realtime_start": period[0], "realtime_end": period[1]}


def _page(
    rows: list[Any], query: Mapping[str, str], largest: int
) -> tuple[list[Any], dict[str, int]]:
    limit, offset = _number(query, "limit", largest), _number(query, "offset", 0)
    if not 1 <= limit <= largest:
        raise FredError(f"Bad Request.  Variable limit is not between 1 and {largest}.")
    paging = {"count": len(rows), "offset": offset, "limit": limit}
    return rows[offset : offset + limit], paging


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not text.isdigit():
        raise FredError(f"Bad Request.  Variable {name} is not a non-negative integer.")
    return int(text)


def _xml_response(
    root: str, head: Mapping[str, Any], element: str, rows: list[dict[str, Any]] | list[str]
) -> Response:
    children = [
        f"<{element}>{row}</{element}>" if isinstance(row, str) else _element(element, row) + "/>"
        for row in rows
    ]
    return Response(200, _xml(root, head, children), XML_TYPE)


def _element(name: str, attributes: Mapping[str, Any]) -> str:
    return f"<{name} " + " ".join(f"{key}={quoteattr(str(v))}" for key, v in attributes.items())


def _xml(root: str, attributes: Mapping[str, Any], children: Any) -> bytes:
    lines = ['<?xml version="1.0" encoding="utf-8" ?>', _element(root, attributes) + ">"]
    return "\n".join([*lines, *children, f"</{root}>"]).encode()
