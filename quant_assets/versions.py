"""Code versions of the assets. What belongs here: what a stored partition was made with.

A version moves when the code of an asset changes (the leading number) and when its configuration
does: Dagster then shows the asset as out of date and ``quant run`` makes its partitions again.
"""

import hashlib

from quant_assets import naming
from quant_assets.domain.forecast_config import FORECAST
from quant_assets.markets import MARKETS
from quant_assets.reference import reference_path
from quant_assets.settings import Settings

TONE_FILES = ("finance_words.csv", "finance_words_ko.csv", "aliases_us.csv", "aliases_kr.csv")


def code_versions(values: Settings) -> dict[str, str]:
    """Code version of every asset under these settings, by asset key."""
    tone = _hash(_tone_source(values))
    versions = {
        "macro/observations": f"1-{_hash(values.macro_source())}",
        "macro/regime": "1",
        "news/articles": "2",
        "news/article_sentiment": f"2-{tone}",
        "news/streamed_articles": "1",
        "news/streamed_sentiment": f"1-{tone}",
    }
    scoring = values.scoring_config().version
    strategies = _hash(repr([(s.id, s.version, s.is_live) for s in values.strategies()]).encode())
    for market in MARKETS:
        universe = _hash(values.universe_source(market))
        versions |= {
            f"{market}/prices": f"1-{universe}",
            f"{market}/technical_indicators": "1",
            f"{market}/technical_score": f"1-{scoring}",
            f"{market}/news_sentiment": f"3-{_hash(f'{universe}{tone}'.encode())}",
            f"{market}/recommendations": f"1-{scoring}",
            **{f"{market}/{name}": f"1-{FORECAST.version}" for name in naming.FORECAST},
            f"{market}/signals": f"1-{strategies}",
            f"{market}/ledger": f"1-{strategies}-{values.trading_rules(market).version[:8]}",
            f"{market}/risk": "2",
            **{f"{market}/{name}": "1" for name in ("orders", "fills", "positions")},
        }
    return versions


def _tone_source(values: Settings) -> bytes:
    """What decides the tone of an article: word lists and names, or the model on the disk.

    Of a model the size and time of its files count: reading it here would slow every start.
    """
    lists = b"".join(reference_path(name).read_bytes() for name in TONE_FILES)
    model = values.sentiment_model
    if model is None:
        return lists
    files = sorted(path for path in model.glob("*") if path.is_file())
    return lists + repr([(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files]).encode()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]
