"""Bars, dividends and splits of decades come back from Yahoo's adjusted answers as they traded.

What is recorded as traded is adjusted as Yahoo would show it, served over HTTP, fetched with the
real client and restored. Compared are all bars, nothing is sampled, and exactly, with three
exceptions that the vendor's own rounding makes; each is stated by symbol and counted:
prices above 839 dollars in fractions of a cent (single precision holds no more), volumes before a
reverse split (whole shares of today), and dividends smaller than a vendor with six decimals says.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quant_assets.domain.adjustment import as_traded
from quant_assets.markets import US
from quant_assets.vendors.yahoo import YahooClient
from quant_assets_tests.platform import platform
from quant_assets_tests.unit.scripted_server import Reply, Request, ScriptedServer
from quant_assets_tests.yahoo_replay import (
    COLUMNS,
    PRICES,
    Tape,
    TapePrices,
    lean_factors,
    lean_tape,
    quandl_tape,
    restated,
    serving,
    write_recording,
)

TODAY = date(2021, 12, 31)
END = "2021-03-31"
QUANDL = {
    "AAPL": (8336, 3, 41),
    "BA": (13090, 8, 203),
    "CAT": (13090, 4, 159),
    "DELL": (6353, 7, 0),
    "EBAY": (3842, 4, 0),
    "F": (10491, 6, 32),
    "GE": (13090, 6, 208),
}
"""Bars, splits and dividends of each recording; F's splits are 5:4, 3:2, 2:1 and 1571:1000."""
LEAN = {
    "AAA": ([("aaa", "2002-05-22", "2007-05-18")], "aaa.1", (1230, 0, 5)),
    "AAPL": ([("aapl", "1998-01-02", END)], "aapl", (5849, 4, 35)),
    "AIG": ([("aig", "1998-01-02", END)], "aig", (5849, 4, 75)),
    "BAC": ([("bac", "1998-10-01", END)], "bac", (5661, 1, 90)),
    "BNO": ([("bno", "2010-06-02", END)], "bno", (2727, 1, 0)),
    "EEM": ([("eem", "2003-04-11", END)], "eem", (4523, 2, 35)),
    "FB": ([("fb", "2012-05-18", END)], "fb", (2231, 0, 0)),
    "GOOG": ([("goog", "2014-04-03", END)], "goog", (1761, 1, 0)),
    "GOOGL": (
        [("goog", "2004-08-19", "2014-04-02"), ("googl", "2014-04-03", END)],
        "googl",
        (4183, 1, 0),
    ),
    "IWM": ([("iwm", "2000-05-26", END)], "iwm", (5244, 1, 86)),
    "USO": ([("uso", "2006-04-10", END)], "uso", (3770, 1, 0)),
    "WM": (
        [
            ("uw", "1998-01-02", "1998-07-16"),
            ("wmi", "1998-07-17", "2009-08-04"),
            ("wm", "2009-08-05", END),
        ],
        "wm",
        (5849, 0, 76),
    ),
}
"""Tickers with their dates (map files), factor file, bars, splits and dividends of each security.

The file of a ticker also holds the bars of whoever had it before: aaa, bac, bno, eem, fb, goog
(until 2014-04-02 the shares that are GOOGL's today), uso and wm (until 2008 Washington Mutual).
"""
SUBCENT_ABOVE_839 = {
    ("GOOG", "2021-03-08", "high"): 2128.9489,
    ("GOOG", "2021-03-09", "high"): 2078.2382,
    ("GOOG", "2021-03-30", "low"): 2044.0001,
    ("GOOGL", "2020-08-31", "low"): 1625.2901,
    ("GOOGL", "2021-02-26", "high"): 2056.8799,
    ("GOOGL", "2021-03-11", "high"): 2111.6495,
    ("GOOGL", "2021-03-12", "low"): 2031.6101,
    ("GOOGL", "2021-03-17", "high"): 2099.9851,
    ("GOOGL", "2021-03-18", "high"): 2069.5399,
    ("GOOGL", "2021-03-23", "low"): 2028.0001,
    ("GOOGL", "2021-03-26", "high"): 2041.9999,
}
"""Recorded prices whose last digit single precision does not hold: it comes back 0.0001 off."""
TINY_DIVIDENDS = {"BA": 59, "CAT": 1, "GE": 88}
"""Dividends as WIKI states them, far below what was paid (see ``restated``): six decimals per share
of today do not tell 0.00521 from 0.00520 on a share that has become 96."""
INEXACT_VOLUMES = {"AIG": 1000, "USO": 2884}
"""Bars before a reverse split (1:20, 1:8) whose volume was no multiple of that."""


@pytest.fixture(scope="module")
def quandl(recorded_data: Path) -> dict[str, Tape]:
    return {symbol: quandl_tape(recorded_data, symbol) for symbol in QUANDL}


@pytest.fixture(scope="module")
def paid(quandl: dict[str, Tape]) -> dict[str, Tape]:
    """WIKI with dividends as paid, not as stated."""
    return {symbol: restated(tape) for symbol, tape in quandl.items()}


@pytest.fixture(scope="module")
def lean(recorded_data: Path) -> dict[str, Tape]:
    return {s: lean_tape(recorded_data, s, parts, file) for s, (parts, file, _) in LEAN.items()}


class Yahoo:
    """The real client on a Yahoo over tapes, and the platform's way from bars to as-traded."""

    def __init__(self, client: YahooClient, prices: TapePrices) -> None:
        self._client = client
        self.prices = prices

    def restored(
        self, *symbols: str, first: date = date(1962, 1, 1), last: date = TODAY
    ) -> pd.DataFrame:
        """As-traded rows of the days wanted; asked is a fortnight before them up to today."""
        fetched = self._client.daily_bars(symbols, first - timedelta(days=14), TODAY)
        assert {(o.status, o.detail) for o in fetched.outcomes} == {("ok", "")}
        rows = as_traded(fetched.bars, fetched.events, price_decimals=US.price_decimals)
        wanted = rows["session_date"].between(pd.Timestamp(first), pd.Timestamp(last))
        return rows[wanted].reset_index(drop=True)


@contextmanager
def yahoo_over(
    tapes: dict[str, Tape], folder: Path, *, has_six_decimals: bool = False
) -> Iterator[Yahoo]:
    prices = TapePrices(list(tapes.values()), has_six_decimals=has_six_decimals)
    with serving(prices) as url:
        yield Yahoo(YahooClient(proxy_url=url, cache_dir=folder, max_per_second=10_000), prices)


def differences(
    restored: pd.DataFrame, tapes: dict[str, Tape]
) -> dict[str, dict[str, pd.DataFrame]]:
    """By column and symbol the rows that differ from the tape: session_date, was, now, later.

    ``later`` is the product of the splits after the row. Sessions must be the same ones.
    """
    found: dict[str, dict[str, pd.DataFrame]] = {}
    for symbol, tape in tapes.items():
        rows = restored[restored["symbol"] == symbol].reset_index(drop=True)
        was = tape.bars.reset_index(drop=True)
        assert rows["session_date"].tolist() == was["session_date"].tolist(), symbol
        was = was.assign(volume=np.rint(was["volume"]))
        for column in COLUMNS[1:]:
            is_other = (rows[column] - was[column]).abs() > 1e-9
            if is_other.any():
                table = was.rename(columns={column: "was"})[["session_date", "was"]].assign(
                    now=rows[column], later=tape.later_ratio
                )
                found.setdefault(column, {})[symbol] = table[is_other]
    return found


@pytest.mark.parametrize("has_six_decimals", [False, True], ids=["single", "six decimals"])
def test_every_wiki_bar_and_event_comes_back(
    quandl: dict[str, Tape], tmp_path: Path, has_six_decimals: bool
) -> None:
    """68,292 bars, 38 splits, 643 dividends; 148 dividends only within the vendor's rounding."""
    assert {symbol: tape.counts for symbol, tape in quandl.items()} == QUANDL
    assert tuple(map(sum, zip(*QUANDL.values(), strict=True))) == (68_292, 38, 643)
    with yahoo_over(quandl, tmp_path, has_six_decimals=has_six_decimals) as yahoo:
        found = differences(yahoo.restored(*quandl), quandl)
    assert list(found) == ["dividend"], "prices, volumes and splits are the recorded ones"
    assert {symbol: len(rows) for symbol, rows in found["dividend"].items()} == TINY_DIVIDENDS
    for rows in found["dividend"].values():
        assert ((rows["now"] - rows["was"]).abs() <= 2 * 5.01e-7 * rows["later"]).all()
        assert (rows["now"] > 0).all()


def test_every_dividend_that_was_paid_comes_back(paid: dict[str, Tape], tmp_path: Path) -> None:
    """The 643 dividends of WIKI per share of their own day, exactly."""
    assert {symbol: tape.counts for symbol, tape in paid.items()} == QUANDL
    with yahoo_over(paid, tmp_path) as yahoo:
        assert differences(yahoo.restored(*paid), paid) == {}
    general_electric = paid["GE"].bars.set_index("session_date")["dividend"]
    assert general_electric["1962-03-13"] == 0.5
    assert general_electric["1999-12-22"] == 0.41


def test_recorded_factors_are_those_of_the_renamed_security(
    recorded_data: Path, lean: dict[str, Tape]
) -> None:
    """A factor file repeats the close before each event: that of the right company."""
    checked = 0
    for symbol, (_, file, _) in LEAN.items():
        close = lean[symbol].bars.set_index("session_date")["close"]
        rows = lean_factors(recorded_data, file).iloc[1:-1].set_index("last")["reference"]
        rows = rows[rows.index >= close.index[0]]
        assert ((close.reindex(rows.index) - rows).abs() < 1e-6).all(), symbol
        checked += len(rows)
    assert checked == 418
    washington_mutual = lean_tape(recorded_data, "WM", [("wm", "1998-12-09", END)], "wm")
    close = washington_mutual.bars.set_index("session_date")["close"]
    rows = lean_factors(recorded_data, "wm").iloc[1:-1].set_index("last")["reference"]
    assert ((close.reindex(rows.index) - rows)[:"2008"].abs() > 0.5).sum() == 25


def test_every_lean_bar_and_event_comes_back(lean: dict[str, Tape], tmp_path: Path) -> None:
    """48,877 bars, 16 splits (two reverse, one of 1.0027) and 402 dividends of 12 securities."""
    counts = {symbol: tape.counts for symbol, tape in lean.items()}
    assert counts == {symbol: expected for symbol, (_, _, expected) in LEAN.items()}
    assert tuple(map(sum, zip(*counts.values(), strict=True))) == (48_877, 16, 402)
    with yahoo_over(lean, tmp_path) as yahoo:
        found = differences(yahoo.restored(*lean), lean)
    volumes = found.pop("volume")
    assert {symbol: len(rows) for symbol, rows in volumes.items()} == INEXACT_VOLUMES
    for rows in volumes.values():
        assert ((rows["now"] - rows["was"]).abs() <= 0.5 / rows["later"] + 0.5).all()
    assert set(found) <= set(PRICES)
    wrong: dict[tuple[str, str, str], float] = {}
    for column, by_symbol in found.items():
        for symbol, rows in by_symbol.items():
            assert ((rows["now"] - rows["was"]).abs() < 1.01e-4).all()
            days = rows["session_date"].dt.strftime("%Y-%m-%d")
            wrong |= {
                (symbol, day, column): was for day, was in zip(days, rows["was"], strict=True)
            }
    assert wrong == SUBCENT_ABOVE_839


def test_two_recordings_of_apple_agree(paid: dict[str, Tape], lean: dict[str, Tape]) -> None:
    """Splits and dividends of 1998 to 2013 from the WIKI and from Lean's factors."""
    events = [
        bars[(bars["dividend"] > 0) | (bars["split_ratio"] != 1)]
        .loc[lambda rows: rows["session_date"].between("1998-01-03", "2013-12-31")]
        .set_index("session_date")[["dividend", "split_ratio"]]
        for bars in (paid["AAPL"].bars, lean["AAPL"].bars)
    ]
    wiki, factors = events
    assert len(wiki) == 8
    pd.testing.assert_frame_equal(wiki, factors)


def stages(tape: Tape) -> list[pd.Timestamp]:
    """The session before each split of a tape, the session of it, and the last one."""
    days, places = tape.bars["session_date"], np.flatnonzero(tape.bars["split_ratio"] != 1.0)
    return [days.iloc[place] for n in places for place in (n - 1, n)] + [days.iloc[-1]]


@pytest.mark.parametrize("symbol", ["AAPL", "CAT", "DELL", "EBAY", "F", "GE"])
def test_later_splits_change_no_stored_row(
    paid: dict[str, Tape], tmp_path: Path, symbol: str
) -> None:
    """Fetched before and after each of its splits, the rows so far are those of decades later."""
    tape = paid[symbol]
    with yahoo_over({symbol: tape}, tmp_path) as yahoo:
        decades_later = yahoo.restored(symbol)
        for day in stages(tape):
            yahoo.prices.known_until = day
            then = yahoo.restored(symbol)
            assert then["session_date"].iloc[-1] == day
            pd.testing.assert_frame_equal(then, decades_later.iloc[: len(then)], check_exact=True)


@pytest.mark.parametrize(("symbol", "ratio"), [("AIG", 1 / 20), ("USO", 1 / 8), ("GOOG", 1.0027)])
def test_odd_and_reverse_splits_change_volumes_only(
    lean: dict[str, Tape], tmp_path: Path, symbol: str, ratio: float
) -> None:
    """A reverse split leaves whole shares of today: half of one is 10 of AIG's old ones."""
    tape = lean[symbol]
    with yahoo_over({symbol: tape}, tmp_path) as yahoo:
        decades_later = yahoo.restored(symbol)
        place = int(np.flatnonzero(np.isclose(tape.bars["split_ratio"], ratio))[0])
        yahoo.prices.known_until = tape.bars["session_date"].iloc[place - 1]
        then = yahoo.restored(symbol)
    now = decades_later.iloc[: len(then)]
    assert len(then) == place
    pd.testing.assert_frame_equal(then.drop(columns="volume"), now.drop(columns="volume"))
    assert (then["volume"] - now["volume"]).abs().max() <= max(0.5 / ratio, 0.0) * (ratio < 1)


@pytest.mark.parametrize("symbol", ["AAPL", "GE"])
def test_the_day_after_equals_decades_later(
    paid: dict[str, Tape], tmp_path: Path, symbol: str
) -> None:
    """Single sessions around every split and every tenth dividend, fetched on their evening."""
    tape = paid[symbol]
    days, cash = tape.bars["session_date"], tape.bars["dividend"]
    chosen = sorted({*stages(tape), *days[cash > 0].iloc[::10], days.iloc[0]})
    assert len(chosen) > 10
    with yahoo_over({symbol: tape}, tmp_path) as yahoo:
        later = yahoo.restored(symbol).set_index("session_date")
        for day in chosen:
            yahoo.prices.known_until = day
            row = yahoo.restored(symbol, first=day.date(), last=day.date())
            assert len(row) == 1
            pd.testing.assert_series_equal(
                row.set_index("session_date").loc[day], later.loc[day], check_exact=True
            )


@pytest.mark.parametrize("symbol", ["AAPL", "GE"])
def test_sessions_and_chunks_equal_the_range(
    lean: dict[str, Tape], paid: dict[str, Tape], tmp_path: Path, symbol: str
) -> None:
    tape = lean[symbol] if symbol == "AAPL" else paid[symbol]
    with yahoo_over({symbol: tape}, tmp_path) as yahoo:
        whole = yahoo.restored(symbol)
        places = np.flatnonzero(tape.bars["split_ratio"] != 1.0)
        days = tape.bars["session_date"].dt.date
        # Chunks begin on every second split, so that the others lie inside one.
        edges = [0, *places[::2], len(days)]
        chunks = [
            yahoo.restored(symbol, first=days[low], last=days[high - 1])
            for low, high in pairwise(edges)
        ]
        pd.testing.assert_frame_equal(pd.concat(chunks, ignore_index=True), whole)
        for place in (places[0] - 1, places[0], places[-1] - 1, places[-1], len(days) - 1):
            single = yahoo.restored(symbol, first=days[place], last=days[place])
            expected = whole.iloc[[place]].reset_index(drop=True)
            pd.testing.assert_frame_equal(single, expected, check_exact=True)


STORED_DAYS = ("2000-05-05", "2000-05-08", "2005-02-25", "2005-02-28")
"""The sessions before and of GE's 3:1 and of Apple's 2:1."""


def test_stored_partitions_are_the_recorded_days(paid: dict[str, Tape], tmp_path: Path) -> None:
    """Through the price job and the sandbox's own replay, that evening and at the end of 2013."""
    tapes = [paid[symbol] for symbol in ("AAPL", "GE")]
    ends = [*(date.fromisoformat(day) for day in STORED_DAYS), date(2013, 12, 31)]
    stored: dict[str, list[bytes]] = {day: [] for day in STORED_DAYS}
    for known_until in ends:
        home = tmp_path / f"{known_until}"
        recording = write_recording(home / "recording", tapes, known_until)
        now = datetime(known_until.year, known_until.month, known_until.day, 22, 30, tzinfo=UTC)
        with platform(
            home, now=now, us=("AAPL", "GE"), kr=("005930.KS",),
            QUANT_PROFILE="replay", QUANT_SANDBOX_DATA=str(recording),
        ) as p:  # fmt: skip
            known = [day for day in STORED_DAYS if day <= f"{known_until}"]
            for day in known if known_until == ends[-1] else known[-1:]:
                p.run("us_price", day)
                (content,) = (
                    p.files("us/prices").values()
                    if len(known) == 1
                    else [p.files("us/prices")[f"us/prices/{day}.parquet"]]
                )
                stored[day].append(content)
            frame = p.read("us/prices")
    for contents in stored.values():
        assert len(contents) == 2
        assert contents[0] == contents[1]
    assert sorted(frame["session_date"].dt.strftime("%Y-%m-%d").unique()) == sorted(STORED_DAYS)
    for tape in tapes:
        rows = frame[frame["symbol"] == tape.symbol].set_index("session_date")
        was = tape.bars.set_index("session_date").loc[rows.index]
        pd.testing.assert_frame_equal(
            rows[COLUMNS[1:]], was[COLUMNS[1:]].astype({"volume": "int64"}), check_exact=True
        )


def test_a_real_answer_of_yahoo_gives_what_another_vendor_saw(
    recorded_data: Path, lean: dict[str, Tape], tmp_path: Path
) -> None:
    """Apple around its 4:1 of 2020: closes, the split and the dividend of two vendors.

    The official close is one price. Opens, highs and lows differ: Lean's are of all venues.
    """
    path = recorded_data / "wire" / "yahoo" / "chart-AAPL-2020-08-31-to-2020-11-07.json"

    chart = json.dumps(json.loads(path.read_text("utf-8"))["response"]["bodyJson"])

    def answer(request: Request) -> Reply:
        return Reply(chart if "/chart/" in request.path else "crumb")

    with ScriptedServer(answer) as server:
        client = YahooClient(proxy_url=server.url, cache_dir=tmp_path, max_per_second=10_000)
        fetched = client.daily_bars(["AAPL"], date(2020, 8, 31), date(2020, 11, 6))
    rows = as_traded(fetched.bars, fetched.events, price_decimals=US.price_decimals)
    rows = rows.set_index("session_date")
    was = lean["AAPL"].bars.set_index("session_date").loc[rows.index]
    assert len(rows) == 49
    other = (rows["close"] - was["close"]).abs() > 1e-9
    assert other.sum() == 1
    assert (rows["close"] - was["close"]).abs().max() <= 0.0051
    assert rows["split_ratio"].tolist() == was["split_ratio"].tolist()
    assert rows["dividend"].tolist() == was["dividend"].tolist()
    assert rows["dividend"].iloc[-1] == 0.205
