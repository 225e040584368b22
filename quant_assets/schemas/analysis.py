"""Contracts of the technical indicators, the technical score and the recommendations."""

from quant_assets.domain.indicator_names import INDICATORS
from quant_assets.domain.scoring_config import LABELS, SENTIMENT_STATUSES
from quant_assets.schemas.contract import Column, Dataset
from quant_assets.schemas.prices import AVAILABLE_AT, SESSION_DATE, SYMBOL

TECHNICAL_STATUSES = ("OK", "INSUFFICIENT_HISTORY")

TECHNICAL_INDICATORS = Dataset(
    name="technical_indicators",
    description="Technical indicators on bars adjusted as of the session.",
    partition_column="session_date",
    key=("session_date", "symbol"),
    columns=(
        SESSION_DATE,
        SYMBOL,
        Column("close", "float", "Last price as traded.", "market currency", minimum=0),
        Column("history_bars", "int", "Bars of the symbol in the look-back.", "bars", minimum=1),
        *(
            Column(i.name, "float", i.description + ".", i.unit, True, i.minimum, i.maximum)
            for i in INDICATORS
        ),
        Column("reason", "string", "Why some values are null.", nullable=True),
        AVAILABLE_AT,
    ),
)


def _score(name: str, description: str, *, nullable: bool = True) -> Column:
    return Column(name, "float", description, "-1..1", nullable, -1, 1)


SCORING_VERSION = Column("scoring_version", "string", "Version of weights, cuts and constants.")
TECHNICAL_SCORE = Dataset(
    name="technical_score",
    description="Technical score of each symbol and the blocks and components it is made of.",
    partition_column="session_date",
    key=("session_date", "symbol"),
    columns=(
        SESSION_DATE,
        SYMBOL,
        _score("technical_score", "0.5 trend + 0.3 momentum + 0.2 reversal."),
        _score("trend", "Mean of the trend components."),
        _score("momentum", "Mean of the momentum components."),
        _score("reversal", "Mean of the reversal components."),
        _score("trend_price", "Close above its 20-session mean, in 2 ATR."),
        _score("trend_medium", "20-session mean above the 50-session one, in 3 ATR."),
        _score("trend_long", "50-session mean above the 200-session one, in 8 ATR."),
        _score("momentum_macd", "MACD histogram in half an ATR."),
        _score("momentum_adx", "Direction of movement times the strength of the trend."),
        _score("momentum_obv", "On-balance volume above its mean, in 2 deviations."),
        _score("reversal_rsi", "RSI below 30 (positive) or above 70 (negative)."),
        _score("reversal_stochastic", "%D below 20 (positive) or above 80 (negative)."),
        _score("reversal_bollinger", "Close below (positive) or above (negative) the bands."),
        Column("status", "string", "Whether there is a score.", allowed=TECHNICAL_STATUSES),
        Column("reason", "string", "Why there is none.", nullable=True),
        SCORING_VERSION,
        AVAILABLE_AT,
    ),
)

RECOMMENDATIONS = Dataset(
    name="recommendations",
    description="Recommendation for each symbol: 70 % technical and 30 % news sentiment.",
    partition_column="session_date",
    key=("session_date", "symbol"),
    columns=(
        SESSION_DATE,
        SYMBOL,
        _score("technical_score", "Technical score of the session."),
        _score("sentiment_score", "News sentiment in the decision window."),
        _score("combined_score", "Weighted sum, rounded to 6 decimals; null without technical."),
        Column("label", "string", "Recommendation.", nullable=True, allowed=LABELS),
        Column("technical_weight", "float", "Weight used.", "0..1", False, 0, 1),
        Column("sentiment_weight", "float", "Weight used.", "0..1", False, 0, 1),
        Column("technical_status", "string", "State of the input.", allowed=TECHNICAL_STATUSES),
        Column("sentiment_status", "string", "State of the input.", allowed=SENTIMENT_STATUSES),
        Column("is_degraded", "bool", "News were unavailable: the label is capped at BUY or SELL."),
        Column("reason", "string", "Why there is no label or a capped one.", nullable=True),
        Column("decision_at", "timestamp", "Open of the next session: nothing later used.", "UTC"),
        AVAILABLE_AT,
        Column("technical_version", "string", "Scoring version of the technical score."),
        Column("sentiment_version", "string", "Scorer version of the sentiment.", nullable=True),
        SCORING_VERSION,
    ),
)
