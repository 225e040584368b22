"""``macro/observations`` and ``macro/regime``. What belongs here: vintages in, state out."""

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from quant_assets import naming
from quant_assets.assets.common import Versions, dataset_spec, markdown_table, record, run_sessions
from quant_assets.assets.macro_fetch import (
    ASSET,
    RELEASE_DAY_ENDS,
    Fetched,
    Sifted,
    days_before,
    failed_series,
    fetch_releases,
    rewritten,
    settled_items,
    sift_rows,
)
from quant_assets.errors import BadDataError, PermanentError
from quant_assets.partitions import (
    REGIME_LOOK_BACK_DAYS,
    look_back,
    release_day_partitions,
    session_of,
)
from quant_assets.policies import SINGLE_RUN, VENDOR_RETRY, is_last_attempt, typed_failures
from quant_assets.resources import ClockResource, FredResource, RawResource, StoreResource
from quant_assets.schemas import dataset_of
from quant_assets.schemas.loaded import HISTORY

if TYPE_CHECKING:
    import pandas as pd

    from quant_assets.io_managers.parquet_store import ParquetStore
    from quant_assets.io_managers.quarantine import Quarantine

SHOWN = 50
OWN_DAYS = 31
"""Days of a run whose stored values are compared with the new ones; a longer run is a fill."""


def build_macro(versions: Versions) -> list[dg.AssetsDefinition]:
    """The macro assets."""
    return [_observations(versions), _regime(versions)]


def _observations(versions: Versions) -> dg.AssetsDefinition:
    @dg.asset(
        **dataset_spec(ASSET, group=naming.GROUP_MACRO, kinds={"fred"}, versions=versions),
        partitions_def=release_day_partitions(),
        backfill_policy=SINGLE_RUN,
        retry_policy=VENDOR_RETRY,
        pool=naming.POOL_FRED,
    )
    def observations(
        context: dg.AssetExecutionContext,
        fred: FredResource,
        clock: ClockResource,
        raw: RawResource,
        store: StoreResource,
    ) -> Any:
        with typed_failures():
            settings = fred.settings()
            if not settings.has_fred:
                raise PermanentError(
                    "FRED needs a key: set FRED_API_KEY (free, from the FRED website)"
                )
            days = run_sessions(context)
            fetch = raw.fetch(context, clock.now())
            fetched = fetch_releases(
                fred.client(fetch.tape),
                settings.series(),
                session_of(fetch.first),
                session_of(fetch.last),
                is_last_attempt=fetch.is_rebuild or is_last_attempt(context),
            )
            kept = fetch.keep()
            quarantine = store.quarantine(ASSET)
            stored, unreadable = stored_observations(store.open(), days)
            sifted = sift_rows(fetched.news, days, stored, quarantine.sift)
            settle(quarantine, sifted, fetched, days, fetch.now)
            facts = _release_facts(sifted, fetched.failed, len(settings.series()))
            facts |= _changes(rewritten(sifted.frame, stored))
            return record(context, sifted.frame, {**facts, **unreadable, **kept})

    return observations


def stored_observations(
    store: "ParquetStore", days: list[date]
) -> tuple["pd.DataFrame", dict[str, str]]:
    """What is stored of the days before a run and of its own, and what to say if it is damaged.

    Of a long run only the first days are read. A damaged file of last year must not stop today's
    values: they are then judged by the vendor's history alone.
    """
    from quant_assets.domain.macro_quality import HISTORY_DAYS
    from quant_assets.io_managers.parquet_store import empty_frame

    dataset = dataset_of(ASSET)
    own = [day.isoformat() for day in days[:OWN_DAYS]]
    try:
        return store.load(dataset, ASSET, [*days_before(days[0], HISTORY_DAYS), *own]).frame, {}
    except BadDataError as error:
        return empty_frame(dataset), {"stored_history": f"not used: {error}"}


def settle(
    quarantine: "Quarantine",
    sifted: Sifted,
    fetched: Fetched,
    days: list[date],
    now: datetime,
) -> None:
    """Note the held rows and failed series of a run, and forget what it made good."""
    keys = [day.isoformat() for day in days]
    present = sorted(set(quarantine.partitions()) & set(keys))
    gaps = failed_series(fetched, days[0], days[-1])
    known = quarantine.held(present)
    good = settled_items(sifted.frame, known, fetched.failed, days[0]) if present else ()
    quarantine.settle(keys, [*sifted.held, *gaps], good, now)


def _release_facts(sifted: Sifted, failed: dict[str, str], n_series: int) -> dict[str, Any]:
    frame = sifted.frame
    newest = frame.drop_duplicates("series_id", keep="last")
    columns = ["series_id", "observation_date", "value", "realtime_start"]
    facts: dict[str, Any] = {
        "series_asked": n_series,
        "series_released": len(newest),
        "rows_in_run": len(frame),
        "latest_values": markdown_table(
            columns,
            newest[columns]
            .astype({"observation_date": str, "realtime_start": str})
            .to_numpy()
            .tolist(),
        ),
    }
    if sifted.held:
        held = [(one.partition, one.item, one.rule, one.reason) for one in sifted.held[:SHOWN]]
        facts["quarantined"] = len(sifted.held)
        facts["quarantine"] = markdown_table(["release_day", "item", "rule", "reason"], held)
    if failed:
        facts["series_failed"] = markdown_table(["series_id", "reason"], list(failed.items()))
    return facts


def _changes(changed: "pd.DataFrame") -> dict[str, Any]:
    """What to say of stored values that this run replaces."""
    if changed.empty:
        return {}
    shown = changed.head(SHOWN).astype({"release_date": str, "observation_date": str})
    return {
        "values_changed": len(changed),
        "changed": markdown_table(list(shown.columns), shown.to_numpy().tolist()),
    }


def _regime(versions: Versions) -> dg.AssetsDefinition:
    @dg.asset(
        **dataset_spec("macro/regime", group=naming.GROUP_MACRO, kinds=set(), versions=versions),
        partitions_def=release_day_partitions(),
        backfill_policy=SINGLE_RUN,
        ins={
            "observations": dg.AssetIn(
                key=["macro", "observations"],
                partition_mapping=look_back(REGIME_LOOK_BACK_DAYS),
                metadata={HISTORY: True},
            )
        },
    )
    def regime(context: dg.AssetExecutionContext, observations: Any) -> Any:
        from quant_assets.assets.pictures import regime_picture
        from quant_assets.domain.macro import RegimeConfig, macro_regime

        with typed_failures():
            frame = macro_regime(observations, run_sessions(context), RegimeConfig())
            ends = (frame["release_date"] + RELEASE_DAY_ENDS).dt.tz_localize("UTC")
            frame = frame.assign(available_at=ends)
            last = frame.iloc[-1]
            facts = {
                "regime": last["regime"],
                "risk_multiplier": float(last["risk_multiplier"]),
                "features_known": int(last["n_features"]),
                "picture": regime_picture(frame),
            }
            return record(context, frame, facts)

    return regime
