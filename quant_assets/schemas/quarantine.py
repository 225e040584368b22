"""Contract of the quarantine that lies beside each fetched dataset."""

from quant_assets.schemas.contract import Column, Dataset

HELD = "held"
RELEASED = "released"

QUARANTINE = Dataset(
    name="quarantine",
    description="Rows that a rule kept out of a partition, with the reason and the raw values.",
    partition_column="partition_key",
    key=("partition_key", "item", "row", "raw"),
    may_be_empty=True,
    columns=(
        Column("partition_key", "string", "Partition that the row would belong to."),
        Column("item", "string", "The row within its partition: a symbol, an address, a series."),
        Column("rule", "string", "Short name of the rule that it breaks."),
        Column("reason", "string", "What is wrong, with the values."),
        Column("source", "string", "Vendor that gave it."),
        Column("row", "string", "JSON of the row as it would be stored; empty if there is none."),
        Column("raw", "string", "JSON of what the vendor gave."),
        Column("held_at", "timestamp", "When the row was first held in this form.", "UTC"),
        Column("state", "string", "Whether somebody has released it.", allowed=(HELD, RELEASED)),
    ),
)
