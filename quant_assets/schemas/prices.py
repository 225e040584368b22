"""Contract of ``us/prices`` and ``kr/prices``."""

from quant_assets.schemas.contract import Column, Dataset

SESSION_DATE = Column("session_date", "date", "Trading day, named by the exchange's local date.")
SYMBOL = Column("symbol", "string", "Canonical symbol of the universe, such as AAPL or 005930.KS.")
AVAILABLE_AT = Column("available_at", "timestamp", "When the row could first be known.", "UTC")

PRICES = Dataset(
    name="prices",
    description="Daily bars as they stood on the tape: no later split or dividend applied.",
    partition_column="session_date",
    key=("session_date", "symbol"),
    on_rewrite="update",
    columns=(
        SESSION_DATE,
        SYMBOL,
        Column("open", "float", "First price as traded.", "market currency", minimum=0),
        Column("high", "float", "Highest price as traded.", "market currency", minimum=0),
        Column("low", "float", "Lowest price as traded.", "market currency", minimum=0),
        Column("close", "float", "Last price as traded.", "market currency", minimum=0),
        Column("volume", "int", "Shares traded, as traded.", "shares", minimum=0),
        Column(
            "dividend",
            "float",
            "Cash dividend per as-traded share, on its ex-date.",
            "market currency per share",
            minimum=0,
        ),
        Column(
            "split_ratio",
            "float",
            "New shares per old share, effective before this open; 1 is no split.",
            "ratio",
            minimum=1e-6,
            maximum=1e6,
        ),
        AVAILABLE_AT,
    ),
)
