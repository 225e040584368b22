"""Every setting of the platform, read from the environment once, typed and validated.

What belongs here: names, defaults, units and limits of settings, and what a profile changes.
No other module reads an environment variable (but ``QUANT_CALENDAR_OVERRIDES``, which belongs to
the calendars and is checked in ``markets``). A profile changes settings, never code paths:

- ``sandbox`` (default): the real clients talk to the simulated vendors on loopback.
- ``replay``: the same, the answers come from recorded files (``QUANT_SANDBOX_DATA``).
- ``live``: the real vendors, with the keys given here.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from quant_assets.domain.macro_series import MacroSeries, parse_series
from quant_assets.domain.scoring_config import ScoringConfig
from quant_assets.errors import BadConfigurationError
from quant_assets.events.connection import KafkaConnection
from quant_assets.markets import OVERRIDES_VARIABLE, Listing, load_universe, market
from quant_assets.reference import read_rows, reference_path, reference_rows
from quant_assets.settings_kafka import KafkaSettings
from quant_assets.settings_notices import NoticeSettings
from quant_assets.settings_retention import RetentionSettings
from quant_assets.settings_serving import ServingSettings
from quant_assets.settings_trading import TradingSettings
from quant_assets.vendors.slack import SlackConnection

Profile = Literal["sandbox", "replay", "live"]
SANDBOX_KEY = "sandbox0" * 4
"""Key that the sandbox accepts for FRED and Alpha Vantage; it opens nothing else."""
SANDBOX_SLACK_TOKEN = "xoxb-sandbox"
SANDBOX_FEEDS = ("markets", "companies", "korea")
SLACK_URL = "https://slack.com/api/"


@dataclass(frozen=True)
class Endpoints:
    """Where the vendors are. ``yahoo_proxy`` is None for the real Yahoo."""

    yahoo_proxy: str | None
    fred_url: str
    alpha_vantage_url: str
    slack_url: str
    rss_feeds: tuple[str, ...]


def load_macro_series(source: str) -> tuple[MacroSeries, ...]:
    """Series of the CSV file ``source``, or the shipped ones if it is empty.

    Raises ``BadConfigurationError`` for a missing file and for whatever ``parse_series`` refuses.
    """
    rows: Sequence[Mapping[str, str]]
    if not source:
        rows = reference_rows("macro_series.csv")
    elif not Path(source).is_file():
        raise BadConfigurationError(f"QUANT_MACRO_SERIES: the file {source} does not exist")
    else:
        rows = read_rows(Path(source))
    try:
        return parse_series(rows)
    except ValueError as error:
        raise BadConfigurationError(
            f"QUANT_MACRO_SERIES: {source or 'the shipped list'}: {error}; the columns are "
            "series_id, name, units, frequency, publication_lag_days (empty or a number of days)"
        ) from error


class Settings(KafkaSettings, NoticeSettings, RetentionSettings, ServingSettings, TradingSettings):
    """Settings of one process. Each field's variable is its alias; units are in the name."""

    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True
    )

    profile: Profile = Field("sandbox", alias="QUANT_PROFILE")
    home: Path | None = Field(None, alias="QUANT_HOME")
    dagster_home: Path | None = Field(None, alias="DAGSTER_HOME")
    data_root: str | None = Field(None, alias="QUANT_DATA_ROOT")
    us_universe: str = Field("", alias="QUANT_US_UNIVERSE")
    kr_universe: str = Field("", alias="QUANT_KR_UNIVERSE")
    macro_series: str = Field("", alias="QUANT_MACRO_SERIES")
    first_news_day: date | None = Field(None, alias="QUANT_NEWS_START")
    scoring: Annotated[dict[str, Any], NoDecode] = Field(
        default_factory=dict, alias="QUANT_SCORING"
    )

    fred_api_key: SecretStr = Field(SecretStr(""), alias="FRED_API_KEY")
    alpha_vantage_api_key: SecretStr = Field(SecretStr(""), alias="ALPHA_VANTAGE_API_KEY")
    alpha_vantage_calls_per_minute: int | None = Field(
        None, ge=1, le=1200, alias="QUANT_ALPHA_VANTAGE_CALLS_PER_MINUTE"
    )
    alpha_vantage_tickers: Annotated[tuple[str, ...] | None, NoDecode] = Field(
        None, alias="QUANT_ALPHA_VANTAGE_TICKERS"
    )
    rss_feeds: Annotated[tuple[str, ...], NoDecode] = Field(
        (
            "https://finance.yahoo.com/news/rssindex",
            "https://www.cnbc.com/id/10000664/device/rss/rss.html",
            "https://www.koreaherald.com/rss/newsAll",
        ),
        alias="QUANT_RSS_FEEDS",
    )
    yahoo_workers: int = Field(6, ge=1, le=16, alias="QUANT_YAHOO_WORKERS")
    yahoo_calls_per_second: float | None = Field(
        None, gt=0, le=1000, alias="QUANT_YAHOO_CALLS_PER_SECOND"
    )
    vendor_timeout_seconds: float = Field(10.0, gt=0, le=120, alias="QUANT_VENDOR_TIMEOUT_SECONDS")
    vendor_backoff_seconds: float | None = Field(
        None, ge=0, le=60, alias="QUANT_VENDOR_BACKOFF_SECONDS"
    )
    minimum_success_ratio: float = Field(0.9, gt=0, le=1, alias="QUANT_MINIMUM_SUCCESS_RATIO")
    us_minimum_success_ratio: float | None = Field(
        None, gt=0, le=1, alias="QUANT_US_MINIMUM_SUCCESS_RATIO"
    )
    kr_minimum_success_ratio: float | None = Field(
        None, gt=0, le=1, alias="QUANT_KR_MINIMUM_SUCCESS_RATIO"
    )
    late_bar_wait_seconds: float | None = Field(
        None, ge=0, le=600, alias="QUANT_LATE_BAR_WAIT_SECONDS"
    )
    alpha_vantage_calls_per_day: int | None = Field(
        None, ge=1, le=100_000, alias="QUANT_ALPHA_VANTAGE_CALLS_PER_DAY"
    )
    article_text: bool = Field(False, alias="QUANT_ARTICLE_TEXT")
    sentiment_model: Path | None = Field(None, alias="QUANT_SENTIMENT_MODEL")

    sandbox_seed: int = Field(7, ge=0, le=2**31 - 1, alias="QUANT_SANDBOX_SEED")
    sandbox_data: Path | None = Field(None, alias="QUANT_SANDBOX_DATA")

    @field_validator("rss_feeds", "alpha_vantage_tickers", mode="before")
    @classmethod
    def _split_list(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("scoring")
    @classmethod
    def _scores_can_be_made(cls, values: dict[str, Any]) -> dict[str, Any]:
        try:
            ScoringConfig.from_mapping(values)
        except BadConfigurationError as error:
            raise ValueError(str(error)) from None
        return values

    @field_validator("scoring", mode="before")
    @classmethod
    def _parse_json(cls, value: Any) -> Any:
        try:
            return json.loads(value) if isinstance(value, str) else value
        except ValueError as error:
            raise ValueError(f"not JSON ({error}); give an object of scoring fields") from None

    @field_validator("data_root", mode="before")
    @classmethod
    def _data_root_is_text(cls, value: Any) -> Any:
        """A path, or ``s3://bucket/prefix``, which a path would not keep."""
        text = str(value) if isinstance(value, Path) else value
        if isinstance(text, str) and "://" in text and not text.startswith("s3://"):
            raise ValueError("a directory, or s3://BUCKET/PREFIX")
        return os.path.expanduser(text) if isinstance(text, str) else text  # noqa: PTH111

    @field_validator("home", "dagster_home", "sandbox_data", "sentiment_model")
    @classmethod
    def _expand_user(cls, path: Path | None) -> Path | None:
        """A file of settings has no shell that would replace ~."""
        return None if path is None else path.expanduser()

    @field_validator("rss_feeds")
    @classmethod
    def _feeds_are_urls(cls, feeds: tuple[str, ...]) -> tuple[str, ...]:
        for feed in feeds:
            if not feed.startswith(("http://", "https://")):
                raise ValueError("each feed is an http(s) address, separated by commas")
        return feeds

    @model_validator(mode="after")
    def _replay_has_data(self) -> "Settings":
        if self.profile == "replay" and self.sandbox_data is None:
            raise ValueError("the profile 'replay' needs QUANT_SANDBOX_DATA, the recorded files")
        return self

    @model_validator(mode="after")
    def _instance_is_of_this_profile(self) -> "Settings":
        """Two profiles in one instance would mix simulated and real history."""
        instance = self.dagster_home
        if instance is not None and instance.parent.name == ".quant":
            others = {"sandbox", "replay", "live"} - {self.profile}
            if instance.name in others:
                raise ValueError(
                    f"DAGSTER_HOME is the instance of the profile {instance.name!r} ({instance}), "
                    f"QUANT_PROFILE is {self.profile!r}: run `quant setup --profile {self.profile}`"
                )
        return self

    @property
    def home_dir(self) -> Path:
        """Directory of this profile: Dagster's instance, data, pictures, caches.

        ``QUANT_HOME``, else the ``DAGSTER_HOME`` of this profile's instance, so that a process
        that works in another directory finds the same data, else ``.quant/<profile>`` here.
        """
        if self.home is not None:
            return self.home.absolute()
        if self.dagster_home is not None and self.dagster_home.parent.name == ".quant":
            return self.dagster_home.absolute()
        return (Path(".quant") / self.profile).absolute()

    @property
    def data_dir(self) -> Path:
        """Root of the stored partitions on the disk; see ``data_place``."""
        root = None if self.is_on_s3 else self.data_root
        return Path(root or self.home_dir / "data").absolute()

    @property
    def is_on_s3(self) -> bool:
        """Whether the partitions are stored in a bucket."""
        return str(self.data_root or "").startswith("s3://")

    @property
    def data_place(self) -> str:
        """Root of the stored partitions: a directory, or ``s3://bucket/prefix``."""
        return str(self.data_root).rstrip("/") if self.is_on_s3 else str(self.data_dir)

    @property
    def replayed_data(self) -> Path | None:
        """Directory of the recorded files in the profile ``replay``, else None."""
        if self.profile != "replay" or self.sandbox_data is None:
            return None
        return self.sandbox_data.absolute()

    @property
    def news_start(self) -> date:
        """First day of the news partitions.

        Unset: the first recorded article in a replay, else March 2022, where Alpha Vantage begins.
        """
        if self.first_news_day is not None:
            return self.first_news_day
        if self.replayed_data is not None:
            from quant_assets.sandbox.replay import first_news_day

            return first_news_day(self.replayed_data)
        return date(2022, 3, 1)

    @property
    def is_sandbox(self) -> bool:
        """Whether the vendors are the sandbox's (simulated or replayed)."""
        return self.profile != "live"

    @property
    def has_fred(self) -> bool:
        """Whether FRED can be asked: in the live profile it needs a key."""
        return self.is_sandbox or bool(self.fred_api_key.get_secret_value())

    @property
    def has_alpha_vantage(self) -> bool:
        """Whether Alpha Vantage can be asked: in the live profile it needs a key."""
        return self.is_sandbox or bool(self.alpha_vantage_api_key.get_secret_value())

    @property
    def yahoo_pace_per_second(self) -> float:
        """Requests a second to Yahoo: as set, else 4 to the real one and 500 to the sandbox."""
        return self.yahoo_calls_per_second or (500.0 if self.is_sandbox else 4.0)

    @property
    def alpha_vantage_pace_per_minute(self) -> int:
        """Calls a minute to Alpha Vantage: as set, else 5 (free plan), 1,200 to the sandbox."""
        return self.alpha_vantage_calls_per_minute or (1200 if self.is_sandbox else 5)

    @property
    def fred_pace_per_minute(self) -> int:
        """Requests a minute to FRED, whose limit is 120; the sandbox has none."""
        return 6000 if self.is_sandbox else 110

    @property
    def alpha_vantage_daily_calls(self) -> int | None:
        """Calls a day to Alpha Vantage: as set, else 25 (free plan), uncounted in the sandbox."""
        return self.alpha_vantage_calls_per_day or (None if self.is_sandbox else 25)

    @property
    def backoff_seconds(self) -> float:
        """First pause between attempts at a vendor: as set, else 1 s (sandbox: 0.01 s)."""
        if self.vendor_backoff_seconds is not None:
            return self.vendor_backoff_seconds
        return 0.01 if self.is_sandbox else 1.0

    @property
    def late_bar_pause_seconds(self) -> float:
        """Pause before a late bar is asked for again: as set, else 30; none in the sandbox."""
        if self.late_bar_wait_seconds is not None:
            return self.late_bar_wait_seconds
        return 0.0 if self.is_sandbox else 30.0

    def success_ratio(self, market_key: str) -> float:
        """Share of a market's symbols that the vendor must answer for."""
        own: float | None = getattr(self, f"{market(market_key).key}_minimum_success_ratio")
        return self.minimum_success_ratio if own is None else own

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every key and token in force, for masking them; also those inside feed addresses."""
        keys = (
            self.fred_key(),
            self.alpha_vantage_key(),
            self.slack_bot_token.get_secret_value(),
            self.kafka_sasl_password.get_secret_value(),
            self.kafka_ssl_key_password.get_secret_value(),
            self.smtp_password.get_secret_value(),
            self.serving_password,
            unquote(self.serving_password),
            *(urlsplit(feed).password or "" for feed in self.rss_feeds),
        )
        return tuple(key for key in keys if key)

    @property
    def serving_address(self) -> str:
        """The database of the serving tables; a relative file of SQLite lies in the home."""
        url = self.serving_url.get_secret_value()
        scheme, slashes, path = url.partition("///")
        is_relative = scheme == "sqlite:" and not Path(path).is_absolute()
        return f"{scheme}{slashes}{self.home_dir / path}" if is_relative else url

    @property
    def results_dir(self) -> Path:
        """Where evaluations of the paper book and of backtests are kept."""
        return self.home_dir / "results"

    @property
    def raw_dir(self) -> Path:
        """Where the vendors' raw answers are kept."""
        return self.home_dir / "raw"

    @property
    def yahoo_cache_dir(self) -> Path:
        """Where it is kept what is known of Yahoo's symbols."""
        return self.home_dir / "cache" / "yahoo"

    @property
    def alpha_vantage_reached_path(self) -> Path:
        """File that says until when each ticker was asked for."""
        return self.home_dir / "cache" / "alpha_vantage_tickers.json"

    @property
    def feed_names(self) -> tuple[str, ...]:
        """The feeds that are read; starts no sandbox, as ``endpoints`` may."""
        return SANDBOX_FEEDS if self.is_sandbox else self.rss_feeds

    def alpha_vantage_asked(self) -> tuple[str, ...]:
        """Tickers asked for beside the general feed, one call each.

        Unset: none in the live profile, because the free plan's 25 calls a day just cover the
        general feed every hour; the US universe in the sandbox.
        """
        if self.alpha_vantage_tickers is not None:
            return self.alpha_vantage_tickers
        if not self.is_sandbox:
            return ()
        return tuple(listing.symbol for listing in self.universe("us"))

    def fred_key(self) -> str:
        """Key sent to FRED."""
        return SANDBOX_KEY if self.is_sandbox else self.fred_api_key.get_secret_value()

    def alpha_vantage_key(self) -> str:
        """Key sent to Alpha Vantage."""
        return SANDBOX_KEY if self.is_sandbox else self.alpha_vantage_api_key.get_secret_value()

    def scoring_config(self) -> ScoringConfig:
        """Weights, cut points and constants of the scores."""
        return ScoringConfig.from_mapping(self.scoring)

    def universe(self, market_key: str) -> tuple[Listing, ...]:
        """Symbols of a market, from ``QUANT_<MARKET>_UNIVERSE`` or the shipped file.

        In a replay the default is every recorded symbol, listed from its first to its last bar.
        """
        source = getattr(self, f"{market(market_key).key}_universe")
        if not source and self.replayed_data is not None:
            from quant_assets.sandbox.replay import recorded_listings

            return recorded_listings(self.replayed_data, market_key)
        return load_universe(market_key, source)

    def universe_source(self, market_key: str) -> bytes:
        """What decides a market's universe: the file's content, the list, or the recording."""
        source = getattr(self, f"{market(market_key).key}_universe")
        if not source and self.replayed_data is not None:
            return str(self.replayed_data).encode()
        return _content(source, f"universe_{market_key}.csv")

    def macro_source(self) -> bytes:
        """Content of the file that lists the macro series."""
        return _content(self.macro_series, "macro_series.csv")

    def series(self) -> tuple[MacroSeries, ...]:
        """Macro series to keep, from ``QUANT_MACRO_SERIES`` (a CSV file) or the shipped file."""
        return load_macro_series(self.macro_series)

    def kafka(self) -> KafkaConnection | None:
        """The cluster of ``KAFKA_BOOTSTRAP_SERVERS``, in the sandbox else its embedded broker.

        None where there is none: in the live profile without the variable, and in the sandbox
        while neither `quant dev` nor `quant sandbox` runs.
        """
        configured = self.configured_kafka()
        if configured is not None or not self.is_sandbox:
            return configured
        from quant_assets.sandbox import locate

        servers = locate.kafka_servers(
            self.home_dir, seed=self.sandbox_seed, data_dir=self.replayed_data
        )
        return KafkaConnection(servers, is_embedded=True) if servers else None

    @property
    def may_have_slack(self) -> bool:
        """Whether there may be a Slack: a token is set, or a sandbox is recorded. Asks nobody."""
        if not self.is_sandbox:
            return bool(self.slack_bot_token.get_secret_value())
        from quant_assets.sandbox import locate

        return (self.home_dir / locate.RECORD_NAME).exists()

    def slack(self) -> SlackConnection | None:
        """Slack by ``SLACK_BOT_TOKEN``, in the sandbox its stand-in; None where there is none.

        None means that nothing is posted: in the live profile without a token, in the sandbox
        while none runs. Starts none: nobody would look at it.
        """
        if not self.is_sandbox:
            token = self.slack_bot_token.get_secret_value()
            return SlackConnection(SLACK_URL, token) if token else None
        from quant_assets.sandbox import locate

        base = locate.find(self.home_dir, seed=self.sandbox_seed, data_dir=self.replayed_data)
        return SlackConnection(f"{base}/api/", SANDBOX_SLACK_TOKEN) if base else None

    def endpoints(self) -> Endpoints:
        """Addresses of the vendors; in the sandbox profiles finds the sandbox or starts one.

        Called when a run first needs a vendor, never at import: definitions load without it.
        """
        if not self.is_sandbox:
            return Endpoints(
                yahoo_proxy=None,
                fred_url="https://api.stlouisfed.org/fred",
                alpha_vantage_url="https://www.alphavantage.co",
                slack_url=SLACK_URL,
                rss_feeds=self.rss_feeds,
            )
        from quant_assets.sandbox import locate

        base = locate.ensure(self.home_dir, seed=self.sandbox_seed, data_dir=self.replayed_data)
        return sandbox_endpoints(base)

    def found_endpoints(self) -> Endpoints | None:
        """Addresses of the vendors; None in the sandbox profiles while no sandbox runs."""
        if not self.is_sandbox:
            return self.endpoints()
        from quant_assets.sandbox import locate

        base = locate.find(self.home_dir, seed=self.sandbox_seed, data_dir=self.replayed_data)
        return None if base is None else sandbox_endpoints(base)


def read_settings(**overrides: Any) -> Settings:
    """Read and validate the settings afresh; ``overrides`` by variable come before the rest.

    Raises ``BadConfigurationError`` that names each wrong variable, what it holds and what is
    allowed; the value of a secret is never part of it.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise BadConfigurationError(_explain(error)) from None


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once."""
    return read_settings()


@dataclass(frozen=True)
class SettingProblem:
    """A wrong setting: its variable, empty where several contradict each other.

    ``shown`` is what it holds, empty for a secret; ``message`` says what is allowed.
    """

    name: str
    shown: str
    message: str


def setting_problems(**overrides: Any) -> tuple[list[SettingProblem], Settings | None]:
    """Everything that is wrong with the settings, and what they would be without it.

    A wrong value is replaced by its default to find what else is wrong; None where that does not
    make settings either, because several contradict each other.
    """
    problems: list[SettingProblem] = []
    while True:
        try:
            return problems, Settings(**overrides)
        except ValidationError as error:
            found = _problems(error)
        problems += found
        defaults = {problem.name: _default(problem.name) for problem in found if problem.name}
        if not defaults or defaults.keys() <= overrides.keys():
            return problems, None
        overrides |= defaults


def setting_variables() -> tuple[str, ...]:
    """Every variable that is a setting."""
    names = [field.alias for field in Settings.model_fields.values() if field.alias]
    return (*names, OVERRIDES_VARIABLE)


def secret_variables() -> tuple[str, ...]:
    """The variables that hold keys, tokens and passwords."""
    fields = Settings.model_fields.values()
    return tuple(f.alias for f in fields if f.alias and f.annotation is SecretStr)


def sandbox_endpoints(base: str) -> Endpoints:
    """Addresses of the vendors in the sandbox at ``base``."""
    return Endpoints(
        yahoo_proxy=base,
        fred_url=f"{base}/fred",
        alpha_vantage_url=base,
        slack_url=f"{base}/api/",
        rss_feeds=tuple(f"{base}/rss/{feed}.xml" for feed in SANDBOX_FEEDS),
    )


def _default(variable: str) -> Any:
    field = next(f for f in Settings.model_fields.values() if f.alias == variable)
    return field.get_default(call_default_factory=True)


def _content(source: str, shipped: str) -> bytes:
    """Bytes of a setting that is a file, a list or (empty) a shipped file."""
    if not source:
        return reference_path(shipped).read_bytes()
    # A list may be longer than any file's name, and the system does not look for such a file.
    may_be_file = source.endswith(".csv") or "," not in source
    is_file = may_be_file and Path(source).is_file()
    return Path(source).read_bytes() if is_file else source.encode()


def _explain(error: ValidationError) -> str:
    lines = ["the settings are not usable:"]
    for problem in _problems(error):
        shown = f" = {problem.shown}" if problem.shown else ""
        lines.append(f"  {problem.name or 'settings'}{shown}: {problem.message}")
    return "\n".join(lines)


def _problems(error: ValidationError) -> list[SettingProblem]:
    found = []
    for problem in error.errors():
        name = str(problem["loc"][0]) if problem["loc"] else ""
        is_hidden = not name or name == "QUANT_RSS_FEEDS" or name in secret_variables()
        shown = "" if is_hidden else repr(problem["input"])
        found.append(SettingProblem(name, shown, problem["msg"].removeprefix("Value error, ")))
    return found
