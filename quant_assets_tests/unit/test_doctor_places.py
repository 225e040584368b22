"""What the doctor says of directories. Root may write anywhere: unwritable is below a file."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quant_assets.cli.doctor import places
from quant_assets.cli.instance import checkout, prepare
from quant_assets.errors import BadConfigurationError
from quant_assets.settings import Settings


def settings(home: Path, **variables: str) -> Settings:
    return Settings(QUANT_HOME=str(home), **variables)  # type: ignore[arg-type]


def test_a_prepared_home_is_in_order(tmp_path: Path) -> None:
    made = settings(tmp_path)
    prepare(made)
    for look in (
        places.home,
        places.data_root,
        places.raw_answers,
        places.owner,
        places.leftovers,
        places.instance_link,
    ):
        assert look(made).status == "ok", look(made)
    assert places.free_space(made).status in ("ok", "warn", "fail")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dagster.yaml"]


def test_a_home_that_is_not_there_yet(tmp_path: Path) -> None:
    made = settings(tmp_path / "deep" / "home")
    assert (places.home(made).status, places.home(made).remedy) == (
        "warn",
        "quant setup --profile sandbox",
    )
    assert places.data_root(made).status == "ok"
    assert places.instance_link(made).status == "warn"
    assert not (tmp_path / "deep").exists()


def test_directories_that_cannot_be(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    below = settings(file / "home")
    for look, name in ((places.home, "QUANT_HOME"), (places.data_root, "QUANT_DATA_ROOT")):
        finding = look(below)
        assert finding.status == "fail"
        assert f"{file} is no directory" in finding.what
        assert name in finding.remedy
    assert places.raw_answers(below).status == "fail"
    assert places.free_space(below).status in ("ok", "warn", "fail")
    assert places.leftovers(below).status == "ok"
    elsewhere = settings(tmp_path, QUANT_DATA_ROOT=str(file))
    assert places.home(elsewhere).status == "ok"
    assert places.data_root(elsewhere).status == "fail"


def test_a_file_system_that_refuses_to_be_written(tmp_path: Path) -> None:
    """/proc is a directory, and nobody can make a file there, root neither."""
    finding = places.data_root(settings(tmp_path, QUANT_DATA_ROOT="/proc/self"))
    assert finding.status == "fail"
    assert "not writable" in finding.what


def test_no_raw_answers_wanted(tmp_path: Path) -> None:
    found = places.raw_answers(settings(tmp_path, QUANT_RAW_RETENTION_DAYS="0"))
    assert found.status == "skip"


@pytest.mark.parametrize(
    ("free", "status"), [(100_000_000, "fail"), (1_000_000_000, "warn"), (10**12, "ok")]
)
def test_room_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, status: str
) -> None:
    usage = type("Usage", (), {"free": free})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    assert places.free_space(settings(tmp_path / "home")).status == status


def test_data_of_another_profile(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    marker = tmp_path / "data" / ".profile"
    marker.write_text("live\n")
    with pytest.raises(BadConfigurationError, match="of the profile 'live'"):
        places.owner(settings(tmp_path))
    marker.write_text("sandbox\n")
    assert places.owner(settings(tmp_path)).what == "the profile sandbox"


def test_files_of_killed_writers(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    folder = tmp_path / "data" / "us" / "prices"
    folder.mkdir(parents=True)
    old, before = time.time() - 7200, time.time() - 60
    for name, written in {
        f".2026-03-19.parquet.{ended.pid}.0a1b2c3d.tmp": old,
        f".2026-03-20.parquet.{ended.pid}.0a1b2c3d.tmp": before,
        ".odd.tmp": old,
        "2026-03-19.parquet": old,
        ".profile": old,
    }.items():
        (folder / name).write_bytes(b"12")
        os.utime(folder / name, (written, written))
    finding = places.leftovers(settings(tmp_path))
    assert finding.status == "warn"
    assert finding.what.startswith("1 left")
    assert f".2026-03-19.parquet.{ended.pid}.0a1b2c3d.tmp" in finding.what
    assert finding.remedy == "quant housekeeping"


@pytest.mark.parametrize(
    ("environment", "line", "status"),
    [
        ("", "{home}", "ok"),
        ("", "", "warn"),
        ("", "/somewhere/else", "warn"),
        ("", "relative", "fail"),
        ("{home}", "", "ok"),
        ("/somewhere/else", "{home}", "warn"),
    ],
)
def test_the_instance_of_plain_dagster_commands(
    tmp_path: Path, environment: str, line: str, status: str
) -> None:
    def holding(text: str) -> dict[str, str]:
        return {"DAGSTER_HOME": text.format(home=tmp_path)} if text else {}

    finding = places.dagster_home(settings(tmp_path), holding(environment), holding(line))
    assert finding.status == status
    assert bool(finding.remedy) == (status != "ok")


def test_a_linked_configuration_of_the_users_own_stays(tmp_path: Path) -> None:
    home, own = tmp_path / "home", tmp_path / "postgres.yaml"
    own.write_text("storage:\n  postgres: {}\n")
    home.mkdir()
    link = home / "dagster.yaml"
    link.symlink_to(own)
    prepare(settings(home))
    assert link.readlink() == own
    assert places.instance_link(settings(home)).status == "ok"
    own.unlink()
    prepare(settings(home))
    assert link.resolve() == (checkout() / "dagster.yaml").resolve(), "it led nowhere"
    assert [path.name for path in home.iterdir()] == ["dagster.yaml"]


def test_links_that_lead_astray(tmp_path: Path) -> None:
    made, link = settings(tmp_path), tmp_path / "dagster.yaml"
    link.symlink_to(tmp_path / "gone.yaml")
    assert places.instance_link(made).status == "fail"
    link.unlink()
    other = tmp_path / "other"
    other.mkdir()
    (other / "dagster.yaml").write_text("")
    (other / "workspace.yaml").write_text("")
    link.symlink_to(other / "dagster.yaml")
    assert places.instance_link(made).status == "warn"
    prepare(made)
    assert link.resolve() == (checkout() / "dagster.yaml").resolve()
    link.unlink()
    link.write_text("telemetry:\n  enabled: false\n")
    assert places.instance_link(made).status == "ok"
    link.unlink()
    link.symlink_to(checkout() / "dagster.yaml")
    assert places.instance_link(made).status == "ok"
