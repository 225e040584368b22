"""``quant job`` as a command. What belongs here: arguments, what is printed, the exit status."""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime

import click

from quant_assets.cli.options import DATE, MARKET, PROFILE

NAMES = ("us-price", "kr-price", "macro", "news", "combined", "all")


HELP = """\
Do one of the platform's jobs and end, for cron, systemd, ECS and Kubernetes.

\b
us-price, kr-price  daily bars; default: the last complete session
macro               FRED's releases and the regime; default: yesterday and today
news                articles and tone; default: the last hour that is over
combined            what a session's analysis needs and lacks, and the recommendations
all                 all of these

What is stored already is not done again. Progress goes to standard error, the result to
standard output.

\b
Exit status: 0 done or nothing to do, 1 something failed, 2 wrong arguments or settings,
3 done without an optional input (news, macro), 130 after Ctrl-C, 143 after SIGTERM.
"""


@click.command(help=HELP)
@PROFILE
@click.argument("name", metavar="JOB", type=click.Choice(NAMES), required=False)
@click.option("--date", "day", type=DATE, help="One session, release day, or UTC day of news.")
@click.option("--from", "first", type=DATE, help="First day of a range.")
@click.option("--to", "last", type=DATE, help="Last day of a range; default the newest.")
@click.option("--market", "market_key", type=MARKET, help="combined and all: one market.")
@click.option("--force", is_flag=True, help="Make what is stored again, not for all.")
@click.option("--dry-run", is_flag=True, help="Say what would be asked and written, and why.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of the report and end.")
def job(
    profile: str | None,
    name: str | None,
    day: datetime | None,
    first: datetime | None,
    last: datetime | None,
    market_key: str | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
    schema: bool,
) -> None:
    """Do a job: see ``HELP``."""
    from quant_assets.cli import job_report

    if schema:
        click.echo(json.dumps(job_report.schema(), indent=2))
        return
    if name is None:
        raise click.UsageError(f"Missing argument 'JOB': one of {', '.join(NAMES)}.")
    days = tuple(None if one is None else one.date() for one in (day, first, last))
    sys.exit(_do(profile, name, days, market_key, force, dry_run, as_json))


def _do(
    profile: str | None,
    name: str,
    days: tuple[date | None, ...],
    market_key: str | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    from quant_assets.cli import job_report
    from quant_assets.cli.job import conduct
    from quant_assets.cli.job_text import lines_of
    from quant_assets.cli.job_wanted import dates_of, wanted_of
    from quant_assets.errors import BadConfigurationError

    started = datetime.now(UTC)
    try:
        from quant_assets.cli.instance import look_at_profile, open_profile

        values = look_at_profile(profile) if dry_run else open_profile(profile)
        wanted = wanted_of(
            name,
            market_key,
            dates_of(*days),
            started,
            news_start=values.news_start,
            universe=values.universe,
            is_forced=force,
        )
        report = conduct(wanted, values.profile, is_dry_run=dry_run, tell=_tell)
    except BadConfigurationError as error:
        report = job_report.Report(
            job=name,
            is_dry_run=dry_run,
            status="refused",
            exit_status=job_report.REFUSED,
            message=str(error),
            started_at=started,
        )
        click.echo(f"error: {error}", err=True)
        if not as_json:
            return report.exit_status
    if as_json:
        click.echo(job_report.as_json(report))
    else:
        for line in lines_of(report):
            click.echo(line)
    return report.exit_status


def _tell(line: str) -> None:
    """Progress, each line with its time: a log of cron has none."""
    click.echo(f"{datetime.now(UTC):%H:%M:%S} {line}", err=True)
