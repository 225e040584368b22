"""``macro/observations`` and ``macro/regime``. What belongs here: vintages in, state out."""

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from quant_assets import naming
from quant_assets.assets.common import Versions, dataset_spec, markdown_table, record, run_sessions
from quant_assets.errors import BadDataError, PermanentError, TransientError
from quant_assets.partitions import REGIME_LOOK_BACK_DAYS, look_back, release_day_partitions
from quant_assets.policies import SINGLE_RUN, VENDOR_RETRY, typed_failures
from quant_assets.resources import ClockResource, FredResource
from quant_assets.schemas.loaded import HISTORY

if TYPE_CHECKING:
    import pandas as pd

    from quant_assets.settings import MacroSeries
    from quant_assets.vendors.fred import FredClient

RELEASE_DAY_ENDS = timedelta(days=1, hours=6)
"""From the start of a release day (a US Central date) to its end in UTC."""


def build_macro(versions: Versions) -> list[dg.AssetsDefinition]:
    """The macro assets."""
    return [_observations(versions), _regime(versions)]


def _observations(versions: Versions) -> dg.AssetsDefinition:
    @dg.asset(
        **dataset_spec(
            "macro/observations", group=naming.GROUP_MACRO, kinds={"fred"}, versions=versions
        ),
        partitions_def=release_day_partitions(),
        backfill_policy=SINGLE_RUN,
        retry_policy=VENDOR_RETRY,
        pool=naming.POOL_FRED,
    )
    def observations(
        context: dg.AssetExecutionContext, fred: FredResource, clock: ClockResource
    ) -> Any:
        with typed_failures():
            settings = fred.settings()
            if not settings.has_fred:
                raise PermanentError(
                    "FRED needs a key: set FRED_API_KEY (free, from the FRED website)"
                )
            days = run_sessions(context)
            frame, failed = fetch_releases(fred.client(), settings.series(), days)
            frame = frame.assign(available_at=_available_at(frame["release_date"]))
            return record(context, frame, _release_facts(frame, failed, len(settings.series())))

    return observations


def fetch_releases(
    client: "FredClient", series: "tuple[MacroSeries, ...]", days: list[date]
) -> tuple["pd.DataFrame", dict[str, str]]:
    """What was new or revised on ``days``, and the series that FRED does not know with why.

    Raises ``TransientError`` if a series could not be asked or its answer could not be read (the
    whole range is asked again, so that no release is lost) and ``BadDataError`` if FRED knows none
    of the series.
    """
    import pandas as pd

    frames, failed = [], {}
    for item in series:
        try:
            frames.append(
                client.new_or_revised(
                    item.series_id,
                    days[0],
                    days[-1],
                    publication_lag_days=item.publication_lag_days,
                )
            )
        except BadDataError as error:
            raise TransientError(f"FRED gave an unusable answer: {error}") from error
        except PermanentError as error:
            failed[item.series_id] = str(error)
    if not frames:
        raise BadDataError(f"FRED answered for none of {len(series)} series: {failed}")
    return pd.concat(frames, ignore_index=True), failed


def _available_at(release_dates: "pd.Series") -> "pd.Series":
    return (release_dates + RELEASE_DAY_ENDS).dt.tz_localize("UTC")


def _release_facts(frame: "pd.DataFrame", failed: dict[str, str], n_series: int) -> dict[str, Any]:
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
    if failed:
        facts["series_failed"] = markdown_table(["series_id", "reason"], list(failed.items()))
    return facts


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
            frame = frame.assign(available_at=_available_at(frame["release_date"]))
            last = frame.iloc[-1]
            facts = {
                "regime": last["regime"],
                "risk_multiplier": float(last["risk_multiplier"]),
                "features_known": int(last["n_features"]),
                "picture": regime_picture(frame),
            }
            return record(context, frame, facts)

    return regime
