"""The database of the serving tables. What belongs here: its schema, writing partitions, reading.

A partition is replaced in one transaction: rows that changed are written, rows that went are
removed, the others stay as they are. A partition whose rows are served already costs one look at
its content hash. PostgreSQL takes the rows by COPY.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quant_assets.errors import BadConfigurationError, BadDataError, TransientError
from quant_assets.io_managers.parquet_store import Part, arrow_table, table_hash
from quant_assets.io_managers.serving_tables import (
    PARTITIONS_TABLE,
    PROFILE_TABLE,
    TABLES,
    VERSION_TABLE,
    VIEWS,
    Served,
    metadata,
)
from quant_assets.schemas import dataset_of
from quant_assets.schemas.keys import HOUR_FORMAT, SESSION_FORMAT

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow
    import sqlalchemy as sa

_VERSIONS = Path(__file__).with_name("serving_versions")
_CONNECT_SECONDS, _LOCK_SECONDS = 10, 60
_REFUSED = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "pg_hba.conf",
    "unable to open",
    "readonly",
)
"""What a database says that will say the same again."""


@dataclass(frozen=True)
class Change:
    """What serving some partitions changed: how many of them, and rows written and removed."""

    partitions: int = 0
    written: int = 0
    removed: int = 0


class ServingDatabase:
    """The serving tables of ``profile`` at ``url``; ``reader`` is a role that may only read them.

    Every method raises ``TransientError`` where the database does not answer,
    ``BadConfigurationError`` where it refuses, ``BadDataError`` where it does not take the rows.
    """

    def __init__(self, url: str, profile: str, reader: str = "") -> None:
        self._url = url
        self._profile = profile
        self._reader = reader
        self._is_ready = False

    @cached_property
    def _engine(self) -> sa.Engine:
        import sqlalchemy as sa

        is_postgres = self._url.startswith("postgresql")
        seconds = {"connect_timeout": _CONNECT_SECONDS} if is_postgres else {}
        engine = sa.create_engine(
            self._url,
            poolclass=sa.NullPool,
            connect_args=seconds or {"timeout": _LOCK_SECONDS},
        )
        if not is_postgres:
            # Python's driver would leave DDL outside of the transaction and begin it too late.
            sa.event.listen(engine, "connect", _without_own_transactions)
            sa.event.listen(engine, "begin", _begin_immediate)
        return engine

    @cached_property
    def address(self) -> str:
        """The database without its password."""
        import sqlalchemy as sa

        try:
            return sa.make_url(self._url).render_as_string(hide_password=True)
        except (sa.exc.ArgumentError, ValueError):
            raise BadConfigurationError(
                "QUANT_SERVING_URL is no address of a database, such as "
                "postgresql://USER:PASSWORD@HOST:5432/DATABASE; percent-encode / @ : # in it"
            ) from None

    def setup(self) -> str:
        """Bring the schema up to date, let the reader read, and return the schema's revision.

        Raises ``BadConfigurationError`` for a database that a newer version of the platform made
        or that holds another profile's data.
        """
        with self._asked("setting up"), self._engine.begin() as connection:
            self._lock(connection, "schema")
            revision = self._upgrade(connection)
            self._own(connection)
            self._grant(connection)
        self._is_ready = True
        return revision

    def revision(self) -> str | None:
        """Revision of the schema, None where there are no tables yet; changes nothing."""
        import sqlalchemy as sa
        from alembic.runtime.migration import MigrationContext

        is_file = self.address.startswith("sqlite")
        if is_file and not Path(sa.make_url(self._url).database or "").exists():
            return None
        with self._asked("looking"), self._engine.begin() as connection:
            options = {"version_table": VERSION_TABLE}
            found = MigrationContext.configure(connection, opts=options).get_current_revision()
            return None if found is None else str(found)

    def _ready(self) -> None:
        if not self._is_ready:
            self.setup()

    def _upgrade(self, connection: sa.Connection) -> str:
        from alembic.config import Config
        from alembic.runtime.environment import EnvironmentContext
        from alembic.script import ScriptDirectory
        from alembic.util import CommandError

        config = Config()
        for option in ("script_location", "version_locations"):
            config.set_main_option(option, str(_VERSIONS).replace("%", "%%"))
        config.set_main_option("path_separator", "newline")
        script = ScriptDirectory.from_config(config)

        def to_head(revision: Any, _: object) -> Any:
            return script._upgrade_revs("head", revision)

        with EnvironmentContext(config, script, fn=to_head) as environment:
            environment.configure(
                connection=connection, version_table=VERSION_TABLE, transactional_ddl=True
            )
            try:
                environment.run_migrations()
            except CommandError as error:
                raise BadConfigurationError(
                    f"serving tables at {self.address}: {error}; a newer version of the platform "
                    "has been there: use that version, or another database"
                ) from error
        return str(script.get_current_head())

    def _own(self, connection: sa.Connection) -> None:
        """Refuse another profile's tables; the first one to come claims them."""
        import sqlalchemy as sa

        table = metadata().tables[PROFILE_TABLE]
        owner = connection.execute(sa.select(table.c.profile)).scalar()
        if owner is None:
            connection.execute(table.insert().values(profile=self._profile))
        elif owner != self._profile:
            raise BadConfigurationError(
                f"serving tables at {self.address} hold data of the profile {owner!r}, this is "
                f"{self._profile!r}: simulated and real data do not share a database "
                "(QUANT_SERVING_URL)"
            )

    def _grant(self, connection: sa.Connection) -> None:
        import sqlalchemy as sa

        if not self._reader or connection.dialect.name != "postgresql":
            return
        quoted = connection.dialect.identifier_preparer.quote
        role = quoted(self._reader)
        known = sa.text("SELECT 1 FROM pg_roles WHERE rolname = :name")
        if connection.execute(known, {"name": self._reader}).scalar() is None:
            connection.exec_driver_sql(f"CREATE ROLE {role} NOLOGIN")
        schema = quoted(str(connection.execute(sa.text("SELECT current_schema()")).scalar()))
        connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
        tables = ", ".join((*TABLES, PARTITIONS_TABLE, *VIEWS))
        connection.exec_driver_sql(f"GRANT SELECT ON {tables} TO {role}")

    def _lock(self, connection: sa.Connection, name: str) -> None:
        """Let one writer at a time at ``name``; SQLite has one writer at a time anyway."""
        import sqlalchemy as sa

        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'")
            number = zlib.crc32(f"quant_assets serving {name}".encode())
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:n)"), {"n": number})

    def replace(self, served: Served, frame: pd.DataFrame, parts: Sequence[Part]) -> Change:
        """Serve ``parts``, runs of rows of a frame that conforms to the table's contract.

        All of them are replaced in one transaction: readers see all of the change or nothing.
        """
        self._ready()
        source = dataset_of(served.source)
        rows = arrow_table(source, frame).combine_chunks()
        tables = {part.key: rows.slice(part.start, part.end - part.start) for part in parts}
        hashes = {key: table_hash(source, table) for key, table in tables.items()}
        name, scope = served.table.name, served.scope
        with (
            self._asked(f"{name} of {scope}", list(hashes)),
            self._engine.begin() as connection,
        ):
            self._lock(connection, f"{name} {scope}")
            known = _hashes(connection, served, list(hashes))
            changed = {key: t for key, t in tables.items() if known.get(key) != hashes[key]}
            if not changed:
                return Change()
            incoming = _create_incoming(connection, served)
            _load(connection, served, incoming, _with_scope(served, list(changed.values())))
            removed = _remove_gone(connection, served, incoming, list(changed))
            written = _merge(connection, served, incoming)
            counts = {key: table.num_rows for key, table in changed.items()}
            _note(connection, served, hashes, counts)
        return Change(len(changed), written, removed)

    def remove(self, served: Served, partitions: Sequence[str]) -> Change:
        """Remove partitions from the table, in one transaction."""
        import sqlalchemy as sa

        self._ready()
        book = metadata().tables[PARTITIONS_TABLE]
        table = metadata().tables[served.table.name]
        name, scope = served.table.name, served.scope
        with self._asked(f"{name} of {scope}", partitions), self._engine.begin() as connection:
            self._lock(connection, f"{name} {scope}")
            gone = connection.execute(sa.delete(table).where(*_of(served, table, partitions)))
            noted = connection.execute(sa.delete(book).where(*_noted(served, book, partitions)))
            return Change(noted.rowcount, 0, gone.rowcount)

    def served(self, served: Served) -> dict[str, str]:
        """Content hash of each partition that the table holds."""
        self._ready()
        with self._asked(served.table.name), self._engine.begin() as connection:
            return _hashes(connection, served, None)

    def read(self, served: Served, partitions: Sequence[str]) -> pd.DataFrame:
        """Rows of partitions as the table has them, with the contract's columns and types."""
        import pandas as pd
        import sqlalchemy as sa

        self._ready()
        table = metadata().tables[served.table.name]
        columns = [table.c[name] for name in served.table.dataset.column_names]
        asked = sa.select(*columns).where(*_of(served, table, partitions))
        with self._asked(served.table.name, partitions), self._engine.begin() as connection:
            rows = connection.execute(asked).all()
        frame = pd.DataFrame(rows, columns=served.table.dataset.column_names, dtype=object)
        for column in served.table.dataset.columns:
            if column.type in ("date", "timestamp"):
                is_utc = column.type == "timestamp"
                frame[column.name] = pd.to_datetime(frame[column.name], utc=is_utc).dt.as_unit("us")
        return served.table.dataset.conform(frame, f"table {served.table.name}")

    @contextmanager
    def _asked(self, what: str, partitions: Sequence[str] = ()) -> Iterator[None]:
        """Type the errors of the database, each with its address and what was asked of it."""
        import sqlalchemy as sa

        keys = f" [{partitions[0]} .. {partitions[-1]}]" if partitions else ""
        where = f"serving database {self.address}, {what}{keys}"
        try:
            yield
        except sa.exc.OperationalError as error:
            said = _first_line(error)
            if any(word in said for word in _REFUSED):
                raise BadConfigurationError(
                    f"{where}: {said}; correct QUANT_SERVING_URL or the database"
                ) from error
            raise TransientError(f"{where}: {said}; is the database up?") from error
        except (sa.exc.DataError, sa.exc.IntegrityError) as error:
            raise BadDataError(f"{where}: {_first_line(error)}") from error
        except sa.exc.InterfaceError as error:
            raise TransientError(f"{where}: {_first_line(error)}; is the database up?") from error
        except sa.exc.DBAPIError as error:
            if error.connection_invalidated:
                said = _first_line(error)
                raise TransientError(f"{where}: {said}; is the database up?") from error
            raise BadConfigurationError(
                f"{where}: {_first_line(error)}; the role of QUANT_SERVING_URL needs to create and "
                "write tables in a database of its own"
            ) from error


def _without_own_transactions(connection: Any, _: object) -> None:
    connection.isolation_level = None


def _begin_immediate(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _first_line(error: sa.exc.DBAPIError) -> str:
    return (str(error.orig).strip().splitlines() or [type(error.orig).__name__])[0]


def _starts(served: Served, partitions: Sequence[str]) -> list[Any]:
    """The values of the partition column that stand for partition keys."""
    if served.table.dataset.partition_column == "hour":
        return [datetime.strptime(k, HOUR_FORMAT).replace(tzinfo=UTC) for k in partitions]
    return [datetime.strptime(k, SESSION_FORMAT).date() for k in partitions]


def _of(served: Served, table: sa.Table, partitions: Sequence[str]) -> tuple[Any, Any]:
    """Conditions: rows of the partitions in a table."""
    column = table.c[served.table.dataset.partition_column]
    return _scoped(served, table), column.in_(_starts(served, partitions))


def _scoped(served: Served, table: sa.Table) -> Any:
    return table.c[served.table.scope.name] == served.scope


def _noted(served: Served, book: sa.Table, partitions: Sequence[str] | None) -> list[Any]:
    """Conditions: what is noted of partitions, or of all."""
    found: list[Any] = [book.c.table_name == served.table.name, book.c.scope == served.scope]
    return found if partitions is None else [*found, book.c.partition_key.in_(partitions)]


def _hashes(
    connection: sa.Connection, served: Served, partitions: Sequence[str] | None
) -> dict[str, str]:
    import sqlalchemy as sa

    book = metadata().tables[PARTITIONS_TABLE]
    asked = sa.select(book.c.partition_key, book.c.content_hash)
    rows = connection.execute(asked.where(*_noted(served, book, partitions)))
    return {row.partition_key: row.content_hash for row in rows}


def _create_incoming(connection: sa.Connection, served: Served) -> sa.Table:
    """A temporary table like the served one.

    SQLite needs its key to find rows in it, PostgreSQL joins by hash and loads faster without.
    """
    import sqlalchemy as sa

    table = metadata().tables[served.table.name]
    is_postgres = connection.dialect.name == "postgresql"
    incoming = sa.Table(
        "incoming",
        sa.MetaData(),
        *(sa.Column(c.name, c.type) for c in table.columns),
        *(() if is_postgres else (sa.PrimaryKeyConstraint(*served.table.key),)),
        prefixes=["TEMPORARY"],
        postgresql_on_commit="DROP",
    )
    incoming.create(connection)
    return incoming


def _with_scope(served: Served, tables: Sequence[pyarrow.Table]) -> pyarrow.Table:
    """Rows of partitions with the scope before them."""
    import pyarrow as pa

    # One chunk: of a partition without rows pyarrow's CSV writer makes bytes of nothing.
    rows = pa.concat_tables(tables).combine_chunks()
    scope = pa.array([served.scope] * rows.num_rows, pa.large_string())
    return rows.add_column(0, served.table.scope.name, scope)


def _load(
    connection: sa.Connection, served: Served, incoming: sa.Table, rows: pyarrow.Table
) -> None:
    import pyarrow.csv
    import sqlalchemy as sa

    rows = _without_nul(rows)
    if connection.dialect.name == "postgresql":
        text = io.BytesIO()
        options = pyarrow.csv.WriteOptions(include_header=False)
        pyarrow.csv.write_csv(rows, text, options)
        text.seek(0)
        cursor: Any = connection.connection.cursor()
        driver: Any = connection.dialect.loaded_dbapi
        try:
            cursor.copy_expert("COPY incoming FROM STDIN (FORMAT csv)", text)
        except driver.Error as error:
            # The driver's own, past SQLAlchemy, which types the others.
            raise sa.exc.DBAPIError.instance(
                "COPY", None, error, driver.Error, dialect=connection.dialect
            ) from error
        cursor.close()
    elif rows.num_rows:
        columns = [_for_sqlite(rows.column(c.name)) for c in served.table.columns]
        marks = ", ".join("?" * len(columns))
        connection.exec_driver_sql(
            f"INSERT INTO {incoming.name} VALUES ({marks})", list(zip(*columns, strict=True))
        )


def _without_nul(rows: pyarrow.Table) -> pyarrow.Table:
    """Texts with a replacement character for NUL, which PostgreSQL cannot hold."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for n, field in enumerate(rows.schema):
        if pa.types.is_large_string(field.type):
            shown = pc.replace_substring(rows.column(n), "\0", "\N{REPLACEMENT CHARACTER}")
            rows = rows.set_column(n, field, shown)
    return rows


def _for_sqlite(values: pyarrow.ChunkedArray) -> list[Any]:
    """Values as SQLAlchemy keeps them in SQLite: dates and instants (UTC) as texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_timestamp(values.type):
        values = pc.strftime(values, "%Y-%m-%d %H:%M:%S")
    elif pa.types.is_date(values.type):
        values = values.cast(pa.string())
    found: list[Any] = values.to_pylist()
    return found


def _remove_gone(
    connection: sa.Connection, served: Served, incoming: sa.Table, partitions: Sequence[str]
) -> int:
    """Remove rows of the partitions that did not come again; how many."""
    import sqlalchemy as sa

    table = metadata().tables[served.table.name]
    same = [table.c[name] == incoming.c[name] for name in served.table.key]
    stays = sa.exists().where(*same).correlate(table)
    gone = sa.delete(table).where(*_of(served, table, partitions), ~stays)
    return int(connection.execute(gone).rowcount)


def _merge(connection: sa.Connection, served: Served, incoming: sa.Table) -> int:
    """Write the rows that are new or other than before; how many."""
    import sqlalchemy as sa

    table = metadata().tables[served.table.name]
    names = [column.name for column in table.columns]
    # Without a WHERE SQLite would read ON CONFLICT as a condition of a join.
    insert = _insert(connection, table).from_select(names, sa.select(incoming).where(sa.true()))
    others = [name for name in names if name not in served.table.key]
    merged = insert.on_conflict_do_update(
        index_elements=list(served.table.key),
        set_={name: insert.excluded[name] for name in others},
        where=sa.or_(*(table.c[n].is_distinct_from(insert.excluded[n]) for n in others)),
    )
    return int(connection.execute(merged).rowcount)


def _note(
    connection: sa.Connection, served: Served, hashes: Mapping[str, str], rows: Mapping[str, int]
) -> None:
    """Write down what the partitions ``rows`` hold now."""
    book = metadata().tables[PARTITIONS_TABLE]
    insert = _insert(connection, book)
    changing = ("content_hash", "row_count", "served_at")
    noted = insert.on_conflict_do_update(
        index_elements=["table_name", "scope", "partition_key"],
        set_={name: insert.excluded[name] for name in changing},
    )
    now = datetime.now(UTC)
    connection.execute(
        noted,
        [
            {
                "table_name": served.table.name,
                "scope": served.scope,
                "partition_key": key,
                "content_hash": hashes[key],
                "row_count": count,
                "served_at": now,
            }
            for key, count in rows.items()
        ],
    )


def _insert(connection: sa.Connection, table: sa.Table) -> Any:
    """An INSERT that knows ON CONFLICT; both databases write it alike."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
    return insert(table)
