"""What the sensors on Kafka share. What belongs here: room, tags of a run, words for the user."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg

from quant_assets import naming
from quant_assets.events.dead_letters import RETENTION_GAP, DeadLetter, bury
from quant_assets.events.follower import Follower, Gap, Resumed
from quant_assets.events.publisher import Publisher
from quant_assets.events.reading import Record
from quant_assets.hooks.runs import MOST_REPEATS
from quant_assets.settings import Settings

UNFINISHED = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)
REPEATS = {
    "dagster/max_retries": "0",
    naming.TAG_REPEATS_LEFT: str(MOST_REPEATS),
}
"""``run_reconciler`` repeats these runs: Dagster's own retries give up where the code server is
away at the moment, and where a run was killed after its last step."""


def why_off(settings: Settings) -> str:
    """Why there is no Kafka, and what to do about it."""
    if settings.is_sandbox:
        return "no broker: `quant dev` and `quant sandbox` each run one in memory"
    return "KAFKA_BOOTSTRAP_SERVERS is not set: nothing is read from Kafka"


def free_runs(instance: dg.DagsterInstance, sensor_name: str, limit: int) -> int:
    """How many more runs of a sensor may start; further messages wait in Kafka."""
    mine = dg.RunsFilter(tags={"dagster/sensor_name": sensor_name}, statuses=list(UNFINISHED))
    return limit - instance.get_runs_count(mine)


def no_room(limit: int) -> dg.SkipReason:
    """Why a tick takes nothing."""
    return dg.SkipReason(
        f"{limit} runs are under way (QUANT_EVENT_RUNS): further messages wait in Kafka"
    )


def partition_tags(first: str, last: str) -> dict[str, str]:
    """Tags of a run over the partitions from ``first`` to ``last``."""
    if first == last:
        return {naming.TAG_PARTITION: first}
    return {naming.TAG_RANGE_START: first, naming.TAG_RANGE_END: last}


def observation(
    key: list[str], records: Sequence[Record], taken: int, follower: Follower, **figures: int
) -> dg.AssetObservation:
    """A tick in figures, for the plots of a topic's asset in the UI."""
    oldest = min(record.sent_at for record in records)
    waited = (datetime.now(UTC) - oldest).total_seconds()
    return dg.AssetObservation(
        asset_key=key,
        metadata={
            "messages": taken,
            **figures,
            "waiting_in_kafka": follower.lag() + len(records) - taken,
            "oldest_waited_seconds": round(max(0.0, waited), 3),
        },
    )


def report(resumed: Resumed, publisher: Publisher, log: logging.Logger, now: datetime) -> None:
    """Say what was lost and what began anew; a gap is a dead letter without bytes."""
    for name in resumed.restarted:
        log.warning("%s is a new one: read from its beginning", name)
    letters = _gap_letters(resumed.gaps, now)
    for letter in letters:
        log.error("%s: %s", letter.origin, letter.reason)
    bury(publisher, letters)


def _gap_letters(gaps: Sequence[Gap], now: datetime) -> list[DeadLetter]:
    return [
        DeadLetter(
            origin=gap.origin,
            code=RETENTION_GAP,
            reason=f"retention removed the offsets {gap.first} to {gap.end - 1} unread",
            error_class="RetentionGap",
            value=None,
            key=None,
            attempts=1,
            first_at=now,
            last_at=now,
            is_whole=False,
        )
        for gap in gaps
    ]
