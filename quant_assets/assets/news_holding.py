"""What a crawl refuses, on record. What belongs here: refused articles and failed sources, held.

A source that failed or fell silent is held like an article, under its own name in the last hour
that the crawl was for, so that the check of that hour reports it until a crawl of the hour
succeeds. What does not belong here: the rules (``domain.collected``, ``domain.liveness``).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from quant_assets.assets.news_collecting import Collection
from quant_assets.domain.held import Held
from quant_assets.errors import BadDataError
from quant_assets.io_managers.quarantine import Quarantine, row_to_json, rows_from_json
from quant_assets.schemas import dataset_of
from quant_assets.schemas.keys import HOUR_FORMAT

if TYPE_CHECKING:
    import pandas as pd

    from quant_assets.domain.collected import CollectedItem, Refused
    from quant_assets.io_managers.parquet_store import ParquetStore

ARTICLES = "news/articles"
SOURCE_FAILED = "source_failed"
FEED_SILENT = "feed_silent"
REMEMBERED_HOURS = 7 * 24
"""A feed shows a refused article for days: it is held once, not once an hour."""


def stored_nearby(
    partitions: "ParquetStore", hours: Sequence[datetime], before: int, after: int
) -> frozenset[str]:
    """Ids of the articles stored in so many hours before and after ``hours``.

    An hour whose file cannot be read is passed over: its own crawl repairs it.
    """
    around = [
        *(hours[0] - timedelta(hours=n) for n in range(1, before + 1)),
        *(hours[-1] + timedelta(hours=n) for n in range(1, after + 1)),
    ]
    keys = [hour.strftime(HOUR_FORMAT) for hour in around]
    try:
        return frozenset(partitions.load(dataset_of(ARTICLES), ARTICLES, keys).frame["article_id"])
    except BadDataError:
        found: set[str] = set()
    for key in keys:
        try:
            found |= set(partitions.load(dataset_of(ARTICLES), ARTICLES, [key]).frame["article_id"])
        except BadDataError:
            continue
    return frozenset(found)


def hold(
    quarantine: Quarantine,
    partitions: "ParquetStore",
    refused: "Sequence[Refused]",
    hours: Sequence[datetime],
    own_hours: Sequence[datetime],
) -> "tuple[list[Held], pd.DataFrame]":
    """What stays refused in the run's hours, and the rows that a person has let in before.

    An item that is held or released since ``REMEMBERED_HOURS``, or stored since then, is not held
    again; in its own hour it keeps the row of its first refusal, by which its release is known.
    """
    dataset = dataset_of(ARTICLES)
    if not refused:
        return [], rows_from_json(dataset, [])
    known = _remembered(quarantine, hours)
    stored = stored_nearby(partitions, hours, REMEMBERED_HOURS, 0)
    own = {hour.strftime(HOUR_FORMAT) for hour in own_hours}
    fresh = []
    for one in refused:
        key, row_json = known.get(one.name, (one.hour.strftime(HOUR_FORMAT), ""))
        is_stored = one.row is not None and one.row["article_id"] in stored
        if key not in own or (is_stored and one.name not in known):
            continue
        row = _first_row(rows_from_json(dataset, [row_json])) if row_json else one.row
        fresh.append(
            Held(key, one.name, one.rule, one.reason, one.item.provider, _raw(one.item), row)
        )
    held, accepted = quarantine.sift(fresh)
    return held, rows_from_json(dataset, [row_to_json(dataset, one.row) for one in accepted])


def note_sources(
    found: Collection, hours: Sequence[datetime], own_hours: Sequence[datetime]
) -> list[Held]:
    """Sources that failed or fell silent, as held in the last of the run's hours."""
    if not own_hours:
        return []
    key = own_hours[-1].strftime(HOUR_FORMAT)
    span = f"{hours[0]:%Y-%m-%d %H:00} .. {hours[-1]:%Y-%m-%d %H:00} UTC"
    first = own_hours[0].strftime(HOUR_FORMAT)
    raw: dict[str, Any] = {"hours": span, "first": first, "last": key}
    failed = [
        Held(key, source, SOURCE_FAILED, f"{told} (asked for {span})", source, raw)
        for source, told in found.failed().items()
    ]
    silent = [
        Held(key, source, FEED_SILENT, why, source, raw) for source, why in found.silent.items()
    ]
    return [*failed, *silent]


def settle(
    quarantine: Quarantine,
    held: Sequence[Held],
    frame: "pd.DataFrame",
    found: Collection,
    own_hours: Sequence[datetime],
    now: datetime,
) -> None:
    """Write down what is held in the run's hours.

    What is stored now and the sources that answered well are forgotten.
    """
    own = [hour.strftime(HOUR_FORMAT) for hour in own_hours]
    present = set(quarantine.partitions())
    hours = [hour for hour, key in zip(own_hours, own, strict=True) if key in present]
    rows = frame[frame["hour"].isin(hours)] if hours else frame.iloc[:0]
    good = set(zip(rows["hour"].dt.strftime(HOUR_FORMAT), rows["url"], strict=True))
    good |= {(own[-1], name) for name in found.answered() if own and name not in found.silent}
    quarantine.settle(own, held, good, now)


def _remembered(quarantine: Quarantine, hours: Sequence[datetime]) -> dict[str, tuple[str, str]]:
    """Partition and row of what is in quarantine in and before ``hours``, by item."""
    first = (hours[0] - timedelta(hours=REMEMBERED_HOURS)).strftime(HOUR_FORMAT)
    last = hours[-1].strftime(HOUR_FORMAT)
    frame = quarantine.read([key for key in quarantine.partitions() if first <= key <= last])
    articles = frame[~frame["rule"].isin([SOURCE_FAILED, FEED_SILENT])]
    places = zip(articles["partition_key"], articles["row"], strict=True)
    return dict(zip(articles["item"], places, strict=True))


def _first_row(frame: "pd.DataFrame") -> dict[str, Any]:
    return {str(name): value for name, value in frame.iloc[0].items()}


def _raw(item: "CollectedItem") -> dict[str, Any]:
    """What the provider gave, in its own words where they are at hand."""
    if item.raw:
        return {str(name): _plain(value) for name, value in item.raw.items()}
    return {
        "url": item.url,
        "title": item.title,
        "summary": item.summary,
        "source": item.source,
        "published": item.raw_date or item.published_at,
    }


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else repr(value)
