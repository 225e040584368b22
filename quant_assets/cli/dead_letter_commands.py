"""``quant dead-letters``. What belongs here: the arguments of its commands."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from quant_assets.cli.options import FORMAT, PROFILE

REASON = click.option("--reason", "code", metavar="CODE", help="Letters of this kind of fault.")
TOPIC = click.option("--topic", metavar="EVENT_TYPE", help="Letters that came in this topic.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Only say what would be done.")


@click.group("dead-letters")
def dead_letters() -> None:
    """Look at messages that could not be processed, send them again or drop them."""


def _selection(command: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments that choose letters."""
    everything = click.option("--all", "everything", is_flag=True, help="Every open letter.")
    ids = click.argument("ids", metavar="[ID]...", nargs=-1)
    return ids(REASON(TOPIC(everything(command))))


@dead_letters.command("list")
@PROFILE
@click.option("--all", "everything", is_flag=True, help="Also those that were replayed or dropped.")
@REASON
@TOPIC
@FORMAT
def list_(profile: str | None, form: str, **chosen: Any) -> None:
    """List the open letters, those buried first above."""
    from quant_assets.cli.dead_letters import Selection, list_letters
    from quant_assets.cli.instance import open_profile

    list_letters(open_profile(profile), Selection(**chosen), form)


@dead_letters.command("show")
@PROFILE
@click.argument("letter_id", metavar="ID")
@click.option("--full", is_flag=True, help="The whole message, however long.")
def show(profile: str | None, letter_id: str, full: bool) -> None:
    """Show the headers and the message of a letter."""
    from quant_assets.cli.dead_letters import show_letter
    from quant_assets.cli.instance import open_profile

    show_letter(open_profile(profile), letter_id, is_full=full)


@dead_letters.command("replay")
@PROFILE
@_selection
@DRY_RUN
@click.option("--again", is_flag=True, help="Also what was replayed or dropped; needs IDs.")
def replay(profile: str | None, dry_run: bool, again: bool, **chosen: Any) -> None:
    """Send letters to their topics once more.

    Each is the next attempt of the same message. What was replayed already is not sent again; a
    message that fails again is a new letter.
    """
    from quant_assets.cli.dead_letters import Selection, replay_letters
    from quant_assets.cli.instance import open_profile

    selection = Selection(**chosen)
    is_complete = replay_letters(open_profile(profile), selection, is_dry=dry_run, again=again)
    sys.exit(0 if is_complete else 1)


@dead_letters.command("drop")
@PROFILE
@_selection
@DRY_RUN
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(profile: str | None, dry_run: bool, yes: bool, **chosen: Any) -> None:
    """Settle letters without sending anything.

    They stay readable with `list --all` and `show`, and `replay --again` still sends them.
    """
    from quant_assets.cli.dead_letters import Selection, drop_letters
    from quant_assets.cli.instance import open_profile

    drop_letters(open_profile(profile), Selection(**chosen), is_dry=dry_run, ask=not yes)
