"""The quality check of the macro observations, through whole runs."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from quant_assets.checks.macro import history_of
from quant_assets.partitions import session_of
from quant_assets.sandbox.faults import Fault
from quant_assets_tests.platform import Platform, failure, platform

ASSET = "macro/observations"


def quality(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    return next(e for e in result.get_asset_check_evaluations() if e.check_name == "quality")


def findings(result: dg.ExecuteInProcessResult) -> str:
    return str(quality(result).metadata["first"].value)


def drop(p: Platform, series_id: str, *days: str) -> None:
    """Rewrite stored days without the rows of a series."""
    from quant_assets.schemas import dataset_of

    dataset = dataset_of(ASSET)
    for day in days:
        frame = p.read(ASSET, day)
        p.store.delete(ASSET, [day])
        kept = frame[frame["series_id"] != series_id].reset_index(drop=True)
        p.store.write(dataset, ASSET, day, kept, "1")


@pytest.fixture(scope="module")
def quarter(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Platform, dg.ExecuteInProcessResult]]:
    """A platform with a quarter of releases, and the run that fetched them."""
    with platform(tmp_path_factory.mktemp("quarter")) as p:
        yield p, p.run("macro_sync", "2025-12-15", "2026-03-19")


@pytest.fixture
def before(
    quarter: tuple[Platform, dg.ExecuteInProcessResult], tmp_path: Path
) -> Iterator[Platform]:
    """What was stored of the quarter a day before its end, in another place."""
    shutil.copytree(quarter[0].store.root, tmp_path / "data")
    with platform(tmp_path) as p:
        p.store.delete(ASSET, ["2026-03-19"])
        yield p


def test_a_good_quarter_has_no_findings(
    quarter: tuple[Platform, dg.ExecuteInProcessResult],
) -> None:
    p, result = quarter
    assert quality(result).passed
    assert quality(result).metadata["rows"].value == len(p.read(ASSET))


def test_an_overdue_series_and_a_hole_are_named(before: Platform) -> None:
    """DGS2 stops on 27 February, ICSA leaves out a week in January."""
    p = before
    days = [key for key in p.store.list_partitions(ASSET) if key > "2026-02-27"]
    drop(p, "DGS2", *days)
    drop(p, "ICSA", "2026-01-15", "2026-01-22", "2026-01-29")
    p.sandbox.faults.add(Fault("fred", "status", series=["DGS2"], code=404))
    result = p.run("macro_sync", "2026-03-19")
    text = findings(result)
    assert "overdue | 2026-03-19 | DGS2 | last release 2026-02-27, 14 weekdays before" in text
    assert "hole | " in text
    assert "ICSA | no observation between" in text
    assert "series_failed | 2026-03-19 | DGS2 2026-03-19 .. 2026-03-19" in text
    assert quality(result).severity == dg.AssetCheckSeverity.ERROR


def test_what_is_only_strange_is_a_warning(before: Platform) -> None:
    drop(before, "ICSA", "2026-01-15", "2026-01-22", "2026-01-29")
    result = before.run("macro_sync", "2026-03-19")
    assert not quality(result).passed
    assert quality(result).severity == dg.AssetCheckSeverity.WARN
    assert "ICSA" in findings(result)


def test_a_failed_series_stays_reported_until_all_its_days_are_asked_again(
    tmp_path: Path,
) -> None:
    with platform(tmp_path) as p:
        fault = p.sandbox.faults.add(Fault("fred", "status", series=["PAYEMS"], code=404))
        p.run("macro_sync", "2026-03-02", "2026-03-08")
        assert fault.hits
        p.sandbox.faults.clear()
        for first, last in (
            ("2026-03-09", None),
            ("2026-03-08", None),
            ("2026-03-05", "2026-03-08"),
        ):
            result = p.run("macro_sync", first, last)
            assert "PAYEMS 2026-03-02 .. 2026-03-08" in findings(result)
        assert quality(p.run("macro_sync", "2026-03-01", "2026-03-08")).passed


def test_the_history_ends_at_a_day_that_is_not_stored(tmp_path: Path) -> None:
    with platform(tmp_path) as p:
        p.run("macro_sync", "2026-03-01", "2026-03-10")
        assert history_of(p.store, session_of("2026-03-10"))[0] == "2026-03-01"
        p.store.delete(ASSET, ["2026-03-04"])
        assert history_of(p.store, session_of("2026-03-10"))[0] == "2026-03-05"
        assert history_of(p.store, session_of("2026-03-03"))[0] == "2026-03-01"


@pytest.mark.parametrize("content", [b"", b"PAR1 not really"])
def test_a_damaged_old_day_does_not_stop_today_and_is_told(tmp_path: Path, content: bytes) -> None:
    with platform(tmp_path) as p:
        p.run("macro_sync", "2026-03-01", "2026-03-05")
        path = p.store.path(ASSET, "2026-03-03")
        path.write_bytes(content)
        result = p.run("macro_sync", "2026-03-06", check=False)
        assert "macro__regime" in failure(result), "it needs that day"
        assert str(path) in failure(result)
        event = p.instance.get_latest_materialization_event(dg.AssetKey(ASSET.split("/")))
        assert event is not None
        assert event.asset_materialization is not None
        assert str(path) in str(event.asset_materialization.metadata["stored_history"].value)
        assert len(p.read(ASSET, "2026-03-06")) > 5
        assert quality(result).severity == dg.AssetCheckSeverity.ERROR
        assert str(path) in findings(result)
