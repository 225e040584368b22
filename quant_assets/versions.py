"""Code versions of the assets. What belongs here: what a stored partition was made with.

A version moves when the code of an asset changes (the leading number) and when its configuration
does: Dagster then shows the asset as out of date and ``quant run`` makes its partitions again.
"""

import hashlib

from quant_assets.markets import MARKETS
from quant_assets.settings import Settings


def code_versions(values: Settings) -> dict[str, str]:
    """Code version of every asset under these settings, by asset key."""
    versions = {
        "macro/observations": f"1-{_hash(values.macro_source())}",
        "macro/regime": "1",
        "news/articles": "1",
        "news/article_sentiment": "1",
    }
    scoring = values.scoring_config().version
    for market in MARKETS:
        universe = _hash(values.universe_source(market))
        versions |= {
            f"{market}/prices": f"1-{universe}",
            f"{market}/technical_indicators": "1",
            f"{market}/technical_score": f"1-{scoring}",
            f"{market}/news_sentiment": f"1-{universe}",
            f"{market}/recommendations": f"1-{scoring}",
        }
    return versions


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]
