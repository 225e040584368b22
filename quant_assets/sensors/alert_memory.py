"""What the alerts remember between two ticks. What belongs here: the record and its keeping."""

import logging
from datetime import datetime
from typing import Any

import dagster as dg
import msgspec

from quant_assets.errors import BadDataError
from quant_assets.notices.incidents import Incident
from quant_assets.sensors.alert_runs import RunsSeen

KEY = "quant/incidents"
"""Key of the record in Dagster's storage of daemon cursors."""


class MailTrouble(msgspec.Struct, frozen=True):
    """Why the last mail was not taken, and when the next one is tried."""

    text: str
    failures: int
    retry_at: datetime


class Memory(msgspec.Struct, frozen=True):
    """Incidents, how far the runs are read, and what is wrong with the ways to tell.

    ``forgiven_at``: when threads whose channel could not be had were last given another try.
    """

    incidents: tuple[Incident, ...] = ()
    runs: RunsSeen = RunsSeen()
    mail: MailTrouble | None = None
    forgiven_at: datetime | None = None


class MemoryFile:
    """The record of an instance; writes only what has changed."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._storage = instance.daemon_cursor_storage
        self._text = ""

    def load(self, log: logging.Logger) -> Memory:
        """What was kept; a record that cannot be read is begun anew."""
        try:
            return self.read()
        except BadDataError as error:
            log.error("%s; it is begun anew", error)
            return Memory()

    def read(self) -> Memory:
        """What was kept. Raises ``BadDataError`` if it cannot be read."""
        self._text = self._storage.get_cursor_values({KEY}).get(KEY, "")
        if not self._text:
            return Memory()
        try:
            return msgspec.json.decode(self._text, type=Memory)
        except msgspec.MsgspecError as error:
            raise BadDataError(
                f"the record of incidents ({KEY}) is not readable: {error}"
            ) from error

    def keep(self, memory: Memory) -> None:
        """Write the record if it differs from what is there."""
        text = _text(memory)
        if text != self._text:
            self._storage.set_cursor_values({KEY: text})
            self._text = text


def _text(memory: Memory) -> str:
    """The record as JSON, whatever the texts in it are."""
    try:
        return msgspec.json.encode(memory).decode()
    except UnicodeEncodeError:
        return msgspec.json.encode(_encodable(msgspec.to_builtins(memory))).decode()


def _encodable(value: Any) -> Any:
    """``value`` without surrogates that stand alone: they are no text in UTF-8."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    return [_encodable(item) for item in value] if isinstance(value, list | tuple) else value
