"""The forecast of returns and its judgement, for one market. What belongs here: those two assets.

Both rest on hundreds of sessions and take what is stored of them: a session of last year that was
never analysed is one less to learn from and no reason for the paper book to stand still. They read
the store themselves, and of each asset one dependency alone states the look-back: Dagster takes
0.16 s a run to map 534 sessions of one, and beyond 100 it does not look at their versions anyway.
What a partition rests on in full is said by ``cli.inputs``.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from quant_assets import naming
from quant_assets.assets.common import Versions, record, run_sessions, session_asset
from quant_assets.domain.forecast_config import FORECAST
from quant_assets.errors import MissingPartitionError
from quant_assets.markets import FIRST_SESSION, Market
from quant_assets.partitions import REGIME_SESSIONS, look_back, recent_days
from quant_assets.policies import typed_failures
from quant_assets.resources import StoreResource
from quant_assets.schemas import dataset_of

if TYPE_CHECKING:
    import pandas as pd

    from quant_assets.domain.forecast import Inputs
    from quant_assets.io_managers.parquet_store import ParquetStore

NOT_JUDGED = "not judged yet"


def build_forecast(market: Market, versions: Versions) -> list[dg.AssetsDefinition]:
    """The forecast assets of ``market``."""
    return [_return_forecast(market, versions), _forecast_skill(market, versions)]


def _arguments(
    market: Market, versions: Versions, name: str, deps: Sequence[dg.AssetDep]
) -> dict[str, Any]:
    kinds = {"scikitlearn"}
    spec = session_asset(market, versions, name, group=naming.GROUP_ANALYSIS, kinds=kinds)
    return {**spec, "deps": deps}


def _return_forecast(market: Market, versions: Versions) -> dg.AssetsDefinition:
    behind = look_back(FORECAST.look_back)
    deps = [
        dg.AssetDep([market.key, "prices"], partition_mapping=behind),
        *(dg.AssetDep([market.key, name]) for name in naming.FORECAST_INPUTS),
        dg.AssetDep(["macro", "regime"], partition_mapping=recent_days()),
    ]

    @dg.asset(**_arguments(market, versions, "return_forecast", deps))
    def return_forecast(context: dg.AssetExecutionContext, store: StoreResource) -> Any:
        from quant_assets.assets.forecast_card import model_card
        from quant_assets.domain.forecast import forecast

        with typed_failures():
            days, stored = run_sessions(context), store.open()
            frame, model = forecast(_inputs(market, days, stored), days, FORECAST)
            last = frame[frame["session_date"] == frame["session_date"].max()]
            facts = {
                "verdict": _last_verdict(market, days[-1], stored),
                "forecasts": int(last["expected_return"].notna().sum()),
                "without_forecast": int(last["expected_return"].isna().sum()),
                "model": model.model_id or str(model.reason),
                "n_samples": model.n_samples,
                "model_card": model_card(market, model, FORECAST),
            }
            return record(context, frame, facts)

    return return_forecast


def _inputs(market: Market, days: Sequence[date], store: "ParquetStore") -> "Inputs":
    """What is stored of all that the forecasts of ``days`` may rest on.

    Raises ``MissingPartitionError`` if one of them was never analysed.
    """
    from quant_assets.domain.forecast import Inputs

    for name in naming.FORECAST_INPUTS:
        asset = f"{market.key}/{name}"
        if lacking := store.missing(asset, [day.isoformat() for day in days]):
            raise MissingPartitionError(
                f"{asset}: partition {lacking[0]} is not stored (needed by "
                f"{market.key}/return_forecast): run {market.key}_combined_analysis for it first"
            )
    sessions = _calendar_behind(market, days, FORECAST.look_back + REGIME_SESSIONS)
    behind = sessions[max(sessions.index(days[0]) - FORECAST.look_back, 0) :]
    indicators, technical, sentiment, prices = (
        _rows(store, f"{market.key}/{name}", behind) for name in (*naming.FORECAST_INPUTS, "prices")
    )
    return Inputs(
        market=market.key,
        sessions=_index(sessions),
        decision_times={day: market.decision_at(day) for day in sessions},
        indicators=indicators,
        technical=technical,
        sentiment=sentiment,
        prices=prices,
        regime=_rows(store, "macro/regime", _days(sessions)),
        regime_sessions=REGIME_SESSIONS,
    )


def _forecast_skill(market: Market, versions: Versions) -> dg.AssetsDefinition:
    reach = FORECAST.judged_look_back
    deps = [
        dg.AssetDep([market.key, "return_forecast"], partition_mapping=look_back(reach)),
        *(dg.AssetDep([market.key, name]) for name in ("technical_score", "prices")),
    ]

    @dg.asset(**_arguments(market, versions, "forecast_skill", deps))
    def forecast_skill(context: dg.AssetExecutionContext, store: StoreResource) -> Any:
        from quant_assets.assets.forecast_card import skill_card
        from quant_assets.domain.forecast_skill import outcomes_of, skill_rows, window_of

        with typed_failures():
            days, stored = run_sessions(context), store.open()
            sessions = _calendar_behind(market, days, reach)
            forecasts, technical, prices = (
                _rows(stored, f"{market.key}/{name}", sessions)
                for name in ("return_forecast", "technical_score", "prices")
            )
            outcomes = outcomes_of(forecasts, technical, prices, _index(sessions), FORECAST)
            frame = skill_rows(outcomes, {day: market.decision_at(day) for day in days}, FORECAST)
            last = frame.iloc[-1]
            window = window_of(outcomes, days[-1], FORECAST)
            facts = {
                "verdict": f"{last['verdict']}: {last['explanation']}",
                "model_card": skill_card(market, last, outcomes, window, FORECAST),
            }
            return record(context, frame, facts)

    return forecast_skill


def _calendar_behind(market: Market, days: Sequence[date], count: int) -> list[date]:
    """All trading days from ``count`` before the first of ``days`` to the last, as far as known."""
    since = max(FIRST_SESSION, days[0] - timedelta(days=2 * count + 30))
    sessions = market.sessions(since, days[-1])
    return sessions[max(sessions.index(days[0]) - count, 0) :]


def _days(sessions: Sequence[date]) -> list[date]:
    """The calendar days from the first to the last of some sessions."""
    count = (sessions[-1] - sessions[0]).days + 1
    return [sessions[0] + timedelta(days=n) for n in range(count)]


def _rows(store: "ParquetStore", asset: str, days: Sequence[date]) -> "pd.DataFrame":
    """What is stored of an asset of ``days``."""
    return store.load(dataset_of(asset), asset, [day.isoformat() for day in days]).frame


def _index(sessions: Sequence[date]) -> "pd.DatetimeIndex":
    import pandas as pd

    return pd.DatetimeIndex(list(sessions)).as_unit("us")


def _last_verdict(market: Market, session: date, store: "ParquetStore") -> str:
    """What was last said of the forecasts before ``session``: it is told beside them."""
    asset = f"{market.key}/forecast_skill"
    key = market.offset_session(session, -1).isoformat()
    rows = store.readable(dataset_of(asset), asset, [key])
    if rows.empty:
        return NOT_JUDGED
    return f"{rows['verdict'].iloc[-1]} ({key}): {rows['explanation'].iloc[-1]}"
