"""Verifying stored partitions: clean data pass, what was planted is found, nothing is changed."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, timedelta
from pathlib import Path

import dagster as dg
import msgspec
import pandas as pd
import pytest

from quant_assets.assets import analysis
from quant_assets.cli.inputs import inputs_of
from quant_assets.cli.verify import Sample, verify
from quant_assets.cli.verify_compare import integrity
from quant_assets.cli.verify_future import _Cut, decided_at, is_decided
from quant_assets.cli.verify_report import SCHEMA_PATH, Partition, VerifyReport, schema
from quant_assets.cli.verify_scratch import make, scratch
from quant_assets.definitions import build_defs
from quant_assets.domain import indicators as domain_indicators
from quant_assets.domain.indicators import technical_indicators as compute_indicators
from quant_assets.io_managers.parquet_store import ParquetStore
from quant_assets.partitions import hour_of
from quant_assets.schemas import dataset_of
from quant_assets_tests.filled_home import HOURS, SESSIONS, STORED, filled, quant, settings_of
from quant_assets_tests.platform import Platform

DAY = SESSIONS[1]
PRICES, SCORE, ADVICE = "us/prices", "us/technical_score", "us/recommendations"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with filled(tmp_path_factory.mktemp("full") / "home") as p:
        yield p


@pytest.fixture
def stored(full: Platform) -> Iterator[ParquetStore]:
    """The store, of which a test may change what it likes."""
    copy = full.store.root.with_name("before")
    shutil.copytree(full.store.root, copy)
    yield full.store
    shutil.rmtree(full.store.root)
    copy.rename(full.store.root)


def verified(p: Platform, *assets: str, day: str | None = None) -> VerifyReport:
    return verify(p.settings, Sample(assets, 1000, 1, day, day), lambda one: None)


def one(p: Platform, asset: str, day: str = DAY) -> Partition:
    (found,) = verified(p, asset, day=day).partitions
    return found


def codes(found: Partition) -> list[str]:
    return [reason.code for reason in found.reasons]


def tree(home: Path) -> dict[str, str]:
    return {
        str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(home.rglob("*"))
        if path.is_file()
    }


def test_clean_data_are_equal_and_stay_as_they_are(full: Platform) -> None:
    before = tree(full.settings.home_dir)
    times = {path: path.stat().st_mtime_ns for path in full.store.root.rglob("*.parquet")}
    told: list[Partition] = []
    report = verify(full.settings, Sample(tuple(STORED), 1000, 1), told.append)
    assert [p for p in report.partitions if p.verdict != "equal"] == []
    assert tuple(told) == report.partitions
    assert report.stored == len(report.partitions) == sum(len(keys) for keys in STORED.values())
    assert all(p.stored_hash == p.recomputed_hash != "" for p in report.partitions)
    assert not report.is_bad
    assert tree(full.settings.home_dir) == before
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_a_seed_draws_the_same_sample(full: Platform) -> None:
    asked = [
        verify(full.settings, Sample((SCORE, ADVICE), 2, seed, None, None), lambda one: None)
        for seed in (4, 4)
    ]
    assert asked[0] == asked[1]
    assert len(asked[0].partitions) == 2


def test_a_changed_value_is_found_where_it_is(full: Platform, stored: ParquetStore) -> None:
    """In a fetched partition and in a computed one, each with a valid footer."""
    for asset, column in ((PRICES, "close"), (SCORE, "trend_score")):
        dataset = dataset_of(asset)
        frame = stored.read(dataset, asset, [DAY])
        numbers = [
            c.name for c in dataset.columns if c.type == "float" and frame[c.name].notna().all()
        ]
        name = column if column in numbers else (numbers or ["reason"])[0]
        frame.loc[0, name] = frame.loc[0, name] * 1.001 if name in numbers else "planted"
        stored.delete(asset, [DAY])
        stored.write(dataset, asset, DAY, frame, stored.info(asset, SESSIONS[0]).code_version)
        planted = stored.path(asset, DAY).read_bytes()
        found = one(full, asset)
        assert (found.verdict, codes(found)[0]) == ("drift", "content")
        assert found.difference is not None
        assert found.difference.columns == (name,)
        assert found.difference.rows_changed == 1
        assert f"{DAY} AAPL {name}: stored " in found.difference.examples[0]
        assert stored.path(asset, DAY).read_bytes() == planted


def test_a_missing_and_a_foreign_row_are_found(full: Platform, stored: ParquetStore) -> None:
    dataset = dataset_of(PRICES)
    frame = stored.read(dataset, PRICES, [DAY])
    foreign = frame.tail(1).assign(symbol="ZZZ")
    version = stored.info(PRICES, DAY).code_version
    stored.delete(PRICES, [DAY])
    stored.write(dataset, PRICES, DAY, pd.concat([frame.tail(1), foreign]), version)
    difference = one(full, PRICES).difference
    assert difference is not None
    assert (difference.rows_only_stored, difference.rows_only_recomputed) == (1, 1)
    assert f"{DAY} ZZZ: only stored" in difference.examples


def test_a_flipped_bit_is_damage(full: Platform, stored: ParquetStore) -> None:
    """Wherever it is: found, or in bytes that no reader looks at."""
    path = stored.path(PRICES, DAY)
    whole = path.read_bytes()
    rows = full.read(PRICES, DAY)
    harmless = 0
    for place in range(0, len(whole), 61):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        if (problem := integrity(stored, PRICES, DAY)) is None:
            harmless += 1
            pd.testing.assert_frame_equal(full.read(PRICES, DAY), rows)
        else:
            assert problem.verdict in ("damaged", "drift")
    assert harmless < len(whole) // 61 // 2
    path.write_bytes(b"X" + whole[1:])
    found = one(full, PRICES)
    assert (found.verdict, found.is_bad, codes(found)) == ("damaged", True, ["unreadable"])
    path.write_bytes(b"")
    assert codes(one(full, PRICES)) == ["unreadable"]


def test_rows_that_are_not_the_written_ones_are_damage(
    full: Platform, stored: ParquetStore
) -> None:
    import pyarrow.parquet as pq

    path = stored.path(SCORE, DAY)
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 1).replace_schema_metadata(table.schema.metadata), path)
    assert codes(one(full, SCORE)) == ["hash_mismatch"]


def test_other_rows_of_a_replay_that_failed_are_no_drift(
    full: Platform, stored: ParquetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = dataset_of(SCORE)
    frame = stored.read(dataset, SCORE, [DAY])
    frame["technical_score"] = 0.75
    stored.write(dataset, SCORE, DAY, frame, stored.info(SCORE, DAY).code_version)

    def failing(*args: object, **options: object) -> str:
        return make(*args, **options) or "one of its fetches cannot be read"

    monkeypatch.setattr("quant_assets.cli.verify.make", failing)
    found = one(full, SCORE)
    assert (found.verdict, codes(found)) == ("unverifiable", ["failed"])
    assert found.reasons[0].text == "one of its fetches cannot be read"


def test_all_that_a_replay_writes_is_put_back(tmp_path: Path) -> None:
    """Between the sampled partitions too, and the data root may hold linked directories."""
    values, elsewhere = settings_of(tmp_path / "home"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder = values.data_dir / PRICES
    folder.parent.mkdir(parents=True)
    folder.symlink_to(elsewhere)
    (elsewhere / "round").symlink_to(values.data_dir)
    for key in SESSIONS:
        (elsewhere / f"{key}.parquet").write_text(key)
    with scratch(values) as beside:
        assert beside.store.list_partitions(PRICES) == SESSIONS
        with beside.without(PRICES, [SESSIONS[0], "2026-03-20"]):
            for key in (SESSIONS[1], "2026-03-20"):
                path = beside.store.path(PRICES, key)
                path.unlink(missing_ok=True)
                path.write_text("made again")
        assert beside.store.list_partitions(PRICES) == SESSIONS
        assert [beside.store.path(PRICES, key).read_text() for key in SESSIONS] == SESSIONS
    assert sorted(path.name for path in elsewhere.glob("*.parquet")) == [
        f"{key}.parquet" for key in SESSIONS
    ]


def test_another_version_is_drift(full: Platform, stored: ParquetStore) -> None:
    dataset = dataset_of(ADVICE)
    stored.write(dataset, ADVICE, DAY, stored.read(dataset, ADVICE, [DAY]), "0-other")
    found = one(full, ADVICE)
    assert (found.verdict, codes(found)) == ("drift", ["code_version"])
    assert "stored by version 0-other, made again by 1-" in found.reasons[0].text
    assert found.difference is None


def test_a_newer_input_is_named(full: Platform, stored: ParquetStore) -> None:
    dataset = dataset_of(SCORE)
    frame = stored.read(dataset, SCORE, [DAY])
    frame["technical_score"] = 0.75
    stored.write(dataset, SCORE, DAY, frame, stored.info(SCORE, DAY).code_version)
    found = one(full, ADVICE)
    assert (found.verdict, codes(found)) == ("drift", ["content", "input_newer"])
    assert found.reasons[1].text == f"us/technical_score {DAY} was stored after it"


def test_what_cannot_be_made_again_says_why(full: Platform, stored: ParquetStore) -> None:
    stored.delete("us/technical_indicators", [DAY])
    found = one(full, SCORE)
    assert (found.verdict, codes(found), found.is_bad) == ("unverifiable", ["input_missing"], False)
    raw, aside = full.settings.raw_dir, full.settings.raw_dir.with_name("aside")
    raw.rename(aside)
    try:
        found = one(full, PRICES)
    finally:
        aside.rename(raw)
    assert (found.verdict, codes(found)) == ("unverifiable", ["no_raw_answer"])
    streamed = "news/streamed_articles"
    dataset = dataset_of(streamed)
    frame = full.store.read(dataset_of("news/articles"), "news/articles", ["2026-03-18-13"]).head(0)
    stored.write(dataset, streamed, "2026-03-18-13", frame[dataset.column_names], "1")
    assert codes(one(full, streamed, "2026-03-18")) == ["from_kafka"]


def test_the_command_and_its_schema(
    full: Platform, stored: ParquetStore, capsys: pytest.CaptureFixture[str]
) -> None:
    home = full.settings.home_dir
    words = ("verify", f"{SCORE},{ADVICE}", "--from", DAY, "--to", DAY, "--seed", "3")
    out, _ = quant(home, capsys, *words)
    assert out.splitlines() == [
        f"equal        {SCORE} {DAY}",
        f"equal        {ADVICE} {DAY}",
        "2 of 2 stored partitions: 2 equal (--seed 3)",
    ]
    stored.path(SCORE, DAY).write_bytes(b"no parquet")
    told = quant(home, capsys, *words, "--json", status=1)
    assert told[0], told[1]
    report = msgspec.json.decode(told[0], type=VerifyReport)
    assert [p.verdict for p in report.partitions] == ["damaged", "unverifiable"]
    assert json.loads(SCHEMA_PATH.read_text()) == json.loads(json.dumps(schema()))
    assert schema()["$defs"]["Partition"]["required"] == ["asset", "partition", "verdict"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nonsense",), "'nonsense' is no selection"),
        (("us/prices", "--from", "2001-01-02", "--to", "2001-01-02"), "nothing is stored of this"),
        (("us/prices", "--from", "2026-03-20", "--to", "2026-03-19"), "is after --to 2026-03-19"),
        (("us/prices", "--from", "yesterday"), "'yesterday' is neither a day (2026-11-19) nor"),
        (("us/prices", "--sample", "0"), "Invalid value for '--sample'"),
    ],
)
def test_a_wrong_argument_is_a_sentence(
    full: Platform, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    out, errors = quant(full.settings.home_dir, capsys, "verify", *words, status=2)
    assert message in errors
    assert out == ""


# Without the future.


def blind(p: Platform, *assets: str, day: str | None = None) -> VerifyReport:
    return verify(p.settings, Sample(assets, 1000, 1, day, day, True), lambda one: None)


def test_nothing_stored_looks_ahead(full: Platform) -> None:
    """Every computed partition is the same made from what was known at its decision alone."""
    before = tree(full.settings.home_dir)
    report = blind(full, *STORED)
    assert [p for p in report.partitions if p.verdict != "equal"] == []
    made = {p.asset for p in report.partitions}
    assert made == {a for a in STORED if is_decided(a)}
    assert {SCORE, ADVICE, "us/technical_indicators", "us/news_sentiment"} <= made
    assert tree(full.settings.home_dir) == before


def test_what_looks_ahead_is_found(
    full: Platform, stored: ParquetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Indicators that are computed with the bars of the next session, by a careless mapping."""

    def careless(count: int) -> dg.TimeWindowPartitionMapping:
        return dg.TimeWindowPartitionMapping(
            start_offset=-count, end_offset=1, allow_nonexistent_upstream_partitions=True
        )

    indicators = "us/technical_indicators"
    honest = one(full, indicators, SESSIONS[0])
    monkeypatch.setattr(analysis, "look_back", careless)
    monkeypatch.setattr(domain_indicators, "technical_indicators", _of_tomorrow)
    planted = build_defs(full.settings)
    for day in SESSIONS[:2]:
        assert make(planted, full.instance, indicators, day, day, rebuild=False) == ""
    assert one(full, indicators, SESSIONS[0]).verdict == "equal", "made again it is the same"
    (found,) = blind(full, indicators, day=SESSIONS[0]).partitions
    assert (found.verdict, codes(found), found.is_bad) == ("look_ahead", ["future"], True)
    assert found.stored_hash != honest.stored_hash
    # What drifted for another reason is called so.
    monkeypatch.undo()
    (other,) = blind(full, indicators, day=SESSIONS[0]).partitions
    assert other.verdict == "drift"


def _of_tomorrow(prices: pd.DataFrame, sessions: pd.DatetimeIndex) -> pd.DataFrame:
    """Indicators of a session with the close of the last bar that is there."""
    frame = compute_indicators(prices, sessions)
    last = prices.sort_values("session_date").groupby("symbol")["close"].last()
    return frame.assign(close=frame["symbol"].map(last))


def test_rows_that_became_known_late_are_taken_away(full: Platform, stored: ParquetStore) -> None:
    """A tone of an hour before the decision that was learned an hour after it is not there."""
    sentiment, tones = "us/news_sentiment", "news/article_sentiment"
    decision, dataset = decided_at(sentiment, SESSIONS[0]), dataset_of(tones)
    hour = HOURS[0]
    start = pd.Timestamp(hour_of(hour), tz="UTC")
    one = full.read(tones).head(1).assign(hour=start, available_at=start)
    late = one.assign(article_id="late", available_at=decision + timedelta(hours=1))
    rows = dataset.conform(pd.concat([one, late]), "two tones")
    version = stored.info(tones, hour).code_version
    stored.delete(tones, [hour])
    stored.write(dataset, tones, hour, rows, version)
    with scratch(full.settings) as beside:
        _Cut(beside, stored).at(decision, inputs_of(sentiment, SESSIONS[0]))
        left = beside.store.read(dataset, tones, [hour])
        assert left["article_id"].tolist() == one["article_id"].tolist()
        later = [key for key in HOURS if hour_of(key).replace(tzinfo=UTC) > decision]
        assert beside.store.missing(tones, HOURS) == later != []
        assert beside.store.missing("us/prices", SESSIONS) == SESSIONS[1:]
    assert stored.missing(tones, HOURS) == []
