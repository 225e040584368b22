"""The Kafka clients of the test process. What belongs here: closing them.

Sensors and hooks keep theirs for the life of their process. Tests have hundreds of brokers, one
after the other, and each client left behind asks for its broker again and again.
"""

import sys


def close_kafka_clients() -> None:
    """Close what sensors and hooks keep open; whoever needs it again opens it anew."""
    if events := sys.modules.get("quant_assets.resources.events"):
        for line in events._lines.values():
            line.publisher.close()
        events._lines.clear()
    if requests := sys.modules.get("quant_assets.sensors.requests"):
        for desk in requests._desks.values():
            desk.follower.close()
        requests._desks.clear()
