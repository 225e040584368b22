"""Signs by the names that Slack gives them. What belongs here: the few that notices use.

Drawn from characters that every system font has, in colour by CSS: emoji fonts are often missing
where there is no desktop.
"""

import re
from collections.abc import Mapping

SIGNS: Mapping[str, tuple[str, str]] = {
    "white_check_mark": ("✔", "good"),
    "heavy_check_mark": ("✔", "good"),
    "x": ("✖", "bad"),
    "hourglass": ("◔", "busy"),
    "hourglass_flowing_sand": ("◔", "busy"),
    "warning": ("⚠", "busy"),
    "rotating_light": ("◉", "bad"),
    "information_source": ("ℹ", "told"),
    "no_entry": ("⊘", "bad"),
    "no_entry_sign": ("⊘", "bad"),
    "octagonal_sign": ("■", "bad"),
    "red_circle": ("●", "bad"),
    "large_blue_circle": ("●", "told"),
    "large_green_circle": ("●", "good"),
    "large_yellow_circle": ("●", "busy"),
    "white_circle": ("○", "quiet"),
    "arrows_counterclockwise": ("↻", "told"),
    "repeat": ("↻", "told"),
    "fast_forward": ("»", "quiet"),
    "bar_chart": ("▤", "told"),
    "chart_with_upwards_trend": ("↗", "good"),
    "chart_with_downwards_trend": ("↘", "bad"),
    "email": ("✉", "told"),
    "us": ("US", "flag"),
    "flag-us": ("US", "flag"),
    "kr": ("KR", "flag"),
    "flag-kr": ("KR", "flag"),
}
"""Character and kind of each sign."""
_NAME = re.compile(r":([a-z0-9_+-]+):")


def with_signs(html: str) -> str:
    """Escaped text with the sign in place of each known ``:name:``."""
    return _NAME.sub(_sign, html)


def _sign(match: re.Match[str]) -> str:
    if match[1] not in SIGNS:
        return match[0]
    character, kind = SIGNS[match[1]]
    return f'<span class="sign {kind}" title="{match[0]}">{character}</span>'
