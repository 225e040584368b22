"""Settings. What belongs here: ``.env``, names, values, and values that contradict each other.

No value of a secret is part of any finding, and of ``.env`` no line is repeated.
"""

from __future__ import annotations

import difflib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from quant_assets.cli.doctor.findings import Finding, Group
from quant_assets.settings import (
    SettingProblem,
    Settings,
    secret_variables,
    setting_variables,
)

SETTINGS = Group("settings")
LARGEST_ENV_FILE = 1_000_000
PREFIXES = ("QUANT_", "KAFKA_")
_NOT_SETTINGS = {"QUANT_TEST_DATA"}
"""Read by the tests."""


@dataclass(frozen=True)
class EnvFile:
    """What ``.env`` holds: values by name, numbers of lines that say nothing, repeated names.

    ``error`` says why the file cannot be read at all; ``mode`` are its permissions.
    """

    path: Path
    is_there: bool = False
    values: Mapping[str, str] = field(default_factory=dict)
    bad_lines: tuple[int, ...] = ()
    repeated: tuple[str, ...] = ()
    mode: int = 0
    error: str = ""


def read_env_file(path: Path) -> EnvFile:
    """Read a file of settings as Dagster and ``quant`` do, whatever it is."""
    if not path.exists() and not path.is_symlink():
        return EnvFile(path)
    try:
        if not path.is_file():
            return EnvFile(path, is_there=True, error="it is no file")
        facts = path.stat()
        if facts.st_size > LARGEST_ENV_FILE:
            return EnvFile(path, is_there=True, error=f"it has {facts.st_size:,} bytes")
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        return EnvFile(path, is_there=True, error=f"it is not UTF-8 (byte {error.start})")
    except OSError as error:
        return EnvFile(path, is_there=True, error=error.strerror or type(error).__name__)
    if "\0" in text:
        return EnvFile(path, is_there=True, error="it holds a zero byte")
    return _parsed(path, text, facts.st_mode)


def _parsed(path: Path, text: str, mode: int) -> EnvFile:
    from dotenv import dotenv_values
    from dotenv.parser import parse_stream

    bindings = list(parse_stream(io.StringIO(text)))
    bad = [b.original.line for b in bindings if b.error or (b.key and b.value is None)]
    keys = [b.key for b in bindings if b.key]
    return EnvFile(
        path,
        is_there=True,
        values={k: v for k, v in dotenv_values(stream=io.StringIO(text)).items() if v is not None},
        bad_lines=tuple(bad),
        repeated=tuple(sorted({key for key in keys if keys.count(key) > 1})),
        mode=mode,
    )


def secrets_in(*sources: Mapping[str, str]) -> tuple[str, ...]:
    """Values of the variables that are secrets, also of settings that are not usable."""
    return tuple(
        value for name in secret_variables() for source in sources if (value := source.get(name))
    )


def env_file(file: EnvFile, environment: Mapping[str, str]) -> list[Finding]:
    """Whether ``.env`` can be read, who else may, and whether the environment hides lines of it.

    ``environment`` is that of the user, before ``.env`` was read.
    """
    if not file.is_there:
        what = "there is none here: the defaults and the environment hold"
        return [SETTINGS.ok(".env", what)]
    if file.error:
        remedy = "make it a readable text of lines NAME=value (.env.example)"
        return [SETTINGS.fail(".env", f"{file.path}: {file.error}", remedy)]
    found = []
    if file.bad_lines:
        numbers = ", ".join(str(number) for number in file.bad_lines[:10])
        found.append(
            SETTINGS.warn(".env", f"nothing is read from line {numbers}", "write NAME=value")
        )
    for name in file.repeated:
        found.append(SETTINGS.warn(name, ".env sets it twice: the last counts", "keep one line"))
    if file.mode & 0o077 and secrets_in(file.values):
        what = f".env holds keys, and others may read it (mode {file.mode & 0o777:o})"
        found.append(SETTINGS.warn(".env", what, "chmod 600 .env"))
    for name, value in file.values.items():
        if name in setting_variables() and environment.get(name, value) != value:
            what = "the environment and .env differ: the environment counts"
            found.append(SETTINGS.warn(name, what, f"unset {name}, or take it out of .env"))
    return found or [SETTINGS.ok(".env", f"{len(file.values)} variable(s)")]


def names(environment: Mapping[str, str], file: EnvFile) -> list[Finding]:
    """Variables that look like ours and are none, with the one that is probably meant."""
    known = {*setting_variables()}
    ignored = known | _NOT_SETTINGS
    given = {name: "the environment" for name in environment if name.startswith(PREFIXES)}
    given |= {
        name: ".env"
        for name in file.values
        if name.startswith(PREFIXES) or _meant(name, known, 0.8) is not None
    }
    found = []
    for name, place in sorted(given.items()):
        if name in ignored:
            continue
        meant = _meant(name, known, 0.6)
        remedy = f"is {meant} meant?" if meant else "see .env.example for the names, or remove it"
        found.append(SETTINGS.warn(name, f"{place} sets it, and there is no such setting", remedy))
    return found or [SETTINGS.ok("names", f"each is one of the {len(known)} settings")]


def _meant(name: str, known: set[str], cutoff: float) -> str | None:
    """The setting whose name is nearest, if it is near."""
    near = difflib.get_close_matches(name.upper(), sorted(known), 1, cutoff)
    return near[0] if near else None


def values(problems: Sequence[SettingProblem]) -> list[Finding]:
    """One finding a wrong setting, with what is allowed."""
    found = []
    for problem in problems:
        shown = f"is {problem.shown}: " if problem.shown else ""
        name = problem.name or "together"
        remedy = f"set {problem.name} anew or unset it" if problem.name else "change one of them"
        found.append(SETTINGS.fail(name, f"{shown}{problem.message}", remedy))
    return found or [SETTINGS.ok("values", "all are valid")]


def contradictions(
    settings: Settings, environment: Mapping[str, str], today: date
) -> list[Finding]:
    """Settings that are valid one by one and have no effect, or a wrong one, together."""
    found = [
        *_about_kafka(settings, environment),
        *_about_notices(settings, environment),
        *_about_news(settings, environment, today),
    ]
    return found or [SETTINGS.ok("together", "none contradicts another")]


def _about_kafka(settings: Settings, environment: Mapping[str, str]) -> Iterator[Finding]:
    protocol = settings.kafka_security_protocol
    if not settings.kafka_bootstrap_servers:
        if lonely := _set(environment, "KAFKA_S", "KAFKA_DELIVERY", "KAFKA_COMPRESSION"):
            yield _idle(lonely, "KAFKA_BOOTSTRAP_SERVERS is not set")
        return
    if "SASL" not in protocol and (lonely := _set(environment, "KAFKA_SASL_")):
        yield _idle(lonely, f"KAFKA_SECURITY_PROTOCOL is {protocol}, which has no login")
    if "SSL" not in protocol and (lonely := _set(environment, "KAFKA_SSL_")):
        yield _idle(lonely, f"KAFKA_SECURITY_PROTOCOL is {protocol}, which has no TLS")
    for name, path in (
        ("KAFKA_SSL_CA_LOCATION", settings.kafka_ssl_ca_location),
        ("KAFKA_SSL_CERTIFICATE_LOCATION", settings.kafka_ssl_certificate_location),
        ("KAFKA_SSL_KEY_LOCATION", settings.kafka_ssl_key_location),
    ):
        if path is not None and not os.access(path, os.R_OK):
            what = f"{path} is not there or not readable"
            yield SETTINGS.fail(name, what, "name the file, or unset it")


def _about_notices(settings: Settings, environment: Mapping[str, str]) -> Iterator[Finding]:
    has_token = bool(settings.slack_bot_token.get_secret_value())
    if not settings.is_sandbox and not has_token and (lonely := _set(environment, "QUANT_SLACK_")):
        yield _idle(lonely, "SLACK_BOT_TOKEN is not set")
    has_password = bool(settings.smtp_password.get_secret_value())
    if bool(settings.smtp_username) != has_password:
        missing = "QUANT_SMTP_USERNAME" if has_password else "QUANT_SMTP_PASSWORD"
        yield SETTINGS.warn(missing, "half a login: it is not set", "set both, or none")
    if has_password and settings.smtp_security == "none":
        what = "none: the password goes over the network unprotected"
        yield SETTINGS.warn("QUANT_SMTP_SECURITY", what, "set starttls or tls")


def _about_news(
    settings: Settings, environment: Mapping[str, str], today: date
) -> Iterator[Finding]:
    if not settings.has_alpha_vantage and (lonely := _set(environment, "QUANT_ALPHA_VANTAGE_")):
        yield _idle(lonely, "ALPHA_VANTAGE_API_KEY is not set")
    if settings.first_news_day is not None and settings.first_news_day > today:
        what = f"{settings.first_news_day} has not come: there is no news partition yet"
        yield SETTINGS.warn("QUANT_NEWS_START", what, "set the day of the first news you want")


def _set(environment: Mapping[str, str], *prefixes: str) -> list[str]:
    """Settings with these beginnings that hold something."""
    known = setting_variables()
    return [n for n in sorted(known) if n.startswith(prefixes) and environment.get(n)]


def _idle(variables: Sequence[str], why: str) -> Finding:
    others = f" (so do {', '.join(variables[1:])})" if variables[1:] else ""
    what = f"has no effect{others}: {why}"
    return SETTINGS.warn(variables[0], what, "set what is missing, or remove it")
