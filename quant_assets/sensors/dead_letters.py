"""How many dead letters are open. What belongs here: the sensor that counts them for the UI."""

from datetime import datetime

import dagster as dg
import msgspec

from quant_assets import naming
from quant_assets.events.connection import KafkaConnection
from quant_assets.events.dead_letter_log import read_log
from quant_assets.events.reading import consumer, topic_partitions, watermarks
from quant_assets.events.topics import TopicNames
from quant_assets.resources import ClockResource, EventsResource
from quant_assets.sensors.common import why_off

NAME = "dead_letter_count"
INTERVAL_SECONDS = 60


def build_dead_letter_sensor() -> dg.SensorDefinition:
    """Observes ``kafka/dead_letters`` whenever the topic has changed."""

    @dg.sensor(
        name=NAME,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Counts the open dead letters.",
    )
    def dead_letter_count(
        context: dg.SensorEvaluationContext, events: EventsResource, clock: ClockResource
    ) -> dg.SensorResult | dg.SkipReason:
        connection = events.connection()
        if connection is None:
            return dg.SkipReason(why_off(events.settings()))
        ends = _ends(connection, events.names())
        if ends == context.cursor:
            return dg.SkipReason("the dead-letter topic has not changed")
        seen = _observation(connection, events.names(), clock.now())
        return dg.SensorResult(
            asset_events=[seen], cursor=ends, skip_reason=dg.SkipReason("counted")
        )

    return dead_letter_count


def _ends(connection: KafkaConnection, names: TopicNames) -> str:
    """The ends of the topic's partitions: another text whenever something came or went."""
    topic = names.dead_letter
    with consumer(connection) as reader:
        partitions = topic_partitions(reader, [topic], servers=connection.bootstrap_servers).get(
            topic, []
        )
        marks = {str(number): watermarks(reader, topic, number) for number in partitions}
    return msgspec.json.encode(marks).decode()


def _observation(
    connection: KafkaConnection, names: TopicNames, now: datetime
) -> dg.AssetObservation:
    log = read_log(connection, names)
    summary = log.summary()
    oldest = summary.oldest_first_at
    return dg.AssetObservation(
        asset_key=naming.ASSET_DEAD_LETTERS,
        metadata={
            "open": summary.open_count,
            "oldest_hours": round((now - oldest).total_seconds() / 3600, 2) if oldest else 0.0,
            **{f"open: {code}": count for code, count in log.open_by_code().items()},
        },
    )
