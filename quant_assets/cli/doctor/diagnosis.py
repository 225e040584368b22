"""All checks of a look. What belongs here: which there are, and what each is given."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from quant_assets.cli.doctor import (
    instance_checks,
    kafka_checks,
    places,
    reference_checks,
    serving_checks,
    settings_checks,
    vendor_checks,
    version_checks,
)
from quant_assets.cli.doctor.findings import Check, Finding, Found, Group, run_checks
from quant_assets.cli.doctor.report import Report, report
from quant_assets.cli.instance import ENV_FILE, checkout, enter_environment
from quant_assets.markets import MARKETS, OVERRIDES_VARIABLE
from quant_assets.settings import Endpoints, SettingProblem, Settings, setting_problems

DECISIVE = {"QUANT_PROFILE", "QUANT_HOME", "QUANT_DATA_ROOT", "QUANT_SANDBOX_DATA"}
"""Without these nobody knows which instance and data are meant: nothing else is looked at."""
IMPORT_SECONDS = 30.0
"""What Dagster's import may take on a slow machine, beside the answer of a database."""
_NETWORK = "check the network, the address and the proxy variables"
_FILES = "see what the message names, and .env.example for the form of each file"


@dataclass(frozen=True)
class Wishes:
    """What the user asked for. ``seconds``: time limit of each check that asks somebody."""

    profile: str | None = None
    data: Path | None = None
    is_offline: bool = False
    is_alpha_vantage_asked: bool = False
    seconds: float = 10.0


def diagnose(wishes: Wishes) -> tuple[Report, bool]:
    """Look at everything, and whether a check still hangs: then its thread must not be awaited."""
    user = dict(os.environ)
    file = settings_checks.read_env_file(ENV_FILE)
    _enter(file, wishes)
    values, problems = _settings(file)
    checks = [*_about_settings(file, user, values, problems), *_about_versions()]
    if values is not None:
        checks += _about_places(values, user, file.values)
        checks += _about_instance(values, wishes.seconds, has_problems=bool(problems))
        checks += _about_others(values, wishes)
    checks += _about_reference(values)
    secrets = (*settings_checks.secrets_in(os.environ, file.values), *_secrets(values))
    findings, is_hanging = run_checks(checks, secrets)
    if values is None:
        findings.append(_unlooked())
    known = ("", "") if values is None else (values.profile, str(values.home_dir))
    return report(*known, _by_group(findings)), is_hanging


def _enter(file: settings_checks.EnvFile, wishes: Wishes) -> None:
    """Make the environment that of any command; lines that no environment can hold stay out."""
    fit = {n: v for n, v in file.values.items() if n and "=" not in n and _is_text(n + v)}
    enter_environment(fit, wishes.profile, wishes.data)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _settings(file: settings_checks.EnvFile) -> tuple[Settings | None, list[SettingProblem]]:
    """The settings as they would be without the wrong ones, None where that would mislead."""
    if file.error:
        return None, []
    problems, values = setting_problems(DAGSTER_HOME=None)
    is_misleading = any(problem.name in DECISIVE for problem in problems)
    return (None if is_misleading else values), problems


def _secrets(values: Settings | None) -> tuple[str, ...]:
    return () if values is None else values.secrets


def _unlooked() -> Finding:
    group = Group("everything else")
    return group.skip("not looked at", "what it is about stands in the settings above")


def _by_group(findings: list[Finding]) -> list[Finding]:
    """Findings with those of a group together, in the order in which the groups come first."""
    groups = list(dict.fromkeys(finding.group for finding in findings))
    return sorted(findings, key=lambda finding: groups.index(finding.group))


def _about_settings(
    file: settings_checks.EnvFile,
    user: Mapping[str, str],
    values: Settings | None,
    problems: list[SettingProblem],
) -> Iterator[Check]:
    group = settings_checks.SETTINGS

    def check(name: str, look: Callable[[], Found]) -> Check:
        return Check(group, name, look, "see .env.example")

    yield check(".env", partial(settings_checks.env_file, file, user))
    yield check("names", partial(settings_checks.names, user, file))
    if not file.error:
        yield check("values", partial(settings_checks.values, problems))
    if values is not None:
        given = {**file.values, **user}
        today = datetime.now(UTC).date()
        look = partial(settings_checks.contradictions, values, given, today)
        yield check("together", look)


def _about_versions() -> Iterator[Check]:
    group = version_checks.VERSIONS
    remedy = "make the virtual environment anew: rm -rf .venv, then make run"
    for name, look in (
        ("Python", version_checks.python),
        ("dagster", lambda: version_checks.dagster(version_checks.dagsters_installed())),
        ("requirements", version_checks.demands),
        ("requirements.lock", lambda: version_checks.lock(_lock_file())),
    ):
        yield Check(group, name, look, remedy)


def _lock_file() -> Path:
    return checkout() / "requirements.lock"


def _about_places(
    values: Settings, user: Mapping[str, str], lines: Mapping[str, str]
) -> Iterator[Check]:
    group = places.PLACES
    writable = "make the directory readable and writable, or name another"
    looks: tuple[tuple[str, Callable[[], Found]], ...] = (
        ("home", partial(places.home, values)),
        ("data", partial(places.data_root, values)),
        ("raw answers", partial(places.raw_answers, values)),
        ("disk", partial(places.free_space, values)),
        ("owner of the data", partial(places.owner, values)),
        ("temporary files", partial(places.leftovers, values)),
        ("DAGSTER_HOME", partial(places.dagster_home, values, user, lines)),
        ("dagster.yaml", partial(places.instance_link, values)),
    )
    for name, look in looks:
        yield Check(group, name, look, writable)


def _about_instance(values: Settings, seconds: float, *, has_problems: bool) -> Iterator[Check]:
    """The instance's storage may be a server that does not answer: hence a limit."""
    opened = instance_checks.OpenInstance(values.home_dir)
    group = instance_checks.INSTANCE
    remedy = "check dagster.yaml and the database that it names"
    looks: tuple[tuple[str, Callable[[], Found]], ...] = (
        ("databases", partial(instance_checks.databases, values)),
        ("schema", partial(instance_checks.schema, opened)),
        ("unfinished runs", partial(instance_checks.dead, opened)),
        ("daemon", partial(instance_checks.daemon, opened)),
    )
    for name, look in looks:
        yield Check(group, name, look, remedy, seconds + IMPORT_SECONDS)
    if has_problems:
        wrong = group.skip("code location", "it loads the settings, of which some are wrong")
        yield Check(group, "code location", lambda: wrong, "")
    else:
        loads = partial(instance_checks.code_location, values)
        mend = "mend what the message names"
        yield Check(group, "code location", loads, mend, seconds + IMPORT_SECONDS)


def _about_others(values: Settings, wishes: Wishes) -> Iterator[Check]:
    """The checks that ask somebody; in the sandbox profiles a sandbox, if one runs."""
    seconds = wishes.seconds
    asked = _Asked(values)
    of_vendors: dict[str, Callable[[Endpoints], Found]] = {
        "FRED": lambda them: vendor_checks.fred(values, them, seconds),
        "Yahoo": lambda them: vendor_checks.yahoo(values, them, seconds),
        "RSS feeds": lambda them: vendor_checks.feeds(them, seconds),
        "Alpha Vantage": lambda them: vendor_checks.alpha_vantage(
            values, them, seconds, is_asked=wishes.is_alpha_vantage_asked
        ),
    }
    others: list[tuple[Group, str, Callable[[], Found], str]] = [
        (vendor_checks.VENDORS, name, partial(asked.vendor, name, look), _NETWORK)
        for name, look in of_vendors.items()
    ]
    others += [
        (
            vendor_checks.NOTICES,
            "Slack",
            lambda: vendor_checks.slack(values, values.slack(), seconds),
            "check SLACK_BOT_TOKEN and the network",
        ),
        (
            vendor_checks.NOTICES,
            "mail",
            lambda: vendor_checks.mail(values.mail_server()),
            "check QUANT_SMTP_HOST, QUANT_SMTP_PORT and the login",
        ),
        (
            kafka_checks.KAFKA,
            "broker",
            lambda: kafka_checks.kafka(values, seconds),
            "check KAFKA_BOOTSTRAP_SERVERS, KAFKA_SECURITY_PROTOCOL, and that the broker is up",
        ),
        (
            serving_checks.SERVING,
            serving_checks.NAME,
            lambda: serving_checks.tables(values),
            "check QUANT_SERVING_URL, and that the database is up",
        ),
        (
            reference_checks.TIME,
            "clock",
            lambda: reference_checks.clock(asked.clocks(), seconds / 2),
            _NETWORK,
        ),
    ]
    for group, name, look, remedy in others:
        if wishes.is_offline:
            yield Check(group, name, partial(group.skip, name, "nobody is asked (--offline)"), "")
        else:
            # The checks' own limits are shorter: they say more than that time is over.
            yield Check(group, name, look, remedy, seconds + 5)


@dataclass(frozen=True)
class _Asked:
    """The vendors of a profile, real or the sandbox's."""

    values: Settings

    def vendor(self, name: str, look: Callable[[Endpoints], Found]) -> Found:
        """What ``look`` finds, or that no sandbox runs."""
        endpoints = self.values.found_endpoints()
        if endpoints is not None:
            return look(endpoints)
        what = "no sandbox runs: `quant run` starts one of its own"
        return vendor_checks.VENDORS.skip(name, what)

    def clocks(self) -> tuple[str, ...]:
        """Addresses whose answers say what time it is."""
        endpoints = self.values.found_endpoints()
        if endpoints is None:
            return ()
        return (endpoints.fred_url, *endpoints.rss_feeds[:2])


def _about_reference(values: Settings | None) -> Iterator[Check]:
    group, today = reference_checks.REFERENCE, datetime.now(UTC).date()
    file = os.environ.get(OVERRIDES_VARIABLE, "")
    looks: dict[str, Callable[[], Found]] = {
        "calendars": partial(reference_checks.calendars, today),
        "overrides": partial(reference_checks.overrides, file),
    }
    if values is not None:
        for key in MARKETS:
            looks[f"universe {key}"] = partial(reference_checks.universe, values, key)
        looks["macro series"] = partial(reference_checks.macro_series, values)
        looks["sentiment"] = partial(reference_checks.sentiment_model, values)
        if values.replayed_data is not None:
            looks["recorded files"] = partial(reference_checks.recorded, values)
    for name, look in looks.items():
        yield Check(group, name, look, _FILES)
    yield Check(reference_checks.TIME, "timezone data", reference_checks.zones, "")
    yield Check(reference_checks.TIME, "timezone", reference_checks.local_zone, "")
