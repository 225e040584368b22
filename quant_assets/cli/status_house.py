"""What ``quant status`` looks at as a whole. What belongs here: the house, and its instance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime

import dagster as dg

from quant_assets.cli.instance import has_instance, without_values
from quant_assets.cli.text import printable
from quant_assets.errors import QuantAssetsError
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.markets import MARKETS
from quant_assets.settings import Settings
from quant_assets.vendors.redaction import redact

LINE = 160


class NoInstanceError(Exception):
    """Dagster's instance cannot be opened, or there is none; the message says why."""


@dataclass(frozen=True)
class House:
    """What is looked at, and by which clock; ``market`` is the only one, None for all.

    ``instance`` raises why there is none.
    """

    values: Settings
    now: datetime
    instance: Callable[[], dg.DagsterInstance]
    market: str | None = None

    @property
    def store(self) -> ParquetStore:
        """The stored partitions."""
        return ParquetStore(self.values.data_place, self.values.profile)

    def concerns(self, name: str) -> bool:
        """Whether an asset, job or schedule is not one of another market alone."""
        others = [key for key in MARKETS if self.market not in (None, key)]
        return not name.startswith(tuple(f"{key}{sign}" for key in others for sign in "/_"))


@contextmanager
def instance_of(values: Settings) -> Iterator[Callable[[], dg.DagsterInstance]]:
    """The instance, opened when it is first asked for; it raises ``NoInstanceError`` each time.

    Where none was used yet none is opened: Dagster would make one.
    """
    opened: list[dg.DagsterInstance] = []
    problem = ""
    with ExitStack() as stack:

        def instance() -> dg.DagsterInstance:
            nonlocal problem
            if problem:
                raise NoInstanceError(problem)
            if opened:
                return opened[0]
            if not has_instance(values.home_dir):
                problem = f"none was used in {values.home_dir} yet: `quant run` makes one"
                return instance()
            try:
                opened.append(stack.enter_context(dg.DagsterInstance.get()))
            except Exception as error:  # noqa: BLE001 - the storage's own, of whatever kind
                problem = said(error, values)
            return instance()

        yield instance


def said(error: Exception, values: Settings) -> str:
    """What an error says, on one line without secrets."""
    told = str(error) or type(error).__name__
    if isinstance(error, dg.DagsterInvalidConfigError):
        told = without_values(told)
    text = redact(told, values.secrets)
    line = printable(" ".join(text.split()))
    is_ours = isinstance(error, QuantAssetsError | NoInstanceError)
    named = line if is_ours else f"{type(error).__name__}: {line}"
    return named if len(named) <= LINE else f"{named[: LINE - 1]}…"
