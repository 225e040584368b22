"""Yahoo Finance's chart service. What belongs here: its cookie, crumb, chart JSON and errors.

Charts answer ``interval=1d`` with ``period1``/``period2`` or ``range``. A wrong crumb, or a crumb
without the cookie that it was made for, is refused; a request without any crumb is not.
"""

import base64
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from quant_assets.markets import Market
from quant_assets.sandbox.prices import (
    PriceSource,
    VendorBars,
    opening_timestamps,
    session_hours,
)
from quant_assets.sandbox.randomness import stable_hash
from quant_assets.sandbox.wire import Request, Response, html_response, json_response

CHART_PATH = "/v8/finance/chart/"
CRUMB_PATH = "/v1/test/getcrumb"
SUMMARY_PATH = "/v10/finance/quoteSummary/"
COOKIE_SECONDS = 31_557_600
STALE_SECONDS = 15 * 86_400
"""Age of the last bar from which a symbol counts as one that no longer trades."""
VALID_RANGES = ("1d", "5d", "1mo", "3mo", "6mo", "1y", "2y", "5y", "10y", "ytd", "max")
_RANGE_DAYS = {"1mo": 31, "3mo": 92, "6mo": 183, "1y": 366, "2y": 731, "5y": 1827, "10y": 3653}
_QUOTE_FIELDS = ("open", "high", "low", "close", "volume")


def endpoint_of(request: Request) -> tuple[str, str]:
    """Endpoint and symbol that a request to one of Yahoo's hosts concerns."""
    if request.path.startswith(CHART_PATH):
        return "yahoo.chart", request.path.removeprefix(CHART_PATH).upper()
    if request.path == CRUMB_PATH:
        return "yahoo.crumb", ""
    if request.path.startswith(SUMMARY_PATH):
        return "yahoo.summary", request.path.removeprefix(SUMMARY_PATH).upper()
    return "yahoo.cookie", ""


class Yahoo:
    """Answers for Yahoo's hosts from one source of prices."""

    def __init__(self, prices: PriceSource, seed: int) -> None:
        self._prices = prices
        self._seed = seed

    def answer(self, request: Request) -> Response:
        """Response to a request to any of Yahoo's hosts."""
        endpoint, symbol = endpoint_of(request)
        if endpoint == "yahoo.chart":
            return self._chart(request, symbol)
        if endpoint == "yahoo.crumb":
            return self._crumb(request)
        if endpoint == "yahoo.summary":
            return _no_summary(symbol)
        return self._cookie(request)

    def _cookie(self, request: Request) -> Response:
        if request.host.startswith("guce."):
            return html_response("<html><body>Nothing to consent to.</body></html>")
        token = base64.b64encode(str(stable_hash(self._seed, "cookie")).encode()).decode()
        cookie = f"A3=d={token}; Max-Age={COOKIE_SECONDS}; Domain=.yahoo.com; Path=/; HttpOnly"
        return Response(404, b"", "text/html", {"Set-Cookie": cookie})

    def _crumb(self, request: Request) -> Response:
        cookie = _session_cookie(request)
        if cookie is None:
            return _refused("Invalid Cookie")
        return Response(200, crumb_for(cookie).encode(), "text/plain;charset=utf-8")

    def _chart(self, request: Request, symbol: str) -> Response:
        crumb, cookie = request.query.get("crumb"), _session_cookie(request)
        if crumb is not None and (cookie is None or crumb != crumb_for(cookie)):
            return _refused("Invalid Crumb")
        interval = request.query.get("interval", "1d")
        if interval != "1d":
            return _error(
                422,
                "Unprocessable Entity",
                f"Invalid input - interval={interval} is not supported. Valid intervals: [1d]",
            )
        bars = self._prices.bars(symbol, request.now)
        if bars is None:
            return _error(404, "Not Found", "No data found, symbol may be delisted")
        try:
            first, last = _window(request, bars)
        except ValueError as error:
            return _error(422, "Unprocessable Entity", f"Invalid input - {error}")
        if last <= bars.timestamps[0] or _is_after_the_end(bars, first, request.now):
            return _error(
                400,
                "Bad Request",
                f"Data doesn't exist for startDate = {first}, endDate = {last}",
            )
        result = _result(bars, first, last, request)
        return json_response({"chart": {"result": [result], "error": None}})


def crumb_for(cookie: str) -> str:
    """The crumb that belongs to a cookie."""
    digest = stable_hash("crumb", cookie).to_bytes(8, "big")
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _session_cookie(request: Request) -> str | None:
    found = re.search(r"(?:^|;\s*)A3=([^;]+)", request.headers.get("cookie", ""))
    return found.group(1) if found else None


def _refused(reason: str) -> Response:
    error = {"code": "Unauthorized", "description": reason}
    return json_response({"finance": {"result": None, "error": error}}, 401)


def _no_summary(symbol: str) -> Response:
    """No symbol has a quote summary; clients ask for one after a chart has failed."""
    error = {"code": "Not Found", "description": f"Quote not found for symbol: {symbol}"}
    return json_response({"quoteSummary": {"result": None, "error": error}}, 404)


def _error(status: int, code: str, description: str) -> Response:
    error = {"code": code, "description": description}
    return json_response({"chart": {"result": None, "error": error}}, status)


def _window(request: Request, bars: VendorBars) -> tuple[int, int]:
    """Half-open window of Unix times that the request asks for."""
    query = request.query
    now = int(request.now.timestamp())
    if "period1" in query or "period2" in query:
        first = int(query.get("period1", 0))
        last = int(query.get("period2", now))
        if first >= last:
            raise ValueError("start date cannot be after end date")
        return first, last
    wanted = query.get("range", "1d")
    if wanted not in VALID_RANGES:
        raise ValueError(f"range={wanted} is not supported. Valid ranges: {VALID_RANGES}")
    if wanted == "max":
        return int(bars.timestamps[0]), now + 1
    if wanted in ("1d", "5d"):
        return int(bars.timestamps[-int(wanted[0]) :][0]), now + 1
    since = request.now - timedelta(days=_RANGE_DAYS.get(wanted, 0))
    if wanted == "ytd":
        since = datetime(request.now.year, 1, 1, tzinfo=UTC)
    return int(since.timestamp()), now + 1


def _is_after_the_end(bars: VendorBars, first: int, now: datetime) -> bool:
    """Whether the window begins after the last bar of a symbol that no longer trades."""
    last = int(bars.timestamps[-1])
    return first > last and int(now.timestamp()) - last > STALE_SECONDS


def _result(bars: VendorBars, first: int, last: int, request: Request) -> dict[str, Any]:
    low, high = np.searchsorted(bars.timestamps, [first, last])
    if request.fault("late") is not None:
        high = min(high, len(bars.timestamps) - 1)
    result: dict[str, Any] = {"meta": _meta(bars, int(low), request)}
    is_empty = request.fault("empty") is not None or request.fault("half") is not None
    if low >= high or is_empty:
        return result | {"indicators": {"quote": [{}], "adjclose": [{}]}}
    part = slice(int(low), int(high))
    result["timestamp"] = bars.timestamps[part].tolist()
    if events := _events(bars, first, last):
        result["events"] = events
    quote = {name: getattr(bars, name)[part].tolist() for name in _QUOTE_FIELDS}
    adjusted = bars.adjusted_close[part].tolist()
    result["indicators"] = {"quote": [quote], "adjclose": [{"adjclose": adjusted}]}
    _spoil(result, bars.security.market, request)
    return result


def _events(bars: VendorBars, first: int, last: int) -> dict[str, Any]:
    def inside(position: int) -> bool:
        return first <= int(bars.timestamps[position]) < last

    dividends, splits = {}, {}
    for position, amount in bars.dividends:
        if inside(position):
            stamp = int(bars.timestamps[position])
            dividends[str(stamp)] = {"amount": amount, "date": stamp}
    for position, numerator, denominator in bars.splits:
        if inside(position):
            stamp = int(bars.timestamps[position])
            splits[str(stamp)] = {
                "date": stamp,
                "numerator": float(numerator),
                "denominator": float(denominator),
                "splitRatio": f"{numerator}:{denominator}",
            }
    found = {"dividends": dividends, "splits": splits}
    return {name: events for name, events in found.items() if events}


def _meta(bars: VendorBars, low: int, request: Request) -> dict[str, Any]:
    security, market = bars.security, bars.security.market
    opens, closes = session_hours(market, request.now)
    local = opens.astimezone(ZoneInfo(market.timezone))
    offset = int((local.utcoffset() or timedelta()).total_seconds())
    year = slice(-252, None)
    is_us = market.key == "us"
    wanted_range = request.query.get("range", "")
    period = {"timezone": local.tzname(), "gmtoffset": offset}
    start, end = int(opens.timestamp()), int(closes.timestamp())
    last_trade = min(int(request.now.timestamp()), int(bars.timestamps[-1]) + 23_400)
    return {
        "currency": market.currency,
        "symbol": security.symbol,
        "exchangeName": security.exchange,
        "fullExchangeName": security.full_exchange,
        "instrumentType": security.instrument_type,
        "firstTradeDate": int(bars.timestamps[0]),
        "regularMarketTime": last_trade,
        "hasPrePostMarketData": is_us,
        "gmtoffset": offset,
        "timezone": local.tzname(),
        "exchangeTimezoneName": market.timezone,
        "regularMarketPrice": float(bars.close[-1]),
        "fiftyTwoWeekHigh": float(bars.high[year].max()),
        "fiftyTwoWeekLow": float(bars.low[year].min()),
        "regularMarketDayHigh": float(bars.high[-1]),
        "regularMarketDayLow": float(bars.low[-1]),
        "regularMarketVolume": int(bars.volume[-1]),
        "longName": security.name,
        "shortName": security.name,
        "chartPreviousClose": float(bars.close[max(low - 1, 0)]),
        "priceHint": 2 if is_us else 0,
        "currentTradingPeriod": {
            "pre": period | {"start": start - 19_800, "end": start},
            "regular": period | {"start": start, "end": end},
            "post": period | {"start": end, "end": end + 14_400},
        },
        "dataGranularity": "1d",
        "range": wanted_range,
        "validRanges": list(VALID_RANGES),
    }


def _spoil(result: dict[str, Any], market: Market, request: Request) -> None:
    """Apply the faults that concern the content of a chart."""
    quote = result["indicators"]["quote"][0]
    columns = [result["timestamp"], *quote.values()]
    columns.append(result["indicators"]["adjclose"][0]["adjclose"])
    if (fault := request.fault("wrong_units")) is not None:
        rows, factor = fault.option("rows", len(columns[0])), fault.option("factor", 100.0)
        for name in ("open", "high", "low", "close"):
            quote[name][-rows:] = [value * factor for value in quote[name][-rows:]]
    if (fault := request.fault("revised")) is not None:
        factor = fault.option("factor", 1.03)
        quote["volume"][:] = [round(value * factor) for value in quote["volume"]]
    for kind, value in (("zero_rows", 0), ("null_row", None)):
        if request.fault(kind) is not None:
            for column in columns[1:]:
                column[-1] = value
    if request.fault("holiday_row") is not None:
        _insert_holiday(columns, market)
    if request.fault("duplicate") is not None:
        for column in columns:
            column.append(column[-1])
    fault = request.fault("malformed")
    if fault is not None and fault.option("wrong_types", False):
        quote["close"] = ["n/a"] * len(columns[0])


def _insert_holiday(columns: list[list[Any]], market: Market) -> None:
    """Add a copy of a bar on the last closure before the last session."""
    days = [datetime.fromtimestamp(stamp, UTC).date() for stamp in columns[0]]
    closure: date = days[-1] - timedelta(days=1)
    while market.is_session(closure):
        closure -= timedelta(days=1)
    place = sum(1 for day in days if day < closure)
    stamp = int(opening_timestamps(market, np.array([closure], dtype="datetime64[D]"))[0])
    for column in columns:
        column.insert(place, stamp if column is columns[0] else column[max(place - 1, 0)])
