"""What the doctor says of settings: hostile files, misspelt names, wrong values, contradictions."""

import os
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from quant_assets.cli.doctor import settings_checks as checks
from quant_assets.cli.doctor.findings import Finding
from quant_assets.settings import Settings, setting_problems, setting_variables

SECRET = "sesame-open-1234"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(0o600)
    return path


def judged(path: Path, **environment: str) -> list[Finding]:
    return checks.env_file(checks.read_env_file(path), environment)


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


def test_no_file_and_a_good_one(here: Path) -> None:
    assert only(judged(here / ".env")).status == "ok"
    file = written(here / ".env", f"# notes\nQUANT_PROFILE=live\nexport FRED_API_KEY='{SECRET}'\n")
    assert only(judged(file)) == checks.SETTINGS.ok(".env", "2 variable(s)")
    assert checks.read_env_file(file).values["FRED_API_KEY"] == SECRET


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: written(p, b"QUANT_PROFILE=\xff\xfe\n"), "not UTF-8 (byte 14)"),
        (lambda p: written(p, "QUANT_PROFILE=a\0b\n"), "zero byte"),
        (lambda p: written(p, "#" * 1_000_001), "1,000,001 bytes"),
        (lambda p: p.mkdir(), "no file"),
        (lambda p: p.symlink_to("gone"), "no file"),
        (lambda p: p.symlink_to(p.name), "no file"),
        (lambda p: os.mkfifo(p), "no file"),
        (lambda p: p.symlink_to("/dev/zero"), "no file"),
    ],
)
def test_what_is_no_text_of_settings(here: Path, make: Callable[[Path], None], said: str) -> None:
    make(here / ".env")
    finding = only(judged(here / ".env"))
    assert finding.status == "fail"
    assert said in finding.what
    assert "NAME=value" in finding.remedy


def test_lines_that_say_nothing_are_counted_and_not_repeated(here: Path) -> None:
    text = f"QUANT_PROFILE=sandbox\n{SECRET}\n=x\nFRED_API_KEY={SECRET}\nA='open\n"
    findings = judged(written(here / ".env", text))
    assert [f.status for f in findings] == ["warn"]
    assert "line 2, 3, 5" in findings[0].what
    assert SECRET not in str(findings)


def test_keys_that_others_may_read(here: Path) -> None:
    file = written(here / ".env", f"SLACK_BOT_TOKEN={SECRET}\n")
    file.chmod(0o644)
    finding = only(judged(file))
    assert (finding.status, finding.remedy) == ("warn", "chmod 600 .env")
    assert "644" in finding.what
    harmless = written(here / "other", "QUANT_PROFILE=live\n")
    harmless.chmod(0o644)
    assert only(judged(harmless)).status == "ok"


def test_names_given_twice_or_hidden_by_the_environment(here: Path) -> None:
    file = written(here / ".env", f"FRED_API_KEY=old\nFRED_API_KEY={SECRET}\nQUANT_PROFILE=live\n")
    findings = judged(file, FRED_API_KEY="another", QUANT_PROFILE="live")
    assert [(f.name, f.status) for f in findings] == [("FRED_API_KEY", "warn")] * 2
    assert "twice" in findings[0].what
    assert "differ" in findings[1].what
    assert SECRET not in str(findings)
    assert "another" not in str(findings)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("QUANT_PROFIL", "QUANT_PROFILE"),
        ("QUANT_YAHOO_WORKER", "QUANT_YAHOO_WORKERS"),
        ("KAFKA_BOOTSTRAP_SERVER", "KAFKA_BOOTSTRAP_SERVERS"),
        ("FRED_APIKEY", "FRED_API_KEY"),
        ("SLACK_TOKEN", "SLACK_BOT_TOKEN"),
        ("quant_profile", "QUANT_PROFILE"),
    ],
)
def test_misspelt_names_in_the_file(here: Path, name: str, meant: str) -> None:
    file = checks.read_env_file(written(here / ".env", f"{name}={SECRET}\n"))
    finding = only(checks.names({}, file))
    assert (finding.name, finding.status) == (name, "warn")
    assert meant in finding.remedy
    assert SECRET not in str(finding)


def test_names_in_the_environment(here: Path) -> None:
    nothing = checks.read_env_file(here / ".env")
    known = dict.fromkeys(setting_variables(), "x")
    others = {"PATH": "/bin", "QUANT_TEST_DATA": "/data", "FREDERIC": "me", "HTTPS_PROXY": "p"}
    assert only(checks.names({**known, **others}, nothing)).status == "ok"
    finding = only(checks.names({"KAFKA_HEAP_OPTS": "-Xmx1G"}, nothing))
    assert (finding.name, finding.status) == ("KAFKA_HEAP_OPTS", "warn")
    assert ".env.example" in finding.remedy


def test_every_wrong_value_is_named_with_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {
        "QUANT_PROFILE": "production",
        "QUANT_YAHOO_WORKERS": "99",
        "QUANT_SCORING": "{",
        "QUANT_NEWS_START": "yesterday",
        "QUANT_SMTP_SECURITY": "ssl",
        "QUANT_MAIL_TO": "nobody",
        "KAFKA_TOPIC_ALIASES": '{"old": "no.such.type"}',
        "QUANT_RSS_FEEDS": f"ftp://me:{SECRET}@feeds",
    }
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    problems, settings = setting_problems()
    found = {finding.name: finding for finding in checks.values(problems)}
    assert set(found) == set(wrong)
    assert {finding.status for finding in found.values()} == {"fail"}
    assert "'sandbox', 'replay' or 'live'" in found["QUANT_PROFILE"].what
    assert "'99'" in found["QUANT_YAHOO_WORKERS"].what
    assert "16" in found["QUANT_YAHOO_WORKERS"].what
    assert SECRET not in str(found)
    assert settings is not None
    assert settings.yahoo_workers == 6


def test_a_contradiction_behind_a_wrong_value_is_found_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QUANT_YAHOO_WORKERS", "none")
    monkeypatch.setenv("QUANT_SMTP_HOST", "smtp.example.com")
    problems, settings = setting_problems()
    wrong, together = checks.values(problems)
    assert wrong.name == "QUANT_YAHOO_WORKERS"
    assert "QUANT_MAIL_FROM" in together.what
    assert settings is None


def test_good_settings_have_no_problem() -> None:
    problems, settings = setting_problems()
    assert settings == Settings()
    assert only(checks.values(problems)).status == "ok"


LIVE = {"QUANT_PROFILE": "live", "FRED_API_KEY": "f" * 32}


@pytest.mark.parametrize(
    ("given", "name", "said"),
    [
        ({"KAFKA_SASL_USERNAME": "u"}, "KAFKA_SASL_USERNAME", "BOOTSTRAP_SERVERS is not set"),
        (
            {"KAFKA_BOOTSTRAP_SERVERS": "k:9", "KAFKA_SASL_PASSWORD": SECRET},
            "KAFKA_SASL_PASSWORD",
            "PLAINTEXT, which has no login",
        ),
        (
            {"KAFKA_BOOTSTRAP_SERVERS": "k:9", "KAFKA_SSL_KEY_PASSWORD": SECRET},
            "KAFKA_SSL_KEY_PASSWORD",
            "PLAINTEXT, which has no TLS",
        ),
        (
            {
                "KAFKA_BOOTSTRAP_SERVERS": "k:9",
                "KAFKA_SECURITY_PROTOCOL": "SSL",
                "KAFKA_SSL_CA_LOCATION": "/no/such/ca.pem",
            },
            "KAFKA_SSL_CA_LOCATION",
            "/no/such/ca.pem",
        ),
        ({**LIVE, "QUANT_SLACK_CHANNEL": "#runs"}, "QUANT_SLACK_CHANNEL", "SLACK_BOT_TOKEN"),
        (
            {**LIVE, "QUANT_ALPHA_VANTAGE_TICKERS": "AAPL"},
            "QUANT_ALPHA_VANTAGE_TICKERS",
            "ALPHA_VANTAGE_API_KEY is not set",
        ),
        ({"QUANT_SMTP_USERNAME": "me"}, "QUANT_SMTP_PASSWORD", "half a login"),
        (
            {
                "QUANT_SMTP_USERNAME": "me",
                "QUANT_SMTP_PASSWORD": SECRET,
                "QUANT_SMTP_SECURITY": "none",
            },
            "QUANT_SMTP_SECURITY",
            "unprotected",
        ),
        ({"QUANT_NEWS_START": "2026-03-21"}, "QUANT_NEWS_START", "has not come"),
    ],
)
def test_settings_that_contradict_each_other(given: dict[str, str], name: str, said: str) -> None:
    settings = Settings(**given)  # type: ignore[arg-type]
    finding = only(checks.contradictions(settings, given, date(2026, 3, 20)))
    assert finding.name == name
    assert said in finding.what
    assert finding.status in ("warn", "fail")
    assert finding.remedy
    assert SECRET not in str(finding)


def test_settings_that_agree() -> None:
    given = {**LIVE, "ALPHA_VANTAGE_API_KEY": SECRET, "QUANT_ALPHA_VANTAGE_TICKERS": "AAPL"}
    settings = Settings(**given)  # type: ignore[arg-type]
    assert only(checks.contradictions(settings, given, date(2026, 3, 20))).status == "ok"


def test_secrets_of_unusable_settings_are_known_for_masking() -> None:
    assert checks.secrets_in({"FRED_API_KEY": "a"}, {"FRED_API_KEY": "b", "PATH": "c"}) == (
        "a",
        "b",
    )
