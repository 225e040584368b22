"""A small home with everything stored, as operators have it. What belongs here: filling, copying.

Three sessions of two symbols, their news and macro values; one session was fetched twice.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import dagster as dg
import pytest

from quant_assets.cli import main
from quant_assets.settings import Settings, settings
from quant_assets_tests.platform import Platform, platform

US, KR = ("AAPL", "MSFT"), ("005930.KS",)
SESSIONS = ["2026-03-17", "2026-03-18", "2026-03-19"]
DAYS = ["2026-03-16", "2026-03-17", "2026-03-18", "2026-03-19"]
HOURS = ["2026-03-18-12", "2026-03-18-13", "2026-03-18-14"]
STORED = {
    **{f"us/{name}": SESSIONS for name in ("prices", "technical_indicators", "technical_score")},
    **{f"us/{name}": SESSIONS for name in ("news_sentiment", "recommendations")},
    "macro/observations": DAYS,
    "macro/regime": DAYS,
    "news/articles": HOURS,
    "news/article_sentiment": HOURS,
}


@contextmanager
def filled(home: Path) -> Iterator[Platform]:
    """A platform with ``STORED``, on an instance on the disk."""
    with platform(home, us=US, kr=KR, is_persistent=True) as p:
        p.run("us_price", SESSIONS[-1])
        for job, keys in (("us_price", SESSIONS), ("macro_sync", DAYS), ("news_crawl", HOURS)):
            p.run(job, keys[0], keys[-1])
        p.run("us_combined_analysis", SESSIONS[0], SESSIONS[-1])
        yield p


def copied(p: Platform, home: Path) -> tuple[Settings, dg.DagsterInstance]:
    """A home of one's own with the same content, and its instance."""
    shutil.copytree(p.settings.home_dir, home, symlinks=True)
    return settings_of(home), dg.DagsterInstance.from_config(str(home))


def settings_of(home: Path, **variables: object) -> Settings:
    return Settings(**{**_variables(home), **variables})


def _variables(home: Path) -> dict[str, str]:
    names = {"QUANT_US_UNIVERSE": US, "QUANT_KR_UNIVERSE": KR}
    return {"QUANT_HOME": str(home), **{name: ",".join(value) for name, value in names.items()}}


def quant(
    home: Path, capsys: pytest.CaptureFixture[str], *words: str, status: int = 0
) -> tuple[str, str]:
    """Output and errors of a command that starts no process, run in this one."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("QUANT_", "DAGSTER_"))}
    environment = {**kept, **_variables(home)}
    capsys.readouterr()
    with (
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch.object(sys, "argv", ["quant", *words]),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    settings.cache_clear()
    told = capsys.readouterr()
    assert ended.value.code == status, told
    return told.out, told.err
