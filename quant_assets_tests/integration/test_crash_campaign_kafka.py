"""The crash campaign on Apache Kafka and PostgreSQL: 300 requests, the broker among the victims."""

from pathlib import Path

import pytest

from quant_assets_tests.integration.campaign import installation
from quant_assets_tests.integration.test_crash_campaign import UNIVERSE, campaign
from quant_assets_tests.kafka_broker import KafkaBroker
from quant_assets_tests.postgres import postgres, write_dagster_yaml

pytestmark = pytest.mark.kafka


def test_every_request_is_served_once_on_kafka_and_postgres(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with (
        postgres() as uri,
        KafkaBroker(tmp_path / "kafka", auto_create_topics=True) as broker,
    ):
        text = write_dagster_yaml(home, uri).read_text("utf-8")

        def kill_broker() -> None:
            broker.kill()
            broker.restart()

        with installation(
            home,
            instance_yaml=text,
            KAFKA_BOOTSTRAP_SERVERS=broker.bootstrap_servers,
            **UNIVERSE,
        ) as target:
            campaign(target, seed=9, also=[("broker", kill_broker)])
