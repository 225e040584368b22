"""`quant job` as processes: what cron, systemd and Kubernetes see of it.

One home and one sandbox, in this process, for the module: later tests use what earlier ones made.
Every date lies in the past, so that the hour of the day does not matter.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import msgspec
import pytest

from quant_assets.cli import job_process, job_report
from quant_assets.cli.job import conduct
from quant_assets.cli.job_process import Worker
from quant_assets.cli.job_wanted import dates_of, wanted_of
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.sandbox import locate
from quant_assets.sandbox.faults import Fault
from quant_assets.sandbox.server import Sandbox
from quant_assets.settings import read_settings
from quant_assets_tests.dagster import slack_reading
from quant_assets_tests.integration.test_commands import CHECKOUT, children
from quant_assets_tests.json_schema import complaints
from quant_assets_tests.kafka_broker import poll

QUANT = Path(sys.executable).parent / "quant"
SECONDS = 600.0
DAY, NEXT, THIRD, FOURTH = "2026-03-19", "2026-03-20", "2026-03-23", "2026-03-24"
ENDPOINTS = {
    "yahoo": ("yahoo.cookie", "yahoo.crumb", "yahoo.chart"),
    "fred": ("fred",),
    "alpha_vantage": ("alpha_vantage",),
    "rss": ("rss",),
}


@dataclass
class Ended:
    """How a job ended."""

    status: int
    out: str
    err: str

    @property
    def report(self) -> job_report.Report:
        content = json.loads(self.out)
        schema = job_report.schema()
        assert complaints(content, schema) == []
        return msgspec.json.decode(self.out, type=job_report.Report)


@dataclass
class Jobs:
    """Starts jobs in a directory that looks like a checkout."""

    folder: Path
    sandbox: Sandbox
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.variables, "PYTHONPATH": str(CHECKOUT)}

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(QUANT), "job", *words],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *words: str, status: int = 0) -> Ended:
        process = self.start(*words)
        out, err = process.communicate(timeout=SECONDS)
        assert process.returncode == status, out[-3000:] + err[-3000:]
        return Ended(process.returncode, out, err)

    def install(self) -> None:
        """Make the instance, let jobs find the sandbox, and let them think that a daemon runs."""
        self.home.mkdir()
        (self.home / "dagster.yaml").symlink_to(CHECKOUT / "dagster.yaml")
        locate.record(self.home, self.sandbox)
        self.runs()
        self.pretend_a_daemon(True)

    def pretend_a_daemon(self, is_there: bool) -> None:
        """With a daemon no run starts a process that tells it in Slack."""
        content = {"timestamp": 4e9, "daemon_type": "SENSOR", "daemon_id": None, "errors": []}
        body = json.dumps({"__class__": "DaemonHeartbeat", **content})
        with sqlite3.connect(self.home / "history" / "runs.db") as database:
            database.execute("DELETE FROM daemon_heartbeats")
            if is_there:
                database.execute(
                    "INSERT INTO daemon_heartbeats (daemon_type, daemon_id, timestamp, body)"
                    " VALUES ('SENSOR', '1', '2096-10-02 07:06:40', ?)",
                    [body],
                )

    def runs(self) -> list[dg.DagsterRun]:
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            return list(instance.get_runs())

    def store(self) -> ParquetStore:
        return ParquetStore(self.home / "data", "sandbox")

    def asked(self, vendor: str) -> int:
        return sum(self.sandbox.requests.count(endpoint=name) for name in ENDPOINTS[vendor])

    def files(self) -> dict[str, bytes]:
        """Content of every file but what a reader of SQLite leaves beside its database."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file() and not path.name.endswith(("-wal", "-shm"))
        }


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    folder = tmp_path_factory.mktemp("jobs")
    for name in ("dagster.yaml", "workspace.yaml"):
        (folder / name).write_bytes((CHECKOUT / name).read_bytes())
    universe = folder / "universe.csv"
    universe.write_text("symbol,listed_on\nAAPL,2026-03-02\nMSFT,2026-03-02\n")
    with Sandbox() as sandbox:
        made = Jobs(folder, sandbox)
        made.variables = {
            "QUANT_HOME": str(made.home),
            "QUANT_US_UNIVERSE": str(universe),
            "QUANT_KR_UNIVERSE": "005930.KS",
            "QUANT_ALPHA_VANTAGE_TICKERS": "AAPL",
        }
        yield made


@pytest.fixture(autouse=True)
def _no_faults(jobs: Jobs) -> None:
    jobs.sandbox.faults.clear()
    jobs.sandbox.requests.clear()


def planned_writes(report: job_report.Report) -> list[tuple[str, str, str]]:
    return [(w.asset, w.partition, w.reason) for task in report.tasks for w in task.writes]


def test_a_dry_run_is_what_the_run_then_does(jobs: Jobs) -> None:
    """On an installation that holds nothing yet: every vendor is asked and every asset made."""
    words = ("all", "--market", "us", "--date", DAY, "--json")
    before = jobs.files()
    dry = jobs(*words, "--dry-run").report
    assert jobs.files() == before
    assert jobs.sandbox.requests.count() == 0
    assert (dry.status, dry.is_dry_run, dry.exit_status) == ("planned", True, 0)

    jobs.install()
    ended = jobs(*words)
    run = ended.report
    assert (run.status, run.exit_status) == ("done", 0)
    assert [(t.job, t.first, t.last) for t in run.tasks] == [
        (t.job, t.first, t.last) for t in dry.tasks
    ]
    assert planned_writes(run) == planned_writes(dry)
    assert {t.job for t in run.tasks} == {
        "news_crawl", "us_price", "macro_sync", "us_combined_analysis",
    }  # fmt: skip
    for asset, partition, reason in planned_writes(run):
        assert jobs.store().path(asset, partition).is_file()
        assert reason == "missing"
    for vendor in ENDPOINTS:
        calls = [c for task in dry.tasks for c in task.calls if c.vendor == vendor]
        least, most = sum(c.least for c in calls), [c.most for c in calls]
        assert least <= jobs.asked(vendor)
        assert None in most or jobs.asked(vendor) <= sum(most)  # type: ignore[arg-type]
    (stored,) = run.recommendations
    assert (stored.market, stored.session, stored.symbols) == ("us", DAY, 2)
    assert all(task.run_id and task.seconds and task.steps for task in run.tasks)
    assert "us/recommendations: done in" in ended.err


def test_what_is_stored_is_not_done_again(jobs: Jobs) -> None:
    before = {run.run_id for run in jobs.runs()}
    ended = jobs("combined", "--market", "us", "--date", DAY)
    assert ended.out.splitlines()[-1].startswith("combined: nothing to do")
    assert f"us {DAY}: 2 recommendations" in ended.out
    assert {run.run_id for run in jobs.runs()} == before
    assert jobs.sandbox.requests.count() == 0


@pytest.mark.parametrize(
    ("words", "asset", "first"),
    [
        (("kr-price", "--date", DAY), "kr/prices", DAY),
        (("macro", "--date", NEXT), "macro/regime", NEXT),
        (("news",), "news/article_sentiment", THIRD),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_each_job_by_itself(jobs: Jobs, words: tuple[str, ...], asset: str, first: str) -> None:
    """``us-price`` is the one that signals interrupt; news without a date are of the last hour."""
    ended = jobs(*words)
    assert ended.out.startswith(f"{words[0]}: 1 task done (")
    assert jobs.store().list_partitions(asset)[-1] >= first
    assert " done in " in ended.err
    command = {run.tags.get("quant/command") for run in jobs.runs()}
    assert f"quant job {words[0]}" in command


def test_a_vendor_that_fails_is_exit_status_1(jobs: Jobs) -> None:
    jobs.sandbox.faults.add(Fault("yahoo.chart", "empty"))
    ended = jobs("us-price", "--date", FOURTH, "--json", status=1)
    (task,) = ended.report.tasks
    assert (ended.report.status, task.state) == ("failed", "failed")
    assert f"no symbol has a bar in {FOURTH}" in task.error
    assert f"failed after {task.seconds:.1f} s: us__prices: us: no symbol" in ended.err
    assert "Traceback" not in ended.err


def test_news_that_fail_do_not_stop_the_analysis_and_prices_do(jobs: Jobs) -> None:
    jobs.sandbox.faults.add(Fault("alpha_vantage", "quota"))
    words = ("combined", "--market", "us", "--date", NEXT, "--json")
    report = jobs(*words, status=3).report
    states = {task.job: (task.state, task.is_optional) for task in report.tasks}
    assert states == {
        "news_crawl": ("failed", True),
        "us_price": ("done", False),
        "us_combined_analysis": ("done", False),
    }
    assert (report.status, report.exit_status) == ("degraded", 3)
    assert "done without news_crawl" in report.message
    assert [(one.session, one.symbols) for one in report.recommendations] == [(NEXT, 2)]

    jobs.sandbox.faults.add(Fault("yahoo.chart", "empty"))
    report = jobs("combined", "--market", "us", "--date", THIRD, "--json", status=1).report
    states = {task.job: task.state for task in report.tasks}
    assert states["us_price"] == "failed"
    assert states["us_combined_analysis"] == "not_run"
    assert f"needs us_price {THIRD}" in report.tasks[-1].error
    assert jobs.store().missing("us/recommendations", [THIRD]) == [THIRD]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_half(jobs: Jobs, number: signal.Signals) -> None:
    jobs.sandbox.faults.add(Fault("yahoo.chart", "delay", seconds=20.0))
    process = jobs.start("us-price", "--date", FOURTH, "--json")
    try:
        poll("a chart to be asked for", SECONDS, lambda: jobs.asked("yahoo") > 2)
        (worker,) = children(process.pid)
        unfinished = jobs.store().path("us/prices", FOURTH)
        unfinished.with_name(f".{unfinished.name}.{worker}.0000.tmp").write_bytes(b"PAR1")
        process.send_signal(number)
        out, err = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    assert process.returncode == 128 + number
    assert "Traceback" not in err, err
    report = Ended(process.returncode, out, err).report
    assert (report.status, report.exit_status) == ("interrupted", 128 + number)
    (task,) = report.tasks
    assert task.state == "interrupted"
    states = {run.run_id: run.status for run in jobs.runs()}
    assert states[str(task.run_id)] == dg.DagsterRunStatus.CANCELED
    assert all(run.is_finished for run in jobs.runs())
    assert not Path(f"/proc/{worker}").exists()
    assert not list(jobs.home.rglob("*.tmp"))
    assert jobs.store().missing("us/prices", [FOURTH]) == [FOURTH]


def test_after_a_signal_the_same_call_completes_and_is_told_in_slack(jobs: Jobs) -> None:
    """Where no daemon runs; the command waits until its run is told."""
    jobs.pretend_a_daemon(False)
    try:
        assert jobs("us-price", "--date", FOURTH, "--json").report.status == "done"
    finally:
        jobs.pretend_a_daemon(True)
    (line,) = [one.line for one in slack_reading.threads(jobs.sandbox)]
    assert "US price" in line
    assert FOURTH in line


@pytest.mark.parametrize("end", ["too long", "killed"])
def test_work_that_hangs_or_dies_is_ended_and_its_run_fails(
    jobs: Jobs, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command's own limit: no daemon watches its runs. Once Yahoo is asked, hours pass."""
    for name, value in jobs.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DAGSTER_HOME", str(jobs.home))
    monkeypatch.chdir(jobs.folder)
    jobs.sandbox.faults.add(Fault("yahoo.chart", "delay", seconds=20.0))
    real, ended = Worker._receive, []

    def receive(worker: Worker) -> Any:
        if jobs.asked("yahoo") > 2 and not ended and worker._process is not None:
            ended.append(worker.pid)
            if end == "killed":
                os.kill(worker.pid, signal.SIGKILL)
        return real(worker)

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return job_process_time.monotonic() + (1e6 if ended and end == "too long" else 0.0)

    job_process_time = job_process.time
    monkeypatch.setattr(Worker, "_receive", receive)
    monkeypatch.setattr(job_process, "time", Clock)
    values = read_settings()
    wanted = wanted_of(
        "us-price",
        None,
        dates_of(date.fromisoformat(FOURTH), None, None),
        datetime.fromisoformat("2026-04-01T00:00+00:00"),
        news_start=values.news_start,
        universe=values.universe,
        is_forced=True,
    )
    told: list[str] = []
    report = conduct(wanted, "sandbox", is_dry_run=False, tell=told.append)
    (task,) = report.tasks
    assert (report.status, report.exit_status) == ("failed", 1)
    assert task.state == ("timed_out" if end == "too long" else "failed")
    said = "1800 s, the limit of us_price" if end == "too long" else "out of memory?"
    assert said in task.error
    (run,) = [run for run in jobs.runs() if run.run_id == task.run_id]
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert run.tags["dagster/max_retries"] == "0"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("us-price", "--date", "2026-03-21"), "no session of XNYS"),
        (("us-price", "--date", "1999-12-31"), "before the first session of the platform"),
        (("macro", "--from", "2026-03-21", "--to", "2026-03-20"), "is after --to"),
        (("prices",), "is not one of"),
        ((), "Missing argument 'JOB'"),
        (("news", "--date", "yesterday"), "does not match the format"),
    ],
)
def test_wrong_arguments_are_exit_status_2_and_a_sentence(
    jobs: Jobs, words: tuple[str, ...], said: str
) -> None:
    ended = jobs(*words, status=2)
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""


def test_a_wrong_setting_is_exit_status_2_also_as_json(jobs: Jobs) -> None:
    jobs.variables["QUANT_YAHOO_WORKERS"] = "many"
    try:
        ended = jobs("us-price", "--date", DAY, "--json", status=2)
    finally:
        del jobs.variables["QUANT_YAHOO_WORKERS"]
    assert ended.report.status == "refused"
    assert "QUANT_YAHOO_WORKERS = 'many'" in ended.report.message


def test_the_schema_is_printed_and_refuses_what_is_no_report(jobs: Jobs) -> None:
    schema = json.loads(jobs("--schema").out)
    assert schema == job_report.schema()
    started = datetime.fromisoformat("2026-03-20T00:00+00:00")
    content = json.loads(job_report.as_json(job_report.Report(job="news", started_at=started)))
    assert complaints(content, schema) == []
    wrong = {**content, "status": "fine", "exit_status": "0", "extra": 1}
    del wrong["job"]
    assert len(complaints(wrong, schema)) == 4


def test_help_needs_no_dagster(jobs: Jobs) -> None:
    code = (
        "import sys; sys.argv = ['quant', 'job', '--help']\n"
        "import atexit; atexit.register(lambda: print([m for m in ('dagster', 'pandas', "
        "'pydantic', 'requests') if m in sys.modules]))\n"
        "from quant_assets.cli import main; main()"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], env=jobs.environment, capture_output=True, text=True
    )
    assert "Exit status: 0 done or nothing to do" in answer.stdout
    assert answer.stdout.splitlines()[-1] == "[]"
