"""``quant housekeeping``. What belongs here: its arguments and what it prints."""

from __future__ import annotations

import click

from quant_assets.cli.options import PROFILE


@click.command()
@PROFILE
@click.option("--dry-run", is_flag=True, help="Only say what would be removed, and why.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def housekeeping(profile: str | None, dry_run: bool, as_json: bool) -> None:
    """Remove old runs and their logs, raw answers, pictures, and what killed processes left.

    Stored partitions stay, and every one of them stays materialized in Dagster. Runs that are not
    finished, whose outcome is not published, that are still to be repeated or that an open
    incident refers to stay as well. May run beside a daemon and `quant run`, and be killed.

    The ages are QUANT_RUN_RETENTION_DAYS, QUANT_COMPUTE_LOG_RETENTION_DAYS,
    QUANT_RAW_RETENTION_DAYS and QUANT_PICTURE_RETENTION_DAYS.
    """
    from quant_assets.cli.instance import open_profile

    values = open_profile(profile)
    from datetime import UTC, datetime

    import dagster as dg
    import msgspec

    from quant_assets.housekeeping.tidy import tidy

    with dg.DagsterInstance.get() as instance:
        report = tidy(instance, values, datetime.now(UTC), dry_run=dry_run)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
        return
    verb = "would remove" if dry_run else "removed"
    for one in report.removed:
        click.echo(f"{verb} {one.count:,} {one.what}, {one.bytes / 1e6:,.1f} MB: {one.why}")
    if not report.removed:
        click.echo("nothing is old enough to go")
    for kept in report.kept:
        click.echo(f"kept {kept.count:,} old run(s): {kept.why}")
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
