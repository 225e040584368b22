"""Recommendations in a message. What belongs here: which rows, in which order and form."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from quant_assets.hooks.answers import Row, number, text
from quant_assets.notices.message import Block, escape, section, table

ORDER = ("STRONG_BUY", "BUY", "HOLD", "SELL", "STRONG_SELL")
COLUMNS = ("symbol", "name", "label", "combined", "technical", "sentiment")
SCORES = ("combined_score", "technical_score", "sentiment_score")
TOP, BOTTOM = 5, 3


def label_counts(rows: Iterable[Row]) -> str:
    """How many symbols have each label, such as "12 BUY, 3 SELL", best first."""
    counts = Counter(label for row in rows if (label := text(row["label"])))
    return ", ".join(f"{counts[label]} {label}" for label in ORDER if counts[label])


def recommendation_blocks(
    title: str, rows: Sequence[Row], names: Mapping[str, str], symbols: Collection[str] = ()
) -> list[Block]:
    """The best and the worst of a session as a table; of the ``symbols`` alone if some are named.

    ``rows`` are those of the dataset ``recommendations``; ``names`` are by symbol. A named symbol
    without a row is said to have none.
    """
    wanted = [row for row in rows if not symbols or row["symbol"] in symbols]
    ordered = sorted(wanted, key=_rank)
    shown, what = ordered, ""
    if len(ordered) > TOP + BOTTOM:
        scored = [row for row in ordered if number(row["combined_score"]) is not None]
        rest = scored[TOP:]
        shown = [*scored[:TOP], *rest[-BOTTOM:]]
        what = f"best {TOP} and worst {BOTTOM} of {len(ordered)}"
    blocks = table(
        COLUMNS, [_cells(row, names) for row in shown], title=": ".join(filter(None, (title, what)))
    )
    present = {row["symbol"] for row in rows}
    if absent := sorted(set(symbols) - present):
        blocks.append(section(f"No result: {escape(', '.join(absent))}"))
    return blocks


def _rank(row: Row) -> tuple[float, str]:
    score = number(row["combined_score"])
    return (math.inf if score is None else -score, str(row["symbol"]))


def _cells(row: Row, names: Mapping[str, str]) -> list[str]:
    symbol = str(row["symbol"])
    return [
        symbol,
        names.get(symbol, ""),
        text(row["label"]) or "",
        *(_score(row, n) for n in SCORES),
    ]


def _score(row: Mapping[str, Any], name: str) -> str:
    value = number(row[name])
    return "" if value is None else f"{value:+.3f}"
