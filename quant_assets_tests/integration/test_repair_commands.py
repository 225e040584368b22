"""``quant quarantine``, ``quant raw`` and ``quant rebuild`` on a real instance and sandbox.

One home for the module: `us_price` was run once over seven sessions, AAPL's last four a hundred
times too high. Each test works on sessions of its own. What changes something runs as a process.
"""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import dagster as dg
import pytest

from quant_assets.cli import main
from quant_assets.cli.plan import ANALYSIS, Planner
from quant_assets.cli.spans import Span
from quant_assets.cli.tasks import Task
from quant_assets.domain.held import Held as HeldRow
from quant_assets.io_managers.parquet_store import ParquetStore, empty_frame
from quant_assets.io_managers.quarantine import Quarantine
from quant_assets.markets import US
from quant_assets.sandbox import locate
from quant_assets.sandbox.faults import Fault
from quant_assets.sandbox.server import Sandbox
from quant_assets.schemas import dataset_of
from quant_assets.settings import settings
from quant_assets.vendors.archive import RawArchive

CHECKOUT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
LAST = US.last_complete_session(datetime.now(UTC))
SESSIONS = [US.offset_session(LAST, n) for n in range(-6, 1)]
KEYS = [session.isoformat() for session in SESSIONS]
HELD = KEYS[-4:]
"""Sessions whose bar of AAPL is held."""
RELEASED, ASKED, KEPT, REBUILT = HELD
"""The session that a test releases, that it refuses to, that only readers use, that is rebuilt."""
PRICES = "us/prices"


@dataclass
class Home:
    """A checkout's directory, the sandbox behind it, and what is stored there."""

    folder: Path
    sandbox: Sandbox

    @property
    def path(self) -> Path:
        return self.folder / ".quant" / "sandbox"

    @property
    def store(self) -> ParquetStore:
        return ParquetStore(self.path / "data", "sandbox")

    @property
    def archive(self) -> RawArchive:
        return RawArchive(self.path / "raw")

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("QUANT_", "DAGSTER_"))}
        own = {"QUANT_US_UNIVERSE": "AAPL,MSFT", "QUANT_KR_UNIVERSE": "005930.KS"}
        return {**kept, **own, "PYTHONPATH": str(CHECKOUT), "QUANT_HOME": str(self.path)}

    def __call__(self, *words: str, status: int = 0, answer: str = "") -> str:
        """Output of a command run as a process of its own."""
        done = subprocess.run(
            [str(BIN / words[0]), *words[1:]],
            cwd=self.folder,
            env={**self.environment(), "DAGSTER_HOME": str(self.path)},
            input=answer,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == status, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    def item(self, key: str) -> str:
        """State of AAPL in the quarantine of a session."""
        frame = Quarantine(self.store, PRICES).read([key])
        return "".join(frame["state"])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("dagster.yaml", "workspace.yaml"):
        (folder / name).write_bytes((CHECKOUT / name).read_bytes())
    # While a session goes on Yahoo has its bar too: the last four would not be the held ones.
    with Sandbox(seed=7, now=lambda: US.complete_at(LAST)) as sandbox:
        one = Home(folder, sandbox)
        locate.record(one.path, sandbox)
        one("quant", "setup")
        sandbox.faults.add(
            Fault("yahoo.chart", "wrong_units", symbols=["AAPL"], rows=4, history_only=True)
        )
        names = ("asset_partition_range_start", "asset_partition_range_end")
        tags = {f"dagster/{name}": key for name, key in zip(names, KEYS[::6], strict=True)}
        words = ("dagster", "job", "execute", "-m", "quant_assets.definitions", "-j", "us_price")
        assert "RUN_SUCCESS" in one(*words, "--tags", json.dumps(tags))
        yield one


class Here:
    """Runs ``quant`` in this process: reading commands and those that fail at once."""

    def __init__(self, home: Home, capsys: pytest.CaptureFixture[str]) -> None:
        self._home = home
        self._capsys = capsys

    def __call__(self, *words: str, status: int = 0) -> tuple[str, str]:
        """Standard output and errors."""
        self._capsys.readouterr()
        before = Path.cwd()
        arguments = mock.patch.object(sys, "argv", ["quant", *words])
        with mock.patch.dict(os.environ, self._home.environment(), clear=True), arguments:
            os.chdir(self._home.folder)
            try:
                with pytest.raises(SystemExit) as ended:
                    main()
            finally:
                os.chdir(before)
                settings.cache_clear()
        told = self._capsys.readouterr()
        assert ended.value.code == status, told
        return told.out, told.err


@pytest.fixture
def quant(home: Home, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(home, capsys)


def test_list_names_each_held_row_in_every_format(quant: Here) -> None:
    table, _ = quant("quarantine", "list")
    assert all(key in table for key in HELD)
    assert "times the usual close" in table
    rows = json.loads(quant("quarantine", "list", PRICES, "--format", "json")[0])
    assert [(r["asset"], r["partition_key"], r["item"]) for r in rows] == [
        (PRICES, key, "AAPL") for key in HELD
    ]
    words = ("quarantine", "list", PRICES, "--from", KEPT, "--to", KEPT, "--format", "csv")
    lines = list(csv.DictReader(io.StringIO(quant(*words)[0])))
    assert [(line["partition_key"], line["rule"], line["state"]) for line in lines] == [
        (KEPT, "unit_error", "held")
    ]


def test_an_empty_list_is_valid_in_every_format(quant: Here) -> None:
    words = ("quarantine", "list", "kr/prices")
    assert quant(*words)[0] == "nothing is in quarantine\n"
    assert json.loads(quant(*words, "--format", "json")[0]) == []
    header = "asset,partition_key,item,rule,reason,state,held_at\n"
    assert quant(*words, "--format", "csv")[0] == header
    assert quant("raw", "list", "kr/prices")[0] == "no raw answers are kept\n"


def test_show_gives_reason_raw_values_and_the_row(quant: Here) -> None:
    text, _ = quant("quarantine", "show", PRICES, KEPT, "AAPL")
    first, reason, raw, row = text.splitlines()
    assert first.startswith("AAPL: unit_error, held since 20")
    assert "times the usual close" in reason
    given = json.loads(raw.removeprefix("  yahoo gave: "))
    stored = json.loads(row.removeprefix("  would store: "))
    assert given["close"] == pytest.approx(stored["close"])
    assert stored["symbol"] == "AAPL"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("quarantine", "list", "us/nothing"), "no dataset is stored for 'us/nothing'"),
        (("quarantine", "show", PRICES, KEPT, "NOPE"), "nothing named NOPE is in quarantine"),
        (("quarantine", "show", PRICES, "2001-01-02"), "nothing is in quarantine; see `quant"),
        (("quarantine", "show", PRICES, "../../x"), "cannot name an asset or a partition"),
        (("quarantine", "release", "us/nothing", KEPT, "A", "--yes"), "no dataset is stored for"),
        (
            ("quarantine", "release", PRICES, KEPT, "NOPE", "--yes"),
            "NOPE not in quarantine; held are AAPL",
        ),
        (("quarantine", "release", PRICES, "2001-01-02", "AAPL", "--yes"), "held are none"),
        (("raw", "list", "us/recommendations"), "is not fetched from a vendor; these are: us/"),
        (("rebuild", "us/nothing", KEPT), "is not fetched from a vendor; these are: us/prices"),
        (("rebuild", PRICES, "2024-01-02"), "2024-01-02: no raw answers are kept for it"),
        (("rebuild", PRICES, KEPT, RELEASED), f"last partition {RELEASED} is before the first"),
        (("rebuild", "kr/prices", KEPT), "no raw answers are kept for it"),
        (("rebuild", PRICES, "2026-03-21"), "us/prices has no partition from 2026-03-21 to"),
        (("rebuild", PRICES, "nonsense"), "us/prices has no partition from nonsense to"),
    ],
)
def test_a_wrong_argument_is_a_sentence(
    home: Home, quant: Here, words: tuple[str, ...], message: str
) -> None:
    before = home.store.path(PRICES, KEPT).read_bytes()
    out, errors = quant(*words, status=1)
    assert errors.startswith("error: ")
    assert message in errors
    assert out == ""
    assert "Traceback" not in errors
    assert home.store.path(PRICES, KEPT).read_bytes() == before


def test_an_item_to_release_is_required(quant: Here) -> None:
    assert (
        "Missing argument 'ITEMS...'" in quant("quarantine", "release", PRICES, KEPT, status=2)[1]
    )


def test_a_damaged_quarantine_file_is_named_and_hides_nothing(home: Home, quant: Here) -> None:
    path = home.store.path("quarantine/kr/prices", KEPT)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    rows = json.loads(quant("quarantine", "list", "--format", "json")[0])
    assert [r["rule"] for r in rows if r["asset"] == "kr/prices"] == ["damaged_file"]
    assert KEPT in {r["partition_key"] for r in rows if r["asset"] == PRICES}
    errors = quant("quarantine", "release", "kr/prices", KEPT, "x", "--yes", status=1)[1]
    assert str(path) in errors
    assert "materialize the partition again" in errors
    path.unlink()
    path.parent.rmdir()


def test_a_vendors_text_cannot_act_on_the_screen(home: Home, quant: Here) -> None:
    item = "[red]\x1b[2J삼성\n[/nothing]"
    one = HeldRow(KEPT, item, "r", "why \x07", "yahoo", {"x": item})
    Quarantine(home.store, "kr/prices").settle([KEPT], [one], set(), datetime.now(UTC))
    table, _ = quant("quarantine", "list", "kr/prices")
    shown, _ = quant("quarantine", "show", "kr/prices", KEPT)
    for text in (table, shown):
        assert r"[red]\x1b[2J삼성\n[/nothing]" in text
        assert not {"\x1b", "\x07"} & set(text)
    assert (
        json.loads(quant("quarantine", "list", "kr/prices", "--format", "json")[0])[0]["item"]
        == item
    )
    store = home.store
    store.delete("quarantine/kr/prices", [KEPT])


def planned(home: Home) -> list[str]:
    """Sessions whose recommendations `quant run` would make."""
    now = datetime.now(UTC)
    with dg.DagsterInstance.from_config(str(home.path)) as instance:
        tasks: list[Task] = Planner(home.store, instance, now).analysis([Span(US, tuple(SESSIONS))])
    spans = [task for task in tasks if task.job == "us_combined_analysis"]
    return [key for key in KEYS for task in spans if task.first <= key <= task.last]


def store_analyses(home: Home) -> None:
    """Results of every session, known to Dagster."""
    with dg.DagsterInstance.from_config(str(home.path)) as instance:
        for name in ANALYSIS:
            dataset = dataset_of(f"us/{name}")
            for key in KEYS:
                home.store.write(dataset, f"us/{name}", key, empty_frame(dataset), "1")
                event = dg.AssetMaterialization(asset_key=["us", name], partition=key)
                instance.report_runless_asset_event(event)


def test_a_release_is_stored_known_to_dagster_and_what_rests_on_it_is_made_again(
    home: Home,
) -> None:
    assert planned(home) == KEYS
    store_analyses(home)
    assert planned(home) == []
    told = home("quant", "quarantine", "release", PRICES, RELEASED, "AAPL", "--yes")
    assert f"stored 1 row(s) in us/prices {RELEASED}, which now has 2" in told
    assert "`quant run` makes again what rests on it" in told
    stored = home.store.read(dataset_of(PRICES), PRICES, [RELEASED])
    assert stored["symbol"].tolist() == ["AAPL", "MSFT"]
    assert home.item(RELEASED) == "released"
    with dg.DagsterInstance.from_config(str(home.path)) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(["us", "prices"]))
    assert event is not None
    known = event.asset_materialization
    assert known is not None
    assert known.partition == RELEASED
    assert known.description == "released from quarantine: AAPL"
    assert json.loads(str(known.metadata["released"].value)) == ["AAPL"]
    assert known.metadata["dagster/partition_row_count"].value == 2
    assert planned(home) == KEYS[KEYS.index(RELEASED) :]
    again = home("quant", "quarantine", "release", PRICES, RELEASED, "AAPL", "--yes", status=1)
    assert "AAPL not in quarantine; held are none" in again
    assert "Traceback" not in again


def test_a_release_asks_first(home: Home) -> None:
    words = ("quant", "quarantine", "release", PRICES, ASKED, "AAPL")
    told = home(*words, status=1, answer="n\n")
    assert f"Store AAPL of us/prices {ASKED} after all?" in told
    assert home.item(ASKED) == "held"
    home(*words, status=1, answer="")
    assert home.item(ASKED) == "held"
    assert "which now has 2" in home(*words, answer="y\n")
    assert home.item(ASKED) == "released"


def test_a_rebuild_asks_no_vendor_and_gives_the_same_bytes(home: Home) -> None:
    path = home.store.path(PRICES, REBUILT)
    before = path.read_bytes()
    quarantined = home.store.path(f"quarantine/{PRICES}", REBUILT).read_bytes()
    asked = home.sandbox.requests.count()
    home.sandbox.faults.clear()
    path.unlink()
    told = home("quant", "rebuild", PRICES, REBUILT)
    assert f"rebuilt us/prices {REBUILT} .. {REBUILT} from kept answers" in told
    assert home.sandbox.requests.count() == asked
    assert path.read_bytes() == before
    assert home.store.path(f"quarantine/{PRICES}", REBUILT).read_bytes() == quarantined


def test_the_ends_of_a_rebuild_need_not_be_sessions(home: Home) -> None:
    day = timedelta(days=1)
    session = next(one for one in SESSIONS if not US.is_session(one - day))
    path = home.store.path(PRICES, session.isoformat())
    before = path.read_bytes()
    told = home("quant", "rebuild", PRICES, (session - day).isoformat(), session.isoformat())
    assert f"rebuilt us/prices {session} .. {session} from kept answers" in told
    assert path.read_bytes() == before


def test_a_rebuild_that_fails_says_why_and_ends_with_1(home: Home) -> None:
    """A fetch of an older session, whose answers have gone."""
    kept = home.archive.manifests(PRICES)[-1]
    content = json.loads(kept.path.read_text())
    content["entries"] = [{**entry, "sha256": "0" * 64} for entry in content["entries"]]
    key = US.offset_session(SESSIONS[0], -1).isoformat()
    gone = kept.path.with_name(f"{key}__{key}__20260101T000000000000Z.json")
    gone.write_text(json.dumps({**content, "first": key, "last": key}))
    told = home("quant", "rebuild", PRICES, key, KEYS[0], status=1)
    gone.unlink()
    assert f"failed us_price {key}: us__prices: " in told
    assert "cannot be read" in told
    assert "materialize the partitions again, which asks the vendor" in told
    assert f"rebuilt us/prices {KEYS[0]} .. {KEYS[0]} from kept answers" in told
    assert "Traceback" not in told


def test_raw_list_and_prune(home: Home, quant: Here) -> None:
    listing, _ = quant("raw", "list")
    assert KEYS[0] in listing
    assert LAST.isoformat() in listing
    manifest = home.archive.manifests(PRICES)[-1]
    damaged = manifest.path.with_name(f"{KEYS[0]}__{KEYS[0]}__20260101T000000000000Z.json")
    damaged.write_text("{")
    listing, errors = quant("raw", "list", PRICES)
    assert LAST.isoformat() in listing
    assert "damaged" in listing
    assert f"the manifest {damaged} cannot be read" in errors
    days = (datetime.now(UTC) - datetime(2026, 1, 1, tzinfo=UTC)).days - 1
    words = ("raw", "prune", "--days", str(days))
    out, _ = quant(*words, "--dry-run")
    assert out == f"would remove 1 files, 0.0 MB, older than {days} days\n"
    assert damaged.exists()
    assert quant(*words)[0] == f"removed 1 files, 0.0 MB, older than {days} days\n"
    assert not damaged.exists()
    out, _ = quant(*words)
    assert out == f"removed 0 files, 0.0 MB, older than {days} days\n"
    assert [m.path for m in home.archive.manifests(PRICES)] == [manifest.path]
    assert quant("raw", "prune", "--days", "-1", status=2)[1].count("Invalid value") == 1
