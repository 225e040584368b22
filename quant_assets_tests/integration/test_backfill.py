"""``quant backfill``: its plan, and a range that is stopped, killed and becomes the same."""

import os
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from quant_assets.cli.backfill_plan import DueFinder, stages
from quant_assets.cli.selection import complete_keys, selected_assets
from quant_assets.cli.tasks import Task
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.markets import US
from quant_assets.naming import ANY_JOB, FORECAST, TRADING
from quant_assets.sandbox import locate
from quant_assets.schemas import dataset_of
from quant_assets.sensors.common import UNFINISHED
from quant_assets.versions import code_versions
from quant_assets_tests.filled_home import HOURS, SESSIONS, STORED, filled, quant
from quant_assets_tests.integration.quant_processes import SECONDS, Home
from quant_assets_tests.kafka_broker import poll
from quant_assets_tests.platform import NOW, Platform

RANGE = [day.isoformat() for day in US.sessions(NOW.date().replace(day=12), NOW.date())][:-1]
TECHNICAL = ("us/prices", "us/technical_indicators", "us/technical_score")
PATIENCE = SECONDS
"""Three processes that fetch and compute, on a machine that has other things to do."""
NEWS, TONE = "news/articles", "news/article_sentiment"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with filled(tmp_path_factory.mktemp("full") / "home") as p:
        yield p


class Plan:
    """Plans on a filled store whose files are set aside."""

    def __init__(self, p: Platform) -> None:
        self._p = p
        self._aside: list[tuple[Path, Path]] = []

    def __call__(self, *assets: str, **options: object) -> list[list[tuple[str, ...]]]:
        """Job, assets and ends of the runs of each stage."""
        keys = {asset: STORED[asset] for asset in selected_assets(",".join(assets))}
        versions = code_versions(self._p.settings)
        finder = DueFinder(self._p.store, self._p.instance, datetime.now(UTC), versions)
        made: list[list[Task]] = stages(finder, keys, **options)  # type: ignore[arg-type]
        return [[(t.job, *t.assets, t.first, t.last) for t in stage] for stage in made]

    def without(self, asset: str, key: str) -> None:
        path = self._p.store.path(asset, key)
        aside = path.with_name(f".{path.name}")
        path.rename(aside)
        self._aside.append((aside, path))

    def touch(self, asset: str, key: str) -> None:
        path = self._p.store.path(asset, key)
        os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 10**12))

    def restore(self, times: dict[Path, int]) -> None:
        for aside, path in self._aside:
            aside.rename(path)
        for path, time in times.items():
            os.utime(path, ns=(time, time))


@pytest.fixture
def plan(full: Platform) -> Iterator[Plan]:
    times = {path: path.stat().st_mtime_ns for path in full.store.root.rglob("*.parquet")}
    one = Plan(full)
    yield one
    one.restore(times)


def test_what_is_stored_and_up_to_date_is_not_done(plan: Plan) -> None:
    assert plan(*STORED) == []


def test_kinds_of_partitions_are_runs_of_their_own_in_the_order_of_the_data(plan: Plan) -> None:
    analysis = ("us/news_sentiment", "us/recommendations")
    assert plan("us/prices", NEWS, TONE, *TECHNICAL[1:], *analysis, again=True) == [
        [
            ("news_crawl", NEWS, TONE, HOURS[0], HOURS[-1]),
            (ANY_JOB, *TECHNICAL, SESSIONS[0], SESSIONS[-1]),
        ],
        [("us_combined_analysis", *analysis, SESSIONS[0], SESSIONS[-1])],
    ]


def test_what_rests_on_a_missing_partition_is_made_after_it(plan: Plan) -> None:
    first, _, last = SESSIONS
    plan.without("us/prices", first)
    assert plan(*TECHNICAL) == [
        [("us_price", "us/prices", first, first)],
        [("us_technical_analysis", *TECHNICAL[1:], first, last)],
    ]
    plan.without("us/technical_score", last)
    assert plan("us/technical_score") == [
        [("us_technical_analysis", "us/technical_score", last, last)]
    ]


def test_chunks_of_what_looks_back_are_made_after_their_prices(plan: Plan) -> None:
    assert plan(*TECHNICAL[:2], again=True, chunk=2) == [
        [("us_price", "us/prices", *SESSIONS[:2]), ("us_price", "us/prices", *SESSIONS[2:] * 2)],
        [
            ("us_technical_analysis", TECHNICAL[1], *SESSIONS[:2]),
            ("us_technical_analysis", TECHNICAL[1], *SESSIONS[2:] * 2),
        ],
    ]


def test_a_newer_input_and_another_version_are_due(full: Platform, plan: Plan) -> None:
    plan.touch(NEWS, HOURS[1])
    assert plan(NEWS, TONE) == [[("news_crawl", TONE, HOURS[1], HOURS[1])]]
    dataset = dataset_of("us/recommendations")
    path = full.store.path("us/recommendations", SESSIONS[1])
    before = path.read_bytes()
    frame = full.read("us/recommendations", SESSIONS[1])
    full.store.write(dataset, "us/recommendations", SESSIONS[1], frame, "0-other")
    try:
        assert plan("us/recommendations") == [
            [("us_combined_analysis", "us/recommendations", SESSIONS[1], SESSIONS[1])]
        ]
    finally:
        path.write_bytes(before)


def test_selections_and_ends() -> None:
    assert selected_assets("us_price") == ("us/prices",)
    assert selected_assets("us/technical_score, us/prices") == ("us/prices", "us/technical_score")
    below = selected_assets("key:us/technical_score+1")
    assert below[0] == "us/technical_score"
    assert {*below[1:]} == {"us/recommendations", *(f"us/{name}" for name in FORECAST)}
    everything = selected_assets("key:us/technical_score+")
    order = [everything.index(f"us/{n}") for n in ("return_forecast", "signals", "ledger", "risk")]
    assert order == sorted(order)
    assert {*everything[1:]} == {
        "us/recommendations",
        *(f"us/{name}" for name in (*FORECAST, *TRADING)),
    }
    assert set(selected_assets("1+key:us/news_sentiment")) == {
        "news/article_sentiment",
        "news/streamed_sentiment",
        "us/news_sentiment",
    }
    now = datetime(2026, 3, 19, 12, 30, tzinfo=UTC)
    assert complete_keys("us/prices", "2026-03-13", "2026-03-31", now) == [
        "2026-03-13", "2026-03-16", "2026-03-17", "2026-03-18",
    ]  # fmt: skip
    assert complete_keys("macro/regime", "2026-03-17", "2026-03-31", now)[-1] == "2026-03-18"
    hours = complete_keys(NEWS, "2026-03-19", "2026-03-19", now)
    assert (hours[0], hours[-1]) == ("2026-03-19-00", "2026-03-19-11")
    assert complete_keys(NEWS, "2026-03-18-22", "2026-03-18", now) == [
        "2026-03-18-22", "2026-03-18-23",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nonsense", "--from", "2026-03-17", "--to", "2026-03-19"), "'nonsense' is no selection"),
        (("us_price", "--from", "2026-03-19", "--to", "2026-03-17"), "is after --to 2026-03-17"),
        (("us_price", "--from", "2026-03-21", "--to", "2026-03-22"), "no complete partition from"),
        (("us_price", "--from", "soon", "--to", "2026-03-22"), "'soon' is neither a day"),
        (("news/streamed_articles", "--from", "2026-03-18", "--to", "2026-03-18"), "no complete"),
        (("us_price", "--from", "2026-03-19"), "Missing option '--to'"),
        (("us_price", "--from", "2026-03-19", "--to", "2026-03-19", "--chunk", "0"), "'--chunk'"),
    ],
)
def test_a_wrong_argument_is_a_sentence(
    full: Platform, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    assert message in quant(full.settings.home_dir, capsys, "backfill", *words, status=2)[1]


def hashes(store: ParquetStore) -> dict[tuple[str, str], str]:
    return {
        (asset, key): store.info(asset, key).content_hash
        for asset in TECHNICAL
        for key in store.list_partitions(asset)
    }


def unfinished(home: Home) -> list[dg.DagsterRun]:
    with dg.DagsterInstance.from_config(str(home.path)) as instance:
        return list(instance.get_runs(dg.RunsFilter(statuses=list(UNFINISHED))))


def test_a_range_that_is_stopped_and_killed_becomes_what_one_run_makes(
    full: Platform, tmp_path: Path
) -> None:
    """SIGTERM leaves nothing half, SIGKILL nothing that the same command does not mend."""
    full.run("us_price", RANGE[0], RANGE[-1])
    full.run("us_technical_analysis", RANGE[0], RANGE[-1])
    wanted = hashes(full.store)
    assert len(wanted) == 3 * len(RANGE)

    variables = {"QUANT_US_UNIVERSE": "AAPL,MSFT", "QUANT_KR_UNIVERSE": "005930.KS"}
    home = Home(tmp_path, variables)
    home.path.mkdir()
    locate.record(home.path, full.sandbox)
    store = ParquetStore(home.path / "data", "sandbox")
    words = ("backfill", ",".join(TECHNICAL), "--from", RANGE[0], "--to", RANGE[-1])
    begun = 0
    for number, status in ((signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)):
        process: subprocess.Popen[str] = home.start(*words, "--chunk", "1", "--workers", "1")
        poll("another partition", PATIENCE, lambda: len(hashes(store)) > begun)  # noqa: B023
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == status, errors
        begun = len(hashes(store))
        assert 0 < begun < len(wanted)
        if number == signal.SIGTERM:
            assert "the same command again goes on" in errors
            assert unfinished(home) == []
            assert not list(home.path.rglob(".*.tmp"))
    process = home.start(*words, "--workers", "1")
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert f" of {len(wanted)} partitions to be made" in errors
    assert f"{len(wanted)} of {len(wanted)} partitions" not in errors
    assert hashes(store) == wanted
    assert unfinished(home) == []
