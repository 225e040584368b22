"""Checks of the paper book: it is a chain without a break, and its accounts add up to the unit."""

from typing import TYPE_CHECKING

import dagster as dg

from quant_assets.checks.common import checked_partitions, findings_result
from quant_assets.domain.trading_rules import EXCHANGES
from quant_assets.markets import MARKETS, Market
from quant_assets.partitions import session_of
from quant_assets.resources import StoreResource
from quant_assets.schemas import dataset_of

if TYPE_CHECKING:
    import pandas as pd

    from quant_assets.io_managers.parquet_store import ParquetStore

Finding = tuple[str, str, str, str]
"""Rule, partition, item and detail, as ``findings_result`` takes them."""


def build_trading_checks() -> list[dg.AssetChecksDefinition]:
    """The book check of each market."""
    return [_book_check(market) for market in MARKETS.values()]


def _book_check(market: Market) -> dg.AssetChecksDefinition:
    asset = f"{market.key}/ledger"

    @dg.asset_check(
        asset=asset.split("/"),
        name="book",
        description="Each session, and the one after them, goes on from the stored one before it; "
        "the accounts add up.",
    )
    def book(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
        opened = store.open()
        keys = sorted(checked_partitions(context, opened, asset))
        frame = opened.read(dataset_of(asset), asset, keys)
        after = market.offset_session(session_of(keys[-1]), 1).isoformat()
        is_last = bool(opened.missing(asset, [after]))
        later = frame.iloc[:0] if is_last else opened.read(dataset_of(asset), asset, [after])
        findings = [
            *chain_breaks(market, opened, frame),
            *chain_breaks(market, opened, later),
            *accounting_faults(frame, 10.0 ** -EXCHANGES[market.key].cash_decimals),
        ]
        return findings_result(findings, len(frame), is_error=True)

    return book


def chain_breaks(market: Market, store: "ParquetStore", frame: "pd.DataFrame") -> list[Finding]:
    """Sessions that do not go on from what is stored of the session before them."""
    asset = f"{market.key}/ledger"
    findings = []
    for session, rows in frame.groupby("session_date", sort=True):
        key = f"{session:%Y-%m-%d}"
        before = market.offset_session(session_of(key), -1).isoformat()
        is_missing = bool(store.missing(asset, [before]))
        stored = None if is_missing else store.info(asset, before).content_hash
        given = rows["opening_hash"].iloc[0]
        given = given if isinstance(given, str) else None
        if given != stored:
            told = "nothing" if is_missing else f"another {before} than is stored now"
            rest = "the book begins here, and goes on from" if given is None else "it goes on from"
            detail = f"{rest} {told}: make it and all later sessions again"
            findings.append(("chain", key, before, detail))
    return findings


def accounting_faults(frame: "pd.DataFrame", unit: float) -> list[Finding]:
    """Accounts whose equity is not cash and positions, or whose cash is below zero."""
    value = frame[frame["kind"] == "POSITION"].groupby(["session_date", "strategy_id"])["value"]
    accounts = frame[frame["kind"] == "ACCOUNT"].set_index(["session_date", "strategy_id"])
    held = value.sum().reindex(accounts.index, fill_value=0.0)
    off = (accounts["equity"] - accounts["cash"] - held).abs() >= unit / 2
    wrong = accounts.assign(held=held)[off | (accounts["cash"] < 0)].reset_index()
    return [
        (
            "accounts",
            f"{row['session_date']:%Y-%m-%d}",
            str(row["strategy_id"]),
            f"equity {row['equity']:,.2f}, cash {row['cash']:,.2f} and positions "
            f"{row['held']:,.2f}",
        )
        for row in wrong.to_dict("records")
    ]
