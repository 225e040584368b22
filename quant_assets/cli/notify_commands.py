"""``quant notify``. What belongs here: the arguments of its commands."""

from __future__ import annotations

import sys

import click

from quant_assets.cli.events_commands import TABLE_OR_JSON
from quant_assets.cli.options import PROFILE
from quant_assets.notices.incidents import SEVERITIES


@click.group()
def notify() -> None:
    """Try the ways by which people are told, and see what is wrong now."""


@notify.command("test")
@PROFILE
@click.option(
    "--severity",
    "only",
    type=click.Choice([*SEVERITIES, "run"]),
    help="Only the channel of these alerts, or that of the runs. Default: all.",
)
def test(profile: str | None, only: str | None) -> None:
    """Send one message to each channel and one mail, and say what became of them.

    The exit status is 1 if one did not arrive, 2 if nothing is set.
    """
    from quant_assets.cli.instance import open_profile
    from quant_assets.cli.notify import send_tests

    sys.exit(send_tests(open_profile(profile), only))


@notify.command()
@PROFILE
@TABLE_OR_JSON
def incidents(profile: str | None, form: str) -> None:
    """List the open incidents, the oldest first."""
    from quant_assets.cli.instance import open_profile
    from quant_assets.cli.notify import list_incidents

    open_profile(profile)
    list_incidents(form)
