"""Tables in monospace. What belongs here: widths and alignment, no Slack."""

import math
import re
import unicodedata
from collections.abc import Sequence

NumberOrText = str | int | float | None
MAX_CELL_WIDTH = 32
_FIGURE = re.compile(r"[+\-−]?[\d.,\s]*\d\s?(?:%|bps|s|ms|h|min|x)?")
_DASH = "–"


def width(text: str) -> int:
    """Columns that ``text`` takes: wide East Asian characters two, combining ones none."""
    return sum(map(_width, text))


def lines_of_table(columns: Sequence[str], rows: Sequence[Sequence[NumberOrText]]) -> list[str]:
    """A heading and one line a row; numbers, and texts that look like them, stand right.

    A row that is too short is filled up, what a row has beyond ``columns`` is left out.
    """
    places = range(len(columns))
    cells = [[_shown(row[i] if i < len(row) else None) for i in places] for row in rows]
    heading = [_fitted(name) for name in columns]
    widths = [max(width(line[i]) for line in (heading, *cells)) for i in places]
    is_right = [_is_figures([row[i] for row in cells]) for i in places]
    return [
        "  ".join(_padded(line[i], widths[i], is_right=is_right[i]) for i in places).rstrip()
        for line in (heading, *cells)
    ]


def _width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf") or "\u1160" <= character <= "\u11ff":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _shown(value: NumberOrText) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return _DASH
    if isinstance(value, float):
        return f"{value:,.2f}"
    return _fitted(value or _DASH) if isinstance(value, str) else f"{value:,}"


def _fitted(text: str) -> str:
    if width(text) <= MAX_CELL_WIDTH:
        return text
    kept, room = "", MAX_CELL_WIDTH - 1
    for character in text:
        room -= _width(character)
        if room < 0:
            break
        kept += character
    return kept.rstrip() + "…"


def _is_figures(cells: Sequence[str]) -> bool:
    figures = [cell for cell in cells if cell != _DASH]
    return bool(figures) and all(_FIGURE.fullmatch(cell) for cell in figures)


def _padded(text: str, columns: int, *, is_right: bool) -> str:
    fill = " " * (columns - width(text))
    return fill + text if is_right else text + fill
