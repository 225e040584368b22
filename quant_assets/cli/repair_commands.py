"""``quant quarantine``, ``quant raw`` and ``quant rebuild``. What belongs here: their arguments."""

from __future__ import annotations

import sys

import click

from quant_assets.cli.options import ASSET, FORMAT, PROFILE

FROM = click.option("--from", "first", help="First partition key.")
TO = click.option("--to", "last", help="Last partition key.")


@click.group()
def quarantine() -> None:
    """Look at rows that were refused, and store them after all."""


@quarantine.command("list")
@PROFILE
@click.argument("asset", required=False)
@FROM
@TO
@FORMAT
def quarantine_list(
    profile: str | None, asset: str | None, first: str | None, last: str | None, form: str
) -> None:
    """List the quarantined rows of one asset (us/prices) or of all."""
    from quant_assets.cli.instance import open_profile
    from quant_assets.cli.quarantine import list_rows

    list_rows(open_profile(profile), asset, first, last, form)


@quarantine.command("show")
@PROFILE
@ASSET
@click.argument("partition")
@click.argument("item", required=False)
def quarantine_show(profile: str | None, asset: str, partition: str, item: str | None) -> None:
    """Show the quarantined rows of a partition with the values that the vendor gave."""
    from quant_assets.cli.instance import open_profile
    from quant_assets.cli.quarantine import show_rows

    show_rows(open_profile(profile), asset, partition, item)


@quarantine.command("release")
@PROFILE
@ASSET
@click.argument("partition")
@click.argument("items", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
def quarantine_release(
    profile: str | None, asset: str, partition: str, items: tuple[str, ...], yes: bool
) -> None:
    """Store held rows: a person has found them right. They are not held again with these values."""
    from quant_assets.cli.instance import open_profile
    from quant_assets.cli.quarantine import release_rows

    release_rows(open_profile(profile), asset, partition, items, ask=not yes)


@click.group()
def raw() -> None:
    """Look at the vendors' kept answers, and remove old ones."""


@raw.command("list")
@PROFILE
@click.argument("asset", required=False)
def raw_list(profile: str | None, asset: str | None) -> None:
    """List the kept fetches: partitions, time, number and size of the answers."""
    from quant_assets.cli.instance import open_profile
    from quant_assets.cli.raw import list_fetches

    list_fetches(open_profile(profile), asset)


@raw.command("prune")
@PROFILE
@click.option("--days", type=click.IntRange(0), help="Default QUANT_RAW_RETENTION_DAYS.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def raw_prune(profile: str | None, days: int | None, dry_run: bool) -> None:
    """Remove kept answers that are older than the retention."""
    from quant_assets.cli.instance import open_profile
    from quant_assets.cli.raw import prune

    prune(open_profile(profile), days, dry_run=dry_run)


@click.command()
@PROFILE
@ASSET
@click.argument("first")
@click.argument("last", required=False)
def rebuild(profile: str | None, asset: str, first: str, last: str | None) -> None:
    """Make partitions FIRST to LAST of a fetched asset again from the kept raw answers.

    No vendor is asked. Useful after a rule or a calculation was corrected.
    """
    from quant_assets.cli.instance import open_profile
    from quant_assets.cli.raw import rebuild_partitions

    sys.exit(0 if rebuild_partitions(open_profile(profile), asset, first, last or first) else 1)
