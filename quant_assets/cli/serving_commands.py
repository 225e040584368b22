"""``quant serving``. What belongs here: the arguments of its commands."""

from __future__ import annotations

import sys
from datetime import datetime

import click

from quant_assets.cli.events_commands import TABLE_OR_JSON
from quant_assets.cli.options import DATE, PROFILE


@click.group()
def serving() -> None:
    """Keep the tables that applications read (QUANT_SERVING_URL)."""


@serving.command()
@PROFILE
def setup(profile: str | None) -> None:
    """Make the tables or bring them up to date, and let QUANT_SERVING_READER read them.

    Runs do the same before they first write; this is for a role that may create tables and roles
    where that of the runs may not.
    """
    from quant_assets.cli.instance import open_profile
    from quant_assets.cli.serving import set_up

    set_up(open_profile(profile))


@serving.command()
@PROFILE
@TABLE_OR_JSON
def status(profile: str | None, form: str) -> None:
    """Compare each table with the stored partitions.

    The exit status is 1 if a table is not up to date.
    """
    from quant_assets.cli.instance import open_profile
    from quant_assets.cli.serving import show_status

    sys.exit(0 if show_status(open_profile(profile), form) else 1)


@serving.command()
@PROFILE
@click.option("--from", "first", type=DATE, help="First day; default the first stored one.")
@click.option("--to", "last", type=DATE, help="Last day; default the last stored one.")
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
def sync(profile: str | None, first: datetime | None, last: datetime | None, dry_run: bool) -> None:
    """Make the tables hold what is stored: serve what is missing or other, remove what is gone.

    For a history that was stored before there were tables, and after a restore. It can be stopped
    and started again.
    """
    from quant_assets.cli.instance import open_profile
    from quant_assets.cli.serving import synchronise

    values = open_profile(profile)
    synchronise(values, first and first.date(), last and last.date(), is_dry=dry_run)
