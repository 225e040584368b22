"""Contracts of the articles, crawled and streamed, their tone, and ``us|kr/news_sentiment``."""

from dataclasses import replace

from quant_assets.domain.scoring_config import SENTIMENT_STATUSES
from quant_assets.schemas.contract import Column, Dataset
from quant_assets.schemas.prices import AVAILABLE_AT, SESSION_DATE, SYMBOL

HOUR = Column("hour", "timestamp", "Start of the hour of the partition.", "UTC")
ARTICLE_ID = Column("article_id", "string", "Hash of the canonical address.")

ARTICLES = Dataset(
    name="news_articles",
    description="News articles by the hour in which they became known.",
    partition_column="hour",
    key=("hour", "article_id"),
    may_be_empty=True,
    on_rewrite="keep",
    version=2,
    columns=(
        HOUR,
        ARTICLE_ID,
        Column("url", "string", "Canonical address."),
        Column("title", "string", "Headline."),
        Column("summary", "string", "Summary or lead, may be empty."),
        Column("source", "string", "Publisher."),
        Column("provider", "string", "Where we got it.", allowed=("alpha_vantage", "rss", "kafka")),
        Column("published_at", "timestamp", "Publication time by the provider.", "UTC"),
        Column("first_seen_at", "timestamp", "When we first received it.", "UTC"),
        AVAILABLE_AT,
        Column("is_backfilled", "bool", "Fetched as history, later than when it was news."),
        Column(
            "is_date_estimated",
            "bool",
            "Undated by the provider: published_at is the latest time that it can have been.",
        ),
        Column("tickers", "string", "JSON list of the symbols that the provider names."),
        Column(
            "provider_sentiment",
            "string",
            "JSON list of {symbol, relevance, score} by the provider; score may be null.",
        ),
        Column("text", "string", "Text of the article's page; empty if it was not fetched."),
    ),
)

STREAMED_ARTICLES = replace(
    ARTICLES,
    name="news_streamed_articles",
    description="News articles that an external crawler sent, by the hour in which they came.",
    version=1,
)

ARTICLE_SENTIMENT = Dataset(
    name="news_article_sentiment",
    description="Tone of each article for each symbol that it is about.",
    partition_column="hour",
    key=("hour", "article_id", "symbol"),
    may_be_empty=True,
    columns=(
        HOUR,
        ARTICLE_ID,
        SYMBOL,
        Column("relevance", "float", "How much it is about the symbol.", "0..1", False, 0, 1),
        Column("score", "float", "Tone, negative to positive.", "-1..1", False, -1, 1),
        Column("scorer", "string", "Who scored: the provider or a scorer of ours."),
        Column("scorer_version", "string", "Version of the scorer."),
        Column("published_at", "timestamp", "Publication time by the provider.", "UTC"),
        AVAILABLE_AT,
        Column("title_key", "string", "Fingerprint of the headline, equal for near-duplicates."),
    ),
)

# Two runs may score one hour at a time, each with the articles that it found stored: what one of
# them has not seen must stay.
STREAMED_SENTIMENT = replace(
    ARTICLE_SENTIMENT,
    name="news_streamed_sentiment",
    description="Tone of each streamed article for each symbol that it is about.",
    on_rewrite="update",
)

NEWS_SENTIMENT = Dataset(
    name="news_sentiment",
    description="Sentiment of each symbol in the decision window of a session.",
    partition_column="session_date",
    key=("session_date", "symbol"),
    columns=(
        SESSION_DATE,
        SYMBOL,
        Column(
            "sentiment_score",
            "float",
            "Mean tone weighted by relevance and age (half-life 48 hours); null if unavailable.",
            "-1..1",
            True,
            -1,
            1,
        ),
        Column("n_articles", "int", "Distinct articles in the window.", minimum=0),
        Column("status", "string", "What the score rests on.", allowed=SENTIMENT_STATUSES),
        Column("window_start", "timestamp", "Open of the session before: first news.", "UTC"),
        Column("decision_at", "timestamp", "Open of the next session: no news after.", "UTC"),
        Column("hours_expected", "int", "Hours of the window that have passed.", minimum=0),
        Column("hours_missing", "int", "Of these, hours never crawled.", minimum=0),
        Column("scorer_version", "string", "Version of our scorer."),
        AVAILABLE_AT,
    ),
)
