"""``quant doctor``. What belongs here: its arguments, what is printed, its exit status."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from quant_assets.cli.options import DATA, PROFILE


@click.command()
@PROFILE
@DATA
@click.option("--json", "is_json", is_flag=True, help="Print the findings as JSON.")
@click.option("--offline", "is_offline", is_flag=True, help="Ask nobody: no vendor, no broker.")
@click.option(
    "--alpha-vantage",
    "is_alpha_vantage_asked",
    is_flag=True,
    help="Ask Alpha Vantage too, which spends one of the day's calls.",
)
@click.option(
    "--timeout",
    "seconds",
    type=click.FloatRange(min=0.1, max=300),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long each vendor or server may take.",
)
def doctor(
    profile: str | None,
    data: Path | None,
    is_json: bool,
    is_offline: bool,
    is_alpha_vantage_asked: bool,
    seconds: float,
) -> None:
    """Check that everything is in order, and say how to mend what is not.

    Settings, versions, directories, the instance, keys, vendors, Slack, mail, Kafka, calendars and
    the clock. Nothing is changed. The exit status is 1 if something is broken, else 0.
    """
    from quant_assets.cli.doctor.diagnosis import Wishes, diagnose
    from quant_assets.cli.doctor.report import as_json, lines

    wishes = Wishes(profile, data, is_offline, is_alpha_vantage_asked, seconds)
    told, is_hanging = diagnose(wishes)
    if is_json:
        click.echo(as_json(told))
    else:
        is_coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        click.echo("\n".join(lines(told, is_coloured=is_coloured)), color=is_coloured)
    status = 1 if told.status == "fail" else 0
    if is_hanging:
        # The end of a process may wait for what a library does in a thread that hangs.
        sys.stdout.flush()
        os._exit(status)
    sys.exit(status)
