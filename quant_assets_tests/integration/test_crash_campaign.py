"""Requests arrive while daemon, code server and workers are killed: each is served exactly once.

Here on the sandbox's broker and SQLite, with fewer requests; the long campaign is the one on Apache
Kafka and PostgreSQL (``make test-kafka``), where the broker is killed as well.
"""

import json
import random
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import dagster as dg

from quant_assets_tests.integration.campaign import (
    NAMES,
    Installation,
    Killer,
    envelope,
    installation,
    wait_until,
)

SETTLE_SECONDS = 600
PRICE = "stock.price.sync.requested"
GARBAGE = (b"{", b"\xff\xfe", b'{"eventId": 1}', b"[]", b"null")
UNIVERSE = {"QUANT_US_UNIVERSE": "AAPL,MSFT", "QUANT_KR_UNIVERSE": "005930.KS"}


def test_every_request_is_served_once_whatever_dies(tmp_path: Path) -> None:
    with installation(tmp_path / "home", **UNIVERSE) as target:
        campaign(target, seed=4, requests=36, most_seconds_between=1.0)


def campaign(
    target: Installation,
    seed: int,
    requests: int = 300,
    most_seconds_between: float = 0.6,
    also: Sequence[tuple[str, Callable[[], None]]] = (),
) -> None:
    """Send requests, repeats and garbage under kills; then demand that every one was settled."""
    target.start()
    draw = random.Random(seed)
    killer = Killer(target, seed, (2.0, 6.0), also)
    killer.start()
    sent: dict[str, bytes] = {}
    garbage = 0
    topic = NAMES.topic(PRICE)
    for _ in range(requests):
        event_id = str(uuid.UUID(int=draw.getrandbits(128), version=4))
        day = f"2026-03-{draw.choice([9, 10, 11, 12, 16, 17, 18, 19]):02}"
        payload = {"market": draw.choice(["us", "kr"]), "session": day}
        sent[event_id] = envelope(PRICE, payload, event_id)
        target.send(topic, sent[event_id], draw.choice([b"us", b"kr", None]))
        if draw.random() < 0.25:
            target.send(topic, sent[draw.choice(list(sent))], draw.choice([b"us", None]))
        if draw.random() < 0.1:
            target.send(topic, draw.choice(GARBAGE))
            garbage += 1
        time.sleep(draw.uniform(0.0, most_seconds_between))
    killer.end()
    try:
        _demand_all_settled(target, set(sent), garbage)
    except AssertionError as error:
        raise AssertionError(f"{error}\nkills: {killer.kills}\n{target.logs()}") from error
    assert len(killer.kills) > requests / 20, "the campaign has hardly killed anything"


def _demand_all_settled(target: Installation, sent: set[str], garbage: int) -> None:
    def unsettled() -> set[str]:
        runs = target.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS]))
        return sent - {name for run in runs for name in _requests_of(run)}

    wait_until(lambda: not unsettled(), SETTLE_SECONDS, "a successful run for every request")
    wait_until(
        lambda: all(run.is_finished for run in target.instance.get_runs()),
        SETTLE_SECONDS,
        "no run is left unfinished",
    )
    runs = target.instance.get_runs()
    succeeded = Counter(
        name
        for run in runs
        if run.status is dg.DagsterRunStatus.SUCCESS
        for name in _requests_of(run)
    )
    assert set(succeeded) == sent
    assert {name: n for name, n in succeeded.items() if n != 1} == {}
    wait_until(lambda: sent <= set(_answers(target)), 120, "an answer to every request")
    answers = _answers(target)
    assert set(answers) == sent
    assert {name: ids for name, ids in answers.items() if len(ids) != 1} == {}
    letters = target.letters()
    assert len({letter.id for letter in letters}) == garbage
    assert {letter.value for letter in letters} <= set(GARBAGE)


def _requests_of(run: dg.DagsterRun) -> list[str]:
    prefix = "quant.request/"
    return [tag.removeprefix(prefix) for tag in run.tags if tag.startswith(prefix)]


def _answers(target: Installation) -> dict[str, set[str]]:
    """Event ids of the successful answers, by request."""
    found: dict[str, set[str]] = defaultdict(set)
    for record in target.outcomes():
        event = json.loads(record.value or b"")
        if event["eventType"] == "stock.price.updated":
            found[event["payload"]["requestId"]].add(event["eventId"])
    return dict(found)
