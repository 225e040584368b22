"""``quant metrics``. What belongs here: its arguments."""

from __future__ import annotations

import click

from quant_assets.cli.options import PROFILE


@click.command()
@PROFILE
@click.option("--address", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=9464, show_default=True)
@click.option(
    "--every",
    "seconds",
    type=click.FloatRange(0, 3600),
    default=15.0,
    show_default=True,
    help="A scrape within so many seconds of the last look is answered from it.",
)
@click.option("--once", "is_once", is_flag=True, help="Print the metrics and end.")
def metrics(profile: str | None, address: str, port: int, seconds: float, is_once: bool) -> None:
    """Serve the state of the house as metrics for Prometheus (http://127.0.0.1:9464/metrics).

    Looks only, like `quant status`. There is no login: whoever reaches the port reads them.
    """
    from quant_assets.cli.instance import look_at_profile

    values = look_at_profile(profile)
    from quant_assets.cli.metrics import print_metrics, serve_metrics

    if is_once:
        print_metrics(values)
    else:
        serve_metrics(values, address, port, seconds)
