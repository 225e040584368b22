"""From prices and news to recommendations, for one market. What belongs here: the analysis assets.

Each loads its inputs, calls one pure function, returns.
"""

from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

from quant_assets import naming
from quant_assets.assets.common import Versions, record, run_sessions, session_asset
from quant_assets.domain.indicator_names import LOOK_BACK_SESSIONS
from quant_assets.markets import Market
from quant_assets.partitions import decision_window, hour_of, look_back
from quant_assets.policies import typed_failures
from quant_assets.resources import SettingsResource
from quant_assets.schemas.loaded import HISTORY, LoadedPartitions

if TYPE_CHECKING:
    import pandas as pd


def build_analysis(market: Market, versions: Versions) -> list[dg.AssetsDefinition]:
    """The analysis assets of ``market``."""
    return [
        _technical_indicators(market, versions),
        _technical_score(market, versions),
        _news_sentiment(market, versions),
        _recommendations(market, versions),
    ]


def _asset_arguments(
    market: Market, versions: Versions, name: str, kinds: set[str]
) -> dict[str, Any]:
    return session_asset(market, versions, name, group=naming.GROUP_ANALYSIS, kinds=kinds)


def _technical_indicators(market: Market, versions: Versions) -> dg.AssetsDefinition:
    @dg.asset(
        **_asset_arguments(market, versions, "technical_indicators", {"ta_lib"}),
        ins={
            "prices": dg.AssetIn(
                key=[market.key, "prices"],
                partition_mapping=look_back(LOOK_BACK_SESSIONS - 1),
                metadata={HISTORY: True},
            )
        },
    )
    def technical_indicators(context: dg.AssetExecutionContext, prices: Any) -> Any:
        import pandas as pd

        from quant_assets.assets.pictures import indicator_picture
        from quant_assets.domain.indicators import technical_indicators as compute

        with typed_failures():
            sessions = pd.DatetimeIndex(pd.to_datetime(run_sessions(context)))
            frame = compute(prices, sessions)
            facts = {
                "symbols": frame["symbol"].nunique(),
                "rows_with_reason": int(frame["reason"].notna().sum()),
                "picture": indicator_picture(prices, frame),
            }
            return record(context, frame, facts)

    return technical_indicators


def _technical_score(market: Market, versions: Versions) -> dg.AssetsDefinition:
    @dg.asset(
        **_asset_arguments(market, versions, "technical_score", set()),
        ins={"technical_indicators": dg.AssetIn(key=[market.key, "technical_indicators"])},
    )
    def technical_score(
        context: dg.AssetExecutionContext, technical_indicators: Any, platform: SettingsResource
    ) -> Any:
        from quant_assets.assets.pictures import block_picture
        from quant_assets.domain.scoring import technical_score as compute

        with typed_failures():
            config = platform.settings().scoring_config()
            frame = compute(technical_indicators, config)
            facts = {
                "scored": int(frame["technical_score"].notna().sum()),
                "not_scored": int(frame["technical_score"].isna().sum()),
                "scoring_version": config.version,
                "picture": block_picture(frame),
            }
            return record(context, frame, facts)

    return technical_score


def _news_sentiment(market: Market, versions: Versions) -> dg.AssetsDefinition:
    @dg.asset(
        **_asset_arguments(market, versions, "news_sentiment", set()),
        ins={
            "article_sentiment": dg.AssetIn(
                key=["news", "article_sentiment"], partition_mapping=decision_window()
            ),
            "streamed_sentiment": dg.AssetIn(
                key=["news", "streamed_sentiment"], partition_mapping=decision_window()
            ),
        },
    )
    def news_sentiment(
        context: dg.AssetExecutionContext,
        article_sentiment: LoadedPartitions,
        streamed_sentiment: LoadedPartitions,
        platform: SettingsResource,
    ) -> Any:
        import pandas as pd

        from quant_assets.assets.pictures import sentiment_picture
        from quant_assets.domain.articles import aggregate_sentiment
        from quant_assets.domain.sentiment_model import scorer_for

        with typed_failures():
            sessions = run_sessions(context)
            windows = decision_windows(market, sessions, article_sentiment)
            symbols = [listing.symbol for listing in platform.listings(market.key)]
            scores = [article_sentiment.frame, streamed_sentiment.frame]
            frame = aggregate_sentiment(pd.concat(scores, ignore_index=True), windows, symbols)
            frame = frame.merge(windows.drop(columns="session_open"), on="session_date")
            scorer = scorer_for(platform.settings().sentiment_model)
            frame = frame.assign(available_at=frame["decision_at"], scorer_version=scorer.version)
            facts = {
                "statuses": ", ".join(
                    f"{n} {s}" for s, n in frame["status"].value_counts().items()
                ),
                "articles_last_session": int(frame.tail(len(symbols))["n_articles"].sum()),
                "hours_missing": int(windows["hours_missing"].sum()),
                "picture": sentiment_picture(frame),
            }
            return record(context, frame, facts)

    return news_sentiment


def decision_windows(
    market: Market, sessions: list[date], hours: LoadedPartitions
) -> "pd.DataFrame":
    """One row a session: what news may enter its decision, and how much of it was crawled.

    ``hours`` are those of the crawl: streamed articles make no hour a crawled one.
    ``window_start`` is the open of the session before, ``session_open`` that of the session,
    ``decision_at`` that of the next one. ``hours_expected`` counts the hours of the window among
    those asked for (hours that have not passed are not), ``hours_missing`` those never stored.
    """
    import pandas as pd

    rows = []
    present = pd.DatetimeIndex([hour_of(key) for key in hours.present], tz="UTC")
    missing = pd.DatetimeIndex([hour_of(key) for key in hours.missing], tz="UTC")
    for session in sessions:
        start = market.hours_of(market.offset_session(session, -1))[0]
        decision_at = market.decision_at(session)
        first_hour = pd.Timestamp(start.replace(minute=0))
        counts = [
            int(((index >= first_hour) & (index < pd.Timestamp(decision_at))).sum())
            for index in (present, missing)
        ]
        rows.append(
            (session, start, market.hours_of(session)[0], decision_at, sum(counts), counts[1])
        )
    frame = pd.DataFrame(
        rows,
        columns=[
            "session_date",
            "window_start",
            "session_open",
            "decision_at",
            "hours_expected",
            "hours_missing",
        ],
    )
    instants = ["window_start", "session_open", "decision_at"]
    return frame.astype(
        {"session_date": "datetime64[us]", **dict.fromkeys(instants, "datetime64[us, UTC]")}
    )


def _recommendations(market: Market, versions: Versions) -> dg.AssetsDefinition:
    @dg.asset(
        **_asset_arguments(market, versions, "recommendations", set()),
        ins={
            "technical_score": dg.AssetIn(key=[market.key, "technical_score"]),
            "news_sentiment": dg.AssetIn(key=[market.key, "news_sentiment"]),
        },
    )
    def recommendations(
        context: dg.AssetExecutionContext,
        technical_score: Any,
        news_sentiment: Any,
        platform: SettingsResource,
    ) -> Any:
        import pandas as pd

        from quant_assets.assets.pictures import recommendation_picture, recommendation_table
        from quant_assets.domain.scoring import combine

        with typed_failures():
            config = platform.settings().scoring_config()
            times = {
                pd.Timestamp(session): pd.Timestamp(market.decision_at(session))
                for session in run_sessions(context)
            }
            frame = combine(technical_score, news_sentiment, config, decision_times=times)
            last = frame[frame["session_date"] == frame["session_date"].max()]
            facts = {
                "labels": ", ".join(f"{n} {s}" for s, n in last["label"].value_counts().items()),
                "degraded": int(last["is_degraded"].sum()),
                "without_label": int(last["label"].isna().sum()),
                "scoring_version": config.version,
                "recommendations": recommendation_table(last),
                "picture": recommendation_picture(market.name, last),
            }
            return record(context, frame, facts)

    return recommendations
