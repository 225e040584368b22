"""What housekeeping says. What belongs here: one line a kind of thing, and adding them up."""

import msgspec


class Removed(msgspec.Struct, frozen=True):
    """So much of one kind of thing was removed, or would be. ``bytes`` is what was measured."""

    what: str
    count: int
    bytes: int
    why: str


class Kept(msgspec.Struct, frozen=True):
    """So many old runs stay, and why."""

    why: str
    count: int


class Report(msgspec.Struct, frozen=True):
    """One housekeeping. ``notes`` are what could not be done and is tried again next time."""

    is_dry_run: bool
    removed: tuple[Removed, ...] = ()
    kept: tuple[Kept, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """All that was removed."""
        return sum(one.bytes for one in self.removed)
