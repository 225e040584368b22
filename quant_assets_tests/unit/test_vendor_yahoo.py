"""Yahoo through the real yfinance: outcomes per symbol, retries, rate limits, recorded charts."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quant_assets.errors import BadConfigurationError, TransientError
from quant_assets.sandbox.faults import Fault
from quant_assets.sandbox.market import SimulatedMarket
from quant_assets.sandbox.server import Sandbox
from quant_assets.vendors.yahoo import (
    BAR_COLUMNS,
    EVENT_COLUMNS,
    DailyBars,
    SymbolOutcome,
    YahooClient,
)
from quant_assets.vendors.yahoo_timezones import Timezones
from quant_assets_tests.unit.scripted_server import Reply, Request, ScriptedServer

NOW = datetime(2025, 9, 30, 22, 0, tzinfo=UTC)
START, END = date(2025, 5, 1), date(2025, 6, 20)
SYMBOLS = ["AAPL", "MSFT", "JPM", "005930.KS", "KO", "XOM"]


class Waits(list[float]):
    """Takes the place of ``time.sleep`` and keeps what was slept."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(now=lambda: NOW) as running:
        yield running


@pytest.fixture(autouse=True)
def _fresh_sandbox(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "sandbox" in request.fixturenames:
        running = request.getfixturevalue("sandbox")
        running.faults.clear()
        running.requests.clear()


def client(url: str, cache_dir: Path, **options: Any) -> YahooClient:
    options = {"max_per_second": 10_000, "sleep": Waits(), "timeout_seconds": 10.0, **options}
    return YahooClient(proxy_url=url, cache_dir=cache_dir, **options)


def only(result: DailyBars) -> SymbolOutcome:
    assert len(result.outcomes) == 1
    return result.outcomes[0]


def statuses(result: DailyBars) -> dict[str, str]:
    return {outcome.symbol: outcome.status for outcome in result.outcomes}


def test_bars_and_events_are_those_of_the_market(sandbox: Sandbox, tmp_path: Path) -> None:
    result = client(sandbox.url, tmp_path).daily_bars(SYMBOLS, date(2015, 1, 1), END)
    assert statuses(result) == dict.fromkeys(SYMBOLS, "ok")
    assert tuple(result.bars.columns) == BAR_COLUMNS
    assert tuple(result.events.columns) == EVENT_COLUMNS
    assert [str(dtype) for dtype in result.bars.dtypes] == [
        *("str", "datetime64[us]", "float64", "float64", "float64", "float64", "int64")
    ]
    assert [str(dtype) for dtype in result.events.dtypes] == [
        *("str", "datetime64[us]", "float64", "float64")
    ]
    assert not result.bars.duplicated(["symbol", "session_date"]).any()
    for outcome in result.outcomes:
        bars = result.bars[result.bars["symbol"] == outcome.symbol]
        events = result.events[result.events["symbol"] == outcome.symbol]
        truth = sandbox_truth(sandbox, outcome.symbol)
        assert bars["session_date"].tolist() == truth["session_date"].tolist()
        assert outcome.bars == len(bars)
        assert outcome.first == bars["session_date"].iloc[0].date()
        assert outcome.last == bars["session_date"].iloc[-1].date()
        # Undoing the later splits, also those after the range, must give what was traded.
        ratio = np.ones(len(truth))
        full = sandbox_truth(sandbox, outcome.symbol, last=NOW.date())
        for day, split in full.loc[
            full["split_ratio"] != 1.0, ["session_date", "split_ratio"]
        ].to_numpy():
            ratio *= np.where(truth["session_date"] < day, split, 1.0)
        np.testing.assert_allclose(bars["close"] * ratio, truth["close"], rtol=1e-6)
        np.testing.assert_allclose(bars["volume"] / ratio, truth["volume"], rtol=1e-6, atol=1)
        happened = truth[(truth["dividend"] != 0) | (truth["split_ratio"] != 1)]
        assert events["event_date"].tolist() == happened["session_date"].tolist()
        assert events["split_ratio"].tolist() == happened["split_ratio"].tolist()


def sandbox_truth(sandbox: Sandbox, symbol: str, last: date = END) -> pd.DataFrame:
    truth = SimulatedMarket(sandbox.seed).as_traded(symbol)
    inside = truth["session_date"].between(pd.Timestamp(2015, 1, 1), pd.Timestamp(last))
    return truth[inside].reset_index(drop=True)


def test_both_ends_are_included(sandbox: Sandbox, tmp_path: Path) -> None:
    made = client(sandbox.url, tmp_path)
    for symbol in ("AAPL", "005930.KS"):
        day = date(2025, 6, 18)
        result = made.daily_bars([symbol], day, day)
        assert (only(result).first, only(result).last, only(result).bars) == (day, day, 1)


def test_special_symbols_have_their_own_outcome(sandbox: Sandbox, tmp_path: Path) -> None:
    made = client(sandbox.url, tmp_path)
    asked = ["AAPL", "ZZGONE", "ZZOLD", "ZZNEW", "900009.KS", "AAPL"]
    late = made.daily_bars(asked, date(2025, 9, 1), date(2025, 9, 19))
    assert statuses(late) == {
        "AAPL": "ok",
        "ZZGONE": "unknown_symbol",
        "ZZOLD": "empty",
        "ZZNEW": "ok",
        "900009.KS": "unknown_symbol",
    }
    early = made.daily_bars(["ZZOLD", "ZZNEW"], date(2020, 1, 1), date(2020, 2, 1))
    assert statuses(early) == {"ZZOLD": "ok", "ZZNEW": "empty"}
    assert all(outcome.attempts == 1 for outcome in (*late.outcomes, *early.outcomes))
    gone = late.outcomes[1]
    assert (gone.bars, gone.first, gone.last) == (0, None, None)
    assert "delisted" in gone.detail


def test_a_known_timezone_halves_the_requests(sandbox: Sandbox, tmp_path: Path) -> None:
    client(sandbox.url, tmp_path).daily_bars(SYMBOLS, START, END)
    assert sandbox.requests.count(endpoint="yahoo.chart") == 2 * len(SYMBOLS)
    assert sandbox.requests.count(endpoint="yahoo.crumb") == 1
    sandbox.requests.clear()
    client(sandbox.url, tmp_path).daily_bars(SYMBOLS, START, END)
    assert sandbox.requests.count(endpoint="yahoo.chart") == len(SYMBOLS)
    names = json.loads((tmp_path / "timezones.json").read_text(encoding="utf-8"))
    assert names["005930.KS"] == "Asia/Seoul"
    assert names["AAPL"] == "America/New_York"


def test_a_passing_failure_is_asked_again(sandbox: Sandbox, tmp_path: Path) -> None:
    made = client(sandbox.url, tmp_path)
    clean = made.daily_bars(["AAPL"], START, END)
    for kind in ("reset", "truncated", "malformed"):
        sandbox.faults.clear()
        sandbox.faults.add(Fault("yahoo.chart", kind, times=1))
        result = made.daily_bars(["AAPL"], START, END)
        assert (only(result).status, only(result).attempts) == ("ok", 2), kind
        pd.testing.assert_frame_equal(result.bars, clean.bars)


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("status", {"code": 500, "body": "html"}, "HTTP 500"),
        ("status", {"code": 503}, "HTTP 503"),
        ("status", {"code": 401}, "HTTP 401"),
        ("reset", {}, ""),
        ("truncated", {}, ""),
        ("malformed", {}, "JSON"),
        ("malformed", {"wrong_types": True}, ""),
        ("empty", {"body": True}, "JSON"),
    ],
)
def test_a_lasting_failure_is_an_outcome_and_spares_the_others(
    sandbox: Sandbox, tmp_path: Path, kind: str, options: dict[str, Any], words: str
) -> None:
    waits = Waits()
    sandbox.faults.add(Fault("yahoo.chart", kind, symbols=["JPM"], **options))
    # One worker: a refused crumb of one thread may cost another thread a repetition.
    made = client(sandbox.url, tmp_path, sleep=waits, backoff_seconds=1.0, workers=1)
    result = made.daily_bars(SYMBOLS, START, END)
    assert statuses(result) == {**dict.fromkeys(SYMBOLS, "ok"), "JPM": "failed"}
    failed = result.outcomes[2]
    assert failed.attempts == 3
    assert words in failed.detail
    assert "crumb=" not in failed.detail.replace("crumb=[redacted]", "")
    assert len(waits) == 2
    assert 1.0 <= waits[0] <= 1.5
    assert 2.0 <= waits[1] <= 3.0
    assert "JPM" not in set(result.bars["symbol"])


def test_a_slow_answer_is_given_up(sandbox: Sandbox, tmp_path: Path) -> None:
    made = client(sandbox.url, tmp_path, timeout_seconds=0.5, attempts=2)
    sandbox.faults.add(Fault("yahoo.chart", "delay", seconds=3.0, symbols=["JPM"]))
    result = made.daily_bars(["JPM"], START, END)
    assert only(result).status == "failed"
    assert "imed out" in only(result).detail


def test_an_empty_answer_is_not_a_success(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults.add(Fault("yahoo.chart", "empty", history_only=True))
    result = client(sandbox.url, tmp_path).daily_bars(["AAPL"], START, END)
    assert only(result).status == "empty"
    assert result.bars.empty
    assert tuple(result.bars.columns) == BAR_COLUMNS
    assert str(result.bars["session_date"].dtype) == "datetime64[us]"


def test_a_doubled_row_counts_once_and_is_told(sandbox: Sandbox, tmp_path: Path) -> None:
    made = client(sandbox.url, tmp_path)
    clean = made.daily_bars(["AAPL"], START, END)
    sandbox.faults.add(Fault("yahoo.chart", "duplicate", history_only=True))
    result = made.daily_bars(["AAPL"], START, END)
    assert only(result).detail == "1 doubled rows dropped"
    assert len(result.bars) == len(clean.bars)
    assert result.bars["session_date"].is_unique


def test_rows_of_zeros_are_passed_on_for_the_checks(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults.add(Fault("yahoo.chart", "zero_rows", history_only=True))
    result = client(sandbox.url, tmp_path).daily_bars(["AAPL"], START, END)
    last = result.bars.iloc[-1]
    assert last["session_date"] == pd.Timestamp(END)
    assert (last["close"], last["volume"]) == (0.0, 0)


def test_a_refused_rate_is_waited_out(sandbox: Sandbox, tmp_path: Path) -> None:
    waits = Waits()
    made = client(sandbox.url, tmp_path, sleep=waits, attempts=4)
    sandbox.faults.add(Fault("yahoo.chart", "status", code=429, retry_after=20, times=2))
    result = made.daily_bars(["AAPL"], START, END)
    assert (only(result).status, only(result).attempts) == ("ok", 3)
    assert waits == [20.0, 20.0]
    sandbox.faults.clear()
    sandbox.faults.add(Fault("yahoo.chart", "status", code=429, retry_after=21_600, times=1))
    assert only(made.daily_bars(["AAPL"], START, END)).status == "ok"
    assert waits[2] == 60.0, "six hours are not waited"


def test_a_refused_rate_stops_the_questions(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults.add(Fault("yahoo.chart", "status", code=429))
    many = [f"SYM{n}" for n in range(60)]
    made = client(sandbox.url, tmp_path, workers=4, rate_limit_threshold=5)
    result = made.daily_bars(many, START, END)
    assert set(statuses(result).values()) == {"rate_limited"}
    asked = sandbox.requests.count(endpoint="yahoo.chart")
    assert 5 <= asked <= 5 + 4, "each worker may have one question on the way"
    assert sum(outcome.attempts == 0 for outcome in result.outcomes) >= 50


def test_too_few_answers_are_an_error(sandbox: Sandbox, tmp_path: Path) -> None:
    made = client(sandbox.url, tmp_path, minimum_success_ratio=0.9, attempts=1)
    sandbox.faults.add(Fault("yahoo.chart", "status", code=500, symbols=["JPM"]))
    tolerated = made.daily_bars([*SYMBOLS, "ZZGONE"], START, END)
    assert statuses(tolerated)["JPM"] == "failed"
    with pytest.raises(TransientError, match="only 0 of 1 symbols answered"):
        made.daily_bars(["JPM"], START, END)
    sandbox.faults.add(Fault("yahoo.chart", "status", code=500, symbols=["AAPL"]))
    with pytest.raises(TransientError, match=r"only 4 of 6 .*\(2 failed; first AAPL"):
        made.daily_bars(SYMBOLS, START, END)


def test_a_lost_crumb_is_renewed(sandbox: Sandbox, tmp_path: Path) -> None:
    made = client(sandbox.url, tmp_path, attempts=1)
    made.daily_bars(["AAPL"], START, END)
    sandbox.faults.add(Fault("yahoo.chart", "status", code=401, times=1))
    assert only(made.daily_bars(["AAPL"], START, END)).status == "ok"


@pytest.mark.parametrize("endpoint", ["yahoo.cookie", "yahoo.crumb"])
@pytest.mark.parametrize("code", [429, 500])
def test_bars_come_without_cookie_or_crumb(
    sandbox: Sandbox, tmp_path: Path, endpoint: str, code: int
) -> None:
    sandbox.faults.add(Fault(endpoint, "status", code=code))
    result = client(sandbox.url, tmp_path).daily_bars(["AAPL"], START, END)
    assert only(result).status == "ok"


def test_two_clients_in_a_process_keep_their_own_vendor(sandbox: Sandbox, tmp_path: Path) -> None:
    with Sandbox(seed=11, now=lambda: NOW) as other:
        clients = [client(sandbox.url, tmp_path / "a"), client(other.url, tmp_path / "b")]
        alone = [made.daily_bars(SYMBOLS, START, END).bars for made in clients]
        assert not alone[0].equals(alone[1]), "another seed is another market"
        found: list[list[pd.DataFrame]] = [[], []]

        def work(which: int) -> None:
            for _ in range(3):
                found[which].append(clients[which].daily_bars(SYMBOLS, START, END).bars)

        threads = [threading.Thread(target=work, args=(which,)) for which in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for which in (0, 1):
        assert len(found[which]) == 3
        for bars in found[which]:
            pd.testing.assert_frame_equal(bars, alone[which])


def test_without_a_proxy_the_real_yahoo_is_asked_over_tls(tmp_path: Path) -> None:
    """The fence of the tests is a closed HTTPS proxy: only a TLS request can run into it."""
    made = YahooClient(proxy_url=None, cache_dir=tmp_path, attempts=1, sleep=Waits())
    outcome = only(made.daily_bars(["AAPL"], START, END))
    assert outcome.status == "failed"
    assert "query2.finance.yahoo.com:443 over proxy 127.0.0.1" in outcome.detail


def test_no_request_is_made_for_nothing(tmp_path: Path) -> None:
    with ScriptedServer([Reply("")]) as server:
        made = client(server.url, tmp_path)
        result = made.daily_bars([], START, END)
        with pytest.raises(BadConfigurationError, match="is empty"):
            made.daily_bars(["AAPL"], END, START)
        assert server.requests == []
    assert result.outcomes == ()
    assert tuple(result.events.columns) == EVENT_COLUMNS


@pytest.mark.parametrize("name", ["workers", "attempts", "rate_limit_threshold"])
def test_wrong_arguments_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadConfigurationError, match=name):
        client("http://127.0.0.1:9", tmp_path, **{name: 0})


def chart_server(body: Any) -> ScriptedServer:
    """Answer every chart with ``body``; cookie and crumb work."""

    def answer(request: Request) -> Reply:
        if request.path.startswith("/v8/finance/chart/"):
            return Reply(json.dumps(body))
        if request.path.endswith("getcrumb"):
            return Reply("crumb")
        return Reply("", 404, {"Set-Cookie": "A3=d; Max-Age=31557600; Domain=.yahoo.com; Path=/"})

    return ScriptedServer(answer)


@pytest.fixture
def recorded_chart(recorded_data: Path) -> dict[str, Any]:
    """AAPL from 2020-08-31 to 2020-11-06, with a split and a dividend, as Yahoo sent it."""
    path = recorded_data / "wire" / "yahoo" / "chart-AAPL-2020-08-31-to-2020-11-07.json"
    body: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["response"]["bodyJson"]
    return body


def test_a_recorded_chart_is_read_to_the_last_digit(
    recorded_chart: dict[str, Any], tmp_path: Path
) -> None:
    result = recorded_chart["chart"]["result"][0]
    with chart_server(recorded_chart) as server:
        made = client(server.url, tmp_path)
        bars = made.daily_bars(["AAPL"], date(2020, 8, 31), date(2020, 11, 6))
    quote = result["indicators"]["quote"][0]
    for column in ("open", "high", "low", "close", "volume"):
        assert bars.bars[column].tolist() == quote[column], column
    dates = [f"{day:%Y-%m-%d}" for day in bars.bars["session_date"]]
    assert (dates[0], dates[-1], len(dates)) == ("2020-08-31", "2020-11-06", 49)
    events = {
        f"{event.event_date:%Y-%m-%d}": (event.dividend, event.split_ratio)
        for event in bars.events.itertuples()
    }
    assert events["2020-08-31"] == (0.0, 4.0)
    assert events["2020-11-06"] == (0.205, 1.0)
    assert only(bars).detail == ""


def test_a_hole_in_a_chart_is_dropped_and_told(
    recorded_chart: dict[str, Any], tmp_path: Path
) -> None:
    quote = recorded_chart["chart"]["result"][0]["indicators"]["quote"][0]
    quote["close"][5] = None
    quote["open"][-1] = None
    with chart_server(recorded_chart) as server:
        bars = client(server.url, tmp_path).daily_bars(
            ["AAPL"], date(2020, 8, 31), date(2020, 11, 6)
        )
    assert only(bars).detail == "2 rows without a price dropped"
    assert len(bars.bars) == 47
    assert not bars.bars.isna().any(axis=None)


def test_events_keep_their_own_date_also_without_a_bar(
    recorded_chart: dict[str, Any], tmp_path: Path
) -> None:
    """Saturday 2020-10-10: yfinance alone would report it on Friday's bar."""
    result = recorded_chart["chart"]["result"][0]
    saturday = int(datetime(2020, 10, 10, 13, 30, tzinfo=UTC).timestamp())
    split = {"date": saturday, "numerator": 3.0, "denominator": 2.0, "splitRatio": "3:2"}
    result["events"] = {
        "splits": {str(saturday): split},
        "dividends": {str(saturday): {"amount": 0.5, "date": saturday}},
    }
    with chart_server(recorded_chart) as server:
        bars = client(server.url, tmp_path).daily_bars(
            ["AAPL"], date(2020, 8, 31), date(2020, 11, 6)
        )
    event = bars.events.iloc[0]
    assert (event["dividend"], event["split_ratio"]) == (0.5, 1.5)
    assert event["event_date"] == pd.Timestamp(2020, 10, 10)
    assert len(bars.bars) == 49


def test_events_survive_a_chart_without_bars(
    recorded_chart: dict[str, Any], tmp_path: Path
) -> None:
    result = recorded_chart["chart"]["result"][0]
    del result["timestamp"]
    result["indicators"] = {"quote": [{}], "adjclose": [{}]}
    with chart_server(recorded_chart) as server:
        bars = client(server.url, tmp_path).daily_bars(
            ["AAPL"], date(2020, 8, 31), date(2020, 11, 6)
        )
    assert only(bars).status == "empty"
    assert only(bars).detail == "no bars in the answer"
    assert 4.0 in bars.events["split_ratio"].tolist()


@pytest.mark.parametrize(
    "change",
    [
        {"numerator": 0.0},
        {"denominator": 0.0},
        {"numerator": "four"},
        {"date": "2020"},
    ],
)
def test_a_mangled_split_fails_the_symbol(
    recorded_chart: dict[str, Any], tmp_path: Path, change: dict[str, Any]
) -> None:
    events = recorded_chart["chart"]["result"][0]["events"]
    (split,) = events["splits"].values()
    split.update(change)
    with chart_server(recorded_chart) as server:
        bars = client(server.url, tmp_path, attempts=1).daily_bars(
            ["AAPL"], date(2020, 8, 31), date(2020, 11, 6)
        )
    assert only(bars).status == "failed"
    assert bars.bars.empty
    assert bars.events.empty


@pytest.mark.parametrize("body", [{}, [], {"chart": None}, {"finance": {"result": None}}])
def test_an_answer_that_is_no_chart_is_a_failure_not_an_empty_symbol(
    tmp_path: Path, body: Any
) -> None:
    with chart_server(body) as server:
        result = client(server.url, tmp_path, attempts=1).daily_bars(["AAPL"], START, END)
    assert only(result).status == "failed"


def test_timezones_of_two_processes_are_both_kept(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "timezones.json"
    one, other = Timezones(path), Timezones(path)
    one.put("AAPL", "America/New_York")
    one.save()
    other.put("005930.KS", "Asia/Seoul")
    other.save()
    assert Timezones(path).get("AAPL") == "America/New_York"
    assert Timezones(path).get("005930.KS") == "Asia/Seoul"
    path.write_text("{broken", encoding="utf-8")
    assert Timezones(path).get("AAPL") is None
