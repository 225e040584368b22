"""Vendor clients as Dagster resources. What belongs here: settings to constructor arguments."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

from quant_assets.resources.base import SettingsResource
from quant_assets.settings import Settings

if TYPE_CHECKING:
    import requests

    from quant_assets.vendors.alpha_vantage import AlphaVantageClient
    from quant_assets.vendors.archive import Tape
    from quant_assets.vendors.article_text import ArticleReader
    from quant_assets.vendors.daily_quota import DailyQuota
    from quant_assets.vendors.fred import FredClient
    from quant_assets.vendors.http import Pacer
    from quant_assets.vendors.rotation import ReachedTimes
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
            cache_dir=settings.yahoo_cache_dir,
            workers=settings.yahoo_workers,
            max_per_second=settings.yahoo_pace_per_second,
            timeout_seconds=settings.vendor_timeout_seconds,
            backoff_seconds=settings.backoff_seconds,
            tape=tape,
        )


class FredResource(SettingsResource):
    """Macro series of FRED and their vintages of ALFRED."""

    def client(self, tape: "Tape | None" = None) -> "FredClient":
        """A client with the run's key and pace."""
        from quant_assets.vendors.fred import FredClient

        settings = self.settings()
        return FredClient(
            settings.fred_key(),
            settings.endpoints().fred_url,
            _session(settings, tape),
            pacer=_fred_pacer(settings.fred_pace_per_minute),
        )


class AlphaVantageResource(SettingsResource):
    """News with tickers and sentiment of Alpha Vantage."""

    def is_configured(self) -> bool:
        """Whether there is a key to ask with."""
        return self.settings().has_alpha_vantage

    def client(
        self, tape: "Tape | None" = None, quota: "DailyQuota | None" = None
    ) -> "AlphaVantageClient":
        """A client with the run's key and pace, which spends from ``quota``.

        A closed tape (a rebuild) answers at once: nothing is counted or waited for.
        """
        from quant_assets.vendors.alpha_vantage import AlphaVantageClient
        from quant_assets.vendors.http import Pacer

        settings = self.settings()
        if tape is not None and tape.is_closed:
            return AlphaVantageClient(
                settings.alpha_vantage_key() or "kept",
                settings.endpoints().alpha_vantage_url,
                _session(settings, tape),
                pacer=Pacer(max_per_second=1e6),
                sleep=lambda _: None,
            )
        return AlphaVantageClient(
            settings.alpha_vantage_key(),
            settings.endpoints().alpha_vantage_url,
            _session(settings, tape, retries=0),
            pacer=Pacer(max_per_minute=settings.alpha_vantage_pace_per_minute),
            pause_seconds=settings.backoff_seconds,
            daily_budget=quota,
        )

    def quota(self, now: "Callable[[], datetime]") -> "DailyQuota | None":
        """The day's calls, shared by all processes of this profile; None if they are not counted.

        ``now`` is the clock that decides which day it is.
        """
        from quant_assets.vendors.daily_quota import DailyQuota, quota_path

        settings = self.settings()
        limit = settings.alpha_vantage_daily_calls
        return None if limit is None else DailyQuota(quota_path(settings.home_dir), limit, now)

    def reached(self) -> "ReachedTimes":
        """Until when each ticker was asked for, where not all can be each hour."""
        from quant_assets.vendors.rotation import ReachedTimes

        return ReachedTimes(self.settings().alpha_vantage_reached_path)


class RssResource(SettingsResource):
    """News feeds, and the pages of the articles."""

    def feeds(self) -> tuple[str, ...]:
        """Addresses of the feeds."""
        return self.settings().endpoints().rss_feeds

    def client(
        self, tape: "Tape | None" = None, now: "Callable[[], datetime] | None" = None
    ) -> "RssClient":
        """A client with the run's timeout, which remembers what each feed showed last."""
        from quant_assets.vendors.feed_cache import FeedCache
        from quant_assets.vendors.rss import RssClient

        settings = self.settings()
        return RssClient(
            _session(settings, tape),
            cache=FeedCache(settings.home_dir / "cache" / "feeds"),
            tape=tape,
            now=now or (lambda: datetime.now(UTC)),
        )

    def article_reader(self, tape: "Tape | None" = None) -> "ArticleReader | None":
        """A reader of the articles' pages, None unless ``QUANT_ARTICLE_TEXT`` is set."""
        from quant_assets.vendors.article_text import ArticleReader

        settings = self.settings()
        if not settings.article_text:
            return None
        base = settings.endpoints().yahoo_proxy
        return ArticleReader(
            mirror_url=None if base is None else f"{base}/rss/pages",
            timeout_seconds=settings.vendor_timeout_seconds,
            tape=tape,
        )


@cache
def _fred_pacer(max_per_minute: int) -> "Pacer":
    """One pacer a process: a step that is tried again must not start a new minute of its own."""
    from quant_assets.vendors.http import Pacer

    return Pacer(max_per_minute=max_per_minute)


def _session(settings: Settings, tape: "Tape | None", retries: int = 3) -> "requests.Session":
    """A session with the run's timeout and the platform's name.

    A client whose requests are counted repeats them itself (``retries=0``).
    """
    from quant_assets.vendors.http import build_session

    return build_session(
        retries=retries,
        backoff_seconds=settings.backoff_seconds,
        timeout_seconds=settings.vendor_timeout_seconds,
        user_agent="quant-assets",
        tape=tape,
    )
