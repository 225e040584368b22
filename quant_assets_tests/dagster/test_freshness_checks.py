"""The checks of freshness as the UI shows them: behind, caught up, without a run and seldom."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from quant_assets.checks.freshness import check_keys, session_timetable, timetables, watched_assets
from quant_assets.definitions import build_defs
from quant_assets.markets import US
from quant_assets.resources import ClockResource, StoreResource, build_resources
from quant_assets.sensors import freshness
from quant_assets.sensors.alert_runs import RunsSeen, look_at_runs
from quant_assets.settings import Settings

DUE = datetime(2026, 3, 20, 3, 30, tzinfo=UTC)
"""Friday; the US session of the 19th is due."""
ASSET = "us/recommendations"
KEY = check_keys()[ASSET]
MINUTE = timedelta(minutes=1)


class House:
    """An instance, a directory of data and the sensor."""

    def __init__(self, home: Path, instance: dg.DagsterInstance) -> None:
        self.settings = Settings(QUANT_HOME=str(home), QUANT_RECOMMENDATIONS_DEADLINE_MINUTES=180)
        self.instance = instance
        self.now = DUE

    def store(self, asset: str, *keys: str) -> None:
        folder = self.settings.data_dir / asset
        folder.mkdir(parents=True, exist_ok=True)
        for key in keys:
            (folder / f"{key}.parquet").write_bytes(b"stored")

    def remove(self, asset: str, *keys: str) -> None:
        for key in keys:
            (self.settings.data_dir / asset / f"{key}.parquet").unlink()

    def resources(self) -> dict[str, Any]:
        root = str(self.settings.data_dir)
        return {
            "store": StoreResource(root=root, profile=self.settings.profile),
            "clock": ClockResource(fixed_now=self.now.isoformat()),
        }

    def tick(self, after: timedelta = MINUTE) -> list[tuple[str, bool]]:
        """A tick, with its events reported as the daemon does; what it reported."""
        self.now += after
        sensor = freshness.build_freshness_sensor(self.settings)
        with dg.build_sensor_context(instance=self.instance, resources=self.resources()) as context:
            result = sensor(context)
        assert isinstance(result, dg.SensorResult)
        for event in result.asset_events:
            self.instance.report_runless_asset_event(event)
        assert not result.run_requests
        return [(e.asset_key.to_user_string(), e.passed) for e in result.asset_events]

    def latest(self, key: dg.AssetCheckKey = KEY) -> Any:
        record = self.instance.get_latest_asset_check_evaluation_record(key)
        return record.event.dagster_event.event_specific_data

    def materialize(self, asset: str, key: str) -> None:
        made = dg.AssetMaterialization(asset_key=asset.split("/"), partition=key)
        self.instance.report_runless_asset_event(made)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        yield House(tmp_path, instance)


def test_what_falls_behind_fails_in_the_ui_and_passes_when_it_is_there(house: House) -> None:
    house.store(ASSET, "2026-03-17", "2026-03-18")
    assert house.tick() == [(ASSET, False)]
    told = house.latest()
    assert (told.passed, told.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert told.description == "1 session behind: 2026-03-19 was due at 2026-03-19 23:00 UTC"
    assert told.metadata["missing"].value == "2026-03-19"
    assert house.tick() == []
    house.store(ASSET, "2026-03-19")
    assert house.tick() == [(ASSET, True)]
    assert house.latest().description == (
        "2026-03-19 is stored; the next one is due at 2026-03-20 23:00 UTC"
    )
    assert house.tick(after=timedelta(hours=12)) == []
    house.now = datetime(2026, 3, 20, 22, 58, tzinfo=UTC)
    assert house.tick() == []
    assert house.tick() == [(ASSET, False)], "the deadline of the 20th"
    house.now += timedelta(days=2)
    assert house.tick() == [], "a weekend changes nothing"
    assert house.instance.get_runs() == []


def test_nobody_is_told_of_what_was_never_asked_for(house: House) -> None:
    assert house.tick() == []
    house.store("kr/prices", "2026-03-20")
    assert house.tick() == [("kr/prices", True)]


def test_data_that_vanish_are_behind(house: House) -> None:
    house.store(ASSET, "2026-03-19")
    assert house.tick() == [(ASSET, True)]
    house.remove(ASSET, "2026-03-19")
    assert house.tick() == [(ASSET, False)]
    assert "nothing of us/recommendations is stored" in house.latest().description


def test_a_result_of_before_is_told_again_for_newer_data(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.store(ASSET, "2026-03-19")
    house.tick()
    house.materialize(ASSET, "2026-03-19")
    assert house.tick() == [], "not before an hour has passed"
    monkeypatch.setattr(freshness, "REPEAT_AFTER", timedelta(0))
    assert house.tick() == [(ASSET, True)]
    assert house.tick() == [], "it is newer than the data now"


def test_a_folder_that_may_not_be_read_is_not_taken_for_an_empty_one(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    (house.settings.data_dir / ASSET).mkdir(parents=True)

    def refuse(path: Path) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(PermissionError, match=ASSET):
        house.tick()


def test_by_hand_it_says_the_same_and_makes_no_incident(house: House) -> None:
    """The stale incident tells it: the end of such a run is no second one."""
    house.store(ASSET, "2026-03-18")
    defs = build_defs(
        house.settings,
        resource_overrides={**build_resources(house.settings), **house.resources()},
    )
    job = defs.get_repository_def().get_implicit_global_asset_job_def()
    result = job.get_subset(asset_selection=set(), asset_check_selection={KEY}).execute_in_process(
        instance=house.instance
    )
    (evaluation,) = result.get_asset_check_evaluations()
    assert not evaluation.passed
    assert evaluation.description.startswith("1 session behind")
    _, findings = look_at_runs(house.instance, RunsSeen(), house.settings, datetime.now(UTC))
    assert findings == []
    assert house.tick() == [], "the UI shows it already"


def test_no_job_evaluates_them(house: House) -> None:
    defs = build_defs(house.settings)
    for job in defs.resolve_all_job_defs():
        if not job.name.startswith("__"):
            assert not set(job.asset_layer.asset_graph.asset_check_keys) & set(
                check_keys().values()
            ), job.name
    keys = defs.resolve_asset_graph().asset_check_keys
    assert set(check_keys().values()) <= set(keys)
    assert len(watched_assets()) == len(check_keys())


@pytest.mark.parametrize(
    ("asset", "key", "deadline"),
    [
        # Asked for at 09:00 UTC of the day after, given up at noon; by summer and by winter.
        ("us/prices", "2026-11-19", "2026-11-20 12:00"),
        ("us/prices", "2026-07-02", "2026-07-03 12:00"),
        ("us/prices", "2026-11-27", "2026-11-28 12:00"),
        # Decided at the open after Thanksgiving, asked for at 23:45 in Seoul.
        ("us/recommendations", "2026-11-25", "2026-11-27 16:45"),
        ("us/technical_score", "2026-11-27", "2026-11-30 16:45"),
        ("kr/prices", "2026-11-30", "2026-12-01 00:00"),
        ("kr/recommendations", "2026-11-27", "2026-11-30 01:45"),
        # Chuseok 2017: ten days without a session.
        ("kr/recommendations", "2017-09-29", "2017-10-10 01:45"),
        ("macro/observations", "2026-11-26", "2026-11-27 09:00"),
        # No tick on Saturday.
        ("macro/regime", "2026-11-28", "2026-11-30 02:00"),
        ("news/articles", "2026-11-30-15", "2026-11-30 16:50"),
    ],
)
def test_deadlines_follow_the_schedules(asset: str, key: str, deadline: str) -> None:
    table = timetables(Settings())[asset]
    at = datetime.fromisoformat(deadline).replace(tzinfo=UTC)
    assert table.deadline(key) == at
    assert table.due(at) == key
    assert table.due(at - timedelta(seconds=1)) < key


def test_a_universe_that_has_ended_ends_what_is_due(tmp_path: Path) -> None:
    listed = tmp_path / "universe.csv"
    listed.write_text("symbol,listed_on,delisted_on\nAAA,2020-01-02,2024-06-29\n")
    settings = Settings(QUANT_HOME=str(tmp_path), QUANT_US_UNIVERSE=str(listed))
    assert session_timetable(US, settings).due(DUE) == "2024-06-28"
    assert timetables(settings)["kr/prices"].due(DUE) == "2026-03-19"
