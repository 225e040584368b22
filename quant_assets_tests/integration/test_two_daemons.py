"""A second daemon by mistake: what it doubles does no harm, and the daemons say so."""

import json
from collections import defaultdict
from pathlib import Path

from quant_assets_tests.integration.campaign import Process, installation, wait_until

UNIVERSE = {"QUANT_US_UNIVERSE": "AAPL,MSFT", "QUANT_KR_UNIVERSE": "005930.KS"}
SESSIONS = ("2026-03-16", "2026-03-17", "2026-03-18", "2026-03-19")


def test_two_daemons_give_one_answer_and_say_that_they_are_two(tmp_path: Path) -> None:
    with installation(tmp_path / "home", **UNIVERSE) as target:
        command = [str(target.binaries / "dagster-daemon"), "run", "-w", "workspace.yaml"]
        second = Process("second", command, target.environment, target.home)
        target.start()
        second.start()
        try:
            asked = {
                target.request("stock.price.sync.requested", {"market": market, "session": day})
                for day in SESSIONS
                for market in ("us", "kr")
            }
            answers: dict[str, set[str]] = defaultdict(set)

            def are_answered() -> bool:
                for record in target.outcomes():
                    event = json.loads(record.value or b"")
                    answers[event["payload"]["requestId"]].add(event["eventId"])
                return asked <= set(answers)

            wait_until(are_answered, 300, "an answer to every request", target.logs)
            wait_until(
                lambda: all(run.is_finished for run in target.instance.get_runs()),
                300,
                "the end of every run",
            )
            assert are_answered()
            assert {len(ids) for ids in answers.values()} == {1}
            assert target.letters() == []
            wait_until(
                lambda: any("Another SENSOR daemon" in p.text() for p in (target.daemon, second)),
                120,
                "a daemon that notices the other",
            )
        finally:
            second.stop()
