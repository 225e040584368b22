"""Alerts as the daemon asks for them, and what goes wrong. What belongs here: no assertions.

The instance, the sandbox's Slack and the SMTP server are real.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from quant_assets import naming
from quant_assets.errors import BadDataError
from quant_assets.notices import pace
from quant_assets.resources import ClockResource, StoreResource
from quant_assets.sandbox import locate
from quant_assets.sandbox.server import Sandbox
from quant_assets.sandbox.slack_workspace import Message
from quant_assets.sensors import alert_delivery, alerts
from quant_assets.settings import Settings
from quant_assets_tests.mailbox import Inbox, serving

START = datetime(2026, 3, 20, 3, 30, tzinfo=UTC)
"""Friday; the US session of the 19th is complete and its recommendations are due."""
TICK = timedelta(seconds=30)
MINUTE = timedelta(minutes=1)
SECRET = "quant-smtp-password"
JOBS = ("us_price", "us_technical_analysis", "us_combined_analysis")


@dataclass
class Desk:
    """The sensor as the daemon asks it, at times that the test says."""

    instance: dg.DagsterInstance
    settings: Settings
    sandbox: Sandbox
    inbox: Inbox
    now: datetime = START
    said: list[str] = field(default_factory=list)

    def set(self, **variables: Any) -> None:
        """Change settings."""
        known = self.settings.model_dump(exclude_unset=True, by_alias=True)
        self.settings = Settings(**{**known, **variables})

    def tick(self, after: timedelta = TICK) -> str:
        self.now += after
        store = StoreResource(root=str(self.settings.data_dir), profile=self.settings.profile)
        clock = ClockResource(fixed_now=self.now.isoformat())
        sensor = alerts.build_alert_sensor(self.settings)
        with dg.build_sensor_context(
            instance=self.instance, resources={"store": store, "clock": clock}
        ) as context:
            result = sensor(context)
        assert isinstance(result, dg.SkipReason)
        self.said.append(str(result.skip_message))
        return self.said[-1]

    def tick_until(self, said: str) -> None:
        """Slack may have asked for a second's rest."""
        deadline = time.monotonic() + 300
        while self.tick() != said:
            assert time.monotonic() < deadline, self.said[-1]

    def roots(self) -> list[Message]:
        return [m for m in self.sandbox.slack.messages() if not m.is_reply]

    def thread(self, root: Message) -> list[str]:
        return [m.text for m in self.sandbox.slack.thread(root.channel, root.ts)]

    def only_thread(self) -> list[str]:
        (root,) = self.roots()
        return self.thread(root)

    def channel(self, message: Message) -> str:
        found = self.sandbox.slack.channel(message.channel)
        assert found is not None
        return found.name

    def subjects(self) -> list[str]:
        return [str(mail["Subject"]) for mail in self.inbox.mails]


def be_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pace of ours; that of the sandbox is off in ``open_desk``."""
    for name in dir(pace):
        if name.startswith(("SECONDS_PER", "SECONDS_TO", "LONGEST")):
            monkeypatch.setattr(pace, name, 0.0)
    monkeypatch.setattr(alert_delivery, "PATIENCE_SECONDS", 0.0)
    alerts._courier.cache_clear()


@contextmanager
def open_desk(home: Path) -> Iterator[Desk]:
    """An instance, a sandbox whose Slack is as fast as we are, and a mail server."""
    sandbox, inbox = Sandbox(seed=7, now=lambda: START), Inbox()
    with (
        sandbox,
        serving(inbox) as port,
        dg.instance_for_test(temp_dir=str(home)) as instance,
    ):
        sandbox.slack.messages_per_second = None
        locate.record(home, sandbox)
        settings = Settings(
            QUANT_HOME=str(home),
            QUANT_RECOMMENDATIONS_DEADLINE_MINUTES=180,
            QUANT_SMTP_HOST="127.0.0.1",
            QUANT_SMTP_PORT=port,
            QUANT_SMTP_SECURITY="none",
            QUANT_SMTP_PASSWORD=SECRET,
            QUANT_MAIL_FROM="quant@desk.example",
            QUANT_MAIL_TO="ops@desk.example",
            QUANT_UI_URL="https://dagster.example/",
        )
        yield Desk(instance, settings, sandbox, inbox)


def us_prices(message: str | None, severity: Any = None) -> dg.Definitions:
    """A platform of one asset that fails with ``message``, or whose check does (``severity``)."""

    @dg.asset(key=["us", "prices"], partitions_def=dg.DailyPartitionsDefinition("2026-03-01"))
    def prices() -> int:
        if message is not None and severity is None:
            raise BadDataError(message)
        return 1

    @dg.asset_check(asset=prices, name="gaps")
    def gaps() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(
            passed=severity is None,
            severity=severity or dg.AssetCheckSeverity.ERROR,
            description=message or "no gap",
        )

    return dg.Definitions(
        assets=[prices],
        asset_checks=[gaps],
        jobs=[dg.define_asset_job(job, dg.AssetSelection.all()) for job in JOBS],
    )


def run(desk: Desk, message: str | None, first: str, severity: Any = None) -> str:
    result = (
        us_prices(message, severity)
        .resolve_job_def("us_price")
        .execute_in_process(
            instance=desk.instance,
            partition_key=first,
            tags={naming.TAG_PARTITION: first},
            raise_on_error=False,
        )
    )
    return result.run_id


def ended(
    desk: Desk, kind: dg.DagsterEventType, *, job: str = "us_price", **tags: str
) -> dg.DagsterRun:
    """A run of a job that ended without a step."""
    made = desk.instance.create_run_for_job(us_prices(None).resolve_job_def(job), tags=tags)
    event = dg.DagsterEvent(event_type_value=kind.value, job_name=made.job_name)
    desk.instance.report_dagster_event(event, made.run_id)
    return made


def store_recommendations(desk: Desk, *sessions: str) -> None:
    folder = desk.settings.data_dir / "us" / "recommendations"
    folder.mkdir(parents=True, exist_ok=True)
    for session in sessions:
        (folder / f"{session}.parquet").write_bytes(b"stored")


def observe(desk: Desk, count: int, **codes: int) -> None:
    desk.instance.report_runless_asset_event(
        dg.AssetObservation(
            naming.ASSET_DEAD_LETTERS,
            metadata={"open": count, **{f"open: {code}": n for code, n in codes.items()}},
        )
    )


class Instigator:
    """A sensor's state and ticks in the storage. Dagster has no public way to make them."""

    def __init__(self, instance: dg.DagsterInstance, name: str, location: str) -> None:
        from dagster._core.remote_origin import (
            GrpcServerCodeLocationOrigin,
            RemoteInstigatorOrigin,
            RemoteRepositoryOrigin,
        )
        from dagster._core.scheduler import instigation

        self._made = instigation
        self._instance = instance
        self._at = START.timestamp()
        place = GrpcServerCodeLocationOrigin("127.0.0.1", 1, location_name=location)
        self._state = instigation.InstigatorState(
            RemoteInstigatorOrigin(RemoteRepositoryOrigin(place, "__repository__"), name),
            instigation.InstigatorType.SENSOR,
            instigation.InstigatorStatus.RUNNING,
        )
        instance.add_instigator_state(self._state)

    def set(self, **variables: Any) -> None:
        """Change settings."""
        known = self.settings.model_dump(exclude_unset=True, by_alias=True)
        self.settings = Settings(**{**known, **variables})

    def tick(self, status: str, message: str = "") -> None:
        from dagster._utils.error import SerializableErrorInfo

        self._at += 30
        cause = SerializableErrorInfo(f"ValueError: {message}\nmore", [], "ValueError")
        error = SerializableErrorInfo("Error in sensor", [], "SensorError", cause=cause)
        self._instance.create_tick(
            self._made.TickData(
                self._state.instigator_origin_id,
                self._state.instigator_name,
                self._state.instigator_type,
                self._made.TickStatus(status),
                self._at,
                error=error if message else None,
                selector_id=self._state.selector_id,
            )
        )
