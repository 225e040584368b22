"""The serving tables. What belongs here: which assets they hold, their columns, keys and indexes.

The columns follow from the contracts of the datasets. The first column says where a row comes
from: the market, or for the tone of articles how they came.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from quant_assets.markets import MARKETS
from quant_assets.schemas import analysis, news, trading
from quant_assets.schemas.contract import Column, Dataset

if TYPE_CHECKING:
    import sqlalchemy as sa

PARTITIONS_TABLE = "served_partitions"
"""What the tables hold: a row for each partition, with the content hash of its rows."""
PROFILE_TABLE = "serving_profile"
"""Whose data the tables hold: simulated and real data do not share a database."""
VERSION_TABLE = "serving_version"
"""Alembic's own table: the revision of the schema."""


@dataclass(frozen=True)
class ServingTable:
    """A table, the contract of its rows, and how the questions of people find them.

    ``scope`` is the column before those of the contract; ``indexes`` are lists of columns.
    """

    name: str
    dataset: Dataset
    scope: Column
    indexes: tuple[tuple[str, ...], ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns, in their order."""
        return (self.scope, *self.dataset.columns)

    @property
    def key(self) -> tuple[str, ...]:
        """The primary key."""
        return (self.scope.name, *self.dataset.sort_columns)


@dataclass(frozen=True)
class Served:
    """One asset whose partitions a table holds, as the rows of one ``scope``."""

    table: ServingTable
    scope: str
    source: str

    @property
    def asset(self) -> str:
        """Key of the asset that fills the table, such as ``us/orders_table``."""
        return f"{self.source}_table"


_MARKET = Column("market", "string", "Market.", allowed=tuple(MARKETS))
_ORIGIN = Column("origin", "string", "How the articles came.", allowed=("crawled", "streamed"))
_BY_SYMBOL = ("market", "symbol", "session_date")
ARTICLE_SENTIMENT = ServingTable(
    "article_sentiment",
    news.ARTICLE_SENTIMENT,
    _ORIGIN,
    (("symbol", "published_at"), ("available_at",)),
)
TABLES = {
    table.name: table
    for table in (
        ServingTable("recommendations", analysis.RECOMMENDATIONS, _MARKET, (_BY_SYMBOL,)),
        ServingTable("signals", trading.SIGNALS, _MARKET, (_BY_SYMBOL,)),
        ServingTable("orders", trading.ORDERS, _MARKET, (_BY_SYMBOL, ("order_id",))),
        ServingTable("fills", trading.FILLS, _MARKET, (_BY_SYMBOL, ("order_id",))),
        ServingTable("positions", trading.POSITIONS, _MARKET, (_BY_SYMBOL,)),
        ARTICLE_SENTIMENT,
    )
}
"""The serving tables by name."""

SERVED = {
    served.source: served
    for served in (
        *(
            Served(table, market, f"{market}/{table.name}")
            for market in MARKETS
            for table in TABLES.values()
            if table is not ARTICLE_SENTIMENT
        ),
        Served(ARTICLE_SENTIMENT, "crawled", "news/article_sentiment"),
        Served(ARTICLE_SENTIMENT, "streamed", "news/streamed_sentiment"),
    )
}
"""What the tables hold, by the asset that it comes from."""

VIEWS = ("latest_recommendations", "latest_signals", "latest_positions")
"""Views: the rows of each market's last session that is served."""


@lru_cache(maxsize=1)
def metadata() -> sa.MetaData:
    """The tables as SQLAlchemy knows them: what the revisions must end with."""
    import sqlalchemy as sa

    types: dict[str, type[sa.types.TypeEngine[Any]] | sa.types.TypeEngine[Any]] = {
        "date": sa.Date,
        "timestamp": sa.DateTime(timezone=True),
        "string": sa.Text,
        "float": sa.Double,
        "int": sa.BigInteger,
        "bool": sa.Boolean,
    }
    found = sa.MetaData()
    for table in TABLES.values():
        sa.Table(
            table.name,
            found,
            *(sa.Column(c.name, types[c.type], nullable=c.nullable) for c in table.columns),
            sa.PrimaryKeyConstraint(*table.key, name=f"{table.name}_pkey"),
            *(sa.Index(f"{table.name}_{'_'.join(columns)}", *columns) for columns in table.indexes),
        )
    sa.Table(
        PARTITIONS_TABLE,
        found,
        sa.Column("table_name", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("partition_key", sa.Text, nullable=False),
        sa.Column("content_hash", sa.Text, nullable=False),
        sa.Column("row_count", sa.BigInteger, nullable=False),
        sa.Column("served_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "table_name", "scope", "partition_key", name=f"{PARTITIONS_TABLE}_pkey"
        ),
    )
    sa.Table(PROFILE_TABLE, found, sa.Column("profile", sa.Text, primary_key=True))
    return found
