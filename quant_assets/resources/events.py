"""Events as a resource. What belongs here: the process's way to Kafka, from the settings."""

import threading
from typing import TYPE_CHECKING, Any

from quant_assets.resources.base import SettingsResource

if TYPE_CHECKING:
    from quant_assets.events.connection import KafkaConnection
    from quant_assets.events.publisher import Publisher
    from quant_assets.events.topics import TopicNames

_lock = threading.Lock()
_publishers: dict[Any, "Publisher"] = {}


class EventsResource(SettingsResource):
    """Kafka for sensors, hooks and assets; off where no broker is configured."""

    def connection(self) -> "KafkaConnection | None":
        """How to reach Kafka, None if there is none: publishing is off."""
        return self.settings().kafka()

    def names(self) -> "TopicNames":
        """Names of the topics."""
        return self.settings().topic_names()

    def publisher(self) -> "Publisher | None":
        """Publisher of the process, made once for each cluster; None if publishing is off."""
        connection = self.connection()
        if connection is None:
            return None
        from quant_assets.events.publisher import Publisher

        names = self.names()
        key = connection, names.prefix
        with _lock:
            if key not in _publishers:
                _publishers[key] = Publisher(connection, names)
            return _publishers[key]
