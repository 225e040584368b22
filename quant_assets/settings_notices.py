"""The settings of notices: Slack and e-mail. What belongs here: their names, limits, defaults."""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode

from quant_assets.notices.incidents import Severity
from quant_assets.notices.mail import MailServer

Channel = Annotated[str, Field(pattern=r"^[#\w][\w-]+$")]
"""Name of a channel of Slack with its #, or its id."""


class NoticeSettings(BaseSettings):
    """Where people are told what goes on."""

    slack_bot_token: SecretStr = Field(SecretStr(""), alias="SLACK_BOT_TOKEN")
    slack_channel: Channel = Field("#quant-runs", alias="QUANT_SLACK_CHANNEL")
    slack_alert_channels: Annotated[dict[Severity, Channel], NoDecode] = Field(
        default_factory=dict, alias="QUANT_SLACK_ALERT_CHANNELS"
    )
    ui_url: str = Field("http://127.0.0.1:3000", pattern=r"^https?://\S+$", alias="QUANT_UI_URL")
    recommendations_deadline_minutes: int | None = Field(
        None, ge=1, le=1440, alias="QUANT_RECOMMENDATIONS_DEADLINE_MINUTES"
    )

    smtp_host: str = Field("", alias="QUANT_SMTP_HOST")
    smtp_port: int = Field(587, ge=1, le=65535, alias="QUANT_SMTP_PORT")
    smtp_security: Literal["starttls", "tls", "none"] = Field(
        "starttls", alias="QUANT_SMTP_SECURITY"
    )
    smtp_username: str = Field("", alias="QUANT_SMTP_USERNAME")
    smtp_password: SecretStr = Field(SecretStr(""), alias="QUANT_SMTP_PASSWORD")
    mail_from: str = Field("", alias="QUANT_MAIL_FROM")
    mail_to: Annotated[tuple[str, ...], NoDecode] = Field((), alias="QUANT_MAIL_TO")

    @field_validator("ui_url")
    @classmethod
    def _without_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @field_validator("slack_alert_channels", mode="before")
    @classmethod
    def _parse_channels(cls, value: Any) -> Any:
        try:
            return json.loads(value) if isinstance(value, str) else value
        except ValueError as error:
            raise ValueError(
                f'not JSON ({error}); give an object such as {{"critical": "#oncall"}}'
            ) from None

    @field_validator("mail_to", mode="before")
    @classmethod
    def _split_addresses(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("mail_to", "mail_from")
    @classmethod
    def _are_addresses(cls, value: Any) -> Any:
        for address in (value,) if isinstance(value, str) else value:
            if address and not _is_address(address):
                raise ValueError(f"{address!r} is no e-mail address such as quant@example.com")
        return value

    @model_validator(mode="after")
    def _mail_is_whole(self) -> "NoticeSettings":
        if self.smtp_host and not (self.mail_from and self.mail_to):
            raise ValueError("QUANT_SMTP_HOST needs QUANT_MAIL_FROM and QUANT_MAIL_TO")
        if self.mail_to and not self.smtp_host:
            raise ValueError("QUANT_MAIL_TO needs QUANT_SMTP_HOST, the server that takes the mails")
        return self

    def alert_channel(self, severity: Severity) -> str:
        """The channel of an alert; ``#quant-alerts`` unless it is set."""
        return self.slack_alert_channels.get(severity, "#quant-alerts")

    def mail_server(self) -> MailServer | None:
        """Where mails are handed in and to whom they go, None if there is none."""
        if not self.smtp_host:
            return None
        return MailServer(
            host=self.smtp_host,
            port=self.smtp_port,
            security=self.smtp_security,
            username=self.smtp_username,
            password=self.smtp_password.get_secret_value(),
            sender=self.mail_from,
            recipients=self.mail_to,
        )


def _is_address(text: str) -> bool:
    """Whether ``text`` is an address that a mail can be written to as it stands."""
    from email.headerregistry import Address  # 7 ms, which every start of the platform would pay

    try:
        parsed = Address(addr_spec=text)
    except Exception:  # noqa: BLE001 - the library's parser fails in many ways
        return False
    return text.isascii() and bool(parsed.username and parsed.domain) and str(parsed) == text
