"""The broker of a profile. What belongs here: finding it, or saying how to get one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_assets.errors import BadConfigurationError

if TYPE_CHECKING:
    from quant_assets.events.connection import KafkaConnection
    from quant_assets.settings import Settings


def require_connection(values: Settings) -> KafkaConnection:
    """How to reach the Kafka of ``values``.

    Raises ``BadConfigurationError`` that says how to get a broker if there is none.
    """
    connection = values.kafka()
    if connection is not None:
        return connection
    if not values.is_sandbox:
        raise BadConfigurationError(
            "the profile live has no Kafka broker: set KAFKA_BOOTSTRAP_SERVERS to one"
        )
    command = "quant sandbox" if values.replayed_data is None else "quant sandbox --data DIRECTORY"
    raise BadConfigurationError(
        f"no Kafka broker runs for the profile {values.profile}: start `make dev` or `{command}` "
        "in another shell, or set KAFKA_BOOTSTRAP_SERVERS to one"
    )
