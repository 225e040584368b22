"""The simulated Yahoo, asked by yfinance over a curl_cffi session and by plain requests."""

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests
import yfinance
from curl_cffi import requests as curl_requests
from yfinance.data import YfData
from yfinance.exceptions import YFPricesMissingError, YFRateLimitError

from quant_assets.markets import US
from quant_assets.sandbox.faults import Fault
from quant_assets.sandbox.market import SimulatedMarket
from quant_assets.sandbox.server import Sandbox

NOW = datetime(2026, 6, 16, 22, 0, tzinfo=UTC)
FIRST, END = "2026-01-02", "2026-06-17"


class ThroughSandbox(curl_requests.Session):
    """Session of yfinance that goes to the sandbox as to a plain proxy."""

    def __init__(self, base: str) -> None:
        super().__init__(impersonate="chrome", proxies={"http": base})

    def request(self, method: str, url: str, *args: Any, **options: Any) -> Any:
        return super().request(method, url.replace("https://", "http://", 1), *args, **options)


@pytest.fixture(scope="module", autouse=True)
def yahoo_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    yfinance.set_tz_cache_location(str(tmp_path_factory.mktemp("yahoo")))
    hidden = yfinance.config.debug.hide_exceptions
    yfinance.config.debug.hide_exceptions = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    yfinance.config.debug.hide_exceptions = hidden


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with Sandbox(now=lambda: NOW) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.faults.clear()
    running.requests.clear()
    YfData.cache_get.cache_clear()
    return running


@pytest.fixture
def session(sandbox: Sandbox) -> ThroughSandbox:
    return ThroughSandbox(sandbox.url)


def history(symbol: str, session: Any, first: str = FIRST, end: str = END) -> pd.DataFrame:
    ticker = yfinance.Ticker(symbol, session=session)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ticker.history(start=first, end=end, auto_adjust=False, actions=True, timeout=10)


def chart(sandbox: Sandbox, symbol: str, **query: Any) -> requests.Response:
    asked = {"interval": "1d", "period1": _stamp(FIRST), "period2": _stamp(END)} | query
    with requests.Session() as plain:
        plain.trust_env = False
        address = f"{sandbox.url}/v8/finance/chart/{symbol}"
        return plain.get(address, params=asked, timeout=10)


def result(sandbox: Sandbox, symbol: str, **query: Any) -> dict[str, Any]:
    found: dict[str, Any] = chart(sandbox, symbol, **query).json()["chart"]["result"][0]
    return found


def _stamp(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize("symbol", ["AAPL", "JPM", "005930.KS"])
def test_yfinance_reads_what_was_traded(session: ThroughSandbox, symbol: str) -> None:
    found = history(symbol, session)
    truth = (
        SimulatedMarket(7).as_traded(symbol).set_index("session_date").loc[FIRST:END][:"2026-06-16"]
    )
    assert list(found.index.date) == list(truth.index.date)
    later = truth["split_ratio"][::-1].cumprod()[::-1].to_numpy() / truth["split_ratio"].to_numpy()
    for theirs, ours in (("Open", "open"), ("High", "high"), ("Low", "low"), ("Close", "close")):
        assert np.allclose(found[theirs].to_numpy() * later, truth[ours].to_numpy(), rtol=3e-7)
    assert np.allclose(found["Volume"].to_numpy() / later, truth["volume"].to_numpy())
    splits = found["Stock Splits"].replace(0.0, 1.0).to_numpy()
    assert np.array_equal(splits, truth["split_ratio"].to_numpy())
    assert np.allclose(found["Dividends"].to_numpy() * later, truth["dividend"], atol=1e-4)


def test_a_session_costs_one_cookie_one_crumb_and_two_charts(
    sandbox: Sandbox, session: ThroughSandbox
) -> None:
    data = YfData(session=session)
    data._cookie = data._crumb = None
    yfinance.cache.get_cookie_cache().store("curlCffi", None)
    yfinance.cache.get_tz_cache().store("KO", None)
    history("KO", session)
    assert sandbox.requests.count(endpoint="yahoo.cookie") == 1
    assert sandbox.requests.count(endpoint="yahoo.crumb") == 1
    charts = sandbox.requests.matching(endpoint="yahoo.chart", subject="KO")
    assert [entry.query.get("range") for entry in charts] == ["1d", None]
    assert sandbox.requests.count(endpoint="yahoo.chart", range="1d", status=200) == 1


def test_a_wrong_crumb_or_a_missing_cookie_is_refused(sandbox: Sandbox) -> None:
    refused = chart(sandbox, "AAPL", crumb="nonsense")
    assert refused.status_code == 401
    assert refused.json()["finance"]["error"]["description"] == "Invalid Crumb"
    assert requests.get(f"{sandbox.url}/v1/test/getcrumb", timeout=5).status_code == 401
    cookie = {"Cookie": "A3=d=abc"}
    crumb = requests.get(f"{sandbox.url}/v1/test/getcrumb", headers=cookie, timeout=5).text
    accepted = requests.get(
        f"{sandbox.url}/v8/finance/chart/AAPL", params={"crumb": crumb}, headers=cookie, timeout=5
    )
    assert accepted.status_code == 200
    assert chart(sandbox, "AAPL", crumb=crumb).status_code == 401


def test_meta_has_what_clients_need(sandbox: Sandbox, recorded_data: Any) -> None:
    recorded = pd.read_json(
        recorded_data / "wire/yahoo/chart-AAPL-2020-01-01-to-2020-01-03.json", typ="series"
    )["response"]["bodyJson"]["chart"]["result"][0]["meta"]
    meta = result(sandbox, "AAPL")["meta"]
    assert set(recorded) <= set(meta)
    assert {k: type(v) for k, v in recorded.items()} == {k: type(meta[k]) for k in recorded}
    assert meta["currency"] == "USD"
    korean = result(sandbox, "005930.KS")["meta"]
    assert (korean["currency"], korean["exchangeTimezoneName"]) == ("KRW", "Asia/Seoul")
    assert korean["longName"] == "Samsung Electronics"


def test_the_window_is_half_open(sandbox: Sandbox) -> None:
    whole = result(sandbox, "AAPL")["timestamp"]
    assert result(sandbox, "AAPL", period1=whole[3], period2=whole[7])["timestamp"] == whole[3:7]
    weekend = result(sandbox, "AAPL", period1=_stamp("2026-06-13"), period2=_stamp("2026-06-15"))
    assert "timestamp" not in weekend
    assert weekend["indicators"]["quote"] == [{}]


@pytest.mark.parametrize(
    ("asked", "sessions"), [("1d", 1), ("5d", 5), ("1mo", 21), ("1y", 252), ("max", 6650)]
)
def test_ranges(sandbox: Sandbox, asked: str, sessions: int) -> None:
    address = f"{sandbox.url}/v8/finance/chart/AAPL?range={asked}&interval=1d"
    found = requests.get(address, timeout=10).json()["chart"]["result"][0]
    assert len(found["timestamp"]) == pytest.approx(sessions, rel=0.05)
    last = datetime.fromtimestamp(found["timestamp"][-1], UTC).date()
    assert last == NOW.date()


@pytest.mark.parametrize(
    ("symbol", "query", "status", "description"),
    [
        ("ZZGONE", {}, 404, "No data found, symbol may be delisted"),
        ("900009.KS", {}, 404, "No data found, symbol may be delisted"),
        ("ZZOLD", {}, 400, "Data doesn't exist for startDate"),
        ("AAPL", {"period1": 0, "period2": 1000}, 400, "Data doesn't exist for startDate"),
        ("AAPL", {"interval": "1h"}, 422, "interval=1h is not supported"),
        ("AAPL", {"period1": 5, "period2": 4}, 422, "start date cannot be after end date"),
    ],
)
def test_errors(
    sandbox: Sandbox, symbol: str, query: dict[str, Any], status: int, description: str
) -> None:
    answer = chart(sandbox, symbol, **query)
    assert answer.status_code == status
    assert answer.json()["chart"]["result"] is None
    assert description in answer.json()["chart"]["error"]["description"]


def test_yfinance_names_missing_prices(session: ThroughSandbox) -> None:
    with pytest.raises(YFPricesMissingError, match="Data doesn't exist"):
        history("ZZOLD", session)
    with pytest.raises(Exception, match=r"404|no price data found|possibly delisted"):
        history("ZZGONE", session)
    earlier = history("ZZOLD", session, "2025-06-01", END)
    assert earlier.index[-1].date() == date(2025, 6, 30)


def test_forty_requests_at_once_are_all_answered(sandbox: Sandbox) -> None:
    symbols = [f"Q{number}" for number in range(40)]
    with ThreadPoolExecutor(40) as pool:
        parallel = list(pool.map(lambda symbol: chart(sandbox, symbol).json(), symbols))
    alone = [chart(sandbox, symbol).json() for symbol in symbols]
    assert parallel == alone
    assert sandbox.requests.count(endpoint="yahoo.chart", status=200) == 80


def test_rate_limit_reaches_yfinance(sandbox: Sandbox, session: ThroughSandbox) -> None:
    sandbox.faults.add(Fault("yahoo.chart", "status", code=429, retry_after=7))
    with pytest.raises(YFRateLimitError):
        history("PEP", session)
    answer = chart(sandbox, "PEP")
    assert answer.headers["Retry-After"] == "7"
    sandbox.faults.clear()
    YfData.cache_get.cache_clear()
    assert len(history("PEP", session)) > 100


def test_faults_of_the_content(sandbox: Sandbox) -> None:
    clean = result(sandbox, "AAPL")
    quote = clean["indicators"]["quote"][0]

    def faulty(kind: str, **options: Any) -> dict[str, Any]:
        sandbox.faults.clear()
        sandbox.faults.add(Fault("yahoo.chart", kind, symbols=["AAPL"], **options))
        return result(sandbox, "AAPL")

    def quotes(kind: str, **options: Any) -> dict[str, Any]:
        found: dict[str, Any] = faulty(kind, **options)["indicators"]["quote"][0]
        return found

    assert faulty("empty")["indicators"]["quote"] == [{}]
    assert faulty("late")["timestamp"] == clean["timestamp"][:-1]
    assert faulty("duplicate")["timestamp"] == [*clean["timestamp"], clean["timestamp"][-1]]
    assert quotes("wrong_units")["close"] == [price * 100 for price in quote["close"]]
    assert quotes("wrong_units", rows=1)["close"][:-1] == quote["close"][:-1]
    assert quotes("revised", factor=2)["volume"] == [volume * 2 for volume in quote["volume"]]
    assert [column[-1] for column in quotes("zero_rows").values()] == [0, 0, 0, 0, 0]
    assert quotes("malformed", wrong_types=True)["close"] == ["n/a"] * len(quote["close"])
    assert [column[-1] for column in quotes("null_row").values()] == [None] * 5
    holiday = faulty("holiday_row")
    extra = set(holiday["timestamp"]) - set(clean["timestamp"])
    assert len(extra) == 1
    assert not US.is_session(datetime.fromtimestamp(extra.pop(), UTC).date())
    assert holiday["timestamp"] == sorted(holiday["timestamp"])
    assert result(sandbox, "MSFT")["timestamp"] == clean["timestamp"]


def test_half_of_the_symbols_fail(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("yahoo.chart", "half", code=503))
    symbols = ["AAPL", "MSFT", "NVDA", "AMZN"]
    assert [chart(sandbox, s).status_code for s in symbols] == [200, 503, 200, 503]


def test_last_rows_of_an_odd_night_reach_yfinance(
    sandbox: Sandbox, session: ThroughSandbox
) -> None:
    sandbox.faults.add(Fault("yahoo.chart", "duplicate", history_only=True))
    doubled = history("CAT", session)
    assert doubled.index.is_unique
    assert doubled.index[-1].date() == NOW.date()
    sandbox.faults.clear()
    sandbox.faults.add(Fault("yahoo.chart", "null_row", history_only=True))
    YfData.cache_get.cache_clear()
    assert history("CAT", session).index[-1].date() < NOW.date()
