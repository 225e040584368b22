"""Contracts of signals, of the paper book and of the tables that are projected from it."""

from dataclasses import replace

from quant_assets.domain.ledger_kinds import KINDS, SIDES, STATUSES
from quant_assets.domain.strategy_config import ORDER_TYPES
from quant_assets.domain.trading_rules import RISK_STATES
from quant_assets.schemas.contract import Column, Dataset
from quant_assets.schemas.prices import AVAILABLE_AT, SESSION_DATE, SYMBOL

MONEY = "market currency"
STRATEGY_ID = Column("strategy_id", "string", "Strategy of the configuration.")
STRATEGY_VERSION = Column("strategy_version", "string", "Version of the strategy's parameters.")
IS_LIVE = Column("is_live", "bool", "Whether the strategy is the live one; the others are shadows.")
SIDE = Column("side", "string", "Side of the order.", nullable=True, allowed=SIDES)
RISK_STATE = Column(
    "risk_state", "string", "What the drawdown allows.", nullable=True, allowed=RISK_STATES
)
REASON = Column("reason", "string", "Why denied, made smaller or canceled.", nullable=True)
ORDER_ID = Column(
    "order_id",
    "string",
    "Hash of strategy, version, market, session, symbol and side.",
    nullable=True,
)


def _amount(name: str, description: str, *, nullable: bool = True) -> Column:
    return Column(name, "float", description, MONEY, nullable)


def _shares(name: str, description: str, *, nullable: bool = True) -> Column:
    return Column(name, "float", description, "shares", nullable)


SIGNALS = Dataset(
    name="signals",
    description="What each strategy wants of each symbol: BUY, SELL or HOLD, and a target weight.",
    partition_column="session_date",
    key=("session_date", "strategy_id", "symbol"),
    may_be_empty=True,
    columns=(
        SESSION_DATE,
        STRATEGY_ID,
        SYMBOL,
        Column("action", "string", "What is wanted.", allowed=("BUY", "SELL", "HOLD")),
        Column("target_weight", "float", "Share of the equity wanted.", "0..1", False, 0, 1),
        Column("previous_weight", "float", "That of the session before.", "0..1", False, 0, 1),
        Column("score", "float", "What the strategy went by.", nullable=True),
        Column("reference_price", "float", "Close as traded.", MONEY, True, 0),
        Column("volume", "float", "Shares traded in the session.", "shares", True, 0),
        Column("risk_multiplier", "float", "That of the macro regime known then.", "0..1"),
        IS_LIVE,
        STRATEGY_VERSION,
        Column("decision_at", "timestamp", "Open of the next session: nothing later used.", "UTC"),
        AVAILABLE_AT,
    ),
)

LEDGER = Dataset(
    name="ledger",
    description="The paper book: every order, fill, denial, dividend and split, and how it closes.",
    partition_column="session_date",
    key=("session_date", "strategy_id", "entry"),
    columns=(
        SESSION_DATE,
        STRATEGY_ID,
        Column("entry", "int", "Number of the entry in the session's book.", minimum=1),
        Column("kind", "string", "What the entry tells.", allowed=KINDS),
        replace(SYMBOL, nullable=True),
        ORDER_ID,
        Column("fill_id", "string", "Hash of the order and the session.", nullable=True),
        SIDE,
        Column("order_type", "string", "How it fills.", nullable=True, allowed=ORDER_TYPES),
        Column("status", "string", "State of the order.", nullable=True, allowed=STATUSES),
        _shares("shares", "Shares ordered, filled, held or (SPLIT, DELISTED) gained."),
        Column("price", "float", "Price of fill or mark, dividend a share, ratio.", nullable=True),
        _amount("cash", "What the entry adds to the cash; for ACCOUNT the cash."),
        _amount("commission", "Commission of the fill."),
        _amount("tax", "Tax of the fill."),
        _amount("realized_pnl", "Proceeds less cost basis, before costs."),
        Column("limit_price", "float", "Limit of a LIMIT order.", MONEY, True, 0),
        _shares("leaves", "Shares of the order not filled yet."),
        _shares("ordered", "Shares of the order, restated by splits."),
        Column("opened_on", "date", "Session whose close made the order.", nullable=True),
        Column("age", "float", "Sessions the order has waited.", "sessions", nullable=True),
        _amount("basis", "What the held shares cost, without commission."),
        _amount("value", "Held shares at the close."),
        _amount("equity", "Cash and value."),
        _amount("peak_equity", "Highest equity so far."),
        _amount("realized_total", "Realized so far."),
        _amount("dividends_total", "Dividends so far."),
        _amount("costs_total", "Commissions and taxes so far."),
        RISK_STATE,
        REASON,
        IS_LIVE,
        STRATEGY_VERSION,
        Column("rules_version", "string", "Version of costs and limits."),
        Column(
            "opening_hash",
            "string",
            "Content hash of the session before; null where the book begins.",
            nullable=True,
        ),
        AVAILABLE_AT,
    ),
)

_COMMON = ("session_date", "strategy_id")
_VERSIONS = ("is_live", "strategy_version", "rules_version", "available_at")


def _projection(
    name: str,
    description: str,
    chosen: str,
    *,
    key: tuple[str, ...] = ("entry",),
    more: tuple[Column, ...] = (),
) -> Dataset:
    """A table whose rows are entries of the ledger, with their columns ``chosen``."""
    of_ledger = {column.name: column for column in LEDGER.columns}
    of_ledger["symbol"] = SYMBOL
    columns = tuple(of_ledger[column] for column in (*_COMMON, *chosen.split()))
    return Dataset(
        name=name,
        description=description,
        partition_column="session_date",
        key=(*_COMMON, *key),
        may_be_empty=True,
        columns=(*columns, *more, *(of_ledger[column] for column in _VERSIONS)),
    )


ORDERS = _projection(
    "orders",
    "Orders of the paper book that were made, denied or canceled at the close of the session.",
    "entry symbol order_id side order_type status shares price limit_price opened_on reason",
)
FILLS = _projection(
    "fills",
    "Fills of the paper book, whole and partial, at the open of the session.",
    "entry symbol order_id fill_id side order_type status shares price cash commission tax "
    "realized_pnl leaves ordered opened_on",
)
POSITIONS = _projection(
    "positions",
    "What the paper book holds at the close of the session.",
    "symbol shares basis value",
    key=("symbol",),
    more=(
        Column("average_price", "float", "Cost basis per share held.", MONEY, False, 0),
        Column("mark_price", "float", "Last close, restated by splits.", MONEY, False, 0),
        _amount("unrealized_pnl", "Value less cost basis.", nullable=False),
        Column("weight", "float", "Share of the book's equity.", "0..1", False, 0),
    ),
)
RISK = Dataset(
    name="risk",
    description="Equity, exposure and risk of each book at the close of the session.",
    partition_column="session_date",
    key=_COMMON,
    version=2,
    may_be_empty=True,
    columns=(
        SESSION_DATE,
        STRATEGY_ID,
        _amount("equity", "Cash and value of the positions.", nullable=False),
        _amount("cash", "Cash.", nullable=False),
        Column("exposure", "float", "Value of the positions by equity.", "ratio", False, 0),
        Column("n_positions", "int", "Symbols held.", minimum=0),
        Column("largest_weight", "float", "Weight of the largest position.", "0..1", False, 0),
        Column("drawdown", "float", "Fall from the highest equity.", "0..1", False, 0, 1),
        replace(RISK_STATE, nullable=False),
        Column(
            "benchmark_return",
            "float",
            "Total return of the universe in the session, equal weights.",
            "ratio",
            nullable=True,
        ),
        Column("observations", "int", "Sessions that the figures below rest on.", minimum=0),
        *(
            Column(
                f"{name}_{level}",
                "float",
                f"{words} in one session, {level} %, of today's positions over the last sessions.",
                "share of equity",
                nullable=True,
            )
            for name, words in (
                ("value_at_risk", "Historical value at risk"),
                ("expected_shortfall", "Expected shortfall"),
            )
            for level in (95, 99)
        ),
        Column("volatility", "float", "Of today's positions, annualised.", "ratio", nullable=True),
        Column("beta", "float", "To the equally weighted universe.", nullable=True),
        IS_LIVE,
        STRATEGY_VERSION,
        AVAILABLE_AT,
    ),
)
TRADING_DATASETS = {
    dataset.name: dataset for dataset in (SIGNALS, LEDGER, ORDERS, FILLS, POSITIONS, RISK)
}
