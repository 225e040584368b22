"""Options and arguments that several commands share. What belongs here: nothing else."""

from pathlib import Path

import click

from quant_assets.markets import MARKETS

DATE = click.DateTime(["%Y-%m-%d"])
MARKET = click.Choice(sorted(MARKETS, reverse=True))
PROFILE = click.option(
    "--profile",
    type=click.Choice(["sandbox", "replay", "live"]),
    help="Which vendors; default QUANT_PROFILE, else sandbox.",
)
DATA = click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Replay the recorded files of this directory (profile replay).",
)
ASSET = click.argument("asset")
FORMAT = click.option(
    "--format", "form", type=click.Choice(["table", "json", "csv"]), default="table"
)
