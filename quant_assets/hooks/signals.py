"""Trading signals. What belongs here: which recommendations are signals, and their events."""

from collections.abc import Iterable, Mapping
from datetime import datetime

import dagster as dg

from quant_assets.events.envelope import derived_id, event
from quant_assets.events.payloads import TradingSignalDetected
from quant_assets.hooks.answers import Row, Source, partition_keys, stored_rows
from quant_assets.hooks.outcomes import OutcomeSpec
from quant_assets.markets import MARKETS, Market
from quant_assets.partitions import session_of
from quant_assets.resources.events import Keyed

EVENT_TYPE = "trading.signal.detected"
SIDES: Mapping[str, str] = {
    "STRONG_BUY": "BUY",
    "BUY": "BUY",
    "SELL": "SELL",
    "STRONG_SELL": "SELL",
}
"""Labels that are signals; HOLD and no label are none."""


def run_signals(
    run: dg.DagsterRun, outcome: OutcomeSpec, source: Source, now: datetime
) -> list[Keyed]:
    """The signals of the last session of a run that made recommendations, none for other runs.

    Raises ``BadDataError`` if its rows or bars cannot be read.
    """
    if outcome.market is None or outcome.asset != f"{outcome.market}/recommendations":
        return []
    session = partition_keys(run, outcome.asset, source.settings)[-1]
    rows, bars = (
        stored_rows(source.store, asset, session)
        for asset in (outcome.asset, f"{outcome.market}/prices")
    )
    return signal_events(signals_of(MARKETS[outcome.market], session, now, rows, bars))


def signals_of(
    market: Market,
    session: str,
    now: datetime,
    recommendations: Iterable[Row],
    prices: Iterable[Row],
) -> list[TradingSignalDetected]:
    """The signals of a session's recommendations at ``now`` (UTC).

    Only the last complete session gives signals: older ones can no longer be acted upon. The price
    is the session's close as traded; a symbol without a bar has none to be traded at.
    """
    day = session_of(session)
    if market.last_complete_session(now) != day:
        return []
    bars = {row["symbol"]: row for row in prices}
    return [
        TradingSignalDetected(
            signal_type=SIDES[row["label"]],
            symbol=row["symbol"],
            price=float(bars[row["symbol"]]["close"]),
            volume=int(bars[row["symbol"]]["volume"]),
            strategy_id=_strategy(row),
            market=market.key,
            session=day,
            score=float(row["combined_score"]),
            label=row["label"],
        )
        for row in recommendations
        if row["label"] in SIDES and row["symbol"] in bars
    ]


def signal_events(signals: Iterable[TradingSignalDetected]) -> list[Keyed]:
    """The events of ``signals``, keyed by symbol.

    A strategy has one signal for each session, symbol and label: a session computed again says the
    same again, or a new thing if the label has changed.
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
                    signal.label,
                ),
            ),
        )
        for signal in signals
    ]


def _strategy(row: Row) -> str:
    """Name of the rule behind a recommendation: its weights, and the version of all constants."""
    weights = [f"{100 * row[name]:g}" for name in ("technical_weight", "sentiment_weight")]
    return f"combined-{'-'.join(weights)}:{row['scoring_version']}"
