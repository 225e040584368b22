"""No key reaches a file, a log, an event or an error, whatever the vendors answer.

The key that the sandbox demands is the planted one: every request to FRED and Alpha Vantage
carries it, and the sandbox's errors echo it, as the vendors' do.
"""

import gzip
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from quant_assets.assets import macro, news, prices
from quant_assets.errors import QuantAssetsError
from quant_assets.policies import VENDOR_RETRY
from quant_assets.sandbox.faults import Fault
from quant_assets.sandbox.server import Sandbox
from quant_assets.settings import SANDBOX_KEY
from quant_assets.vendors.archive import RawArchive, Scope
from quant_assets.vendors.http import build_session
from quant_assets.vendors.rss import RssClient
from quant_assets_tests.platform import failure, platform

QUICK = {"QUANT_VENDOR_TIMEOUT_SECONDS": 0.7, "QUANT_VENDOR_BACKOFF_SECONDS": 0.01}
RUNS = {
    "us_price": "2026-03-19",
    "macro_sync": "2026-03-18",
    "news_crawl": "2026-03-20-02",
}
FAULTS = {
    "none": {},
    "refused": {"kind": "status", "code": 401},
    "server error": {"kind": "status", "code": 500, "body": "html"},
    "rate limit": {"kind": "status", "code": 429},
    "reset": {"kind": "reset"},
    "truncated": {"kind": "truncated"},
    "malformed": {"kind": "malformed"},
    "wrong types": {"kind": "malformed", "wrong_types": True},
    "timeout": {"kind": "delay", "seconds": 2, "times": 4},
    "quota": {"kind": "quota"},
    "rate": {"kind": "rate", "times": 2},
}


@pytest.mark.parametrize("name", FAULTS)
def test_no_key_is_left_anywhere(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    name: str,
) -> None:
    for module in (prices, macro, news):
        monkeypatch.setattr(module, "VENDOR_RETRY", VENDOR_RETRY._replace(delay=0.01))
    caplog.set_level(logging.DEBUG)
    for logger in ("urllib3", "requests", "yfinance", "peewee", "curl_cffi"):
        caplog.set_level(logging.DEBUG, logger=logger)
    told: list[str] = []
    with platform(tmp_path, **QUICK) as p:
        fault = dict(FAULTS[name])
        endpoints = ("alpha_vantage",) if name in ("quota", "rate") else ("fred", "alpha_vantage")
        if fault:
            kind = str(fault.pop("kind"))
            for endpoint in endpoints:
                p.sandbox.faults.add(Fault(endpoint, kind, **fault))
        for job, key in RUNS.items():
            result = p.run(job, key, check=False)
            told += [repr(event) for event in result.all_events]
            told.append(failure(result))
            told += [repr(entry) for entry in p.instance.all_logs(result.run_id)]
        asked = [entry.query for entry in p.sandbox.requests]
    assert any(SANDBOX_KEY in query.values() for query in asked), "the key was never sent"
    captured = capfd.readouterr()
    texts = {"events": "\n".join(told), "log": caplog.text, "out": captured.out + captured.err}
    texts |= {str(path): text for path, text in contents(tmp_path)}
    assert len(texts) > 10
    assert [where for where, text in texts.items() if SANDBOX_KEY in text] == []


def test_no_secret_of_a_feed_is_left_in_the_archive_or_an_error(tmp_path: Path) -> None:
    """A feed may carry a password or a token in its address."""
    password, token = "hunter2hunter2", "t0ps3cret"
    archive = RawArchive(tmp_path, [password])
    tape = archive.record(Scope("2026-03-20-02", "2026-03-20-02", datetime.now(UTC)))
    session = build_session(
        retries=0, backoff_seconds=0, timeout_seconds=2, user_agent="test", tape=tape
    )
    with Sandbox() as sandbox:
        host = sandbox.url.removeprefix("http://")
        feed = f"http://me:{password}@{host}/rss/markets.xml?token={token}"
        assert RssClient(session).fetch(feed).items
        sandbox.faults.add(Fault("rss", "status", code=403))
        with pytest.raises(QuantAssetsError) as caught:
            RssClient(session).fetch(feed)
    tape.save("news/articles")
    texts = {str(path): text for path, text in contents(tmp_path)} | {"error": str(caught.value)}
    assert len(texts) >= 3
    leaks = [where for where, text in texts.items() if password in text or token in text]
    assert leaks == []


def contents(root: Path) -> Iterator[tuple[Path, str]]:
    """Every file below ``root`` as text, compressed ones unpacked."""
    for path in sorted(root.rglob("*")):
        if not path.is_file():
            continue
        if path.suffix == ".gz":
            yield path, gzip.decompress(path.read_bytes()).decode("utf-8", "replace")
        elif path.suffix == ".parquet":
            yield path, pl.read_parquet(path).write_json()
        else:
            yield path, path.read_bytes().decode("latin-1")
