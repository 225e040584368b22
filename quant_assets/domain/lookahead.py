"""The guard against looking ahead: a decision may use what was known before it, nothing else.

Belongs here: refusing rows that were not known at their decision. Does not belong here: making
partitions again without their future (``quant verify lookahead`` does).
"""

from collections.abc import Mapping
from datetime import date, datetime

import numpy as np
import pandas as pd

from quant_assets.errors import BadDataError


def demand_known(name: str, rows: pd.DataFrame, decision_times: Mapping[date, datetime]) -> None:
    """Raise ``BadDataError`` unless all ``rows`` of ``name`` were known at their decision.

    ``decision_times`` is the instant of each session's decision. The error names the first row
    that became known later, or whose session has no decision.
    """
    times = {pd.Timestamp(day): pd.Timestamp(at) for day, at in decision_times.items()}
    decisions = pd.DatetimeIndex(rows["session_date"].map(times)).tz_convert("UTC")
    known = pd.DatetimeIndex(rows["available_at"])
    wrong = ~np.asarray(known <= decisions)  # also where one of the two is missing
    if not wrong.any():
        return
    row = rows[wrong].iloc[0]
    at = decisions[wrong][0]
    what = f"{name} of {row['session_date']:%Y-%m-%d}"
    if "symbol" in rows.columns:
        what += f", {row['symbol']}"
    if pd.isna(at):
        raise BadDataError(f"{what}: its session is none of those that are decided")
    if pd.isna(row["available_at"]):
        raise BadDataError(
            f"{what}: it has no available_at, so that nobody knows when it was known"
        )
    raise BadDataError(
        f"{what}: it was available at {row['available_at']:%Y-%m-%d %H:%M:%S %Z}, after the "
        f"decision of its session at {at:%Y-%m-%d %H:%M:%S %Z}: a decision cannot rest on it "
        f"({int(wrong.sum())} of {len(rows)} rows are like that)"
    )
