"""The day's calls: counted over processes that run at once, are killed, or find a broken count."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from quant_assets.errors import QuotaExhaustedError
from quant_assets.vendors.daily_quota import DailyQuota

NOON = datetime(2026, 3, 20, 16, 0, tzinfo=UTC)
SPENDER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from quant_assets.errors import QuotaExhaustedError
from quant_assets.vendors.daily_quota import DailyQuota
noon = datetime(2026, 3, 20, 16, tzinfo=UTC)
quota = DailyQuota(Path(sys.argv[1]), int(sys.argv[2]), lambda: noon)
with open(sys.argv[3], "a", buffering=1) as calls:
    while True:
        try:
            quota.spend()
        except QuotaExhaustedError:
            break
        calls.write("call\\n")
"""


def quota(path: Path, limit: int = 3, now: datetime = NOON) -> DailyQuota:
    return DailyQuota(path / "cache" / "quota.json", limit, lambda: now)


def spent(one: DailyQuota) -> int:
    """How many calls ``one`` allows until it refuses."""
    for count in range(1_000):
        try:
            one.spend()
        except QuotaExhaustedError:
            return count
    raise AssertionError("calls without an end")


def test_calls_are_counted_in_the_file(tmp_path: Path) -> None:
    quota(tmp_path).spend()
    assert quota(tmp_path).left() == 2
    assert spent(quota(tmp_path)) == 2
    assert quota(tmp_path).left() == 0
    with pytest.raises(QuotaExhaustedError, match=r"all 3 are spent.*2026-03-21 04:00 UTC"):
        quota(tmp_path).spend()
    assert quota(tmp_path, limit=5).left() == 2, "a larger plan gives the difference"


@pytest.mark.parametrize(
    ("last", "first"),
    [
        (datetime(2026, 1, 20, 4, 59, tzinfo=UTC), datetime(2026, 1, 20, 5, 0, tzinfo=UTC)),
        (datetime(2026, 7, 20, 3, 59, tzinfo=UTC), datetime(2026, 7, 20, 4, 0, tzinfo=UTC)),
    ],
)
def test_the_day_begins_at_midnight_in_new_york(
    tmp_path: Path, last: datetime, first: datetime
) -> None:
    before = quota(tmp_path, now=last)
    assert before.resets_at() == first
    assert spent(before) == 3
    assert quota(tmp_path, now=first).left() == 3
    assert quota(tmp_path, now=first).resets_at() == first + timedelta(days=1)


def test_a_clock_that_was_set_back_gives_no_calls(tmp_path: Path) -> None:
    assert spent(quota(tmp_path)) == 3
    assert spent(quota(tmp_path, now=NOON - timedelta(days=2))) == 0


def test_the_vendor_s_refusal_ends_the_day(tmp_path: Path) -> None:
    quota(tmp_path).exhaust()
    assert quota(tmp_path).left() == 0
    with pytest.raises(QuotaExhaustedError, match="the vendor refused more"):
        quota(tmp_path).spend()
    assert spent(quota(tmp_path, now=NOON + timedelta(days=1))) == 3


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"day": "2026-03-20"}',
        b'{"day": "today", "spent": 0, "is_exhausted": false}',
        b'{"day": "2026-03-20", "spent": "many", "is_exhausted": false}',
    ],
)
def test_a_damaged_count_allows_nothing_today_and_all_tomorrow(
    tmp_path: Path, content: bytes
) -> None:
    quota(tmp_path).spend()
    (tmp_path / "cache" / "quota.json").write_bytes(content)
    assert quota(tmp_path).left() == 0
    assert spent(quota(tmp_path)) == 0
    assert spent(quota(tmp_path, now=NOON + timedelta(days=1))) == 3


def test_a_count_that_cannot_be_written_allows_nothing(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a directory is due")
    assert quota(tmp_path).left() == 0
    with pytest.raises(QuotaExhaustedError, match="cannot be counted in"):
        quota(tmp_path).spend()


def test_processes_at_once_share_the_day(tmp_path: Path) -> None:
    limit = 60
    path, calls = tmp_path / "quota.json", tmp_path / "calls"
    arguments = [sys.executable, "-c", SPENDER, str(path), str(limit), str(calls)]
    running = [subprocess.Popen(arguments) for _ in range(4)]
    assert [process.wait(timeout=600) for process in running] == [0] * 4
    assert len(calls.read_text().splitlines()) == limit
    assert json.loads(path.read_bytes())["spent"] == limit


def test_killed_processes_never_spend_more_than_the_day_has(tmp_path: Path) -> None:
    limit = 100_000
    path, calls = tmp_path / "quota.json", tmp_path / "calls"
    arguments = [sys.executable, "-c", SPENDER, str(path), str(limit), str(calls)]
    for reached in (20, 60, 100):
        process = subprocess.Popen(arguments)
        for _ in range(6_000):
            if calls.exists() and calls.stat().st_size >= reached * len("call\n"):
                break
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=600)
    made = len(calls.read_text().splitlines())
    assert made >= 100
    counted = json.loads(path.read_bytes())["spent"]
    assert made <= counted <= made + 3, "at most one call a kill is counted and not made"
    assert DailyQuota(path, counted + 1, lambda: NOON).left() == 1
