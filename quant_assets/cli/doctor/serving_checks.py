"""The serving tables. What belongs here: whether their database answers, and what it holds."""

from __future__ import annotations

from quant_assets.cli.doctor.findings import Finding, Group
from quant_assets.errors import QuantAssetsError
from quant_assets.io_managers.serving import serving_database
from quant_assets.settings import Settings

SERVING = Group("serving")
NAME = "tables"


def tables(settings: Settings) -> Finding:
    """The database that ``QUANT_SERVING_URL`` names, without changing anything in it."""
    if not settings.has_serving:
        return SERVING.skip(NAME, "none are kept: QUANT_SERVING_URL is not set")
    try:
        database = serving_database(settings)
        revision = database.revision()
    except QuantAssetsError as error:
        remedy = "start the database, or correct QUANT_SERVING_URL"
        return SERVING.fail(NAME, str(error), remedy)
    if revision is None:
        return SERVING.ok(NAME, f"{database.address}: the first run makes them")
    return SERVING.ok(NAME, f"{database.address}: schema {revision}")
