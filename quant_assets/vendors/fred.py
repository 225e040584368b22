"""FRED and ALFRED: what each series was known to be on each day.

What belongs here: requests to FRED, its limits (120 requests a minute, 2,000 vintages a request)
and its notation (``.`` is missing). What does not: which series are used and what is made of them
(``domain/macro``).

Reference: St. Louis Fed, fred/series/observations, real-time periods.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import fredapi
import numpy as np
import pandas as pd
import requests

from quant_assets.errors import (
    BadConfigurationError,
    BadDataError,
    PermanentError,
    TransientError,
)
from quant_assets.vendors.http import HttpCaller, Pacer, build_session

LIVE_URL = "https://api.stlouisfed.org/fred"
OBSERVATION_COLUMNS = ("series_id", "observation_date", "value", "realtime_start", "realtime_end")
RELEASE_COLUMNS = ("release_date", "series_id", "observation_date", "value", "realtime_start")
_MISSING = "."
_FRED_ZONE = ZoneInfo("America/Chicago")
_USER_AGENT = "quant-assets (requests)"
_KEY_NAME = "FRED_API_KEY"


class FredRequestError(PermanentError, ValueError):
    """FRED refused a request for good: wrong key, unknown series, wrong argument.

    It is a ``ValueError`` too, because that is what users of fredapi catch.
    """


class NoVintagesError(FredRequestError):
    """ALFRED has no vintage of the series in the period asked for, or none at all."""


def fred_today() -> date:
    """The date at FRED, which dates its releases in US Central time."""
    return datetime.now(UTC).astimezone(_FRED_ZONE).date()


class FredClient(fredapi.Fred):  # type: ignore[misc]
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
        """Prepare the client; no request is made.

        ``fredapi.Fred.__init__`` is skipped: it would install a process-wide urllib opener.
        """
        if not api_key:
            raise BadConfigurationError(
                f"FRED needs a key: set {_KEY_NAME} (free at fredaccount.stlouisfed.org/apikeys)"
            )
        self.api_key = api_key
        self.root_url = root_url.rstrip("/")
        self.proxies = None
        self._caller = HttpCaller(
            "FRED",
            session
            or build_session(
                retries=3, backoff_seconds=1.0, timeout_seconds=10.0, user_agent=_USER_AGENT
            ),
            pacer=pacer or Pacer(max_per_minute=120),
            secrets=(api_key,),
            key_name=_KEY_NAME,
        )
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
        for first, last in _split(realtime_start, realtime_end, chunk_days):
            chunk = self._chunk(series_id, first, last, observation_start)
            if chunk.empty and chunks and not chunks[-1].empty:
                raise TransientError(
                    f"FRED {series_id}: nothing for the vintages {first}..{last}, although "
                    "earlier ones have values; try again later"
                )
            chunks.append(chunk)
        table = _merge_equal_neighbours(pd.concat(chunks, ignore_index=True))
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
        release_date), sorted by release_date and observation_date. The day before ``first`` is
        asked as well: what was valid then and still is, is no news. Raises as ``observations``.
        """
        self._check_period(series_id, first, last)
        known = self.observations(
            series_id,
            first - timedelta(days=1),
            last,
            publication_lag_days=publication_lag_days,
            chunk_days=chunk_days,
        )
        news = known[known["realtime_start"] >= np.datetime64(first)]
        news = news.assign(release_date=news["realtime_start"])
        news = news.sort_values(["release_date", "observation_date"], ignore_index=True)
        return news[list(RELEASE_COLUMNS)]

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
        """Raise if the series has no vintages at all, or if it had one by ``last``."""
        body = self._json(
            "series/vintagedates",
            {"series_id": series_id, "realtime_start": self.earliest_realtime_start, "limit": "1"},
        )
        listed = body.get("vintage_dates")
        if not isinstance(listed, list) or not listed:
            raise NoVintagesError(f"FRED {series_id}: no vintages; give it a publication lag")
        if date.fromisoformat(str(listed[0])) <= last:
            raise TransientError(
                f"FRED {series_id}: no observations in the vintages up to {last}, although they "
                f"begin on {listed[0]}; try again later"
            )

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
        lag = timedelta(days=lag_days)
        params = {"observation_end": (last - lag).isoformat()}
        if observation_start is not None:
            params["observation_start"] = observation_start.isoformat()
        frame = self._table(series_id, list(self._pages(series_id, params)))
        published = frame["observation_date"] + np.timedelta64(lag_days, "D")
        frame["realtime_start"] = published.where(
            published > np.datetime64(first), pd.Timestamp(first)
        )
        frame["realtime_end"] = _days([last.isoformat()] * len(frame))
        return frame[published <= np.datetime64(last)].reset_index(drop=True)

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
        self, series_id: str, params: dict[str, str], offset: int
    ) -> dict[str, Any]:
        paging = {"limit": str(self._page_size), "offset": str(offset)}
        body = self._json("series/observations", {"series_id": series_id, **paging, **params})
        if not isinstance(body.get("observations"), list):
            raise BadDataError(
                f"FRED series/observations of {series_id}: the answer has no list 'observations'; "
                "check that the root URL is FRED's"
            )
        return body

    def _json(self, path: str, params: dict[str, str]) -> dict[str, Any]:
        endpoint = f"{path} of {params['series_id']}"
        response = self._caller.get(
            f"{self.root_url}/{path}",
            endpoint=endpoint,
            params={**params, "file_type": "json", "api_key": self.api_key},
            understood=(400,),
        )
        body = self._caller.json(response, endpoint=endpoint)
        if not isinstance(body, dict):
            raise BadDataError(f"FRED {endpoint}: the answer is a {type(body).__name__}")
        if response.status_code == 400 or "error_message" in body:
            raise self._refusal(endpoint, str(body.get("error_message", "request refused")))
        return body

    def _table(self, series_id: str, records: list[dict[str, Any]]) -> pd.DataFrame:
        """Build the typed table of ``OBSERVATION_COLUMNS`` from FRED's rows."""
        try:
            texts = [row["value"] for row in records]
            return pd.DataFrame(
                {
                    "series_id": pd.Series([series_id] * len(records), dtype="str"),
                    "observation_date": _days([row["date"] for row in records]),
                    "value": np.array(
                        [np.nan if text == _MISSING else float(text) for text in texts],
                        dtype="float64",
                    ),
                    "realtime_start": _days([row["realtime_start"] for row in records]),
                    "realtime_end": _days([row["realtime_end"] for row in records]),
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            problem = self._caller.redact(f"{type(error).__name__}: {error}")
        raise BadDataError(
            f"FRED {series_id}: an observation is malformed ({problem}); try again later and "
            "report it to FRED if it stays so"
        )

    def _refusal(self, endpoint: str, message: str) -> PermanentError:
        told = self._caller.redact(" ".join(message.split()))
        if "ALFRED" in message:
            return NoVintagesError(
                f"FRED {endpoint}: {told} (without vintages, give it a publication lag)"
            )
        remedy = f"check {_KEY_NAME}" if "api_key" in message else "check the series and the dates"
        return FredRequestError(f"FRED {endpoint}: {told} ({remedy})")

    def _Fred__fetch_data(self, url: str) -> ElementTree.Element:  # noqa: N802
        """Answer fredapi's requests: its one choke point, name-mangled in the parent class."""
        path = url.removeprefix(self.root_url).split("?", 1)[0].strip("/")
        response = self._caller.get(
            f"{url}&api_key={self.api_key}", endpoint=path, expects="xml", understood=(400,)
        )
        try:
            root = ElementTree.fromstring(response.content)
        except ElementTree.ParseError as error:
            problem = str(error)
        else:
            if response.status_code == 400 or root.tag == "error":
                raise self._refusal(path, root.get("message") or "request refused")
            return root
        raise TransientError(f"FRED {path}: the body is not valid XML ({problem}); try again later")


def _split(first: date, last: date, chunk_days: int) -> Iterator[tuple[date, date]]:
    """Yield adjoining periods of at most ``chunk_days`` days that cover ``[first, last]``."""
    start = first
    while start <= last:
        end = min(start + timedelta(days=chunk_days - 1), last)
        yield start, end
        start = end + timedelta(days=1)


def _merge_equal_neighbours(frame: pd.DataFrame) -> pd.DataFrame:
    """Join rows of one observation whose periods adjoin and whose values are equal.

    FRED cuts realtime_start and realtime_end to the period asked for, so a value that outlives a
    chunk comes once a chunk.
    """
    if frame.empty:
        return frame[list(OBSERVATION_COLUMNS)]
    frame = frame.sort_values(["observation_date", "realtime_start"], ignore_index=True)
    previous = frame.shift(1)
    same_value = (frame["value"] == previous["value"]) | (
        frame["value"].isna() & previous["value"].isna()
    )
    adjoins = frame["realtime_start"] <= previous["realtime_end"] + np.timedelta64(1, "D")
    same_date = frame["observation_date"] == previous["observation_date"]
    run = (~(same_date & same_value & adjoins)).cumsum()
    grouped = frame.groupby(run, sort=True)
    merged = grouped.first()
    merged["value"] = frame["value"][~run.duplicated()].to_numpy()
    merged["realtime_end"] = grouped["realtime_end"].max()
    return merged.reset_index(drop=True)[list(OBSERVATION_COLUMNS)]


def _days(texts: list[str]) -> np.ndarray[Any, np.dtype[np.datetime64]]:
    return np.array(texts, dtype="datetime64[D]").astype("datetime64[us]")
