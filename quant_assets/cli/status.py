"""``quant status``. What belongs here: which form it is told in, watching, the exit status."""

from __future__ import annotations

import signal
from datetime import UTC, datetime

import click
from rich.console import Console, RenderableType
from rich.live import Live

from quant_assets.cli.status_gather import gather
from quant_assets.cli.status_report import Report, as_json
from quant_assets.cli.status_view import drawn
from quant_assets.sandbox.interruptions import interruptions
from quant_assets.settings import Settings

HEALTHY, UNHEALTHY = 0, 1
WATCH_SECONDS = 5.0
PIPED_COLUMNS = 100


def show_status(values: Settings, market: str | None, form: str, *, has_verdict: bool) -> int:
    """Print the state once (``form``: text, json, line); the exit status if a verdict is wanted."""
    report = gather(values, datetime.now(UTC), market)
    if form == "json":
        click.echo(as_json(report))
    elif form == "line":
        click.echo(verdict_line(report))
    else:
        console = _console()
        console.print(drawn(report, console.width), highlight=False)
    return UNHEALTHY if has_verdict and not report.is_healthy else HEALTHY


def watch_status(values: Settings, market: str | None) -> int:
    """Draw the state anew every few seconds until Ctrl-C, which is the end of it and no failure."""
    console = _console()

    def frame() -> RenderableType:
        return drawn(gather(values, datetime.now(UTC), market), console.width)

    with interruptions(signal.SIGINT, signal.SIGTERM) as interrupted:
        if not console.is_terminal:
            console.print(frame(), highlight=False)
            while not interrupted(WATCH_SECONDS):
                console.print(frame(), highlight=False)
            return HEALTHY
        with Live(frame(), console=console, auto_refresh=False, screen=True) as live:
            while not interrupted(WATCH_SECONDS):
                live.update(frame(), refresh=True)
    return HEALTHY


def verdict_line(report: Report) -> str:
    """Healthy, or why not, on one line."""
    return "healthy" if report.is_healthy else f"unhealthy: {'; '.join(report.reasons)}"


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, PIPED_COLUMNS))
