"""What the resources share. What belongs here: settings as Dagster config, clock, store."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.markets import Listing
from quant_assets.settings import Settings, read_settings

_SHOWN_SETTINGS = frozenset(
    {
        "profile",
        "us_universe",
        "kr_universe",
        "macro_series",
        "scoring",
        "alpha_vantage_calls_per_minute",
        "alpha_vantage_tickers",
        "yahoo_workers",
        "yahoo_calls_per_second",
        "vendor_timeout_seconds",
        "minimum_success_ratio",
        "sandbox_seed",
        "sandbox_data",
    }
)


def shown_settings(settings: Settings) -> dict[str, Any]:
    """The settings, by variable, that a resource may carry as visible config: no secret."""
    shown = settings.model_dump(
        mode="json", include=set(_SHOWN_SETTINGS), exclude_none=True, by_alias=True
    )
    return {**shown, "QUANT_HOME": str(settings.home_dir)}


class SettingsResource(dg.ConfigurableResource[Any]):
    """A resource that rebuilds the settings from its config; secrets come from the environment.

    ``values`` are the settings that differ by profile. The addresses of the vendors are found
    when a client is first made, never when the definitions load.
    """

    values: dict[str, Any]

    def settings(self) -> Settings:
        """Settings of the run."""
        return read_settings(**self.values)

    def listings(self, market_key: str) -> tuple[Listing, ...]:
        """Universe of a market."""
        return self.settings().universe(market_key)


class ClockResource(dg.ConfigurableResource[Any]):
    """The time of the run. ``fixed_now`` (ISO 8601, UTC) stops it, for tests and for replays."""

    fixed_now: str = ""

    def now(self) -> datetime:
        """The present, UTC."""
        return datetime.fromisoformat(self.fixed_now) if self.fixed_now else datetime.now(UTC)


class StoreResource(dg.ConfigurableResource[Any]):
    """Stored partitions, for assets that merge with what they stored before and for checks."""

    root: str
    profile: str

    def open(self) -> ParquetStore:
        """The store of this run."""
        return ParquetStore(self.root, self.profile)
