"""``quant dead-letters`` on the sandbox's broker.

One sandbox for the module; each test has topics of its own by their prefix. What sends or settles
runs as a process of its own, what only reads runs in this one.
"""

import csv
import io
import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from quant_assets.cli import main
from quant_assets.events.connection import KafkaConnection
from quant_assets.events.dead_letter_log import DeadLetterLog, read_log
from quant_assets.events.dead_letters import RETENTION_GAP, DeadLetter, Origin, attempt_of, bury
from quant_assets.events.publisher import Outgoing, Publisher
from quant_assets.events.reading import Record, read_topic
from quant_assets.events.topics import TopicNames
from quant_assets.sandbox import locate
from quant_assets.sandbox.server import Sandbox
from quant_assets.settings import settings

CHECKOUT = Path(__file__).parents[2]
QUANT = str(Path(sys.executable).with_name("quant"))
NOW = datetime.now(UTC)
REQUEST = "command.requested"
ESCAPES = "[red]\x1b[2J\x1b]0;owned\x07삼성\n\r\x9b31m‮[/nothing]"
"""Acts on a terminal, on rich and on the eye, if it gets there."""


@dataclass
class Home:
    """A profile's directory, its broker, and the topics of one test."""

    folder: Path
    servers: str
    names: TopicNames = field(
        default_factory=lambda: TopicNames(f"t{uuid.uuid4().hex[:8]}.", {"old.commands": REQUEST})
    )

    @property
    def topic(self) -> str:
        return self.names.topic(REQUEST)

    @property
    def connection(self) -> KafkaConnection:
        return KafkaConnection(self.servers, is_embedded=True)

    def environment(self, **more: str) -> dict[str, str]:
        of_platform = ("QUANT_", "DAGSTER_", "KAFKA_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(of_platform)}
        own = {
            "PYTHONPATH": str(CHECKOUT),
            "QUANT_HOME": str(self.folder),
            "KAFKA_TOPIC_PREFIX": self.names.prefix,
            "KAFKA_TOPIC_ALIASES": json.dumps(dict(self.names.aliases)),
        }
        return {**kept, **own, **more}

    def start(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [QUANT, "dead-letters", *words],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *words: str, status: int = 0, answer: str = "") -> tuple[str, str]:
        """Output and errors of a command run as a process of its own."""
        process = self.start(*words)
        out, errors = process.communicate(answer, timeout=600)
        assert process.returncode == status, out[-3000:] + errors[-3000:]
        assert "Traceback" not in errors
        return out, errors

    def letter(self, offset: int, **changes: Any) -> DeadLetter:
        one = DeadLetter(
            origin=Origin(self.topic, 0, offset),
            code="not_json",
            reason=f"not JSON: letter {offset}",
            error_class="BadEventError",
            value=b"letter %d" % offset,
            key=b"us",
            attempts=1,
            first_at=NOW - timedelta(hours=3),
            last_at=NOW + timedelta(seconds=offset),
        )
        return replace(one, **changes)

    def bury(self, *letters: DeadLetter, beside: tuple[Outgoing, ...] = ()) -> None:
        publisher = Publisher(self.connection, self.names)
        bury(publisher, list(letters))
        publisher.send(beside)
        publisher.close()

    def log(self) -> DeadLetterLog:
        return read_log(self.connection, self.names)

    def open_offsets(self) -> list[int]:
        return [filed.letter.origin.offset for filed in self.log().open_letters()]

    def sent(self, topic: str | None = None) -> list[Record]:
        return read_topic(self.connection, topic or self.topic)

    def id(self, offset: int) -> str:
        return f"{self.topic}/0/{offset}"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    folder = tmp_path_factory.mktemp("home")
    with Sandbox(seed=7, broker=True) as one:
        locate.record(folder, one)
        assert one.kafka_servers is not None
        yield folder, one.kafka_servers


@pytest.fixture
def home(sandbox: tuple[Path, str]) -> Home:
    return Home(*sandbox)


class Here:
    """Runs ``quant dead-letters`` in this process: what reads, and what fails at once."""

    def __init__(self, home: Home, capsys: pytest.CaptureFixture[str]) -> None:
        self._home = home
        self._capsys = capsys

    def __call__(self, *words: str, status: int = 0, **variables: str) -> tuple[str, str]:
        """Standard output and errors."""
        self._capsys.readouterr()
        before = Path.cwd()
        arguments = mock.patch.object(sys, "argv", ["quant", "dead-letters", *words])
        environment = self._home.environment(**variables)
        with mock.patch.dict(os.environ, environment, clear=True), arguments:
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


def harmless(*texts: str) -> bool:
    """Whether no character in ``texts`` acts on a terminal or on the direction of reading."""
    return not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "".join(texts))


def test_list_shows_what_is_open_in_every_format(home: Home, quant: Here) -> None:
    home.bury(
        home.letter(1),
        home.letter(2, code="wrong_type", attempts=3, value=b"x" * 12_345),
        home.letter(3),
    )
    home("drop", home.id(3), "--yes")
    lines = quant("list")[0].splitlines()
    assert lines[0].replace(" ", "") == "idburiedat(UTC)codeattemptsbytesreason"
    assert lines[1].split()[0] == home.id(1)
    assert lines[2].split()[3:6] == ["wrong_type", "3", "12,345"]
    assert lines[3].startswith("2 open: not_json 1, wrong_type 1; the oldest message is 3 hours")
    assert lines[4] == "1 replayed or dropped (--all lists them)"
    rows = json.loads(quant("list", "--format", "json")[0])
    assert [(row["id"], row["state"], row["size_bytes"]) for row in rows] == [
        (home.id(1), "open", 8),
        (home.id(2), "open", 12_345),
    ]
    rows = list(csv.DictReader(io.StringIO(quant("list", "--all", "--format", "csv")[0])))
    assert [row["state"] for row in rows] == ["open", "open", "dropped"]
    assert rows[2]["settled_at"] > rows[2]["first_at"]
    assert "  dropped  not JSON: letter 3" in quant("list", "--all")[0]


def test_an_empty_list_is_valid_in_every_format(quant: Here) -> None:
    assert quant("list") == ("no letter is open\n", "")
    assert json.loads(quant("list", "--format", "json")[0]) == []
    assert quant("list", "--format", "csv")[0].startswith("id,state,code,reason,")


def test_list_can_be_narrowed(home: Home, quant: Here) -> None:
    old = Origin("old.commands", 0, 3)
    other = Origin(home.names.topic("news.crawl.requested"), 0, 4)
    foreign = Origin("payments", 0, 5)
    home.bury(
        home.letter(1, code="wrong_type"),
        home.letter(2),
        *(home.letter(o.offset, origin=o) for o in (old, other, foreign)),
    )

    def ids(*words: str) -> list[str]:
        return [row["id"] for row in json.loads(quant("list", *words, "--format", "json")[0])]

    assert ids("--reason", "wrong_type") == [home.id(1)]
    assert ids("--reason", "nothing") == []
    for topic in (REQUEST, home.topic, "old.commands"):
        assert ids("--topic", topic) == [home.id(1), home.id(2), str(old)]
    assert ids("--topic", REQUEST, "--reason", "not_json") == [home.id(2), str(old)]
    assert ids("--topic", "payments") == [str(foreign)]
    assert ids("--topic", "status.updated") == []


def test_five_thousand_letters_are_listed_and_settled(home: Home) -> None:
    """Their order within a second is that of their ids as texts."""
    home.bury(*(home.letter(n, reason="long " * 100, last_at=NOW) for n in range(5_000)))
    lines = home("list")[0].splitlines()
    assert len(lines) == 5_002
    assert lines[-1].startswith("5,000 open: not_json 5,000; ")
    assert home("drop", "--all", "--yes")[0] == "dropped 5,000 letter(s)\n"
    assert home.open_offsets() == []


def test_show_gives_headers_and_formatted_json(home: Home, quant: Here) -> None:
    value = '{"a":[1.0000000000000000001,{"b":"삼성"}],"a":2}'.encode()
    home.bury(home.letter(1, value=value))
    text = quant("show", home.id(1))[0]
    assert text.startswith(f"{home.id(1)}: open, stands at {home.names.dead_letter}/")
    for line in ("code: not_json", "reason: not JSON: letter 1", "attempts: 1", "whole: yes"):
        assert f"  {line}\n" in text
    assert "key: us\n" in text
    _, _, shown = text.partition(f"message: {len(value)} bytes, JSON\n")
    assert '      "b": "삼성"\n' in shown
    assert "1.0000000000000000001" in shown
    assert shown.count('"a"') == 2


@pytest.mark.parametrize(
    ("value", "kind", "line"),
    [
        (b"not \xec\x82\xbc json\nsecond", "text", "  not 삼 json\n  second\n"),
        (b"", "text", "message: 0 bytes"),
        (b"\x00\xff\x1b[2J", "binary", "  00000000  00 ff 1b 5b 32 4a"),
        (b"[" * 60_000, "text", "  [[[["),
        (b"[" * 900 + b"1," * 20_000 + b"1" + b"]" * 900, "JSON", "\n      [\n"),
        (b"9" * 5_000, "JSON", "999"),
        (b"[" + b"1," * 40_000 + b"1]", "text", "  [1,1,1"),
    ],
)
def test_show_finds_a_form_for_every_message(
    home: Home, quant: Here, value: bytes, kind: str, line: str
) -> None:
    home.bury(home.letter(1, value=value, key=b"\xff\x00"))
    out, errors = quant("show", home.id(1))
    assert f"message: {len(value):,} bytes, {kind}\n" in out
    assert line in out
    assert r"key: \xff\x00" in out
    assert len(out) < 30_000
    assert errors == ""
    assert harmless(out)


def test_show_ends_early_unless_told_not_to(home: Home, quant: Here) -> None:
    home.bury(
        home.letter(1, value=b"x" * 3_000_000),
        home.letter(2, value=b"line\n" * 500),
        home.letter(3, value=bytes(range(256)) * 40),
        home.letter(4, value=b"x" * 20_000),
    )
    note = "  ... (--full shows the rest)\n"
    for offset in (1, 2, 3):
        out = quant("show", home.id(offset))[0]
        assert out.endswith(note)
        assert len(out) < 30_000
    assert "x" * 3_000_000 in quant("show", home.id(1), "--full")[0]
    assert quant("show", home.id(2), "--full")[0].count("  line\n") == 500
    assert quant("show", home.id(3), "--full")[0].count("  00 01 02 03") == 40
    assert "--full" not in quant("show", home.id(4))[0]


def test_show_of_letters_without_a_message(home: Home, quant: Here) -> None:
    publisher = Publisher(home.connection, home.names)
    publisher.send([Outgoing(home.topic, b"long", b"us")])
    publisher.close()
    (stored,) = home.sent()
    home.bury(
        home.letter(0, origin=stored.origin, value=None, is_whole=False),
        home.letter(70, value=None, is_whole=False),
        home.letter(71, value=None, code="tombstone"),
        home.letter(72, value=None, key=None, code=RETENTION_GAP),
    )
    assert (
        f"message: 4 bytes, text, read at {stored.origin}" in quant("show", str(stored.origin))[0]
    )
    assert "message: gone; it was too large for the letter" in quant("show", home.id(70))[0]
    assert "message: none (a tombstone)" in quant("show", home.id(71))[0]
    gap = quant("show", home.id(72))[0]
    assert "key: none\nmessage: none, the letter stands for messages that retention" in gap


def test_a_senders_text_cannot_act_on_the_screen(home: Home, quant: Here) -> None:
    home.bury(
        home.letter(1, reason=ESCAPES, code=ESCAPES, error_class=ESCAPES, value=ESCAPES.encode()),
        home.letter(
            2, key=ESCAPES.encode(), value=json.dumps(ESCAPES, ensure_ascii=False).encode()
        ),
        home.letter(3, code=RETENTION_GAP, reason=ESCAPES, value=None),
        home.letter(4, code=ESCAPES, origin=Origin("payments", 0, 4)),
        beside=(
            Outgoing(home.names.dead_letter, b"", None, [("origin", ESCAPES.encode())]),
            Outgoing(home.names.dead_letter, b"", None, [("settled", ESCAPES.encode())]),
        ),
    )
    for words in (
        ("list",),
        ("list", "--all", "--format", "json"),
        ("list", "--all", "--format", "csv"),
        ("show", home.id(1)),
        ("show", home.id(1), "--full"),
        ("show", home.id(2)),
        ("replay", "--all", "--dry-run"),
        ("drop", "--all", "--dry-run"),
        ("drop", "--reason", "nothing"),
    ):
        assert harmless(*quant(*words, status=int(words[0] == "replay"))), words
    asked = home("drop", "--reason", ESCAPES, status=1, answer="n\n")
    assert "Drop 2 letter(s), [red]" in asked[0]
    assert harmless(*asked)
    assert r"[red]\x1b[2J" in quant("list")[0]
    assert "[/nothing]" in quant("show", home.id(1))[0]
    rows = json.loads(quant("list", "--format", "json")[0])
    assert rows[0]["reason"] == ESCAPES


def test_records_of_others_are_counted_and_named(home: Home, quant: Here) -> None:
    topic = home.names.dead_letter
    home.bury(home.letter(1), beside=tuple(Outgoing(topic, b"\x00", b"k") for _ in range(7)))
    out, errors = quant("list")
    assert out.splitlines()[-1].startswith("1 open: ")
    assert errors.startswith(
        f"warning: 7 record(s) of {topic} are none of the platform's: {topic}/"
    )
    assert errors.count("(not a dead letter: no header 'origin')") == 5
    assert errors.endswith(", 2 more\n")
    assert json.loads(quant("list", "--format", "json")[0])[0]["id"] == home.id(1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("replay",), "name letters by ID or choose them with --reason, --topic or --all"),
        (("drop", "--yes"), "name letters by ID or choose them with"),
        (("replay", "x", "--all"), "give either IDs or --reason, --topic and --all"),
        (("replay", "--all", "--again"), "--again needs the IDs of the letters"),
        (("show", "nonsense"), "no dead letter nonsense; `quant dead-letters list` shows them"),
        (("drop", "nonsense", "--yes"), "there is no dead letter nonsense"),
        (("list", "--topic", "nonsense"), "'nonsense' is no topic of the platform; the event type"),
        (("replay", "--topic", "nonsense"), "'nonsense' is no topic of the platform"),
        (("replay", "\x1b[2J"), r"there is no dead letter \x1b[2J"),
    ],
)
def test_a_wrong_argument_is_a_sentence(
    home: Home, quant: Here, words: tuple[str, ...], message: str
) -> None:
    home.bury(home.letter(1))
    out, errors = quant(*words, status=1)
    assert errors.startswith("error: ")
    assert message in errors
    assert out == ""
    assert harmless(errors)
    assert home.open_offsets() == [1]
    assert home.sent() == []


def test_an_unknown_id_names_those_that_are_near(home: Home, quant: Here) -> None:
    home.bury(home.letter(120), home.letter(121), home.letter(500, origin=Origin("x", 0, 1)))
    errors = quant("replay", home.id(12), status=1)[1]
    assert f"there is no dead letter {home.id(12)}; near are " in errors
    assert {home.id(120), home.id(121)} <= set(re.findall(r"[\w.]+/\d+/\d+", errors))


def test_an_id_that_several_messages_have_names_them(home: Home, quant: Here) -> None:
    home.bury(home.letter(1), home.letter(1, value=b"another"))
    errors = quant("show", home.id(1), status=1)[1]
    both = re.findall(rf"{re.escape(home.id(1))}~[0-9a-f]{{16}}", errors)
    assert len(set(both)) == 2
    shown = "".join(quant("show", one)[0] for one in both)
    assert "  another\n" in shown
    assert "  letter 1\n" in shown


def test_without_a_broker_it_says_how_to_get_one(home: Home, quant: Here, tmp_path: Path) -> None:
    nobody = {"QUANT_HOME": str(tmp_path)}
    for words in (("list",), ("show", "x"), ("replay", "--all"), ("drop", "--all", "--yes")):
        out, errors = quant(*words, status=1, **nobody)
        assert "start `make dev` or `quant sandbox` in another shell" in errors
        assert out == ""
        errors = quant(*words, "--profile", "live", status=1, **nobody)[1]
        assert "set KAFKA_BOOTSTRAP_SERVERS" in errors
        assert "quant sandbox" not in errors


def test_a_replay_sends_once_and_a_second_does_nothing(home: Home, quant: Here) -> None:
    home.bury(home.letter(1), home.letter(2), home.letter(3, code="wrong_type"))
    would, _ = quant("replay", "--all", "--dry-run")
    assert would.count("would replay ") == 3
    assert home.sent() == []
    out, _ = home("replay", home.id(2), home.id(1), home.id(2))
    assert out.splitlines() == [
        f"replayed {home.id(1)} as attempt 2",
        f"replayed {home.id(2)} as attempt 2",
        "2 of 2 letters were replayed",
    ]
    assert home.open_offsets() == [3]
    out, _ = home("replay", home.id(1))
    assert out.startswith(f"{home.id(1)} was replayed at 2")
    assert "nothing is done; --again sends it once more" in out
    assert (
        quant("replay", "--reason", "not_json")[0]
        == "no such letter is open; open are wrong_type 1\n"
    )
    assert [(r.value, r.key) for r in home.sent()] == [(b"letter 1", b"us"), (b"letter 2", b"us")]
    assert home("replay", home.id(1), "--again")[0] == f"replayed {home.id(1)} as attempt 3\n"
    assert [attempt_of(record.headers) for record in home.sent()] == [2, 2, 3]
    assert quant("replay", "--topic", REQUEST)[0] == f"replayed {home.id(3)} as attempt 2\n"
    assert quant("replay", "--all")[0] == "no letter is open\n"


def test_two_replays_at_once_send_the_same_attempt(home: Home) -> None:
    home.bury(*(home.letter(n) for n in range(300)))
    both = [home.start("replay", "--all") for _ in range(2)]
    for process in both:
        out, errors = process.communicate(timeout=600)
        assert process.returncode == 0, out + errors
    assert home.open_offsets() == []
    sent = home.sent()
    assert {record.value for record in sent} == {b"letter %d" % n for n in range(300)}
    assert {attempt_of(record.headers) for record in sent} == {2}
    assert 300 <= len(sent) <= 600


def test_what_cannot_be_replayed_is_said_and_the_rest_is_sent(home: Home, quant: Here) -> None:
    home.bury(
        home.letter(1, code=RETENTION_GAP, value=None, key=None),
        home.letter(2, origin=Origin("payments", 0, 2)),
        home.letter(3, value=None, is_whole=False),
        home.letter(4),
    )
    out, errors = home("replay", "--all", status=1)
    assert out.splitlines()[0] == f"replayed {home.id(4)} as attempt 2"
    assert "passed over 1 letter(s)" in errors
    assert "not replayed: payments/0/2: payments is no topic that the platform reads" in errors
    assert f"not replayed: {home.id(3)}: the letter was too large to be kept" in errors
    assert home.open_offsets() == [1, 2, 3]
    assert "can only be dropped" in quant("replay", home.id(1), status=1)[1]
    quant("replay", "--reason", RETENTION_GAP, status=1)
    quant("drop", "payments/0/2", home.id(3), "--yes")
    assert "passed over 1" in quant("replay", "--all", status=1)[1]
    home.bury(home.letter(5))
    assert "passed over 1" in quant("replay", "--all")[1]
    assert quant("drop", "--reason", RETENTION_GAP, "--yes")[0] == "dropped 1 letter(s)\n"
    assert home.open_offsets() == []
    assert len(home.sent()) == 2


def test_a_drop_asks_first(home: Home, quant: Here) -> None:
    home.bury(home.letter(1), home.letter(2), home.letter(3, code="wrong_type"))
    assert quant("drop", "--all", "--dry-run")[0].count("would drop") == 3
    for answer in ("n\n", ""):
        out, _ = home("drop", "--all", status=1, answer=answer)
        assert "Drop 3 letter(s), not_json 2, wrong_type 1?" in out
        assert home.open_offsets() == [1, 2, 3]
    assert "dropped 1 letter(s)" in home("drop", home.id(2), answer="y\n")[0]
    assert quant("drop", "--reason", "not_json", "--yes")[0] == "dropped 1 letter(s)\n"
    assert home.open_offsets() == [3]
    out, _ = quant("drop", home.id(1), "--yes")
    assert re.fullmatch(rf"{re.escape(home.id(1))} was dropped at .* UTC: nothing is done\n", out)
    assert "was dropped" in quant("replay", home.id(1))[0]
    assert home.sent() == []
    quant("replay", home.id(1), "--again")
    assert [attempt_of(record.headers) for record in home.sent()] == [2]
