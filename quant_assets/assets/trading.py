"""From recommendations to the paper book, for one market. What belongs here: the trading assets.

Each loads its inputs, calls pure functions, returns. ``signals`` and ``ledger`` go on from their
own previous session, which they read from the store: a run over a range needs only the one before
its first.
"""

from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

from quant_assets import naming
from quant_assets.assets.common import Versions, markdown_table, record, run_sessions, session_asset
from quant_assets.domain.trading_rules import RISK_SESSIONS
from quant_assets.errors import BadDataError
from quant_assets.markets import Market
from quant_assets.partitions import (
    look_back,
    previous_partition,
    recent_days,
    session_of,
)
from quant_assets.policies import typed_failures
from quant_assets.resources import SettingsResource, StoreResource
from quant_assets.schemas import dataset_of
from quant_assets.schemas.loaded import HISTORY, LoadedPartitions

if TYPE_CHECKING:
    import pandas as pd

    from quant_assets.io_managers.parquet_store import ParquetStore

_COUNTED = ("POSITION", "FILL", "ORDER", "DENIED", "OPEN_ORDER")


def build_trading(market: Market, versions: Versions) -> list[dg.AssetsDefinition]:
    """The trading assets of ``market``."""
    return [
        _signals(market, versions),
        _ledger(market, versions),
        *(_projection(market, versions, name) for name in ("orders", "fills", "positions")),
        _risk(market, versions),
    ]


def _arguments(
    market: Market, versions: Versions, name: str, *, follows_itself: bool = False
) -> dict[str, Any]:
    arguments = session_asset(market, versions, name, group=naming.GROUP_TRADING, kinds=set())
    if follows_itself:
        mapping = previous_partition()
        arguments["deps"] = [dg.AssetDep(arguments["key"], partition_mapping=mapping)]
    return arguments


def _signals(market: Market, versions: Versions) -> dg.AssetsDefinition:
    @dg.asset(
        **_arguments(market, versions, "signals", follows_itself=True),
        ins={
            "recommendations": dg.AssetIn(key=[market.key, "recommendations"]),
            "technical_indicators": dg.AssetIn(key=[market.key, "technical_indicators"]),
            "prices": dg.AssetIn(key=[market.key, "prices"]),
            "regime": dg.AssetIn(key=["macro", "regime"], partition_mapping=recent_days()),
            "return_forecast": dg.AssetIn(key=[market.key, "return_forecast"]),
        },
    )
    def signals(
        context: dg.AssetExecutionContext,
        recommendations: Any,
        technical_indicators: Any,
        prices: Any,
        regime: LoadedPartitions,
        return_forecast: LoadedPartitions,
        platform: SettingsResource,
        store: StoreResource,
    ) -> Any:
        from quant_assets.domain.signals import Inputs, signal_rows

        with typed_failures():
            sessions = run_sessions(context)
            before = _before(market, "signals", sessions[0], store.open())
            inputs = Inputs(
                recommendations=recommendations,
                indicators=technical_indicators,
                prices=prices,
                regime=regime.frame,
                decision_times={day: market.decision_at(day) for day in sessions},
                listings=platform.listings(market.key),
                forecasts=return_forecast.frame,
            )
            failed: dict[str, str] = {}
            frame = signal_rows(inputs, platform.settings().strategies(), before, failed)
            for reason in failed.values():
                context.log.error("%s; a shadow, it keeps what it holds in this run", reason)
            last = frame[frame["session_date"] == frame["session_date"].max()]
            live = last[last["is_live"]]
            wanted = live[live["action"] != "HOLD"]
            columns = ["action", "symbol", "target_weight", "score", "reference_price"]
            facts = {
                "actions": ", ".join(f"{n} {a}" for a, n in live["action"].value_counts().items()),
                "regime_days": len(regime.present),
                "failed_shadows": "; ".join(failed.values()) or "none",
                "live_signals": markdown_table(columns, wanted[columns].to_numpy().tolist()),
            }
            return record(context, frame, facts)

    return signals


def _ledger(market: Market, versions: Versions) -> dg.AssetsDefinition:
    @dg.asset(
        **_arguments(market, versions, "ledger", follows_itself=True),
        ins={
            "prices": dg.AssetIn(key=[market.key, "prices"]),
            "signals": dg.AssetIn(key=[market.key, "signals"]),
        },
    )
    def ledger(
        context: dg.AssetExecutionContext,
        prices: Any,
        signals: Any,
        platform: SettingsResource,
        store: StoreResource,
    ) -> Any:
        import pandas as pd

        from quant_assets.domain.paper_book import PaperBook

        with typed_failures():
            sessions = run_sessions(context)
            settings = platform.settings()
            before = _before(market, "ledger", sessions[0], store.open())
            book = PaperBook(
                market.key,
                settings.strategies(),
                settings.trading_rules(market.key),
                platform.listings(market.key),
            )
            frame = book.run(sessions, prices, signals, before)
            times = {pd.Timestamp(day): market.decision_at(day) for day in sessions}
            frame = frame.assign(available_at=frame["session_date"].map(times))
            frame = chained(frame, before, f"{market.key}/ledger")
            return record(context, frame, _book_facts(market, frame))

    return ledger


def chained(frame: "pd.DataFrame", before: "pd.DataFrame | None", asset: str) -> "pd.DataFrame":
    """Rows of the ledger with ``opening_hash``, the content hash of the session before.

    A session that was made again after the one that rests on it shows: the hashes differ.
    """
    import pandas as pd

    from quant_assets.io_managers.parquet_store import content_hash

    dataset = dataset_of(asset)
    opening = None if before is None else content_hash(dataset, before)
    parts = []
    for session, rows in frame.groupby("session_date", sort=True):
        part = dataset.conform(rows.assign(opening_hash=opening), f"{asset} {session:%Y-%m-%d}")
        opening = content_hash(dataset, part)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _book_facts(market: Market, frame: "pd.DataFrame") -> dict[str, Any]:
    """How the books stand after the last session, the live one first."""
    last = frame[frame["session_date"] == frame["session_date"].max()]
    accounts = last[last["kind"] == "ACCOUNT"].sort_values(["is_live", "equity"], ascending=False)
    counts = last.groupby(["strategy_id", "kind"]).size().unstack(fill_value=0)
    rows = [
        [
            account.strategy_id + (" (live)" if account.is_live else ""),
            account.equity,
            account.cash,
            1 - account.equity / account.peak_equity,
            account.risk_state,
            *(int(counts.get(kind, {}).get(account.strategy_id, 0)) for kind in _COUNTED),
        ]
        for account in accounts.itertuples()
    ]
    columns = [
        "strategy",
        f"equity {market.currency}",
        "cash",
        "drawdown",
        "state",
        *(kind.lower().replace("_", " ") + "s" for kind in _COUNTED),
    ]
    live = accounts[accounts["is_live"]]
    return {
        "books": markdown_table(columns, rows),
        "live_equity": float(live["equity"].iloc[0]) if len(live) else 0.0,
    }


def _projection(market: Market, versions: Versions, name: str) -> dg.AssetsDefinition:
    @dg.asset(
        **_arguments(market, versions, name),
        ins={"ledger": dg.AssetIn(key=[market.key, "ledger"])},
    )
    def table(context: dg.AssetExecutionContext, ledger: Any) -> Any:
        from quant_assets.domain import ledger_entries

        with typed_failures():
            run_sessions(context)
            frame = getattr(ledger_entries, f"{name}_of")(ledger)
            live = frame[frame["is_live"]]
            return record(context, frame, {"rows_live": len(live)})

    return table


def _risk(market: Market, versions: Versions) -> dg.AssetsDefinition:
    @dg.asset(
        **_arguments(market, versions, "risk"),
        ins={
            "ledger": dg.AssetIn(key=[market.key, "ledger"]),
            "prices": dg.AssetIn(
                key=[market.key, "prices"],
                partition_mapping=look_back(RISK_SESSIONS),
                metadata={HISTORY: True},
            ),
        },
    )
    def risk(context: dg.AssetExecutionContext, ledger: Any, prices: Any) -> Any:
        import pandas as pd

        from quant_assets.domain.ledger_book import bars_of
        from quant_assets.domain.risk import risk_rows

        with typed_failures():
            run_sessions(context)
            days = pd.DatetimeIndex(sorted(prices["session_date"].unique()))
            held = ledger.loc[ledger["kind"] == "POSITION", "symbol"]
            symbols = sorted({*prices["symbol"], *held})
            frame = risk_rows(ledger, bars_of(prices, days, symbols))
            live = frame[frame["is_live"]].tail(1)
            facts = {
                name: float(live[name].iloc[0])
                for name in ("exposure", "drawdown", "value_at_risk_99")
                if len(live) and pd.notna(live[name].iloc[0])
            }
            return record(context, frame, facts)

    return risk


def _before(market: Market, name: str, first: date, store: "ParquetStore") -> "pd.DataFrame | None":
    """Rows of the session before ``first``; None where the asset begins with ``first``.

    Raises ``BadDataError`` if there are older sessions but not that one: the book would begin anew
    in the middle of its history.
    """
    asset = f"{market.key}/{name}"
    key = market.offset_session(first, -1).isoformat()
    if not store.missing(asset, [key]):
        return store.read(dataset_of(asset), asset, [key])
    older = [stored for stored in store.list_partitions(asset) if stored < first.isoformat()]
    if older:
        raise BadDataError(
            f"{asset} goes on from its session before, {key}, which is not stored (the last one is "
            f"{max(older)}): make the sessions in between first, `quant run --market {market.key} "
            f"--from {market.offset_session(session_of(max(older)), 1)}`"
        )
    return None
