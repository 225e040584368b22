"""How an asset asks for partitions that may be absent. What belongs here: the two ways to ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

HISTORY = "quant/history_may_start_late"
"""Input metadata: partitions before the first stored one may be absent, holes may not."""


@dataclass(frozen=True)
class LoadedPartitions:
    """Rows of several partitions with the keys that were stored and those that were not.

    An input annotated with this type receives whatever is stored and decides itself.
    """

    frame: pd.DataFrame
    present: tuple[str, ...]
    missing: tuple[str, ...]
