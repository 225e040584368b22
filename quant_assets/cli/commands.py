"""The commands of ``quant``. What belongs here: arguments and what is printed."""

from __future__ import annotations

import sys
from datetime import date, datetime
from pathlib import Path

import click

from quant_assets.cli.backfill_commands import backfill, verify
from quant_assets.cli.dead_letter_commands import dead_letters
from quant_assets.cli.doctor_commands import doctor
from quant_assets.cli.events_commands import events
from quant_assets.cli.housekeeping import housekeeping
from quant_assets.cli.job_command import job
from quant_assets.cli.metrics_command import metrics
from quant_assets.cli.notify_commands import notify
from quant_assets.cli.options import ASSET, DATA, DATE, MARKET, PROFILE
from quant_assets.cli.repair_commands import quarantine, raw, rebuild
from quant_assets.cli.research_commands import backtest, report
from quant_assets.cli.serving_commands import serving
from quant_assets.cli.status_commands import status
from quant_assets.errors import BadConfigurationError
from quant_assets.markets import MARKETS, market


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def quant() -> None:
    """Quant data platform: runs, recommendations and stored data from the command line."""


quant.add_command(backfill)
quant.add_command(backtest)
quant.add_command(dead_letters)
quant.add_command(doctor)
quant.add_command(events)
quant.add_command(housekeeping)
quant.add_command(job)
quant.add_command(metrics)
quant.add_command(notify)
quant.add_command(quarantine)
quant.add_command(raw)
quant.add_command(rebuild)
quant.add_command(report)
quant.add_command(serving)
quant.add_command(status)
quant.add_command(verify)


@quant.command()
@PROFILE
@DATA
def setup(profile: str | None, data: Path | None) -> None:
    """Prepare the instance of a profile and make it that of plain `dagster` commands here."""
    from quant_assets.cli.instance import open_profile, write_env_file

    values = open_profile(profile, data)
    path = write_env_file(values)
    click.echo(f"profile {values.profile}: instance and data in {values.home_dir}")
    click.echo(f"{path} names it for `dagster` commands typed here")


@quant.command()
@PROFILE
@DATA
@click.option("--market", "market_key", type=MARKET, help="One market; default both.")
@click.option("--from", "first", type=DATE, help="First session; default a year before the last.")
@click.option("--to", "last", type=DATE, help="Last session; default the last complete one.")
@click.option("--workers", type=click.IntRange(1, 16), default=2, show_default=True)
def run(
    profile: str | None,
    data: Path | None,
    market_key: str | None,
    first: datetime | None,
    last: datetime | None,
    workers: int,
) -> None:
    """Fetch and compute whatever is missing up to the recommendations, and show them.

    Prices reach 500 sessions further back than the range, because the indicators need them. What
    is stored already is not done again.
    """
    from quant_assets.cli.instance import open_profile

    values = open_profile(profile, data)
    from quant_assets.cli.run import run_range

    markets = [market(market_key)] if market_key else list(MARKETS.values())
    if first and last and first > last:
        raise BadConfigurationError(f"--from {first:%Y-%m-%d} is after --to {last:%Y-%m-%d}")
    is_complete = run_range(values, markets, _day(first), _day(last), workers)
    sys.exit(0 if is_complete else 1)


@quant.command()
@PROFILE
@DATA
@click.option("--port", type=click.IntRange(0, 65535), default=3000, show_default=True)
def dev(profile: str | None, data: Path | None, port: int) -> None:
    """Open the Dagster UI and daemon on the profile's data (http://127.0.0.1:PORT).

    Except in the profile live, a sandbox and an in-memory Kafka broker run beside them, if none
    run yet. KAFKA_BOOTSTRAP_SERVERS names a real broker instead.
    """
    from quant_assets.cli.dev import serve_ui
    from quant_assets.cli.instance import open_profile

    sys.exit(serve_ui(open_profile(profile, data), port))


@quant.command()
@click.option("--seed", type=click.IntRange(0), help="Seed of the simulated market.")
@DATA
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Default: a free one.")
def sandbox(seed: int | None, data: Path | None, port: int) -> None:
    """Serve the simulated (or replayed) vendors on 127.0.0.1 until interrupted.

    An in-memory Kafka broker runs beside them, unless KAFKA_BOOTSTRAP_SERVERS names a real one.
    """
    from quant_assets.cli.instance import open_profile
    from quant_assets.sandbox.server import serve

    values = open_profile(None if data else "sandbox", data)
    serve(
        home=values.home_dir,
        seed=values.sandbox_seed if seed is None else seed,
        data_dir=values.replayed_data,
        port=port,
        broker=not values.kafka_bootstrap_servers,
    )


@quant.group()
def data() -> None:
    """Look at and remove stored partitions."""


@data.command("list")
@PROFILE
@click.argument("asset", required=False)
def data_list(profile: str | None, asset: str | None) -> None:
    """List stored assets, or the partitions of one (us/prices)."""
    from quant_assets.cli.data import list_assets, list_partitions
    from quant_assets.cli.instance import open_profile

    values = open_profile(profile)
    if asset is None:
        list_assets(values)
    else:
        list_partitions(values, asset)


@data.command("show")
@PROFILE
@ASSET
@click.argument("partition")
@click.option("--rows", type=click.IntRange(0), default=20, show_default=True)
@click.option("--format", "form", type=click.Choice(["table", "json", "csv"]), default="table")
def data_show(profile: str | None, asset: str, partition: str, rows: int, form: str) -> None:
    """Show the facts and rows of one stored partition."""
    from quant_assets.cli.data import show_partition
    from quant_assets.cli.instance import open_profile

    show_partition(open_profile(profile), asset, partition, rows, form)


@data.command("clear")
@PROFILE
@ASSET
@click.option("--from", "first", help="First partition key; default the first stored.")
@click.option("--to", "last", help="Last partition key; default the last stored.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def data_clear(
    profile: str | None, asset: str, first: str | None, last: str | None, yes: bool
) -> None:
    """Remove stored partitions of one asset; a later run stores them again."""
    from quant_assets.cli.data import clear_partitions
    from quant_assets.cli.instance import open_profile

    clear_partitions(open_profile(profile), asset, first, last, ask=not yes)


@quant.group()
def show() -> None:
    """Show results."""


@show.command("recommendations")
@PROFILE
@DATA
@click.option("--market", "market_key", type=MARKET, required=True)
@click.option("--session", type=DATE, help="Default: the last stored one.")
@click.option("--format", "form", type=click.Choice(["table", "json", "csv"]), default="table")
def show_recommendations(
    profile: str | None, data: Path | None, market_key: str, session: datetime | None, form: str
) -> None:
    """Show the recommendations of a session, best first."""
    from quant_assets.cli.instance import open_profile
    from quant_assets.cli.show import print_recommendations

    print_recommendations(open_profile(profile, data), market(market_key), _day(session), form)


@quant.command()
@PROFILE
@DATA
@click.argument("symbol")
@click.argument("session", type=DATE)
@click.option("--market", "market_key", type=MARKET, required=True)
def explain(
    profile: str | None, data: Path | None, symbol: str, session: datetime, market_key: str
) -> None:
    """Explain a recommendation: inputs, components, versions and the runs that made them."""
    from quant_assets.cli.explain import explain_recommendation
    from quant_assets.cli.instance import open_profile

    explain_recommendation(
        open_profile(profile, data), market(market_key), symbol.upper(), session.date()
    )


def _day(value: datetime | None) -> date | None:
    return value.date() if value else None
