"""What the resources share. What belongs here: settings as Dagster config, clock, store."""

import logging
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from quant_assets import naming
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.io_managers.quarantine import Quarantine
from quant_assets.markets import Listing
from quant_assets.settings import Settings, read_settings
from quant_assets.vendors.archive import NoTape, RawArchive, Recording, Replay, Scope

_SHOWN_SETTINGS = frozenset(
    {
        "profile",
        "us_universe",
        "kr_universe",
        "macro_series",
        "scoring",
        "serving_reader",
        "strategy_list",
        "trading",
        "reports",
        "alpha_vantage_calls_per_minute",
        "alpha_vantage_tickers",
        "yahoo_workers",
        "yahoo_calls_per_second",
        "vendor_timeout_seconds",
        "vendor_backoff_seconds",
        "minimum_success_ratio",
        "us_minimum_success_ratio",
        "kr_minimum_success_ratio",
        "late_bar_wait_seconds",
        "alpha_vantage_calls_per_day",
        "article_text",
        "sentiment_model",
        "raw_retention_days",
        "kafka_bootstrap_servers",
        "kafka_security_protocol",
        "kafka_sasl_mechanism",
        "kafka_sasl_username",
        "kafka_ssl_ca_location",
        "kafka_ssl_certificate_location",
        "kafka_ssl_key_location",
        "kafka_compression",
        "kafka_delivery_timeout_seconds",
        "kafka_topic_prefix",
        "kafka_topic_aliases",
        "event_runs",
        "event_max_age_days",
        "slack_channel",
        "slack_alert_channels",
        "ui_url",
        "recommendations_deadline_minutes",
        "smtp_host",
        "smtp_port",
        "smtp_security",
        "smtp_username",
        "mail_from",
        "mail_to",
        "sandbox_seed",
        "sandbox_data",
    }
)


def shown_settings(settings: Settings) -> dict[str, Any]:
    """The settings, by variable, that a resource may carry as visible config: no secret."""
    shown = settings.model_dump(
        mode="json", include=set(_SHOWN_SETTINGS), exclude_none=True, by_alias=True
    )
    return {**shown, "QUANT_HOME": str(settings.home_dir)}


class SettingsResource(dg.ConfigurableResource[Any]):
    """A resource that rebuilds the settings from its config; secrets come from the environment.

    ``values`` are the settings that differ by profile. The addresses of the vendors are found
    when a client is first made, never when the definitions load.
    """

    values: dict[str, Any]

    def settings(self) -> Settings:
        """Settings of the run."""
        return read_settings(**self.values)

    def listings(self, market_key: str) -> tuple[Listing, ...]:
        """Universe of a market."""
        return self.settings().universe(market_key)


class ClockResource(dg.ConfigurableResource[Any]):
    """The time of the run. ``fixed_now`` (ISO 8601, UTC) stops it, for tests and for replays."""

    fixed_now: str = ""

    def now(self) -> datetime:
        """The present, UTC."""
        return datetime.fromisoformat(self.fixed_now) if self.fixed_now else datetime.now(UTC)


class RawResource(SettingsResource):
    """The vendors' answers as they came: kept by every fetch, read by a rebuild."""

    def archive(self) -> RawArchive:
        """The archive of this profile; it masks every secret of the settings."""
        settings = self.settings()
        return RawArchive(settings.raw_dir, settings.secrets)

    def fetch(self, context: dg.AssetExecutionContext, now: datetime) -> "Fetch":
        """Begin the fetch of a run: a recording one, or a replay where the run's tag asks for it.

        Raises ``BadConfigurationError`` if a rebuild finds no kept answers.
        """
        asset = context.asset_key.to_user_string()
        keys = sorted(context.partition_keys)
        settings = self.settings()
        if context.run.tags.get(naming.TAG_REBUILD):
            return Fetch(asset, self.archive().replay(asset, keys[0], keys[-1]), None, context.log)
        scope = Scope(keys[0], keys[-1], now)
        if not settings.raw_retention_days:
            return Fetch(asset, NoTape(scope), None, context.log)
        tape = self.archive().record(scope)
        return Fetch(asset, tape, settings.raw_retention_days, context.log)


class Fetch:
    """One fetch of an asset: what it is for, the tape of its answers, and their keeping.

    In a rebuild ``first``, ``last`` and ``now`` are those of the fetch that is repeated, which may
    have been for more partitions than the run; otherwise they are the run's.
    """

    def __init__(
        self,
        asset: str,
        tape: Recording | Replay | NoTape,
        retention_days: int | None,
        log: logging.Logger,
    ) -> None:
        self.tape = tape
        self.first, self.last, self.now = tape.scope.first, tape.scope.last, tape.scope.now
        self._asset = asset
        self._retention_days = retention_days
        self._log = log

    @property
    def is_rebuild(self) -> bool:
        """Whether kept answers are used and no vendor is asked."""
        return isinstance(self.tape, Replay)

    def keep(self) -> dict[str, Any]:
        """Write down what the fetch rests on, before its rows are stored; facts for the metadata.

        Also removes, once a day, what is older than ``QUANT_RAW_RETENTION_DAYS``. An archive that
        cannot be written costs no row: the facts and a warning say that the answers are not kept.
        """
        if isinstance(self.tape, Replay):
            return {"rebuilt_from": self.tape.manifest.path.name}
        if isinstance(self.tape, NoTape):
            return {}
        assert self._retention_days is not None
        path = self.tape.save(self._asset)
        try:
            self.tape.archive.prune_daily(datetime.now(UTC), self._retention_days)
        except OSError as error:
            self._log.warning("%s: old raw answers could not be removed: %s", self._asset, error)
        if path is not None:
            return {"raw_answers": path.name}
        self._log.warning("%s: %s", self._asset, self.tape.problem)
        return {"raw_answers": self.tape.problem}


class StoreResource(dg.ConfigurableResource[Any]):
    """Stored partitions, for assets that merge with what they stored before and for checks."""

    root: str
    profile: str

    def open(self) -> ParquetStore:
        """The store of this run."""
        return ParquetStore(self.root, self.profile)

    def quarantine(self, asset: str) -> Quarantine:
        """The refused rows of an asset."""
        return Quarantine(self.open(), asset)
