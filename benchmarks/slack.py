"""What Slack costs a run. What belongs here: measuring runs with and without Slack, alone.

A combined analysis of one session runs again and again, each time in a new process, which also
sees to its thread, as ``dagster job launch`` does where no daemon is there to do it. In turn: Slack
is not there; it answers; it answers every call with 429; with 500; it answers none within the
client's timeout. The time is that of the run from its start to its end, as Dagster stores it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.report import CHECKOUT, Measurement, print_measurements
from quant_assets.markets import MARKETS
from quant_assets.sandbox import locate

JOB = "us_combined_analysis"
OFF = "no Slack"
FAULTS: dict[str, dict[str, object] | None] = {
    OFF: None,
    "Slack answers": None,
    "429 for every call": {"endpoint": "slack", "kind": "status", "code": 429, "retry_after": 1},
    "500 for every call": {"endpoint": "slack", "kind": "status", "code": 500},
    "no answer within the timeout": {"endpoint": "slack", "kind": "delay", "seconds": 60},
}
CHILD = """
import sys
import dagster as dg
from quant_assets.definitions import defs

with dg.DagsterInstance.get() as instance:
    result = defs.resolve_job_def("us_combined_analysis").execute_in_process(
        instance=instance,
        partition_key=sys.argv[1],
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
    record = instance.get_run_record_by_id(result.run_id)
    print(record.end_time - record.start_time)
"""


def run_child(home: Path, session: str, *, has_slack: bool) -> float:
    """Seconds of a run in a new process; it sees the sandbox only if ``has_slack``."""
    record, hidden = home / locate.RECORD_NAME, home / "hidden"
    if not has_slack:
        record.rename(hidden)
    try:
        done = subprocess.run(
            [sys.executable, "-c", CHILD, session],
            env=environment(home),
            cwd=home,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    finally:
        if not has_slack:
            hidden.rename(record)
    return float(done.stdout)


def environment(home: Path) -> dict[str, str]:
    """Variables of a child."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("QUANT_", "KAFKA_"))}
    own = {"QUANT_HOME": str(home), "DAGSTER_HOME": str(home), "PYTHONPATH": str(CHECKOUT)}
    return {**kept, **own}


def set_fault(address: str, fault: dict[str, object] | None) -> None:
    """Let the sandbox's Slack fail in one way, or in none."""
    control = f"{address}/_sandbox/faults"
    urllib.request.urlopen(urllib.request.Request(control, method="DELETE")).close()
    if fault is not None:
        body = json.dumps(fault).encode()
        urllib.request.urlopen(urllib.request.Request(control, data=body, method="POST")).close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slack", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="runs of each kind")
    options = parser.parse_args()
    market = MARKETS["us"]
    session = market.last_complete_session(datetime.now(UTC)).isoformat()
    seconds: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="quant-slack-") as folder:
        home = Path(folder)
        (home / "dagster.yaml").write_text((CHECKOUT / "dagster.yaml").read_text("utf-8"), "utf-8")
        quant = str(Path(sys.executable).parent / "quant")
        fill = [quant, "run", "--market", "us", "--from", session]
        with locate.shared(home, seed=7, data_dir=None) as address:
            subprocess.run(fill, env=environment(home), cwd=home, check=True, capture_output=True)
            for _ in range(options.runs):
                for name, fault in FAULTS.items():
                    set_fault(address, fault)
                    seconds[name].append(run_child(home, session, has_slack=name != OFF))
    floor = statistics.median(seconds[OFF])
    print_measurements(
        f"{JOB} of one session, {options.runs} runs each",
        [
            Measurement(
                name,
                f"{statistics.median(times) * 1000:,.0f} ms",
                ratio=None if name == OFF else statistics.median(times) / floor,
                of="" if name == OFF else OFF,
                target=None if name == OFF else 1.02,
            )
            for name, times in seconds.items()
        ],
        ["medians of the run's own time, from its start to its end as Dagster stores them"],
    )


if __name__ == "__main__":
    main()
