"""What ``quant verify`` prints. What belongs here: lines for people, and the JSON."""

from __future__ import annotations

from collections import Counter

import click
import msgspec

from quant_assets.cli.text import printable
from quant_assets.cli.verify_report import Partition, VerifyReport


def print_partition(one: Partition) -> None:
    """A line for each partition, and below it what is wrong."""
    click.echo(f"{one.verdict:<13}{one.asset} {one.partition}")
    for reason in one.reasons:
        click.echo(f"  {reason.code}: {printable(reason.text)}")
    if one.difference is None:
        return
    if one.difference.columns:
        rows = one.difference.rows_changed
        click.echo(f"  {rows:,} row(s) differ in {', '.join(one.difference.columns)}")
    for example in one.difference.examples:
        click.echo(f"  {printable(example)}")


def print_report(report: VerifyReport, *, as_json: bool) -> None:
    """The report as JSON (``verify_report.schema.json``), or its last line."""
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
        return
    counts = Counter(one.verdict for one in report.partitions)
    told = ", ".join(f"{count:,} {verdict}" for verdict, count in counts.items())
    click.echo(
        f"{len(report.partitions):,} of {report.stored:,} stored partitions: {told} "
        f"(--seed {report.seed})"
    )
