"""``quant doctor`` as a process: in a healthy sandbox, among ruins, and asked wrongly.

One home and one sandbox for the module. What each check says is tested without a process.
"""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from quant_assets.cli.doctor.report import SCHEMA_PATH, WIDTH, Report
from quant_assets_tests.integration.quant_processes import Home, sandbox_of

SECRET = "sesame-open-1234"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = Home(tmp_path_factory.mktemp("healthy"))
    made("setup")
    with sandbox_of(made):
        yield made


def test_everything_is_in_order_in_a_sandbox(home: Home) -> None:
    told = msgspec.json.decode(home("doctor", "--json", "--timeout", "100").out, type=Report)
    bad = [f for f in told.findings if f.status == "fail"]
    assert bad == []
    assert told.profile == "sandbox"
    assert told.home == str(home.path)
    states = {finding.name: finding.status for finding in told.findings}
    for name in (
        *("values", ".env", "requirements", "home", "DAGSTER_HOME", "code location", "calendars"),
        *("FRED", "Yahoo", "RSS feeds", "Alpha Vantage", "Slack", "#quant-alerts", "broker"),
        *("clock", "timezone data"),
    ):
        assert states[name] == "ok", told.findings
    groups = [finding.group for finding in told.findings]
    assert len(list(dict.fromkeys(groups))) == len(
        [g for n, g in enumerate(groups) if n == 0 or groups[n - 1] != g]
    )
    assert json.loads(SCHEMA_PATH.read_text("utf-8"))["$defs"]["Report"]["required"]


def test_the_doctor_leaves_no_trace(tmp_path: Path) -> None:
    """A home that is not there is told of, not made; nothing runs that could be asked."""
    fresh = Home(tmp_path)
    out = fresh("doctor", "--offline").out
    assert list(tmp_path.iterdir()) == []
    assert "> quant setup --profile sandbox" in out
    assert "\x1b" not in out
    assert all(len(line) <= WIDTH or str(tmp_path) in line for line in out.splitlines())
    assert "nobody is asked (--offline)" in out


def test_among_ruins_each_thing_is_named_and_nothing_hangs(tmp_path: Path) -> None:
    """Wrong values, a home below a file, a broker that never speaks, typos; secrets stay secret."""
    (tmp_path / "file").write_text("")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        (tmp_path / ".env").write_text(
            f"QUANT_YAHOO_WORKERS=99\nQUANT_SCORING={{\nSLACK_TOKEN={SECRET}\n"
            f"FRED_API_KEY={SECRET}\nKAFKA_SASL_PASSWORD={SECRET}\nno line\n"
            f"KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:{silent.getsockname()[1]}\n"
        )
        ruins = Home(tmp_path)
        ruins.variables["QUANT_HOME"] = str(tmp_path / "file" / "home")
        done = ruins("doctor", "--json", "--timeout", "1", status=1)
    told = msgspec.json.decode(done.out, type=Report)
    assert told.status == "fail"
    states = {finding.name: finding.status for finding in told.findings}
    for name in ("QUANT_YAHOO_WORKERS", "QUANT_SCORING", "home", "data", "broker"):
        assert states[name] == "fail", told.findings
    for name in ("SLACK_TOKEN", "KAFKA_SASL_PASSWORD", ".env"):
        assert states[name] == "warn", told.findings
    assert all(f.remedy for f in told.findings if f.status in ("fail", "warn"))
    assert SECRET not in done.out + done.err


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", b"QUANT_PROFILE=production\n", b"QUANT_SMTP_HOST=x\n"]
)
def test_settings_that_nobody_can_work_with(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".env").write_bytes(content)
    done = Home(tmp_path)("doctor", "--offline", status=1)
    assert "fail" in done.out
    assert "1 broken" in done.out
    assert "not looked at" in done.out
    assert "timezone data" in done.out


@pytest.mark.parametrize("words", [("--no-such-option",), ("--timeout", "0"), ("words",)])
def test_wrong_arguments(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert "Usage: quant doctor" in Home(tmp_path)("doctor", *words, status=2).err
