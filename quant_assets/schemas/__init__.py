"""Column contracts of the datasets, one module a dataset family, and which asset has which."""

from quant_assets.errors import BadConfigurationError
from quant_assets.markets import MARKETS
from quant_assets.schemas import analysis, forecast, macro, news, prices, trading
from quant_assets.schemas.contract import Dataset

_MARKET_DATASETS = {
    "prices": prices.PRICES,
    "technical_indicators": analysis.TECHNICAL_INDICATORS,
    "technical_score": analysis.TECHNICAL_SCORE,
    "news_sentiment": news.NEWS_SENTIMENT,
    "recommendations": analysis.RECOMMENDATIONS,
    **forecast.FORECAST_DATASETS,
    **trading.TRADING_DATASETS,
}
DATASETS: dict[str, Dataset] = {
    "macro/observations": macro.OBSERVATIONS,
    "macro/regime": macro.REGIME,
    "news/articles": news.ARTICLES,
    "news/article_sentiment": news.ARTICLE_SENTIMENT,
    "news/streamed_articles": news.STREAMED_ARTICLES,
    "news/streamed_sentiment": news.STREAMED_SENTIMENT,
    **{
        f"{market}/{name}": dataset
        for market in MARKETS
        for name, dataset in _MARKET_DATASETS.items()
    },
}
"""Dataset of each stored asset, by the asset key joined with slashes."""


def dataset_of(asset: str) -> Dataset:
    """Contract of the asset ``us/prices`` and the like; an unknown name lists the known ones."""
    try:
        return DATASETS[asset]
    except KeyError:
        raise BadConfigurationError(
            f"no dataset is stored for {asset!r}; there are {', '.join(sorted(DATASETS))}"
        ) from None
