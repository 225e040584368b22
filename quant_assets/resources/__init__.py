"""Dagster resources: thin wrappers that turn settings into clients, and their assembly."""

from typing import Any

from quant_assets import naming
from quant_assets.io_managers.partitioned_parquet import PartitionedParquetIOManager
from quant_assets.io_managers.serving import ServingIOManager
from quant_assets.resources.base import (
    ClockResource,
    Fetch,
    RawResource,
    SettingsResource,
    StoreResource,
    shown_settings,
)
from quant_assets.resources.events import EventsResource
from quant_assets.resources.slack import SlackResource
from quant_assets.resources.vendors import (
    AlphaVantageResource,
    FredResource,
    RssResource,
    YahooResource,
)
from quant_assets.settings import Settings

__all__ = [
    "AlphaVantageResource",
    "ClockResource",
    "EventsResource",
    "Fetch",
    "FredResource",
    "RawResource",
    "RssResource",
    "SettingsResource",
    "SlackResource",
    "StoreResource",
    "YahooResource",
    "build_resources",
    "shown_settings",
]


def build_resources(settings: Settings) -> dict[str, Any]:
    """The resources of the code location by key, but Slack's, which knows the hooks."""
    values = shown_settings(settings)
    root = settings.data_place
    return {
        naming.IO_MANAGER: PartitionedParquetIOManager(root=root, profile=settings.profile),
        naming.SERVING_IO_MANAGER: ServingIOManager(values=values),
        "store": StoreResource(root=root, profile=settings.profile),
        "clock": ClockResource(),
        "platform": SettingsResource(values=values),
        "events": EventsResource(values=values),
        "raw": RawResource(values=values),
        "yahoo": YahooResource(values=values),
        "fred": FredResource(values=values),
        "alpha_vantage": AlphaVantageResource(values=values),
        "rss": RssResource(values=values),
    }
