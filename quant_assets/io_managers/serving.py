"""The IO manager of the serving tables. What belongs here: from Dagster's keys to the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

from quant_assets.errors import BadConfigurationError
from quant_assets.io_managers.partitioned_parquet import named_range, parts_of
from quant_assets.io_managers.serving_database import ServingDatabase
from quant_assets.io_managers.serving_tables import SERVED, Served
from quant_assets.policies import typed_failures
from quant_assets.settings import Settings, read_settings

if TYPE_CHECKING:
    import pandas as pd

_BY_ASSET = {served.asset: served for served in SERVED.values()}


def serving_database(settings: Settings) -> ServingDatabase:
    """The database that ``QUANT_SERVING_URL`` names.

    Raises ``BadConfigurationError`` where it names none.
    """
    if not settings.has_serving:
        raise BadConfigurationError(
            "there are no serving tables: QUANT_SERVING_URL names no database, for instance "
            "sqlite:///serving.db"
        )
    return ServingDatabase(settings.serving_address, settings.profile, settings.serving_reader)


class ServingIOManager(dg.ConfigurableIOManager):
    """Replaces the partitions of a run in a serving table, in one transaction.

    ``values`` are the settings that may be seen; the database's address comes from the environment.
    """

    values: dict[str, Any]

    def _database(self) -> ServingDatabase:
        return serving_database(read_settings(**self.values))

    def handle_output(self, context: dg.OutputContext, obj: pd.DataFrame) -> None:
        """Serve the rows of the run's partitions; one without rows is served as empty.

        Raises ``BadDataError`` for rows of other partitions, and as ``ServingDatabase``; a failure
        of the database itself is tried again.
        """
        with typed_failures():
            served = _served(context)
            keys = list(context.asset_partition_keys)
            where = named_range(served.asset, keys)
            frame = served.table.dataset.conform(obj, where)
            parts = parts_of(served.table.dataset, frame, keys, where)
            database = self._database()
            change = database.replace(served, frame, parts)
            context.add_output_metadata(
                {
                    "database": database.address,
                    "table": served.table.name,
                    "rows_in_run": len(frame),
                    "changed_partitions": change.partitions,
                    "rows_written": change.written,
                    "rows_removed": change.removed,
                }
            )

    def load_input(self, context: dg.InputContext) -> pd.DataFrame:
        """Rows of the partitions that the input's mapping names, as the table has them."""
        with typed_failures():
            return self._database().read(_served(context), list(context.asset_partition_keys))


def _served(context: dg.OutputContext | dg.InputContext) -> Served:
    return _BY_ASSET[context.asset_key.to_user_string()]
