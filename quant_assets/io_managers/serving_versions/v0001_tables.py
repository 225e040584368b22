"""The tables of recommendations, signals, orders, fills, positions and the tone of articles."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_DATED = ("recommendations", "signals", "positions")


def upgrade() -> None:
    """Make the tables, and views of each market's last session.

    The views take the last session from the small table of partitions, and so also show that a
    book holds nothing any more.
    """
    op.create_table(
        "article_sentiment",
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("article_id", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("relevance", sa.Double(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("scorer", sa.Text(), nullable=False),
        sa.Column("scorer_version", sa.Text(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("available_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("title_key", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(
            "origin", "hour", "article_id", "symbol", name="article_sentiment_pkey"
        ),
    )
    op.create_index(
        "article_sentiment_available_at", "article_sentiment", ["available_at"], unique=False
    )
    op.create_index(
        "article_sentiment_symbol_published_at",
        "article_sentiment",
        ["symbol", "published_at"],
        unique=False,
    )
    op.create_table(
        "fills",
        sa.Column("market", sa.Text(), nullable=False),
        sa.Column("session_date", sa.Date(), nullable=False),
        sa.Column("strategy_id", sa.Text(), nullable=False),
        sa.Column("entry", sa.BigInteger(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=True),
        sa.Column("fill_id", sa.Text(), nullable=True),
        sa.Column("side", sa.Text(), nullable=True),
        sa.Column("order_type", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("shares", sa.Double(), nullable=True),
        sa.Column("price", sa.Double(), nullable=True),
        sa.Column("cash", sa.Double(), nullable=True),
        sa.Column("commission", sa.Double(), nullable=True),
        sa.Column("tax", sa.Double(), nullable=True),
        sa.Column("realized_pnl", sa.Double(), nullable=True),
        sa.Column("leaves", sa.Double(), nullable=True),
        sa.Column("ordered", sa.Double(), nullable=True),
        sa.Column("opened_on", sa.Date(), nullable=True),
        sa.Column("is_live", sa.Boolean(), nullable=False),
        sa.Column("strategy_version", sa.Text(), nullable=False),
        sa.Column("rules_version", sa.Text(), nullable=False),
        sa.Column("available_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "market", "session_date", "strategy_id", "entry", name="fills_pkey"
        ),
    )
    op.create_index(
        "fills_market_symbol_session_date",
        "fills",
        ["market", "symbol", "session_date"],
        unique=False,
    )
    op.create_index("fills_order_id", "fills", ["order_id"], unique=False)
    op.create_table(
        "orders",
        sa.Column("market", sa.Text(), nullable=False),
        sa.Column("session_date", sa.Date(), nullable=False),
        sa.Column("strategy_id", sa.Text(), nullable=False),
        sa.Column("entry", sa.BigInteger(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=True),
        sa.Column("side", sa.Text(), nullable=True),
        sa.Column("order_type", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("shares", sa.Double(), nullable=True),
        sa.Column("price", sa.Double(), nullable=True),
        sa.Column("limit_price", sa.Double(), nullable=True),
        sa.Column("opened_on", sa.Date(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("is_live", sa.Boolean(), nullable=False),
        sa.Column("strategy_version", sa.Text(), nullable=False),
        sa.Column("rules_version", sa.Text(), nullable=False),
        sa.Column("available_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "market", "session_date", "strategy_id", "entry", name="orders_pkey"
        ),
    )
    op.create_index(
        "orders_market_symbol_session_date",
        "orders",
        ["market", "symbol", "session_date"],
        unique=False,
    )
    op.create_index("orders_order_id", "orders", ["order_id"], unique=False)
    op.create_table(
        "positions",
        sa.Column("market", sa.Text(), nullable=False),
        sa.Column("session_date", sa.Date(), nullable=False),
        sa.Column("strategy_id", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("shares", sa.Double(), nullable=True),
        sa.Column("basis", sa.Double(), nullable=True),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("average_price", sa.Double(), nullable=False),
        sa.Column("mark_price", sa.Double(), nullable=False),
        sa.Column("unrealized_pnl", sa.Double(), nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column("is_live", sa.Boolean(), nullable=False),
        sa.Column("strategy_version", sa.Text(), nullable=False),
        sa.Column("rules_version", sa.Text(), nullable=False),
        sa.Column("available_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "market", "session_date", "strategy_id", "symbol", name="positions_pkey"
        ),
    )
    op.create_index(
        "positions_market_symbol_session_date",
        "positions",
        ["market", "symbol", "session_date"],
        unique=False,
    )
    op.create_table(
        "recommendations",
        sa.Column("market", sa.Text(), nullable=False),
        sa.Column("session_date", sa.Date(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("technical_score", sa.Double(), nullable=True),
        sa.Column("sentiment_score", sa.Double(), nullable=True),
        sa.Column("combined_score", sa.Double(), nullable=True),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("technical_weight", sa.Double(), nullable=False),
        sa.Column("sentiment_weight", sa.Double(), nullable=False),
        sa.Column("technical_status", sa.Text(), nullable=False),
        sa.Column("sentiment_status", sa.Text(), nullable=False),
        sa.Column("is_degraded", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("decision_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("available_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("technical_version", sa.Text(), nullable=False),
        sa.Column("sentiment_version", sa.Text(), nullable=True),
        sa.Column("scoring_version", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("market", "session_date", "symbol", name="recommendations_pkey"),
    )
    op.create_index(
        "recommendations_market_symbol_session_date",
        "recommendations",
        ["market", "symbol", "session_date"],
        unique=False,
    )
    op.create_table(
        "served_partitions",
        sa.Column("table_name", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("partition_key", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("row_count", sa.BigInteger(), nullable=False),
        sa.Column("served_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "table_name", "scope", "partition_key", name="served_partitions_pkey"
        ),
    )
    op.create_table(
        "serving_profile",
        sa.Column("profile", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("profile"),
    )
    op.create_table(
        "signals",
        sa.Column("market", sa.Text(), nullable=False),
        sa.Column("session_date", sa.Date(), nullable=False),
        sa.Column("strategy_id", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target_weight", sa.Double(), nullable=False),
        sa.Column("previous_weight", sa.Double(), nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("reference_price", sa.Double(), nullable=True),
        sa.Column("volume", sa.Double(), nullable=True),
        sa.Column("risk_multiplier", sa.Double(), nullable=False),
        sa.Column("is_live", sa.Boolean(), nullable=False),
        sa.Column("strategy_version", sa.Text(), nullable=False),
        sa.Column("decision_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("available_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "market", "session_date", "strategy_id", "symbol", name="signals_pkey"
        ),
    )
    op.create_index(
        "signals_market_symbol_session_date",
        "signals",
        ["market", "symbol", "session_date"],
        unique=False,
    )
    is_postgres = op.get_context().dialect.name == "postgresql"
    last = "CAST(last.day AS DATE)" if is_postgres else "last.day"
    for table in _DATED:
        op.execute(
            f"CREATE VIEW latest_{table} AS SELECT {table}.* FROM {table} JOIN "
            "(SELECT scope, max(partition_key) AS day FROM served_partitions "
            f"WHERE table_name = '{table}' GROUP BY scope) AS last "
            f"ON {table}.market = last.scope AND {table}.session_date = {last}"
        )
