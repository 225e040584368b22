"""``quant events``. What belongs here: the arguments of its commands."""

from __future__ import annotations

import sys
from uuid import UUID

import click

from quant_assets.cli.options import PROFILE

TABLE_OR_JSON = click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table"
)


@click.group()
def events() -> None:
    """Send events and wait for their answers, watch them, look after their topics."""


@events.command()
@PROFILE
@click.argument("topic")
@click.option(
    "--payload",
    default="{}",
    metavar="JSON|@FILE|-",
    help="Payload as text, from a file or from standard input; default {}.",
)
@click.option("--key", help="Default: the symbols, market, series, address, hour or task.")
@click.option("--event-id", type=click.UUID, help="Default: a new one. One id is served once.")
@click.option("--source", help="Who sends; default quant-cli.")
@click.option("--raw", is_flag=True, help="Send the bytes of --payload as the whole message.")
@click.option("--wait", is_flag=True, help="Wait for the answer and print it as JSON.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="How long --wait waits.",
)
def send(
    profile: str | None,
    topic: str,
    payload: str,
    key: str | None,
    event_id: UUID | None,
    source: str | None,
    raw: bool,
    wait: bool,
    timeout: float,
) -> None:
    """Send an event to TOPIC and print its id.

    TOPIC is an event type, a topic's name or an alias: `quant events topics` lists them, `quant
    events topics --schema TOPIC` says what the payload may hold. With --wait the exit status is 0
    if the request was completed, 1 if it failed, 2 if no answer came in time; what happens
    meanwhile is told on standard error.

    Example: quant events send stock.price.sync.requested --payload '{"market": "us"}' --wait
    """
    if raw and (wait or event_id or source):
        raise click.UsageError("--raw sends bytes alone: without --wait, --event-id and --source")
    from quant_assets.cli import events as work
    from quant_assets.cli.instance import open_profile

    values = open_profile(profile)
    draft = work.Draft(topic, payload, key, event_id, source or "quant-cli")
    if raw:
        work.send_raw(values, draft)
    elif wait:
        sys.exit(work.send_and_wait(values, draft, timeout))
    else:
        work.send(values, draft)


@events.command()
@PROFILE
@click.argument("pattern", default="**")
@click.option("--from-beginning", is_flag=True, help="Begin with what Kafka still holds.")
@click.option("--count", type=click.IntRange(1), help="End after so many events.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="End after this time; status 1 if --count was not reached.",
)
@click.option("--format", "form", type=click.Choice(["line", "json"]), default="line")
def watch(
    profile: str | None,
    pattern: str,
    from_beginning: bool,
    count: int | None,
    timeout: float | None,
    form: str,
) -> None:
    """Show events as they come, one a line, until Ctrl-C.

    PATTERN chooses event types: `analysis.*.request`, `**.failed`; `*` is one level, `**` any
    number, and the default. Quote it, or the shell takes it for file names.
    """
    from quant_assets.cli.events import watch_events
    from quant_assets.cli.instance import open_profile

    sys.exit(watch_events(open_profile(profile), pattern, from_beginning, count, timeout, form))


@events.command()
@PROFILE
@click.option("--schema", "topic", metavar="TOPIC", help="Print the JSON Schema of one event type.")
@TABLE_OR_JSON
def topics(profile: str | None, topic: str | None, form: str) -> None:
    """List the topics, or the schema of one.

    Needs no broker.
    """
    from quant_assets.cli.events import list_topics, show_schema
    from quant_assets.cli.instance import open_profile

    values = open_profile(profile)
    if topic is None:
        list_topics(values, form)
    else:
        show_schema(values, topic)


@events.command()
@PROFILE
@TABLE_OR_JSON
def lag(profile: str | None, form: str) -> None:
    """Show what is not read yet, by topic and partition.

    The topics are those of requests and streams. The readers commit how far they are for this
    purpose alone.
    """
    from quant_assets.cli.events_cluster import show_lag
    from quant_assets.cli.instance import open_profile

    show_lag(open_profile(profile), form)


@events.command()
@PROFILE
@click.option("--partitions", type=click.IntRange(1, 1000), default=3, show_default=True)
@click.option("--replication", type=click.IntRange(1, 10), default=1, show_default=True)
@click.option("--dry-run", is_flag=True, help="Only say what would be created.")
def setup(profile: str | None, partitions: int, replication: int, dry_run: bool) -> None:
    """Create the topics that a Kafka cluster lacks.

    Those that are there stay as they are. Events are kept for 7 days, dead letters for 30.
    """
    from quant_assets.cli.events_cluster import create_missing_topics
    from quant_assets.cli.instance import open_profile

    create_missing_topics(open_profile(profile), partitions, replication, dry_run=dry_run)
