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


def run_trades(
    run: dg.DagsterRun, outcome: OutcomeSpec, source: Source, now: datetime
) -> list[Keyed]:
    """The trades of the last session of a run that made a paper book, none for other runs.

    Raises ``BadDataError`` if its rows cannot be read.
    """
    if outcome.market is None or outcome.asset != f"{outcome.market}/risk":
        return []
    market = MARKETS[outcome.market]
    key = partition_keys(run, outcome.asset, source.settings)[-1]
    if market.last_complete_session(now) < session_of(key) or key < _oldest(market, now):
        return []
    return trade_events(market, key, stored_rows(source.store, f"{market.key}/ledger", key))


def _oldest(market: Market, now: datetime) -> str:
    """The session before the last complete one: its book is made once its decision has passed."""
    return market.offset_session(market.last_complete_session(now), -1).isoformat()


def trade_events(market: Market, session: str, ledger: Iterable[Row]) -> list[Keyed]:
    """The live book's orders, fills and changed positions of a session, keyed by symbol.

    A session that is computed again gives the same ids for the same orders and fills, and for a
    position as long as it is the same.
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
            made.append((CREATED, row["order_id"], row["symbol"], order))
        elif row["kind"] == "FILL":
            fill = TradingOrderFilled(
                **common,
                filled_quantity=float(row["shares"]),
                filled_price=float(row["price"]),
                commission=float(row["commission"]),
            )
            made.append((FILLED, row["fill_id"], row["symbol"], fill))
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
