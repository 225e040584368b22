"""Recorded as-traded bars, and Yahoo as it would have answered from them on any day.

What belongs here: reading the recordings of two vendors into one form, and the vendor's
adjustments on the way out. What does not: undoing them, and assertions.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd

from quant_assets.markets import US
from quant_assets.sandbox.http_server import LoopbackServer, RawRequest, Reply
from quant_assets.sandbox.prices import (
    US_EXCHANGE,
    Dividend,
    Security,
    Split,
    VendorBars,
    dividend_factors,
    opening_timestamps,
    single_precision,
)
from quant_assets.sandbox.wire import Request
from quant_assets.sandbox.yahoo import Yahoo

PRICES = ["open", "high", "low", "close"]
COLUMNS = ["session_date", *PRICES, "volume", "dividend", "split_ratio"]
LEAN_FACTOR_ERROR = 1e-7
"""Of a Lean price factor: it has seven decimals."""
_REQUESTED_AT = datetime(2022, 1, 3, 22, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Tape:
    """As-traded bars of one security in order of date, with the events of each row.

    Columns: session_date, open, high, low, close (USD), volume (shares, fractional where the
    recording's is), dividend (USD a share of that day), split_ratio (new per old share).
    """

    symbol: str
    bars: pd.DataFrame

    @property
    def counts(self) -> tuple[int, int, int]:
        """Number of bars, splits and dividends."""
        splits, paid = self.bars["split_ratio"] != 1.0, self.bars["dividend"] != 0.0
        return len(self.bars), int(splits.sum()), int(paid.sum())

    @property
    def later_ratio(self) -> np.ndarray:
        """Product of the split ratios after each row, to the end of the tape."""
        ratio = self.bars["split_ratio"].to_numpy()
        products: np.ndarray = np.append(np.cumprod(ratio[::-1])[::-1][1:], 1.0)
        return products

    def until(self, day: pd.Timestamp) -> "Tape":
        """The tape as it stood after the close of ``day``."""
        return Tape(self.symbol, self.bars[self.bars["session_date"] <= day])


def quandl_tape(data: Path, symbol: str) -> Tape:
    """A symbol of Quandl's WIKI, which states dividends and splits beside its bars."""
    path = data / "prices" / "us_quandl_wiki" / f"{symbol}.csv.gz"
    raw = pd.read_csv(path, parse_dates=["Date"]).sort_values("Date", ignore_index=True)
    names = {
        "Date": "session_date",
        "Ex-Dividend": "dividend",
        "Split Ratio": "split_ratio",
        **{column.capitalize(): column for column in (*PRICES, "volume")},
    }
    bars = raw.rename(columns=names)[COLUMNS]
    return Tape(symbol, bars.astype({"session_date": "datetime64[us]"}))


def restated(tape: Tape) -> Tape:
    """Return ``tape`` with its dividends per share of their own day.

    WIKI states them per share of 2013, in five decimals, whatever the date: GE paid 0.41 on
    1999-12-22 and the recording says 0.13667, a third, for the split of 2000. They get the fewest
    decimals that five decimals of the recording allow.
    """
    cash = [
        fewest_decimals(amount * later, 5e-6 * later) if amount else 0.0
        for amount, later in zip(tape.bars["dividend"], tape.later_ratio, strict=True)
    ]
    return Tape(tape.symbol, tape.bars.assign(dividend=cash))


def lean_tape(data: Path, symbol: str, parts: Sequence[tuple[str, str, str]], factors: str) -> Tape:
    """A security of Lean: the bars it traded with under each of its tickers, and its events.

    ``parts`` are (ticker, first date, last date) as the map file has them: a file of bars is that
    of a ticker, whoever had it. ``factors`` names the factor file, whose rows hold up to their
    date, the last session before an event. A step in its split factor is a split. One in its price
    factor is a dividend of the reference close times (1 - step), which has the fewest decimals
    that seven decimals of the factors allow.
    """
    folder = data / "prices" / "us_lean_raw_plus_factors"
    pieces = []
    for ticker, first, last in parts:
        piece = pd.read_csv(folder / "daily_raw" / f"{ticker}.csv.gz", parse_dates=["date"])
        pieces.append(piece[piece["date"].between(first, last)])
    bars = pd.concat(pieces, ignore_index=True).rename(columns={"date": "session_date"})
    bars = bars.assign(dividend=0.0, split_ratio=1.0).astype({"session_date": "datetime64[us]"})
    rows = lean_factors(data, factors)
    rows = rows[rows["last"] >= bars["session_date"].iloc[0]]
    for now, after in zip(rows.iloc[:-1].itertuples(), rows.iloc[1:].itertuples(), strict=True):
        place = int(np.searchsorted(bars["session_date"], now.last, side="right"))
        if place == len(bars):
            continue
        if now.split != after.split:
            bars.loc[place, "split_ratio"] = float(simple_ratio(after.split / now.split))
        if now.price != after.price:
            cash = now.reference * (1.0 - now.price / after.price)
            error = now.reference * 2.0 * LEAN_FACTOR_ERROR / after.price
            bars.loc[place, "dividend"] = fewest_decimals(cash, error)
    return Tape(symbol, bars[COLUMNS])


def lean_factors(data: Path, name: str) -> pd.DataFrame:
    """A factor file: last (the session a row holds up to), price, split, reference (close)."""
    path = data / "prices" / "us_lean_raw_plus_factors" / "factor_files" / f"{name}.csv"
    names = ["last", "price", "split", "reference"]
    rows = pd.read_csv(path, names=names, dtype={"last": "str"})
    return rows.assign(last=pd.to_datetime(rows["last"], format="%Y%m%d"))


def fewest_decimals(value: float, error: float) -> float:
    """``value`` with the fewest decimals that stay within ``error`` of it."""
    return next(
        rounded for n in range(12) if abs((rounded := round(value, n)) - value) <= max(error, 1e-11)
    )


def simple_ratio(ratio: float) -> Fraction:
    """The split that a rounded ratio stands for: small whole numbers, else six decimals."""
    simple = Fraction(ratio).limit_denominator(20)
    return simple if abs(simple / Fraction(ratio) - 1) < 1e-5 else Fraction(round(ratio, 6))


class TapePrices:
    """Yahoo's view of tapes: every bar in the shares of the last session that it knows.

    ``known_until`` is that session; ``None`` is the end of each tape. Prices are kept in single
    precision and, if ``has_six_decimals``, rounded to six decimals before; dividends always are.
    """

    def __init__(self, tapes: Sequence[Tape], *, has_six_decimals: bool = False) -> None:
        self.known_until: pd.Timestamp | None = None
        self._tapes = {tape.symbol: tape for tape in tapes}
        self._has_six_decimals = has_six_decimals
        self._whole: dict[str, VendorBars] = {}
        self._lock = threading.Lock()

    def bars(self, symbol: str, now: datetime) -> VendorBars | None:
        """What is known of ``symbol``; the clock of the request does not matter."""
        tape = self._tapes.get(symbol)
        if tape is None:
            return None
        if self.known_until is not None:
            known = tape.until(self.known_until)
            return None if known.bars.empty else self._adjusted(known)
        with self._lock:
            if symbol not in self._whole:
                self._whole[symbol] = self._adjusted(tape)
            return self._whole[symbol]

    def _adjusted(self, tape: Tape) -> VendorBars:
        bars, later = tape.bars, tape.later_ratio
        days = bars["session_date"].to_numpy().astype("datetime64[D]")
        prices = {name: self._kept(bars[name].to_numpy() / later) for name in PRICES}
        cash, ratio = bars["dividend"].to_numpy(), bars["split_ratio"].to_numpy()
        dividends = tuple(
            Dividend(int(p), round(float(cash[p] / later[p]), 6)) for p in np.flatnonzero(cash)
        )
        splits = tuple(
            Split(
                int(p), *simple_ratio(float(ratio[p])).limit_denominator(10**6).as_integer_ratio()
            )
            for p in np.flatnonzero(ratio != 1.0)
        )
        adjusted = prices["close"] * dividend_factors(prices["close"], dividends, len(bars))
        return VendorBars(
            security=Security(tape.symbol, tape.symbol, US, *US_EXCHANGE, "EQUITY"),
            days=days,
            timestamps=opening_timestamps(US, days),
            adjusted_close=single_precision(adjusted),
            volume=np.rint(bars["volume"].to_numpy() * later).astype(np.int64),
            dividends=dividends,
            splits=splits,
            **prices,
        )

    def _kept(self, prices: np.ndarray) -> np.ndarray:
        return single_precision(np.round(prices, 6) if self._has_six_decimals else prices)


@contextmanager
def serving(prices: TapePrices) -> Iterator[str]:
    """Serve the sandbox's Yahoo over ``prices``; gives the proxy address for the client.

    The recording that the sandbox replays itself has splits in whole numbers of new shares only.
    """
    yahoo = Yahoo(prices, seed=1)

    def answer(raw: RawRequest) -> Reply:
        return Reply(
            yahoo.answer(
                Request(
                    raw.method, raw.host, raw.path, raw.query, raw.headers, raw.body, _REQUESTED_AT
                )
            )
        )

    server = LoopbackServer(0, answer)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.close_connections()
        server.server_close()


def write_recording(folder: Path, tapes: Sequence[Tape], known_until: date) -> Path:
    """Write what Yahoo knew after the close of ``known_until`` as a recording of the sandbox.

    Statistics and news are one row each: the directory must have them.
    """
    folder.mkdir(parents=True)
    prices = TapePrices(tapes)
    prices.known_until = pd.Timestamp(known_until)
    tables = []
    for tape in tapes:
        known = prices.bars(tape.symbol, _REQUESTED_AT)
        if known is None:
            continue
        table = pd.DataFrame(
            {
                "market": "us",
                "symbol": tape.symbol,
                "session": known.days.astype("datetime64[us]"),
                **{name: getattr(known, name) for name in (*PRICES, "volume")},
                "adj_close": known.adjusted_close,
                "dividend": 0.0,
                "split_ratio": 1.0,
            }
        )
        for position, amount in known.dividends:
            table.loc[position, "dividend"] = amount
        for position, numerator, denominator in known.splits:
            table.loc[position, "split_ratio"] = numerator / denominator
        tables.append(table)
    pd.concat(tables, ignore_index=True).to_parquet(folder / "bars.parquet")
    statistic = {"series_id": ["UNRATE"], "observation_date": ["2000-01-01"], "value": [4.0]}
    pd.DataFrame(statistic).to_parquet(folder / "macro.parquet")
    story = {"published_at": ["2000-01-03T12:00:00"], "symbol": ["GE"], "title": ["Nothing new"]}
    pd.DataFrame(story).to_parquet(folder / "news.parquet")
    return folder
