"""The metrics endpoint. What belongs here: when the house is looked at, serving, the end of it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

import click
import dagster as dg
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client import start_http_server as serve_http
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from quant_assets.cli.metrics_runs import EndedRuns, ticks, topics
from quant_assets.cli.metrics_state import families, gauge
from quant_assets.cli.status_gather import report_of
from quant_assets.cli.status_house import House, NoInstanceError, instance_of, said
from quant_assets.errors import BadConfigurationError
from quant_assets.sandbox.interruptions import interruptions
from quant_assets.settings import Settings


class HouseCollector(Collector):
    """Looks at the house when it is scraped, at most every ``seconds``."""

    def __init__(self, values: Settings, registry: CollectorRegistry, seconds: float) -> None:
        self._values = values
        self._seconds = seconds
        self._looking = threading.Lock()
        self._found: list[GaugeMetricFamily] = []
        self._until = 0.0
        registry.register(self)
        # Behind this one: a scrape looks, and then has what was counted.
        self._ended = EndedRuns(registry, datetime.now(UTC))

    def describe(self) -> list[Metric]:
        """Nothing beforehand: registering is no reason to look."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The families, looked at anew if the last look is too old."""
        with self._looking:
            if time.monotonic() >= self._until:
                self._found = list(self._look())
                self._until = time.monotonic() + self._seconds
        yield from self._found

    def _look(self) -> Iterator[GaugeMetricFamily]:
        began, now = time.perf_counter(), datetime.now(UTC)
        with instance_of(self._values) as instance:
            yield from families(report_of(House(self._values, now, instance)))
            untold = []
            parts: dict[str, Callable[[dg.DagsterInstance], Iterable[GaugeMetricFamily]]] = {
                "ended runs": lambda opened: self._count(opened, now),
                "ticks": ticks,
                "topics": topics,
            }
            for part, ask in parts.items():
                try:
                    yield from ask(instance())
                except NoInstanceError:
                    break
                except Exception as error:  # noqa: BLE001 - whatever breaks one, others are told
                    click.echo(f"{part}: {said(error, self._values)}", err=True)
                    untold.append(((part,), 1.0))
        meaning = "Parts of the metrics that could not be told; the exporter's log says why."
        yield gauge("metrics_untold", meaning, ("part",), untold)
        spent = time.perf_counter() - began
        yield gauge("metrics_seconds", "What looking at all of it took.", (), [((), spent)])

    def _count(self, instance: dg.DagsterInstance, now: datetime) -> Iterable[GaugeMetricFamily]:
        """Count the ended runs; their metrics are registered by themselves."""
        self._ended.look(instance, now)
        return ()


def registry_of(values: Settings, seconds: float) -> CollectorRegistry:
    """The metrics of a profile, and of the exporter's own process."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    HouseCollector(values, registry, seconds)
    return registry


def print_metrics(values: Settings) -> None:
    """Print the metrics once."""
    click.echo(generate_latest(registry_of(values, 0.0)).decode(), nl=False)


def serve_metrics(values: Settings, address: str, port: int, seconds: float) -> None:
    """Serve the metrics until interrupted. Raises ``BadConfigurationError`` for a port in use."""
    registry = registry_of(values, seconds)
    try:
        server, thread = serve_http(port, address, registry)
    except OSError as error:
        raise BadConfigurationError(
            f"metrics cannot be served at {address}:{port}: {error}; name another with --port"
        ) from error
    with interruptions(signal.SIGINT, signal.SIGTERM) as interrupted:
        click.echo(f"metrics of {values.profile}: http://{address}:{server.server_port}/metrics")
        while not interrupted(3600.0):
            pass
    server.shutdown()
    thread.join()
