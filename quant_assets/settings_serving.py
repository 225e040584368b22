"""Settings of the serving tables. What belongs here: their variables and checks."""

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

SCHEMES = ("postgresql://", "postgresql+psycopg2://", "sqlite:///")


class ServingSettings(BaseSettings):
    """Where applications read what was decided, beside the partitions.

    Unset, there are no serving tables and nothing is written but partitions.
    """

    serving_url: SecretStr = Field(SecretStr(""), alias="QUANT_SERVING_URL")
    """SQLAlchemy's address of a PostgreSQL or SQLite database; it may hold a password.

    A relative file of SQLite lies in ``QUANT_HOME``.
    """
    serving_reader: str = Field("", alias="QUANT_SERVING_READER")
    """PostgreSQL role that may read the tables and nothing else; it is made if it is missing."""

    @field_validator("serving_url")
    @classmethod
    def _is_a_known_database(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if url and not url.startswith(SCHEMES):
            raise ValueError(
                "not an address of a database: postgresql://USER:PASSWORD@HOST/DATABASE or "
                "sqlite:///FILE"
            )
        if "password=" in url.partition("?")[2]:
            raise ValueError("give the password before the host: postgresql://USER:PASSWORD@HOST/…")
        return value

    @property
    def serving_password(self) -> str:
        """The password in the address, whatever signs it has."""
        rest = self.serving_url.get_secret_value().partition("://")[2]
        return rest.rpartition("@")[0].partition(":")[2]

    @property
    def has_serving(self) -> bool:
        """Whether serving tables are kept."""
        return bool(self.serving_url.get_secret_value())
