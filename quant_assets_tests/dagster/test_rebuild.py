"""Rebuilding prices from the raw archive, and fetching when archive or quarantine is broken."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from quant_assets.io_managers.quarantine import Quarantine
from quant_assets.naming import TAG_PARTITION, TAG_REBUILD
from quant_assets.sandbox.faults import Fault
from quant_assets.vendors.archive import RawArchive
from quant_assets_tests.platform import Platform, failure, platform
from quant_assets_tests.unit.full_disk import refuse_writing

ASSET = "us/prices"
PRICES_OF = ("AAPL", "MSFT")


@pytest.fixture
def priced(tmp_path: Path) -> Iterator[Platform]:
    """A platform that has fetched two sessions of three symbols, one of them in pence."""
    with platform(tmp_path, us=("AAPL", "MSFT", "XOM"), kr=("005930.KS",)) as p:
        p.sandbox.faults.add(
            Fault("yahoo.chart", "wrong_units", symbols=["XOM"], rows=2, history_only=True)
        )
        p.run("us_price", "2026-03-18", "2026-03-19")
        yield p


def rebuild(p: Platform, day: str, job: str = "us_price") -> dg.ExecuteInProcessResult:
    return p.defs.resolve_job_def(job).execute_in_process(
        instance=p.instance,
        tags={TAG_PARTITION: day, TAG_REBUILD: "true"},
        partition_key=day,
        raise_on_error=False,
    )


def metadata(p: Platform) -> dict[str, object]:
    event = p.instance.get_latest_materialization_event(dg.AssetKey(["us", "prices"]))
    assert event is not None
    assert event.asset_materialization is not None
    return {name: one.value for name, one in event.asset_materialization.metadata.items()}


def test_a_rebuild_gives_the_same_bytes_without_the_vendor(priced: Platform) -> None:
    """Rows and quarantine, whatever the vendor would say now."""
    folders = ("us/prices", "quarantine/us/prices")
    before = priced.files(*folders)
    assert len(before) == 4
    asked = priced.sandbox.requests.count()
    priced.sandbox.faults.clear()
    priced.sandbox.faults.add(Fault("yahoo.chart", "revised", factor=2.0, history_only=True))
    for path in (priced.store.path("us/prices", day) for day in ("2026-03-18", "2026-03-19")):
        path.unlink()
    shutil.rmtree(priced.store.root / "quarantine")
    for day in ("2026-03-18", "2026-03-19"):
        result = rebuild(priced, day)
        assert result.success, failure(result)
    assert priced.sandbox.requests.count() == asked
    assert priced.files(*folders) == before
    assert str(metadata(priced)["rebuilt_from"]).startswith("2026-03-18__2026-03-19__")


def test_a_rebuild_without_kept_answers_says_so(priced: Platform) -> None:
    asked = priced.sandbox.requests.count()
    result = rebuild(priced, "2026-03-17")
    assert "us/prices 2026-03-17 .. 2026-03-17: no raw answers are kept" in failure(result)
    assert priced.sandbox.requests.count() == asked


def test_a_rebuild_from_a_damaged_body_names_it_and_stores_nothing(priced: Platform) -> None:
    before = priced.files("us/prices")
    archive = RawArchive(priced.settings.raw_dir)
    _, entries = archive.manifests(ASSET)[-1].load()
    chart = next(e for e in entries if "/MSFT?" in e.request and "period1=" in e.request)
    path = archive.root / "blobs" / chart.sha256[:2] / f"{chart.sha256}.gz"
    path.write_bytes(b"damaged")
    result = rebuild(priced, "2026-03-18")
    assert not result.success
    assert f"the raw answer {path} cannot be read" in failure(result)
    assert priced.files("us/prices") == before


def test_a_full_disk_of_the_archive_costs_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_writing(monkeypatch, ["blobs"])
    with platform(tmp_path, us=PRICES_OF, kr=("005930.KS",)) as p:
        p.run("us_price", "2026-03-18")
        assert p.read("us/prices")["symbol"].tolist() == list(PRICES_OF)
        told = str(metadata(p)["raw_answers"])
    assert "are not kept" in told
    assert "No space left on device" in told


def test_an_archive_that_is_no_directory_costs_no_row(tmp_path: Path) -> None:
    with platform(tmp_path, us=PRICES_OF, kr=("005930.KS",)) as p:
        p.settings.raw_dir.parent.mkdir(parents=True, exist_ok=True)
        p.settings.raw_dir.write_text("a file")
        p.run("us_price", "2026-03-18")
        assert p.read("us/prices")["symbol"].tolist() == list(PRICES_OF)
        assert "are not kept" in str(metadata(p)["raw_answers"])


def test_a_retention_of_no_days_keeps_nothing(tmp_path: Path) -> None:
    with platform(tmp_path, us=PRICES_OF, kr=("005930.KS",), QUANT_RAW_RETENTION_DAYS=0) as p:
        p.run("us_price", "2026-03-18")
        assert p.read("us/prices")["symbol"].tolist() == list(PRICES_OF)
        assert not p.settings.raw_dir.exists()
        assert "raw_answers" not in metadata(p)


def test_a_damaged_quarantine_file_does_not_stop_prices(priced: Platform) -> None:
    """Neither of the session itself nor of one that the rules remember."""
    quarantine = Quarantine(priced.store, ASSET)
    for day in quarantine.partitions():
        priced.store.path(f"quarantine/{ASSET}", day).write_bytes(b"damaged")
    result = priced.run("us_price", "2026-03-19")
    assert priced.read("us/prices", "2026-03-19")["symbol"].tolist() == ["AAPL", "MSFT"]
    assert quarantine.held(["2026-03-19"])["rule"].tolist() == ["damaged_file", "unit_error"]
    quality = next(e for e in result.get_asset_check_evaluations() if e.check_name == "quality")
    assert "damaged_file" in str(quality.metadata["first"].value)
