"""Held rows of prices for tests of the quarantine. What belongs here: no tests."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from quant_assets.domain.held import Held
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.io_managers.quarantine import Quarantine
from quant_assets.schemas import dataset_of

ASSET = "us/prices"
PRICES = dataset_of(ASSET)
DAY, NEXT_DAY = "2026-03-18", "2026-03-19"
NOW = datetime(2026, 3, 20, 3, 30, tzinfo=UTC)
LATER = NOW + timedelta(hours=5)
BAR = {"open": 100.0, "high": 101.5, "low": 99.25, "close": 100.5, "volume": 1_000}


def row(symbol: str, day: str = DAY, **values: Any) -> dict[str, Any]:
    """A row of the price dataset."""
    session = pd.Timestamp(day)
    available_at = (session + pd.Timedelta(hours=22)).tz_localize("UTC")
    facts = {"dividend": 0.0, "split_ratio": 1.0, "available_at": available_at}
    return {"session_date": session, "symbol": symbol, **BAR, **facts, **values}


def held(item: str, day: str = DAY, *, formless: bool = False, **values: Any) -> Held:
    """A refused row, as the price asset makes it."""
    stored = row(item, day, **values)
    raw = {name: stored[name] for name in BAR}
    one = None if formless else stored
    return Held(day, item, "unit_error", "100 times the usual close", "yahoo", raw, one)


def write_good(store: ParquetStore, *symbols: str, day: str = DAY, version: str = "1") -> None:
    """Store good rows of a session."""
    frame = PRICES.conform(pd.DataFrame([row(s, day) for s in symbols]), "test")
    store.write(PRICES, ASSET, day, frame, version)


def file_of(store: ParquetStore, day: str = DAY) -> Path:
    return store.path(f"quarantine/{ASSET}", day)


def states(quarantine: Quarantine, day: str = DAY) -> dict[str, str]:
    frame = quarantine.read([day])
    return dict(zip(frame["item"], frame["state"], strict=True))
