"""The command lines as processes: `quant`, and Dagster's own on the same instance.

One home for the module: the first test fetches and computes, the others use what it stored.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from quant_assets.domain.indicator_names import WARM_UP_BARS
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.markets import KR, US, Market, load_universe
from quant_assets.reference import reference_path
from quant_assets.schemas import dataset_of

CHECKOUT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
US_LAST = US.last_complete_session(datetime.now(UTC))
KR_LAST = KR.last_complete_session(datetime.now(UTC))
SYMBOLS = {"QUANT_US_UNIVERSE": "AAPL,MSFT,JPM", "QUANT_KR_UNIVERSE": "005930.KS,000660.KS"}


class Commands:
    """Runs commands in a directory of its own that looks like a checkout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("dagster.yaml", "workspace.yaml"):
            (folder / name).write_bytes((CHECKOUT / name).read_bytes())
        fence = {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1,localhost"}
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("QUANT_", "DAGSTER_"))}
        self.environment = {**kept, **fence, **SYMBOLS, "PYTHONPATH": str(CHECKOUT)}

    def __call__(
        self, *words: str, status: int = 0, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        answer = subprocess.run(
            [str(BIN / words[0]), *words[1:]],
            cwd=self.folder,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert answer.returncode == status, answer.stdout[-3000:] + answer.stderr[-3000:]
        return answer


def young_universe(market: Market, symbols: Sequence[str]) -> str:
    """Universe file of symbols that are listed since just over the year that a label needs."""
    last = market.last_complete_session(datetime.now(UTC))
    since = market.offset_session(last, -WARM_UP_BARS - 12)
    listings = load_universe(market.key, ",".join(symbols))
    rows = [f"{listing.symbol},{listing.name},{since}" for listing in listings]
    return "\n".join(["symbol,name,listed_on", *rows, ""])


def few_series() -> str:
    """Macro series file with the first few of the shipped ones: vintages of years are slow."""
    lines = reference_path("macro_series.csv").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if not line.startswith("#")]
    return "\n".join([*rows[:4], ""])


@pytest.fixture(scope="module")
def quant(tmp_path_factory: pytest.TempPathFactory) -> Commands:
    """A set-up instance on which `quant run` has made the last three sessions of both markets.

    The symbols are listed since a year, so that it fetches that and not the two years of others.
    """
    commands = Commands(tmp_path_factory.mktemp("checkout"))
    for market, name in ((US, "QUANT_US_UNIVERSE"), (KR, "QUANT_KR_UNIVERSE")):
        path = commands.folder / f"{market.key}.csv"
        path.write_text(young_universe(market, SYMBOLS[name].split(",")), encoding="utf-8")
        commands.environment[name] = str(path)
    series = commands.folder / "series.csv"
    series.write_text(few_series(), encoding="utf-8")
    commands.environment["QUANT_MACRO_SERIES"] = str(series)
    commands("quant", "setup")
    first = US.offset_session(US_LAST, -2).isoformat()
    answer = commands("quant", "run", "--from", first)
    assert "us_combined_analysis" in answer.stderr
    assert "us_paper_trading" in answer.stderr
    assert "not passed" not in answer.stderr, "freshness is about now, not about the run"
    assert "not stored" not in answer.stderr
    assert f"United States {US_LAST}" in answer.stdout
    assert f"Korea {KR_LAST}" in answer.stdout
    return commands


def test_run_says_where_things_are(quant: Commands) -> None:
    answer = quant("quant", "run", "--from", US_LAST.isoformat())
    if "news_crawl" in answer.stderr:  # an hour of news has ended since the fixture ran
        answer = quant("quant", "run", "--from", US_LAST.isoformat())
    assert "Everything was there already" in answer.stderr
    assert f"Data:     {quant.folder}/.quant/sandbox/data" in answer.stderr
    pictures = re.findall(r"Picture:\s+(\S+)", answer.stderr)
    assert len(pictures) == 2
    assert all(Path(p).read_bytes().startswith(b"\x89PNG") for p in pictures)
    assert len(re.findall(r"Report:\s+file://\S+/report\.html", answer.stderr)) == 2


def test_a_schedule_is_started_by_a_command(quant: Commands) -> None:
    """In the sandbox none runs by itself."""
    quant("dagster", "schedule", "start", "-w", "workspace.yaml", "us_price")
    listed = quant("dagster", "schedule", "list", "-w", "workspace.yaml").stdout
    states = dict(re.findall(r"Schedule: (\w+) \[(\w+)\]", listed))
    assert states.pop("us_price") == "RUNNING"
    assert len(states) >= 5
    assert set(states.values()) == {"STOPPED"}


def test_show_recommendations_in_every_format(quant: Commands) -> None:
    words = ("quant", "show", "recommendations", "--market", "us", "--format")
    rows = json.loads(quant(*words, "json").stdout)
    assert {row["symbol"] for row in rows} == {"AAPL", "MSFT", "JPM"}
    assert rows == sorted(rows, key=lambda row: -row["combined_score"])
    header, *lines = quant(*words, "csv").stdout.splitlines()
    assert header.startswith("session_date,symbol,technical_score")
    assert len(lines) == 3
    assert "Microsoft" in quant(*words, "table").stdout


def test_explain_leads_back_to_runs(quant: Commands) -> None:
    answer = quant("quant", "explain", "AAPL", US_LAST.isoformat(), "--market", "us").stdout
    for needed in ("trend_price", "rsi_14", "n_articles", "0.7 x technical", "us/prices"):
        assert needed in answer, needed
    runs = set(re.findall(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", answer))
    assert len(runs) >= 2


def test_explain_of_an_unknown_symbol_is_a_sentence(quant: Commands) -> None:
    answer = quant("quant", "explain", "NOPE", US_LAST.isoformat(), "--market", "us", status=1)
    assert "has no row of NOPE" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_data_list_show_clear(quant: Commands) -> None:
    listing = quant("quant", "data", "list").stdout
    assert "us/recommendations" in listing
    keys = quant("quant", "data", "list", "us/recommendations").stdout.split()
    assert keys[-1] == US_LAST.isoformat()
    shown = quant("quant", "data", "show", "us/recommendations", keys[-1]).stdout
    assert "content hash" in shown
    assert "AAPL" in shown
    assert "buy-and-hold" in quant("quant", "data", "show", "us/positions", keys[-1]).stdout
    removed = quant("quant", "data", "clear", "us/recommendations", "--from", keys[-1], "--yes")
    assert "removed 1 partitions" in removed.stdout
    again = quant("quant", "run", "--from", keys[0])
    assert "us_combined_analysis" in again.stderr
    assert "us_paper_trading" in again.stderr
    assert quant("quant", "data", "list", "us/recommendations").stdout.split() == keys


def test_report_and_backtest(quant: Commands) -> None:
    keys = quant("quant", "data", "list", "us/recommendations").stdout.split()
    shown = quant("quant", "report", "--market", "us").stdout
    assert "combined-70-30" in shown
    (page,) = re.findall(r"report: (\S+\.html);", shown)
    assert f"book/{keys[-1]}" in page
    assert "<!doctype html>" in Path(page).read_text(encoding="utf-8")[:100].lower()
    words = ("quant", "backtest", "--from", keys[0], "--rule", "slippage_bps=0", "--name", "mine")
    made = json.loads(quant(*words, "--grid", "enter=0.1,0.3", "--json").stdout)
    assert sorted(made["figures"]) == ["average-50-200", "buy-and-hold", "combined-70-30"]
    assert sorted(one["enter"] for one in made["grid"].values()) == [0.1, 0.3]
    assert made["last"] == keys[-1]
    again = quant("quant", "report", "--backtest", "last", "--json").stdout
    assert json.loads(again) == made
    wrong = quant(*words[:4], "--grid", "names=-1", status=1)
    assert wrong.stderr.startswith("error: strategy 'combined-70-30-001': names is -1")
    assert "mine" in quant("quant", "report", "--backtest", "other", status=1).stderr


def test_nothing_looks_ahead(quant: Commands) -> None:
    words = ("lookahead", "us/recommendations,us/signals,us/ledger", "--sample", "3")
    answer = quant("quant", "verify", *words, "--seed", "1")
    assert answer.stdout.splitlines()[-1].endswith("stored partitions: 3 equal (--seed 1)")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "--from", "2026-02-30"), "does not match the format"),
        (("backtest", "--from", "2026-01-02", "--strategies", "[1]"), "give a JSON list"),
        (("backtest", "--from", "2026-01-02", "--rule", "commission"), "give NAME=VALUE"),
        (("report", "--backtest", "../../etc"), "there is no report"),
        (("report", "--session", "2026-01-02", "--backtest", "x"), "one only"),
        (("run", "--from", "2026-03-10", "--to", "2026-03-01"), "is after --to"),
        (("run", "--market", "jp"), "'jp' is not one of"),
        (("run", "--from", "1999-01-04"), "first session of the platform"),
        (("data", "show", "us/prices", "1999-01-04"), "is not stored"),
        (("data", "show", "us/prices", "../../etc"), "cannot name"),
        (("data", "list", "us/nothing"), "no dataset is stored"),
        (("show", "recommendations", "--market", "us", "--session", "2001-01-02"), "not stored"),
        (("run", "--data", "/nowhere"), "does not exist"),
    ],
)
def test_wrong_arguments_get_a_sentence(
    quant: Commands, words: tuple[str, ...], message: str
) -> None:
    answer = subprocess.run(
        [str(BIN / "quant"), *words],
        cwd=quant.folder,
        env=quant.environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert answer.returncode in (1, 2)
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_wrong_setting_names_the_variable(quant: Commands) -> None:
    answer = quant("quant", "data", "list", status=1, QUANT_PROFILE="production")
    assert "QUANT_PROFILE = 'production'" in answer.stderr
    assert "'sandbox', 'replay' or 'live'" in answer.stderr


def test_profiles_do_not_share_a_directory(quant: Commands) -> None:
    answer = quant("quant", "data", "list", QUANT_PROFILE="live")
    assert re.search(r"us/prices\s+0\s", answer.stdout)
    assert (quant.folder / ".quant" / "live").is_dir()


def test_the_instance_of_another_profile_is_refused(quant: Commands) -> None:
    code = "import quant_assets.definitions"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **quant.environment,
            "QUANT_PROFILE": "live",
            "DAGSTER_HOME": str(quant.folder / ".quant" / "sandbox"),
        },
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 1
    assert "run `quant setup --profile live`" in answer.stderr


def tags(**values: str) -> str:
    return json.dumps({f"dagster/{name}": value for name, value in values.items()})


def test_dagster_job_execute_with_a_partition(quant: Commands) -> None:
    session = US.offset_session(US_LAST, -1).isoformat()
    words = ("dagster", "job", "execute", "-m", "quant_assets.definitions", "-j")
    answer = quant(*words, "us_technical_analysis", "--tags", tags(partition=session))
    assert "RUN_SUCCESS" in answer.stderr + answer.stdout


def test_dagster_asset_materialize_with_a_partition_and_a_range(quant: Commands) -> None:
    words = ("dagster", "asset", "materialize", "-m", "quant_assets.definitions", "--select")
    quant(*words, "key:us/technical_score", "--partition", US_LAST.isoformat())
    span = f"{US.offset_session(US_LAST, -2)}...{US_LAST}"
    quant(*words, "key:us/technical_score", "--partition-range", span)


@pytest.mark.parametrize(
    ("job", "keys"),
    [
        ("us_price", [US_LAST]),
        ("kr_price", [KR.offset_session(KR_LAST, -1), KR_LAST]),
        ("us_technical_analysis", [US_LAST]),
        ("kr_technical_analysis", [KR_LAST]),
        ("us_sentiment_analysis", [US_LAST]),
        ("kr_sentiment_analysis", [KR_LAST]),
        ("us_combined_analysis", [US.offset_session(US_LAST, -1), US_LAST]),
        ("kr_combined_analysis", [KR_LAST]),
        ("us_paper_trading", [US.offset_session(US_LAST, -1), US_LAST]),
        ("kr_paper_trading", [KR_LAST]),
        ("macro_sync", [US.offset_session(US_LAST, -2), US.offset_session(US_LAST, -1)]),
        ("news_crawl", [US_LAST]),
    ],
)
def test_dagster_job_launch(quant: Commands, job: str, keys: list) -> None:
    """Launched runs are executed by a process of their own; the command only requests them."""
    names = [key.isoformat() + ("-03" if job == "news_crawl" else "") for key in keys]
    asked = (
        tags(partition=names[0])
        if len(names) == 1
        else tags(asset_partition_range_start=names[0], asset_partition_range_end=names[-1])
    )
    words = ("dagster", "job", "launch", "-w", "workspace.yaml", "-j", job, "--tags", asked)
    answer = quant(*words)
    run_id = re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", answer.stdout + answer.stderr)[-1]
    assert wait_for_run(quant, run_id) == "SUCCESS"


def wait_for_run(quant: Commands, run_id: str) -> str:
    """Status of a run once it is finished, read from the instance as the UI would."""
    deadline = time.monotonic() + 600
    home = quant.folder / ".quant" / "sandbox"
    with dg.DagsterInstance.from_config(str(home)) as instance:
        while time.monotonic() < deadline:
            run = instance.get_run_by_id(run_id)
            if run is not None and run.is_finished:
                return run.status.value
            time.sleep(0.3)
    return "UNFINISHED"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_run_leaves_whole_files_and_no_open_run(
    quant: Commands, number: signal.Signals
) -> None:
    """Ctrl-C closes the runs itself; after kill -9 the workers end and the next command does."""
    home = quant.folder / ".quant" / "sandbox"
    first = US.offset_session(US_LAST, -6 if number == signal.SIGINT else -9).isoformat()
    words = ("quant", "run", "--market", "us", "--from", first)
    process = subprocess.Popen(
        [str(BIN / words[0]), *words[1:]],
        cwd=quant.folder,
        env=quant.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    hours = home / "data" / "news" / "articles"
    before = len(list(hours.glob("*.parquet")))
    deadline = time.monotonic() + 600
    while len(list(hours.glob("*.parquet"))) == before and time.monotonic() < deadline:
        time.sleep(0.02)
    workers = children(process.pid)
    assert workers
    process.send_signal(number)
    _, errors = process.communicate(timeout=600)
    assert process.returncode != 0
    assert "Traceback" not in errors, errors[-2000:]
    deadline = time.monotonic() + 600
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline, "a worker outlived its command"
        time.sleep(0.1)
    stored = ParquetStore(home / "data", "sandbox")
    for asset in ("news/articles", "us/prices"):
        stored.read(dataset_of(asset), asset, stored.list_partitions(asset))
    again = quant(*words)
    assert f"United States {US_LAST}" in again.stdout
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.CANCELED]))
        assert all(run.is_finished for run in instance.get_runs())


def children(pid: int) -> list[int]:
    """Processes that ``pid`` started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except OSError:
            continue
        if re.search(rf"^PPid:\s+{pid}$", text, re.MULTILINE):
            found.append(int(status.parent.name))
    return found
