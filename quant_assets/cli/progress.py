"""Tasks of a command as a user sees them. What belongs here: bars, lines, and their vendors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from quant_assets.cli.execute import Outcome, run_tasks
from quant_assets.cli.tasks import Task
from quant_assets.sandbox import locate
from quant_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg


@contextmanager
def sandbox_for_all(values: Settings) -> Iterator[None]:
    """In the sandbox profiles, one sandbox that every worker process finds."""
    if not values.is_sandbox:
        yield
        return
    with locate.shared(values.home_dir, seed=values.sandbox_seed, data_dir=values.replayed_data):
        yield


def run_shown(
    console: Console,
    tasks: Sequence[Task],
    instance: dg.DagsterInstance,
    workers: int,
    told: Callable[[Outcome], None],
) -> list[Outcome]:
    """Execute tasks beside each other with a bar a job; each end is printed and ``told``."""
    if not tasks:
        return []
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=not console.is_terminal) as progress:
        bars = {
            job: progress.add_task(
                job, total=sum(t.partitions * len(t.assets) for t in tasks if t.job == job)
            )
            for job in dict.fromkeys(task.job for task in tasks)
        }

        def on_end(outcome: Outcome) -> None:
            told(outcome)
            state = "[red]failed[/red]" if outcome.reason else "done"
            why = f" (because: {outcome.task.why})" if outcome.task.is_again else ""
            progress.console.print(
                f"{outcome.task.title}: {state} in {outcome.seconds:.1f} s{why}",
                highlight=False,
                soft_wrap=True,
            )
            for check in outcome.failed_checks:
                progress.console.print(
                    f"  check not passed: {check}", highlight=False, soft_wrap=True
                )

        return run_tasks(
            tasks,
            instance,
            workers=workers,
            on_progress=lambda task, count: progress.advance(bars[task.job], count),
            on_end=on_end,
        )
