"""A month of both markets from vendors that fail at random ends like one from vendors that do not.

One request in five fails or lies. What was asked in vain is asked again, by the client, by the
step's retry policy, and at last by running the job again, as a person or a schedule would.
"""

from pathlib import Path

import pytest

from quant_assets.assets import macro, news, prices
from quant_assets.io_managers.quarantine import Quarantine
from quant_assets.policies import VENDOR_RETRY
from quant_assets.sandbox.faults import Fault
from quant_assets_tests.platform import Platform, platform

MONTH = ("2026-02-17", "2026-03-19")
JOBS = {
    "us_price": MONTH,
    "kr_price": MONTH,
    "macro_sync": MONTH,
    "news_crawl": ("2026-02-17-00", "2026-03-20-02"),
}
STORED = ("us/prices", "kr/prices", "macro/observations", "news/articles")
MOST_RUNS = 40
SHARE = 0.2
QUICK = {
    "QUANT_VENDOR_TIMEOUT_SECONDS": 1.0,
    "QUANT_VENDOR_BACKOFF_SECONDS": 0.01,
}
FAILURES = ("500", "429", "reset", "truncated", "malformed")
LIES = ("zero_rows", "null_row", "late", "duplicate", "wrong_units", "holiday_row")


def test_chaos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (prices, macro, news):
        monkeypatch.setattr(module, "VENDOR_RETRY", VENDOR_RETRY._replace(delay=0.01))
    with platform(tmp_path / "clean", **QUICK) as p:
        for job, span in JOBS.items():
            assert runs_until_complete(p, job, span) == 1
        clean = p.files(*STORED)
    with platform(tmp_path / "chaos", **QUICK) as p:
        add_faults(p)
        runs = {job: runs_until_complete(p, job, span) for job, span in JOBS.items()}
        hits = {(f.endpoint, f.kind): f.hits for f in p.sandbox.faults.all()}
        chaos = p.files(*STORED)
        left = {asset: Quarantine(p.store, asset).partitions() for asset in STORED}
    assert sum(hits.values()) > 100
    assert all(
        sum(n for (at, _), n in hits.items() if at == endpoint) > 3
        for endpoint in ("yahoo.chart", "fred", "alpha_vantage", "rss")
    ), hits
    assert sum(runs.values()) > len(JOBS), "no job had to run twice"
    assert sorted(chaos) == sorted(clean)
    assert [name for name in clean if chaos[name] != clean[name]] == []
    assert not any(left.values()), left


def add_faults(p: Platform) -> None:
    """A fifth of all requests, in equal parts."""
    for endpoint in ("yahoo.chart", "fred", "alpha_vantage", "rss"):
        lies = LIES if endpoint == "yahoo.chart" else ()
        each = SHARE / (len(FAILURES) + len(lies))
        for kind in FAILURES:
            options = {"code": int(kind)} if kind.isdigit() else {}
            name = "status" if kind.isdigit() else kind
            p.sandbox.faults.add(Fault(endpoint, name, probability=each, **options))
        for kind in lies:
            options = {"rows": 1} if kind == "wrong_units" else {}
            p.sandbox.faults.add(
                Fault(endpoint, kind, probability=each, history_only=True, **options)
            )


def runs_until_complete(p: Platform, job: str, span: tuple[str, str]) -> int:
    """How often ``job`` ran until it succeeded and no check of it complained."""
    for number in range(1, MOST_RUNS + 1):
        result = p.run(job, *span, check=False)
        evaluations = result.get_asset_check_evaluations()
        if result.success and all(evaluation.passed for evaluation in evaluations):
            return number
    pytest.fail(f"{job} was not complete after {MOST_RUNS} runs")
