"""``quant run``. What belongs here: planning, executing in two waves, and the closing words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime

import dagster as dg
from rich.console import Console

from quant_assets.cli.command_thread import command_thread
from quant_assets.cli.execute import Outcome
from quant_assets.cli.pictures import save_pictures
from quant_assets.cli.plan import Planner
from quant_assets.cli.progress import run_shown, sandbox_for_all
from quant_assets.cli.show import print_recommendations
from quant_assets.cli.spans import Span, span_of
from quant_assets.cli.tasks import Task
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.io_managers.quarantine import Quarantine
from quant_assets.io_managers.results import PAGE, newest_result
from quant_assets.markets import MARKETS, Market
from quant_assets.naming import FETCHED
from quant_assets.sandbox import locate
from quant_assets.sandbox.slack_export import publish
from quant_assets.sensors.dead_runs import close_dead_runs
from quant_assets.settings import Settings
from quant_assets.versions import code_versions


def run_range(
    values: Settings,
    markets: Sequence[Market],
    first: date | None,
    last: date | None,
    workers: int,
) -> bool:
    """Do what is missing for the range and print the last recommendations; whether all succeeded.

    First wave: what comes from vendors. Second wave: what is computed from it. Third wave: the
    paper book. A market whose prices failed still gets the analysis of the sessions that are
    there.
    """
    console = Console(stderr=True)
    now = datetime.now(UTC)
    store = ParquetStore(values.data_place, values.profile)
    spans = [span_of(m, first, last, now, values.universe(m.key)) for m in markets]
    for span in spans:
        console.print(
            f"[bold]{span.market.name}[/bold]: {len(span.sessions)} sessions "
            f"{span.sessions[0]} .. {span.sessions[-1]}, profile {values.profile}"
        )
    outcomes: list[Outcome] = []
    with (
        dg.DagsterInstance.get() as instance,
        sandbox_for_all(values),
        command_thread(values, spans) as thread,
    ):
        if closed := close_dead_runs(instance):
            console.print(f"closed {len(closed)} run(s) whose process had died")
        waves: tuple[Callable[[Planner], list[Task]], ...] = (
            lambda planner: planner.fetching(spans, values.news_start),
            lambda planner: planner.analysis(spans),
            lambda planner: [task for span in spans for task in planner.trading(span)],
        )
        for wave in waves:
            tasks = wave(Planner(store, instance, now, code_versions(values)))
            thread.planned(len(tasks))
            outcomes += run_shown(console, tasks, instance, workers, thread.ended)
        shown = _newest_sessions(store, spans)
        pictures = save_pictures(instance, values, shown)
        for span in spans:
            if session := shown.get(span.market.key):
                thread.recommended(span.market, session, store, instance)
    failed = [outcome for outcome in outcomes if outcome.reason]
    if not outcomes:
        console.print("Everything was there already.")
    for span in spans:
        if session := shown.get(span.market.key):
            print_recommendations(values, span.market, date.fromisoformat(session), "table")
    _print_places(console, values, pictures)
    _print_quarantine(console, store)
    for outcome in failed:
        console.print(
            f"[red]failed[/red] {outcome.task.title}: {outcome.reason}",
            highlight=False,
            soft_wrap=True,
        )
        console.print(
            f"  run {outcome.run_id}; `quant run` again does what is missing", soft_wrap=True
        )
    return not failed


def _newest_sessions(store: ParquetStore, spans: Sequence[Span]) -> dict[str, str]:
    """The newest session with recommendations of each market's span, where there is one."""
    newest = {}
    for span in spans:
        keys = [session.isoformat() for session in span.sessions]
        missing = set(store.missing(f"{span.market.key}/recommendations", keys))
        if stored := [key for key in keys if key not in missing]:
            newest[span.market.key] = stored[-1]
    return newest


def _print_quarantine(console: Console, store: ParquetStore) -> None:
    """Say how many rows of each fetched asset are held back, if any."""
    counts = {}
    for asset in FETCHED:
        quarantine = Quarantine(store, asset)
        counts[asset] = len(quarantine.held(quarantine.partitions()))
    if told := ", ".join(f"{count} of {asset}" for asset, count in counts.items() if count):
        console.print(
            f"In quarantine: {told} (`quant quarantine list`)", highlight=False, soft_wrap=True
        )


def _print_places(console: Console, values: Settings, pictures: Sequence[str]) -> None:
    console.print(f"Data:     {values.data_place}", highlight=False, soft_wrap=True)
    for picture in pictures:
        console.print(f"Picture:  {picture}", highlight=False, soft_wrap=True)
    for market in MARKETS:
        made = newest_result(values.results_dir / market / "book")
        if made is not None and (made / PAGE).is_file():
            console.print(f"Report:   {(made / PAGE).as_uri()}", highlight=False, soft_wrap=True)
    if values.is_sandbox and (page := publish(values.home_dir)) is not None:
        seed, data_dir = values.sandbox_seed, values.replayed_data
        running = locate.find(values.home_dir, seed=seed, data_dir=data_dir)
        place = f"{running}/slack" if running else page.as_uri()
        console.print(f"Slack:    {place}", highlight=False, soft_wrap=True)
    option = f' ARGS="--data {values.replayed_data}"' if values.replayed_data else ""
    console.print(
        f"UI:       make dev{option}, then http://127.0.0.1:3000", highlight=False, soft_wrap=True
    )
