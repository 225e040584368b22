"""What the platform says was known on a day equals what was recorded on that day.

GDP with every release from 1991 to 2019 (335 vintages, 2,934 rows) and the 29 series of the New
York Fed's nowcast with 43 vintages from June to September 2016 (9,219 rows). The real client asks a
server that answers by ALFRED's rules; the releases are stored and read back.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quant_assets.assets.macro_fetch import RELEASE_DAY_ENDS, fetch_releases, sift_rows
from quant_assets.domain.macro import as_known
from quant_assets.domain.macro_series import MacroSeries
from quant_assets.io_managers.parquet_store import ParquetStore, empty_frame
from quant_assets.io_managers.partitioned_parquet import split_by_partition
from quant_assets.sandbox import fred as sandbox_fred
from quant_assets.sandbox.macro import VintageSeries
from quant_assets.sandbox.wire import Request as SandboxRequest
from quant_assets.schemas import dataset_of
from quant_assets.vendors.fred import FredClient
from quant_assets.vendors.http import Pacer, build_session
from quant_assets_tests.unit.scripted_server import Reply, Request, ScriptedServer

KEY = "0123456789abcdefghijklmnopqrstuv"
NOW = datetime(2020, 6, 1, 12, tzinfo=UTC)
ASSET = "macro/observations"
COLUMNS = ["series_id", "observation_date", "value"]
Table = pd.DataFrame


@dataclass(frozen=True)
class Recording:
    """Vintages (series_id, date, value as text, start, end), and their series as a source."""

    rows: Table

    def series_ids(self) -> tuple[str, ...]:
        return tuple(sorted(self.rows["series_id"].unique()))

    def series(self, series_id: str) -> VintageSeries | None:
        rows = self.rows[self.rows["series_id"] == series_id]
        rows = rows.sort_values(["date", "start"])
        starts = rows["start"].to_numpy().astype("datetime64[D]")
        return VintageSeries(
            series_id=series_id,
            title=series_id,
            units="as recorded",
            frequency="Monthly",
            dates=rows["date"].to_numpy().astype("datetime64[D]"),
            realtime_start=starts,
            visible_at=starts.astype("datetime64[s]").astype(np.int64),
            values=tuple(rows["value"]),
        )

    def known(self, day: date) -> Table:
        """The vintage of ``day``, as recorded."""
        text = day.isoformat()
        rows = self.rows[(self.rows["start"] <= text) & (self.rows["end"] >= text)]
        table = Table(
            {
                "series_id": rows["series_id"].astype("str"),
                "observation_date": pd.to_datetime(rows["date"]).astype("datetime64[us]"),
                "value": pd.to_numeric(rows["value"].replace(".", None)).astype(float),
            }
        )
        return table.sort_values(COLUMNS[:2], ignore_index=True)

    def listed(self) -> tuple[MacroSeries, ...]:
        return tuple(MacroSeries(name, name, "?", "monthly", None) for name in self.series_ids())


@pytest.fixture(scope="module")
def gdp(recorded_data: Path) -> Recording:
    path = recorded_data / "macro" / "alfred_gdp" / "GDP_all_releases_to_2019.csv"
    rows = pd.read_csv(path, dtype=str)
    rows = rows.rename(columns={"realtime_start": "start", "realtime_end": "end"})
    return Recording(rows.assign(series_id="GDP"))


@pytest.fixture(scope="module")
def nowcast(recorded_data: Path) -> Recording:
    folder = recorded_data / "macro" / "frbny_nowcast_vintages_2016"
    rows = pd.read_csv(folder / "bitemporal_long_to_2016-09.csv", dtype=str)
    last = rows["superseded_by_vintage"].map(
        lambda day: day if day == "9999-12-31" else f"{date.fromisoformat(day) - timedelta(1)}"
    )
    rows = rows.rename(columns={"first_vintage": "start"})
    return Recording(rows.assign(end=last))


def served(recording: Recording) -> ScriptedServer:
    """ALFRED with ``recording``."""
    vendor = sandbox_fred.Fred(recording)

    def answer(request: Request) -> Reply:
        query: Mapping[str, str] = request.query
        asked = SandboxRequest("GET", "", request.path, dict(query), {}, b"", NOW)
        answered = vendor.answer(asked)
        return Reply(answered.body, answered.status)

    return ScriptedServer(answer)


@pytest.fixture(scope="module")
def gdp_server(gdp: Recording) -> Iterator[ScriptedServer]:
    with served(gdp) as server:
        yield server


@pytest.fixture(scope="module")
def nowcast_server(nowcast: Recording) -> Iterator[ScriptedServer]:
    with served(nowcast) as server:
        yield server


def stored(
    home: Path,
    server: ScriptedServer,
    recording: Recording,
    periods: Sequence[tuple[date, date]],
    chunk_days: int = 1_900,
) -> Table:
    """Releases of ``periods`` as the asset makes, stores and reads them."""
    session = build_session(retries=1, backoff_seconds=0, timeout_seconds=10, user_agent="test")
    client = FredClient(
        KEY,
        f"{server.url}/fred",
        session,
        pacer=Pacer(max_per_second=10_000),
        today=lambda: NOW.date(),
    )
    dataset = dataset_of(ASSET)
    store = ParquetStore(home, "sandbox")
    for first, last in periods:
        fetched = fetch_releases(client, recording.listed(), first, last, chunk_days=chunk_days)
        assert fetched.failed == {}
        days = [day.date() for day in pd.date_range(first, last)]
        rows = sift_rows(fetched.news, days, empty_frame(dataset), lambda held: (list(held), []))
        assert rows.held == [], "no recorded value is taken for a unit error"
        frame = dataset.conform(rows.frame, ASSET)
        store.write_parts(dataset, ASSET, frame, list(split_by_partition(dataset, frame)), "1")
    return store.read(dataset, ASSET, store.list_partitions(ASSET))


def assert_known(observations: Table, recording: Recording, days: Sequence[date]) -> None:
    for day in days:
        known = as_known(observations, day)[COLUMNS]
        pd.testing.assert_frame_equal(known, recording.known(day), obj=f"what was known on {day}")


GDP_FIRST, GDP_LAST = date(1991, 12, 1), date(2019, 12, 31)


def split(first: date, last: date, days: int) -> list[tuple[date, date]]:
    """Adjoining periods of ``days`` days."""
    starts = [first + timedelta(days=n) for n in range(0, (last - first).days + 1, days)]
    ends = [after - timedelta(days=1) for _, after in pairwise([*starts, last + timedelta(days=1)])]
    return list(zip(starts, ends, strict=True))


@pytest.fixture(scope="module")
def gdp_in_one_run(
    gdp: Recording, gdp_server: ScriptedServer, tmp_path_factory: pytest.TempPathFactory
) -> Table:
    home = tmp_path_factory.mktemp("gdp")
    return stored(home, gdp_server, gdp, [(GDP_FIRST, GDP_LAST)])


def random_days(count: int) -> list[date]:
    span = (GDP_LAST - GDP_FIRST).days
    picked = random.Random(1991).sample(range(span + 1), count)
    return [GDP_FIRST + timedelta(days=n) for n in sorted(picked)]


def test_gdp_was_known_as_recorded(gdp: Recording, gdp_in_one_run: Table) -> None:
    """250 random days, and the day of each of the 335 releases."""
    releases = [date.fromisoformat(day) for day in sorted(gdp.rows["start"].unique())]
    assert len(releases) == 335
    assert len(gdp_in_one_run) == len(gdp.rows) == 2_934
    days = {*random_days(250), *releases}
    assert len(days) > 570
    assert_known(gdp_in_one_run, gdp, sorted(days))


@pytest.mark.parametrize(
    ("period_days", "chunk_days"),
    [(20_000, 30), (20_000, 400), (20_000, 100_000), (1_000, 1_900), (365, 90), (31, 1)],
)
def test_neither_runs_nor_chunks_change_what_was_known(
    gdp: Recording,
    gdp_server: ScriptedServer,
    gdp_in_one_run: Table,
    tmp_path: Path,
    period_days: int,
    chunk_days: int,
) -> None:
    """From one run over 28 years in 342 chunks to 331 runs of a month."""
    periods = split(GDP_FIRST, GDP_LAST, period_days)
    table = stored(tmp_path, gdp_server, gdp, periods, chunk_days)
    pd.testing.assert_frame_equal(table, gdp_in_one_run)


def test_days_one_by_one_store_what_the_range_does(
    gdp: Recording, gdp_server: ScriptedServer, gdp_in_one_run: Table, tmp_path: Path
) -> None:
    """Nine months day by day, with the benchmark revision of July 2013, and 200 random days."""
    first, last = date(2013, 1, 1), date(2013, 9, 30)
    days = {first + timedelta(days=n) for n in range((last - first).days + 1)}
    days |= set(random_days(200))
    table = stored(tmp_path, gdp_server, gdp, [(day, day) for day in sorted(days)])
    is_asked = gdp_in_one_run["release_date"].dt.date.isin(days)
    expected = gdp_in_one_run[is_asked].reset_index(drop=True)
    assert len(expected) > 200
    pd.testing.assert_frame_equal(table, expected)


def test_values_became_known_on_their_day_and_not_earlier(gdp_in_one_run: Table) -> None:
    ends = (gdp_in_one_run["release_date"] + RELEASE_DAY_ENDS).dt.tz_localize("UTC")
    assert (gdp_in_one_run["available_at"] == ends).all()
    assert (gdp_in_one_run["release_date"] == gdp_in_one_run["realtime_start"]).all()


FED_FIRST, FED_LAST = date(2016, 6, 29), date(2016, 9, 30)


@pytest.mark.parametrize(
    ("period_days", "chunk_days"), [(94, 1_900), (94, 11), (31, 1_900), (7, 1_900)]
)
def test_the_new_york_fed_series_were_known_as_recorded(
    nowcast: Recording,
    nowcast_server: ScriptedServer,
    tmp_path: Path,
    period_days: int,
    chunk_days: int,
) -> None:
    """29 series on all of the 94 days, 43 of them with a vintage."""
    assert len(nowcast.series_ids()) == 29
    assert nowcast.rows["start"].nunique() == 43
    assert len(nowcast.rows) == 9_219
    periods = split(FED_FIRST, FED_LAST, period_days)
    table = stored(tmp_path, nowcast_server, nowcast, periods, chunk_days)
    assert len(table) == len(nowcast.rows)
    days = [FED_FIRST + timedelta(days=n) for n in range((FED_LAST - FED_FIRST).days + 1)]
    assert len(days) == 94
    assert_known(table, nowcast, days)
