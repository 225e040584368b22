"""Results as folders: whole or not at all, and how long they are kept."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from quant_assets.errors import BadDataError
from quant_assets.housekeeping.files import leftovers, old_reports
from quant_assets.io_managers.results import FACTS, PAGE, newest_result, write_results

TABLE = pd.DataFrame({"a": [1.5, 2.5]})


def beside(folder: Path) -> list[Path]:
    """What else lies there, but the lock."""
    return [path for path in folder.parent.iterdir() if path.name not in (folder.name, ".lock")]


def test_a_result_is_written_and_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "us" / "book" / "2026-03-19"
    write_results(folder, {"figures": TABLE, "grid": TABLE}, "<p>first", {"n": 1})
    assert sorted(path.name for path in folder.iterdir()) == [
        FACTS, "figures.parquet", "grid.parquet", PAGE,
    ]  # fmt: skip
    write_results(folder, {"figures": TABLE * 2}, None, {"n": 2})
    assert sorted(path.name for path in folder.iterdir()) == [FACTS, "figures.parquet"]
    assert json.loads((folder / FACTS).read_text()) == {"n": 2}
    assert pd.read_parquet(folder / "figures.parquet")["a"].tolist() == [3.0, 5.0]
    assert beside(folder) == [], "nothing is left over"


def test_a_disk_that_refuses_leaves_the_old_result(tmp_path: Path) -> None:
    folder = tmp_path / "book" / "2026-03-19"
    write_results(folder, {"figures": TABLE}, "page", {"n": 1})
    with pytest.raises(BadDataError, match=r"could not be written to .*2026-03-19: .*free space"):
        write_results(folder, {"no/such/place": TABLE}, "page", {"n": 2})
    assert json.loads((folder / FACTS).read_text()) == {"n": 1}
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(BadDataError, match="could not be written"):
        write_results(file / "book", {}, None, {})


def test_a_killed_writer_leaves_the_old_result_and_what_housekeeping_knows(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "us" / "book" / "2026-03-19"
    write_results(folder, {"figures": TABLE}, "page", {"n": 1})
    code = f"""
import os, pathlib, pandas as pd
from quant_assets.io_managers import results
pd.DataFrame.to_parquet = lambda *_, **__: os.kill(os.getpid(), 9)
results.write_results(pathlib.Path({str(folder)!r}), {{"figures": pd.DataFrame()}}, "x", {{}})
"""
    killed = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    assert killed.returncode == -9
    assert json.loads((folder / FACTS).read_text()) == {"n": 1}
    (left,) = beside(folder)
    day = left.stat().st_mtime + 86_400
    assert list(leftovers([tmp_path], tmp_path, day)) == [left]
    assert newest_result(folder.parent) == folder


def test_a_writer_killed_between_the_renames_loses_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "book" / "2026-03-19"
    write_results(folder, {"figures": TABLE}, "page", {"n": 1})
    code = f"""
import os, pathlib
from quant_assets.io_managers import results
rename = pathlib.Path.replace
def once(path, to):
    rename(path, to)
    os.kill(os.getpid(), 9)
pathlib.Path.replace = once
results.write_results(pathlib.Path({str(folder)!r}), {{}}, "x", {{"n": 2}})
"""
    killed = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    assert killed.returncode == -9
    assert not folder.exists()
    assert newest_result(folder.parent) == folder
    assert json.loads((folder / FACTS).read_text()) == {"n": 1}


def test_a_swap_that_fails_leaves_the_old_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "book" / "2026-03-19"
    write_results(folder, {"figures": TABLE}, "page", {"n": 1})
    rename = Path.replace

    def refused(path: Path, to: Path) -> Path:
        if ".new." in path.name:
            raise OSError(28, "No space left on device")
        return rename(path, to)

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(BadDataError, match="could not be written"):
        write_results(folder, {"figures": TABLE}, "page", {"n": 2})
    assert json.loads((folder / FACTS).read_text()) == {"n": 1}
    assert beside(folder) == []


def test_writers_of_one_name_do_not_disturb_each_other(tmp_path: Path) -> None:
    folder = tmp_path / "backtests" / "same"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: write_results(folder, {}, "page", {"n": n}), range(60)))
    assert json.loads((folder / FACTS).read_text())["n"] in range(60)
    assert beside(folder) == []


def test_old_reports_of_the_book_go_but_the_last_and_those_of_backtests(tmp_path: Path) -> None:
    for name in ("us/book/2026-01-02", "us/book/2026-02-02", "kr/book/2026-01-05"):
        write_results(tmp_path / "results" / name, {}, "page", {})
    write_results(tmp_path / "results/us/backtests/2026-01-02", {}, "page", {})
    for path in (tmp_path / "results").glob("*/*/*"):
        os.utime(path, (1_000_000, 1_000_000))
    found = list(old_reports(tmp_path, 2_000_000.0))
    assert found == [tmp_path / "results" / "us" / "book" / "2026-01-02"]
    assert list(old_reports(tmp_path, 500_000.0)) == []
