"""What the live paper book did. What belongs here: which entries are told, and their events."""

from collections.abc import Iterable
from datetime import datetime

import dagster as dg

from quant_assets.events.envelope import derived_id, event
from quant_assets.events.payloads import (
    Payload,
    TradingOrderCreated,
    TradingOrderFilled,
    TradingPositionUpdated,
)
from quant_assets.hooks.answers import Row, Source, number, partition_keys, stored_rows
from quant_assets.hooks.outcomes import OutcomeSpec
from quant_assets.markets import MARKETS, Market
from quant_assets.partitions import session_of
from quant_assets.resources.events import Keyed

CREATED, FILLED = "trading.order.created", "trading.order.filled"
UPDATED = "trading.position.updated"
TOLD_SESSIONS = 10


def run_trades(
    run: dg.DagsterRun, outcome: OutcomeSpec, source: Source, now: datetime
) -> list[Keyed]:
    """The trades of the last sessions of a run that made a paper book, none for other runs.

    Those of ``TOLD_SESSIONS``: a book that is begun a year back is no news, one that catches up
    with a holiday is. Raises ``BadDataError`` if its rows cannot be read.
    """
    if outcome.market is None or outcome.asset != f"{outcome.market}/risk":
        return []
    market = MARKETS[outcome.market]
    oldest = market.offset_session(market.last_complete_session(now), -TOLD_SESSIONS).isoformat()
    return [
        told
        for key in partition_keys(run, outcome.asset, source.settings)
        if key >= oldest
        for told in trade_events(
            market, key, stored_rows(source.store, f"{market.key}/ledger", key)
        )
    ]


def trade_events(market: Market, session: str, ledger: Iterable[Row]) -> list[Keyed]:
    """The live book's orders, fills and changed positions of a session, keyed by symbol.

    A session that is computed again gives the same ids for the same orders, fills and positions;
    one whose inputs have changed gives new ids for what is of another size.
    """
    day = session_of(session)
    rows = [row for row in ledger if row["is_live"]]
    made: list[tuple[str, str, str, Payload]] = []
    for row in rows:
        common = {
            "order_id": row["order_id"],
            "client_order_id": f"{row['strategy_id']}:{row['order_id']}",
            "symbol": row["symbol"],
            "market": market.key,
            "session": day,
            "side": row["side"],
            "status": row["status"],
        }
        if row["kind"] == "ORDER":
            order = TradingOrderCreated(
                **common,
                order_type=row["order_type"],
                quantity=float(row["shares"]),
                price=number(row["limit_price"]),
            )
            identity = f"{row['order_id']}:{order.quantity:g}"
            made.append((CREATED, identity, row["symbol"], order))
        elif row["kind"] == "FILL":
            fill = TradingOrderFilled(
                **common,
                filled_quantity=float(row["shares"]),
                filled_price=float(row["price"]),
                commission=float(row["commission"]),
            )
            identity = f"{row['fill_id']}:{fill.filled_quantity:g}"
            made.append((FILLED, identity, row["symbol"], fill))
    made += [
        (UPDATED, f"{one.position_id}:{session}:{one.quantity:g}", one.symbol, one)
        for one in _positions(market, session, rows)
    ]
    return [
        (symbol, event(kind, payload, event_id=derived_id(kind, market.key, identity)))
        for kind, identity, symbol, payload in made
    ]


def _positions(market: Market, session: str, rows: list[Row]) -> list[TradingPositionUpdated]:
    """The positions that the session changed, as they are at its close."""
    held = {row["symbol"]: row for row in rows if row["kind"] == "POSITION"}
    changed = sorted(
        {row["symbol"]: row for row in rows if row["kind"] in ("FILL", "SPLIT", "DELISTED")}.items()
    )
    positions = []
    for symbol, entry in changed:
        row = held.get(symbol)
        shares = 0.0 if row is None else float(row["shares"])
        positions.append(
            TradingPositionUpdated(
                position_id=f"{market.key}:{entry['strategy_id']}:{symbol}",
                symbol=symbol,
                market=market.key,
                session=session_of(session),
                quantity=shares,
                entry_price=0.0 if row is None else float(row["basis"]) / shares,
                unrealized_pnl=0.0 if row is None else float(row["value"]) - float(row["basis"]),
                status="CLOSED" if row is None else "OPEN",
            )
        )
    return positions
