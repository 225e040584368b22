"""``quant status``. What belongs here: its arguments."""

from __future__ import annotations

import sys

import click

from quant_assets.cli.options import MARKET, PROFILE


@click.command()
@PROFILE
@click.option("--market", "market_key", type=MARKET, help="One market; default both.")
@click.option(
    "--json", "is_json", is_flag=True, help="As JSON, of the schema that --schema prints."
)
@click.option(
    "--watch", "is_watch", is_flag=True, help="Draw it anew every 5 seconds until Ctrl-C."
)
@click.option(
    "--exit-code",
    "has_verdict",
    is_flag=True,
    help="Status 0 if all is well, 1 if not; without --json the reasons on one line.",
)
@click.option("--schema", "is_schema", is_flag=True, help="Print the JSON Schema of --json.")
def status(
    profile: str | None,
    market_key: str | None,
    is_json: bool,
    is_watch: bool,
    has_verdict: bool,
    is_schema: bool,
) -> None:
    """Show what is stored and what is due, what runs next, and what is wrong.

    Looks only: nothing is started, written or asked of a vendor. A part that cannot be told says
    why, and counts as wrong. With --exit-code it is a probe: something is wrong when data are
    overdue, lost or damaged, when a run is stuck or has lost its process, when a schedule or sensor
    fails, when the daemon is gone, or when a critical incident is open.
    """
    if is_watch and (is_json or has_verdict):
        raise click.UsageError("--watch draws for people: without --json and --exit-code")
    if is_schema:
        from quant_assets.cli.status_report import SCHEMA

        click.echo(SCHEMA.read_text(encoding="utf-8"), nl=False)
        return
    from quant_assets.cli.instance import look_at_profile

    values = look_at_profile(profile)
    from quant_assets.cli.status import show_status, watch_status

    if is_watch:
        sys.exit(watch_status(values, market_key))
    form = "json" if is_json else "line" if has_verdict else "text"
    sys.exit(show_status(values, market_key, form, has_verdict=has_verdict))
