"""FRED's row of the fault matrix: each fault, through whole runs of ``macro_sync``.

2026-03-06 is a first Friday: DGS10 and UNRATE have one new value each, PAYEMS a new one and
revisions, ICSA (Thursdays) nothing. A fault must end in the expected typed outcome after the
expected number of requests, lose no good row, and be visible.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import pandas as pd
import pytest

from quant_assets import policies
from quant_assets.assets import macro
from quant_assets.sandbox.faults import Fault
from quant_assets.sandbox.server import Sandbox
from quant_assets.settings import Settings
from quant_assets.vendors import http
from quant_assets_tests.platform import NOW, Platform, failure, platform

DAY = "2026-03-06"
SERIES = ("DGS10", "UNRATE", "PAYEMS", "ICSA")
ASSET = "macro/observations"
CLEAN_REQUESTS = 4 + 3 * 2
"""The vintages of four series, and two requests for each of the three with a release."""


class Case(NamedTuple):
    """A fault, and the requests of a run in which it hits every request or only UNRATE's."""

    name: str
    kind: str
    options: dict[str, Any]
    outcome: str
    requests: int
    requests_one: int


# A transport fault costs the client four requests a series; a body that cannot be read costs one,
# an empty answer two. The first two attempts end at the first series, the last asks three and then
# no more. With one bad series the three attempts ask DGS10 (3 requests) and it; the last also the
# others (4).
OUTAGE, BODY, NOTHING = 2 * 4 + 3 * 4, 2 * 1 + 3 * 1, 2 * 2 + 3 * 2
CASES = (
    Case("429", "status", {"code": 429, "body": "json"}, "TransientError", OUTAGE, 3 * 7 + 4),
    Case("429 with Retry-After", "status", {"code": 429, "retry_after": 1}, "TransientError",
         OUTAGE, 3 * 7 + 4),
    Case("401", "status", {"code": 401}, "KeyRefusedError", 1, CLEAN_REQUESTS - 2),
    Case("404", "status", {"code": 404}, "PermanentError", 4, CLEAN_REQUESTS - 2),
    Case("500 HTML", "status", {"code": 500}, "TransientError", OUTAGE, 3 * 7 + 4),
    Case("timeout", "delay", {"seconds": 0.6}, "TransientError", OUTAGE, 3 * 7 + 4),
    Case("connection reset", "reset", {}, "TransientError", OUTAGE, 3 * 7 + 4),
    Case("truncated body", "truncated", {}, "TransientError", BODY, 3 * 4 + 4),
    Case("no JSON", "malformed", {}, "TransientError", BODY, 3 * 4 + 4),
    Case("wrong types", "malformed", {"wrong_types": True}, "TransientError", BODY, 3 * 4 + 4),
    Case("empty answer", "empty", {}, "TransientError", NOTHING, 3 * 5 + 4),
    Case("empty body", "empty", {"body": True}, "TransientError", BODY, 3 * 4 + 4),
)  # fmt: skip
cases = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


@pytest.fixture(scope="module")
def running() -> Sandbox:
    return Sandbox(now=lambda: NOW)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits of the client and of the step, not their number."""
    short = functools.partial(_session, http.build_session)
    monkeypatch.setattr(http, "build_session", short)
    monkeypatch.setattr(macro, "VENDOR_RETRY", policies.VENDOR_RETRY._replace(delay=0.01))
    monkeypatch.setattr(policies, "LONGEST_WAIT_SECONDS", 0.01)


def _session(build: Any, **options: Any) -> Any:
    return build(**{**options, "backoff_seconds": 0.001, "retry_after_max_seconds": 0})


@pytest.fixture
def run(tmp_path: Path, running: Sandbox, request: pytest.FixtureRequest) -> Iterator[Platform]:
    """A platform; its patience is short only where the fault is a slow vendor."""
    case = getattr(request.node, "callspec", None) and request.node.callspec.params.get("case")
    is_slow = isinstance(case, Case) and case.kind == "delay"
    with fresh(tmp_path, running, QUANT_VENDOR_TIMEOUT_SECONDS=0.3 if is_slow else 10) as p:
        yield p


@contextmanager
def fresh(home: Path, sandbox: Sandbox, **variables: Any) -> Iterator[Platform]:
    """A platform with the four series and a sandbox without faults."""
    home.mkdir(exist_ok=True)
    series = home / "series.csv"
    rows = "".join(f"{name},{name},units,daily,\n" for name in SERIES)
    series.write_text(f"series_id,name,units,frequency,publication_lag_days\n{rows}")
    sandbox.faults.clear()
    sandbox.requests.clear()
    with platform(home, sandbox=sandbox, QUANT_MACRO_SERIES=str(series), **variables) as p:
        yield p


@pytest.fixture(scope="module")
def clean(running: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """What an undisturbed run stores."""
    home = tmp_path_factory.mktemp("clean")
    with fresh(home, running) as p:
        p.run("macro_sync", DAY)
        assert p.sandbox.requests.count(endpoint="fred") == CLEAN_REQUESTS
        frame = p.read(ASSET)
    assert frame.groupby("series_id").size().to_dict() == {"DGS10": 1, "PAYEMS": 3, "UNRATE": 1}
    return frame


def outcome(result: dg.ExecuteInProcessResult) -> str:
    """``stored``, or the type of the error that ended the step."""
    failed = [event for event in result.all_events if event.is_step_failure]
    if not failed:
        return "stored"
    data = failed[0].step_failure_data
    if data.user_failure_data is not None:
        return str(data.user_failure_data.metadata["error_type"].value)
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return str(error.cls_name if error is not None else None)


def held(p: Platform) -> list[tuple[str, str]]:
    """(rule, item) of the quarantined rows."""
    from quant_assets.io_managers.quarantine import Quarantine

    quarantine = Quarantine(p.store, ASSET)
    frame = quarantine.held(quarantine.partitions())
    return list(frame[["rule", "item"]].itertuples(index=False, name=None))


def quality(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    return next(e for e in result.get_asset_check_evaluations() if e.check_name == "quality")


@cases
def test_a_fault_of_every_request(run: Platform, clean: pd.DataFrame, case: Case) -> None:
    """While it lasts nothing is stored; when two bad answers are left the run gets everything.

    The client or the step asks again, but not after a refusal (401, 404), which is final.
    """
    fault = run.sandbox.faults.add(Fault("fred", case.kind, **case.options))
    result = run.run("macro_sync", DAY, check=False)
    assert outcome(result) == case.outcome, failure(result)
    assert fault.hits == case.requests
    assert run.files(ASSET) == {}
    assert held(run) == []
    run.sandbox.faults.clear()
    is_final = case.name in ("401", "404")
    rest = None if is_final else Fault("fred", case.kind, times=2, **case.options)
    if rest is not None:
        run.sandbox.faults.add(rest)
    assert quality(run.run("macro_sync", DAY)).passed
    assert rest is None or rest.hits == 2
    pd.testing.assert_frame_equal(run.read(ASSET), clean)


@cases
def test_a_fault_of_one_series(run: Platform, clean: pd.DataFrame, case: Case) -> None:
    fault = run.sandbox.faults.add(Fault("fred", case.kind, series=["UNRATE"], **case.options))
    result = run.run("macro_sync", DAY)
    asked = [entry for entry in run.sandbox.requests if entry.subject != "UNRATE"]
    assert len(asked) + fault.hits == case.requests_one
    others = clean[clean["series_id"] != "UNRATE"].reset_index(drop=True)
    pd.testing.assert_frame_equal(run.read(ASSET), others)
    assert held(run) == [("series_failed", f"UNRATE {DAY} .. {DAY}")]
    check = quality(result)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "UNRATE" in str(check.metadata["first"].value)
    run.sandbox.faults.clear()
    assert quality(run.run("macro_sync", DAY)).passed
    pd.testing.assert_frame_equal(run.read(ASSET), clean)
    assert held(run) == []


def test_a_series_that_is_not_found_for_a_moment_is_named(
    run: Platform, clean: pd.DataFrame
) -> None:
    """A refusal is not asked again: the two series that it hits are missing until the next run."""
    run.sandbox.faults.add(Fault("fred", "status", code=404, times=2))
    result = run.run("macro_sync", DAY)
    gaps = [("series_failed", f"{name} {DAY} .. {DAY}") for name in ("DGS10", "UNRATE")]
    assert held(run) == gaps
    assert set(run.read(ASSET)["series_id"]) == {"PAYEMS"}
    assert not quality(result).passed
    run.run("macro_sync", DAY)
    pd.testing.assert_frame_equal(run.read(ASSET), clean)


def test_a_wrong_key_ends_the_run_at_the_first_request(
    run: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FRED answers 400 with an error in the body."""
    monkeypatch.setattr(Settings, "fred_key", lambda self: "UPPERCASE-AND-SHORT")
    result = run.run("macro_sync", DAY, check=False)
    assert outcome(result) == "KeyRefusedError"
    assert "check FRED_API_KEY" in failure(result)
    assert "UPPERCASE-AND-SHORT" not in failure(result)
    assert run.sandbox.requests.count(endpoint="fred", status=400) == 1
    assert run.sandbox.requests.count(endpoint="fred") == 1
    assert run.files(ASSET) == {}


@pytest.mark.parametrize(("options", "asked"), [({}, 2), ({"code": 500}, 4)])
def test_half_of_the_series(
    run: Platform, clean: pd.DataFrame, options: dict[str, Any], asked: int
) -> None:
    """The second and the fourth: three attempts, in the last one the others are stored."""
    run.sandbox.faults.add(Fault("fred", "half", **options))
    result = run.run("macro_sync", DAY)
    assert run.sandbox.requests.count(endpoint="fred") == 3 * (3 + asked) + 3 + asked
    stored = clean[clean["series_id"].isin(["DGS10", "PAYEMS"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(run.read(ASSET), stored)
    assert [item.split()[0] for _, item in held(run)] == ["ICSA", "UNRATE"]
    assert quality(result).severity == dg.AssetCheckSeverity.ERROR
    run.sandbox.faults.clear()
    run.run("macro_sync", DAY)
    pd.testing.assert_frame_equal(run.read(ASSET), clean)
    assert held(run) == []


def test_a_doubled_observation_is_stored_once(run: Platform, clean: pd.DataFrame) -> None:
    run.sandbox.faults.add(Fault("fred", "duplicate"))
    assert quality(run.run("macro_sync", DAY)).passed
    assert run.sandbox.requests.count(endpoint="fred") == CLEAN_REQUESTS
    pd.testing.assert_frame_equal(run.read(ASSET), clean)


def test_a_value_that_changes_within_its_day_replaces_the_old_one_and_is_told(
    run: Platform, clean: pd.DataFrame
) -> None:
    run.run("macro_sync", DAY)
    run.sandbox.faults.add(Fault("fred", "revised", series=["UNRATE"], factor=1.02))
    run.run("macro_sync", DAY)
    before, after = clean.set_index("series_id")["value"], run.read(ASSET)
    assert len(after) == len(clean)
    value = after.set_index("series_id")["value"]
    assert value["UNRATE"] == pytest.approx(1.02 * before["UNRATE"], rel=1e-4)
    assert value["DGS10"] == before["DGS10"]
    event = run.instance.get_latest_materialization_event(dg.AssetKey(ASSET.split("/")))
    assert event is not None
    assert event.asset_materialization is not None
    facts = event.asset_materialization.metadata
    assert facts["values_changed"].value == 1
    assert "UNRATE" in str(facts["changed"].value)


def test_values_in_another_unit_are_held_and_a_good_answer_settles_them(
    run: Platform, clean: pd.DataFrame
) -> None:
    """The vendor's whole history is a hundred times off: only what is stored can tell."""
    run.run("macro_sync", "2026-02-20", "2026-03-05")
    run.sandbox.faults.add(Fault("fred", "revised", series=["DGS10"], factor=100.0))
    result = run.run("macro_sync", DAY)
    assert held(run) == [("unit_error", "DGS10 2026-03-05")]
    others = clean[clean["series_id"] != "DGS10"].reset_index(drop=True)
    pd.testing.assert_frame_equal(run.read(ASSET, DAY), others)
    check = quality(result)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "times the usual size" in str(check.metadata["first"].value)
    run.sandbox.faults.clear()
    assert quality(run.run("macro_sync", DAY)).passed
    pd.testing.assert_frame_equal(run.read(ASSET, DAY), clean)
    assert held(run) == []


def test_a_released_value_is_accepted_the_next_time(run: Platform) -> None:
    from quant_assets.io_managers.quarantine import Quarantine

    run.run("macro_sync", "2026-02-20", "2026-03-05")
    run.sandbox.faults.add(Fault("fred", "revised", series=["DGS10"], factor=100.0))
    run.run("macro_sync", DAY)
    Quarantine(run.store, ASSET).release(DAY, ["DGS10 2026-03-05"], "1")
    released = run.read(ASSET, DAY)
    assert "DGS10" in set(released["series_id"])
    assert quality(run.run("macro_sync", DAY)).passed
    pd.testing.assert_frame_equal(run.read(ASSET, DAY), released)


def test_kept_answers_make_the_same_partition_without_fred(
    run: Platform, clean: pd.DataFrame
) -> None:
    from quant_assets.naming import TAG_PARTITION, TAG_REBUILD

    run.run("macro_sync", "2026-03-04", DAY)
    stored = run.files(ASSET)
    run.store.delete(ASSET, [DAY])
    run.sandbox.requests.clear()
    result = run.defs.resolve_job_def("macro_sync").execute_in_process(
        instance=run.instance,
        tags={TAG_PARTITION: DAY, TAG_REBUILD: "1"},
        partition_key=DAY,
        raise_on_error=False,
    )
    assert result.success, failure(result)
    assert run.sandbox.requests.count() == 0
    assert run.files(ASSET) == stored
    pd.testing.assert_frame_equal(run.read(ASSET, DAY), clean)
