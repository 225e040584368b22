"""How long things are kept. What belongs here: the settings of it, their limits and defaults."""

from pydantic import Field
from pydantic_settings import BaseSettings


class RetentionSettings(BaseSettings):
    """Days for which ``quant housekeeping`` leaves what is finished.

    The stored partitions are never too old. Ticks have a retention of Dagster's own
    (``dagster.yaml``).
    """

    raw_retention_days: int = Field(90, ge=0, le=3650, alias="QUANT_RAW_RETENTION_DAYS")
    run_retention_days: int = Field(30, ge=1, le=3650, alias="QUANT_RUN_RETENTION_DAYS")
    compute_log_retention_days: int = Field(
        30, ge=1, le=3650, alias="QUANT_COMPUTE_LOG_RETENTION_DAYS"
    )
    picture_retention_days: int = Field(30, ge=1, le=3650, alias="QUANT_PICTURE_RETENTION_DAYS")
