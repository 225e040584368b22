"""Which tickers to ask for when a day's calls do not reach for all. What belongs here: the choice.

The rule: the general feed comes first. Of the calls that are left, one is kept for the general
feed in each hour that remains of the vendor's day; what is over goes to the tickers whose news
reach least far, those never asked for before all others, equal ones in alphabetical order.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from quant_assets.vendors.archive_files import write_whole

NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def reserved_calls(now: datetime, resets_at: datetime) -> int:
    """Whole hours that begin after this one and before the reset: a general feed each."""
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    return max(0, (resets_at - this_hour) // timedelta(hours=1) - 1)


def choose_tickers(
    tickers: Sequence[str], reached: Mapping[str, datetime], spendable: int | None
) -> tuple[list[str], list[str]]:
    """Tickers to ask for now, in order of need, and those that must wait.

    ``reached`` says until when each ticker's news were asked for; ``spendable`` is the number of
    calls that may go to tickers, ``None`` if calls are not counted.
    """
    by_need = sorted(dict.fromkeys(tickers), key=lambda name: (reached.get(name, NEVER), name))
    if spendable is None:
        return by_need, []
    return by_need[: max(0, spendable)], by_need[max(0, spendable) :]


class ReachedTimes:
    """Until when each ticker's news were asked for, in a file.

    A file that cannot be read counts as empty: every ticker then waits for its turn anew, which
    costs nothing but the order.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> dict[str, datetime]:
        """Times by ticker, UTC."""
        try:
            content = json.loads(self._path.read_bytes())
            times = {str(name): datetime.fromisoformat(text) for name, text in content.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}
        return {name: moment for name, moment in times.items() if moment.tzinfo is not None}

    def advance(self, tickers: Sequence[str], until: datetime) -> None:
        """Note that ``tickers`` were asked for until a time; a time never moves back."""
        times = self.load()
        for name in tickers:
            times[name] = max(times.get(name, NEVER), until)
        content = {name: moment.isoformat() for name, moment in sorted(times.items())}
        write_whole(self._path, json.dumps(content, indent=1).encode())
