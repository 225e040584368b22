"""A month of both markets from vendors that fail at random ends like one from vendors that do not.

One request in five fails or lies. What was asked in vain is asked again, by the client, by the
step's retry policy, and at last by running the job again, as a person or a schedule would.
"""

from collections import Counter
from pathlib import Path

import pytest

from quant_assets.assets import macro, news, prices
from quant_assets.io_managers.quarantine import Quarantine
from quant_assets.policies import VENDOR_RETRY
from quant_assets.sandbox.faults import Fault
from quant_assets_tests.platform import Platform, platform

WEEKS = (
    ("2026-02-19", "2026-02-26"),
    ("2026-02-27", "2026-03-05"),
    ("2026-03-06", "2026-03-12"),
    ("2026-03-13", "2026-03-19"),
)
"""Of the news the last day of each: their hours would take longer than all the rest."""
RUNS = [
    *((job, week) for job in ("us_price", "kr_price", "macro_sync") for week in WEEKS),
    *(("news_crawl", (f"{last}-00", f"{last}-23")) for _, last in WEEKS),
    ("news_crawl", ("2026-03-20-00", "2026-03-20-02")),
]
US = ("AAPL", "MSFT", "NVDA", "JPM", "XOM", "KO", "GE", "WMT", "DIS", "BA")
KR = ("005930.KS", "000660.KS", "035420.KS", "005380.KS", "051910.KS")
STORED = ("us/prices", "kr/prices", "macro/observations", "news/articles")
MOST_RUNS = 40
SHARE = 0.2
QUICK = {
    "QUANT_VENDOR_TIMEOUT_SECONDS": 1.0,
    "QUANT_VENDOR_BACKOFF_SECONDS": 0.01,
    "QUANT_YAHOO_WORKERS": 1,
}
FAILURES = ("500", "429", "reset", "truncated", "malformed")
LIES = ("zero_rows", "null_row", "late", "duplicate", "wrong_units", "holiday_row")


def test_chaos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (prices, macro, news):
        monkeypatch.setattr(module, "VENDOR_RETRY", VENDOR_RETRY._replace(delay=0.01))
    with platform(tmp_path / "clean", us=US, kr=KR, **QUICK) as p:
        for job, span in RUNS:
            assert runs_until_complete(p, job, span) == 1
        clean = p.files(*STORED)
    with platform(tmp_path / "chaos", us=US, kr=KR, **QUICK) as p:
        add_faults(p)
        count = sum(runs_until_complete(p, job, span) for job, span in RUNS)
        hits = Counter[str]()
        for fault in p.sandbox.faults.all():
            hits[fault.endpoint] += fault.hits
        chaos = p.files(*STORED)
        left = {asset: Quarantine(p.store, asset).partitions() for asset in STORED}
    assert hits.total() > 60, hits
    assert min(hits["yahoo.chart"], hits["fred"], hits["alpha_vantage"]) > 3, hits
    assert count > len(RUNS), "nothing had to run twice"
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
