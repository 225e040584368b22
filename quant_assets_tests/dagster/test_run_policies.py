"""How often a step is tried and how long a run may take, by the policies of the definitions."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from quant_assets import errors
from quant_assets.cli.execute import failure_reason
from quant_assets.definitions import build_defs
from quant_assets.jobs import NAMED_JOBS, NamedJob
from quant_assets.naming import TAG_MAX_RUNTIME, TAG_TIME_LIMIT
from quant_assets.policies import (
    ANALYSIS_LIMIT,
    OTHER_LIMIT,
    PRICE_LIMIT,
    VENDOR_RETRY,
    typed_failures,
)
from quant_assets.settings import Settings
from quant_assets_tests.platform import platform

SOURCES = {"yahoo", "fred", "alpha_vantage", "rss", "kafka"}
DAYS = ("2026-03-16", "2026-03-17", "2026-03-18")


def test_every_step_that_asks_somebody_is_tried_three_times_and_no_other() -> None:
    defs = build_defs(Settings())
    specs = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
    asking = {
        name for name, spec in specs.items() if SOURCES & set(spec.kinds) and spec.code_version
    }
    vendors = {"us/prices", "kr/prices", "macro/observations", "news/articles"}
    assert asking == vendors | {"news/streamed_articles"}
    policies = {
        node.name.replace("__", "/"): node.definition.retry_policy
        for job in defs.resolve_all_job_defs()
        if not job.name.startswith("__")
        for node in job.graph.nodes
    }
    assert {name for name, policy in policies.items() if policy == VENDOR_RETRY} == asking
    assert {policy for name, policy in policies.items() if name not in asking} == {None}
    assert VENDOR_RETRY.max_retries == 2
    assert VENDOR_RETRY.backoff is dg.Backoff.EXPONENTIAL
    assert VENDOR_RETRY.jitter is dg.Jitter.PLUS_MINUS


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (errors.TransientError("HTTP 503"), 3),
        (errors.TransientError("HTTP 429", retry_after_seconds=0.01), 3),
        (errors.PermanentError("unknown symbol"), 1),
        (errors.QuotaExhaustedError("none left"), 1),
        (errors.BadDataError("no rows"), 1),
        (errors.BadConfigurationError("no key"), 1),
    ],
)
def test_only_what_may_pass_is_tried_again(error: Exception, attempts: int) -> None:
    tried = []

    @dg.asset(retry_policy=VENDOR_RETRY._replace(delay=0.01))
    def asked() -> None:
        with typed_failures():
            tried.append(error)
            raise error

    assert not dg.materialize([asked], raise_on_error=False).success
    assert len(tried) == attempts


def max_runtime(instance: dg.DagsterInstance, run_id: str) -> str | None:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.tags.get(TAG_MAX_RUNTIME)


def test_a_range_is_granted_its_time_whoever_launches_it(tmp_path: Path) -> None:
    """A job's limit is that of one partition: a range of ten years would be ended as hanging."""
    with platform(tmp_path, us=["AAPL"]) as p:
        one = p.run("us_price", DAYS[0])
        assert max_runtime(p.instance, one.run_id) == str(PRICE_LIMIT.seconds(1)) == "1800"
        several = p.run("us_price", DAYS[0], DAYS[-1])
        assert max_runtime(p.instance, several.run_id) == str(PRICE_LIMIT.seconds(3)) == "1804"
        tags: dict[str, Any] = {
            "dagster/asset_partition_range_start": DAYS[0],
            "dagster/asset_partition_range_end": DAYS[-1],
        }
        job = p.defs.resolve_job_def("us_price")
        odd = job.execute_in_process(instance=p.instance, tags={**tags, TAG_TIME_LIMIT: "30 min"})
        assert odd.success
        assert max_runtime(p.instance, odd.run_id) == str(OTHER_LIMIT.seconds(3))
        given = job.execute_in_process(instance=p.instance, tags={**tags, TAG_MAX_RUNTIME: "77"})
        assert max_runtime(p.instance, given.run_id) == "77"
        by_hand = dg.materialize(
            [p.defs.resolve_assets_def(["us", "prices"])],
            instance=p.instance,
            tags=tags,
        )
        assert max_runtime(p.instance, by_hand.run_id) == str(OTHER_LIMIT.seconds(3))


@pytest.mark.parametrize("job", NAMED_JOBS.values(), ids=list(NAMED_JOBS))
def test_a_named_job_has_its_time_and_inputs_that_exist(job: NamedJob) -> None:
    assert 15 * 60 <= job.limit.seconds(1) <= 30 * 60
    assert job.limit.seconds(2500) > 2500
    assert job.limit.seconds(0) == job.limit.seconds(1)
    assert set(job.inputs) <= set(NAMED_JOBS)
    assert set(job.optional_inputs) <= {*NAMED_JOBS, "news_stream"}
    assert not set(job.inputs) & set(job.optional_inputs)


def test_prices_are_required_and_news_are_not() -> None:
    combined = NAMED_JOBS["kr_combined_analysis"]
    assert combined.inputs == ("kr_price",)
    assert {"news_crawl", "macro_sync"} <= set(combined.optional_inputs)
    assert combined.limit == ANALYSIS_LIMIT


@pytest.mark.parametrize(
    ("error", "said", "is_traced"),
    [
        (errors.BadDataError("no rows: see the calendar"), "asked: no rows: see the", False),
        (ZeroDivisionError("division by zero"), "asked: ZeroDivisionError: division by", True),
    ],
)
def test_an_error_that_nobody_meant_is_told_with_its_traceback(
    error: Exception, said: str, is_traced: bool
) -> None:
    """What a command says of a failed run: a sentence, and where it is needed the place."""

    @dg.asset
    def asked() -> None:
        with typed_failures():
            raise error

    reason, trace = failure_reason(dg.materialize([asked], raise_on_error=False))
    assert reason.startswith(said)
    assert ("test_run_policies.py" in trace) == is_traced
