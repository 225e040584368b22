"""A run in a process of its own, without a daemon. What belongs here: what that process does.

``python -m quant_assets_tests.dagster.slack_process <job> <partition> [again <run id>]``; with
``QUANT_TEST_MULTIPROCESS`` each step has a process too. The instance is that of ``DAGSTER_HOME``.
"""

import os
import sys

import dagster as dg

from quant_assets.definitions import build_defs
from quant_assets.naming import TAG_PARTITION
from quant_assets.settings import settings


def job() -> dg.JobDefinition:
    defs = build_defs(settings())
    if os.environ.get("QUANT_TEST_MULTIPROCESS"):
        defs = dg.Definitions(
            assets=defs.assets,
            asset_checks=defs.asset_checks,
            jobs=defs.jobs,
            resources=defs.resources,
            executor=dg.multiprocess_executor,
        )
    return defs.resolve_job_def(os.environ["QUANT_TEST_JOB"])


def main(name: str, partition: str, *again: str) -> None:
    os.environ["QUANT_TEST_JOB"] = name
    with dg.DagsterInstance.get() as instance:
        options = None
        if again:
            options = dg.ReexecutionOptions.from_failure(again[1], instance)
        with dg.execute_job(
            dg.reconstructable(job),
            instance=instance,
            tags={TAG_PARTITION: partition},
            reexecution_options=options,
        ) as result:
            sys.stdout.write(f"{result.run_id} {result.success}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
