"""Contracts of ``macro/observations`` and ``macro/regime``."""

from quant_assets.schemas.contract import Column, Dataset
from quant_assets.schemas.prices import AVAILABLE_AT

OBSERVATIONS = Dataset(
    name="macro_observations",
    description="Macro series values that were new or revised on a release day.",
    partition_column="release_date",
    key=("release_date", "series_id", "observation_date"),
    may_be_empty=True,
    on_rewrite="update",
    columns=(
        Column("release_date", "date", "Day on which the value was published or revised."),
        Column("series_id", "string", "FRED series id."),
        Column("observation_date", "date", "Start of the period that the value describes."),
        Column("value", "float", "Value; null where FRED published it as missing.", nullable=True),
        Column("realtime_start", "date", "First day of the vintage; equals release_date."),
        AVAILABLE_AT,
    ),
)

REGIMES = ("RISK_ON", "NEUTRAL", "CAUTION", "RISK_OFF")
REGIME = Dataset(
    name="macro_regime",
    description="State of the economy and markets as known on a release day.",
    partition_column="release_date",
    key=("release_date",),
    columns=(
        Column("release_date", "date", "Day whose end is the point of knowledge."),
        Column("term_spread", "float", "10-year less 2-year Treasury yield.", "%", nullable=True),
        Column("vix", "float", "Last VIX close known.", "index points", nullable=True),
        Column(
            "vix_percentile",
            "float",
            "Share of the last 252 VIX closes not above the last one.",
            "0..1",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        Column("cpi_yoy", "float", "CPI against a year before.", "%", nullable=True),
        Column(
            "sahm_gap",
            "float",
            "3-month mean of unemployment less its lowest of the 12 months before.",
            "percentage points",
            nullable=True,
        ),
        Column(
            "credit_spread", "float", "Baa yield less the 10-year Treasury.", "%", nullable=True
        ),
        Column("policy_rate", "float", "Federal funds rate.", "%", nullable=True),
        Column("stress_points", "float", "Sum of the stress rules that hold.", minimum=0),
        Column("n_features", "int", "Features known that day.", minimum=0),
        Column("regime", "string", "Name of the state.", allowed=REGIMES),
        Column(
            "risk_multiplier",
            "float",
            "Share of normal exposure that the state allows.",
            "0..1",
            minimum=0,
            maximum=1,
        ),
        Column("regime_version", "string", "Version of the rules."),
        AVAILABLE_AT,
    ),
)
