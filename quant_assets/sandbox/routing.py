"""Which vendor a request is for. What belongs here: hosts, paths, and the vendors' assembly."""

from pathlib import Path

from quant_assets.sandbox import rss, slack, yahoo
from quant_assets.sandbox.alpha_vantage import AlphaVantage
from quant_assets.sandbox.fred import Fred
from quant_assets.sandbox.macro import MacroSource, SimulatedMacro
from quant_assets.sandbox.market import SimulatedMarket
from quant_assets.sandbox.news import NewsSource, SimulatedNews
from quant_assets.sandbox.prices import PriceSource, SimulatedPrices
from quant_assets.sandbox.wire import Request, Response, html_response

OTHER = "other"
"""Endpoint of requests that no vendor answers."""


class Vendors:
    """The stand-ins, simulated from ``seed`` or replayed from ``data_dir``."""

    def __init__(self, seed: int, data_dir: Path | None) -> None:
        prices, macro, news = _sources(seed, data_dir)
        self.yahoo = yahoo.Yahoo(prices, seed)
        self.fred = Fred(macro)
        self.alpha_vantage = AlphaVantage(news)
        self.rss = rss.Rss(news)
        self.slack = slack.Slack()

    def answer(self, request: Request, endpoint: str) -> Response:
        """Response of the vendor that ``route`` named."""
        if endpoint.startswith("yahoo."):
            return self.yahoo.answer(request)
        if endpoint == "fred":
            return self.fred.answer(request)
        if endpoint == "alpha_vantage":
            return self.alpha_vantage.answer(request)
        if endpoint == "rss":
            return self.rss.answer(request)
        if endpoint == "slack":
            return self.slack.answer(request)
        return html_response("<html><body>404 Not Found</body></html>", 404)


def _sources(seed: int, data_dir: Path | None) -> tuple[PriceSource, MacroSource, NewsSource]:
    if data_dir is not None:
        from quant_assets.sandbox.replay import ReplayMacro, ReplayNews, ReplayPrices

        return ReplayPrices(data_dir), ReplayMacro(data_dir), ReplayNews(data_dir)
    market = SimulatedMarket(seed)
    return SimulatedPrices(market), SimulatedMacro(seed), SimulatedNews(market)


def route(request: Request) -> tuple[str, str]:
    """Endpoint of a request and what it is about: symbol, series, feed or channel."""
    path = request.path
    is_yahoo_path = path.startswith(yahoo.CHART_PATH) or path == yahoo.CRUMB_PATH
    if request.host == "yahoo.com" or request.host.endswith(".yahoo.com") or is_yahoo_path:
        return yahoo.endpoint_of(request)
    if path.startswith("/fred/"):
        return "fred", request.query.get("series_id", "")
    if path == "/query":
        return "alpha_vantage", request.query.get("tickers", "")
    if path.startswith("/rss/"):
        return "rss", rss.feed_of(path)
    if slack.is_slack_path(path):
        return "slack", slack.channel_of(request)
    return OTHER, ""
