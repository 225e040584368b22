"""``quant backfill`` and ``quant verify``. What belongs here: their arguments."""

from __future__ import annotations

import sys
from datetime import datetime

import click

from quant_assets.cli.options import PROFILE

STOPPED = 130
"""Exit status of a command that was interrupted, as of a shell's."""


class Key(click.ParamType[str]):
    """A day (2026-11-19) or, for news, an hour (2026-11-19-13)."""

    name = "DAY"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text, if it is one of the two."""
        for form in ("%Y-%m-%d", "%Y-%m-%d-%H"):
            try:
                if datetime.strptime(value, form).strftime(form) == value:
                    return value
            except ValueError:
                continue
        return self.fail(
            f"{value!r} is neither a day (2026-11-19) nor an hour (2026-11-19-13)", param, ctx
        )


@click.command()
@PROFILE
@click.argument("selection")
@click.option("--from", "first", type=Key(), required=True, help="First day, or hour of news.")
@click.option("--to", "last", type=Key(), required=True, help="Last day, or hour of news.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--chunk", type=click.IntRange(1), help="Most partitions of a run; default a range.")
@click.option("--again", is_flag=True, help="Also make what is stored and up to date.")
@click.option("--workers", type=click.IntRange(1, 16), default=2, show_default=True)
def backfill(
    profile: str | None,
    selection: str,
    first: str,
    last: str,
    dry_run: bool,
    chunk: int | None,
    again: bool,
    workers: int,
) -> None:
    """Make the partitions of SELECTION from one day to another, in as few runs as possible.

    SELECTION is a job (us_price), asset keys (us/prices,us/technical_score) or Dagster's selection
    syntax ('key:us/technical_score+'). What is stored and up to date is left: interrupted or
    failed, the same command goes on where it stopped. No daemon is needed.

    Only the selection is made. What it rests on outside of it must be stored; `quant run` fetches
    that as well.
    """
    _demand_order(first, last)
    from quant_assets.cli.instance import open_profile

    values = open_profile(profile)
    from quant_assets.cli.backfill import Wanted
    from quant_assets.cli.backfill import backfill as run
    from quant_assets.cli.selection import selected_assets

    wanted = Wanted(selected_assets(selection), first, last, chunk, again, workers)
    try:
        is_done = run(values, wanted, dry_run=dry_run)
    except KeyboardInterrupt:
        click.echo("stopped; the same command again goes on with what is left", err=True)
        sys.exit(STOPPED)
    sys.exit(0 if is_done else 1)


def _demand_order(first: str | None, last: str | None) -> None:
    if first and last and first[: len(last)] > last[: len(first)]:
        raise click.UsageError(f"--from {first} is after --to {last}")


LOOK_AHEAD = "lookahead"


@click.command()
@PROFILE
@click.argument("words", nargs=-1, metavar="[lookahead] [SELECTION]")
@click.option("--from", "first", type=Key(), help="First day, or hour of news.")
@click.option("--to", "last", type=Key(), help="Last day, or hour of news.")
@click.option("--sample", type=click.IntRange(1), default=20, show_default=True)
@click.option("--seed", type=click.IntRange(0), help="Draws the same sample; default a new one.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def verify(
    profile: str | None,
    words: tuple[str, ...],
    first: str | None,
    last: str | None,
    sample: int,
    seed: int | None,
    as_json: bool,
) -> None:
    """Make a sample of the stored partitions again, and compare; nothing stored is changed.

    SELECTION is as of `quant backfill`, by default everything. What is computed is computed from
    the stored inputs, what was fetched is read from the kept raw answers; no vendor is asked.

    With the word `lookahead` what is computed is made from what was known at its decision alone:
    all that became known later is taken away. A partition that is other rows then looks ahead.

    Exit status 0: all that could be made again is equal. 1: a partition drifted (other rows, or
    another version made it), looks ahead, or its file is damaged.
    """
    _demand_order(first, last)
    is_blind = words[:1] == (LOOK_AHEAD,)
    selection = " ".join(words[1:] if is_blind else words) or "*"
    import random

    from quant_assets.cli.instance import open_profile

    values = open_profile(profile)
    from quant_assets.cli.selection import selected_assets
    from quant_assets.cli.verify import Sample
    from quant_assets.cli.verify import verify as run
    from quant_assets.cli.verify_print import print_partition, print_report

    drawn = random.randrange(1_000_000) if seed is None else seed
    wanted = Sample(selected_assets(selection), sample, drawn, first, last, is_blind)
    report = run(values, wanted, (lambda one: None) if as_json else print_partition)
    print_report(report, as_json=as_json)
    sys.exit(1 if report.is_bad else 0)
