"""The serving tables on a real PostgreSQL and on SQLite: one contract for both."""

import multiprocessing
import multiprocessing.synchronize
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from quant_assets.errors import BadConfigurationError, BadDataError, TransientError
from quant_assets.io_managers.parquet_store import content_hash
from quant_assets.io_managers.serving_database import Change, ServingDatabase
from quant_assets.io_managers.serving_tables import (
    SERVED,
    TABLES,
    VERSION_TABLE,
    VIEWS,
    Served,
    metadata,
)
from quant_assets.schemas import dataset_of
from quant_assets_tests.postgres import postgres
from quant_assets_tests.serving import new_database, run, serve
from quant_assets_tests.unit.dataset_frames import partition_keys, valid_frame

SIGNALS = SERVED["us/signals"]
POSITIONS = SERVED["us/positions"]
KILLS = 10


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as uri:
        yield uri


@pytest.fixture(params=["postgresql", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    is_postgres = request.param == "postgresql"
    server = request.getfixturevalue("server") if is_postgres else None
    with new_database(server, tmp_path) as found:
        yield found


def rows_of(served: Served, seed: int = 1, *, partitions: int = 3, rows: int = 40) -> pd.DataFrame:
    """Hostile values; a NUL is not among them: PostgreSQL has none, see the test of it."""
    frame = valid_frame(served.table.dataset, partitions=partitions, rows=rows, seed=seed)
    return served.table.dataset.conform(frame.replace("\x00", "\x01"), "test")


@pytest.mark.parametrize("source", SERVED)
def test_what_is_served_is_what_was_given(url: str, source: str) -> None:
    served = SERVED[source]
    database = ServingDatabase(url, "sandbox")
    frame = rows_of(served)
    change = serve(database, served, frame)
    keys = partition_keys(served.table.dataset, 3)
    assert change == Change(3, len(frame), 0)
    pd.testing.assert_frame_equal(database.read(served, keys), frame)
    assert serve(database, served, frame) == Change(), "twice is once"
    first = frame[frame.iloc[:, 0] == frame.iloc[0, 0]].reset_index(drop=True)
    noted = database.served(served)
    assert set(noted) == set(keys)
    assert noted[keys[0]] == content_hash(dataset_of(source), first), "as the partition's file says"


def test_only_what_changed_is_written(url: str) -> None:
    database = ServingDatabase(url, "sandbox")
    frame = rows_of(SIGNALS)
    serve(database, SIGNALS, frame)
    changed = frame.drop(index=[3]).reset_index(drop=True)
    changed.loc[0, "target_weight"] = 0.123
    assert serve(database, SIGNALS, changed) == Change(1, 1, 1)
    pd.testing.assert_frame_equal(
        database.read(SIGNALS, partition_keys(SIGNALS.table.dataset, 3)), changed
    )


def test_a_partition_that_lost_its_rows_is_served_as_empty(url: str) -> None:
    database = ServingDatabase(url, "sandbox")
    frame = rows_of(POSITIONS, partitions=2)
    first, last = partition_keys(POSITIONS.table.dataset, 2)
    serve(database, POSITIONS, frame)
    kept = frame[frame["session_date"] == first].reset_index(drop=True)
    change = serve(database, POSITIONS, kept, last)
    assert change == Change(1, 0, len(frame) - len(kept))
    pd.testing.assert_frame_equal(database.read(POSITIONS, [first, last]), kept)
    assert run(url, "SELECT count(*) FROM latest_positions") == [(0,)], "the book holds nothing"


@pytest.mark.parametrize("without", [[0], [1], [0, 1], [0, 2], [0, 1, 2]])
def test_partitions_without_rows_may_be_anywhere_in_a_range(url: str, without: list[int]) -> None:
    """Before, between and behind the others, or all of it: sessions on which nothing was filled."""
    database = ServingDatabase(url, "sandbox")
    keys = partition_keys(SIGNALS.table.dataset, 3)
    empty = [keys[n] for n in without]
    whole = rows_of(SIGNALS)
    frame = whole[~whole["session_date"].isin(pd.to_datetime(empty))].reset_index(drop=True)
    assert serve(database, SIGNALS, frame, *empty) == Change(3, len(frame), 0)
    pd.testing.assert_frame_equal(database.read(SIGNALS, keys), frame)
    assert serve(database, SIGNALS, whole) == Change(len(empty), len(whole) - len(frame), 0)
    pd.testing.assert_frame_equal(database.read(SIGNALS, keys), whole)


def test_the_markets_do_not_touch_each_other(url: str) -> None:
    database = ServingDatabase(url, "sandbox")
    us, kr = SERVED["us/recommendations"], SERVED["kr/recommendations"]
    ours, theirs = rows_of(us, 1), rows_of(kr, 2)
    serve(database, us, ours)
    serve(database, kr, theirs)
    keys = partition_keys(us.table.dataset, 3)
    assert database.remove(us, keys) == Change(3, 0, len(ours))
    assert database.served(us) == {}
    pd.testing.assert_frame_equal(database.read(kr, keys), theirs)


def test_the_view_shows_the_last_session_of_each_market(url: str) -> None:
    database = ServingDatabase(url, "sandbox")
    us, kr = SERVED["us/recommendations"], SERVED["kr/recommendations"]
    serve(database, us, rows_of(us, partitions=3, rows=5))
    serve(database, kr, rows_of(kr, partitions=2, rows=4))
    found = run(
        url,
        "SELECT market, CAST(min(session_date) AS TEXT), CAST(max(session_date) AS TEXT), count(*) "
        "FROM latest_recommendations GROUP BY market ORDER BY market",
    )
    assert found == [("kr", "2024-01-03", "2024-01-03", 4), ("us", "2024-01-04", "2024-01-04", 5)]


def test_the_revisions_end_with_the_schema_of_the_contracts(url: str) -> None:
    ServingDatabase(url, "sandbox").setup()
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, metadata()) == []


def test_a_database_of_a_newer_version_is_left_alone(url: str) -> None:
    ServingDatabase(url, "sandbox").setup()
    run(url, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(BadConfigurationError, match="a newer version of the platform"):
        ServingDatabase(url, "sandbox").setup()
    assert run(url, f"SELECT version_num FROM {VERSION_TABLE}") == [("9999",)]


def test_simulated_and_real_data_do_not_share_a_database(url: str) -> None:
    ServingDatabase(url, "sandbox").setup()
    with pytest.raises(BadConfigurationError, match="hold data of the profile 'sandbox'"):
        serve(ServingDatabase(url, "live"), SIGNALS, rows_of(SIGNALS))
    assert run(url, "SELECT count(*) FROM signals") == [(0,)]


def test_several_processes_may_make_the_tables_at_once(url: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        revisions = list(pool.map(lambda _: ServingDatabase(url, "sandbox").setup(), range(6)))
    assert set(revisions) == {"0001"}
    assert run(url, "SELECT count(*) FROM serving_profile") == [(1,)]


def test_the_reader_reads_and_nothing_else(server: str, tmp_path: Path) -> None:
    with new_database(server, tmp_path) as url:
        database = ServingDatabase(url, "sandbox", reader='a "reader"')
        serve(database, SIGNALS, rows_of(SIGNALS))
        database.setup()
        run(
            url,
            "DROP ROLE IF EXISTS analyst",
            "CREATE ROLE analyst LOGIN PASSWORD 'x'",
            'GRANT "a ""reader""" TO analyst',
        )
        theirs = sa.make_url(url).set(username="analyst", password="x")
        as_analyst = theirs.render_as_string(hide_password=False)
        for name in (*TABLES, *VIEWS):
            run(as_analyst, f"SELECT count(*) FROM {name}")
        for statement in (
            "DELETE FROM signals",
            "UPDATE signals SET score = 1",
            "INSERT INTO serving_profile VALUES ('x')",
            "DROP VIEW latest_signals",
        ):
            with pytest.raises(sa.exc.ProgrammingError, match=r"permission denied|must be owner"):
                run(as_analyst, statement)
        with pytest.raises(BadConfigurationError, match="needs to create and write tables"):
            serve(ServingDatabase(as_analyst, "sandbox"), SIGNALS, rows_of(SIGNALS, 2))
        run(url, 'DROP OWNED BY analyst, "a ""reader"""', "DROP ROLE analyst")


def test_a_nul_in_a_text_is_shown_as_a_replacement_character(url: str) -> None:
    """PostgreSQL cannot hold it; one such character must not keep a session from its readers."""
    database = ServingDatabase(url, "sandbox")
    frame = rows_of(SIGNALS, partitions=1, rows=2)
    frame.loc[0, "strategy_version"] = "a\x00b"
    serve(database, SIGNALS, frame)
    assert serve(database, SIGNALS, frame) == Change()
    (key,) = partition_keys(SIGNALS.table.dataset, 1)
    assert database.read(SIGNALS, [key])["strategy_version"][0] == "a\N{REPLACEMENT CHARACTER}b"


def test_overlapping_writers_leave_each_partition_as_one_of_them_wrote_it(url: str) -> None:
    keys = partition_keys(SIGNALS.table.dataset, 12)
    whole = rows_of(SIGNALS, partitions=12, rows=30)
    frames = [whole.assign(strategy_version=f"writer {n}") for n in range(4)]
    ServingDatabase(url, "sandbox").setup()

    def write(number: int) -> None:
        database = ServingDatabase(url, "sandbox")
        chosen = keys[number : number + 9]
        frame = frames[number]
        part = frame[frame["session_date"].isin(pd.to_datetime(chosen))].reset_index(drop=True)
        for _ in range(3):
            serve(database, SIGNALS, part)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    database = ServingDatabase(url, "sandbox")
    noted = database.served(SIGNALS)
    for key in keys:
        found = database.read(SIGNALS, [key])
        assert found["strategy_version"].nunique() == 1
        assert noted[key] == content_hash(SIGNALS.table.dataset, found)


def _write_for_ever(url: str, ready: "multiprocessing.synchronize.Event") -> None:
    frames = [
        rows_of(SIGNALS, partitions=4, rows=200).assign(strategy_version=f"round {n}")
        for n in range(3)
    ]
    database = ServingDatabase(url, "sandbox")
    ready.set()
    while True:
        for frame in frames:
            serve(database, SIGNALS, frame)


def test_a_writer_that_is_killed_leaves_all_or_nothing_of_its_change(url: str) -> None:
    database = ServingDatabase(url, "sandbox")
    keys = partition_keys(SIGNALS.table.dataset, 4)
    frame = rows_of(SIGNALS, partitions=4, rows=200).assign(strategy_version="round 0")
    serve(database, SIGNALS, frame)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "pyarrow.csv", "alembic.script", "psycopg2"])
    moments = random.Random(5)
    for _ in range(KILLS):
        ready = context.Event()
        process = context.Process(target=_write_for_ever, args=(url, ready))
        process.start()
        assert ready.wait(300)
        time.sleep(moments.uniform(0, 0.3))
        process.kill()
        process.join()
        found = database.read(SIGNALS, keys)
        assert len(found) == len(frame)
        assert found["strategy_version"].nunique() == 1, "readers see a run's change as a whole"
        hashes = database.served(SIGNALS)
        for key in keys:
            one = found[found["session_date"] == key].reset_index(drop=True)
            assert hashes[key] == content_hash(SIGNALS.table.dataset, one)


def test_a_database_that_does_not_answer_is_tried_again() -> None:
    database = ServingDatabase("postgresql://quant:s3cret@127.0.0.1:1/quant", "sandbox")
    with pytest.raises(TransientError, match="is the database up") as found:
        database.setup()
    assert "s3cret" not in str(found.value)
    assert "quant:***@127.0.0.1:1/quant" in str(found.value)


def test_a_database_that_is_not_there_is_named(server: str) -> None:
    url = sa.make_url(server).set(database="nowhere").render_as_string(hide_password=False)
    with pytest.raises(BadConfigurationError, match=r'"nowhere" does not exist.*QUANT_SERVING_URL'):
        ServingDatabase(url, "sandbox").setup()


def test_a_malformed_address_is_not_repeated() -> None:
    with pytest.raises(BadConfigurationError, match="percent-encode") as found:
        ServingDatabase("postgresql://quant:s3cret@db:port/quant", "sandbox").setup()
    assert "s3cret" not in str(found.value)


@pytest.mark.parametrize(("pgcode", "raised"), [("22P02", BadDataError), ("57P01", TransientError)])
def test_errors_of_copy_have_types_too(
    server: str, tmp_path: Path, pgcode: str, raised: type[Exception]
) -> None:
    """A trigger raises in its place: a value that is refused, and a server that shuts down."""
    with new_database(server, tmp_path) as url:
        database = ServingDatabase(url, "sandbox")
        frame = rows_of(SIGNALS, partitions=1, rows=2)
        serve(database, SIGNALS, frame)
        run(
            url,
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION 'as the test wants' USING ERRCODE = '{pgcode}'; END $$",
        )
        engine = database._engine

        def with_trigger(connection: sa.Connection, *_: object) -> None:
            connection.exec_driver_sql(
                "CREATE TRIGGER t BEFORE INSERT ON incoming FOR EACH ROW EXECUTE FUNCTION refuse()"
            )

        created = sa.event.listens_for(engine, "after_cursor_execute")

        @created
        def after(connection: sa.Connection, _: object, statement: str, *__: object) -> None:
            if "CREATE TEMPORARY TABLE incoming" in statement:
                with_trigger(connection)

        with pytest.raises(raised, match="as the test wants"):
            serve(database, SIGNALS, frame.assign(strategy_version="other"))


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfigurationError, match=r"unable to open.*QUANT_SERVING_URL"):
        ServingDatabase(f"sqlite:///{tmp_path}/no/serving.db", "sandbox").setup()


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("what I wanted to remember " * 100, encoding="utf-8")
    before = path.read_bytes()
    with pytest.raises(BadConfigurationError, match="not a database"):
        ServingDatabase(f"sqlite:///{path}", "sandbox").setup()
    assert path.read_bytes() == before


def test_a_full_database_changes_nothing(tmp_path: Path) -> None:
    """SQLite's own limit of pages ends a write as a full disk does."""
    database = ServingDatabase(f"sqlite:///{tmp_path}/serving.db", "sandbox")
    frame = rows_of(SIGNALS, partitions=1, rows=5)
    serve(database, SIGNALS, frame)
    sa.event.listen(
        database._engine,
        "connect",
        lambda connection, _: connection.execute("PRAGMA max_page_count = 60"),
    )
    with pytest.raises(TransientError, match="full"):
        serve(database, SIGNALS, rows_of(SIGNALS, 2, partitions=3, rows=900))
    (key,) = partition_keys(SIGNALS.table.dataset, 1)
    found = ServingDatabase(f"sqlite:///{tmp_path}/serving.db", "sandbox").read(SIGNALS, [key])
    pd.testing.assert_frame_equal(found, frame)
