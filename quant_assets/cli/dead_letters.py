"""``quant dead-letters``. What belongs here: choosing letters, and what is printed of them.

A letter's texts come from whoever sent the message: each passes ``printable`` before it is shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING

import click
import msgspec

from quant_assets.cli.broker import require_connection
from quant_assets.cli.text import printable
from quant_assets.errors import BadConfigurationError, BadDataError
from quant_assets.events.dead_letter_log import (
    DeadLetterLog,
    FiledLetter,
    drop,
    obstacle,
    original,
    read_log,
    replay,
)
from quant_assets.events.dead_letters import RETENTION_GAP, State
from quant_assets.events.publisher import Publisher
from quant_assets.events.reading import Record, read_at
from quant_assets.events.topics import TopicNames
from quant_assets.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

SHORT_REASON = 90
SHORT_CODE = 30
SHORT_CHARACTERS = 20_000
SHORT_LINES = 200
FORMATTED_BYTES = 65_536
"""Longer JSON is shown as it came: indented, a deeply nested one grows a thousandfold."""
NAMED_STRANGERS = 5
NEAR_IDS = 3


@dataclass(frozen=True)
class Selection:
    """The arguments that choose letters: either ids, or what they have in common."""

    ids: tuple[str, ...] = ()
    code: str | None = None
    topic: str | None = None
    everything: bool = False

    def check(self) -> None:
        """Raise ``BadConfigurationError`` unless it is clear which letters are meant."""
        has_filter = bool(self.code or self.topic or self.everything)
        if self.ids and has_filter:
            raise BadConfigurationError("give either IDs or --reason, --topic and --all")
        if not self.ids and not has_filter:
            raise BadConfigurationError(
                "name letters by ID or choose them with --reason, --topic or --all; "
                "`quant dead-letters list` shows them"
            )

    def filter(
        self, letters: Sequence[FiledLetter], log: DeadLetterLog, names: TopicNames
    ) -> list[FiledLetter]:
        """Those of ``letters`` that have the code and came in the topic or its aliases."""
        topics = None if self.topic is None else _topics(self.topic, log, names)
        return [
            filed
            for filed in letters
            if self.code in (None, filed.letter.code)
            and (topics is None or filed.letter.origin.topic in topics)
        ]


def list_letters(values: Settings, selection: Selection, form: str) -> None:
    """Print the open letters, or with ``everything`` all of them, one a line."""
    names = values.topic_names()
    log = read_log(require_connection(values), names)
    letters = list(log.letters) if selection.everything else log.open_letters()
    letters = selection.filter(letters, log, names)
    if form == "table":
        _print_table(letters, has_state=selection.everything)
        _print_summary(log)
    else:
        from quant_assets.cli.show import print_frame

        print_frame(_frame(letters, is_escaped=form == "csv"), form)
    _warn_of_strangers(log, names)


def show_letter(values: Settings, letter_id: str, *, is_full: bool) -> None:
    """Print a letter's headers and message; raises ``BadDataError`` if its record has just gone."""
    connection = require_connection(values)
    filed = find(read_log(connection, values.topic_names()), letter_id)
    record = read_at(connection, filed.place)
    if record is None:
        raise BadDataError(f"{filed.id}: its record at {filed.place} is gone: list them again")
    settled = f" since {_time(filed.settled_at)} UTC" if filed.settled_at else ""
    click.echo(f"{filed.id}: {filed.state}{settled}, stands at {filed.place}")
    for name, value in record.headers:
        click.echo(f"  {printable(name)}: {_text(value, is_full=is_full)}")
    click.echo(f"key: {_text(record.key, is_full=is_full)}")
    if filed.is_gap:
        click.echo("message: none, the letter stands for messages that retention removed")
        return
    body = record if filed.letter.is_whole else original(connection, filed)
    for line in _message(filed, body, is_full=is_full):
        click.echo(line)


def replay_letters(values: Settings, selection: Selection, *, is_dry: bool, again: bool) -> bool:
    """Send the chosen letters once more; whether all were sent that should be."""
    selection.check()
    if again and not selection.ids:
        raise BadConfigurationError("--again needs the IDs of the letters")
    with _publisher(values) as publisher:
        log = read_log(publisher.connection, publisher.names)
        letters = _chosen(selection, log, publisher.names)
        if not again:
            letters = _unsettled(letters, "; --again sends it once more")
        todo, is_complete = _replayable(letters, publisher.names, is_named=bool(selection.ids))
        if is_dry:
            for filed in todo:
                click.echo(f"would replay {filed.id} as attempt {filed.next_attempt}")
            return is_complete
        return _replay(publisher, todo) and is_complete


def drop_letters(values: Settings, selection: Selection, *, is_dry: bool, ask: bool) -> None:
    """Settle the chosen letters as dropped; asks before unless told not to."""
    selection.check()
    with _publisher(values) as publisher:
        log = read_log(publisher.connection, publisher.names)
        letters = _unsettled(_chosen(selection, log, publisher.names), "")
        if is_dry:
            for filed in letters:
                click.echo(f"would drop {filed.id}")
        elif letters:
            if ask:
                click.confirm(f"Drop {len(letters):,} letter(s), {_by_code(letters)}?", abort=True)
            drop(publisher, letters)
            click.echo(f"dropped {len(letters):,} letter(s)")


def find(log: DeadLetterLog, letter_id: str) -> FiledLetter:
    """The letter of an id; raises ``BadConfigurationError`` that names those with a similar one."""
    by_id = {filed.id: filed for filed in log.letters}
    if letter_id in by_id:
        return by_id[letter_id]
    near = [known for known in by_id if known.startswith(f"{letter_id}~")]
    near = near or get_close_matches(letter_id, by_id, NEAR_IDS, 0.5)
    hint = f"near are {', '.join(near)}" if near else "`quant dead-letters list` shows them"
    raise BadConfigurationError(f"there is no dead letter {printable(letter_id)}; {hint}")


@contextmanager
def _publisher(values: Settings) -> Iterator[Publisher]:
    publisher = Publisher(require_connection(values), values.topic_names())
    try:
        yield publisher
    finally:
        publisher.close()


def _topics(asked: str, log: DeadLetterLog, names: TopicNames) -> set[str]:
    """Topics that ``asked`` means: an event type's, with its aliases, or one that letters name."""
    try:
        event_type = names.event_type(asked)
    except BadConfigurationError:
        if asked in {filed.letter.origin.topic for filed in log.letters}:
            return {asked}
        raise
    return {
        names.topic(event_type),
        *(a for a, name in names.aliases.items() if name == event_type),
    }


def _chosen(selection: Selection, log: DeadLetterLog, names: TopicNames) -> list[FiledLetter]:
    """The letters with the given ids in any state, or the open ones that the filters leave."""
    if selection.ids:
        return [find(log, letter_id) for letter_id in dict.fromkeys(selection.ids)]
    letters = selection.filter(log.open_letters(), log, names)
    if not letters:
        there = _by_code(log.open_letters())
        click.echo(f"no such letter is open; open are {there}" if there else "no letter is open")
    return letters


def _unsettled(letters: Sequence[FiledLetter], remedy: str) -> list[FiledLetter]:
    """The open ones of ``letters``; says of the others what was done with them."""
    for filed in letters:
        if filed.state is not State.OPEN:
            done = f"{filed.state} at {_time(filed.settled_at)} UTC"
            click.echo(f"{filed.id} was {done}: nothing is done{remedy}")
    return [filed for filed in letters if filed.state is State.OPEN]


def _replayable(
    letters: Sequence[FiledLetter], names: TopicNames, *, is_named: bool
) -> tuple[list[FiledLetter], bool]:
    """Letters that can be sent, and whether those are all that should be.

    Gaps that a filter has caught by the way are passed over.
    """
    todo = []
    failed = gaps = 0
    for filed in letters:
        problem = obstacle(filed, names)
        if not problem:
            todo.append(filed)
        elif filed.is_gap and not is_named:
            gaps += 1
        else:
            failed += 1
            click.echo(f"not replayed: {filed.id}: {problem}", err=True)
    if gaps:
        click.echo(
            f"passed over {gaps:,} letter(s) that stand for messages which retention removed: "
            f"only `quant dead-letters drop --reason {RETENTION_GAP}` settles them",
            err=True,
        )
    return todo, failed == 0 and (bool(todo) or not gaps)


def _replay(publisher: Publisher, letters: Sequence[FiledLetter]) -> bool:
    sent = 0
    for done in replay(publisher, letters):
        if done.problem:
            click.echo(f"not replayed: {done.filed.id}: {printable(done.problem)}", err=True)
        else:
            sent += 1
            click.echo(f"replayed {done.filed.id} as attempt {done.filed.next_attempt}")
    if len(letters) > 1:
        click.echo(f"{sent:,} of {len(letters):,} letters were replayed")
    return sent == len(letters)


def _print_table(letters: Sequence[FiledLetter], *, has_state: bool) -> None:
    """Lines that are never wrapped or cut at the terminal's width, so that ids can be copied."""
    head = ["id", "buried at (UTC)", "code", "attempts", "bytes", "state", "reason"]
    rows = [head, *(_row(filed) for filed in letters)]
    if not has_state:
        rows = [[*row[:5], row[6]] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows if letters else ():
        cells = [
            text.rjust(width) if column in (3, 4) else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=False))
        ]
        click.echo("  ".join([*cells, row[-1]]))


def _row(filed: FiledLetter) -> list[str]:
    letter = filed.letter
    size = "" if filed.size_bytes is None else f"{filed.size_bytes:,}"
    reason = _short(printable(letter.reason), SHORT_REASON)
    code = _short(printable(letter.code), SHORT_CODE)
    when = _time(letter.last_at)
    return [filed.id, when, code, str(letter.attempts), size, filed.state.value, reason]


def _print_summary(log: DeadLetterLog) -> None:
    count, oldest = log.summary()
    settled = len(log.letters) - count
    if oldest is None:
        click.echo("no letter is open")
    else:
        by_code = _by_code(log.open_letters())
        click.echo(f"{count:,} open: {by_code}; the oldest message is {_age(oldest)} old")
    if settled:
        click.echo(f"{settled:,} replayed or dropped (--all lists them)")


def _warn_of_strangers(log: DeadLetterLog, names: TopicNames) -> None:
    if not log.strangers:
        return
    named = [f"{place} ({printable(reason)})" for place, reason in log.strangers[:NAMED_STRANGERS]]
    if len(log.strangers) > NAMED_STRANGERS:
        named.append(f"{len(log.strangers) - NAMED_STRANGERS:,} more")
    click.echo(
        f"warning: {len(log.strangers):,} record(s) of {names.dead_letter} are none of the "
        f"platform's: {', '.join(named)}",
        err=True,
    )


def _by_code(letters: Sequence[FiledLetter]) -> str:
    counts = Counter(_short(printable(filed.letter.code), SHORT_CODE) for filed in letters)
    return ", ".join(f"{code} {count:,}" for code, count in counts.most_common())


def _frame(letters: Sequence[FiledLetter], *, is_escaped: bool) -> pd.DataFrame:
    """One row a letter; JSON escapes control characters by itself, CSV does not."""
    import pandas as pd

    text = printable if is_escaped else str
    columns = {
        "id": [filed.id for filed in letters],
        "state": [filed.state.value for filed in letters],
        "code": [text(filed.letter.code) for filed in letters],
        "reason": [text(filed.letter.reason) for filed in letters],
        "error_class": [text(filed.letter.error_class) for filed in letters],
        "topic": [filed.letter.origin.topic for filed in letters],
        "attempts": [filed.letter.attempts for filed in letters],
        "size_bytes": pd.array([filed.size_bytes for filed in letters], dtype="Int64"),
        "is_whole": [filed.letter.is_whole for filed in letters],
        "first_at": [filed.letter.first_at.isoformat() for filed in letters],
        "last_at": [filed.letter.last_at.isoformat() for filed in letters],
        "settled_at": [f.settled_at.isoformat() if f.settled_at else None for f in letters],
    }
    return pd.DataFrame(columns)


def _text(value: bytes | None, *, is_full: bool) -> str:
    if value is None:
        return "none"
    text = value.decode("utf-8", "backslashreplace")
    return printable(text if is_full else _short(text, SHORT_CHARACTERS))


def _message(filed: FiledLetter, body: Record | None, *, is_full: bool) -> Iterator[str]:
    if body is None:
        yield f"message: gone; it was too large for the letter and stood at {filed.letter.origin}"
    elif body.value is None:
        yield "message: none (a tombstone)"
    else:
        kind, lines = _readable(body.value)
        where = "" if filed.letter.is_whole else f", read at {filed.letter.origin}"
        yield f"message: {len(body.value):,} bytes, {kind}{where}"
        yield from (f"  {line}" for line in (map(printable, lines) if is_full else _first(lines)))


def _readable(value: bytes) -> tuple[str, Iterable[str]]:
    """What kind of bytes these are, and lines for a person, not yet printable."""
    if len(value) <= FORMATTED_BYTES:
        try:
            return "JSON", msgspec.json.format(value, indent=2).decode().split("\n")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass
    try:
        return "text", value.decode().split("\n")
    except UnicodeDecodeError:
        return "binary", _dump(value)


def _dump(value: bytes) -> Iterator[str]:
    """Offset, bytes in hexadecimal and their ASCII signs, sixteen a line."""
    for start in range(0, len(value), 16):
        row = value[start : start + 16]
        signs = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{start:08x}  {row.hex(' '):<47}  {signs}"


def _first(lines: Iterable[str]) -> Iterator[str]:
    """The first of ``lines``, printable, and a word if there are more."""
    left = SHORT_CHARACTERS
    for number, line in enumerate(lines):
        if number < SHORT_LINES:
            yield printable(line[:left])
        if number == SHORT_LINES or len(line) > left:
            yield "... (--full shows the rest)"
            return
        left -= len(line)


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _age(since: datetime) -> str:
    seconds = max(0.0, (datetime.now(UTC) - since).total_seconds())
    units = ((86_400, "days"), (3_600, "hours"), (60, "minutes"))
    length, name = next((u for u in units if seconds >= 2 * u[0]), (1, "seconds"))
    return f"{seconds / length:.0f} {name}"


def _time(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"
