"""Vendor clients as Dagster resources. What belongs here: settings to constructor arguments."""

from typing import TYPE_CHECKING

from quant_assets.resources.base import SettingsResource
from quant_assets.settings import Settings

if TYPE_CHECKING:
    import requests

    from quant_assets.vendors.alpha_vantage import AlphaVantageClient
    from quant_assets.vendors.archive import Tape
    from quant_assets.vendors.fred import FredClient
    from quant_assets.vendors.rss import RssClient
    from quant_assets.vendors.yahoo import YahooClient


class YahooResource(SettingsResource):
    """Daily bars, splits and dividends of Yahoo Finance."""

    def client(self, tape: "Tape | None" = None) -> "YahooClient":
        """A client with the run's pace, workers and timeout."""
        from quant_assets.vendors.yahoo import YahooClient

        settings = self.settings()
        return YahooClient(
            proxy_url=settings.endpoints().yahoo_proxy,
            cache_dir=settings.home_dir / "cache" / "yahoo",
            workers=settings.yahoo_workers,
            max_per_second=settings.yahoo_pace_per_second,
            timeout_seconds=settings.vendor_timeout_seconds,
            tape=tape,
        )


class FredResource(SettingsResource):
    """Macro series of FRED and their vintages of ALFRED."""

    def client(self, tape: "Tape | None" = None) -> "FredClient":
        """A client with the run's key and pace."""
        from quant_assets.vendors.fred import FredClient
        from quant_assets.vendors.http import Pacer

        settings = self.settings()
        return FredClient(
            settings.fred_key(),
            settings.endpoints().fred_url,
            _session(settings, tape),
            pacer=Pacer(max_per_minute=settings.fred_pace_per_minute),
        )


class AlphaVantageResource(SettingsResource):
    """News with tickers and sentiment of Alpha Vantage."""

    def is_configured(self) -> bool:
        """Whether there is a key to ask with."""
        return self.settings().has_alpha_vantage

    def client(self, tape: "Tape | None" = None) -> "AlphaVantageClient":
        """A client with the run's key and pace."""
        from quant_assets.vendors.alpha_vantage import AlphaVantageClient
        from quant_assets.vendors.http import Pacer

        settings = self.settings()
        return AlphaVantageClient(
            settings.alpha_vantage_key(),
            settings.endpoints().alpha_vantage_url,
            _session(settings, tape),
            pacer=Pacer(max_per_minute=settings.alpha_vantage_pace_per_minute),
        )


class RssResource(SettingsResource):
    """News feeds."""

    def feeds(self) -> tuple[str, ...]:
        """Addresses of the feeds."""
        return self.settings().endpoints().rss_feeds

    def client(self, tape: "Tape | None" = None) -> "RssClient":
        """A client with the run's timeout."""
        from quant_assets.vendors.rss import RssClient

        return RssClient(_session(self.settings(), tape))


def _session(settings: Settings, tape: "Tape | None") -> "requests.Session":
    """A session with the run's timeout, three retries and the platform's name."""
    from quant_assets.vendors.http import build_session

    return build_session(
        retries=3,
        backoff_seconds=1.0,
        timeout_seconds=settings.vendor_timeout_seconds,
        user_agent="quant-assets",
        tape=tape,
    )
