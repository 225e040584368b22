"""``quant backfill``. What belongs here: going through the stages of a plan, and its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import click
import dagster as dg
from rich.console import Console

from quant_assets.cli.backfill_plan import DueFinder, stages
from quant_assets.cli.execute import Outcome
from quant_assets.cli.progress import run_shown, sandbox_for_all
from quant_assets.cli.selection import FROM_KAFKA, asset_graph, complete_keys
from quant_assets.cli.tasks import Task
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.sensors.dead_runs import close_dead_runs
from quant_assets.settings import Settings
from quant_assets.versions import code_versions


@dataclass(frozen=True)
class Wanted:
    """What a backfill is asked for: assets in the order of the data, the ends, and how."""

    assets: tuple[str, ...]
    first: str
    last: str
    chunk: int | None = None
    again: bool = False
    workers: int = 2


def backfill(values: Settings, wanted: Wanted, *, dry_run: bool) -> bool:
    """Make what is due of the range, stage after stage; whether all of it succeeded.

    What rests on an asset whose run failed is left out: the same command goes on there. Raises
    ``click.UsageError`` where the selection has no complete partition in the range.
    """
    console = Console(stderr=True)
    now = datetime.now(UTC)
    assets = [asset for asset in wanted.assets if asset != FROM_KAFKA]
    if len(assets) < len(wanted.assets):
        console.print(f"{FROM_KAFKA} is left out: its articles come from Kafka when they are sent")
    keys = {asset: complete_keys(asset, wanted.first, wanted.last, now) for asset in assets}
    if not any(keys.values()):
        raise click.UsageError(
            f"{', '.join(wanted.assets)}: no complete partition from {wanted.first} to "
            f"{wanted.last}"
        )
    store = ParquetStore(values.data_place, values.profile)
    with dg.DagsterInstance.get() as instance:
        if not dry_run and (closed := close_dead_runs(instance)):
            console.print(f"closed {len(closed)} run(s) whose process had died")
        finder = DueFinder(store, instance, now, code_versions(values))
        plan = stages(finder, keys, chunk=wanted.chunk, again=wanted.again)
        _say_plan(console, keys, plan)
        if dry_run or not plan:
            return True
        with sandbox_for_all(values):
            outcomes, left = _go(console, plan, instance, wanted.workers)
        # The worker of a killed command outlives it by a second or two.
        close_dead_runs(instance)
    return _say_end(console, outcomes, left)


def _go(
    console: Console, plan: Sequence[Sequence[Task]], instance: dg.DagsterInstance, workers: int
) -> tuple[list[Outcome], list[Task]]:
    """Outcomes of the tasks that were done, and the tasks that rest on failed ones."""
    outcomes: list[Outcome] = []
    left: list[Task] = []
    broken: set[str] = set()
    for stage in plan:
        ready = [task for task in stage if not broken & set(task.assets)]
        left += [task for task in stage if broken & set(task.assets)]
        outcomes += run_shown(console, ready, instance, workers, lambda outcome: None)
        failed = {a for one in outcomes if one.reason for a in one.task.assets}
        broken = _with_descendants(failed)
    return outcomes, left


def _with_descendants(assets: set[str]) -> set[str]:
    """What is made from ``assets``, however indirectly."""
    if not assets:
        return set()
    keys = dg.AssetSelection.assets(*(asset.split("/") for asset in assets)).downstream()
    return {key.to_user_string() for key in keys.resolve(asset_graph())}


def _say_plan(console: Console, keys: dict[str, list[str]], plan: Sequence[Sequence[Task]]) -> None:
    asked = sum(len(some) for some in keys.values())
    due = sum(task.partitions * len(task.assets) for stage in plan for task in stage)
    runs = sum(len(stage) for stage in plan)
    if not plan:
        console.print(f"{asked:,} partitions are stored and up to date: nothing to do")
        return
    console.print(f"{due:,} of {asked:,} partitions to be made in {runs:,} run(s)")
    for number, stage in enumerate(plan, 1):
        for task in stage:
            console.print(
                f"  {number}. {task.title}: {task.partitions:,} of {', '.join(task.assets)} "
                f"({task.why})",
                highlight=False,
                soft_wrap=True,
            )


def _say_end(console: Console, outcomes: Sequence[Outcome], left: Sequence[Task]) -> bool:
    failed = [outcome for outcome in outcomes if outcome.reason]
    for outcome in failed:
        console.print(
            f"[red]failed[/red] {outcome.task.title}: {outcome.reason}",
            highlight=False,
            soft_wrap=True,
        )
        console.print(f"  run {outcome.run_id}", soft_wrap=True)
    for task in left:
        console.print(f"not begun {task.title}: what it rests on failed", soft_wrap=True)
    if failed:
        console.print("the same command again goes on with what is left")
    return not failed
