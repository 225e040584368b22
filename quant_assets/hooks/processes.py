"""Processes of this machine. What belongs here: whether one lives, no killing."""

import os
from pathlib import Path

CLOCK_SLACK_SECONDS = 2.0


def is_alive(pid: int, since: float | None = None) -> bool:
    """Whether the process ``pid`` lives and, where the system tells, is as old as ``since``.

    ``since`` (seconds since the epoch) is a time at which the process already ran: a younger one
    has the number of one that is gone.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    found = _state_and_start(pid)
    if found is None:
        return True
    state, started = found
    return state != "Z" and (since is None or started <= since + CLOCK_SLACK_SECONDS)


def _state_and_start(pid: int) -> tuple[str, float] | None:
    """State letter and start time of a process, None where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        boot = next(
            line for line in Path("/proc/stat").read_text("ascii").splitlines() if "btime" in line
        )
    except (OSError, StopIteration):
        return None
    ticks_per_second = os.sysconf("SC_CLK_TCK")
    return fields[0], float(boot.split()[1]) + int(fields[19]) / ticks_per_second
