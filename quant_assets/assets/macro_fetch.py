"""From FRED's answers to the rows of ``macro/observations``, without Dagster.

What belongs here: asking every series, naming those that failed, and parting what may be stored
from what is held. What does not: the rules (``domain/macro_quality``) and the asset itself.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from quant_assets.domain.held import Held
from quant_assets.domain.macro_series import FIRST_RELEASE_DAY
from quant_assets.errors import BadDataError, PermanentError, TransientError
from quant_assets.schemas import dataset_of

if TYPE_CHECKING:
    import pandas as pd

    from quant_assets.domain.macro_series import MacroSeries
    from quant_assets.vendors.fred import FredClient

ASSET = "macro/observations"
RELEASE_DAY_ENDS = timedelta(days=1, hours=6)
"""From the start of a release day (a US Central date) to its end in UTC."""
PATIENCE = 3
"""So many series in a row without an answer: FRED is down, the others are not asked."""
UNIT_ERROR, SERIES_FAILED = "unit_error", "series_failed"

Sift = Callable[[Sequence[Held]], tuple[list[Held], list[Held]]]


class Fetched(NamedTuple):
    """What FRED said of a period.

    ``news`` (release_date, series_id, observation_date, value, realtime_start, unit_error) are all
    new or revised values; ``failed`` names the series without a usable answer with the reason,
    ``refused`` are those of them that FRED will refuse again.
    """

    news: "pd.DataFrame"
    failed: dict[str, str]
    refused: frozenset[str] = frozenset()


class Sifted(NamedTuple):
    """Rows to store and rows to hold."""

    frame: "pd.DataFrame"
    held: list[Held]


def fetch_releases(
    client: "FredClient",
    series: Sequence["MacroSeries"],
    first: date,
    last: date,
    *,
    is_last_attempt: bool = True,
    chunk_days: int = 1_900,
) -> Fetched:
    """What was new or revised from ``first`` to ``last``, judged against what was known before.

    A series that FRED refuses is named. One whose answer did not come or cannot be read is a
    ``TransientError``, so that the whole period is asked again and no release is lost; in the last
    attempt it is named and the others are kept. Raises ``PermanentError`` if the key is refused
    or FRED knows none of the series, ``TransientError`` if none has a usable answer.
    """
    import pandas as pd

    from quant_assets.domain.macro_quality import unit_errors
    from quant_assets.vendors.fred_requests import KeyRefusedError

    frames: list[pd.DataFrame] = []
    failed: dict[str, str] = {}
    refused: set[str] = set()
    unanswered: list[Exception] = []
    in_a_row = 0
    for item in series:
        if in_a_row == PATIENCE:
            failed[item.series_id] = f"not asked: {PATIENCE} series before had no usable answer"
            continue
        lag = item.publication_lag_days
        try:
            news, known = client.releases(
                item.series_id, first, last, publication_lag_days=lag, chunk_days=chunk_days
            )
        except (TransientError, BadDataError) as error:
            _demand_last_attempt(error, is_last_attempt)
            failed[item.series_id] = str(error)
            unanswered.append(error)
            in_a_row += 1
        except PermanentError as error:
            if isinstance(error, KeyRefusedError) and not frames:
                raise
            failed[item.series_id] = str(error)
            refused.add(item.series_id)
        else:
            in_a_row = 0
            frames.append(news.assign(unit_error=unit_errors(news, known)))
    if not frames:
        reasons = f"FRED answered for none of {len(series)} series: {failed}"
        raise TransientError(reasons) if unanswered else PermanentError(reasons)
    return Fetched(pd.concat(frames, ignore_index=True), failed, frozenset(refused))


def days_before(day: date, count: int) -> list[str]:
    """Keys of the ``count`` release days before ``day``, without those that do not exist."""
    days = (day - timedelta(days=n) for n in range(count, 0, -1))
    return [one.isoformat() for one in days if one >= FIRST_RELEASE_DAY]


def _demand_last_attempt(error: Exception, is_last_attempt: bool) -> None:
    if is_last_attempt:
        return
    if isinstance(error, TransientError):
        raise error
    raise TransientError(f"FRED gave an unusable answer: {error}") from error


def sift_rows(
    news: "pd.DataFrame", days: Sequence[date], stored: "pd.DataFrame", sift: Sift
) -> Sifted:
    """Part the rows of ``days`` into those to store and those to hold.

    A row is held if its value is in another unit than what the vendor or ``stored`` (what is
    stored of the days before) has; ``sift`` knows which of them a person has released.
    """
    import pandas as pd

    from quant_assets.domain.macro_quality import unit_errors

    rows = news[news["release_date"].isin(pd.to_datetime(list(days)))].reset_index(drop=True)
    available = (rows["release_date"] + RELEASE_DAY_ENDS).dt.tz_localize("UTC")
    frame = rows.drop(columns="unit_error").assign(available_at=available)
    against_stored = unit_errors(rows, stored)
    reasons = [
        vendor or (f"{own} (as stored)" if own else "")
        for vendor, own in zip(rows["unit_error"], against_stored, strict=True)
    ]
    places = [place for place, reason in enumerate(reasons) if reason]
    suspects = {
        place: _held_row(row, reasons[place])
        for place, row in zip(places, frame.iloc[places].to_dict("records"), strict=True)
    }
    still, _ = sift(list(suspects.values()))
    out = [place for place, one in suspects.items() if one in still]
    return Sifted(frame.drop(index=out).reset_index(drop=True), still)


def rewritten(frame: "pd.DataFrame", stored: "pd.DataFrame") -> "pd.DataFrame":
    """Rows of ``frame`` that are stored with another value.

    FRED dates a release by its day: what was asked in the morning may be corrected by the evening.
    Out: release_date, series_id, observation_date, stored, value.
    """
    key = ["release_date", "series_id", "observation_date"]
    before = stored[[*key, "value"]].rename(columns={"value": "stored"})
    both = before.merge(frame[[*key, "value"]], on=key)
    is_same = (both["stored"] == both["value"]) | (both["stored"].isna() & both["value"].isna())
    return both[~is_same].reset_index(drop=True)


def _held_row(row: Mapping[Any, Any], reason: str) -> Held:
    return Held(
        partition=f"{row['release_date']:%Y-%m-%d}",
        item=f"{row['series_id']} {row['observation_date']:%Y-%m-%d}",
        rule=UNIT_ERROR,
        reason=reason,
        source="fred",
        raw={"value": row["value"], "realtime_start": f"{row['realtime_start']:%Y-%m-%d}"},
        row={name: row[name] for name in dataset_of(ASSET).column_names},
    )


def failed_series(fetched: Fetched, first: date, last: date) -> list[Held]:
    """What the quarantine of ``last`` says of series that could not be read from ``first`` on.

    The days lack their releases until a run over all of them has an answer; ``ask_again`` says
    whether that may help.
    """
    return [
        Held(
            partition=last.isoformat(),
            item=f"{series_id} {first} .. {last}",
            rule=SERIES_FAILED,
            reason=reason,
            source="fred",
            raw={
                "series_id": series_id,
                "first": f"{first}",
                "last": f"{last}",
                "ask_again": series_id not in fetched.refused,
            },
        )
        for series_id, reason in fetched.failed.items()
    ]


def settled_items(
    frame: "pd.DataFrame", quarantined: "pd.DataFrame", failed: Mapping[str, str], first: date
) -> set[tuple[str, str]]:
    """(partition, item) pairs of ``quarantined`` rows that a run from ``first`` on made good.

    A row is made good by a stored one of the same series and observation, a failed series by an
    answer for all the days that it lacked.
    """
    good = {
        (f"{row.release_date:%Y-%m-%d}", f"{row.series_id} {row.observation_date:%Y-%m-%d}")
        for row in frame.itertuples()
    }
    settled = set()
    for row in quarantined.itertuples():
        pair = (str(row.partition_key), str(row.item))
        if row.rule == SERIES_FAILED:
            gap = json.loads(str(row.raw))
            is_good = gap["series_id"] not in failed and date.fromisoformat(gap["first"]) >= first
        else:
            is_good = pair in good
        if is_good:
            settled.add(pair)
    return settled
