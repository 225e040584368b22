"""Trading signals. What belongs here: which rows of ``signals`` are told, and their events."""

from collections.abc import Iterable
from datetime import datetime

import dagster as dg

from quant_assets.events.envelope import derived_id, event
from quant_assets.events.payloads import TradingSignalDetected
from quant_assets.hooks.answers import Row, Source, number, partition_keys, stored_rows
from quant_assets.hooks.outcomes import OutcomeSpec
from quant_assets.markets import MARKETS, Market
from quant_assets.partitions import session_of
from quant_assets.resources.events import Keyed

EVENT_TYPE = "trading.signal.detected"


def run_signals(
    run: dg.DagsterRun, outcome: OutcomeSpec, source: Source, now: datetime
) -> list[Keyed]:
    """The signals of the last session of a run that made a paper book, none for other runs.

    Raises ``BadDataError`` if its rows cannot be read.
    """
    if outcome.market is None or outcome.asset != f"{outcome.market}/risk":
        return []
    session = partition_keys(run, outcome.asset, source.settings)[-1]
    rows = stored_rows(source.store, f"{outcome.market}/signals", session)
    return signal_events(signals_of(MARKETS[outcome.market], session, now, rows))


def signals_of(
    market: Market, session: str, now: datetime, rows: Iterable[Row]
) -> list[TradingSignalDetected]:
    """What the live strategy buys and sells after a session, at ``now`` (UTC).

    Only the last complete session gives signals: older ones can no longer be acted upon. The price
    is the session's close as traded; a symbol without a bar has none to be traded at.
    """
    day = session_of(session)
    if market.last_complete_session(now) != day:
        return []
    return [
        TradingSignalDetected(
            signal_type=row["action"],
            symbol=row["symbol"],
            price=price,
            volume=int(row["volume"]),
            strategy_id=f"{row['strategy_id']}:{row['strategy_version']}",
            market=market.key,
            session=day,
            score=number(row["score"]),
            target_weight=float(row["target_weight"]),
        )
        for row in rows
        if row["is_live"]
        and row["action"] != "HOLD"
        and (price := number(row["reference_price"])) is not None
    ]


def signal_events(signals: Iterable[TradingSignalDetected]) -> list[Keyed]:
    """The events of ``signals``, keyed by symbol.

    A strategy has one signal for each session, symbol and side: a session computed again says the
    same again, or a new thing if the side or the weight has changed.
    """
    return [
        (
            signal.symbol,
            event(
                EVENT_TYPE,
                signal,
                event_id=derived_id(
                    signal.strategy_id,
                    EVENT_TYPE,
                    signal.market,
                    signal.session.isoformat(),
                    signal.symbol,
                    f"{signal.signal_type}:{signal.target_weight:g}",
                ),
            ),
        )
        for signal in signals
    ]
