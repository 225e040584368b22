"""The settings of Kafka. What belongs here: their names, limits and defaults."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode

from quant_assets.errors import BadConfigurationError
from quant_assets.events.connection import KafkaConnection
from quant_assets.events.topics import TopicNames

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


class KafkaSettings(BaseSettings):
    """How Kafka is reached and what is read from it."""

    kafka_bootstrap_servers: str = Field("", alias="KAFKA_BOOTSTRAP_SERVERS")
    kafka_security_protocol: SecurityProtocol = Field("PLAINTEXT", alias="KAFKA_SECURITY_PROTOCOL")
    kafka_sasl_mechanism: SaslMechanism = Field("", alias="KAFKA_SASL_MECHANISM")
    kafka_sasl_username: str = Field("", alias="KAFKA_SASL_USERNAME")
    kafka_sasl_password: SecretStr = Field(SecretStr(""), alias="KAFKA_SASL_PASSWORD")
    kafka_ssl_ca_location: Path | None = Field(None, alias="KAFKA_SSL_CA_LOCATION")
    kafka_ssl_certificate_location: Path | None = Field(
        None, alias="KAFKA_SSL_CERTIFICATE_LOCATION"
    )
    kafka_ssl_key_location: Path | None = Field(None, alias="KAFKA_SSL_KEY_LOCATION")
    kafka_ssl_key_password: SecretStr = Field(SecretStr(""), alias="KAFKA_SSL_KEY_PASSWORD")
    kafka_compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field(
        "snappy", alias="KAFKA_COMPRESSION"
    )
    kafka_delivery_timeout_seconds: float = Field(
        30.0, ge=1, le=300, alias="KAFKA_DELIVERY_TIMEOUT_SECONDS"
    )
    kafka_topic_prefix: str = Field(
        "quantiq.", pattern=r"^[A-Za-z0-9._-]{0,100}$", alias="KAFKA_TOPIC_PREFIX"
    )
    kafka_topic_aliases: Annotated[dict[str, str], NoDecode] = Field(
        default_factory=dict, alias="KAFKA_TOPIC_ALIASES"
    )
    event_runs: int = Field(8, ge=1, le=200, alias="QUANT_EVENT_RUNS")
    event_max_age_days: int = Field(7, ge=1, le=3650, alias="QUANT_EVENT_MAX_AGE_DAYS")

    @field_validator("kafka_topic_aliases", mode="before")
    @classmethod
    def _parse_aliases(cls, value: Any) -> Any:
        try:
            return json.loads(value) if isinstance(value, str) else value
        except ValueError as error:
            raise ValueError(
                f'not JSON ({error}); give an object such as {{"old.topic": "event.type"}}'
            ) from None

    @field_validator("kafka_topic_aliases")
    @classmethod
    def _aliases_have_a_meaning(cls, aliases: dict[str, str]) -> dict[str, str]:
        try:
            TopicNames(aliases=aliases)
        except BadConfigurationError as error:
            raise ValueError(str(error).partition(": ")[2]) from None
        return aliases

    @model_validator(mode="after")
    def _login_is_whole(self) -> "KafkaSettings":
        if self.kafka_security_protocol.startswith("SASL") and not (
            self.kafka_sasl_mechanism
            and self.kafka_sasl_username
            and self.kafka_sasl_password.get_secret_value()
        ):
            raise ValueError(
                f"KAFKA_SECURITY_PROTOCOL={self.kafka_security_protocol} needs "
                "KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
            )
        return self

    def topic_names(self) -> TopicNames:
        """Names of the topics."""
        return TopicNames(self.kafka_topic_prefix, self.kafka_topic_aliases)

    def configured_kafka(self) -> KafkaConnection | None:
        """The cluster of ``KAFKA_BOOTSTRAP_SERVERS``, None if it is unset."""
        if not self.kafka_bootstrap_servers:
            return None
        return KafkaConnection(
            bootstrap_servers=self.kafka_bootstrap_servers,
            security_protocol=self.kafka_security_protocol,
            sasl_mechanism=self.kafka_sasl_mechanism,
            sasl_username=self.kafka_sasl_username,
            sasl_password=self.kafka_sasl_password.get_secret_value(),
            ssl_ca_location=str(self.kafka_ssl_ca_location or ""),
            ssl_certificate_location=str(self.kafka_ssl_certificate_location or ""),
            ssl_key_location=str(self.kafka_ssl_key_location or ""),
            ssl_key_password=self.kafka_ssl_key_password.get_secret_value(),
            compression=self.kafka_compression,
            delivery_timeout_seconds=self.kafka_delivery_timeout_seconds,
        )
