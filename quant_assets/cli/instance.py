"""The Dagster instance of a profile. What belongs here: its directory, its link, the ``.env`` line.

UI, daemon and every command share one instance, ``.quant/<profile>``. Its ``dagster.yaml`` is a
link to the checkout's. ``dagster`` commands typed in the checkout find it by the ``DAGSTER_HOME``
line that ``quant setup`` keeps in ``.env``, which Dagster reads from the working directory.
"""

import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path

from quant_assets.errors import BadConfigurationError
from quant_assets.settings import Settings, read_settings, settings
from quant_assets.vendors.redaction import MASK

ENV_FILE = Path(".env")
CONFIGURATION, WORKSPACE = "dagster.yaml", "workspace.yaml"
DATABASES = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")
"""SQLite files of an instance below its home; each run has a small one of its own beside them."""
_STORAGE = re.compile(r"^(storage|run_storage|event_log_storage|schedule_storage):", re.MULTILINE)

_OF_ONE_ERROR = r"(?:(?!\n    Error \d+: ).)+"
_VALUES = re.compile(
    rf"(?s)(\. Value ){_OF_ONE_ERROR}(?= of type \"<class)"
    rf"|( in enum type \S+ got ){_OF_ONE_ERROR}|( of original value ){_OF_ONE_ERROR}(?= failed:)"
)
"""Where Dagster quotes a value of ``dagster.yaml``: a password without quotes is a number."""


def open_profile(profile: str | None = None, data: Path | None = None) -> Settings:
    """Settle which profile this process works on and prepare its instance."""
    values = look_at_profile(profile, data)
    prepare(values)
    return values


def look_at_profile(profile: str | None = None, data: Path | None = None) -> Settings:
    """Settle which profile this process works on; nothing is written.

    The variables of ``.env`` are put into the environment (those set there come first), then
    ``--profile`` and ``--data``, so that child processes see the same settings.
    """
    from dotenv import dotenv_values

    enter_environment(dotenv_values(ENV_FILE), profile, data)
    values = read_settings(DAGSTER_HOME=None)
    os.environ["DAGSTER_HOME"] = str(values.home_dir)
    settings.cache_clear()
    return values


def enter_environment(
    lines: Mapping[str, str | None], profile: str | None, data: Path | None
) -> None:
    """Put the ``lines`` of ``.env``, then what was asked for, into the environment."""
    for name, value in lines.items():
        if value is not None and name != "DAGSTER_HOME":
            os.environ.setdefault(name, value)
    if data is not None:
        profile = "replay"
        os.environ["QUANT_SANDBOX_DATA"] = str(data.absolute())
    if profile is not None:
        os.environ["QUANT_PROFILE"] = profile
    for name in ("QUANT_HOME", "QUANT_DATA_ROOT"):
        if os.environ.get(name) and not os.environ[name].startswith("s3://"):
            os.environ[name] = str(Path(os.environ[name]).absolute())


def has_instance(home: Path) -> bool:
    """Whether ``home`` has an instance with storage: on a server that it names, or files.

    Opening one without would make it.
    """
    if not (home / CONFIGURATION).is_file():
        return False
    return names_storage(home) or any((home / name).exists() for name in DATABASES)


def names_storage(home: Path) -> bool:
    """Whether the instance's ``dagster.yaml`` keeps its storage elsewhere than in files here."""
    configuration = home / CONFIGURATION
    if not configuration.is_file():
        return False
    return _STORAGE.search(configuration.read_text(encoding="utf-8")) is not None


def prepare(values: Settings) -> Path:
    """Make the profile's directory and its link to the checkout's ``dagster.yaml``.

    A file of the user's own stays, and so does a link to one.
    """
    home = values.home_dir
    home.mkdir(parents=True, exist_ok=True)
    link, target = home / CONFIGURATION, checkout() / CONFIGURATION
    if not link.exists() or (link.resolve() != target.resolve() and is_of_checkout(link)):
        # Whoever opens the instance meanwhile finds the old link or the new one.
        made = home / f".{CONFIGURATION}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp"
        made.symlink_to(target)
        made.replace(link)
    return home


def without_values(problem: str) -> str:
    """What Dagster says is wrong with a ``dagster.yaml``, without the values that it quotes."""
    return _VALUES.sub(lambda found: f"{found[found.lastindex or 0]}{MASK}", problem)


def is_of_checkout(link: Path) -> bool:
    """Whether a link leads to the ``dagster.yaml`` of a checkout."""
    end = link.resolve()
    is_named_so = end.name == CONFIGURATION and (end.parent / WORKSPACE).is_file()
    return link.is_symlink() and is_named_so


def checkout() -> Path:
    """Directory that holds ``dagster.yaml`` and ``workspace.yaml``."""
    here = Path(__file__).resolve().parents[2]
    for folder in (Path.cwd(), here):
        if (folder / CONFIGURATION).is_file() and (folder / WORKSPACE).is_file():
            return folder
    raise BadConfigurationError(
        f"neither {Path.cwd()} nor {here} holds dagster.yaml and workspace.yaml: "
        "run quant in the checkout"
    )


def write_env_file(values: Settings) -> Path:
    """Keep the managed lines of ``.env`` at the profile's values; other lines stay untouched."""
    wanted = {"QUANT_PROFILE": values.profile, "DAGSTER_HOME": str(values.home_dir)}
    if values.replayed_data is not None:
        wanted["QUANT_SANDBOX_DATA"] = str(values.replayed_data)
    old = ENV_FILE.read_text(encoding="utf-8").splitlines() if ENV_FILE.exists() else []
    kept = [line for line in old if line.split("=", 1)[0].strip() not in wanted]
    lines = [*kept, *(f"{name}={value}" for name, value in wanted.items())]
    ENV_FILE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return ENV_FILE
