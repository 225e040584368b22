"""FRED and ALFRED: what each series was known to be on each day.

What belongs here: which requests make a point-in-time table, and the limit of 2,000 vintages a
request. What does not: how a request is made (``fred_requests``), rules on the rows
(``fred_vintages``), which series are used and what is made of them (``domain/macro``).

Reference: St. Louis Fed, fred/series/observations, real-time periods.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import requests

from quant_assets.errors import (
    BadConfigurationError,
    BadDataError,
    TransientError,
)
from quant_assets.vendors.fred_clock import release_day_at
from quant_assets.vendors.fred_requests import LIVE_URL, FredRequests, NoVintagesError
from quant_assets.vendors.fred_vintages import (
    Releases,
    days_of,
    holds_all_news,
    invisible_vintages,
    merge_equal_neighbours,
    observation_table,
    releases_of,
    split_period,
)
from quant_assets.vendors.http import Pacer

SHORT_PERIOD_DAYS = 31
"""Up to so many days FRED is asked first whether anything was released.

The answer has some 300 bytes, the history of a daily series 800 kB or more.
"""
NEWEST_ROWS = 250
"""Rows asked for first where something was released: releases rarely reach further back."""
MEASURE = 15
LAGGED_MEASURE_DAYS = 900
"""Observations behind a new one that come with it, so that it can be judged: so many, or, of a
series without vintages, those of so many days."""


def fred_today() -> date:
    """The date at FRED now."""
    return release_day_at(datetime.now(UTC))


class FredClient(FredRequests):
    """fredapi with a timeout, retries, pacing and typed errors, plus point-in-time tables.

    Every method of ``fredapi.Fred`` works as documented there. Keys never appear in an error.
    """

    def __init__(
        self,
        api_key: str,
        root_url: str = LIVE_URL,
        session: requests.Session | None = None,
        *,
        pacer: Pacer | None = None,
        today: Callable[[], date] = fred_today,
        page_size: int = 100_000,
    ) -> None:
        """Prepare the client; no request is made."""
        super().__init__(api_key, root_url, session, pacer)
        self._today = today
        self._page_size = page_size

    def observations(
        self,
        series_id: str,
        realtime_start: date,
        realtime_end: date,
        observation_start: date | None = None,
        *,
        publication_lag_days: int | None = None,
        chunk_days: int = 1_900,
    ) -> pd.DataFrame:
        """Return every value that was valid on some day of the real-time period (both inclusive).

        Columns: series_id, observation_date, value (float64, NaN where FRED has ``.``),
        realtime_start, realtime_end (first and last day of validity, cut to the period), sorted by
        observation_date and realtime_start. Equal values in adjoining periods are one row, so the
        result does not depend on ``chunk_days``, the length of the real-time period of one
        request. A day adds at most one vintage, hence 1,900 days stay below FRED's 2,000.

        With ``publication_lag_days`` the series has no vintages: today's values are taken as
        published that many days after their observation date and never revised.

        Raises ``FredRequestError`` (``NoVintagesError`` if the series needs a lag),
        ``TransientError`` (also for an empty answer although the series existed by then),
        ``BadDataError``, and ``BadConfigurationError`` for a period that is empty or reaches into
        the future. A period before the first vintage gives an empty table.
        """
        self._check_period(series_id, realtime_start, realtime_end)
        if chunk_days < 1:
            raise BadConfigurationError(f"chunk_days must be at least 1, not {chunk_days}")
        if publication_lag_days is not None:
            return self._lagged(
                series_id, realtime_start, realtime_end, observation_start, publication_lag_days
            )
        chunks: list[pd.DataFrame] = []
        for first, last in split_period(realtime_start, realtime_end, chunk_days):
            chunk = self._chunk(series_id, first, last, observation_start)
            if chunk.empty and chunks and not chunks[-1].empty:
                raise TransientError(
                    f"FRED {series_id}: nothing for the vintages {first}..{last}, although "
                    "earlier ones have values; try again later"
                )
            chunks.append(chunk)
        table = merge_equal_neighbours(pd.concat(chunks, ignore_index=True))
        if table.empty and observation_start is None:
            self._check_emptiness(series_id, realtime_end)
        return table

    def new_or_revised(
        self,
        series_id: str,
        first: date,
        last: date,
        *,
        publication_lag_days: int | None = None,
        chunk_days: int = 1_900,
    ) -> pd.DataFrame:
        """Return what was first published or changed on each day of ``[first, last]``.

        Columns: release_date, series_id, observation_date, value, realtime_start (equal to
        release_date), sorted by release_date and observation_date. Raises as ``observations``.
        """
        return self.releases(
            series_id,
            first,
            last,
            publication_lag_days=publication_lag_days,
            chunk_days=chunk_days,
        ).news

    def releases(
        self,
        series_id: str,
        first: date,
        last: date,
        *,
        publication_lag_days: int | None = None,
        chunk_days: int = 1_900,
    ) -> Releases:
        """Return what ``new_or_revised`` does, with all that was known in the period.

        The day before ``first`` is asked as well: what was valid then and still is, is no news. A
        period of at most ``SHORT_PERIOD_DAYS`` costs one small request if nothing was released,
        and three if only recent observations were (``known`` then has no older ones); the news are
        the same as those of a long period. Raises as ``observations``, and ``TransientError`` for
        a release that is listed but not shown yet.
        """
        self._check_period(series_id, first, last)
        before = first - timedelta(days=1)
        is_short = (last - first).days < SHORT_PERIOD_DAYS
        lag = publication_lag_days
        if lag is not None:
            begin = before - timedelta(days=lag + LAGGED_MEASURE_DAYS)
            known = self.observations(
                series_id, before, last, begin, publication_lag_days=lag, chunk_days=chunk_days
            )
        elif is_short:
            known = self._known_if_released(series_id, before, last)
        else:
            known = self.observations(series_id, before, last, chunk_days=chunk_days)
        return releases_of(known, first)

    def vintages(self, series_id: str, first: date, last: date) -> list[date]:
        """Days of ``[first, last]`` on which something was released or revised, ascending.

        An empty answer is taken for "nothing" only if FRED lists no earlier vintage either.
        Raises as ``observations``.
        """
        limit = (last - first).days + 2
        params = {"realtime_end": last.isoformat(), "sort_order": "desc", "limit": str(limit)}
        try:
            listed = self._vintage_list(series_id, params)
        except NoVintagesError:
            listed = []
        if not listed:
            self._check_emptiness(series_id, last)
        if listed != sorted(listed, reverse=True):
            raise BadDataError(f"FRED series/vintagedates of {series_id}: the dates are not sorted")
        return sorted({day for day in listed if first <= day <= last})

    def _known_if_released(self, series_id: str, before: date, last: date) -> pd.DataFrame:
        """What was known from ``before`` to ``last``, or nothing if nothing changed since."""
        vintages = self.vintages(series_id, before + timedelta(days=1), last)
        if not vintages:
            return self._table(series_id, [])
        table = self._newest(series_id, before, last)
        if table is None:
            table = self._chunk(series_id, before, last, None)
        if unseen := invisible_vintages(table, vintages):
            raise TransientError(
                f"FRED {series_id}: the release of {', '.join(map(str, unseen))} is listed, but "
                "its observations are not shown; try again later"
            )
        return merge_equal_neighbours(table)

    def _newest(self, series_id: str, before: date, last: date) -> pd.DataFrame | None:
        """The rows of the newest observations, if all that is new since ``before`` is among them.

        FRED counts the rows of an answer also where it shows only some: what overlaps the period
        less what was valid before it is the number of rows that began since. If so many of those
        shown did, there are no others.
        """
        period = {"realtime_start": before.isoformat(), "realtime_end": last.isoformat()}
        newest = {"sort_order": "desc"}
        page = self._observations_page(series_id, {**period, **newest}, 0, limit=NEWEST_ROWS)
        try:
            period["realtime_end"] = before.isoformat()
            known = self._observations_page(series_id, period, 0, limit=1).get("count")
        except NoVintagesError:
            known = 0
        table = self._table(series_id, page["observations"])
        count = page.get("count")
        if not isinstance(count, int) or not isinstance(known, int):
            return None
        return table if holds_all_news(table, before, count - known, MEASURE) else None

    def _check_period(self, series_id: str, first: date, last: date) -> None:
        if last < first:
            raise BadConfigurationError(
                f"FRED {series_id}: the real-time period {first}..{last} is empty"
            )
        today = self._today()
        if last > today:
            raise BadConfigurationError(
                f"FRED {series_id}: {last} has not begun at FRED, where it is {today} (US Central "
                f"time); ask for {today} at the latest"
            )

    def _check_emptiness(self, series_id: str, last: date) -> None:
        """Raise unless the first vintage of the series is later than ``last``."""
        listed = self._vintage_list(
            series_id, {"realtime_start": self.earliest_realtime_start, "limit": "1"}
        )
        if not listed:
            # FRED says so itself, as an error, of a series that has none: see ``_refusal``.
            raise TransientError(
                f"FRED {series_id}: an empty list of vintages; try again later, and if it stays "
                "so give the series a publication lag"
            )
        if listed[0] <= last:
            raise TransientError(
                f"FRED {series_id}: nothing in the vintages up to {last}, although they begin on "
                f"{listed[0]}; try again later"
            )

    def _vintage_list(self, series_id: str, params: dict[str, str]) -> list[date]:
        """Vintage dates as FRED lists them. Raises if they are no dates or fewer than counted."""
        body = self._json("series/vintagedates", {"series_id": series_id, **params})
        listed = body.get("vintage_dates")
        try:
            if not isinstance(listed, list):
                raise TypeError("there is no list 'vintage_dates'")
            days = [date.fromisoformat(day) for day in listed]
            due = min(int(body.get("count", len(days))), int(params["limit"]))
        except (TypeError, ValueError) as error:
            problem = self._caller.redact(str(error))
            raise BadDataError(
                f"FRED series/vintagedates of {series_id}: the answer is malformed ({problem})"
            ) from None
        if len(days) < due:
            raise TransientError(
                f"FRED {series_id}: {len(days)} of {due} vintage dates came; try again later"
            )
        return days

    def _chunk(
        self, series_id: str, first: date, last: date, observation_start: date | None
    ) -> pd.DataFrame:
        params = {"realtime_start": first.isoformat(), "realtime_end": last.isoformat()}
        if observation_start is not None:
            params["observation_start"] = observation_start.isoformat()
        try:
            return self._table(series_id, list(self._pages(series_id, params)))
        except NoVintagesError:
            # So ALFRED answers a period before the first vintage; the other chunks may have some.
            return self._table(series_id, [])

    def _lagged(
        self,
        series_id: str,
        first: date,
        last: date,
        observation_start: date | None,
        lag_days: int,
    ) -> pd.DataFrame:
        until = last - timedelta(days=lag_days)
        params = {"observation_end": until.isoformat()}
        if observation_start is not None:
            params["observation_start"] = observation_start.isoformat()
        frame = self._table(series_id, list(self._pages(series_id, params)))
        if frame.empty:
            self._check_absence(series_id, observation_start or date.min, until)
        frame = frame.drop_duplicates("observation_date", ignore_index=True)
        published = frame["observation_date"] + np.timedelta64(lag_days, "D")
        frame["realtime_start"] = published.where(
            published > np.datetime64(first), pd.Timestamp(first)
        )
        frame["realtime_end"] = days_of([last.isoformat()] * len(frame))
        return frame[published <= np.datetime64(last)].reset_index(drop=True)

    def _check_absence(self, series_id: str, first: date, last: date) -> None:
        """Raise if FRED describes the series as having observations from ``first`` to ``last``."""
        body = self._json("series", {"series_id": series_id})
        try:
            described = body["seriess"][0]
            begin, end = (
                date.fromisoformat(described[f"observation_{edge}"]) for edge in ("start", "end")
            )
        except (IndexError, KeyError, TypeError, ValueError):
            raise BadDataError(f"FRED series {series_id}: the description is malformed") from None
        if begin <= last and end >= first:
            raise TransientError(
                f"FRED {series_id}: no observations up to {last}, although it has some from "
                f"{begin} to {end}; try again later"
            )

    def _pages(self, series_id: str, params: dict[str, str]) -> Iterator[dict[str, Any]]:
        """Yield the observations of all pages."""
        offset = 0
        while True:
            page = self._observations_page(series_id, params, offset)
            rows = page["observations"]
            yield from rows
            offset += len(rows)
            count = int(page.get("count", offset))
            if offset >= count:
                return
            if not rows:
                raise TransientError(
                    f"FRED {series_id}: {offset} of {count} observations came; try again later"
                )

    def _observations_page(
        self, series_id: str, params: dict[str, str], offset: int, limit: int | None = None
    ) -> dict[str, Any]:
        paging = {"limit": str(limit or self._page_size), "offset": str(offset)}
        body = self._json("series/observations", {"series_id": series_id, **paging, **params})
        if not isinstance(body.get("observations"), list):
            raise BadDataError(
                f"FRED series/observations of {series_id}: the answer has no list 'observations'; "
                "check that the root URL is FRED's"
            )
        return body

    def _table(self, series_id: str, records: list[dict[str, Any]]) -> pd.DataFrame:
        try:
            return observation_table(series_id, records)
        except (KeyError, TypeError, ValueError) as error:
            problem = self._caller.redact(f"{type(error).__name__}: {error}")
        raise BadDataError(
            f"FRED {series_id}: an observation is malformed ({problem}); try again later and "
            "report it to FRED if it stays so"
        )
