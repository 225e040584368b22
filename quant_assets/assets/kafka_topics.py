"""The topics as assets. What belongs here: what stands for Kafka in the graph, and its figures.

They are observed, not materialized: each tick that read something is an observation, and the UI
plots its figures over time.
"""

import dagster as dg

from quant_assets import naming


def build_kafka_topics() -> list[dg.AssetSpec]:
    """The request topics, the article stream and the dead letters."""
    return [
        _topic(
            naming.ASSET_REQUESTS,
            "Requests from Kafka: messages and runs of a tick, how long the oldest had waited "
            "(seconds), and what still waits in Kafka.",
        ),
        _topic(
            naming.ASSET_ARTICLES,
            "Articles that external crawlers send: messages of a tick, how long the oldest had "
            "waited (seconds), and what still waits in Kafka.",
        ),
        _topic(
            naming.ASSET_DEAD_LETTERS,
            "Messages that could not be processed: how many are open, and the age of the oldest.",
        ),
    ]


def _topic(key: list[str], description: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        key,
        description=description,
        group_name=naming.GROUP_EVENTS,
        kinds={"kafka"},
        owners=[naming.OWNER],
    )
