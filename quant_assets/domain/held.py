"""What is kept out of a dataset, and why. What belongs here: the record of one refused row."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Held:
    """One row that a rule keeps out of ``partition`` until it is corrected or released.

    ``item`` names it within its partition (a symbol, an address, a series and its date). ``row``
    is the row as the dataset would have stored it, None where nothing storable can be made of it;
    only such rows can be released. ``raw`` is what the vendor gave, ``source`` the vendor.
    """

    partition: str
    item: str
    rule: str
    reason: str
    source: str
    raw: Mapping[str, Any]
    row: Mapping[str, Any] | None = None
