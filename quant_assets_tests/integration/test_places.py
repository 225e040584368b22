"""The Parquet store in a directory and on a real S3 API: one contract for both."""

import multiprocessing
import multiprocessing.synchronize
import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from quant_assets.cli.doctor import places as doctor
from quant_assets.domain.held import Held
from quant_assets.errors import (
    BadConfigurationError,
    BadDataError,
    MissingPartitionError,
    TransientError,
)
from quant_assets.io_managers import bucket as s3
from quant_assets.io_managers.bucket import Bucket
from quant_assets.io_managers.parquet_store import ParquetStore, content_hash
from quant_assets.io_managers.partitioned_parquet import split_by_partition
from quant_assets.io_managers.quarantine import DAMAGED, Quarantine
from quant_assets.schemas import DATASETS, dataset_of
from quant_assets.settings import Settings
from quant_assets_tests.platform import platform
from quant_assets_tests.s3 import answering, counted, on_s3, s3_server
from quant_assets_tests.unit.dataset_frames import partition_keys, valid_frame

PRICES = dataset_of("us/prices")
ARTICLES = dataset_of("news/articles")
NOW = datetime(2026, 3, 20, tzinfo=UTC)
KILLS = 8


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture
def remote(endpoint: str) -> Iterator[str]:
    with on_s3(endpoint) as root:
        yield root


@pytest.fixture(params=["directory", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "directory":
        return str(tmp_path / "data")
    found: str = request.getfixturevalue("remote")
    return found


def write(store: ParquetStore, asset: str, frame: pd.DataFrame, code: str = "v1") -> None:
    dataset = dataset_of(asset)
    store.write_parts(dataset, asset, frame, split_by_partition(dataset, frame), code)


@pytest.mark.parametrize("asset", [name for name in DATASETS if not name.startswith("kr/")])
def test_what_is_stored_is_what_is_read(root: str, asset: str) -> None:
    store, dataset = ParquetStore(root, "sandbox"), dataset_of(asset)
    frame = dataset.conform(valid_frame(dataset, partitions=6, rows=20, seed=3), "test")
    keys = partition_keys(dataset, 6)
    assert store.missing(asset, keys) == keys
    write(store, asset, frame)
    assert store.missing(asset, [*keys, "2031-01-02"]) == ["2031-01-02"]
    assert store.list_partitions(asset) == keys
    pd.testing.assert_frame_equal(store.read(dataset, asset, keys), frame)
    loaded = store.load(dataset, asset, ["2031-01-02", *keys[:2]])
    assert (loaded.present, loaded.missing) == (tuple(keys[:2]), ("2031-01-02",))
    one = frame[frame[dataset.partition_column] == frame[dataset.partition_column].min()]
    info = store.info(asset, keys[0])
    assert info.content_hash == content_hash(dataset, one.reset_index(drop=True))
    assert (info.rows, info.code_version, info.profile) == (len(one), "v1", "sandbox")
    assert info.address == f"{root}/{asset}/{keys[0]}.parquet"
    assert store.size(asset) >= info.bytes > 0
    assert abs(store.facts(asset, keys[0]).modified - time.time()) < 600
    assert store.delete(asset, [*keys[:2], "2031-01-02"]) == 2
    assert store.list_partitions(asset) == keys[2:]
    with pytest.raises(MissingPartitionError, match=f"{keys[1]} not stored under {root}/{asset}"):
        store.read(dataset, asset, keys)
    with pytest.raises(FileNotFoundError):
        store.facts(asset, keys[0])


def test_both_places_hold_the_same_bytes(remote: str, tmp_path: Path) -> None:
    frame = PRICES.conform(valid_frame(PRICES, partitions=3, rows=50, seed=1), "test")
    stores = [ParquetStore(place, "sandbox") for place in (remote, tmp_path)]
    for store in stores:
        write(store, "us/prices", frame)
    for key in partition_keys(PRICES, 3):
        there, here = (store.sources("us/prices", [key])[key] for store in stores)
        assert isinstance(here, Path)
        assert there == here.read_bytes()


def test_news_keep_what_is_stored_whoever_writes_at_the_same_time(root: str) -> None:
    whole = valid_frame(ARTICLES, partitions=1, rows=24, seed=2)
    (key,) = partition_keys(ARTICLES, 1)

    def add(number: int) -> None:
        part = whole.iloc[[number, number + 1]].reset_index(drop=True)
        ParquetStore(root, "sandbox").write(ARTICLES, "news/articles", key, part, "v1")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(add, range(len(whole) - 1)))
    stored = ParquetStore(root, "sandbox").read(ARTICLES, "news/articles", [key])
    pd.testing.assert_frame_equal(stored, ARTICLES.conform(whole, "test"))


def test_simulated_and_real_data_do_not_share_a_root(root: str) -> None:
    frame = PRICES.conform(valid_frame(PRICES, partitions=1, rows=3, seed=1), "test")
    write(ParquetStore(root, "sandbox"), "us/prices", frame)
    with pytest.raises(BadConfigurationError, match="holds data of the profile 'sandbox'"):
        write(ParquetStore(root, "live"), "us/prices", frame)
    with pytest.raises(BadConfigurationError, match="holds data of the profile 'sandbox'"):
        ParquetStore(root, "live").read(PRICES, "us/prices", partition_keys(PRICES, 1))


def test_a_damaged_file_is_named_and_written_anew(root: str) -> None:
    store = ParquetStore(root, "sandbox")
    frame = PRICES.conform(valid_frame(PRICES, partitions=2, rows=3, seed=1), "test")
    write(store, "us/prices", frame)
    first, last = partition_keys(PRICES, 2)
    store.place.write(f"us/prices/{first}.parquet", lambda file: file.write(b"PAR1 no more"))
    with pytest.raises(BadDataError, match=rf"us/prices/{first}\.parquet.*materialize the part"):
        store.read(PRICES, "us/prices", [first, last])
    with pytest.raises(BadDataError, match="not readable"):
        store.info("us/prices", first)
    assert len(store.readable(PRICES, "us/prices", [first, last])) == 3
    write(store, "us/prices", frame)
    pd.testing.assert_frame_equal(store.read(PRICES, "us/prices", [first, last]), frame)


def test_the_quarantine_is_kept_beside_the_data(root: str) -> None:
    store = ParquetStore(root, "sandbox")
    frame = PRICES.conform(valid_frame(PRICES, partitions=1, rows=3, seed=1), "test")
    (key,) = partition_keys(PRICES, 1)
    row = frame.iloc[0].to_dict()
    quarantine = Quarantine(store, "us/prices")
    one = Held(key, str(row["symbol"]), "zero_price", "no price", "yahoo", {"a": 1}, row)
    quarantine.settle([key], [one], set(), NOW)
    assert quarantine.count_held([key]) == 1
    released = quarantine.release(key, [str(row["symbol"])], "v1")
    assert len(released) == 1
    assert len(store.read(PRICES, "us/prices", [key])) == 1
    assert quarantine.count_held([key]) == 0
    name = f"quarantine/us/prices/{key}.parquet"
    store.place.write(name, lambda file: file.write(b"half"))
    assert quarantine.held([key])["rule"].tolist() == [DAMAGED]
    quarantine.settle([key], [], set(), NOW)
    (note,) = quarantine.held([key]).to_dict("records")
    assert note["rule"] == DAMAGED
    assert store.place.delete([f"quarantine/us/prices/{note['item']}"]) == 1
    quarantine.settle([key], [], set(), NOW)
    assert quarantine.partitions() == []


@pytest.mark.parametrize(("asset", "each"), [("us/technical_score", 1), ("us/prices", 2)])
def test_a_range_costs_one_request_a_partition(remote: str, asset: str, each: int) -> None:
    """What is fetched keeps what is stored of its partition, and so reads it first."""
    dataset = dataset_of(asset)
    frame = dataset.conform(valid_frame(dataset, partitions=300, rows=4, seed=1), "test")
    keys = partition_keys(dataset, 300)
    client = s3._client(os.getpid())
    with counted(client) as written:
        write(ParquetStore(remote, "sandbox"), asset, frame)
    assert written.total() <= 300 * each + 6, "and those of the lock, and of whose the root is"
    with counted(client) as read:
        ParquetStore(remote, "sandbox").read(dataset, asset, keys)
    assert read.total() <= 302
    with counted(client) as looked:
        assert ParquetStore(remote, "sandbox").missing(asset, keys) == []
    assert looked.total() == 1
    with counted(client) as planned:
        store = ParquetStore(remote, "sandbox")
        assert all(store.facts(asset, key).size for key in keys)
    assert planned.total() == 1


def test_more_than_a_listing_holds_is_found(remote: str) -> None:
    store = ParquetStore(remote, "sandbox")
    names = [f"us/prices/{n:05d}.parquet" for n in range(1, 2203, 2)]
    store.place.each(lambda name: store.place.write(name, lambda file: file.write(b"x")), names)
    keys = [f"{n:05d}" for n in range(2203)]
    assert store.missing("us/prices", keys) == [f"{n:05d}" for n in range(0, 2203, 2)]
    assert len(store.list_partitions("us/prices")) == len(names)
    assert store.delete("us/prices", keys) == len(names)
    assert store.list_partitions("us/prices") == []


def test_one_holder_of_a_lock_at_a_time_and_a_dead_one_is_followed(
    remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Bucket.at(remote)
    inside: list[int] = []

    def enter(number: int) -> None:
        with Bucket.at(remote).lock("news/articles"):
            inside.append(number)
            assert len(inside) == 1
            time.sleep(0.01)
            inside.remove(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(enter, range(24)))
    monkeypatch.setattr(s3, "LEASE_SECONDS", 1.0)
    with Bucket.at(remote).lock("news/articles"):
        time.sleep(3)
        content = place.sources([".locks/news.articles"])
    assert content, "a holder that lives renews it"
    with monkeypatch.context() as patch, ExitStack() as stack:
        patch.setattr(Bucket, "_renew", lambda *_: None)
        looks_dead = Bucket.at(remote).lock("news/articles")
        stack.enter_context(pytest.raises(TransientError, match="another has taken it over"))
        stack.enter_context(looks_dead)
        with Bucket.at(remote).lock("news/articles"):
            assert place.existing([".locks/news.articles"])
    assert place.existing([".locks/news.articles"]) == set()


def _write_for_ever(
    root: str, environment: dict[str, str], ready: "multiprocessing.synchronize.Event"
) -> None:
    os.environ.update(environment)
    frames = [valid_frame(PRICES, partitions=4, rows=300, seed=seed) for seed in range(3)]
    while True:
        for frame in frames:
            write(ParquetStore(root, "sandbox"), "us/prices", PRICES.conform(frame, "test"))
            ready.set()


def test_a_killed_writer_leaves_whole_partitions(remote: str) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "pyarrow.parquet", "boto3"])
    moments, keys = random.Random(4), partition_keys(PRICES, 4)
    good = {
        content_hash(PRICES, PRICES.conform(one.reset_index(drop=True), "test"))
        for seed in range(3)
        for _, one in valid_frame(PRICES, partitions=4, rows=300, seed=seed).groupby("session_date")
    }
    store = ParquetStore(remote, "sandbox")
    for _ in range(KILLS):
        ready = context.Event()
        process = context.Process(target=_write_for_ever, args=(remote, dict(os.environ), ready))
        process.start()
        assert ready.wait(300)
        time.sleep(moments.uniform(0, 0.5))
        process.kill()
        process.join()
        for key in store.load(PRICES, "us/prices", keys).present:
            assert content_hash(PRICES, store.read(PRICES, "us/prices", [key])) in good
    assert store.missing("us/prices", keys) == []


@pytest.mark.parametrize(
    ("status", "code", "error", "words"),
    [
        (403, "AccessDenied", BadConfigurationError, "they need GetObject, PutObject"),
        (403, "InvalidAccessKeyId", BadConfigurationError, "correct AWS_ACCESS_KEY_ID"),
        (404, "NoSuchBucket", BadConfigurationError, "there is no such bucket"),
        (400, "ExpiredToken", BadConfigurationError, "log in again"),
        (503, "SlowDown", TransientError, "it was asked 5 times"),
        (409, "OperationAborted", TransientError, "it was asked 5 times"),
        (403, "RequestTimeTooSkewed", BadConfigurationError, "the clock of this machine is wrong"),
        (400, "InvalidRequest", BadConfigurationError, "S3 said InvalidRequest"),
    ],
)
def test_what_s3_refuses_is_typed_and_says_what_to_do(
    remote: str,
    status: int,
    code: str,
    error: type[Exception],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    frame = PRICES.conform(valid_frame(PRICES, partitions=1, rows=3, seed=1), "test")
    store = ParquetStore(remote, "sandbox")
    with answering(s3._client(os.getpid()), status, code), pytest.raises(error, match=words) as e:
        write(store, "us/prices", frame)
    assert remote in str(e.value)
    assert store.list_partitions("us/prices") == []


def test_a_short_refusal_costs_nothing(remote: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    frame = PRICES.conform(valid_frame(PRICES, partitions=3, rows=3, seed=1), "test")
    with answering(s3._client(os.getpid()), 503, "SlowDown", times=3) as refused:
        write(ParquetStore(remote, "sandbox"), "us/prices", frame)
    assert len(refused) == 3
    assert ParquetStore(remote, "sandbox").list_partitions("us/prices") == partition_keys(PRICES, 3)


def test_an_endpoint_that_is_not_there_is_named(
    remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    monkeypatch.setattr(time, "sleep", lambda _: None)
    s3._client.cache_clear()
    with pytest.raises(TransientError, match="AWS_ENDPOINT_URL_S3 right"):
        ParquetStore(remote, "sandbox").list_partitions("us/prices")


def test_without_credentials_the_ways_to_give_them_are_named(
    remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3._client.cache_clear()
    with pytest.raises(BadConfigurationError, match="or AWS_PROFILE, or give the machine a role"):
        ParquetStore(remote, "sandbox").list_partitions("us/prices")


@pytest.mark.parametrize("address", ["s3://", "s3://A", "s3://b_b/x", "s3://bucket/a/../b"])
def test_a_bucket_that_cannot_be_is_refused(address: str) -> None:
    with pytest.raises(BadConfigurationError, match="give s3://BUCKET/PREFIX"):
        ParquetStore(address, "sandbox")


@pytest.mark.parametrize("name", ["../../etc", "a/b", ".hidden", ""])
def test_no_name_leaves_the_prefix(remote: str, name: str) -> None:
    with pytest.raises(BadConfigurationError, match="cannot name an asset or a partition"):
        ParquetStore(remote, "sandbox").info("us/prices", name)


def test_the_doctor_says_whether_the_bucket_answers(remote: str, tmp_path: Path) -> None:
    settings = Settings(QUANT_HOME=str(tmp_path), QUANT_DATA_ROOT=remote)
    assert settings.data_place == remote
    assert (doctor.data_root(settings).status, doctor.data_root(settings).what) == ("ok", remote)
    other = Settings(QUANT_HOME=str(tmp_path), QUANT_DATA_ROOT="s3://no-such-bucket-here/x")
    found = doctor.data_root(other)
    assert found.status == "fail"
    assert "there is no such bucket" in found.what


def test_a_platform_on_s3_makes_the_same_bytes_as_on_a_disk(remote: str, tmp_path: Path) -> None:
    made = {}
    for place in (remote, str(tmp_path / "disk")):
        home = tmp_path / ("s3" if place == remote else "local")
        with platform(home, us=("AAPL", "MSFT"), QUANT_DATA_ROOT=place) as p:
            p.history("us", "2025-11-03", "2026-03-19")
            p.run("macro_sync", "2026-03-18")
            p.run("us_combined_analysis", "2026-03-18", "2026-03-19")
            p.run("us_paper_trading", "2026-03-18", "2026-03-19")
            store = ParquetStore(p.settings.data_place, "sandbox")
            for asset in ("us/prices", "us/recommendations", "us/ledger", "us/risk"):
                keys = store.list_partitions(asset)
                assert keys[-1] == "2026-03-19"
                found = store.sources(asset, keys)
                made[place, asset] = {
                    key: source if isinstance(source, bytes) else source.read_bytes()
                    for key, source in found.items()
                }
    for asset in ("us/prices", "us/recommendations", "us/ledger", "us/risk"):
        assert made[remote, asset] == made[str(tmp_path / "disk"), asset]
