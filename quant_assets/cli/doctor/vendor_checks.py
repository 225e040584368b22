"""Vendors, Slack and mail. What belongs here: one cheap request to each, none repeated.

Alpha Vantage's few calls of a day are not spent unless that is asked for.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from quant_assets.cli.doctor.findings import Finding, Group
from quant_assets.errors import QuantAssetsError, QuotaExhaustedError
from quant_assets.settings import Endpoints, Settings

if TYPE_CHECKING:
    import requests

    from quant_assets.notices.mail import MailServer
    from quant_assets.vendors.daily_quota import DailyQuota
    from quant_assets.vendors.slack import SlackConnection

VENDORS = Group("vendors")
NOTICES = Group("notices")
_SERIES = "DGS10"


def fred(settings: Settings, endpoints: Endpoints, seconds: float) -> Finding:
    """Whether FRED takes the key: it is asked for one series' name."""
    if not settings.has_fred:
        what = "FRED_API_KEY is not set: no macro series, and no regime"
        remedy = "a key is free at fredaccount.stlouisfed.org/apikeys"
        return VENDORS.warn("FRED", what, remedy)
    from quant_assets.vendors.fred_requests import FredRequests

    client = FredRequests(settings.fred_key(), endpoints.fred_url, _session(seconds))
    client.get_series_info(_SERIES)
    return VENDORS.ok("FRED", "takes the key")


def yahoo(settings: Settings, endpoints: Endpoints, seconds: float) -> Finding:
    """Whether Yahoo gives a chart to the transport that the runs use."""
    from curl_cffi.requests.exceptions import RequestException

    from quant_assets.vendors.http import Pacer
    from quant_assets.vendors.yahoo_transport import (
        NoBarsError,
        UnknownSymbolError,
        YahooRateLimited,
        YahooSession,
    )

    symbol = settings.universe("us")[0].yahoo_symbol
    session = YahooSession(proxy_url=endpoints.yahoo_proxy, pacer=Pacer(max_per_second=1))
    address = f"https://query2.finance.yahoo.com/v8/finance/chart/{symbol}"
    try:
        answer = session.get(address, params={"range": "5d", "interval": "1d"}, timeout=seconds)
    except (NoBarsError, UnknownSymbolError) as error:
        return VENDORS.ok("Yahoo", f"answers; {symbol}: {error}")
    except YahooRateLimited:
        what = "answers that too much was asked (HTTP 429)"
        return VENDORS.warn("Yahoo", what, "wait an hour, lower QUANT_YAHOO_CALLS_PER_SECOND")
    except RequestException as error:
        what = f"does not answer: {error}"
        return VENDORS.fail("Yahoo", what, "check the network and HTTPS_PROXY")
    if answer.status_code >= 400:
        remedy = "Yahoo refuses some networks: try from another, without a proxy"
        return VENDORS.fail("Yahoo", f"refuses (HTTP {answer.status_code})", remedy)
    return VENDORS.ok("Yahoo", f"gives the chart of {symbol}")


def feeds(endpoints: Endpoints, seconds: float) -> Finding:
    """Whether each news feed answers with one."""
    if not endpoints.rss_feeds:
        return VENDORS.skip("RSS feeds", "QUANT_RSS_FEEDS names none")
    from quant_assets.vendors.http import HttpCaller

    caller = HttpCaller("RSS", _session(seconds / len(endpoints.rss_feeds)))
    problems = {}
    for feed in endpoints.rss_feeds:
        try:
            caller.get(feed, endpoint=_place(feed), expects="xml")
        except QuantAssetsError as error:
            problems[feed] = str(error)
    count, good = len(endpoints.rss_feeds), len(endpoints.rss_feeds) - len(problems)
    if not problems:
        return VENDORS.ok("RSS feeds", f"{count} answer")
    what = f"{good} of {count} answer; {next(iter(problems.values()))}"
    remedy = "look at the address in a browser, and take dead ones out of QUANT_RSS_FEEDS"
    return (VENDORS.warn if good else VENDORS.fail)("RSS feeds", what, remedy)


def _place(address: str) -> str:
    """Host and path of a feed: its user and query may be secret."""
    parts = urlsplit(address)
    return f"{parts.hostname}{parts.path}"


def alpha_vantage(
    settings: Settings, endpoints: Endpoints, seconds: float, *, is_asked: bool
) -> Finding:
    """Whether there is a key, and calls left; the vendor is asked where calls cost nothing."""
    name = "Alpha Vantage"
    if not settings.has_alpha_vantage:
        what = "ALPHA_VANTAGE_API_KEY is not set: news come from RSS, which has no past"
        return VENDORS.skip(name, what, "a key is free at alphavantage.co/support/#api-key")
    from quant_assets.vendors.daily_quota import quota_path

    limit, path = settings.alpha_vantage_daily_calls, quota_path(settings.home_dir)
    quota, left = None, ""
    if limit is not None:
        quota = _quota(settings, limit)
        calls = quota.left() if path.exists() else limit
        left = f"; {calls} of {limit} calls left today"
        if not calls:
            what = f"no call left until {quota.resets_at():%Y-%m-%d %H:%M} UTC"
            remedy = "wait, or raise QUANT_ALPHA_VANTAGE_CALLS_PER_DAY with a larger plan"
            return VENDORS.warn(name, what, remedy)
    if limit is not None and not is_asked:
        return VENDORS.ok(name, f"a key is set, not tried (--alpha-vantage spends a call){left}")
    return _ask_alpha_vantage(settings, endpoints, seconds, quota)


def _quota(settings: Settings, limit: int) -> DailyQuota:
    from quant_assets.vendors.daily_quota import DailyQuota, quota_path

    return DailyQuota(quota_path(settings.home_dir), limit, lambda: datetime.now(UTC))


def _ask_alpha_vantage(
    settings: Settings, endpoints: Endpoints, seconds: float, quota: DailyQuota | None
) -> Finding:
    from quant_assets.vendors.alpha_vantage import AlphaVantageClient

    client = AlphaVantageClient(
        settings.alpha_vantage_key(),
        endpoints.alpha_vantage_url,
        _session(seconds),
        daily_budget=quota,
        rate_limit_attempts=1,
    )
    now = datetime.now(UTC)
    try:
        client.news(None, now - timedelta(minutes=2), now - timedelta(minutes=1))
    except QuotaExhaustedError as error:
        return VENDORS.warn("Alpha Vantage", str(error), "wait for the next day")
    spent = "" if quota is None else f"; {quota.left()} calls left today"
    return VENDORS.ok("Alpha Vantage", f"takes the key{spent}")


def slack(settings: Settings, connection: SlackConnection | None, seconds: float) -> list[Finding]:
    """Whether Slack takes the token, and the bot sees each channel that is written to."""
    if connection is None:
        if settings.is_sandbox:
            return [NOTICES.skip("Slack", "no sandbox runs", "make dev, or quant sandbox")]
        return [NOTICES.skip("Slack", "SLACK_BOT_TOKEN is not set: nothing is posted")]
    from quant_assets.notices.incidents import SEVERITIES
    from quant_assets.vendors.slack import SlackClient

    client = SlackClient(connection, timeout_seconds=seconds / 2)
    found = [NOTICES.ok("Slack", f"takes the token: {client.identity()}")]
    channels = [settings.slack_channel, *(settings.alert_channel(s) for s in SEVERITIES)]
    for channel in dict.fromkeys(channels):
        try:
            client.channel_id(channel)
        except QuantAssetsError as error:
            remedy = f"make the channel and /invite the bot to {channel}"
            found.append(NOTICES.fail(channel, str(error), remedy))
        else:
            found.append(NOTICES.ok(channel, "the bot sees it"))
    return found


def mail(server: MailServer | None) -> Finding:
    """Whether the mail server lets us in; nothing is sent."""
    if server is None:
        return NOTICES.skip("mail", "QUANT_SMTP_HOST is not set: nothing is mailed")
    from quant_assets.notices.mail import probe

    probe(server)
    return NOTICES.ok("mail", f"{server.address} lets us in; `quant notify test` sends one")


def _session(seconds: float) -> requests.Session:
    """A session that asks once."""
    from quant_assets.vendors.http import build_session

    return build_session(
        retries=0, backoff_seconds=0, timeout_seconds=seconds, user_agent="quant-assets"
    )
